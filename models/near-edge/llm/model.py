"""A language model behind Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
import triton_python_backend_utils as pb

from edgeapp.core.events import Prompt
from edgeapp.near_edge import backend


class TritonPythonModel:
    """One prompt a request, answered piece by piece."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._served = backend.Served(arguments)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._served.stream(request, self._reply)

    async def _reply(self, request: Any) -> AsyncIterator[list[Any]]:
        prompt = msgspec.json.decode(backend.text(request, "prompt"), type=Prompt)
        async with aclosing(await self._served.engine(prompt)) as pieces:
            async for piece in pieces:
                yield [pb.Tensor("text", backend.as_bytes(piece))]

    def finalize(self) -> None:
        self._served.close()
