"""Write the golden sets of what has none of its own: package models (VAD, recogniser, voices) and models that were pulled.

    python scripts/make_golden_sets.py

They stand in edgeapp/assets: `questions/golden-*.json` beside the demo's clips, `golden-llm.json` and `golden-tts.json`.
What the recogniser and the voice activity detector say here is compared with the index of the clips before it is written.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

import soundfile

from edgeapp.core.events import SAMPLE_RATE_HZ, Utterance
from edgeapp.core.lane import Lane
from edgeapp.engines import stt_pocketsphinx, vad_silero
from edgeapp.voice.content import load_content
from edgeapp.voice.grammar import kiosk_grammar

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "edgeapp" / "assets"
QUESTIONS = ASSETS / "questions"

HEARD = ("06", "02", "10", "08", "14", "12", "05", "03", "09", "11")
"""The clips a recogniser is asked, people's voices first among equals; short courtesies are left to the demo."""

REFUSED = "15"
"""A clip that is taken out of the grammar and must give no words."""

VOICED = ("06", "03")

FACTS = [
    "name: Miller Tools",
    "hammer is at the rear left",
    "hammer costs 12 euros 50",
    "tape measure is at the side right",
    "tape measure costs 6 euros 75",
]
REPLIES = (
    ("where is the hammer", "rear left"),
    ("where is the tape measure", "side right"),
    ("how much is the hammer", "12"),
)

SPOKEN = (
    ("Hello, how can I help you?", 0.8, 5.0),
    ("The hammer is at the rear left, and it costs twelve euros fifty.", 1.8, 10.0),
)


def clip(entry: dict[str, Any]) -> Any:
    """Samples, mono int16 at 16 kHz."""
    samples, rate_hz = soundfile.read(QUESTIONS / entry["file"], dtype="int16")
    assert rate_hz == SAMPLE_RATE_HZ
    return samples


async def voiced(entry: dict[str, Any]) -> dict[str, Any]:
    """Where Silero hears speech in a clip, as a case."""
    size, found = vad_silero.CHUNK_SAMPLES, []
    lane = Lane("vad")
    async with vad_silero.load(vad_silero.Options(), lane) as vad:
        samples = clip(entry)
        found = [await vad(samples[n * size : (n + 1) * size]) > 0.5 for n in range(samples.size // size)]
    lane.close()
    spans, at = [], 0
    for speech, run in groupby(found):
        length = len(list(run))
        if speech:
            spans.append([at * 32.0, (at + length) * 32.0])
        at += length
    assert abs(spans[-1][1] - entry["last_voiced_ms"]) < 250, entry["file"]
    return {"audio": entry["file"], "speech_ms": spans}


async def heard(entries: list[dict[str, Any]], grammar: list[str]) -> None:
    """Say which of the clips the recogniser gets right with this grammar; fails if it is not all."""
    lane = Lane("stt")
    async with stt_pocketsphinx.load(stt_pocketsphinx.Options(), lane) as stt:
        await stt.use_grammar(grammar)
        for number, entry in enumerate(entries):
            text = (await stt(Utterance(number, clip(entry), 0))).text
            print(f"{entry['file']}: {text!r}")
            assert text == ("" if entry["file"].startswith(REFUSED) else entry["text"])
    lane.close()


def write(file: Path, golden: dict[str, Any]) -> None:
    """One set as JSON."""
    file.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(f"{file.relative_to(ROOT)}: {len(golden['cases'])} cases")


def main() -> None:
    """Make all five."""
    index = tomllib.loads((QUESTIONS / "questions.toml").read_text())["questions"]
    by_number = {entry["file"][:2]: entry for entry in index}
    content = load_content(ASSETS / "kiosk.toml")
    items = [item.name for item in content.items]
    every = kiosk_grammar(items, list(content.hours), list(content.zones)).sentences
    grammar = [sentence for sentence in every if sentence != by_number[REFUSED]["text"]]
    entries = [by_number[number] for number in HEARD]
    asyncio.run(heard([*entries, by_number[REFUSED]], grammar))
    cases = [{"audio": entry["file"], "text": entry["text"]} for entry in entries]
    refused = {"audio": by_number[REFUSED]["file"], "text": ""}
    write(
        QUESTIONS / "golden-grammar.json",
        {"task": "transcribe", "at_least": 0.8, "grammar": grammar, "cases": [*cases[:3], refused, *cases[3:]]},
    )
    note = "free speech: a few of ten may differ in a word"
    write(QUESTIONS / "golden-stt.json", {"task": "transcribe", "at_least": 0.7, "note": note, "cases": cases})
    spans = [asyncio.run(voiced(by_number[number])) for number in VOICED]
    write(QUESTIONS / "golden-vad.json", {"task": "voice", "at_least": 1.0, "cases": spans})
    replies = [{"facts": FACTS, "question": question, "has": [answer]} for question, answer in REPLIES]
    write(ASSETS / "golden-llm.json", {"task": "reply", "at_least": 0.6, "cases": replies})
    spoken = [{"text": text, "seconds": [least, most]} for text, least, most in SPOKEN]
    write(ASSETS / "golden-tts.json", {"task": "speak", "at_least": 1.0, "cases": spoken})


if __name__ == "__main__":
    main()
