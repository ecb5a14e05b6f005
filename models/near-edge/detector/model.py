"""The whole detector behind Triton."""

from __future__ import annotations

from typing import Any

from edgeapp.core.events import CameraFrame, TimestampKind
from edgeapp.near_edge import backend


class TritonPythonModel:
    """One picture a request."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._served = backend.Served(arguments)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._served.answer(request, self._look) for request in requests]

    async def _look(self, request: Any) -> list[Any]:
        frame = CameraFrame(backend.pixels(request), 0, 1, "near edge", TimestampKind.FILE)
        return backend.seen(await self._served.engine(frame))

    def finalize(self) -> None:
        self._served.close()
