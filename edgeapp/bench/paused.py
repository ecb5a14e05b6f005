"""Questions with a pause inside them, made from questions without one, so that the truth is known to the sample.

A person who stops to think inside a sentence is what an endpoint detector must survive. The pause is put between two
words, at the quietest place near their boundary, and filled with what the clip's own room sounds like. The speech around
it is that of a fluent sentence: nothing is lengthened and no pitch moves before the pause, as they would be in a person
who hesitates, so a detector has less to go by here than in life.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW: Final = SAMPLE_RATE_HZ // 100  # 10 ms: the grain of what is voiced
_VOICED_DB: Final = -40.0  # of the loudest window: what make_questions.py calls voiced
_STEP: Final = SAMPLE_RATE_HZ * 4 // 1000  # 4 ms: the grain of the quietest place
_FADE: Final = SAMPLE_RATE_HZ * 5 // 1000  # 5 ms on each side, so that the cut does not click


@dataclass(frozen=True, slots=True)
class Room:
    """Where a clip is heard."""

    gain: float = 1.0
    """How loud the person is."""

    noise_rms: float = 15.0
    """Of steady noise, in steps of 16 bits."""

    lead_ms: float = 500.0
    tail_ms: float = 1_000.0
    offset: float = 0.0
    """A microphone's DC offset, in steps of 16 bits."""


def voiced_span(samples: NDArray[np.int16]) -> tuple[int, int]:
    """The first voiced sample of a clean clip (int16, 16 kHz, shape (n,)), and the one after the last voiced sample.

    Voiced is a window of 10 ms within 40 dB of the loudest one. Raises ValueError for less than one window, or silence.
    """
    windows = samples[: samples.size // _WINDOW * _WINDOW].astype(np.float64).reshape(-1, _WINDOW)
    energy = np.square(windows).mean(axis=1)
    if not energy.size or energy.max() == 0:
        raise ValueError("there is no sound in this clip")
    loud = np.flatnonzero(energy > energy.max() * 10 ** (_VOICED_DB / 10))
    return int(loud[0]) * _WINDOW, (int(loud[-1]) + 1) * _WINDOW


def quietest(samples: NDArray[np.int16], near: int, within_ms: float = 40.0) -> int:
    """The place with the least energy in 8 ms around it, at most `within_ms` from the sample `near`."""
    reach = round(within_ms * SAMPLE_RATE_HZ / 1000)
    places = np.arange(max(_STEP, near - reach), min(samples.size - _STEP, near + reach) + 1, _STEP)
    if not places.size:
        return min(max(near, 0), samples.size)
    power = np.concatenate([[0.0], np.cumsum(np.square(samples.astype(np.float64)))])
    return int(places[np.argmin(power[places + _STEP] - power[places - _STEP])])


def with_pause(
    samples: NDArray[np.int16], at: int, pause_ms: float, rng: np.random.Generator, noise_rms: float | None = None
) -> NDArray[np.int16]:
    """The clip (int16, 16 kHz, shape (n,)) with `pause_ms` of room noise before the sample `at`.

    `noise_rms` is the noise's level in steps of 16 bits; None takes the level of the clip's own quietest 10 ms.
    Raises ValueError for a place outside the clip or a pause that is negative.
    """
    if not 0 <= at <= samples.size:
        raise ValueError(f"a pause at sample {at} is outside the clip's {samples.size}")
    if pause_ms < 0:
        raise ValueError(f"a pause of {pause_ms} ms is negative")
    before, after = samples[:at].astype(np.float64), samples[at:].astype(np.float64)
    fade = np.linspace(1.0, 0.0, _FADE)
    before[-_FADE:] *= fade[: before.size] if before.size < _FADE else fade
    after[:_FADE] *= fade[::-1][-after.size :] if after.size < _FADE else fade[::-1]
    if noise_rms is None:
        windows = samples[: samples.size // _WINDOW * _WINDOW].astype(np.float64).reshape(-1, _WINDOW)
        noise_rms = float(windows.std(axis=1).min()) if windows.size else 0.0
    pause = _noise(round(pause_ms * SAMPLE_RATE_HZ / 1000), noise_rms, rng)
    return _int16(np.concatenate([before, pause, after]))


def heard_in(room: Room, samples: NDArray[np.int16], rng: np.random.Generator) -> tuple[NDArray[np.int16], int]:
    """The clip as a microphone in this room hears it, and where its first sample lies in that."""
    lead, tail = (round(ms * SAMPLE_RATE_HZ / 1000) for ms in (room.lead_ms, room.tail_ms))
    heard = _noise(lead + samples.size + tail, room.noise_rms, rng) + room.offset
    heard[lead : lead + samples.size] += samples * room.gain
    return _int16(heard), lead


def _noise(size: int, rms: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Darker than white, as rooms are."""
    white = rng.normal(size=size + 1)
    return np.asarray((white[1:] + 0.9 * white[:-1]) * (rms / np.sqrt(1 + 0.9**2)), np.float64)


def _int16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(samples), -32768, 32767), np.int16)
