"""Put clean speech into rooms: other vocal tracts and paces, walls, microphones, noises and loudness.

Walls: a shoebox by the image method (Allen and Berkley 1979, doi:10.1121/1.382599), to second order with random
absorption, then an exponentially decaying tail. All randomness comes from the generator given.
"""

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ

Samples = NDArray[np.float32]
SOUND_M_PER_S: Final = 343.0
TAIL_SAMPLES: Final = SAMPLE_RATE_HZ * 3 // 10
NOISE_SAMPLES: Final = SAMPLE_RATE_HZ * 8


class Rooms:
    """A bank of rooms and noises, made once from a seed, and the way of a clip through them."""

    def __init__(self, seed: int, rooms: int = 150, noises: int = 40) -> None:
        rng = np.random.default_rng(seed)
        self._rooms = [echoes(rng) for _ in range(rooms)]
        self._noises = [noise(rng) for _ in range(noises)]

    def __call__(
        self, speech: NDArray[np.int16], rng: np.random.Generator, hard: float
    ) -> tuple[Samples, float, float]:
        """Samples with room around the speech, and when the speech begins and ends in it, in seconds.

        `hard` from 0 (nearly clean) to 1 (all that training knows) scales how far everything may go.
        """
        clean = speech.astype(np.float32) / 32768
        body = rng.uniform(-0.15, 0.15) * min(1.0, 2 * hard)  # pitch, formants and pace together, as another body has
        factor = float(np.exp(body))
        if abs(factor - 1) > 0.01:
            clean = soxr.resample(clean, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ, quality="LQ")
        lead = int(SAMPLE_RATE_HZ * rng.uniform(0.03, 0.35))
        tail = int(SAMPLE_RATE_HZ * rng.uniform(0.05, 0.4))
        samples = np.zeros(lead + clean.size + tail, np.float32)
        samples[lead : lead + clean.size] = clean
        begin_s, end_s = lead / SAMPLE_RATE_HZ, (lead + clean.size) / SAMPLE_RATE_HZ
        if rng.random() < 0.75 * hard:
            samples = self._through(samples, rng)
        loudness = float(np.sqrt(np.square(samples).mean())) + 1e-9
        snr_db = rng.uniform(30 - 24 * hard, 50)
        samples = samples + self.background(samples.size, rng, loudness * 10 ** (-snr_db / 20))
        peak = float(np.exp(rng.uniform(np.log(0.03), np.log(0.95))))
        return samples * np.float32(peak / (np.abs(samples).max() + 1e-9)), begin_s, end_s

    def _through(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """Walls and a microphone's tone, in one multiplication of spectra."""
        walls = self._rooms[rng.integers(len(self._rooms))]
        size = 1 << (samples.size + walls.size - 1).bit_length()
        spectrum = np.fft.rfft(samples, size) * np.fft.rfft(walls, size)
        knots = np.cumsum(rng.normal(0, 1.2, 10))
        tone_db = np.interp(np.linspace(0, 9, spectrum.size), np.arange(10), knots - knots.mean())
        heard = np.fft.irfft(spectrum * 10 ** (tone_db / 20), size)[: samples.size]
        return heard.astype(np.float32)

    def background(self, size: int, rng: np.random.Generator, rms: float) -> Samples:
        """`size` samples of a noise of the bank with this RMS."""
        bank = self._noises[rng.integers(len(self._noises))]
        start = rng.integers(NOISE_SAMPLES - size) if size < NOISE_SAMPLES else 0
        return np.resize(bank[start:], size) * np.float32(rms)


def echoes(rng: np.random.Generator) -> Samples:
    """A room's impulse response from a random place to a random microphone; its first sound at sample 0, energy near 1."""
    room = rng.uniform((2.5, 2.5, 2.3), (9.0, 7.0, 3.5))
    source, microphone = rng.uniform(0.3, 0.7, 3) * room, rng.uniform(0.1, 0.9, 3) * room
    reflected = rng.uniform(0.3, 0.85)
    response = np.zeros(TAIL_SAMPLES, np.float64)
    direct_m = float(np.linalg.norm(source - microphone))
    orders = np.array(np.meshgrid(*[np.arange(-2, 3)] * 3)).reshape(3, -1).T
    for order in orders[np.abs(orders).sum(axis=1) <= 2]:
        image = np.where(order % 2 == 0, order * room + source, (order + 1) * room - source)
        distance_m = float(np.linalg.norm(image - microphone))
        at = round((distance_m - direct_m) / SOUND_M_PER_S * SAMPLE_RATE_HZ)
        if 0 <= at < TAIL_SAMPLES:
            response[at] += reflected ** int(np.abs(order).sum()) * direct_m / max(distance_m, 0.3)
    decay_s = rng.uniform(0.05, 0.45)  # until 60 dB less
    time_s = np.arange(TAIL_SAMPLES) / SAMPLE_RATE_HZ
    late = rng.normal(size=TAIL_SAMPLES) * 10 ** (-3 * time_s / decay_s)
    late[: SAMPLE_RATE_HZ // 100] = 0
    response += late * rng.uniform(0.0, 0.35) / (np.sqrt(np.square(late).sum()) + 1e-9)
    return np.asarray(response / np.sqrt(np.square(response).sum()), np.float32)


def noise(rng: np.random.Generator) -> Samples:
    """8 s of a shop's or a hall's noise with RMS 1: coloured, perhaps with a hum, with beats, with knocks."""
    spectrum = np.fft.rfft(rng.normal(size=NOISE_SAMPLES))
    hz = np.maximum(np.fft.rfftfreq(NOISE_SAMPLES, 1 / SAMPLE_RATE_HZ), 20)
    samples = np.fft.irfft(spectrum * hz ** -rng.uniform(0, 1.2), NOISE_SAMPLES)
    samples /= samples.std()
    time_s = np.arange(NOISE_SAMPLES) / SAMPLE_RATE_HZ
    if rng.random() < 0.4:
        base_hz = rng.choice((50, 60, 100, 120)) * rng.uniform(0.98, 1.02)
        for harmonic in range(1, 9):
            samples += (
                rng.uniform(0, 0.8) / harmonic * np.sin(2 * np.pi * base_hz * harmonic * time_s + rng.uniform(0, 6))
            )
    if rng.random() < 0.4:
        samples *= 1 + 0.6 * np.sin(2 * np.pi * rng.uniform(0.5, 6) * time_s)
    if rng.random() < 0.4:
        knock = rng.normal(size=1600) * np.exp(-np.arange(1600) / 200)
        for at in rng.integers(0, NOISE_SAMPLES - 1600, rng.integers(3, 15)):
            samples[at : at + 1600] += knock * rng.uniform(2, 8)
    return np.asarray(samples / samples.std(), np.float32)
