"""The grounding bench: its checker finds what is wrong, its questions are true, and the real model is held to the facts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.bench.grounding import RULES, bench_grounding, measure
from edgeapp.bench.held_out_talk import NOT_KNOWN, reading_of, talks
from edgeapp.bench.spoken_truth import Subject, ungrounded
from edgeapp.voice.content import Tool, load_content, with_counts

SCRIPTS = Path(__file__).parent.parent / "scripts"
SHOP = with_counts(load_content(BUNDLED_CONTENT), 212, 7, 3)
HAMMER = Subject(items=frozenset({"hammer"}))


@pytest.mark.parametrize(
    ("reply", "subject"),
    [
        ("The hammer costs 13 euros 50.", HAMMER),
        ("The hammer costs 12 euros 5.", HAMMER),
        ("The hammer costs 12 euros.", HAMMER),
        ("The ladder costs 64 euros.", HAMMER),
        ("The claw hammer costs 12 euros 50.", HAMMER),
        ("The hammer costs 12 euros 50 and the ladder 64 euros.", HAMMER),
        ("The hammer is at the front left.", HAMMER),
        ("The hammer is sold out.", HAMMER),
        ("The hammer is in stock, 9 pieces.", HAMMER),
        ("The hammer costs twelve euros.", HAMMER),
        ("The hamer costs 12 euros 50.", HAMMER),
        ("Somebody is on the way.", HAMMER),
        ("The hammer costs 12 euros 50.", Subject()),
        ("On Saturday, open from 9 30 to 18.", Subject(days=frozenset({"saturday"}))),
        ("On Sunday, closed.", Subject(days=frozenset({"saturday"}))),
        ("At the rear left, lamps.", Subject(zones=frozenset({"rear left"}))),
        ("At the front right, lamps.", Subject(zones=frozenset({"rear left"}))),
        ("Parts failed today, 8.", Subject(parts=frozenset({"failed"}))),
        ("Parts passed today, 212.", Subject(parts=frozenset({"failed"}))),
        ("The heat of the oven is 41 units.", Subject(readings={"the heat of the oven": "40 units"})),
        ("All right.", Subject(claims_something=True)),
        ("Yes.", HAMMER),
        ("Hello, welcome to Mller Tools.", Subject()),
    ],
)
def test_the_checker_finds_what_is_not_so(reply: str, subject: Subject) -> None:
    assert ungrounded(reply, SHOP, subject)


@pytest.mark.parametrize(
    ("reply", "subject"),
    [
        ("The hammer costs 12 euros 50.", HAMMER),
        ("The hammer is in stock, 8 pieces.", HAMMER),
        ("The hammer is at the rear left.", HAMMER),
        ("The door lock is sold out.", Subject(items=frozenset({"door lock"}))),
        ("On Saturday, open from 9 30 to 14.", Subject(days=frozenset({"saturday"}))),
        ("At the rear left, hand tools.", Subject(zones=frozenset({"rear left"}))),
        ("Parts failed today, 7.", Subject(parts=frozenset({"failed"}))),
        ("The heat of the oven is 40 units.", Subject(readings={"the heat of the oven": "40 units"})),
        ("I am sorry, I do not know that.", Subject()),
        ("Hello, welcome to Miller Tools.", Subject()),
        ("All right.", Subject()),
    ],
)
def test_the_checker_finds_nothing_in_what_is_so(reply: str, subject: Subject) -> None:
    assert ungrounded(reply, SHOP, subject) == []


def test_the_questions_are_as_many_as_asked_for_and_their_right_answers_are_grounded() -> None:
    every = list(talks(SCRIPTS, 7, 300))
    asks = [(talk, ask) for talk in every for ask in talk.asks]
    assert len(asks) == 300
    assert [list(talk.asks) for talk in talks(SCRIPTS, 7, 300)] == [list(talk.asks) for talk in every]
    for talk, ask in asks:
        for answer in ask.answers:
            assert ungrounded(answer, talk.content, replace(ask.subject, claims_something=False)) == [], ask
    kinds = {ask.kind for _, ask in asks}
    assert kinds >= {"known", "not there", "claim", "order", "near miss", "follow-up", "two things", "belonging"}
    assert 0.2 < sum(set(ask.answers) <= set(NOT_KNOWN) for _, ask in asks) / 300 < 0.6


@pytest.mark.real_time
async def test_the_kiosks_own_model_says_nothing_that_is_not_so() -> None:
    scores = await measure(list(talks(SCRIPTS, 11, 40)))
    assert set(scores) == set(RULES)
    assert [scores[name].ungrounded for name in ("checked", "as_shipped")] == [0, 0]
    assert all(score.asked == 40 and score.right >= 30 for score in scores.values())


def test_the_command_prints_its_bars_as_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = bench_grounding(quick=True, questions=10, seed=3)
    line = json.loads(capsys.readouterr().out)
    assert code == (not all(bar["ok"] for bar in line["bars"]))
    assert [bar["name"] for bar in line["bars"] if bar["name"].startswith("ungrounded")] == [
        "ungrounded_replies_checked",
        "ungrounded_replies_as_shipped",
    ]
    assert line["figures"]["model_alone"]["asked"] == 10


def test_a_sensor_has_a_reading_of_its_own() -> None:
    assert reading_of(Tool("the heat of the oven", "read_sensor")) != reading_of(
        Tool("the heat of the tank", "read_sensor")
    )
