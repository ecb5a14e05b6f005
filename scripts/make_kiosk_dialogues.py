"""Make kiosk dialogues: random shop facts, then many questions about them and the right answers.

    python scripts/make_kiosk_dialogues.py --seed 1 --dialogues 3            # read a few
    python scripts/make_kiosk_dialogues.py --split test --dialogues 500 --out test.jsonl

The facts are drawn anew for every dialogue, so a model can only read them. Held out of training, by hash or by list:
a tenth of all item names and all nouns of `HELD_NOUNS`, a tenth of all prices, stock counts and times, and the
phrasings of `HELD_PHRASINGS`. What a word means is in `kiosk_phrasings.py`.
"""

import argparse
import json
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kiosk_phrasings import (
    ADJECTIVES,
    HELD_ADJECTIVES,
    HELD_NOUNS,
    HELD_OFF_TOPIC,
    HELD_PHRASINGS,
    LEADS,
    NOUNS,
    OFF_TOPIC,
    PHRASINGS,
    QUANTITIES,
    SHOP_KINDS,
    SMALL_TALK,
    TAILS,
)

from edgeapp.core.events import Prompt
from edgeapp.voice.content import DAYS, ZONES, Content, Hours, Item, QcCounts, facts, hours_text, price_text, stock_text

UNKNOWN = "I am sorry, I do not know that."
CANNOT = "I am sorry, I can not help with that."
WHICH_DAY = "Which day do you mean?"
ONSETS = (
    *"bcdfghjklmnpqrstvwyz",
    "br",
    "ch",
    "cl",
    "cr",
    "dr",
    "fl",
    "gr",
    "pl",
    "pr",
    "qu",
    "sh",
    "sl",
    "sp",
    "st",
    "th",
    "tr",
)
VOWELS = (*"aeiou", "ai", "ea", "ee", "ie", "oo", "ou", "y")
ENDS = (
    "", "l", "m", "n", "r", "s", "t", "x", "k", "sh", "nd", "nt", "rk", "ck", "ng", "er", "le", "ll", "ss", "lt", "mp", "ft",
    "ton", "ner", "let", "ing", "or", "el", "age", "ge", "ce", "ver", "ster", "band", "man", "bar", "pin",
)  # fmt: skip
CORNERS = (
    "counter",
    "entrance",
    "exit",
    "stairs",
    "checkout",
    "office",
    "workshop",
    "factory window",
    "door",
    "paint corner",
)
PLACES = ("line", "oven", "belt", "press", "motor", "spindle", "tank", "room", "window", "camera", "pump", "robot")
ITEM_INTENTS = ("where", "price", "in_stock", "how_many")
QC_INTENTS = ("qc_failed", "qc_passed", "qc_not_inspected")


@dataclass(frozen=True)
class Turn:
    """One question, its answer, what kind it is, and whether the answer is worth learning from."""

    intent: str
    question: str
    answer: str
    absent: bool = False  # the fact asked for is not in the prompt
    opener: str = ""  # what the device already said before the model was asked (never learnt)
    learn: bool = True


@dataclass(frozen=True)
class Dialogue:
    """A shop and a conversation in it."""

    content: Content
    turns: tuple[Turn, ...]

    def prompt(self, number: int) -> Prompt:
        """The prompt of turn `number` (from 0), with the turns before it as history."""
        said = tuple((turn.question, _spoken(turn)) for turn in self.turns[:number])
        turn = self.turns[number]
        return Prompt(facts(self.content), said, turn.question, turn.opener)


@dataclass(frozen=True)
class Plan:
    """How hard the dialogues are, and which words and numbers they may use."""

    items: tuple[int, int] = (3, 9)
    days: tuple[int, int] = (5, 7)
    zones: tuple[int, int] = (5, 8)
    turns: tuple[int, int] = (8, 14)
    held_names: bool = False  # names and numbers that training never saw
    held_phrasings: bool = False
    noise: bool = True  # dropped words, fillers, openers, stale answers


TRAIN = Plan()
TEST_PLANS = {
    "known": Plan(noise=False),
    "held_names": Plan(noise=False, held_names=True),
    "held_phrasings": Plan(noise=False, held_phrasings=True),
    "held_both": Plan(noise=False, held_names=True, held_phrasings=True),
}


def make_dialogue(rng: random.Random, plan: Plan = TRAIN) -> Dialogue:
    """One dialogue. The same generator state and plan give the same dialogue."""
    content = make_content(rng, plan)
    turns: list[Turn] = []
    last: Item | None = None
    for _ in range(rng.randint(*plan.turns)):
        turn, last = _turn(rng, plan, content, last)
        turns.append(turn)
    return Dialogue(content, tuple(turns))


def make_content(rng: random.Random, plan: Plan = TRAIN) -> Content:
    """A random shop."""
    names: list[str] = []
    for _ in range(rng.randint(*plan.items)):
        name = _similar_name(rng, plan, names) if names and rng.random() < 0.25 else make_name(rng, plan)
        if name not in names:
            names.append(name)
    days = _some(rng, DAYS, plan.days)
    zones = _some(rng, ZONES, plan.zones)
    counts = (_number(rng, 0, 3000, plan), _number(rng, 0, 120, plan), _number(rng, 0, 60, plan))
    return Content(
        name=f"{make_word(rng).capitalize()} {rng.choice(SHOP_KINDS)}",
        items=tuple(_make_item(rng, plan, name) for name in names),
        hours={day: _make_hours(rng, plan) for day in days},
        zones={zone: _zone_text(rng, plan) for zone in zones},
        qc=QcCounts(*counts) if rng.random() < 0.9 else None,
    )


def make_word(rng: random.Random) -> str:
    """A made-up word: syllables, or the halves of two real words, so that any piece of a word may meet any other."""
    if rng.random() < 0.4:
        first, last = rng.choice(NOUNS).split()[0], rng.choice(NOUNS).split()[-1]
        return first[: rng.randint(1, len(first))] + last[-rng.randint(1, len(last)) :]
    syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3))]
    return "".join(syllables) + rng.choice(ENDS)


def make_name(rng: random.Random, plan: Plan = TRAIN) -> str:
    """An item's name: real or made up, one to three words; from the training or the held-out part."""
    while True:
        nouns = HELD_NOUNS if plan.held_names and rng.random() < 0.6 else NOUNS
        adjectives = HELD_ADJECTIVES if plan.held_names and rng.random() < 0.3 else ADJECTIVES
        kind = rng.random()
        if kind < 0.25:
            name = rng.choice(nouns)
        elif kind < 0.55:
            name = f"{rng.choice(adjectives)} {rng.choice(nouns)}"
        elif kind < 0.75:
            name = make_word(rng)
        elif kind < 0.88:
            name = f"{make_word(rng)} {rng.choice(nouns)}"
        else:
            name = f"{rng.choice(adjectives)} {make_word(rng)}"
        if (_held(name) or _held_word(name)) == plan.held_names:
            return name


def answers(content: Content, intent: str, thing: str) -> str:
    """The right answer of this shop to one intent about one thing (an item's name, a zone or a day)."""
    if intent in ITEM_INTENTS:
        return _item_answer({item.name: item for item in content.items}.get(thing), intent)
    if intent in QC_INTENTS:
        return _qc_answer(content.qc, intent)
    if intent == "zone":
        return f"At the {thing}, {content.zones[thing]}." if thing in content.zones else UNKNOWN
    hours = content.hours.get(thing)
    return UNKNOWN if hours is None else f"On {thing.capitalize()}, {hours_text(hours)}."


def _item_answer(item: Item | None, intent: str) -> str:
    if item is None:
        return UNKNOWN
    if intent == "price":
        return UNKNOWN if item.price_cents is None else f"The {item.name} costs {price_text(item.price_cents)}."
    if intent == "where":
        return UNKNOWN if item.where is None else f"The {item.name} is at the {item.where}."
    return UNKNOWN if item.stock is None else f"The {item.name} is {stock_text(item.stock)}."


def _qc_answer(qc: QcCounts | None, intent: str) -> str:
    if qc is None:
        return UNKNOWN
    verdict, count = {
        "qc_failed": ("failed", qc.failed),
        "qc_passed": ("passed", qc.passed),
        "qc_not_inspected": ("not inspected", qc.not_inspected),
    }[intent]
    return f"Parts {verdict} today, {count}."


def tool_call(name: str, **arguments: str) -> str:
    """The one text form of a structured tool call."""
    return "<tool> " + json.dumps({"name": name, "arguments": arguments})


def _turn(rng: random.Random, plan: Plan, content: Content, last: Item | None) -> tuple[Turn, Item | None]:
    roll = rng.random()
    if last is not None and roll < 0.10:
        intent = rng.choice(ITEM_INTENTS)
        answer = _item_answer(last, intent)
        return _finish(rng, plan, f"it_{intent}", {}, answer, answer == UNKNOWN), last
    if roll < 0.60:
        return _item_turn(rng, plan, content)
    if roll < 0.75:
        intent = rng.choice(("opens", "opens", "closes", "closes", "hours", "open_on"))
        day = rng.choice(tuple(content.hours) or DAYS) if rng.random() < 0.7 else rng.choice(DAYS)
        answer = answers(content, intent, day)
        return _finish(rng, plan, intent, {"day": day}, answer, answer == UNKNOWN), None
    if roll < 0.83:
        zone = rng.choice(tuple(content.zones) or ZONES) if rng.random() < 0.7 else rng.choice(ZONES)
        answer = answers(content, "zone", zone)
        return _finish(rng, plan, "zone", {"zone": zone}, answer, answer == UNKNOWN), None
    if roll < 0.88:
        intent = rng.choice(QC_INTENTS)
        answer = answers(content, intent, "")
        if content.qc and plan.noise and rng.random() < 0.15:
            return _stale(rng, plan, intent), None
        return _finish(rng, plan, intent, {}, answer, answer == UNKNOWN), None
    return _other_turn(rng, plan, content), None


def _item_turn(rng: random.Random, plan: Plan, content: Content) -> tuple[Turn, Item | None]:
    intent = rng.choice(ITEM_INTENTS)
    item = rng.choice(content.items)
    if rng.random() < 0.78:
        name, known = item.name, item
    else:
        names = [other.name for other in content.items]
        name = _similar_name(rng, plan, names) if rng.random() < 0.4 else make_name(rng, plan)
        if name in names:
            return _item_turn(rng, plan, content)
        known = None
    answer = _item_answer(known, intent)
    asked = name + "s" if intent == "how_many" and not name.endswith("s") and rng.random() < 0.35 else name
    return _finish(rng, plan, intent, {"item": asked}, answer, answer == UNKNOWN), known


def _other_turn(rng: random.Random, plan: Plan, content: Content) -> Turn:
    roll = rng.random()
    if roll < 0.33:
        question = rng.choice(HELD_OFF_TOPIC if plan.held_phrasings else OFF_TOPIC)
        if not plan.held_phrasings and rng.random() < 0.5:
            question = rng.choice(OFF_TOPIC_FORMS).format(rng.choice((rng.choice(NOUNS), make_word(rng))))
        return Turn("off_topic", expand(rng, question), CANNOT, absent=True)
    if roll < 0.70:
        return _tool_turn(rng, plan)
    if roll < 0.76:
        return _finish(rng, plan, "which_day", {}, WHICH_DAY, False)
    intent = rng.choice(tuple(SMALL_TALK))
    return _finish(rng, plan, intent, {}, SMALL_TALK[intent].format(name=content.name), False)


OFF_TOPIC_FORMS = (
    "who invented the {}", "tell me a story about (a|the) {}", "do you like {}", "what do you think (of|about) {}",
    "sing a song about {}", "how (do|can) i (repair|clean|build|cook) a {}", "who is {}", "what is the meaning of {}",
    "is {} (a person|dangerous|famous)", "how (old|tall|heavy) is {}", "can i (return|rent|exchange|eat) the {}",
    "what (color|size|weight|brand) is the {}", "who made the {}", "how long does the {} last",
)  # fmt: skip


def _tool_turn(rng: random.Random, plan: Plan) -> Turn:
    roll = rng.random()
    if roll < 0.7:
        place = rng.choice(PLACES)
        quantity = rng.choice(QUANTITIES)
        call = tool_call("read_sensor", quantity=quantity, place=place)
        return _finish(rng, plan, "sensor", {"quantity": quantity, "place": place}, call, False)
    if roll < 0.85:
        return _finish(rng, plan, "time", {}, tool_call("get_time"), False)
    return _finish(rng, plan, "staff", {}, tool_call("call_staff"), False)


def _stale(rng: random.Random, plan: Plan, intent: str) -> Turn:
    """An answer given before the counts changed: it stands in the history and must not be believed."""
    old = QcCounts(*(_number(rng, 0, 400, plan) for _ in range(3)))
    turn = _finish(rng, plan, intent, {}, _qc_answer(old, intent), False)
    return Turn(turn.intent, turn.question, turn.answer, learn=False)


def _finish(rng: random.Random, plan: Plan, intent: str, slots: dict[str, str], answer: str, absent: bool) -> Turn:
    forms = HELD_PHRASINGS[intent] if plan.held_phrasings and intent in HELD_PHRASINGS else PHRASINGS[intent]
    question = expand(rng, rng.choice(forms)).format(**slots)
    if not plan.noise:
        return Turn(intent, question, answer, absent)
    if intent not in SMALL_TALK:
        if rng.random() < 0.12:
            question = f"{expand(rng, rng.choice(LEADS))} {question}"
        if rng.random() < 0.08:
            question = f"{question} {expand(rng, rng.choice(TAILS))}"
    if rng.random() < 0.12:
        question = _drop_words(rng, question)
    opener = rng.choice(("Let me see.", "One moment.", "Let me check that.")) if rng.random() < 0.03 else ""
    return Turn(intent, " ".join(question.split()), answer, absent, opener)


def _drop_words(rng: random.Random, question: str) -> str:
    """What a recogniser loses most easily: the small words."""
    small = {"the", "a", "is", "do", "does", "can", "you", "i", "of", "at", "on", "are", "please", "what"}
    words = question.split()
    kept = [word for word in words if word not in small or rng.random() > 0.3]
    return " ".join(kept) if len(kept) >= 2 else question


def expand(rng: random.Random, form: str) -> str:
    """'(where|in which place) is it' -> one of its sentences."""
    while match := re.search(r"\(([^()]*)\)", form):
        form = form[: match.start()] + rng.choice(match[1].split("|")) + form[match.end() :]
    return " ".join(form.split())


def _similar_name(rng: random.Random, plan: Plan, names: list[str]) -> str:
    """A name that shares a word with one of `names`: the near miss that reading must tell apart."""
    words = rng.choice(names).split()
    for _ in range(20):
        other = make_name(rng, plan).split()
        name = f"{other[0]} {words[-1]}" if rng.random() < 0.6 else f"{words[0]} {other[-1]}"
        if len(set(name.split())) == 2 and (_held(name) or _held_word(name)) == plan.held_names:
            return name
    return make_name(rng, plan)


def _make_item(rng: random.Random, plan: Plan, name: str) -> Item:
    stock = 0 if rng.random() < 0.12 else _number(rng, 1, rng.choice((20, 99, 99, 999)), plan)
    gone = rng.randrange(3) if rng.random() < 0.08 else 3
    return Item(
        name,
        None if gone == 0 else _price_cents(rng, plan),
        None if gone == 1 else stock,
        None if gone == 2 else rng.choice(ZONES),
    )


def _price_cents(rng: random.Random, plan: Plan) -> int:
    while True:
        euros = rng.randint(0, 99) if rng.random() < 0.85 else rng.randint(100, 999)
        cents = rng.choice((0, 0, 50, 95, 99, rng.randint(1, 99), rng.randint(1, 99)))
        if euros + cents and _held(euros * 100 + cents) == plan.held_names:
            return euros * 100 + cents


def _number(rng: random.Random, least: int, most: int, plan: Plan) -> int:
    for _ in range(100):
        number = rng.randint(least, most)
        if _held(number) == plan.held_names:
            return number
    return most


def _make_hours(rng: random.Random, plan: Plan) -> Hours:
    if rng.random() < 0.12:
        return Hours(None, None)
    while True:
        opens = rng.randint(5, 12) * 60 + rng.choice((0, 0, 0, 30, 15, 45, rng.randint(1, 59)))
        closes = rng.randint(13, 23) * 60 + rng.choice((0, 0, 0, 30, 15, 45, rng.randint(1, 59)))
        if (_held(opens) or _held(closes)) == plan.held_names:
            return Hours(opens, closes)


def _zone_text(rng: random.Random, plan: Plan) -> str:
    if rng.random() < 0.12:
        return f"the {rng.choice(CORNERS)}"
    first, second = (_goods(rng, plan) for _ in range(2))
    return f"{first} and {second}" if rng.random() < 0.5 and len(first.split() + second.split()) < 5 else first


def _goods(rng: random.Random, plan: Plan) -> str:
    name = make_name(rng, plan)
    if rng.random() < 0.15:
        return f"{name.split()[0]} tools"
    if rng.random() < 0.4 and not name.endswith("s"):
        return name + ("es" if name.endswith(("sh", "ch", "x", "z")) else "s")
    return name


def _some(rng: random.Random, all_of: tuple[str, ...], how_many: tuple[int, int]) -> list[str]:
    chosen = set(rng.sample(all_of, rng.randint(*how_many)))
    return [one for one in all_of if one in chosen]


def _held(value: str | int) -> bool:
    """A tenth of all values is kept for the test."""
    return zlib.crc32(f"kiosk {value}".encode()) % 10 == 0


def _held_word(name: str) -> bool:
    return any(word in HELD_NOUNS or word in HELD_ADJECTIVES for word in name.split())


def _spoken(turn: Turn) -> str:
    return f"{turn.opener} {turn.answer}".strip()


def dialogues(seed: int, count: int, plan: Plan) -> Iterator[Dialogue]:
    """`count` dialogues; number k is the same whatever `count` is."""
    for number in range(count):
        yield make_dialogue(random.Random(f"{seed}/{number}"), plan)


def main() -> None:
    """Write dialogues as JSON lines: the facts and every turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialogues", type=int, default=3)
    parser.add_argument("--split", choices=("train", *TEST_PLANS), default="train")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    plan = TRAIN if options.split == "train" else TEST_PLANS[options.split]
    lines = []
    for dialogue in dialogues(options.seed, options.dialogues, plan):
        turns = [{"intent": t.intent, "question": t.question, "answer": t.answer} for t in dialogue.turns]
        lines.append(json.dumps({"facts": facts(dialogue.content).split("\n"), "turns": turns}))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
