"""Reading a text: names, prices, times, counts and states, in digits and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.voice.content import Item, clock_text, load_content, price_text
from edgeapp.voice.mentions import Mention, Sort, lexicon, mentions, tokens

SHOP = load_content(BUNDLED_CONTENT)
NAMES = lexicon(SHOP)

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety"


def read(text: str) -> list[tuple[Sort, object]]:
    """What is found besides words."""
    return [(each.sort, each.value) for each in mentions(tokens(text), NAMES) if each.sort is not Sort.WORD]


def in_words(number: int) -> str:
    """0 to 999,999, in English."""
    if number >= 1000:
        rest = f" {in_words(number % 1000)}" if number % 1000 else ""
        return f"{in_words(number // 1000)} thousand{rest}"
    if number >= 100:
        rest = f" and {in_words(number % 100)}" if number % 100 else ""
        return f"{in_words(number // 100)} hundred{rest}"
    if number < 20:
        return ONES.split()[number]
    return " ".join([TENS.split()[number // 10], *([ONES.split()[number % 10]] if number % 10 else [])])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12 euros 50", [(Sort.PRICE, 1250)]),
        ("twelve euros fifty", [(Sort.PRICE, 1250)]),
        ("12 euros and 50 cents", [(Sort.PRICE, 1250)]),
        ("€12.50 each", [(Sort.PRICE, 1250)]),
        ("12,50 €", [(Sort.PRICE, 1250)]),
        ("eighty cents", [(Sort.PRICE, 80)]),
        ("4 euros 5", [(Sort.PRICE, 405)]),
        ("12 euros, 8 pieces", [(Sort.PRICE, 1200), (Sort.NUMBER, 8)]),
        ("twelve fifty", [(Sort.PAIR, (12, 50))]),
        ("half past eight", [(Sort.CLOCK, 510)]),
        ("a quarter to nine", [(Sort.CLOCK, 525)]),
        ("8:30", [(Sort.CLOCK, 510)]),
        ("6 pm and 9 30 am", [(Sort.CLOCK, 1080), (Sort.CLOCK, 570)]),
        ("8 o'clock", [(Sort.CLOCK, 480)]),
        ("twelve am", [(Sort.CLOCK, 0)]),
        ("noon", [(Sort.CLOCK, 720)]),
        ("8 to 18 30", [(Sort.NUMBER, 8), (Sort.PAIR, (18, 30))]),
        ("that one", []),
        ("one piece", [(Sort.NUMBER, 1)]),
        ("a hundred and twelve pieces", [(Sort.NUMBER, 112)]),
        ("1,250 pieces", [(Sort.NUMBER, 1250)]),
        ("light bulbs and hammers", [(Sort.ITEM, "light bulb"), (Sort.ITEM, "hammer")]),
        ("it isn't in stock", [(Sort.STATE, "sold out")]),
        ("parts not inspected today, 3", [(Sort.PARTS, "not inspected"), (Sort.NUMBER, 3)]),
        ("at the rear-left, hand tools", [(Sort.ZONE, "rear left"), (Sort.GOODS, "rear left")]),
        ("Welcome to Miller Tools.", [(Sort.SHOP, "Miller Tools")]),
        ("On Sunday, closed", [(Sort.DAY, "sunday"), (Sort.STATE, "closed")]),
    ],
)
def test_what_is_found(text: str, found: list[tuple[Sort, object]]) -> None:
    assert read(text) == found


@settings(deadline=None)
@given(st.integers(0, 999_999))
def test_a_number_in_words_is_the_number(number: int) -> None:
    assert read(f"{in_words(number)} pieces") == [(Sort.NUMBER, number)]


@settings(deadline=None)
@given(st.integers(1, 99_999_00))
def test_every_price_is_read_as_it_is_said(cents: int) -> None:
    assert read(f"it costs {price_text(cents)}.") == [(Sort.PRICE, cents)]


@settings(deadline=None)
@given(st.integers(0, 24 * 60 - 1))
def test_every_time_is_read_as_it_is_said(minute: int) -> None:
    ((sort, value),) = read(f"from {clock_text(minute)}.")
    hour, past = value if isinstance(value, tuple) else (value, 0)
    assert sort in {Sort.NUMBER, Sort.PAIR}
    assert (hour, past) == divmod(minute, 60)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_every_token_belongs_to_exactly_one_mention(text: str) -> None:
    words = tokens(text)
    found = mentions(words, NAMES)
    assert [each.start for each in found] == [0, *(each.end for each in found[:-1])][: len(found)]
    assert (found[-1].end if found else 0) == len(words)


def test_a_name_with_numbers_in_it_is_a_name() -> None:
    oil = lexicon(replace(SHOP, items=(Item("3-in-1 oil", 499, 2, None),)))
    assert mentions(tokens("the 3 in 1 oil"), oil)[1] == Mention(Sort.ITEM, "3-in-1 oil", 1, 5)
