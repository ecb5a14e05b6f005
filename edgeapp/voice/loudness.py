"""Which 8 ms of a frame hold the voice, by energy against the room's noise and the voice's own loudness.

Pure. Energy is taken twice: as it is, and after pre-emphasis, in which the release of a stop or a final f stands out of a
room whose noise is dark. A constant offset of the microphone counts in neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW: Final = 128
"""Samples of one window: 8 ms."""

_EMPHASIS: Final = 0.97
_SHARE: Final = 3e-4  # of the loudest window's energy: -35 dB
_ABOVE_NOISE: Final = 3.0  # times the noise's energy, which varies by half from window to window
_LEAST: Final = 9.0  # energy: 3 steps of 16 bits, below what any microphone gives
_DECAY: Final = 0.94  # of the loudest, a frame: 8 dB a second, so that a bump does not hide the words after it
_FOLLOW: Final = 0.1  # how fast the noise is followed, a frame


class Loudness:
    """One microphone's levels: energies (as it is, pre-emphasised), in squared steps of 16 bits."""

    def __init__(self) -> None:
        self._noise: NDArray[np.float64] = np.full(2, _LEAST)
        self._known = False
        self._loudest: NDArray[np.float64] = np.zeros(2)

    def begin(self) -> None:
        """A new utterance: nothing of it was loud yet."""
        self._loudest = np.zeros(2)

    def energies(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        """Of every window of the next frame (int16, shape (n,)): shape (n // 128, 2)."""
        windows = samples[: samples.size // WINDOW * WINDOW].astype(np.float64).reshape(-1, WINDOW)
        bright = (
            windows[:, 1:] - _EMPHASIS * windows[:, :-1]
        )  # inside each window, so that none hears the one before it
        return np.stack([windows.var(axis=1), bright.var(axis=1)], axis=1)

    def hear_room(self, energies: NDArray[np.float64]) -> None:
        """A frame in which nobody speaks."""
        level = np.maximum(np.median(energies, axis=0), _LEAST)
        follow = _FOLLOW if self._known else 1.0
        self._noise = self._noise + follow * (level - self._noise)
        self._known = True

    def voiced(self, energies: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which windows of a frame of an utterance are voiced: shape (n,)."""
        self._loudest = np.maximum(self._loudest * _DECAY, energies.max(axis=0))
        return self.stands_out(energies)

    def stands_out(self, energies: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which windows are voiced, by what is known of the frames before them: shape (n,)."""
        floor = np.maximum(np.maximum(self._noise, _LEAST) * _ABOVE_NOISE, self._loudest * _SHARE)
        return np.asarray((energies > floor).any(axis=1))
