"""How long the local detector takes at most while a near edge on the same machine is as busy as it will be in the runs.

The order statistic of `apps/bounds.py` over runs made here and now, kept nowhere: `edgeapp calibrate` measures a device
that has itself to itself, and a bench whose server shares its cores has not.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from edgeapp.apps.bounds import bound_ns
from edgeapp.apps.wiring import Parts, settle
from edgeapp.bench.line import Pictures, configured
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, CameraFrame, TimestampKind
from edgeapp.core.record import AnyRecord, Record
from edgeapp.near_edge.serve import Server

_WARM_UP: Final = 20
_EVERY_S: Final = 0.1  # how often the near edge is asked beside it
_PAUSE_S: Final = 0.004  # so that a run does not find everything as the one before it left it
_FEW: Final = 1.25  # a bound from too few runs: the longest, and a quarter more


@dataclass(frozen=True, slots=True)
class LocalBound:
    """What was measured."""

    ns: int
    runs: int
    median_ms: float
    longest_ms: float
    proven: bool
    """Were there enough runs to show that 99.9 % stay within the bound?"""


async def measure_bound(server: Server, pictures: Pictures, runs: int, tell: Callable[[], None]) -> LocalBound:
    """Run the local detector so often through a stage; `tell` is called after each run."""
    records: list[Record] = []

    def sink(record: AnyRecord) -> None:
        if isinstance(record, Record):
            records.append(record)

    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink)
        section = configured(url=server.url)
        stage = await parts.stage(section, "bench.detect")
        settle()
        beside = asyncio.create_task(_busy(stage.remote, pictures))
        try:
            for number in range(1, runs + _WARM_UP + 1):
                frame = _frame(pictures, number)
                await stage(frame, due_ns=now_ns() + 60_000 * MS, of="calibration")
                tell()
                await asyncio.sleep(_PAUSE_S)
        finally:
            beside.cancel()
            await asyncio.wait([beside])
    took_ns = [each.local_took_ns for each in records[_WARM_UP:] if each.local_took_ns is not None]
    proven, longest_ns = bound_ns(took_ns), max(took_ns)
    return LocalBound(
        proven or round(longest_ns * _FEW), len(took_ns), statistics.median(took_ns) / MS, longest_ns / MS,
        proven=proven is not None,
    )  # fmt: skip


async def _busy(remote: Any, pictures: Pictures) -> None:
    """Ask the near edge at the line's pace, until it is cancelled. That it is late or fails is of no interest here."""
    for number in itertools.count(1):
        try:
            await remote(_frame(pictures, number))
        except BackendError:
            continue
        finally:
            await asyncio.sleep(_EVERY_S)


def _frame(pictures: Pictures, number: int) -> CameraFrame:
    return CameraFrame(pictures[number % len(pictures)], now_ns(), number, "calibration", TimestampKind.FILE)
