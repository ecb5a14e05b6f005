"""The turns that are over: each is answered, interrupted or taken back, and leaves one record.

One at a time. A turn is a task; barge-in is `task.cancel()`. The history holds only what was heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import BackendError, Clause, DeviceError, Speech, Transcript, Utterance
from edgeapp.core.record import Sink, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.voice.answering import Answering
from edgeapp.voice.candidate import Candidate
from edgeapp.voice.clauses import clauses_of
from edgeapp.voice.guesses import Guesses
from edgeapp.voice.openers import Openers
from edgeapp.voice.prompt import remembered
from edgeapp.voice.speaker import Speaker
from edgeapp.voice.speculation import Speculation
from edgeapp.voice.turn import Turn

if TYPE_CHECKING:
    from edgeapp.voice.endpoint import Ended


@dataclass(frozen=True, slots=True)
class Manners:
    """How the device behaves in a conversation."""

    cannot_answer: str = "I am sorry, I cannot answer right now."
    barge_in: bool = True
    """May a person interrupt? Without echo cancellation and with an open loudspeaker: no."""

    history_turns: int = 4
    log_text: bool = False
    """May the words of a turn stand in its record?"""


@dataclass(slots=True)
class _Told:
    """What a committed turn is answered with."""

    ended: Ended | None
    candidate: Candidate | None = None
    foreseen: bool = False
    """Was it begun before the turn was over?"""

    begun: int = 0
    wasted_ns: int = 0

    @property
    def words(self) -> str:
        """What was understood."""
        transcript = self.candidate.transcript if self.candidate is not None else None
        return transcript.text if transcript is not None else ""


class Turns:
    """One conversation's turns. Lives on one loop."""

    def __init__(
        self,
        *,
        stt: Stage[Utterance, Transcript],
        answering: Answering,
        tts: Stage[Clause, Stream[Speech]],
        budget: Budget,
        sink: Sink,
        manners: Manners,
        openers: Openers,
        intent: Callable[[str], str],
        speculation: Speculation,
        listens_along: bool,
    ) -> None:
        """`listens_along`: the recogniser has heard all samples, so its last word costs nothing."""
        self._stt, self._answering, self._tts = stt, answering, tts
        self._budget, self._sink, self._manners = budget, sink, manners
        self._openers, self._intent, self._listens_along = openers, intent, listens_along
        self.speculation = speculation
        self.guesses = Guesses(self._begin, speculation)
        self.history: tuple[tuple[str, str], ...] = ()
        """What was said, and what of the answer was heard; oldest first, at most `history_turns`."""

        self.speaker: Speaker
        """Where the replies go; set before the first turn."""

        self.current: Turn | None = None
        """The last turn that was committed."""

        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Is a turn being answered?"""
        return self._task is not None and not self._task.done()

    async def commit(
        self, utterance: Utterance, *, words: str, transcript: Transcript | None, ended: Ended | None
    ) -> None:
        """A turn is over: end the one before and answer it.

        `words` is what was recognised so far; `transcript` is final if it is known already.
        """
        await self.interrupt()
        self.look()
        due_ns = utterance.ended_ns + self._budget.total_ns
        self.current = self._turn(utterance, due_ns, words)
        self._task = asyncio.create_task(self._answer(self.current, transcript, _Told(ended)))

    async def greet(self, text: str) -> None:
        """Say something unasked, unless a turn is being answered. It can be spoken over like any reply."""
        if not self.busy:
            self._begin_unasked(text)

    async def announce(self, text: str) -> str:
        """Say something unasked as `greet` does, and return what of it was heard when it has ended: nothing if a turn was under way."""
        if self.busy:
            return ""
        turn, task = self._begin_unasked(text)
        await asyncio.wait([task])
        return turn.heard(self.speaker.played_ns)

    def _begin_unasked(self, text: str) -> tuple[Turn, asyncio.Task[None]]:
        self.look()
        now = now_ns()
        self.current = turn = self._turn(Utterance(0, np.zeros(0, np.int16), now), now, "")
        self._task = task = asyncio.create_task(self._unasked(turn, text))
        return turn, task

    async def interrupt(self, *, rolled_back: bool = False) -> None:
        """End the turn under way, if there is one: that is all of barge-in."""
        if self._task is not None and not self._task.done():
            if self.current is not None:
                self.current.rolled_back = rolled_back
            self._task.cancel()
            await asyncio.wait([self._task])

    async def ended(self) -> None:
        """Return when nothing is being answered any more."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self.look()

    def look(self) -> None:
        """A bug in a turn ends the conversation; a turn that was interrupted does not."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            if not task.cancelled():
                task.result()

    def _turn(self, utterance: Utterance, due_ns: int, words: str) -> Turn:
        return Turn(
            utterance, now_ns(), due_ns, words, self.speaker, self._openers, self._intent, self._manners.cannot_answer
        )

    def _begin(self, utterance: Utterance, transcript: Transcript | None) -> Candidate:
        return Candidate(
            utterance,
            transcript=transcript,
            turns=self.history,
            budget=self._budget,
            stt=self._stt,
            answer=self._answering.answer,
            tts=self._tts,
        )

    async def _unasked(self, turn: Turn, text: str) -> None:
        """A text that was not rendered at the start is voiced now, clause by clause."""
        try:
            with suppress(DeviceError, BackendError):  # the voice's failure stands in its stage's record
                if self._openers.phrase(text):
                    await turn.say(text)
                else:
                    for clause in clauses_of(text):
                        parts = await self._tts(
                            Clause(clause), due_ns=now_ns() + self._budget.total_ns, of="announcement"
                        )
                        async with aclosing(parts):
                            await turn.voice(clause, parts)
                await turn.speaker.drained()
        except asyncio.CancelledError:
            turn.speaker.cut()
            raise

    async def _answer(self, turn: Turn, transcript: Transcript | None, told: _Told) -> None:
        """Answer a turn that is over, and write its record whatever happens."""
        outcome, error = "failed", ""
        settling = asyncio.create_task(self._settle(turn, transcript, told))
        try:
            try:
                await turn.play(await turn.reply(settling))
                outcome = "answered" if told.words else "not understood"
            except (BackendError, DeviceError) as failure:
                error = str(failure)
                if told.candidate is None:  # no words: what the turn was about is not known
                    with suppress(DeviceError):
                        await turn.admit()
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        finally:
            settling.cancel()
            await asyncio.wait([settling])
            await self.guesses.drop() if told.candidate is None else await told.candidate.discard()
            self._remember(turn, told, "rolled back" if turn.rolled_back else outcome, error)

    async def _settle(self, turn: Turn, transcript: Transcript | None, told: _Told) -> Candidate:
        """Find the candidate that answers what was really said, and commit it. Raises BackendError without words."""
        utterance, guess = turn.utterance, self.guesses.running
        unsure = self._listens_along or guess is None or guess.utterance.ended_ns != utterance.ended_ns
        if transcript is None and unsure:
            transcript = await self.words_of(utterance)
        candidate = await self.guesses.take(transcript)
        told.foreseen = candidate is not None
        told.candidate = candidate or self._begin(utterance, transcript)
        told.begun, told.wasted_ns = self.guesses.begun, self.guesses.wasted_ns
        self.speculation.ended(guessed=told.begun > 0, hit=told.foreseen)
        told.candidate.commit(utterance.ended_ns)
        return told.candidate

    async def words_of(self, utterance: Utterance) -> Transcript:
        """The final words. Raises BackendError."""
        due_ns = self._budget.due_ns("stt", utterance.ended_ns)
        return await self._stt(utterance, due_ns=due_ns, of=f"turn {utterance.number}")

    def _remember(self, turn: Turn, told: _Told, outcome: str, error: str) -> None:
        """What was heard goes into the history, and what happened into the records."""
        cut = outcome in {"interrupted", "rolled back"}
        heard, candidate = turn.heard(self.speaker.cut() if cut else self.speaker.played_ns), told.candidate
        if told.words and heard and not turn.rolled_back:
            self.history = remembered((*self.history, (told.words, heard)), self._manners.history_turns)
        text = self._manners.log_text
        self._sink(
            TurnRecord(
                number=turn.utterance.number,
                last_voiced_ns=turn.utterance.ended_ns,
                committed_ns=turn.committed_ns,
                due_ns=turn.due_ns,
                first_audible_ns=turn.first_audible_ns,
                ended_ns=now_ns(),
                outcome=outcome,
                heard_words=len(told.words.split()),
                heard=told.words if text else "",
                said=heard if text else "",
                error=error,
                first_reply_ns=turn.first_reply_ns,
                opener=bool(turn.opener),
                foreseen=told.foreseen,
                candidates=told.begun,
                candidate_ns=candidate.started_ns if candidate is not None else None,
                staged_ns=candidate.staged.audible_ns if candidate is not None else None,
                wasted_ns=told.wasted_ns,
                end_why=told.ended.why if told.ended is not None else "",
                end_probability=told.ended.over if told.ended is not None else None,
                path=candidate.how.path if candidate is not None else "",
                ungrounded=candidate.how.ungrounded if candidate is not None else 0,
                turns_cut=candidate.how.turns_cut if candidate is not None else 0,
            )
        )
