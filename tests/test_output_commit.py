"""The row first, then the line; and what happens when the disk does not answer. A real ledger on a real disk."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_world import evidence

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Outcome, Verdict
from edgeapp.station import ledger as ledger_module
from edgeapp.station.evidence import Evidence
from edgeapp.station.ledger import Ledger, open_ledger
from edgeapp.station.output_commit import NO_ROW, OutputCommit
from edgeapp.station.part_numbers import PartNumbers
from edgeapp.station.store import open_reading

pytestmark = pytest.mark.real_time


class _Line:
    def __init__(self, ledger: Ledger, numbers: PartNumbers) -> None:
        self.ledger, self.numbers = ledger, numbers
        self.told: list[Verdict] = []
        self.rows_when_told: list[int] = []
        self.why = ""
        self.commit = OutputCommit(ledger, numbers, tell=self._hear, doubt=lambda: self.why)

    def _hear(self, verdict: Verdict) -> None:
        self.told.append(verdict)
        self.rows_when_told.append(self.ledger.head.rows)

    def give(self, number: int, outcome: Outcome, within_ms: float = 2_000) -> None:
        self.numbers.came(number, rows=self.ledger.head.rows, utc_ns=1)
        self.commit.give(_due(evidence(number, outcome), within_ms))

    def said(self) -> list[tuple[int, str, str]]:
        return [(each.frame_number, str(each.outcome), each.why) for each in self.told]


def _due(one: Evidence, within_ms: float) -> Evidence:
    return replace(one, verdict=replace(one.verdict, at_ns=now_ns(), due_ns=now_ns() + round(within_ms * MS)))


@asynccontextmanager
async def _line(folder: Path) -> AsyncIterator[_Line]:
    async with open_ledger(folder) as ledger:
        numbers = PartNumbers(folder, rows=ledger.head.rows, known=0)
        line = _Line(ledger, numbers)
        yield line
        await line.commit.drain()
        numbers.close()


def _rows(folder: Path) -> list[tuple[int, str, str]]:
    with closing(open_reading(folder)) as database:
        return list(database.execute("SELECT frame_number, outcome, why FROM verdicts ORDER BY seq"))


@asynccontextmanager
async def _full_disk(line: _Line) -> AsyncIterator[None]:
    """The kernel refuses every write beyond a file's first blocks, as on a full disk; until the ledger has seen it."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


async def _until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_line_is_told_after_the_row_is_durable_and_never_before(tmp_path: Path) -> None:
    async with _line(tmp_path) as line:
        for number, outcome in enumerate((Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED), 1):
            line.give(number, outcome)
            assert len(line.told) == number - 1
            await _until(lambda number=number: len(line.told) == number)
        assert [each.outcome for each in line.told] == ["PASS", "FAIL", "NOT_INSPECTED"]
        assert line.rows_when_told == [2, 3, 4]
        assert line.numbers.mark.settled == 3
    assert [outcome for _, outcome, _ in _rows(tmp_path)] == ["PASS", "FAIL", "NOT_INSPECTED"]


async def test_a_disk_that_refuses_lets_nothing_pass_and_the_row_says_what_was_told(tmp_path: Path) -> None:
    async with _line(tmp_path) as line:
        async with _full_disk(line):
            line.give(1, Outcome.PASS, 100)
            line.give(2, Outcome.FAIL, 100)
            await _until(lambda: len(line.told) == 2)
            line.give(3, Outcome.PASS, 100)  # told at once: it is known that the disk refuses
            assert line.said()[2][:2] == (3, "NOT_INSPECTED")
            assert line.said()[2][2].startswith("the ledger takes no verdict: ")
        assert sorted(line.said()[:2]) == [(1, "NOT_INSPECTED", NO_ROW), (2, "FAIL", "as told")]
        await _until(lambda: not line.commit.doubt)
        line.give(4, Outcome.PASS)
        await _until(lambda: len(line.told) == 4)
        assert line.said()[3][1] == "PASS"
        assert (line.commit.withheld, line.numbers.mark.settled) == (1, 4)
    assert _rows(tmp_path) == sorted(line.said())


async def test_a_full_ledger_gets_the_refused_verdicts_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "WAITING_MAX", 5)
    async with _line(tmp_path) as line:
        async with _full_disk(line):
            for number in range(1, 21):
                line.give(number, Outcome.FAIL, 50)
            await _until(lambda: len(line.told) == 20)
            assert line.ledger.refused > 0
            assert line.commit.doubt
        await _until(lambda: not line.commit.doubt)
        assert line.numbers.mark.settled == 20
    assert sorted(number for number, *_ in _rows(tmp_path)) == list(range(1, 21))
    assert {outcome for _, outcome, _ in _rows(tmp_path)} == {"FAIL"}


async def test_what_else_is_in_doubt_lets_nothing_pass_either_and_fails_are_told(tmp_path: Path) -> None:
    async with _line(tmp_path) as line:
        line.why = "the golden parts are due"
        line.give(1, Outcome.PASS)
        line.give(2, Outcome.FAIL)
        await _until(lambda: len(line.told) == 2)
        assert line.said() == [(1, "NOT_INSPECTED", "the golden parts are due"), (2, "FAIL", "as told")]


async def test_a_verdict_that_comes_too_late_to_be_recorded_in_time_is_no_pass(tmp_path: Path) -> None:
    async with _line(tmp_path) as line:
        line.give(1, Outcome.PASS, 0)
        await _until(lambda: line.told)
        assert line.said()[0][1] == "NOT_INSPECTED"
        assert "too late to be recorded" in line.said()[0][2]
    assert _rows(tmp_path) == line.said()


async def test_a_pass_whose_row_the_disk_holds_without_answering_is_told_by_a_row_behind_it(tmp_path: Path) -> None:
    async with _line(tmp_path) as line:
        written: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        line.ledger.instead = lambda *_: False  # type: ignore[method-assign] # as while an fsync hangs
        submit = line.ledger.submit
        line.ledger.submit = lambda *_: written  # type: ignore[method-assign,assignment]
        line.give(1, Outcome.PASS, 20)
        await _until(lambda: line.told)
        line.ledger.submit = submit  # type: ignore[method-assign]
        line.give(2, Outcome.PASS)
        assert line.said() == [(1, "NOT_INSPECTED", NO_ROW), (2, "NOT_INSPECTED", "the ledger is behind")]
        written.cancel()
    with closing(open_reading(tmp_path)) as database:
        query = "SELECT json_extract(body, '$.part') FROM entries WHERE json_extract(body, '$.kind') = 'withheld'"
        assert database.execute(query).fetchall() == [(1,)]
