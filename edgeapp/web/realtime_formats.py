"""The formats of sound in a Realtime session: bytes on the wire <-> mono int16 at the format's rate."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_TELEPHONE_HZ: Final = 8_000


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


def _law(name: str, subtype: str) -> SoundFormat:
    """G.711, the sound of telephones: 8 bits a sample at 8 kHz (ITU-T Recommendation G.711), as libsndfile does it."""

    def decode(data: bytes) -> NDArray[np.int16]:
        import soundfile

        raw = {"samplerate": _TELEPHONE_HZ, "channels": 1, "format": "RAW", "subtype": subtype}
        return np.asarray(soundfile.read(io.BytesIO(data), dtype="int16", **raw)[0], np.int16)

    def encode(samples: NDArray[np.int16]) -> bytes:
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, samples, _TELEPHONE_HZ, format="RAW", subtype=subtype)
        return file.getvalue()

    return SoundFormat(name, _TELEPHONE_HZ, 1, decode, encode)


PCM: Final = SoundFormat("audio/pcm", 24_000, 2, _from_pcm, _to_pcm)
FORMATS: Final[Mapping[str, SoundFormat]] = MappingProxyType(
    {
        each.type: each
        for each in (
            PCM,
            _law("audio/pcmu", "ULAW"),
            _law("audio/pcma", "ALAW"),
        )
    }
)
