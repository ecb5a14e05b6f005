"""What one voice turn costs beyond its stages' work: real loop, real threads, scripted engines whose work is timed.

Run in a process of its own by `edgeapp bench core`: `python -m edgeapp.bench.own_cost 300` prints the costs in ms as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk
from edgeapp.core.lane import Lane
from edgeapp.core.record import AnyRecord, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.engines import fake
from edgeapp.voice.answering import Answering, AnswerRule
from edgeapp.voice.content import Content
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import FRAME_SAMPLES


class Mute:
    """A loudspeaker in which everything is audible at once and over at once."""

    latency_ns = 0

    def __init__(self) -> None:
        self.played_ns = 0

    async def play(self, samples: NDArray[np.int16], sample_rate_hz: int) -> int:
        """Audible now, and heard."""
        self.played_ns += len(samples) * 1_000_000_000 // sample_rate_hz
        return now_ns()

    def duck(self, gain: float) -> None:
        """Nobody hears it."""

    def cut(self) -> int:
        """Nothing is queued."""
        return self.played_ns

    async def drained(self) -> int:
        """Nothing is queued."""
        return self.played_ns


async def own_costs_ms(*, turns: int) -> list[float]:
    """Run `turns` turns; each value is first audible minus the last captured sample minus the work in the lanes."""
    costs_ms: list[float] = []
    engines: list[Any] = []
    captured_ns = worked_ns = 0

    def worked() -> int:
        return sum(engine.worked_ns for engine in engines)

    def sink(record: AnyRecord) -> None:
        if isinstance(record, TurnRecord) and record.first_audible_ns is not None:
            costs_ms.append((record.first_audible_ns - captured_ns - (worked() - worked_ns)) / MS)

    async def speak() -> AsyncIterator[AudioChunk]:
        nonlocal captured_ns, worked_ns
        loud = (6_000 * np.sin(np.arange(FRAME_SAMPLES) * 0.3)).astype(np.int16)
        silent = np.zeros(FRAME_SAMPLES, np.int16)
        for _ in range(turns):
            for samples in (silent, *[loud] * 8, silent, silent):
                ended_ns = clock[0] = clock[0] + 32 * MS
                captured_ns, worked_ns = now_ns(), worked()
                yield AudioChunk(samples, ended_ns)
            while conversation.busy:
                await asyncio.sleep(0.001)

    clock = [0]

    async with AsyncExitStack() as stack:

        async def engine(kind: Any, **script: Any) -> tuple[Any, Lane]:
            lane = Lane(kind)
            stack.callback(lane.close)
            made = await stack.enter_async_context(fake.load(fake.Options(kind=kind, takes_ms=2, **script), lane))
            engines.append(made)
            return made, lane

        def stage(name: str, pair: tuple[Any, Lane]) -> Stage[Any, Any]:
            return Stage(name, pair[0], pair[1], local_prior_ns=20 * MS, sink=sink)

        vad = await engine("vad")
        stt = await engine("stt")
        llm = stage("llm", await engine("llm", texts=("there.",)))
        conversation = Conversation(
            vad=vad[0],
            stt=stage("stt", stt),
            answering=Answering(
                llm, lambda: Content("A shop", (), {}, {}, None), rule=AnswerRule(closed_intents=False, grounded=False)
            ),
            tts=stage("tts", await engine("tts")),
            budget=Budget(200 * MS, {"stt": 10 * MS, "llm": 60 * MS, "tts": 20 * MS}),
            sink=sink,
            hear=stt[0].hear,
        )
        await conversation.listen(speak(), Mute())
    return costs_ms


if __name__ == "__main__":
    print(json.dumps([round(cost_ms, 3) for cost_ms in asyncio.run(own_costs_ms(turns=int(sys.argv[1])))]))
