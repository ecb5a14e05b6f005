"""Prompt -> the text that the kiosk's own language model reads. Training, evaluation and runtime share it.

    <bos><sys> fact<nl> fact ...<live> live facts<user> question<bot> answer<end><user> question<bot>

Text after a marker begins with one space, so a word has the same token at the start of a line and inside it, and
every part may be tokenised alone: joining the parts gives the same tokens. The facts before the first empty line of
`Prompt.system` never change between turns; `prefix` is the text up to that seam, which an engine keeps resident. The
format itself is `edgeapp.core.chat.KIOSK`, because engines read it too.
"""

from collections.abc import Sequence
from typing import Final

from edgeapp.core.chat import KIOSK
from edgeapp.core.events import Prompt

PAD: Final = "<pad>"
BOS: Final = "<bos>"
END: Final = KIOSK.bot_close
USER: Final = KIOSK.user_open
BOT: Final = KIOSK.bot_open
LIVE: Final = KIOSK.seam
TOOL: Final = "<tool>"
"""Opens a structured call; it is text of the reply, not a marker of the format."""

MARKERS: Final = (PAD, BOS, END, "<sys>", KIOSK.line_break, LIVE, USER, BOT, TOOL)
"""In the order of their token ids."""


def render(prompt: Prompt) -> str:
    """The whole prompt, up to where the model continues; `prompt.said` is an answer already begun."""
    return KIOSK.render(prompt)


def prefix(prompt: Prompt) -> str:
    """The part of `render(prompt)` that is the same for every turn; it ends with a marker, so no token crosses it."""
    return KIOSK.head(prompt)


def so_far(system: str, turns: Sequence[tuple[str, str]], words: str = "", facts: str = "") -> Prompt:
    """What is known of the next prompt when a person begins to speak: for an engine's `prefill`.

    `words` and `facts` are of the partial transcript, if there is one: a server keeps them as far as they stand.
    """
    return Prompt(system, tuple(turns), words, max_tokens=1, facts=facts)


def remembered(turns: Sequence[tuple[str, str]], most: int) -> tuple[tuple[str, str], ...]:
    """The history after one more turn, at most `most` of them: the oldest half goes at once when it is full.

    One a turn would move all the others in every prompt, and nothing behind the system text would be resident any more.
    """
    return tuple(turns) if len(turns) <= most else tuple(turns[len(turns) - (most + 1) // 2 :]) if most else ()
