"""`edgeapp bench offload --simulated`: every policy and both oracles in the same worlds, on virtual time.

Every call goes through the application's own stage, link, lane and placement; only time, the remote and local work are
simulated. Ours and always-local are asked every call, since harm is counted against a million; the rivals, whose misses
are plentiful, every fifth's worth of them from the beginning.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import signal
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from edgeapp.bench.measures import Score, best_fixed, oracle, score, upper_bound
from edgeapp.bench.offload_plot import draw, ready
from edgeapp.bench.simulate import Played, play
from edgeapp.bench.worlds import CALIBRATION_RUNS, DUE_NS, LOCAL_MEDIAN_MS, RECIPES, Recipe, World, make_world
from edgeapp.core.events import ConfigError
from edgeapp.core.policies import POLICIES
from edgeapp.near_edge.trace import load_trace

CALLS: Final = 100_000
QUICK_CALLS: Final = 2_400
_RIVALS_SHARE: Final = 5
_RESULT: Final = "offload.json"
_QUICK: Final = (
    "fibre",
    "wifi",
    "5g-driving",
    "wifi, outages",
    "5g-driving, outages",
    "two stages, 5g-driving, outages",
)
_SHOWN: Final = "5g-driving, outages"


def bench_offload(*, quick: bool, calls: int | None, seed: int, traces: Sequence[Path], out: Path) -> int:
    """Play, print, draw; 1 if a bar is missed, else 0. Raises ConfigError for a trace that is none, or without matplotlib."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 170)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _RESULT).touch()  # now, and not when everything was played
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}; give another folder with --out") from error
    ready()
    recorded = [Recipe(f"trace {path.stem}", load_trace(path)) for path in traces]
    recorded += [replace(each, name=f"{each.name}, outages", outages=True) for each in recorded]
    recipes = [*[each for each in RECIPES if not quick or each.name in _QUICK], *recorded]
    calls = calls or (QUICK_CALLS if quick else CALLS)
    rivals = calls if quick else max(1, calls // _RIVALS_SHARE)
    console.print(
        f"Simulated, virtual time: {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.2f}; "
        f"seed {seed}, {calls:,} calls a world ({rivals:,} for the rivals), due after {DUE_NS / 1e6:.0f} ms; local "
        f"log-normal, median {LOCAL_MEDIAN_MS:g} ms, 1 of 1,000 takes 1.6 times as long; bound from {CALIBRATION_RUNS:,} runs"
    )
    played = _play_all(recipes, calls, rivals, seed, console)
    scores: list[Score] = []
    for recipe in recipes:
        world, runs = _world(recipe, calls, seed), played[recipe.name]
        found = [score(world, run, runs["local"]) for run in runs.values()]
        fixed = best_fixed(found)
        found += [oracle(world, calls), replace(fixed, policy=f"best fixed ({fixed.policy})")]
        show(console, f"{world.name} (local bound {world.bound_ns / 1e6:.0f} ms)", found)
        scores += found
        if recipe.name == _SHOWN or (recipe is recipes[-1] and _SHOWN not in played):
            console.print(f"drawn: {draw(world, runs, out)}")
    healthy = {recipe.name for recipe in recipes if recipe.healthy}
    bars = _bars(scores, {name: _prefix(runs) for name, runs in played.items()}, healthy)
    for bar in bars:
        console.print(
            f"{'ok' if bar['ok'] else 'MISSED':>6}  {bar['name']}: {bar['value']:g} (bar {bar['limit']:g}; {bar['note']})"
        )
    shown = [{key: _plain(value) for key, value in asdict(each).items()} for each in scores]
    print(
        json.dumps({"bench": "offload", "simulated": True, "quick": quick, "seed": seed, "calls": calls, "bars": bars})
    )
    (out / _RESULT).write_text(json.dumps({"seed": seed, "scores": shown, "bars": bars}, indent=1))
    return 0 if all(bar["ok"] for bar in bars) else 1


@lru_cache(maxsize=2)
def _cached(recipe: Recipe, calls: int, seed: int) -> World:
    return make_world(recipe, calls, seed)


def _world(recipe: Recipe, calls: int, seed: int) -> World:
    return _cached(recipe, calls, seed)


def _play_one(recipe: Recipe, policy: str, calls: int, of_calls: int, seed: int) -> tuple[str, Played]:
    """In a process of its own: the first `calls` calls of a world of `of_calls`."""
    world = _world(recipe, of_calls, seed)
    part = replace(
        world, asked_ns=world.asked_ns[:calls], remote_ns=world.remote_ns[:calls], local_ns=world.local_ns[:calls]
    )
    return recipe.name, play(part, policy)


def _play_all(
    recipes: Sequence[Recipe], calls: int, rivals: int, seed: int, console: Console
) -> dict[str, dict[str, Played]]:
    """By world and policy, in the order of `POLICIES`."""
    jobs: list[tuple[Recipe, str, int, int, int]] = [
        (recipe, policy, calls if policy in {"edgeapp", "local"} else rivals, calls, seed)
        for recipe in recipes
        for policy in POLICIES
    ]
    found: dict[str, dict[str, Played]] = {recipe.name: {} for recipe in recipes}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    workers = max(1, min(os.cpu_count() or 1, len(jobs)))
    with (
        Progress(*columns, console=console) as progress,
        _processes(workers) as pool,
    ):
        task = progress.add_task("calls played", total=sum(job[2] for job in jobs))
        waiting = {pool.submit(_play_one, *job): job for job in jobs}
        for done in as_completed(waiting):
            name, run = done.result()
            found[name][run.policy] = run
            if len(found[name]) == len(POLICIES) and not console.is_terminal:  # a bar would be drawn only at the end
                played = sum(len(runs) for runs in found.values())
                console.print(f"{played} of {len(jobs)} runs played; the last: {name}")
            progress.advance(task, waiting[done][2])
    return {name: {policy: runs[policy] for policy in POLICIES} for name, runs in found.items()}


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once, and without a word, when Ctrl-C or an error ends the block."""
    ignore_ctrl_c = (signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to them too; they are ended below
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=spawn, initializer=signal.signal, initargs=ignore_ctrl_c) as pool:
        before = multiprocessing.active_children()
        try:
            yield pool
        except BaseException:
            for process in multiprocessing.active_children():
                if process not in before:
                    process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _prefix(runs: dict[str, Played]) -> tuple[int, int]:
    """Misses of ours and of the seed repaired, over the calls that both were asked."""
    theirs = runs["seed-repaired"].late_ns
    ours = runs["edgeapp"].late_ns[: len(theirs)]
    return sum(late_ns > 0 for late_ns in ours), sum(late_ns > 0 for late_ns in theirs)


def _bars(
    scores: Sequence[Score], misses: dict[str, tuple[int, int]], healthy: Collection[str]
) -> list[dict[str, Any]]:
    """What was promised and can be measured in these worlds."""
    ours = [each for each in scores if each.policy == "edgeapp"]
    hurt = max(ours, key=lambda one: one.harm_per_million)
    calls, harm = sum(each.calls for each in ours), sum(each.harm for each in ours)
    bars = [
        _bar("harm_per_million", hurt.harm_per_million, 100, at_most=True,
             note=f"worst world: {hurt.world}; all worlds: {harm} of {calls:,} calls, with 95 % confidence below "
             f"{upper_bound(harm, calls) * 1e6:.0f}"),
    ]  # fmt: skip
    well = [each for each in ours if each.world in healthy]
    if well:
        least = min(well, key=lambda one: one.of_oracle)
        bars.append(_bar("remote_share_of_oracle", least.of_oracle, 0.97, at_most=False,
                         note=f"worst healthy world: {least.world}"))  # fmt: skip
    broken = [each for each in ours if each.outages]
    if broken:
        ratios = {each.world: misses[each.world][1] / max(1, misses[each.world][0]) for each in broken}
        worst = min(ratios, key=lambda name: ratios[name])
        bars.append(_bar("misses_seed_repaired_over_ours", ratios[worst], 10, at_most=False,
                         note=f"worst world with outages: {worst}, {misses[worst][1]} to {misses[worst][0]}"))  # fmt: skip
    used = [each for each in broken if each.used_before]
    if used:
        slow = max(used, key=lambda one: one.recover_worst_s)
        bars.append(_bar("recovery_after_link_s", slow.recover_worst_s, 10, at_most=True,
                         note=f"slowest of {sum(each.used_before for each in used)} outages: {slow.world}; "
                         f"its median {slow.recover_s:.1f} s"))  # fmt: skip
    return bars


def _bar(name: str, value: float, limit: float, *, at_most: bool, note: str) -> dict[str, Any]:
    ok = value <= limit if at_most else value >= limit
    return {"name": name, "value": round(value, 4) if isfinite(value) else 1e9, "limit": limit, "ok": ok, "note": note}


def _plain(value: Any) -> Any:
    """JSON knows no inf and no nan."""
    return None if isinstance(value, float) and not isfinite(value) else value


def show(console: Console, title: str, scores: Sequence[Score]) -> None:
    """A table of how each policy fared in one world."""
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    names = ("calls", "miss %", "harm/M", "95 % below", "remote %", "of oracle", "local runs %", "kB/call", "energy")
    for name in (*names, "detect s", "recover s", "worst", "burst"):
        table.add_column(name, justify="right")
    for each in scores:
        table.add_row(each.policy, *_cells(each), style="bold" if each.policy == "edgeapp" else "")
    console.print(table)


def _cells(one: Score) -> Iterator[str]:
    yield f"{one.calls:,}"
    yield f"{one.miss_share:.3%}".rstrip("%")
    yield f"{one.harm_per_million:.0f}"
    yield f"{one.harm_upper_per_million:.0f}"
    yield f"{one.remote_share:.1%}".rstrip("%")
    yield f"{one.of_oracle:.3f}"
    yield f"{one.local_runs:.1%}".rstrip("%")
    yield f"{one.kb_per_call:.1f}"
    yield f"{one.energy:.2f}"
    for value in (one.detect_s, one.recover_s, one.recover_worst_s):
        yield f"{value:.1f}" if isfinite(value) else "never" if value == float("inf") else ""
    yield str(one.burst)
