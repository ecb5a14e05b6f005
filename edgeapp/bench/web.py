"""What the pages cost: one process inspects parts and shows them, with no viewer and with ten, in turns.

The viewers are another process: they take ten pictures a second each over real WebSockets and confirm them, as the page does.
Measured are this process's CPU time, the verdicts' times and the longest stall of the loop.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.qc import open_inspection
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, Outcome, TimestampKind, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter
from edgeapp.vision.inspection import watch
from edgeapp.web.watching import pictures

VIEWERS: Final = 10
PARTS_PER_MINUTE: Final = 120.0
PICTURES_HZ: Final = 10
TOPICS: Final = ("verdicts", "captions", "turns")
CORE_SHARE_MAX: Final = 0.05
"""Of one core, for each viewer."""

SLOWER_MAX: Final = 0.03
"""Of the verdicts' p95 with all viewers against none."""

_SETTLE_S: Final = 2.0
_FRAME: Final = (720, 1280)  # of the camera that is only shown


@dataclass
class _Part:
    """What one stretch showed."""

    viewers: int
    took_ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    stall_ms: float = 0.0
    pictures: int = 0


def bench_web(*, quick: bool) -> int:
    """Run, print a table and one line of JSON; 1 if a bar is missed."""
    rounds, seconds = (2, 8.0) if quick else (6, 40.0)
    with tempfile.TemporaryDirectory() as folder:
        parts = asyncio.run(_measure(Path(folder), rounds, seconds))
    alone, shown = _joined(parts, 0), _joined(parts, VIEWERS)
    each = (shown.cpu_s / shown.wall_s - alone.cpu_s / alone.wall_s) / VIEWERS
    p95 = [percentile(part.took_ms, 95) for part in (alone, shown)]
    slower = p95[1] / p95[0] - 1
    table = Table(title="The pages' cost: verdicts of a running line", title_justify="left")
    for name in ("viewers", "verdicts", "p50 ms", "p95 ms", "cores used", "longest stall ms", "pictures/s a viewer"):
        table.add_column(name, justify="right")
    for part in (alone, shown):
        rate = part.pictures / part.wall_s / part.viewers if part.viewers else 0.0
        figures = [
            percentile(part.took_ms, 50),
            percentile(part.took_ms, 95),
            part.cpu_s / part.wall_s,
            part.stall_ms,
            rate,
        ]
        table.add_row(str(part.viewers), str(len(part.took_ms)), *(f"{value:.2f}" for value in figures))
    Console(stderr=True).print(table)
    ok = each <= CORE_SHARE_MAX and slower <= SLOWER_MAX
    print(
        json.dumps(
            {
                "bench": "web", "core_share_a_viewer": round(each, 4), "p95_alone_ms": round(p95[0], 1),
                "p95_shown_ms": round(p95[1], 1), "slower": round(slower, 4), "verdicts": len(alone.took_ms) + len(shown.took_ms),
                "pictures_a_viewer_hz": round(shown.pictures / shown.wall_s / VIEWERS, 1),
                "stall_alone_ms": round(alone.stall_ms, 1), "stall_shown_ms": round(shown.stall_ms, 1), "ok": ok,
            }
        )
    )  # fmt: skip
    return 0 if ok else 1


async def _measure(folder: Path, rounds: int, seconds: float) -> list[_Part]:
    from edgeapp.devices.conveyor import MAX_PARTS, Options, start

    config = settings.Config(name="bench", app="qc", web=settings.Web(serve=True, port=0))
    verdicts: list[Verdict] = []

    def keep(record: AnyRecord) -> None:
        if isinstance(record, Verdict):
            verdicts.append(record)

    front, parts = Front(config, folder=folder), list[_Part]()
    async with AsyncExitStack() as stack:
        wired = Parts(stack, sink_of(config.records, stack, keep, *front.sinks))
        inspection = await open_inspection(config, wired)
        url = await front.open(wired)
        options = Options(parts=MAX_PARTS, parts_per_minute=PARTS_PER_MINUTE, source="belt")
        belt = await stack.enter_async_context(start(options))
        line = asyncio.create_task(watch(belt.frames(), inspection, front.showing(lambda *_: None), _raise))
        camera = asyncio.create_task(_free_running(front))
        for _ in range(rounds):
            for viewers in (0, VIEWERS):
                parts.append(await _stretch(url, viewers, seconds, verdicts))
        for task in (line, camera):
            task.cancel()
        await asyncio.wait([line, camera])
    return parts


def _raise(lost: Exception) -> None:
    raise lost


async def _free_running(front: Front) -> None:
    """A camera beside the line that is only looked at, at the pictures' full rate."""
    rng = np.random.default_rng(1)
    noise = rng.integers(60, 120, (*_FRAME, 3), np.uint8)
    due_ns = now_ns()
    for number in range(1, 1_000_000):
        due_ns += 1_000 * MS // PICTURES_HZ
        await sleep_until(due_ns)
        pixels = np.roll(noise, number * 7, axis=1)
        verdict = Verdict(
            outcome=Outcome.PASS,
            why="shown",
            source="hall",
            frame_number=number,
            at_ns=due_ns,
            decided_ns=due_ns,
            due_ns=due_ns,
        )
        front.live.saw(CameraFrame(pixels, due_ns, number, "hall", TimestampKind.FILE), verdict)


async def _stretch(url: str, viewers: int, seconds: float, verdicts: list[Verdict]) -> _Part:
    """So many viewers for so long; the first seconds are not counted."""
    part = _Part(viewers)
    context = multiprocessing.get_context("spawn")
    counted, ready = context.Value("q", 0), context.Event()
    child = context.Process(target=_look, args=(url, viewers, counted, ready), daemon=True)
    if viewers:
        child.start()
        await asyncio.to_thread(ready.wait, 30)
    await asyncio.sleep(_SETTLE_S)
    verdicts.clear()
    before, cpu_s, began_s = counted.value, time.process_time(), time.monotonic()
    async with StallMeter() as stalls:
        await asyncio.sleep(seconds)
    part.cpu_s, part.wall_s = time.process_time() - cpu_s, time.monotonic() - began_s
    part.pictures, part.stall_ms = counted.value - before, stalls.longest_ms
    part.took_ms = [(each.decided_ns - each.at_ns) / MS for each in verdicts]
    if viewers:
        child.terminate()
        await asyncio.to_thread(child.join, 10)
    return part


def _joined(parts: list[_Part], viewers: int) -> _Part:
    whole = _Part(viewers)
    for part in parts:
        if part.viewers == viewers:
            whole.took_ms += part.took_ms
            whole.cpu_s, whole.wall_s = whole.cpu_s + part.cpu_s, whole.wall_s + part.wall_s
            whole.stall_ms, whole.pictures = max(whole.stall_ms, part.stall_ms), whole.pictures + part.pictures
    return whole


def _look(url: str, viewers: int, counted: Any, ready: Any) -> None:
    """The other process: viewers that take and confirm pictures until it is ended."""
    asyncio.run(_look_on(url, viewers, counted, ready))


async def _look_on(url: str, viewers: int, counted: Any, ready: Any) -> None:
    async def one() -> None:
        async for _ in pictures(url, TOPICS):
            ready.set()
            counted.value += 1

    await asyncio.gather(*(one() for _ in range(viewers)))
