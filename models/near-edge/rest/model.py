"""A detector behind its first layers, behind Triton."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeapp.core.events import Features
from edgeapp.near_edge import backend


class TritonPythonModel:
    """The features of one picture a request."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._served = backend.Served(arguments)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._served.answer(request, self._look) for request in requests]

    async def _look(self, request: Any) -> list[Any]:
        codes, scale, frame = (backend.array(request, name) for name in ("features", "range", "frame"))
        if codes is None or scale is None or frame is None or not np.isfinite(scale).all():
            raise ValueError("features")
        values = codes * scale[:, 0, None, None] + scale[:, 1, None, None]
        height, width = frame.tolist()
        features = Features(values.astype(np.float32), height, width, 1, "near edge")
        return backend.seen(await self._served.engine(features))

    def finalize(self) -> None:
        self._served.close()
