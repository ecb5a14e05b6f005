"""A simulated room: what a microphone hears of a loudspeaker that stands in it.

The walls are mirrors (the image-source method of Allen and Berkley, JASA 65, 1979) whose loss follows from the
reverberation time (Eyring, 1930). The loudspeaker clips softly, and the room has a noise of its own. Deterministic for a
seed; sound goes in and comes out in blocks of any size, so it runs on virtual time as fast as it computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ

_SOUND_M_S: Final = 343.0
_PART: Final = 512  # samples of a partition of the convolution
_TAIL_S: Final = 0.5  # what is kept of an impulse response: at 0.7 s reverberation the rest is 43 dB down


@dataclass(frozen=True, slots=True)
class Room:
    """Where loudspeaker and microphone stand, and what the way between them does to the sound."""

    size_m: tuple[float, float, float] = (5.0, 4.0, 2.8)
    reverberation_s: float = 0.4
    """RT60: until the sound has fallen by 60 dB."""

    apart_m: float = 0.3
    """From the loudspeaker to the microphone."""

    coupling_db: float = -10.0
    """The energy that comes back, to the energy played, for white noise."""

    delay_ms: float = 0.0
    """Beyond what the loudspeaker states and the way through the air: a driver's word is not exact."""

    drive: float = 1.0
    """How far full scale drives the loudspeaker into soft clipping (tanh); 0 is linear."""

    noise: float = 5.0
    """RMS of the room's noise at the microphone, in steps of int16: 5 is -76 dBFS."""

    seed: int = 0
    """Of the noise and of the place in the room."""


def impulse_response(room: Room) -> NDArray[np.float64]:
    """The way from loudspeaker to microphone at 16 kHz, shape (n,), with the room's delay and coupling."""
    size = np.array(room.size_m)
    rng = np.random.default_rng(room.seed)
    microphone = size * rng.uniform(0.3, 0.7, 3)
    towards = rng.standard_normal(3)
    loudspeaker = microphone + towards / np.linalg.norm(towards) * room.apart_m
    surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    kept_per_wall = np.exp(-0.161 * size.prod() / (surface * room.reverberation_s))  # energy: Eyring's 1 - absorption
    count = np.ceil(_TAIL_S * _SOUND_M_S / (2 * size)).astype(int)
    axes = []
    for axis in range(3):
        n = np.arange(-count[axis], count[axis] + 1)[:, None]
        mirrored = np.array([0, 1])[None, :]
        where = (1 - 2 * mirrored) * loudspeaker[axis] + 2 * n * size[axis] - microphone[axis]
        axes.append((where.ravel() ** 2, (np.abs(n - mirrored) + np.abs(n)).ravel()))
    squared = axes[0][0][:, None, None] + axes[1][0][None, :, None] + axes[2][0][None, None, :]
    walls = axes[0][1][:, None, None] + axes[1][1][None, :, None] + axes[2][1][None, None, :]
    distance = np.sqrt(squared).ravel()
    at = distance / _SOUND_M_S * SAMPLE_RATE_HZ
    near = at < _TAIL_S * SAMPLE_RATE_HZ - 2
    at, distance, walls = at[near], distance[near], walls.ravel()[near]
    strength = kept_per_wall ** (walls / 2) / distance
    whole = np.floor(at).astype(int)
    response = np.zeros(round(_TAIL_S * SAMPLE_RATE_HZ))
    np.add.at(response, whole, strength * (1 - (at - whole)))
    np.add.at(response, whole + 1, strength * (at - whole))
    response *= 10 ** (room.coupling_db / 20) / np.linalg.norm(response)
    return np.concatenate([np.zeros(round(room.delay_ms * SAMPLE_RATE_HZ / 1000)), response])


class Air:
    """The sound on its way through a room, block by block (partitioned convolution: Stockham, 1966; overlap-save)."""

    def __init__(self, room: Room) -> None:
        response = impulse_response(room)
        parts = -(-len(response) // _PART)
        padded = np.zeros((parts, 2 * _PART))
        padded[:, :_PART] = np.pad(response, (0, parts * _PART - len(response))).reshape(parts, _PART)
        self._filter = np.fft.rfft(padded, axis=1)
        self._spectra = np.zeros_like(self._filter)
        self._head = response[:_PART]
        self._drive = room.drive
        self._rng, self._noise = np.random.default_rng(room.seed), room.noise
        self._last = np.zeros(_PART)
        self._now = np.zeros(0)
        self._tail = np.zeros(_PART)

    def __call__(self, played: NDArray[np.int16]) -> NDArray[np.float64]:
        """Take what the loudspeaker sounds now, shape (n,), and return what the microphone hears in the same time."""
        sound = played / 32768.0
        if self._drive:
            sound = np.tanh(sound * self._drive) / self._drive
        heard = [self._some(piece) for piece in self._pieces(sound * 32768.0)]
        return np.concatenate(heard) + self._rng.standard_normal(len(played)) * self._noise

    def _pieces(self, sound: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Cut so that no piece crosses the end of a partition."""
        first = _PART - len(self._now)
        rest = range(first, len(sound), _PART)
        return [sound[:first], *(sound[at : at + _PART] for at in rest)]

    def _some(self, sound: NDArray[np.float64]) -> NDArray[np.float64]:
        """The partition under way is convolved directly with the response's head; older ones come by FFT."""
        begin = len(self._now)
        self._now = np.concatenate([self._now, sound])
        recent = np.concatenate([self._last[begin + 1 :], self._now])
        direct = np.convolve(recent, self._head, mode="valid")[-len(sound) :] if len(sound) else sound
        heard = direct + self._tail[begin : begin + len(sound)]
        if len(self._now) == _PART:
            self._spectra = np.roll(self._spectra, 1, axis=0)
            self._spectra[0] = np.fft.rfft(np.concatenate([self._last, self._now]))
            late = np.fft.irfft((self._spectra[:-1] * self._filter[1:]).sum(axis=0))[_PART:]
            self._last, self._now, self._tail = self._now, np.zeros(0), late
        return heard
