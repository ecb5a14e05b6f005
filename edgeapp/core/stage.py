"""Stage: one step of work that can run here or there. It places, hedges and records; stages differ by their engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.hedge import Side, Won, hedge
from edgeapp.core.lane import Lane, Slot, claiming
from edgeapp.core.latency import Latency
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Local, Placement, Situation, Terms, Why, place
from edgeapp.core.record import Record, Sink
from edgeapp.core.stream import Stream

In = TypeVar("In")
Out = TypeVar("Out")
Request = TypeVar("Request", contravariant=True)
Answer = TypeVar("Answer", covariant=True)

_SHADOW_LIMIT_NS: Final = 10_000 * MS


class Backend(Protocol[Request, Answer]):
    """What an engine is to a stage: a callable that returns when the first part of its answer is in hand."""

    async def __call__(self, request: Request, /) -> Answer: ...


Placer = Callable[[Situation, Terms], Placement]


class Stage(Generic[In, Out]):
    """Local engine, optional remote engine, one lane. Concrete and final."""

    def __init__(
        self,
        name: str,
        local: Backend[In, Out],
        lane: Lane,
        *,
        local_prior_ns: int,
        sink: Sink,
        remote: Backend[In, Out] | None = None,
        link: Link | None = None,
        terms: Terms = Terms(),
        payload_bytes: Callable[[In], int] = lambda _: 0,
        placer: Placer = place,
    ) -> None:
        """`local_prior_ns` bounds local's time to its first part until enough runs were seen."""
        self.name = name
        self.local = local
        self.lane = lane
        self.took = Latency(prior_ns=local_prior_ns)
        self._remote, self._link, self._terms = remote, link, terms
        self._payload_bytes, self._placer, self._sink = payload_bytes, placer, sink
        self._label = ""
        self._shadow: asyncio.Task[None] | None = None

    @property
    def bound_ns(self) -> int:
        """The bound on local's time to its first part."""
        return self.took.bound_ns(self._terms.local_coverage)

    @property
    def hold_ns(self) -> int:
        """The bound on how long local holds the lane, which for a stream is longer than its first part."""
        return max(self.bound_ns, self.lane.bound_ns(self._label)) if self._label else self.bound_ns

    @property
    def lends(self) -> bool:
        """May a call run elsewhere?"""
        return self._remote is not None

    async def __call__(self, request: In, *, due_ns: int, of: str, resumed: bool = False) -> Out:
        """Return the first valid answer, from wherever it is safe to get it.

        `due_ns` is when its first part must be in hand; `of` names the turn or frame in the record; `resumed` asks for
        the rest of an answer that broke off, which is made here. Raises BackendError when every side failed, and so does
        a remote's stream that pauses too long. A record is written in every case, a cancel included.
        """
        asked_ns = now_ns()
        size = self._payload_bytes(request)
        it = self._situation(asked_ns, due_ns, size)
        placement = Local(Why.RESUMED) if resumed else self._placer(it, self._terms)
        local_at_ns = placement.local_at_ns if isinstance(placement, Late) else None
        late_share = None
        if local_at_ns is not None and not isinstance(it.remote, Why):
            late_share = it.remote(local_at_ns - asked_ns)
        side, error = "none", ""
        try:
            won = await self._carry_out(placement, request, it, size)
            side = str(won.side)
        except BackendError as failure:
            error = str(failure)
            raise
        except asyncio.CancelledError:
            error = "cancelled"
            raise
        except Exception as bug:
            error = type(bug).__name__  # its text may hold what a person said
            raise
        finally:
            self._sink(
                Record(
                    of=of,
                    stage=self.name,
                    asked_ns=asked_ns,
                    due_ns=due_ns,
                    first_ns=now_ns(),
                    side=side,
                    why=str(placement.why),
                    local_ns=it.local_ns,
                    local_at_ns=local_at_ns,
                    late_share=late_share,
                    payload_bytes=size if self._remote else 0,
                    error=error,
                )
            )
        return won.value

    def _situation(self, asked_ns: int, due_ns: int, size: int) -> Situation:
        remote = self._link.tail(asked_ns, size) if self._remote and self._link else Why.NO_REMOTE
        start_by_ns = due_ns - self.bound_ns - self._terms.slop_ns
        last_ns = None if remote is Why.NO_REMOTE else self.lane.latest_ns(asked_ns, self.hold_ns, start_by_ns)
        return Situation(asked_ns, due_ns, self.bound_ns, last_ns, remote)

    async def _carry_out(self, placement: Placement, request: In, it: Situation, size: int) -> Won[Out]:
        if isinstance(placement, Local):
            if placement.why in {Why.BREAKER, Why.JITTER, Why.TIGHT}:
                self._learn(request, it, size)
            slot = self.lane.reserve(self.lane.earliest_ns(it.now_ns, self.hold_ns), self.hold_ns)
            return Won(Side.LOCAL, await self._run_local(request, slot))
        local_at_ns = placement.local_at_ns if isinstance(placement, Late) else it.now_ns
        start_ns = local_at_ns if isinstance(placement, Late) else self.lane.earliest_ns(it.now_ns, self.hold_ns)
        slot = self.lane.reserve(start_ns, self.hold_ns)
        try:
            return await hedge(
                remote=lambda: self._run_remote(request, it, local_at_ns, size),
                local=lambda: self._run_local(request, slot),
                local_at_ns=local_at_ns,
            )
        finally:
            self.lane.release(slot)

    async def _run_local(self, request: In, slot: Slot) -> Out:
        asked_ns = now_ns()
        try:
            with claiming(slot):
                value = await self.local(request)
        except asyncio.CancelledError:
            if slot.started_ns is not None:  # without these, only runs that beat the remote would be known
                self.took.gave_up(now_ns(), now_ns() - slot.started_ns)
            raise
        finally:
            self.lane.release(slot)
        self._label = slot.label or self._label
        started_ns = slot.started_ns if slot.started_ns is not None else asked_ns
        self.took.took(now_ns(), now_ns() - started_ns)
        return value

    async def _run_remote(self, request: In, it: Situation, window_end_ns: int, size: int) -> Out:
        """Ask the remote, and let the link know what came of it. `window_end_ns`: later than that is late."""
        assert self._remote
        assert self._link
        sent_ns = now_ns()
        late_ns = max(window_end_ns, sent_ns + 1) if window_end_ns > it.now_ns else it.due_ns
        try:
            async with asyncio.timeout_at((it.due_ns + self._terms.patience_ns) / 1e9):
                value = await self._watched(await self._remote(request))
        except TimeoutError:
            self._link.gave_up(now_ns(), size, now_ns() - sent_ns, late=True)
            raise BackendError(f"{self._link.name} did not answer in time") from None
        except asyncio.CancelledError:
            self._link.gave_up(now_ns(), size, now_ns() - sent_ns, late=now_ns() >= late_ns)
            raise
        except BackendError:
            self._link.failed(now_ns(), size)
            raise
        self._link.took(now_ns(), size, now_ns() - sent_ns, late=now_ns() > late_ns)
        return value

    async def _watched(self, value: Out) -> Out:
        """A remote's stream, with a bound on each pause between its parts."""
        if not isinstance(value, Stream):
            return value
        assert self._link
        stream, name, pause_s = value, self._link.name, self._terms.stall_ns / 1e9

        async def parts() -> AsyncGenerator[Any, None]:
            coming = aiter(stream)
            try:
                while True:
                    try:
                        async with asyncio.timeout(pause_s):
                            part = await anext(coming)
                    except StopAsyncIteration:
                        return
                    except TimeoutError:
                        raise BackendError(f"{name} stalled in the middle of its answer") from None
                    yield part
            finally:
                await stream.aclose()

        return cast("Out", await Stream.start(parts()))

    def _learn(self, request: In, it: Situation, size: int) -> None:
        """Send a shadow: its answer is thrown away, its time is not. One at a time, and only when the link allows."""
        assert self._link
        if (self._shadow is None or self._shadow.done()) and self._link.shadow(it.now_ns):
            self._shadow = asyncio.create_task(self._send_shadow(request, it, size))

    async def _send_shadow(self, request: In, it: Situation, size: int) -> None:
        assert self._remote
        assert self._link
        sent_ns = now_ns()
        window_ns = it.due_ns - self.bound_ns - it.now_ns
        if window_ns <= 0:  # local cannot make it: an answer is of use until the due time
            window_ns = it.due_ns - it.now_ns
        try:
            async with asyncio.timeout_at((sent_ns + _SHADOW_LIMIT_NS) / 1e9):
                value = await self._remote(request)
        except TimeoutError:
            self._link.gave_up(now_ns(), size, now_ns() - sent_ns, late=True, shadow=True)
        except BackendError:
            self._link.failed(now_ns(), size, shadow=True)
        else:
            took_ns = now_ns() - sent_ns
            self._link.took(now_ns(), size, took_ns, late=took_ns > window_ns, shadow=True)
            close = getattr(value, "aclose", None)
            if close is not None:
                await close()

    async def aclose(self) -> None:
        """End a shadow that is still under way. Idempotent."""
        if self._shadow and not self._shadow.done():
            self._shadow.cancel()
            await asyncio.wait([self._shadow])
