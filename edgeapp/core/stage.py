"""Stage: one step of work that can run here or there. It places, hedges and records; stages differ by their engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.hedge import Side, Won, hedge
from edgeapp.core.lane import Lane, Slot, claiming
from edgeapp.core.latency import Latency
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Local, Placement, Placer, Situation, Terms, Why, place, place_on
from edgeapp.core.record import Record, Sink
from edgeapp.core.stream import Stream

In = TypeVar("In")
Out = TypeVar("Out")
Request = TypeVar("Request", contravariant=True)
Answer = TypeVar("Answer", covariant=True)

_SHADOW_LIMIT_NS: Final = 2_000 * MS  # no longer, because the next one waits for it
_HOLD_COVERAGE: Final = 0.95  # of bites; the bound covers first parts, and this only those that go on after it
_PROBE_EVERY_NS: Final = 2_000 * MS
_LEARN_FOR: Final = frozenset({Why.BREAKER, Why.RAMP, Why.JITTER, Why.TIGHT, Why.SMALLER})


class Backend(Protocol[Request, Answer]):
    """What an engine is to a stage: a callable that returns when the first part of its answer is in hand."""

    async def __call__(self, request: Request, /) -> Answer: ...


@dataclass(slots=True)
class _Rung(Generic[In, Out]):
    """One local engine and what is known of it."""

    engine: Backend[In, Out]
    took: Latency
    label: str = ""
    """What it calls its first bite on the lane; empty until it ran."""


@dataclass(slots=True)
class _Call(Generic[In]):
    """One call, from the ask to its record."""

    request: In
    size: int
    it: Situation
    placement: Placement
    rung: int
    window_ns: int | None
    late_share: float | None
    local_took_ns: int | None = None
    remote_took_ns: int | None = None
    remote_end: str = ""


class Stage(Generic[In, Out]):
    """Local engines, optional remote engine, one lane. Concrete and final."""

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
        policy: str = "edgeapp",
        smaller: Sequence[tuple[Backend[In, Out], int]] = (),
        calibrated: bool = False,
    ) -> None:
        """`local_prior_ns` bounds local's time to its first part until enough runs were seen; `calibrated` if measured.

        `smaller` are further local engines with their bounds, best first; the best one that fits is taken. `policy` is
        the name under which `placer` stands in the record.
        """
        self.name = name
        self.lane = lane
        engines = [(local, local_prior_ns), *smaller]
        self._rungs = [_Rung(engine, Latency(prior_ns=prior_ns, calibrated=calibrated)) for engine, prior_ns in engines]
        self._remote, self._link, self._terms = remote, link, terms
        self._payload_bytes, self._placer, self._policy, self._sink = payload_bytes, placer, policy, sink
        self._learning: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._probe_at_ns = 0
        self._window_lately_ns = _PROBE_EVERY_NS

    @property
    def local(self) -> Backend[In, Out]:
        """The best local engine."""
        return self._rungs[0].engine

    @local.setter
    def local(self, engine: Backend[In, Out]) -> None:
        self._rungs[0].engine = engine

    @property
    def remote(self) -> Backend[In, Out] | None:
        """The engine elsewhere, if there is one."""
        return self._remote

    @property
    def took(self) -> Latency:
        """What is known of the best local engine's time to its first part."""
        return self._rungs[0].took

    @property
    def bound_ns(self) -> int:
        """The bound on the best local engine's time to its first part."""
        return self._bound_ns(self._rungs[0])

    @property
    def hold_ns(self) -> int:
        """The bound on how long it holds the lane, which for a stream is longer than its first part."""
        return self._hold_ns(self._rungs[0])

    @property
    def lends(self) -> bool:
        """May a call run elsewhere?"""
        return self._remote is not None

    def recalibrate(self, bounds_ns: Sequence[int], *, calibrated: bool) -> None:
        """Forget how long local took and believe these bounds, best engine first: the clocks or the power mode changed."""
        for rung, bound_ns in zip(self._rungs, bounds_ns, strict=True):
            rung.took = Latency(prior_ns=bound_ns, calibrated=calibrated)

    async def __call__(self, request: In, *, due_ns: int, of: str, resumed: bool = False) -> Out:
        """Return the first valid answer, from wherever it is safe to get it.

        `due_ns` is when its first part must be in hand; `of` names the turn or frame in the record; `resumed` asks for
        the rest of an answer that broke off, which is made here. Raises BackendError when every side failed, and so does
        a remote's stream that pauses too long. A record is written in every case, a cancel included.
        """
        call = self._placed(request, due_ns, resumed=resumed)
        side, error = "none", ""
        try:
            won = await self._carry_out(call)
            side = str(won.side)
        except BackendError as failure:
            error = str(failure)
            raise
        except asyncio.CancelledError:
            error = "cancelled"
            raise
        except Exception as bug:
            kind = bug.exceptions[0] if isinstance(bug, ExceptionGroup) else bug  # of both sides of the race
            error = type(kind).__name__  # its text may hold what a person said
            raise
        finally:
            self._sink(self._record(call, of, side, error))
        return won.value

    def _placed(self, request: In, due_ns: int, *, resumed: bool) -> _Call[In]:
        now, size = now_ns(), self._payload_bytes(request)
        ladder = self._ladder(now, due_ns, size)
        rung, placement = (0, Local(Why.RESUMED)) if resumed else place_on(ladder, self._terms, self._placer)
        it = ladder[rung]
        window_ns = placement.local_at_ns - now if isinstance(placement, Late) else self._window_ns(it)
        self._window_lately_ns = window_ns or max(1, due_ns - now)
        known = window_ns is not None and window_ns > 0 and not isinstance(it.remote, Why)
        late_share = it.remote(window_ns) if known else None  # type: ignore[operator, arg-type]
        return _Call(request, size, it, placement, rung, window_ns, late_share)

    def _ladder(self, now: int, due_ns: int, size: int) -> list[Situation]:
        """What is known now with each local engine, best first."""
        answers_ns: Sequence[int] = ()
        waits_ns: Sequence[int] = ()
        remote: Any = Why.NO_REMOTE
        if self._remote and self._link:
            answers_ns, waits_ns = self._link.answers_ns, self._link.waits_ns
            remote = self._link.tail(now, size)
        ladder = []
        for rung in self._rungs:
            bound_ns, hold_ns = self._bound_ns(rung), self._hold_ns(rung)
            last_ns = None
            if remote is not Why.NO_REMOTE:
                last_ns = self.lane.latest_ns(now, hold_ns, due_ns - bound_ns - self._terms.slop_ns)
            first_ns = self.lane.earliest_ns(now, hold_ns) if len(self._rungs) > 1 else None
            ladder.append(Situation(now, due_ns, bound_ns, last_ns, remote, first_ns, answers_ns, waits_ns))
        return ladder

    @staticmethod
    def _window_ns(it: Situation) -> int | None:
        """How long the remote has before local must start; None if the lane cannot promise anything."""
        return None if it.lane_last_ns is None else max(0, it.lane_last_ns - it.now_ns)

    def _bound_ns(self, rung: _Rung[In, Out]) -> int:
        return rung.took.bound_ns(self._terms.local_coverage)

    def _hold_ns(self, rung: _Rung[In, Out]) -> int:
        bound_ns = self._bound_ns(rung)
        return max(bound_ns, self.lane.bound_ns(rung.label, _HOLD_COVERAGE)) if rung.label else bound_ns

    def _record(self, call: _Call[In], of: str, side: str, error: str) -> Record:
        it, placement = call.it, call.placement
        return Record(
            of=of,
            stage=self.name,
            asked_ns=it.now_ns,
            due_ns=it.due_ns,
            first_ns=now_ns(),
            side=side,
            why=str(placement.why),
            local_ns=it.local_ns,
            local_at_ns=placement.local_at_ns if isinstance(placement, Late) else None,
            late_share=call.late_share,
            payload_bytes=call.size if self._remote else 0,
            error=error,
            policy=self._policy,
            window_ns=call.window_ns,
            rung=call.rung,
            local_took_ns=call.local_took_ns,
            remote_took_ns=call.remote_took_ns,
            remote_end=call.remote_end,
        )

    async def _carry_out(self, call: _Call[In]) -> Won[Out]:
        it, placement = call.it, call.placement
        hold_ns = self._hold_ns(self._rungs[call.rung])
        if isinstance(placement, Local):
            if placement.why in _LEARN_FOR and it.remote not in {Why.NO_REMOTE, Why.REFUSED}:
                self._learn(call)
            slot = self.lane.reserve(self.lane.earliest_ns(it.now_ns, hold_ns), hold_ns)
            return Won(Side.LOCAL, await self._run_local(call, slot))
        local_at_ns = placement.local_at_ns if isinstance(placement, Late) else it.now_ns
        start_ns = local_at_ns if isinstance(placement, Late) else self.lane.earliest_ns(it.now_ns, hold_ns)
        slot = self.lane.reserve(start_ns, hold_ns)
        try:
            return await hedge(
                remote=lambda: self._run_remote(call, local_at_ns),
                local=lambda: self._run_local(call, slot),
                local_at_ns=local_at_ns,
            )
        finally:
            self.lane.release(slot)

    async def _run_local(self, call: _Call[In], slot: Slot) -> Out:
        rung, asked_ns = self._rungs[call.rung], now_ns()
        took = rung.took  # what this run tells, it tells of the clocks it began with
        try:
            with claiming(slot):
                value = await rung.engine(call.request)
        except asyncio.CancelledError:
            if slot.started_ns is not None:  # without these, only runs that beat the remote would be known
                took.gave_up(now_ns(), now_ns() - slot.started_ns)
            raise
        finally:
            self.lane.release(slot)
        rung.label = slot.label or rung.label
        started_ns = slot.started_ns if slot.started_ns is not None else asked_ns
        call.local_took_ns = now_ns() - started_ns
        took.took(now_ns(), call.local_took_ns)
        return value

    async def _run_remote(self, call: _Call[In], window_end_ns: int) -> Out:
        """Ask the remote, and let the link know what came of it. `window_end_ns`: later than that is late."""
        assert self._remote
        assert self._link
        link, size, due_ns, sent_ns = self._link, call.size, call.it.due_ns, now_ns()
        late_ns = max(window_end_ns, sent_ns + 1) if window_end_ns > call.it.now_ns else due_ns
        until_ns = call.placement.remote_until_ns if isinstance(call.placement, Late) else None
        flight = link.sent(sent_ns, size, late_ns)
        try:
            async with asyncio.timeout_at((until_ns or due_ns + self._terms.patience_ns) / 1e9):
                value = await self._watched(await self._remote(call.request), size)
            call.remote_end = "answered"
            link.took(now_ns(), size, now_ns() - sent_ns, late=now_ns() > late_ns)
        except TimeoutError:
            call.remote_end = "given up"
            link.gave_up(now_ns(), size, now_ns() - sent_ns, late=True)
            raise BackendError(f"{link.name} did not answer in time") from None
        except asyncio.CancelledError:
            call.remote_end = "given up"
            link.gave_up(now_ns(), size, now_ns() - sent_ns, late=now_ns() >= late_ns)
            raise
        except BackendError:
            call.remote_end = "failed"
            link.failed(now_ns(), size)
            raise
        finally:
            call.remote_took_ns = now_ns() - sent_ns
            link.landed(flight)
        return value

    async def _watched(self, value: Out, size: int) -> Out:
        """A remote's stream, with a bound on each pause between its parts. The link learns if it breaks off."""
        if not isinstance(value, Stream):
            return value
        assert self._link
        link, pause_s = self._link, self._terms.stall_ns / 1e9

        async def parts(stream: Stream[Any]) -> AsyncGenerator[Any, None]:
            coming = aiter(stream)
            try:
                while True:
                    try:
                        async with asyncio.timeout(pause_s):
                            part = await anext(coming)
                    except StopAsyncIteration:
                        return
                    except TimeoutError:
                        link.broke_off(now_ns(), size)
                        raise BackendError(f"{link.name} stalled in the middle of its answer") from None
                    except BackendError:
                        link.broke_off(now_ns(), size)
                        raise
                    yield part
            finally:
                await stream.aclose()

        return cast("Out", await Stream.start(parts(value)))

    def _learn(self, call: _Call[In]) -> None:
        """Send a shadow: its answer is thrown away, its time is not. One at a time, and only when the link allows."""
        assert self._link
        it = call.it
        if (self._learning is None or self._learning.done()) and self._link.shadow(it.now_ns, call.size):
            assert self._remote
            window_ns = it.due_ns - it.local_ns - it.now_ns
            if window_ns <= 0:  # local cannot make it: an answer is of use until the due time
                window_ns = it.due_ns - it.now_ns
            ask = self._remote
            self._learning = asyncio.create_task(self._measure(lambda: ask(call.request), window_ns, call.size))

    def probe(self) -> None:
        """Somebody begins to speak, or a part is coming: wake radio, connection and server before a due time runs.

        Asks the remote's own `probe`, if it has one, for a small round trip. What comes of it is evidence for the link
        (of small payloads, and for its breaker) and costs no deadline. Returns at once; at most one every two seconds.
        """
        ask = getattr(self._remote, "probe", None)
        now = now_ns()
        if ask is None or self._link is None or now < self._probe_at_ns or (self._probe and not self._probe.done()):
            return
        self._probe_at_ns = now + _PROBE_EVERY_NS
        self._probe = asyncio.create_task(self._measure(ask, self._window_lately_ns, 0))

    async def _measure(self, ask: Callable[[], Awaitable[Any]], window_ns: int, size: int) -> None:
        """One request for the sake of its time; once that is known, closing the answer tells nothing more."""
        assert self._link
        link, sent_ns, answered = self._link, now_ns(), False
        try:
            async with asyncio.timeout_at((sent_ns + _SHADOW_LIMIT_NS) / 1e9):
                value = await ask()
                took_ns = now_ns() - sent_ns
                link.took(now_ns(), size, took_ns, late=took_ns > window_ns, shadow=True)
                answered = True
                if isinstance(value, Stream):
                    await value.aclose()
        except TimeoutError:
            if not answered:
                link.gave_up(now_ns(), size, now_ns() - sent_ns, late=True, shadow=True)
        except BackendError:
            if not answered:
                link.failed(now_ns(), size, shadow=True)

    async def aclose(self) -> None:
        """End a shadow and a probe that are still under way. Idempotent."""
        for task in (self._learning, self._probe):
            if task and not task.done():
                task.cancel()
                await asyncio.wait([task])
