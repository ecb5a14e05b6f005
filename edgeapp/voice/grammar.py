"""What people may ask a kiosk, written out from what the kiosk knows: question patterns times names.

A recogniser with a grammar hears these sentences and no others, which is what makes human speech reliable on a small
device. The input is plain names, so the grammar depends on no file format and follows the content when it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

ITEM_PATTERNS: Final = (
    "where is the {}",
    "where can i find the {}",
    "how much is the {}",
    "what does the {} cost",
    "is the {} in stock",
    "how many {} do you have",
)
DAY_PATTERNS: Final = ("when do you open on {}", "when do you close on {}", "what time do you open on {}")
ZONE_PATTERNS: Final = ("{}", "what is at the {}")
FIXED: Final = (
    "how many parts failed today",
    "how many parts passed today",
    "how many parts were not inspected today",
    "hello",
    "thank you",
    "goodbye",
    "who are you",
    "yes",
    "no",
    "stop",
)

GREETING: Final = "hello"
_NOT_GREETED: Final = frozenset({GREETING, "thank you", "goodbye", "yes", "no", "stop"})


@dataclass(frozen=True, slots=True)
class Grammar:
    """A finite set of sentences: lower case, single spaces, no punctuation."""

    sentences: tuple[str, ...]
    """Every sentence once, in the order of the patterns."""

    _known: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", frozenset(self.sentences))

    def is_sentence(self, text: str) -> bool:
        """True if `text` is one of the sentences; case, punctuation marks at the ends and spacing do not matter."""
        return normalise(text) in self._known

    def greeted(self) -> Grammar:
        """These sentences, and every question and wish among them after a "hello": people greet, pause, and then ask."""
        return Grammar(
            (*self.sentences, *(f"{GREETING} {each}" for each in self.sentences if each not in _NOT_GREETED))
        )

    def words(self) -> tuple[str, ...]:
        """Every word of the sentences once, in alphabetical order: what a pronunciation dictionary must hold."""
        return tuple(sorted({word for sentence in self.sentences for word in sentence.split()}))

    def jsgf(self) -> str:
        """The same sentences as a JSGF grammar (Java Speech Grammar Format 1.0) with one public rule."""
        return "#JSGF V1.0;\ngrammar kiosk;\npublic <sentence> =\n  " + "\n  | ".join(self.sentences) + ";\n"


def kiosk_grammar(items: Sequence[str], days: Sequence[str], zones: Sequence[str]) -> Grammar:
    """The questions about these items, opening days and zones, and the fixed sentences every kiosk understands."""
    wanted = [pattern.format(item) for pattern in ITEM_PATTERNS for item in items]
    wanted += [pattern.format(day) for pattern in DAY_PATTERNS for day in days]
    wanted += [pattern.format(zone) for pattern in ZONE_PATTERNS for zone in zones]
    return grammar_of([*wanted, *FIXED])


def grammar_of(sentences: Iterable[str]) -> Grammar:
    """A grammar of exactly these sentences, normalised, without repetitions and empty ones."""
    return Grammar(tuple(dict.fromkeys(line for line in map(normalise, sentences) if line)))


def without_greeting(text: str) -> str:
    """What a person said after their "hello", or the text as it is if that was all."""
    return text.removeprefix(f"{GREETING} ")


def normalise(text: str) -> str:
    """Lower case, hyphens as spaces, no punctuation but apostrophes inside words, single spaces."""
    kept = "".join(sign if sign.isalnum() or sign == "'" else " " for sign in text.lower())
    return " ".join(word.strip("'") for word in kept.split() if word.strip("'"))
