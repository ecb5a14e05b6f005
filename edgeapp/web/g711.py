"""G.711: the sound of telephones, 8 bits a sample at 8 kHz, mu-law and A-law.

After ITU-T Recommendation G.711 (1988) in the arithmetic of ITU-T G.191's software tools, which take and give 16 bits.
Each law is two tables, since a code has 256 values and a sample 65,536.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATE_HZ: Final = 8_000
"""Of both laws."""

_BIAS: Final = 33  # of mu-law, in its 14 bits: makes every segment begin at a power of two
_MU_MOST: Final = 0x1FFF
_EVEN_BITS: Final = 0x55  # A-law sends every second bit inverted


def mu_law_decode(data: bytes) -> NDArray[np.int16]:
    """mu-law codes, one a byte -> samples, shape (n,)."""
    return _mu_law_samples()[np.frombuffer(data, np.uint8)]


def mu_law_encode(samples: NDArray[np.int16]) -> bytes:
    """Samples, shape (n,) -> mu-law codes, one a byte."""
    return _mu_law_codes()[samples.view(np.uint16)].tobytes()


def a_law_decode(data: bytes) -> NDArray[np.int16]:
    """A-law codes, one a byte -> samples, shape (n,)."""
    return _a_law_samples()[np.frombuffer(data, np.uint8)]


def a_law_encode(samples: NDArray[np.int16]) -> bytes:
    """Samples, shape (n,) -> A-law codes, one a byte."""
    return _a_law_codes()[samples.view(np.uint16)].tobytes()


@cache
def _mu_law_samples() -> NDArray[np.int16]:
    code = ~np.arange(256) & 0xFF
    segment, step = (code >> 4) & 7, code & 0xF
    size = (((2 * step + _BIAS) << segment) - _BIAS) * 4
    return np.where(code & 0x80, -size, size).astype(np.int16)


@cache
def _mu_law_codes() -> NDArray[np.uint8]:
    """By the sample's bits taken as unsigned. Negative samples are halved as ones' complement, as G.191 does."""
    sample = _every_sample()
    size = np.minimum((np.where(sample < 0, ~sample, sample) >> 2) + _BIAS, _MU_MOST)
    segment = np.log2(size >> 5).astype(np.int64)
    code = ((7 - segment) << 4) | (0xF - ((size >> (segment + 1)) & 0xF))
    codes: NDArray[np.uint8] = np.where(sample >= 0, code | 0x80, code).astype(np.uint8)
    return codes


@cache
def _a_law_samples() -> NDArray[np.int16]:
    code = np.arange(256) ^ _EVEN_BITS
    segment, step = (code >> 4) & 7, code & 0xF
    size = np.where(segment, (2 * step + 33) << np.maximum(segment - 1, 0), 2 * step + 1) * 8
    return np.where(code & 0x80, size, -size).astype(np.int16)


@cache
def _a_law_codes() -> NDArray[np.uint8]:
    """By the sample's bits taken as unsigned."""
    sample = _every_sample()
    size = np.where(sample < 0, ~sample, sample) >> 4
    segment = np.log2(np.maximum(size >> 4, 1)).astype(np.int64) + (size >= 16)
    step = (size >> np.maximum(segment - 1, 0)) & 0xF
    code = (segment << 4) | step
    codes: NDArray[np.uint8] = (np.where(sample >= 0, code | 0x80, code) ^ _EVEN_BITS).astype(np.uint8)
    return codes


def _every_sample() -> NDArray[np.int64]:
    return np.arange(65_536).astype(np.uint16).view(np.int16).astype(np.int64)
