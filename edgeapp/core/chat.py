"""How a model's conversation is written as one text, and where the part that never changes ends.

    system_open  facts  seam  live facts  system_close
    user_open  question  user_close  bot_open  answer  bot_close   (for each turn)
    user_open  question  user_close  reply_open  what is already said

`Prompt.system` up to its first empty line is the same for every turn of a conversation; what stands after it changes.
`head` is the text up to that seam, which an engine keeps resident. Every piece begins at a marker of the model, so
pieces may be tokenised alone and joined.
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
    """Between the facts that never change and the live ones; always written."""

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

    def head(self, prompt: Prompt) -> str:
        """The part that is the same for every turn of a conversation."""
        return self.system_open + self._lines(prompt.system.partition("\n\n")[0]) + self.seam

    def live(self, prompt: Prompt) -> str:
        """The rest of the system text."""
        return self._lines(prompt.system.partition("\n\n")[2]) + self.system_close

    def turn(self, question: str, answer: str) -> str:
        """One turn of the past."""
        asked = self.user_open + self._plain(question) + self.user_close
        return asked + self.bot_open + self._plain(answer) + self.bot_close

    def ask(self, prompt: Prompt) -> str:
        """The question and the beginning of its reply: the model continues here."""
        asked = self.user_open + self._plain(prompt.question) + self.user_close
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
)
"""Llama 3 instruct models (Meta's prompt format page)."""
