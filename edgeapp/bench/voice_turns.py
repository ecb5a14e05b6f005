"""What the voice bench says to the device: recorded and synthesized questions in many rooms, with and without pauses.

Of every turn the truth is known to the sample: where its last voiced sample is and where its pauses are. The recordings are
those that ship (people, and voices of CMU Flite); every sentence of the kiosk's grammar is also spoken here by espeak-ng
in several voices. A pause of 200 to 700 ms is put between two words (`bench/paused.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.apps.kiosk import BUNDLED_CONTENT
from edgeapp.bench.paused import Room, heard_in, quietest, voiced_span, with_pause
from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, Clause
from edgeapp.core.lane import Lane
from edgeapp.demo.kiosk import recorded_questions
from edgeapp.devices.resample import Resampler
from edgeapp.engines import tts_espeak
from edgeapp.engines.align_pocketsphinx import word_starts
from edgeapp.voice.content import load_content
from edgeapp.voice.grammar import kiosk_grammar

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOICES: Final = ("en-us", "en-us+m2", "en-us+m3", "en-us+f2")
"""Of espeak-ng, with variants; all of them speak American English, which the recogniser was trained on."""

PAUSE_MS: Final = (200.0, 700.0)
_PEAK: Final = 8_192  # -12 dBFS: a person at arm's length
_RECORDED_SHARE: Final = 0.5


@dataclass(frozen=True)
class SpokenTurn:
    """One thing that is said to the device."""

    text: str
    voice: str
    """`person`, `flite` or a voice of espeak-ng."""

    samples: NDArray[np.int16]
    """As the microphone hears it, room noise around it: mono at 16 kHz, shape (n,)."""

    last_voiced: int
    """The index after the last voiced sample."""

    pauses: tuple[tuple[int, int], ...] = ()
    """First sample and the one after the last of each pause inside it."""


@dataclass(frozen=True)
class _Clip:
    text: str
    voice: str
    samples: NDArray[np.int16]
    """Clean, without anything before the first voiced sample and behind the last one."""


def spoken_turns(count: int, *, paused_share: float, seed: int) -> list[SpokenTurn]:
    """`count` turns, as many with pauses as `paused_share` says, in an order drawn by `seed`. Blocks for seconds."""
    rng = np.random.default_rng(seed)
    clips, recorded = _synthesized(), _recorded()
    paused = np.zeros(count, bool)
    paused[: round(count * paused_share)] = True
    rng.shuffle(paused)
    turns: list[SpokenTurn] = []
    while len(turns) < count:  # ends: a clip that has no place for a pause is one of few
        source = recorded if rng.random() < _RECORDED_SHARE else clips
        clip = source[int(rng.integers(len(source)))]
        turn = _turn(clip, rng, with_a_pause=bool(paused[len(turns)]))
        if turn is not None:
            turns.append(turn)
    return turns


def _turn(clip: _Clip, rng: np.random.Generator, *, with_a_pause: bool) -> SpokenTurn | None:
    """The clip in a room of its own; None if a pause is wanted and there is no place for one."""
    samples = clip.samples
    pauses: tuple[tuple[int, int], ...] = ()
    if with_a_pause:
        starts = _starts(clip.text, clip.samples.tobytes())[1:]
        if not starts:
            return None
        at = quietest(samples, starts[int(rng.integers(len(starts)))])
        pause_ms = float(rng.uniform(*PAUSE_MS))
        samples = with_pause(samples, at, pause_ms, rng)
        pauses = ((at, at + round(pause_ms * SAMPLE_RATE_HZ / 1000)),)
    gain = float(rng.uniform(0.5, 1.2))
    room = Room(gain=gain, noise_rms=float(rng.choice([5, 10, 20])), lead_ms=float(rng.uniform(250, 350)), tail_ms=100)
    heard, lead = heard_in(room, samples, rng)
    moved = tuple((lead + start, lead + end) for start, end in pauses)
    return SpokenTurn(clip.text, clip.voice, heard, lead + len(samples), moved)


@cache
def _starts(text: str, samples: bytes) -> list[int]:
    """Where its words begin; none if the recording cannot be aligned."""
    try:
        return word_starts(np.frombuffer(samples, np.int16), text)
    except BackendError:
        return []


@cache
def _recorded() -> list[_Clip]:
    found = []
    for question in recorded_questions():
        first, _ = voiced_span(question.samples[: question.last_voiced])
        voice = "person" if question.human else "flite"
        found.append(_Clip(question.text, voice, question.samples[first : question.last_voiced]))
    return found


@cache
def _synthesized() -> list[_Clip]:
    return list(asyncio.run(_speak(_sentences())))


def _sentences() -> Sequence[str]:
    content = load_content(BUNDLED_CONTENT)
    return kiosk_grammar([item.name for item in content.items], list(content.hours), list(content.zones)).sentences


async def _speak(sentences: Sequence[str]) -> Iterator[_Clip]:
    """Every sentence in one of the voices, turn and turn about."""
    clips = []
    for number, voice in enumerate(VOICES):
        lane = Lane("tts")
        async with tts_espeak.load(tts_espeak.Options(voice=voice, words_per_minute=150), lane) as engine:
            for text in sentences[number :: len(VOICES)]:
                async with aclosing(await engine(Clause(text))) as stream:
                    parts = [part async for part in stream]
                audio = np.concatenate([part.samples for part in parts])
                clean = Resampler(parts[0].sample_rate_hz, SAMPLE_RATE_HZ)(audio).astype(np.float64)
                scaled = np.rint(clean * (_PEAK / np.abs(clean).max())).astype(np.int16)
                first, last = voiced_span(scaled)
                clips.append(_Clip(text, voice, scaled[first:last]))
        lane.close()
    return iter(clips)
