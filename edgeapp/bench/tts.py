"""`edgeapp bench tts`: how soon a Piper voice is heard when its graph is split, against whole synthesis of the same clause.

The voice has random weights and the shapes of a published one, because what it costs depends on nothing else; its noise is
off, so that both sides make the same samples, which is checked. Runs alternate, and ratios are of medians.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.core.clock import now_ns
from edgeapp.core.events import Clause, Speech
from edgeapp.core.lane import Lane
from edgeapp.engines import tts_piper
from edgeapp.models.random_voice import build_voice

_WORDS: Final = [
    "the",
    "green",
    "hammer",
    "lies",
    "at",
    "the",
    "rear",
    "left",
    "beside",
    "the",
    "long",
    "ladder",
    "and",
    "under",
    "a",
    "row",
    "of",
    "good",
    "lamps",
]
_LENGTHS_S: Final = (1, 3, 6)
_BAR_S: Final = 3
_BAR: Final = 0.35
_CHARS_MAX: Final = 100  # a longer text would be two phrases


@dataclass
class _Runs:
    """One side's runs of one clause, in milliseconds."""

    first_ms: list[float] = field(default_factory=list)
    """To the first part."""

    all_ms: list[float] = field(default_factory=list)
    """To the last."""

    gaps: int = 0
    """Parts that came after the parts before them had been played."""

    samples: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    """Of the last run."""

    rate_hz: int = 1


def bench_tts(*, quick: bool) -> int:
    """Measure; 1 if a bar is missed, else 0."""
    figures: dict[str, Any] = {}

    def medium(quick: bool) -> list[Bar]:
        """a voice of medium quality"""
        lengths_s, pairs = ((_BAR_S,), 7) if quick else (_LENGTHS_S, 25)
        return asyncio.run(_voice("medium", lengths_s, pairs, figures))

    def low(_: bool) -> list[Bar]:
        """the same layers at 16 kHz: the encoder weighs most here"""
        return asyncio.run(_voice("low", _LENGTHS_S, 25, figures))

    def x_low(_: bool) -> list[Bar]:
        """a voice of the lowest quality"""
        return asyncio.run(_voice("x_low", _LENGTHS_S, 25, figures))

    return run_bench("tts", [medium] if quick else [medium, low, x_low], quick=quick, figures=figures)


async def _voice(quality: str, lengths_s: tuple[int, ...], pairs: int, figures: dict[str, Any]) -> list[Bar]:
    """The bars of one voice; what was measured goes into `figures`."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = await asyncio.to_thread(build_voice, Path(folder) / "random.onnx", quality, noise=False)
        lane = Lane("bench")
        stack.callback(lane.close)
        sides = []
        for in_windows in (True, False):
            options = tts_piper.Options(voice=str(path), split=in_windows)
            sides.append(await stack.enter_async_context(tts_piper.load(options, lane)))
        found = {}
        for length_s in lengths_s:
            text = await _text_of(sides[1], length_s)
            runs = (_Runs(), _Runs())
            for _ in range(pairs):
                for voice, side in zip(sides, runs, strict=True):
                    await _speak(voice, text, side)
            found[length_s] = runs
    shown = {f"{length_s}_s": _figures(*runs) for length_s, runs in found.items()}
    figures[quality] = shown
    different = sum(int((ours.samples != theirs.samples).sum()) for ours, theirs in found.values())
    split, whole = found[_BAR_S]
    how = f"{pairs} alternating pairs; {statistics.median(split.first_ms):.0f} of {statistics.median(whole.first_ms):.0f} ms"
    return [
        at_most(f"{quality}_first_audio_of_3_s_over_whole", shown["3_s"]["first_ratio"], _BAR, "ratio", how),
        Bar(f"{quality}_samples_that_differ", different, 0, "samples", different == 0, "split against whole, int16"),
    ]


async def _text_of(voice: tts_piper.PiperVoice, length_s: int) -> str:
    """As many words as the voice speaks in about `length_s`, in one phrase."""
    run = _Runs()
    await _speak(voice, " ".join(_WORDS), run)
    words = round(len(_WORDS) * length_s * run.rate_hz / run.samples.size)
    text = " ".join(_WORDS[n % len(_WORDS)] for n in range(max(1, words)))
    return text[:_CHARS_MAX].rsplit(" ", 1)[0] if len(text) > _CHARS_MAX else text


async def _speak(voice: tts_piper.PiperVoice, text: str, run: _Runs) -> None:
    """Speak once and write it down."""
    parts: list[Speech] = []
    started_ns, played_to_ns = now_ns(), 0
    async for part in await voice(Clause(text)):
        at_ns = now_ns()
        if not parts:
            run.first_ms.append((at_ns - started_ns) / 1e6)
        elif at_ns > played_to_ns:
            run.gaps += 1
        played_to_ns = max(at_ns, played_to_ns) + part.samples.size * 10**9 // part.sample_rate_hz
        parts.append(part)
    run.all_ms.append((now_ns() - started_ns) / 1e6)
    run.samples = np.concatenate([part.samples for part in parts])
    run.rate_hz = parts[0].sample_rate_hz


def _figures(split: _Runs, whole: _Runs) -> dict[str, float]:
    """For the line of JSON."""
    first_ms, whole_ms = statistics.median(split.first_ms), statistics.median(whole.first_ms)
    return {
        "audio_s": round(whole.samples.size / whole.rate_hz, 2),
        "split_first_ms": round(first_ms, 1),
        "whole_first_ms": round(whole_ms, 1),
        "first_ratio": round(first_ms / whole_ms, 3),
        "total_ratio": round(statistics.median(split.all_ms) / statistics.median(whole.all_ms), 3),
        "gaps": split.gaps,
    }
