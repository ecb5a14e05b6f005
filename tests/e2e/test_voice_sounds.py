"""The whole kiosk, real engines, at real-time pace, on sounds that are no single person's question."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp import config as settings
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import SAMPLE_RATE_HZ
from edgeapp.core.record import AnyRecord, TurnRecord
from edgeapp.demo.kiosk import recorded_questions
from edgeapp.devices.files import VirtualAudio

pytestmark = pytest.mark.real_time

Samples = NDArray[np.int16]


def music(seconds: float) -> Samples:
    """Plucked chords and a drum at 120 beats a minute."""
    at, rng = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ, np.random.default_rng(1)
    sound = np.zeros(at.size)
    for beat, chord in enumerate([(220, 277, 330), (196, 247, 294), (175, 220, 262), (165, 208, 247)] * 2):
        since = at - beat / 2
        decay = np.where(since >= 0, np.exp(-np.maximum(since, 0) * 4), 0)
        for hz in chord:
            sound += sum(np.sin(2 * np.pi * hz * over * since) / over for over in (1, 2, 3)) * decay
        sound += rng.normal(size=at.size) * np.where(since >= 0, np.exp(-np.maximum(since, 0) * 60), 0) * 3
    return np.asarray(sound / np.abs(sound).max() * 12_000, np.int16)


async def hear(*sounds: Samples) -> list[TurnRecord]:
    """Let the kiosk hear each sound, and 2 s of silence after it."""
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        shown = settings.Config(app="kiosk", records=settings.Records(log_text=True))
        conversation = await open_conversation(shown, Parts(stack, records.append))
        audio = VirtualAudio()
        async with asyncio.TaskGroup() as both:
            both.create_task(conversation.listen(audio.heard(), audio.speaker))
            for sound in sounds:
                await audio.say(np.concatenate([sound, np.zeros(2 * SAMPLE_RATE_HZ, np.int16)]), len(sound))
                await asyncio.sleep(len(sound) / SAMPLE_RATE_HZ + 2)
            audio.hang_up()
    return [each for each in records if isinstance(each, TurnRecord)]


async def test_music_is_answered_with_no_fact_and_the_next_person_is_heard() -> None:
    question = recorded_questions()[1]
    *before, last = await hear(music(4), question.samples)
    assert all(each.heard == "" for each in before)
    assert (last.outcome, last.heard) == ("answered", question.text)


async def test_of_two_people_at_once_nothing_is_believed_that_neither_said() -> None:
    one, other = recorded_questions()[1], recorded_questions()[4]
    size = max(one.samples.size, other.samples.size)
    both = sum(np.pad(each.samples.astype(np.int32), (0, size - each.samples.size)) for each in (one, other))
    turns = await hear(np.clip(both, -32768, 32767).astype(np.int16))
    assert turns
    assert {each.heard for each in turns} <= {"", one.text, other.text}
