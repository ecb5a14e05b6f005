"""From triggers and frames to parts: which frame belongs to which trigger, by one camera or several, and one verdict each.

A frame belongs to a trigger if it is the first one whose sensor time is at or after the trigger plus an offset, within a
window. Everything is compared on the loop's clock; the order in which triggers and frames arrive does not matter, as a
trigger may be heard after its picture was taken. Whatever a trigger does not get in time ends in NOT_INSPECTED with the
reason, and so does a frame that two triggers claim: nobody can say whose part it shows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, CameraFrame, ConfigError, DeviceError, Outcome, Trigger, Verdict
from edgeapp.core.record import Sink
from edgeapp.vision.inspection import DECIDE_NS, Inspection
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.timestamps import AHEAD_NS

_RECENT_FRAMES: Final = 8  # that a late trigger can still claim: 2.5 MB at 320 px, a quarter of a second at 30 fps
_OPEN_MAX: Final = 16  # parts between trigger and verdict; a faster line is told so, part by part

_WORST: Final = (Outcome.FAIL, Outcome.NOT_INSPECTED, Outcome.PASS)


@dataclass(frozen=True, slots=True)
class Window:
    """Which frame shows a triggered part."""

    offset_ns: int = 0
    """From the trigger to the earliest sensor time: what the part needs from the sensor to the camera. May be negative."""

    window_ns: int = 50 * MS
    """A frame so much later shows the next part or none. Less than the time from part to part."""


@dataclass(frozen=True, slots=True)
class Eye:
    """One camera of the line."""

    name: str
    frames: AsyncIterable[CameraFrame]
    inspection: Inspection
    window: Window = Window()


@dataclass(frozen=True, slots=True)
class View:
    """What one camera says of a part."""

    camera: str
    frame: CameraFrame | None
    """The frame that was judged; its number is the trigger's. None if the trigger got none."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Inspected:
    """A part and its one verdict."""

    verdict: Verdict
    trigger: Trigger
    views: tuple[View, ...]
    """One a camera; none if the part was refused before anybody looked."""


@dataclass(eq=False, slots=True)
class _Claim:
    """A trigger that wants a frame of one camera."""

    start_ns: int
    end_ns: int
    frame: asyncio.Future[CameraFrame | str]
    """The frame, or why there is none."""

    shared: bool = False
    """Does another trigger claim the same frame?"""


class _Frames:
    """The frames of one camera and the triggers that wait for one. Lives on one loop."""

    def __init__(self, eye: Eye) -> None:
        self.eye = eye
        self._recent: deque[CameraFrame] = deque()  # at most _RECENT_FRAMES, oldest first
        self._taken: dict[int, _Claim] = {}  # by the time of a frame in `_recent`
        self._claims: list[_Claim] = []  # at most _OPEN_MAX
        self._gone_ns: int | None = None  # the time of the newest frame that is no longer in `_recent`
        self._last_ns: int | None = None
        self._newest_part = 0
        self.trouble = ""
        """Why there are no frames now, if that is known."""

        self._ended = False

    def claim(self, trigger: Trigger) -> _Claim:
        """Ask for the trigger's frame, whether it was taken already or not."""
        self._newest_part = trigger.number
        start_ns = trigger.at_ns + self.eye.window.offset_ns
        claim = _Claim(start_ns, start_ns + self.eye.window.window_ns, asyncio.get_running_loop().create_future())
        if self._gone_ns is not None and self._gone_ns >= start_ns:
            claim.frame.set_result("the trigger was heard too late: its frame is gone")
            return claim
        first = next((frame for frame in self._recent if frame.at_ns >= start_ns), None)
        if first is not None:
            self._settle([claim], first)
        elif self._ended:
            claim.frame.set_result(self.trouble)
        else:
            self._claims.append(claim)
        return claim

    def drop(self, claim: _Claim) -> None:
        """Nobody waits for it any more. Idempotent."""
        if claim in self._claims:
            self._claims.remove(claim)

    def came(self, frame: CameraFrame) -> None:
        """One more frame. One whose time cannot be believed is nobody's, and an alarm with the newest part's number."""
        ahead_ns = frame.at_ns - now_ns()
        if ahead_ns > AHEAD_NS:
            self.trouble = f"the camera's timestamp is {ahead_ns / MS:.0f} ms ahead of the clock"
        elif self._last_ns is not None and frame.at_ns <= self._last_ns:
            self.trouble = "the camera's timestamp did not advance"
        else:
            self._believed(frame)
            return
        self.eye.inspection.disbelieve(replace(frame, number=self._newest_part, source=self.eye.name), self.trouble)

    def _believed(self, frame: CameraFrame) -> None:
        self._last_ns, self.trouble = frame.at_ns, ""
        if len(self._recent) == _RECENT_FRAMES:
            self._gone_ns = self._recent.popleft().at_ns
            self._taken.pop(self._gone_ns, None)
        self._recent.append(frame)
        waiting = [each for each in self._claims if not each.frame.done()]  # one whose time was up a moment ago is done
        reached = [each for each in waiting if frame.at_ns >= each.start_ns]
        self._claims = [each for each in waiting if frame.at_ns < each.start_ns]
        self._settle(reached, frame)

    def end(self, why: str) -> None:
        """There will be no more frames."""
        self._ended, self.trouble = True, why
        for claim in self._claims:
            if not claim.frame.done():
                claim.frame.set_result(why)
        self._claims.clear()

    def _settle(self, claims: list[_Claim], frame: CameraFrame) -> None:
        """Give the frame to the one claim it belongs to; two that claim it get none."""
        late = [each for each in claims if frame.at_ns > each.end_ns]
        for each in late:
            after_ms = (frame.at_ns - each.end_ns) / MS
            each.frame.set_result(
                f"no frame within {self.eye.window.window_ns / MS:g} ms: the next came {after_ms:.0f} ms later"
            )
        good = [each for each in claims if frame.at_ns <= each.end_ns]
        first = self._taken.get(frame.at_ns)
        for each in ([first] if first else []) + good if len(good) + bool(first) > 1 else []:
            each.shared = True
        for each in good:
            self._taken[frame.at_ns] = each
            each.frame.set_result(frame)


@dataclass(eq=False, slots=True)
class _Part:
    """A part between its trigger and its verdict."""

    trigger: Trigger
    rules: tuple[InspectionRule, ...] = ()
    """One a camera, as they were when the part came: one that is exchanged meanwhile judges the next part."""

    views: dict[str, View] = field(default_factory=dict)
    given: bool = False


class Capture:
    """The parts of one line. Lives on one loop."""

    def __init__(
        self,
        eyes: Sequence[Eye],
        *,
        source: str,
        due_after_ns: int,
        sink: Sink,
        on_part: Callable[[Inspected], None],
        on_loss: Callable[[DeviceError], None],
    ) -> None:
        """`source` names the line in verdicts of several cameras. Raises ConfigError if a window is longer than the budget.

        `on_loss` is told of each failed attempt to reach a camera or the trigger's source.
        """
        for eye in eyes:
            if eye.window.window_ns + DECIDE_NS >= due_after_ns:
                raise ConfigError(
                    f"camera {eye.name}: a window of {eye.window.window_ns / MS:g} ms leaves nothing of a budget of "
                    f"{due_after_ns / MS:g} ms; make it shorter"
                )
        self._frames = [_Frames(eye) for eye in eyes]
        self._source = source if len(eyes) > 1 else eyes[0].name
        self._due_after_ns, self._sink, self._on_part, self._on_loss = due_after_ns, sink, on_part, on_loss
        self._offset_ns = min(eye.window.offset_ns for eye in eyes)
        self._open = 0
        self.refused = 0
        """Triggers that nobody looked at because _OPEN_MAX parts were open, and those that were lost before."""

    async def run(self, triggers: AsyncIterable[Trigger]) -> None:
        """Serve every trigger until their source ends. Cancelled, the open parts get their verdicts first.

        Raises DeviceError if a camera is lost that never gave a frame.
        """
        async with asyncio.TaskGroup() as cameras:
            watching = [cameras.create_task(self._watch(frames)) for frames in self._frames]
            async with asyncio.TaskGroup() as parts:
                ended = False
                while not ended:
                    try:
                        async for trigger in triggers:
                            self._serve(trigger, parts)
                        ended = True
                    except DeviceError as lost:
                        self._on_loss(lost)
            for each in watching:
                each.cancel()

    def lost(self, trigger: Trigger) -> None:
        """A trigger that could not be handed on; its part is NOT_INSPECTED at once."""
        self._refuse(trigger, "the line is faster than the inspection: the trigger was lost")

    def _refuse(self, trigger: Trigger, why: str) -> None:
        self.refused += 1
        self._give(_Part(trigger), self._verdict(trigger, why, "too fast", self._source, self._due_ns(trigger)))

    def _serve(self, trigger: Trigger, parts: asyncio.TaskGroup) -> None:
        if self._open >= _OPEN_MAX:
            self._refuse(trigger, f"the line is faster than the inspection: {_OPEN_MAX} parts waiting")
            return
        part = _Part(trigger, tuple(frames.eye.inspection.rule for frames in self._frames))
        claims = [frames.claim(trigger) for frames in self._frames]  # before anything else can happen: in order
        self._open += 1
        task = parts.create_task(self._inspect(part, claims))
        task.add_done_callback(lambda _: self._close(part))

    def _close(self, part: _Part) -> None:
        """Also for a part whose task was cancelled before it began."""
        self._open -= 1
        if not part.given:
            why = "the inspection was ended before an answer came"
            self._give(part, self._verdict(part.trigger, why, "stopped", self._source, self._due_ns(part.trigger)))

    async def _inspect(self, part: _Part, claims: Sequence[_Claim]) -> None:
        try:
            async with asyncio.TaskGroup() as views:
                for frames, claim, rule in zip(self._frames, claims, part.rules, strict=True):
                    views.create_task(self._view(part, frames, claim, rule))
        finally:
            for frames, claim in zip(self._frames, claims, strict=True):
                frames.drop(claim)
            if len(part.views) == len(self._frames):
                self._give(part, self._together(part))

    async def _view(self, part: _Part, frames: _Frames, claim: _Claim, rule: InspectionRule) -> None:
        """What one camera says of the part, by its due time; also if this is cancelled."""
        eye, trigger = frames.eye, part.trigger
        due_ns = self._due_ns(trigger)
        verdict = self._verdict(trigger, "the inspection was ended before an answer came", "stopped", eye.name, due_ns)
        frame: CameraFrame | None = None

        def told(given: Verdict) -> None:
            nonlocal verdict
            verdict = given

        try:
            found = await self._frame(frames, claim, due_ns)
            if isinstance(found, str):
                verdict = self._verdict(trigger, found, "no frame", eye.name, due_ns)
                return
            frame = replace(found, number=trigger.number, source=eye.name)
            if claim.shared:
                verdict = self._verdict(trigger, _SHARED, "shared frame", eye.name, due_ns)
                return
            # Several cameras share the part's due time, one has the frame's own.
            shared_ns = due_ns if len(self._frames) > 1 else None
            await eye.inspection.look(frame, due_ns=shared_ns, told=told, rule=rule)
        finally:
            if claim.shared and verdict.outcome is Outcome.PASS:  # the other trigger was heard meanwhile
                verdict = replace(verdict, outcome=Outcome.NOT_INSPECTED, why=_SHARED, causes=("shared frame",))
            part.views[eye.name] = View(eye.name, frame, verdict)

    async def _frame(self, frames: _Frames, claim: _Claim, due_ns: int) -> CameraFrame | str:
        window, name = frames.eye.window, frames.eye.name
        try:
            async with asyncio.timeout_at((due_ns - DECIDE_NS) / 1e9):
                return await claim.frame
        except TimeoutError:
            after, until = window.offset_ns / MS, (window.offset_ns + window.window_ns) / MS
            why = f"{name} gave no frame from {after:g} to {until:g} ms after the trigger"
            return f"{why}: {frames.trouble}" if frames.trouble else why

    def _due_ns(self, trigger: Trigger) -> int:
        """The budget from the earliest moment at which the part's picture can be taken."""
        return trigger.at_ns + self._offset_ns + self._due_after_ns

    def _together(self, part: _Part) -> Verdict:
        """One verdict of all views: the worst, and PASS only if all say so."""
        verdicts = [part.views[frames.eye.name].verdict for frames in self._frames]
        if len(verdicts) == 1:
            return verdicts[0]
        outcome = min((each.outcome for each in verdicts), key=_WORST.index)
        said = [each for each in verdicts if each.outcome is outcome]
        return replace(
            said[0],
            source=self._source,
            view=said[0].source,
            why="; ".join(f"{each.source}: {each.why}" for each in said),
            decided_ns=max(each.decided_ns for each in verdicts),
            at_ns=min(each.at_ns for each in verdicts),
            due_ns=self._due_ns(part.trigger),
            causes=tuple(dict.fromkeys(cause for each in said for cause in each.causes)),
            looks=min(each.looks for each in verdicts),
        )

    def _verdict(self, trigger: Trigger, why: str, cause: str, source: str, due_ns: int) -> Verdict:
        """NOT_INSPECTED of a part without a picture; its clock starts at the trigger."""
        return Verdict(
            outcome=Outcome.NOT_INSPECTED,
            why=why,
            source=source,
            frame_number=trigger.number,
            at_ns=trigger.at_ns,
            decided_ns=now_ns(),
            due_ns=due_ns,
            causes=(cause,),
        )

    def _give(self, part: _Part, verdict: Verdict) -> None:
        part.given = True
        self._sink(verdict)
        self._on_part(Inspected(verdict, part.trigger, tuple(part.views.values())))

    async def _watch(self, frames: _Frames) -> None:
        """Take what the camera gives until it ends; a camera that is lost reopens itself and bounds the time between attempts."""
        seen = False
        while True:
            try:
                async for frame in frames.eye.frames:
                    seen = True
                    frames.came(frame)
            except DeviceError as lost:
                if not seen:
                    raise
                frames.trouble = str(lost)
                self._on_loss(lost)
            else:
                frames.end(f"the pictures of {frames.eye.name} have ended")
                return


_SHARED: Final = "two triggers claim one frame: nobody can say whose part it shows"
