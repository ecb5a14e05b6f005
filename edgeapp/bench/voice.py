"""`edgeapp bench voice`: how soon the reply begins after the last voiced sample, beside the mistakes that buy the time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edgeapp import config as settings
from edgeapp.bench.core import Bar, at_most, conditions, report
from edgeapp.bench.null_card import Server
from edgeapp.bench.voice_card import TURNS as CARD_TURNS
from edgeapp.bench.voice_card import TURNS_MAX as CARD_TURNS_MAX
from edgeapp.bench.voice_card import bench_sound_card
from edgeapp.bench.voice_run import alone, converse
from edgeapp.bench.voice_score import PARTS, Heard, Score, score
from edgeapp.bench.voice_turns import spoken_turns
from edgeapp.core.events import ConfigError
from edgeapp.demo.pictures import Row, waterfall
from edgeapp.observe.percentile import percentile
from edgeapp.observe.waterfall import Span, staged_spans, turn_spans

PRESETS: Final = ("default", "aggressive", "relaxed", "digits")
_BUDGET_MS: Final = 200.0
_PAUSED_SHARE: Final = 0.5
_TURNS, _OTHERS, _ALONE = 220, 40, 60  # of the preset that serves, of each other one, and of the stages alone
_QUICK_TURNS: Final = 7
_SHOWN: Final = 24  # turns in the picture


def bench_voice(
    *,
    quick: bool,
    presets: Sequence[str],
    turns: int | None,
    seed: int,
    out: Path,
    sound_card: Server | None = None,
) -> int:
    """Hold the conversations, print what came of them, and judge the first preset; 1 if a bar is missed.

    With a `sound_card` it is the first preset only, on real streams, and nothing is judged.
    """
    if sound_card is not None:
        count = turns or CARD_TURNS
        if count > CARD_TURNS_MAX or len(presets) > 1:
            raise ConfigError(f"--sound-card takes one --preset, and --turns up to {CARD_TURNS_MAX}")
        material = spoken_turns(count, paused_share=_PAUSED_SHARE, seed=seed)
        return bench_sound_card(sound_card, _config((presets or PRESETS)[0]), material, seed=seed, out=out)
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    console.print(conditions(quick=quick))
    out.mkdir(parents=True, exist_ok=True)
    count = turns or (_QUICK_TURNS if quick else _TURNS)
    material = spoken_turns(count, paused_share=_PAUSED_SHARE, seed=seed)
    chosen = presets or (PRESETS[:1] if quick else PRESETS)
    scores: list[Score] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        for number, preset in enumerate(chosen):
            said = material if number == 0 else material[: min(_OTHERS, count)]
            task = progress.add_task(f"preset {preset}", total=len(said))
            began_ns = time.monotonic_ns()
            save = out / "conversation.wav" if number == 0 else None
            heard = asyncio.run(
                converse(said, _config(preset), seed=seed, save=save, advance=lambda of=task: progress.advance(of))  # type: ignore[misc]
            )
            scores.append(score(preset, heard, budget_ms=_BUDGET_MS, took_ns=time.monotonic_ns() - began_ns))
            if number == 0:
                first = heard
    critical = asyncio.run(alone(material[: count if quick else _ALONE], _config(chosen[0])))
    against = [each.first_reply_ms for each, ms in zip(first, critical, strict=False) if ms is not None and each.counts]
    alone_ms = [ms for each, ms in zip(first, critical, strict=False) if ms is not None and each.counts]
    _picture(first, out / "waterfall.png")
    console.print(_times(scores))
    console.print(_mistakes(scores))
    console.print(_voices(first))
    console.print(f"sound: {out}/conversation.wav   picture: {out}/waterfall.png")
    figures: dict[str, Any] = {"quick": quick, "seed": seed, "scores": [asdict(each) for each in scores]}
    return report("voice", bars(scores[0], percentile(against, 50), percentile(alone_ms, 50)), [], console, figures)


def _config(preset: str) -> settings.Config:
    """The kiosk as it ships, with one preset; the virtual device has no echo."""
    endpoint = settings.Endpoint(preset=preset)  # type: ignore[arg-type]
    return settings.Config(
        app="kiosk",
        voice=settings.Voice(endpoint=endpoint),
        audio=settings.Audio(echo="none"),
        records=settings.Records(log_text=True),  # the words are those that ship
    )


def bars(served: Score, same_p50_ms: float, critical_p50_ms: float) -> list[Bar]:
    """The promises, for the preset that serves; the last one on the turns that were measured alone, too."""
    beside = f"{served.turns} turns, {served.paused} with a pause; understood {served.understood_share:.1%}"
    return [
        at_most("first reply p50 ms", served.reply_p50_ms, 150, "ms", beside),
        at_most("first reply p95 ms", served.reply_p95_ms, 200, "ms", f"hit rate {served.hit_share:.1%}"),
        Bar(
            "opener or reply within 200 ms",
            round(served.within_share, 4),
            0.995,
            "of turns",
            served.within_share >= 0.995,
            f"{served.openers} openers",
        ),
        at_most(
            "cut off, turns with pauses",
            served.cut_off_paused_share,
            0.02,
            "of turns",
            f"words lost; {served.clipped_paused_share:.1%} more were answered into their last sound, no word lost",
        ),
        at_most("false commits, turns with pauses", served.false_commit_paused_share, 0.03, "of turns"),
        at_most(
            "against the stages alone",
            same_p50_ms / critical_p50_ms,
            1.15,
            "times",
            f"their critical path: {critical_p50_ms:.0f} ms",
        ),
    ]


def _times(scores: Sequence[Score]) -> Table:
    table = Table(title="From the last voiced sample to the first audible one of the reply, ms", title_justify="left")
    for name in ("preset", "turns", "p50", "p95", "p99", "within 200", "openers", *PARTS):
        table.add_column(name, justify="left" if name == "preset" else "right")
    for each in scores:
        times = [f"{ms:.0f}" for ms in (each.reply_p50_ms, each.reply_p95_ms, each.reply_p99_ms)]
        parts = ("-" if isnan(each.parts_ms[name]) else f"{each.parts_ms[name]:.0f}" for name in PARTS)
        table.add_row(each.preset, str(each.turns), *times, f"{each.within_share:.1%}", str(each.openers), *parts)
    return table


def _mistakes(scores: Sequence[Score]) -> Table:
    table = Table(title="And the mistakes that buy the time, of all turns (of those with pauses)", title_justify="left")
    names = ("cut off", "into the last sound", "false commits", "missed", "hits", "understood", "wasted")
    for name in ("preset", *names):
        table.add_column(name, justify="left" if name == "preset" else "right")
    for each in scores:
        table.add_row(
            each.preset,
            f"{each.cut_off_share:.1%} ({each.cut_off_paused_share:.1%})",
            f"{each.clipped_share:.1%} ({each.clipped_paused_share:.1%})",
            f"{each.false_commit_share:.1%} ({each.false_commit_paused_share:.1%})",
            str(each.missed),
            f"{each.hit_share:.1%}",
            f"{each.understood_share:.1%}",
            f"{each.wasted_share:.1%}",
        )
    return table


def _voices(heard: Sequence[Heard]) -> Table:
    """What went wrong, turn by turn."""
    table = Table(title="Turns that were late, cut off, taken back or misunderstood", title_justify="left")
    for name in ("said", "voice", "pause", "heard", "first audible", "what"):
        table.add_column(name, justify="right" if name == "first audible" else "left")
    for each in heard:
        what = [
            name
            for name, holds in (
                ("late", each.first_audible_ms > _BUDGET_MS),
                ("cut off", each.cut_off),
                ("into its last sound", each.clipped),
                ("taken back", each.false_commit),
                ("missed", each.missed),
                ("opener", each.final is not None and each.final.opener),
                ("misunderstood", not each.understood and not each.missed),
            )
            if holds
        ]
        if what:
            words = each.final.heard if each.final else ""
            ms = "-" if isnan(each.first_audible_ms) else f"{each.first_audible_ms:.0f}"
            table.add_row(each.text, each.voice, "yes" if each.paused else "", words, ms, ", ".join(what))
    return table


def _picture(heard: Sequence[Heard], path: Path) -> None:
    rows = []
    for each in heard[:_SHOWN]:
        if each.final is None or each.final.first_audible_ns is None:
            continue
        shift_ms = (each.final.last_voiced_ns - each.last_voiced_ns) / 1e6
        spans = _moved(turn_spans(each.final, each.calls), shift_ms)
        spans = [Span("endpoint", 0.0, spans[0].end_ms), *spans[1:]]
        name = f"{each.text}{' (pause)' if each.paused else ''}"
        rows.append(Row(name, spans, _moved(staged_spans(each.final, each.calls), shift_ms)))
    title = "Last voiced sample to first audible one; thin: prepared before the turn was over"
    waterfall(rows, _BUDGET_MS, title, path)


def _moved(spans: Sequence[Span], by_ms: float) -> list[Span]:
    return [Span(each.name, each.start_ms + by_ms, each.end_ms + by_ms) for each in spans]
