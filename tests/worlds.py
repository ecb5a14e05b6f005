"""Scripted parts for tests on virtual time: work that takes so long, remotes that answer, stall or fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, BackendError
from edgeapp.core.lane import Lane

BLOCK: Final = 256  # samples: 16 ms


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


async def microphone(*segments: tuple[int, bool]) -> AsyncIterator[AudioChunk]:
    """Segments of (milliseconds, does somebody speak) as 16 ms blocks at real-time pace on the loop's clock."""
    level = np.concatenate([np.full(ms * SAMPLE_RATE_HZ // 1000, 6_000 * voiced) for ms, voiced in segments])
    sound = (level * np.sin(np.arange(len(level)) * 0.3)).astype(np.int16)
    for start in range(0, len(sound) - BLOCK + 1, BLOCK):
        ended_ns = (start + BLOCK) * 1_000_000_000 // SAMPLE_RATE_HZ
        await sleep_until(ended_ns)
        yield AudioChunk(sound[start : start + BLOCK], ended_ns)


class Mouth:
    """A loudspeaker without a buffer: what is played is audible at once, one clip after the other."""

    latency_ns = 0

    def __init__(self) -> None:
        self._before_ns = 0  # played before the clips under way
        self._clips: list[tuple[int, int]] = []  # (starts, ends), on the clock
        self.log: list[tuple[float, float]] = []
        self.ducked: list[tuple[float, float]] = []  # (when in ms, the share of the loudness from then on)

    @property
    def played_ns(self) -> int:
        now = now_ns()
        return self._before_ns + sum(max(0, min(end, now) - start) for start, end in self._clips)

    async def play(self, samples: NDArray[np.int16], sample_rate_hz: int) -> int:
        start = max([now_ns(), *(end for _, end in self._clips)])
        end = start + len(samples) * 1_000_000_000 // sample_rate_hz
        self._clips.append((start, end))
        await sleep_until(start)
        return start

    def duck(self, gain: float) -> None:
        self.ducked.append((now_ns() / MS, gain))

    def cut(self) -> int:
        now = now_ns()
        self.log += [(start / MS, min(end, now) / MS) for start, end in self._clips if start < now]
        self._before_ns, self._clips = self.played_ns, []
        return self._before_ns

    async def drained(self) -> int:
        for _, end in tuple(self._clips):
            await sleep_until(end)
        return self.cut()
