"""How much of what an echo canceller leaves can be our own loudspeaker: two gains a band, learned while it plays.

What is left of the echo comes by two ways. While we speak it is what the canceller lets through: a small share of what was
played, learned from its output. In our pauses it is the room's reverberation, which a canceller with a 50 ms filter lets
through almost whole, because nothing that it knows of plays any more: a share of what was played 40 ms ago and earlier,
learned from the microphone in such pauses. The greater of the two is what our own voice can explain; a person adds to it.
Reverberation falls off exponentially (Polack, 1988). Thresholds are from docs/LOG.md, with Silero VAD on the output.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ

FRAME: Final = 160  # samples, 10 ms
_BAND_EDGES: Final = np.unique(np.round(np.geomspace(200, 7_000, 17) / 50).astype(int))  # bins of 50 Hz
_WINDOW: Final = np.hanning(2 * FRAME)
_SCALE: Final = 2 / (np.sum(_WINDOW**2) * 2 * FRAME)
_DECAY: Final = 10 ** (-6 * FRAME / SAMPLE_RATE_HZ / 0.7)  # of energy in a frame, in a room with 0.7 s reverberation
_LATE_FRAMES: Final = 4  # 40 ms: the canceller's filter covers what is earlier
_PAUSE: Final = 0.1  # playing less than this share of the reverberation is a pause
_LOUD: Final = 100.0  # energy of a band, in steps of int16: softer sound teaches nothing
_FADE: Final = 10**-0.003  # of the loudest, a frame: 3 dB in 1 s
_UP_DB_S: Final = 4.0  # an interrupting person moves a gain by 1 dB before we stop
_DOWN_DB_S: Final = 1.0
_FIRST_S: Final = 2.0  # of sound after the start, in which gains fall ten times as fast
_MARGIN_DB: Final = 3.0
_GAIN_MAX_DB: Final = 3.0
_FLOOR: Final = 1.0  # energy that is nothing: one step of int16


class EchoShare:
    """One microphone beside one loudspeaker. Not for two threads at once."""

    def __init__(self, coupling_db: float) -> None:
        """`coupling_db` is what the microphone hears of the loudspeaker before cancellation: both gains start there."""
        bands = len(_BAND_EDGES) - 1
        self._played = self._heard = self._left = np.zeros(FRAME, np.float32)
        self._reverberant = self._loudest = np.zeros(bands)
        self._earlier = deque([np.zeros(bands)] * (_LATE_FRAMES + 1), maxlen=_LATE_FRAMES + 1)
        self._leak_db = np.full(bands, min(coupling_db, _GAIN_MAX_DB))
        self._late_db = self._leak_db.copy()
        self._taught_s = 0.0

    def __call__(self, played: NDArray[np.int16], heard: NDArray[np.int16], left: NDArray[np.int16]) -> float:
        """Take 10 ms of what was played, what the microphone heard and what is left, all of shape (160,).

        Returns the share of what is left, 0 to 1, that our own loudspeaker explains.
        """
        (self._played, play), (self._heard, hear), (self._left, leave) = (
            _bands(before, now) for before, now in ((self._played, played), (self._heard, heard), (self._left, left))
        )
        self._reverberant = _DECAY * self._reverberant + (1 - _DECAY) * play
        self._earlier.append(self._reverberant)
        late = self._earlier[0] * _DECAY**_LATE_FRAMES
        self._loudest = np.maximum(self._loudest * _FADE, self._reverberant)
        loud = (self._reverberant > _LOUD) & (self._reverberant > self._loudest / 100)
        pause = loud & (play < _PAUSE * late) & (late > _LOUD)
        quick = 10.0 if self._taught_s < _FIRST_S else 1.0
        self._taught_s += 0.01 * bool(loud.any())
        self._leak_db = _towards(self._leak_db, leave, self._reverberant, loud & ~pause, 1.0, quick)
        self._late_db = _towards(self._late_db, hear, late, pause, 3.0, 3.0 * quick)  # pauses are a third of the time
        explained = np.maximum(self._reverberant * _power(self._leak_db), late * _power(self._late_db))
        return float(np.minimum(explained, leave).sum() / (leave.sum() + _FLOOR))


def _bands(before: NDArray[np.float32], now: NDArray[np.int16]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return `now` as floats, and the energy of both frames in each band."""
    new = now.astype(np.float32)
    spectrum = np.fft.rfft(np.concatenate([before, new]) * _WINDOW)
    energy = (spectrum.real**2 + spectrum.imag**2) * _SCALE
    return new, np.add.reduceat(energy, _BAND_EDGES)[:-1]


def _towards(
    gain_db: NDArray[np.float64],
    heard: NDArray[np.float64],
    played: NDArray[np.float64],
    where: NDArray[np.bool_],
    up: float,
    down: float,
) -> NDArray[np.float64]:
    """Move the gains of some bands a little towards what was seen now: a high quantile in the long run."""
    if not where.any():
        return gain_db
    seen_db = 10 * np.log10((heard + 1e-3) / (played + 1e-9))
    moved = gain_db + np.where(seen_db > gain_db, up * _UP_DB_S, -down * _DOWN_DB_S) * FRAME / SAMPLE_RATE_HZ
    return np.where(where, np.minimum(moved, _GAIN_MAX_DB), gain_db)


def _power(gain_db: NDArray[np.float64]) -> NDArray[np.float64]:
    return 10 ** ((gain_db + _MARGIN_DB) / 10)
