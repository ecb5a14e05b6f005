"""Prompt -> the text that the kiosk's own language model reads. Training, evaluation and runtime share it.

    <bos><sys> fact<nl> fact ...<live> live facts<user> question<bot> answer<end><user> question<bot>

Text after a marker begins with one space, so a word has the same token at the start of a line and inside it, and
every part may be tokenised alone: joining the parts gives the same tokens. The facts before the first empty line of
`Prompt.system` never change between turns; `prefix` is the text up to that seam, which an engine keeps resident.
"""

import re

from edgeapp.core.events import Prompt

BOS, SYS, NL, LIVE, USER, BOT, END, TOOL = "<bos>", "<sys>", "<nl>", "<live>", "<user>", "<bot>", "<end>", "<tool>"
PAD = "<pad>"
MARKERS = (PAD, BOS, END, SYS, NL, LIVE, USER, BOT, TOOL)  # the order is the order of the token ids

_MARKER = re.compile("|".join(re.escape(marker) for marker in MARKERS if marker != TOOL))


def render(prompt: Prompt) -> str:
    """The whole prompt, up to where the model continues; `prompt.said` is an answer already begun."""
    parts = [prefix(prompt), _lines(prompt.system.partition("\n\n")[2])]
    for question, answer in prompt.turns:
        parts += [USER, _plain(question), BOT, _plain(answer), END]
    parts += [USER, _plain(prompt.question), BOT, _plain(prompt.said)]
    return "".join(parts)


def prefix(prompt: Prompt) -> str:
    """The part of `render(prompt)` that is the same for every turn; it ends with a marker, so tokens do not cross it."""
    return BOS + SYS + _lines(prompt.system.partition("\n\n")[0]) + LIVE


def _lines(text: str) -> str:
    return NL.join(_plain(line) for line in text.splitlines() if line.strip())


def _plain(text: str) -> str:
    """One leading space, single spaces inside, and no marker: text from outside cannot open a turn of its own."""
    words = _MARKER.sub(" ", text).split()
    return " " + " ".join(words) if words else ""
