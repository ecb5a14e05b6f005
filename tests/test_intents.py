"""Questions that need no model: which they are, and that their answers are those the model was taught."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import eval_kiosk_lm  # type: ignore[import-not-found]
import make_kiosk_dialogues  # type: ignore[import-not-found]
from kiosk_phrasings import DEV_PHRASINGS, HELD_PHRASINGS, SMALL_TALK  # type: ignore[import-not-found]

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.voice.content import DAYS, ZONES, Item, load_content, with_counts
from edgeapp.voice.grammar import kiosk_grammar
from edgeapp.voice.intents import (
    CANNOT_HELP,
    COURTESIES,
    NOT_KNOWN,
    WHICH_DAY,
    Intent,
    closed_answer,
    intent_of,
    verdicts_of,
)

SHOP = with_counts(load_content(BUNDLED_CONTENT), 212, 7, 3)
GRAMMAR = kiosk_grammar([item.name for item in SHOP.items], list(SHOP.hours), list(SHOP.zones))
EXPECTED = {
    "where": Intent.PLACE, "price": Intent.PRICE, "in_stock": Intent.STOCK, "how_many": Intent.STOCK,
    "opens": Intent.HOURS, "closes": Intent.HOURS, "hours": Intent.HOURS, "open_on": Intent.HOURS, "zone": Intent.PLACE,
    "qc_failed": Intent.PARTS, "qc_passed": Intent.PARTS, "qc_not_inspected": Intent.PARTS,
}  # fmt: skip


def test_every_sentence_of_the_grammar_is_answered_with_no_model() -> None:
    assert [sentence for sentence in GRAMMAR.sentences if closed_answer(sentence, SHOP) is None] == []


@pytest.mark.parametrize(("question", "answer"), eval_kiosk_lm.shop_questions(SHOP))
def test_a_closed_answer_is_word_for_word_the_one_the_model_is_taught(question: str, answer: str) -> None:
    assert closed_answer(question, SHOP) == answer


def test_courtesies_and_refusals_are_the_ones_the_model_is_taught() -> None:
    assert set(COURTESIES) == set(SMALL_TALK.values())
    taught = (make_kiosk_dialogues.UNKNOWN, make_kiosk_dialogues.CANNOT, make_kiosk_dialogues.WHICH_DAY)
    assert taught == (NOT_KNOWN, CANNOT_HELP, WHICH_DAY)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Excuse me, where are the hammers please?", "The hammer is at the rear left."),
        ("do you have light bulbs", "The light bulb is in stock, 112 pieces."),
        ("is the hammer at the front right", "The hammer is at the rear left."),
        ("does the hammer cost 5 euros", "The hammer costs 12 euros 50."),
        ("on sunday", "On Sunday, closed."),
        ("how many parts passed", "Parts passed today, 212."),
        ("no thank you", "All right."),
        ("where is the unicorn", None),
        ("where is the claw hammer", None),
        ("how much is the hammer handle", None),
        ("where is the hammer and the ladder", None),
        ("what do you charge for the hammer", None),
        ("", None),
    ],
)
def test_closed_or_not(question: str, answer: str | None) -> None:
    assert closed_answer(question, SHOP) == answer


def test_what_is_not_known_of_a_thing_of_this_shop_is_said_so() -> None:
    content = replace(SHOP, items=(Item("hammer", None, None, None),), qc=None, zones={}, hours={})
    for question in ("how much is the hammer", "rear left", "are you open on monday", "how many parts failed today"):
        assert closed_answer(question, content) == NOT_KNOWN


@pytest.mark.parametrize("table", [DEV_PHRASINGS, HELD_PHRASINGS], ids=["dev", "held"])
def test_the_kind_of_a_question_is_known_from_most_phrasings(table: dict[str, tuple[str, ...]]) -> None:
    forms = [
        (form.format(item="hammer", day=DAYS[0], zone=ZONES[0]), EXPECTED[intent])
        for intent, forms in table.items()
        if intent in EXPECTED
        for form in forms
    ]
    missed = [(form, str(intent_of(form))) for form, intent in forms if intent_of(form) is not intent]
    assert len(missed) <= 0.1 * len(forms), missed


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        ("how many parts passed today", "passed"),
        ("how many rejects today", "failed"),
        ("how many parts were not inspected", "not inspected"),
        ("how many parts did not pass", "failed"),
        ("how many parts did the camera miss", "not inspected"),
    ],
)
def test_the_verdict_that_is_asked_for(question: str, verdict: str) -> None:
    assert (intent_of(question), verdicts_of(question)) == (Intent.PARTS, (verdict,))
