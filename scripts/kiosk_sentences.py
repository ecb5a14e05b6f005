"""What is said to the kiosk's speech recogniser in training and in its test: sentences, drawn at random.

Spoken form: lower case words and single spaces, numbers in words. Training draws from the trained phrasings of
`kiosk_phrasings`, from short runs of single words (so that every word of the domain is heard, in any order) and from
numbers. The test's sentences stand in `kiosk_stt_test.txt`, so that figures stay comparable; they were drawn from phrasings
held out for the language model, and training refuses any of them that comes up by chance.
"""

import random
from pathlib import Path
from typing import Final

from kiosk_phrasings import (
    ADJECTIVES,
    LEADS,
    NOUNS,
    OFF_TOPIC,
    PHRASINGS,
    QUANTITIES,
    TAILS,
)
from make_kiosk_dialogues import PLACES, expand

from edgeapp.voice.content import DAYS, ZONES, load_content
from edgeapp.voice.grammar import kiosk_grammar, normalise

TEST_FILE: Final = Path(__file__).parent / "kiosk_stt_test.txt"
SHOP: Final = Path(__file__).parent.parent / "edgeapp" / "assets" / "kiosk.toml"
ITEMS: Final = tuple(item.name for item in load_content(SHOP).items)
GRAMMAR: Final = kiosk_grammar(ITEMS, DAYS, ZONES).sentences
ONES: Final = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
COMMANDS: Final = (
    "yes please", "no thank you", "stop", "start again", "go (back|on|left|right|forward)", "turn (left|right|it off|it on)",
    "that is (right|wrong|it|all|not what i (meant|said|want))", "say (that|it) again", "repeat (that|it)", "cancel (that|it|)",
    "wait (a moment|please|)", "i (mean|want|need|have|see|think so|do not know|said {item})", "(okay|yes|no|maybe|never|always)",
    "not (the|that) {item} the {item}", "(one|two|three|four|five) {item}", "the {item} and the {item}", "and the {item}",
    "what about (the {item}|{day}|tomorrow|today)", "(today|tomorrow|yesterday|tonight|next week|on {day})",
)  # fmt: skip
SHARES: Final = (
    ("phrasing", 0.52),
    ("grammar", 0.1),
    ("words", 0.18),
    ("number", 0.06),
    ("off_topic", 0.06),
    ("command", 0.08),
)
SENTENCES_TRIED_MAX: Final = 100  # draws before giving up on one that is short enough and not in the test


def number(rng: random.Random, most: int = 999) -> str:
    """A whole number from 0 to `most` in words."""
    value = rng.randint(0, rng.choice((19, 99, most)))
    return "zero" if value == 0 else _words_of(value)


def _words_of(value: int) -> str:
    if value >= 100:
        rest = f" {_words_of(value % 100)}" if value % 100 else ""
        return f"{ONES[value // 100 - 1]} hundred{rest}"
    if value < 20:
        return ONES[value - 1]
    return TENS[value // 10 - 2] + (f" {ONES[value % 10 - 1]}" if value % 10 else "")


def item(rng: random.Random) -> str:
    """A thing that a shop may sell: one of the default shop's, or made of the trained nouns."""
    if rng.random() < 0.4:
        return rng.choice(ITEMS)
    noun = rng.choice(NOUNS)
    return f"{rng.choice(ADJECTIVES)} {noun}" if rng.random() < 0.5 else noun


def fill(rng: random.Random, form: str) -> str:
    """A form with its choices made and its slots filled, normalised."""
    text = expand(rng, form)
    for slot, values in (("{day}", DAYS), ("{zone}", ZONES), ("{quantity}", QUANTITIES), ("{place}", PLACES)):
        text = text.replace(slot, rng.choice(values))
    while "{item}" in text:
        text = text.replace("{item}", item(rng), 1)
    return normalise(text)


def all_words() -> list[str]:
    """Every word of the domain once, sorted, those of the test's questions too (their order is what is held out)."""
    forms = [form for group in PHRASINGS.values() for form in group]
    forms += [
        *UNSEEN,
        *OFF_TOPIC,
        *COMMANDS,
        *LEADS,
        *TAILS,
        *QUANTITIES,
        *PLACES,
        *ADJECTIVES,
        *NOUNS,
        *DAYS,
        *ZONES,
        *ITEMS,
    ]
    forms += [*ONES, *TENS, "zero", "hundred", "euros", "cents", "point", "o'clock", "half", "quarter", "past"]
    text = " ".join(forms)
    for slot in ("{item}", "{day}", "{zone}", "{quantity}", "{place}"):
        text = text.replace(slot, " ")
    return sorted(set(normalise(text.replace("(", " ").replace(")", " ").replace("|", " ")).split()))


def _draw(rng: random.Random) -> str:
    kind = rng.choices([name for name, _ in SHARES], [share for _, share in SHARES])[0]
    if kind == "grammar":
        return rng.choice(GRAMMAR)
    if kind == "words":
        return " ".join(rng.choice(WORDS) for _ in range(rng.choice((1, 1, 2, 2, 3, 4))))
    if kind == "off_topic":
        return fill(rng, rng.choice(OFF_TOPIC))
    if kind == "command":
        return fill(rng, rng.choice(COMMANDS))
    if kind == "number":
        forms = (number(rng), f"{number(rng, 99)} euros", f"{number(rng, 99)} euros {number(rng, 99)}",
                 f"at {number(rng, 19)} o'clock", f"{number(rng, 99)} {item(rng)}", f"{number(rng)} {number(rng, 99)}")  # fmt: skip
        return normalise(rng.choice(forms))
    text = fill(rng, rng.choice(PHRASINGS[rng.choice(INTENTS)]))
    if rng.random() < 0.12:
        text = f"{rng.choice(LEADS)} {text}"
    return f"{text} {rng.choice(TAILS)}" if rng.random() < 0.08 else text


INTENTS: Final = tuple(
    intent for intent in PHRASINGS for _ in range(3 if "{" in "".join(PHRASINGS[intent]) else 1)
)  # what has slots is asked more often


def train_sentence(rng: random.Random, words_max: int = 12) -> str:
    """One sentence to train on, at most `words_max` words, never one of the test's."""
    for _ in range(SENTENCES_TRIED_MAX):
        text = _draw(rng)
        if text and len(text.split()) <= words_max and text not in TEST:
            return text
    raise RuntimeError(f"no sentence of at most {words_max} words in {SENTENCES_TRIED_MAX} draws")


_UNSEEN, _, _OUTSIDE = TEST_FILE.read_text().partition("\n\n")
UNSEEN: Final = tuple(_UNSEEN.split("\n"))
"""Questions in phrasings never trained on, about things whose words were trained on."""

OUTSIDE: Final = tuple(_OUTSIDE.split("\n")[:-1])
"""Not for a kiosk at all, many words in it never heard."""

TEST: Final = frozenset((*UNSEEN, *OUTSIDE))
WORDS: Final = tuple(all_words())


def word_errors(truth: str, heard: str) -> int:
    """The least number of words put in, left out and replaced (Levenshtein)."""
    said, got = truth.split(), heard.split()
    row = list(range(len(got) + 1))
    for number, word in enumerate(said, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(got, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1]
