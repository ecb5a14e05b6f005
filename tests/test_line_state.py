"""What machines are told: counters, reasons, the heartbeat, and the register map word by word."""

from __future__ import annotations

import pytest

from edgeapp.core.events import MS, Box, Outcome, Verdict
from edgeapp.devices import register_map
from edgeapp.devices.line_state import Judged, LineState, Station, reason_code

LABELS = ("scratch", "dent")


def _verdict(outcome: str, *labels: str, part: int = 1, age_ms: float = 40) -> Verdict:
    boxes = tuple(Box(0, 0, 1, 1, label, 0.9) for label in labels)
    return Verdict(Outcome(outcome), "why", "belt", part, 0, round(age_ms * MS), 200 * MS, boxes)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (_verdict("PASS", "washer"), 0),
        (_verdict("FAIL", "washer", "scratch"), 1),
        (_verdict("FAIL", "washer", "dent", "scratch"), 2),
        (_verdict("FAIL", "washer", "rust"), 99),
        (_verdict("FAIL"), 99),
        (_verdict("NOT_INSPECTED", "scratch"), 200),
    ],
)
def test_the_reason_is_a_number_a_plc_can_switch_on(verdict: Verdict, code: int) -> None:
    assert reason_code(verdict, LABELS) == code


def test_only_a_part_that_was_looked_at_advances_the_heartbeat() -> None:
    state = LineState()
    for outcome, heartbeat in (("PASS", 1), ("NOT_INSPECTED", 1), ("FAIL", 2), ("NOT_INSPECTED", 2)):
        state = state.after(_verdict(outcome), LABELS)
        assert state.heartbeat == heartbeat
    assert (state.passed, state.failed, state.not_inspected, state.verdicts) == (1, 1, 2, 4)
    assert state.last == Judged(4, 1, 3, 200, 40)


def test_the_registers_say_what_their_table_says() -> None:
    last = Judged(sequence=65_538, part=70_000, outcome=2, reason=2, age_ms=70_000)
    state = LineState(Station.RUNNING, 65_537, 65_540, 2, 3, 4, 5, 6, alarm=True, last=last)
    words = register_map.words(state, [Judged(65_537, 69_999, 1, 0, 5), last])
    assert len(words) == register_map.WORDS
    assert words[:12] == [1, 1, 1, 1, 1, 2, 1, 4464, 2, 2, 65_535, 1]
    assert words[12:26] == [1, 9, 1, 4, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6]
    assert words[26:36] == [0] * 10
    assert words[36:44] == [1, 4463, 1, 0, 1, 4464, 2, 2]
    assert not any(words[44:])


@pytest.mark.parametrize(
    ("station", "outcome", "bits"),
    [
        (Station.RUNNING, 1, [1, 1, 0, 0, 0, 1]),
        (Station.RUNNING, 2, [1, 0, 1, 0, 0, 1]),
        (Station.RUNNING, 3, [1, 0, 0, 1, 0, 1]),
        (Station.STOPPED, 1, [0, 0, 0, 0, 0, 1]),
        (Station.STARTING, None, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_at_most_one_verdict_bit_is_set_and_none_while_the_station_does_not_run(
    station: Station, outcome: int | None, bits: list[int]
) -> None:
    last = None if outcome is None else Judged(7, 7, outcome, 0, 5)
    assert register_map.bits(LineState(station, last=last)) == [bool(each) for each in bits]
