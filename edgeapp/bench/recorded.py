"""What a recording of the air shows: where a clip begins in it, where the reply does, and whether callbacks came steadily. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIKE: Final = 0.9
"""A clip that is whole in a recording, with a room's noise around it, is more alike than this; one with a hole is not."""

_FAINT: Final = 0.01  # of the clip's energy: less cannot be the clip, and must not be divided by
_LOUD: Final = 200  # -44 dBFS, as in voice/speaker.py
_CAME_SHARE: Final = 0.95
_LONGEST_MS: Final = 100.0  # a card whose buffers hold 20 ms has then been silent for most of it


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clip was found."""

    first: int
    """Its first sample in the recording."""

    likeness: float
    """The normalised correlation there, 0 to 1."""

    @property
    def found(self) -> bool:
        """Is it the clip, whole?"""
        return self.likeness >= LIKE


def at_rate(samples: NDArray[np.int16], from_hz: int, to_hz: int) -> NDArray[np.int16]:
    """The same sound at another rate, shape (n,) -> (ceil(n * to / from),): band-limited, by FFT, with no delay.

    It takes the sound for a ring, so both ends should be quiet.
    """
    grain = from_hz // gcd(from_hz, to_hz)
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % grain))
    size = len(padded) * to_hz // from_hz
    made = np.fft.irfft(np.fft.rfft(padded), size) * (size / len(padded))
    whole = -(-len(samples) * to_hz // from_hz)
    return np.clip(np.rint(made[:whole]), -32768, 32767).astype(np.int16)


def place_of(clip: NDArray[np.int16], recording: NDArray[np.int16]) -> Place:
    """Where a clip, shape (n,), lies in a recording of the same rate, shape (m,): normalised cross-correlation by FFT.

    A recording shorter than the clip holds it nowhere: likeness 0.
    """
    if len(recording) < len(clip) or not clip.any():
        return Place(0, 0.0)
    wanted, heard = clip.astype(np.float64), recording.astype(np.float64)
    size = len(heard) + len(wanted)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size))
    product = np.fft.irfft(spectrum, size)[: len(heard) - len(wanted) + 1]
    energy = np.concatenate([[0.0], np.cumsum(heard**2)])
    there, own = energy[len(wanted) :] - energy[: -len(wanted)], float(np.sum(wanted**2))
    likeness = product / np.sqrt(own * np.maximum(there, _FAINT * own))
    first = int(np.argmax(likeness))
    return Place(first, min(1.0, max(0.0, float(likeness[first]))))


def first_loud(samples: NDArray[np.int16], start: int) -> int | None:
    """The first sample from `start` on that a person can hear, shape (n,); None if there is none."""
    loud = np.flatnonzero((samples[start:] > _LOUD) | (samples[start:] < -_LOUD))
    return start + int(loud[0]) if len(loud) else None


@dataclass(frozen=True, slots=True)
class Callbacks:
    """How the callbacks of one stream came."""

    came: int
    due: int
    longest_gap_ms: float

    @property
    def steady(self) -> bool:
        """Can a conversation be held on it?"""
        return self.came >= _CAME_SHARE * self.due and self.longest_gap_ms <= _LONGEST_MS

    def __str__(self) -> str:
        return f"{self.came} of {self.due} callbacks, the longest gap {self.longest_gap_ms:.0f} ms"


def callbacks_of(instants_ns: Sequence[int], block_ns: int, from_ns: int, until_ns: int) -> Callbacks:
    """Judge the instants of a stream's callbacks, in order, between two instants; a block is due every `block_ns`."""
    inside = [each for each in instants_ns if from_ns <= each <= until_ns]
    gaps_ns = np.diff([from_ns, *inside, until_ns])
    return Callbacks(len(inside), (until_ns - from_ns) // block_ns, float(gaps_ns.max()) / MS)
