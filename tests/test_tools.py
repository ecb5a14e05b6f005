"""Typed tools: which calls are taken, which are refused and why, and how long one may take."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.apps.tools import kiosk_tools
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, ConfigError
from edgeapp.voice.content import QcCounts, Tool, load_content
from edgeapp.voice.tools import Argument, BoundTool, Call, Failure, Refusal, Toolbox, carried_out

SHOP = load_content(BUNDLED_CONTENT)
HEAT = Tool("the heat of room 2", "set_heat", {"room": "hall", "degrees": "20"})
OTHER = Tool("the heat of room 3", "set_heat", {"room": "halle", "degrees": "20"})


async def nothing(**arguments: Any) -> str:
    return f"{arguments}"


SET_HEAT = BoundTool(
    "set_heat",
    nothing,
    {"room": Argument(allowed=frozenset({"hall", "halle"})), "degrees": Argument(int, frozenset(range(15, 25)))},
)
BOX = Toolbox([SET_HEAT])


def read(
    arguments: object, *offered: Tool, name: str = "set_heat", question: str = "hall 20", strict: bool = True
) -> Call | Refusal:
    text = "<tool> " + json.dumps({"name": name, "arguments": arguments})
    box = Toolbox([replace(SET_HEAT, side_effect=strict)])
    return box.read(text, replace(SHOP, tools=offered or (HEAT,)), question)


def test_a_call_carries_its_values_in_their_types() -> None:
    for written in (20, "20"):
        call = read({"room": "hall", "degrees": written})
        assert isinstance(call, Call)
        assert dict(call.values) == {"room": "hall", "degrees": 20}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"room": "hall"}, Refusal.UNKNOWN_ARGUMENT),
        ({"room": "hall", "degrees": 20, "now": "yes"}, Refusal.UNKNOWN_ARGUMENT),
        ({"room": "hall", "degrees": "warm"}, Refusal.WRONG_TYPE),
        ({"room": "hall", "degrees": 20.5}, Refusal.WRONG_TYPE),
        ({"room": "hall", "degrees": True}, Refusal.WRONG_TYPE),
        ({"room": "hall", "degrees": [20]}, Refusal.WRONG_TYPE),
        ({"room": "attic", "degrees": 20}, Refusal.NOT_ALLOWED),
        ({"room": "hall", "degrees": 99}, Refusal.NOT_ALLOWED),
        ({"room": "hall", "degrees": 21}, Refusal.NOT_OFFERED),
        ([], Refusal.UNREADABLE),
    ],
)
def test_a_wrong_call_is_refused_by_name(arguments: object, why: Refusal) -> None:
    assert read(arguments) == why


def test_a_bad_call_is_taken_for_the_one_that_the_question_names_if_it_changes_nothing() -> None:
    wrong = {"room": "attic", "degrees": 99}
    taken = read(wrong, HEAT, OTHER, question="hall 20", strict=False)
    assert isinstance(taken, Call)
    assert taken.offered == HEAT
    assert read(wrong, HEAT, question="hall 20", strict=True) == Refusal.NOT_ALLOWED
    assert read(wrong, HEAT, question="hall 21", strict=False) == Refusal.NOT_ALLOWED
    assert read(wrong, HEAT, OTHER, question="hall halle 20", strict=False) == Refusal.NOT_ALLOWED  # two are named


def test_an_unknown_tool_is_refused() -> None:
    assert read({}, name="open_door") == Refusal.UNKNOWN_TOOL


def test_a_misspelt_call_is_taken_for_the_only_one_that_it_is_near() -> None:
    near = {"room": "hal", "degrees": "20"}
    assert isinstance(read(near, HEAT), Call)
    assert read(near, HEAT, OTHER) == Refusal.NOT_ALLOWED  # it could be either, and is none itself


def test_a_call_about_something_that_was_not_asked_for_is_refused() -> None:
    for question in ("the heat please", "hall", "the town hall 20", "hall 200"):
        assert read({"room": "hall", "degrees": 20}, question=question) == Refusal.NOT_ASKED


@settings(deadline=None)
@given(st.text(max_size=300))
def test_whatever_is_written_a_call_is_one_of_those_offered(text: str) -> None:
    found = BOX.read(text, replace(SHOP, tools=(HEAT,)), "hall 20")
    assert isinstance(found, Refusal) or found.offered == HEAT


VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(["hall", "20", ""])
JSON = (
    VALUES
    | st.lists(VALUES, max_size=2)
    | st.dictionaries(st.sampled_from(["room", "degrees", "x"]), VALUES, max_size=3)
)


@settings(deadline=None)
@given(JSON)
def test_whatever_the_arguments_are_it_does_not_fail(arguments: object) -> None:
    assert isinstance(read(arguments), Call | Refusal)


def test_a_content_that_offers_what_nothing_carries_out_is_an_error_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"open_door.*set_heat"):
        BOX.check(replace(SHOP, tools=(Tool("the door", "open_door"),)))
    with pytest.raises(ConfigError, match="not allowed"):
        BOX.check(replace(SHOP, tools=(replace(HEAT, arguments={"room": "hall", "degrees": "90"}),)))
    BOX.check(replace(SHOP, tools=(HEAT,)))


@pytest.mark.parametrize(
    ("due_ms", "timeout_ms", "ends_ms"), [(300, 150, 150), (120, 150, 120), (10, 150, 100), (10, 50, 50)]
)
async def test_a_tool_ends_inside_the_budget(due_ms: int, timeout_ms: int, ends_ms: int) -> None:
    async def run() -> str:
        await asyncio.sleep(10)
        return ""

    call = Call(Tool("it", "wait"), BoundTool("wait", run, timeout_ns=timeout_ms * MS), {})
    assert await carried_out(call, now_ns() + due_ms * MS) is Failure.TOO_SLOW
    assert now_ns() == ends_ms * MS


async def test_the_kiosks_own_tools() -> None:
    called: list[tuple[str, ...]] = []

    async def read_sensor(quantity: str, place: str) -> str:
        called.append((quantity, place))
        return "71 degrees"

    async def staff() -> None:
        called.append(("staff",))

    box = kiosk_tools(counts=lambda: QcCounts(5, 2, 1), read_sensor=read_sensor, call_staff=staff)
    offered = (
        Tool("the parts of today", "count_parts"),
        Tool("the temperature of the oven", "read_sensor", {"quantity": "temperature", "place": "oven"}),
        Tool("a person", "call_staff"),
    )
    content = replace(SHOP, tools=offered)
    box.check(content)
    said = []
    for tool in offered:
        text = json.dumps({"name": tool.name, "arguments": dict(tool.arguments)})
        call = box.read(text, content, "what is the temperature of the oven")
        assert isinstance(call, Call)
        said.append((call.bound.side_effect, await carried_out(call, now_ns() + 200 * MS)))
    assert said == [
        (False, "Of the parts of today, 5 passed, 2 failed and 1 not inspected."),
        (False, "The temperature of the oven is 71 degrees."),
        (True, "Somebody is on the way."),
    ]
    assert called == [("temperature", "oven"), ("staff",)]
