"""What the pages stand on: everything of the device that they may read or change, as the wiring hands it over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from edgeapp.models.golden import Check
from edgeapp.station.evidence import Judgement
from edgeapp.station.ledger import Receipt
from edgeapp.web.attempts import Attempts
from edgeapp.web.desk import ContentDesk, Golden, Rules
from edgeapp.web.live import Live
from edgeapp.web.picture import Sort
from edgeapp.web.sessions import Sessions
from edgeapp.web.trail import Trail
from edgeapp.web.users import Users

Visitors = Literal["here", "anyone", "nobody"]


class Finding(Protocol):
    """One line of the doctor's report."""

    @property
    def what(self) -> str: ...
    @property
    def state(self) -> Literal["ok", "note", "broken"]: ...
    @property
    def says(self) -> str: ...
    @property
    def fix(self) -> str: ...


class Book(Protocol):
    """A ledger that is open for writing."""

    async def judge(self, judgement: Judgement) -> Receipt: ...


@dataclass(frozen=True, slots=True)
class Face:
    """What the kiosk's page says without a login."""

    name: str
    languages: tuple[str, ...] = ("en",)
    keyphrase: str = ""
    """What to say to wake it; empty if nothing has to be said."""

    touch: bool = False
    """Is there anything that a touch does?"""

    questions: tuple[str, ...] = ()
    """What may be asked, for the idle screen."""

    hours: tuple[tuple[str, str], ...] = ()
    """Day and opening hours, Monday first; empty where they are not known."""

    idle_ms: float = 20_000.0


@dataclass(frozen=True, slots=True)
class Touch:
    """The visitor's finger on the screen."""

    pressed: Callable[[], None]
    released: Callable[[], None]


class Shift(Protocol):
    """Who is at the line, and what runs on it."""

    operator: str
    lot: str

    def takes_over(self, operator: str, lot: str, by: str) -> None:
        """From the next verdict on; `by` says who told so."""
        ...


@dataclass(slots=True)
class Site:
    """One device's pages."""

    name: str
    app: str
    live: Live
    users: Users
    sessions: Sessions
    trail: Trail
    attempts: Attempts = field(default_factory=Attempts)
    token: str = ""
    """The device's own, for `edgeapp top`: it may look."""

    secure: bool = False
    """Is it served by TLS?"""

    names: tuple[str, ...] = ()
    """Host names it answers to, beside loopback's and plain addresses."""

    visitors: Visitors = "here"
    words: bool = True
    face: Callable[[], Face] = lambda: Face("edgeapp")
    touch: Touch | None = None
    ledger_folder: Path | None = None
    ledger: Book | None = None
    sort: Sort = lambda boxes: ((), boxes)
    """Which boxes of a verdict are drawn, and as what."""

    defects: Callable[[], Sequence[str]] = tuple
    """What a part can be judged to have, by the rule in use."""

    content: ContentDesk | None = None
    rules: Rules | None = None
    golden: Golden | None = None
    acknowledge: Callable[[str], None] | None = None
    """By whom."""

    shift: Shift | None = None
    doctor: Callable[[], Sequence[Finding]] = list
    """For a thread: seconds."""

    check: Check | None = None
    """The golden gate, which a model passes before it serves."""
