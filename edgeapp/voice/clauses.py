"""A reply as it is written -> clauses as they are spoken: cut at commas and full stops, nothing unspeakable inside."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

from edgeapp.voice.prompt import TOOL

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)|<[^>\n]{1,200}>|https?://\S+|www\.\S+")
_MARKUP = re.compile(r"[*_`#~|\\^<>{}\[\]]+|^\s*[-•]\s+", re.MULTILINE)
_SPOKEN_SIGNS: Final = "'’.,;:!?%&+-/()\"€$£°="
_CUT = re.compile(r"(?<=[.!?;:])\s+|(?<=,)\s+(?=\D)|(?<=[^\d\s],)\s+(?=\d)|\n+")
"""Behind a comma too, so that "in stock," is spoken before "8 pieces" is written; not between two numbers."""

REPLY_CHARS_MAX: Final = 1_200
"""The bound of one spoken reply, about 90 seconds; what comes after is not spoken."""

_CLAUSE_CHARS_MAX: Final = 160  # one breath: a longer run of words is cut at a space
_PENDING_CHARS_MAX: Final = 2_000  # markup that never closes is given up after this


def speakable(text: str) -> str:
    """Only what a voice can say: no markup, links, emoji or control signs; single spaces."""
    text = _LINK.sub(lambda found: found.group(1) or " ", text)
    text = _MARKUP.sub(" ", text)
    kept = "".join(sign if sign.isalnum() or sign in _SPOKEN_SIGNS else " " for sign in text)
    return " ".join(kept.split())


async def clauses(pieces: AsyncIterable[str]) -> AsyncGenerator[str, None]:
    """Cut a stream of text into speakable clauses, each as soon as it is whole; at most `REPLY_CHARS_MAX` in all.

    A reply that opens a tool call has nothing to be spoken.
    """
    pending, spoken = "", 0
    async for piece in pieces:
        pending += piece
        if not spoken and pending.lstrip().startswith(TOOL):
            return
        *whole, pending = _split(pending)
        for text in whole:
            if spoken + len(text) > REPLY_CHARS_MAX:
                return
            if clause := speakable(text):
                spoken += len(clause)
                yield clause
    for text in _split(pending):
        if (clause := speakable(text)) and spoken + len(clause) <= REPLY_CHARS_MAX:
            spoken += len(clause)
            yield clause


def clauses_of(text: str) -> list[str]:
    """The speakable clauses of a whole text; at most `REPLY_CHARS_MAX` in all."""
    spoken, found = 0, []
    for part in _split(text):
        clause = speakable(part)
        spoken += len(clause)
        if clause and spoken <= REPLY_CHARS_MAX:
            found.append(clause)
    return found


def _split(text: str) -> list[str]:
    """The clauses of `text`; the last one may not be whole yet."""
    parts = []
    for part in _CUT.split(text):
        rest = part
        while len(rest) > _CLAUSE_CHARS_MAX and (len(rest) > _PENDING_CHARS_MAX or not _LINK.search(rest)):
            at = rest.rfind(" ", 1, _CLAUSE_CHARS_MAX)
            at = at if at > 0 else _CLAUSE_CHARS_MAX
            parts.append(rest[:at])
            rest = rest[at:]
        parts.append(rest)
    return parts
