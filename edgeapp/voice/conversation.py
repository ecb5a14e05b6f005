"""One conversation: listen, prepare the answer while the person speaks, play it the moment the turn is over.

The straight path: frames -> endpoint -> a turn candidate (words -> reply -> voice, staged) -> commit -> loudspeaker. A
turn is a task; barge-in is `task.cancel()`. A person who goes on right after a commit takes it back: the voice stops, and
both halves become one turn. The history holds only what was heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, BackendError, Clause, DeviceError, Speech, Transcript, Utterance
from edgeapp.core.placement import Why
from edgeapp.core.record import Record, Sink, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.voice.candidate import Answer, Candidate
from edgeapp.voice.endpoint import FRAME_NS, Endpointer, EndpointRule, Framer, Speaking
from edgeapp.voice.guesses import Guesses
from edgeapp.voice.interruption import Act, Interruption, InterruptionRule, is_echo
from edgeapp.voice.openers import Openers
from edgeapp.voice.speaker import Speaker
from edgeapp.voice.speculation import Speculation
from edgeapp.voice.turn import Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_DEAF_FRAMES_MAX: Final = 32  # about a second without a voice activity detector
_GUESS_UNFINISHED_NS: Final = 160 * MS  # of silence after words that form no sentence: then they are guessed to be all


class VoiceActivity(Protocol):
    """Says how likely 512 samples are speech."""

    async def __call__(self, samples: NDArray[np.int16], /) -> float: ...

    def reset(self) -> None:
        """Forget the past: a new recording begins."""


Hear = Callable[[int, "NDArray[np.int16]"], Awaitable[Transcript]]
"""A recogniser that listens along: utterance number and samples in, the words so far out."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How the device behaves in a conversation."""

    cannot_answer: str = "I am sorry, I cannot answer right now."
    barge_in: bool = True
    """May a person interrupt? Without echo cancellation and with an open loudspeaker: no."""

    rollback_ns: int = 400 * MS
    """Who goes on speaking so soon after a commit had not finished."""

    history_turns: int = 4
    log_text: bool = False
    """May the words of a turn stand in its record?"""


@dataclass(slots=True)
class _Told:
    """What a committed turn is answered with."""

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


class Conversation:
    """Wires the stages of one voice into turns. Lives on one loop; `listen` runs until the microphone ends."""

    def __init__(
        self,
        *,
        vad: VoiceActivity,
        stt: Stage[Utterance, Transcript],
        answer: Answer,
        tts: Stage[Clause, Stream[Speech]],
        budget: Budget,
        sink: Sink,
        hear: Hear | None = None,
        rule: EndpointRule = EndpointRule(),
        manners: Manners = Manners(),
        interruption: InterruptionRule = InterruptionRule(),
        openers: Openers | None = None,
        intent: Callable[[str], str] = lambda _: "other",
        speculation: Speculation | None = None,
        throttled: Callable[[], bool] = lambda: False,
        wake_up: Callable[[tuple[tuple[str, str], ...]], None] = lambda _: None,
    ) -> None:
        """`answer` says what to say; `hear` is the recogniser's own, if it listens along; `intent` chooses openers.

        `wake_up` is called with the history when somebody begins to speak, `throttled` before a reply is prepared.
        """
        self._vad, self._stt, self._answer_with, self._tts = vad, stt, answer, tts
        self._budget, self._sink, self._hear, self._manners = budget, sink, hear, manners
        self._endpointer, self._framer = Endpointer(rule), Framer()
        self._interruption_rule, self._interruption = interruption, Interruption(interruption)
        self._openers, self._intent = openers or Openers(), intent
        self._throttled, self._wake_up = throttled, wake_up
        self.speculation = speculation or Speculation()
        self._guesses = Guesses(self._begin, self.speculation)
        self._partial = Transcript("", complete=False)
        self._speech = False
        self._resuming = False  # did the speech under way begin so soon after a commit that it may belong to it?
        self._deaf_frames = 0
        self._turn: Turn | None = None
        self._task: asyncio.Task[None] | None = None
        self._speaker: Speaker
        self.history: deque[tuple[str, str]] = deque(maxlen=manners.history_turns)

    @property
    def busy(self) -> bool:
        """Is a turn being answered?"""
        return self._task is not None and not self._task.done()

    async def listen(self, heard: AsyncIterable[AudioChunk], speaker: Speaker) -> None:
        """Take the microphone's audio until it ends, answer through `speaker`, then let the last reply finish.

        A cancel ends the turn under way and writes its record.
        """
        self._vad.reset()
        self._speaker = speaker
        try:
            async for chunk in heard:
                for frame in self._framer.feed(chunk):
                    await self._take(frame)
                    self._forget_finished_turn()
            if isinstance(unended := self._endpointer.finish(), Utterance):
                await self._commit(unended)
            if self._task is not None:
                await asyncio.wait([self._task])
                self._forget_finished_turn()
        finally:
            await self._interrupt()
            await self._guesses.drop()

    async def _take(self, frame: AudioChunk) -> None:
        if self.busy and not self._manners.barge_in:
            return
        if self._endpointer.heard:
            await self._listen_along((frame,))
        probability = await self._probability(frame)
        event = self._endpointer.feed(frame, probability, self._words())
        if event is Speaking.STARTED:
            await self._somebody_speaks()
        if isinstance(event, Utterance):
            await self._ended(event)
        elif self.busy:
            await self._spoken_over(frame, event)
        elif event is Speaking.GOES_ON:
            self._guess()
        elif event is Speaking.NOISE:
            await self._guesses.drop()

    async def _somebody_speaks(self) -> None:
        """While the person speaks no due time runs: wake what may be needed, and listen along."""
        self._partial = Transcript("", complete=False)
        turn = self._turn
        self._resuming = turn is not None and now_ns() - turn.committed_ns <= self._manners.rollback_ns
        rule = self._interruption_rule
        if self._resuming:  # that they go on is likelier now than that they cough
            rule = replace(rule, stop_after_ns=min(rule.stop_after_ns, rule.duck_after_ns + FRAME_NS))
        self._interruption = Interruption(rule)
        self._guesses.new_turn()
        for stage in (self._stt, self._tts):
            stage.probe()
        self._wake_up(tuple(self.history))
        await self._listen_along(self._endpointer.heard)

    def _words(self) -> Transcript:
        """The words so far: the recogniser's that listens along, or those of the candidate that heard all of this voice."""
        if self._hear is not None:
            return self._partial
        running = self._guesses.running
        if running is None or running.transcript is None:
            return Transcript("", complete=False)
        return running.transcript if running.utterance.ended_ns == self._endpointer.last_voiced_ns else self._partial

    def _guess(self) -> None:
        """Prepare the reply to what was said so far, if that may be all of it."""
        silent_frames = self._endpointer.silent_frames
        if self._hear is None:
            likely = silent_frames == 1
        elif self._partial.complete:
            likely = silent_frames > 0 or self._endpointer.stable_ns >= self._endpointer.rule.stable_ns
        else:
            likely = silent_frames * FRAME_NS == _GUESS_UNFINISHED_NS
        if self._endpointer.speech_ns < 2 * FRAME_NS:  # as long as this it may be a click
            return
        if likely and self.speculation.allowed(now_ns(), throttled=self._throttled()):
            self._guesses.prepare(self._endpointer.so_far(), self._partial if self._hear is not None else None)

    def _begin(self, utterance: Utterance, transcript: Transcript | None) -> Candidate:
        return Candidate(
            utterance,
            transcript=transcript,
            turns=tuple(self.history),
            budget=self._budget,
            stt=self._stt,
            answer=self._answer_with,
            tts=self._tts,
        )

    async def _spoken_over(self, frame: AudioChunk, event: Speaking) -> None:
        """Somebody makes a sound during the reply: duck, then stop or go on."""
        if event is Speaking.NOTHING or self._turn is None:
            return
        speech = event is not Speaking.NOISE and self._endpointer.silent_frames == 0
        words = self._partial.text if self._hear is not None else ""
        act = self._interruption.feed(
            speech=speech, echo_share=frame.echo_share, words=words, own_words=self._turn.words
        )
        if act is Act.DUCK:
            self._speaker.duck(self._interruption_rule.duck_gain)
        elif act is Act.RESUME:
            self._speaker.duck(1.0)
        elif act is Act.STOP:
            await self._take_over()

    async def _take_over(self) -> None:
        """The person has the floor. If they had only paused, both halves become one turn."""
        rejoined = self._resuming and self._endpointer.rejoin()
        self._resuming = False
        if self._turn is not None:
            self._turn.rolled_back = rejoined
        await self._interrupt()
        if rejoined:
            self._partial = Transcript("", complete=False)
            await self._listen_along(self._endpointer.heard)

    async def _ended(self, utterance: Utterance) -> None:
        """A turn has ended. Over a reply it counts only if it has words, and not our own."""
        if self.busy and self._turn is not None:
            try:
                words = (
                    await self._stt(utterance, due_ns=self._due_ns("stt", utterance), of=f"turn {utterance.number}")
                ).text
            except BackendError:  # recorded by the stage
                words = ""
            if not words or is_echo(words, self._turn.words):
                return
        await self._commit(utterance)

    async def _commit(self, utterance: Utterance) -> None:
        await self._interrupt()
        self._forget_finished_turn()
        self._turn = Turn(
            utterance,
            now_ns(),
            utterance.ended_ns + self._budget.total_ns,
            self._words().text,
            self._speaker,
            self._openers,
            self._intent,
            self._manners.cannot_answer,
        )
        self._task = asyncio.create_task(self._answer(self._turn))

    async def _probability(self, frame: AudioChunk) -> float:
        """How likely the frame is speech. A detector that fails is written down; one that goes on failing is raised."""
        asked_ns = now_ns()
        try:
            probability = await self._vad(frame.samples)
        except BackendError as failure:
            self._deaf_frames += 1
            self._note("vad", asked_ns, failure)
            if self._deaf_frames >= _DEAF_FRAMES_MAX:
                raise
            return 0.0
        self._deaf_frames = 0
        return probability

    def _note(self, stage: str, asked_ns: int, failure: BackendError) -> None:
        """Write down that an engine failed on a frame."""
        self._sink(
            Record(
                of=f"turn {self._endpointer.number}",
                stage=stage,
                asked_ns=asked_ns,
                due_ns=asked_ns + FRAME_NS,
                first_ns=now_ns(),
                side="none",
                why=str(Why.NO_REMOTE),
                local_ns=FRAME_NS,
                error=str(failure),
            )
        )

    async def _listen_along(self, frames: tuple[AudioChunk, ...]) -> None:
        """Let the recogniser hear what was just said, so that the words are ready when the turn ends."""
        if self._hear is not None:
            asked_ns = now_ns()
            try:
                for frame in frames:
                    self._partial = await self._hear(self._endpointer.number, frame.samples)
            except BackendError as failure:  # the turn carries all of its samples, so it can still be understood
                self._partial = Transcript("", complete=False)
                self._note("hear", asked_ns, failure)

    def _forget_finished_turn(self) -> None:
        """A bug in a turn ends the conversation; a turn that was interrupted does not."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            if not task.cancelled():
                task.result()

    async def _interrupt(self) -> None:
        """End the turn under way: that is all of barge-in."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _answer(self, turn: Turn) -> None:
        """Answer a turn that is over, and write its record whatever happens."""
        outcome, error, told = "failed", "", _Told()
        settling = asyncio.create_task(self._settle(turn, told))
        try:
            await turn.play(await turn.reply(settling))
            outcome = "answered" if told.words else "not understood"
        except asyncio.CancelledError:
            outcome = "rolled back" if turn.rolled_back else "interrupted"
            raise
        except (BackendError, DeviceError) as failure:
            error = str(failure)
            if told.candidate is None:  # no words: what the turn was about is not known
                with suppress(DeviceError):
                    await turn.admit()
        finally:
            settling.cancel()
            await asyncio.wait([settling])
            await self._guesses.drop() if told.candidate is None else await told.candidate.discard()
            self._remember(turn, told, outcome, error)

    async def _settle(self, turn: Turn, told: _Told) -> Candidate:
        """Find the candidate that answers what was really said, and commit it. Raises BackendError without words."""
        utterance, guess = turn.utterance, self._guesses.running
        transcript: Transcript | None = None
        if self._hear is not None or guess is None or guess.utterance.ended_ns != utterance.ended_ns:
            due_ns = self._due_ns("stt", utterance)
            transcript = await self._stt(utterance, due_ns=due_ns, of=f"turn {utterance.number}")
        candidate = await self._guesses.take(transcript)
        told.foreseen = candidate is not None
        told.candidate = candidate or self._begin(utterance, transcript)
        told.begun, told.wasted_ns = self._guesses.begun, self._guesses.wasted_ns
        self.speculation.ended(guessed=told.begun > 0, hit=told.foreseen)
        told.candidate.commit(utterance.ended_ns)
        return told.candidate

    def _due_ns(self, stage: str, utterance: Utterance) -> int:
        return self._budget.due_ns(stage, utterance.ended_ns)

    def _remember(self, turn: Turn, told: _Told, outcome: str, error: str) -> None:
        """What was heard goes into the history, and what happened into the records."""
        cut = outcome in {"interrupted", "rolled back"}
        heard, candidate = turn.heard(self._speaker.cut() if cut else self._speaker.played_ns), told.candidate
        if told.words and heard and not turn.rolled_back:
            self.history.append((told.words, heard))
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
            )
        )
