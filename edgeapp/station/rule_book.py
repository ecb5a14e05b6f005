"""The rule book: every rule that was ever signed, who signed it and why, and which one is in use.

A folder. Rules lie in files named VERSION-SHA256.toml and are never changed or removed. `signatures` has one line for each
signature and each change of the rule in use: the hash of the line before it continued (sha256, as in the ledger), a space, and a
JSON object. `anchor.json` says how many lines count and how they end, signed with HMAC-SHA256 if there is a key (station/anchor.py).

What is found: a changed rule, a changed, missing or exchanged line, an end that was cut off. A line that the anchor does not count is
none: so a power cut while signing leaves the book as it was, and without the key nobody can add a line.
Who can write the folder and there is no key, can write the whole book anew: its head stands in the ledger's row `rule`.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from edgeapp.core import durable
from edgeapp.core.events import ConfigError
from edgeapp.station import anchor as anchors
from edgeapp.station.evidence import Head, follow

SIGNATURES: Final = "signatures"
ANCHOR: Final = "anchor.json"

RULE_BYTES_MAX: Final = 1_000_000  # a rule is some kilobytes
_LINES_MAX: Final = 100_000  # a new rule every five minutes for a year
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_DIGITS: Final = 12  # of a hash, where a person reads or types it


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody put a name to."""

    number: int
    """From 1."""

    what: Literal["signed", "used"]
    """A rule was found good, or came into use from here on."""

    version: str
    sha256: str
    """Of the rule's file."""

    by: str
    why: str
    utc_ns: int

    @property
    def id(self) -> str:
        """As the verdicts have it (`InspectionRule.id`)."""
        return f"{self.version} {self.sha256[:_DIGITS]}"


@dataclass(frozen=True, slots=True)
class Book:
    """The book as it was read."""

    folder: Path
    head: Head
    lines: tuple[Line, ...]

    @property
    def signed(self) -> tuple[Line, ...]:
        """Every rule that was signed, the first one first."""
        return tuple(each for each in self.lines if each.what == "signed")

    @property
    def in_use(self) -> Line | None:
        """What decides now; None if nothing was ever taken into use."""
        return next((each for each in reversed(self.lines) if each.what == "used"), None)

    def signature(self, sha256: str) -> Line | None:
        """Who signed this rule."""
        return next((each for each in self.signed if each.sha256 == sha256), None)

    def find(self, name: str) -> Line:
        """A signed rule by its version, its id or the beginning of its hash (at least 6 digits). Raises ConfigError."""
        found = [
            each
            for each in self.signed
            if name in {each.version, each.id} or (len(name) >= 6 and each.sha256.startswith(name))
        ]
        if len(found) != 1:
            known = ", ".join(each.version for each in self.signed) or "none yet"
            raise ConfigError(f"the rule book {self.folder} has no one rule {name!r}; signed are {known}")
        return found[0]

    def text(self, line: Line) -> str:
        """The rule's text, checked against its hash. Raises ConfigError."""
        path = _path(self.folder, line.version, line.sha256)
        try:
            content = path.read_bytes()[: RULE_BYTES_MAX + 1]
        except OSError as error:
            raise ConfigError(f"cannot read the rule {path}: {error.strerror}; put the file back") from error
        if hashlib.sha256(content).hexdigest() != line.sha256:
            signed = self.signature(line.sha256) or line
            raise ConfigError(f"the rule {path} is not what {signed.by} signed: it was changed; put the file back")
        return content.decode()


def read_book(folder: Path, key: bytes = b"") -> Book:
    """Read and check the book; an empty one if there is none yet. Raises ConfigError if it is not what was written."""
    try:
        anchor = anchors.read(folder / ANCHOR)
        path = folder / SIGNATURES
        raw = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ConfigError(f"cannot read the rule book {folder}: {error.strerror}; mend the folder's rights") from error
    if anchor is None:
        if raw:
            raise ConfigError(f"the rule book {folder} has lost its anchor: put it back, or begin a new book")
        return Book(folder, Head(), ())
    if key and not anchors.is_sealed_by(anchor, key):
        raise ConfigError(f"the anchor of the rule book {folder} was not made with this key: somebody changed it")
    head, lines = Head(), []
    for number, line in enumerate(raw.split(b"\n")[: anchor.rows], 1):
        digest, _, body = line.partition(b" ")
        head = follow(head, body)
        if digest.decode(errors="replace") != head.hash.hex():
            raise ConfigError(f"line {number} of the rule book {folder} was changed: put the book back as it was")
        try:
            lines.append(msgspec.json.decode(body, type=Line))
        except msgspec.MsgspecError as error:
            raise ConfigError(f"line {number} of the rule book {folder} is none: {error}") from error
    if (anchor.rows, anchor.head) != (head.rows, head.hash.hex()):
        raise ConfigError(f"the end of the rule book {folder} is missing or another one: put the book back as it was")
    return Book(folder, head, tuple(lines))


def sign(folder: Path, content: bytes, version: str, *, by: str, why: str, utc_ns: int, key: bytes = b"") -> Book:
    """Put a rule into the book under a name, durably. Raises ConfigError.

    The same file again adds nothing; another one with a version that is there is refused: both would be called the same.
    """
    _named(by, why)
    if not _VERSION.fullmatch(version):
        raise ConfigError(f"the rule's version {version!r} must be letters, digits and . _ + -, at most 40 of them")
    if len(content) > RULE_BYTES_MAX:
        raise ConfigError(f"the rule has {len(content)} bytes; at most {RULE_BYTES_MAX}")
    sha256 = hashlib.sha256(content).hexdigest()
    with _writing(folder):
        book = read_book(folder, key)
        if there := next((each for each in book.signed if each.version == version), None):
            if there.sha256 == sha256:
                return book
            raise ConfigError(
                f"version {version} was signed by {there.by} with other content; give the file a new version"
            )
        try:
            durable.replace(_path(folder, version, sha256), content)
        except OSError as error:
            raise ConfigError(f"cannot write the rule book {folder}: {error.strerror}") from error
        return _add(book, "signed", version, sha256, by, why, utc_ns, key)


def use(folder: Path, name: str, *, by: str, why: str, utc_ns: int, key: bytes = b"") -> Book:
    """Take a signed rule into use, durably. Raises ConfigError."""
    _named(by, why)
    with _writing(folder):
        book = read_book(folder, key)
        line = book.find(name)
        book.text(line)
        return _add(book, "used", line.version, line.sha256, by, why, utc_ns, key)


def _add(
    book: Book, what: Literal["signed", "used"], version: str, sha256: str, by: str, why: str, utc_ns: int, key: bytes
) -> Book:
    if len(book.lines) >= _LINES_MAX:
        raise ConfigError(f"the rule book {book.folder} is full ({_LINES_MAX} lines); begin a new one")
    line = Line(len(book.lines) + 1, what, version, sha256, by, why, utc_ns)
    body = msgspec.json.encode(line)
    head = follow(book.head, body)
    folder = book.folder
    try:
        path = folder / SIGNATURES
        kept = b"".join(path.read_bytes().splitlines(keepends=True)[: book.head.rows]) if path.exists() else b""
        durable.replace(path, kept + head.hash.hex().encode() + b" " + body + b"\n")
        found = anchors.read(folder / ANCHOR)
        name = found.ledger if found else secrets.token_hex(16)
        anchors.write(folder / ANCHOR, anchors.sealed(name, head, utc_ns, key))
    except OSError as error:
        raise ConfigError(f"cannot write the rule book {folder}: {error.strerror}") from error
    return Book(folder, head, (*book.lines, line))


def _named(by: str, why: str) -> None:
    if not by.strip() or not why.strip():
        raise ConfigError("a signature needs a name and a reason: --by NAME --why TEXT")


def _path(folder: Path, version: str, sha256: str) -> Path:
    return folder / f"{version}-{sha256}.toml"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One process at a time. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise ConfigError(f"another process writes the rule book {folder}: try again") from error
    except OSError as error:
        raise ConfigError(f"cannot write the rule book {folder}: {error.strerror}; mend the folder's rights") from error
