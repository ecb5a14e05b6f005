"""`edgeapp bench models`: accuracy beside speed of every bundled model, measured now on held-out data.

A quick run has few cases: a share counts as missed only if its bar lies above the 95 % interval (Wilson 1927), a mean
average precision if it is more than 0.06 below its bar, INT8's loss if it is above 3 points. A full run compares the values
themselves.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

import numpy as np

from edgeapp import config as settings
from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.apps.gate import BOOT_S, PACKAGES, ask_build, ask_package, builds, golden_of
from edgeapp.apps.inspection import open_inspection
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.wiring import Parts
from edgeapp.bench.core import Bar, at_most, last_json, run_bench
from edgeapp.bench.held_out import scripts
from edgeapp.core.events import SAMPLE_RATE_HZ, ConfigError, Utterance
from edgeapp.core.lane import Lane
from edgeapp.core.record import AnyRecord, GateRecord
from edgeapp.demo.kiosk import Question, recorded_questions
from edgeapp.devices.files import read_clip
from edgeapp.models.golden import TranscribeCase
from edgeapp.models.manifest import Model
from edgeapp.models.store import bundled, bundled_root, folder_of
from edgeapp.voice.content import load_content
from edgeapp.voice.grammar import DAY_PATTERNS, FIXED, ITEM_PATTERNS, ZONE_PATTERNS, kiosk_grammar

SIZE_LIMIT_MB: Final = 40
CLAUSE_LIMIT_MS: Final = 200 / 3
_MAP_SLACK: Final = 0.06
"""A quick run's 64 pictures show each of six defects some eight times: at 0.9 the mean precision's 95 % interval is as wide."""
_NOISE_DB: Final = 15.0
_CHUNK_SAMPLES: Final = 512

_figures: dict[str, Any] = {}
"""What the steps measured beside the bars; printed with them."""


def bench_models(*, quick: bool) -> int:
    """Measure every bar of the bundled models; 1 if one is missed, else 0."""
    _figures.clear()
    steps = [_sizes, _golden, _detector, _language, _grammar, _whisper]
    return run_bench("models", steps, quick=quick, figures={"figures": _figures})


def high_of(right: float, count: int) -> float:
    """The upper end of Wilson's 95 % interval of the share `right` / `count`."""
    if not count:
        return 1.0
    z, share = 1.96, right / count
    middle = share + z * z / (2 * count)
    return (middle + z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))) / (1 + z * z / count)


def _share(name: str, right: float, count: int, limit: float, quick: bool, note: str = "") -> Bar:
    value = right / max(count, 1)
    ok = (high_of(right, count) if quick else value) >= limit
    return Bar(name, round(value, 4), limit, "share", ok, f"of {count}{'; ' if note else ''}{note}")


def _precision(name: str, value: float, limit: float, quick: bool, note: str) -> Bar:
    return Bar(name, value, limit, "", value >= limit - (_MAP_SLACK if quick else 0), note)


def _sizes(_: bool) -> list[Bar]:
    """sizes"""
    root = bundled_root()
    folders = {model.name: sum(each.stat().st_size for each in (root / model.name).rglob("*")) for model in bundled()}
    _figures["size_mb"] = {name: round(size / 1e6, 2) for name, size in folders.items()}
    size_mb = sum(each.stat().st_size for each in root.rglob("*") if each.is_file()) / 1e6
    note = ", ".join(f"{name} {mb} MB" for name, mb in _figures["size_mb"].items())
    return [at_most("bundled_models_mb", size_mb, SIZE_LIMIT_MB, "MB", f"every file: {note}")]


def _golden(_: bool) -> list[Bar]:
    """golden sets through the engines"""
    wrong: list[str] = []
    took_s: dict[str, float] = {}
    for model in bundled():
        golden = golden_of(model, folder_of(model))
        for build in builds(model):
            try:
                examined = ask_build(model, folder_of(model) / build, golden) if golden else None
            except ConfigError as error:
                wrong.append(str(error))
                continue
            if examined is None or not examined.ok:
                wrong.append(f"{model.name} {build}")
            else:
                took_s[examined.model] = round(examined.took_s, 2)
    for engine in PACKAGES:
        examined = ask_package(engine)
        took_s[engine] = round(examined.took_s, 2)
        wrong += [] if examined.ok else [engine]
    _figures["golden_s"] = took_s
    try:
        boot_s = asyncio.run(_boot())
    except ConfigError as error:
        wrong.append(f"the embedded device does not start: {error}")
        boot_s = {}
    _figures["golden_at_boot_s"] = boot_s
    note = ", ".join(wrong) or f"{len(took_s)} builds, {sum(took_s.values()):.1f} s together"
    at_boot = ", ".join(f"{role} {seconds} s" for role, seconds in boot_s.items())
    return [
        Bar("models_refused_by_golden_sets", len(wrong), 0, "builds", not wrong, note),
        at_most(
            "golden_gate_at_boot_s", sum(boot_s.values()), len(boot_s) * (BOOT_S + 1), "s", f"what it adds: {at_boot}"
        ),
    ]


async def _boot() -> dict[str, float]:
    """Seconds that the gate takes of the start of the embedded device, role by role; opening the engines not counted."""
    records: list[AnyRecord] = []
    config = settings.Config()
    async with AsyncExitStack() as stack:
        stack.enter_context(_home_of_its_own())
        parts = Parts(stack, records.append)
        await open_inspection(config, parts)
        await open_conversation(config, parts)
    return {each.where: round(each.took_ns / 1e9, 2) for each in records if isinstance(each, GateRecord)}


@contextmanager
def _home_of_its_own() -> Iterator[None]:
    """A start remembers which models passed; measuring one must not change what this device remembers."""
    before = os.environ.get("EDGEAPP_HOME")
    with tempfile.TemporaryDirectory() as home:
        os.environ["EDGEAPP_HOME"] = home
        try:
            yield
        finally:
            os.environ.pop("EDGEAPP_HOME")
            if before is not None:
                os.environ["EDGEAPP_HOME"] = before


def _detector(quick: bool) -> list[Bar] | str:
    """the QC detector on freshly rendered pictures, float32 beside INT8"""
    if scripts() is None:
        return "the QC detector on held-out pictures: this installation lacks the scripts that render them"
    found = last_json([sys.executable, "-m", "edgeapp.bench.detector", "64" if quick else "500"])
    _figures["qc-yolo11n"] = found
    test, shifted, times = found["test"], found["shifted"], found["time"]
    default = found["default"]
    decision = test[default]["decision"]
    bad, failed = decision["defective parts"], decision["defective parts"] - decision["missed"]
    failed_all = failed + decision["sound parts rejected"]
    count = f"{found['pictures']} pictures, {default}"
    lost = round(100 * (test["float32"]["mAP50"] - test["int8"]["mAP50"]), 2)
    pair = f"{times['int8_ms']} and {times['float32_ms']} ms, paired and alternating, one thread"
    return [
        _precision("detector_mAP50", test[default]["mAP50"], 0.90, quick, count),
        _precision("detector_mAP50_95", test[default]["mAP50-95"], 0.60, quick, count),
        _precision(
            "detector_mAP50_shifted", shifted[default]["mAP50"], 0.75, quick, f"{count}, another light and belt"
        ),
        _share("part_decision_recall", failed, bad, 0.98, quick, "defective parts"),
        _share("part_decision_precision", failed, failed_all, 0.95, quick, "parts that failed"),
        Bar("int8_mAP50_points_lost", lost, 1.0, "points", lost <= (3.0 if quick else 1.0), count),
        at_most("int8_time_to_float32", times["int8_to_float32"], 0.75, "", pair),
    ]


def _language(quick: bool) -> list[Bar] | str:
    """the language model on held-out dialogues"""
    folder = scripts()
    if folder is None:
        return "the language model on held-out dialogues: this installation lacks the scripts that write them"
    model = next((each for each in bundled() if each.name == "kiosk-lm"), None)
    if model is None:
        return "the language model: none is bundled"
    command = [sys.executable, str(folder / "eval_kiosk_lm.py"), "--model", str(folder_of(model))]
    found = last_json([*command, "--dialogues", "6" if quick else "60"])
    found = found.get("int8", found)
    _figures["kiosk-lm"] = found
    bars = []
    for figure, limits in {
        "exact_fact": {"held_names": 0.95, "held_phrasings": 0.85},
        "unknown": {"held_names": 0.95, "held_phrasings": 0.95},
        "valid_call": {"held_names": 0.97, "held_phrasings": 0.97},
    }.items():
        for held, limit in limits.items():
            if figure in found[held]:
                share, count = found[held][figure]["share"], found[held][figure]["of"]
                bars.append(_share(f"lm_{figure}_{held}", share * count, count, limit, quick))
    note = f"8 tokens after a resident prefix of {found['prefix_tokens']}; p95 {found['first_clause_p95_ms']} ms"
    return [*bars, at_most("lm_first_clause_ms", found["first_clause_ms"], round(CLAUSE_LIMIT_MS, 1), "ms", note)]


def _grammar(quick: bool) -> list[Bar]:
    """PocketSphinx on the recorded questions"""
    found = asyncio.run(_hear_questions())
    _figures["stt_pocketsphinx"] = found
    return [
        _share("grammar_human_right", found["human_right"], int(found["human"]), 0.90, quick, "people's recordings"),
        _share(
            "grammar_noise_right",
            found["noise_right"],
            int(found["synthetic"]),
            0.90,
            quick,
            f"pink noise at {_NOISE_DB:g} dB",
        ),
        _share(
            "grammar_outside_refused", found["refused"], int(found["outside"]), 0.90, quick, "by a grammar without them"
        ),
        at_most(
            "grammar_false_rejections", found["rejected"] / found["inside"], 0.05, "share", f"of {found['inside']}"
        ),
        at_most("grammar_cpu_of_audio", found["cpu"], 0.05, "share", f"{found['audio_s']} s of audio"),
    ]


async def _hear_questions() -> dict[str, float]:
    """The bundled clips as they are, the synthetic ones in noise, and each with a grammar that does not hold it."""
    from edgeapp.engines import stt_pocketsphinx

    content = load_content(BUNDLED_CONTENT)
    names, days, zones = [item.name for item in content.items], list(content.hours), list(content.zones)
    every = kiosk_grammar(names, days, zones).sentences
    items = tuple(pattern.format(name) for pattern in ITEM_PATTERNS for name in names)
    others = tuple(sentence for sentence in every if sentence not in items)
    assert set(others) >= {DAY_PATTERNS[0].format(days[0]), ZONE_PATTERNS[0].format(zones[0]), FIXED[0]}
    questions = recorded_questions()
    rng = np.random.default_rng(15)
    lane = Lane("grammar")
    async with stt_pocketsphinx.load(stt_pocketsphinx.Options(), lane) as stt:
        await stt.use_grammar(every)
        begun = time.process_time()
        plain = [await _heard(stt, number, each.samples) for number, each in enumerate(questions)]
        cpu_s = time.process_time() - begun
        synthetic = [each for each in questions if not each.human]
        noisy = [await _heard(stt, 100 + n, _in_noise(each, rng)) for n, each in enumerate(synthetic)]
        outside: list[str] = []
        for grammar, held in ((others, items), (items, others)):
            await stt.use_grammar(grammar)
            asked = [each for each in questions if each.text in held]
            outside += [await _heard(stt, 200 + len(outside) + n, each.samples) for n, each in enumerate(asked)]
    lane.close()
    audio_s = sum(each.samples.size for each in questions) / SAMPLE_RATE_HZ
    human = [text == each.text for text, each in zip(plain, questions, strict=True) if each.human]
    return {
        "human": len(human),
        "human_right": sum(human),
        "synthetic": len(synthetic),
        "synthetic_right": sum(
            text == each.text for text, each in zip(plain, questions, strict=True) if not each.human
        ),
        "noise_right": sum(text == each.text for text, each in zip(noisy, synthetic, strict=True)),
        "inside": len(questions) + len(synthetic),
        "rejected": sum(not text for text in plain + noisy),
        "outside": len(outside),
        "refused": sum(not text for text in outside),
        "audio_s": round(audio_s, 1),
        "cpu": round(cpu_s / audio_s, 4),
    }


async def _heard(stt: Any, number: int, samples: Any) -> str:
    """One clip in the kiosk's own bites."""
    for begin in range(0, samples.size, _CHUNK_SAMPLES):
        await stt.hear(number, samples[begin : begin + _CHUNK_SAMPLES])
    return str((await stt(Utterance(number, samples, 0))).text)


def _in_noise(question: Question, rng: np.random.Generator) -> Any:
    """The clip with pink noise, as rooms have it, 15 dB below its own power up to the last voiced sample."""
    clip = question.samples.astype(np.float64)
    power = np.mean(np.square(clip[: question.last_voiced])) / 10 ** (_NOISE_DB / 10)
    spectrum = np.fft.rfft(rng.normal(0, 1, clip.size))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1)), clip.size)
    return np.clip(clip + noise * np.sqrt(power) / noise.std(), -32768, 32767).astype(np.int16)


def _whisper(_: bool) -> list[Bar] | str:
    """the nano Whisper on its golden clips and on people"""
    model = next((each for each in bundled() if each.name == "kiosk-whisper"), None)
    if model is None:
        return "the nano Whisper: none is bundled"
    home = folder_of(model)
    file = home / "figures.json"
    card = json.loads(file.read_text()) if file.is_file() else {}
    unseen = card.get("unseen voices, unseen sentences, quiet", {}).get("all")
    if unseen is None:
        return f"the nano Whisper: {file} has no figures; write them with scripts/measure_kiosk_stt.py --write"
    golden = golden_of(model, home)
    cases = [each for each in golden.cases if isinstance(each, TranscribeCase)] if golden else []
    clips = [(each.text, read_clip(home / "golden" / each.audio)) for each in cases]
    people = [(each.text, each.samples) for each in recorded_questions() if each.human]
    heard, cpu = asyncio.run(_hear_whole(model, clips + people))
    wrong = [_word_errors(text, said) for (text, _), said in zip(clips + people, heard, strict=True)]
    words = [len(text.split()) for text, _ in clips + people]
    golden_wer = sum(wrong[: len(clips)]) / max(sum(words[: len(clips)]), 1)
    people_wer = sum(wrong[len(clips) :]) / max(sum(words[len(clips) :]), 1)
    _figures["kiosk-whisper"] = {"card": card, "golden_wer": golden_wer, "people_wer": people_wer, "cpu_of_audio": cpu}
    note = (
        f"golden clips, chosen from what it gets right; people's {people_wer:.2f} of {len(people)}; CPU {cpu} of audio"
    )
    return [
        at_most("whisper_golden_wer", golden_wer, 0.15, "", note),
        at_most("whisper_wer_unseen_voices", unseen["wer"], 0.15, "", "the card's, by scripts/measure_kiosk_stt.py"),
    ]


async def _hear_whole(model: Model, clips: list[tuple[str, Any]]) -> tuple[list[str], float]:
    """What the model's engine hears in each clip, and the processor time for each second of audio."""
    from edgeapp.engines import stt_faster_whisper

    values = dict(model.options) | {"model": str(folder_of(model))}
    options = settings.options(stt_faster_whisper.Options, values, model.name)
    lane = Lane("whisper")
    async with stt_faster_whisper.load(options, lane) as stt:
        begun = time.process_time()
        heard = [(await stt(Utterance(number, samples, 0))).text for number, (_, samples) in enumerate(clips)]
        cpu_s = time.process_time() - begun
    lane.close()
    return heard, round(cpu_s * SAMPLE_RATE_HZ / sum(samples.size for _, samples in clips), 4)


def _word_errors(text: str, heard: str) -> int:
    """Words put in, left out or taken for others: Levenshtein's distance over words."""
    row = list(range(len(heard.split()) + 1))
    for n, word in enumerate(text.split(), 1):
        before, row[0] = row[0], n
        for m, other in enumerate(heard.split(), 1):
            before, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, before + (word != other))
    return row[-1]
