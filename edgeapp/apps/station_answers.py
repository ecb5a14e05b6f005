"""A typed question -> a query of the ledger -> the sentence that says its result. No number comes from anywhere else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgeapp.station import queries
from edgeapp.station.queries import Window
from edgeapp.station.spans import Calendar
from edgeapp.station.statistics import Counts
from edgeapp.voice.content import clock_text
from edgeapp.voice.station_questions import (
    ALL,
    EVER,
    FAIL,
    HOUR,
    INSPECTED,
    LAST_SHIFT,
    MINUTES,
    NOT_INSPECTED,
    PASS,
    SHIFT,
    TODAY,
    YESTERDAY,
    StationQuestion,
    Topic,
    spoken,
)

_SAID_CAUSES: Final = 3  # more in one breath is not remembered
_CAUSE_CHARS: Final = 18
_WHY_CHARS: Final = 50
"""With these an answer is shorter than what a tool may say (160 characters), and is never cut in a number."""

_DONE: Final = {
    FAIL: ("failed", "failed"),
    PASS: ("passed", "passed"),
    NOT_INSPECTED: ("was not inspected", "were not inspected"),
    INSPECTED: ("was inspected", "were inspected"),
    ALL: ("came", "came"),
}
"""What one part did, and what several did."""

_KIND: Final = {FAIL: "reject", PASS: "good part", NOT_INSPECTED: "part that was not inspected", "": "part"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, and the row that it is about, if it is one."""

    text: str
    row: Mapping[str, Any] | None = None
    """Of the view `verdicts`."""


def answer(database: sqlite3.Connection, asked: StationQuestion, calendar: Calendar, utc_ns: int) -> Answer:
    """Ask the ledger. Raises sqlite3.Error."""
    if asked.topic in {Topic.LAST, Topic.SHOW}:
        return _last(database, asked, calendar, utc_ns)
    window = calendar.window(asked.span, utc_ns, asked.minutes)
    time = _time(asked, window, calendar)
    counts = queries.counts(database, window)
    if asked.topic is Topic.CAUSES or asked.why:
        return Answer(_counted(counts, asked.outcome, time, _reasons(database, window, asked.outcome)))
    if asked.topic is Topic.OVERVIEW:
        return Answer(
            f"{counts.passed} passed, {counts.failed} failed and {counts.not_inspected} {_were(counts.not_inspected)} "
            f"not inspected {time}."
        )
    if asked.topic in {Topic.YIELD, Topic.REJECT_RATE}:
        return Answer(_share(counts, time, good=asked.topic is Topic.YIELD))
    if asked.topic is Topic.COMMON:
        return Answer(_common(counts, queries.causes(database, window), time))
    if asked.causes:
        return Answer(_with(queries.causes(database, window), asked.causes, time))
    return Answer(_counted(counts, asked.outcome, time))


def _counted(counts: Counts, outcome: str, time: str, reasons: str = "") -> str:
    number = {
        FAIL: counts.failed,
        PASS: counts.passed,
        NOT_INSPECTED: counts.not_inspected,
        INSPECTED: counts.inspected,
        ALL: counts.parts,
    }[outcome]
    one, many = _DONE[outcome]
    said = (
        f"No part {one} {time}"
        if not number
        else f"{number} {'part' if number == 1 else 'parts'} {one if number == 1 else many} {time}"
    )
    return f"{said}{reasons if number else ''}."


def _reasons(database: sqlite3.Connection, window: Window, outcome: str) -> str:
    """As in ": 7 with scratch, 3 with dent"; what was not inspected has a reason, not a defect."""
    found = list(queries.causes(database, window, outcome).items())
    joined = "with" if outcome == FAIL else "for"
    said = ", ".join(f"{parts} {joined} {_short(cause)}" for cause, parts in found[:_SAID_CAUSES])
    return (f": {said}" if said else "") + (", and others" if len(found) > _SAID_CAUSES else "")


def _with(found: Mapping[str, int], causes: tuple[str, ...], time: str) -> str:
    """How many parts had these defects. One with both counts under both."""
    each = [(found.get(cause, 0), spoken(cause)) for cause in causes]
    if len(each) == 1:
        number, cause = each[0]
        return (
            f"No part failed with {cause}"
            if not number
            else f"{number} {'part' if number == 1 else 'parts'} failed with {cause}"
        ) + f" {time}."
    *said, last = [f"{number or 'no'} with {cause}" for number, cause in each]
    said_all = f"{', '.join(said)} and {last} {time}."
    return said_all[0].upper() + said_all[1:]


def _share(counts: Counts, time: str, *, good: bool) -> str:
    """First-pass yield, or the share of rejects among the inspected: two figures that do not add up to one, so both say of what."""
    of, number = (counts.parts, counts.passed) if good else (counts.inspected, counts.failed)
    what, parts = ("yield", "parts") if good else ("reject rate", "inspected parts")
    if not of:
        return f"There is no {what} {time}: no part was inspected."
    tenths = round(1000 * number / of)
    if 0 < number < of:
        tenths = min(max(tenths, 1), 999)  # neither nothing nor all
    percent = f"{tenths // 10}" if tenths % 10 == 0 else f"{tenths // 10}.{tenths % 10}"
    return f"The {what} is {percent} percent {time}: {number} of {of} {parts}."


def _common(counts: Counts, found: Mapping[str, int], time: str) -> str:
    if not found:
        return f"No part failed {time}."
    most = max(found.values())
    first = [_short(cause) for cause, parts in found.items() if parts == most]
    of = f"of {counts.failed} {'reject' if counts.failed == 1 else 'rejects'}"
    if len(first) == 1:
        return f"The most common defect {time} is {first[0]}: {most} {of}."
    return f"The most common defects {time} are {' and '.join(first[:_SAID_CAUSES])}: {most} each, {of}."


def _last(database: sqlite3.Connection, asked: StationQuestion, calendar: Calendar, utc_ns: int) -> Answer:
    cause = asked.causes[0] if asked.causes else ""
    kind = _short(cause) if cause else _KIND[asked.outcome]
    row = queries.newest(database, asked.outcome, cause)
    if row is None:
        return Answer(f"There is no {kind} in the ledger.")
    part, when = f"number {row['frame_number']}", _when(row["utc_ns"], calendar, utc_ns)
    if asked.topic is Topic.SHOW:
        kept = "Here is" if row["image"] else "No picture was kept of"
        return Answer(f"{kept} the last {kind}: {part}, {when}.", row)
    outcome = {FAIL: "failed", PASS: "passed", NOT_INSPECTED: "was not inspected"}[row["outcome"]]
    return Answer(f"The last {kind}, {part}, {outcome} {when}{_because(row)}.", row)


def _because(row: Mapping[str, Any]) -> str:
    causes = [_short(cause) for cause in json.loads(row["causes"] or "[]")][:_SAID_CAUSES]
    if row["outcome"] == FAIL and causes:
        return f", with {' and '.join(causes)}"
    return f": {row['why'][:_WHY_CHARS]}" if row["outcome"] == NOT_INSPECTED and row["why"] else ""


def _when(at_ns: int, calendar: Calendar, utc_ns: int) -> str:
    at, now = calendar.clock(at_ns), calendar.clock(utc_ns)
    day = "" if at.date() == now.date() else f"on {at:%B} {at.day} "
    return f"{day}at {clock_text(at.hour * 60 + at.minute)}"


def _time(asked: StationQuestion, window: Window, calendar: Calendar) -> str:
    """The stretch of time as it is said."""
    if asked.span == MINUTES:
        return "in the last minute" if asked.minutes == 1 else f"in the last {asked.minutes} minutes"
    if asked.span == SHIFT:
        began = calendar.clock(window.from_ns)
        return f"this shift, since {clock_text(began.hour * 60 + began.minute)}"
    said = {
        HOUR: "this hour",
        LAST_SHIFT: "in the last shift",
        TODAY: "today",
        YESTERDAY: "yesterday",
        EVER: "in the whole ledger",
    }
    return said[asked.span]


def _short(cause: str) -> str:
    return spoken(cause)[:_CAUSE_CHARS].rstrip()


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def title(asked: StationQuestion) -> str:
    """What a screen shows over the picture."""
    cause = asked.causes[0] if asked.causes else ""
    return f"the last {spoken(cause) if cause else _KIND[asked.outcome]}"
