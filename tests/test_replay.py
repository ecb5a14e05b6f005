"""Replaying a recorded session, the simulated bench, and the measures both report."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from concurrent.futures import Future
from dataclasses import asdict, replace
from itertools import repeat
from math import inf
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sim import run
from worlds import OnLane, Script

from edgeapp.bench.measures import best_fixed, oracle, score, upper_bound
from edgeapp.bench.offload import _processes
from edgeapp.bench.simulate import THERE, play
from edgeapp.bench.worlds import RECIPES, World, make_world
from edgeapp.cli import cli
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Why
from edgeapp.core.record import Record
from edgeapp.core.stage import Stage
from edgeapp.observe.jsonl import JsonLines
from edgeapp.replay import _calls, _world, replay

SECOND = 1_000 * MS


def dying(calls: int = 240) -> World:
    """Four calls a second; the link answers after 20 ms and is dead from 30 s to 40 s."""
    asked = [SECOND + n * 250 * MS for n in range(calls)]
    dead = (30 * SECOND, 40 * SECOND)
    remote = [None if dead[0] <= at < dead[1] else 20 * MS for at in asked]
    return World("dying", asked, list(remote), [60 * MS] * calls, [dead], 70 * MS)


def test_an_outage_is_noticed_and_the_link_used_again_soon_after_it() -> None:
    world = dying()
    base = play(world, "local")
    ours, seed = (score(world, play(world, policy), base) for policy in ("edgeapp", "seed-repaired"))
    assert (ours.misses, ours.harm, ours.burst) == (0, 0, 0)
    assert ours.detect_s <= 1.0
    assert ours.recover_s <= 4.0
    assert 0.9 < ours.of_oracle <= 1.0
    assert seed.misses > 5  # its timeout of 150 ms and 60 ms of local are more than 200 ms


def test_policies_meet_the_same_calls_and_the_oracles_are_no_worse() -> None:
    recipe = next(each for each in RECIPES if each.name == "5g-driving, outages")
    world = make_world(recipe, 400, 3)
    assert make_world(recipe, 400, 3) == world
    runs = {policy: play(world, policy) for policy in ("edgeapp", "local", "remote")}
    scores = {policy: score(world, each, runs["local"]) for policy, each in runs.items()}
    knowing = oracle(world, 400)
    assert knowing.misses <= min(each.misses for each in scores.values())
    assert knowing.remote_share >= max(each.remote_share for each in scores.values())
    assert best_fixed(list(scores.values())).policy == "local"
    fewer_calls = replace(scores["remote"], calls=100, misses=2)
    assert best_fixed([fewer_calls, replace(scores["local"], calls=400, misses=4)]).policy == "local"
    assert scores["local"].detect_s >= 0
    again = play(world, "edgeapp")
    assert (again.late_ns, again.side, again.why) == (
        runs["edgeapp"].late_ns,
        runs["edgeapp"].side,
        runs["edgeapp"].why,
    )


def test_never_is_said_of_what_never_comes() -> None:
    world = dying()
    base = play(world, "local")
    always = score(world, play(world, "remote"), base)
    assert always.detect_s == inf
    assert always.burst == 40
    assert always.harm == 40


@pytest.mark.parametrize(
    ("events", "trials", "bound"),
    [(0, 1_000, 0.002991), (0, 3_000, 0.000998), (5, 100, 0.1023), (10, 10, 1.0), (0, 0, 1.0)],
)
def test_the_upper_bound_is_that_of_clopper_and_pearson(events: int, trials: int, bound: float) -> None:
    assert upper_bound(events, trials) == pytest.approx(bound, rel=1e-3)


# Replay


async def _session(path: Path, calls: int = 60) -> None:
    """A session of a real stage on virtual time, recorded: the remote hangs in every tenth call."""
    file = JsonLines(path, max_bytes=10**9)
    lane, link = Lane("gpu"), Link("edge")
    for n in range(60):
        link.took(n, 2_000, 20 * MS, late=False)
    rows = [(0.0, "hang") if n % 10 == 9 else (25.0, "ok") for n in range(calls)]
    stage: Stage[str, str] = Stage(
        "detect", OnLane(lane, repeat(50.0)), lane, local_prior_ns=60 * MS, sink=file, remote=Script(rows), link=link,
        payload_bytes=lambda _: 2_000,
    )  # fmt: skip
    for n in range(calls):
        await stage("x", due_ns=now_ns() + 200 * MS, of=f"belt {n}")
        await asyncio.sleep(0.1)
    await stage.aclose()
    file.close()


def test_a_recorded_session_is_replayed_under_every_policy(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    run(_session(path))
    done = CliRunner().invoke(cli, ["replay", str(path)], catch_exceptions=False)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["calls"] == 60
    assert said["filled"] == {"remote": 6, "local": 54}  # the hung ones were given up at 188 ms, before they were due
    missed = {name: row["misses"] for name, row in said["policies"].items()}
    assert missed == {
        "edgeapp": 0, "local": 0, "race": 0, "remote": 6, "hedge-p90": missed["hedge-p90"],
        "seed": 0, "seed-repaired": 0,  # 150 ms and 50 ms of local are just in time
    }  # fmt: skip
    assert said["policies"]["remote"]["remote_share"] == 0.9


def _call(**changed: Any) -> str:
    """A recorded call as a line."""
    call = Record(
        "belt 1", "detect", 0, 200 * MS, 30 * MS, "remote", Why.SAFE, 60 * MS, 138 * MS, 0.1, 2_000,
        window_ns=138 * MS, remote_took_ns=30 * MS, remote_end="answered",
    )  # fmt: skip
    return json.dumps({"kind": "call", **asdict(call), **changed}) + "\n"


def test_runs_of_a_smaller_model_are_not_taken_for_the_best_ones(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(
        _call(rung=1, local_ns=20 * MS, local_took_ns=10 * MS) + _call(asked_ns=SECOND, due_ns=SECOND + 200 * MS)
    )
    world, filled = _world(_calls(path))
    assert world.recorded
    assert world.recorded.bounds_ns == {"detect": 60 * MS}
    assert (world.local_ns, filled["local"]) == ([60 * MS] * 2, 2)


BAD: list[tuple[str, str]] = [
    ("", "holds no call that could have run elsewhere"),
    ('{"kind": "session"}\n{"kind": "turn"}\n', "holds no call that could have run elsewhere"),
    ('{"kind": "call", "of": "x"}\n', "written by another version"),
    (_call(payload_bytes=None), "written by another version"),
    (_call(remote_took_ns="long"), "written by another version"),
    ("\x00\xff not json\n", "holds no call that could have run elsewhere"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_a_file_that_is_no_session_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        replay(path, ["race"])
    with pytest.raises(ConfigError, match="cannot read records"):
        replay(tmp_path / "nowhere", [])


def test_a_simulated_world_uses_the_remote() -> None:
    world: Any = dying(40)
    assert sum(side == THERE for side in play(world, "remote").side) == 40


def test_a_bench_that_cannot_run_is_one_sentence(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("nonsense")
    for arguments, said in (
        (["--trace", str(trace)], "trace"),
        (["--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
        (["--out", "/proc/self"], "cannot write to /proc/self"),  # it is there, and refuses
    ):
        done = CliRunner().invoke(cli, ["bench", "offload", "--simulated", *arguments])
        assert isinstance(done.exception, ConfigError)
        assert said in str(done.exception)


def test_ctrl_c_ends_the_processes_of_the_bench_at_once() -> None:
    calls: list[Future[None]] = []

    def stopped() -> None:
        with _processes(1) as pool:
            calls.append(pool.submit(signal.pause))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert calls[0].done()


def test_a_bench_that_could_not_draw_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(cli, ["bench", "offload", "--simulated", "--out", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "matplotlib" in str(done.exception)
    assert "Simulated" not in done.output
