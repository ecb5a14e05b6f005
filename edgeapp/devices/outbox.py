"""Messages that wait on disk until the other side has confirmed them: in order, bounded, and there after a power cut.

SQLite with one commit a batch, synced before `put` returns. What the bound drops is the oldest, and it is counted in the file
itself. Every method blocks; one thread calls them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeapp.core.events import ConfigError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS dropped (count INTEGER NOT NULL);
INSERT INTO dropped SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM dropped);
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message that waits."""

    id: int
    """Counts from 1 and is never used twice in the life of the file, so a reader knows a repetition and a gap by it."""

    topic: str
    payload: str
    """A JSON object."""


class Outbox:
    """The file. Made by the thread that uses it."""

    def __init__(self, path: Path, *, rows_max: int) -> None:
        """Open or make the file; at most `rows_max` messages wait in it. Raises ConfigError."""
        self._rows_max = rows_max
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"cannot keep messages in {path}: {error}; change outputs.mqtt.outbox") from error
        self.waiting: int = self._db.execute("SELECT count(*) FROM message").fetchone()[0]
        """How many wait."""

        self.dropped: int = self._db.execute("SELECT count FROM dropped").fetchone()[0]
        """How many the bound has dropped in the life of the file."""

    def put(self, messages: Sequence[tuple[str, str]]) -> None:
        """Append (topic, payload) pairs; they are on the disk when this returns. Raises sqlite3.Error, and then none is."""
        over = max(0, self.waiting + len(messages) - self._rows_max)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO message (topic, payload) VALUES (?, ?)", messages)
            if over:
                self._db.execute(
                    "DELETE FROM message WHERE id IN (SELECT id FROM message ORDER BY id LIMIT ?)", (over,)
                )
                self._db.execute("UPDATE dropped SET count = count + ?", (over,))
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.waiting += len(messages) - over
        self.dropped += over

    def first(self, count: int) -> list[Message]:
        """The oldest messages, at most `count`."""
        rows = self._db.execute("SELECT id, topic, payload FROM message ORDER BY id LIMIT ?", (count,))
        return [Message(*row) for row in rows]

    def confirmed(self, until_id: int) -> None:
        """Every message up to this one has arrived."""
        gone = self._db.execute("DELETE FROM message WHERE id <= ?", (until_id,)).rowcount
        self.waiting -= gone

    def close(self) -> None:
        """Close the file."""
        self._db.close()
