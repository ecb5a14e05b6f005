"""How soon a finished sentence may end a turn: delays and cut-offs of the endpoint rule over its settings.

    python scripts/measure_endpoint.py [--seeds 12]

The demo's recorded questions at different loudness, noise and alignment go through the real voice activity detector and
the real recogniser; the rule is then replayed over what they said for each setting. A cut-off is a turn that is taken for
finished before its last voiced sample, be it only the release of a final stop. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from rich.progress import track

from edgeapp.apps.kiosk import BUNDLED_CONTENT
from edgeapp.core.events import MS, AudioChunk, Transcript, Utterance
from edgeapp.core.lane import Lane
from edgeapp.demo.kiosk import Question, recorded_questions
from edgeapp.engines import stt_pocketsphinx, vad_silero
from edgeapp.observe.percentile import percentile
from edgeapp.voice.content import load_content
from edgeapp.voice.endpoint import FRAME_NS, FRAME_SAMPLES, Endpointer, EndpointRule, Speaking
from edgeapp.voice.grammar import kiosk_grammar

FRAME_MS = FRAME_NS / MS


@dataclass(frozen=True)
class Frame:
    """What was known when 32 ms more had been heard."""

    after_ms: float
    """From the truly last voiced sample to the end of the frame."""

    probability: float
    text: str
    complete: bool


async def listen(question: Question, seed: int, number: int, vad: Any, stt: Any) -> list[Frame]:
    """One question in one room: the frames of its utterance."""
    dice = np.random.default_rng([seed, number])
    before = 8_000 + int(dice.integers(FRAME_SAMPLES))
    clean = np.concatenate([np.zeros(before), question.samples, np.zeros(16_000)])
    heard = clean * dice.uniform(0.5, 1.2) + dice.normal(0, dice.choice([8, 15, 40]), len(clean))
    samples = heard.astype(np.int16)
    truth_ms = (before + question.last_voiced) / 16
    never = EndpointRule(complete_silence_ns=10**12, silence_ns=800 * MS)
    endpointer = Endpointer(never)
    endpointer.number = number
    vad.reset()
    frames: list[Frame] = []
    for n in range(len(samples) // FRAME_SAMPLES):
        chunk = AudioChunk(samples[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES], (n + 1) * FRAME_NS)
        words = Transcript("", complete=False)
        if endpointer.heard:
            words = await stt.hear(endpointer.number, chunk.samples)
        probability = await vad(chunk.samples)
        event = endpointer.feed(chunk, probability, words)
        if event is Speaking.STARTED:
            for each in endpointer.heard:
                words = await stt.hear(endpointer.number, each.samples)
        if endpointer.heard or isinstance(event, Utterance):
            frames.append(Frame(chunk.ended_ns / MS - truth_ms, probability, words.text, words.complete))
        if isinstance(event, Utterance):
            break
    return frames


def ends(frames: list[Frame], silence_ms: float, stable_ms: float, threshold: float) -> tuple[float, str] | None:
    """When the rule ends the turn, and with which words; None if only the long silence would."""
    silent = stable = 0
    last = ""
    for frame in frames:
        silent = 0 if frame.probability >= threshold else silent + 1
        stable = stable + 1 if frame.text == last else 1
        last = frame.text
        if frame.complete and silent * FRAME_MS >= silence_ms and stable * FRAME_MS >= stable_ms:
            return frame.after_ms, frame.text
    return None


async def main() -> None:
    """Listen to everything once, then replay the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    seeds = parser.parse_args().seeds
    content = load_content(BUNDLED_CONTENT)
    grammar = kiosk_grammar([item.name for item in content.items], list(content.hours), list(content.zones))
    heard: list[tuple[str, list[Frame]]] = []
    async with (
        vad_silero.load(vad_silero.Options(), Lane("vad")) as vad,
        stt_pocketsphinx.load(stt_pocketsphinx.Options(), Lane("stt")) as stt,
    ):
        await stt.use_grammar(grammar.sentences)
        questions = list(product(range(seeds), recorded_questions()))
        for number, (seed, question) in enumerate(track(questions, "listening"), 1):
            heard.append((question.text, await listen(question, seed, 2 * number, vad, stt)))
    rows = []
    print(f"{len(heard)} questions\nsilence stable threshold | not ended  wrong  cut off | p50 ms  p95 ms  max ms")
    for threshold, silence_ms, stable_ms in product((0.5, 0.35), (64, 96, 128), (0, 128, 256)):
        ended = [(text, ends(frames, silence_ms, stable_ms, threshold)) for text, frames in heard]
        right = [end[0] for text, end in ended if end is not None and end[1] == text]
        row = {
            "complete_silence_ms": silence_ms, "stable_ms": stable_ms, "stop_threshold": threshold,
            "not_ended": sum(end is None for _, end in ended),
            "wrong": sum(end is not None and end[1] != text for text, end in ended),
            "cut_off": sum(delay < 0 for delay in right),
            "p50_ms": round(percentile(right, 50)), "p95_ms": round(percentile(right, 95)), "max_ms": round(max(right)),
        }  # fmt: skip
        rows.append(row)
        print(
            f"{silence_ms:7} {stable_ms:6} {threshold:9} | {row['not_ended']:9} {row['wrong']:6} {row['cut_off']:8} | "
            f"{row['p50_ms']:6} {row['p95_ms']:7} {row['max_ms']:7}"
        )
    print(json.dumps({"questions": len(heard), "rows": rows}))


if __name__ == "__main__":
    asyncio.run(main())
