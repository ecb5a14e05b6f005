"""tritonclient's own call, as its documentation shows it: the yardstick for ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@asynccontextmanager
async def echo_client(url: str) -> AsyncIterator[Callable[[Floats], Awaitable[Floats]]]:
    """Asks the model `echo` through `tritonclient.grpc.aio` on the running loop: float32 (n,) -> the same."""
    from tritonclient.grpc import InferInput
    from tritonclient.grpc.aio import InferenceServerClient

    async with InferenceServerClient(url) as client:

        async def echo(data: Floats) -> Floats:
            given = InferInput("data", list(data.shape), "FP32")
            given.set_data_from_numpy(data)
            answer = await client.infer("echo", [given], client_timeout=10.0)
            return np.asarray(answer.as_numpy("data"))

        yield echo
