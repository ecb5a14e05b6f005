"""Records as JSON lines in one file: what `edgeapp explain` reads. No audio, image or text unless the records hold it."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeapp.core.events import ConfigError, Verdict
from edgeapp.core.record import AlarmRecord, AnyRecord, DropRecord, GateRecord, Record, ScreenRecord, TurnRecord

_KINDS = {
    Record: "call",
    TurnRecord: "turn",
    DropRecord: "drop",
    GateRecord: "gate",
    AlarmRecord: "alarm",
    ScreenRecord: "screen",
    Verdict: "verdict",
}


class JsonLines:
    """A sink. Each record is one line, written at once, so that a kill loses at most the line under way."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Append to `path`; at `max_bytes` it becomes `path.1` and a new file begins. Raises ConfigError."""
        self._path, self._max_bytes = path, max_bytes
        self._torn = False  # may the file end in the middle of a line?
        self.lost = 0
        """Records that could not be written because the disk refused; the first one is told on stderr."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            self._bytes = path.stat().st_size
        except OSError as error:
            raise ConfigError(f"cannot write records to {path}: {error.strerror}; change records.path") from error
        self._write({"kind": "session", "started": datetime.now(UTC).isoformat()})

    def __call__(self, record: AnyRecord) -> None:
        """Write one record."""
        self._write({"kind": _KINDS[type(record)], **dataclasses.asdict(record)})

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n"
        try:
            if self._bytes >= self._max_bytes:
                self._rotate()
            data = b"\n" + data if self._torn else data
            self._torn = True
            self._bytes += len(data)  # counted here, because a pipe cannot tell
            self._put(data)
            self._torn = False
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                says = f"edgeapp: records are being lost: {error.strerror}; free space for {self._path}"
                with suppress(OSError):  # stderr may be a file on the same full disk
                    print(says, file=sys.stderr)

    def _put(self, data: bytes) -> None:
        """Write all of it. The system writes what there is room for and says nothing; here that is an error."""
        if self._file.write(data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self) -> None:
        """Begin a new file. If that fails, the old one stays open, so that the next record can try again."""
        with suppress(FileNotFoundError):  # somebody took the file away: there is nothing to keep
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        file = self._path.open("ab", buffering=0)
        self._file.close()
        self._file, self._bytes = file, 0

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, oldest first; a line that was cut short by a kill is passed over.

    Raises ConfigError if the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict) and "kind" in record:
                    yield record
    except OSError as error:
        raise ConfigError(f"cannot read records from {path}: {error.strerror}") from error
