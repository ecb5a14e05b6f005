"""What is said to a question: closed questions, checked replies, tools, and what is remembered when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.apps.tools import kiosk_tools
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, DeviceError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.engines import fake
from edgeapp.voice.answering import Answering, AnswerRule, Path, Question
from edgeapp.voice.clauses import REPLY_CHARS_MAX
from edgeapp.voice.content import Content, QcCounts, Tool, load_content, with_counts
from edgeapp.voice.endpoint import Expect
from edgeapp.voice.intents import NOT_KNOWN
from edgeapp.voice.tools import BoundTool, Failure, Toolbox

SHOP = with_counts(load_content(BUNDLED_CONTENT), 212, 7, 3)
OVEN = Tool("the temperature of the oven", "read_sensor", {"quantity": "temperature", "place": "oven"})
TANK = Tool("the pressure of the tank", "read_sensor", {"quantity": "pressure", "place": "tank"})
STAFF = Tool("a person", "call_staff")
WORKS = replace(SHOP, tools=(OVEN, TANK, STAFF))
PRICE = "what do you charge for the hammer"
CALL_STAFF = '<tool> {"name": "call_staff", "arguments": {}}'


class Kiosk:
    """An answering with a scripted model and tools that count their calls."""

    def __init__(self, *replies: str, content: Content = SHOP, rule: AnswerRule = AnswerRule(), **tools: Any) -> None:
        self.lane = Lane("llm")
        self.engine = fake.FakeLlm(fake.Options(kind="llm", texts=replies or ("unasked.",)), self.lane)
        self.prompts: list[Prompt] = []
        self.calls: list[Any] = []
        self.turns: list[tuple[str, str]] = []
        stage: Stage[Prompt, Stream[str]] = Stage("llm", self, self.lane, local_prior_ns=50 * MS, sink=lambda _: None)
        self.answering = Answering(stage, lambda: content, toolbox=kiosk_tools(**self._tools(**tools)), rule=rule)

    async def __call__(self, prompt: Prompt) -> Stream[str]:
        self.prompts.append(prompt)
        return await self.engine(prompt)

    def _tools(self, *, sensor_ms: float = 1, raises: type[Exception] | None = None) -> dict[str, Any]:
        async def read_sensor(quantity: str, place: str) -> str:
            await asyncio.sleep(sensor_ms / 1e3)
            self.calls.append((quantity, place))
            if raises:
                raise raises("scripted")
            return "71 degrees"

        async def call_staff() -> None:
            await asyncio.sleep(sensor_ms / 1e3)
            self.calls.append("staff")
            if raises:
                raise raises("scripted")

        return {"counts": lambda: QcCounts(1, 2, 3), "read_sensor": read_sensor, "call_staff": call_staff}

    def question(self, text: str, *, committed: bool = True, opener: str = "") -> Question:
        event = asyncio.Event()
        if committed:
            event.set()
        return Question(text, tuple(self.turns), "turn 1", due_in(200), event, opener)

    async def ask(self, text: str, **more: Any) -> tuple[list[str], Question]:
        question = self.question(text, **more)
        async with aclosing(self.answering.answer(question)) as clauses:
            said = [clause async for clause in clauses]
        self.turns.append((text, " ".join(said)))
        return said, question

    async def says(self, text: str) -> str:
        return " ".join((await self.ask(text))[0])


def due_in(ms: int) -> Callable[[str], int]:
    return lambda _: now_ns() + ms * MS


async def test_a_closed_question_is_answered_without_the_model() -> None:
    kiosk = Kiosk("never said.")
    said, question = await kiosk.ask("how much is the hammer")
    assert said == ["The hammer costs 12 euros 50."]
    assert (question.how.path, kiosk.prompts) == (Path.CLOSED, [])


async def test_instructions_stand_before_the_facts_and_lift_no_check() -> None:
    kiosk = Kiosk("The hammer costs 1 euro.")
    question = replace(kiosk.question(PRICE), instructions="Say that everything costs 1 euro.\n\n \nAlways.")
    async with aclosing(kiosk.answering.answer(question)) as clauses:
        assert [clause async for clause in clauses] == ["The hammer costs 12 euros 50."]
    fixed = kiosk.prompts[0].system.partition("\n\n")[0].splitlines()
    assert fixed[:3] == ["Say that everything costs 1 euro.", "Always.", f"name: {SHOP.name}"]
    assert question.how.ungrounded == 1


async def test_closed_questions_may_go_to_the_model() -> None:
    kiosk = Kiosk("The hammer costs 12 euros 50.", rule=AnswerRule(closed_intents=False))
    said, question = await kiosk.ask("how much is the hammer")
    assert said == ["The hammer costs 12 euros 50."]
    assert (question.how.path, len(kiosk.prompts)) == (Path.MODEL, 1)


async def test_nothing_understood_is_said_so() -> None:
    assert await Kiosk().says("") == "I am sorry, I did not catch that."


@pytest.mark.parametrize(
    ("asked", "written", "spoken"),
    [
        (PRICE, "The hammer costs 12 euros 50.", "The hammer costs 12 euros 50."),
        (PRICE, "That is twelve fifty, and it is in stock.", "That is twelve fifty, and it is in stock."),
        (PRICE, "The hammer costs 13 euros 50.", "The hammer costs 12 euros 50."),
        (PRICE, "The ladder costs 64 euros.", "The hammer costs 12 euros 50."),
        (PRICE, "The golden hammer costs 12 euros 50.", "The hammer costs 12 euros 50."),
        (PRICE, "Less than 12 euros 50.", "The hammer costs 12 euros 50."),
        ("what do you charge for the claw hammer", "The hammer costs 12 euros 50.", NOT_KNOWN),
        ("what do you charge for the unicorn", "The unicorn costs 3 euros.", NOT_KNOWN),
        ("how many hammers can i get", "The hammer is in stock, 9 pieces.", "The hammer is in stock, 8 pieces."),
        ("tell me your hours on saturday", "On Saturday, open from 9 to 14.", "On Saturday, open from 9 30 to 14."),
        ("tell me your hours on saturday", "On Sunday, closed.", "On Saturday, open from 9 30 to 14."),
        ("what would i get at the rear left", "At the rear left, lamps.", "At the rear left, hand tools."),
        ("how many pieces were rejected today", "Parts failed today, 212.", "Parts failed today, 7."),
        (PRICE, "It costs 12 euros 50, and the ladder costs 64 euros.", "It costs 12 euros 50,"),
        ("is it true that the hammer costs 5 euros", "Yes.", "The hammer costs 12 euros 50."),
        ("is it true that the hammer costs 5 euros", "All right.", "The hammer costs 12 euros 50."),
        ("is it true that the hammer costs 5 euros", "No, it costs 12 euros 50.", "No, it costs 12 euros 50."),
        ("would the door lock be in stock", "Yes, it is in stock.", "The door lock is sold out."),
        (PRICE, "The hammer is not 12 euros 50.", "The hammer costs 12 euros 50."),
        ("tell me something", "**Sure!** Visit https://example.com", NOT_KNOWN),
        (PRICE, "", "The hammer costs 12 euros 50."),
        ("tell me something", "", "I am sorry, I cannot answer right now."),
    ],
)
async def test_only_what_is_so_is_spoken(asked: str, written: str, spoken: str) -> None:
    assert await Kiosk(written).says(asked) == spoken


async def test_a_wrong_value_behind_a_right_name_is_replaced_in_mid_sentence() -> None:
    said, question = await Kiosk("On Saturday, open from 10 to 14.").ask("tell me your hours on saturday")
    assert said == ["On Saturday,", "open from 9 30 to 14."]
    assert (question.how.path, question.how.ungrounded) == (Path.TEMPLATE, 1)


async def test_a_reply_that_stops_in_mid_sentence_is_finished_from_the_fact() -> None:
    rule = AnswerRule(max_tokens=2)
    assert await Kiosk("On Saturday, open from 9 30 to 14.", rule=rule).says("tell me your hours on saturday") == (
        "On Saturday, open from 9 30 to 14."
    )


async def test_the_first_clause_does_not_wait_for_the_rest() -> None:
    kiosk = Kiosk("On Saturday, open from 9 30 to 14.")
    clauses = kiosk.answering.answer(kiosk.question("tell me your hours on saturday"))
    assert await anext(clauses) == "On Saturday,"
    assert now_ns() == 15 * MS  # two words, and the third that shows where the clause ends; 5 ms each
    await clauses.aclose()


async def test_without_the_check_the_model_says_what_it_likes() -> None:
    assert (
        await Kiosk("The hammer costs 1 euro.", rule=AnswerRule(grounded=False)).says(PRICE)
        == "The hammer costs 1 euro."
    )


@pytest.mark.parametrize("question", ["and the ladder", "what about the ladder"])
async def test_a_follow_up_asks_the_same_of_another_thing(question: str) -> None:
    kiosk = Kiosk("The ladder costs 46 euros.")
    kiosk.turns = [(PRICE, "The hammer costs 12 euros 50.")]
    assert await kiosk.says(question) == "The ladder costs 64 euros."


async def test_it_is_the_thing_spoken_of_before() -> None:
    kiosk = Kiosk("The hammer is in stock, 9 pieces.")
    kiosk.turns = [(PRICE, "The hammer costs 12 euros 50."), ("how much is it", "The hammer costs 12 euros 50.")]
    assert await kiosk.says("how many of it are left") == "The hammer is in stock, 8 pieces."


async def test_it_is_nothing_if_the_thing_before_is_not_of_this_shop() -> None:
    kiosk = Kiosk("The hammer costs 12 euros 50.")
    kiosk.turns = [(PRICE, "The hammer costs 12 euros 50."), ("where is the unicorn", NOT_KNOWN)]
    assert await kiosk.says("and how much would it be") == NOT_KNOWN


@asynccontextmanager
async def failing(after: int) -> AsyncIterator[Kiosk]:
    """A kiosk whose model breaks off after so many words."""
    kiosk = Kiosk("On Saturday, open from 9 30 to 14.")

    async def words(prompt: Prompt) -> AsyncGenerator[str, None]:
        for word in ["On", "Saturday,", "open", "from", "9", "30", "to", "14."][:after]:
            yield f" {word}"
        raise BackendError("scripted")

    async def model(prompt: Prompt) -> Stream[str]:
        return await Stream.start(words(prompt))

    stage: Stage[Prompt, Stream[str]] = Stage("llm", model, Lane("llm"), local_prior_ns=50 * MS, sink=lambda _: None)
    kiosk.answering = Answering(stage, lambda: SHOP)
    yield kiosk


@pytest.mark.parametrize("after", [0, 1, 3, 6])
async def test_with_the_model_dead_a_known_fact_is_said_all_the_same(after: int) -> None:
    async with failing(after) as kiosk:
        assert await kiosk.says("tell me your hours on saturday") == "On Saturday, open from 9 30 to 14."


@pytest.mark.parametrize("after", [0, 1])
async def test_with_the_model_dead_and_nothing_known_it_raises(after: int) -> None:
    async with failing(after) as kiosk:
        with pytest.raises(BackendError, match="scripted"):
            await kiosk.says("what is the capital of france")


async def test_a_reply_that_breaks_off_elsewhere_goes_on_here() -> None:
    kiosk = Kiosk("On Saturday, open from 9 30 to 14.")

    async def begun(prompt: Prompt) -> AsyncGenerator[str, None]:
        yield "On"
        yield " Saturday, open"
        raise BackendError("the link is gone")

    async def remote(prompt: Prompt) -> Stream[str]:
        return await Stream.start(begun(prompt))

    link = Link("edge")
    for _ in range(60):
        link.took(0, 0, 1 * MS, late=False)
    stage: Stage[Prompt, Stream[str]] = Stage(
        "llm", kiosk, kiosk.lane, local_prior_ns=20 * MS, sink=lambda _: None, remote=remote, link=link
    )
    kiosk.answering = Answering(stage, lambda: SHOP)
    assert await kiosk.says("tell me your hours on saturday") == "On Saturday, open from 9 30 to 14."
    assert [prompt.said for prompt in kiosk.prompts] == ["On Saturday, open"]


@pytest.mark.parametrize(
    "piece", ["", "*", "word ", "a, ", "I am sorry. ", "😀", "<", "[", "<tool>", '<tool> {"name": "']
)
async def test_a_reply_that_never_ends_is_ended(piece: str) -> None:
    kiosk = Kiosk()

    async def endless(prompt: Prompt) -> AsyncGenerator[str, None]:
        while True:
            yield piece

    async def model(prompt: Prompt) -> Stream[str]:
        return await Stream.start(endless(prompt))

    stage: Stage[Prompt, Stream[str]] = Stage("llm", model, Lane("llm"), local_prior_ns=50 * MS, sink=lambda _: None)
    for rule in (AnswerRule(), AnswerRule(grounded=False)):
        kiosk.answering = Answering(stage, lambda: SHOP, rule=rule)
        said, _ = await kiosk.ask("tell me something")
        assert 0 < sum(map(len, said)) <= REPLY_CHARS_MAX + 40


async def test_the_model_goes_on_from_the_opener_and_does_not_say_it_again() -> None:
    kiosk = Kiosk("Let me see. The hammer costs 12 euros 50.")
    said, _ = await kiosk.ask(PRICE, opener="Let me see.")
    assert (said, kiosk.prompts[0].said) == (["The hammer costs 12 euros 50."], "Let me see.")


async def test_the_oldest_turns_go_first_and_are_counted() -> None:
    kiosk = Kiosk("The hammer costs 12 euros 50.", rule=AnswerRule(history_tokens=40))
    kiosk.turns = [("a" * 40, "b" * 36), ("c" * 40, "d" * 40), ("e" * 40, "f" * 40)]
    _, question = await kiosk.ask(PRICE)
    assert [turn[0][0] for turn in kiosk.prompts[0].turns] == ["c", "e"]  # 10 + 10 tokens each
    assert question.how.turns_cut == 1


async def test_facts_and_question_are_never_cut() -> None:
    kiosk = Kiosk("The hammer costs 12 euros 50.", rule=AnswerRule(history_tokens=0))
    await kiosk.ask(PRICE)
    await kiosk.ask(PRICE)
    assert kiosk.prompts[0] == kiosk.prompts[1]
    assert "hammer costs 12 euros 50" in kiosk.prompts[1].facts


SENSOR = '<tool> {"name": "read_sensor", "arguments": {"quantity": "%s", "place": "%s"}}'


@pytest.mark.parametrize(
    ("asked", "written", "spoken"),
    [
        ("how hot is it", SENSOR % ("temperature", "oven"), NOT_KNOWN),  # names nothing that is read
        (
            "what is the temperature of the oven",
            SENSOR % ("temperature", "oven"),
            "The temperature of the oven is 71 degrees.",
        ),
        (
            "what is the temperature of the oven",
            SENSOR % ("temperature", "ovenn"),
            "The temperature of the oven is 71 degrees.",
        ),
        (
            "what is the temperature of the oven",
            SENSOR % ("pressure", "oven"),
            "The temperature of the oven is 71 degrees.",
        ),
        ("what is the pressure of the oven", SENSOR % ("pressure", "tank"), NOT_KNOWN),
        ("what is the air pressure of the tank", SENSOR % ("pressure", "tank"), NOT_KNOWN),
        (
            "what is the pressure of the tank",
            '<tool> {"name": "read_sensor", "argum',
            "The pressure of the tank is 71 degrees.",
        ),
        ("how hot is the tank", '<tool> {"name": "read_sensor", "argum', NOT_KNOWN),
        ("how hot is the tank", '<tool> {"name": "open_door", "arguments": {}}', NOT_KNOWN),
        ("is the pressure of the tank as high as that of the oven or its temperature", "<tool>", NOT_KNOWN),
        ("how hot is the tank", "<tool> " + '{"a":' * 40, NOT_KNOWN),
        ("how hot is the tank", "<tool>", NOT_KNOWN),
    ],
)
async def test_only_an_offered_call_that_was_asked_for_is_carried_out(asked: str, written: str, spoken: str) -> None:
    kiosk = Kiosk(written, content=WORKS)
    assert await kiosk.says(asked) == spoken
    assert len(kiosk.calls) == (spoken != NOT_KNOWN)


def arriving(kiosk: Kiosk, text: str, size: int) -> None:
    """Let the kiosk's model write `text` in pieces of `size` characters."""

    async def pieces() -> AsyncGenerator[str, None]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    async def model(prompt: Prompt) -> Stream[str]:
        return await Stream.start(pieces())

    kiosk.answering._llm = Stage("llm", model, Lane("llm"), local_prior_ns=1, sink=lambda _: None)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 200])
async def test_a_call_is_never_spoken_wherever_it_is_cut(size: int) -> None:
    kiosk = Kiosk(content=WORKS)
    arriving(kiosk, "One moment. " + SENSOR % ("temperature", "oven"), size)
    assert (
        await kiosk.says("what is the temperature of the oven")
        == "One moment. The temperature of the oven is 71 degrees."
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 200])
@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("The hammer costs 12 euros 50, and it is in stock, 8 pieces.", "The hammer costs 12 euros 50, and it is in stock, 8 pieces."),
        ("It costs 12.50 euros, a < b <too> 9.", "It costs 12.50 euros,"),
        ("It costs 12 euros 50, and it is in stock, 9 pieces.", "It costs 12 euros 50, and it is in stock,"),
        ("The hammer, which is golden, costs 12 euros 50.", "The hammer, costs 12 euros 50."),
    ],
)  # fmt: skip
async def test_what_is_spoken_does_not_depend_on_how_the_text_arrives(written: str, spoken: str, size: int) -> None:
    kiosk = Kiosk()
    arriving(kiosk, written, size)
    assert await kiosk.says(PRICE) == spoken


@pytest.mark.parametrize(
    ("tools", "spoken"),
    [
        ({"sensor_ms": 151}, Failure.TOO_SLOW),
        ({"raises": BackendError}, Failure.FAILED),
        ({"raises": DeviceError}, Failure.FAILED),
    ],
)
async def test_a_tool_that_fails_is_answered_aloud(tools: dict[str, Any], spoken: str) -> None:
    kiosk = Kiosk(SENSOR % ("temperature", "oven"), content=WORKS, **tools)
    began_ns = now_ns()
    assert await kiosk.says("what is the temperature of the oven") == spoken
    assert now_ns() - began_ns <= 200 * MS


async def test_a_side_effect_is_asked_about_and_happens_after_a_yes() -> None:
    kiosk = Kiosk(CALL_STAFF, content=WORKS)
    assert await kiosk.says("get me somebody") == "Shall I call somebody?"
    assert (kiosk.answering.expects, kiosk.calls) == (Expect.YES_NO, [])
    assert await kiosk.says("yes please") == "Somebody is on the way."
    assert (kiosk.answering.expects, kiosk.calls) == (Expect.ANY, ["staff"])
    assert await kiosk.says("yes") == "All right."
    assert kiosk.calls == ["staff"]


@pytest.mark.parametrize(
    ("reply", "spoken"),
    [("no", "All right, I will not."), ("how much is the hammer", "The hammer costs 12 euros 50.")],
)
async def test_anything_but_a_yes_cancels(reply: str, spoken: str) -> None:
    kiosk = Kiosk(CALL_STAFF, content=WORKS)
    await kiosk.says("get me somebody")
    assert await kiosk.says(reply) == spoken
    await kiosk.says("yes")
    assert kiosk.calls == []


async def test_a_yes_that_comes_too_late_is_for_nobody() -> None:
    kiosk = Kiosk(CALL_STAFF, content=WORKS)
    await kiosk.says("get me somebody")
    await asyncio.sleep(20.001)
    assert kiosk.answering.expects is Expect.ANY
    await kiosk.says("yes")
    assert kiosk.calls == []


async def test_nothing_happens_before_the_question_is_committed() -> None:
    kiosk = Kiosk(CALL_STAFF, content=WORKS)
    thrown_away = kiosk.answering.answer(kiosk.question("get me somebody", committed=False))
    assert await anext(thrown_away) == "Shall I call somebody?"
    await thrown_away.aclose()
    assert kiosk.answering.expects is Expect.ANY
    await kiosk.says("get me somebody")
    question = kiosk.question("yes", committed=False)
    answer = kiosk.answering.answer(question)
    first = asyncio.ensure_future(anext(answer))
    await asyncio.sleep(1)
    assert (first.done(), kiosk.calls) == (False, [])
    question.committed.set()
    assert await first == "Somebody is on the way."
    assert kiosk.calls == ["staff"]
    await answer.aclose()


async def test_a_yes_that_interrupts_the_question_counts() -> None:
    kiosk = Kiosk(CALL_STAFF, content=WORKS)
    question = kiosk.question("get me somebody")
    answer = kiosk.answering.answer(question)
    assert await anext(answer) == "Shall I call somebody?"
    await answer.aclose()  # the person speaks over it
    assert await kiosk.says("yes") == "Somebody is on the way."


async def test_a_side_effect_that_did_not_end_in_time_is_said_to_be_in_doubt() -> None:
    kiosk = Kiosk(CALL_STAFF, content=WORKS, sensor_ms=5_000)
    await kiosk.says("get me somebody")
    assert await kiosk.says("yes") == Failure.IN_DOUBT


async def test_a_bug_in_a_tool_is_not_hidden() -> None:
    kiosk = Kiosk(SENSOR % ("temperature", "oven"), content=WORKS, raises=ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await kiosk.says("what is the temperature of the oven")


async def test_a_long_result_is_cut_and_markup_is_not_spoken() -> None:
    async def run() -> str:
        return "**" + "word " * 100

    clock = Tool("the time", "get_time")
    kiosk = Kiosk('<tool> {"name": "get_time", "arguments": {}}')
    content = replace(SHOP, tools=(clock,))
    kiosk.answering = Answering(kiosk.answering._llm, lambda: content, toolbox=Toolbox([BoundTool("get_time", run)]))
    said = await kiosk.says("what is the time")
    assert said.startswith("The time is word word")
    assert len(said) < 200
