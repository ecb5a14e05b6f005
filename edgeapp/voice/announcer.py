"""Alarms said aloud when nobody speaks: the severest first, the newest of these, and none of them again and again.

An alarm never begins over a person, over a reply, or between "Shall I?" and the answer. A person who speaks over it stops it,
as they stop a reply.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Final, Protocol

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.record import AlarmRecord
from edgeapp.voice.clauses import speakable

_WAITING_MAX: Final = 8  # more than a person can act on: what is older and milder than all of these is not said
_HEARD_MAX: Final = 64  # kinds of alarms whose last time is remembered
_CHARS_MAX: Final = 120  # some seven seconds; with a few words before it still what a tool may say
_TRIES_MAX: Final = 5  # a voice that fails so often has nothing to say it with
_AGAIN_NS: Final = 1_000 * MS  # between two tries
_LOOK_NS: Final = 100 * MS  # how often it is asked whether somebody speaks, while an alarm waits

RANKS: Final = ("outputs.reject", "station.ledger", "station", "vision", "outputs")
"""By where an alarm comes from, the severest first: a bad part that may have passed, evidence that is not written, a line that
is stopped or drifts, a camera, a cable. `station` is the rank of `station.x` too; anything else comes last."""

BACK: Final = "is back"
"""A device that is lost no more: it is said as an alarm is, the mildest."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An alarm that is to be said."""

    alarm: AlarmRecord
    rank: int
    """0 is the severest."""

    more: int = 0
    """So many of the same kind came since."""

    tries: int = 0
    """How often it was begun and nothing of it was heard."""

    @property
    def what(self) -> str:
        """What happened, as a sentence."""
        what = speakable(self.alarm.what).rstrip(".")
        if len(what) > _CHARS_MAX:
            what = what[:_CHARS_MAX].rpartition(" ")[0]
        if self.alarm.what == BACK:
            what = f"{speakable(self.alarm.where.replace('.', ' ').replace('_', ' '))} {what}"
        return f"{what[:1].upper()}{what[1:]}."

    @property
    def text(self) -> str:
        """As it is said unasked."""
        more = f" {self.more} more of this kind." if self.more else ""
        return f"{self.what}{more}" if self.alarm.what == BACK else f"Alarm. {self.what}{more}"


class Alarms:
    """The alarms that wait to be said, and which were said lately. Pure: instants come with the alarms."""

    def __init__(self, again_ns: int) -> None:
        """The same alarm is said again after `again_ns` at the soonest."""
        self._again_ns = again_ns
        self._waiting: list[Waiting] = []
        self._said_ns: dict[tuple[str, str], int] = {}
        self.dropped = 0
        """Alarms that found the list full of severer or newer ones."""

        self.held_back = 0
        """Alarms that were the same as one that waited or was said lately."""

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """In the order in which they will be said."""
        return tuple(self._waiting)

    def came(self, alarm: AlarmRecord) -> bool:
        """One more; False if it will not be said by itself."""
        kind = _kind(alarm)
        for number, each in enumerate(self._waiting):
            if _kind(each.alarm) == kind:
                self._waiting[number] = replace(each, more=each.more + 1)
                self.held_back += 1
                return False
        said_ns = self._said_ns.get(kind)
        if said_ns is not None and alarm.at_ns - said_ns < self._again_ns:
            self.held_back += 1
            return False
        self._put(Waiting(alarm, _rank(alarm)))
        return any(each.alarm is alarm for each in self._waiting)

    def back(self, one: Waiting) -> None:
        """It was not heard after all: it waits again, unless that has happened too often."""
        self._said_ns.pop(_kind(one.alarm), None)
        if one.tries + 1 < _TRIES_MAX:
            self._put(replace(one, tries=one.tries + 1))
        else:
            self.dropped += 1

    def next(self, at_ns: int) -> Waiting | None:
        """Take the one to be said now; None if there is none."""
        if not self._waiting:
            return None
        one = self._waiting.pop(0)
        self._said_ns.pop(_kind(one.alarm), None)
        self._said_ns[_kind(one.alarm)] = at_ns
        if len(self._said_ns) > _HEARD_MAX:
            del self._said_ns[next(iter(self._said_ns))]
        return one

    def _put(self, one: Waiting) -> None:
        self._waiting = sorted([*self._waiting, one], key=lambda each: (each.rank, -each.alarm.at_ns))
        self.dropped += len(self._waiting) > _WAITING_MAX
        del self._waiting[_WAITING_MAX:]


class Talking(Protocol):
    """What an announcer asks of a conversation."""

    @property
    def quiet(self) -> bool:
        """Does nobody speak, and is nothing being answered or asked?"""

    async def announce(self, text: str) -> str:
        """Say it; returns what of it was heard."""


class Announcer:
    """Says alarms through one conversation. Lives on one loop; `run` until cancelled."""

    def __init__(self, again_ns: int = 120_000 * MS) -> None:
        self.alarms = Alarms(again_ns)
        self.last: Waiting | None = None
        """The last alarm of which something was heard."""

        self.said_ns = -1
        """When, on the loop's clock."""

        self._came = asyncio.Event()

    @property
    def dropped(self) -> int:
        """What the list had to let go."""
        return self.alarms.dropped

    def alarm(self, alarm: AlarmRecord) -> None:
        """Say it as soon as nobody speaks."""
        if self.alarms.came(alarm):
            self._came.set()

    def tell(self) -> Waiting | None:
        """Take the next alarm to say it in a reply."""
        one = self.alarms.next(now_ns())
        if one is not None:
            self._said(one)
        return one

    async def run(self, talk: Talking) -> None:
        """Until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self.alarms.waiting:
                while not talk.quiet:  # as long as people speak
                    await asyncio.sleep(_LOOK_NS / 1e9)
                one = self.alarms.next(now_ns())
                if one is None:  # it was said in a reply meanwhile
                    break
                if await talk.announce(one.text):
                    self._said(one)
                else:
                    self.alarms.back(one)
                    await asyncio.sleep(_AGAIN_NS / 1e9)

    def _said(self, one: Waiting) -> None:
        self.last, self.said_ns = one, now_ns()


def _kind(alarm: AlarmRecord) -> tuple[str, str]:
    """Alarms that differ in their numbers only are the same to a person."""
    return alarm.where, re.sub(r"\d+", "#", alarm.what)


def _rank(alarm: AlarmRecord) -> int:
    if alarm.what == BACK:
        return len(RANKS) + 1
    return next(
        (rank for rank, room in enumerate(RANKS) if alarm.where == room or alarm.where.startswith(f"{room}.")),
        len(RANKS),
    )
