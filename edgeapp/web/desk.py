"""The rule book and the golden parts as the pages need them; the wiring puts the station's own behind it."""

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
