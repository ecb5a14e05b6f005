"""May this clause be spoken? Every name and every value in it must come from a fact that the question was about.

A clause is read (`edgeapp.voice.mentions`), each value is tied to the thing it is said of, and the pair is looked up in the
shop's content. It is refused if a pair is not there, if it speaks of a thing that was not asked for, or if it has a word that
is neither part of a name nor among the few that claim nothing. So what a model may say freely is a closed list: that is the
price of a promise that holds for any model. Clauses are checked one by one before they are voiced; what was said before in
the same reply is remembered, so that a name may come in one clause and its value in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeapp.voice.asked import Asked, facts_for, right_fact
from edgeapp.voice.content import VERDICTS, Content, Hours, Item, Kind, known
from edgeapp.voice.grammar import normalise
from edgeapp.voice.intents import CANNOT_HELP, COURTESIES, NOT_KNOWN, WHICH_DAY
from edgeapp.voice.mentions import (
    CLOSED,
    IN_STOCK,
    OPEN,
    SOLD_OUT,
    SUBJECTS,
    VALUES,
    Lexicon,
    Mention,
    Sort,
    mentions,
    tokens,
)

_NEUTRAL: Final = frozenset(
    """
    , a an and are area at be being but can close closes closing cost costs currently each find for from have has here i in is it its located
    me of on open opens opening our part parts piece pieces place price priced see section so stock that the them there they this those till to today
    until we well will with you your also oclock
    """.split()  # noqa: SIM905
)
"""Words that claim nothing by themselves."""

_YES: Final = frozenset({"certainly", "correct", "exactly", "indeed", "right", "sure", "true", "yes"})
_WILLING: Final = frozenset({"certainly", "sure"})
"""They only open an answer, if the question claims nothing and asks for nothing but facts."""

_NO: Final = frozenset({"neither", "never", "no", "none", "nor", "not", "without"})
_HAVING: Final = frozenset({"carry", "has", "have", "sell"})
_OPENS: Final = frozenset({"from", "open", "opening", "opens"})
_CLOSES: Final = frozenset({"close", "closes", "closing", "till", "to", "until"})
_COSTS: Final = frozenset({"cost", "costs", "price", "priced"})

_REFUSALS: Final = frozenset(
    map(normalise, (NOT_KNOWN, CANNOT_HELP, "I am sorry", "I am sorry, I cannot help with that."))
)
"""What a model says that does not know, or its beginning."""

_ENOUGH: Final = tuple(
    normalise(text)
    for text in (
        NOT_KNOWN, CANNOT_HELP, WHICH_DAY, "I do not know that.", "I can not help with that.",
        "I am sorry, I cannot help with that.", "Let me see.", "Let me check that.", "One moment.",
    )
)  # fmt: skip
"""What may be said to anything."""

Subject = tuple[Sort, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """One value said of one thing."""

    subject: Subject | None
    value: Mention
    role: str = ""
    """Where one number could be several things: `opens`, `closes` or `costs`."""


def claims_of(read: Sequence[Mention], carried: Subject | None, only: Subject | None) -> list[Claim]:
    """Tie each value to its thing: the last one named before it, else the first one after it, else `carried` from the clause
    before, else the `only` one asked for. A zone behind an item is the item's place.
    """
    found: list[Claim] = []
    last: Subject | None = None
    role = ""
    for number, each in enumerate(read):
        if each.sort is Sort.WORD or each.value == OPEN:
            word = str(each.value)
            role = "opens" if word in _OPENS else "closes" if word in _CLOSES else "costs" if word in _COSTS else role
        if each.sort in SUBJECTS:
            here = (each.sort, str(each.value))
            item = last or carried or only
            if each.sort is Sort.ZONE and item and item[0] is Sort.ITEM:
                found.append(Claim(item, each))
                continue
            if each.sort is Sort.ITEM and last and last[0] is Sort.ZONE:
                zone = next(one for one in reversed(read[:number]) if one.sort is Sort.ZONE)
                found.append(Claim(here, zone))
            last = here
        having = each.sort is Sort.WORD and each.value in _HAVING and any(one.sort is Sort.ITEM for one in read)
        if each.sort in VALUES or having:
            after = next(((one.sort, str(one.value)) for one in read[number:] if one.sort in SUBJECTS), None)
            found.append(Claim(last or after or carried or only, each, role))
    return found


class Grounding:
    """The check of one reply, clause by clause."""

    def __init__(self, content: Content, names: Lexicon, asked: Asked, question: str) -> None:
        """`question` is what `asked` was found in: a claim in it decides whether "yes" or "no" may be said."""
        self._content, self._names, self._asked = content, names, asked
        fact = right_fact(asked, content)
        self._kind = fact.kind if fact else None
        self.right = fact.sentence if fact else ""
        """The sentence that answers, if it is clear which fact was asked for; else empty."""
        self._sentences = [each.sentence for each in facts_for(asked, content)]
        self._items = {item.name: item for item in content.items}
        self._free = _courtesies(content)
        self._said: list[str] = []
        self._carried: Subject | None = None
        self._told = False
        every = [(Sort.ITEM, name) for name in asked.items] + [(Sort.DAY, day) for day in asked.days]
        every += [(Sort.ZONE, zone) for zone in asked.zones] if not asked.items else []
        every += [(Sort.PARTS, verdict) for verdict in asked.verdicts]
        self._only = every[0] if len(every) == 1 else None
        read = mentions(tokens(question), names)
        claims = claims_of(read, None, self._only)
        held = [self._holds(claim) for claim in claims]
        there = {(fact.kind, fact.subject) for fact in known(content)}
        sure = (
            asked.plain
            and bool(claims)
            and all(claim.subject and (_kind_of(claim), claim.subject[1]) in there for claim in claims)
        )
        self._yes, self._no = sure and all(held), sure and not all(held)
        self._only_asks = asked.plain and not claims and not asked.names_nothing
        self._asks_a_thing = bool(claims) or any(each.sort in SUBJECTS for each in read)

    @property
    def told(self) -> bool:
        """Has a value been said?"""
        return self._told

    def allows(self, clause: str) -> bool:
        """May `clause` be spoken next? If so it counts as said."""
        plain = normalise(clause)
        if not plain or plain in self._said:
            return not plain
        if self._refuses_what_is_known(plain):
            return False
        if self._is_free(plain):
            self._said.append(plain)
            return True
        read = mentions(tokens(clause), self._names)
        claims = claims_of(read, self._carried, self._only)
        if not (self._words_are_known(read) and self._things_are_asked_for(read) and all(map(self._holds, claims))):
            return False
        if claims and not self._told and self._kind and self._kind not in map(_kind_of, claims):
            return False  # true, but not what was asked, and that is known
        self._said.append(plain)
        self._told = self._told or bool(claims)
        subjects = [(each.sort, str(each.value)) for each in read if each.sort in SUBJECTS]
        if subjects and not (subjects[-1][0] is Sort.ZONE and self._speaks_of_an_item(subjects)):
            self._carried = subjects[-1]
        return True

    def rest(self, said: Sequence[str]) -> str | None:
        """What is left of the right sentence, if `said` is its very beginning; None if there is no such sentence.

        Where it is not clear which fact was asked for, the words that were said may tell.
        """
        begun = normalise(" ".join(said)).split()
        for sentence in (self.right, *(self._sentences if begun else ())):
            words = sentence.split()
            plain = [normalise(word) for word in words]
            for size in range(1 if begun else 0, len(words) + 1):
                if words and " ".join(plain[:size]).split() == begun:
                    return " ".join(words[size:])
        return None

    def _refuses_what_is_known(self, plain: str) -> bool:
        """A model that says it does not know, though nothing was asked but a fact that there is."""
        return not self._said and bool(self.right) and self._asked.plain and plain in _REFUSALS

    def _speaks_of_an_item(self, subjects: Sequence[Subject]) -> bool:
        thing = subjects[-2] if len(subjects) > 1 else self._carried or self._only
        if thing is not None and thing[0] is Sort.ITEM:
            self._carried = thing
            return True
        return False

    def _is_free(self, plain: str) -> bool:
        """A courtesy or a refusal, or the next part of one. "All right" would be a yes to a question that claims something."""
        if plain == "all right":
            return not self._asks_a_thing
        said = [*self._said, plain]
        return any(
            f"{text} ".startswith(f"{' '.join(said[start:])} ")
            for start in range(len(said))
            if start == 0 or self._may_follow(said[start - 1])
            for text in self._free
        )

    def _may_follow(self, before: str) -> bool:
        """Is a sentence over behind this clause? It ends a courtesy, or is none."""
        return all(text.endswith(before) or f" {before} " not in f" {text} " for text in self._free)

    def _words_are_known(self, read: Sequence[Mention]) -> bool:
        """No word that claims something beside the names and values; yes and no only if the question's claim is so.

        Words alone say nothing, and a word said twice running is a model that has lost its way.
        """
        if all(each.sort is Sort.WORD and each.value not in _YES | _NO for each in read):
            return False
        for number, each in enumerate(read):
            before = read[number - 1] if number else None
            if (
                before
                and each.sort in {Sort.WORD, Sort.ITEM}
                and (each.sort, each.value) == (before.sort, before.value)
            ):
                return False
            if each.sort is not Sort.WORD or each.value in _NEUTRAL:
                continue
            if each.value == "left" and before and (before.sort is Sort.NUMBER or before.value in {"piece", "pieces"}):
                continue
            if number == 0 and ((each.value in _YES and self._yes) or (each.value in _WILLING and self._only_asks)):
                continue
            if each.value == "no" and number == 0 and self._no:
                continue
            if each.value in _HAVING and not any(one.value in _NO for one in read):
                continue
            return False
        return True

    def _things_are_asked_for(self, read: Sequence[Mention]) -> bool:
        asked, content = self._asked, self._content
        for each in read:
            name = str(each.value)
            if each.sort is Sort.ITEM and name not in asked.items and self._place_of(name) not in asked.zones:
                return False
            if each.sort is Sort.DAY and (name not in asked.days or name not in content.hours):
                return False
            if each.sort is Sort.PARTS and name not in asked.verdicts:
                return False
            if each.sort is Sort.ZONE and not (asked.items or (name in asked.zones and name in content.zones)):
                return False
        return True

    def _place_of(self, name: str) -> str | None:
        return self._items[name].where

    def _holds(self, claim: Claim) -> bool:
        """Does the content say so?"""
        if claim.subject is None:
            return False
        sort, name = claim.subject
        value = claim.value
        if sort is Sort.ITEM:
            return _holds_of_item(self._items[name], value, claim.role)
        if sort is Sort.DAY:
            hours = self._content.hours.get(name)
            return hours is not None and _holds_of_day(hours, value, claim.role)
        if sort is Sort.ZONE:
            return value.sort is Sort.GOODS and value.value == name
        counts = self._content.qc
        if counts is None or value.sort is not Sort.NUMBER:
            return False
        return (
            value.value == dict(zip(VERDICTS, (counts.passed, counts.failed, counts.not_inspected), strict=True))[name]
        )


def _kind_of(claim: Claim) -> Kind | None:
    """What kind of fact the claim is one of."""
    if claim.subject is None or claim.subject[0] is not Sort.ITEM:
        return (
            {Sort.DAY: Kind.HOURS, Sort.ZONE: Kind.ZONE, Sort.PARTS: Kind.PARTS}.get(claim.subject[0])
            if claim.subject
            else None
        )
    if claim.value.sort is Sort.ZONE:
        return Kind.PLACE
    priced = claim.value.sort in {Sort.PRICE, Sort.PAIR} or (claim.value.sort is Sort.NUMBER and claim.role == "costs")
    return Kind.PRICE if priced else Kind.STOCK


def _holds_of_item(item: Item, value: Mention, role: str) -> bool:
    if value.sort is Sort.PRICE:
        return value.value == item.price_cents
    if value.sort is Sort.PAIR and isinstance(value.value, tuple):
        return value.value[0] * 100 + value.value[1] == item.price_cents
    if value.sort is Sort.NUMBER:
        return isinstance(value.value, int) and (
            value.value * 100 == item.price_cents if role == "costs" else value.value == item.stock
        )
    if value.sort is Sort.ZONE:
        return value.value == item.where
    if value.value == SOLD_OUT:
        return item.stock == 0
    return (value.value == IN_STOCK or value.sort is Sort.WORD) and bool(item.stock)


def _holds_of_day(hours: Hours, value: Mention, role: str) -> bool:
    if value.value == CLOSED:
        return hours.opens_min is None
    if value.value == OPEN:
        return hours.opens_min is not None
    minutes: int | None = None
    if value.sort is Sort.CLOCK and isinstance(value.value, int):
        minutes = value.value
    elif value.sort is Sort.NUMBER and isinstance(value.value, int):
        minutes = value.value * 60
    elif value.sort is Sort.PAIR and isinstance(value.value, tuple):
        minutes = value.value[0] * 60 + value.value[1]
    return minutes is not None and minutes == (hours.closes_min if role == "closes" else hours.opens_min)


def _courtesies(content: Content) -> tuple[str, ...]:
    return (*_ENOUGH, *(normalise(text.format(name=content.name)) for text in COURTESIES if text != "All right."))
