"""How soon a turn may be taken for finished: delays, cut-offs and false commits of the endpoint rule's presets.

    python scripts/measure_endpoint.py [--half 1] [--rooms 2] [--sentences 9] [--smart-turn]

The demo's recorded questions in several rooms (loudness, noise, alignment), sentences of the kiosk's grammar by espeak-ng and, where
Debian's flite is installed, by flite, and the same with a pause of 200 to 700 ms before one of their words: all go through
the real voice activity detector and the real recogniser once, and the endpointer of every preset then takes what they
said. Voices and rooms come in two halves: constants are chosen on half 0 and reported on half 1. A cut-off is a turn that
ends before its last voiced sample, be it only the release of a final stop; a false commit is one that ends in its pause.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from rich.progress import track

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.bench.paused import Room, heard_in, quietest, voiced_span, with_pause
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, BackendError, Clause, Transcript, Utterance
from edgeapp.core.lane import Lane
from edgeapp.demo.kiosk import recorded_questions
from edgeapp.engines import stt_pocketsphinx, tts_espeak, turn_smart, vad_silero
from edgeapp.engines.align_pocketsphinx import word_starts
from edgeapp.observe.percentile import percentile
from edgeapp.voice.content import load_content
from edgeapp.voice.endpoint import FRAME_NS, FRAME_SAMPLES, Endpointer, preset
from edgeapp.voice.grammar import GREETING, Grammar, kiosk_grammar

PRESETS = ("aggressive", "default", "relaxed", "digits")
VOICES = (
    (("slt", "awb"), (("en-us", 160), ("en-us+f2", 175))),
    (("rms", "kal16"), (("en-us+m3", 150), ("en-us+f4", 165))),
)
"""Of each half: flite's, and espeak-ng's with their words a minute."""

SHORT = ("hello", "yes", "no", "stop")
PEAK = 8_192
PRE_ROLL_FRAMES = 10


@dataclass
class Turn:
    """One question and what was heard of it."""

    voice: str
    text: str
    samples: NDArray[np.int16]
    ends: int
    """The sample after the last voiced one."""

    paused: tuple[int, int] | None = None
    """The samples between which it pauses."""

    after: str = ""
    """The word before the pause."""

    frames: list[tuple[AudioChunk, float, Transcript]] = field(default_factory=list)
    shift: int = 0

    def ms(self, sample: int) -> float:
        """When a sample of the clip was heard."""
        return (self.shift + sample) * 1000 / SAMPLE_RATE_HZ


def flite(voice: str, text: str) -> NDArray[np.int16]:
    """`text` in one of flite's voices."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
        samples, rate_hz = soundfile.read(path)
    return clip(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ))


async def espeak(voice: str, words_per_minute: int, text: str) -> NDArray[np.int16]:
    """`text` in one of espeak-ng's voices."""
    lane = Lane("tts")
    async with tts_espeak.load(tts_espeak.Options(voice=voice, words_per_minute=words_per_minute), lane) as speak:
        parts = [part async for part in await speak(Clause(text))]
    lane.close()
    samples = np.concatenate([part.samples for part in parts]).astype(np.float64)
    return clip(soxr.resample(samples, parts[0].sample_rate_hz, SAMPLE_RATE_HZ))


def clip(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    """At one loudness, with 10 ms before the first voiced sample and nothing after the last."""
    scaled = (samples / np.abs(samples).max() * PEAK).astype(np.int16)
    first, last = voiced_span(scaled)
    return scaled[max(0, first - 160) : last]


async def synthesized(half: int, text: str, only: int | None = None) -> AsyncIterator[tuple[str, NDArray[np.int16]]]:
    """`text` in every voice of a half, or in one of them."""
    by_flite, by_espeak = VOICES[half]
    for number, voice in enumerate(by_flite):
        if shutil.which("flite") and only in {None, number}:
            yield voice, flite(voice, text)
    for number, (name, pace) in enumerate(by_espeak, len(by_flite)):
        if only in {None, number}:
            yield name, await espeak(name, pace, text)


def with_a_pause(turn: Turn, dice: np.random.Generator) -> Iterator[Turn]:
    """The turn with 200 to 700 ms before one of its words; none if it has one word or cannot be aligned."""
    words = turn.text.split()
    try:
        starts = word_starts(turn.samples, turn.text) if len(words) > 1 else []
    except BackendError:
        return
    if starts:
        number = 1 if words[0] == GREETING else int(dice.integers(1, len(words)))
        at = quietest(turn.samples, starts[number])
        samples = with_pause(turn.samples, at, dice.uniform(200, 700), dice, noise_rms=8)
        longer = len(samples) - len(turn.samples)
        yield Turn(turn.voice, turn.text, samples, turn.ends + longer, (at, at + longer), words[number - 1])


async def material(grammar: Grammar, half: int, rooms: int, sentences: int) -> list[Turn]:
    """Every turn of a half, not heard yet."""
    dice = np.random.default_rng(half)
    recorded = [Turn("recorded", each.text, each.samples, each.last_voiced) for each in recorded_questions()]
    turns = [Turn(each.voice, each.text, each.samples, each.ends) for _ in range(rooms) for each in recorded]
    turns += [paused for _ in range(rooms) for each in recorded for paused in with_a_pause(each, dice)]
    for only in range(4):
        chosen = [grammar.sentences[n] for n in dice.choice(len(grammar.sentences), 2 * sentences, replace=False)]
        for text in (*chosen[:sentences], *SHORT):
            turns += [
                Turn(voice, text, samples, len(samples)) async for voice, samples in synthesized(half, text, only)
            ]
        for text in (*chosen[sentences:], f"{GREETING} {chosen[0]}"):
            plain = [Turn(voice, text, samples, len(samples)) async for voice, samples in synthesized(half, text, only)]
            turns += [paused for each in plain for paused in with_a_pause(each, dice)]
    return turns


async def listen(turn: Turn, number: int, vad: Any, stt: Any) -> None:
    """Hear one turn in one room, as a conversation does: pre-roll first, then frame by frame."""
    dice = np.random.default_rng(number)
    room = Room(
        gain=dice.uniform(0.5, 1.2), noise_rms=float(dice.choice([8, 15, 40])), lead_ms=500 + dice.uniform(0, 32)
    )
    samples, turn.shift = heard_in(room, turn.samples, dice)
    vad.reset()
    begun = False
    for n in range(len(samples) // FRAME_SAMPLES):
        chunk = AudioChunk(samples[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES], (n + 1) * FRAME_NS)
        probability, words = await vad(chunk.samples), Transcript("", complete=False)
        before = [] if begun or probability < 0.5 else [each for each, _, _ in turn.frames[1 - PRE_ROLL_FRAMES :]]
        begun = begun or probability >= 0.5
        for each in (*before, chunk) if begun else ():
            words = await stt.hear(number, each.samples)
        turn.frames.append((chunk, probability, words))


def judged(turn: Turn, name: str) -> tuple[str, float, str]:
    """What the preset did with the turn (ended, cut off, false commit, not ended), the delay in ms, and the words."""
    endpointer = Endpointer(preset(name))
    for chunk, probability, words in turn.frames:
        if isinstance(endpointer.feed(chunk, probability, words), Utterance):
            at_ms = chunk.ended_ns / MS
            if at_ms >= turn.ms(turn.ends):
                return "ended", at_ms - turn.ms(turn.ends), words.text
            paused = turn.paused is not None and at_ms <= turn.ms(turn.paused[1]) + FRAME_NS / MS
            return "false commit" if paused else "cut off", at_ms - turn.ms(turn.ends), words.text
    return "not ended", 0.0, ""


def report(turns: list[Turn], name: str) -> list[dict[str, Any]]:
    """Print and return the figures of one preset."""
    every = [(turn, *judged(turn, name)) for turn in turns]
    kinds = {
        "plain": [each for each in every if not each[0].paused],
        "plain, understood": [each for each in every if not each[0].paused and each[3]],
        "paused": [each for each in every if each[0].paused and each[0].after != GREETING],
        "paused after hello": [each for each in every if each[0].after == GREETING],
    }
    rows = []
    for kind, chosen in kinds.items():
        count = Counter(outcome for _, outcome, _, _ in chosen)
        delays = [delay for _, outcome, delay, _ in chosen if outcome == "ended"]
        row = {"preset": name, "turns": kind, "count": len(chosen)}
        row |= {each: count[each] for each in ("cut off", "false commit", "not ended")}
        row |= {f"p{part}_ms": round(percentile(delays, part)) if delays else None for part in (50, 90, 95)}
        rows.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    for turn, outcome, delay, words in every:
        if name == "default" and (outcome != "ended" or delay > 300):
            print(
                f"    {outcome} {delay:.0f} ms: {turn.voice}: {turn.text!r} heard as {words!r} {turn.after and 'pause after ' + turn.after}"
            )
    return rows


async def smart_turn(turns: list[Turn]) -> dict[str, Any]:
    """What Smart Turn says 200 ms into the pauses, and 200 ms after the ends."""
    said: dict[str, list[float]] = {"pauses": [], "ends": []}
    later = SAMPLE_RATE_HZ // 5
    async with turn_smart.load(turn_smart.Options(), Lane("turn")) as over:
        for turn in track(turns, "Smart Turn"):
            heard = np.concatenate([chunk.samples for chunk, _, _ in turn.frames])
            said["ends"].append(await over(heard[: turn.shift + turn.ends + later]))
            if turn.paused:
                said["pauses"].append(await over(heard[: turn.shift + turn.paused[0] + later]))
    row = {f"smart_turn_over_at_{kind}": round(float(np.mean(np.array(each) > 0.5)), 3) for kind, each in said.items()}
    print(row)
    return row


async def main() -> None:
    """Listen to everything once, then replay every preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", type=int, choices=(0, 1), default=1, help="0 to choose constants, 1 to report")
    parser.add_argument("--rooms", type=int, default=2, help="for each recording")
    parser.add_argument("--sentences", type=int, default=9, help="for each voice, without and with a pause")
    parser.add_argument("--smart-turn", action="store_true", help="ask Smart Turn too")
    chosen = parser.parse_args()
    content = load_content(BUNDLED_CONTENT)
    grammar = kiosk_grammar([item.name for item in content.items], list(content.hours), list(content.zones))
    turns = await material(grammar, chosen.half, chosen.rooms, chosen.sentences)
    async with (
        vad_silero.load(vad_silero.Options(), Lane("vad")) as vad,
        stt_pocketsphinx.load(stt_pocketsphinx.Options(), Lane("stt")) as stt,
    ):
        await stt.use_grammar(grammar.greeted().sentences)
        order = np.random.default_rng(chosen.half).permutation(len(turns))
        for number, at in enumerate(track(order, "listening"), 1):
            await listen(turns[at], 2 * number + chosen.half, vad, stt)
    rows = [row for name in PRESETS for row in report(turns, name)]
    extra = await smart_turn(turns) if chosen.smart_turn else {}
    print(json.dumps({"half": chosen.half, "turns": len(turns), "rows": rows, **extra}))


if __name__ == "__main__":
    asyncio.run(main())
