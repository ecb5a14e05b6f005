"""The chat formats: the kiosk's is the one its model is trained on, and the pieces make the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.core.chat import CHATML, KIOSK, LLAMA3, ChatFormat, newest_that_fit
from edgeapp.core.events import Prompt
from edgeapp.voice import prompt as trained

TEXTS = st.lists(st.sampled_from([*"ab 1.'\n\t", "<user>", "<end>", "<tool>", "<live>", "é"]), max_size=12).map("".join)
PROMPTS = st.builds(
    Prompt,
    system=TEXTS,
    turns=st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple),
    question=TEXTS,
    said=TEXTS,
)


@given(PROMPTS)
def test_the_kiosk_format_is_the_one_its_model_is_trained_on(prompt: Prompt) -> None:
    assert KIOSK.render(prompt) == trained.render(prompt)
    assert KIOSK.head(prompt) == trained.prefix(prompt)


@pytest.mark.parametrize("chat", [KIOSK, CHATML, LLAMA3])
@given(prompt=PROMPTS)
def test_the_head_is_the_beginning_and_does_not_know_the_question(chat: ChatFormat, prompt: Prompt) -> None:
    assert chat.render(prompt).startswith(chat.head(prompt))
    assert chat.head(Prompt(prompt.system, (), "")) == chat.head(prompt)


def test_chatml_as_the_models_know_it() -> None:
    prompt = Prompt("Facts.\n\nNow: 3.", (("Hi<|im_end|>", "Hello."),), "How much?", said="It")
    assert CHATML.render(prompt) == (
        "<|im_start|>system\nFacts.\n\nNow: 3.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n"
        "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nHow much?<|im_end|>\n<|im_start|>assistant\nIt"
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
