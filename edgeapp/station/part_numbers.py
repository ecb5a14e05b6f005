"""Which parts came, remembered without an fsync: a file of one page that outlives the process, beside the ledger.

It holds the highest number that came and the number up to which every part has its row. What lies between after a crash came
and has no verdict: each gets its NOT_INSPECTED row at the next start, and numbers go on behind it.

A write goes to the kernel's memory and is not waited for, so it costs microseconds and is not lost with the process, however
that dies. A power cut may lose the last of them. What came since the last durable row is then unknown here; a PLC that
counts parts still knows, so its counter is kept here too. Two slots are written in turn, each with its checksum: a write that was
torn leaves the other one.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgeapp.core.events import ConfigError

FILE: Final = "parts"
_SLOT_BYTES: Final = 512  # a disk's block: one is written whole or not at all
_FIELDS: Final = struct.Struct("<4sQQQQQq")
_MAGIC: Final = b"part"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the file says."""

    written: int = 0
    """Counts the writes; the slot with the larger one is the newer."""

    came: int = 0
    """The highest number that came."""

    settled: int = 0
    """Every part up to this number has its row."""

    row: int = 0
    """Rows of parts after `settled` stand behind this row of the ledger."""

    utc_ns: int = 0
    """When the last part came."""

    counter: int = -1
    """The PLC's raw count of parts at the last one; -1 without one."""


class PartNumbers:
    """The numbers of one line's parts. Lives on one loop; every call takes microseconds."""

    def __init__(self, folder: Path, *, rows: int, known: int) -> None:
        """Open or create the file. `rows`: how many the ledger has; `known`: the highest number in it.

        Raises ConfigError.
        """
        path = folder / FILE
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if os.fstat(self._file).st_size < 2 * _SLOT_BYTES:  # with its blocks: a full disk cannot refuse a mark
                os.pwrite(self._file, bytes(2 * _SLOT_BYTES), 0)
                os.fsync(self._file)
            found = [_read(os.pread(self._file, _SLOT_BYTES, slot * _SLOT_BYTES)) for slot in range(2)]
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}; make room or mend its rights") from error
        self.found = max(filter(None, found), key=lambda each: each.written, default=Mark(settled=known))
        """What the file said when it was opened."""

        if self.found.row > rows:  # another ledger's, or one that was put back: the rows do not go with it
            self.found = Mark(self.found.written, settled=known)
        came = max(self.found.came, known)
        self.mark = replace(self.found, came=came)
        """What it says now."""

        # Parts without a row, and how many rows there were when they came; in order, at most what the ledger lets wait and owes.
        self._open = dict.fromkeys(self.unsettled, self.found.row)
        self._ended = False

    @property
    def unsettled(self) -> range:
        """Numbers that had come and may have had no row when it was opened. Whoever opens it settles them."""
        return range(self.found.settled + 1, self.mark.came + 1)

    def came(self, number: int, *, rows: int, utc_ns: int, counter: int = -1) -> None:
        """A part is there; `rows` the ledger has now."""
        self._open[number] = rows
        counter = self.mark.counter if counter < 0 else counter
        self._write(replace(self.mark, came=max(number, self.mark.came), utc_ns=utc_ns, counter=counter))

    def settle(self, number: int, *, rows: int) -> None:
        """The part's row is durable; `rows` the ledger has now."""
        self._open.pop(number, None)
        first = next(iter(self._open), None)
        settled = self.mark.came if first is None else first - 1
        row = rows if first is None else self._open[first]
        self._write(replace(self.mark, settled=max(settled, self.mark.settled), row=row))

    def close(self) -> None:
        """Let the file go. Idempotent."""
        if not self._ended:
            os.close(self._file)
        self._ended = True

    def _write(self, mark: Mark) -> None:
        self.mark = replace(mark, written=self.mark.written + 1)
        if self._ended:
            return
        said = _FIELDS.pack(_MAGIC, *(getattr(self.mark, name) for name in Mark.__dataclass_fields__))
        os.pwrite(self._file, said + struct.pack("<I", zlib.crc32(said)), self.mark.written % 2 * _SLOT_BYTES)


def _read(slot: bytes) -> Mark | None:
    """What a slot says; None if it is empty or torn."""
    said = slot[: _FIELDS.size]
    if len(slot) < _SLOT_BYTES or slot[_FIELDS.size : _FIELDS.size + 4] != struct.pack("<I", zlib.crc32(said)):
        return None
    magic, *fields = _FIELDS.unpack(said)
    return Mark(*fields) if magic == _MAGIC else None
