"""The race as a table: what the remote does, what local does, when local may start -> who wins, and exactly when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from worlds import Script

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.hedge import hedge
from edgeapp.core.stream import Stream

#        remote           local           local_at  winner    at    local started
RACES = [
    ((30, "ok"), (40, "ok"), 100, "remote", 30, 0),
    ((100, "ok"), (40, "ok"), 100, "remote", 100, 0),  # the answer arrives as local would start
    ((110, "ok"), (40, "ok"), 100, "remote", 110, 1),  # late for the window, yet first
    ((150, "ok"), (40, "ok"), 100, "local", 140, 1),
    ((0, "hang"), (40, "ok"), 100, "local", 140, 1),
    ((20, "error"), (40, "ok"), 100, "local", 60, 1),  # local does not wait for its moment
    ((120, "error"), (40, "ok"), 100, "local", 140, 1),
    ((150, "ok"), (10, "error"), 100, "remote", 150, 1),  # local fails, the remote is still listened to
    ((50, "ok"), (40, "ok"), 0, "local", 40, 1),  # a race from the start
    ((40, "ok"), (40, "ok"), 0, "remote", 40, 1),  # a draw goes to the one who was asked first
    ((30, "ok"), (40, "ok"), -10, "remote", 30, 1),  # a moment in the past is now
]


@pytest.mark.parametrize(("remote", "local", "local_at_ms", "winner", "at_ms", "started"), RACES)
async def test_the_race(
    remote: tuple[float, str], local: tuple[float, str], local_at_ms: int, winner: str, at_ms: int, started: int
) -> None:
    far, near = Script([remote], "remote"), Script([local], "local")
    won = await hedge(lambda: far(None), lambda: near(None), local_at_ns=local_at_ms * MS)
    assert (won.side, won.value, now_ns(), near.calls) == (winner, winner, at_ms * MS, started)


async def test_both_fail() -> None:
    far, near = Script([(10, "error")]), Script([(10, "error")])
    with pytest.raises(BackendError, match="both failed"):
        await hedge(lambda: far(None), lambda: near(None), local_at_ns=100 * MS)
    assert now_ns() == 20 * MS


async def test_cancel_ends_both_sides() -> None:
    ended: list[str] = []

    async def side(name: str) -> str:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(name)
        return name

    race = asyncio.create_task(hedge(lambda: side("remote"), lambda: side("local"), local_at_ns=50 * MS))
    await asyncio.sleep(0.060)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race
    assert sorted(ended) == ["local", "remote"]


async def test_a_bug_in_one_side_is_not_hidden_by_the_other() -> None:
    async def bug() -> str:
        raise KeyError("bug")

    near = Script([(10, "ok")])
    with pytest.raises(ExceptionGroup) as raised:
        await hedge(bug, lambda: near(None), local_at_ns=0)
    assert raised.group_contains(KeyError)


async def test_a_stream_that_loses_by_a_hair_is_closed() -> None:
    closed: list[str] = []

    async def words(name: str) -> AsyncGenerator[str, None]:
        try:
            await Script([(40, "ok")])(None)
            yield name
            yield "more"
        finally:
            closed.append(name)

    async def parts(name: str) -> Stream[str]:
        return await Stream.start(words(name))

    won = await hedge(lambda: parts("remote"), lambda: parts("local"), local_at_ns=0)
    assert won.side == "remote"
    assert closed == ["local"]
    await won.value.aclose()
    assert closed == ["local", "remote"]
