"""How long the event loop was ever kept from running: the number behind "no model call on the loop"."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

_TICK_S: Final = 0.005


class StallMeter:
    """Between `async with StallMeter() as stalls:` and its end, `stalls.longest_ms` is the longest delay of a tick."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked_s = loop.time()
            await asyncio.sleep(_TICK_S)
            self.longest_ms = max(self.longest_ms, (loop.time() - asked_s - _TICK_S) * 1e3)
