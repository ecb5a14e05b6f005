"""Noise suppression for a recogniser, while the person speaks: a Wiener filter with decision-directed SNR.

Ephraim & Malah 1984 (IEEE Trans. ASSP 32 (6)) for the a-priori SNR; the noise is what is heard before the first word,
followed slowly in every frequency where nothing louder is heard. A floor of the gain keeps what is left sounding like
noise, which hurts a recogniser less than holes do. It holds back 256 samples (16 ms) until `flush`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRAME: Final = 512
_HOP: Final = 256
_WINDOW: Final = np.sqrt(np.hanning(_FRAME + 1)[:_FRAME])
_SMOOTH: Final = 0.95  # of the a-priori SNR, from frame to frame
_FOLLOW: Final = 0.04  # how fast the noise is followed
_RISE: Final = 1.002  # a frame: how fast it may grow under speech
_NEAR: Final = 4.0  # times the noise's power: louder is speech
_LEVEL_FRAME: Final = 256  # samples of one level: 16 ms
_PRE_EMPHASIS: Final = 0.97


def noise_rms(start: NDArray[np.int16]) -> float:
    """The level of the noise in what was heard before the first word, in steps of 16 bits: the quieter half counts.

    Both levels are taken after the pre-emphasis of a recogniser's front end, so that a hum counts as little as it disturbs.
    """
    powers = np.sort(_powers(start))
    return float(np.sqrt(powers[: (powers.size + 1) // 2].mean())) if powers.size else 0.0


def speech_rms(heard: NDArray[np.int16]) -> float:
    """How loud the person is, in steps of 16 bits: the level that a tenth of the utterance is above."""
    powers = _powers(heard)
    return float(np.sqrt(np.quantile(powers, 0.9))) if powers.size else 0.0


def _powers(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Of every whole 16 ms after pre-emphasis."""
    flat = samples.astype(np.float64)
    flat[1:] -= _PRE_EMPHASIS * flat[:-1]
    frames = flat[: flat.size // _LEVEL_FRAME * _LEVEL_FRAME].reshape(-1, _LEVEL_FRAME)
    return np.asarray(np.square(frames).mean(axis=1))


class Suppressor:
    """The filter of one utterance."""

    def __init__(self, start: NDArray[np.int16], floor: float) -> None:
        """`start` is what was heard before the first word (int16, at least 512 samples); `floor` is the least gain."""
        frames = np.lib.stride_tricks.sliding_window_view(start.astype(np.float64), _FRAME)[::_HOP]
        powers = np.abs(np.fft.rfft(frames * _WINDOW)) ** 2
        quiet = powers.sum(axis=1) <= 2 * np.median(powers.sum(axis=1))
        self._noise = powers[quiet].mean(axis=0) + 1e-3
        self._before: NDArray[np.float64] | None = None
        self._floor = floor
        self._rest = np.zeros(_HOP)
        self._tail = np.zeros(_HOP)
        self._primed = False

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """The next samples; returns those that are ready, which may be none."""
        pending = np.concatenate((self._rest, samples.astype(np.float64)))
        done: list[NDArray[np.float64]] = []
        start = 0
        while pending.size - start >= _FRAME:
            frame = self._filter(pending[start : start + _FRAME])
            done.append(self._tail + frame[:_HOP])
            self._tail = frame[_HOP:]
            start += _HOP
        self._rest = pending[start:]
        ready = np.concatenate(done) if done else np.zeros(0)
        if done and not self._primed:
            self._primed, ready = True, ready[_HOP:]  # the silence before the first sample
        return np.clip(ready, -32767, 32767).astype(np.int16)

    def flush(self) -> NDArray[np.int16]:
        """What is still held back; the utterance is over."""
        held = self._rest.size if self._primed else self._rest.size - _HOP
        return self.push(np.zeros(_FRAME, np.int16))[: max(0, held)]

    def _filter(self, frame: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(frame * _WINDOW)
        power = spectrum.real**2 + spectrum.imag**2
        noise = self._noise
        above = np.maximum(power / noise - 1, 0)
        snr = above if self._before is None else _SMOOTH * self._before / noise + (1 - _SMOOTH) * above
        gain = np.maximum(snr / (1 + snr), self._floor)
        self._before = gain**2 * power
        self._noise = np.where(power < _NEAR * noise, (1 - _FOLLOW) * noise + _FOLLOW * power, noise * _RISE)
        return np.asarray(np.fft.irfft(spectrum * gain) * _WINDOW)
