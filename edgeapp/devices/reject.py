"""The reject gate downstream of the camera: which part is at it when, and what the gate does then.

`RejectSchedule` is pure. Its axis is nanoseconds or encoder counts: a part that was triggered at x is at the gate from
x + `delay` to x + `delay` + `window`. A belt that stops stops the counts too, so with an encoder nothing is fired at the
wrong part; with time the belt's speed has to be constant.

What the gate does, part by part:
- a verdict to reject fires at the beginning of the window, or at once if it comes inside it;
- a part without a verdict in the middle of its window is rejected: late enough for a late verdict, early enough to fire;
- a part to be rejected whose window has passed is *missed*, and somebody must take it off the belt by hand;
- a good part that is at the gate while it is open for another one is *swept along*, which is told too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import DeviceError, Outcome, Trigger, Verdict
from edgeapp.devices.encoder import Encoder

_IDLE_NS: Final = 3_600_000_000_000  # without anything to do the gate's task looks again after an hour


class Gate(StrEnum):
    """What happened to a part at the gate."""

    FIRED = "fired"
    MISSED = "missed"
    SWEPT_ALONG = "swept along"


@dataclass(frozen=True, slots=True)
class GateEvent:
    """One part at the gate; a good part that passes is no event."""

    part: int
    gate: Gate
    why: str


@dataclass(slots=True)
class _Part:
    number: int
    opens: int
    closes: int
    reject: bool | None = None
    fired: bool = False
    swept: bool = False
    exposed_to: int = 0
    """The part for which the gate was open while this one was at it; its own verdict may come later."""


class RejectSchedule:
    """The parts between the camera and the gate, in the order of their triggers."""

    def __init__(self, *, delay: int, window: int, pulse_ns: int, depth: int) -> None:
        """`delay` and `window` in units of the axis. At most `depth` parts lie between the camera and the gate."""
        self.gate_until_ns: int | None = None
        """Until when the gate is open; None while it is shut."""

        self._delay, self._window, self._pulse_ns, self._depth = delay, window, pulse_ns, depth
        self._parts: deque[_Part] = deque()
        self._opened_for = 0

    def part(self, number: int, at: int) -> GateEvent | None:
        """A part was triggered at `at`. An event only if there is no place for it, which counts as missed."""
        if len(self._parts) == self._depth:
            why = f"more than {self._depth} parts between the camera and the gate: raise outputs.reject.parts_between"
            return GateEvent(number, Gate.MISSED, why)
        opens = at + self._delay
        self._parts.append(_Part(number, opens, opens + self._window))
        return None

    def verdict(self, number: int, *, reject: bool) -> None:
        """What becomes of a part; one that is not on its way is passed over, and the first verdict of a part stands."""
        for part in self._parts:
            if part.number == number and part.reject is None:
                part.reject = reject

    def step(self, at: int, now: int) -> list[GateEvent]:
        """The axis is at `at`, the clock at `now`: what happens. Call it whenever `next_at` or `gate_until_ns` is reached."""
        if self.gate_until_ns is not None and now >= self.gate_until_ns:
            self.gate_until_ns = None
        events: list[GateEvent] = []
        for part in self._parts:
            if part.opens <= at and not part.fired and part.reject is not False:
                self._at_gate(part, at, now, events)
        for part in self._parts:
            if self.gate_until_ns is not None and part.opens <= at <= part.closes and not part.exposed_to:
                part.exposed_to = self._opened_for
            if part.reject is False and part.exposed_to and not (part.swept or part.fired):
                part.swept = True
                events.append(GateEvent(part.number, Gate.SWEPT_ALONG, f"the gate was open for part {part.exposed_to}"))
        while self._parts and self._parts[0].closes < at:
            self._parts.popleft()
        return events

    def _at_gate(self, part: _Part, at: int, now: int, events: list[GateEvent]) -> None:
        if at > part.closes:
            part.fired = True
            why = "no verdict came" if part.reject is None else "its window had passed"
            events.append(GateEvent(part.number, Gate.MISSED, f"{why}: take it off the belt"))
        elif part.reject or at >= self._last_call(part):
            part.fired = True
            self.gate_until_ns = max(self.gate_until_ns or 0, now + self._pulse_ns)
            self._opened_for = part.number
            events.append(GateEvent(part.number, Gate.FIRED, "rejected" if part.reject else "no verdict came in time"))

    def _last_call(self, part: _Part) -> int:
        return part.opens + self._window // 2

    def next_at(self, at: int) -> int | None:
        """Where on the axis something happens next, after `at`; None if nothing is on its way."""
        ahead = [
            each for part in self._parts for each in (part.opens, self._last_call(part), part.closes + 1) if each > at
        ]
        return min(ahead, default=None)


class Rejector:
    """Drives a gate by the schedule. Lives on one loop; `run` in a task of its own."""

    def __init__(
        self,
        schedule: RejectSchedule,
        write: Callable[[bool], None],
        *,
        on_event: Callable[[GateEvent], None],
        encoder: Encoder | None = None,
    ) -> None:
        """`write` sets the gate's line or coil and may raise DeviceError; with an encoder the schedule counts, else it is time."""
        self._schedule, self._write, self._on_event, self._encoder = schedule, write, on_event, encoder
        self._open = False
        self._changed = asyncio.Event()
        self._wake_at = 0
        if encoder:
            encoder.listeners.append(self._moved)

    def part(self, trigger: Trigger) -> None:
        """A part is on its way. A trigger without a position stands where the belt is now."""
        at = trigger.at_ns
        if self._encoder:
            at = self._encoder.position if trigger.position is None else trigger.position
        if event := self._schedule.part(trigger.number, at):
            self._on_event(event)
        self._changed.set()

    def verdict(self, verdict: Verdict) -> None:
        """Whatever is not a PASS is rejected."""
        self._schedule.verdict(verdict.frame_number, reject=verdict.outcome is not Outcome.PASS)
        self._changed.set()

    def _moved(self, position: int, _: int) -> None:
        if position >= self._wake_at:
            self._changed.set()

    async def run(self) -> None:
        """Open and shut the gate until cancelled; it is shut then."""
        try:
            while True:
                self._changed.clear()
                wake_ns = self._step()
                try:
                    async with asyncio.timeout_at(wake_ns / 1e9):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._set(False)

    def _step(self) -> int:
        """Do what is due; returns when to look again at the latest."""
        now = now_ns()
        at = self._encoder.position if self._encoder else now
        events = self._schedule.step(at, now)
        until_ns = self._schedule.gate_until_ns
        switched = self._set(until_ns is not None)
        for event in events:
            failed = event.gate is Gate.FIRED and not switched
            self._on_event(GateEvent(event.part, Gate.MISSED, "the gate does not switch") if failed else event)
        following = self._schedule.next_at(at)
        times = [now + _IDLE_NS, *([until_ns] if until_ns else [])]
        if self._encoder:
            self._wake_at = at + 1 if following is None else following
        elif following is not None:
            times.append(following)
        return min(times)

    def _set(self, active: bool) -> bool:
        """Switch the gate if it has to be; True if it is as asked."""
        if active is not self._open:
            try:
                self._write(active)
            except DeviceError:
                return False
            self._open = active
        return True
