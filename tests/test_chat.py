"""The chat formats: the kiosk's is the one its model is trained on, and the pieces make the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.core.chat import CHATML, KIOSK, LLAMA3, ChatFormat, always, newest_that_fit
from edgeapp.core.events import Prompt
from edgeapp.voice import prompt as trained
from edgeapp.voice.content import facts, load_content
from edgeapp.voice.relevance import parted, relevant

ASSETS = Path(__file__).parent.parent / "edgeapp" / "assets"
TEXTS = st.lists(st.sampled_from([*"ab 1.'\n\t", "<user>", "<end>", "<tool>", "<live>", "é"]), max_size=12).map("".join)
PROMPTS = st.builds(
    Prompt,
    system=TEXTS,
    turns=st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple),
    question=TEXTS,
    said=TEXTS,
)


@settings(deadline=None)
@given(PROMPTS)
def test_the_kiosk_format_is_the_one_its_model_is_trained_on(prompt: Prompt) -> None:
    assert KIOSK.render(prompt) == trained.render(prompt)
    assert KIOSK.head(prompt) == trained.prefix(prompt)


@pytest.mark.parametrize("chat", [KIOSK, CHATML, LLAMA3])
@settings(deadline=None)
@given(prompt=PROMPTS)
def test_the_head_is_the_beginning_and_does_not_know_the_question(chat: ChatFormat, prompt: Prompt) -> None:
    assert chat.render(prompt).startswith(chat.head(prompt))
    assert chat.head(Prompt(prompt.system, (), "")) == chat.head(prompt)


def test_chatml_as_the_models_know_it() -> None:
    prompt = Prompt("Facts.\n\nNow: 3.", (("Hi<|im_end|>", "Hello."),), "How much?", said="It")
    assert CHATML.render(prompt) == (
        "<|im_start|>system\nFacts.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n"
        "<|im_start|>user\nNow: 3.\n\nHow much?<|im_end|>\n<|im_start|>assistant\nIt"
    )


@pytest.mark.parametrize(
    ("tokens", "room", "kept"),
    [
        ([10, 10, 10], 30, 3),
        ([10, 10, 10], 29, 2),
        ([1, 100, 1], 50, 1),
        ([5], 4, 0),
        ([], 0, 0),
        ([0, 0], 0, 2),
        ([1], -1, 0),
    ],
)
def test_the_oldest_turns_go_first_and_whole(tokens: list[int], room: int, kept: int) -> None:
    assert newest_that_fit(tokens, room) == kept


@pytest.mark.parametrize("chat", [CHATML, LLAMA3])
@settings(deadline=None)
@given(prompt=PROMPTS, live=TEXTS, facts=TEXTS, question=TEXTS)
def test_what_changes_stands_last_so_that_system_and_history_only_grow(
    chat: ChatFormat, prompt: Prompt, live: str, facts: str, question: str
) -> None:
    fixed = always(prompt)
    first = replace(prompt, system=f"{fixed}\n\n{live}", facts=facts)
    after = replace(prompt, system=f"{fixed}\n\nnow", turns=(*prompt.turns, ("a", "b")), facts="", question=question)
    kept = "".join([chat.head(first), *(chat.turn(*turn) for turn in first.turns)])
    assert chat.render(first).startswith(kept)
    assert chat.render(after).startswith(kept)


@settings(deadline=None)
@given(PROMPTS, st.sampled_from(["", "where is the hammer", "how much is it", "when do you open on monday"]))
def test_facts_of_one_question_are_where_the_kiosks_model_is_used_to_them(prompt: Prompt, question: str) -> None:
    every = facts(load_content(ASSETS / "kiosk.toml"))
    whole = replace(prompt, system=relevant(every, question), question=question)
    system, of_it = parted(every, question)
    assert KIOSK.render(replace(whole, system=system, facts=of_it)) == KIOSK.render(whole)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 8])
def test_history_grows_and_then_loses_its_oldest_half_at_once(most: int) -> None:
    turns: tuple[tuple[str, str], ...] = ()
    moved = 0
    for number in range(40):
        before, turns = turns, trained.remembered((*turns, (str(number), "")), most)
        assert len(turns) <= most
        assert not turns or turns[-1] == (str(number), "")
        moved += turns[: len(before)] != before
    assert moved <= 40 / max(1, most // 2)


def test_the_prompt_so_far_is_the_beginning_of_the_next_one() -> None:
    turns = (("hi", "hello"),)
    begun = trained.so_far("Facts.\n\nNow: 3.", turns)
    whole = CHATML.render(Prompt("Facts.\n\nNow: 4.", turns, "How much?"))
    assert whole.startswith(CHATML.head(begun) + CHATML.turn(*turns[0]))
