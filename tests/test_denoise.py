"""The noise suppressor: exact lengths, nothing changed where nothing is to do, noise lowered where it is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeapp.core.denoise import Suppressor, noise_rms

START = np.random.default_rng(0).normal(0, 200, 3_072).astype(np.int16)


def through(samples: NDArray[np.int16], sizes: list[int], floor: float) -> NDArray[np.int16]:
    """Pushed in pieces of these sizes, over and over."""
    suppressor = Suppressor(START, floor)
    parts, start, turn = [], 0, 0
    while start < samples.size:
        size = sizes[turn % len(sizes)]
        parts.append(suppressor.push(samples[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*parts, suppressor.flush()])


@settings(deadline=None)
@given(size=st.integers(1, 4_000), sizes=st.lists(st.integers(50, 1_500), min_size=1, max_size=4))
def test_every_sample_comes_out_once_in_its_place(size: int, sizes: list[int]) -> None:
    samples = np.random.default_rng(size).normal(0, 2_000, size).astype(np.int16)
    out = through(samples, sizes, 1.0)
    assert out.size == size
    assert np.abs(out.astype(int) - samples).max() <= 1, "a gain of at least 1 changes nothing"
    assert np.array_equal(through(samples, sizes, 0.2), through(samples, [size], 0.2)), "pieces do not matter"


def test_noise_is_lowered_and_speech_above_it_is_kept() -> None:
    noise = np.random.default_rng(1).normal(0, 200, 32_000)
    tone = 4_000 * np.sin(np.arange(32_000) * 0.3)
    tone[:16_000] = 0
    out = through((noise + tone).astype(np.int16), [512], 0.2).astype(float)
    assert out[4_000:15_000].std() < 0.35 * 200
    assert out[20_000:].std() > 0.95 * tone[20_000:].std()


def test_the_noise_level_is_that_of_the_quieter_half() -> None:
    loud = START.copy()
    loud[:1_200] = 20_000
    assert 200 < noise_rms(loud) < 310, "pre-emphasis lifts white noise by 2.9 dB"
    assert noise_rms(START[:100]) == 0.0
