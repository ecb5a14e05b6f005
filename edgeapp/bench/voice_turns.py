"""What the voice bench says to the device: recordings in many rooms, with and without pauses, the truth known to the sample.

Every sentence of the kiosk's grammar in one of three synthetic voices, and a person's eight zones
(`scripts/make_voice_turns.py`), each as often as any other. Rooms differ in loudness and noise. A pause of 200 to 700 ms is
put between two words (`bench/paused.py`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.bench.paused import Room, heard_in, quietest, with_pause
from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError
from edgeapp.devices.files import read_clip
from edgeapp.engines.align_pocketsphinx import word_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER: Final = Path(__file__).parent.parent / "assets" / "turns"
PAUSE_MS: Final = (200.0, 700.0)


@dataclass(frozen=True)
class SpokenTurn:
    """One thing that is said to the device."""

    text: str
    voice: str
    """`person` or `flite`."""

    samples: NDArray[np.int16]
    """As the microphone hears it, room noise around it: mono at 16 kHz, shape (n,)."""

    last_voiced: int
    """The index after the last voiced sample."""

    pauses: tuple[tuple[int, int], ...] = ()
    """First sample and the one after the last of each pause inside it."""


@dataclass(frozen=True, eq=False)
class _Clip:
    text: str
    voice: str
    samples: NDArray[np.int16]
    last_voiced: int


def spoken_turns(count: int, *, paused_share: float, seed: int) -> list[SpokenTurn]:
    """`count` turns, as many with pauses as `paused_share` says, in an order drawn by `seed`. Blocks for seconds.

    Every clip comes once before any comes twice; one that has no place for a pause is said without.
    """
    rng = np.random.default_rng(seed)
    clips = _clips()
    paused = np.zeros(count, bool)
    paused[: round(count * paused_share)] = True
    rng.shuffle(paused)
    order = np.concatenate([rng.permutation(len(clips)) for _ in range(-(-count // len(clips)))])[:count]
    return [_turn(clips[at], rng, with_a_pause=bool(pause)) for at, pause in zip(order, paused, strict=True)]


def _turn(clip: _Clip, rng: np.random.Generator, *, with_a_pause: bool) -> SpokenTurn:
    """The clip in a room of its own."""
    samples, pauses, longer = clip.samples, list[tuple[int, int]](), 0
    starts = _starts(clip)[1:] if with_a_pause else []
    if starts:
        at = quietest(samples, starts[int(rng.integers(len(starts)))])
        pause_ms = float(rng.uniform(*PAUSE_MS))
        samples = with_pause(samples, at, pause_ms, rng)
        longer = len(samples) - len(clip.samples)
        pauses.append((at, at + longer))
    room = Room(
        gain=float(rng.uniform(0.5, 1.2)),
        noise_rms=float(rng.choice([5, 10, 20])),
        lead_ms=float(rng.uniform(250, 350)),
        tail_ms=100,
    )
    heard, lead = heard_in(room, samples, rng)
    moved = tuple((lead + start, lead + end) for start, end in pauses)
    return SpokenTurn(clip.text, clip.voice, heard, lead + clip.last_voiced + longer, moved)


@cache
def _starts(clip: _Clip) -> list[int]:
    """Where its words begin; none if the recording cannot be aligned."""
    try:
        return word_starts(clip.samples, clip.text)
    except BackendError:
        return []


@cache
def _clips() -> tuple[_Clip, ...]:
    index = tomllib.loads((FOLDER / "turns.toml").read_text(encoding="utf-8"))
    found = []
    for entry in index["turns"]:
        last_voiced = round(entry["last_voiced_ms"] * SAMPLE_RATE_HZ / 1000)
        voice = "person" if entry["human"] else "flite"
        found.append(_Clip(entry["text"], voice, read_clip(FOLDER / entry["file"]), last_voiced))
    return tuple(found)
