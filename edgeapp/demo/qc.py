"""`edgeapp demo qc`: a conveyor of drawn parts, each judged within its budget, with the truth printed beside the verdict."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.qc import open_inspection, warn
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import CameraFrame, Outcome, Verdict
from edgeapp.core.record import AnyRecord, Record
from edgeapp.demo.pictures import Row, annotate, contact_sheet, waterfall
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter
from edgeapp.observe.waterfall import frame_spans
from edgeapp.vision.inspection import watch

if TYPE_CHECKING:
    from edgeapp.devices.conveyor import Part

PARTS_PER_MINUTE: Final = 240.0


async def demo_qc(out: Path, parts: int) -> bool:
    """Run the conveyor, write pictures, records and a table; returns whether every part got one verdict in time."""
    from edgeapp.devices.conveyor import Options, start

    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    frames_dir = out / "qc"
    frames_dir.mkdir(parents=True, exist_ok=True)
    records: list[AnyRecord] = []
    judged: list[tuple[CameraFrame, Verdict]] = []
    config = settings.Config(app="qc", records=settings.Records(path=str(out / "records.jsonl")))
    async with AsyncExitStack() as stack:
        wired = Parts(stack, sink_of(config.records, stack, records.append))
        inspection = await open_inspection(config, wired)
        belt = await stack.enter_async_context(
            start(Options(parts=parts, parts_per_minute=PARTS_PER_MINUTE, source="belt"))
        )
        with Progress(console=console) as progress:
            bar = progress.add_task("parts judged", total=parts)

            def on_verdict(frame: CameraFrame, verdict: Verdict) -> None:
                judged.append((frame, verdict))
                progress.advance(bar)

            async with StallMeter() as stalls:
                await watch(belt.frames(), inspection, on_verdict, warn)
        truth = belt.truth
    judged.sort(key=lambda each: each[0].number)
    await asyncio.get_running_loop().run_in_executor(None, _write_pictures, judged, records, config, frames_dir)
    summary = _summary(judged, truth, stalls.longest_ms)
    console.print(_table(judged, truth))
    console.print(f"annotated frames: {frames_dir}/   contact sheet: {frames_dir}/contact_sheet.jpg")
    print(json.dumps(summary))
    return bool(summary["parts"] == summary["verdicts"] and not summary["not_inspected"])


def _write_pictures(
    judged: list[tuple[CameraFrame, Verdict]], records: list[AnyRecord], config: settings.Config, folder: Path
) -> None:
    import cv2

    pictures = [annotate(frame, verdict) for frame, verdict in judged]
    for (frame, _), picture in zip(judged, pictures, strict=True):
        cv2.imwrite(str(folder / f"part_{frame.number:03d}.jpg"), picture)
    contact_sheet(pictures, folder / "contact_sheet.jpg")
    calls = [each for each in records if isinstance(each, Record)]
    rows = [Row(f"belt {v.frame_number} {v.outcome}", frame_spans(v, calls)) for _, v in judged[:24]]
    title = "Sensor timestamp to verdict, the first parts of the belt"
    waterfall(rows, config.vision.budget_ms, title, folder / "waterfall.png")


def _right(verdict: Verdict, part: Part) -> bool:
    return verdict.outcome is (Outcome.FAIL if part.defects else Outcome.PASS)


def _summary(
    judged: list[tuple[CameraFrame, Verdict]], truth: dict[int, Part], stall_ms: float
) -> dict[str, float | int | str]:
    outcomes = [verdict.outcome for _, verdict in judged]
    pairs = [(verdict, truth[frame.number]) for frame, verdict in judged]
    took_ms = [(verdict.decided_ns - verdict.at_ns) / 1e6 for _, verdict in judged]
    return {
        "demo": "qc",
        "parts": len(truth),
        "verdicts": len(judged),
        "pass": outcomes.count(Outcome.PASS),
        "fail": outcomes.count(Outcome.FAIL),
        "not_inspected": outcomes.count(Outcome.NOT_INSPECTED),
        "right": sum(_right(*pair) for pair in pairs),
        "escapes": sum(bool(part.defects) and verdict.outcome is Outcome.PASS for verdict, part in pairs),
        "false_rejects": sum(not part.defects and verdict.outcome is Outcome.FAIL for verdict, part in pairs),
        "late": sum(verdict.decided_ns > verdict.due_ns for _, verdict in judged),
        "p50_ms": round(percentile(took_ms, 50), 1),
        "p95_ms": round(percentile(took_ms, 95), 1),
        "max_ms": round(max(took_ms), 1),
        "loop_stall_ms": round(stall_ms, 1),
    }


def _table(judged: list[tuple[CameraFrame, Verdict]], truth: dict[int, Part]) -> Table:
    table = Table(title="Verdicts (due 200 ms after the sensor's timestamp)", title_justify="left")
    for name in ("part", "truth", "verdict", "why", "ms", ""):
        table.add_column(name, justify="right" if name in {"part", "ms"} else "left")
    styles = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.NOT_INSPECTED: "yellow"}
    for frame, verdict in judged:
        part = truth[frame.number]
        real = f"{part.kind}: {', '.join(each.kind for each in part.defects) or 'sound'}"
        took_ms = (verdict.decided_ns - verdict.at_ns) / 1e6
        outcome = f"[{styles[verdict.outcome]}]{verdict.outcome}[/]"
        mark = "" if _right(verdict, part) else "[bold red]wrong[/]"
        table.add_row(str(frame.number), real, outcome, verdict.why, f"{took_ms:.0f}", mark)
    return table
