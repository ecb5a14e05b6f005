"""What the pages cost: one process inspects parts, holds a conversation and shows both, with no viewer and with ten, in turns.

The viewers are another process: they take ten pictures a second each over real WebSockets and confirm them, as the page does.
In a plant they are other machines, so here they have only what processor time the device leaves (SCHED_IDLE). Every stretch
shows the same pictures and asks the same questions, so what differs is who looks on.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp import config as settings
from edgeapp.apps.inspection import open_sight
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, Outcome, TimestampKind, Verdict
from edgeapp.core.record import AnyRecord, TurnRecord
from edgeapp.demo.kiosk import Question, recorded_questions
from edgeapp.demo.web import ask
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter
from edgeapp.vision.inspection import watch
from edgeapp.web.watching import pictures

VIEWERS: Final = 10
PICTURES_HZ: Final = 10
TOPICS: Final = ("verdicts", "captions", "turns")
CORE_SHARE_MAX: Final = 0.05
"""Of one core, for each viewer."""

RATE_MIN_HZ: Final = 9.0
"""Of the pictures that a viewer took: what nobody could look at has not been measured."""

SLOWER_MAX: Final = 0.03
"""Of a p95 with all viewers against none."""

_PARTS: Final = 60  # drawn beforehand, shown in turn
_PART_EVERY_NS: Final = 500 * MS
_SETTLE_S: Final = 2.0
_PAUSE_S: Final = 0.5  # between a reply and the next question
_FRAME: Final = (720, 1280)  # of the camera that is only shown
_CHANCES: Final = 1_000  # draws of the stretches, for the interval


@dataclass
class _Part:
    """What one stretch showed, or several."""

    viewers: int
    verdicts_ms: list[float] = field(default_factory=list)
    """From the sensor's timestamp to the verdict."""

    turns_ms: list[float] = field(default_factory=list)
    """From the last voiced sample to the first audible one."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    stall_ms: float = 0.0
    pictures: int = 0


def bench_web(*, quick: bool) -> int:
    """Measure; 1 if a bar is missed."""
    figures: dict[str, Any] = {}

    def step(quick: bool) -> list[Bar] | str:
        """pairs of stretches without viewers and with ten"""
        pairs, questions = (1, recorded_questions()[:3]) if quick else (6, recorded_questions())
        with tempfile.TemporaryDirectory(prefix="edgeapp-bench-web-") as folder:
            return _judged(asyncio.run(_measure(Path(folder), pairs, questions)), figures)

    return run_bench("web", [step], quick=quick, figures=figures)


def _judged(stretches: list[_Part], figures: dict[str, Any]) -> list[Bar]:
    alone, shown = _joined(stretches, 0), _joined(stretches, VIEWERS)
    share = (shown.cpu_s / shown.wall_s - alone.cpu_s / alone.wall_s) / VIEWERS
    rate_hz = shown.pictures / shown.wall_s / VIEWERS
    note = f"the device uses {alone.cpu_s / alone.wall_s:.2f} cores without them"
    bars = [
        at_most("core_share_a_viewer", share, CORE_SHARE_MAX, "cores", note),
        Bar("pictures_a_viewer", round(rate_hz, 1), RATE_MIN_HZ, "Hz", rate_hz >= RATE_MIN_HZ, "or they cost nothing"),
    ]
    for name in ("verdicts_ms", "turns_ms"):
        took = [getattr(part, name) for part in (alone, shown)]
        low, high = _interval(stretches, name)
        p50, p95 = ([percentile(each, q) for each in took] for q in (50, 95))
        figures[name] = {"n": [len(each) for each in took], "p50": p50, "p95": p95, "slower_90": [low, high]}
        note = (
            f"{p95[0]:.0f} to {p95[1]:.0f} ms, p50 {p50[0]:.0f} to {p50[1]:.0f} ms, of {len(took[0])} and {len(took[1])}; "
            f"90 % interval {100 * low:+.1f} to {100 * high:+.1f} %"
        )
        bars.append(
            at_most(f"{name.removesuffix('_ms')}_p95_slower", p95[1] / p95[0] - 1, SLOWER_MAX, "of 0 viewers", note)
        )
    figures["stall_ms"] = [round(alone.stall_ms, 1), round(shown.stall_ms, 1)]
    return bars


def _interval(stretches: list[_Part], name: str) -> tuple[float, float]:
    """How far the p95's change may be chance: 5th and 95th percentile of it over stretches drawn with replacement (bootstrap)."""
    chance = np.random.default_rng(1)
    groups = [[getattr(part, name) for part in stretches if part.viewers == viewers] for viewers in (0, VIEWERS)]
    found = []
    for _ in range(_CHANCES):
        drawn = [np.concatenate([each[n] for n in chance.integers(len(each), size=len(each))]) for each in groups]
        found.append(percentile(list(drawn[1]), 95) / percentile(list(drawn[0]), 95) - 1)
    return round(percentile(found, 5), 4), round(percentile(found, 95), 4)


async def _draw() -> list[NDArray[np.uint8]]:
    from edgeapp.devices import conveyor

    async with conveyor.start(conveyor.Options(parts=_PARTS, source="belt")) as belt:
        return [frame.pixels async for frame in belt.frames()]


class _Belt:
    """A camera whose pictures were drawn beforehand; `rewind` begins with the first again."""

    def __init__(self, drawn: list[NDArray[np.uint8]]) -> None:
        self._drawn = drawn
        self.rewind()

    def rewind(self) -> None:
        self._shown = cycle(self._drawn)

    async def frames(self) -> AsyncIterator[CameraFrame]:
        due_ns = now_ns()
        for number in range(1, 1_000_000):
            due_ns += _PART_EVERY_NS
            await sleep_until(due_ns)
            yield CameraFrame(next(self._shown), due_ns, number, "belt", TimestampKind.FILE)


async def _measure(folder: Path, pairs: int, questions: list[Question]) -> list[_Part]:
    from edgeapp.devices.files import VirtualAudio

    config = settings.Config(
        name="bench", app="device", audio=settings.Audio(echo="none"), web=settings.Web(serve=True, port=0)
    )
    records: list[AnyRecord] = []  # of one stretch

    def keep(record: AnyRecord) -> None:
        if isinstance(record, Verdict | TurnRecord):
            records.append(record)

    belt = _Belt(await _draw())
    front, stretches = Front(config, folder=folder), list[_Part]()
    async with AsyncExitStack() as stack:
        wired = Parts(stack, sink_of(config.records, stack, keep, *front.sinks))
        sight, within_ns = await open_sight(config, wired), round(config.vision.budget_ms * MS)
        inspection = sight.inspection(config.vision, wired, within_ns=within_ns, sink=wired.sink)
        conversation = await open_conversation(config, wired)
        front.converses(conversation)
        url = await front.open(wired)
        audio = VirtualAudio(block_samples=256)
        tasks = [
            asyncio.create_task(watch(belt.frames(), inspection, front.showing(lambda *_: None), _raise)),
            asyncio.create_task(_free_running(front)),
            asyncio.create_task(conversation.listen(audio.heard(), audio.speaker)),
        ]
        await ask(audio, conversation, questions[0])  # the first of everything is nobody's
        for number in range(2 * pairs):
            viewers = (0, VIEWERS, VIEWERS, 0)[number % 4]
            async with _looking(url, viewers) as counted:
                belt.rewind()
                records.clear()
                part = _Part(viewers)
                before, cpu_s, began_s = counted.value, time.process_time(), time.monotonic()
                async with StallMeter() as stalls:
                    for question in questions:
                        await ask(audio, conversation, question)
                        await asyncio.sleep(_PAUSE_S)
                part.cpu_s, part.wall_s = time.process_time() - cpu_s, time.monotonic() - began_s
                part.pictures, part.stall_ms = counted.value - before, stalls.longest_ms
                _took(part, records)
                stretches.append(part)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return stretches


def _took(part: _Part, records: list[AnyRecord]) -> None:
    for each in records:
        if isinstance(each, Verdict):
            part.verdicts_ms.append((each.decided_ns - each.at_ns) / MS)
        elif isinstance(each, TurnRecord) and each.first_audible_ns is not None:
            part.turns_ms.append((each.first_audible_ns - each.last_voiced_ns) / MS)


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


@asynccontextmanager
async def _looking(url: str, viewers: int) -> AsyncIterator[Any]:
    """So many viewers look on while the block runs; gives the count of pictures they took. The first seconds are before it."""
    context = multiprocessing.get_context("spawn")
    counted, ready = context.Value("q", 0), context.Event()
    child = context.Process(target=_look, args=(url, viewers, counted, ready), daemon=True)
    if viewers:
        child.start()
        await asyncio.to_thread(ready.wait, 30)
    await asyncio.sleep(_SETTLE_S)
    try:
        yield counted
    finally:
        if viewers:
            child.terminate()
            await asyncio.to_thread(child.join, 10)


def _joined(stretches: list[_Part], viewers: int) -> _Part:
    whole = _Part(viewers)
    for part in stretches:
        if part.viewers == viewers:
            whole.verdicts_ms += part.verdicts_ms
            whole.turns_ms += part.turns_ms
            whole.cpu_s, whole.wall_s = whole.cpu_s + part.cpu_s, whole.wall_s + part.wall_s
            whole.stall_ms, whole.pictures = max(whole.stall_ms, part.stall_ms), whole.pictures + part.pictures
    return whole


def _look(url: str, viewers: int, counted: Any, ready: Any) -> None:
    """The other process: viewers that take and confirm pictures until it is ended."""
    with suppress(OSError, AttributeError):  # where the system has it and lets us
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(_look_on(url, viewers, counted, ready))


async def _look_on(url: str, viewers: int, counted: Any, ready: Any) -> None:
    async def one() -> None:
        async for _ in pictures(url, TOPICS):
            ready.set()
            counted.value += 1

    await asyncio.gather(*(one() for _ in range(viewers)))
