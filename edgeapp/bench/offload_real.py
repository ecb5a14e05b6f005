"""`edgeapp bench offload --real`: the whole real path through an outage and a kill -9, other rules beside it, cut answers.

A Triton on this machine, a relay in a process of its own that makes the link a car's 5G, the bundled detectors here and
there. Device, relay and server share this machine's cores, which a device and its near edge do not.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgeapp.bench.core import Bar, at_most, report
from edgeapp.bench.cut_stream import CutAnswer, cut_answers
from edgeapp.bench.line import Pictures, Plan, Ran, draw_pictures, run_line
from edgeapp.bench.local_bound import LocalBound, measure_bound
from edgeapp.bench.near_edge import lending
from edgeapp.bench.real_score import LATE_LOCAL, LATE_REMOTE, LOCAL, RACE, RealScore, harm, missed, score, way
from edgeapp.core.events import MS, ConfigError
from edgeapp.near_edge.environment import no_wheel
from edgeapp.near_edge.repository import Served
from edgeapp.near_edge.serve import Server, Settings, serving
from edgeapp.observe.jsonl import JsonLines

FRAMES: Final = 2_000
_QUICK_FRAMES: Final = 120
_SERVED: Final = (Served("detector", "detector", "qc-yolo11n"), Served("llm", "llm", "kiosk-lm"))
_RIVALS: Final = ("edgeapp", "local", "remote", "seed-repaired", "race")
_TOLD: Final = 12  # misses that are printed one by one
Tell = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Size:
    """How much is measured."""

    frames: int
    rival_frames: int
    warm_frames: int
    bound_runs: int
    pairs: int
    pictures: int
    quick: bool

    def plans(self, seed: int) -> list[Plan]:
        """The long run first, then every rule through the same shorter weather, with one outage."""
        last_s, rival_s = self.frames / 10, self.rival_frames / 10
        long = Plan(
            "belt", "edgeapp", self.frames, warm_frames=self.warm_frames, seed=seed,
            outage_s=(0.3 * last_s, 0.3 * last_s + min(20.0, 0.1 * last_s)),
            kill_s=0.65 * last_s, restart_after_s=min(5.0, 0.025 * last_s),
        )  # fmt: skip
        away = (0.3 * rival_s, 0.6 * rival_s)
        rivals = _RIVALS[1:3] if self.quick else _RIVALS
        return [long] + [
            Plan(f"belt-{policy}", policy, self.rival_frames, outage_s=away, warm_frames=self.warm_frames, seed=seed)
            for policy in rivals
        ]


def size_of(*, quick: bool, frames: int | None) -> _Size:
    """The full bench, or one that ends within 50 seconds."""
    if quick:
        return _Size(frames or _QUICK_FRAMES, 25, 25, 150, 60, 40, quick=True)
    return _Size(frames or FRAMES, 200, 40, 3_000, 400, 100, quick=False)


async def bench_offload_real(*, quick: bool, frames: int | None, seed: int, out: Path) -> int:
    """Measure, print, draw; 1 if a bar is missed, else 0. Records go to `out`/records.jsonl, for `edgeapp explain`.

    Raises ConfigError if Triton, the relay or a model does not start here.
    """
    if why := no_wheel():
        raise ConfigError(f"the real bench needs a Triton: {why}")
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 170)
    size = size_of(quick=quick, frames=frames)
    console.print(
        f"Real: {platform.machine()}, {os.cpu_count()} cores for device, relay and Triton, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.2f} before; seed {seed}, {size.frames} frames at 10 fps, "
        "due after 200 ms"
    )
    path = out / "records.jsonl"
    records = JsonLines(path, max_bytes=256_000_000)
    try:
        with _progress(console) as begin:
            bound, runs, answers = await _measure(size, seed, records, begin)
            figures: dict[str, Any] = {}
            begin("calls lent to a Triton, ours and tritonclient's", 0)
            lent = await lending(figures, size.pairs)
    finally:
        records.close()
    scores = [score(ran) for ran in runs]
    _show(console, bound, scores, answers)
    _tell_misses(console, runs)
    _tell_examples(console, runs, path)
    from edgeapp.bench.real_plot import draw

    console.print(f"drawn: {draw(runs[0], scores[0], out)}")
    return report(
        "offload", _bars(scores, answers) + lent, [], console,
        {"real": True, "quick": quick, "seed": seed, **figures, **_figures(bound, scores, answers)},
    )  # fmt: skip


async def _measure(
    size: _Size, seed: int, records: JsonLines, begin: Callable[[str, int], Tell]
) -> tuple[LocalBound, list[Ran], list[CutAnswer]]:
    pictures = await draw_pictures(size.pictures, seed)
    begin("Triton, its models loaded", 0)
    async with serving(Settings(models=_SERVED), watch=False) as server:
        tell = begin("local runs beside a busy near edge", size.bound_runs)
        bound = await measure_bound(server, pictures, size.bound_runs, tell)
        runs = [await _run(plan, server, pictures, bound, records, begin) for plan in size.plans(seed)]
        tell = begin("answers cut in their middle", 0)
        answers = await cut_answers(server, weather="5g-driving", seed=seed, quick=size.quick, tell=tell)
    return bound, runs, answers


async def _run(
    plan: Plan, server: Server, pictures: Pictures, bound: LocalBound, records: JsonLines,
    begin: Callable[[str, int], Tell],
) -> Ran:  # fmt: skip
    tell = begin(f"frames, policy {plan.policy}", plan.frames + plan.warm_frames)
    return await run_line(plan, server, pictures, bound.ns, records, tell, calibrated=bound.proven)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Tell]]:
    """Give a function that begins the next thing (its name, how often it happens or 0) and gives what to call each time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:

        def begin(name: str, total: int) -> Tell:
            for before in progress.tasks:
                if not before.finished:
                    progress.update(before.id, total=max(1, before.completed), completed=max(1, before.completed))
            task = progress.add_task(name, total=total or None)
            if not console.is_terminal:  # a bar would be drawn only at the end
                console.print(f"now: {name}{f', {total:,}' if total else ''}")
            return lambda: progress.advance(task)

        yield begin


def _bars(scores: Sequence[RealScore], answers: Sequence[CutAnswer]) -> list[Bar]:
    ours = [each for each in scores if each.policy == "edgeapp"]
    frames, misses = sum(each.frames for each in ours), sum(each.misses for each in ours)
    cut = [each for each in answers if each.in_the_middle]
    wrong = sum(each.wrong_words for each in answers)
    return [
        at_most("misses_local_would_have_met", sum(each.harm for each in ours), 0, "frames",
                f"policy edgeapp, {frames:,} frames; {misses} misses in all"),
        at_most("frames_without_one_verdict", sum(each.without_one_verdict for each in scores), 0, "frames",
                f"of {sum(each.frames for each in scores):,}, every policy"),
        at_most("words_lost_or_repeated", wrong, 0, "words",
                f"{len(answers)} answers, {len(cut)} of them cut in their middle"),
        Bar("answers_cut_in_their_middle", len(cut), 1, "answers at least", bool(cut), "the others fell back at their beginning"),
    ]  # fmt: skip


def _figures(bound: LocalBound, scores: Sequence[RealScore], answers: Sequence[CutAnswer]) -> dict[str, Any]:
    """For the line of JSON, which knows no inf and no nan."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return (round(value, 4) if isfinite(value) else None) if isinstance(value, float) else value

    local = {"bound_ms": bound.ns / MS, "runs": bound.runs, "median_ms": bound.median_ms, "proven": bound.proven}
    figures = {"local": local, "runs": [asdict(each) for each in scores], "answers": len(answers)}
    made: dict[str, Any] = plain(figures)
    return made


def _show(console: Console, bound: LocalBound, scores: Sequence[RealScore], answers: Sequence[CutAnswer]) -> None:
    how = "99.9 % with 95 % confidence" if bound.proven else "a quarter more than the longest: too few runs to prove"
    console.print(
        f"local bound {bound.ns / MS:.1f} ms ({how}; {bound.runs:,} runs beside a busy Triton, median "
        f"{bound.median_ms:.1f} ms, longest {bound.longest_ms:.1f} ms)"
    )
    table = Table(title="through Triton over 5g-driving", title_justify="left")
    table.add_column("policy")
    for name in (
        "frames", "misses", "harm", "burst", "remote %", "late won", "late fell back", "local", "race", "local runs %",
        "requests %", "breaker", "kB up", "energy", "p50 ms", "p95", "p99", "max", "stall ms",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for each in scores:
        table.add_row(*_cells(each), style="bold" if each.policy == "edgeapp" else "")
    console.print(table)
    for each in scores:
        for trouble in each.troubles:
            console.print(
                f"{each.source}: {trouble.name} from {trouble.start_s:.1f} to {trouble.end_s:.1f} s; first frame kept here "
                f"{_seconds(trouble.detected_s)} after its start, served remotely again {_seconds(trouble.recovered_s)} after its end"
            )
    for answer in answers:
        if answer.wrong_words:
            console.print(escape(f"after {answer.after} pieces, {answer.how}: {answer.said!r}, alone {answer.alone!r}"))


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if isfinite(value) else "never"


def _cells(one: RealScore) -> Iterator[str]:
    yield one.policy
    yield from (f"{each:,}" for each in (one.frames, one.misses, one.harm, one.burst))
    yield f"{one.remote_share:.1%}".rstrip("%")
    yield from (f"{each:,}" for each in (one.late_remote, one.late_local, one.local, one.race))
    yield from (f"{each:.0%}".rstrip("%") for each in (one.local_runs, one.requests))
    yield f"{one.breaker_opened}"
    yield f"{one.up_kb:.1f}"
    yield f"{one.energy:.2f}"
    yield from (f"{each:.0f}" for each in (one.p50_ms, one.p95_ms, one.p99_ms, one.longest_ms, one.stall_ms))


def _tell_misses(console: Console, runs: Sequence[Ran]) -> None:
    """Ours, one by one: every one of them has to be understood."""
    for ran in runs:
        if ran.plan.policy != "edgeapp":
            continue
        hurt = set(harm(ran))
        late = [n for n, (verdict, *_) in sorted(ran.verdicts.items()) if missed(verdict)]
        for number in late[:_TOLD]:
            call, local_ns = ran.calls.get(number), ran.local_ns.get(number)
            verdict = ran.verdicts[number][0]
            text = f"missed: {ran.plan.source} {number}, {'HARM' if number in hurt else 'local would have missed it too'}; "
            text += f"{verdict.why}, decided after {(verdict.decided_ns - verdict.at_ns) / MS:.1f} ms; "
            text += f"local ran {local_ns / MS:.1f} ms" if local_ns else "local did not run"
            if call:
                text += f", bound {call.local_ns / MS:.1f} ms; asked after {(call.asked_ns - verdict.at_ns) / MS:.1f} ms; {call.why}"
                text += (
                    f"; remote {call.remote_end} {(call.remote_took_ns or 0) / MS:.0f} ms" if call.remote_end else ""
                )
            console.print(escape(text))
        if len(late) > _TOLD:
            console.print(f"... and {len(late) - _TOLD} more misses of {ran.plan.source}")


def _tell_examples(console: Console, runs: Sequence[Ran], path: Path) -> None:
    """One frame of each way, to be explained."""
    for name in (LOCAL, LATE_REMOTE, LATE_LOCAL, RACE):
        for ran in runs:
            found = next((n for n, call in sorted(ran.calls.items()) if way(call) == name), None)
            if found is not None:
                console.print(f'{name}: edgeapp explain "{ran.plan.source} {found}" --records {path}')
                break
