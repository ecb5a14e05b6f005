"""A voice behind Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from edgeapp.core.events import Clause
from edgeapp.near_edge import backend

_RUN_S = 0.2


class TritonPythonModel:
    """One clause a request, spoken in parts."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._served = backend.Served(arguments)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._served.stream(request, self._speak)

    async def _speak(self, request: Any) -> AsyncIterator[list[Any]]:
        """The first part at once, the rest in runs of a fifth of a second: fewer messages over the link."""
        async with aclosing(await self._served.engine(Clause(backend.text(request, "text")))) as speech:
            held: list[Any] = []
            rate_hz, first = 0, True
            async for part in speech:
                rate_hz = part.sample_rate_hz
                held.append(part.samples)
                if first or sum(map(len, held)) >= _RUN_S * rate_hz:
                    yield self._run(held, rate_hz)
                    held, first = [], False
            if held:
                yield self._run(held, rate_hz)

    @staticmethod
    def _run(held: list[Any], rate_hz: int) -> list[Any]:
        samples = np.concatenate(held)
        return [pb.Tensor("samples", samples), pb.Tensor("sample_rate_hz", np.array([rate_hz], np.int32))]

    def finalize(self) -> None:
        self._served.close()
