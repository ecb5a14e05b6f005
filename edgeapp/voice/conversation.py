"""One conversation: listen, answer, stop answering when spoken over.

The straight path: endpoint -> words -> reply, clause by clause -> voice -> loudspeaker, each step a `Stage` with its due
time. A turn is a task; barge-in is `task.cancel()`. The history holds only what was heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, BackendError, Clause, DeviceError, Prompt, Speech, Transcript, Utterance
from edgeapp.core.placement import Why
from edgeapp.core.record import Record, Sink, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.voice.clauses import clauses
from edgeapp.voice.endpoint import FRAME_NS, Endpointer, EndpointRule, Framer, Speaking
from edgeapp.voice.speaker import Speaker, onset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_DEAF_FRAMES_MAX: Final = 32  # about a second without a voice activity detector


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

    not_understood: str = "I am sorry, I did not catch that."
    cannot_answer: str = "I am sorry, I cannot answer right now."
    barge_in: bool = True
    """May a person interrupt? Without echo cancellation and with an open loudspeaker: no."""

    barge_in_after_ns: int = 96 * MS
    """Shorter sounds do not interrupt."""

    history_turns: int = 4
    max_tokens: int = 64
    log_text: bool = False
    """May the words of a turn stand in its record?"""


@dataclass(slots=True)
class _Reply:
    """What happened in one turn so far."""

    utterance: Utterance
    committed_ns: int
    played_before_ns: int
    transcript: str = ""
    first_audible_ns: int | None = None
    runs_out_ns: int = 0
    clauses: list[tuple[str, int]] = field(default_factory=list)  # text and sound; bounded by REPLY_CHARS_MAX

    def heard(self, played_ns: int) -> str:
        """The words whose sound was played; of a clause that was cut, the share that was."""
        words: list[str] = []
        left_ns = max(0, played_ns - self.played_before_ns)
        for text, sound_ns in self.clauses:
            each = text.split() if sound_ns else []  # a voice has no sound for some texts
            if left_ns < sound_ns:
                words += each[: len(each) * left_ns // sound_ns]
                break
            words += each
            left_ns -= sound_ns
        return " ".join(words)


class Conversation:
    """Wires the stages of one voice into turns. Lives on one loop; `listen` runs until the microphone ends."""

    def __init__(
        self,
        *,
        vad: VoiceActivity,
        stt: Stage[Utterance, Transcript],
        llm: Stage[Prompt, Stream[str]],
        tts: Stage[Clause, Stream[Speech]],
        system: Callable[[str, str], str],
        budget: Budget,
        sink: Sink,
        hear: Hear | None = None,
        rule: EndpointRule = EndpointRule(),
        manners: Manners = Manners(),
    ) -> None:
        """`system` gives the facts to read for a question after the last exchange; `hear` is the recogniser's own, if it listens along."""
        self._vad, self._stt, self._llm, self._tts = vad, stt, llm, tts
        self._system, self._budget, self._sink = system, budget, sink
        self._hear, self._manners = hear, manners
        self._endpointer, self._framer = Endpointer(rule), Framer()
        self._partial = Transcript("", complete=False)
        self._deaf_frames = 0
        self._turn: asyncio.Task[None] | None = None
        self._speaker: Speaker
        self.history: deque[tuple[str, str]] = deque(maxlen=manners.history_turns)

    @property
    def busy(self) -> bool:
        """Is a turn being answered?"""
        return self._turn is not None and not self._turn.done()

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
            if self._turn is not None:
                await asyncio.wait([self._turn])
                self._forget_finished_turn()
        finally:
            await self._interrupt()

    async def _take(self, frame: AudioChunk) -> None:
        if self.busy and not self._manners.barge_in:
            return
        if self._endpointer.heard:
            await self._listen_along((frame,))
        speech_ns = self._endpointer.speech_ns
        event = self._endpointer.feed(frame, await self._speech(frame), self._partial)
        if event is Speaking.STARTED:
            self._partial = Transcript("", complete=False)
            for stage in (self._stt, self._llm, self._tts):
                stage.probe()  # while the person speaks no due time runs
            await self._listen_along(self._endpointer.heard)
        if isinstance(event, Utterance):
            if not self.busy or speech_ns >= self._manners.barge_in_after_ns:
                await self._commit(event)
            return
        if self.busy and self._endpointer.speech_ns >= self._manners.barge_in_after_ns:
            await self._interrupt()

    async def _commit(self, utterance: Utterance) -> None:
        await self._interrupt()
        self._forget_finished_turn()
        self._turn = asyncio.create_task(self._answer(utterance, now_ns()))

    async def _speech(self, frame: AudioChunk) -> float:
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
        if self._turn is not None and self._turn.done():
            turn, self._turn = self._turn, None
            if not turn.cancelled():
                turn.result()

    async def _interrupt(self) -> None:
        """End the turn under way: that is all of barge-in."""
        if self._turn is not None and not self._turn.done():
            self._turn.cancel()
            await asyncio.wait([self._turn])

    async def _answer(self, utterance: Utterance, committed_ns: int) -> None:
        reply = _Reply(utterance, committed_ns, self._speaker.played_ns)
        outcome, error = "failed", ""
        try:
            outcome = await self._reply(reply)
        except asyncio.CancelledError:
            outcome = "interrupted"
            raise
        except (BackendError, DeviceError) as failure:
            error = str(failure)
        finally:
            self._remember(reply, outcome, error)

    async def _reply(self, reply: _Reply) -> str:
        of = f"turn {reply.utterance.number}"
        try:
            return await self._speak(reply, of)
        except BackendError:
            if reply.first_audible_ns is None:
                with suppress(BackendError):  # the voice failed again: the stage has recorded it
                    await self._say(self._manners.cannot_answer, reply, of)
            await self._speaker.drained()  # what is queued belongs to this turn: it can still be interrupted
            raise

    async def _speak(self, reply: _Reply, of: str) -> str:
        transcript = await self._stt(reply.utterance, due_ns=self._due_ns("stt", reply), of=of)
        reply.transcript = transcript.text
        if not transcript.text:
            await self._say(self._manners.not_understood, reply, of)
            await self._speaker.drained()
            return "not understood"
        before = " ".join(self.history[-1]) if self.history else ""
        system = self._system(transcript.text, before)
        prompt = Prompt(system, tuple(self.history), transcript.text, max_tokens=self._manners.max_tokens)
        async with aclosing(self._written(prompt, reply, of)) as pieces:
            async for clause in clauses(pieces):
                await self._say(clause, reply, of)
        if not reply.clauses:
            await self._say(self._manners.cannot_answer, reply, of)
        await self._speaker.drained()
        return "answered"

    async def _written(self, prompt: Prompt, reply: _Reply, of: str) -> AsyncGenerator[str, None]:
        """The reply as it is written. If it breaks off elsewhere, it goes on here, behind the last piece that came.

        Not behind the last clause: a model goes on from its own pieces, and a clause may end inside of one.
        """
        said = ""
        for resumed in (False, True):
            due_ns = reply.runs_out_ns if reply.clauses else self._due_ns("llm", reply)
            pieces = await self._llm(replace(prompt, said=said), due_ns=due_ns, of=of, resumed=resumed)
            try:
                async for piece in pieces:
                    said += piece
                    yield piece
            except BackendError:
                if resumed or not self._llm.lends:
                    raise
            else:
                return
            finally:
                await pieces.aclose()

    async def _say(self, text: str, reply: _Reply, of: str) -> None:
        """Speak one clause. The first is due by the budget, the next when the sound before it runs out."""
        due_ns = self._due_ns("tts", reply) if reply.first_audible_ns is None else reply.runs_out_ns
        speech = await self._tts(Clause(text), due_ns=due_ns, of=of)
        reply.clauses.append((text, 0))
        try:
            async for part in speech:
                sound_ns = len(part.samples) * 1_000_000_000 // part.sample_rate_hz
                reply.clauses[-1] = (text, reply.clauses[-1][1] + sound_ns)
                audible_ns = await self._speaker.play(part.samples, part.sample_rate_hz)
                silent = onset(part.samples)
                if reply.first_audible_ns is None and silent < len(part.samples):
                    reply.first_audible_ns = audible_ns + silent * 1_000_000_000 // part.sample_rate_hz
                reply.runs_out_ns = audible_ns + sound_ns
        finally:
            await speech.aclose()

    def _due_ns(self, stage: str, reply: _Reply) -> int:
        return self._budget.due_ns(stage, reply.utterance.ended_ns)

    def _remember(self, reply: _Reply, outcome: str, error: str) -> None:
        played_ns = self._speaker.cut() if outcome == "interrupted" else self._speaker.played_ns
        heard = reply.heard(played_ns)
        if reply.transcript and heard:
            self.history.append((reply.transcript, heard))
        text = self._manners.log_text
        self._sink(
            TurnRecord(
                number=reply.utterance.number,
                last_voiced_ns=reply.utterance.ended_ns,
                committed_ns=reply.committed_ns,
                due_ns=reply.utterance.ended_ns + self._budget.total_ns,
                first_audible_ns=reply.first_audible_ns,
                ended_ns=now_ns(),
                outcome=outcome,
                heard_words=len(reply.transcript.split()),
                heard=reply.transcript if text else "",
                said=heard if text else "",
                error=error,
            )
        )
