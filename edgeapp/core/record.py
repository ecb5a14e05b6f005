"""What is written down: one frozen value for each decision. Sinks are callables, one file each, elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgeapp.core.events import Verdict


@dataclass(frozen=True, slots=True)
class Record:
    """One stage call: where it ran, why, and how long it took. No audio, image or text."""

    of: str
    """The turn or frame it served, such as `turn 7` or `belt 123`."""

    stage: str
    asked_ns: int
    due_ns: int
    first_ns: int
    """When the first part was in hand, or when it failed or was cancelled."""

    side: str
    """`local`, `remote` or `none`."""

    why: str
    """The reason of the placement."""

    local_ns: int
    """The bound on local that was used."""

    local_at_ns: int | None = None
    """The last safe moment, if it was sent away."""

    late_share: float | None = None
    """The upper bound of the remote being late in its window, if one was considered."""

    payload_bytes: int = 0
    error: str = ""
    """Empty, `cancelled`, what failed, or the kind of a bug."""

    policy: str = "edgeapp"
    """The name of the rule that placed it."""

    window_ns: int | None = None
    """How long the remote had, or would have had, before local had to start; None if nothing could be promised."""

    rung: int = 0
    """Which local model stood behind it: 0 is the best, 1 the next smaller one."""

    local_took_ns: int | None = None
    """How long local took to its first part, if it ran to it."""

    remote_took_ns: int | None = None
    """How long the remote took, or was waited for, if it was asked."""

    remote_end: str = ""
    """`answered`, `given up` or `failed`; empty if it was not asked."""

    @property
    def late_ns(self) -> int:
        """How much too late the first part was; negative if there was time left."""
        return self.first_ns - self.due_ns


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One voice turn, from the last voiced sample to the end of the reply."""

    number: int
    last_voiced_ns: int
    """The clock's start, as the endpointer believes it."""

    committed_ns: int
    """When the turn was taken for finished."""

    due_ns: int
    first_audible_ns: int | None
    """When the first sample of the reply left the speaker; None if nothing was said."""

    ended_ns: int
    outcome: str
    """`answered`, `not understood`, `interrupted`, `rolled back` (the person went on speaking) or `failed`."""

    heard_words: int
    heard: str = ""
    """The transcript; empty unless the configuration logs text."""

    said: str = ""
    """What was played; empty unless the configuration logs text."""

    error: str = ""

    first_reply_ns: int | None = None
    """When the first sample of the reply itself left the speaker; an opener may have been audible before."""

    opener: bool = False
    """Was an opener played because the reply was not there in time?"""

    foreseen: bool = False
    """Was the reply that was played begun before the turn was over?"""

    candidates: int = 0
    """How many replies were begun before the turn was over."""

    candidate_ns: int | None = None
    """When the reply that was played was begun."""

    staged_ns: int | None = None
    """When its first audible sample was in hand."""

    wasted_ns: int = 0
    """What replies that were begun and thrown away cost, at most."""

    end_why: str = ""
    """Why the turn was taken for finished."""

    end_probability: float | None = None
    """How likely it was over then, by the rule's own reckoning."""

    path: str = ""
    """How the reply came about: by a closed question's answer, the model, a template, a tool."""

    ungrounded: int = 0
    """Clauses of the model that were not spoken, because no fact bore them out."""

    turns_cut: int = 0
    """Turns of the history that did not fit the prompt."""


@dataclass(frozen=True, slots=True)
class DropRecord:
    """Something a buffer let go, counted where it happened."""

    where: str
    at_ns: int
    dropped: int


@dataclass(frozen=True, slots=True)
class GateRecord:
    """One model at the golden gate, when an application starts."""

    where: str
    """The role, as the configuration names it, such as `voice.llm`."""

    at_ns: int
    model: str
    outcome: str
    """`passed`, `refused`, or `not asked` where there is no golden set for it."""

    why: str = ""
    """What was wrong, and what serves instead."""

    cases: int = 0
    right: int = 0
    took_ns: int = 0


@dataclass(frozen=True, slots=True)
class AlarmRecord:
    """Something a person at the line has to know."""

    where: str
    """Which part of the station, such as `reject` or `outputs.mqtt`."""

    at_ns: int
    what: str
    """One sentence that says what to do or what happened."""

    part: int | None = None
    """The number of the part it is about."""


@dataclass(frozen=True, slots=True)
class ScreenRecord:
    """Something from the ledger that a person asked to see."""

    at_ns: int
    what: str
    """In words, such as `the last scratch`."""

    row: int
    """Of the ledger."""

    picture: str
    """The path of the kept picture; empty if none was kept."""

    why: str
    """What the verdict rests on."""


AnyRecord: TypeAlias = Record | TurnRecord | DropRecord | GateRecord | AlarmRecord | ScreenRecord | Verdict
Sink: TypeAlias = Callable[[AnyRecord], None]
