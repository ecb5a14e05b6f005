"""Which facts a small model gets to read for one question: those that share words with it.

A model of a few million parameters reads three lines better than forty, and a shop with hundreds of items would not fit its
prompt. Words in common decide, rare ones more than frequent ones (Sparck Jones 1972: inverse document frequency).
"""

from __future__ import annotations

import re
from collections import Counter
from math import log
from typing import Final

from edgeapp.voice.prompt import TOOL

_WORD = re.compile(r"[a-z0-9']+")

_COMMON: Final = frozenset([
    "a", "an", "and", "any", "are", "at", "can", "cent", "closed", "cost", "could", "did", "do", "does", "euro",
    "exactly", "for", "from", "got", "had", "has", "have", "here", "how", "i", "in", "is", "it", "many", "me",
    "much", "my", "of", "on", "one", "open", "out", "pay", "piece", "place", "please", "price", "so", "sold",
    "stock", "still", "tell", "that", "the", "them", "there", "they", "this", "those", "to", "was", "were",
    "what", "where", "which", "will", "with", "would", "you", "your",
])  # fmt: skip
"""Words of any question, and of any fact line: they tell nothing about what is asked for."""

_SIDES: Final = frozenset(["center", "front", "left", "rear", "right", "side"])
"""They name a place only in pairs; "how many are left" is about none."""

_POINTERS: Final = frozenset(["it", "that", "them", "they", "those"])

FACTS_MOST: Final = 3
"""How many lines are kept, the first one (the kiosk's name) not counted."""


def relevant(facts: str, question: str, most: int = FACTS_MOST, before: str = "") -> str:
    """Keep of `facts` (one fact a line, an empty line, the live lines) what the question is about, in the same order.

    The first line and the live lines always stay; no other line stays that shares nothing with the question, or less than
    half as much as the best one. A question that names nothing there and points back ("how much is it") is about
    `before`, the words of the last exchange.
    """
    system, kept = parted(facts, question, most, before)
    name, seam, live = system.partition("\n\n")
    return "\n".join(each for each in (name, kept) if each) + seam + live


def parted(facts: str, question: str, most: int = FACTS_MOST, before: str = "") -> tuple[str, str]:
    """The same as `Prompt.system` (the first line and the live lines) and `Prompt.facts` (what the question is about)."""
    fixed, _, live = facts.partition("\n\n")
    name, *lines = fixed.split("\n")
    terms = [_terms(line.partition(TOOL)[0]) for line in lines]
    kept = _best(terms, _terms(question), most)
    if not kept and _points_back(question):
        named = {term: place for term, place in _terms(before).items() if _is_name(term)}
        kept = _best(terms, named, most)
    return f"{name}\n\n{live}", "\n".join(lines[number] for number in kept)


def _best(terms: list[dict[str, int]], asked: dict[str, int], most: int) -> list[int]:
    """The numbers of the lines that share most, in rising order; of like ones first those that begin with what is shared."""
    seen = Counter(term for each in terms for term in each)
    shared = [asked.keys() & each.keys() for each in terms]
    scores = [sum(log(1 + len(terms) / seen[term]) for term in words) for words in shared]
    begins = [min((each[term] for term in words), default=0) for each, words in zip(terms, shared, strict=True)]
    ranked = sorted(range(len(terms)), key=lambda number: (-scores[number], begins[number], number))
    enough = max(scores, default=0.0) / 2
    return sorted(number for number in ranked[:most] if scores[number] >= enough > 0)


def _is_name(term: str) -> bool:
    """Not a side of the shop, nor a number: an answer says them of many things."""
    return _SIDES.isdisjoint(term.split()) and not any(sign.isdigit() for sign in term)


def _points_back(question: str) -> bool:
    """True for a question that names nothing itself: it says "it" or "that", or has only common words."""
    return not _terms(question) or any(word in _POINTERS for word in _WORD.findall(question.lower()))


def _terms(text: str) -> dict[str, int]:
    """The words of a text but the common ones, and the pairs of neighbours among them, each with its first place."""
    words = [form for word in _WORD.findall(text.lower()) if (form := stem(word)) not in _COMMON]
    terms: dict[str, int] = {}
    for place, word in enumerate(words):
        if word not in _SIDES:
            terms.setdefault(word, place)
        if place:
            terms.setdefault(f"{words[place - 1]} {word}", place - 1)
    return terms


def stem(word: str) -> str:
    """One form for one thing and many: 'brushes' -> 'brush', 'batteries' -> 'battery', 'hammers' -> 'hammer'."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("shes", "ches", "xes", "zes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
