"""Inspection: every frame of a part gets exactly one verdict by its due time.

The clock starts at the sensor's timestamp. Whatever is not proven good in time fails safe: a picture that cannot be trusted,
a model that is late, fails or sees nothing, a line that is faster than the inspection, a frame that came too old, all end in
NOT_INSPECTED.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, CameraFrame, Detections, DeviceError, Outcome, Verdict
from edgeapp.core.lane import Lane
from edgeapp.core.record import AlarmRecord, Sink
from edgeapp.vision.integrity import Complaint
from edgeapp.vision.pace import Pace
from edgeapp.vision.rules import InspectionRule, Judged, judge
from edgeapp.vision.second_look import MIRRORINGS, in_doubt, mirrored, mirrored_back, together
from edgeapp.vision.timestamps import Timestamps
from edgeapp.vision.zones import Zones

DECIDE_NS: Final = 2 * MS
"""The wake-up before the due time, so that the verdict is out at it."""

IN_FLIGHT_MAX: Final = 8
"""Frames of one camera inspected at once; a faster line is told so, part by part."""

_QUIET_FRAMES: Final = 16  # so many good frames after the last complaint end an alarm: one that comes and goes is one
_CHECK_NS: Final = 2 * MS  # what the checks hold their lane for, until it has seen them

Check = Callable[[CameraFrame], Awaitable[tuple[Complaint, ...]]]
"""Says what is wrong with a picture, off the loop; called with one frame after the other, in order."""


class Checks(Protocol):
    """What `Integrity` does: blocking, one frame after the other."""

    def check(self, frame: CameraFrame) -> tuple[Complaint, ...]:
        """Everything that is wrong with this frame."""


def checking(integrity: Checks, lane: Lane) -> Check:
    """The checks of one camera in a lane of their own: they take more than a millisecond."""

    async def check(frame: CameraFrame) -> tuple[Complaint, ...]:
        return await lane.run(partial(integrity.check, frame), label="integrity", cost_ns=_CHECK_NS)

    return check


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
        check: Check | None = None,
        zones: Zones | None = None,
        on_alarm: Callable[[str, int], None] | None = None,
    ) -> None:
        """`due_after_ns` counts from the sensor's timestamp; `on_part` is called when a part comes, before it is looked at.

        `check` comes before the detector (see `checking`). `on_alarm` is told once of each cause, and the number of the part,
        when pictures can no longer be trusted; by default it is an AlarmRecord for the sink.
        """
        self.rule = rule
        """What decides. It may be exchanged at any moment: a part that has begun to be looked at is judged by the one it began with."""

        self._detect, self._due_after_ns, self._sink = detect, due_after_ns, sink
        self._on_part, self._check, self._zones, self._on_alarm = on_part, check, zones, on_alarm
        self._timestamps = Timestamps(due_after_ns)
        self._in_flight, self._pace = 0, Pace()
        self._alarmed: dict[str, int] = {}  # by cause, one of a dozen: how many good frames there were since
        self.refused = 0
        """Frames that were not looked at, because too many others were."""

    async def see(self, frame: CameraFrame, parts: Collection[str]) -> Detections | None:
        """What counts of one frame, unjudged, by its due time: for who follows parts through many frames.

        `parts` are the labels of parts, for the zones. None if the picture cannot be trusted, or if the detector is late or fails.
        """
        decide_ns = min(frame.at_ns, now_ns()) + self._due_after_ns - DECIDE_NS
        try:
            if trouble := self._timestamps.trouble(frame.at_ns, now_ns()):
                self._complain(frame, (Complaint("timestamp", trouble),))
                return None
            if await self._complaints(frame, decide_ns):
                return None
            return self._counted(await self._look(frame, decide_ns), frame, parts)
        except (TimeoutError, BackendError):
            return None

    async def inspect(self, frame: CameraFrame, rule: InspectionRule | None = None) -> Verdict:
        """Judge one frame and write the verdict down. Returns by the due time and never raises for a model's failure."""
        given: list[Verdict] = []
        try:
            await self.look(frame, told=given.append, rule=rule)
        finally:  # a part in flight when the station is stopped gets its verdict too
            self._sink(given[0])
        return given[0]

    async def look(
        self,
        frame: CameraFrame,
        *,
        due_ns: int | None = None,
        told: Callable[[Verdict], None] | None = None,
        rule: InspectionRule | None = None,
    ) -> Verdict:
        """Judge one frame and write nothing down: for who has several views of a part.

        `due_ns` is the part's due time, if it is not the frame's. `told` gets the verdict even if this is cancelled. `rule` is what
        the part is judged by, if that was settled before: when it came.
        """
        rule = rule or self.rule
        due_ns = min(frame.at_ns, now_ns()) + self._due_after_ns if due_ns is None else due_ns
        if self._on_part:
            self._on_part()
        found: list[Detections] = []
        judged = _not("the inspection was ended before an answer came", "stopped")
        try:
            if trouble := self._timestamps.trouble(frame.at_ns, now_ns()):
                judged = self._complain(frame, (Complaint("timestamp", trouble),))
            elif self._in_flight >= IN_FLIGHT_MAX or not self._pace.fits(self._in_flight, now_ns(), due_ns - DECIDE_NS):
                self.refused += 1
                judged = _not(f"the line is faster than the inspection: {self._in_flight} parts waiting", "too fast")
            else:
                judged = await self._judge(frame, rule, due_ns - DECIDE_NS, found)
        except TimeoutError:
            judged = _not("no answer from the detector by the due time", "late")
        except BackendError as failure:
            judged = _not(f"the detector failed: {failure}", "detector failed")
        finally:
            verdict = self._verdict(frame, due_ns, judged, found, rule)
            if told:
                told(verdict)
        return verdict

    async def _judge(self, frame: CameraFrame, rule: InspectionRule, decide_ns: int, found: list[Detections]) -> Judged:
        """The picture's own trouble, or what the rule says of what is seen. Raises TimeoutError, BackendError."""
        self._in_flight, began_ns = self._in_flight + 1, now_ns()
        try:
            if complaint := await self._complaints(frame, decide_ns):
                return complaint
            found.append(self._counted(await self._look(frame, decide_ns), frame, rule.parts))
            more = ""
            if in_doubt(found[0], rule):
                again = await self._look_again(frame, rule, decide_ns)
                found[:] = [together((found[0], *again)), *again] if again else found
                more = ", on a second look" if again else ", no time for a second look"
            judged = judge(found[0], rule)
            return replace(judged, why=judged.why + more)
        finally:
            self._in_flight -= 1
            self._pace.ended(began_ns, now_ns())

    async def _complaints(self, frame: CameraFrame, decide_ns: int) -> Judged | None:
        """What is wrong with the picture; None if nothing is. Raises TimeoutError."""
        if self._check:
            async with asyncio.timeout_at(decide_ns / 1e9):
                complaints = await self._check(frame)
            if complaints:
                return self._complain(frame, complaints)
        self._all_is_well()
        return None

    async def _look(self, frame: CameraFrame, decide_ns: int) -> Detections:
        """What the detector sees by `decide_ns`, its own due time, too: a run that takes its whole bound ends before the part's."""
        async with asyncio.timeout_at(decide_ns / 1e9):
            return await self._detect(frame, due_ns=decide_ns, of=f"{frame.source} {frame.number}")

    def _counted(self, seen: Detections, frame: CameraFrame, parts: Collection[str]) -> Detections:
        height, width = frame.pixels.shape[:2]
        return self._zones.only(seen, parts, width, height) if self._zones else seen

    async def _look_again(self, frame: CameraFrame, rule: InspectionRule, decide_ns: int) -> list[Detections]:
        """The mirrored looks at a frame in doubt; none if they did not all come in time: the first look stands then."""
        looks = []
        for sides in MIRRORINGS:
            try:
                seen = await self._look(mirrored(frame, *sides), decide_ns)
            except (TimeoutError, BackendError):
                return []
            looks.append(self._counted(mirrored_back(seen, frame, *sides), frame, rule.parts))
        return looks

    def disbelieve(self, frame: CameraFrame, why: str) -> None:
        """The time of a frame that is nobody's cannot be believed: the part it was of gets none, and this is the alarm."""
        self._complain(frame, (Complaint("timestamp", why),))

    def _complain(self, frame: CameraFrame, complaints: Sequence[Complaint]) -> Judged:
        """The picture cannot be trusted. Each cause is an alarm when it begins."""
        for each in complaints:
            if each.cause not in self._alarmed:
                what = f"{frame.source}: {each.cause}: {each.why}"
                if self._on_alarm:
                    self._on_alarm(what, frame.number)
                else:
                    self._sink(AlarmRecord("vision.integrity", now_ns(), what, frame.number))
            self._alarmed[each.cause] = 0
        causes = tuple(dict.fromkeys(each.cause for each in complaints))
        why = "; ".join(f"{each.cause}: {each.why}" if each.cause not in each.why else each.why for each in complaints)
        return Judged(Outcome.NOT_INSPECTED, why, causes)

    def _all_is_well(self) -> None:
        """One more good frame for each cause that was alarmed."""
        self._alarmed = {cause: frames + 1 for cause, frames in self._alarmed.items() if frames + 1 < _QUIET_FRAMES}

    def _verdict(
        self, frame: CameraFrame, due_ns: int, judged: Judged, found: Sequence[Detections], rule: InspectionRule
    ) -> Verdict:
        decided_ns, seen = now_ns(), found[0] if found else None
        if decided_ns > due_ns and judged.outcome is not Outcome.NOT_INSPECTED:
            judged = _not(f"judged {(decided_ns - due_ns) / MS:.0f} ms after the due time", "late")
        return Verdict(
            outcome=judged.outcome,
            why=judged.why,
            source=frame.source,
            frame_number=frame.number,
            at_ns=frame.at_ns,
            decided_ns=decided_ns,
            due_ns=due_ns,
            boxes=seen.boxes if seen else (),
            model=seen.model if seen else "",
            part_type=judged.part_type,
            sizes_mm=judged.sizes_mm,
            rule=rule.id if found else "",
            looks=len(found),
            causes=judged.causes,
        )


def _not(why: str, cause: str) -> Judged:
    return Judged(Outcome.NOT_INSPECTED, why, (cause,))


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
