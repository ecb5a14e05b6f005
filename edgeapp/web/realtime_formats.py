"""The formats of sound in a Realtime session: bytes on the wire <-> mono int16 at the format's rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.web import g711


@dataclass(frozen=True)
class SoundFormat:
    """One format, the same for both directions."""

    type: str
    """Its name in the API."""

    rate_hz: int
    sample_bytes: int
    decode: Callable[[bytes], NDArray[np.int16]]
    """Whole samples -> shape (n,)."""

    encode: Callable[[NDArray[np.int16]], bytes]

    def shown(self) -> dict[str, Any]:
        """In OpenAI's form, where only PCM has a rate: that of G.711 is always 8 kHz."""
        return {"type": self.type} | ({"rate": self.rate_hz} if self.sample_bytes > 1 else {})


def _from_pcm(data: bytes) -> NDArray[np.int16]:
    return np.frombuffer(data, "<i2").astype(np.int16)


def _to_pcm(samples: NDArray[np.int16]) -> bytes:
    return samples.astype("<i2").tobytes()


PCM: Final = SoundFormat("audio/pcm", 24_000, 2, _from_pcm, _to_pcm)
FORMATS: Final[Mapping[str, SoundFormat]] = MappingProxyType(
    {
        each.type: each
        for each in (
            PCM,
            SoundFormat("audio/pcmu", g711.RATE_HZ, 1, g711.mu_law_decode, g711.mu_law_encode),
            SoundFormat("audio/pcma", g711.RATE_HZ, 1, g711.a_law_decode, g711.a_law_encode),
        )
    }
)
