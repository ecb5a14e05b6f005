"""Time the speech engines on the demo's clips, one thread each: python scripts/bench_speech.py"""

from __future__ import annotations

import asyncio
import json
import time
import tomllib

import numpy as np
import soundfile
from make_questions import CHUNK_SAMPLES, FOLDER, recogniser

from edgeapp.core.events import SAMPLE_RATE_HZ, Clause, Utterance
from edgeapp.core.lane import Lane
from edgeapp.engines import tts_espeak, vad_silero

SENTENCE = "The hammer is at the rear left,"
ROUNDS = 30


def summary(times_s: list[float]) -> dict[str, float]:
    """Median and 95th percentile, in ms."""
    return {
        "p50_ms": round(float(np.percentile(times_s, 50)) * 1e3, 3),
        "p95_ms": round(float(np.percentile(times_s, 95)) * 1e3, 3),
    }


async def main() -> None:
    """Print one line of JSON."""
    clips = []
    for entry in tomllib.loads((FOLDER / "questions.toml").read_text())["questions"]:
        samples, _ = soundfile.read(FOLDER / entry["file"], dtype="int16")
        clips.append(samples[: round(entry["last_voiced_ms"] * SAMPLE_RATE_HZ / 1000)])
    lane = Lane("speech")
    result: dict[str, object] = {}

    async with vad_silero.load(vad_silero.Options(), lane) as vad:
        times, cpu, count = [], time.process_time(), 0
        for clip in clips:
            for start in range(0, clip.size - CHUNK_SAMPLES, CHUNK_SAMPLES):
                begun = time.perf_counter()
                await vad(clip[start : start + CHUNK_SAMPLES])
                times.append(time.perf_counter() - begun)
                count += 1
        cpu_ms = (time.process_time() - cpu) / count * 1e3
        result["vad_silero, a chunk of 32 ms"] = {**summary(times), "cpu_ms": round(cpu_ms, 3)}

    async with recogniser() as stt:
        finals, cpu = [], time.process_time()
        for number, clip in enumerate(clips):
            for start in range(0, clip.size, CHUNK_SAMPLES):
                await stt.hear(number, clip[start : start + CHUNK_SAMPLES])
            begun = time.perf_counter()
            await stt(Utterance(number, clip, 0))
            finals.append(time.perf_counter() - begun)
        share = (time.process_time() - cpu) / sum(clip.size / SAMPLE_RATE_HZ for clip in clips)
        result["stt_pocketsphinx, text after the last sample"] = {**summary(finals), "cpu_per_audio": round(share, 4)}

    async with tts_espeak.load(tts_espeak.Options(), lane) as voice:
        firsts, wholes = [], []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            speech = await voice(Clause(SENTENCE))
            firsts.append(time.perf_counter() - begun)
            _ = [part async for part in speech]
            wholes.append(time.perf_counter() - begun)
        result["tts_espeak, first samples"] = summary(firsts)
        result["tts_espeak, whole clause"] = summary(wholes)
    lane.close()
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
