"""Lane: one accelerator (or one worker thread) that does one thing at a time, and keeps promises about its future.

The problem: an offloaded call is safe only if its local fallback can start at the last safe moment. Another stage, or a
camera frame, may be on the accelerator at just that moment, and several offloaded calls fall back together when the link
dies. A lock keeps order but promises nothing.

So everything that runs has a slot: a start and a cost. Slots never overlap when they are made. A call that starts now
takes the earliest gap; an offloaded call reserves the latest gap before its due time, as if the remote will fail; work
that may be dropped (the newest frame of many) asks `fits` and goes elsewhere. When work ends early, whoever waits moves up
if no promise is touched. An engine may use a slot bite by bite: what is left of it stays promised until it is released. A
slot whose time has come starts as soon as the lane is idle, before anything unpromised.

What this does not do: preempt. Work that overruns its cost delays the next slot, and the records show it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.latency import Latency

T = TypeVar("T")

_BITE_PRIOR_NS = 20 * MS


@dataclass(eq=False, slots=True)
class Slot:
    """A promise: the lane is free for `cost_ns` from `start_ns` on."""

    start_ns: int
    """When the work starts at the latest."""

    cost_ns: int
    """How long it holds the lane, by its bound."""

    label: str = ""
    """What ran in it first; empty until it starts."""

    started_ns: int | None = None
    """When it really started."""

    held: bool = False
    """Was it claimed, and not given back? Then what a bite leaves of it is kept for the next one."""

    turn: asyncio.Future[None] | None = field(default=None, repr=False)
    """Set while somebody waits to start in it."""


_claimed: ContextVar[Slot | None] = ContextVar("claimed", default=None)


@contextmanager
def claiming(slot: Slot | None) -> Iterator[None]:
    """`Lane.run` inside this context starts in `slot`, bite after bite: how a stage hands its promise to an engine."""
    token = _claimed.set(slot)
    try:
        yield
    finally:
        _claimed.reset(token)


class Lane:
    """One thing at a time, in the order of their slots. Lives on one loop."""

    def __init__(self, name: str) -> None:
        """`name` is the accelerator's name in the configuration, such as `gpu` or `cpu.llm`."""
        self.name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lane-{name}")
        self._slots: list[Slot] = []  # promised and not started, by start; bounded by the calls in flight
        self._running = False
        self._busy_until_ns = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._took: dict[str, Latency] = {}
        self.longest_ns: dict[str, int] = {}
        """The longest bite of each label: how late a fallback can start because of it."""

    # What can be promised

    def _free_ns(self, now_ns: int) -> int:
        """When the work on the lane and every overdue slot are over, by their bounds."""
        free_ns = max(now_ns, self._busy_until_ns) if self._running else now_ns
        for slot in self._slots:
            if slot.start_ns > free_ns:
                break
            free_ns += slot.cost_ns
        return free_ns

    def earliest_ns(self, now_ns: int, cost_ns: int) -> int:
        """When work of `cost_ns` asked for now could start without touching a promise."""
        start_ns = max(now_ns, self._busy_until_ns) if self._running else now_ns
        for slot in self._slots:
            if start_ns + cost_ns <= slot.start_ns:
                break
            start_ns = max(start_ns, slot.start_ns) + slot.cost_ns
        return start_ns

    def latest_ns(self, now_ns: int, cost_ns: int, start_by_ns: int) -> int | None:
        """The last moment, not after `start_by_ns`, at which work of `cost_ns` can start and touch no promise.

        None if there is no such moment from now on.
        """
        end_ns = start_by_ns + cost_ns
        for slot in reversed(self._slots):
            if slot.start_ns + slot.cost_ns <= end_ns - cost_ns:
                break
            end_ns = min(end_ns, slot.start_ns)
        start_ns = end_ns - cost_ns
        return start_ns if start_ns >= self._free_ns(now_ns) else None

    def fits(self, now_ns: int, cost_ns: int) -> bool:
        """May work that can be dropped start now and be gone before every promise?"""
        return not self._running and self.earliest_ns(now_ns, cost_ns) == now_ns

    def reserve(self, start_ns: int, cost_ns: int) -> Slot:
        """Promise the lane from `start_ns` on. Use it with `claiming` and `run`, or give it back with `release`."""
        slot = Slot(start_ns, cost_ns)
        self._insert(slot)
        return slot

    def _insert(self, slot: Slot) -> None:
        self._slots.append(slot)
        self._slots.sort(key=lambda each: each.start_ns)

    def release(self, slot: Slot) -> None:
        """The promise is not needed any more; idempotent, and nothing happens to work that waits in it or has started."""
        slot.held = False
        if slot in self._slots and slot.turn is None:
            self._slots.remove(slot)
            self._advance()

    # Doing it

    async def run(self, work: Callable[[], T], *, label: str, cost_ns: int | None = None) -> T:
        """Run blocking `work` in the lane's thread when its turn comes, and return what it returns.

        Without `cost_ns` the lane uses the bound it has learned for `label`. Cancelling leaves at once: work that has
        not started never will; work that has started keeps the lane until it really ends, and its answer is dropped.
        """
        slot = _claimed.get()
        if slot is not None and slot in self._slots and slot.turn is None:
            slot.held = True
        else:
            cost_ns = cost_ns if cost_ns is not None else self.bound_ns(label)
            slot = self.reserve(self.earliest_ns(now_ns(), cost_ns), cost_ns)
        await self._turn(slot)
        return await asyncio.shield(self._start(slot, work, label))

    async def _turn(self, slot: Slot) -> None:
        slot.turn = asyncio.get_running_loop().create_future()
        self._advance()
        try:
            await slot.turn
        except asyncio.CancelledError:
            if slot in self._slots:
                self._slots.remove(slot)
            elif not slot.turn.cancelled():
                self._running = False  # the turn was granted, and nobody is left to use it
            self._advance()
            raise

    def _advance(self) -> None:
        """Grant the lane to whoever may start now; otherwise wake up when the next promise is due."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if self._running:
            return
        now = now_ns()
        for slot in self._slots:
            if slot.turn is not None and not slot.turn.done() and self._may_start(slot, now):
                self._slots.remove(slot)
                self._running = True
                self._busy_until_ns = now + slot.cost_ns
                slot.turn.set_result(None)
                return
        due = [slot.start_ns for slot in self._slots if slot.turn is not None and slot.start_ns > now]
        if due:
            self._alarm = asyncio.get_running_loop().call_at(min(due) / 1e9, self._advance)

    def _may_start(self, slot: Slot, now: int) -> bool:
        if slot.start_ns <= now:
            return True
        return all(now + slot.cost_ns <= other.start_ns for other in self._slots if other is not slot)

    def _start(self, slot: Slot, work: Callable[[], T], label: str) -> asyncio.Future[T]:
        started_ns = now_ns()
        if slot.started_ns is None:
            slot.label, slot.started_ns = label, started_ns
        self._busy_until_ns = started_ns + slot.cost_ns
        job = asyncio.get_running_loop().run_in_executor(self._thread, work)

        def ended(job: asyncio.Future[T]) -> None:
            took_ns = now_ns() - started_ns
            self._running = False
            self._took.setdefault(label, Latency(prior_ns=_BITE_PRIOR_NS)).took(now_ns(), took_ns)
            self.longest_ns[label] = max(took_ns, self.longest_ns.get(label, 0))
            if not job.cancelled():
                job.exception()  # an abandoned answer may be an error: nobody else will look at it
            if slot.held:  # its owner has more to run, or will release it in a moment
                slot.start_ns, slot.cost_ns = now_ns(), max(0, started_ns + slot.cost_ns - now_ns())
                slot.turn = None
                self._insert(slot)
            self._advance()

        job.add_done_callback(ended)
        return job

    def bound_ns(self, label: str, coverage: float = 0.99) -> int:
        """How long a bite of `label` holds the lane, as far as the lane has seen."""
        known = self._took.get(label)
        return known.bound_ns(coverage) if known else _BITE_PRIOR_NS

    def close(self) -> None:
        """Take no more work; the bite under way ends by itself. Idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)
