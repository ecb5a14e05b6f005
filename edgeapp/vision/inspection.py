"""Inspection: every triggered frame gets exactly one verdict by its due time.

The clock starts at the sensor's timestamp. Whatever is not proven good in time fails safe: a model that is late, fails or
sees nothing, a line that is faster than the inspection, a frame that came too old, all end in NOT_INSPECTED.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import replace
from typing import Final, Protocol

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, CameraFrame, Detections, DeviceError, Outcome, Verdict
from edgeapp.core.record import Sink
from edgeapp.vision.rules import InspectionRule, Judged, judge
from edgeapp.vision.second_look import MIRRORINGS, in_doubt, mirrored, mirrored_back, together

_IN_FLIGHT_MAX: Final = 8  # frames inspected at once; a faster line is told so, part by part
_DECIDE_NS: Final = 2 * MS  # the wake-up before the due time, so that the verdict is out at it


class Look(Protocol):
    """A detector with a due time: a stage, or a split one."""

    async def __call__(self, frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections: ...


class Inspection:
    """One camera's verdicts. Lives on one loop."""

    def __init__(
        self,
        detect: Look,
        rule: InspectionRule,
        *,
        due_after_ns: int,
        sink: Sink,
        on_part: Callable[[], None] | None = None,
    ) -> None:
        """`due_after_ns` counts from the sensor's timestamp; `on_part` is called when a part comes, before it is looked at."""
        self._detect, self._rule, self._due_after_ns, self._sink = detect, rule, due_after_ns, sink
        self._on_part = on_part
        self._in_flight = 0
        self._last_at_ns: int | None = None

    async def inspect(self, frame: CameraFrame) -> Verdict:
        """Judge one frame. Returns by the due time and never raises for a model's failure."""
        due_ns = frame.at_ns + self._due_after_ns
        if self._on_part:
            self._on_part()
        advanced = self._last_at_ns is None or frame.at_ns > self._last_at_ns
        self._last_at_ns = max(frame.at_ns, self._last_at_ns or frame.at_ns)
        seen: Detections | None = None
        looks = 0
        judged = Judged(Outcome.NOT_INSPECTED, "the inspection was ended before an answer came")
        try:
            if not advanced:
                judged = replace(judged, why="the camera's timestamp did not advance")
            elif self._in_flight >= _IN_FLIGHT_MAX:
                judged = replace(judged, why=f"the line is faster than the inspection: {_IN_FLIGHT_MAX} parts waiting")
            else:
                seen = await self._look(frame, due_ns)
                again = await self._look_again(frame, due_ns) if in_doubt(seen, self._rule) else None
                seen = together((seen, *again)) if again else seen
                looks = 1 + len(again or ())
                judged = judge(seen, self._rule)
                more = "" if again is None else ", on a second look" if again else ", no time for a second look"
                judged = replace(judged, why=judged.why + more)
        except TimeoutError:
            judged = replace(judged, why="no answer from the detector by the due time")
        except BackendError as failure:
            judged = replace(judged, why=f"the detector failed: {failure}")
        finally:  # a part in flight when the station is stopped gets its verdict too
            verdict = self._verdict(frame, due_ns, judged, seen, looks)
            self._sink(verdict)
        return verdict

    async def _look(self, frame: CameraFrame, due_ns: int) -> Detections:
        self._in_flight += 1
        decide_ns = due_ns - _DECIDE_NS  # the detector's due time, too: a run that takes its whole bound ends before it
        try:
            async with asyncio.timeout_at(decide_ns / 1e9):
                return await self._detect(frame, due_ns=decide_ns, of=f"{frame.source} {frame.number}")
        finally:
            self._in_flight -= 1

    async def _look_again(self, frame: CameraFrame, due_ns: int) -> list[Detections]:
        """The mirrored looks at a frame in doubt; none if they did not all come in time: the first look stands then."""
        looks = []
        for sides in MIRRORINGS:
            try:
                seen = await self._look(mirrored(frame, *sides), due_ns)
            except (TimeoutError, BackendError):
                return []
            looks.append(mirrored_back(seen, frame, *sides))
        return looks

    def _verdict(
        self, frame: CameraFrame, due_ns: int, judged: Judged, seen: Detections | None, looks: int
    ) -> Verdict:
        decided_ns, outcome, why = now_ns(), judged.outcome, judged.why
        if decided_ns > due_ns and outcome is not Outcome.NOT_INSPECTED:
            outcome, why = Outcome.NOT_INSPECTED, f"judged {(decided_ns - due_ns) / MS:.0f} ms after the due time"
        return Verdict(
            outcome=outcome,
            why=why,
            source=frame.source,
            frame_number=frame.number,
            at_ns=frame.at_ns,
            decided_ns=decided_ns,
            due_ns=due_ns,
            boxes=seen.boxes if seen else (),
            model=seen.model if seen else "",
            part_type=judged.part_type,
            sizes_mm=judged.sizes_mm,
            rule=self._rule.id if looks else "",
            looks=looks,
        )


async def watch(
    frames: AsyncIterable[CameraFrame],
    inspection: Inspection,
    on_verdict: Callable[[CameraFrame, Verdict], None],
    on_loss: Callable[[DeviceError], None],
) -> None:
    """Inspect every frame until the source ends; frames are inspected side by side, verdicts come as they are ready.

    A camera that is lost is told to `on_loss`, once for each attempt to reach it, and watched again when it is back: a
    camera reopens itself and bounds the time between attempts. One that never gave a frame is raised instead.
    """

    async def one(frame: CameraFrame) -> None:
        on_verdict(frame, await inspection.inspect(frame))

    seen, ended = False, False
    async with asyncio.TaskGroup() as group:
        while not ended:
            try:
                async for frame in frames:
                    seen = True
                    group.create_task(one(frame))
                ended = True
            except DeviceError as lost:
                if not seen:
                    raise
                on_loss(lost)
