"""A turn candidate: the reply, prepared before anybody knows that the turn is over.

The problem: words, reply and voice take longer than what is left once the end of a turn is certain. So they start while
it is not, as a processor goes on behind a branch that it has not decided. What a candidate makes is staged, never played;
it may read, but nothing with a side effect happens before `commit`. If the turn ends with the same words, the staged sound
is played at once; if not, the candidate is discarded, and only processor time was lost.

A turn that nobody foresaw goes the same way: its candidate starts at its commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, Clause, Speech, Transcript, Utterance
from edgeapp.voice.answering import How, Question
from edgeapp.voice.speaker import onset

if TYPE_CHECKING:
    from edgeapp.core.stage import Stage
    from edgeapp.core.stream import Stream

_STAGED_NS: Final = 2_000 * MS  # of sound before the commit: more would be work on a guess
_AHEAD_NS: Final = 8_000 * MS  # of sound after it: the voice may be this far ahead of the loudspeaker

Answer = Callable[[Question], AsyncGenerator[str, None]]
"""What to say: a question in, speakable clauses out."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of sound that waits to be played."""

    clause: int
    """Which clause of the reply it belongs to, from 0."""

    text: str
    """The words of that clause."""

    speech: Speech

    @property
    def sound_ns(self) -> int:
        """How long it sounds."""
        return len(self.speech.samples) * 1_000_000_000 // self.speech.sample_rate_hz


class Staged:
    """Sound in the order in which it will be played: one producer, one consumer, bounded by its length."""

    def __init__(self) -> None:
        self._parts: deque[Part] = deque()  # bounded by `most_ns` of sound and one part
        self._room, self._some = asyncio.Event(), asyncio.Event()
        self._ended = False
        self.error: Exception | None = None
        """Why nothing more will come, if something failed."""

        self.most_ns = _STAGED_NS
        self.held_ns = 0
        """The sound that waits."""

        self.audible_ns: int | None = None
        """When the first sample that can be heard was in hand."""

    async def put(self, part: Part) -> None:
        """Stage a part; waits while `most_ns` of sound are held."""
        while self.held_ns >= self.most_ns:
            self._room.clear()
            await self._room.wait()
        self._parts.append(part)
        self.held_ns += part.sound_ns
        if self.audible_ns is None and onset(part.speech.samples) < len(part.speech.samples):
            self.audible_ns = now_ns()
        self._some.set()

    def widen(self) -> None:
        """The turn is committed: let the voice run ahead."""
        self.most_ns = _AHEAD_NS
        self._room.set()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes. Only the first call counts."""
        if not self._ended:
            self._ended, self.error = True, error
            self._some.set()

    async def wait(self) -> None:
        """Return when a part is in hand, or when none will come any more."""
        while not self._parts and not self._ended:
            self._some.clear()
            await self._some.wait()

    async def get(self) -> Part | None:
        """The next part; None at the end. Raises what failed, after the last part that came before it."""
        await self.wait()
        if not self._parts:
            if self.error is not None:
                raise self.error
            return None
        part = self._parts.popleft()
        self.held_ns -= part.sound_ns
        self._room.set()
        return part


class Candidate:
    """One reply in the making. Its task ends by itself, or with `discard`."""

    def __init__(
        self,
        utterance: Utterance,
        *,
        transcript: Transcript | None,
        turns: tuple[tuple[str, str], ...],
        budget: Budget,
        stt: Stage[Utterance, Transcript],
        answer: Answer,
        tts: Stage[Clause, Stream[Speech]],
    ) -> None:
        """`utterance` is what was said so far; `transcript` its words, or None to have them recognised here."""
        self.utterance, self.transcript = utterance, transcript
        self.started_ns = now_ns()
        self.clock_ns = utterance.ended_ns
        """The last voiced sample: due times count from it. A commit may move it."""

        self.committed = asyncio.Event()
        self.staged = Staged()
        self.runs_out_ns = 0
        """When the sound that was handed to the loudspeaker ends; the turn that plays it keeps it."""

        self.how = How()
        """How the reply came about; complete when it is."""

        self._turns, self._budget = turns, budget
        self._stt, self._answer, self._tts = stt, answer, tts
        self._waited_ns = 0
        self._ended_ns: int | None = None
        self._of = f"turn {utterance.number}"
        self.opener = ""
        self._task = asyncio.create_task(self._run())

    @property
    def worked_ns(self) -> int:
        """How long it has worked, pauses for want of room left out: the most that a wrong guess has cost."""
        return (self._ended_ns or now_ns()) - self.started_ns - self._waited_ns

    def commit(self, ended_ns: int, opener: str = "") -> None:
        """The turn is over with these very words; its clock started at `ended_ns`."""
        self.clock_ns, self.opener = ended_ns, opener
        self.committed.set()
        self.staged.widen()

    async def discard(self) -> None:
        """Stop, and return when nothing of it runs any more. A bug that it met is raised. Idempotent."""
        self._task.cancel()
        await asyncio.wait([self._task])
        error = self.staged.error
        if error is not None and not isinstance(error, BackendError):
            raise error

    async def _run(self) -> None:
        try:
            if self.transcript is None:
                self.transcript = await self._stt(self.utterance, due_ns=self._due_ns("stt"), of=self._of)
            question = Question(
                self.transcript.text,
                self._turns,
                self._of,
                self._due_ns,
                self.committed,
                opener=self.opener,
                how=self.how,
            )
            async with aclosing(self._answer(question)) as clauses:
                number = 0
                async for clause in clauses:
                    await self._voice(number, clause)
                    number += 1
        except Exception as failure:  # noqa: BLE001 - whoever plays what was staged raises it, behind the last part
            self.staged.end(failure)
        finally:
            self._ended_ns = now_ns()
            self.staged.end()

    async def _voice(self, number: int, clause: str) -> None:
        """Speak one clause into the stage. The first is due by the budget, the next when the sound before it runs out."""
        due_ns = self._due_ns("tts")
        if number:
            due_ns = max(self.runs_out_ns, now_ns()) + self.staged.held_ns
        speech = await self._tts(Clause(clause), due_ns=due_ns, of=self._of)
        try:
            async for part in speech:
                asked_ns = now_ns()
                await self.staged.put(Part(number, clause, part))
                self._waited_ns += now_ns() - asked_ns
        finally:
            await speech.aclose()

    def _due_ns(self, stage: str) -> int:
        return self._budget.due_ns(stage, self.clock_ns)
