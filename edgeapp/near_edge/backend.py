"""An engine of this application inside Triton's Python backend: what the `model.py` files of models/near-edge have in common.

Runs in the stub's process and environment (numpy 1). One request at a time on a loop of its own; a request whose caller
has left is dropped before it starts and cancelled within one bite after that.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import BackendError, ConfigError
from edgeapp.core.lane import Lane

T = TypeVar("T")

_LOOK_S: Final = 0.01
"""How often a running request looks whether anybody still waits for it."""

_TEXT_BYTES: Final = 100_000
_SAMPLES: Final = 16_000 * 600
_PIXELS: Final = 32_000_000
_JPEG_BYTES: Final = 16_000_000


class Cancelled(Exception):
    """Nobody waits for this answer any more."""


class Served:
    """One engine and its loop."""

    def __init__(self, arguments: dict[str, str], adjust: Callable[[Any, dict[str, Any]], Any] | None = None) -> None:
        """`arguments` as the backend gives them. Engine and options come from the configuration's parameters.

        A path in the options that begins with `./` is a file of the model's version folder. `adjust(engine, options)` may
        give a coroutine that is awaited once after the engine was loaded.
        """
        assert np.__version__.startswith("1."), (
            "this environment has numpy 2, which corrupts tensors in the Python backend"
        )
        parameters = json.loads(arguments["model_config"])["parameters"]
        folder = Path(arguments["model_repository"]) / arguments["model_version"]
        engine = parameters["engine"]["string_value"]
        options = json.loads(parameters["options"]["string_value"])
        values = {
            key: str((folder / value).resolve()) if isinstance(value, str) and value.startswith("./") else value
            for key, value in options.items()
        }
        module = importlib.import_module(f"edgeapp.engines.{engine}")
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._lane = Lane(arguments["model_instance_name"])
        self.engine: Any = self._loop.run_until_complete(
            self._stack.enter_async_context(module.load(msgspec.convert(values, module.Options), self._lane))
        )
        if adjust is not None:
            self._loop.run_until_complete(adjust(self.engine, values))

    def answer(self, request: Any, work: Callable[[Any], Coroutine[Any, Any, list[Any]]]) -> Any:
        """One request -> one response: `work(request)` gives its tensors."""
        import triton_python_backend_utils as pb

        try:
            return pb.InferenceResponse(self._run(work(request), request.is_cancelled))
        except (Cancelled, BackendError, ConfigError, ValueError, msgspec.MsgspecError) as error:
            return pb.InferenceResponse(error=_error(error))

    def stream(self, request: Any, work: Callable[[Any], AsyncIterator[list[Any]]]) -> None:
        """One request -> many responses: `work(request)` gives the tensors of each."""
        import triton_python_backend_utils as pb

        sender = request.get_response_sender()

        async def send() -> None:
            async for tensors in work(request):
                sender.send(pb.InferenceResponse(tensors))

        try:
            self._run(send(), sender.is_cancelled)
        except (Cancelled, BackendError, ConfigError, ValueError, msgspec.MsgspecError) as error:
            # One message, not two: an end after an error kills Triton 2.51 if the client asked for triton_grpc_error.
            sender.send(pb.InferenceResponse(error=_error(error)), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def close(self) -> None:
        """Let the engine go."""
        self._loop.run_until_complete(self._stack.aclose())
        self._lane.close()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T], is_cancelled: Callable[[], bool]) -> T:
        async def watched() -> T:
            task = asyncio.ensure_future(work)
            while not (await asyncio.wait((task,), timeout=_LOOK_S))[0]:
                if is_cancelled():
                    task.cancel()
                    await asyncio.wait((task,))
                    raise Cancelled
            return task.result()

        if is_cancelled():
            work.close()
            raise Cancelled
        return self._loop.run_until_complete(watched())


def _error(error: Exception) -> Any:
    import triton_python_backend_utils as pb

    if isinstance(error, Cancelled):
        return pb.TritonError("cancelled", pb.TritonError.CANCELLED)
    # What a decoder says about a malformed text may quote it, and what people say must not reach a log.
    refused = isinstance(error, (ValueError, msgspec.MsgspecError))
    text = f"the request is malformed ({type(error).__name__})" if refused else str(error)
    return pb.TritonError(text, pb.TritonError.INVALID_ARG if refused else pb.TritonError.INTERNAL)


def array(request: Any, name: str) -> NDArray[Any] | None:
    """An input, or None if it was not sent."""
    import triton_python_backend_utils as pb

    tensor = pb.get_input_tensor_by_name(request, name)
    return None if tensor is None else np.asarray(tensor.as_numpy())


def text(request: Any, name: str) -> str:
    """An input of UTF-8 bytes. Raises ValueError."""
    sent = array(request, name)
    if sent is None or sent.size > _TEXT_BYTES:
        raise ValueError(name)
    return sent.tobytes().decode()


def samples(request: Any) -> NDArray[np.int16]:
    """The input `samples`, int16 at 16 kHz. Raises ValueError."""
    sent = array(request, "samples")
    if sent is None or sent.size > _SAMPLES:
        raise ValueError("samples")
    return sent.astype(np.int16)


def pixels(request: Any) -> NDArray[np.uint8]:
    """The inputs `image` (height, width, 3) or `jpeg` (n,) -> BGR pixels. Raises ValueError."""
    raw, jpeg = array(request, "image"), array(request, "jpeg")
    if raw is not None and raw.size <= _PIXELS:
        return raw
    if jpeg is None or not 0 < jpeg.size <= _JPEG_BYTES:
        raise ValueError("image")
    import cv2

    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    if decoded is None or decoded.size > _PIXELS:
        raise ValueError("jpeg")
    return np.asarray(decoded, np.uint8)


def as_bytes(text: str) -> NDArray[np.uint8]:
    """UTF-8, shape (n,)."""
    return np.frombuffer(text.encode(), np.uint8)


def seen(detections: Any) -> list[Any]:
    """Detections -> the outputs `boxes` (n, 5: left, top, right, bottom, score), `labels` (lines) and `model`."""
    import triton_python_backend_utils as pb

    rows = [(box.left, box.top, box.right, box.bottom, box.score) for box in detections.boxes]
    labels = "\n".join(box.label for box in detections.boxes)
    return [
        pb.Tensor("boxes", np.array(rows, np.float32).reshape(-1, 5)),
        pb.Tensor("labels", as_bytes(labels)),
        pb.Tensor("model", as_bytes(detections.model)),
    ]
