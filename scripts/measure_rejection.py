"""Measure what stt_pocketsphinx accepts and refuses, for several prices of its phone loop and several loudnesses.

    python scripts/measure_rejection.py [--clips FOLDER]

Human speech: Debian's alsa-utils (the eight zones, inside the kiosk's grammar and outside a grammar without zones) and,
with --clips, test/data of pocketsphinx's source package (`apt-get source pocketsphinx`): inside grammars of their own,
outside the kiosk's. Synthetic speech: flite reading sentences that no kiosk knows.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from make_questions import Clip, grammar, in_a_room, read, recognise, speak
from rich.progress import track

from edgeapp.core.lane import Lane
from edgeapp.engines import stt_pocketsphinx
from edgeapp.voice.content import ZONES

CARDS = (
    "ten of clubs", "four queen of clubs", "seven of clubs", "five five",
    "eight of spades four of clubs seven of hearts", "seven of spades", "nine of clubs", "two of hearts",
)  # fmt: skip
TURTLE = ("go forward ten meters", "go backward ten meters", "go forward two meters", "turn left", "turn right")
OUTSIDE = (
    "the weather is going to be nice this weekend", "do you know where my brother went", "can i pay with a credit card",
    "that is not what i meant at all", "i think we should go home now", "excuse me is there a toilet here",
    "my phone is almost out of battery", "what a strange little machine", "it was a dark and stormy night",
    "please call me back when you can", "how far is it to the station", "one two three four five", "okay",
    "he said that she would come later", "where did you park the car", "how much longer will this take",
    "when does the next train leave", "nothing", "maybe tomorrow", "what is the capital of france",
)  # fmt: skip


class Trial(NamedTuple):
    """A clip and a grammar: inside it, if its text is one of the sentences."""

    clip: Clip
    sentences: tuple[str, ...]


def human(folder: Path | None) -> list[Trial]:
    """The trials with people's voices."""
    kiosk = grammar().sentences
    without_zones = tuple(each for each in kiosk if each not in ZONES)
    zones = [speak("alsa", zone) for zone in ZONES]
    trials = [Trial(clip, kiosk) for clip in zones] + [Trial(clip, without_zones) for clip in zones]
    if folder is None:
        return trials
    cards = [Clip(read(folder / f"cards/{n:03d}.wav"), text, "", "") for n, text in enumerate(CARDS[:5], 1)]
    books = []
    for line in (folder / "librivox/transcription").read_text().splitlines():
        text, _, name = line.replace("<s>", "").replace("</s>", "").rpartition("(")
        books.append(Clip(read(folder / "librivox" / (name.strip(" )") + ".wav")), " ".join(text.split()), "", ""))
    raw = [Clip(read_raw(folder / f"{name}.raw"), name, "", "") for name in ("goforward", "something", "numbers")]
    trials += [Trial(clip, CARDS) for clip in cards]
    trials += [Trial(raw[0]._replace(text=TURTLE[0]), TURTLE)]
    trials += [Trial(clip, tuple(each.text for each in books) + kiosk) for clip in books]
    trials += [Trial(clip, kiosk) for clip in (*cards, *books, *raw)]
    return trials + [Trial(clip, CARDS) for clip in (*zones, *books, *raw)]


def read_raw(path: Path) -> np.ndarray:
    """Headerless 16-bit samples at 16 kHz, scaled as `read` does."""
    samples, _ = soundfile.read(path, channels=1, samplerate=16_000, format="RAW", subtype="PCM_16", endian="LITTLE")
    return np.asarray(samples * (0.25 / np.abs(samples).max()))


def synthetic() -> list[Trial]:
    """The trials with flite's voices: sentences outside, and every fifth sentence inside."""
    kiosk = grammar().sentences
    outside = [Trial(speak(voice, text), kiosk) for voice in ("slt", "rms") for text in track(OUTSIDE, voice)]
    return outside + [Trial(speak(voice, text), kiosk) for voice in ("slt", "rms") for text in kiosk[::5]]


async def count(trials: Sequence[Trial], phone_loop: float, loudness: float) -> tuple[int, int, int, int, list[str]]:
    """Right of those inside, refused of those outside, and what went wrong. Trials of one grammar share a decoder."""
    right = inside = refused = outside = 0
    wrong = []
    rng = np.random.default_rng(0)
    lane = Lane("stt")
    for sentences in dict.fromkeys(trial.sentences for trial in trials):
        options = stt_pocketsphinx.Options(sentences=sentences, phone_loop=phone_loop)
        async with stt_pocketsphinx.load(options, lane) as stt:
            for number, trial in enumerate(each for each in trials if each.sentences == sentences):
                clip = trial.clip
                heard = await recognise(stt, number, *in_a_room(clip._replace(samples=clip.samples * loudness), rng))
                if clip.text in sentences:
                    inside, right = inside + 1, right + (heard.text == clip.text)
                    good = heard.text == clip.text
                else:
                    outside, refused = outside + 1, refused + (heard.text == "")
                    good = heard.text == ""
                if not good:
                    wrong.append(f"{clip.text[:30]!r} as {heard.text!r}")
    lane.close()
    return right, inside, refused, outside, wrong


async def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="test/data of pocketsphinx's source package")
    chosen = parser.parse_args()
    for name, trials in (("human", human(chosen.clips)), ("flite", synthetic())):
        for phone_loop, loudness in (
            (0, 1.0), (1, 1.0), (0.1, 1.0), (0.01, 1.0), (0.001, 1.0), (0.0001, 1.0), (0.00001, 1.0),
            (0.001, 0.1), (0.001, 0.3), (0.001, 3.0),
        ):  # fmt: skip
            right, inside, refused, outside, wrong = await count(trials, phone_loop, loudness)
            print(f"{name} phone_loop {phone_loop} loudness {loudness}: inside right {right}/{inside}, "
                  f"outside refused {refused}/{outside}", flush=True)  # fmt: skip
            for line in wrong[:12]:
                print("    ", line)


if __name__ == "__main__":
    asyncio.run(main())
