"""The one race: remote first, local before it is too late, first valid answer wins.

The problem: a remote may answer, stall, fail or lie dead, and a deadline must hold all the same. The naive answer, wait
for a timeout and then run local, misses every time the timeout plus local exceeds what is left. Running both at once
costs the accelerator that other work needs.

So, in the shape of happy eyeballs (RFC 8305): local starts when the remote fails or at `local_at_ns`, whichever is first;
the remote goes on; the first answer wins and the other attempt is cancelled. The race is over when both have really
ended, so nothing outlives it; a side that is slow to cancel delays the winner, which is why "cancel ends within one bite"
is part of every engine's contract. An answer that loses by a hair is closed.

What this does not do: retry, choose, or know what a link or a lane is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from edgeapp.core.events import BackendError
from edgeapp.core.stream import Stream

Out = TypeVar("Out")


class Side(StrEnum):
    """Where an answer came from."""

    LOCAL = "local"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Won(Generic[Out]):
    """The answer and who gave it."""

    side: Side
    value: Out


async def hedge(
    remote: Callable[[], Awaitable[Out]], local: Callable[[], Awaitable[Out]], *, local_at_ns: int
) -> Won[Out]:
    """Return the first valid answer. Raises BackendError if both sides failed."""
    won: list[Won[Out]] = []
    errors: list[BackendError] = []
    remote_failed = asyncio.Event()

    async def attempt(side: Side, call: Callable[[], Awaitable[Out]]) -> None:
        try:
            value = await call()
        except BackendError as error:
            errors.append(error)
            remote_failed.set()
            return
        if won:
            if isinstance(value, Stream):
                await value.aclose()
            return
        won.append(Won(side, value))
        for task in attempts:
            if task is not asyncio.current_task():
                task.cancel()

    async def local_in_time() -> None:
        try:
            async with asyncio.timeout_at(local_at_ns / 1e9):
                await remote_failed.wait()
        except TimeoutError:
            pass  # the last safe moment has come
        await attempt(Side.LOCAL, local)

    try:
        async with asyncio.TaskGroup() as group:
            attempts = [
                group.create_task(attempt(Side.REMOTE, remote)),
                group.create_task(local_in_time()),
            ]
    except BaseException:
        for answer in won:  # cancelled between the win and the end of the loser
            if isinstance(answer.value, Stream):
                await answer.value.aclose()
        raise
    if not won:
        raise BackendError("; ".join(["remote and local both failed", *map(str, errors)]))
    return won[0]
