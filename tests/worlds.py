"""Scripted parts for tests on virtual time: work that takes so long, remotes that answer, stall or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.lane import Lane


class Work:
    """A blocking callable that takes `takes_ms` of virtual time and returns `value`."""

    def __init__(self, takes_ms: float, value: Any = None) -> None:
        self.takes_ns = round(takes_ms * MS)
        self.value = value
        self.ended_ns: int | None = None

    def __call__(self) -> Any:
        self.ended_ns = now_ns()
        return self.value


@dataclass
class Script:
    """A callable engine that plays `(takes_ms, outcome)` rows in order and then repeats the last one.

    Outcomes: `ok` answers, `error` raises BackendError, `hang` never answers.
    """

    rows: list[tuple[float, str]]
    value: str = "remote"
    calls: int = 0

    async def __call__(self, request: object) -> str:
        takes_ms, outcome = self.rows[min(self.calls, len(self.rows) - 1)]
        self.calls += 1
        if outcome == "hang":
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(takes_ms / 1e3)
        if outcome == "error":
            raise BackendError("scripted failure")
        return self.value


@dataclass
class OnLane:
    """A local engine whose every call holds the lane for the next of `takes_ms`."""

    lane: Lane
    takes_ms: Iterator[float]
    value: str = "local"

    async def __call__(self, request: object) -> str:
        answer: str = await self.lane.run(Work(next(self.takes_ms), self.value), label="local")
        return answer


async def at_ms(ms: float, then: Callable[[], Any]) -> Any:
    """Wait until `ms`, then await `then()`."""
    await asyncio.sleep(ms / 1e3 - asyncio.get_running_loop().time())
    return await then()
