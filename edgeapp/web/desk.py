"""The rule book, the golden parts and the content as the pages need them; the wiring puts the device's own behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A rule that somebody signed."""

    version: str
    id: str
    by: str
    why: str
    utc_ns: int
    in_use: bool


@dataclass(frozen=True, slots=True)
class Flip:
    """A verdict that would have been another one."""

    seq: int
    was: str
    would: str
    why: str
    """The new rule's reason."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a rule would have said of parts that were judged long ago."""

    rows: int
    flips: int
    listed: tuple[Flip, ...]
    """Some of them: the first ones."""

    cannot_tell: int
    """Rows that do not hold what the rule would have looked at."""


@dataclass(frozen=True, slots=True)
class GoldenRun:
    """One run of the golden parts."""

    utc_ns: int
    why: str
    ok: bool
    wrong: tuple[str, ...]
    drift: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContentText:
    """A content file as it lies there."""

    text: str
    tag: str
    """Stands for this text: who saves says which text it was made from."""

    file: str
    locked: str
    """Why it cannot be saved; empty if it can."""

    in_use: bool
    """Does the voice answer from this text?"""


@dataclass(frozen=True, slots=True)
class ContentChange:
    """What is known otherwise with another text: lines of facts."""

    gone: tuple[str, ...]
    new: tuple[str, ...]


class Rules(Protocol):
    """The station's rule book."""

    def lines(self) -> Sequence[RuleLine]:
        """What was signed, newest first. Reads a file: for a thread. Raises ConfigError."""

    def text(self) -> str:
        """The rule that is in use, as TOML, to begin a change from. For a thread. Raises ConfigError."""

    def dry_run(self, toml: str, hours: float) -> DryRun:
        """Ask a rule about the parts of the last hours; changes nothing. For a thread: seconds. Raises ConfigError."""


class Golden(Protocol):
    """The station's golden parts."""

    def trouble(self) -> str:
        """Why the station must not pass parts now; empty if it may."""

    def runs(self) -> Sequence[GoldenRun]:
        """The last runs, newest first. For a thread."""

    async def run(self, why: str) -> GoldenRun:
        """Look at them now. Raises BackendError or ConfigError."""


class ContentDesk(Protocol):
    """The content file of a running voice."""

    def read(self) -> ContentText:
        """The file as it is now. For a thread. Raises ConfigError."""

    async def check(self, text: str) -> ContentChange:
        """What would change. Raises ConfigError, with its line, for what is not right, BackendError."""

    async def save(self, text: str, tag: str) -> ContentChange:
        """Replace the text that `tag` stands for, and answer from the new one. Raises ConfigError, BackendError."""
