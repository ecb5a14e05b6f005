"""Measure the kiosk's nano Whisper through the engine that runs it, on voices and sentences it never heard.

    python scripts/measure_kiosk_stt.py [--model models/kiosk-whisper] [--speech FOLDER] [--clips FOLDER] [--write]

Word error rate for each unseen voice, in a quiet room and in rooms with echoes and noise; of the kiosk's own sentences; of
what no kiosk is told; of people's recordings (Debian's alsa-utils, and with --clips test/data of pocketsphinx's source
package); and processor time for each second of audio. --speech keeps the synthetic clips for the next time. --write puts
the figures into the model's folder, and the golden set: clips that it gets right in int8 and in float32.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import soundfile
from kiosk_rooms import Rooms
from kiosk_sentences import word_errors
from make_kiosk_speech import make_test
from make_questions import ALSA, Clip, in_a_room, read
from measure_pocketsphinx import CARDS, read_raw
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ, Utterance
from edgeapp.core.lane import Lane
from edgeapp.engines import stt_faster_whisper
from edgeapp.voice.content import ZONES

ROOT: Final = Path(__file__).parent.parent
ROOM_HARD: Final = 0.5  # of kiosk_rooms: echoes in 3 of 8 clips, noise 18 to 50 dB below the speech
GOLDEN_CASES: Final = 12
GOLDEN_AT_LEAST: Final = 0.75  # another processor's int8 kernels round in another way
BAR: Final = 0.15


class Trial(NamedTuple):
    """One clip to hear: int16 samples at 16 kHz."""

    text: str
    voice: str
    samples: NDArray[np.int16]


def shard(speech: Path, name: str, *, rooms: Rooms | None = None) -> list[Trial]:
    """The clips of a shard, each in a quiet room of its own, or in one of `rooms`."""
    index = json.loads((speech / f"{name}.json").read_text())
    audio = np.load(speech / f"{name}.npy")
    rng = np.random.default_rng(0)
    trials, start = [], 0
    for end, text, voice in zip(index["ends"], index["texts"], index["voices"], strict=True):
        if rooms is None:
            samples = _quiet(audio[start:end] / 65536, rng)
        else:
            samples = np.asarray(rooms(audio[start:end], rng, ROOM_HARD)[0] * 32767, np.int16)
        trials.append(Trial(text, voice, samples))
        start = end
    return trials


def _quiet(samples: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int16]:
    """As the demo's questions are recorded, cut as an endpoint detector cuts: at most 0.3 s of the room on each side."""
    heard, ended_ms = in_a_room(Clip(samples, "", "", ""), rng)
    return heard[: round((ended_ms + 300) * SAMPLE_RATE_HZ / 1000)]


def human(folder: Path | None) -> list[Trial]:
    """People's recordings."""
    rng = np.random.default_rng(0)
    trials = [Trial(zone, "alsa-utils", _quiet(read(_wav(zone)), rng)) for zone in ZONES if _wav(zone).exists()]
    if folder:
        cards = [(text, read(folder / f"cards/{n:03d}.wav")) for n, text in enumerate(CARDS[:5], 1)]
        cards.append(("go forward ten meters", read_raw(folder / "goforward.raw")))
        trials += [Trial(text, "pocketsphinx", _quiet(samples, rng)) for text, samples in cards]
    return trials


def _wav(zone: str) -> Path:
    return ALSA / (zone.title().replace(" ", "_") + ".wav")


@asynccontextmanager
async def recogniser(model: Path, compute_type: str = "int8") -> AsyncIterator[Any]:
    """The engine as a configuration would open it."""
    options = stt_faster_whisper.Options(model=str(model), context="short", compute_type=compute_type)
    lane = Lane("stt")
    try:
        async with stt_faster_whisper.load(options, lane) as stt:
            yield stt
    finally:
        lane.close()


async def heard_by(model: Path, trials: list[Trial], compute_type: str = "int8") -> tuple[list[str], float]:
    """What was heard, and the processor time it took for each second of audio."""
    async with recogniser(model, compute_type) as stt:
        begun = time.process_time()
        texts = [(await stt(Utterance(n, trial.samples, 0))).text for n, trial in enumerate(trials, 1)]
        took_s = time.process_time() - begun
    return texts, took_s * SAMPLE_RATE_HZ / max(sum(trial.samples.size for trial in trials), 1)


def rates(trials: list[Trial], texts: list[str]) -> dict[str, dict[str, float]]:
    """Of each voice and of all: word error rate, share of sentences wholly right, clips."""
    found: dict[str, dict[str, float]] = {}
    for voice in (*dict.fromkeys(trial.voice for trial in trials), "all"):
        pairs = [(t.text, text) for t, text in zip(trials, texts, strict=True) if voice in {t.voice, "all"}]
        wrong = sum(word_errors(text, heard) for text, heard in pairs)
        words = sum(len(text.split()) for text, _ in pairs)
        right = sum(text == heard for text, heard in pairs)
        found[voice] = {
            "wer": round(wrong / max(words, 1), 4),
            "right": round(right / len(pairs), 4),
            "clips": len(pairs),
        }
    return found


async def measure(model: Path, speech: Path, clips: Path | None) -> dict[str, Any]:
    """All figures, printed as they come."""
    rooms = Rooms(seed=11, rooms=30, noises=15)
    sets = {
        "unseen voices, unseen sentences, quiet": shard(speech, "test-unseen"),
        "unseen voices, unseen sentences, rooms": shard(speech, "test-unseen", rooms=rooms),
        "unseen voices, the kiosk's sentences, quiet": shard(speech, "test-kiosk"),
        "unseen voices, the kiosk's sentences, rooms": shard(speech, "test-kiosk", rooms=rooms),
        "unseen voices, not for a kiosk": shard(speech, "test-outside"),
        "people": human(clips),
    }
    figures: dict[str, Any] = {"command": "python scripts/measure_kiosk_stt.py"}
    for name, trials in sets.items():
        if not trials:
            print(f"{name}: no clips here")
            continue
        texts, load = await heard_by(model, trials)
        figures[name] = rates(trials, texts) | {"processor time per second of audio": round(load, 4)}
        for voice, rate in rates(trials, texts).items():
            print(f"{name:46} {voice:34} WER {rate['wer']:.3f}  right {rate['right']:.3f}  of {rate['clips']}")
        wrong = [(t, text) for t, text in zip(trials, texts, strict=True) if t.text != text]
        for trial, text in wrong[:: max(1, len(wrong) // 6)]:
            print(f"    {trial.voice}: {trial.text!r} heard as {text!r}")
    reached = figures["unseen voices, unseen sentences, quiet"]["all"]["wer"] <= BAR
    print(f"bar of {BAR:.0%} {'reached' if reached else 'NOT reached'}")
    return figures


async def write_golden(model: Path, speech: Path) -> None:
    """`golden/`: the kiosk's sentences in unseen voices that come out right in int8 and in float32, each text once."""
    trials = [*shard(speech, "test-kiosk"), *shard(speech, "test-unseen")]
    trials.sort(key=lambda trial: (trial.text, trial.voice))
    both = [(await heard_by(model, trials, kind))[0] for kind in ("int8", "float32")]
    right = [trial for trial, *texts in zip(trials, *both, strict=True) if set(texts) == {trial.text}]
    chosen: dict[str, Trial] = {}
    voices = list(dict.fromkeys(trial.voice for trial in right))
    for number in range(GOLDEN_CASES * 4):
        wanted = voices[number % len(voices)]
        left = [trial for trial in right if trial.voice == wanted and trial.text not in chosen]
        if left and len(chosen) < GOLDEN_CASES:
            trial = left[(number * 37) % len(left)]
            chosen[trial.text] = trial
    folder = model / "golden"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.flac"):
        old.unlink()
    cases = []
    for number, trial in enumerate(chosen.values()):
        soundfile.write(folder / f"{number:02d}.flac", trial.samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        cases.append({"audio": f"{number:02d}.flac", "text": trial.text})
    note = "Chosen from what it gets right: this tells a broken build, not how good it is. Voices: " + ", ".join(voices)
    golden = {"task": "transcribe", "at_least": GOLDEN_AT_LEAST, "note": note, "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{len(cases)} golden cases of {len(right)} right ones in {folder}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "kiosk-whisper")
    parser.add_argument("--speech", type=Path, help="where make_kiosk_speech.py --test wrote; made if it is not there")
    parser.add_argument("--clips", type=Path, help="test/data of pocketsphinx's source package")
    parser.add_argument("--write", action="store_true", help="write figures.json and golden/ into the model's folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        speech = options.speech or Path(folder)
        if not (speech / "check.json").exists():
            speech.mkdir(parents=True, exist_ok=True)
            make_test(speech)
        figures = asyncio.run(measure(options.model, speech, options.clips))
        if options.write:
            (options.model / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
            asyncio.run(write_golden(options.model, speech))


if __name__ == "__main__":
    main()
