"""Which facts a small model reads for one question."""

from __future__ import annotations

import pytest

from edgeapp.apps.kiosk import BUNDLED_CONTENT
from edgeapp.voice.content import facts, load_content
from edgeapp.voice.relevance import relevant

FACTS = facts(load_content(BUNDLED_CONTENT))


@pytest.mark.parametrize(
    ("question", "about"),
    [
        ("where is the hammer", "hammer"),
        ("how much is the power drill", "power drill"),
        ("when do you close on saturday", "saturday"),
        ("rear right", "rear right"),
        ("what is at the front center", "front center"),
    ],
)
def test_only_the_lines_a_question_is_about_are_kept(question: str, about: str) -> None:
    _, *kept = relevant(FACTS, question).partition("\n\n")[0].lower().split("\n")
    assert 1 <= len(kept) <= 4
    assert all(about in line for line in kept)


def test_where_nothing_is_shared_everything_stays() -> None:
    assert relevant(FACTS, "goodbye") == FACTS


def test_the_name_and_the_live_lines_always_stay() -> None:
    kept = relevant(FACTS, "where is the hammer")
    assert kept.split("\n")[0] == FACTS.split("\n")[0]
    assert kept.endswith(FACTS.partition("\n\n")[2])


def test_lines_keep_their_order_and_nothing_is_invented() -> None:
    lines = FACTS.split("\n")
    kept = relevant(FACTS, "is the hand saw or the hammer at the rear left", 3).split("\n")
    assert kept == [line for line in lines if line in kept]
