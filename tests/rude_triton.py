"""Servers on loopback that do what they are told, wrong things included: one with Triton's protocol, one of bare TCP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

Answer = Callable[["Rude", Any], Iterator[Any]]
"""From the request (`ModelInferRequest`) to its responses: one for a unary call, any number for a stream."""


@dataclass
class Rude:
    """A server that runs."""

    answer: Answer
    url: str = ""
    requests: list[Any] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    """Set whenever a request has come."""

    left: threading.Event = field(default_factory=threading.Event)
    """Set whenever a client has left a call."""

    go: threading.Event = field(default_factory=threading.Event)
    """What an answer may wait for."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Handlers of the two calls."""
        if details.method.endswith("/ModelInfer"):
            return grpc.unary_unary_rpc_method_handler(
                self._unary, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream, pb.ModelInferRequest.FromString, pb.ModelStreamInferResponse.SerializeToString
        )

    def _unary(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note(request, context)
        return next(self.answer(self, request))

    def _stream(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            self._note(request, context)
            yield from self.answer(self, request)

    def _note(self, request: Any, context: grpc.ServicerContext) -> None:
        context.add_callback(self.left.set)
        self.requests.append(request)
        self.asked.set()


@contextmanager
def serving(answer: Answer) -> Iterator[Rude]:
    """Serve on a free port."""
    rude = Rude(answer)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            return rude.service(handler_call_details)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Handler()])
    rude.url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield rude
    finally:
        rude.go.set()
        server.stop(None).wait(10)


_NAMES = {"uint8": "UINT8", "int16": "INT16", "int32": "INT32", "float32": "FP32", "bool": "BOOL"}


def response(*, final: bool | None = None, **outputs: Any) -> Any:
    """A `ModelInferResponse`; texts become uint8. `final` sets Triton's mark of a stream's last response."""
    made = pb.ModelInferResponse(model_name="rude")
    for name, value in outputs.items():
        array = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else np.asarray(value)
        made.outputs.add(name=name, datatype=_NAMES[array.dtype.name], shape=array.shape)
        made.raw_output_contents.append(array.tobytes())
    if final is not None:
        made.parameters["triton_final_response"].bool_param = final
    return made


def streamed(*, final: bool = False, **outputs: Any) -> Any:
    """A part of a stream."""
    return pb.ModelStreamInferResponse(infer_response=response(final=final, **outputs))


def last() -> Any:
    """The empty response that ends a stream."""
    return streamed(final=True)


def gives_up(reason: str) -> Any:
    """An error inside a stream."""
    return pb.ModelStreamInferResponse(error_message=reason)


@asynccontextmanager
async def listening(connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A TCP server on a free port, whose connections end with it."""
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.ensure_future(connected(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
