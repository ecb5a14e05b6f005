"""The tables beside the chain: what can be counted and found without reading the rows. Kept in the transaction of the rows.

Everything here follows from the rows alone, so `verify` makes it again and compares.

`counts` holds, for each minute, each ten minutes and each hour, how many parts ended how: what is read for a window depends on
the window, however many parts there were. `causes` finds the last scratch. `images` is what the quota is kept by.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

MINUTE_NS: Final = 60_000_000_000

SPANS: Final = (60, 10, 1)
"""Minutes that are counted together, each a multiple of the next."""

RANKS: Final = {"PASS": 0, "NOT_INSPECTED": 1, "FAIL": 2}
"""Which pictures go first when the quota is reached."""

TABLES: Final = {
    "counts": "span INTEGER, minute INTEGER, source TEXT, part_type TEXT, outcome TEXT, cause TEXT, parts INTEGER NOT NULL, "
    "PRIMARY KEY (span, minute, source, part_type, outcome, cause)",
    "causes": "cause TEXT, seq INTEGER, PRIMARY KEY (cause, seq)",
    "images": "name TEXT PRIMARY KEY, seq INTEGER NOT NULL, rank INTEGER NOT NULL, bytes INTEGER NOT NULL",
}
"""`counts` has one line with an empty cause for all parts of an outcome, and one for each cause among them; `minute` is the
first of its span, since 1970."""


def create(database: sqlite3.Connection, schema: str = "main") -> None:
    """Make the tables in a database, or in `temp` beside it."""
    for name, columns in TABLES.items():
        database.execute(f"CREATE TABLE {schema}.{name} ({columns}) STRICT, WITHOUT ROWID")
    database.execute(f"CREATE INDEX {schema}.images_by_age ON images (rank, seq)")


def update(database: sqlite3.Connection, bodies: Iterable[Mapping[str, Any]], schema: str = "main") -> None:
    """Add what these rows say. Raises sqlite3.Error, KeyError or TypeError if a row is none of ours."""
    counts: defaultdict[tuple[int, int, str, str, str, str], int] = defaultdict(int)
    causes: set[tuple[str, int]] = set()
    changes: list[tuple[str, tuple[Any, ...]]] = []
    for body in bodies:
        if body["kind"] == "verdict":
            verdict, seq = body["verdict"], body["seq"]
            outcome = verdict["outcome"]
            minute, where = body["utc_ns"] // MINUTE_NS, (verdict["source"], body["part_type"], outcome)
            named = set(body["causes"])
            for span in SPANS:
                first = minute // span * span
                counts[span, first, *where, ""] += 1
                for cause in named:
                    counts[span, first, *where, cause] += 1
            causes.update((cause, seq) for cause in named)
            if body["image"]:
                changes.append((_KEPT, (body["image"], seq, RANKS[outcome], body["image_bytes"])))
        elif body["kind"] == "image removed":
            changes += [(_REMOVED, (name,)) for name in body["names"]]
    database.executemany(
        f"INSERT INTO {schema}.counts VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET parts = parts + excluded.parts",
        [(*key, parts) for key, parts in counts.items()],
    )
    database.executemany(f"INSERT INTO {schema}.causes VALUES (?, ?)", sorted(causes))
    for statement, values in changes:
        database.execute(statement.format(schema), values)


_KEPT: Final = (
    "INSERT INTO {}.images VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET seq = excluded.seq, rank = max(rank, excluded.rank)"
)  # two verdicts on the very same bytes share a file
_REMOVED: Final = "DELETE FROM {}.images WHERE name = ?"


def cover(first: int, end: int) -> list[tuple[int, int, int]]:
    """The minutes from `first` to before `end` as (span, from, to), each minute once, in as few counted spans as there can be."""

    def covered(first: int, end: int, spans: tuple[int, ...]) -> list[tuple[int, int, int]]:
        span, *finer = spans
        low, high = -(-first // span) * span, end // span * span
        if low >= high:
            return covered(first, end, tuple(finer)) if finer and first < end else []
        return [
            *covered(first, low, tuple(finer) or spans),
            (span, low, high),
            *covered(high, end, tuple(finer) or spans),
        ]

    return covered(first, end, SPANS)
