"""Alarms from the order of verdicts."""

from __future__ import annotations

import pytest

from edgeapp.core.events import Outcome
from edgeapp.station.run_rules import PRELIMINARY, RunRules

P, F, N = Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED


@pytest.mark.parametrize(
    ("outcomes", "stopped"),
    [
        ([F, F], False),
        ([F, F, F], True),
        ([F, P, F, F], False),
        ([F, N, F, N, F], True),
        ([N, N, N, N], False),
        ([F, F, P, F, F, P], False),
    ],
)
def test_three_rejects_in_a_row_stop_the_station_and_nothing_else_does(outcomes: list[Outcome], stopped: bool) -> None:
    rules = RunRules(stop_after=3)
    alarms = [alarm for each in outcomes for alarm in rules.verdict(each)]
    assert bool(rules.stopped) is stopped
    assert alarms == (["3 rejects in a row: look at the line, then acknowledge"] if stopped else [])


def test_it_alarms_once_until_somebody_acknowledges_and_counts_anew_then() -> None:
    rules = RunRules(stop_after=2)
    assert [len(rules.verdict(F)) for _ in range(4)] == [0, 1, 0, 0]
    rules.resume()
    assert rules.stopped == ""
    assert [len(rules.verdict(F)) for _ in range(2)] == [0, 1]


def _points(rules: RunRules, size: int, rejects: list[int]) -> list[list[str]]:
    return [[alarm for part in range(size) for alarm in rules.verdict(F if part < bad else P)] for bad in rejects]


def test_a_known_centre_alarms_at_the_point_that_completes_a_rule_and_only_there() -> None:
    rules = RunRules(point_parts=100, centre=0.1)
    alarms = _points(rules, 100, [10, 9, 25, 10, 10])
    assert [len(each) for each in alarms] == [0, 0, 1, 0, 0]
    assert alarms[2] == [
        "Western Electric 1: more rejects than this line has when in control, 25.0 % of the last 100 parts beside 10.0 %"
    ]


def test_eight_points_on_one_side_are_a_signal_though_each_is_within_its_limits() -> None:
    rules = RunRules(point_parts=100, centre=0.1)
    alarms = _points(rules, 100, [11] * 9)
    assert [[each.split(":")[0] for each in point] for point in alarms[6:]] == [
        [], ["Western Electric 4"], ["Western Electric 4"],
    ]  # fmt: skip


def test_without_a_centre_the_first_points_give_it_and_say_nothing() -> None:
    rules = RunRules(point_parts=50)
    assert _points(rules, 50, [5] * PRELIMINARY) == [[]] * PRELIMINARY
    assert "beside 10.0 %" in _points(rules, 50, [20])[0][0]


def test_parts_that_were_not_inspected_are_in_no_point() -> None:
    rules = RunRules(point_parts=10, centre=0.0)
    for _ in range(100):
        assert rules.verdict(N) == []
    assert [rules.verdict(P) for _ in range(9)] == [[]] * 9
    assert len(rules.verdict(F)) == 1
