"""What says that a part is there: a line, an encoder, a PLC's bit or a timer, all as one asynchronous iterator of `Trigger`.

Every pull gets a number, also one that nobody can serve: if `depth` triggers wait already, or the hardware says that it
lost edges, the trigger goes to `on_lost` in the same moment, and its part is NOT_INSPECTED. The oldest are kept, because
their pictures are taken already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import DeviceError, Trigger
from edgeapp.devices.encoder import Divider, Encoder, Quadrature
from edgeapp.devices.gpio import Chip, Edge, Input, OnGone

_LOST_AT_ONCE: Final = 1000  # lost edges that are reported one by one after a gap; beyond that it is a broken counter


class Triggers:
    """The triggers of one source: `pull` from the hardware's side, iterate on the other. Lives on one loop, one reader."""

    def __init__(
        self,
        source: str,
        *,
        depth: int,
        on_lost: Callable[[Trigger], None],
        encoder: Encoder | None = None,
        hold_off_ns: int = 0,
        after: int = 0,
        on_part: Callable[[Trigger], None] | None = None,
    ) -> None:
        """At most `depth` wait; a pull within `hold_off_ns` of the last one is the same part and only counted.

        Numbers go on after `after`. `on_part` is told of every part in the moment of its trigger, before anything else is.
        """
        self.lost = 0
        """Triggers that went to `on_lost`."""

        self.held_off = 0
        """Pulls that were taken for the part before."""

        self._source, self._depth, self._on_lost, self._encoder = source, depth, on_lost, encoder
        self._hold_off_ns = hold_off_ns
        self._waiting: deque[Trigger] = deque()  # at most `depth`
        self._arrived = asyncio.Event()
        self._failure: DeviceError | None = None
        self._closed = False
        self._number, self._on_part = after, on_part
        self._last_ns: int | None = None

    def pull(self, at_ns: int, position: int | None = None) -> None:
        """A part is there. Never waits. The encoder's position is taken for `at_ns` unless it is given."""
        if self._last_ns is not None and at_ns - self._last_ns < self._hold_off_ns:
            self.held_off += 1
            return
        self._last_ns = at_ns
        trigger = self._next(at_ns, position)
        if len(self._waiting) == self._depth:
            self._lose(trigger)
            return
        self._waiting.append(trigger)
        self._arrived.set()

    def missed(self, count: int, at_ns: int) -> None:
        """The hardware knows of `count` parts that it could not report, the last of them before `at_ns`."""
        for _ in range(min(count, _LOST_AT_ONCE)):
            self._lose(self._next(at_ns, None))

    def fail(self, error: DeviceError) -> None:
        """Whoever iterates gets this error after the triggers that wait, and may iterate again."""
        self._failure = error
        self._arrived.set()

    def close(self) -> None:
        """No more triggers will come; those inside can still be read. Idempotent."""
        self._closed = True
        self._arrived.set()

    def _next(self, at_ns: int, position: int | None) -> Trigger:
        self._number += 1
        if position is None and self._encoder:
            position = self._encoder.position_at(at_ns)
        trigger = Trigger(self._number, at_ns, self._source, position)
        if self._on_part:
            self._on_part(trigger)
        return trigger

    def _lose(self, trigger: Trigger) -> None:
        self.lost += 1
        self._on_lost(trigger)

    async def __aiter__(self) -> AsyncIterator[Trigger]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()


def by_line(chip: Chip, settings: Input, triggers: Triggers) -> Callable[[], None]:
    """Pull at each rising edge of a line; returns what ends it. Raises DeviceError."""

    def on_edge(edge: Edge) -> None:
        if (
            edge.lost
        ):  # half of the lost edges are rising; an odd one more is this edge's partner, and rose if this one fell
            triggers.missed((edge.lost + (not edge.rising)) // 2, edge.at_ns)
        if edge.rising:
            triggers.pull(edge.at_ns)

    return chip.watch([settings], on_edge, triggers.fail)


def by_counts(encoder: Encoder, every: int, triggers: Triggers) -> None:
    """Pull every so many counts of forward movement, at the place itself."""
    divider = Divider(every)

    def moved(position: int, at_ns: int) -> None:
        for place, passed_ns in divider.crossed(position, at_ns):
            triggers.pull(passed_ns, place)

    encoder.listeners.append(moved)


async def by_timer(period_ns: int, triggers: Triggers) -> None:
    """Pull every `period_ns` until cancelled. A loop that was held up pulls for each period that passed: none is skipped."""
    at_ns = now_ns()
    while True:
        at_ns += period_ns
        await sleep_until(at_ns)
        triggers.pull(at_ns)


def quadrature(chip: Chip, a: Input, b: Input, encoder: Encoder, on_trouble: OnGone) -> Quadrature:
    """Count an encoder on two lines. `on_trouble` is told of the first lost edge and of a lost chip. Raises DeviceError.

    Python takes some 10 microseconds an edge; above 10,000 counts a second use a PLC's counter, or an encoder of fewer lines.
    """
    counter = Quadrature()

    def on_edge(edge: Edge) -> None:
        errors = counter.errors
        if step := counter.edge(on_a=edge.line == a.line, rising=edge.rising):
            encoder.moved(encoder.position + step, edge.at_ns)
        if counter.errors and not errors:
            on_trouble(DeviceError("the encoder is faster than its lines are read: the belt's position is not exact"))

    chip.watch([a, b], on_edge, on_trouble)
    return counter
