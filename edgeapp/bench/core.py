"""`edgeapp bench core`: what the application itself costs, on this machine, now. Ratios where something can be compared."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgeapp.core.events import MS, CameraFrame, TimestampKind
from edgeapp.core.flow import Recent
from edgeapp.core.hedge import hedge
from edgeapp.core.link import Link
from edgeapp.core.placement import Situation, Terms, place
from edgeapp.observe.percentile import percentile

_ROOT: Final = Path(__file__).parent.parent.parent

MODEL_LIBRARIES: Final = {
    "ctranslate2", "cv2", "faster_whisper", "matplotlib", "numpy", "onnxruntime", "piper", "pocketsphinx", "torch",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One promise of speed or size, as measured."""

    name: str
    value: float
    limit: float
    unit: str
    ok: bool
    note: str = ""


def at_most(name: str, value: float, limit: float, unit: str, note: str = "") -> Bar:
    return Bar(name, round(value, 4), limit, unit, value <= limit, note)


Step = Callable[[bool], list[Bar] | str]
"""Measures something, quickly or not: bars, or why it cannot be measured here. Its docstring says what it does."""


def bench_core(*, quick: bool) -> int:
    """Measure every bar that can be measured here; 1 if one is missed, else 0."""
    return run_bench("core", [_placing, _hedging, _turns, _frames, _help, _kiosk, _detector], quick=quick)


def run_bench(name: str, steps: Sequence[Step], *, quick: bool, figures: dict[str, Any] | None = None) -> int:
    """Measure step by step, print a table on stderr and one line of JSON, with `figures` in it; 1 if a bar is missed."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    console.print(conditions(quick=quick))
    bars: list[Bar] = []
    skipped: list[str] = []
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console) as progress:
        for step in steps:
            task = progress.add_task(step.__doc__ or "")
            found = step(quick)
            progress.remove_task(task)
            if isinstance(found, str):
                skipped.append(found)
            else:
                bars += found
    return report(name, bars, skipped, console, {"quick": quick, **(figures or {})})


def conditions(*, quick: bool) -> str:
    """What a bench's figures hang on, in one line."""
    return (
        f"Conditions: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.2f} before, {'quick' if quick else 'full'} run"
    )


def report(name: str, bars: Sequence[Bar], skipped: Sequence[str], console: Console, figures: dict[str, Any]) -> int:
    """Print the table on the console and one line of JSON on stdout, with `figures` in it; 1 if a bar is missed."""
    console.print(_table(name, bars))
    for why in skipped:
        console.print(f"not measured: {escape(why)}")
    shown = [
        {key: value for key, value in asdict(bar).items() if key in {"name", "value", "limit", "ok"}} for bar in bars
    ]
    line = {"bench": name, "load": os.getloadavg()[0], "skipped": list(skipped)}
    print(json.dumps(line | figures | {"bars": shown}))
    return 0 if all(bar.ok for bar in bars) else 1


def _table(name: str, bars: Sequence[Bar]) -> Table:
    table = Table(title=f"edgeapp bench {name}", title_justify="left")
    for column in ("bar", "value", "limit", "unit", "", "how"):
        table.add_column(column, justify="right" if column in {"value", "limit"} else "left")
    for bar in bars:
        table.add_row(
            bar.name,
            f"{bar.value:g}",
            f"{bar.limit:g}",
            bar.unit,
            "[green]ok[/]" if bar.ok else "[red]missed[/]",
            escape(bar.note),
        )
    return table


def _placing(_: bool) -> list[Bar]:
    """placing calls"""
    link = Link("edge")
    for n in range(200):
        link.took(n * MS, 2_000, (15 + n % 20) * MS, late=False)
    now_ns = 200 * MS

    def once() -> None:
        place(Situation(now_ns, now_ns + 200 * MS, 60 * MS, now_ns + 138 * MS, link.tail(now_ns, 2_000)), Terms())

    runs = timeit.repeat(once, number=200, repeat=50)
    took_us = sorted(run / 200 * 1e6 for run in runs)
    return [
        at_most(
            "place_median_us",
            statistics.median(took_us),
            20,
            "us",
            "median of 50 x 200 calls, the link's tail included",
        )
    ]


def _hedging(_: bool) -> list[Bar]:
    """hedging calls"""

    async def answer() -> int:
        await asyncio.sleep(0)
        return 1

    async def measure() -> list[float]:
        far_ns = round((asyncio.get_running_loop().time() + 3_600) * 1e9)
        over_us = []
        for _ in range(2_000):  # paired and alternating
            start = time.perf_counter_ns()
            await answer()
            bare = time.perf_counter_ns()
            await hedge(answer, answer, local_at_ns=far_ns)
            over_us.append(((time.perf_counter_ns() - bare) - (bare - start)) / 1e3)
        return over_us

    over_us = asyncio.run(measure())
    note = f"2,000 pairs; p99 {percentile(over_us, 99):.0f} us"
    return [at_most("hedge_over_bare_await_us", statistics.median(over_us), 100, "us", note)]


def _turns(quick: bool) -> list[Bar]:
    """voice turns with scripted engines"""
    costs = last_json([sys.executable, "-m", "edgeapp.bench.own_cost", "100" if quick else "300"])
    note = f"{len(costs)} turns, last captured sample to audible minus the stages' work; median {statistics.median(costs):.2f} ms"
    return [at_most("own_cost_per_voice_turn_p95_ms", percentile(costs, 95), 3, "ms", note)]


def _frames(_: bool) -> list[Bar]:
    """frames through the channel"""

    async def measure() -> tuple[bool, float]:
        recent: Recent[CameraFrame] = Recent(depth=1)
        frame = CameraFrame(np.zeros((1080, 1920, 3), np.uint8), 0, 1, "camera", TimestampKind.FILE)
        start = time.perf_counter_ns()
        for _ in range(1_000):
            recent.put(frame)
            same = await recent.get()
        return same.pixels is frame.pixels, (time.perf_counter_ns() - start) / 1e6

    same, took_us = asyncio.run(measure())
    note = f"a 1080p frame put and got in {took_us:.1f} us"
    return [Bar("recent_copies_of_pixels", 0 if same else 1, 0, "copies", same, note)]


def _help(quick: bool) -> list[Bar]:
    """edgeapp --help"""
    command = [sys.executable, "-m", "edgeapp", "--help"]
    took_s = []
    for _ in range(5 if quick else 15):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        took_s.append(time.perf_counter() - start)
    script = "import sys; import edgeapp.cli; print(' '.join(m for m in sys.modules if '.' not in m))"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )
    heavy = loaded & MODEL_LIBRARIES
    return [
        at_most("help_median_s", statistics.median(took_s), 0.3, "s", f"{len(took_s)} whole processes"),
        Bar("help_imports_model_libraries", len(heavy), 0, "modules", not heavy, ", ".join(sorted(heavy))),
    ]


def _kiosk(quick: bool) -> list[Bar]:
    """the kiosk on its embedded models, in a process of its own"""
    idle = last_json([sys.executable, "-m", "edgeapp.bench.idle_kiosk", "5" if quick else "20"])
    with tempfile.TemporaryDirectory() as folder:
        demo = last_json(
            [sys.executable, "-m", "edgeapp", "demo", "kiosk", "--out", folder, *(["--turns", "4"] if quick else [])]
        )
    note = f"{demo['turns']} spoken turns; first audible p50 {demo['p50_ms']} ms, p95 {demo['p95_ms']} ms"
    return [
        at_most("kiosk_rss_mb", max(idle["rss_mb"], demo["rss_mb"]), 600, "MB", "peak, the demo's recording included"),
        at_most("kiosk_silent_cpu_share", idle["cpu_share"], 0.10, "of a core", f"{idle['seconds']} s of near silence"),
        at_most("demo_loop_stall_ms", demo["loop_stall_ms"], 20, "ms", note),
    ]


def _detector(quick: bool) -> list[Bar] | str:
    """the detector beside ultralytics"""
    script = _ROOT / "scripts" / "bench_detect.py"
    python = os.environ.get("EDGEAPP_TRAIN_PYTHON", sys.executable)
    there = subprocess.run([python, "-c", "import ultralytics"], capture_output=True, check=False)
    if there.returncode or not script.exists():
        return (
            "detect_yolo against ultralytics: pip install 'edgeapp[train]', or set EDGEAPP_TRAIN_PYTHON "
            "to a Python that has ultralytics, msgspec, onnx and onnxruntime"
        )
    result = last_json([python, str(script), "--threads", "1", *(["--quick"] if quick else ["--runs", "120"])])
    notes = {
        f"detect_to_ultralytics_{row['threads']}_threads": f"one thread, medians {row['ours_ms']['median']} and "
        f"{row['theirs_ms']['median']} ms at {row['frames'][0]}"
        for row in result["rows"]
    }
    return [Bar(**bar, unit="", note=notes.get(bar["name"], result["conditions"])) for bar in result["bars"]]


def last_json(command: list[str]) -> Any:
    """Run a command and parse the last line it prints. What it says on stderr is passed on if that is no JSON.

    Raises SystemExit in one sentence, also if it takes longer than ten minutes.
    """
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "YOLO_OFFLINE": "true"}
    what = f"edgeapp bench: {' '.join(command)}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=env)
        return json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"{what} was not done after {error.timeout:g} s: measure when the machine is idle") from error
    except (IndexError, ValueError) as error:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"{what} printed no result and exited with {done.returncode}") from error
