"""OpenAI-compatible speech: `/v1/audio/transcriptions` and `/v1/audio/speech`. What of them is served: docs/protocols.md."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from edgeapp.core.events import SAMPLE_RATE_HZ, Speech
from edgeapp.devices.resample import Resampler
from edgeapp.voice.clauses import REPLY_CHARS_MAX, clauses_of
from edgeapp.web.guests import RECORDING_MAX_S, Guests, Segment
from edgeapp.web.openai_wire import Access, Body, OpenAiRoute, Refused, bounded, described, read, streamed

RATE_HZ: Final = 24_000
"""Of the sound that clients get: OpenAI's `pcm` is mono, 16 bits, little endian, at this rate."""

_FILE_BYTES_MAX: Final = 25_000_000  # as OpenAI's own bound
_FIELDS_MAX: Final = 16
_FIELDS: Final = {"file", "model", "language", "response_format", "temperature", "prompt"}
_FORMATS: Final = ("json", "text", "verbose_json")
_BLOCK: Final = 65_536  # frames decoded at once


class SpeechRequest(Body, frozen=True):
    """The body of `/v1/audio/speech`."""

    input: str
    model: str = ""
    """Ignored: the device has one voice."""

    voice: str = ""
    """The same."""

    response_format: Literal["wav", "pcm"] = "wav"
    stream_format: Literal["audio"] = "audio"
    speed: Literal[1] | None = None


def router(guests: Guests, access: Access) -> APIRouter:
    """The two routes, below `/v1`."""
    routes = APIRouter(prefix="/v1/audio", route_class=OpenAiRoute, tags=["openai"])

    @routes.post("/transcriptions", openapi_extra=_UPLOAD)
    async def transcriptions(request: Request) -> Response:
        """The words of a recording: WAV, FLAC, Ogg, MP3 and what else libsndfile reads."""
        access.check(request.headers)
        with guests.courtesy.guest():
            fields = await _form(request)
            form = _one_of(fields, "response_format", _FORMATS) or "json"
            _one_of(fields, "language", ("", guests.language))
            samples = await asyncio.to_thread(decode, fields["file"])
            segments = await guests.transcribe(samples)
        return _transcription(form, segments, len(samples) / SAMPLE_RATE_HZ, guests.language)

    @routes.post("/speech", openapi_extra=described(SpeechRequest))
    async def speech(request: Request) -> Response:
        """The sound of a text, streamed as it is made."""
        access.check(request.headers)
        wanted = await read(request, SpeechRequest)
        if not clauses_of(wanted.input):
            raise Refused("input has nothing that can be spoken", param="input", code="invalid_value")
        if len(wanted.input) > REPLY_CHARS_MAX:
            raise Refused(f"input is longer than {REPLY_CHARS_MAX:,} characters", param="input", code="too_large")
        kind = "audio/wav" if wanted.response_format == "wav" else "audio/pcm"
        return await streamed(_sound(guests, wanted), kind)

    return routes


async def _sound(guests: Guests, wanted: SpeechRequest) -> AsyncGenerator[bytes, None]:
    with guests.courtesy.guest():
        header = wav_header(RATE_HZ) if wanted.response_format == "wav" else b""
        async with aclosing(at_rate(guests.speak(wanted.input), RATE_HZ)) as sound:
            async for samples in sound:
                yield header + samples.astype("<i2").tobytes()
                header = b""


async def at_rate(speech: AsyncGenerator[Speech, None], rate_hz: int) -> AsyncGenerator[NDArray[np.int16], None]:
    """A voice's sound at another rate, piece by piece."""
    resample, from_hz = Resampler(1, 1), 0
    async with aclosing(speech):
        async for part in speech:
            if part.sample_rate_hz != from_hz:
                resample, from_hz = Resampler(part.sample_rate_hz, rate_hz), part.sample_rate_hz
            if len(samples := resample(part.samples)):
                yield samples
    tail = resample(np.zeros(round(resample.delay_ns * from_hz / 1e9), np.int16))  # what it still holds back
    if len(tail):
        yield tail


def wav_header(rate_hz: int) -> bytes:
    """The header of a mono WAV of 16 bits whose length is not known yet: its sizes are the largest that there are."""
    most = 0xFFFFFFFF
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", most, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return head + struct.pack("<4sI", b"data", most - 36)


def decode(data: bytes) -> NDArray[np.int16]:
    """A sound file -> mono int16 at 16 kHz, shape (n,); channels are averaged. Blocks. Raises Refused."""
    import soundfile
    import soxr

    too_long = Refused(f"the recording is longer than {RECORDING_MAX_S} seconds", 413, "file", "too_large")
    pieces: list[NDArray[np.float32]] = []
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate_hz = file.samplerate
            most = RECORDING_MAX_S * rate_hz
            if not 4_000 <= rate_hz <= 192_000 or file.channels > 8:
                raise Refused("the recording has an odd rate or too many channels", param="file", code="invalid_value")
            while len(piece := file.read(_BLOCK, dtype="float32", always_2d=True)):
                pieces.append(piece.mean(axis=1))
                most -= len(piece)
                if most < 0:  # a small file may hold hours of silence
                    raise too_long
    except (soundfile.LibsndfileError, TypeError, ValueError, RuntimeError):
        if not pieces:
            raise Refused(
                "the file is no sound that can be read; send WAV, FLAC, Ogg or MP3", 400, "file", "invalid_file"
            ) from None
    mono = np.nan_to_num(np.concatenate(pieces)) if pieces else np.empty(0, np.float32)
    if not len(mono):
        raise Refused("the recording is empty", 400, "file", "invalid_file")
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    samples: NDArray[np.int16] = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    return samples


async def _form(request: Request) -> dict[str, Any]:
    """The fields of a multipart body; `file` as bytes. Raises Refused."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused("send the recording as multipart/form-data", 415, code="invalid_content_type")
    try:
        parser = MultiPartParser(
            request.headers, bounded(request, _FILE_BYTES_MAX), max_files=1, max_fields=_FIELDS_MAX
        )
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise Refused("the body is not multipart/form-data", code="invalid_body") from None
    try:
        if unknown := sorted(set(form) - _FIELDS):
            name = unknown[0][:80]
            raise Refused(f"{name} is not supported here", param=name, code="unsupported_parameter")
        fields: dict[str, Any] = dict(form)
        if not isinstance(upload := fields.get("file"), UploadFile):
            raise Refused("there is no file", param="file", code="missing_file")
        fields["file"] = await upload.read()
        return fields
    finally:
        await form.close()


def _one_of(fields: dict[str, Any], name: str, known: tuple[str, ...]) -> str | None:
    value = fields.get(name)
    if value is not None and value not in known:
        raise Refused(f"{name} must be one of {', '.join(known)}", param=name, code="invalid_value")
    return value


def _transcription(form: str, segments: list[Segment], duration_s: float, language: str) -> Response:
    text = " ".join(each.text for each in segments)
    if form == "text":
        return Response(text + "\n", media_type="text/plain; charset=utf-8")
    words: dict[str, Any] = {"text": text}
    if form == "verbose_json":
        words |= {"task": "transcribe", "language": language, "duration": round(duration_s, 3)}
        words["segments"] = [_verbose(number, each) for number, each in enumerate(segments)]
    return Response(msgspec.json.encode(words), media_type="application/json")


def _verbose(number: int, segment: Segment) -> dict[str, Any]:
    """OpenAI's fields; those that a recogniser like ours does not have are zero."""
    return {
        "id": number,
        "seek": 0,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 0.0,
        "no_speech_prob": 0.0,
    }


_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "language": {"type": "string"},
                        "prompt": {"type": "string"},
                        "temperature": {"type": "number"},
                        "response_format": {"type": "string", "enum": list(_FORMATS)},
                    },
                }
            }
        },
    }
}
