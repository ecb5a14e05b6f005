"""Bounds that were measured here: order statistics, kept runs, states of the platform, and what a stage makes of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import repeat
from pathlib import Path

import pytest
from worlds import OnLane

from edgeapp import config as settings
from edgeapp.apps.bounds import Bounds, Runs, bound_ns, file_of, following, model_hash, rank, read_runs
from edgeapp.calibrate import _keep, calibrate
from edgeapp.core.events import MS, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.core.latency import Latency
from edgeapp.core.stage import Stage
from edgeapp.observe.platform_state import platform_state, state_hash

ENGINE = settings.Engine(engine="fake", options={"kind": "detect"})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs are kept in a home of the test's own."""
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("runs", "coverage", "which"),
    [
        (298, 0.99, None),
        (299, 0.99, 1),
        (2_994, 0.999, None),
        (2_995, 0.999, 1),
        (4_742, 0.999, 2),
        (29_955, 0.9999, None),
        (29_956, 0.9999, 1),
    ],
)
def test_the_bound_is_the_order_statistic_of_wilks(runs: int, coverage: float, which: int | None) -> None:
    assert rank(runs, coverage) == which


def test_the_bound_needs_enough_runs() -> None:
    assert bound_ns([5 * MS] * 2_000) is None
    assert bound_ns([5 * MS] * 2_999 + [9 * MS]) == 9 * MS
    assert bound_ns([5 * MS] * 4_998 + [7 * MS, 9 * MS]) == 7 * MS


def _measured(state: dict[str, str], longest_ms: int) -> None:
    runs = Runs(engine="fake", options={}, model="", platform=state, took_ns=[5 * MS] * 2_999 + [longest_ms * MS])
    _keep(file_of(ENGINE, "detect", state), runs)


def test_a_bound_holds_for_the_state_it_was_measured_in(tmp_path: Path) -> None:
    policy = tmp_path / "sys/devices/system/cpu/cpufreq/policy0"
    policy.mkdir(parents=True)
    (policy / "scaling_governor").write_text("performance\n")
    fast = platform_state(tmp_path)
    assert fast["sys/devices/system/cpu/cpufreq/policy0/scaling_governor"] == "performance"
    (policy / "scaling_governor").write_text("powersave\n")
    assert state_hash(platform_state(tmp_path)) != state_hash(fast)
    assert file_of(ENGINE, "detect", fast) != file_of(ENGINE, "detect", platform_state(tmp_path))


def test_calibrated_bounds_stand_before_defaults_and_behind_the_operators_word() -> None:
    assert Bounds([ENGINE], "detect", 80 * MS).now_ns == [80 * MS]
    _measured(platform_state(), 12)
    bounds = Bounds([ENGINE], "detect", 80 * MS)
    assert (bounds.now_ns, bounds.calibrated) == ([12 * MS], True)
    told = settings.Engine(engine="fake", options={"kind": "detect"}, bound_ms=30)
    bounds = Bounds([told], "detect", 80 * MS)
    assert (bounds.now_ns, bounds.calibrated) == ([30 * MS], False)


def test_what_cannot_be_read_is_not_calibrated_and_no_reason_not_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "calibration").mkdir(exist_ok=True)
    file_of(ENGINE, "detect", platform_state()).write_text("{")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "slots.json").write_text('{"detect": {"current": "gone"}}')
    current = settings.Engine(engine="detect_yolo", options={"model": "current"})
    for section, says in ((ENGINE, "is not a calibration"), (current, "gone, the current model for detect")):
        bounds = Bounds([section], "detect", 80 * MS)
        assert (bounds.now_ns, bounds.calibrated) == ([80 * MS], False)
        assert says in capsys.readouterr().err


def test_another_model_needs_runs_of_its_own(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"one")
    section = settings.Engine(engine="detect_yolo", options={"model": str(model)})
    before = model_hash(section, "detect")
    model.write_bytes(b"two")
    assert model_hash(section, "detect") != before


def test_what_is_kept_is_read_again_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibration" / "runs.json"
    assert read_runs(path) is None
    _keep(path, Runs(engine="fake", options={}, model="", platform={}, took_ns=[1, 2]))
    kept = read_runs(path)
    assert kept
    assert kept.took_ns == [1, 2]
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"is not a calibration .*delete it and run `edgeapp calibrate` again"):
        read_runs(path)


async def test_a_stage_forgets_its_bound_when_the_clocks_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"governor": "performance"}
    monkeypatch.setattr("edgeapp.apps.bounds.platform_state", lambda: dict(now))
    _measured(now, 12)
    bounds = Bounds([ENGINE], "detect", 80 * MS)
    lane = Lane("gpu")
    stage: Stage[str, str] = Stage(
        "detect", OnLane(lane, repeat(5)), lane, local_prior_ns=12 * MS, sink=lambda _: None, calibrated=True
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(following(stage, bounds))
        await asyncio.sleep(11)
        assert stage.bound_ns == 12 * MS
        now["governor"] = "powersave"
        await asyncio.sleep(11)
        assert stage.bound_ns == 80 * MS


def test_one_long_run_does_not_refute_a_calibrated_bound_and_a_few_do() -> None:
    latency = Latency(prior_ns=100 * MS, calibrated=True)
    for n in range(20):
        latency.took(n * MS, 60 * MS)
    latency.took(20 * MS, 150 * MS)
    assert latency.bound_ns(0.999) == 100 * MS
    latency.took(21 * MS, 160 * MS)
    assert latency.bound_ns(0.999) >= 160 * MS


@pytest.mark.real_time
async def test_calibrating_goes_on_where_it_was_and_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    fake = settings.Stage(engine="fake", options={"kind": "tts", "takes_ms": 0.01})
    config = settings.Config(app="kiosk", voice=settings.Voice(tts=fake))
    assert not await calibrate(config, ("tts",), 20, again=False)
    assert not await calibrate(config, ("tts",), 30, again=False)
    section = config.voice.tts
    kept = read_runs(file_of(section, "tts", platform_state()))
    assert kept
    assert len(kept.took_ns) == 30
    assert '"runs": 30' in capsys.readouterr().out


@pytest.mark.real_time
async def test_runs_made_while_the_clocks_changed_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter([{"governor": "performance"}] * 2)
    monkeypatch.setattr("edgeapp.calibrate.platform_state", lambda: next(states, {"governor": "powersave"}))
    fake = settings.Stage(engine="fake", options={"kind": "tts", "takes_ms": 0.01})
    config = settings.Config(app="kiosk", voice=settings.Voice(tts=fake))
    with pytest.raises(ConfigError, match="governor changed from performance to powersave while calibrating"):
        await calibrate(config, ("tts",), 150, again=False)
    kept = read_runs(file_of(config.voice.tts, "tts", {"governor": "performance"}))
    assert kept
    assert len(kept.took_ns) == 100
