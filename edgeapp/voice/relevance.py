"""Which facts a small model gets to read for one question: those that share words with it.

A model of a few million parameters reads four lines better than forty, and a shop with hundreds of items would not fit its
prompt. Words in common decide, rare ones more than frequent ones (Sparck Jones 1972: inverse document frequency).
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from math import log
from typing import Final

_WORD = re.compile(r"[a-z0-9']+")

_COMMON: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "at",
        "can",
        "do",
        "does",
        "have",
        "how",
        "i",
        "in",
        "is",
        "it",
        "much",
        "of",
        "on",
        "the",
        "there",
        "to",
        "what",
        "where",
        "you",
        "your",
    ]
)

FACTS_MOST: Final = 3
"""How many lines are kept, the first one (the kiosk's name) not counted."""


def relevant(facts: str, question: str, most: int = FACTS_MOST) -> str:
    """Keep of `facts` (one fact a line, an empty line, the live lines) what the question is about, in the same order.

    The first line and the live lines always stay. A line that shares less than half as much as the best one goes. Where
    no line shares anything, all stay: a courtesy needs none of them, and a question for what is not there needs to see it.
    """
    fixed, _, live = facts.partition("\n\n")
    name, *lines = fixed.split("\n")
    words = [set(_words(line)) for line in lines]
    seen = Counter(word for each in words for word in each)
    asked = set(_words(question))

    scores = [sum(log(1 + len(lines) / seen[word]) for word in asked & each) for each in words]
    enough = max(scores, default=0.0) / 2
    if not enough:
        return facts
    best = sorted(range(len(lines)), key=lambda number: (-scores[number], number))[:most]
    kept = [lines[number] for number in sorted(best) if scores[number] >= enough]
    return "\n".join([name, *kept]) + "\n\n" + live


def _words(text: str) -> list[str]:
    """The words of a text but the commonest, and the pairs of neighbours among them."""
    words = [word for word in _WORD.findall(text.lower()) if word not in _COMMON]
    return words + [f"{one} {two}" for one, two in pairwise(words)]
