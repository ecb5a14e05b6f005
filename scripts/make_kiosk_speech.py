"""Have synthetic voices say the kiosk's sentences: clean clips, in shards, for training and for the test.

    python scripts/make_kiosk_speech.py --out /tmp/speech --clips 20000 --jobs 2     # training; goes on where it stopped
    python scripts/make_kiosk_speech.py --out /tmp/speech --test                     # the unseen voices

Voices: flite, festival and espeak-ng as Debian packages them (apt-get install flite festival festvox-kallpc16k
festvox-kdlpc16k festvox-us-slt-hts espeak-ng). The test's voices say nothing in training: flite's `rms` and festival's
`ked_diphone` are other speakers, three variants of espeak-ng other vocal tracts. A voice that is not installed is left
out and named. A shard is `NAME.npy` (int16 samples at 16 kHz, one clip after the other) and `NAME.json`:
{"ends": [...], "texts": [...], "voices": [...]}.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr
from kiosk_sentences import GRAMMAR, OUTSIDE, UNSEEN, train_sentence
from numpy.typing import NDArray
from rich.progress import track

from edgeapp.core.events import SAMPLE_RATE_HZ

CLIPS_PER_SHARD: Final = 250
LONGEST_S: Final = 4.6  # with the silence around it, it fits into the 5 s that training knows
PEAK: Final = 0.5
ACCENTS: Final = ("en-us", "en-us", "en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029")
VARIANTS: Final = (
    "", "", "Alex", "Alicia", "Andrea", "Andy", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Mario", "Michael", "Mike", "Nguyen", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david",
    "ed", "edward", "edward2", "f1", "f2", "f3", "f5", "gustave", "iven", "iven2", "john", "kaukovalta", "klatt", "klatt2",
    "klatt3", "klatt5", "m1", "m2", "m3", "m5", "m6", "m8", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro",
    "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "travis", "victor", "zac",
)  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """One speaker of one synthesizer."""

    program: str  # flite, text2wave (festival) or espeak-ng
    name: str

    def __str__(self) -> str:
        return f"{self.program}:{self.name}"


FLITE: Final = tuple(Voice("flite", name) for name in ("slt", "slt", "awb", "awb", "kal16", "kal"))
FESTIVAL: Final = tuple(Voice("text2wave", name) for name in ("kal_diphone", "cmu_us_slt_arctic_hts"))
TEST_VOICES: Final = (
    Voice("flite", "rms"),
    Voice("text2wave", "ked_diphone"),
    Voice("espeak-ng", "en-us+linda"),
    Voice("espeak-ng", "en-gb+m7"),
    Voice("espeak-ng", "en-us+f4"),
)
CHECK_VOICES: Final = (
    Voice("espeak-ng", "en-us+Annie"),
    Voice("espeak-ng", "en-us+m4"),
    Voice("espeak-ng", "en-gb+klatt4"),
)
"""Neither trained on nor in the test: what the learning curve is drawn from."""


def train_voice(rng: random.Random) -> Voice:
    """A voice for one training clip: half of them built from people's recordings."""
    roll = rng.random()
    if roll < 0.42:
        return rng.choice(FLITE)
    if roll < 0.54:
        return rng.choice(FESTIVAL)
    accent, variant = rng.choice(ACCENTS), rng.choice(VARIANTS)
    return Voice("espeak-ng", f"{accent}+{variant}" if variant else accent)


def speak(voice: Voice, text: str, rng: random.Random | None, folder: Path) -> NDArray[np.int16]:
    """`text` as int16 samples at 16 kHz, silence at its ends cut off; with `rng` pace and pitch vary.

    Raises subprocess.CalledProcessError if the synthesizer fails, ValueError if it says nothing.
    """
    pace, pitch = (rng.uniform(0.82, 1.25), rng.uniform(0.8, 1.25)) if rng else (1.0, 1.0)
    out = folder / "speech.wav"
    if voice.program == "flite":
        base_hz = {"slt": 170, "awb": 125, "rms": 100, "kal": 105, "kal16": 105}[voice.name]
        tuned = ["--setf", f"duration_stretch={pace:.2f}", "--setf", f"int_f0_target_mean={base_hz * pitch:.0f}"]
        command = ["flite", "-voice", voice.name, *(tuned if rng else []), "-t", text, "-o", str(out)]
        subprocess.run(command, check=True)
    elif voice.program == "text2wave":
        stretch = f"(Parameter.set 'Duration_Stretch {pace:.2f})"
        command = ["text2wave", "-eval", f"(voice_{voice.name})", "-eval", stretch, "-o", str(out)]
        subprocess.run(command, check=True, input=text.encode(), stderr=subprocess.DEVNULL)
    else:
        height = str(round(rng.uniform(22, 80))) if rng else "50"
        command = ["espeak-ng", "-v", voice.name, "-s", str(round(150 / pace)), "-p", height, "-w", str(out), text]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    samples, rate_hz = soundfile.read(out, dtype="float32", always_2d=True)
    return _trimmed(soxr.resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ))


def _trimmed(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """From 10 ms before the first to 30 ms after the last window that is not silent (-46 dB below the loudest)."""
    window = SAMPLE_RATE_HZ // 100
    energy = np.square(samples[: samples.size // window * window]).reshape(-1, window).mean(axis=1)
    if not energy.size or energy.max() < 1e-8:
        raise ValueError("the synthesizer said nothing")
    loud = np.nonzero(energy > energy.max() * 10**-4.6)[0]
    cut = samples[max(0, loud[0] - 1) * window : (loud[-1] + 4) * window]
    return np.asarray(cut * (PEAK * 32767 / np.abs(cut).max()), np.int16)


def write_shard(out: Path, name: str, said: Sequence[tuple[Voice, str, NDArray[np.int16]]]) -> None:
    """Write one shard; the .json comes last and at once, so a reader never sees half of one."""
    np.save(out / f"{name}.npy", np.concatenate([samples for _, _, samples in said]))
    ends = np.cumsum([samples.size for _, _, samples in said]).tolist()
    index = {"ends": ends, "texts": [text for _, text, _ in said], "voices": [str(voice) for voice, _, _ in said]}
    (out / f"{name}.part").write_text(json.dumps(index))
    os.replace(out / f"{name}.part", out / f"{name}.json")


def train_shard(task: tuple[Path, int, int, int]) -> None:
    """Shard `number` of the training speech: (folder, seed, number, clips). Early shards hold shorter sentences."""
    out, seed, number, clips = task
    rng = random.Random(f"{seed} {number}")
    said = []
    with tempfile.TemporaryDirectory() as folder:
        while len(said) < clips:
            voice, text = train_voice(rng), train_sentence(rng, words_max=6 if number < 8 else 12)
            if not shutil.which(voice.program):
                continue
            samples = speak(voice, text, rng, Path(folder))
            if samples.size <= LONGEST_S * SAMPLE_RATE_HZ:
                said.append((voice, text, samples))
    write_shard(out, f"train-{number:04d}", said)


def fixed_shard(out: Path, name: str, pairs: Sequence[tuple[Voice, str]]) -> None:
    """A shard of given voices and texts; too long ones are left out."""
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for voice, text in track(pairs, name):
            samples = speak(voice, text, None, Path(folder))
            if samples.size <= LONGEST_S * SAMPLE_RATE_HZ:
                said.append((voice, text, samples))
    write_shard(out, name, said)


def make_test(out: Path) -> None:
    """The test: unseen voices with unseen sentences, with the kiosk's own ones, and with what no kiosk is told."""
    voices = [voice for voice in TEST_VOICES if shutil.which(voice.program)]
    fixed_shard(out, "test-unseen", [(voice, text) for voice in voices for text in UNSEEN[::2]])
    fixed_shard(out, "test-kiosk", [(voice, text) for voice in voices for text in GRAMMAR])
    fixed_shard(out, "test-outside", [(voice, text) for voice in voices for text in OUTSIDE])
    checks = [voice for voice in CHECK_VOICES if shutil.which(voice.program)]
    fixed_shard(out, "check", [(voice, text) for voice in checks for text in UNSEEN[1::4]])


def make_train(out: Path, seed: int, clips: int, jobs: int) -> None:
    """Training speech of `clips` clips in all; shards that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    for program in ("flite", "text2wave", "espeak-ng"):
        if not shutil.which(program):
            print(f"{program} is not installed: its voices are left out")
    wanted = -(-clips // CLIPS_PER_SHARD)
    missing = [n for n in range(wanted) if not (out / f"train-{n:04d}.json").exists()]
    tasks = [(out, seed, number, min(CLIPS_PER_SHARD, clips)) for number in missing]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for _ in track(pool.imap(train_shard, tasks), "training speech", total=len(tasks)):
            pass


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="make the test's clips instead")
    options = parser.parse_args()
    if options.test:
        options.out.mkdir(parents=True, exist_ok=True)
        make_test(options.out)
    else:
        make_train(options.out, options.seed, options.clips, options.jobs)


if __name__ == "__main__":
    main()
