"""Which facts a small model reads for one question."""

from __future__ import annotations

import pytest

from edgeapp.apps.content_file import BUNDLED_CONTENT
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


def test_where_nothing_is_shared_only_the_name_and_the_live_lines_stay() -> None:
    for question in ("goodbye", "where is the unicorn", "what is the capital of france"):
        assert relevant(FACTS, question).split("\n") == [
            FACTS.split("\n")[0],
            "",
            *FACTS.partition("\n\n")[2].split("\n"),
        ]


@pytest.mark.parametrize("question", ["how much is it", "and how many are left", "where do you keep them"])
def test_a_question_that_points_back_is_about_the_last_exchange(question: str) -> None:
    before = "is the hammer in stock The hammer is in stock, 8 pieces."
    assert relevant(FACTS, question, before=before) == relevant(FACTS, "where is the hammer")


def test_a_question_with_a_name_is_not_about_the_last_exchange() -> None:
    before = "where is the hammer The hammer is at the rear left."
    assert relevant(FACTS, "and the ladder", before=before) == relevant(FACTS, "where is the ladder")


@pytest.mark.parametrize(
    ("many", "one"), [("hammers", "hammer"), ("tape measures", "tape measure"), ("paint brushes", "paint brush")]
)
def test_many_are_found_like_one(many: str, one: str) -> None:
    assert relevant(FACTS, f"how many {many} do you have") == relevant(FACTS, f"where is the {one}")


def test_a_tool_is_found_by_what_it_is_about_not_by_its_json() -> None:
    call = '<tool> {"name": "read_sensor", "arguments": {"quantity": "temperature", "place": "oven"}}'
    lines = f"name: Works\nhammer costs 2 euros\nthe temperature of the oven {call}\n\nnothing counted today"
    assert call in relevant(lines, "how hot is the oven")
    assert call not in relevant(lines, "which arguments has the quantity hammer")


def test_the_name_and_the_live_lines_always_stay() -> None:
    kept = relevant(FACTS, "where is the hammer")
    assert kept.split("\n")[0] == FACTS.split("\n")[0]
    assert kept.endswith(FACTS.partition("\n\n")[2])


def test_lines_keep_their_order_and_nothing_is_invented() -> None:
    lines = FACTS.split("\n")
    kept = relevant(FACTS, "is the hand saw or the hammer at the rear left", 3).split("\n")
    assert kept == [line for line in lines if line in kept]
