"""Measure stt_pocketsphinx against its bars: print them, and write models/kiosk-sphinx/figures.json.

    python scripts/measure_pocketsphinx.py [--clips FOLDER] [--every N] [--set dev|test] [--trigram] [--keyphrase]

Bars: 90 % of the sentences of the grammar right, 90 % of other speech refused, at most 5 % of the grammar's sentences
refused, 0.05 of the audio's length in CPU time. Each on people's voices and on synthetic voices, quiet and with white
noise, hum and babble 15 dB below the speech, through the engine as the kiosk uses it: 32 ms at a time, up to two chunks of
silence after the last voiced sample; a new decoder for each voice and noise.

People: Debian's alsa-utils (the eight zones, inside the kiosk's grammar and outside one without zones) and, with --clips,
test/data of pocketsphinx's source package (`apt-get source pocketsphinx`) in grammars of their own and outside the kiosk's.
Synthetic: the prices were chosen on `dev` (flite's slt and rms, two variants of espeak-ng's US voice, DEV_OUTSIDE); `test`,
the default, has other voices (flite's awb and kal16, espeak-ng's US man and US woman) and other sentences outside. Babble is
made of voices of neither. Figures are written after a whole run on `test` with --clips.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from make_questions import ASSETS, Clip, grammar, in_a_room, read, recognise, speak, voiced
from numpy.typing import NDArray
from rich.progress import track

from edgeapp.core.events import SAMPLE_RATE_HZ
from edgeapp.core.lane import Lane
from edgeapp.engines import stt_pocketsphinx
from edgeapp.voice.content import ZONES

FIGURES = ASSETS.parent.parent / "models" / "kiosk-sphinx" / "figures.json"
SNR_DB = 15.0
NOISES = ("quiet", "white", "hum", "babble")
VOICES = {
    "dev": ("slt", "rms", "espeak en-us+m2", "espeak en-us+f4"),
    "test": ("awb", "kal16", "espeak en-us", "espeak en-us+f3"),
}
BABBLE_VOICES = ("espeak en-gb", "espeak en-gb-scotland+f2", "espeak en-029+m3", "espeak en-us+m7")
BABBLE = (
    "the council will meet again on thursday afternoon to discuss the new bridge",
    "she told me that the garden was full of apples and pears this year",
    "we took the early train and walked along the river until it was dark",
    "nobody knew why the lights in the old house were still on",
)
CARDS = (
    "ten of clubs", "four queen of clubs", "seven of clubs", "five five",
    "eight of spades four of clubs seven of hearts", "seven of spades", "nine of clubs", "two of hearts",
)  # fmt: skip
TURTLE = ("go forward ten meters", "go backward ten meters", "go forward two meters", "turn left", "turn right")
DEV_OUTSIDE = (
    "the weather is going to be nice this weekend", "do you know where my brother went", "can i pay with a credit card",
    "that is not what i meant at all", "i think we should go home now", "excuse me is there a toilet here",
    "my phone is almost out of battery", "what a strange little machine", "it was a dark and stormy night",
    "please call me back when you can", "how far is it to the station", "one two three four five", "okay",
    "he said that she would come later", "where did you park the car", "how much longer will this take",
    "when does the next train leave", "nothing", "maybe tomorrow", "what is the capital of france",
)  # fmt: skip
TEST_OUTSIDE = (
    "can you tell me a joke", "what is the weather like today", "i lost my keys somewhere in here",
    "please turn the music down", "my name is peter and i live in berlin", "is there a bank around the corner",
    "how do i get to the airport from here", "this coffee is far too cold", "we should leave before it gets dark",
    "did you see the game last night", "i would like two tickets for the evening show", "what happened to the blue car",
    "let me think about it for a minute", "the children are playing in the garden", "sorry i did not hear you",
    "who won the election", "seventeen and twenty five make forty two", "she has been waiting for an hour",
    "where are my glasses", "good night", "happy birthday", "my flight was cancelled this morning", "play some jazz",
    "set a timer for ten minutes",
)  # fmt: skip
FREE = (
    "how much does the hammer cost", "where do you have the ladder", "do you have the door lock in stock",
    "hello where is the hammer", "what is the light bulb", "is the tape measure at the front left",
    "how many parts failed and how many parts passed today", "when do you open and when do you close on friday",
)  # fmt: skip
"""The kiosk's words in other orders: what a trigram model is for."""

KEYPHRASE = "hello kiosk"


class Trial(NamedTuple):
    """A clip and a grammar: inside it, if its text is one of the sentences."""

    clip: Clip
    sentences: tuple[str, ...]


@dataclass
class Tally:
    """What came out."""

    inside: int = 0
    right: int = 0
    refused_inside: int = 0
    outside: int = 0
    refused: int = 0
    cpu_s: float = 0.0
    audio_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Sum up."""
        for name in ("inside", "right", "refused_inside", "outside", "refused", "cpu_s", "audio_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def figures(self) -> dict[str, float]:
        """As in figures.json."""
        return {
            "inside": self.inside,
            "inside_right": round(self.right / max(1, self.inside), 3),
            "inside_refused": round(self.refused_inside / max(1, self.inside), 3),
            "outside": self.outside,
            "outside_refused": round(self.refused / max(1, self.outside), 3),
            "cpu_per_audio": round(self.cpu_s / max(1e-9, self.audio_s), 4),
        }


def voice_of(voice: str, text: str) -> Clip:
    """`text` in a voice of flite or, as `espeak NAME`, of espeak-ng."""
    engine, _, name = voice.partition(" ")
    if engine != "espeak":
        return speak(voice, text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-v", name, "-s", "150", "-w", str(path), text], check=True)
        return Clip(read(path), text, f"synthetic, espeak-ng voice {name}", "")


def people(folder: Path | None) -> list[Trial]:
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


def read_raw(path: Path) -> NDArray[np.float64]:
    """Headerless 16-bit samples at 16 kHz, scaled as `read` does."""
    samples, _ = soundfile.read(path, channels=1, samplerate=16_000, format="RAW", subtype="PCM_16", endian="LITTLE")
    return np.asarray(samples * (0.25 / np.abs(samples).max()))


def synthetic(voice: str, outside: Sequence[str], every: int) -> list[Trial]:
    """Every so many sentences of the kiosk, and those outside."""
    kiosk = grammar().sentences
    texts = (*kiosk[::every], *outside)
    return [Trial(voice_of(voice, text), kiosk) for text in track(texts, voice)]


class Noise:
    """Noises to lay under speech."""

    def __init__(self) -> None:
        self._babble = [
            np.concatenate([self._spoken(voice, text) for text in BABBLE]) for voice in track(BABBLE_VOICES, "babble")
        ]

    @staticmethod
    def _spoken(voice: str, text: str) -> NDArray[np.float64]:
        samples = voice_of(voice, text).samples
        return np.asarray(samples / samples.std())

    def of(self, kind: str, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """`size` samples of white noise, of a machine's hum with its fan, or of four people who talk."""
        if kind == "white":
            return rng.normal(size=size)
        if kind == "hum":
            seconds = np.arange(size) / SAMPLE_RATE_HZ
            tones = ((50, 1.0), (100, 0.8), (150, 0.5), (200, 0.3), (300, 0.2))
            hum = sum(level * np.sin(2 * np.pi * (hz * seconds + rng.uniform())) for hz, level in tones)
            spectrum = np.fft.rfft(rng.normal(size=size))
            spectrum /= np.sqrt(1 + (np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ) / 300) ** 2)
            fan = np.fft.irfft(spectrum, size)
            return np.asarray(hum / np.std(hum) + fan / fan.std())
        talk = np.zeros(size)
        for voice in self._babble:
            talk += np.roll(np.resize(voice, max(size, voice.size)), rng.integers(voice.size))[:size]
        return talk

    def room(self, clip: Clip, kind: str, rng: np.random.Generator) -> tuple[NDArray[np.int16], float]:
        """The clip between stretches of noise `SNR_DB` below it, and when its last voiced sample ends, in ms."""
        samples, ended_ms = in_a_room(clip, rng)
        if kind == "quiet":
            return samples, ended_ms
        first, last = voiced(clip.samples)
        speech_rms = np.sqrt(np.square(clip.samples[first:last]).mean())
        noise = self.of(kind, samples.size, rng)
        noise *= speech_rms / noise.std() * 10 ** (-SNR_DB / 20)
        return np.clip(samples + noise * 32767, -32767, 32767).astype(np.int16), ended_ms


async def measure(trials: Sequence[Trial], noise: Noise, kind: str, options: dict[str, Any]) -> Tally:
    """Hear all trials in one kind of noise. Trials of one grammar share a decoder."""
    tally = Tally()
    rng = np.random.default_rng(1)
    lane = Lane("stt")
    for sentences in dict.fromkeys(trial.sentences for trial in trials):
        chosen = stt_pocketsphinx.Options(sentences=sentences, **options)
        async with stt_pocketsphinx.load(chosen, lane) as stt:
            for number, trial in enumerate((each for each in trials if each.sentences == sentences), 1):
                samples, ended_ms = noise.room(trial.clip, kind, rng)
                began_s = time.process_time()
                heard = (await recognise(stt, number, samples, ended_ms)).text
                tally.cpu_s += time.process_time() - began_s
                tally.audio_s += ended_ms / 1000
                text = trial.clip.text
                if text in sentences:
                    tally.inside, tally.right = tally.inside + 1, tally.right + (heard == text)
                    tally.refused_inside += not heard
                else:
                    tally.outside, tally.refused = tally.outside + 1, tally.refused + (not heard)
                if heard != (text if text in sentences else ""):
                    tally.failures.append(f"{text[:40]!r} as {heard!r}")
    lane.close()
    return tally


def measured_alone(trials: Sequence[Trial], noise: Noise, kind: str, options: dict[str, Any]) -> Tally:
    """`measure` in a process of its own, whose CPU time is that of one decoder."""
    return asyncio.run(measure(trials, noise, kind, options))


async def bars(chosen: argparse.Namespace, noise: Noise, options: dict[str, Any]) -> dict[str, Any]:
    """Measure and print every voice in every noise, and the sums."""
    outside = DEV_OUTSIDE if chosen.set == "dev" else TEST_OUTSIDE
    groups = {"people": people(chosen.clips)} if not chosen.no_people else {}
    groups |= (
        {}
        if chosen.no_synthetic
        else {voice: synthetic(voice, outside, chosen.every) for voice in chosen.voices or VOICES[chosen.set]}
    )
    sums = {"people": {kind: Tally() for kind in NOISES}, "synthetic": {kind: Tally() for kind in NOISES}}
    by_voice: dict[str, dict[str, float]] = {}
    tasks = [(name, kind) for name in groups for kind in chosen.noises or NOISES]
    with ProcessPoolExecutor(chosen.jobs) as pool:
        work = [pool.submit(measured_alone, groups[name], noise, kind, options) for name, kind in tasks]
        for (name, kind), result in zip(tasks, work, strict=True):
            tally = result.result()
            sums["people" if name == "people" else "synthetic"][kind].add(tally)
            by_voice[f"{name}, {kind}"] = tally.figures()
            print(f"{name:18} {kind:7} {tally.figures()}", flush=True)
            for line in tally.failures[: chosen.failures]:
                print("    ", line)
    figures: dict[str, Any] = {}
    whole = Tally()
    for who, kinds in sums.items():
        in_noise = Tally()
        for kind, tally in kinds.items():
            whole.add(tally)
            if kind != "quiet":
                in_noise.add(tally)
            if tally.inside:
                figures[f"{who}, {kind}"] = tally.figures()
        if in_noise.inside:
            figures[f"{who}, noises"] = in_noise.figures()
    figures["all"] = whole.figures()
    return {"bars": figures, "voices": by_voice}


def print_bars(figures: dict[str, dict[str, float]]) -> None:
    """One line each: `bar name value limit ok`, or MISSED."""
    for name, found in figures.items():
        named = name.replace(", ", "_")
        for figure, limit in (("inside_right", 0.90), ("outside_refused", 0.90)):
            print(f"bar {named}_{figure} {found[figure]} {limit} {'ok' if found[figure] >= limit else 'MISSED'}")
        for figure in ("inside_refused", "cpu_per_audio"):
            print(f"bar {named}_{figure} {found[figure]} 0.05 {'ok' if found[figure] <= 0.05 else 'MISSED'}")


def word_errors(said: str, heard: str) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(heard.split()) + 1))
    for i, word in enumerate(said.split(), 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard.split(), 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


async def trigram(chosen: argparse.Namespace) -> dict[str, Any]:
    """The trigram model beside the grammar: on the kiosk's sentences, on its words in other orders, and on other speech."""
    kiosk = grammar().sentences
    rng = np.random.default_rng(2)
    lane = Lane("stt")
    found: dict[str, Any] = {}
    sets = {"sentences": kiosk[:: chosen.every], "other orders": FREE, "outside": TEST_OUTSIDE[::2]}
    for name, is_trigram in (("grammar", False), ("trigram", True)):
        async with stt_pocketsphinx.load(stt_pocketsphinx.Options(sentences=kiosk, trigram=is_trigram), lane) as stt:
            number = 0
            for which, texts in sets.items():
                errors = words = right = empty = 0
                cpu_s = audio_s = 0.0
                for voice in VOICES["test"][:2]:
                    for text in texts:
                        samples, ended_ms = in_a_room(voice_of(voice, text), rng)
                        began_s, number = time.process_time(), number + 1
                        heard = (await recognise(stt, number, samples, ended_ms)).text
                        cpu_s, audio_s = cpu_s + time.process_time() - began_s, audio_s + ended_ms / 1000
                        errors, words = errors + word_errors(text, heard), words + len(text.split())
                        right, empty = right + (heard == text), empty + (not heard)
                found[f"{name}, {which}"] = {
                    "word_error_rate": round(errors / words, 3),
                    "right": round(right / len(texts) / 2, 3),
                    "empty": round(empty / len(texts) / 2, 3),
                    "cpu_per_audio": round(cpu_s / audio_s, 4),
                }
                print(f"{name:8} {which:13} {found[f'{name}, {which}']}", flush=True)
    lane.close()
    return found


async def keyphrase(noise: Noise) -> dict[str, Any]:
    """Misses and false alarms of a wake word, utterance by utterance as the kiosk's endpointer cuts them."""
    kiosk = grammar().sentences
    voices = (*VOICES["dev"], *VOICES["test"])
    rng = np.random.default_rng(3)
    lane = Lane("stt")
    found: dict[str, Any] = {}
    said = [voice_of(voice, text) for voice in voices for text in (KEYPHRASE, f"{KEYPHRASE} where is the hammer")]
    other = [speak("alsa", zone) for zone in ZONES]
    other += [voice_of(voice, text) for voice in voices for text in (*kiosk[::24], *TEST_OUTSIDE[::4])]
    async with stt_pocketsphinx.load(stt_pocketsphinx.Options(keyphrase=KEYPHRASE), lane) as stt:
        for kind in ("quiet", "hum"):
            missed = alarms = number = 0
            audio_s = cpu_s = 0.0
            for clip in track((*said, *other), f"keyphrase, {kind}"):
                samples, ended_ms = noise.room(clip, kind, rng)
                began_s, number = time.process_time(), number + 1
                heard = bool((await recognise(stt, number, samples, ended_ms)).text)
                cpu_s += time.process_time() - began_s
                wanted = clip.text.startswith(KEYPHRASE)
                missed, alarms = missed + (wanted and not heard), alarms + (heard and not wanted)
                audio_s += 0 if wanted else ended_ms / 1000
            found[f"keyphrase, {kind}"] = {
                "said": len(said),
                "missed": missed,
                "false_alarms": alarms,
                "other_speech_s": round(audio_s),
                "false_alarms_per_hour_of_speech": round(alarms / audio_s * 3600, 1),
            }
            print(f"keyphrase {kind:7} {found[f'keyphrase, {kind}']}", flush=True)
    lane.close()
    return found


async def main() -> None:
    """Read the command line, measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="test/data of pocketsphinx's source package")
    parser.add_argument("--set", choices=tuple(VOICES), default="test")
    parser.add_argument("--every", type=int, default=12, help="of the kiosk's sentences, every so many")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--voices", nargs="*", help="only these")
    parser.add_argument("--noises", nargs="*", help="only these")
    parser.add_argument("--no-people", action="store_true")
    parser.add_argument("--no-synthetic", action="store_true")
    parser.add_argument("--options", default="{}", help="of the engine, as JSON")
    parser.add_argument("--failures", type=int, default=0, help="print so many of each kind")
    parser.add_argument("--trigram", action="store_true", help="only the trigram model")
    parser.add_argument("--keyphrase", action="store_true", help="only the keyphrase")
    parser.add_argument("--no-write", action="store_true", help="leave figures.json as it is")
    chosen = parser.parse_args()
    measured: dict[str, Any]
    if chosen.trigram:
        measured, whole = {"trigram": await trigram(chosen)}, True
    elif chosen.keyphrase:
        measured, whole = {"keyphrase": await keyphrase(Noise())}, True
    else:
        measured = await bars(chosen, Noise(), json.loads(chosen.options))
        measured["command"] = f"python scripts/measure_pocketsphinx.py --clips FOLDER --every {chosen.every}"
        part = chosen.voices or chosen.noises or chosen.no_people or chosen.no_synthetic or chosen.options != "{}"
        whole = chosen.set == "test" and chosen.clips is not None and not part
        print_bars(measured["bars"])
    if whole and not chosen.no_write:
        before = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(before | measured, indent=1) + "\n")
    print(json.dumps(measured.get("bars", measured)))


if __name__ == "__main__":
    asyncio.run(main())
