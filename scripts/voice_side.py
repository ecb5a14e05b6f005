"""One side of a comparison of voices: a process that hears recordings through the virtual device and says what came of them.

`scripts/bench_pipecat.py` starts one such process a side and asks them in turns, so that the machine's noise hits all of
them. Both sides hear through `edgeapp.devices.files.VirtualAudio` (blocks of 16 ms at real-time pace, the same faint
noise around the speech) and speak through its loudspeaker (20 ms of buffers). What is measured is read off that
loudspeaker alone, so it cannot depend on what a side believes of itself; only the words and the instant at which a side
took the question for finished are the side's own account.

A side is asked by one line of JSON on stdin, {"ask": index of the recording}, and answers with one on stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final

from edgeapp import config as settings
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.record import AnyRecord, TurnRecord
from edgeapp.demo.kiosk import Question, recorded_questions
from edgeapp.devices.files import VirtualAudio
from edgeapp.voice.speaker import onset

BLOCK_SAMPLES: Final = 256
LATENCY_MS: Final = 20.0

_LOOK_S: Final = 0.01
_SETTLE_S: Final = 1.0  # a side has heard some silence, and caught up with the microphone, before the first question
_QUIET_NS: Final = 600 * MS  # after this much silence a reply is over: pauses between clauses are shorter
_LIMIT_NS: Final = 8_000 * MS  # from the last voiced sample: a question that is not answered by then is unanswered
_REPLY_MAX_NS: Final = 30_000 * MS  # no reply of the kiosk is a third as long


def kiosk() -> settings.Config:
    """What both sides take their engines and their manners from: the defaults of `edgeapp run` but for two.

    The virtual device has no echo to cancel. And the language model answers every question: with closed intents most of
    these would need none, on either side.
    """
    return settings.Config(
        app="kiosk",
        audio=settings.Audio(echo="none"),
        voice=settings.Voice(closed_intents=False),
        records=settings.Records(log_text=True),
    )


@dataclass(slots=True)
class Taken:
    """A question as a side took it."""

    committed_ns: int
    """When it was taken for finished."""

    heard: str
    said: str = ""
    opener: bool = False
    """Was something said first that is no answer?"""

    answer_ns: int | None = None
    """When the answer itself began, if an opener was said before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question."""

    question: str
    heard: str
    """The words the side understood; those of several turns are joined by a stroke."""

    said: str
    took_ms: float | None
    """From the truly last voiced sample to the first audible one of the reply; None if nothing was heard."""

    answer_ms: float | None
    """The same to the answer itself: later than `took_ms` where an opener came first, by the side's own account."""

    opener: bool
    cut_off: bool
    """Did the side take the question for finished before its last voiced sample, or speak before it?"""


Open = Callable[[list[Taken]], AbstractAsyncContextManager[VirtualAudio]]
"""Opens a side and gives the device it listens on; while it is open it appends every question it takes to the list."""


def device() -> VirtualAudio:
    """The microphone and the loudspeaker of every side. Its time runs from here on, so make it when all is loaded."""
    return VirtualAudio(block_samples=BLOCK_SAMPLES, latency_ms=LATENCY_MS)


async def ask(audio: VirtualAudio, taken: list[Taken], question: Question) -> Answer:
    """Say one question to the side and listen until its reply is over."""
    speaker = audio.speaker
    sounds_before, taken_before, played_ns = len(speaker.recorded()), len(taken), speaker.played_ns
    last_voiced_ns = await audio.say(question.samples, question.last_voiced)
    spoken, quiet_since_ns = False, now_ns()
    limit_ns = last_voiced_ns + _LIMIT_NS
    while now_ns() < limit_ns and not (spoken and now_ns() - quiet_since_ns > _QUIET_NS):
        if speaker.played_ns > played_ns:
            if not spoken:
                limit_ns = now_ns() + _REPLY_MAX_NS
            spoken, played_ns, quiet_since_ns = True, speaker.played_ns, now_ns()
        await asyncio.sleep(_LOOK_S)
    audible_ns = None
    for sound in speaker.recorded()[sounds_before:]:
        if (silent := onset(sound.samples)) < len(sound.samples):
            audible_ns = sound.start_ns + silent * 1_000_000_000 // sound.rate_hz
            break
    turns = taken[taken_before:]
    took_ms = None if audible_ns is None else (audible_ns - last_voiced_ns) / MS
    opener = next((turn for turn in turns if turn.opener), None)
    answer_ms = took_ms
    if opener is not None:
        answer_ms = None if opener.answer_ns is None else (opener.answer_ns - last_voiced_ns) / MS
    early = took_ms is not None and took_ms < 0
    return Answer(
        question=question.text,
        heard=" / ".join(turn.heard for turn in turns if turn.heard),
        said=" / ".join(turn.said for turn in turns if turn.said),
        took_ms=took_ms,
        answer_ms=answer_ms,
        opener=opener is not None,
        cut_off=early or any(turn.committed_ns < last_voiced_ns for turn in turns),
    )


@asynccontextmanager
async def ours(taken: list[Taken]) -> AsyncIterator[VirtualAudio]:
    """The kiosk as `edgeapp run` opens it, on the virtual device."""

    def sink(record: AnyRecord) -> None:
        if isinstance(record, TurnRecord):
            # What was rolled back was taken too early, but it was not understood as a question of its own.
            words = ("", "") if record.outcome == "rolled back" else (record.heard, record.said)
            taken.append(Taken(record.committed_ns, *words, opener=record.opener, answer_ns=record.first_reply_ns))

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        conversation = await open_conversation(kiosk(), Parts(stack, sink))
        audio = device()
        group.create_task(conversation.listen(audio.heard(), audio.speaker))
        yield audio
        audio.hang_up()


async def serve(side: Open) -> None:
    """Answer the lines on stdin until it ends. The first question is for warming up: the asker throws its time away."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not break a line of JSON
    questions = recorded_questions()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    taken: list[Taken] = []  # one or two a question, and there are some hundred questions in the longest run
    async with side(taken) as audio:
        await asyncio.sleep(_SETTLE_S)
        print(json.dumps({"ready": True}), file=answers)
        while line := await lines.readline():
            asked = json.loads(line)
            print(json.dumps(asdict(await ask(audio, taken, questions[asked["ask"]]))), file=answers)


if __name__ == "__main__":
    asyncio.run(serve(ours))
