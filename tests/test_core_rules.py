"""The pure rules: budget, latency, link, placement, and the one channel."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.core.budget import Budget
from edgeapp.core.events import MS, CameraFrame, ConfigError, TimestampKind
from edgeapp.core.flow import Recent
from edgeapp.core.latency import Latency
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Local, Placement, Race, Situation, Tail, Terms, Why, place

# Budget


def test_a_stage_is_due_so_that_every_later_stage_keeps_its_share() -> None:
    budget = Budget(200 * MS, {"stt": 40 * MS, "llm": 60 * MS, "tts": 30 * MS})
    assert [budget.due_ns(name, 1000 * MS) / MS for name in ("stt", "llm", "tts")] == [1110, 1170, 1200]


def test_shares_above_the_total_are_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="add up to 210 ms, more than its 200 ms: lower a share"):
        Budget(200 * MS, {"stt": 150 * MS, "llm": 60 * MS})


# Latency


def test_nothing_is_known_without_evidence() -> None:
    latency = Latency(prior_ns=80 * MS)
    assert latency.share_longer_at_most(0, 50 * MS) == 1.0
    assert latency.bound_ns(0.999) == 80 * MS


def test_censored_waits_count_where_survivors_would_lie() -> None:
    """Half the requests are given up at 50 ms: of those that answered all were fast, and still half are late."""
    latency = Latency(prior_ns=0)
    for _ in range(500):
        latency.took(0, 20 * MS)
        latency.gave_up(0, 50 * MS)
    assert latency.share_longer(60 * MS) == pytest.approx(0.5, abs=0.01)


def test_early_censoring_is_not_taken_for_lateness() -> None:
    """A person who speaks after 5 ms ends a request that would have been in time."""
    latency = Latency(prior_ns=0)
    for _ in range(500):
        latency.took(0, 20 * MS)
        latency.gave_up(0, 5 * MS)
    assert latency.share_longer(30 * MS) == pytest.approx(0.0, abs=0.01)


def test_evidence_ages_and_a_new_regime_takes_over() -> None:
    latency = Latency(prior_ns=0, half_life_ns=1_000 * MS)
    for n in range(100):
        latency.took(n * 10 * MS, 20 * MS)
    assert latency.share_longer(100 * MS) < 0.01
    for n in range(100):
        latency.took((6_000 + n * 10) * MS, 300 * MS)
    assert latency.share_longer(100 * MS) > 0.95
    assert latency.count(300_000 * MS) < 1e-6


def test_ageing_survives_a_year_without_overflow() -> None:
    latency = Latency(prior_ns=0, half_life_ns=1_000 * MS)
    year_ns = 365 * 86_400 * 1_000 * MS
    for n in range(50):
        latency.took(n * year_ns // 50, 20 * MS)
    assert latency.share_longer(30 * MS) == 0.0
    assert math.isfinite(latency.count(year_ns))


def test_old_evidence_does_not_come_back_when_the_weights_are_rescaled() -> None:
    latency = Latency(prior_ns=0, half_life_ns=1_000 * MS)
    for second in range(62):  # weights are rescaled after 60 half-lives, here by a sample that is long
        latency.took(second * 1_000 * MS, (300 if second == 61 else 20) * MS)
        latency.took(second * 1_000 * MS, 300 * MS)
    for n in range(20):
        latency.took((70_000 + n) * MS, 20 * MS)
    assert latency.share_longer(100 * MS) < 0.01


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 600))
def test_the_share_is_never_below_what_was_seen(took_ms: list[int], limit_ms: int) -> None:
    latency = Latency(prior_ns=0)
    for each in took_ms:
        latency.took(0, each * MS)
    seen = sum(each > limit_ms for each in took_ms) / len(took_ms)
    assert latency.share_longer(limit_ms * MS) >= seen - 1e-9
    assert latency.share_longer_at_most(0, limit_ms * MS) >= seen - 1e-9
    assert latency.bound_ns(0.999) >= max(took_ms) * MS


@pytest.mark.parametrize("count", [3, 3_000])
def test_a_bound_is_never_below_a_wait_that_was_given_up(count: int) -> None:
    latency = Latency(prior_ns=0)
    for _ in range(count):
        latency.took(0, 20 * MS)
        latency.gave_up(0, 120 * MS)
    assert 120 * MS <= latency.bound_ns(0.999) < 130 * MS


# Link


def _healthy(link: Link, *, count: int = 60, took_ms: int = 20) -> None:
    for n in range(count):
        link.took(n * MS, 1000, took_ms * MS, late=False)


def _late_share(link: Link, now_ns: int, within_ms: int, payload: int = 1000) -> float:
    tail = link.tail(now_ns, payload)
    assert not isinstance(tail, Why)
    return tail(within_ms * MS)


def test_a_healthy_link_is_believed_and_a_larger_payload_is_not() -> None:
    link = Link("edge")
    _healthy(link)
    assert _late_share(link, 60 * MS, 100) < 0.2
    assert _late_share(link, 60 * MS, 100, payload=10) < 0.2
    assert _late_share(link, 60 * MS, 100, payload=1_000_000) == 1.0


def test_fresh_trouble_objects_although_the_long_memory_is_good() -> None:
    link = Link("edge")
    _healthy(link, count=600)
    quiet_ns = 60_000 * MS
    before = _late_share(link, quiet_ns, 100)
    for n in range(8):
        link.took(quiet_ns + n * MS, 1000, 400 * MS, late=False)
    assert before < 0.05
    assert _late_share(link, quiet_ns + 8 * MS, 100) > 0.15


def test_the_breaker_opens_on_three_late_of_four_and_never_latches() -> None:
    link = Link("edge")
    _healthy(link)
    for _ in range(3):
        link.gave_up(100 * MS, 1000, 100 * MS, late=True)
    assert link.tail(100 * MS, 1000) is Why.BREAKER
    assert [link.shadow(ms * MS, 0) for ms in (100, 500, 1099, 1100)] == [True, False, False, True]
    link.took(1200 * MS, 1000, 20 * MS, late=False, shadow=True)
    assert link.open
    link.took(1300 * MS, 1000, 20 * MS, late=False, shadow=True)
    assert not link.open


@given(st.lists(st.sampled_from(["late", "failed", "gave up", "good"]), max_size=40))
def test_after_any_history_two_good_shadows_close_the_breaker(history: list[str]) -> None:
    link = Link("edge")
    for n, event in enumerate(history):
        if event == "failed":
            link.failed(n * MS, 1000)
        elif event == "gave up":
            link.gave_up(n * MS, 1000, 50 * MS, late=True)
        else:
            link.took(n * MS, 1000, 20 * MS, late=event == "late")
    now_ns = 1_000_000 * MS
    assert link.shadow(now_ns, 0)
    for n in (1, 2):
        link.took(now_ns + n * MS, 1000, 20 * MS, late=False, shadow=True)
    assert not link.open


# Placement: a table. Times in ms; the tail is a step: surely in time from `answers` on.


def _step(answers_ms: float | None) -> Tail | Why:
    if answers_ms is None:
        return Why.BREAKER
    return lambda within_ns: 0.01 if within_ns >= answers_ms * MS else 0.9


#  due  local  lane's last moment  remote answers by  race   placement
PLACEMENTS = [
    (200, 60, 138, 50, False, Late(138 * MS, Why.SAFE)),
    (200, 60, 138, 138, False, Late(138 * MS, Why.SAFE)),
    (200, 60, 138, 139, False, Local(Why.JITTER)),
    (200, 60, 138, 150, True, Race(Why.WORTH)),
    (200, 60, 138, 250, True, Local(Why.JITTER)),
    (200, 60, 0, 50, False, Local(Why.TIGHT)),
    (200, 60, None, 50, False, Race(Why.RESCUE)),
    (200, 60, None, 250, False, Local(Why.TIGHT)),
    (-5, 60, None, 50, False, Local(Why.TIGHT)),
    (200, 60, 138, None, True, Local(Why.BREAKER)),
]


@pytest.mark.parametrize(("due", "local", "last", "answers", "race", "placement"), PLACEMENTS)
def test_placement(
    due: int, local: int, last: int | None, answers: float | None, race: bool, placement: Placement
) -> None:
    last_ns = None if last is None else last * MS
    it = Situation(now_ns=0, due_ns=due * MS, local_ns=local * MS, lane_last_ns=last_ns, remote=_step(answers))
    assert place(it, Terms(race=race)) == placement


@given(
    now=st.integers(0, 10**9),
    due=st.integers(-(10**9), 10**9),
    local=st.integers(0, 10**9),
    last=st.none() | st.integers(-(10**9), 10**9),
    late_share=st.floats(0, 1),
    race=st.booleans(),
)
def test_placement_is_total_and_never_late_in_the_past(
    now: int, due: int, local: int, last: int | None, late_share: float, race: bool
) -> None:
    placement = place(Situation(now, now + due, local, last, lambda _: late_share), Terms(race=race))
    if isinstance(placement, Late):
        assert placement.local_at_ns > now


# The one channel


async def test_recent_keeps_the_newest_counts_the_rest_and_copies_no_pixels() -> None:
    recent: Recent[CameraFrame] = Recent(depth=2)
    frames = [CameraFrame(np.zeros((2, 2, 3), np.uint8), n, n, "belt", TimestampKind.FILE) for n in range(5)]
    for frame in frames:
        recent.put(frame)
    assert recent.dropped == 3
    assert await recent.get() is frames[3]
    assert np.shares_memory((await recent.get()).pixels, frames[4].pixels)


async def test_recent_ends_after_what_is_inside_was_read() -> None:
    recent: Recent[int] = Recent(depth=4)
    reader = asyncio.create_task(_all(recent))
    await asyncio.sleep(0.010)
    recent.put(1)
    recent.close()
    assert await reader == [1]
    with pytest.raises(EOFError):
        await recent.get()


async def _all(recent: Recent[int]) -> list[int]:
    return [item async for item in recent]
