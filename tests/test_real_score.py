"""What counts as harm in the real bench, and which way a call went."""

from __future__ import annotations

import pytest

from edgeapp.bench.cut_stream import CutAnswer
from edgeapp.bench.line import Plan, Ran
from edgeapp.bench.real_score import LATE_LOCAL, LATE_REMOTE, LOCAL, NONE, RACE, harm, score, way
from edgeapp.core.events import MS, Outcome, Verdict
from edgeapp.core.record import Record


def call(n: int, side: str, *, local_at_ms: int | None = 150, remote_end: str = "answered") -> Record:
    at_ns = n * 100 * MS
    local_at_ns = None if local_at_ms is None else at_ns + local_at_ms * MS
    return Record(
        of=f"belt {n}", stage="detect", asked_ns=at_ns, due_ns=at_ns + 198 * MS, first_ns=at_ns + 60 * MS, side=side,
        why="", local_ns=40 * MS, local_at_ns=local_at_ns, remote_end=remote_end,
    )  # fmt: skip


def verdict(n: int, took_ms: int) -> Verdict:
    at_ns, model = n * 100 * MS, "m" if took_ms <= 200 else ""
    outcome = Outcome.PASS if model else Outcome.NOT_INSPECTED
    return Verdict(
        outcome=outcome, why="", source="belt", frame_number=n, at_ns=at_ns, decided_ns=at_ns + took_ms * MS,
        due_ns=at_ns + 200 * MS, boxes=(), model=model,
    )  # fmt: skip


def ran(*rows: tuple[int, int | None]) -> Ran:
    """Rows of (milliseconds to the verdict, milliseconds of local's work if it ran), a frame every 100 ms."""
    made = Ran(Plan("belt", "edgeapp", len(rows)), 40 * MS)
    for n, (took_ms, local_ms) in enumerate(rows, 1):
        made.at_ns[n], made.shut[n] = n * 100 * MS, n in {2, 4}
        made.verdicts[n] = [verdict(n, took_ms)]
        made.calls[n] = call(n, "remote" if took_ms <= 200 else "none")
        if local_ms is not None:
            made.local_ns[n] = local_ms * MS
    return made


#        frames: verdict after, local took               harmed
HARM = [
    (((60, None), (60, 30)), []),
    (((60, 30), (201, 120)), [2]),  # begun at once it would have made it
    (((60, 30), (201, 250)), []),  # nobody could
    (((60, 30), (201, None)), [2]),  # it never ran here: the usual 30 ms
]


@pytest.mark.parametrize(("rows", "numbers"), HARM)
def test_harm_is_what_local_at_once_would_have_met(
    rows: tuple[tuple[int, int | None], ...], numbers: list[int]
) -> None:
    assert harm(ran(*rows)) == numbers


def test_a_frame_waits_for_the_lane_in_the_comparison_too() -> None:
    assert harm(ran((60, 370), (201, 20), (201, 20))) == [3]
    assert harm(ran((60, 270), (201, 20))) == [2]
    assert harm(ran((60, 290), (201, 20))) == []


def test_ways_and_scores() -> None:
    calls = [
        call(1, "remote"), call(1, "local"), call(1, "local", local_at_ms=None, remote_end=""),
        call(1, "local", local_at_ms=None), call(1, "none"),
    ]  # fmt: skip
    assert [way(each) for each in calls] == [LATE_REMOTE, LATE_LOCAL, LOCAL, RACE, NONE]
    found = score(ran((60, None), (201, 120), (201, 120), (70, 30)))
    assert (found.misses, found.harm, found.burst, found.breaker_opened) == (2, 2, 2, 2)
    assert (found.remote_share, found.local_runs, found.without_one_verdict) == (0.5, 0.75, 0)


def test_a_frame_with_two_verdicts_or_none_is_counted() -> None:
    twice = ran((60, None), (60, None), (60, None))
    twice.verdicts[1].append(verdict(1, 70))
    del twice.verdicts[2]
    assert score(twice).without_one_verdict == 2


@pytest.mark.parametrize(
    ("said", "wrong"), [("it is there", 0), ("it there", 2), ("it is is there", 2), ("it is", 1), ("", 3)]
)
def test_every_word_that_is_not_where_it_belongs_counts(said: str, wrong: int) -> None:
    answer = CutAnswer("where", "reset", 1, "it is there", said, ("remote", "local"))
    assert (answer.wrong_words, answer.in_the_middle) == (wrong, True)
