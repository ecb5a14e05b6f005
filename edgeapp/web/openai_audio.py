"""OpenAI-compatible speech: `/v1/audio/transcriptions` and `/v1/audio/speech`. What of them is served: docs/protocols.md."""

from __future__ import annotations

import asyncio
import io
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
from edgeapp.web.sound_file import MEDIA_TYPES, FileFormat, SoundFile

RATE_HZ: Final = 24_000
"""Of the sound that clients get: OpenAI's `pcm` is mono, 16 bits, little endian, at this rate."""

_FILE_BYTES_MAX: Final = 25_000_000  # as OpenAI's own bound
_FIELDS_MAX: Final = 16
_GRANULARITIES: Final = "timestamp_granularities[]"
_FIELDS: Final = {
    "file", "model", "language", "response_format", "temperature", "prompt", "stream", "chunking_strategy", _GRANULARITIES,
}  # fmt: skip
_FORMATS: Final = ("json", "text", "verbose_json", "srt", "vtt")
_BLOCK: Final = 65_536  # frames decoded at once


class VoiceId(Body, frozen=True):
    """A voice by its id."""

    id: str


class SpeechRequest(Body, frozen=True):
    """The body of `/v1/audio/speech`."""

    input: str
    model: str = ""
    """Ignored: the device has one voice."""

    voice: str | VoiceId = ""
    """The same."""

    response_format: FileFormat = "mp3"
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
            _one_of(fields, "stream", ("false",))
            _one_of(fields, "chunking_strategy", ("auto",))
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
        return await streamed(_sound(guests, wanted), MEDIA_TYPES[wanted.response_format])

    return routes


async def _sound(guests: Guests, wanted: SpeechRequest) -> AsyncGenerator[bytes, None]:
    with guests.courtesy.guest():
        try:
            file = await asyncio.to_thread(SoundFile, wanted.response_format, RATE_HZ)
        except ValueError as error:
            said = f"{error} on this device; ask for wav or pcm"
            raise Refused(said, param="response_format", code="unsupported_parameter") from None
        try:
            async with aclosing(at_rate(guests.speak(wanted.input), RATE_HZ)) as sound:
                async for samples in sound:
                    if data := await asyncio.to_thread(file.feed, samples):
                        yield data
            yield await asyncio.to_thread(file.close)
        finally:
            file.close()


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
        if any(value != "segment" for value in form.getlist(_GRANULARITIES)):
            raise Refused("times are told of segments, not of words", param=_GRANULARITIES, code="invalid_value")
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
    if form in {"text", "srt", "vtt"}:
        plain = text + "\n" if form == "text" else _subtitles(form, segments)
        return Response(plain, media_type="text/plain; charset=utf-8")
    words: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": round(duration_s, 3)}}
    if form == "verbose_json":
        words |= {"task": "transcribe", "language": language, "duration": round(duration_s, 3)}
        words["segments"] = [_verbose(number, each) for number, each in enumerate(segments)]
    return Response(msgspec.json.encode(words), media_type="application/json")


def _subtitles(form: str, segments: list[Segment]) -> str:
    """SubRip, or WebVTT (https://www.w3.org/TR/webvtt1/): they differ in the head, the numbers and a comma."""
    point = "," if form == "srt" else "."
    blocks = ["WEBVTT"] if form == "vtt" else []
    for number, each in enumerate(segments, 1):
        times = f"{_clock(each.start_s, point)} --> {_clock(each.end_s, point)}\n{each.text}"
        blocks.append(f"{number}\n{times}" if form == "srt" else times)
    return "".join(f"{block}\n\n" for block in blocks)


def _clock(at_s: float, point: str) -> str:
    seconds, thousandths = divmod(round(1000 * at_s), 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{point}{thousandths:03}"


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
                        "stream": {"type": "string", "enum": ["false"]},
                        "chunking_strategy": {"type": "string", "enum": ["auto"]},
                        _GRANULARITIES: {"type": "array", "items": {"type": "string", "enum": ["segment"]}},
                    },
                }
            }
        },
    }
}
