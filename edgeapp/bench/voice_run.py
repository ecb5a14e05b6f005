"""One conversation of the voice bench: the whole kiosk on a virtual full-duplex device, at real-time pace.

`alone` runs the same turns through the same engines without the application and without waiting: what the stages on the
critical path need when nothing else is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Final

import numpy as np

from edgeapp import config as settings
from edgeapp.apps.content_file import open_content
from edgeapp.apps.kiosk import Voice, open_conversation, open_voice
from edgeapp.apps.wiring import Parts
from edgeapp.bench.voice_score import Heard
from edgeapp.bench.voice_turns import SpokenTurn
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, Clause, Transcript, Utterance
from edgeapp.core.record import AnyRecord, Record, TurnRecord
from edgeapp.devices.files import VirtualAudio
from edgeapp.voice.answering import Question
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import FRAME_SAMPLES, Endpointer, Speaking
from edgeapp.voice.speaker import onset

LATENCY_MS: Final = 20.0
"""Of the virtual loudspeaker: what a sound card's buffers take."""

_TURN_LIMIT_S: Final = 12.0  # a turn that is not over by then is missed
_LOOK_S: Final = 0.01
_BLOCK: Final = 256  # samples that the virtual microphone gives at once


async def converse(
    turns: Sequence[SpokenTurn],
    config: settings.Config,
    *,
    seed: int,
    save: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[Heard]:
    """Say every turn to the device and wait for its answer. `save` is a stereo WAV: the person left, the device right."""
    records: list[AnyRecord] = []
    rng = np.random.default_rng(seed)
    said: list[tuple[SpokenTurn, int, int]] = []
    async with AsyncExitStack() as stack:
        conversation = await open_conversation(config, Parts(stack, records.append))
        audio = VirtualAudio(latency_ms=LATENCY_MS)
        async with asyncio.TaskGroup() as both:
            both.create_task(conversation.listen(audio.heard(), audio.speaker))
            await asyncio.sleep(0.5)
            for turn in turns:
                begun_ns = now_ns()
                said.append((turn, begun_ns, await audio.say(turn.samples, turn.last_voiced)))
                await answered(conversation, records, said[-1][2])
                advance()
                await asyncio.sleep(float(rng.uniform(0.3, 0.7)))
            audio.hang_up()
        if save is not None:
            audio.save(save)
    return heard_of(said, records)


async def answered(conversation: Conversation, records: Sequence[AnyRecord], last_voiced_ns: int) -> None:
    """Wait until a turn that was committed around its end is over."""
    for _ in range(round(_TURN_LIMIT_S / _LOOK_S)):
        done = any(isinstance(each, TurnRecord) and each.ended_ns > last_voiced_ns for each in records)
        if done and not conversation.busy:
            return
        await asyncio.sleep(_LOOK_S)


def heard_of(said: Sequence[tuple[SpokenTurn, int, int]], records: Sequence[AnyRecord]) -> list[Heard]:
    """Which records belong to which turn: those committed from its first sample until the next one's."""
    turns = [each for each in records if isinstance(each, TurnRecord)]
    calls = [each for each in records if isinstance(each, Record)]
    found = []
    for number, (turn, begun_ns, last_voiced_ns) in enumerate(said):
        until_ns = said[number + 1][1] if number + 1 < len(said) else now_ns()
        mine = tuple(each for each in turns if begun_ns <= each.committed_ns < until_ns)
        names = {f"turn {each.number}" for each in mine}
        own = tuple(each for each in calls if each.of in names)
        found.append(Heard(turn.text, turn.voice, bool(turn.pauses), last_voiced_ns, mine, own))
    return found


async def alone(turns: Sequence[SpokenTurn], config: settings.Config) -> list[float | None]:
    """For each turn the least time from the last voiced sample to the first audible one, ms; None if it ended too soon.

    The endpoint's decision on the turn's own frames, the recogniser's last call, the loudspeaker's buffers, and what of
    the reply (made from the words at the first silent frame on) is not ready by then; each stage timed by itself.
    """
    took: list[float | None] = []
    async with AsyncExitStack() as stack:
        voice = await open_voice(config, Parts(stack, lambda _: None), open_content(config))
        ear, from_ms = Endpointer(voice.rule), 0.0  # one for all: its numbers are the recogniser's
        for turn in turns:
            took.append(await _critical_ms(voice, ear, turn, from_ms))
            from_ms += 60_000
    return took


async def _critical_ms(voice: Voice, ear: Endpointer, turn: SpokenTurn, from_ms: float) -> float | None:
    """One turn alone; None if it was cut off or never ended."""
    hear = voice.hear
    truth_ms = turn.last_voiced * 1e3 / SAMPLE_RATE_HZ
    quiet = np.random.default_rng(0).integers(-3, 4, 3 * SAMPLE_RATE_HZ).astype(np.int16)
    sound = np.concatenate([turn.samples, quiet])
    words, silent_ms = Transcript("", complete=False), 0.0
    voice.vad.reset()
    for first in range(0, len(sound) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        ended_ms = (first + FRAME_SAMPLES) * 1e3 / SAMPLE_RATE_HZ
        frame = AudioChunk(sound[first : first + FRAME_SAMPLES], round((from_ms + ended_ms) * MS))
        began_s = time.perf_counter()
        if ear.heard and hear is not None:
            words = await hear(ear.number, frame.samples)
        event = ear.feed(frame, await voice.vad(frame.samples), words)
        if event is Speaking.STARTED and hear is not None:
            for each in ear.heard:
                words = await hear(ear.number, each.samples)
        silent_ms = ended_ms if ear.silent_frames == 1 else silent_ms
        if not isinstance(event, Utterance):  # the microphone gives half frames, and the endpointer looks at each
            began_s, ended_ms = time.perf_counter(), ended_ms + _BLOCK * 1e3 / SAMPLE_RATE_HZ
            block = sound[first + FRAME_SAMPLES : first + FRAME_SAMPLES + _BLOCK]
            event = ear.feed_part(block, round((from_ms + ended_ms) * MS), words)
        if isinstance(event, Utterance):
            text = (await voice.stt(event, due_ns=now_ns() + 10_000 * MS, of="alone")).text
            decided_ms = ended_ms + (time.perf_counter() - began_s) * 1e3
            reply_ms, lead_ms = await _first_sound_ms(voice, text)
            early = ended_ms < truth_ms
            return None if early else max(decided_ms, silent_ms + reply_ms) + LATENCY_MS + lead_ms - truth_ms
    return None


async def _first_sound_ms(voice: Voice, text: str) -> tuple[float, float]:
    """How long the reply takes to its first sound, and the silence that the sound begins with."""
    began_s, due_ns = time.perf_counter(), now_ns() + 10_000 * MS
    question = Question(text, (), "alone", lambda _: due_ns, asyncio.Event())
    async with aclosing(voice.answering.answer(question)) as clauses:
        clause = await anext(clauses)
        speech = await voice.tts(Clause(clause), due_ns=due_ns, of="alone")
        try:
            part = await anext(aiter(speech))
        finally:
            await speech.aclose()
    took_ms = (time.perf_counter() - began_s) * 1e3
    return took_ms, onset(part.samples) * 1e3 / part.sample_rate_hz
