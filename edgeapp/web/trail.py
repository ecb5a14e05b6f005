"""The audit trail: one line for every change that was made, or tried, through the pages; chained as the ledger's rows are.

A line is the hash and the JSON text it covers: sha256 of the hash before it (32 zero bytes before the first) and the text.
Lines are fsynced before the change is answered. `edgeapp web audit` reads them.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeapp.core.events import ConfigError
from edgeapp.station.evidence import Entry, Head, decode, encode, follow

TEXT_MAX: Final = 500
"""Characters of one value: a trail is no place to store things."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line."""

    seq: int
    utc_ns: int
    who: str
    role: str
    address: str
    what: str
    """What was done, such as `models switch`."""

    of: str
    """To what."""

    outcome: str
    """`done`, or why not."""


class Trail:
    """Adds lines. `add` blocks for an fsync: for a thread; several may call it."""

    def __init__(self, file: Path, utc_ns: Callable[[], int]) -> None:
        """Continue the file, or begin it. Raises ConfigError if it cannot be written or is not as it was written."""
        self._file, self._utc_ns, self._one = file, utc_ns, threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._stream = open(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b")  # noqa: SIM115 - closed by `close`
            self._head, self._size = Head(), 0
            with self._one:
                self._catch_up()
        except ConfigError:
            self._stream.close()
            raise
        except OSError as error:
            raise ConfigError(f"cannot write the audit trail {file}: {error.strerror}; mend its rights") from error

    def add(self, *, who: str, role: str, address: str, what: str, of: str = "", outcome: str = "done") -> None:
        """Write down a change, durably. Raises ConfigError: then the change must not be made."""
        says = {"who": who, "role": role, "address": address, "what": what, "of": of, "outcome": outcome}
        entry = Entry("change", self._utc_ns(), time.monotonic_ns(), {k: v[:TEXT_MAX] for k, v in says.items()})
        with self._one:
            try:
                fcntl.flock(self._stream, fcntl.LOCK_EX)  # `edgeapp web passwd` beside a running device
                try:
                    self._append(entry)
                finally:
                    fcntl.flock(self._stream, fcntl.LOCK_UN)
            except OSError as error:
                raise ConfigError(f"cannot write the audit trail {self._file}: {error.strerror}; make room") from error

    def _append(self, entry: Entry) -> None:
        self._catch_up()
        body = encode(entry, self._head.rows + 1)
        head = follow(self._head, body)
        line = head.hash.hex().encode() + b" " + body + b"\n"
        try:
            os.pwrite(self._stream.fileno(), line, self._size)
            os.fsync(self._stream.fileno())
        except OSError:
            os.ftruncate(self._stream.fileno(), self._size)
            raise
        self._head, self._size = head, self._size + len(line)

    def _catch_up(self) -> None:
        """Follow what somebody else added. A torn line at the end was never acknowledged: the power was cut."""
        self._stream.seek(self._size)
        for line in self._stream:
            if not line.endswith(b"\n"):
                os.ftruncate(self._stream.fileno(), self._size)
                break
            self._head = _follow(self._head, line, self._file)
            self._size += len(line)

    def newest(self, most: int) -> list[Change]:
        """The last lines, newest first. Raises ConfigError as `read` does."""
        return [change_of(body) for body, _ in deque(read(self._file), maxlen=most)][::-1]

    def close(self) -> None:
        """Idempotent."""
        self._stream.close()


def read(file: Path) -> Iterator[tuple[dict[str, Any], Head]]:
    """Every line and the head after it. Raises ConfigError at the first that does not follow from those before it."""
    head = Head()
    try:
        with file.open("rb") as stream:
            for line in stream:
                head = _follow(head, line, file)
                yield decode(line.partition(b" ")[2]), head
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the audit trail {file}: {error}") from error


def _follow(head: Head, line: bytes, file: Path) -> Head:
    digest, _, body = line.rstrip(b"\n").partition(b" ")
    head = follow(head, body)
    if head.hash.hex().encode() != digest:
        raise ConfigError(f"line {head.rows} of {file} was changed, or lines before it: keep the file and move it away")
    return head


def change_of(body: dict[str, Any]) -> Change:
    """A line's values."""
    names = ("seq", "utc_ns", "who", "role", "address", "what", "of", "outcome")
    return Change(**{name: body[name] for name in names})
