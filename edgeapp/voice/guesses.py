"""The candidates of one turn: at most one runs and one waits, and the newest wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import Transcript, Utterance
from edgeapp.voice.candidate import Candidate
from edgeapp.voice.grammar import normalise
from edgeapp.voice.speculation import Speculation

_FILLERS: Final = frozenset(["ah", "er", "erm", "hm", "hmm", "uh", "uhm", "um", "well"])

Begin = Callable[[Utterance, Transcript | None], Candidate]
"""Starts a candidate for what was said so far; with no words it has them recognised."""


def same_words(one: str, other: str) -> bool:
    """Do two transcripts ask the same? Case, punctuation and words that only fill a pause do not count."""
    first, second = ([word for word in normalise(text).split() if word not in _FILLERS] for text in (one, other))
    return first == second


class Guesses:
    """Prepares replies for turns that may not be over. Lives on one loop."""

    def __init__(self, begin: Begin, speculation: Speculation) -> None:
        self._begin, self._speculation = begin, speculation
        self._waiting: tuple[Utterance, Transcript | None] | None = None
        self._change: asyncio.Task[None] | None = None
        self.running: Candidate | None = None
        """The newest candidate that has begun."""

        self.begun = 0
        """How many candidates this turn has had."""

        self.wasted_ns = 0
        """What those that were discarded have cost this turn."""

    def prepare(self, so_far: Callable[[], Utterance], ended_ns: int, transcript: Transcript | None) -> None:
        """Begin a candidate, unless the newest one answers the same words, or heard the same voice. Returns at once.

        `so_far` makes the utterance if it is needed; `ended_ns` is its last voiced sample.
        """
        known = self._waiting or ((self.running.utterance, self.running.transcript) if self.running else None)
        if known is not None and self._same(known, ended_ns, transcript):
            return
        self._waiting = (so_far(), transcript)
        if self._change is None or self._change.done():
            self._change = asyncio.create_task(self._replace())

    @staticmethod
    def _same(known: tuple[Utterance, Transcript | None], ended_ns: int, transcript: Transcript | None) -> bool:
        if transcript is None or known[1] is None:
            return known[0].ended_ns == ended_ns
        return same_words(known[1].text, transcript.text)

    async def _replace(self) -> None:
        while self._waiting is not None:  # ends: each pass takes one, and only `prepare` adds
            await self._discard()
            if (request := self._waiting) is not None:
                self._waiting = None
                self.begun += 1
                self.running = self._begin(*request)

    async def _discard(self) -> None:
        candidate, self.running = self.running, None
        if candidate is not None:
            await candidate.discard()
            self.wasted_ns += candidate.worked_ns
            self._speculation.discarded(now_ns(), candidate.worked_ns)

    async def take(self, transcript: Transcript | None) -> Candidate | None:
        """The turn is over: give the running candidate away if it answers these words; else discard what there is.

        With None the caller knows that nothing was said since the candidate began.
        """
        await self._settled()
        candidate = self.running
        if candidate is not None and transcript is not None:
            words = candidate.transcript
            if words is None or not same_words(words.text, transcript.text):
                await self._discard()
                return None
        self.running = None
        return candidate

    async def drop(self) -> None:
        """Discard everything. Idempotent."""
        await self._settled()
        await self._discard()

    def new_turn(self) -> None:
        """Begin the account of the next turn."""
        self.begun = self.wasted_ns = 0

    async def _settled(self) -> None:
        """Nothing waits and nothing is being replaced."""
        self._waiting = None
        if self._change is not None:
            await asyncio.wait([self._change])
            self._change.result()
            self._change = None
