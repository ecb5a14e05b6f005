"""A recogniser behind Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from edgeapp.core.events import Utterance
from edgeapp.near_edge import backend


class TritonPythonModel:
    """One utterance a request."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._served = backend.Served(arguments, self._listen_for)
        self._number = 0

    async def _listen_for(self, engine: Any, options: dict[str, Any]) -> None:
        """Give a recogniser with a grammar the sentences that were put beside this file."""
        if hasattr(engine, "use_grammar") and not options:
            sentences = Path(__file__).with_name("sentences.txt")
            await engine.use_grammar(sentences.read_text(encoding="utf-8").splitlines())

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._served.answer(request, self._hear) for request in requests]

    async def _hear(self, request: Any) -> list[Any]:
        self._number += 1
        heard = await self._served.engine(Utterance(self._number, backend.samples(request), 0))
        return [pb.Tensor("text", backend.as_bytes(heard.text)), pb.Tensor("complete", np.array([heard.complete]))]

    def finalize(self) -> None:
        self._served.close()
