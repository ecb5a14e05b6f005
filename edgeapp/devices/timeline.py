"""Sound at 16 kHz and the instants at which it is audible: what a loudspeaker sounds, kept for the echo canceller.

An echo canceller needs an unbroken row of samples, but instants from a driver jitter and two quartzes part. So a row goes
on where it was as long as the instants agree within a few samples, moves by one sample at a time while they part slowly,
and jumps only where there was a real gap.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ

_SECOND_NS: Final = 1_000_000_000
_NOISE: Final = 2  # samples that an instant may be off: 125 us of jitter and rounding
_JUMP: Final = 80  # samples, 5 ms: more than clocks part between two blocks


def steady(expected: int, wanted: int) -> int:
    """Where a row of samples goes on, given where it would by itself and where its instant says; both in samples."""
    apart = wanted - expected
    if abs(apart) <= _NOISE:
        return expected
    return wanted if abs(apart) > _JUMP else expected + (1 if apart > 0 else -1)


class Timeline:
    """The newest sound, by the instant it is audible. What was never put is silence. Lives on one loop."""

    def __init__(self, length_s: float) -> None:
        """`length_s` is the bound: what is older than that before the newest sample is forgotten."""
        self._ring = np.zeros(round(length_s * SAMPLE_RATE_HZ), np.int16)
        self._end = 0  # the sample after the newest one, counted from the loop's time 0

    def put(self, samples: NDArray[np.int16], start_ns: int) -> None:
        """Add samples at 16 kHz, shape (n,), that are audible from an instant on, behind those that are there."""
        first = steady(self._end, _sample_at(start_ns))
        self._clear(self._end, first)
        self._write(first, samples[-len(self._ring) :])
        self._end = first + len(samples)

    def silence_from(self, at_ns: int) -> None:
        """What would have been audible from this instant on is not."""
        first = _sample_at(at_ns)
        self._clear(first, self._end)
        self._end = min(self._end, first)

    def read(self, from_ns: int, count: int) -> NDArray[np.int16]:
        """What is audible from an instant on, shape (count,)."""
        first = _sample_at(from_ns)
        found = np.zeros(count, np.int16)
        begin, end = max(first, self._end - len(self._ring)), min(first + count, self._end)
        if begin < end:
            at = begin % len(self._ring)
            head = min(end - begin, len(self._ring) - at)
            found[begin - first : begin - first + head] = self._ring[at : at + head]
            found[begin - first + head : end - first] = self._ring[: end - begin - head]
        return found

    def _write(self, first: int, samples: NDArray[np.int16]) -> None:
        at = first % len(self._ring)
        head = min(len(samples), len(self._ring) - at)
        self._ring[at : at + head] = samples[:head]
        self._ring[: len(samples) - head] = samples[head:]

    def _clear(self, first: int, end: int) -> None:
        if first < end:
            self._write(max(first, end - len(self._ring)), np.zeros(min(end - first, len(self._ring)), np.int16))


def _sample_at(at_ns: int) -> int:
    return (at_ns * SAMPLE_RATE_HZ + _SECOND_NS // 2) // _SECOND_NS
