"""How a model's conversation is written as one text, and where the part that never changes ends.

    system_open  facts  seam  live facts  system_close             (live facts here only in the kiosk's own format)
    user_open  question  user_close  bot_open  answer  bot_close   (for each turn)
    user_open  live facts  question  user_close  reply_open  what is already said

`Prompt.system` up to its first empty line is the same for every turn of a conversation; what stands after it changes, and
so does `Prompt.facts`. Both stand in the question that is asked now and in no other, so that system and history only
grow and an engine that kept them need not read them again (`facts_last`). The kiosk's own model is trained on another
order: there both stand in the system text. `head` is the text that an engine keeps resident. Every piece begins at a
marker of the model, so pieces may be tokenised alone and joined.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from edgeapp.core.events import Prompt


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The pieces of one model's prompt format: the content of a model folder's `chat.json`."""

    system_open: str
    """Opens the prompt, the begin-of-text token included."""

    system_close: str
    user_open: str
    user_close: str
    bot_open: str
    bot_close: str

    ends: tuple[str, ...]
    """Tokens that end a reply, such as `<|im_end|>`."""

    seam: str = "\n\n"
    """Between the facts that never change and the live ones; always written, unless `facts_last`."""

    reply_open: str = ""
    """Opens the reply that is asked for; empty means `bot_open`. Switches thinking off where a model thinks."""

    line_break: str = "\n"
    """Between the lines of the system text."""

    one_space: bool = False
    """Texts begin with one space and have single spaces inside, as the kiosk's own model is trained."""

    markers: tuple[str, ...] = field(default=())
    """Removed from every text that comes from outside, so that nobody can open a turn of his own."""

    context_tokens: int = 2048
    """The longest prompt and reply together that the model is good for."""

    facts_last: bool = False
    """Do live facts, and those of one question, stand in the question? Then nothing that changes stands before history."""

    instructions: bool = True
    """Was the model trained to follow what its system text tells it to do?"""

    def head(self, prompt: Prompt) -> str:
        """The part that is the same for every turn of a conversation."""
        if self.facts_last:
            return self.system_open + self._lines(always(prompt)) + self.system_close
        return self.system_open + self._lines(in_system(prompt).partition("\n\n")[0]) + self.seam

    def live(self, prompt: Prompt) -> str:
        """The rest of the system text."""
        return "" if self.facts_last else self._lines(in_system(prompt).partition("\n\n")[2]) + self.system_close

    def turn(self, question: str, answer: str) -> str:
        """One turn of the past."""
        asked = self.user_open + self._plain(question) + self.user_close
        return asked + self.bot_open + self._plain(answer) + self.bot_close

    def ask(self, prompt: Prompt) -> str:
        """The question and the beginning of its reply: the model continues here."""
        question = in_question(prompt) if self.facts_last else prompt.question
        asked = self.user_open + self._plain(question) + self.user_close
        return asked + (self.reply_open or self.bot_open) + self._plain(prompt.said)

    def render(self, prompt: Prompt) -> str:
        """The whole prompt."""
        turns = (self.turn(question, answer) for question, answer in prompt.turns)
        return "".join((self.head(prompt), self.live(prompt), *turns, self.ask(prompt)))

    def _lines(self, text: str) -> str:
        return self.line_break.join(self._plain(line) for line in text.splitlines() if line.strip())

    def _plain(self, text: str) -> str:
        if self.markers:
            text = re.sub("|".join(map(re.escape, self.markers)), " ", text)
        if not self.one_space:
            return text
        words = text.split()
        return " " + " ".join(words) if words else ""


def newest_that_fit(tokens: Sequence[int], room: int) -> int:
    """How many of the last turns may stay, given what each costs, oldest first: the oldest go first, and whole.

    One rule for everybody who shortens a conversation. What is not a turn (facts, question) is never cut: it has been
    taken off the room before.
    """
    kept, used = 0, 0
    for cost in reversed(tokens):
        used += cost
        if used > room:
            break
        kept += 1
    return kept


def always(prompt: Prompt) -> str:
    """What is the same for every turn: the system text up to its first empty line."""
    return prompt.system.partition("\n\n")[0]


def in_question(prompt: Prompt) -> str:
    """The question behind the facts that are true of it or of now, an empty line between them."""
    facts = [prompt.facts.strip("\n"), prompt.system.partition("\n\n")[2].strip("\n")]
    known = "\n".join(each for each in facts if each)
    return f"{known}\n\n{prompt.question}" if known else prompt.question


def in_system(prompt: Prompt) -> str:
    """The system text with the question's facts behind those that never change: what the kiosk's own model is trained on."""
    fixed, seam, live = prompt.system.partition("\n\n")
    return "\n".join(each for each in (fixed, prompt.facts.strip("\n")) if each) + seam + live


KIOSK: Final = ChatFormat(
    system_open="<bos><sys>",
    seam="<live>",
    system_close="",
    user_open="<user>",
    user_close="",
    bot_open="<bot>",
    bot_close="<end>",
    line_break="<nl>",
    one_space=True,
    ends=("<end>", "<user>", "<bos>", "<sys>"),
    markers=("<pad>", "<bos>", "<end>", "<sys>", "<nl>", "<live>", "<user>", "<bot>"),
    context_tokens=1024,  # scripts/train_kiosk_lm.py defines a position for so many
    instructions=False,
)
"""The kiosk's own language model."""

CHATML: Final = ChatFormat(
    system_open="<|im_start|>system\n",
    system_close="<|im_end|>\n",
    user_open="<|im_start|>user\n",
    user_close="<|im_end|>\n",
    bot_open="<|im_start|>assistant\n",
    bot_close="<|im_end|>\n",
    ends=("<|im_end|>", "<|endoftext|>"),
    markers=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    seam="",
    facts_last=True,
)
"""Qwen and SmolLM instruct models (as their tokenizer configurations say)."""

LLAMA3: Final = ChatFormat(
    system_open="<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n",
    system_close="<|eot_id|>",
    user_open="<|start_header_id|>user<|end_header_id|>\n\n",
    user_close="<|eot_id|>",
    bot_open="<|start_header_id|>assistant<|end_header_id|>\n\n",
    bot_close="<|eot_id|>",
    ends=("<|eot_id|>", "<|end_of_text|>"),
    markers=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
    seam="",
    facts_last=True,
)
"""Llama 3 instruct models (Meta's prompt format page)."""
