"""What a spoken reply claims, judged from the shop's own tables: the checker of `edgeapp bench grounding`.

It shares no code with `edgeapp.voice.grounding`, which is what it judges: it knows which things a question was about and what
is true of them, finds prices, counts, hours, places and names by patterns of its own, and takes every word that is left over
for a name that no fact holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgeapp.voice.content import Content

_ZONE: Final = re.compile(r"\b(front|rear|side) (left|center|right)\b")
_PRICE: Final = re.compile(r"\b(\d+) euros?(?: (\d+)\b(?! pieces?))?|\b(\d+) cents?\b")
_PIECES: Final = re.compile(r"\b(\d+) pieces?\b")
_STATE: Final = re.compile(r"\b(sold out|in stock)\b")
_HOURS: Final = re.compile(r"\bopen from (\d+(?: \d\d)?) to (\d+(?: \d\d)?)\b|\bclosed\b")
_PARTS: Final = re.compile(r"\bparts (passed|failed|not inspected) today (\d+)\b")
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PLAIN: Final = frozenset({"the", "is", "are", "at", "a", "of", "costs", "cost", "on", "it", "and"})
_HARMLESS: Final = (
    "i am sorry i do not know that", "i am sorry i can not help with that", "which day do you mean", "you are welcome",
    "goodbye and have a nice day", "you can ask me about places prices stock and opening hours", "shall i call somebody",
    "i am sorry i cannot answer right now", "all right i will not",
)  # fmt: skip
_NUMBER_WORDS: Final = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|hundred)\b"
)


@dataclass(frozen=True)
class Subject:
    """What a question was about: all that may be spoken of in its answer."""

    items: frozenset[str] = frozenset()
    days: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    readings: Mapping[str, str] = field(default_factory=dict)
    """Of sensors and the like: what is read, and the value."""

    claims_something: bool = False
    """It asserts a thing, so "all right" would say yes to it."""


def ungrounded(reply: str, content: Content, subject: Subject) -> list[str]:
    """Every piece of the reply that is not so, or is of another thing than asked for; empty if all of it is grounded."""
    wrong: list[str] = []
    for sentence in re.split(r"[.!?]+(?:\s|$)", reply):
        said = " ".join(re.sub(r"[^\w' ]", " ", sentence.lower()).split())
        if said and not _is_harmless(said, content, subject):
            wrong += _of_sentence(said, content, subject)
    return wrong


def _is_harmless(said: str, content: Content, subject: Subject) -> bool:
    name = content.name.lower()
    named = (f"hello welcome to {name}", f"i am the voice of {name} and i can help you find things")
    if said == "all right":
        return not subject.claims_something
    return said in _HARMLESS or said in named


def _of_sentence(said: str, content: Content, subject: Subject) -> list[str]:
    for about, value in subject.readings.items():
        if said == f"{about} is {value}":
            return []
    if found := _PARTS.fullmatch(said):
        counts = content.qc
        true = {"passed": -1, "failed": -1, "not inspected": -1}
        if counts:
            true = {"passed": counts.passed, "failed": counts.failed, "not inspected": counts.not_inspected}
        return [] if found[1] in subject.parts and true[found[1]] == int(found[2]) else [said]
    if zone := re.match(r"at the ((?:front|rear|side) (?:left|center|right)) (.+)", said):
        text = " ".join(re.sub(r"[^\w' ]", " ", content.zones.get(zone[1], "").lower()).split())
        return [] if zone[1] in subject.zones and text == zone[2] else [said]
    if day := re.match(rf"on ({'|'.join(_DAYS)}) (.+)", said):
        return [] if day[1] in subject.days and day[2] == _hours(content, day[1]) else [said]
    return _of_item(said, content, subject)


def _of_item(said: str, content: Content, subject: Subject) -> list[str]:
    """A sentence about one item, which it must name by its whole name."""
    named = [item for item in content.items if re.search(rf"\b{re.escape(item.name.lower())}\b", said)]
    named.sort(key=lambda item: -len(item.name))
    if not named:
        return [said]
    item = named[0]
    wrong = [] if item.name in subject.items else [f"of the {item.name}, which was not asked for"]
    left = re.sub(rf"\b{re.escape(item.name.lower())}\b", " ", said, count=1)
    for price in _PRICE.finditer(left):
        cents = int(price[3]) if price[3] else int(price[1]) * 100 + int(price[2] or 0)
        wrong += [] if cents == item.price_cents else [f"{price[0]} of the {item.name}"]
    for pieces in _PIECES.finditer(left):
        wrong += [] if int(pieces[1]) == item.stock else [f"{pieces[0]} of the {item.name}"]
    for state in _STATE.finditer(left):
        so = item.stock == 0 if state[1] == "sold out" else bool(item.stock)
        wrong += [] if so else [f"{state[0]} of the {item.name}"]
    for zone in _ZONE.finditer(left):
        wrong += [] if zone[0] == item.where else [f"{zone[0]} of the {item.name}"]
    for pattern in (_PRICE, _PIECES, _STATE, _ZONE, _HOURS):
        left = pattern.sub(" ", left)
    rest = [word for word in left.split() if word not in _PLAIN]
    return wrong + ([f"'{' '.join(rest)}' in: {said}"] if rest or _NUMBER_WORDS.search(left) else [])


def _hours(content: Content, day: str) -> str:
    hours = content.hours.get(day)
    if hours is None:
        return ""
    if hours.opens_min is None or hours.closes_min is None:
        return "closed"
    clocks = [divmod(minutes, 60) for minutes in (hours.opens_min, hours.closes_min)]
    first, last = (f"{hour} {minute:02d}" if minute else f"{hour}" for hour, minute in clocks)
    return f"open from {first} to {last}"
