"""What is wrong with a microphone's level, mended where it can be and said once where a person must.

A constant offset is taken off. A microphone that clips, or that hears people only faintly, works worse and is said to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ

_SETTLE_S: Final = 0.25  # the time constant of the offset: a high-pass at 0.6 Hz
_CLIPPED: Final = 32_600  # some cards stop short of full scale
_CLIPPED_SAMPLES: Final = 16  # in one second: a single click has fewer
_CLIPPED_SECONDS: Final = 3
_WINDOW: Final = 512  # 32 ms
_FLOOR_RISE: Final = 10 ** (0.1 * _WINDOW / SAMPLE_RATE_HZ)  # of the noise floor that is assumed: 2 dB in 1 s
_EVENT: Final = 5.6  # times the floor, 15 dB: something was said or knocked
_EVENTS: Final = 94  # windows: 3 s of sound
_FAINT: Final = 100.0  # RMS, -50 dBFS; speech across a counter is 20 dB above


class Level:
    """Watches one microphone. Lives on one loop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._offset: float | None = None
        self._second = self._clipped = self._clipped_seconds = 0
        self._held = np.zeros(0, np.float32)  # less than one window
        self._floor = float("inf")
        self._events = self._loud_events = 0
        self._said: set[str] = set()

    def __call__(self, samples: NDArray[np.int16], *, own_voice: bool) -> NDArray[np.int16]:
        """Take what was captured, shape (n,), and return it without its offset; `own_voice`: our loudspeaker sounds."""
        if not len(samples):
            return samples
        self._count_clipped(samples)
        centred = self._centred(samples)
        if not own_voice:
            self._look_for_faint(centred)
        return centred

    def _centred(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        mean = float(samples.mean())
        before = mean if self._offset is None else self._offset
        share = 1 - np.exp(-len(samples) / (_SETTLE_S * SAMPLE_RATE_HZ))
        self._offset = before + float(share) * (mean - before)
        if max(abs(before), abs(self._offset)) < 0.5:
            return samples
        ramp = np.linspace(before, self._offset, len(samples), dtype=np.float32)
        centred: NDArray[np.int16] = np.clip(np.rint(samples - ramp), -32768, 32767).astype(np.int16)
        return centred

    def _count_clipped(self, samples: NDArray[np.int16]) -> None:
        self._clipped += int(np.count_nonzero((samples >= _CLIPPED) | (samples <= -_CLIPPED)))
        self._second += len(samples)
        if self._second >= SAMPLE_RATE_HZ:
            self._clipped_seconds += self._clipped >= _CLIPPED_SAMPLES
            self._second = self._clipped = 0
            if self._clipped_seconds >= _CLIPPED_SECONDS:
                self._once("the microphone clips: lower its gain")

    def _look_for_faint(self, samples: NDArray[np.int16]) -> None:
        heard = np.concatenate([self._held, samples.astype(np.float32)])
        whole = len(heard) // _WINDOW * _WINDOW
        self._held = heard[whole:]
        for loudness in np.sqrt(np.mean(heard[:whole].reshape(-1, _WINDOW) ** 2, axis=1)).tolist():
            self._floor = max(1.0, min(loudness, self._floor * _FLOOR_RISE))
            if loudness > _EVENT * self._floor:
                self._events += 1
                self._loud_events += loudness > _FAINT
        if self._events >= _EVENTS:
            if self._loud_events * 20 < self._events:
                self._once("the microphone is very quiet: raise its gain, or bring it nearer")
            self._events = self._loud_events = 0

    def _once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)
