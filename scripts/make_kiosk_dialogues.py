"""Make kiosk dialogues: random shop facts, then many questions about them and the right answers.

    python scripts/make_kiosk_dialogues.py --seed 1 --dialogues 3            # read a few
    python scripts/make_kiosk_dialogues.py --split held_both --dialogues 500 --out test.jsonl
    python scripts/make_kiosk_dialogues.py --smoke

The facts are drawn anew for every dialogue, so a model can only read them. Held out of training, by hash or by list:
a tenth of all item names and all nouns of `HELD_NOUNS`, a tenth of all prices, stock counts and times, some sensors and
their places, and the phrasings of `DEV_PHRASINGS` and `HELD_PHRASINGS`. What a word means is in `kiosk_phrasings.py`.
"""

import argparse
import json
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kiosk_phrasings import (
    ADJECTIVES,
    DEV_PHRASINGS,
    FILLERS,
    HELD_ADJECTIVES,
    HELD_NOUNS,
    HELD_OFF_TOPIC,
    HELD_PHRASINGS,
    LEADS,
    MORE_QUANTITIES,
    NOUNS,
    OFF_TOPIC,
    PHRASINGS,
    QUANTITIES,
    SERVICES,
    SHOP_KINDS,
    SMALL_TALK,
    TAILS,
)

from edgeapp.core.events import Prompt
from edgeapp.voice.content import (
    DAYS,
    ZONES,
    Content,
    Hours,
    Item,
    QcCounts,
    Tool,
    facts,
    hours_text,
    price_text,
    stock_text,
    tool_call,
)
from edgeapp.voice.relevance import FACTS_MOST, relevant

UNKNOWN = "I am sorry, I do not know that."
CANNOT = "I am sorry, I can not help with that."
HISTORY_TURNS = 2  # as the kiosk keeps them
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
PLACES = (
    "line", "oven", "belt", "press", "motor", "spindle", "tank", "room", "window", "camera", "pump", "robot", "dryer",
    "chamber", "gearbox", "conveyor", "cabinet", "mixer", "engine", "battery", "floor", "hall", "machine", "loader",
)  # fmt: skip
HELD_PLACES = ("furnace", "boiler", "feeder", "lathe bed", "compressor", "cooler", "gripper", "silo")
HELD_QUANTITIES = ("torque", "flow", "fill level", "water pressure")
_HELD_SENSOR_WORDS = {word for each in HELD_QUANTITIES + HELD_PLACES for word in each.split()} - {
    word for each in QUANTITIES for word in each.split()
}
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

    def asked(self, number: int, most: int = FACTS_MOST) -> Prompt:
        """The prompt of turn `number` as the kiosk asks: the facts it is about, the last `HISTORY_TURNS` turns."""
        prompt = self.prompt(number)
        before = " ".join(prompt.turns[-1]) if prompt.turns else ""
        system = relevant(prompt.system, prompt.question, most, before)
        return replace(prompt, system=system, turns=prompt.turns[-HISTORY_TURNS:])


@dataclass(frozen=True)
class Plan:
    """How hard the dialogues are, and which words and numbers they may use."""

    items: tuple[int, int] = (3, 9)
    days: tuple[int, int] = (3, 7)
    zones: tuple[int, int] = (3, 8)
    turns: tuple[int, int] = (8, 14)
    held_names: bool = False  # names and numbers that training never saw
    phrasings: str = "train"  # or "dev", or "held"
    absent: float = 0.25  # of the questions about an item: one that the shop does not have,
    near: float = 0.6  # and of these: one that shares a word with what it has
    gone: float = 0.15  # of the items: one of place, price and stock is not known
    noise: bool = True  # dropped words, fillers, openers, stale answers
    new_sensors: float = 0.0  # of what sensors measure, and of where: others than the usual ones
    sensors: float = 0.0  # of the turns: asked about sensors, besides those of all other plans


TRAIN = Plan(absent=0.4, near=0.8, gone=0.3, new_sensors=0.65, sensors=0.12)  # what is not there is the harder half
TEST_PLANS = {
    "known": Plan(noise=False),
    "held_names": Plan(noise=False, held_names=True),
    "held_phrasings": Plan(noise=False, phrasings="held"),
    "held_both": Plan(noise=False, held_names=True, phrasings="held"),
}
DEV_PLANS = {  # what may be looked at while the data is made; see `kiosk_phrasings`
    "known": TEST_PLANS["known"],
    "held_names": TEST_PLANS["held_names"],
    "dev_phrasings": Plan(noise=False, phrasings="dev"),
}


def scene(dialogue: Dialogue, first: int, last: int) -> str:
    """The facts that the turns `first` to `last` (not included) are about, as one prompt: what they need, and what is near."""
    asked = [dialogue.asked(number).system.split("\n\n") for number in range(first, last)]
    wanted = {line for fixed, _ in asked for line in fixed.split("\n")}
    fixed, _, live = facts(dialogue.content).partition("\n\n")
    return "\n".join(line for line in fixed.split("\n") if line in wanted) + "\n\n" + live


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
        name = similar_name(rng, plan, names) if names and rng.random() < 0.25 else make_name(rng, plan)
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
        tools=_make_tools(rng, plan),
    )


def _make_tools(rng: random.Random, plan: Plan) -> tuple[Tool, ...]:
    """What this kiosk may call: a few sensors, which share words with each other, and some of the services."""
    sensors: list[Tool] = []
    for _ in range(rng.choice((0, 1, 2, 3, 4, 5))):
        quantity, place = _quantity_and_place(rng, plan)
        if sensors and rng.random() < 0.5:
            known = rng.choice(sensors).arguments
            quantity, place = rng.choice(((quantity, known["place"]), (known["quantity"], place)))
        sensor = _sensor(quantity, place)
        if sensor not in sensors:
            sensors.append(sensor)
    services = [Tool(about, name) for name, about in SERVICES.items() if rng.random() < 0.5]
    return (*sensors, *services)


def _sensor(quantity: str, place: str) -> Tool:
    return Tool(f"the {quantity} of the {place}", "read_sensor", {"quantity": quantity, "place": place})


def _quantity_and_place(rng: random.Random, plan: Plan) -> tuple[str, str]:
    if plan.new_sensors and rng.random() < plan.new_sensors:
        quantity = _new_sensor_words(rng, MORE_QUANTITIES)
    else:
        quantity = rng.choice(HELD_QUANTITIES if plan.held_names and rng.random() < 0.5 else QUANTITIES)
    while plan.new_sensors and rng.random() < plan.new_sensors:
        place = _new_sensor_words(rng, PLACES + NOUNS)
        if _held(place) == plan.held_names:
            return quantity, place
    while True:
        kind = rng.random()
        place = rng.choice(HELD_PLACES if plan.held_names else PLACES)
        if kind > 0.7:
            place = make_word(rng)
        elif kind > 0.4:
            place = f"{rng.choice(ADJECTIVES)} {place}"
        if kind <= 0.4 or _held(place) == plan.held_names:
            return quantity, place


def _new_sensor_words(rng: random.Random, real: tuple[str, ...]) -> str:
    """What a sensor measures or where, besides the usual: of `real` or made up, one or two words, none of them held out."""
    while True:
        kind = rng.random()
        if kind < 0.35:
            words = rng.choice(real)
        elif kind < 0.65:
            words = make_word(rng)
        else:
            first = rng.choice((rng.choice(ADJECTIVES), rng.choice(NOUNS), make_word(rng)))
            words = f"{first} {rng.choice((rng.choice(real), rng.choice(real), make_word(rng)))}"
        if _HELD_SENSOR_WORDS.isdisjoint(words.split()):
            return words


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


def _turn(rng: random.Random, plan: Plan, content: Content, last: Item | None) -> tuple[Turn, Item | None]:
    if plan.sensors and rng.random() < plan.sensors:
        return _sensor_turn(rng, plan, content), None
    roll = rng.random()
    if last is not None and roll < 0.10:
        intent = rng.choice(ITEM_INTENTS)
        answer = _item_answer(last, intent)
        return _finish(rng, plan, f"it_{intent}", {}, answer, answer == UNKNOWN), last if answer != UNKNOWN else None
    if roll < 0.50:
        return _item_turn(rng, plan, content)
    if roll < 0.62:
        intent = rng.choice(("opens", "opens", "closes", "closes", "hours", "open_on"))
        day = rng.choice(tuple(content.hours) or DAYS) if rng.random() < 0.7 else rng.choice(DAYS)
        answer = answers(content, intent, day)
        return _finish(rng, plan, intent, {"day": day}, answer, answer == UNKNOWN), None
    if roll < 0.69:
        zone = rng.choice(tuple(content.zones) or ZONES) if rng.random() < 0.7 else rng.choice(ZONES)
        answer = answers(content, "zone", zone)
        return _finish(rng, plan, "zone", {"zone": zone}, answer, answer == UNKNOWN), None
    if roll < 0.75:
        intent = rng.choice(QC_INTENTS)
        answer = answers(content, intent, "")
        if content.qc and plan.noise and rng.random() < 0.15:
            return _stale(rng, plan, intent), None
        return _finish(rng, plan, intent, {}, answer, answer == UNKNOWN), None
    return _other_turn(rng, plan, content), None


def _item_turn(rng: random.Random, plan: Plan, content: Content) -> tuple[Turn, Item | None]:
    intent = rng.choice(ITEM_INTENTS)
    item = rng.choice(content.items)
    if plan.noise and rng.random() < 0.1:
        lacking = [(one, each) for one in content.items for each in ITEM_INTENTS if _item_answer(one, each) == UNKNOWN]
        item, intent = rng.choice(lacking) if lacking else (item, intent)
    if rng.random() >= plan.absent:
        name, known = item.name, item
    else:
        names = [other.name for other in content.items]
        name = similar_name(rng, plan, names) if rng.random() < plan.near else make_name(rng, plan)
        if name in names:
            return _item_turn(rng, plan, content)
        known = None
    answer = _item_answer(known, intent)
    asked = name + "s" if intent == "how_many" and not name.endswith("s") and rng.random() < 0.35 else name
    return _finish(rng, plan, intent, {"item": asked}, answer, answer == UNKNOWN), known if answer != UNKNOWN else None


def _other_turn(rng: random.Random, plan: Plan, content: Content) -> Turn:
    roll = rng.random()
    if roll < 0.22:
        question = rng.choice(OFF_TOPIC if plan.phrasings == "train" else HELD_OFF_TOPIC)
        if plan.phrasings == "train" and rng.random() < 0.5:
            question = rng.choice(OFF_TOPIC_FORMS).format(rng.choice((rng.choice(NOUNS), make_word(rng))))
        return Turn("off_topic", expand(rng, question), CANNOT, absent=True)
    if roll < 0.60:
        return _tool_turn(rng, plan, content)
    if roll < 0.66:
        return _finish(rng, plan, "which_day", {}, WHICH_DAY, False)
    intent = rng.choice(tuple(SMALL_TALK))
    return _finish(rng, plan, intent, {}, SMALL_TALK[intent].format(name=content.name), False)


OFF_TOPIC_FORMS = (
    "who invented the {}", "tell me a story about (a|the) {}", "do you like {}", "what do you think (of|about) {}",
    "sing a song about {}", "how (do|can) i (repair|clean|build|cook) a {}", "who is {}", "what is the meaning of {}",
    "is {} (a person|dangerous|famous)", "how (old|tall|heavy) is {}", "can i (return|rent|exchange|eat) the {}",
    "what (color|size|weight|brand) is the {}", "who made the {}", "how long does the {} last",
)  # fmt: skip


def _tool_turn(rng: random.Random, plan: Plan, content: Content) -> Turn:
    """A question for live data or a service: the call that the prompt offers, or that it is not known."""
    if rng.random() < 0.3:
        offered = {tool.name: tool for tool in content.tools}
        services = [name for name in SERVICES if name in offered]
        name = rng.choice(services if services and rng.random() < 0.6 else tuple(SERVICES))
        answer = tool_call(offered[name]) if name in offered else CANNOT
        return _finish(rng, plan, name, {}, answer, answer == CANNOT)
    return _sensor_turn(rng, plan, content)


def _sensor_turn(rng: random.Random, plan: Plan, content: Content) -> Turn:
    sensors = [tool for tool in content.tools if tool.arguments]
    if sensors and rng.random() < 0.75:
        asked = rng.choice(sensors)
    else:
        quantity, place = _quantity_and_place(rng, plan)
        if sensors and rng.random() < 0.6:
            near = rng.choice(sensors).arguments
            quantity, place = rng.choice(((quantity, near["place"]), (near["quantity"], place)))
        asked = _sensor(quantity, place)
    answer = tool_call(asked) if asked in sensors else UNKNOWN
    return _finish(rng, plan, "sensor", dict(asked.arguments), answer, answer == UNKNOWN)


def _stale(rng: random.Random, plan: Plan, intent: str) -> Turn:
    """An answer given before the counts changed: it stands in the history and must not be believed."""
    old = QcCounts(*(_number(rng, 0, 400, plan) for _ in range(3)))
    turn = _finish(rng, plan, intent, {}, _qc_answer(old, intent), False)
    return Turn(turn.intent, turn.question, turn.answer, learn=False)


def _finish(rng: random.Random, plan: Plan, intent: str, slots: dict[str, str], answer: str, absent: bool) -> Turn:
    question = _phrase(rng, plan, intent).format(**slots)
    if not plan.noise:
        return Turn(intent, question, answer, absent)
    if rng.random() < 0.12:
        question = f"{expand(rng, rng.choice(LEADS))} {question}"
    if intent not in SMALL_TALK and rng.random() < 0.08:
        question = f"{question} {expand(rng, rng.choice(TAILS))}"
    if rng.random() < 0.12:
        question = _drop_words(rng, question)
    opener = rng.choice(("Let me see.", "One moment.", "Let me check that.")) if rng.random() < 0.03 else ""
    return Turn(intent, " ".join(question.split()), answer, absent, opener)


def _phrase(rng: random.Random, plan: Plan, intent: str) -> str:
    """One sentence with its slots still open, never one of another split, be it only with other articles."""
    if plan.phrasings != "train":
        table = DEV_PHRASINGS if plan.phrasings == "dev" else HELD_PHRASINGS
        return expand(rng, rng.choice(table.get(intent, PHRASINGS[intent])))
    while True:
        form = expand(rng, rng.choice(PHRASINGS[intent]))
        if plan.noise and rng.random() < 0.2:
            form = _fill(rng, form)
        if bare(form) not in _KEPT_BACK:
            return form


def _fill(rng: random.Random, form: str) -> str:
    """Put words that change nothing anywhere but right before or inside a slot."""
    words = form.split()
    places = [place for place in range(len(words) + 1) if place == len(words) or not words[place].startswith("{")]
    words.insert(rng.choice(places), rng.choice(FILLERS))
    return " ".join(words)


def bare(form: str) -> str:
    """A sentence without its articles and courtesies: what tells two phrasings apart."""
    articles = {"the", "a", "an", "your", "any", "some", "my", "one", "please", "and", "so", "okay"}
    return " ".join(word for word in form.split() if word not in articles)


_KEPT_BACK = frozenset(
    bare(form) for table in (DEV_PHRASINGS, HELD_PHRASINGS) for forms in table.values() for form in forms
)


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


def similar_name(rng: random.Random, plan: Plan, names: list[str]) -> str:
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
    gone = rng.randrange(3) if rng.random() < plan.gone else 3
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


def smoke() -> None:
    """Raise SystemExit if an answer can not be read in its prompt more often than one in fifty times."""
    for name, plan in {"train": TRAIN, **TEST_PLANS, **DEV_PLANS}.items():
        found = [
            is_readable(dialogue.asked(number).system, turn)
            for dialogue in dialogues(5, 20, plan)
            for number, turn in enumerate(dialogue.turns)
            if not turn.absent and turn.learn and turn.intent not in SMALL_TALK and turn.intent != "which_day"
        ]
        print(f"{name}: {sum(found)} of {len(found)} known answers stand in their prompts")
        if sum(found) < 0.98 * len(found):
            raise SystemExit(f"{name}: too many answers are not in the prompt; see edgeapp/voice/relevance.py")


def is_readable(system: str, turn: Turn) -> bool:
    """Does the line that the answer repeats stand among the facts?"""
    line = re.sub(r"^(The|On|At the) |\.$", "", turn.answer)
    return line.lower() in system.lower()


def main() -> None:
    """Write dialogues as JSON lines: the facts and every turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialogues", type=int, default=3)
    parser.add_argument("--split", choices=("train", *TEST_PLANS, "dev_phrasings"), default="train")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true", help="make a few of every split and check what they say")
    options = parser.parse_args()
    if options.smoke:
        smoke()
        return
    plan = ({"train": TRAIN} | TEST_PLANS | DEV_PLANS)[options.split]
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
