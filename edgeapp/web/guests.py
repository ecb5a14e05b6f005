"""The device's engines, lent to programs on the network: words of a recording, sound of a text, a reply.

Every protocol in this folder does its work through `Guests`. Recogniser and voice activity are of their own, since each
microphone needs its own state; language model and voice are the device's. All run on the device's lanes, and nothing that a
guest says or asks is sent anywhere, recorded or remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.clock import now_ns
from edgeapp.core.events import (
    MS,
    SAMPLE_RATE_HZ,
    AudioChunk,
    BackendError,
    Clause,
    Prompt,
    Speech,
    Transcript,
    Utterance,
)
from edgeapp.voice.answering import Answering, Question
from edgeapp.voice.clauses import clauses_of
from edgeapp.voice.conversation import VoiceActivity
from edgeapp.voice.endpoint import FRAME_SAMPLES, Endpointer, EndpointRule, Framer
from edgeapp.web.courtesy import Courtesy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.stage import Backend
    from edgeapp.core.stream import Stream

RECORDING_MAX_S: Final = 300
"""Of one recording: 10 MB, and about half a minute of work for the recogniser that ships."""

_LEAD: Final = SAMPLE_RATE_HZ * 2 // 5  # samples before a recording: more than the pre-roll of an utterance
_FIRST_NS: Final = 2_000 * MS  # a guest's answer has no due time; the lane is promised as if it had this one
_NOTHING: Final = Transcript("", complete=False)


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said between two pauses of a recording."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Guests:
    """Lives on one loop."""

    stt: Backend[Utterance, Transcript]
    vad: VoiceActivity
    tts: Backend[Clause, Stream[Speech]]
    llm: Backend[Prompt, Stream[str]]
    answering: Callable[[], Answering]
    """A new one for each question: nothing of one guest is left for the next."""

    courtesy: Courtesy
    rule: EndpointRule
    language: str = "en"
    _hearing: asyncio.Lock = field(default_factory=asyncio.Lock)  # one recording at a time: the detector has one state

    async def transcribe(self, samples: NDArray[np.int16]) -> list[Segment]:
        """The words of mono samples at 16 kHz, shape (n,), cut at the pauses. Raises BackendError."""
        async with self._hearing:
            found, lead_s = [], _LEAD / SAMPLE_RATE_HZ
            async for utterance in self._utterances(_in_a_room(samples)):
                await self.courtesy.turn()
                words = await self.stt(utterance)
                end_s = max(0.0, utterance.ended_ns / 1e9 - lead_s)
                start_s = max(0.0, end_s - len(utterance.samples) / SAMPLE_RATE_HZ)
                if words.text:
                    found.append(Segment(round(start_s, 3), round(end_s, 3), words.text))
            return found

    async def _utterances(self, samples: NDArray[np.int16]) -> AsyncGenerator[Utterance, None]:
        """What was said, as it would be cut at a microphone; times count from the recording's beginning."""
        endpointer = Endpointer(self.rule)
        self.vad.reset()
        whole = AudioChunk(samples, len(samples) * 1_000_000_000 // SAMPLE_RATE_HZ)
        for number, frame in enumerate(Framer().feed(whole)):
            if number % (SAMPLE_RATE_HZ // FRAME_SAMPLES) == 0:
                await self.courtesy.turn()
            event = endpointer.feed(frame, await self.vad(frame.samples), _NOTHING)
            if isinstance(event, Utterance):
                yield event
        if isinstance(event := endpointer.finish(), Utterance):
            yield event

    async def speak(self, text: str) -> AsyncGenerator[Speech, None]:
        """The sound of a text, clause by clause as it is made; at most 1,200 characters are spoken. Raises BackendError."""
        for clause in clauses_of(text):
            await self.courtesy.turn()
            async with aclosing(await self.tts(Clause(clause))) as parts:
                async for part in parts:
                    yield part

    async def complete(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        """The model's reply, piece by piece, as it is: nothing is added and nothing checked. Raises BackendError.

        While somebody speaks to the device it pauses, and goes on from what it has said.
        """
        said, left = prompt.said, prompt.max_tokens
        while left > 0:
            await self.courtesy.turn()
            async with aclosing(await self.llm(replace(prompt, said=said, max_tokens=left))) as pieces:
                async for piece in pieces:
                    said, left = said + piece, left - 1
                    yield piece
                    if self.courtesy.occupied:
                        break
                else:
                    return

    @property
    def takes_instructions(self) -> bool:
        """Does the language model follow instructions?"""
        return bool(getattr(self.llm, "takes_instructions", False))

    def count_tokens(self, text: str) -> int:
        """As the language model counts; four characters are a token where it does not say, or the text is longer than any it reads."""
        count = getattr(self.llm, "count_tokens", None)
        try:
            return int(count(text)) if count is not None else -(-len(text) // 4)
        except BackendError:
            return -(-len(text) // 4)

    async def answer(
        self, text: str, turns: tuple[tuple[str, str], ...], instructions: str = ""
    ) -> AsyncGenerator[str, None]:
        """What the device would say to a question, clause by clause, checked against its facts. Raises BackendError.

        Tools are not called: what a guest asks has no side effect. A model that follows no instructions gets none.
        """
        committed = asyncio.Event()
        committed.set()
        await self.courtesy.turn()
        told = instructions if self.takes_instructions else ""
        question = Question(text, turns, "guest", lambda _: now_ns() + _FIRST_NS, committed, instructions=told)
        async with aclosing(self.answering().answer(question)) as clauses:
            async for clause in clauses:
                yield clause
                await self.courtesy.turn()


def _in_a_room(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """A recording as a microphone would give it: with the faint noise of a room, also before it begins.

    The recogniser learns the noise from what comes before the speech. A file may begin with speech, or be digitally silent.
    """
    room = np.random.default_rng(0).integers(-3, 4, _LEAD + len(samples), np.int16)
    room[_LEAD:] = np.clip(samples.astype(np.int32) + room[_LEAD:], -32768, 32767)
    return room
