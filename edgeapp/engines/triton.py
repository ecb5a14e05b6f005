"""A stage behind a Triton server, over gRPC: detector, rest of a split detector, recogniser, voice, language model.

One thread of the process, with a loop of its own, talks to all servers (`_Wire`): whatever serialising, TLS and the arrival
of megabytes cost, the application's loop does not pay. A request is joined once from the message's head and the arrays'
own memory; the protobuf never holds the tensor. Answers are checked in every respect before they leave this file: an
answer with another shape, type, size or count, or with a NaN, is a BackendError.

The connection of each engine is its own, so a picture on its way up does not stand before a token on its way down. It
comes back by itself (gRPC's own backoff, held below a second), and is made anew when calls have waited `stuck_ms` in sum
and nothing at all came back: after a black hole TCP would stay silent as long again as the hole was. No keepalive pings:
Triton takes them for abuse by default.

`load` sends nothing and needs no server: an absent one is BackendError in each call, and the device starts without it.

Protocol: KServe v2 (`ModelInfer`, `ModelStreamInfer`) with Triton's parameters `timeout` and
`triton_enable_empty_final_response`. What the tensors hold is in models/near-edge/*/config.pbtxt.
"""

from __future__ import annotations

import asyncio
import atexit
import math
import os
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import (
    BackendError,
    Box,
    CameraFrame,
    Clause,
    ConfigError,
    Detections,
    Features,
    Prompt,
    Speech,
    Transcript,
    Utterance,
)
from edgeapp.core.lane import Lane
from edgeapp.core.stream import Stream

if TYPE_CHECKING:
    import grpc

T = TypeVar("T")

_SERVICE: Final = "/inference.GRPCInferenceService/"
_RAW_INPUT: Final = b"\x3a"  # field 7 (raw_input_contents) of ModelInferRequest, length-delimited
_ANSWER_BYTES: Final = 16_000_000
_PARTS_AHEAD: Final = 32  # of a stream, received and not yet asked for
_STREAM_S: Final = 600.0
_TAIL_S: Final = 0.25  # how long the end of a finished stream may take
_BOXES_MAX: Final = 1_000
_PART_SAMPLES_MAX: Final = 480_000
_CHARS_MAX: Final = 4_000
_TYPES: Final[Mapping[str, type[np.generic]]] = {
    "UINT8": np.uint8, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "FP32": np.float32, "BOOL": np.bool_,
}  # fmt: skip
_MODELS: Final = {"detect": "detector", "rest": "rest", "stt": "stt", "llm": "llm", "tts": "tts"}


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's table in the configuration."""

    url: str
    """Host and port, such as `192.168.1.20:8001`."""

    kind: Literal["detect", "rest", "stt", "llm", "tts"]
    """Which stage this is."""

    served_model: str = ""
    """The model's name at the server; empty is what `edgeapp near-edge serve` calls it."""

    version: str = ""
    """The model's version there; empty is the newest."""

    expects: str = ""
    """The first 12 hex digits of the detector's sha256; any other model's answer is refused. Empty takes what comes."""

    deadline_ms: int = 2_000
    """The longest wait for an answer, or for a stream's first part."""

    next_ms: int = 2_000
    """The longest pause inside a stream."""

    stuck_ms: int = 2_000
    """After so much waiting without any answer the connection is made anew."""

    jpeg_quality: int = 90
    """Of pictures on their way to the server, 1 to 100; 0 sends the pixels as they are."""

    ca: str = ""
    """The PEM file of the authority that signed the server's certificate; empty means no TLS."""

    server_name: str = ""
    """The name that the server's certificate must carry; empty is the host of `url`."""

    certificate: str = ""
    """This device's certificate (PEM), where the server wants one."""

    key: str = ""
    """Its private key (PEM)."""


@dataclass(slots=True)
class Counts:
    """What happened so far."""

    calls: int = 0
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    ignored: int = 0
    """Answers, or parts of one, that came after their caller had left."""

    rebuilt: int = 0
    """Connections made anew because nothing came back."""


class Tensor(NamedTuple):
    """One input of a request; `data` is sent from where it lies."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: bytes | memoryview


class _Wire:
    """The thread and the loop of everything that goes over the network. Lives as long as the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="triton", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` there and return what it returns; a cancel here is a cancel there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def _stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1.0)


@cache
def _wire() -> _Wire:
    return _Wire()


class _Connection:
    """A channel to one server. Lives on the wire's loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._silent_s = 0.0  # waited since the last sign of life
        self._closing: set[asyncio.Task[None]] = set()  # at most one for each `stuck_ms` within the longest stream
        self.counts = Counts()
        self.where = f"{options.url}, model {options.served_model or _MODELS[options.kind]}"
        self._channel: grpc.aio.Channel

    async def open(self) -> None:
        """Make the channel and begin to connect, without waiting for it."""
        import grpc
        import grpc.aio
        from tritonclient.grpc import service_pb2 as pb

        options = self._options
        arguments: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1_000),  # also the bound of one attempt to connect
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.max_receive_message_length", _ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),  # where a question goes is said by the configuration alone
        ]
        if options.server_name:
            arguments.append(("grpc.ssl_target_name_override", options.server_name))
        if options.ca:
            files = [
                Path(path).read_bytes() if path else None for path in (options.ca, options.key, options.certificate)
            ]
            self._channel = grpc.aio.secure_channel(options.url, grpc.ssl_channel_credentials(*files), arguments)
        else:
            self._channel = grpc.aio.insecure_channel(options.url, arguments)
        self._unary = self._channel.unary_unary(
            f"{_SERVICE}ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
        )
        self._live = self._channel.unary_unary(
            f"{_SERVICE}ServerLive", response_deserializer=pb.ServerLiveResponse.FromString
        )
        self._stream = self._channel.stream_stream(
            f"{_SERVICE}ModelStreamInfer", response_deserializer=pb.ModelStreamInferResponse.FromString
        )
        self._channel.get_state(try_to_connect=True)

    async def infer(self, request: Callable[[], bytes], gone: threading.Event) -> Any:
        """One request, one `ModelInferResponse`. Raises BackendError."""
        return await self._once(self._unary, request, gone)

    async def live(self) -> None:
        """A round trip without a model, which wakes the radio and the connection. Raises BackendError."""
        await self._once(self._live, bytes, threading.Event())

    async def _once(self, ask: Any, request: Callable[[], bytes], gone: threading.Event) -> Any:
        import grpc.aio

        loop, counts = asyncio.get_running_loop(), self.counts
        counts.calls += 1
        started_s = loop.time()
        try:
            response = await ask(request(), timeout=self._options.deadline_ms / 1e3)
        except asyncio.CancelledError:
            counts.cancelled += 1
            self._silence(loop.time() - started_s)
            raise self._rebuilt() from None
        except grpc.aio.AioRpcError as error:
            counts.failed += 1
            raise self._failed(error, loop.time() - started_s) from error
        self._silent_s = 0.0
        counts.answered += 1
        counts.ignored += gone.is_set()
        return response

    async def stream(self, request: Callable[[], bytes]) -> AsyncGenerator[Any, None]:
        """One request, its `ModelInferResponse`s until the server says that it was the last. Raises BackendError."""
        import grpc.aio

        loop, options, counts = asyncio.get_running_loop(), self._options, self.counts
        counts.calls += 1
        wait_ms, finished = options.deadline_ms, False
        started_s = loop.time()
        call = self._stream(timeout=_STREAM_S)
        try:
            async with asyncio.timeout(wait_ms / 1e3):
                await call.write(request())
                await call.done_writing()
                message = await call.read()
            while True:
                started_s, self._silent_s = loop.time(), 0.0
                if message is grpc.aio.EOF:
                    raise BackendError(f"{self.where} ended its answer before it was finished")
                if message.error_message:
                    raise BackendError(f"{self.where} gave up: {_one_line(message.error_message)}")
                response = message.infer_response
                finished = response.parameters["triton_final_response"].bool_param
                if response.outputs:
                    yield response
                if finished:
                    break
                wait_ms, started_s = options.next_ms, loop.time()
                async with asyncio.timeout(wait_ms / 1e3):
                    message = await call.read()
            counts.answered += 1
        except TimeoutError:
            counts.failed += 1
            self._silence(loop.time() - started_s)
            raise BackendError(f"{self.where} sent nothing for {wait_ms} ms") from None
        except asyncio.CancelledError:
            counts.cancelled += 1
            self._silence(loop.time() - started_s)
            raise self._rebuilt() from None
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            counts.failed += 1
            raise await self._broken(call, error, loop.time() - started_s) from error
        finally:
            if finished:
                await _drain(call)
            call.cancel()

    async def aclose(self) -> None:
        """End what is under way."""
        for task in self._closing:
            task.cancel()
        await self._channel.close(None)

    def _silence(self, waited_s: float) -> None:
        """Nothing came for so long. When that has lasted, begin a new connection; calls on the old one end by themselves."""
        self._silent_s += waited_s
        if self._silent_s < self._options.stuck_ms / 1e3:
            return
        self._silent_s = 0.0
        self.counts.rebuilt += 1
        old = self._channel
        task = asyncio.ensure_future(self._replace(old))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _replace(self, old: Any) -> None:
        await self.open()
        await old.close(self._options.deadline_ms / 1e3)

    def _rebuilt(self) -> BaseException:
        """What a cancelled call raises: its own cancel, or the end of the connection under it."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return asyncio.CancelledError()
        return BackendError(f"{self.where}: the connection was made anew")

    async def _broken(self, call: Any, error: BaseException, waited_s: float) -> BackendError:
        """A stream that could not be written to knows the reason itself."""
        import grpc.aio

        if not isinstance(error, grpc.aio.AioRpcError):
            error = grpc.aio.AioRpcError(await call.code(), None, None, await call.details())
        return self._failed(error, waited_s)

    def _failed(self, error: Any, waited_s: float) -> BackendError:
        import grpc

        code, details = error.code(), _one_line(error.details() or "no reason given")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._silence(waited_s)
            return BackendError(f"{self.where} did not answer in {self._options.deadline_ms} ms")
        if code is grpc.StatusCode.UNAVAILABLE:
            return BackendError(f"{self.where} cannot be reached or is too busy: {details}")
        self._silent_s = 0.0
        return BackendError(f"{self.where} refused: {code.name}, {details}")


async def _drain(call: Any) -> None:
    """Read the end of a finished stream, so that it is not cancelled for nothing."""
    import grpc.aio

    try:
        async with asyncio.timeout(_TAIL_S):
            await call.read()
    except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # the answer is whole


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


class _End:
    """A stream is over."""


class _Client:
    """What the five kinds have in common: requests out, checked outputs back. Lives on the application's loop."""

    def __init__(self, connection: _Connection, options: Options) -> None:
        self._connection, self.options = connection, options
        self.counts = connection.counts
        self.where = connection.where

    async def probe(self, system: str = "") -> None:  # noqa: ARG002 - as a language model's
        """A small round trip, so that radio and connection are awake when it matters. Raises BackendError."""
        await _wire().run(self._connection.live())

    async def ask(self, tensors: Callable[[], Sequence[Tensor]], outputs: _Wanted) -> dict[str, NDArray[Any]]:
        """One request, one answer; `tensors` is called on the wire's thread. Raises BackendError."""
        gone = threading.Event()

        async def call() -> dict[str, NDArray[Any]]:
            response = await self._connection.infer(lambda: self._request(tensors()), gone)
            return _outputs(response, outputs, self.where)

        try:
            return await _wire().run(call())
        except asyncio.CancelledError:
            gone.set()
            raise

    async def pull(
        self, tensors: Callable[[], Sequence[Tensor]], outputs: _Wanted, private: Sequence[str]
    ) -> AsyncGenerator[dict[str, NDArray[Any]], None]:
        """One request, many answers, at most `_PARTS_AHEAD` of them waiting. Raises BackendError without `private` words."""
        loop, wire, gone = asyncio.get_running_loop(), _wire(), threading.Event()
        parts: asyncio.Queue[dict[str, NDArray[Any]] | _End] = asyncio.Queue()  # bounded by the room
        room = asyncio.Semaphore(_PARTS_AHEAD)

        def arrive(part: dict[str, NDArray[Any]] | _End) -> None:
            if gone.is_set():
                self.counts.ignored += not isinstance(part, _End)
            else:
                parts.put_nowait(part)

        def hand_over(part: dict[str, NDArray[Any]] | _End) -> None:
            if gone.is_set():  # the loop may be, too
                self.counts.ignored += not isinstance(part, _End)
            else:
                loop.call_soon_threadsafe(arrive, part)

        async def feed() -> None:
            try:
                async with aclosing(
                    self._connection.stream(lambda: self._request(tensors(), streamed=True))
                ) as all_of_it:
                    async for response in all_of_it:
                        await room.acquire()
                        hand_over(_outputs(response, outputs, self.where))
            finally:
                hand_over(_End())

        job = asyncio.run_coroutine_threadsafe(feed(), wire.loop)
        try:
            while not isinstance(part := await parts.get(), _End):
                wire.loop.call_soon_threadsafe(room.release)
                yield part
            await asyncio.wrap_future(job)
        except BackendError as error:  # errors reach records, and what people say must not
            if any(len(words) > 3 and words in str(error) for words in private):
                raise BackendError(f"{self.where} failed for a reason that repeats the conversation") from None
            raise
        finally:
            gone.set()
            self.counts.ignored += sum(not isinstance(parts.get_nowait(), _End) for _ in range(parts.qsize()))
            job.cancel()

    def _request(self, tensors: Sequence[Tensor], *, streamed: bool = False) -> bytes:
        """A serialised `ModelInferRequest`: the head by protobuf, the tensors' bytes appended as its last fields."""
        from tritonclient.grpc import service_pb2 as pb

        options = self.options
        head = pb.ModelInferRequest(
            model_name=options.served_model or _MODELS[options.kind], model_version=options.version
        )
        head.parameters["timeout"].int64_param = options.deadline_ms * 1_000
        if streamed:
            head.parameters["triton_enable_empty_final_response"].bool_param = True
        pieces: list[bytes | memoryview] = [b""]
        for each in tensors:
            head.inputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
            pieces += [_RAW_INPUT, _varint(memoryview(each.data).nbytes), each.data]
        pieces[0] = head.SerializeToString()
        return b"".join(pieces)


def _varint(number: int) -> bytes:
    """Protobuf's base 128."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


_Wanted = Mapping[str, tuple[str, int]]
"""Outputs by name: data type and number of dimensions."""


def _outputs(response: Any, wanted: _Wanted, where: str) -> dict[str, NDArray[Any]]:
    """The wanted outputs as read-only arrays. Raises BackendError for anything that is not exactly that."""
    sent = {output.name: number for number, output in enumerate(response.outputs)}
    if set(sent) != set(wanted) or len(response.raw_output_contents) != len(response.outputs):
        raise BackendError(f"{where} answered with the outputs {sorted(sent)}, not with {sorted(wanted)}")
    arrays: dict[str, NDArray[Any]] = {}
    for name, (datatype, rank) in wanted.items():
        output, raw = response.outputs[sent[name]], response.raw_output_contents[sent[name]]
        shape, kind = list(output.shape), np.dtype(_TYPES[datatype])
        if output.datatype != datatype or len(shape) != rank or any(size < 0 for size in shape):
            raise BackendError(
                f"{where} answered {name} as {output.datatype} {shape}, not as {datatype} of {rank} dimensions"
            )
        if math.prod(shape) * kind.itemsize != len(raw):
            raise BackendError(f"{where} answered {name} with {len(raw)} bytes, which is not its shape {shape}")
        arrays[name] = np.frombuffer(raw, kind).reshape(shape)
        if kind.kind == "f" and not np.isfinite(arrays[name]).all():
            raise BackendError(f"{where} answered {name} with numbers that are not finite")
    return arrays


def _text(data: NDArray[np.uint8], where: str) -> str:
    try:
        text = data.tobytes().decode()
    except UnicodeDecodeError:
        raise BackendError(f"{where} answered with bytes that are no text") from None
    if len(text) > _CHARS_MAX:
        raise BackendError(f"{where} answered with a text of {len(text)} characters")
    return text


def _words(name: str, text: str) -> list[Tensor]:
    data = text.encode()
    return [Tensor(name, "UINT8", [len(data)], data)]


def tensor(name: str, datatype: str, values: NDArray[Any]) -> Tensor:
    """An array as an input, sent from its own memory if that is contiguous."""
    flat = np.ascontiguousarray(values)
    return Tensor(name, datatype, flat.shape, flat.reshape(-1).data.cast("B") if flat.size else b"")


_SEEN: Final[_Wanted] = {"boxes": ("FP32", 2), "labels": ("UINT8", 1), "model": ("UINT8", 1)}


def _detections(answer: dict[str, NDArray[Any]], frame_number: int, width: int, height: int, it: _Client) -> Detections:
    """Boxes, checked against the picture of `width` x `height` pixels. Raises BackendError."""
    boxes, where = answer["boxes"], it.where
    labels, model = _text(answer["labels"], where).split("\n"), _text(answer["model"], where)
    expects = it.options.expects
    if expects and model != expects:
        raise BackendError(f"{where} looked with the model {model!r}, this device expects {expects!r}")
    labels = labels if boxes.shape[0] else []
    if boxes.shape[0] > _BOXES_MAX or boxes.shape != (len(labels), 5):
        raise BackendError(f"{where} answered with boxes of shape {boxes.shape} and {len(labels)} labels")
    left, top, right, bottom, score = boxes.T
    inside = (
        (left >= -1) & (left <= right) & (right <= width + 1) & (top >= -1) & (top <= bottom) & (bottom <= height + 1)
    )
    if not (inside & (score >= 0) & (score <= 1)).all() or not (score[:-1] >= score[1:]).all():
        raise BackendError(f"{where} answered with boxes that do not lie in the picture, best first")
    found = (
        Box(left=row[0], top=row[1], right=row[2], bottom=row[3], label=label, score=row[4])
        for row, label in zip(boxes.tolist(), labels, strict=True)
    )
    return Detections(frame_number=frame_number, boxes=tuple(found), model=model)


class Detector(_Client):
    """`await detect(frame)`."""

    async def __call__(self, frame: CameraFrame) -> Detections:
        """Look at a frame there. The pixels are only read, on the wire's thread. Raises BackendError."""
        pixels = frame.bgr()
        answer = await self.ask(partial(_picture, pixels, self.options.jpeg_quality), _SEEN)
        return _detections(answer, frame.number, pixels.shape[1], pixels.shape[0], self)


def _picture(pixels: NDArray[np.uint8], jpeg_quality: int) -> list[Tensor]:
    if not jpeg_quality:
        return [tensor("image", "UINT8", pixels)]
    import cv2

    fine, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not fine:
        raise BackendError("OpenCV could not write the picture as a JPEG")
    return [tensor("jpeg", "UINT8", coded.reshape(-1))]


class Rest(_Client):
    """`await rest(features)`: a detector behind its first layers."""

    async def __call__(self, features: Features) -> Detections:
        """Go on from the tensor at the cut, sent as uint8 with a range for each channel. Raises BackendError."""
        answer = await self.ask(partial(_quantised, features), _SEEN)
        return _detections(answer, features.number, features.frame_width, features.frame_height, self)


def _quantised(features: Features) -> list[Tensor]:
    """Per-channel affine uint8: value = code x step + low."""
    values = features.values
    flat = values.reshape(values.shape[0], -1)
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    step = np.maximum((high - low) / np.float32(255), np.float32(1e-12))
    codes = np.rint((flat - low) / step).astype(np.uint8).reshape(values.shape)
    size = np.array([features.frame_height, features.frame_width], np.int32)
    return [
        tensor("features", "UINT8", codes),
        tensor("range", "FP32", np.concatenate([step, low], axis=1)),
        tensor("frame", "INT32", size),
    ]


class Recogniser(_Client):
    """`await stt(utterance)`."""

    async def __call__(self, utterance: Utterance) -> Transcript:
        """Recognise all samples there. Raises BackendError."""
        answer = await self.ask(
            lambda: [tensor("samples", "INT16", utterance.samples)], {"text": ("UINT8", 1), "complete": ("BOOL", 1)}
        )
        if answer["complete"].shape != (1,):
            raise BackendError(f"{self.where} answered complete with shape {answer['complete'].shape}")
        text = " ".join(_text(answer["text"], self.where).lower().split())
        return Transcript(text, complete=bool(answer["complete"][0]))


class Voice(_Client):
    """`await tts(clause)` returns at the first sound."""

    async def __call__(self, clause: Clause) -> Stream[Speech]:
        """Speak `clause` there; no part if there is nothing to say. Raises BackendError."""
        return await Stream.start(self._parts(clause))

    async def _parts(self, clause: Clause) -> AsyncGenerator[Speech, None]:
        wanted = {"samples": ("INT16", 1), "sample_rate_hz": ("INT32", 1)}
        rate_hz = 0
        async with aclosing(self.pull(partial(_words, "text", clause.text), wanted, [clause.text])) as answers:
            async for answer in answers:
                samples, rates = answer["samples"], answer["sample_rate_hz"]
                rate_hz = rate_hz or (int(rates[0]) if rates.size else 0)
                if not 8_000 <= rate_hz <= 48_000 or rates.tolist() != [rate_hz] or samples.size > _PART_SAMPLES_MAX:
                    raise BackendError(f"{self.where} sent {samples.size} samples at {rates.tolist()} Hz")
                if samples.size:
                    yield Speech(samples, rate_hz)


class Llm(_Client):
    """`await llm(prompt)` returns at the first piece of text."""

    async def __call__(self, prompt: Prompt) -> Stream[str]:
        """Answer `prompt` there. Raises BackendError, which never quotes the conversation."""
        return await Stream.start(self._pieces(prompt))

    async def probe(self, system: str = "") -> None:
        """Ask for one token: opens the connection and warms the model. Raises BackendError."""
        async with aclosing(self._pieces(Prompt(system, (), "hello", max_tokens=1))) as pieces:
            async for _ in pieces:
                pass

    async def _pieces(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        if prompt.max_tokens < 1:
            return
        count, said = 0, msgspec.json.encode(prompt)
        private = [prompt.question, prompt.said, *(each for turn in prompt.turns for each in turn)]
        async with aclosing(
            self.pull(lambda: [Tensor("prompt", "UINT8", [len(said)], said)], {"text": ("UINT8", 1)}, private)
        ) as answers:
            async for answer in answers:
                count += 1
                if count > prompt.max_tokens:
                    raise BackendError(f"{self.where} sent more than the {prompt.max_tokens} pieces it was asked for")
                if piece := _text(answer["text"], self.where):
                    yield piece


Triton = Detector | Rest | Recogniser | Voice | Llm
_KINDS: Final[Mapping[str, type[Triton]]] = {
    "detect": Detector, "rest": Rest, "stt": Recogniser, "tts": Voice, "llm": Llm,
}  # fmt: skip


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[Triton]:  # noqa: ARG001 - all engines load alike
    """Make the client; the connection opens by itself. Raises ConfigError for a missing package, option or certificate."""
    _check(options)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what gRPC has to say stands in our errors
    try:
        import grpc.aio  # noqa: F401 - a missing package is said here, not in the first turn
        import tritonclient.grpc.service_pb2  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"triton needs the package {error.name}: pip install 'edgeapp[near-edge]'") from error
    connection = _Connection(options)
    await _wire().run(connection.open())
    try:
        yield _KINDS[options.kind](connection, options)
    finally:
        await _wire().run(connection.aclose())


def _check(options: Options) -> None:
    """Refuse what cannot work."""
    host, _, port = options.url.rpartition(":")
    if not host or "/" in options.url or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigError("triton: url must be a host and a port, such as 192.168.1.20:8001")
    for name in ("deadline_ms", "next_ms", "stuck_ms"):
        if not 1 <= getattr(options, name) <= 600_000:
            raise ConfigError(f"triton: {name} is {getattr(options, name)}; use 1 to 600000")
    if not 0 <= options.jpeg_quality <= 100:
        raise ConfigError(f"triton: jpeg_quality is {options.jpeg_quality}; use 1 to 100, or 0 for plain pixels")
    if bool(options.certificate) != bool(options.key) or (options.key and not options.ca):
        raise ConfigError("triton: certificate and key belong together, and need ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if options.ca:
            context.load_verify_locations(options.ca)
        if options.certificate:
            context.load_cert_chain(options.certificate, options.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"triton: cannot use the certificates {options.ca} {options.certificate}: {error.strerror or error}; "
            "make them with `edgeapp near-edge certificates`"
        ) from error
