"""`edgeapp calibrate`: run every stage's local engines thousands of times on real inputs, and keep how long they took.

What is kept bounds local runs in this state of the platform (`apps/bounds.py`). A run that was cut short goes on where it
was: what is there counts.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.bounds import CONFIDENCE, COVERAGE, Runs, bound_ns, file_of, model_hash, rank, read_runs
from edgeapp.apps.gate import admit
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, CameraFrame, Clause, ConfigError, Prompt, TimestampKind, Utterance
from edgeapp.core.lane import Lane
from edgeapp.core.record import AnyRecord, Record
from edgeapp.core.stage import Stage
from edgeapp.models.store import bundled_root
from edgeapp.observe.platform_state import platform_state, state_hash
from edgeapp.voice.content import Content, facts, load_content
from edgeapp.voice.endpoint import FRAME_SAMPLES
from edgeapp.voice.grammar import kiosk_grammar
from edgeapp.voice.relevance import relevant

RUNS: Final = 3_000
ROLES: Final = ("stt", "llm", "tts", "detect")
_ASSETS: Final = Path(__file__).parent / "assets"
_KEEP_EVERY: Final = 100  # runs; so many are lost at most when it is stopped
_WARM_UP: Final = 5


async def calibrate(config: settings.Config, roles: tuple[str, ...], runs: int, *, again: bool) -> bool:
    """Run the chosen stages (all by default) and print their bounds; returns whether every one has enough runs.

    Raises ConfigError if an engine does not load, or if what is kept is no calibration.
    """
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    state = platform_state()
    console.print(f"Platform state {state_hash(state)}: {', '.join(f'{key} {value}' for key, value in state.items())}")
    console.print(f"load {os.getloadavg()[0]:.2f}: what else runs now is inside the bounds")
    rows: list[dict[str, Any]] = []
    for role, section in _sections(config, roles):
        kept = await _calibrated(config, role, section, state, runs, again=again, console=console)
        rows.append(_row(role, section, kept.took_ns))
    _show(console, rows)
    print(json.dumps({"calibrate": state_hash(state), "coverage": COVERAGE, "confidence": CONFIDENCE, "engines": rows}))
    return all(row["bound_ms"] is not None for row in rows)


def _sections(config: settings.Config, roles: tuple[str, ...]) -> Iterator[tuple[str, settings.Engine]]:
    voice, vision = config.voice, config.vision
    stages = {"stt": voice.stt, "llm": voice.llm, "tts": voice.tts, "detect": vision.detect}
    wanted = {"kiosk": ("stt", "llm", "tts"), "qc": ("detect",), "device": ROLES}[config.app]
    for role in roles or wanted:
        yield role, stages[role]
        for smaller in stages[role].smaller:
            yield role, smaller


async def _calibrated(
    config: settings.Config, role: str, section: settings.Engine, state: dict[str, str], runs: int,
    *, again: bool, console: Console,
) -> Runs:  # fmt: skip
    """Make as many runs as are missing, keeping them from time to time."""
    path = file_of(section, role, state)
    kept = None if again else read_runs(path)
    kept = kept or Runs(
        engine=section.engine,
        options=section.options,
        model=model_hash(section, role),
        platform=state,
        took_ns=[],
    )
    sure = len(kept.took_ns)  # runs that were surely made in this state
    missing = runs - sure
    if missing <= 0:
        return kept
    where = "vision.detect" if role == "detect" else f"voice.{role}"
    records: list[Record] = []

    def sink(record: AnyRecord) -> None:
        if isinstance(record, Record):
            records.append(record)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    async with AsyncExitStack() as stack:
        lane = Lane(where)
        stack.callback(lane.close)
        engine = await admit(section, where, stack, lane, sink)
        requests = await _requests(config, role, engine)
        stage: Stage[Any, Any] = Stage(role, engine, lane, local_prior_ns=1_000 * MS, sink=sink)
        try:
            with Progress(*columns, console=console) as progress:
                task = progress.add_task(f"{role} ({section.engine})", total=runs, completed=len(kept.took_ns))
                for n, request in enumerate(itertools.islice(requests, missing + _WARM_UP)):
                    await _once(stage, engine, request)
                    took_ns = records.pop().local_took_ns
                    records.clear()
                    if n < _WARM_UP or took_ns is None:
                        continue
                    kept.took_ns.append(took_ns)
                    progress.advance(task)
                    if len(kept.took_ns) % _KEEP_EVERY == 0:
                        _same_state(state, kept, sure)
                        sure = len(kept.took_ns)
                        _keep(path, kept)
            _same_state(state, kept, sure)
        finally:
            _keep(path, kept)
    return kept


def _same_state(state: dict[str, str], kept: Runs, sure: int) -> None:
    """Forget the runs after the first `sure` ones, and raise ConfigError, if the platform is in another state now."""
    now = platform_state()
    changed = sorted(key for key in now.keys() | state.keys() if now.get(key) != state.get(key))
    if changed:
        del kept.took_ns[sure:]
        raise ConfigError(
            f"{changed[0]} changed from {state.get(changed[0])} to {now.get(changed[0])} while calibrating: keep clocks "
            "and power mode as they are, then run it again; what was measured before that is kept"
        )


async def _once(stage: Stage[Any, Any], engine: Any, request: Any) -> None:
    if isinstance(request, Utterance) and hasattr(engine, "hear"):  # as in a conversation, it has listened along
        for start in range(0, len(request.samples), FRAME_SAMPLES):
            await engine.hear(request.number, request.samples[start : start + FRAME_SAMPLES])
    answer = await stage(request, due_ns=now_ns() + 60_000 * MS, of="calibration")
    close = getattr(answer, "aclose", None)
    if close is not None:
        await close()


async def _requests(config: settings.Config, role: str, engine: Any) -> Iterator[Any]:
    """What the stage is really asked, over and over: the demo's questions, the content's sentences, drawn parts."""
    content = load_content(Path(config.voice.content) if config.voice.content else _ASSETS / "kiosk.toml")
    if role == "stt":
        if hasattr(engine, "use_grammar"):
            names = [item.name for item in content.items]
            await engine.use_grammar(kiosk_grammar(names, list(content.hours), list(content.zones)).sentences)
        return _utterances()
    if role == "llm":
        return _prompts(content, config.voice)
    if role == "tts":
        return (Clause(line.capitalize()) for line in itertools.cycle(facts(content).split("\n")) if line)
    return _frames()


def _questions() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = msgspec.toml.decode((_ASSETS / "questions" / "questions.toml").read_bytes())[
        "questions"
    ]
    return rows


def _utterances() -> Iterator[Utterance]:
    from edgeapp.devices.files import read_clip

    clips = [read_clip(_ASSETS / "questions" / row["file"]) for row in _questions()]
    for number, samples in enumerate(itertools.cycle(clips), 1):
        yield Utterance(number=number, samples=samples, ended_ns=now_ns())


def _prompts(content: Content, voice: settings.Voice) -> Iterator[Prompt]:
    every = facts(content)
    texts = [row["text"] for row in _questions()]
    for text in itertools.cycle(texts):
        system = relevant(every, text, voice.facts_per_question) if voice.facts_per_question else every
        yield Prompt(system, (), text, max_tokens=voice.max_tokens)


def _frames() -> Iterator[CameraFrame]:
    import cv2

    paths = sorted((bundled_root() / "qc-yolo11n" / "golden").glob("*.jpg"))
    if not paths:
        raise ConfigError("the pictures of the model qc-yolo11n are missing: install edgeapp again")
    pictures: list[Any] = [cv2.imread(str(path)) for path in paths]
    for number, pixels in enumerate(itertools.cycle(pictures), 1):
        yield CameraFrame(pixels, now_ns(), number, "calibration", TimestampKind.FILE)


def _keep(path: Path, runs: Runs) -> None:
    """Replace the file at once, so that a kill leaves the old one or the new one."""
    new = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(msgspec.json.encode(runs))
        new.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot keep the calibration in {path}: {error.strerror}; set EDGEAPP_HOME") from error


def _row(role: str, section: settings.Engine, took_ns: list[int]) -> dict[str, Any]:
    bound, place = bound_ns(took_ns), rank(len(took_ns))
    return {
        "stage": role,
        "engine": section.engine,
        "runs": len(took_ns),
        "median_ms": round(statistics.median(took_ns) / 1e6, 2) if took_ns else None,
        "bound_ms": round(bound / 1e6, 2) if bound else None,
        "longest_ms": round(max(took_ns) / 1e6, 2) if took_ns else None,
        "bound_is": None if place is None else "the longest run" if place == 1 else f"run {place} from the longest",
    }


def _show(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(
        title=f"{COVERAGE:.1%} of the runs stay within the bound, with {CONFIDENCE:.0%} confidence (Wilks)",
        title_justify="left",
    )
    for name in ("stage", "engine", "runs", "median ms", "bound ms", "longest ms", "the bound is"):
        table.add_column(name, justify="right" if name.endswith("ms") or name == "runs" else "left")
    for row in rows:
        few = "nothing yet: it takes 2,995 runs"
        table.add_row(*[few if key == "bound_is" and value is None else str(value or "") for key, value in row.items()])
    console.print(table)
