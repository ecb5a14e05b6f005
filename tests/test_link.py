"""What a link believes while requests are under way, after an outage, and when somebody begins to speak."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import repeat

import pytest
from worlds import OnLane, Script, Work

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Tail, Why
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream


def _healthy(count: int = 60) -> Link:
    link = Link("edge")
    for n in range(count):
        link.took(n * MS, 4_000, 20 * MS, late=False)
    return link


def _tail(link: Link, now_ms: int, within_ms: int) -> float:
    tail: Tail | Why = link.tail(now_ms * MS, 4_000)
    assert not isinstance(tail, Why)
    return tail(within_ms * MS)


def test_requests_that_are_overdue_are_evidence_before_they_end() -> None:
    link = _healthy()
    calm = _tail(link, 100, 100)
    for _ in range(6):
        link.sent(100 * MS, 4_000, late_ns=300 * MS)
    assert _tail(link, 110, 100) == pytest.approx(calm, abs=1e-3)  # ten milliseconds are usual
    assert _tail(link, 180, 100) > calm + 0.05


def test_what_is_late_and_still_under_way_opens_the_breaker() -> None:
    link = _healthy()
    flights = [link.sent(100 * MS, 4_000, late_ns=200 * MS) for _ in range(3)]
    assert link.tail(199 * MS, 4_000) is not Why.BREAKER
    assert link.tail(200 * MS, 4_000) is Why.BREAKER
    for flight in flights:
        link.landed(flight)
        link.landed(flight)
    assert link.open  # only answers close it


def test_no_more_calls_are_under_way_than_the_link_may_have() -> None:
    link = Link("edge", in_flight_max=2)
    first = link.sent(0, 4_000, late_ns=100 * MS)
    link.sent(0, 4_000, late_ns=100 * MS)
    assert link.tail(1 * MS, 4_000) is Why.BUSY
    link.landed(first)
    assert link.tail(1 * MS, 4_000) is not Why.BUSY


def _reopened() -> Link:
    link = _healthy()
    for _ in range(3):
        link.gave_up(100 * MS, 4_000, 100 * MS, late=True)
    for n in range(2):
        link.took((200 + n) * MS, 4_000, 20 * MS, late=False, shadow=True)
    assert not link.open
    return link


def test_a_link_that_recovered_is_trusted_step_by_step() -> None:
    link = _reopened()
    trusted = [link.trust]
    for n in range(3):
        link.took((300 + n) * MS, 4_000, 20 * MS, late=False)
        trusted.append(link.trust)
    assert trusted == [0.5, 0.75, 1.0, 1.0]


def test_a_late_call_halves_the_trust_in_a_link_that_recovered() -> None:
    link = _reopened()
    before = link.trust
    link.gave_up(300 * MS, 4_000, 100 * MS, late=True)
    assert link.trust == before / 2
    let_through = [link.tail((301 + n) * MS, 4_000) is not Why.RAMP for n in range(8)]
    assert let_through.count(True) in {2, 3}


def test_an_outage_is_not_held_against_the_link_when_it_is_over() -> None:
    link = _healthy(600)
    for _ in range(3):
        link.gave_up(700 * MS, 4_000, 100 * MS, late=True)
    for second in range(60):  # shadows, all late, while the breaker is open
        link.gave_up((700 + second * 1_000) * MS, 4_000, 2_000 * MS, late=True, shadow=True)
    for n in range(2):
        link.took((62_000 + n) * MS, 4_000, 20 * MS, late=False, shadow=True)
    link.trust = 1.0
    now_ms = 100_000  # four of the short memory's half-lives later
    assert _tail(link, now_ms, 100) < 0.1


def test_a_new_link_is_measured_ten_times_as_often() -> None:
    link = Link("edge")
    assert [link.shadow(ms * MS, 0) for ms in (0, 50, 100, 200)] == [True, False, True, True]


# Probes


class Probed(Script):
    """A remote that can be woken."""

    def __init__(self, takes_ms: float, outcome: str) -> None:
        super().__init__([(20, "ok")])
        self.answer = Script([(takes_ms, outcome)])

    async def probe(self) -> None:
        """A small round trip."""
        await self.answer(None)


def _stage(remote: Script, link: Link) -> Stage[str, str]:
    lane = Lane("gpu")
    return Stage(
        "llm", OnLane(lane, repeat(40)), lane, local_prior_ns=60 * MS, sink=lambda _: None, remote=remote, link=link
    )


async def test_a_probe_returns_at_once_measures_the_link_and_is_not_repeated_too_soon() -> None:
    link, remote = Link("edge"), Probed(30, "ok")
    stage = _stage(remote, link)
    stage.probe()
    stage.probe()
    assert now_ns() == 0
    await asyncio.sleep(1)
    stage.probe()
    await asyncio.sleep(1.5)
    assert (remote.answer.calls, list(link.waits_ns)) == (1, [30 * MS])
    stage.probe()
    await asyncio.sleep(1)
    assert remote.answer.calls == 2
    await stage.aclose()


@pytest.mark.parametrize(("outcome", "opens"), [("ok", True), ("error", False), ("hang", False)])
async def test_good_probes_close_a_breaker_and_bad_ones_do_not(outcome: str, opens: bool) -> None:
    link = Link("edge")
    for _ in range(3):
        link.failed(0, 0)
    stage = _stage(Probed(30, outcome), link)
    for _ in range(2):
        stage.probe()
        await asyncio.sleep(3)
    assert link.open is not opens
    await stage.aclose()


async def test_a_remote_without_a_probe_is_left_alone() -> None:
    stage = _stage(Script([(20, "ok")]), Link("edge"))
    stage.probe()
    await stage.aclose()


async def test_a_probe_that_fails_is_no_error_of_the_conversation() -> None:
    link = Link("edge")
    stage = _stage(Probed(5, "error"), link)
    stage.probe()
    await asyncio.sleep(0.1)
    with pytest.raises(BackendError):
        await Probed(5, "error").probe()
    assert list(link.waits_ns) == [20_000 * MS]
    await stage.aclose()


def test_a_busy_stage_does_not_take_the_shadows_of_one_with_another_payload() -> None:
    link = _healthy()
    assert [link.shadow(0, 4_000), link.shadow(100 * MS, 4_000), link.shadow(100 * MS, 100_000)] == [True, False, True]


async def test_a_shadow_that_does_not_let_itself_be_closed_does_not_keep_the_breaker_open() -> None:
    closing = 0

    async def parts() -> AsyncGenerator[str, None]:
        nonlocal closing
        try:
            while True:
                yield "word"
        finally:
            closing += 1
            await asyncio.get_running_loop().create_future()

    async def remote(_: str) -> Stream[str]:
        return await Stream.start(parts())

    async def local(_: str) -> Stream[str]:
        async def words() -> AsyncGenerator[str, None]:
            yield await lane.run(Work(40, "word"), label="local")

        return await Stream.start(words())

    link, lane = _healthy(), Lane("gpu")
    for _ in range(3):
        link.failed(100 * MS, 0)
    stage: Stage[str, Stream[str]] = Stage(
        "llm", local, lane, local_prior_ns=60 * MS, sink=lambda _: None, remote=remote, link=link
    )
    for _ in range(4):
        await stage("x", due_ns=now_ns() + 62 * MS, of="turn 1")  # no window, so only shadows are sent
        await asyncio.sleep(3)
    assert closing >= 3
    assert not link.open
    await stage.aclose()


async def test_a_server_whose_answers_break_off_opens_the_breaker() -> None:
    async def parts(ending: str) -> AsyncGenerator[str, None]:
        yield "word"
        if ending == "stalls":
            await asyncio.get_running_loop().create_future()
        raise BackendError("the connection is gone")

    endings = iter(["stalls", "fails", "stalls"])

    async def remote(_: str) -> Stream[str]:
        return await Stream.start(parts(next(endings)))

    link = _healthy()
    stage: Stage[str, Stream[str]] = Stage(
        "llm", remote, Lane("gpu"), local_prior_ns=60 * MS, sink=lambda _: None, remote=remote, link=link
    )
    for _ in range(3):
        assert not link.open
        answer = await stage("x", due_ns=now_ns() + 200 * MS, of="turn 1")
        with pytest.raises(BackendError):
            [part async for part in answer]
    assert link.open
