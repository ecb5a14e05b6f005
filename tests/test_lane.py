"""The lane: order, gaps, promises."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim import run
from worlds import Work

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.lane import Lane, Slot, claiming


async def _timed(lane: Lane, takes_ms: float, *, bound_ms: float | None = None, slot: Slot | None = None) -> float:
    with claiming(slot):
        work = Work(takes_ms)
        await lane.run(work, label="x", cost_ns=round((bound_ms or takes_ms) * MS))
    return now_ns() / MS


async def test_one_thing_at_a_time_in_order() -> None:
    lane = Lane("gpu")
    assert await asyncio.gather(*[_timed(lane, 10) for _ in range(4)]) == [10, 20, 30, 40]


async def test_work_that_ends_early_lets_the_next_one_move_up() -> None:
    lane = Lane("gpu")
    assert list(await asyncio.gather(_timed(lane, 10, bound_ms=50), _timed(lane, 10, bound_ms=50))) == [10, 20]


async def test_work_waits_for_a_promise_it_does_not_fit_before() -> None:
    lane = Lane("gpu")
    lane_slot = lane.reserve(30 * MS, 20 * MS)
    small, large = asyncio.create_task(_timed(lane, 30)), asyncio.create_task(_timed(lane, 40))
    await asyncio.sleep(0.030)
    assert await _timed(lane, 20, slot=lane_slot) == 50
    assert (await small, await large) == (30, 90)


async def test_a_released_promise_frees_the_lane_at_once() -> None:
    lane = Lane("gpu")
    slot = lane.reserve(30 * MS, 20 * MS)
    large = asyncio.create_task(_timed(lane, 40))
    await asyncio.sleep(0.010)
    lane.release(slot)
    lane.release(slot)
    assert await large == 50


async def test_a_released_promise_does_not_strand_the_work_that_waits_in_it() -> None:
    lane = Lane("gpu")
    first = asyncio.create_task(_timed(lane, 10))
    await asyncio.sleep(0.001)
    slot = lane.reserve(20 * MS, 5 * MS)
    waiting = asyncio.create_task(_timed(lane, 5, slot=slot))
    await asyncio.sleep(0.001)
    lane.release(slot)
    assert (await first, await waiting) == (10, 15)


async def test_the_last_slot_is_found_backwards_through_promises() -> None:
    lane = Lane("gpu")
    assert lane.latest_ns(0, 20 * MS, 80 * MS) == 80 * MS
    lane.reserve(70 * MS, 20 * MS)
    assert lane.latest_ns(0, 20 * MS, 80 * MS) == 50 * MS
    lane.reserve(30 * MS, 30 * MS)
    assert lane.latest_ns(0, 20 * MS, 80 * MS) == 10 * MS
    assert lane.latest_ns(0, 40 * MS, 80 * MS) is None
    assert lane.earliest_ns(0, 40 * MS) == 90 * MS
    assert lane.earliest_ns(0, 10 * MS) == 0


async def test_droppable_work_fits_only_before_every_promise_and_on_an_idle_lane() -> None:
    lane = Lane("gpu")
    lane.reserve(30 * MS, 20 * MS)
    assert lane.fits(0, 30 * MS)
    assert not lane.fits(0, 31 * MS)
    busy = asyncio.create_task(_timed(lane, 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not lane.fits(0, 1 * MS)
    await busy


async def test_cancelled_waiting_work_never_starts() -> None:
    lane = Lane("gpu")
    first = asyncio.create_task(_timed(lane, 10))
    waiting = Work(10)
    second = asyncio.create_task(lane.run(waiting, label="x", cost_ns=10 * MS))
    third = asyncio.create_task(_timed(lane, 10))
    await asyncio.sleep(0.005)
    second.cancel()
    assert (await first, await third) == (10, 20)
    assert waiting.ended_ns is None


async def test_cancelled_running_work_keeps_the_lane_until_it_ends() -> None:
    lane = Lane("gpu")
    running = Work(30)
    first = asyncio.create_task(lane.run(running, label="x", cost_ns=30 * MS))
    second = asyncio.create_task(_timed(lane, 10))
    await asyncio.sleep(0.005)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert now_ns() == 5 * MS
    assert await second == 40
    assert running.ended_ns == 30 * MS


async def test_the_lane_learns_how_long_a_label_holds_it() -> None:
    lane = Lane("gpu")
    for takes_ms in (5, 40, 5):
        await lane.run(Work(takes_ms), label="llm")
    assert lane.longest_ns["llm"] == 40 * MS
    assert lane.bound_ns("llm") >= 40 * MS


@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 200),  # asked at
            st.integers(1, 60),  # bound
            st.floats(0.1, 1.0),  # share of the bound really used
            st.booleans(),  # reserved for the last moment, or now
            st.integers(0, 300),  # due after the ask
        ),
        max_size=12,
    )
)
def test_a_promised_slot_starts_in_time_and_nothing_overlaps(asked: list[tuple[int, int, float, bool, int]]) -> None:
    """For every schedule of work that keeps its bound, a promise made is a promise kept."""
    lane_log: list[tuple[float, float]] = []
    late: list[float] = []

    async def one(lane: Lane, at_ms: int, bound_ms: int, used: float, reserve: bool, due_ms: int) -> None:
        await asyncio.sleep(at_ms / 1e3)
        bound_ns = bound_ms * MS
        start_ns = lane.earliest_ns(now_ns(), bound_ns)
        if reserve:
            last_ns = lane.latest_ns(now_ns(), bound_ns, now_ns() + due_ms * MS)
            if last_ns is None:
                return
            start_ns = last_ns
        slot = lane.reserve(start_ns, bound_ns)
        await asyncio.sleep((start_ns - now_ns()) / 1e9 if reserve else 0)
        with claiming(slot):
            await lane.run(Work(bound_ms * used), label="x")
        assert slot.started_ns is not None
        late.append(slot.started_ns - start_ns)
        lane_log.append((slot.started_ns, slot.started_ns + round(bound_ms * used * MS)))

    async def world() -> None:
        lane = Lane("gpu")
        await asyncio.gather(*[one(lane, *row) for row in asked])

    run(world())
    assert all(each <= 0 for each in late)
    lane_log.sort()
    assert all(one[1] <= two[0] for one, two in pairwise(lane_log))
