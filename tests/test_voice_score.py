"""How a voice bench counts: exact on turns made by hand."""

from __future__ import annotations

from math import isnan

from edgeapp.bench.voice_score import Heard, score
from edgeapp.core.events import MS
from edgeapp.core.record import TurnRecord


def turn(
    committed_ms: float, first_ms: float | None, outcome: str = "answered", heard: str = "hello", **more: object
) -> TurnRecord:
    first_ns = None if first_ms is None else round(first_ms * MS)
    return TurnRecord(
        number=1, last_voiced_ns=990 * MS, committed_ns=round(committed_ms * MS), due_ns=1_190 * MS,
        first_audible_ns=first_ns, ended_ns=3_000 * MS, outcome=outcome, heard_words=1, heard=heard,
        first_reply_ns=first_ns, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def heard(*records: TurnRecord, paused: bool = False) -> Heard:
    return Heard("hello", "person", paused, 1_000 * MS, records)


GOOD = heard(turn(1_080, 1_105, foreseen=True))
LATE = heard(turn(1_400, 1_450))
CUT_OFF = heard(turn(700, 730, heard="hell"), paused=True)
CLIPPED = heard(turn(980, 1_005))
TAKEN_BACK = heard(turn(700, 730, "rolled back", wasted_ns=10 * MS), turn(1_090, 1_120, foreseen=True), paused=True)
MISSED = heard()


def test_a_delay_counts_from_the_truth_and_not_from_the_devices_idea_of_it() -> None:
    assert (GOOD.first_audible_ms, GOOD.part_ms("endpoint"), GOOD.part_ms("output")) == (105, 80, 25)


def test_a_turn_that_was_cut_off_has_no_delay_to_be_proud_of() -> None:
    assert (CUT_OFF.cut_off, CUT_OFF.false_commit, CUT_OFF.counts) == (True, False, False)


def test_a_turn_that_was_answered_into_its_last_sound_lost_no_word_and_has_no_honest_delay_either() -> None:
    assert (CLIPPED.cut_off, CLIPPED.clipped, CLIPPED.counts) == (False, True, False)


def test_a_turn_that_was_taken_back_is_a_false_commit_and_no_cut_off() -> None:
    assert (TAKEN_BACK.cut_off, TAKEN_BACK.false_commit, TAKEN_BACK.first_audible_ms) == (False, True, 120)


def test_a_turn_without_a_record_was_missed() -> None:
    assert (MISSED.missed, MISSED.understood, isnan(MISSED.first_audible_ms)) == (True, False, True)


def test_the_score_of_a_run() -> None:
    found = score("default", [GOOD, LATE, CUT_OFF, TAKEN_BACK, MISSED], budget_ms=200, took_ns=1_000 * MS)
    assert (found.reply_p50_ms, found.reply_p95_ms) == (120, 450)
    assert (found.turns, found.paused, found.missed) == (5, 2, 1)
    assert found.within_share == 2 / 4  # the missed one and the late one are not
    assert (found.cut_off_share, found.cut_off_paused_share) == (1 / 5, 1 / 2)
    assert (found.false_commit_share, found.false_commit_paused_share) == (1 / 5, 1 / 2)
    assert found.hit_share == 2 / 4
    assert found.wasted_share == 0.01
    assert found.understood_share == 3 / 5
