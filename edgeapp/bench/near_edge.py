"""`edgeapp bench near-edge`: what lending a call costs above the bare client's call, and what it does to the loop.

Against a real Triton on this machine with a model that only gives back its input. Ours is the whole way: stage, placement,
hedge, reservation, record, the thread of the wire, checked outputs. Theirs is `tritonclient.grpc.aio` on the loop, as its
documentation shows it. Calls alternate, and what counts is the median of the paired differences.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Placement, Situation, Terms, Why
from edgeapp.core.stage import Stage
from edgeapp.engines import triton
from edgeapp.near_edge.environment import no_wheel
from edgeapp.near_edge.reference import echo_client
from edgeapp.near_edge.repository import Served
from edgeapp.near_edge.serve import Settings, serving
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter

Floats = NDArray[np.float32]
Call = Callable[[Floats], Awaitable[Any]]

_SMALL: Final = 16
_LARGE: Final = 64 * 80 * 80
"""A YOLO11n's tensor behind layer 3 at 640 x 640: 1.6 MB as float32."""


@dataclass
class _Sides:
    """Milliseconds of each call, in pairs."""

    ours_ms: list[float] = field(default_factory=list)
    theirs_ms: list[float] = field(default_factory=list)

    @property
    def above_ms(self) -> float:
        """The median of ours minus theirs."""
        return statistics.median(ours - theirs for ours, theirs in zip(self.ours_ms, self.theirs_ms, strict=True))

    def figures(self) -> dict[str, float]:
        """For the line of JSON."""
        return {
            "ours_median_ms": round(statistics.median(self.ours_ms), 3),
            "ours_p90_ms": round(percentile(self.ours_ms, 90), 3),
            "tritonclient_median_ms": round(statistics.median(self.theirs_ms), 3),
            "tritonclient_p90_ms": round(percentile(self.theirs_ms, 90), 3),
            "above_median_ms": round(self.above_ms, 3),
            "pairs": len(self.ours_ms),
        }


def bench_near_edge(*, quick: bool) -> int:
    """Measure; 1 if a bar is missed, else 0."""
    figures: dict[str, Any] = {}

    def calls(quick: bool) -> list[Bar] | str:
        """lending calls to a real Triton"""
        if why := no_wheel():
            return why
        return asyncio.run(lending(figures, pairs=60 if quick else 400))

    return run_bench("near-edge", [calls], quick=quick, figures=figures)


async def lending(figures: dict[str, Any], pairs: int) -> list[Bar]:
    """The bars of lending a call, against a Triton of its own; what was measured goes into `figures`."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(Settings(models=(Served("echo", "echo"),)), watch=False))
        theirs = await stack.enter_async_context(echo_client(server.url))
        ours = await _open_stage(stack, server.url)
        small = await _alternate(ours, theirs, np.zeros(_SMALL, np.float32), pairs)
        large_data = np.random.default_rng(1).standard_normal(_LARGE).astype(np.float32)
        large = await _alternate(ours, theirs, large_data, pairs // 4)
        stall_ms, lasted_s = await _stall(ours, large_data, pairs // 4)
        their_stall_ms, _ = await _stall(theirs, large_data, pairs // 4)
        async with StallMeter() as idle:  # what this machine does to a loop that has nothing to do, for as long
            await asyncio.sleep(lasted_s)
    figures |= {"small": small.figures(), "large": large.figures(), "stall_ms": round(stall_ms, 2)}
    figures |= {"tritonclient_stall_ms": round(their_stall_ms, 2), "idle_stall_ms": round(idle.longest_ms, 2)}
    how = f"{pairs} alternating pairs, tritonclient {{:.2f}} ms, ours {{:.2f}} ms"
    return [
        at_most("cost_above_tritonclient_64_B_ms", small.above_ms, 1.0, "ms", _medians(how, small)),
        at_most("cost_above_tritonclient_1.6_MB_ms", large.above_ms, 1.0, "ms", _medians(how, large)),
        at_most(
            "loop_stall_1.6_MB_ms", stall_ms, 20.0, "ms", f"longest of {pairs // 4} calls; theirs {their_stall_ms:.1f}"
        ),
    ]


def _medians(how: str, sides: _Sides) -> str:
    return how.format(statistics.median(sides.theirs_ms), statistics.median(sides.ours_ms))


async def _open_stage(stack: AsyncExitStack, url: str) -> Call:
    """The whole way of a lent call. Local never has to run: the due time is far away."""
    lane = Lane("bench")
    stack.callback(lane.close)
    options = triton.Options(url=url, kind="stt", served_model="echo", deadline_ms=10_000)
    engine = await stack.enter_async_context(triton.load(options, lane))

    async def remote(data: Floats) -> Floats:
        answer = await engine.ask(lambda: [triton.tensor("data", "FP32", data)], {"data": ("FP32", 1)})
        return answer["data"]

    async def local(_: Floats) -> Floats:
        raise BackendError("the near edge did not answer")

    def late(it: Situation, _: Terms) -> Placement:
        return Late(it.lane_last_ns or it.now_ns, Why.SAFE)

    stage: Stage[Floats, Floats] = Stage(
        "echo", local, lane, local_prior_ns=MS, sink=lambda _: None, remote=remote, link=Link("edge"),
        payload_bytes=lambda data: data.nbytes, placer=late,
    )  # fmt: skip
    stack.push_async_callback(stage.aclose)

    async def ours(data: Floats) -> Floats:
        return await stage(data, due_ns=now_ns() + 60_000 * MS, of="bench")

    return ours


async def _alternate(ours: Call, theirs: Call, data: Floats, pairs: int) -> _Sides:
    for _ in range(10):
        assert np.array_equal(await ours(data), await theirs(data))
    sides = _Sides()
    for number in range(pairs):
        for call, took in sorted(
            ((ours, sides.ours_ms), (theirs, sides.theirs_ms)), key=lambda each: (each[0] is ours) == bool(number % 2)
        ):
            started = time.perf_counter_ns()
            await call(data)
            took.append((time.perf_counter_ns() - started) / 1e6)
    return sides


async def _stall(call: Call, data: Floats, calls: int) -> tuple[float, float]:
    """The longest delay of the loop in ms while large tensors go out and come back, and how long that took in s."""
    started = time.perf_counter()
    async with StallMeter() as stalls:
        for _ in range(calls):
            await call(data)
    return stalls.longest_ms, time.perf_counter() - started
