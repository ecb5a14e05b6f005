"""Verify a ledger: read every row, and say which is the first that is not as it was written.

What is found, always: a changed byte in any row, a missing row, rows in another order, rows put in between, an end that was cut
off at or before the anchored row, a ledger exchanged for another one's, tables that do not follow from the rows.
What is found only against a head noted elsewhere (`--head`): rows cut off after the last anchor (one second of an idle
station, ten of a busy one), database and anchor both put back to an earlier state, and both rewritten by somebody who has
the key, or where there is no key.
A forger who also computes the changed row's own hash anew is found at the next row: it does not follow.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeapp.core.events import ConfigError
from edgeapp.station import anchor as anchors
from edgeapp.station import derived
from edgeapp.station.evidence import Head, decode, follow
from edgeapp.station.images import path_in, wrong_with
from edgeapp.station.store import ANCHOR, open_reading

Mark = tuple[Head, str]
"""How the chain ended once, and who says so."""

_CHUNK_ROWS: Final = 5_000  # rows in memory at once
_NAMED_MAX: Final = 20  # findings that are said; the others are counted


@dataclass(slots=True)
class Audit:
    """What came of it."""

    head: Head = field(default_factory=Head)
    """The end of the chain, as far as it holds."""

    verdicts: int = 0
    first_bad: int | None = None
    """The first row that is not as it was written; None if all are."""

    wrong: list[str] = field(default_factory=list)
    """Everything that was found, in sentences, the first bad row first."""

    more: int = 0
    """Findings beyond the ones that are said."""

    notes: list[str] = field(default_factory=list)
    """What an auditor should know though it is not wrong: clock steps, gaps the ledger itself tells of."""

    @property
    def ok(self) -> bool:
        """Is it what was written, as far as can be known here?"""
        return not self.wrong

    def say(self, what: str) -> None:
        """One more finding."""
        if len(self.wrong) < _NAMED_MAX:
            self.wrong.append(what)
        else:
            self.more += 1

    def note(self, what: str) -> None:
        """One more note."""
        if len(self.notes) < _NAMED_MAX:
            self.notes.append(what)


def parse_head(text: str) -> Head:
    """A head as it is printed, ROWS:HASH. Raises ConfigError."""
    rows, _, digest = text.partition(":")
    try:
        head = Head(int(rows), bytes.fromhex(digest))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no head: give it as it was printed, ROWS:HASH") from error
    if head.rows < 1 or len(head.hash) != len(Head().hash):
        raise ConfigError(f"{text!r} is no head: give it as it was printed, ROWS:HASH")
    return head


def verify(
    folder: Path,
    *,
    heads: tuple[Head, ...] = (),
    key: bytes = b"",
    images: bool = False,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Audit:
    """Read the whole ledger in `folder`, beside a running station too, from one snapshot: meanwhile its log only grows.

    `heads` were noted elsewhere. `images` reads every kept picture as well. `progress` gets rows read and rows in all.
    Raises ConfigError if there is no ledger.
    """
    found = Audit()
    try:
        anchor = anchors.read(folder / ANCHOR)
    except ConfigError as error:
        anchor = None
        found.say(str(error))
    marks = [(head, "the head noted elsewhere") for head in heads]
    if anchor and anchor.rows:
        marks.append((Head(anchor.rows, bytes.fromhex(anchor.head)), "its anchor"))
    database = open_reading(folder)
    try:
        database.text_factory = bytes
        database.execute("BEGIN")
        derived.create(database, "temp")
        _rows(database, found, anchor, marks, progress)
        _end(found, anchor, marks, key)
        _tables(database, found)
        for (line,) in database.execute("PRAGMA integrity_check"):
            if line != b"ok":
                found.say(f"SQLite says of the file: {line.decode(errors='replace')}")
    except sqlite3.DatabaseError as error:
        found.first_bad = found.first_bad or found.head.rows + 1
        found.say(f"row {found.head.rows + 1} or one after it cannot be read: {error}")
    else:
        if images:
            _pictures(database, folder, found)
    finally:
        database.close()
    return found


def _rows(
    database: sqlite3.Connection, found: Audit, anchor: anchors.Anchor | None, marks: Sequence[Mark],
    progress: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Follow the chain. After the first bad row the rest cannot be judged: what was written there is unknown."""
    (rows,) = database.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
    for chunk in _chunks(database):
        bodies: list[dict[str, Any]] = []
        for seq, body, hashed in chunk:
            expected = found.head.rows + 1
            body, follows = (body, follow(found.head, body)) if isinstance(body, bytes) else (b"", None)  # noqa: PLW2901
            if seq != expected:
                gap = f"row {expected} is" if seq == expected + 1 else f"rows {expected} to {seq - 1} are"
                _bad(found, expected, f"{gap} missing")
            elif follows is None or hashed != follows.hash:
                _bad(found, seq, f"row {seq} does not follow the one before it: one of them was changed")
            else:
                _entry(found, seq, body, anchor, bodies)
                for mark, where in marks:
                    if mark.rows == seq and mark != follows:
                        _bad(found, seq, f"row {seq} is not the one in {where}: it or one before it was rewritten")
            if found.first_bad is not None or follows is None:
                return
            found.head = follows
        try:
            derived.update(database, bodies, "temp")
        except (KeyError, TypeError) as error:  # a forger's chain: the hashes are right and the fields are not ours
            found.say(f"a row from {bodies[0]['seq']} to {bodies[-1]['seq']} lacks what its kind says: {error}")
        progress(found.head.rows, rows)


def _chunks(database: sqlite3.Connection) -> Iterator[list[tuple[Any, Any, Any]]]:
    cursor = database.execute("SELECT seq, body, hash FROM entries ORDER BY seq")
    while chunk := cursor.fetchmany(_CHUNK_ROWS):
        yield chunk


def _entry(found: Audit, seq: int, body: bytes, anchor: anchors.Anchor | None, bodies: list[dict[str, Any]]) -> None:
    """What a row says, when its hash is right."""
    try:
        says = decode(body)
    except ValueError as error:
        _bad(found, seq, f"row {seq} is no JSON: {error}")
        return
    if says.get("seq") != seq:
        _bad(found, seq, f"row {seq} calls itself row {says.get('seq')}")
        return
    kind = says.get("kind")
    found.verdicts += kind == "verdict"
    if kind == "opened" and anchor and says["ledger"] != anchor.ledger:
        _bad(found, seq, f"row {seq} is of another ledger than the anchor")
    elif seq == 1 and kind != "opened":
        _bad(found, seq, "row 1 does not open the ledger")
    elif kind == "clock":
        found.note(f"row {seq}: the clock stepped by {says['step_ns'] / 1e9:+.3f} s")
    elif kind == "opened" and says["clock_back_ns"]:
        found.note(f"row {seq}: the clock was {says['clock_back_ns'] / 1e9:.3f} s behind the last row at this start")
    elif kind == "unrecorded":
        found.note(f"row {seq}: {says['verdicts']} verdicts were refused because too many waited for the disk")
    bodies.append(says)


def _bad(found: Audit, seq: int, why: str) -> None:
    found.first_bad = seq
    found.say(why)


def _tables(database: sqlite3.Connection, found: Audit) -> None:
    """Compare the tables with what the rows say. Not when rows are bad: then they cannot agree."""
    if found.first_bad is not None:
        return
    for name in derived.TABLES:
        one, other = (f"SELECT * FROM {schema}.{name}" for schema in ("main", "temp"))
        query = f"SELECT count(*) FROM (SELECT * FROM ({one} EXCEPT {other}) UNION ALL SELECT * FROM ({other} EXCEPT {one}))"
        if differ := database.execute(query).fetchone()[0]:
            found.say(f"the table {name} does not follow from the rows: {differ} lines differ")


def _end(found: Audit, anchor: anchors.Anchor | None, marks: Sequence[Mark], key: bytes) -> None:
    """Is the end there, as far as anchor and noted heads know?"""
    if anchor is None:
        if not any("anchor" in each for each in found.wrong):
            found.say("there is no anchor: whether the end was cut off cannot be known")
    elif key and not anchors.is_sealed_by(anchor, key):
        found.say("the anchor was not made with this key")
    elif not key:
        signed = "is signed, and no key was given to check it" if anchor.hmac else "is not signed"
        found.note(f"the anchor {signed}: it proves nothing against somebody who can write it")
    for mark, where in marks:
        if found.first_bad is None and mark.rows > found.head.rows:
            first = found.head.rows + 1
            which = f"row {first} is" if mark.rows == first else f"rows {first} to {mark.rows} are"
            _bad(found, first, f"{which} cut off: {where} counts {mark.rows} rows")


def _pictures(database: sqlite3.Connection, folder: Path, found: Audit) -> None:
    """Read every picture that is to be there. A bad one spoils no row."""
    for name, seq in database.execute("SELECT name, seq FROM images ORDER BY seq"):
        if why := wrong_with(path_in(folder / "images", name.decode())):
            found.say(f"the picture of row {seq} ({name.decode()}) {why}")
