"""`edgeapp demo kiosk`: a scripted conversation from recordings, at real-time pace, with every millisecond accounted for."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tomllib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import MS, SAMPLE_RATE_HZ
from edgeapp.core.record import AnyRecord, Record, TurnRecord
from edgeapp.demo.pictures import Row, waterfall
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter
from edgeapp.observe.waterfall import Span, staged_spans, turn_spans
from edgeapp.voice.conversation import Conversation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeapp.devices.files import VirtualAudio

QUESTIONS: Final = Path(__file__).parent.parent / "assets" / "questions"
_PAUSE_S: Final = 0.4  # between the end of a reply and the next question
_TURN_LIMIT_S: Final = 20.0  # a turn that is not over by then is counted as unanswered
_LOOK_S: Final = 0.01
_INTERRUPTING: Final = "14_side_left.flac"  # spoken over the reply before it
_SPOKEN_OVER_AFTER_NS: Final = 500 * MS
_COLUMNS: Final = ("endpoint", "stt", "llm", "clause", "tts", "output", "own")


@dataclass(frozen=True)
class Question:
    """One recording and what is known of it."""

    file: str
    text: str
    human: bool
    samples: NDArray[np.int16]
    """Mono at 16 kHz, shape (n,)."""

    last_voiced: int
    """The index of the sample after the last voiced one."""


@dataclass(frozen=True)
class Turn:
    """One question and what came of it."""

    question: Question
    last_voiced_ns: int
    """The truth, from the recording."""

    record: TurnRecord | None

    @property
    def heard(self) -> str:
        """The words the recogniser gave."""
        return self.record.heard if self.record else ""

    @property
    def cut_off(self) -> bool:
        """Was the turn taken for finished before its last voiced sample, with words lost?"""
        return self._early and self.heard != self.question.text

    @property
    def clipped(self) -> bool:
        """The same with every word understood, as before the release of a final stop?"""
        return self._early and not self.cut_off

    @property
    def _early(self) -> bool:
        return self.record is not None and self.record.committed_ns < self.last_voiced_ns

    @property
    def took_ms(self) -> float | None:
        """From the truly last voiced sample to the first audible one of the reply; None if nothing was said."""
        if self.record is None or self.record.first_audible_ns is None:
            return None
        return (self.record.first_audible_ns - self.last_voiced_ns) / MS


async def demo_kiosk(out: Path, turns: int | None) -> bool:
    """Hold the conversation, write sound, picture, records and a table; returns whether every question was answered."""
    from edgeapp.devices.files import VirtualAudio

    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    folder = out / "kiosk"
    folder.mkdir(parents=True, exist_ok=True)
    records: list[AnyRecord] = []
    config = settings.Config(
        app="kiosk",
        audio=settings.Audio(echo="none"),  # the virtual device has none
        records=settings.Records(path=str(out / "records.jsonl"), log_text=True),  # the words are those that ship
    )
    questions = recorded_questions()[: turns or None]
    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink_of(config.records, stack, records.append))
        conversation = await open_conversation(config, parts)
        audio = VirtualAudio(block_samples=256)  # its clock starts now, not before the models are loaded
        async with StallMeter() as stalls, asyncio.TaskGroup() as both:
            both.create_task(conversation.listen(audio.heard(), audio.speaker))
            held = await _converse(questions, audio, conversation, records, console)
            audio.hang_up()
        audio.save(folder / "conversation.wav")
    calls = [each for each in records if isinstance(each, Record)]
    rows = [
        Row(f"{number}  {turn.question.text}", _spans(turn, calls), _staged(turn, calls))
        for number, turn in enumerate(held, 1)
    ]
    title = "Last voiced sample to first audible one; thin: prepared before the turn was over"
    waterfall(rows, config.voice.budget_ms, title, folder / "waterfall.png")
    console.print(_table(held, calls, config.voice.budget_ms))
    console.print(f"sound: {folder}/conversation.wav   picture: {folder}/waterfall.png   records: {out}/records.jsonl")
    summary = _summary(held, config, stalls.longest_ms)
    print(json.dumps(summary))
    return not summary["unanswered"]


def recorded_questions() -> list[Question]:
    """The recordings in the order of their index."""
    from edgeapp.devices.files import read_clip

    index = tomllib.loads((QUESTIONS / "questions.toml").read_text(encoding="utf-8"))
    found = []
    for entry in index["questions"]:
        last_voiced = round(entry["last_voiced_ms"] * SAMPLE_RATE_HZ / 1000)
        found.append(
            Question(entry["file"], entry["text"], entry["human"], read_clip(QUESTIONS / entry["file"]), last_voiced)
        )
    return found


async def _converse(
    questions: list[Question],
    audio: VirtualAudio,
    conversation: Conversation,
    records: list[AnyRecord],
    console: Console,
) -> list[Turn]:
    """Ask one question after the other; one of them over the reply before it."""
    asked: list[tuple[Question, int]] = []
    with Progress(console=console) as progress:
        bar = progress.add_task("questions asked", total=len(questions))
        for number, question in enumerate(questions):
            played_ns = audio.speaker.played_ns
            asked.append((question, await audio.say(question.samples, question.last_voiced)))
            interrupt = number + 1 < len(questions) and questions[number + 1].file == _INTERRUPTING
            for _ in range(round(_TURN_LIMIT_S / _LOOK_S)):
                if not conversation.busy and _record_of(asked[-1][1], records):
                    break
                if interrupt and audio.speaker.played_ns - played_ns > _SPOKEN_OVER_AFTER_NS:
                    break
                await asyncio.sleep(_LOOK_S)
            progress.advance(bar)
            if not interrupt:
                await asyncio.sleep(_PAUSE_S)
    return [Turn(question, at_ns, _record_of(at_ns, records)) for question, at_ns in asked]


def _record_of(last_voiced_ns: int, records: list[AnyRecord]) -> TurnRecord | None:
    """The turn that the conversation took for this question, by its time."""
    turns = [each for each in records if isinstance(each, TurnRecord)]
    near = [turn for turn in turns if abs(turn.last_voiced_ns - last_voiced_ns) < 1_000 * MS]
    return min(near, key=lambda turn: abs(turn.last_voiced_ns - last_voiced_ns), default=None)


def _spans(turn: Turn, calls: list[Record]) -> list[Span]:
    """The turn's spans, counted from the truly last voiced sample."""
    if turn.record is None:
        return []
    shift_ms = (turn.record.last_voiced_ns - turn.last_voiced_ns) / MS
    spans = turn_spans(turn.record, calls)
    moved = [Span(span.name, span.start_ms + shift_ms, span.end_ms + shift_ms) for span in spans]
    return [Span("endpoint", 0.0, moved[0].end_ms), *moved[1:]]


def _staged(turn: Turn, calls: list[Record]) -> list[Span]:
    """What had been prepared, counted from the truly last voiced sample."""
    if turn.record is None:
        return []
    shift_ms = (turn.record.last_voiced_ns - turn.last_voiced_ns) / MS
    return [
        Span(each.name, each.start_ms + shift_ms, each.end_ms + shift_ms) for each in staged_spans(turn.record, calls)
    ]


def _summary(held: list[Turn], config: settings.Config, stall_ms: float) -> dict[str, Any]:
    took_ms = [turn.took_ms for turn in held if turn.took_ms is not None]
    return {
        "demo": "kiosk",
        "turns": len(held),
        "human_clips": sum(turn.question.human for turn in held),
        "understood": sum(turn.heard == turn.question.text for turn in held),
        "interrupted": sum(turn.record is not None and turn.record.outcome == "interrupted" for turn in held),
        "unanswered": sum(turn.took_ms is None for turn in held),
        "cut_off": sum(turn.cut_off for turn in held),
        "clipped": sum(turn.clipped for turn in held),
        "within_budget": sum(ms <= config.voice.budget_ms for ms in took_ms),
        "within_budget_as_heard": sum(
            turn.record.first_audible_ns <= turn.record.due_ns
            for turn in held
            if turn.record is not None and turn.record.first_audible_ns is not None
        ),
        "p50_ms": round(percentile(took_ms, 50), 1) if took_ms else None,
        "p95_ms": round(percentile(took_ms, 95), 1) if took_ms else None,
        "max_ms": round(max(took_ms), 1) if took_ms else None,
        "loop_stall_ms": round(stall_ms, 1),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _table(held: list[Turn], calls: list[Record], budget_ms: float) -> Table:
    table = Table(
        title=f"Turns against {budget_ms:g} ms (ms from the recording's last voiced sample)", title_justify="left"
    )
    for name in ("", "asked", "answered", *_COLUMNS, "first audible"):
        table.add_column(name, justify="right" if name in {*_COLUMNS, "first audible"} else "left")
    for number, turn in enumerate(held, 1):
        took = {name: sum(span.took_ms for span in _spans(turn, calls) if span.name == name) for name in _COLUMNS}
        asked = f"{turn.question.text}{' [cyan](human)[/]' if turn.question.human else ''}"
        if turn.cut_off:
            asked += " [yellow](cut off)[/]"
        elif turn.clipped:
            asked += " [yellow](into its last sound)[/]"
        if turn.heard != turn.question.text:
            asked += f"\n[yellow]heard: {turn.heard or 'nothing'}[/]"
        said = turn.record.said if turn.record else "[red]nothing[/]"
        if turn.record and turn.record.outcome != "answered":
            said += f" [yellow]({turn.record.outcome})[/]"
        style = "green" if turn.took_ms is not None and turn.took_ms <= budget_ms else "red"
        first = f"[{style}]{turn.took_ms:.0f}[/]" if turn.took_ms is not None else "[red]-[/]"
        table.add_row(str(number), asked, said, *(f"{took[name]:.0f}" for name in _COLUMNS), first)
    return table
