"""What may be spoken: names and values that belong together and to the question; whatever a model writes."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.bench.spoken_truth import Subject, ungrounded
from edgeapp.voice.asked import Asked, asked_in, right_fact
from edgeapp.voice.clauses import clauses_of
from edgeapp.voice.content import DAYS, VERDICTS, ZONES, Content, Fact, Item, Kind, known, load_content, with_counts
from edgeapp.voice.grounding import Grounding
from edgeapp.voice.intents import Intent
from edgeapp.voice.mentions import lexicon

SHOP = with_counts(load_content(BUNDLED_CONTENT), 212, 7, 3)
NAMES = lexicon(SHOP)
FACTS = known(SHOP)
QUESTIONS = {
    Kind.PLACE: "where should i look for the {}",
    Kind.PRICE: "what would the {} cost me",
    Kind.STOCK: "how many of the {} could i get",
    Kind.ZONE: "what have you got at the {}",
    Kind.HOURS: "when can i come on {}",
    Kind.PARTS: "how many parts were {} today",
}


def about(question: str, *turns: tuple[str, str], content: Content = SHOP) -> Asked:
    return asked_in(question, turns, content, lexicon(content))


def check(question: str, content: Content = SHOP) -> Grounding:
    names = lexicon(content)
    return Grounding(content, names, asked_in(question, (), content, names), question)


def spoken(question: str, reply: str, content: Content = SHOP) -> list[str]:
    """The clauses of a reply up to the first that is refused."""
    grounding = check(question, content)
    said: list[str] = []
    for clause in clauses_of(reply):
        if not grounding.allows(clause):
            break
        said.append(clause)
    return said


def of_fact(fact: Fact) -> str:
    return QUESTIONS[fact.kind].format(fact.subject)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.line)
def test_every_fact_may_be_said_to_its_question_and_is_the_right_one(fact: Fact) -> None:
    assert " ".join(spoken(of_fact(fact), fact.sentence)) == fact.sentence
    assert right_fact(about(of_fact(fact)), SHOP) == fact


@settings(deadline=None)
@given(st.sampled_from(FACTS), st.sampled_from(FACTS))
def test_no_fact_of_another_thing_may_be_said(fact: Fact, other: Fact) -> None:
    """Not even that two are equal: a fact of a zone and one of a thing that lies there are told apart by their subjects."""
    if fact != other:
        assert " ".join(spoken(of_fact(fact), other.sentence)) != other.sentence


def subject_of(fact: Fact) -> Subject:
    here = frozenset({fact.subject})
    none: frozenset[str] = frozenset()
    return Subject(
        here if fact.kind in {Kind.PLACE, Kind.PRICE, Kind.STOCK} else none,
        here if fact.kind is Kind.HOURS else none,
        here if fact.kind is Kind.ZONE else none,
        here if fact.kind is Kind.PARTS else none,
    )


@settings(deadline=None)
@given(st.sampled_from([fact for fact in FACTS if any(sign.isdigit() for sign in fact.line)]), st.integers(0, 400))
def test_no_other_number_may_be_said(fact: Fact, number: int) -> None:
    words = fact.sentence.split()
    at = random.Random(number).choice([place for place, word in enumerate(words) if word.strip(",.").isdigit()])
    if words[at].strip(",.") != str(number) and words[at].strip(",.") != f"{number:02d}":
        changed = " ".join([*words[:at], words[at].replace(words[at].strip(",."), str(number)), *words[at + 1 :]])
        assert " ".join(spoken(of_fact(fact), changed)) != changed


WORDS = sorted(
    {word for fact in FACTS for word in fact.sentence.replace(".", "").split()}
    | {
        "yes",
        "no",
        "not",
        "free",
        "cheaper",
        "unicorn",
        "left",
        "and",
        "it",
        "less",
        "than",
        "all",
        "right",
        "euros",
        "one",
    }
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FACTS), st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_whatever_words_a_model_puts_together_the_checker_finds_nothing_wrong_in_what_is_spoken(
    fact: Fact, words: list[str]
) -> None:
    """The checker shares no code with the check. Only what it can parse is compared: sentences that name their thing."""
    said = " ".join(spoken(of_fact(fact), " ".join(words) + "."))
    wrong = ungrounded(said, SHOP, subject_of(fact))
    assert not [each for each in wrong if " of the " in each], said


@pytest.mark.parametrize(
    ("question", "items"),
    [
        ("where is the hammer", ("hammer",)),
        ("how many hammers are left", ("hammer",)),
        ("where is the claw hammer", ()),
        ("where is the hammer drill", ()),
        ("how much is the handle of the hammer", ()),
        ("how much is the price of the hammer", ("hammer",)),
        ("the hammer with a rubber grip", ()),
        ("what does the hammer with the paint brush cost", ("hammer", "paint brush")),
        ("where is the paint", ()),
        ("how much are the hammer and the ladder", ("hammer", "ladder")),
        ("where is the hammer ladder", ()),
        ("the hammer's handle", ()),
        ("how much is the lamp of the hammer", ()),
        ("what does the hammer with the lamp cost", ()),
        ("hammer", ("hammer",)),
    ],
)
def test_a_name_counts_only_if_it_is_the_whole_name(question: str, items: tuple[str, ...]) -> None:
    assert about(question).items == items


def test_a_question_that_points_back_is_about_the_last_thing_named() -> None:
    price = ("how much is the hammer", "The hammer costs 12 euros 50.")
    assert about("where is it", price).items == ("hammer",)
    assert about("and how many are there", price, ("thank you", "You are welcome.")).items == ("hammer",)
    assert about("where is it", price, ("how much is the unicorn", "I am sorry, I do not know that.")).items == ()
    assert about("and the ladder", price) == Asked(Intent.PRICE, ("ladder",), plain=True)
    assert about("and the unicorn", price).items == ()
    assert about("where is that unicorn", price).items == ()
    assert about("who would you be", price, ("are you open on sunday", "On Sunday, closed.")).names_nothing
    assert about("how much is the lamp", price).items == ()  # lamps are at a zone, and none is sold by this name


@pytest.mark.parametrize(
    "clause",
    [
        "Yes!", "The hammer costs about 12 euros 50.", "The hammer costs 12 dollars 50.", "The hammer is free.", "The hammer hammer.",
        "the the the", "It is here.", "It is the cheapest.", "The hammer costs -12 euros 50 off.", "The handle costs 12 euros 50.",
        "The hammer is at the rear left and side left.", "The hammer costs 12 euros 50 or 1 euro.", "8 hammers cost 12 euros 50, or 9.",
        "Hammer zwölf.", "The hammer costs 12.5 euros.", "The hammer costs 12 euros 5.", "Somebody is on the way.", "1250",
        "The hammer never costs 12 euros 50.", "The hammer costs 12 euros 50 more than the ladder.",
    ],
)  # fmt: skip
def test_a_clause_that_is_not_quite_so_is_refused(clause: str) -> None:
    assert not check("what would the hammer cost me").allows(clause)


@pytest.mark.parametrize(
    "clause",
    ["The hammer costs 12 euros 50.", "Sure!", "It is located in the rear left section, and costs 12 euros 50.", "Twelve euros fifty.", "It costs €12.50.", "12 euros and 50 cents",
     "It is at the rear left, and costs 12 euros 50.", "You are welcome.", "The price of the hammer is 12 euros 50."],
)  # fmt: skip
def test_other_words_for_the_same_may_be_said(clause: str) -> None:
    assert check("what would the hammer cost me").allows(clause)


@pytest.mark.parametrize(
    "question", ["can i have a discount on the hammer", "do you like it", "the hammer costs 5 euros"]
)
def test_a_sure_is_a_promise_where_something_else_than_a_fact_is_asked(question: str) -> None:
    assert not check(question).allows("Sure!")


def test_a_refusal_is_not_so_where_nothing_but_a_known_fact_is_asked() -> None:
    refusal = "I am sorry, I do not know that."
    assert spoken("what would the hammer cost me", refusal) == []
    assert spoken("what would the unicorn cost me", refusal) == ["I am sorry,", "I do not know that."]
    assert spoken("what would the hammer weigh", refusal) == ["I am sorry,", "I do not know that."]


def test_courtesies_are_said_whole_and_not_mixed() -> None:
    mixed = "You can ask me about places, prices, and I can help you find things."
    assert spoken("tell me something", mixed) == ["You can ask me about places,", "prices,"]
    whole = "Hello, welcome to Miller Tools. You can ask me about places, prices, stock and opening hours."
    assert " ".join(spoken("tell me something", whole)) == whole


def test_a_clause_is_not_said_twice() -> None:
    grounding = check("what would the hammer cost me")
    assert grounding.allows("The hammer costs 12 euros 50.")
    assert not grounding.allows("The hammer costs 12 euros 50.")


@pytest.mark.parametrize(
    ("question", "yes", "no"),
    [
        ("is the door lock sold out", True, False),
        ("is the door lock in stock", False, True),
        ("does the hammer cost 12 euros 50", True, False),
        ("does the hammer cost 5 euros", False, True),
        ("is the hammer at the rear left", True, False),
        ("are you open on sunday", False, True),
        ("are you open on monday until 18", True, False),
        ("how much is the hammer", False, False),
        ("is the unicorn sold out", False, False),  # nothing is known of it: a no would be a claim as well
    ],
)
def test_yes_and_no_only_where_the_facts_say_so(question: str, yes: bool, no: bool) -> None:
    assert (check(question).allows("Yes."), check(question).allows("No.")) == (yes, no)


def test_of_what_is_not_known_neither_yes_nor_no_may_be_said() -> None:
    content = replace(SHOP, items=(Item("hammer", 1250, None, None),))
    grounding = check("is the hammer in stock", content)
    assert (grounding.allows("Yes."), grounding.allows("No.")) == (False, False)


def test_a_name_inside_another_is_told_apart() -> None:
    bulb = Item("bulb", 100, 1, "side left")
    content = replace(SHOP, items=(*SHOP.items, bulb))
    assert spoken("what would the light bulb cost me", "The bulb costs 1 euro.", content) == []
    assert spoken("what would the bulb cost me", "The light bulb costs 3 euros 40.", content) == []
    assert spoken("what would the bulb cost me", "The bulb costs 1 euro.", content) == ["The bulb costs 1 euro."]


def test_the_tables_of_days_zones_and_verdicts_do_not_overlap() -> None:
    every = sorted([*DAYS, *ZONES, *VERDICTS])
    assert all(one != other for one, other in pairwise(every))
