"""The ledger's file: SQLite in WAL mode, one chained row an entry, the tables that follow from it in the same transaction.

`synchronous=FULL`: SQLite fsyncs the log before a commit returns, so what was committed outlives a power cut, if the disk does
not lie about fsync. Nothing checkpoints inside a commit; the ledger does it between commits, when nobody waits.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeapp.core.events import ConfigError
from edgeapp.station import anchor as anchors
from edgeapp.station import derived
from edgeapp.station.evidence import Entry, Head, decode, encode, follow

DATABASE: Final = "ledger.sqlite"
ANCHOR: Final = "anchor.json"

_APPLICATION_ID: Final = 0x6C656467  # `ledg`
_VERSION: Final = 1
LOG_BYTES: Final = 1 << 22
"""The log is written full with zeros at every start. What is overwritten needs no new blocks, so a commit's fsync has no
metadata of the file system to wait for. SQLite ends a log at the first frame whose checksum is wrong; zeros are none."""

_COMMIT_PAGES: Final = (
    8  # of 4 kB that a commit writes at most, whatever its rows: the right edges of table and indexes
)
_ROW_PAGES: Final = 2  # and at most so many for each row: its serial number's place, and its share of new pages
_TAIL_ROWS: Final = 1_000  # hashed again at every start: milliseconds; all rows are `verify`'s work

_SCHEMA: Final = """
CREATE TABLE entries (seq INTEGER PRIMARY KEY, body TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE INDEX entries_by_time ON entries (json_extract(body, '$.utc_ns'));
CREATE INDEX entries_by_serial ON entries (json_extract(body, '$.serial')) WHERE json_extract(body, '$.serial') != '';
CREATE INDEX entries_by_lot ON entries (json_extract(body, '$.lot')) WHERE json_extract(body, '$.lot') != '';
CREATE INDEX entries_by_kind ON entries (json_extract(body, '$.kind'), json_extract(body, '$.of'))
  WHERE json_extract(body, '$.kind') != 'verdict';
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE VIEW verdicts AS SELECT seq,
  json_extract(body, '$.utc_ns') AS utc_ns, json_extract(body, '$.mono_ns') AS mono_ns,
  json_extract(body, '$.verdict.source') AS source, json_extract(body, '$.verdict.frame_number') AS frame_number,
  json_extract(body, '$.verdict.outcome') AS outcome, json_extract(body, '$.verdict.why') AS why,
  json_extract(body, '$.causes') AS causes, json_extract(body, '$.verdict.at_ns') AS at_ns,
  json_extract(body, '$.verdict.decided_ns') AS decided_ns, json_extract(body, '$.verdict.due_ns') AS due_ns,
  json_extract(body, '$.verdict.boxes') AS boxes, json_extract(body, '$.sizes_mm') AS sizes_mm,
  json_extract(body, '$.verdict.model') AS model, json_extract(body, '$.rule') AS rule,
  json_extract(body, '$.placement') AS placement, json_extract(body, '$.part_type') AS part_type,
  json_extract(body, '$.light') AS light, json_extract(body, '$.density') AS density,
  json_extract(body, '$.operator') AS operator, json_extract(body, '$.lot') AS lot,
  json_extract(body, '$.serial') AS serial, json_extract(body, '$.frame_sha256') AS frame_sha256,
  json_extract(body, '$.image') AS image, json_extract(body, '$.image_lost') AS image_lost, lower(hex(hash)) AS hash
  FROM entries WHERE json_extract(body, '$.kind') = 'verdict';
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A kept picture, as the quota sees it."""

    name: str
    size: int


class Store:
    """The ledger's file, open for writing: at most one process at a time. Used by one thread at a time."""

    def __init__(self, folder: Path, *, key: bytes = b"", utc_ns: int | None = None) -> None:
        """Open or create the ledger in `folder`, recover it, check its tail against the chain and the anchor.

        Raises ConfigError if it is in use, cannot be written, or is not what was written: nothing is added to such a one.
        """
        self.folder = folder
        self._key = key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ConfigError(f"another process writes the ledger {folder}: stop it, or give another folder") from error
        except OSError as error:
            raise ConfigError(
                f"cannot write the ledger {folder}: {error.strerror}; mend the folder's rights"
            ) from error
        self._database: sqlite3.Connection | None = None
        try:
            self._open(time.time_ns() if utc_ns is None else utc_ns)
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(
                f"cannot open the ledger {folder}: {error}; make room, or look at it with `edgeapp ledger verify`"
            ) from error
        except OSError as error:
            self.close()
            raise ConfigError(
                f"cannot open the ledger {folder}: {error.strerror}; make room or mend its rights"
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, utc_ns: int) -> None:
        path, found = self.folder / DATABASE, anchors.read(self.folder / ANCHOR)
        if found is None:
            if path.exists():
                raise ConfigError(
                    f"the ledger {self.folder} has lost its anchor, so its end may have been cut off: "
                    "`edgeapp ledger verify` says what is there; move it away to begin a new one"
                )
            # The anchor comes first: from here on a ledger without one was tampered with.
            found = anchors.sealed(secrets.token_hex(16), Head(), utc_ns, self._key)
            anchors.write(self.folder / ANCHOR, found)
        if self._key and not anchors.is_sealed_by(found, self._key):
            raise ConfigError(f"the anchor of the ledger {self.folder} was not made with this key")
        if found.rows and not path.exists():
            raise ConfigError(
                f"the ledger {self.folder} is gone, its anchor counts {found.rows} rows: put it back, "
                "or move the anchor away to begin a new one"
            )
        self.name, self.anchor = found.ledger, found
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0", "cache_size=-8000"):
            self._database.execute(f"PRAGMA {pragma}")
        if not self._database.execute("PRAGMA application_id").fetchone()[0]:
            self._create()
        if self._one("PRAGMA application_id") != _APPLICATION_ID or self._one("PRAGMA user_version") != _VERSION:
            raise ConfigError(f"{path} is not a ledger of this version: give another folder")
        self.head = self._tail(found)
        self._log_pages = 0
        self._fill_log()

    def _fill_log(self) -> None:
        """Give the log its blocks. SQLite made the file when it read, and knows its end by what it wrote, not by its length."""
        with (self.folder / f"{DATABASE}-wal").open("r+b") as log:
            missing = LOG_BYTES - log.seek(0, os.SEEK_END)
            if missing > 0:
                log.write(bytes(missing))
                log.flush()
                os.fsync(log.fileno())

    def _create(self) -> None:
        """All of it or nothing, however the power goes."""
        self._sql.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; {_SCHEMA}"
        )
        derived.create(self._sql)
        self._sql.execute("COMMIT")

    def _tail(self, found: anchors.Anchor) -> Head:
        """Hash the last rows again. Raises ConfigError if they are not what was written."""
        wrong = f"the ledger {self.folder} is not what was written: %s; see `edgeapp ledger verify`, move it away to begin anew"
        rows = self._one("SELECT coalesce(max(seq), 0) FROM entries")
        if rows < found.rows:
            raise ConfigError(wrong % f"it has {rows} rows and its anchor counts {found.rows}")
        if found.rows and bytes.fromhex(found.head) != self._one("SELECT hash FROM entries WHERE seq = ?", found.rows):
            raise ConfigError(wrong % f"row {found.rows} is not the one in its anchor")
        first = max(0, rows - _TAIL_ROWS)
        head = Head(first, self._one("SELECT hash FROM entries WHERE seq = ?", first) or b"") if first else Head()
        for seq, body, hashed in self._sql.execute(
            "SELECT seq, body, hash FROM entries WHERE seq > ? ORDER BY seq", (first,)
        ):
            head = follow(head, body.encode())
            if (seq, hashed) != (head.rows, head.hash):
                raise ConfigError(wrong % f"row {head.rows} does not follow the one before it")
        return head

    def append(self, entries: Sequence[Entry]) -> list[Head]:
        """Add rows in one transaction; durable on return. Gives the head after each of them.

        Raises sqlite3.Error; then nothing was added and the same rows can be tried again.
        """
        head, heads, rows = self.head, [], []
        for entry in entries:
            body = encode(entry, head.rows + 1)
            head = follow(head, body)
            heads.append(head)
            rows.append((head.rows, body.decode(), head.hash))
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            self._sql.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
            derived.update(self._sql, [decode(body.encode()) for _, body, _ in rows])
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise
        self.head = head
        self._log_pages += _COMMIT_PAGES + _ROW_PAGES * len(rows)
        return heads

    def last_clocks(self) -> tuple[int, int] | None:
        """UTC and monotonic time of the last row."""
        if not self.head.rows:
            return None
        body = decode(self._one("SELECT body FROM entries WHERE seq = ?", self.head.rows).encode())
        return body["utc_ns"], body["mono_ns"]

    def images_bytes(self) -> int:
        """How much the kept pictures take."""
        return int(self._one("SELECT coalesce(sum(bytes), 0) FROM images"))

    def images(self) -> set[str]:
        """The names of the kept pictures."""
        return {name for (name,) in self._sql.execute("SELECT name FROM images")}

    def images_to_go(self, size: int) -> list[Image]:
        """Which pictures go to make room for `size` bytes: the oldest of passes, of those not inspected, then of fails."""
        found, freed = [], 0
        for name, each in self._sql.execute("SELECT name, bytes FROM images ORDER BY rank, seq"):
            if freed >= size:
                break
            found.append(Image(name, each))
            freed += each
        return found

    def write_anchor(self, utc_ns: int) -> None:
        """Say in the anchor how the chain ends now; durable on return. Raises OSError."""
        anchor = anchors.sealed(self.name, self.head, utc_ns, self._key)
        anchors.write(self.folder / ANCHOR, anchor)
        self.anchor = anchor

    def checkpoint(self) -> None:
        """Move the log's rows into the database, so that the log begins anew. Raises sqlite3.Error."""
        self._sql.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._log_pages = 0

    def log_bytes(self) -> int:
        """How much of the log is in use, at most."""
        return self._log_pages * 4_096

    def close(self) -> None:
        """Close the file and let others write it. Idempotent."""
        if self._database:
            self._database.close()
            self._database = None
        self._lock.close()

    @property
    def _sql(self) -> sqlite3.Connection:
        assert self._database, "the ledger is closed"
        return self._database

    def _one(self, query: str, *values: Any) -> Any:
        row = self._sql.execute(query, values).fetchone()
        return row[0] if row else None


def open_reading(folder: Path) -> sqlite3.Connection:
    """A connection that cannot write, beside a running station or on a copy. Raises ConfigError.

    The view `verdicts` has one line a verdict. Bytes are never refused as text: a changed row must be seen, not crash.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise ConfigError(f"there is no ledger in {folder}: give the folder that holds {DATABASE}")
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5)
        version = database.execute("PRAGMA application_id").fetchone()[0]
        database.execute("SELECT 1 FROM entries LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(
            f"cannot read the ledger {folder}: {error}; if the folder is read-only, copy it to one that is not"
        ) from error
    if version != _APPLICATION_ID:
        raise ConfigError(f"{path} is not a ledger")
    database.text_factory = lambda data: data.decode(errors="replace")
    return database
