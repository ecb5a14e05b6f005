"""A streaming resampler whose delay is known and short: it sits between the microphone and the first word.

soxr's streams hold back 10 to 30 ms of 16 kHz speech in blocks that come and go (docs/LOG.md, 2026-11-23), a tenth of a
voice turn. This is a plain polyphase interpolator with a Kaiser-windowed sinc (Smith, Digital Audio Resampling, 2002): it
holds back 1 ms at 48 kHz -> 16 kHz, always the same.
"""

from __future__ import annotations

from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ZERO_CROSSINGS: Final = 16
_KAISER_BETA: Final = 8.0  # about 80 dB of stop band
_PASS_BAND: Final = 0.92  # of the lower rate's half, so that the transition ends before the mirror


class Resampler:
    """Mono int16 from one rate to another, piece by piece. Not for two threads at once."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        """Both rates in Hz; equal rates pass samples through unchanged."""
        common = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._same = from_hz == to_hz
        cutoff = _PASS_BAND * min(1.0, to_hz / from_hz)
        self._half = 0 if self._same else int(np.ceil(_ZERO_CROSSINGS / cutoff))
        self.delay_ns = round(self._half * 1e9 / from_hz)
        """How much older than the last input sample the end of the output is, at most one output sample more."""
        offsets = np.arange(1 - self._half, self._half + 1) - np.arange(self._up)[:, None] / self._up
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (offsets / max(1, self._half)) ** 2, 0, 1))) / np.i0(
            _KAISER_BETA
        )
        table = cutoff * np.sinc(cutoff * offsets) * window
        self._table = (table / np.maximum(table.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: the next piece begins something new."""
        self._held = np.zeros(max(0, self._half - 1), np.float32)
        self._next = 0  # the next output's position, in 1/up input samples after the first held sample's window

    def __call__(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take samples, shape (n,), and return what can be said of them, shape (m,), m / n = to / from in the long run."""
        if self._same:
            return samples
        heard = np.concatenate([self._held, samples.astype(np.float32)])
        ready = len(heard) - 2 * self._half + 1  # windows that are complete
        count = max(0, -(-(ready * self._up - self._next) // self._down)) if ready > 0 else 0
        positions = self._next + self._down * np.arange(count)
        first, phase = np.divmod(positions, self._up)
        windows = np.lib.stride_tricks.sliding_window_view(heard, 2 * self._half)[first] if count else np.empty((0, 1))
        made = np.einsum("ij,ij->i", windows, self._table[phase]) if count else np.empty(0)
        self._next += self._down * count
        used = min(self._next // self._up, len(heard))
        self._held = heard[used:]
        self._next -= used * self._up
        return np.clip(np.rint(made), -32768, 32767).astype(np.int16)
