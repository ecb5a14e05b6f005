"""Answers of the near edge's language model that are cut in their middle: does the device go on without losing a word?

A whole conversation with a scripted ear and voice asks a question; the answer streams from Triton through the relay and a
cutter that lets so many pieces pass. Then the link is reset, or falls silent for good. What was spoken in the end is
compared, word for word, with what the device's own model says alone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from edgeapp.bench.own_cost import Mute
from edgeapp.bench.relay_process import relaying
from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Why
from edgeapp.core.policies import POLICIES
from edgeapp.core.record import AnyRecord, Record, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.engines import fake, llm_ctranslate2, triton
from edgeapp.models.store import path_of
from edgeapp.near_edge.serve import Server
from edgeapp.voice.answering import Answering, AnswerRule
from edgeapp.voice.content import facts, load_content
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import FRAME_SAMPLES
from edgeapp.voice.relevance import relevant
from edgeapp.voice.turns import Manners

Cut = Literal["reset", "silence"]
QUESTIONS: Final = ("when do you open on saturday", "how much is the power drill", "what is at the rear left")
_CONTENT: Final = Path(__file__).parent.parent / "assets" / "kiosk.toml"
_BUDGET_MS: Final = 5_000  # the first piece may take a connection through the radio; words are what is measured here
_TURN_S: Final = 30.0
_PIECE: Final = b"text"  # the name of the output: it stands once in each piece's message
_SHRED_BYTES: Final = 60  # less than a message, so that the cut is between two pieces
_DELIVER_S: Final = 0.25  # what was let through is through the radio, too, before the cut


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """One answer that was cut."""

    question: str
    how: Cut
    after: int
    """So many pieces were let through."""

    alone: str
    """What the device says by itself."""

    said: str
    """What was spoken."""

    sides: tuple[str, ...]
    """Where the parts of the answer came from."""

    @property
    def in_the_middle(self) -> bool:
        """Did the answer begin there and end here?"""
        return self.sides == ("remote", "local")

    @property
    def wrong_words(self) -> int:
        """Words that are not where the device alone has them, and words that are missing or too many."""
        alone, said = self.alone.split(), self.said.split()
        return sum(a != b for a, b in zip(alone, said, strict=False)) + abs(len(alone) - len(said))


async def cut_answers(
    server: Server, *, weather: str, seed: int, quick: bool, tell: Callable[[], None]
) -> list[CutAnswer]:
    """Cut every question's answer after 1, 2, 3, ... pieces (a few of them if quick), by reset and by silence in turns."""
    every, found = facts(load_content(_CONTENT)), []
    async with AsyncExitStack() as stack:
        lane = Lane("llm")
        stack.callback(lane.close)
        options = llm_ctranslate2.Options(model=str(path_of("kiosk-lm")))
        here = await stack.enter_async_context(llm_ctranslate2.load(options, lane))
        for question in QUESTIONS[: 1 if quick else None]:
            prompt = Prompt(relevant(every, question, 3), (), question)
            pieces = [piece async for piece in await here(prompt)]
            for number, after in enumerate(_positions(len(pieces), quick=quick)):
                how: Cut = "silence" if number % 2 else "reset"
                async with _cutter(server.url, after, how) as url, relaying(url, weather=weather, seed=seed) as link:
                    said, sides = await _converse(here, lane, f"127.0.0.1:{link.port}", prompt)
                found.append(CutAnswer(question, how, after, _words("".join(pieces)), said, sides))
                tell()
    return found


def _positions(pieces: int, *, quick: bool) -> Sequence[int]:
    return sorted({1, pieces // 2, pieces - 1} if quick else range(1, pieces))


def _words(text: str) -> str:
    return " ".join(text.split())


@dataclass
class _Cutter:
    """Everything up; down so many pieces, and then the cut. Further connections (a reconnect) come to nothing, too."""

    to: tuple[str, int]
    after: int
    how: Cut
    passed: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        edge_reader, edge_writer = await asyncio.open_connection(*self.to)
        up = asyncio.ensure_future(_copy(reader, edge_writer))
        try:
            seen = b""
            while data := await edge_reader.read(_SHRED_BYTES):
                seen += data
                self.passed = seen.count(_PIECE)
                if self.passed > self.after:
                    break
                writer.write(data)
                await writer.drain()
            await asyncio.wait_for(self.over.wait(), _DELIVER_S if self.how == "reset" else None)
        except (ConnectionError, TimeoutError):
            return
        finally:
            up.cancel()
            for each in (edge_writer, writer):
                _reset(each)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # the other direction ends the connection


@asynccontextmanager
async def _cutter(to: str, after: int, how: Cut) -> AsyncIterator[str]:
    host, _, port = to.rpartition(":")
    cutter = _Cutter((host, int(port)), after, how)
    server = await asyncio.start_server(cutter.carry, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        cutter.over.set()


async def _converse(here: Any, lane: Lane, url: str, prompt: Prompt) -> tuple[str, tuple[str, ...]]:
    """One turn: what was spoken, and where the parts of the answer came from."""
    records: list[AnyRecord] = []

    async with AsyncExitStack() as stack:
        there: Any = await stack.enter_async_context(triton.load(triton.Options(url=url, kind="llm"), lane))

        async def scripted(kind: Any, **options: Any) -> tuple[Any, Lane]:
            own = Lane(kind)
            stack.callback(own.close)
            return await stack.enter_async_context(fake.load(fake.Options(kind=kind, takes_ms=0, **options), own)), own

        def stage(name: str, engine: Any, own: Lane, **more: Any) -> Stage[Any, Any]:
            made = Stage[Any, Any](name, engine, own, local_prior_ns=20 * MS, sink=records.append, **more)
            stack.push_async_callback(made.aclose)
            return made

        async def remote(asked: Prompt) -> Stream[str]:  # without a probe, whose piece would be counted, too
            answer: Stream[str] = await there(asked)
            return answer

        ear = await scripted("stt", texts=(prompt.question,))
        conversation = Conversation(
            vad=(await scripted("vad"))[0],
            stt=stage("stt", *ear),
            answering=Answering(
                stage("llm", here, lane, remote=remote, link=Link("edge"), placer=POLICIES["remote"], policy="remote"),
                lambda: load_content(_CONTENT),
                rule=AnswerRule(closed_intents=False, grounded=False),
            ),
            tts=stage("tts", *await scripted("tts")),
            budget=Budget(_BUDGET_MS * MS, {"stt": 10 * MS, "llm": (_BUDGET_MS - 100) * MS, "tts": 20 * MS}),
            sink=records.append,
            hear=ear[0].hear,
            manners=Manners(log_text=True, barge_in=False),
        )
        async with asyncio.timeout(_TURN_S):
            await conversation.listen(_spoken(conversation), Mute())
    turn = next(each for each in records if isinstance(each, TurnRecord))
    calls = [each for each in records if isinstance(each, Record) and each.stage == "llm"]
    assert all(each.why in {Why.POLICY, Why.RESUMED} for each in calls)
    return turn.said, tuple(each.side for each in calls)


async def _spoken(conversation: Conversation) -> AsyncIterator[AudioChunk]:
    """Somebody speaks for a quarter of a second that has just passed, and then waits for the answer."""
    loud = (6_000 * np.sin(np.arange(FRAME_SAMPLES) * 0.3)).astype(np.int16)
    silent = np.zeros(FRAME_SAMPLES, np.int16)
    frames = (silent, *[loud] * 8, silent, silent, silent)
    began_ns = now_ns() - len(frames) * 32 * MS
    for number, samples in enumerate(frames, 1):
        yield AudioChunk(samples, began_ns + number * 32 * MS)
    while conversation.busy:
        await asyncio.sleep(0.002)
