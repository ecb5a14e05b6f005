"""Two days at a line: a ledger whose every count is known, and a station's desk that answers from it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ledger_world import evidence

from edgeapp.apps.station_desk import Desk
from edgeapp.apps.station_voice import Line
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Outcome, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.record import AnyRecord
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.engines import fake
from edgeapp.station.evidence import Entry, says
from edgeapp.station.spans import Calendar
from edgeapp.station.store import Store
from edgeapp.voice.announcer import Announcer
from edgeapp.voice.answering import Answering, Question
from edgeapp.voice.content import Content

LABELS: Final = ("scratch", "dent", "stain", "missing_hole", "burr", "crack")
NOW: Final = int(datetime(2026, 3, 5, 16, 40, 30, tzinfo=UTC).timestamp()) * 1_000_000_000
CALENDAR: Final = Calendar(UTC)
_MINUTE_NS: Final = 60_000_000_000
BARE: Final = Content("the station", (), {}, {}, None)


@dataclass(frozen=True)
class Made:
    """A part as it truly was."""

    number: int
    utc_ns: int
    outcome: str
    causes: tuple[str, ...]
    image: str = ""


def two_days(folder: Path, seed: int = 7, parts: int = 1_500) -> list[Made]:
    """Write a ledger of parts up to NOW, more and more of them, none of which has a crack."""
    chance = random.Random(seed)
    ages = sorted((int(chance.expovariate(1 / 700) * _MINUTE_NS) for _ in range(parts)), reverse=True)
    made = []
    for number, age_ns in enumerate(ages, 1):
        outcome = chance.choices(["PASS", "FAIL", "NOT_INSPECTED"], [84, 13, 3])[0]
        causes = {
            "FAIL": tuple(chance.sample(LABELS[:5], chance.choice([1, 1, 1, 2]))),
            "NOT_INSPECTED": ("late",),
        }.get(outcome, ())
        image = f"{number:064x}.jpg" if outcome == "FAIL" else ""
        made.append(Made(number, NOW - age_ns, outcome, causes, image))
    store = Store(folder, utc_ns=NOW)
    for first in range(0, parts, 500):
        store.append(
            [
                Entry(
                    "verdict",
                    each.utc_ns,
                    each.number,
                    says(evidence(each.number, Outcome(each.outcome), each.causes))
                    | {"image": each.image, "image_bytes": 10 * bool(each.image), "image_lost": ""},
                )
                for each in made[first : first + 500]
            ]
        )
    store.close()
    return made


@dataclass
class Machine:
    """What the voice may do to a line, done to nothing."""

    alarm: bool = False
    stopped: str = ""
    limit: int = 0
    golden: str = ""
    notes: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def line(self, folder: Path) -> Line:
        async def note(kind: str, fields: Mapping[str, Any]) -> None:
            self.notes.append((kind, fields))

        return Line(
            folder,
            alarm_is_open=lambda: self.alarm,
            acknowledge=self._acknowledge,
            stopped=lambda: self.stopped,
            stop=lambda why: setattr(self, "stopped", why),
            stop_after=lambda parts: setattr(self, "limit", parts),
            note=note,
            golden_due=lambda: self.golden,
        )

    def _acknowledge(self, by: str) -> None:
        assert by == "voice"
        self.alarm, self.stopped = False, ""


class Operator:
    """Somebody at the station: asks, and hears the answer. The model says whatever `replies` are."""

    def __init__(self, folder: Path, *replies: str, content: Content = BARE) -> None:
        self.machine, self.records, self.announcer = Machine(), list[AnyRecord](), Announcer()
        self.turns: list[tuple[str, str]] = []
        self._lane = Lane("asked")
        self.desk = Desk(
            self.machine.line(folder),
            LABELS,
            CALENDAR,
            self.announcer,
            self.records.append,
            self._lane,
            utc_ns=lambda: NOW,
        )
        lane = Lane("llm")
        model = fake.FakeLlm(fake.Options(kind="llm", texts=replies or ("I am sorry, I do not know that.",)), lane)
        stage: Stage[Prompt, Stream[str]] = Stage("llm", model, lane, local_prior_ns=50 * MS, sink=lambda _: None)
        self.answering = Answering(stage, lambda: content, toolbox=self.desk.toolbox(), own=self.desk.own)

    async def says(self, text: str, *, committed: bool = True) -> str:
        """One question and its answer."""
        event = asyncio.Event()
        if committed:
            event.set()
        question = Question(text, tuple(self.turns), "turn 1", lambda _: now_ns() + 200 * MS, event)
        async with aclosing(self.answering.answer(question)) as clauses:
            said = " ".join([clause async for clause in clauses])
        self.turns = [*self.turns, (text, said)][-2:]
        return said


def causes_of(parts: list[Made], outcome: str = "FAIL") -> Counter[str]:
    """How many parts had which."""
    return Counter(cause for each in parts if each.outcome == outcome for cause in each.causes)
