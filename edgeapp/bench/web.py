"""What the pages cost: one process inspects parts, holds a conversation and shows both, with no viewer and with ten, in turns.

The viewers are another process: they take ten pictures a second each over real WebSockets and confirm them, as the page does.
Measured are this process's CPU time, the times of verdicts and turns, and the longest stall of the loop. The viewers' own
work is on this machine, too: on two cores it is part of what delays.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
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
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.qc import open_inspection
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, Outcome, TimestampKind, Verdict
from edgeapp.core.record import AnyRecord, TurnRecord
from edgeapp.demo.web import ask_on
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter
from edgeapp.vision.inspection import watch
from edgeapp.web.watching import pictures

VIEWERS: Final = 10
PARTS_PER_MINUTE: Final = 60.0
PICTURES_HZ: Final = 10
TOPICS: Final = ("verdicts", "captions", "turns")
CORE_SHARE_MAX: Final = 0.05
"""Of one core, for each viewer."""

SLOWER_MAX: Final = 0.03
"""Of the verdicts' p95 with all viewers against none."""

_SETTLE_S: Final = 2.0
_PAUSE_S: Final = 0.5  # between a reply and the next question
_FRAME: Final = (720, 1280)  # of the camera that is only shown


@dataclass
class _Part:
    """What one stretch showed."""

    viewers: int
    took_ms: list[float] = field(default_factory=list)
    """Of each verdict."""

    turns_ms: list[float] = field(default_factory=list)
    """From the last voiced sample to the first audible one."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    stall_ms: float = 0.0
    pictures: int = 0


def bench_web(*, quick: bool) -> int:
    """Run, print a table and one line of JSON; 1 if a bar is missed."""
    rounds, seconds = (1, 16.0) if quick else (6, 60.0)
    with tempfile.TemporaryDirectory() as folder:
        parts = asyncio.run(_measure(Path(folder), rounds, seconds))
    alone, shown = _joined(parts, 0), _joined(parts, VIEWERS)
    each = (shown.cpu_s / shown.wall_s - alone.cpu_s / alone.wall_s) / VIEWERS
    p95 = {name: [percentile(getattr(part, name), 95) for part in (alone, shown)] for name in ("took_ms", "turns_ms")}
    slower = {name: values[1] / values[0] - 1 for name, values in p95.items()}
    table = Table(title="The pages' cost to a running device", title_justify="left")
    for name in (
        "viewers", "verdicts", "p50 ms", "p95 ms", "turns", "p50 ms", "p95 ms", "cores used", "longest stall ms",
        "pictures/s a viewer",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for part in (alone, shown):
        rate = part.pictures / part.wall_s / part.viewers if part.viewers else 0.0
        cells = [str(part.viewers)]
        for took in (part.took_ms, part.turns_ms):
            cells += [str(len(took)), f"{percentile(took, 50):.1f}", f"{percentile(took, 95):.1f}"]
        table.add_row(*cells, f"{part.cpu_s / part.wall_s:.2f}", f"{part.stall_ms:.0f}", f"{rate:.1f}")
    Console(stderr=True, width=None if sys.stderr.isatty() else 150).print(table)
    ok = each <= CORE_SHARE_MAX and all(value <= SLOWER_MAX for value in slower.values())
    summary = {
        "bench": "web",
        "core_share_a_viewer": round(each, 4),
        "verdicts": len(alone.took_ms) + len(shown.took_ms),
        "turns": len(alone.turns_ms) + len(shown.turns_ms),
        "verdicts_p95_ms": [round(value, 1) for value in p95["took_ms"]],
        "turns_p95_ms": [round(value, 1) for value in p95["turns_ms"]],
        "verdicts_slower": round(slower["took_ms"], 4),
        "turns_slower": round(slower["turns_ms"], 4),
        "pictures_a_viewer_hz": round(shown.pictures / shown.wall_s / VIEWERS, 1),
        "stall_ms": [round(part.stall_ms, 1) for part in (alone, shown)],
        "ok": ok,
    }
    print(json.dumps(summary))
    return 0 if ok else 1


async def _measure(folder: Path, rounds: int, seconds: float) -> list[_Part]:
    from edgeapp.devices.conveyor import MAX_PARTS, Options, start
    from edgeapp.devices.files import VirtualAudio

    config = settings.Config(
        name="bench", app="device", audio=settings.Audio(echo="none"), web=settings.Web(serve=True, port=0)
    )
    records: list[AnyRecord] = []  # of one stretch

    def keep(record: AnyRecord) -> None:
        if isinstance(record, Verdict | TurnRecord):
            records.append(record)

    front, parts = Front(config, folder=folder), list[_Part]()
    async with AsyncExitStack() as stack:
        wired = Parts(stack, sink_of(config.records, stack, keep, *front.sinks))
        inspection = await open_inspection(config, wired)
        conversation = await open_conversation(config, wired)
        front.converses(conversation)
        url = await front.open(wired)
        options = Options(parts=MAX_PARTS, parts_per_minute=PARTS_PER_MINUTE, source="belt")
        belt = await stack.enter_async_context(start(options))
        line = asyncio.create_task(watch(belt.frames(), inspection, front.showing(lambda *_: None), _raise))
        audio = VirtualAudio(block_samples=256)
        tasks = [
            line,
            asyncio.create_task(_free_running(front)),
            asyncio.create_task(conversation.listen(audio.heard(), audio.speaker)),
            asyncio.create_task(ask_on(audio, conversation, _PAUSE_S)),
        ]
        for _ in range(rounds):
            for viewers in (0, VIEWERS):
                parts.append(await _stretch(url, viewers, seconds, records))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
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


async def _stretch(url: str, viewers: int, seconds: float, records: list[AnyRecord]) -> _Part:
    """So many viewers for so long; the first seconds are not counted."""
    part = _Part(viewers)
    context = multiprocessing.get_context("spawn")
    counted, ready = context.Value("q", 0), context.Event()
    child = context.Process(target=_look, args=(url, viewers, counted, ready), daemon=True)
    if viewers:
        child.start()
        await asyncio.to_thread(ready.wait, 30)
    await asyncio.sleep(_SETTLE_S)
    records.clear()
    before, cpu_s, began_s = counted.value, time.process_time(), time.monotonic()
    async with StallMeter() as stalls:
        await asyncio.sleep(seconds)
    part.cpu_s, part.wall_s = time.process_time() - cpu_s, time.monotonic() - began_s
    part.pictures, part.stall_ms = counted.value - before, stalls.longest_ms
    part.took_ms = [(each.decided_ns - each.at_ns) / MS for each in records if isinstance(each, Verdict)]
    part.turns_ms = [
        (each.first_audible_ns - each.last_voiced_ns) / MS
        for each in records
        if isinstance(each, TurnRecord) and each.first_audible_ns is not None
    ]
    if viewers:
        child.terminate()
        await asyncio.to_thread(child.join, 10)
    return part


def _joined(parts: list[_Part], viewers: int) -> _Part:
    whole = _Part(viewers)
    for part in parts:
        if part.viewers == viewers:
            whole.took_ms += part.took_ms
            whole.turns_ms += part.turns_ms
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
