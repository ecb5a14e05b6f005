"""What kind of question was asked, and the questions that are answered with no model at all.

A closed question is one of a few fixed forms around a name that the shop has; its answer is the fact's own sentence, so it is
right for certain and costs no time. Every sentence of the kiosk's grammar is one, if the shop knows the thing.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from edgeapp.voice.content import DAYS, ZONES, Content, Kind, known
from edgeapp.voice.grammar import normalise
from edgeapp.voice.relevance import stem

NOT_KNOWN: Final = "I am sorry, I do not know that."
CANNOT_HELP: Final = "I am sorry, I can not help with that."
WHICH_DAY: Final = "Which day do you mean?"


class Intent(StrEnum):
    """What a question is after. A courtesy wants no fact."""

    PLACE = "place"
    PRICE = "price"
    STOCK = "stock"
    HOURS = "hours"
    PARTS = "parts"
    GREETING = "greeting"
    OTHER = "other"


COURTESIES: Final[dict[str, tuple[str, ...]]] = {
    "Hello, welcome to {name}.": (
        "hello",
        "hi",
        "hey",
        "good morning",
        "good afternoon",
        "good evening",
        "hello there",
    ),
    "You are welcome.": ("thank you", "thanks", "thank you very much", "many thanks", "thanks a lot"),
    "Goodbye, and have a nice day.": ("goodbye", "bye", "bye bye", "good bye", "see you", "see you later"),
    "I am the voice of {name}, and I can help you find things.": ("who are you", "what are you", "what is your name"),
    "You can ask me about places, prices, stock and opening hours.": ("help", "what can i ask", "what can you do"),
    "All right.": ("yes", "no", "stop", "okay", "all right", "yes please", "no thank you", "never mind"),
}
"""What is said to a courtesy, and the ways of saying it that need no model."""

_CLOSED: Final[tuple[tuple[str, Kind], ...]] = (
    (r"where (?:is|are) (?:the |a |your )?(.+)", Kind.PLACE),
    (r"where (?:can|do|could) i (?:find|get|buy) (?:the |a )?(.+)", Kind.PLACE),
    (rf"(?:is|are) (?:the )?(.+?) (?:at|in|on) the (?:{'|'.join(ZONES)})", Kind.PLACE),
    (r"(?:does|do) (?:the |a )?(.+?) cost .+ (?:euros?|cents?)", Kind.PRICE),
    (r"how much (?:is|are|does|do) (?:the |a |one )?(.+?)(?: cost)?", Kind.PRICE),
    (r"what (?:does|do) (?:the |a |one )?(.+) cost", Kind.PRICE),
    (r"what is the price (?:of|for) (?:the |a |one )?(.+)", Kind.PRICE),
    (r"(?:is|are) (?:the |a |any |there a |there any )?(.+) (?:in stock|available)", Kind.STOCK),
    (r"how many (.+) (?:do you have|have you got|are there|are left|are in stock)", Kind.STOCK),
    (r"do you have (?:the |a |an |any |some )?(.+?)(?: in stock)?", Kind.STOCK),
    (r"(?:when|what time) do you (?:open|close) (?:on )?(.+)", Kind.HOURS),
    (r"(?:are you open|what are your (?:opening )?(?:hours|times)) (?:on )?(.+)", Kind.HOURS),
    (r"(?:on |what about |how about )?(.+)", Kind.HOURS),
    (r"(?:what is (?:at|in|on) )?(?:the )?(.+)", Kind.ZONE),
    (r"how many parts (?:were |have )?(passed|failed|not inspected)(?: today)?", Kind.PARTS),
)
_AROUND: Final = re.compile(
    r"^(?:(?:hello|hi|hey|excuse me|please|sorry|okay|so|and|well|um|uh) )*(.*?)(?: (?:please|thanks|thank you))*$"
)

_VERDICTS: Final = {
    "not inspected": r"(?:not|never|no|un|without) ?(?:been )?(?:inspect|check|seen|test)\w*|miss(?:ed)?|skip\w*|left out|leave out"
    r"|did nobody inspect",
    "failed": r"fail\w*|reject\w*|bad|fault\w*|defect\w*|broken|thrown? out|not (?:pass|good|make it)|lost",
    "passed": r"pass\w*|good|accept\w*|fine|okay|without a fault|let through|all right",
}
_PARTS: Final = re.compile(
    r"\b(?:parts?|components?|work pieces?|rejects?|defects?|failures?|(?:un)?inspect\w*|(?:failed|passed)(?: today)?$)\b"
    r"|\bpieces?\b.*\btoday\b"
)
_HOURS: Final = re.compile(rf"\b(?:{'|'.join(DAYS)}|opening|closing|hours|opens?|closes?)\b")
_PLACE: Final = re.compile(
    r"\b(?:where|whereabouts|which (?:side|shelf|aisle|zone|corner|place|way|direction)|location|looking for|(?:direct|take|lead) me"
    r"|show me|point out|how do i (?:find|get to)|(?:what|which) (?:spot|place|corner)|(?:i am|we are) after)\b"
)
_STOCK: Final = re.compile(
    r"\b(?:how many|stock|number of|quantity|amount of|count|available|availability|sold out|run out|out of|left|in store"
    r"|do you (?:still )?(?:have|sell|carry|keep)|have you|got|are there|is there|any|remain\w*|to be had|can i (?:buy|get|have)"
    r"|happen to have|you have|could i still get)\b"
)
_PRICE: Final = re.compile(
    r"\b(?:how much|costs?|prices?|priced|pay|charge|expensive|cheap|euros?|cents?|worth|owe|money|set me back|going for"
    r"|selling (?:it )?for|sell .* for|selling .* for)\b"
)


def intent_of(text: str) -> Intent:
    """The kind of question, by its words alone; quick, and good enough to choose an opener or a template."""
    asked = _core(text)
    if asked in _COURTESY_OF:
        return Intent.GREETING
    if _PARTS.search(asked):
        return Intent.PARTS
    if _HOURS.search(asked):
        return Intent.HOURS
    if _PLACE.search(asked) or any(zone in asked for zone in ZONES):
        return Intent.PLACE
    if _PRICE.search(asked) and "how much stock" not in asked:
        return Intent.PRICE
    return Intent.STOCK if _STOCK.search(asked) else Intent.OTHER


def verdicts_of(text: str) -> tuple[str, ...]:
    """Which verdicts on parts a question is after; none if it names none."""
    asked = _core(text)
    for verdict, words in _VERDICTS.items():
        if re.search(rf"\b(?:{words})\b", asked):
            return (verdict,)
    return ()


def closed_answer(text: str, content: Content) -> str | None:
    """The answer to a closed question, or None: then a model is asked.

    A thing of this shop whose value is not known is answered with `NOT_KNOWN`; a thing that the shop does not have is not a
    closed question.
    """
    asked = _core(text)
    if asked in _COURTESY_OF:
        return _COURTESY_OF[asked].format(name=content.name)
    things = {
        Kind.HOURS: dict.fromkeys(DAYS, True),
        Kind.ZONE: dict.fromkeys(ZONES, True),
        Kind.PARTS: {"passed": True, "failed": True, "not inspected": True},
    }
    items = {_stems(item.name): item.name for item in content.items}
    for form, kind in _CLOSED:
        match = re.fullmatch(form, asked)
        if match is None:
            continue
        thing = match[1] if match[1] in things.get(kind, {}) else None
        if kind not in things:
            thing = items.get(_stems(match[1]))
        if thing is not None:
            said = [fact.sentence for fact in known(content) if (fact.kind, fact.subject) == (kind, thing)]
            return said[0] if said else NOT_KNOWN
    return None


def _core(text: str) -> str:
    """The question without the courtesies around it, unless it is nothing else."""
    plain = normalise(text)
    match = _AROUND.match(plain)
    inner = match[1] if match else plain
    return plain if plain in _COURTESY_OF or not inner else inner


def _stems(name: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in normalise(name).split())


_COURTESY_OF: Final = {said: answer for answer, ways in COURTESIES.items() for said in ways}
