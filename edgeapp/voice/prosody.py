"""How a voice ends: does its pitch fall, does it get softer, does it draw out the last syllable?

Pure: frames of 32 ms in, three numbers about the ending out. At the end of a turn the pitch falls to the bottom of the
speaker's range (or rises high), loudness falls, and the last syllable is longer than those before it; in the middle of a
turn pitch stays level (Duncan 1972, J. Pers. Soc. Psychol. 23; Gravano & Hirschberg 2011, Computer Speech & Language 25).
Pitch is found by YIN (de Cheveigné & Kawahara 2002, JASA 111) at 8 kHz, syllables as peaks of loudness with a dip of 3 dB between
them (after Mermelstein 1975, JASA 58). A frame costs about 0.1 ms.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATE_HZ: Final = SAMPLE_RATE_HZ // 2  # YIN needs no more, and half the samples cost a quarter
_SHORTEST: Final = _RATE_HZ // 500  # the period of 500 Hz
_LONGEST: Final = _RATE_HZ // 60  # and of 60 Hz: between them lie the voices of children and deep men
_COMPARED: Final = 256  # samples that are compared with themselves, shifted: 32 ms
_APERIODIC: Final = 0.2  # above this, a window has no pitch
_WINDOW: Final = 128  # 8 ms: the grain of loudness
_KEPT_FRAMES: Final = 94  # 3 s: what is remembered of a turn
_DIP_DB: Final = 3.0  # between two syllables
_SOFT_DB: Final = 25.0  # below the loudest: not a syllable
_SILENT_DB: Final = 30.0  # below the loudest: after the ending
_LAST_FRAMES: Final = 4  # with a pitch: about the last syllable


@dataclass(frozen=True, slots=True)
class Ending:
    """What the last syllable did, compared with the turn before it. Zero where there was too little to compare."""

    pitch_fall: float = 0.0
    """In semitones below the turn's median; negative where the pitch rose."""

    loudness_fall_db: float = 0.0
    """How much softer the last 100 ms are than the turn's louder half."""

    drawn_out: float = 1.0
    """The length of the last syllable as a multiple of the median one."""


class Prosody:
    """The melody and rhythm of the utterance under way. Remembers 3 s."""

    def __init__(self) -> None:
        self._pitch_hz: deque[float] = deque(maxlen=_KEPT_FRAMES)  # 0 where there is none
        self._loudness_db: deque[float] = deque(maxlen=_KEPT_FRAMES * 512 // _WINDOW)
        self._before: NDArray[np.float64] = np.zeros(0)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """Take the next frame: int16, 16 kHz, shape (n,), 512 samples or so."""
        sound = samples.astype(np.float64)
        sound -= sound.mean() if sound.size else 0.0
        whole = sound[: sound.size // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
        self._loudness_db.extend(10 * np.log10(np.square(whole).mean(axis=1) + 1.0))
        self._pitch_hz.append(pitch_of(np.concatenate([self._before, sound])[-1024:]))
        self._before = sound

    def reset(self) -> None:
        """A new utterance begins."""
        self._pitch_hz.clear()
        self._loudness_db.clear()
        self._before = np.zeros(0)

    def ending(self) -> Ending:
        """How what was heard so far ends, the silence after it left out."""
        loudness = np.array(self._loudness_db)
        if not loudness.size:
            return Ending()
        heard = np.flatnonzero(loudness > loudness.max() - _SILENT_DB)
        loudness = loudness[heard[0] : heard[-1] + 1]
        louder = loudness[loudness >= np.median(loudness)]
        fall_db = float(louder.mean() - loudness[-12:].mean()) if loudness.size >= 24 else 0.0
        return Ending(self._pitch_fall(), fall_db, _drawn_out(loudness))

    def _pitch_fall(self) -> float:
        pitched = np.array([pitch for pitch in self._pitch_hz if pitch])
        if pitched.size < 2 * _LAST_FRAMES:
            return 0.0
        last = float(np.median(pitched[-_LAST_FRAMES:][-2:]))
        return float(12 * np.log2(np.median(pitched) / last))


def pitch_of(samples: NDArray[np.float64]) -> float:
    """The pitch in Hz of 64 ms (16 kHz, shape (1024,)), 60 to 500; 0 if it is not voiced, or shorter than 49 ms."""
    half = samples[: samples.size // 2 * 2].reshape(-1, 2).mean(axis=1)
    if half.size < _COMPARED + _LONGEST:
        return 0.0
    half = half[-(_COMPARED + _LONGEST) :]
    power = np.concatenate([[0.0], np.cumsum(np.square(half))])
    energy = power[_COMPARED:] - power[: _LONGEST + 1]  # of the window shifted by 0, 1, ...
    difference = energy[0] + energy - 2 * np.correlate(half, half[:_COMPARED], "valid")
    if energy[0] < _COMPARED:  # softer than one step of 16 bits
        return 0.0
    total = np.cumsum(difference[1:])
    normal = np.ones_like(difference)
    normal[1:] = difference[1:] * np.arange(1, difference.size) / np.maximum(total, 1e-9)
    below = np.flatnonzero(normal[_SHORTEST:] < _APERIODIC)
    if not below.size:
        return 0.0
    lag = _SHORTEST + int(below[0])
    while lag + 1 < normal.size and normal[lag + 1] < normal[lag]:
        lag += 1
    return _RATE_HZ / _refined(normal, lag)


def _refined(values: NDArray[np.float64], at: int) -> float:
    """Where the parabola through three neighbours has its least value."""
    if not 0 < at < values.size - 1:
        return float(at)
    left, middle, right = values[at - 1 : at + 2]
    bend = left - 2 * middle + right
    return at + (0.5 * (left - right) / bend if bend > 0 else 0.0)


def _drawn_out(loudness: NDArray[np.float64]) -> float:
    """The last syllable's length, from the dip before it to the end, as a multiple of the median one."""
    dips = [0]
    peak = dip = loudness[0]
    dip_at, falling = 0, False
    for at, level in enumerate(loudness):
        if falling and level < dip:
            dip, dip_at = level, at
        elif falling and level > dip + _DIP_DB and level > loudness.max() - _SOFT_DB:
            dips.append(dip_at)
            peak, falling = level, False
        elif not falling and level > peak:
            peak = level
        elif not falling and level < peak - _DIP_DB:
            dip, dip_at, falling = level, at, True
    lengths = np.diff([*dips, loudness.size])
    return float(lengths[-1] / np.median(lengths)) if lengths.size >= 3 else 1.0
