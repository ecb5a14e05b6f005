"""Measure the keyphrase: how often it is heard, and how often it is heard where nobody said it.

    python scripts/measure_wake.py [--minutes 60] [--gains 1 1e10] [--keyphrase "hello kiosk"]

Everything goes the kiosk's way: voice activity, endpointer, PocketSphinx with the kiosk's grammar and the keyphrase in
front, `Attention`. Said: the keyphrase alone, in one breath with a question, behind other words and before words of no
grammar, by voices of espeak-ng. Not said: the demo's clips, and minutes of talk by the same voices, half of it sentences of
people in a shop and half of it random words of the dictionary, some of which sound like the keyphrase. CPU time is that of
the whole path, voice activity included, for each second of the talk.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from make_questions import FOLDER, Clip, grammar, in_a_room
from measure_pocketsphinx import BABBLE, DEV_OUTSIDE, TEST_OUTSIDE
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ, AudioChunk, Clause, Transcript, Utterance
from edgeapp.core.lane import Lane
from edgeapp.engines import stt_pocketsphinx, tts_espeak, vad_silero
from edgeapp.voice.endpoint import Endpointer, EndpointRule, Framer, Speaking
from edgeapp.voice.wake import Attention, AttentionRule, Way

VOICES = ("en-us", "en-us+f3", "en-us+m2", "en-us+f4", "en-us+m7", "en-us+f2", "en-us+m3", "en-029")
CARRIERS = (
    ("{}", ""), ("{} where is the hammer", "where is the hammer"),
    ("{} when do you close on saturday", "when do you close on saturday"),
    ("{} how much is the power drill", "how much is the power drill"),
    ("excuse me {} is the door lock in stock", "is the door lock in stock"), ("{} the weather is nice", ""),
)  # fmt: skip
ALIKE = (
    "hey",
    "edge",
    "app",
    "hedge",
    "happy",
    "jap",
    "wedge",
    "apple",
    "agile",
    "age",
    "act",
    "page",
    "map",
    "hey jude",
)


async def spoken(text: str, voice: str, words_per_minute: int, lane: Lane) -> NDArray[np.float64]:
    """Speech at 16 kHz, scaled to a peak of 0.25."""
    options = tts_espeak.Options(voice=voice, words_per_minute=words_per_minute)
    async with tts_espeak.load(options, lane) as tts:
        parts = [part async for part in await tts(Clause(text))]
    samples = soxr.resample(np.concatenate([part.samples for part in parts]) / 32768, parts[0].sample_rate_hz, 16_000)
    return np.asarray(samples * (0.25 / np.abs(samples).max()))


async def talk(seconds: float, lane: Lane, rng: np.random.Generator) -> AsyncIterator[NDArray[np.int16]]:
    """Sentences with pauses, until so many seconds of them were made."""
    import pocketsphinx

    dictionary = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    words = [word for line in dictionary if (word := line.split()[0]).isalpha()]
    made = 0.0
    while made < seconds:
        voice = VOICES[rng.integers(len(VOICES))]
        if rng.random() < 0.5:
            text = str(rng.choice((*DEV_OUTSIDE, *TEST_OUTSIDE, *BABBLE, *grammar().sentences[::12])))
        else:
            text = " ".join([*rng.choice(words, rng.integers(3, 9)), *rng.choice(ALIKE, rng.integers(0, 2))])
        speech = await spoken(text, voice, int(rng.integers(130, 190)), lane)
        samples, _ = in_a_room(Clip(speech, text, "", ""), rng)
        made += samples.size / SAMPLE_RATE_HZ
        yield samples


class Ear:
    """Microphone samples in, what `Attention` makes of each utterance out."""

    def __init__(self, vad: Any, stt: Any, keyphrase: str) -> None:
        self._vad, self._stt = vad, stt
        self._rule = AttentionRule(frozenset({Way.KEYPHRASE}), keyphrase)
        self._endpointer, self._framer = Endpointer(EndpointRule()), Framer()
        self._now_ns = 0
        self.cpu_s = 0.0

    async def take(self, samples: NDArray[np.int16]) -> list[str | None]:
        """One clip, silence at its end included; every utterance meets a device asleep."""
        began_s, answers = time.process_time(), []
        self._now_ns += samples.size * 1_000_000_000 // SAMPLE_RATE_HZ
        partial = Transcript("", complete=False)
        for frame in self._framer.feed(AudioChunk(samples, self._now_ns)):
            if self._endpointer.heard:
                partial = await self._stt.hear(self._endpointer.number, frame.samples)
            event = self._endpointer.feed(frame, await self._vad(frame.samples), partial)
            if event is Speaking.STARTED:
                for each in self._endpointer.heard:
                    partial = await self._stt.hear(self._endpointer.number, each.samples)
            elif isinstance(event, Utterance):
                answers.append(Attention(self._rule).heard((await self._stt(event)).text, 0))
        self.cpu_s += time.process_time() - began_s
        return answers


async def measure(keyphrase: str, gain: float, minutes: float, voices: tuple[str, ...]) -> None:
    """Print one gain's figures."""
    rng, lanes = np.random.default_rng(5), [Lane(name) for name in ("vad", "stt", "tts")]
    async with (
        vad_silero.load(vad_silero.Options(), lanes[0]) as vad,
        stt_pocketsphinx.load(stt_pocketsphinx.Options(keyphrase_gain=gain), lanes[1]) as stt,
    ):
        await stt.use_grammar(grammar().sentences, keyphrase)
        path = Ear(vad, stt, keyphrase)
        said = woken = right = 0
        for voice in voices:
            for carrier, question in CARRIERS:
                speech = await spoken(carrier.format(keyphrase), voice, 150, lanes[2])
                answers = [
                    each for each in await path.take(in_a_room(Clip(speech, "", "", ""), rng)[0]) if each is not None
                ]
                said, woken, right = said + 1, woken + bool(answers), right + (question in answers)
        print(f"gain {gain:g}: said {said}, woken {woken}, understood whole {right}", flush=True)
        false = 0
        for entry in tomllib.loads((FOLDER / "questions.toml").read_text())["questions"]:
            samples, _ = soundfile.read(FOLDER / entry["file"], dtype="int16")
            false += any(each is not None for each in await path.take(samples))
        print(f"gain {gain:g}: {false} false wakes on the demo's clips", flush=True)
        false, path.cpu_s, audio_s, utterances = 0, 0.0, 0.0, 0
        async for samples in talk(minutes * 60, lanes[2], rng):
            answers = await path.take(samples)
            utterances += len(answers)
            false += sum(each is not None for each in answers)
            audio_s += samples.size / SAMPLE_RATE_HZ
        print(
            f"gain {gain:g}: {false} false wakes in {audio_s / 60:.1f} min of talk, {utterances} utterances; "
            f"CPU {path.cpu_s / audio_s:.3f} of the audio's length",
            flush=True,
        )
    for lane in lanes:
        lane.close()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--gains", type=float, nargs="*", default=[1e10])
    parser.add_argument("--keyphrase", default="hello kiosk")
    parser.add_argument("--voices", nargs="*", default=VOICES)
    chosen = parser.parse_args()
    for gain in chosen.gains:
        asyncio.run(measure(chosen.keyphrase, gain, chosen.minutes, tuple(chosen.voices)))


if __name__ == "__main__":
    main()
