"""Scripted engines: every kind of engine with an exact script instead of a model.

They pass the same contract tests as the real ones, and take virtual time on a virtual loop. With them the whole
application runs on any machine.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import (
    MS,
    SAMPLE_RATE_HZ,
    BackendError,
    Box,
    CameraFrame,
    Clause,
    Detections,
    Prompt,
    Speech,
    Transcript,
    Utterance,
)
from edgeapp.core.lane import Lane
from edgeapp.core.stream import Stream


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The script of one engine."""

    kind: Literal["vad", "stt", "llm", "tts", "detect"]
    takes_ms: float = 5.0
    """How long each bite holds the lane."""

    texts: tuple[str, ...] = ("hello",)
    """What is recognised or replied, in order and then again from the beginning."""

    complete: bool = True
    """Does the fake recogniser take what it hears for finished sentences?"""

    word_ms: float = 0.0
    """How much loud sound brings out each word of a text; 0 knows the whole text from the first samples on."""

    sentences: tuple[str, ...] = ()
    """Beginnings of the texts that are finished sentences too."""

    boxes: tuple[tuple[tuple[float, float, float, float, str, float], ...], ...] = ()
    """What is detected, by frame number: left, top, right, bottom, label, score."""

    fail_every: int = 0
    """Every so many calls raise BackendError; 0 means never."""

    speech_level: int = 300
    """The loudness (RMS) from which the fake voice activity detector hears speech."""


@dataclass
class ScriptedWork:
    """Blocking work of a known duration."""

    takes_ns: int
    outcome: Callable[[], Any]
    took_ns: int = 0
    """How long it really blocked; 0 on virtual time."""

    def __call__(self) -> Any:
        started_ns = time.perf_counter_ns()
        time.sleep(self.takes_ns / 1e9)
        self.took_ns = time.perf_counter_ns() - started_ns
        return self.outcome()


class _Script:
    """Counts calls, fails when the script says so, and does the work on the lane."""

    def __init__(self, options: Options, lane: Lane) -> None:
        self.options, self.lane, self.calls = options, lane, 0
        self.worked_ns = 0
        """How long the lane's thread really worked for this engine; 0 on virtual time."""

    async def bite(self, outcome: Callable[[], Any]) -> Any:
        work = ScriptedWork(round(self.options.takes_ms * MS), outcome)
        answer = await self.lane.run(work, label=self.options.kind, cost_ns=work.takes_ns)
        self.worked_ns += work.took_ns
        return answer

    def count(self) -> int:
        """The number of this call, from 0. Raises BackendError if it is one that fails."""
        self.calls += 1
        if self.options.fail_every and self.calls % self.options.fail_every == 0:
            raise BackendError(f"the fake {self.options.kind} engine failed, as its script says")
        return self.calls - 1


class FakeVad(_Script):
    """Speech is what is loud."""

    async def __call__(self, samples: NDArray[np.int16], /) -> float:
        level = float(np.sqrt(np.mean(samples.astype(np.float32) ** 2)))
        return float(await self.bite(lambda: 0.95 if level >= self.options.speech_level else 0.05))

    def reset(self) -> None:
        """Nothing is remembered."""


class FakeStt(_Script):
    """Hears the script's texts, one an utterance, word by word."""

    def __init__(self, options: Options, lane: Lane) -> None:
        super().__init__(options, lane)
        self._number = 0
        self._loud_ms = 0.0

    async def hear(self, number: int, samples: NDArray[np.int16]) -> Transcript:
        """The words that the sound so far brings out; another number than the last begins a new utterance."""
        if number != self._number:
            self._number, self._loud_ms = number, 0.0
        self._loud_ms += self._loud(samples)
        return self._words(number, self._loud_ms)

    async def __call__(self, utterance: Utterance, /) -> Transcript:
        self.count()
        loud_ms = self._loud(utterance.samples)
        heard: Transcript = await self.bite(partial(self._words, utterance.number, loud_ms))
        return heard

    def _loud(self, samples: NDArray[np.int16]) -> float:
        """How many milliseconds of it are loud, 16 at a time."""
        grain = SAMPLE_RATE_HZ * 16 // 1000
        whole = samples[: len(samples) // grain * grain].astype(np.float32).reshape(-1, grain)
        return (
            16.0 * int((np.sqrt(np.mean(whole**2, axis=1)) >= self.options.speech_level).sum()) if len(whole) else 0.0
        )

    def _words(self, number: int, loud_ms: float) -> Transcript:
        text = self.options.texts[(number - 1) % len(self.options.texts)]
        if self.options.word_ms:
            text = " ".join(text.split()[: int(loud_ms // self.options.word_ms)])
        whole = text in self.options.texts or text in self.options.sentences
        return Transcript(text, self.options.complete and whole)


class FakeLlm(_Script):
    """Replies with the script's texts, one bite a word."""

    async def __call__(self, prompt: Prompt, /) -> Stream[str]:
        number = self.count()
        text = self.options.texts[number % len(self.options.texts)]
        text = text.removeprefix(prompt.said) if prompt.said else text
        return await Stream.start(self._words(text, prompt.max_tokens))

    async def _words(self, text: str, count: int) -> AsyncGenerator[str, None]:
        for word in re.findall(r"\s*\S+", text)[:count]:
            yield await self.bite(partial(str, word))


class FakeTts(_Script):
    """A tone, 60 ms a letter, in chunks of at most half a second."""

    async def __call__(self, clause: Clause, /) -> Stream[Speech]:
        self.count()
        return await Stream.start(self._parts(len(clause.text.strip())))

    async def _parts(self, letters: int) -> AsyncGenerator[Speech, None]:
        tone = _tone(letters)
        for start in range(0, len(tone), SAMPLE_RATE_HZ // 2):
            part = tone[start : start + SAMPLE_RATE_HZ // 2]
            yield await self.bite(partial(Speech, part, SAMPLE_RATE_HZ))


@lru_cache(maxsize=8)
def _tone(letters: int) -> NDArray[np.int16]:
    """440 Hz for 60 ms a letter, shape (n,)."""
    samples = np.arange(1, letters * 60 * SAMPLE_RATE_HZ // 1000 + 1)
    tone: NDArray[np.int16] = (8_000 * np.sin(2 * np.pi * 440 / SAMPLE_RATE_HZ * samples)).astype(np.int16)
    return tone


class FakeDetector(_Script):
    """Sees the script's boxes, one row a frame."""

    async def __call__(self, frame: CameraFrame, /) -> Detections:
        self.count()
        rows = self.options.boxes[(frame.number - 1) % len(self.options.boxes)] if self.options.boxes else ()
        boxes = tuple(sorted((Box(*row) for row in rows), key=lambda box: -box.score))
        seen: Detections = await self.bite(lambda: Detections(frame.number, boxes, "fake"))
        return seen


_KINDS = {"vad": FakeVad, "stt": FakeStt, "llm": FakeLlm, "tts": FakeTts, "detect": FakeDetector}


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[Any]:
    """Yield the scripted engine of `options.kind`."""
    await asyncio.sleep(0)
    yield _KINDS[options.kind](options, lane)
