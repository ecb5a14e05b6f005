"""A stage on virtual time: what is asked, where it runs, what is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import repeat

import pytest
from worlds import OnLane, Script, Work

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Terms, Why
from edgeapp.core.record import AnyRecord, Record
from edgeapp.core.stage import Stage


class Bench:
    """One stage with a scripted remote, a link that is believed, and its records."""

    def __init__(
        self, remote: Sequence[tuple[float, str]] | None, *, local_ms: float = 40, terms: Terms = Terms()
    ) -> None:
        self.lane, self.link = Lane("gpu"), Link("edge")
        self.records: list[AnyRecord] = []
        for n in range(60):
            self.link.took(n, 0, 20 * MS, late=False)
        self.far = Script(list(remote)) if remote else None
        self.stage: Stage[str, str] = Stage(
            "llm",
            OnLane(self.lane, repeat(local_ms)),
            self.lane,
            local_prior_ns=60 * MS,
            sink=self.records.append,
            remote=self.far,
            link=self.link,
            terms=terms,
        )

    async def ask(self, due_ms: float = 200) -> tuple[str, float]:
        started_ns = now_ns()
        answer = await self.stage("hello", due_ns=started_ns + round(due_ms * MS), of="turn 1")
        return answer, (now_ns() - started_ns) / MS

    @property
    def last(self) -> Record:
        record = self.records[-1]
        assert isinstance(record, Record)
        return record


#        remote            due   answer    at    why
CALLS = [
    (None, 200, "local", 40, Why.NO_REMOTE),
    ([(30, "ok")], 200, "remote", 30, Why.SAFE),
    ([(0, "hang")], 200, "local", 178, Why.SAFE),  # 200 − 60 bound − 2 slop + 40 real
    ([(10, "error")], 200, "local", 50, Why.SAFE),
    ([(190, "ok")], 200, "local", 178, Why.SAFE),
    ([(30, "ok")], 70, "local", 40, Why.JITTER),  # a window of 8 ms is too short for this link
    ([(30, "ok")], 62, "local", 40, Why.TIGHT),
    ([(30, "ok")], 50, "remote", 30, Why.RESCUE),
    ([(30, "error")], 50, "local", 40, Why.RESCUE),
]


@pytest.mark.parametrize(("remote", "due_ms", "answer", "at_ms", "why"), CALLS)
async def test_one_call(
    remote: list[tuple[float, str]] | None, due_ms: float, answer: str, at_ms: float, why: Why
) -> None:
    bench = Bench(remote)
    assert await bench.ask(due_ms) == (answer, at_ms)
    assert (bench.last.side, bench.last.why, bench.last.error) == (answer, why, "")
    assert bench.last.late_ns == (at_ms - due_ms) * MS
    await bench.stage.aclose()


async def test_the_fallback_keeps_its_place_on_the_lane() -> None:
    """Other work asked for just before the last safe moment waits, because the lane is promised."""
    bench = Bench([(0, "hang")])
    asked = asyncio.create_task(bench.ask())
    await asyncio.sleep(0.137)
    other = asyncio.create_task(bench.lane.run(Work(30), label="camera", cost_ns=30 * MS))
    assert not bench.lane.fits(now_ns(), 30 * MS)
    assert await asked == ("local", 178)
    await other
    assert now_ns() == 208 * MS


async def test_two_stages_that_fall_back_together_do_not_overlap() -> None:
    bench = Bench([(0, "hang")])
    answers = await asyncio.gather(bench.ask(), bench.ask())
    assert sorted(answers) == [("local", 118), ("local", 178)]


async def test_a_cancelled_call_frees_the_lane_and_is_recorded() -> None:
    bench = Bench([(0, "hang")])
    asked = asyncio.create_task(bench.ask())
    await asyncio.sleep(0.050)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (bench.last.side, bench.last.error) == ("none", "cancelled")
    assert bench.lane.fits(now_ns(), 10_000 * MS)


async def test_when_both_sides_fail_the_caller_gets_one_error_and_the_record_says_so() -> None:
    bench = Bench([(10, "error")])
    bench.stage.local = Script([(10, "error")])
    with pytest.raises(BackendError, match="both failed"):
        await bench.ask()
    assert bench.last.side == "none"
    assert "both failed" in bench.last.error


async def test_an_open_breaker_is_explored_by_shadows_and_closes() -> None:
    bench = Bench([(0, "hang")] * 3 + [(20, "ok")])
    for _ in range(3):
        assert (await bench.ask())[0] == "local"
    assert bench.link.tail(now_ns(), 0) is Why.BREAKER
    sides = []
    for _ in range(40):
        await asyncio.sleep(0.2)
        sides.append((await bench.ask())[0])
    assert not bench.link.open
    assert sides[0] == "local"
    assert all(record.late_ns <= 0 for record in bench.records if isinstance(record, Record))
    await bench.stage.aclose()


async def test_a_remote_that_stays_silent_after_local_failed_ends_within_its_patience() -> None:
    bench = Bench([(0, "hang")], terms=Terms(patience_ns=500 * MS))
    bench.stage.local = Script([(10, "error")])
    with pytest.raises(BackendError):
        await bench.ask()
    assert now_ns() == 700 * MS


async def test_a_breaker_closes_although_local_cannot_meet_any_due_time() -> None:
    """There is no window before local has to start; a shadow that answers by the due time is good all the same."""
    bench = Bench([(10, "error")] * 3 + [(30, "ok")], local_ms=280)
    bench.stage.took.prior_ns = 300 * MS
    for _ in range(8):
        await bench.ask()
        await asyncio.sleep(1)
    assert not bench.link.open
    await bench.stage.aclose()


async def test_a_local_run_that_lost_is_evidence_of_how_long_local_takes() -> None:
    bench = Bench([(260, "ok")], local_ms=150)
    assert await bench.ask() == ("remote", 260)  # local began at 138 and was given up after 122 ms
    assert bench.stage.bound_ns >= 122 * MS


async def test_a_bug_is_recorded_by_its_kind_and_not_by_its_words() -> None:
    async def bug(_: str) -> str:
        raise KeyError("what a person said")

    bench = Bench(None)
    bench.stage.local = bug
    with pytest.raises(KeyError):
        await bench.ask()
    assert bench.last.error == "KeyError"
    bench = Bench([(10, "error")])
    bench.stage.local = bug
    with pytest.raises(ExceptionGroup):  # of the race's task group
        await bench.ask()
    assert bench.last.error == "KeyError"


async def test_a_breaker_closes_although_a_smaller_model_answers_every_call() -> None:
    bench = Bench([(30, "ok")])
    lane, link = bench.lane, bench.link
    for _ in range(3):
        link.failed(now_ns(), 0)
    stage: Stage[str, str] = Stage(
        "llm", OnLane(lane, repeat(280)), lane, local_prior_ns=300 * MS, sink=bench.records.append, remote=bench.far,
        link=link, smaller=[(OnLane(lane, repeat(20), "smaller"), 30 * MS)],
    )  # fmt: skip
    for _ in range(4):
        await stage("x", due_ns=now_ns() + 200 * MS, of="turn 1")
        await asyncio.sleep(1)
    assert bench.records[0].why == Why.SMALLER  # type: ignore[union-attr]
    assert not link.open
    await stage.aclose()


async def test_a_run_under_way_when_the_clocks_change_tells_nothing_of_the_new_ones() -> None:
    bench = Bench(None, local_ms=150)
    call = asyncio.create_task(bench.ask(300))
    await asyncio.sleep(0.05)
    bench.stage.recalibrate([20 * MS], calibrated=False)
    await call
    assert bench.stage.bound_ns == 20 * MS


async def test_a_fallback_of_several_bites_keeps_its_promise_on_a_shared_lane() -> None:
    """Between its bites nobody else gets the lane, who would hold it beyond its due time."""
    bench = Bench([(0, "hang")])

    async def bites(_: str) -> str:
        await bench.lane.run(Work(20), label="stem")
        answer: str = await bench.lane.run(Work(30, "local"), label="rest")
        return answer

    bench.stage.local = bites
    other: Stage[str, str] = Stage(
        "tts", OnLane(bench.lane, repeat(60)), bench.lane, local_prior_ns=70 * MS, sink=bench.records.append
    )
    call = asyncio.create_task(bench.ask())
    await asyncio.sleep(0.1)
    await other("x", due_ns=now_ns() + 300 * MS, of="turn 2")
    assert await call == ("local", 188)  # from 138 on
    assert now_ns() == 248 * MS
