"""Make the demo's recorded questions in `edgeapp/assets/questions/`, and measure how well they are recognised.

    python scripts/make_questions.py            write the clips and their index
    python scripts/make_questions.py --check    recognise every written clip
    python scripts/make_questions.py --measure  recognise every sentence of the kiosk's grammar in every voice

It needs Debian's packages flite (the synthetic voices) and alsa-utils (the human ones). Every clip is 300 ms of room
noise, the speech, and 700 ms of room noise. The last voiced sample is measured on the clean clip: the end of the last
10 ms window whose energy is within 40 dB of the loudest window's.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from rich.progress import track

from edgeapp.core.events import SAMPLE_RATE_HZ, Transcript, Utterance
from edgeapp.core.lane import Lane
from edgeapp.engines import stt_pocketsphinx
from edgeapp.voice.content import DAYS, ZONES, load_content
from edgeapp.voice.grammar import Grammar, kiosk_grammar

ASSETS = Path(__file__).parent.parent / "edgeapp" / "assets"
FOLDER = ASSETS / "questions"
ALSA = Path("/usr/share/sounds/alsa")
VOICES = ("slt", "rms", "awb", "kal16")

LEAD_MS, TAIL_MS = 300, 700
PEAK = 0.25  # -12 dBFS: a person at arm's length from a kiosk
NOISE_RMS = 0.0004  # -68 dBFS: a quiet room
CHUNK_SAMPLES = 512

HUMAN = "a person's voice, {name} of Debian's alsa-utils"
HUMAN_LICENCE = "GPL-2"
FLITE = "synthetic, voice {voice} of CMU Flite (Debian's flite)"
FLITE_LICENCE = "CMU Flite licence (permissive, BSD-like)"

QUESTIONS = (
    ("slt", "hello"),
    ("slt", "where is the hammer"),
    ("rms", "how much is the power drill"),
    ("slt", "is the door lock in stock"),
    ("awb", "what does the paint brush cost"),
    ("alsa", "rear right"),
    ("rms", "where can i find the tape measure"),
    ("slt", "when do you close on saturday"),
    ("rms", "what time do you open on monday"),
    ("alsa", "front center"),
    ("slt", "where is the light bulb"),
    ("rms", "how many parts failed today"),
    ("slt", "thank you"),
    ("alsa", "side left"),
    ("rms", "goodbye"),
)


class Clip(NamedTuple):
    """Clean speech: float samples at 16 kHz with nothing around it but what the voice itself has."""

    samples: NDArray[np.float64]
    text: str
    source: str
    licence: str


def grammar() -> Grammar:
    """The grammar of the default kiosk."""
    content = load_content(ASSETS / "kiosk.toml")
    return kiosk_grammar([item.name for item in content.items], DAYS, ZONES)


def read(path: Path) -> NDArray[np.float64]:
    """First channel at 16 kHz, scaled to `PEAK`."""
    samples, rate_hz = soundfile.read(path, always_2d=True)
    mono = soxr.resample(samples[:, 0], rate_hz, SAMPLE_RATE_HZ)
    return mono * (PEAK / np.abs(mono).max())


def speak(voice: str, text: str) -> Clip:
    """`text` in a person's voice (`alsa`) or in one of flite's."""
    if voice == "alsa":
        name = text.title().replace(" ", "_") + ".wav"
        return Clip(read(ALSA / name), text, HUMAN.format(name=name), HUMAN_LICENCE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
        return Clip(read(path), text, FLITE.format(voice=voice), FLITE_LICENCE)


def voiced(samples: NDArray[np.float64]) -> tuple[int, int]:
    """The first and the last voiced sample, by the energy of 10 ms windows."""
    window = SAMPLE_RATE_HZ // 100
    energy = np.square(samples[: samples.size // window * window]).reshape(-1, window).mean(axis=1)
    loud = np.nonzero(energy > energy.max() * 1e-4)[0]
    return int(loud[0]) * window, (int(loud[-1]) + 1) * window


def in_a_room(clip: Clip, rng: np.random.Generator) -> tuple[NDArray[np.int16], float]:
    """The clip between stretches of room noise, and when its last voiced sample ends, in ms."""
    first, last = voiced(clip.samples)
    lead, tail = (SAMPLE_RATE_HZ * ms // 1000 for ms in (LEAD_MS, TAIL_MS))
    speech = clip.samples[first:last]
    noise = rng.normal(size=lead + speech.size + tail + 1)
    noise = noise[1:] + 0.9 * noise[:-1]  # darker than white, as rooms are
    samples = noise * (NOISE_RMS / noise.std())
    samples[lead : lead + speech.size] += speech
    ended_ms = 1000 * (lead + speech.size) / SAMPLE_RATE_HZ
    return np.clip(samples * 32767, -32767, 32767).astype(np.int16), ended_ms


def make() -> None:
    """Write the clips and `questions.toml`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.flac"):
        old.unlink()
    lines = ["# Made by scripts/make_questions.py. Times count from the beginning of the file."]
    for number, (voice, text) in enumerate(QUESTIONS, 1):
        clip = speak(voice, text)
        samples, ended_ms = in_a_room(clip, np.random.default_rng(number))
        name = f"{number:02d}_{text.replace(' ', '_')}.flac"
        soundfile.write(FOLDER / name, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
        fields = {"file": name, "text": text, "source": clip.source, "licence": clip.licence}
        lines += ["", "[[questions]]", *(f'{key} = "{value}"' for key, value in fields.items())]
        lines += [f"human = {str(voice == 'alsa').lower()}", f"last_voiced_ms = {ended_ms:.1f}"]
    (FOLDER / "questions.toml").write_text("\n".join(lines) + "\n")
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{len(QUESTIONS)} clips, {total / 1e6:.2f} MB, in {FOLDER}")


async def recognise(stt: Any, number: int, samples: NDArray[np.int16], ended_ms: float) -> Transcript:
    """As the kiosk hears it: chunk by chunk up to two chunks of silence after the last voiced sample, then the final."""
    heard = samples[: round(ended_ms * SAMPLE_RATE_HZ / 1000) + 2 * CHUNK_SAMPLES]
    for start in range(0, heard.size, CHUNK_SAMPLES):
        await stt.hear(number, heard[start : start + CHUNK_SAMPLES])
    final: Transcript = await stt(Utterance(number, heard, 0))
    return final


@asynccontextmanager
async def recogniser(**options: float) -> AsyncIterator[Any]:
    """The engine with the default kiosk's grammar."""
    lane = Lane("stt")
    try:
        async with stt_pocketsphinx.load(
            stt_pocketsphinx.Options(sentences=grammar().sentences, **options), lane
        ) as stt:
            yield stt
    finally:
        lane.close()


async def check() -> int:
    """Recognise what was written. The number of wrong ones."""
    wrong = 0
    index = tomllib.loads((FOLDER / "questions.toml").read_text())["questions"]
    async with recogniser() as stt:
        for number, question in enumerate(index):
            samples, _ = soundfile.read(FOLDER / question["file"], dtype="int16")
            heard = await recognise(stt, number, samples, question["last_voiced_ms"])
            wrong += heard.text != question["text"]
            print(f"{'ok   ' if heard.text == question['text'] else 'WRONG'} {question['file']:50} {heard.text}")
    print(f"{len(index) - wrong} of {len(index)} right")
    return wrong


def spoken_by_all() -> Iterator[tuple[str, Clip]]:
    """Every sentence of the grammar in every synthetic voice, and every zone that a person recorded."""
    for voice in VOICES:
        for text in track(grammar().sentences, voice):
            yield voice, speak(voice, text)
    for zone in ZONES:
        yield "alsa", speak("alsa", zone)


async def measure(**options: float) -> None:
    """Print, for each voice, how many sentences come out right, refused and wrong; one new decoder a voice."""
    counts: dict[str, list[int]] = {}
    rng = np.random.default_rng(0)
    clips = list(spoken_by_all())
    for voice in (*VOICES, "alsa"):
        async with recogniser(**options) as stt:
            for number, (_, clip) in enumerate(each for each in clips if each[0] == voice):
                heard = await recognise(stt, number, *in_a_room(clip, rng))
                right, refused, wrong = counts.setdefault(voice, [0, 0, 0])
                same = heard.text == clip.text
                counts[voice] = [right + same, refused + (not heard.text), wrong + (not same and bool(heard.text))]
                if not same:
                    print(f"  {voice}: {clip.text!r} heard as {heard.text!r}")
    for voice, (right, refused, wrong) in counts.items():
        print(f"{voice:6} of {right + refused + wrong}: right {right}, refused {refused}, wrong {wrong}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="recognise every written clip")
    parser.add_argument("--measure", action="store_true", help="recognise every sentence in every voice")
    parser.add_argument("--phone-loop", type=float, default=0.001, help="with --measure: the price of a phone")
    chosen = parser.parse_args()
    if chosen.check:
        raise SystemExit(1 if asyncio.run(check()) else 0)
    if chosen.measure:
        asyncio.run(measure(phone_loop=chosen.phone_loop))
    else:
        make()


if __name__ == "__main__":
    main()
