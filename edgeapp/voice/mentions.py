"""What a text says of a shop: which things it names and which values, in order, and which of its words are neither.

Numbers may be digits or words ("12 euros 50", "twelve fifty", "half past eight", "8:30"), names may be plural. Both sides of
a conversation are read with it: what a question names (`edgeapp.voice.asked`), and what a reply claims
(`edgeapp.voice.grounding`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from edgeapp.voice.content import DAYS, VERDICTS, ZONES, Content
from edgeapp.voice.relevance import stem

_TOKEN: Final = re.compile(r"\d+(?:[.:,]\d+)+(?![a-z0-9])|[^\W_]+(?:'[^\W_]+)*|[€$£%°,]")
_SHORT: Final = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "o'clock": "oclock", "i'm": "i am",
}  # fmt: skip
_SHORT_IS: Final = re.compile(r"\b(it|that|there|here|what|where|who|how|when)'s\b")
_SHORT_ENDS: Final = {"n't": " not", "'re": " are", "'ve": " have", "'ll": " will"}

_UNITS: Final = {
    word: value
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
    )
}  # fmt: skip
_TENS: Final = {
    word: 10 * value
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_POINTING: Final = frozenset({"another", "any", "no", "that", "the", "this", "which"})
"""Behind these "one" is no number."""

_EUROS: Final = frozenset({"euro", "euros", "€"})
_CENTS: Final = frozenset({"cent", "cents"})
_PIECES: Final = frozenset({"piece", "pieces"})
_NOON_MIN: Final = 12 * 60


class Sort(StrEnum):
    """What a mention is."""

    ITEM = "item"
    ZONE = "zone"
    DAY = "day"
    PARTS = "parts"
    GOODS = "goods"  # the words that say what is at a zone
    SHOP = "shop"
    PRICE = "price"  # cents
    CLOCK = "clock"  # minutes after midnight
    NUMBER = "number"
    PAIR = "pair"  # "12 50", "8.30": a price or a time, whichever its subject has
    STATE = "state"
    WORD = "word"


SUBJECTS: Final = frozenset({Sort.ITEM, Sort.ZONE, Sort.DAY, Sort.PARTS})
VALUES: Final = frozenset({Sort.GOODS, Sort.PRICE, Sort.CLOCK, Sort.NUMBER, Sort.PAIR, Sort.STATE})

SOLD_OUT: Final = "sold out"
IN_STOCK: Final = "in stock"
OPEN: Final = "open"
CLOSED: Final = "closed"

_STATES: Final[Mapping[str, str]] = {
    "sold out": SOLD_OUT, "out of stock": SOLD_OUT, "not in stock": SOLD_OUT, "not available": SOLD_OUT,
    "unavailable": SOLD_OUT, "in stock": IN_STOCK, "available": IN_STOCK, "not open": CLOSED, "closed": CLOSED,
    "open": OPEN,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mention:
    """One thing, value or word of a text."""

    sort: Sort
    value: str | int | tuple[int, int]
    start: int
    """Its first token's place."""

    end: int


@dataclass(frozen=True)
class Lexicon:
    """The names of one shop, ready to be found. Longer names win over shorter ones inside them."""

    phrases: Mapping[tuple[str, ...], tuple[Sort, str]]
    longest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "longest", max(map(len, self.phrases), default=1))


def lexicon(content: Content) -> Lexicon:
    """All that this shop has a name for. If two things have one name, it is the item's."""
    named = [(text, Sort.STATE, state) for text, state in _STATES.items()]
    named += [(text, Sort.GOODS, zone) for zone, text in content.zones.items()]
    named += [(content.name, Sort.SHOP, content.name)]
    named += [(f"parts {verdict}", Sort.PARTS, verdict) for verdict in VERDICTS]
    named += [(verdict, Sort.PARTS, verdict) for verdict in VERDICTS]
    named += [(day, Sort.DAY, day) for day in DAYS] + [(zone, Sort.ZONE, zone) for zone in ZONES]
    named += [(item.name, Sort.ITEM, item.name) for item in content.items]
    return Lexicon({_stems(tokens(text)): (sort, value) for text, sort, value in named})


def names_of(things: Iterable[str]) -> Lexicon:
    """Nothing but the names of these things, as items."""
    return Lexicon({_stems(tokens(name)): (Sort.ITEM, name) for name in things})


def tokens(text: str) -> list[str]:
    """Lower-case words, numbers, commas and signs of money; short forms written out."""
    text = _SHORT_IS.sub(r"\1 is", text.lower().replace("’", "'"))
    for short, long in _SHORT.items():
        text = re.sub(rf"\b{short}\b", long, text)
    for short, long in _SHORT_ENDS.items():
        text = text.replace(short, long)
    return [word for token in _TOKEN.findall(text) for word in token.replace("'", " '").split()]


def mentions(words: Sequence[str], names: Lexicon) -> list[Mention]:
    """Read `words` from left to right; every token belongs to exactly one mention."""
    stems = _stems(words)
    found: list[Mention] = []
    at = 0
    while at < len(words):
        one = _name_at(stems, at, names) or _clock_at(words, at) or _money_at(words, at) or _number_at(words, at)
        one = one or Mention(Sort.WORD, words[at], at, at + 1)
        found.append(one)
        at = one.end
    return found


def _stems(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(stem(word) for word in words)


def _name_at(stems: tuple[str, ...], at: int, names: Lexicon) -> Mention | None:
    for length in range(min(names.longest, len(stems) - at), 0, -1):
        if hit := names.phrases.get(stems[at : at + length]):
            return Mention(*hit, at, at + length)
    return None


def _clock_at(words: Sequence[str], at: int) -> Mention | None:
    """A time that can be nothing else: "8:30", "half past eight", "6 pm", "noon"."""
    if words[at] in {"noon", "midnight"}:
        return Mention(Sort.CLOCK, _NOON_MIN if words[at] == "noon" else 0, at, at + 1)
    past = {("half", "past"): 30, ("quarter", "past"): 15, ("quarter", "to"): -15}.get(tuple(words[at : at + 2]))  # type: ignore[arg-type]
    if past is not None and (hour := _whole_at(words, at + 2)):
        return _afternoon(words, hour[0] * 60 + past, at, hour[1])
    if match := re.fullmatch(r"(\d{1,2}):(\d\d)", words[at]):
        return _afternoon(words, int(match[1]) * 60 + int(match[2]), at, at + 1)
    if hour := _whole_at(words, at):
        end = hour[1]
        minute = _whole_at(words, end)
        half = minute[1] if minute and words[end] != "," else end
        for stop, minutes in ((half, minute[0] if minute else 0), (end, 0)):
            if stop < len(words) and words[stop] in {"am", "pm", "oclock"}:
                return _afternoon(words, hour[0] * 60 + minutes, at, stop)
    return None


def _afternoon(words: Sequence[str], minutes: int, at: int, end: int) -> Mention:
    """With the "pm" that may follow; minutes after midnight."""
    mark = words[end] if end < len(words) else ""
    if mark == "pm" and minutes < _NOON_MIN:
        minutes += _NOON_MIN
    elif mark == "am" and minutes >= _NOON_MIN:
        minutes -= _NOON_MIN
    return Mention(Sort.CLOCK, minutes, at, end + (mark in {"am", "pm", "oclock"}))


def _money_at(words: Sequence[str], at: int) -> Mention | None:
    """A sum of euros and cents: "12 euros 50", "80 cents", "€12.50", "12.50 euros"."""
    sign = words[at] == "€"
    start = at + sign
    if start >= len(words):
        return None
    if parts := re.fullmatch(r"(\d+)[.,](\d\d)", words[start]):
        end = start + 1
        marked = sign or (end < len(words) and words[end] in _EUROS)
        cents = int(parts[1]) * 100 + int(parts[2])
        return Mention(Sort.PRICE, cents, at, end + (marked and not sign)) if marked else None
    whole = _whole_at(words, start)
    if whole is None:
        return None
    value, end = whole
    if sign:
        return Mention(Sort.PRICE, value * 100, at, end)
    if end < len(words) and words[end] in _CENTS:
        return Mention(Sort.PRICE, value, at, end + 1)
    if end >= len(words) or words[end] not in _EUROS:
        return None
    end += 1
    behind = end + (end < len(words) and words[end] == "and")
    rest = _whole_at(words, behind)
    if rest and rest[0] < 100 and not (rest[1] < len(words) and words[rest[1]] in _PIECES | _EUROS):
        marked = rest[1] < len(words) and words[rest[1]] in _CENTS
        if marked or behind == end:
            return Mention(Sort.PRICE, value * 100 + rest[0], at, rest[1] + marked)
    return Mention(Sort.PRICE, value * 100, at, end)


def _number_at(words: Sequence[str], at: int) -> Mention | None:
    if parts := re.fullmatch(r"(\d+)[.](\d\d)", words[at]):
        return Mention(Sort.PAIR, (int(parts[1]), int(parts[2])), at, at + 1)
    whole = _whole_at(words, at)
    if whole is None:
        return None
    value, end = whole
    rest = _whole_at(words, end)
    if rest and rest[0] < 100 and not (rest[1] < len(words) and words[rest[1]] in _PIECES):
        return Mention(Sort.PAIR, (value, rest[0]), at, rest[1])
    return Mention(Sort.NUMBER, value, at, end)


def _whole_at(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """A whole number and where it ends: "112", "1,250", "one hundred and twelve", "a hundred"; None if there is none."""
    if at >= len(words):
        return None
    if re.fullmatch(r"\d+(,\d\d\d)*", words[at]):
        return int(words[at].replace(",", "")), at + 1
    if words[at] == "one" and at and words[at - 1] in _POINTING:
        return None
    if words[at] == "a" and words[at + 1 : at + 2] in (["hundred"], ["thousand"]):
        total, current, end = 0, 1, at + 1
    elif words[at] in _UNITS or words[at] in _TENS:
        total, current, end = 0, _UNITS.get(words[at], _TENS.get(words[at], 0)), at + 1
    else:
        return None
    while end < len(words):
        word = words[end]
        joined = word == "and" and current % 100 == 0 and current + total > 0
        if joined and end + 1 < len(words) and (words[end + 1] in _UNITS or words[end + 1] in _TENS):
            end, word = end + 1, words[end + 1]
        unit, ten = _UNITS.get(word), _TENS.get(word)
        if word == "hundred" and 0 < current < 100:
            current *= 100
        elif word == "thousand" and 0 < current < 1000 and not total:
            total, current = current * 1000, 0
        elif (ten or unit) and current % 100 == 0 and (current or total):
            current += ten or unit or 0
        elif unit and unit < 10 and current % 100 >= 20 and current % 10 == 0:
            current += unit
        else:
            break
        end += 1
    return total + current, end
