"""One run of a line of parts through the whole real path: drawn parts, wiring, stage, relay in its own process, Triton.

Everything between the sensor's timestamp and the verdict is the application's. What is the bench's own: the pictures are
drawn beforehand, the link is a relay on loopback, and local's work is timed in its thread, so that a run that came too
late to be heard is known, too.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp import config as settings
from edgeapp.apps.rules import rule_of
from edgeapp.apps.wiring import Parts, settle
from edgeapp.bench.relay_process import relaying
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, Detections, DeviceError, TimestampKind, Verdict
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.record import AnyRecord, Record, Sink
from edgeapp.near_edge.presets import preset
from edgeapp.near_edge.serve import Server
from edgeapp.near_edge.weather import Kind, Trouble, Weather
from edgeapp.observe.stall import StallMeter
from edgeapp.vision.inspection import Inspection, watch

Pictures = Sequence[NDArray[np.uint8]]

LOCAL_MODEL: Final = "qc-yolo11n/qc-yolo11n-int8.onnx"
_LEAD_NS: Final = 500 * MS  # of weather, before the first frame
_WARM_UP: Final = "warm-up"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Its clock begins with the first frame that counts."""

    source: str
    """The camera's name in the records."""

    policy: str
    frames: int
    outage_s: tuple[float, float] | None = None
    kill_s: float | None = None
    """When the server gets its SIGKILL."""

    restart_after_s: float = 5.0
    fps: float = 10.0
    due_ms: float = 200.0
    warm_frames: int = 40
    """Frames before those that count, in which the link is learnt."""

    weather: str = "5g-driving"
    seed: int = 1

    @property
    def first_ns(self) -> int:
        """Where on the weather's clock the first frame that counts is."""
        return _LEAD_NS + round(self.warm_frames / self.fps * 1e9)

    def link(self) -> Weather:
        """The weather that the relay carries this run through."""
        schedule = []
        if self.outage_s is not None:
            start_ns, end_ns = (self.first_ns + round(each * 1e9) for each in self.outage_s)
            schedule.append(Trouble(Kind.OUTAGE, start_ns, end_ns))
        return Weather(preset(self.weather), self.seed, schedule=schedule)


@dataclass
class Ran:
    """What came of a run; by frame number, from 1."""

    plan: Plan
    bound_ns: int
    start_ns: int = 0
    """The first counted frame's timestamp."""

    at_ns: dict[int, int] = field(default_factory=dict)
    """The timestamps of the frames that were handed to the inspection."""

    verdicts: dict[int, list[Verdict]] = field(default_factory=dict)
    calls: dict[int, Record] = field(default_factory=dict)
    local_ns: dict[int, int] = field(default_factory=dict)
    """How long local's work on a frame took, wherever its answer went."""

    shut: dict[int, bool] = field(default_factory=dict)
    """Was the breaker open when the frame came?"""

    trust: dict[int, float] = field(default_factory=dict)
    killed_ns: int = 0
    back_ns: int = 0
    requests: int = 0
    """Sent to the near edge, shadows included."""

    relay: dict[str, int] = field(default_factory=dict)
    """The relay's counts, those of the warm-up included."""

    stall_ms: float = 0.0


class _Timed:
    """The local detector, whose work is timed in its thread."""

    def __init__(self, detector: Any, lane: Lane, plan: Plan, took_ns: dict[int, int]) -> None:
        self._detector, self._lane, self._plan, self._took_ns = detector, lane, plan, took_ns

    async def __call__(self, frame: CameraFrame) -> Detections:
        return await self._lane.run(lambda: self._look(frame), label="detect")

    def _look(self, frame: CameraFrame) -> Detections:
        started_ns = time.monotonic_ns()
        try:
            seen: Detections = self._detector.look(frame)
            return seen
        finally:
            if frame.source == self._plan.source:
                self._took_ns[frame.number] = time.monotonic_ns() - started_ns


async def draw_pictures(count: int, seed: int) -> Pictures:
    """So many parts of the demo's conveyor, uint8 BGR (320, 320, 3)."""
    from edgeapp.devices.conveyor import Options, start

    async with start(Options(parts=count, seed=seed)) as belt:
        return [frame.pixels async for frame in belt.frames()]


def configured(*, policy: str = "local", bound_ns: int = 0, url: str = "") -> settings.Stage:
    """The detector as a device's file would describe it: the bundled INT8 one here, perhaps a Triton there."""
    return settings.Stage(
        engine="detect_yolo",
        options={"model": LOCAL_MODEL},
        bound_ms=bound_ns / MS if bound_ns else None,
        policy=policy,  # type: ignore[arg-type]
        remote=settings.Engine(engine="triton", options={"url": url, "kind": "detect"}) if url else None,
    )


async def run_line(
    plan: Plan, server: Server, pictures: Pictures, bound_ns: int, keep: Sink, tell: Callable[[], None] = lambda: None,
    *, calibrated: bool = False,
) -> Ran:  # fmt: skip
    """Let the line run. Every counted record goes to `keep`; `tell` is called with each verdict.

    `bound_ns` bounds local's runs, and is `calibrated` if thousands of them showed it. Raises ConfigError if something
    does not start.
    """
    ran = Ran(plan, bound_ns)
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda record: _take(record, ran, keep))
        port = _free_port()  # the stage is open before the weather begins
        section = configured(policy=plan.policy, bound_ns=bound_ns, url=f"127.0.0.1:{port}")
        stage = await parts.stage(section, "bench.detect", lambda frame: frame.pixels.nbytes)
        stage.recalibrate([bound_ns], calibrated=calibrated)
        stage.local = _Timed(stage.local, stage.lane, plan, ran.local_ns)
        rule = rule_of(settings.Rule())
        inspection = Inspection(stage, rule, due_after_ns=round(plan.due_ms * MS), sink=parts.sink)
        settle()
        away = tuple(plan.first_ns / 1e9 + each for each in plan.outage_s) if plan.outage_s else None
        remote: Any = stage.remote
        async with relaying(
            server.url, weather=plan.weather, seed=plan.seed, listen_port=port,
            outage_s=away,  # type: ignore[arg-type]
        ) as relay:  # fmt: skip
            ran.start_ns = relay.origin_ns + plan.first_ns
            frames = _frames(ran, pictures, parts.links["triton"], remote.counts)
            async with StallMeter() as stalls, asyncio.TaskGroup() as both:
                if plan.kill_s is not None:
                    both.create_task(_kill(ran, server))
                await watch(frames, inspection, lambda *_: tell(), _lost)
        ran.requests = remote.counts.calls - ran.requests
        ran.relay, ran.stall_ms = relay.counts, stalls.longest_ms
    return ran


def _take(record: AnyRecord, ran: Ran, keep: Sink) -> None:
    if isinstance(record, Verdict) and record.source == ran.plan.source:
        ran.verdicts.setdefault(record.frame_number, []).append(record)
    elif isinstance(record, Record) and record.of.startswith(f"{ran.plan.source} "):
        ran.calls[int(record.of.rpartition(" ")[2])] = record
    else:
        return
    keep(record)


async def _frames(ran: Ran, pictures: Pictures, link: Link, counts: Any) -> AsyncIterator[CameraFrame]:
    """One frame each period, stamped with the moment it was due at the trigger."""
    plan, period_ns = ran.plan, round(1e9 / ran.plan.fps)
    for number in range(1 - plan.warm_frames, plan.frames + 1):
        at_ns = ran.start_ns + (number - 1) * period_ns
        await sleep_until(at_ns)
        counted = number > 0
        if counted:
            ran.at_ns[number] = at_ns
            ran.shut[number], ran.trust[number] = link.open, link.trust
        else:
            ran.requests = counts.calls
        yield CameraFrame(
            pixels=pictures[number % len(pictures)],
            at_ns=at_ns,
            number=number if counted else number + plan.warm_frames,
            source=plan.source if counted else _WARM_UP,
            timestamp_kind=TimestampKind.FILE,
        )


async def _kill(ran: Ran, server: Server) -> None:
    """Kill the server, and start it again some seconds later."""
    await sleep_until(ran.start_ns + round((ran.plan.kill_s or 0.0) * 1e9))
    server.kill()
    ran.killed_ns = now_ns()
    await server.ended()
    await sleep_until(ran.killed_ns + round(ran.plan.restart_after_s * 1e9))
    await server.restart()
    ran.back_ns = now_ns()


def _lost(error: DeviceError) -> None:
    raise error


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
