"""Does what was said so far sound finished? English words only, no grammar needed: for free text.

A sentence does not end in an article, a preposition or a conjunction; somebody who says "um" has more to say; a number
being spelled out goes on until it has all its digits. This errs on the side of "may be over": what it calls open nearly
always goes on, what it does not call open may go on all the same.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

_HESITATIONS: Final = {"um", "umm", "uh", "uhm", "er", "erm", "hmm", "hm", "mm", "well", "so", "like"}
_OPEN: Final = (
    {"a", "an", "the", "my", "your", "his", "her", "its", "our", "their", "this", "these", "those", "some", "any"}
    | {"of", "at", "for", "from", "with", "by", "into", "onto", "about", "between", "under", "near", "than", "to"}
    | {"and", "or", "but", "because", "if", "when", "while", "whether", "although", "that", "which", "who", "whose"}
    | {
        "is",
        "are",
        "was",
        "were",
        "am",
        "be",
        "can",
        "could",
        "would",
        "should",
        "will",
        "shall",
        "may",
        "might",
        "must",
    }
    | {"do", "does", "did", "have", "has", "had", "i", "we", "they", "he", "she", "very", "how", "what", "where", "why"}
    | {"i'm", "you're", "we're", "they're", "i'd", "i'll", "what's", "where's", "how's", "please", "every", "each"}
)
_CLOSED_AFTER: Final = {"i am", "yes i do", "yes it is", "no i do not", "who are you", "where it is", "how it is"}
_STRANDED: Final = {"for", "from", "with", "about", "to", "at", "of", "by"}  # "what is it for" ends in one
_QUESTIONS: Final = {"what", "where", "when", "who", "why", "how", "which", "is", "are", "do", "does", "did", "can"}
_DIGITS: Final = {"zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
_TENS: Final = {"twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"}
_TEENS: Final = {"ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"}
_SCALES: Final = {"hundred", "thousand", "million", "point", "double", "triple"}
_NUMBERS: Final = _DIGITS | _TENS | _TEENS | _SCALES | {"nineteen"}
_YES_NO: Final = {
    "yes",
    "no",
    "yeah",
    "yep",
    "nope",
    "okay",
    "ok",
    "sure",
    "correct",
    "right",
    "wrong",
    "stop",
    "cancel",
}


class Shape(Enum):
    """What the last words of a free text look like."""

    EMPTY = "nothing was understood"
    HESITATION = "they hesitate"
    OPEN = "the last word calls for another"
    NUMBER = "a number may go on"
    QUESTION = "it is a question"
    PLAIN = "nothing speaks against an end"


def shape_of(text: str) -> Shape:
    """The shape of `text`: lower case, no punctuation."""
    words = text.split()
    if not words:
        return Shape.EMPTY
    last = words[-1]
    if last in _HESITATIONS:
        return Shape.HESITATION
    question = words[0] in _QUESTIONS and len(words) >= 3
    stranded = question and last in _STRANDED and len(words) >= 4
    if last in _OPEN and not stranded and " ".join(words[-3:]) not in _CLOSED_AFTER and text not in _CLOSED_AFTER:
        return Shape.OPEN
    if last in _NUMBERS or last.isdecimal():
        return Shape.NUMBER
    return Shape.QUESTION if question else Shape.PLAIN


def digits_in(text: str) -> int:
    """How many digits the number at the end of `text` has so far, where digits are said one by one; 0 without one."""
    count = 0
    for word in reversed(text.split()):
        if not (word in _NUMBERS or word.isdecimal()):
            break
        count += len(word) if word.isdecimal() else 1
    return count


def is_yes_or_no(text: str) -> bool:
    """Does `text` answer a yes-or-no question by itself?"""
    words = text.split()
    return 0 < len(words) <= 3 and words[0] in _YES_NO


def ends_in_stop(text: str) -> bool:
    """Is the last sound of `text` a p, t or k, by its spelling?

    Before the release of such a sound the voice is silent for 40 to 200 ms, like at the end of a turn.
    """
    word = text.rstrip("'").removesuffix("'s")
    if len(word) > 3 and word.endswith("e") and word[-2] in "ptk" and word[-3] in "aiou":
        return True  # tape, lake
    return word.endswith(("p", "t", "k", "c"))


def ends_in_cluster(text: str) -> bool:
    """Is there a hissing sound right before that stop, as in "cost" and "left"?"""
    return text.endswith(("st", "sk", "sp", "ft", "xt"))
