"""The generator of training dialogues: same seed same dialogue, answers that are true, nothing held out leaks in."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import make_kiosk_dialogues as make  # type: ignore[import-not-found]
from kiosk_phrasings import DEV_PHRASINGS, HELD_NOUNS, HELD_PHRASINGS, PHRASINGS, QUANTITIES  # type: ignore[import-not-found]

from edgeapp.voice.content import ZONES, Content, Hours, Item, QcCounts, facts, tool_call
from edgeapp.voice.prompt import prefix, render

SHOP = Content(
    name="Miller Tools",
    items=(Item("hammer", 1250, 8, "rear left"), Item("saw", None, 0, "side right")),
    hours={"monday": Hours(480, 1110), "sunday": Hours(None, None)},
    zones={"front left": "paint"},
    qc=QcCounts(7, 1, 3),
)


@pytest.mark.parametrize(
    ("intent", "thing", "answer"),
    [
        ("where", "hammer", "The hammer is at the rear left."),
        ("price", "hammer", "The hammer costs 12 euros 50."),
        ("price", "saw", make.UNKNOWN),
        ("in_stock", "hammer", "The hammer is in stock, 8 pieces."),
        ("in_stock", "saw", "The saw is sold out."),
        ("how_many", "hammer", "The hammer is in stock, 8 pieces."),
        ("how_many", "unicorn", make.UNKNOWN),
        ("opens", "monday", "On Monday, open from 8 to 18 30."),
        ("closes", "sunday", "On Sunday, closed."),
        ("opens", "friday", make.UNKNOWN),
        ("zone", "front left", "At the front left, paint."),
        ("zone", "rear right", make.UNKNOWN),
        ("qc_failed", "", "Parts failed today, 1."),
        ("qc_passed", "", "Parts passed today, 7."),
        ("qc_not_inspected", "", "Parts not inspected today, 3."),
    ],
)
def test_answers_are_true(intent: str, thing: str, answer: str) -> None:
    assert make.answers(SHOP, intent, thing) == answer


def test_the_same_seed_gives_the_same_dialogue() -> None:
    first = make.make_dialogue(random.Random("1"))
    assert first == make.make_dialogue(random.Random("1"))
    assert first != make.make_dialogue(random.Random("2"))


def test_every_phrasing_expands_to_plain_words() -> None:
    slots = {"item": "hammer", "day": "monday", "zone": ZONES[0], "quantity": "speed", "place": "belt"}
    rng = random.Random(5)
    for table in (PHRASINGS, DEV_PHRASINGS, HELD_PHRASINGS):
        for forms in table.values():
            for form in forms:
                question = make.expand(rng, form).format(**slots)
                assert question == " ".join(question.split()) != ""
                assert set(question) <= set("abcdefghijklmnopqrstuvwxyz ")


def test_held_out_names_and_phrasings_are_disjoint_from_training() -> None:
    trained = {item.name for d in make.dialogues(1, 300, make.TRAIN) for item in d.content.items}
    held = {item.name for d in make.dialogues(1, 300, make.TEST_PLANS["held_names"]) for item in d.content.items}
    assert not trained & held
    assert not {word for name in trained for word in name.split()} & set(HELD_NOUNS)


def test_training_makes_sensors_up_and_never_says_a_held_out_one() -> None:
    sensors = [tool for d in make.dialogues(1, 300, make.TRAIN) for tool in d.content.tools if tool.arguments]
    quantities = {tool.arguments["quantity"] for tool in sensors}
    assert len(quantities) > 0.3 * len(sensors)
    said = {word for tool in sensors for name in tool.arguments.values() for word in name.split()}
    assert not said & {"torque", "flow", "fill", "silo", "furnace", "compressor"}
    held = {
        tool.arguments["quantity"]
        for d in make.dialogues(1, 60, make.TEST_PLANS["held_names"])
        for tool in d.content.tools
        if tool.arguments
    }
    assert held <= {*QUANTITIES, *make.HELD_QUANTITIES}


def test_no_kept_back_sentence_is_ever_trained_on_be_it_with_other_articles() -> None:
    kept = {make.bare(form) for table in (DEV_PHRASINGS, HELD_PHRASINGS) for forms in table.values() for form in forms}
    rng = random.Random(3)
    for intent in PHRASINGS:
        assert not {make.bare(make._phrase(rng, make.TRAIN, intent)) for _ in range(300)} & kept
    assert not {form for forms in DEV_PHRASINGS.values() for form in forms} & {
        form for forms in HELD_PHRASINGS.values() for form in forms
    }


def test_the_facts_that_the_kiosk_shows_hold_the_answer() -> None:
    for name in ("held_names", "held_phrasings"):
        known = [
            make.is_readable(dialogue.asked(number).system, turn)
            for dialogue in make.dialogues(8, 15, make.TEST_PLANS[name])
            for number, turn in enumerate(dialogue.turns)
            if not turn.absent and turn.intent in make.ITEM_INTENTS
        ]
        assert sum(known) >= 0.98 * len(known) > 0


def test_a_call_is_the_answer_only_where_its_tool_is_offered() -> None:
    for dialogue in make.dialogues(9, 60, make.TRAIN):
        offered = {tool_call(tool) for tool in dialogue.content.tools}
        for turn in dialogue.turns:
            assert turn.answer in offered or not turn.answer.startswith("<tool>")


def test_a_shop_may_be_nearly_empty() -> None:
    plan = replace(make.TRAIN, items=(1, 1), days=(0, 0), zones=(0, 0))
    for dialogue in make.dialogues(4, 50, plan):
        assert facts(dialogue.content)
        assert all(turn.question and turn.answer for turn in dialogue.turns)


def test_a_prompt_carries_the_turns_before_it() -> None:
    dialogue = make.make_dialogue(random.Random("1"))
    prompt = dialogue.prompt(2)
    assert [question for question, _ in prompt.turns] == [turn.question for turn in dialogue.turns[:2]]
    assert prompt.question == dialogue.turns[2].question


def test_training_and_runtime_read_the_same_tokens() -> None:
    tokenizer = Tokenizer.from_file(str(Path(__file__).parent.parent / "models" / "kiosk-lm" / "tokenizer.json"))
    dialogue = make.make_dialogue(random.Random("1"))
    prompt = dialogue.prompt(3)

    def tokens(text: str) -> list[str]:
        return list(tokenizer.encode(text, add_special_tokens=False).tokens)

    assert tokens(prefix(prompt)) + tokens(render(prompt).removeprefix(prefix(prompt))) == tokens(render(prompt))
    assert tokens(prefix(prompt))[-1] == "<live>"
    assert tokenizer.decode(tokenizer.encode(' <tool> {"name"').ids).strip() == '<tool> {"name"'
