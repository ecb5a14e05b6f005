"""What a question is about, strictly: the things of this shop that it names, and whether it names anything else.

"Where is the round scraper" is not about the scraper: a word that belongs to no name and is no word of asking, right beside a
name, makes it another thing's name. So is "the handle of the scraper". When in doubt a thing counts as not of this shop:
then nothing is said of it, which is the cheaper mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgeapp.voice.content import Content, Fact, Kind, known
from edgeapp.voice.intents import Intent, intent_of, verdicts_of
from edgeapp.voice.mentions import Lexicon, Mention, Sort, mentions, tokens

ASKING: Final = frozenset(
    """
    a about after again ago all also altogether am an and another any anybody anyone anything are around as ask at available away
    back be been before behind being between both bring but buy by call came can carry cent cents certain charge check close closed
    closes closing come comes correct cost costs could count current currently day days did direct direction directly do does doing done
    down either else enough euro euros even ever every exactly exact fail failed fetch find first for from further gave get getting give
    given go goes going gone good got grab high low measure measured reading sensor value guess had happen happens has have having hear hello help here hi hold holds hour hours how i
    if in inside inspected instead into is it its just keep keeping keeps kept kiosk know last lately later least leave left less let lets lie
    lies like likely live lives location look looking lot made many may maybe me mean might mind more most move moved much must my near
    nearby need never new next no not nothing now number of off offer okay on once one ones only open opening opens or other our out over
    owe owed parts pass passed pay person pick piece pieces place placed please point possible possibly presently price priced prices
    put quantity quickly quite rather really remain remaining remains right said same saw say saying says search searching see sell selling sells sent
    shall shop should show side sit sits so sold some somebody someone something somewhere soon sorry still stock
    stocked such sure take takes taking tell than thank thanks that the their them then there these they thing things think this those though
    through time times to today together told tomorrow too took true try under until up us use very wait want wanted was way we well went were what
    when where whereabouts whether which while who whose why will wish with within wonder wondering worth would wrong yes yet you your yours
    """.split()  # noqa: SIM905
)
"""Words of asking: none of them makes another thing of the name beside it."""

_OF_ITEMS: Final = frozenset({Intent.PLACE, Intent.PRICE, Intent.STOCK})
_POINTERS: Final = frozenset({"it", "that", "them", "they", "this", "those"})
_NAMES: Final = frozenset({Sort.ITEM, Sort.GOODS, Sort.SHOP})
"""Two of these side by side are the name of a third thing."""

_BELONGING: Final = frozenset({"for", "from", "in", "inside", "of", "on", "to", "with"})
_ARTICLES: Final = frozenset({"a", "an", "my", "that", "the", "this", "those", "your"})
_WITH: Final = frozenset({"in", "made", "with", "without"})


@dataclass(frozen=True, slots=True)
class Asked:
    """The subjects that may be spoken of in the reply."""

    intent: Intent
    items: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    strange: bool = False
    """It names something that this shop does not have."""

    plain: bool = False
    """Every word of it is a name or a word of asking."""

    @property
    def names_nothing(self) -> bool:
        return not (self.items or self.days or self.zones or self.verdicts or self.strange)


def asked_in(text: str, turns: Sequence[tuple[str, str]], content: Content, names: Lexicon) -> Asked:
    """What `text` is about; if it names nothing and points back, what the exchanges before it were about.

    `turns` are (question, answer), oldest first. Looks back until a turn names something.
    """
    asked = _named(text, content, names)
    if asked.intent is not Intent.OTHER and not asked.names_nothing:
        return asked
    for question, answer in reversed(turns):
        before = _named(question, content, names)
        if before.strange:
            break
        if before.names_nothing:
            before = replace(_named(answer, content, names), intent=before.intent, strange=False)
        if asked.names_nothing and (asked.intent in _OF_ITEMS or _points_back(text)):
            asked = replace(asked, items=before.items)
            if asked.intent is Intent.OTHER:
                asked = replace(asked, days=before.days, zones=before.zones)
        if asked.intent is Intent.OTHER and not asked.strange and _goes_on(text):
            asked = replace(asked, intent=before.intent)
        if not before.names_nothing:
            break
    return asked


def facts_for(asked: Asked, content: Content) -> tuple[Fact, ...]:
    """Everything that is known of what was asked about."""
    subjects = {*asked.items, *asked.zones, *asked.days, *asked.verdicts}
    return tuple(fact for fact in known(content) if fact.subject in subjects)


def right_fact(asked: Asked, content: Content) -> Fact | None:
    """The one fact that answers, if it is clear which; None if nothing is known, or too much was asked at once."""
    kinds = {Intent.PLACE: Kind.PLACE, Intent.PRICE: Kind.PRICE, Intent.STOCK: Kind.STOCK}
    if len(asked.items) == 1 and asked.intent in kinds:
        wanted = (kinds[asked.intent], asked.items[0])
    elif asked.items or (asked.strange and asked.intent is not Intent.HOURS):
        return None
    elif len(asked.days) == 1:
        wanted = (Kind.HOURS, asked.days[0])
    elif len(asked.zones) == 1:
        wanted = (Kind.ZONE, asked.zones[0])
    elif len(asked.verdicts) == 1:
        wanted = (Kind.PARTS, asked.verdicts[0])
    else:
        return None
    return next((fact for fact in known(content) if (fact.kind, fact.subject) == wanted), None)


def _named(text: str, content: Content, names: Lexicon) -> Asked:
    words = tokens(text)
    read = mentions(words, names)
    intent = intent_of(text)
    items: list[str] = []
    strange = False
    for number, each in enumerate(read):
        if each.sort is Sort.ITEM:
            if is_whole(read, number):
                items.append(str(each.value))
            else:
                strange = True
    if intent is not Intent.PARTS and not items:
        strange = strange or any(map(_is_another, read))
    verdicts: tuple[str, ...] = ()
    if intent is Intent.PARTS and not items and content.qc is not None:
        verdicts = verdicts_of(text) or ("passed", "failed", "not inspected")
        strange = False
    return Asked(
        intent,
        tuple(dict.fromkeys(items)),
        _values(read, Sort.DAY),
        _values(read, Sort.ZONE),
        verdicts,
        strange and not _points(read),
        not any(map(_unknown, read)),
    )


def is_whole(read: Sequence[Mention], number: int, beside: frozenset[Sort] = _NAMES) -> bool:
    """Is the name at `number` the whole name of a thing, as far as its neighbours tell? None of `beside` may be one."""
    before = [each for each in read[:number] if each.value != ","]
    after = [each for each in read[number + 1 :] if each.value != ","]
    if before and (_unknown(before[-1]) or before[-1].sort in beside):
        return False
    if after and (_unknown(after[0]) or after[0].sort in beside | {Sort.NUMBER, Sort.PAIR}):
        return False
    while before and before[-1].value in _ARTICLES:
        before.pop()
    if len(before) > 1 and before[-1].value in _BELONGING and _is_another(before[-2]):
        return False
    if after and after[0].value in _WITH:
        behind = [each for each in after[1:] if each.value not in _ARTICLES]
        return not (behind and _is_another(behind[0]))
    return True


def _unknown(mention: Mention) -> bool:
    return mention.sort is Sort.WORD and mention.value not in ASKING


def _is_another(mention: Mention) -> bool:
    """What is at some zone is no thing that is sold, though its word is known."""
    return _unknown(mention) or mention.sort is Sort.GOODS


def _points(read: Sequence[Mention]) -> bool:
    """Does it say "it" or "them"? These for a thing; "that" may belong to a name ("that unicorn")."""
    return any(each.value in {"it", "them", "they"} for each in read)


def _points_back(text: str) -> bool:
    return not _POINTERS.isdisjoint(tokens(text)) or _goes_on(text)


def _goes_on(text: str) -> bool:
    """'and the ladder', 'what about sunday': the question before, of something else."""
    words = tokens(text)
    return bool(words) and len(words) <= 8 and (words[0] in {"and", "or"} or "about" in words[:3])


def _values(read: Sequence[Mention], sort: Sort) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(each.value) for each in read if each.sort is sort))
