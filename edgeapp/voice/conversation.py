"""One conversation: listen, prepare the answer while the person speaks, play it the moment the turn is over.

The straight path: frames -> endpoint -> a turn candidate (words -> reply -> voice, staged) -> commit -> loudspeaker. Who
goes on right after a commit takes it back: the voice stops, and both halves become one turn. Who speaks over a reply ducks
it, and then stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, BackendError, Clause, Speech, Transcript, Utterance
from edgeapp.core.placement import Why
from edgeapp.core.record import Record, Sink
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.voice.answering import Answering
from edgeapp.voice.endpoint import FRAME_NS, Endpointer, EndpointRule, Expect, Framer, Speaking
from edgeapp.voice.glance import Doing, Glance
from edgeapp.voice.interruption import DUCKED_GAIN, Act, Interruption, InterruptionRule, is_echo
from edgeapp.voice.openers import Openers
from edgeapp.voice.speaker import Speaker
from edgeapp.voice.speculation import Speculation
from edgeapp.voice.turns import Manners, Turns
from edgeapp.voice.wake import Attention, Way

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_DEAF_FRAMES_MAX: Final = 32  # about a second without a voice activity detector
_GUESS_UNFINISHED_NS: Final = 160 * MS  # of silence after words that form no sentence: then they are guessed to be all
_COUGH_NS: Final = 400 * MS  # a sound without words over a reply, no longer than this, wants no answer
_CALLED: Final = Transcript("hello", complete=True)  # whoever says the keyphrase and no more has greeted us


class VoiceActivity(Protocol):
    """Says how likely 512 samples are speech."""

    async def __call__(self, samples: NDArray[np.int16], /) -> float: ...

    def reset(self) -> None:
        """Forget the past: a new recording begins."""


Hear = Callable[[int, "NDArray[np.int16]"], Awaitable[Transcript]]
"""A recogniser that listens along: utterance number and samples in, the words so far out."""

Suppose = Callable[[int], Awaitable[Transcript]]
"""Its second reading of an utterance that it refused or heard a greeting in: the words that there may be, believed or not."""

TurnModel = Callable[["NDArray[np.int16]"], Awaitable[float]]
"""Says by the sound of a turn how likely it is over."""


class Conversation:
    """Listens to one microphone and takes turns. Lives on one loop; `listen` runs until the microphone ends."""

    def __init__(
        self,
        *,
        vad: VoiceActivity,
        stt: Stage[Utterance, Transcript],
        answering: Answering,
        tts: Stage[Clause, Stream[Speech]],
        budget: Budget,
        sink: Sink,
        hear: Hear | None = None,
        suppose: Suppose | None = None,
        turn_model: TurnModel | None = None,
        attention: Attention | None = None,
        rule: EndpointRule = EndpointRule(),
        manners: Manners = Manners(),
        interruption: InterruptionRule = InterruptionRule(),
        openers: Openers | None = None,
        intent: Callable[[str], str] = lambda _: "other",
        speculation: Speculation | None = None,
        throttled: Callable[[], bool] = lambda: False,
    ) -> None:
        """`hear` is the recogniser's own, if it listens along; `turn_model` a second opinion on the end of a turn.

        `intent` chooses openers; `throttled` is asked before a reply is prepared.
        """
        self._vad, self._stages, self._answering, self._sink = vad, (stt, tts), answering, sink
        self._hear, self._suppose = hear, suppose
        self._turn_model, self._throttled = turn_model, throttled
        self._manners, self._attention = manners, attention or Attention()
        self._endpointer, self._framer = Endpointer(rule), Framer()
        self._interruption_rule, self._interruption = interruption, Interruption(interruption)
        self.turns = Turns(
            stt=stt,
            answering=answering,
            tts=tts,
            budget=budget,
            sink=sink,
            manners=manners,
            openers=openers or Openers(),
            intent=intent,
            speculation=speculation or Speculation(),
            listens_along=hear is not None,
        )
        self._partial = Transcript("", complete=False)
        self._resuming = False  # did the speech under way begin so soon after a commit that it may belong to it?
        self._over_reply = False  # did it begin while we spoke?
        self._began_ns = 0
        self._along = 0  # the utterance that the recogniser hears along
        self._supposed_ns = 0  # the last voiced sample before the silence that a second reading was asked for
        self._deaf_frames = 0
        self._listens = False
        self._forgotten = 0  # the last utterance of somebody who has left
        self._aside: set[asyncio.Task[None]] = set()  # a prefill, a second opinion and a second reading

    @property
    def busy(self) -> bool:
        """Is a turn being answered?"""
        return self.turns.busy

    @property
    def speaking(self) -> bool:
        """Does somebody speak, or have they only just stopped?"""
        return self._endpointer.speech_ns > 0

    @property
    def quiet(self) -> bool:
        """Does nobody speak, is nothing being answered, and does nothing wait for a yes?"""
        waits = self.speaking or self._answering.expects is Expect.YES_NO
        return self._listens and not (self.busy or waits)

    async def announce(self, text: str) -> str:
        """Say something unasked, unless a turn is being answered; then listen as after a reply. Returns what was heard of it.

        It can be spoken over like any reply.
        """
        said = await self.turns.announce(text)
        if said:
            self._attention.addressed(now_ns())
        return said

    @property
    def attention(self) -> Attention:
        """When it listens."""
        return self._attention

    def glance(self) -> Glance:
        """What a screen shows now. Reads and changes nothing, so it may be asked at any time."""
        turn, speaks = self.turns.current, bool(self._endpointer.heard)
        if self.busy and turn is not None:
            audible = turn.first_audible_ns is not None and turn.first_audible_ns <= now_ns()
            doing = Doing.SPEAKING if audible else Doing.THINKING
        elif not self._attention.awake:
            doing = Doing.ASLEEP
        else:
            doing = Doing.HEARING if speaks else Doing.LISTENING
        if doing is Doing.HEARING:
            return Glance(doing, self._endpointer.number, self._partial.text)
        if turn is None or turn.utterance.number <= self._forgotten:
            return Glance(doing)
        return Glance(doing, turn.utterance.number, turn.question, turn.heard(self.turns.speaker.played_ns))

    async def listen(self, heard: AsyncIterable[AudioChunk], speaker: Speaker) -> None:
        """Take the microphone's audio until it ends, answer through `speaker`, then let the last reply finish.

        A cancel ends the turn under way and writes its record.
        """
        self._vad.reset()
        self.turns.speaker = speaker
        self._listens = True
        try:
            async for chunk in heard:
                for frame in self._framer.feed(chunk):
                    await self._take(frame)
                    self.turns.look()
                await self._take_part(chunk.ended_ns)
            if isinstance(unended := self._endpointer.finish(), Utterance):
                await self._ended(unended)
            await self.turns.ended()
        finally:
            self._listens = False
            await self.turns.interrupt()
            await self.turns.guesses.drop()
            for task in self._aside:
                task.cancel()

    async def forget(self) -> None:
        """Whoever was there has left: forget what was said and how they speak, and let no screen show it any more."""
        if self.turns.current is not None:
            self._forgotten = self.turns.current.utterance.number
        self.turns.history = ()
        self._endpointer.forget_speaker()
        await self._answering.forget()

    async def _take(self, frame: AudioChunk) -> None:
        if self.busy and not self._manners.barge_in:
            return
        attention, endpointer = self._attention, self._endpointer
        hears = attention.hears(now_ns())
        if self.busy:
            attention.spoke(now_ns())
        if endpointer.heard and hears:
            before = () if self._along == endpointer.number else endpointer.heard  # woken in the middle of it
            await self._listen_along((*before, frame))
        probability = await self._probability(frame)
        endpointer.own_voice, endpointer.held = self.busy, attention.held
        event = endpointer.feed(frame, probability, self._words())
        if attention.ends_turn() and event is Speaking.GOES_ON:
            event = endpointer.finish()
        if event is Speaking.STARTED and hears:
            await self._somebody_speaks()
        if self.busy:
            await self._spoken_over(frame, probability)
        if isinstance(event, Utterance):
            await self._ended(event)
        elif not self.busy and event is Speaking.GOES_ON and attention.listening(now_ns()):
            attention.spoke(now_ns())
            self._guess()
        elif event is Speaking.NOISE:
            await self.turns.guesses.drop()

    async def _take_part(self, heard_ns: int) -> None:
        """What has come of the next frame may end the turn: that is up to half a frame sooner."""
        if self.busy and not self._manners.barge_in:
            return
        event = self._endpointer.feed_part(self._framer.rest, heard_ns, self._words())
        if isinstance(event, Utterance):
            await self._ended(event)
        elif event is Speaking.NOISE:
            await self.turns.guesses.drop()

    async def _somebody_speaks(self) -> None:
        """While the person speaks no due time runs: wake what may be needed, and listen along."""
        self._partial = Transcript("", complete=False)
        turn = self.turns.current
        self._over_reply, self._began_ns = self.busy, now_ns()
        self._resuming = turn is not None and now_ns() - turn.committed_ns <= self._endpointer.rule.rejoin_ns
        self._endpointer.expect(self._answering.expects)
        self.turns.guesses.new_turn()
        for stage in self._stages:
            stage.probe()
        if not self.busy:
            self._beside(self._answering.prefill(self.turns.history))
        await self._listen_along(self._endpointer.heard)

    def _words(self) -> Transcript:
        """The words so far: the recogniser's that listens along, or those of the candidate that heard all of this voice."""
        if self._hear is not None:
            return self._partial
        running = self.turns.guesses.running
        if running is None or running.transcript is None:
            return Transcript("", complete=False)
        return running.transcript if running.utterance.ended_ns == self._endpointer.last_voiced_ns else self._partial

    def _guess(self) -> None:
        """Prepare the reply to what was said so far, if that may be all of it."""
        endpointer = self._endpointer
        silent_frames = endpointer.silent_frames
        if endpointer.speech_ns < 2 * FRAME_NS:  # as long as this it may be a click
            return
        if silent_frames == 2 and self._turn_model is not None:
            self._beside(self._second_opinion(endpointer.so_far(), self._turn_model))
        partial = self._partial
        doubtful = not partial.text or (partial.complete and partial.may_go_on)  # refused, or only a greeting
        if (
            doubtful
            and silent_frames > 0
            and self._hear is not None
            and self._suppose is not None
            and endpointer.last_voiced_ns != self._supposed_ns
        ):
            self._supposed_ns = endpointer.last_voiced_ns
            self._beside(self._second_reading(self._suppose))
        if self._hear is None:
            likely = silent_frames == 1
        elif self._partial.complete:
            likely = silent_frames > 0 or endpointer.stable_ns >= endpointer.rule.stable_ns
        elif not self._partial.text:
            likely = silent_frames == 2
        else:
            likely = silent_frames * FRAME_NS == _GUESS_UNFINISHED_NS
        if likely and self.turns.speculation.allowed(now_ns(), throttled=self._throttled()):
            words = self._partial if self._hear is not None else None
            self.turns.guesses.prepare(endpointer.so_far, endpointer.last_voiced_ns, words)

    async def _second_reading(self, suppose: Suppose) -> None:
        number, last_voiced_ns = self._endpointer.number, self._endpointer.last_voiced_ns
        words = await suppose(number)
        if (number, last_voiced_ns) == (self._endpointer.number, self._endpointer.last_voiced_ns):
            self._endpointer.suppose(words)

    async def _second_opinion(self, so_far: Utterance, model: TurnModel) -> None:
        probability = await model(so_far.samples)
        if so_far.ended_ns == self._endpointer.last_voiced_ns:
            self._endpointer.turn_over(probability)

    def _beside(self, work: Awaitable[None]) -> None:
        """Run work that nobody waits for, and whose failure costs nothing; not more than three at a time."""

        async def quietly() -> None:
            with suppress(BackendError):
                await work

        if len(self._aside) < 3:
            task = asyncio.ensure_future(quietly())
            self._aside.add(task)
            task.add_done_callback(self._aside.discard)
        elif asyncio.iscoroutine(work):
            work.close()

    async def _spoken_over(self, frame: AudioChunk, probability: float) -> None:
        """A frame during the reply: duck, then stop or go on."""
        turn = self.turns.current
        words = self._partial.text if self._hear is not None and self._endpointer.heard else ""
        act = self._interruption.feed(
            speech=probability >= self._interruption_rule.threshold,
            echo_share=frame.echo_share,
            words=words,
            own_words=turn.words if turn is not None else "",
        )
        if act is Act.DUCK:
            self.turns.speaker.duck(DUCKED_GAIN)
        elif act is Act.RESUME:
            self.turns.speaker.duck(1.0)
        elif act is Act.STOP:
            await self._take_over()

    async def _take_over(self) -> None:
        """The person has the floor. If they had only paused, both halves become one turn."""
        rejoined = self._resuming and self._endpointer.rejoin()
        self._resuming = False
        await self.turns.interrupt(rolled_back=rejoined)
        if rejoined:
            self._over_reply = False  # from here on it is a turn like any other
            self._partial = Transcript("", complete=False)
            await self._listen_along(self._endpointer.heard)

    async def _ended(self, utterance: Utterance) -> None:
        """A turn has ended. Begun over a reply it counts only if it has words, and not our own; asleep only if it wakes us."""
        transcript: Transcript | None = None
        always = Way.ALWAYS in self._attention.rule.ways
        over_reply, current = self._over_reply, self.turns.current
        if over_reply or not always:
            if not self._attention.hears(now_ns()):
                self._attention.heard("", now_ns())
                return
            with suppress(BackendError):  # recorded by the stage
                transcript = await self.turns.words_of(utterance)
            words = transcript.text if transcript is not None else ""
            cough = not words and (self.busy or utterance.ended_ns - self._began_ns < _COUGH_NS)
            if over_reply and (cough or (current is not None and is_echo(words, current.words))):
                await self.turns.guesses.drop()
                return
            asked = words if always else self._attention.heard(words, now_ns())
            if asked is None:
                await self.turns.guesses.drop()
                return
            if transcript is not None and asked != words:
                transcript = Transcript(asked, transcript.complete) if asked else _CALLED
        self._interruption.forget()
        await self.turns.commit(
            utterance, words=self._words().text, transcript=transcript, ended=self._endpointer.ended
        )

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

    async def _listen_along(self, frames: tuple[AudioChunk, ...]) -> None:
        """Let the recogniser hear what was just said, so that the words are ready when the turn ends."""
        self._along = self._endpointer.number
        if self._hear is not None:
            asked_ns = now_ns()
            try:
                for frame in frames:
                    self._partial = await self._hear(self._endpointer.number, frame.samples)
            except BackendError as failure:  # the turn carries all of its samples, so it can still be understood
                self._partial = Transcript("", complete=False)
                self._note("hear", asked_ns, failure)

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
