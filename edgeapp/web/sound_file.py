"""A sound file that is sent while it is made: samples in, the next bytes of the file out."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

FileFormat: TypeAlias = Literal["mp3", "opus", "flac", "wav", "pcm"]

MEDIA_TYPES: Final[Mapping[FileFormat, str]] = MappingProxyType(
    {"mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}
)
_ENCODED: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {
        # A constant rate: players tell the length of a stream by it, since no header could be mended afterwards.
        "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": 0.5},
        "opus": {"format": "OGG", "subtype": "OPUS"},
        "flac": {"format": "FLAC", "subtype": "PCM_16"},
    }
)
_WHOLE: Final = frozenset({"flac"})  # without its length in the header readers cannot seek: it is sent when it is whole
_BLOCK: Final = 4_096  # samples encoded at once: libsndfile's encoders keep a block on the stack


class _Sent:
    """A file of which what was written is gone: what an encoder would mend at the beginning, it cannot."""

    def __init__(self) -> None:
        self._unsent = bytearray()  # bounded by what one call of `feed` writes
        self._sent = self._at = 0

    def write(self, data: Any) -> int:
        """Keep what stands behind the end; the rest was sent."""
        new, end = bytes(data), self._sent + len(self._unsent)
        self._unsent += new[max(0, end - self._at) :]
        self._at += len(new)
        return len(new)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As files do."""
        self._at = offset + (0, self._at, self._sent + len(self._unsent))[whence]
        return self._at

    def tell(self) -> int:
        """As files do."""
        return self._at

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self._unsent)
        self._sent += len(data)
        self._unsent.clear()
        return data


class SoundFile:
    """Mono, 16 bits. All calls may block for the length of the encoding: a hundredth of the sound's on a small processor."""

    def __init__(self, form: FileFormat, rate_hz: int) -> None:
        """Raises ValueError if this machine's libsndfile does not write the format."""
        import soundfile

        self._sent, self._begin = _Sent(), wav_header(rate_hz) if form == "wav" else b""
        self._whole = io.BytesIO() if form in _WHOLE else None  # bounded by the text that a request may have
        self._encoder: Any = None
        if form in _ENCODED:
            try:
                self._encoder = soundfile.SoundFile(self._whole or self._sent, "w", rate_hz, 1, **_ENCODED[form])
            except (soundfile.LibsndfileError, ValueError, TypeError) as error:
                raise ValueError(f"libsndfile does not write {form}") from error

    def feed(self, samples: NDArray[np.int16]) -> bytes:
        """The bytes that samples, shape (n,), bring out; there may be none yet."""
        begin, self._begin = self._begin, b""
        if self._encoder is None:
            return begin + samples.astype("<i2").tobytes()
        for at in range(0, len(samples), _BLOCK):
            self._encoder.write(samples[at : at + _BLOCK])
        return self._sent.take()

    def close(self) -> bytes:
        """The end of the file. Idempotent."""
        if self._encoder is not None:
            self._encoder.close()
        return self._sent.take() if self._whole is None else self._whole.getvalue()


def wav_header(rate_hz: int) -> bytes:
    """The header of a mono WAV of 16 bits whose length is not known yet: its sizes are the largest that there are."""
    most = 0xFFFFFFFF
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", most, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return head + struct.pack("<4sI", b"data", most - 36)
