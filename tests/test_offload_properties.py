"""The promises of offloading, for every schedule that Hypothesis finds: stages, links and lanes are the real ones."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim import run
from worlds import Work

from edgeapp.config import parse
from edgeapp.core.events import MS, BackendError, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Local, Race, Situation, Tail, Terms, Why, place_on
from edgeapp.core.policies import POLICIES
from edgeapp.core.record import AnyRecord, Record
from edgeapp.core.stage import Stage

BOUND_MS = 50


def call(longest_ms: int) -> st.SearchStrategy[tuple[int, int, int, int, str, int]]:
    """After the call before it, which stage, due after, the remote takes, how it ends, local takes."""
    return st.tuples(
        st.integers(0, 150),
        st.integers(0, 2),
        st.integers(20, 300),
        st.integers(1, 400),
        st.sampled_from(["ok", "ok", "ok", "error", "hang"]),
        st.integers(1, longest_ms),
    )


class Play:
    """A schedule on three stages, one lane and one link; what came of it."""

    def __init__(self, rows: list[Any], trust: int) -> None:
        self.rows = rows
        self.lane, self.link = Lane("gpu"), Link("edge", shadow_every_ns=100 * MS)
        for n in range(trust):
            self.link.took(n, 0, 10 * MS, late=False)
        self.records: dict[int, Record] = {}
        self.runs: list[tuple[float, float]] = []  # on the lane: from, to
        run(self._play())

    def _keep(self, record: AnyRecord) -> None:
        assert isinstance(record, Record)
        self.records[int(record.of)] = record

    async def _local(self, n: int) -> str:
        takes_ms = self.rows[n][5]

        class Logged(Work):
            def __call__(work) -> Any:  # noqa: N805 - the play is the self that matters
                ended_ms = asyncio.get_running_loop().time() * 1e3
                self.runs.append((ended_ms - takes_ms, ended_ms))
                return super().__call__()

        answer: str = await self.lane.run(Logged(takes_ms, "local"), label="local")
        return answer

    async def _remote(self, n: int) -> str:
        _, _, _, takes_ms, end, _ = self.rows[n]
        if end == "hang":
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(takes_ms / 1e3)
        if end == "error":
            raise BackendError("reset")
        return "remote"

    async def _play(self) -> None:
        stages = [
            Stage[int, str](
                str(which), self._local, self.lane, local_prior_ns=BOUND_MS * MS, calibrated=True,
                sink=self._keep,
                remote=self._remote, link=self.link,
            )
            for which in range(3)
        ]  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for n, (gap_ms, which, due_ms, *_) in enumerate(self.rows):
                await asyncio.sleep(gap_ms / 1e3)
                due_ns = round(asyncio.get_running_loop().time() * 1e9) + due_ms * MS
                group.create_task(stages[which](n, due_ns=due_ns, of=str(n)))
        for stage in stages:
            await stage.aclose()
        await asyncio.sleep(1)  # until local runs that lost are over, and logged


@settings(max_examples=150, deadline=None)
@given(st.lists(call(BOUND_MS), max_size=14), st.sampled_from([0, 60]))
def test_an_offloaded_call_is_never_late_while_local_runs_keep_their_bound(rows: list[Any], trust: int) -> None:
    played = Play(rows, trust)
    assert len(played.records) == len(rows)
    late = [each for each in played.records.values() if each.local_at_ns is not None and each.late_ns > 0]
    assert not late


@settings(max_examples=150, deadline=None)
@given(st.lists(call(3 * BOUND_MS), max_size=14))
def test_an_offloaded_call_is_late_only_if_a_reserved_run_took_longer_than_its_bound(rows: list[Any]) -> None:
    """Its own, or one before it on the lane: what runs cannot be preempted."""
    played = Play(rows, 60)
    for record in played.records.values():
        if record.local_at_ns is not None and record.late_ns > 0:
            until_ms = record.first_ns / MS
            longest_ms = max(to - start for start, to in played.runs if start < until_ms)
            assert longest_ms > BOUND_MS


@settings(max_examples=100, deadline=None)
@given(st.lists(call(3 * BOUND_MS), min_size=2, max_size=14))
def test_stages_that_fall_back_together_never_overlap_on_the_lane(rows: list[Any]) -> None:
    dead = [(0, which, due, 1, "hang", takes) for _, which, due, _, _, takes in rows]
    for schedule in (rows, dead):
        runs = sorted(Play(schedule, 60).runs)
        assert all(one[1] <= two[0] + 1e-6 for one, two in pairwise(runs))


@settings(max_examples=60, deadline=None)
@given(st.lists(call(BOUND_MS), max_size=12))
def test_a_breaker_never_latches(rows: list[Any]) -> None:
    """Whatever came before: a good link is used again within its last calls, four a second for thirty seconds."""
    good = [(250, 0, 200, 10, "ok", 30)] * 120
    played = Play([*rows, *good], 0)
    assert not played.link.open
    assert played.link.trust == 1.0
    assert {played.records[n].side for n in range(len(rows) + 100, len(rows) + 120)} == {"remote"}


# The ladder


def _it(local: tuple[int, int | None], remote: Tail | Why) -> Situation:
    local_ms, last_ms = local
    return Situation(0, 200 * MS, local_ms * MS, None if last_ms is None else last_ms * MS, remote, 0)


def _answers(ms: float) -> Tail:
    return lambda within_ns: 0.01 if within_ns >= ms * MS else 0.9


#  best local      smaller         remote answers by  value  rung, placement
LADDERS = [
    ((60, 138), (20, 178), 50, 0.0, 0, Late(138 * MS, Why.SAFE)),
    ((120, 78), (20, 178), 100, 0.0, 0, Local(Why.JITTER)),  # the best one's answer is not given away
    ((120, 78), (20, 178), 100, 0.5, 1, Late(178 * MS, Why.SMALLER)),  # unless the remote's is worth more
    ((250, None), (20, 178), 100, 0.0, 1, Late(178 * MS, Why.SMALLER)),
    ((250, None), (20, 178), 190, 0.0, 1, Local(Why.SMALLER)),
    ((250, None), (240, None), 100, 0.0, 1, Race(Why.RESCUE)),  # nothing fits: the shortest, and the remote with it
    ((250, None), (240, None), 400, 0.0, 1, Local(Why.TIGHT)),
]


@pytest.mark.parametrize(("best", "smaller", "answers_ms", "value_j", "rung", "placement"), LADDERS)
def test_the_best_local_model_that_fits_is_taken(
    best: Any, smaller: Any, answers_ms: float, value_j: float, rung: int, placement: Any
) -> None:
    ladder = [_it(best, _answers(answers_ms)), _it(smaller, _answers(answers_ms))]
    assert place_on(ladder, Terms(value_j=value_j)) == (rung, placement)


async def test_a_stage_takes_the_smaller_model_when_only_it_fits() -> None:
    lane, link = Lane("gpu"), Link("edge")
    records: list[Any] = []

    async def local(name: str, takes_ms: float) -> str:
        answer: str = await lane.run(Work(takes_ms, name), label=name)
        return answer

    stage: Stage[str, str] = Stage(
        "detect", lambda _: local("best", 100), lane, local_prior_ns=120 * MS, sink=records.append, link=link,
        smaller=[(lambda _: local("smaller", 20), 30 * MS)],
    )  # fmt: skip
    assert [await stage("x", due_ns=round(asyncio.get_running_loop().time() * 1e9) + due * MS, of="t") for due in
            (200, 80)] == ["best", "smaller"]  # fmt: skip
    assert [(each.rung, each.why) for each in records] == [(0, Why.NO_REMOTE), (1, Why.SMALLER)]


# Named policies

MIXED_NS = [20 * MS] * 90 + [150 * MS] * 10


@pytest.mark.parametrize(("policy", "answers_ns", "waits_ns", "placement"), [
    ("local", (), (), Local(Why.POLICY)),
    ("remote", (), (), Late(200 * MS, Why.POLICY)),
    ("race", (), (), Race(Why.POLICY)),
    ("seed", (), (), Late(150 * MS, Why.POLICY, 150 * MS)),
    ("seed", [101 * MS], [101 * MS], Local(Why.POLICY)),  # for ever: nothing is measured from here on
    ("seed", [20 * MS] * 90, MIXED_NS, Late(150 * MS, Why.POLICY, 150 * MS)),  # its timeouts are forgotten
    ("seed-repaired", [20 * MS] * 90, MIXED_NS, Local(Why.JITTER)),
    ("hedge-p90", (), [20 * MS] * 95 + [90 * MS] * 5, Late(20 * MS, Why.POLICY)),
])  # fmt: skip
def test_a_named_policy(policy: str, answers_ns: Any, waits_ns: Any, placement: Any) -> None:
    it = Situation(0, 200 * MS, 60 * MS, 138 * MS, Why.BREAKER, None, answers_ns, waits_ns)
    assert POLICIES[policy](it, Terms()) == placement


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("why", [Why.NO_REMOTE, Why.REFUSED])
def test_no_policy_sends_what_may_not_leave(policy: str, why: Why) -> None:
    assert POLICIES[policy](Situation(0, 200 * MS, 60 * MS, 138 * MS, why), Terms()) == Local(why)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_can_be_configured(policy: str) -> None:
    config = parse(f'[vision.detect]\nengine = "fake"\npolicy = "{policy}"\nvalue_j = 0.5\n'
                   '[[vision.detect.smaller]]\nengine = "fake"\nbound_ms = 20')  # fmt: skip
    assert config.vision.detect.policy == policy
    assert config.vision.detect.smaller[0].bound_ms == 20


def test_terms_and_policies_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"vision.detect.send_j is -1; give a number from 0"):
        parse("[vision.detect]\nengine = 'fake'\nsend_j = -1")
    with pytest.raises(ConfigError, match=r"vision.detect.smaller\[0\].bound_ms is 0; give a number above 0"):
        parse("[vision.detect]\nengine = 'fake'\n[[vision.detect.smaller]]\nengine = 'fake'\nbound_ms = 0")
    with pytest.raises(ConfigError, match=r"vision.detect.policy"):
        parse("[vision.detect]\nengine = 'fake'\npolicy = 'hope'")
