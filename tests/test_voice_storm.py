"""The voice's storm: seeded conversations in which people pause, resume and interrupt, engines are slow or fail, and the
loudspeaker is pulled out. Promises: every turn has its record, nobody's voice is over another's, something is audible in
time whenever anything can be, and nothing is left running.
"""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from sim import run
from talk import Talk
from worlds import Mouth

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, DeviceError
from edgeapp.core.record import TurnRecord
from edgeapp.engines import fake
from edgeapp.voice.turn import GRACE_NS
from edgeapp.voice.turns import Manners

ENDINGS = {"answered", "not understood", "interrupted", "rolled back", "failed"}
TEXTS = ("where is the hammer", "hello", "", "how much is the power drill", "stop", "what do you mean by that")
REPLIES = (
    "it is there, on the left.",
    "yes.",
    "I do not know that, but somebody will come, and then you may ask again.",
)


class Plug(Mouth):
    """A loudspeaker that is pulled out and plugged in again at given times."""

    def __init__(self, gone_ms: list[tuple[float, float]]) -> None:
        super().__init__()
        self.gone_ms = gone_ms

    def here(self) -> None:
        if any(start <= now_ns() / MS < end for start, end in self.gone_ms):
            self.cut()
            raise DeviceError("the speaker is gone")

    async def play(self, samples: NDArray[np.int16], sample_rate_hz: int) -> int:
        self.here()
        at_ns = await super().play(samples, sample_rate_hz)
        self.here()
        return at_ns

    async def drained(self) -> int:
        self.here()
        return await super().drained()


def segments(dice: random.Random, turns: int) -> list[tuple[int, bool]]:
    """What the microphone hears: people who pause, are short, go on, interrupt, and sometimes make a noise."""
    heard: list[tuple[int, bool]] = []
    for _ in range(turns):
        heard.append((dice.randrange(96, 1_500, 16), False))
        for _ in range(dice.choice([0, 0, 0, 1, 1, 2])):
            heard += [(dice.randrange(32, 900, 16), True), (dice.randrange(96, 700, 16), False)]
        heard.append((dice.randrange(32, 1_600, 16), True))
        if dice.random() < 0.6:
            heard.append((dice.randrange(2_000, 6_000, 16), False))
    return [*heard, (30_000, False)]


async def world(seed: int, turns: int) -> int:
    """Hold one conversation and check its promises; returns how many turns were recorded."""
    dice = random.Random(seed)
    heard = segments(dice, turns)
    length_ms = sum(ms for ms, _ in heard)
    starts = [dice.uniform(0, length_ms) for _ in range(dice.choice([0, 0, 1, 3]))]
    mouth = Plug([(start, start + dice.uniform(50, 4_000)) for start in starts])
    talk = Talk(mouth)

    def engine(kind: str, **script: object) -> fake.Options:
        takes_ms, fails = dice.choice([1, 5, 5, 20, 300, 900]), dice.choice([0, 0, 0, 2, 5])
        return fake.Options(kind=kind, takes_ms=takes_ms, fail_every=fails, **script)  # type: ignore[arg-type]

    records = await talk.hold(
        *heard,
        stt=engine("stt", texts=dice.sample(TEXTS, 4), word_ms=dice.choice([0, 96, 160]), sentences=("where is",)),
        llm=engine("llm", texts=REPLIES),
        tts=engine("tts"),
        manners=Manners(log_text=True, barge_in=dice.random() < 0.8),
        guesses=dice.random() < 0.9,
    )
    _check(talk, mouth, records)
    assert not talk.conversation.busy
    await asyncio.sleep(5)  # work that was abandoned in a lane's thread runs to its end
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [lane for lane in talk.lanes if lane._slots or lane._running] == []
    return len(records)


def _check(talk: Talk, mouth: Plug, records: list[TurnRecord]) -> None:
    assert {each.outcome for each in records} <= ENDINGS
    for each, following in pairwise(records):
        goes_on = each.outcome == "rolled back"
        assert (following.number == each.number) if goes_on else (following.number > each.number), (each, following)
    assert records[-1].outcome != "rolled back"
    for (_, ended_ms), (begun_ms, _) in pairwise(sorted(mouth.log)):
        assert ended_ms <= begun_ms
    for turn in records:
        unplugged = any(start < turn.ended_ns / MS and end > turn.committed_ns / MS for start, end in mouth.gone_ms)
        if turn.outcome in {"answered", "not understood", "failed"} and not unplugged:
            assert turn.first_audible_ns is not None
            assert turn.first_audible_ns <= max(turn.due_ns, turn.committed_ns + GRACE_NS)
    assert len(talk.conversation.turns.history) <= 4


@pytest.mark.parametrize("seed", range(30))
def test_a_conversation_in_bad_weather_keeps_its_promises(seed: int) -> None:
    assert run(world(seed, turns=8))


@pytest.mark.slow
def test_ten_thousand_turns_keep_their_promises() -> None:
    turns = worlds = 0
    while turns < 10_000:  # ends: every world has turns
        turns += run(world(1_000 + worlds, turns=20))
        worlds += 1
    print(f"\n{turns} turns in {worlds} conversations, 0 broken promises")
