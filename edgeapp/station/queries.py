"""Questions to a ledger, answered by counting: what the statistics, the command line and the voice are built on.

Counts come from whole minutes, so that their cost depends on the time asked about and not on how many parts there were. Times are
nanoseconds UTC; a window is from `from_ns` (its minute's beginning) to before `to_ns` (its minute's beginning).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgeapp.core.events import BackendError, Box, Outcome
from edgeapp.station.derived import MINUTE_NS, SPANS, cover
from edgeapp.station.statistics import Counts, Reinspection

COLUMNS: tuple[str, ...] = (
    "seq", "utc_ns", "mono_ns", "source", "frame_number", "outcome", "why", "causes", "at_ns", "decided_ns", "due_ns", "boxes",
    "sizes_mm", "model", "rule", "placement", "part_type", "light", "density", "operator", "lot", "serial", "frame_sha256",
    "image", "image_lost", "hash",
)  # fmt: skip
"""Of the view `verdicts`; `causes`, `boxes` and `sizes_mm` are JSON."""


_BY = (  # said of the table itself: SQLite takes no partial index for a view's column
    "seq IN (SELECT seq FROM entries WHERE json_extract(body, '$.{name}') = ? AND json_extract(body, '$.{name}') != '')"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of whole minutes."""

    from_ns: int = 0
    to_ns: int = 1 << 62

    @property
    def minutes(self) -> tuple[int, int]:
        """First minute, and the one after the last."""
        return self.from_ns // MINUTE_NS, self.to_ns // MINUTE_NS


def counts(database: sqlite3.Connection, window: Window = Window()) -> Counts:
    """How many parts ended how."""
    found: Counter[str] = Counter()
    query = "SELECT outcome, sum(parts) FROM counts WHERE span = ? AND minute >= ? AND minute < ? AND cause = '' GROUP BY outcome"
    for span in cover(*window.minutes):
        found.update(dict(database.execute(query, span)))
    return _counts(found)


def counts_by(database: sqlite3.Connection, window: Window, minutes: int) -> list[tuple[int, Counts]]:
    """The same for each stretch of so many minutes that has parts: when it began, and its counts. For control charts."""
    found: dict[int, Counter[str]] = {}
    query = (
        "SELECT minute / ?4, outcome, sum(parts) FROM counts WHERE span = ?1 AND minute >= ?2 AND minute < ?3 "
        "AND cause = '' GROUP BY minute / ?4, outcome"
    )
    for span, first, end in cover(*window.minutes):
        finest = next(each for each in SPANS if span % each == 0 and minutes % each == 0)
        for stretch, outcome, parts in database.execute(query, (finest, first, end, minutes)):
            found.setdefault(stretch, Counter())[outcome] += parts
    return [(stretch * minutes * MINUTE_NS, _counts(found[stretch])) for stretch in sorted(found)]


def _counts(found: Mapping[str, int]) -> Counts:
    return Counts(found.get("PASS", 0), found.get("FAIL", 0), found.get("NOT_INSPECTED", 0))


def causes(database: sqlite3.Connection, window: Window = Window(), outcome: str = "FAIL") -> dict[str, int]:
    """Parts with this outcome by what was wrong with them, most first. A part with two defects counts under both."""
    found: Counter[str] = Counter()
    query = (
        "SELECT cause, sum(parts) FROM counts WHERE span = ? AND minute >= ? AND minute < ? AND outcome = ? AND cause != '' "
        "GROUP BY cause"
    )
    for span in cover(*window.minutes):
        found.update(dict(database.execute(query, (*span, outcome))))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def sizes(database: sqlite3.Connection, name: str, window: Window = Window(), limit: int = 100_000) -> list[float]:
    """The newest measured values of one size in mm, at most `limit`, oldest first. Reads the rows of the window."""
    query = (
        "SELECT json_extract(body, ?) AS size FROM entries WHERE json_extract(body, '$.utc_ns') >= ? "
        "AND json_extract(body, '$.utc_ns') < ? AND size IS NOT NULL ORDER BY json_extract(body, '$.utc_ns') DESC LIMIT ?"
    )
    path = f"$.sizes_mm.{json.dumps(name)}"
    first, end = (minute * MINUTE_NS for minute in window.minutes)
    return [float(size) for (size,) in database.execute(query, (path, first, end, limit))][::-1]


def verdicts(
    database: sqlite3.Connection,
    *,
    cause: str = "",
    serial: str = "",
    lot: str = "",
    outcome: str = "",
    seq: int | None = None,
    window: Window = Window(),
    newest: int | None = None,
    before: int | None = None,
    columns: Sequence[str] = COLUMNS,
) -> Iterator[dict[str, Any]]:
    """Verdicts by what is known of them, oldest first, streamed; with `newest` the last so many, newest first.

    `before` leaves out that row and all after it: the next page of the newest.
    """
    where, values = ["1"], list[Any]()
    for condition, value in [
        ("seq IN (SELECT seq FROM causes WHERE cause = ?)", cause),
        (_BY.format(name="serial"), serial),
        (_BY.format(name="lot"), lot),
        ("outcome = ?", outcome),
        ("seq = ?", seq),
        ("seq < ?", before),
    ]:
        if value not in {"", None}:
            where.append(condition)
            values.append(value)
    if window != Window():
        where.append("utc_ns >= ? AND utc_ns < ?")
        values += [minute * MINUTE_NS for minute in window.minutes]
    order = "seq" if newest is None else f"seq DESC LIMIT {newest}"
    query = f"SELECT {', '.join(columns)} FROM verdicts WHERE {' AND '.join(where)} ORDER BY {order}"
    for row in database.execute(query, values):
        yield dict(zip(columns, row, strict=True))


def newest(database: sqlite3.Connection, outcome: str = "", cause: str = "") -> dict[str, Any] | None:
    """The last verdict, or the last with this outcome, or with this cause; None if there is none. Reads a minute's rows at most."""
    if cause:
        found = database.execute("SELECT max(seq) FROM causes WHERE cause = ?", (cause,)).fetchone()[0]
        return next(verdicts(database, seq=found), None) if found else None
    if not outcome:
        return next(verdicts(database, newest=1), None)
    first, end = 0, 1 << 40
    for span in SPANS:
        query = (
            "SELECT minute FROM counts WHERE span = ? AND minute >= ? AND minute < ? AND outcome = ? AND cause = '' "
            "ORDER BY minute DESC LIMIT 1"
        )
        line = database.execute(query, (span, first, end, outcome)).fetchone()
        if line is None:
            return None
        first, end = line[0], line[0] + span
    row = database.execute(
        "SELECT max(seq) FROM entries WHERE json_extract(body, '$.utc_ns') >= ? AND json_extract(body, '$.utc_ns') < ? "
        "AND json_extract(body, '$.kind') = 'verdict' AND json_extract(body, '$.verdict.outcome') = ?",
        (first * MINUTE_NS, end * MINUTE_NS, outcome),
    ).fetchone()
    return next(verdicts(database, seq=row[0]), None)


@dataclass(frozen=True, slots=True)
class Judged:
    """The last judgement on a verdict beside the verdict."""

    of: int
    verdict: str
    judgement: str
    sampled: bool
    says: dict[str, Any]
    """The whole judgement."""


def judgements(database: sqlite3.Connection, window: Window = Window()) -> Iterator[Judged]:
    """The last judgement on each verdict of the window that was looked at again, in the order of the verdicts."""
    query = (
        "SELECT j.body, json_extract(v.body, '$.verdict.outcome') FROM entries j JOIN entries v "
        "ON v.seq = json_extract(j.body, '$.of') WHERE j.seq IN (SELECT max(seq) FROM entries "
        "WHERE json_extract(body, '$.kind') != 'verdict' AND json_extract(body, '$.kind') = 'judgement' "
        "GROUP BY json_extract(body, '$.of')) AND json_extract(v.body, '$.kind') = 'verdict' "
        "AND json_extract(v.body, '$.utc_ns') >= ? AND json_extract(v.body, '$.utc_ns') < ? ORDER BY v.seq"
    )
    first, end = (minute * MINUTE_NS for minute in window.minutes)
    for body, outcome in database.execute(query, (first, end)):
        says = json.loads(body)
        yield Judged(says["of"], outcome, says["outcome"], says["sampled"], says)


def reinspected(database: sqlite3.Connection, window: Window = Window()) -> Reinspection:
    """What re-inspection of parts drawn at random found among the window's verdicts."""
    whole = counts(database, window)
    seen = Counter((each.verdict, each.judgement) for each in judgements(database, window) if each.sampled)
    return Reinspection(
        fails=whole.failed,
        fails_seen=seen["FAIL", "PASS"] + seen["FAIL", "FAIL"],
        fails_good=seen["FAIL", "PASS"],
        passes=whole.passed,
        passes_seen=seen["PASS", "PASS"] + seen["PASS", "FAIL"],
        passes_bad=seen["PASS", "FAIL"],
    )


class RowVerdict(msgspec.Struct, frozen=True):
    """What a row says of its verdict, as far as a rule can be asked again."""

    outcome: Outcome
    source: str
    decided_ns: int
    due_ns: int
    boxes: tuple[Box, ...] = ()
    model: str = ""
    looks: int | None = None
    """None in a row that does not say."""

    view: str = ""
    """Of a line with several cameras: whose picture the boxes are of."""

    @property
    def camera(self) -> str:
        """Whose picture the boxes are of."""
        return self.view or self.source


class Row(msgspec.Struct, frozen=True):
    """A verdict's row."""

    seq: int
    utc_ns: int
    verdict: RowVerdict
    causes: tuple[str, ...] = ()
    rule: str = ""
    part_type: str = ""
    serial: str = ""
    image: str = ""


def rows(database: sqlite3.Connection, window: Window = Window()) -> Iterator[Row]:
    """The verdicts of the window with all that was seen, oldest first, streamed. Raises BackendError if one is none."""
    first, end = (minute * MINUTE_NS for minute in window.minutes)
    where = (
        "" if window == Window() else "AND json_extract(body, '$.utc_ns') >= ? AND json_extract(body, '$.utc_ns') < ? "
    )
    query = f"SELECT seq, body FROM entries WHERE json_extract(body, '$.kind') = 'verdict' {where}ORDER BY seq"
    decoder = msgspec.json.Decoder(Row)
    for seq, body in database.execute(query, (first, end) if where else ()):
        try:
            yield decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise BackendError(f"row {seq} of the ledger is no verdict: {error}") from error


def notes(database: sqlite3.Connection, kind: str, newest: int) -> list[dict[str, Any]]:
    """The newest rows of a kind that is no verdict, such as `rule` or `golden`, newest first."""
    query = (
        "SELECT body FROM entries WHERE json_extract(body, '$.kind') != 'verdict' AND json_extract(body, '$.kind') = ? "
        "ORDER BY seq DESC LIMIT ?"
    )
    return [json.loads(body) for (body,) in database.execute(query, (kind, newest))]


def last_with_cause(database: sqlite3.Connection, cause: str, source: str) -> int | None:
    """When a camera last gave a verdict with this cause, UTC; None if it never did."""
    query = (
        "SELECT json_extract(body, '$.utc_ns') FROM entries JOIN causes USING (seq) WHERE causes.cause = ? "
        "AND json_extract(body, '$.verdict.source') = ? ORDER BY causes.seq DESC LIMIT 1"
    )
    row = database.execute(query, (cause, source)).fetchone()
    return None if row is None else int(row[0])
