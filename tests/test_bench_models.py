"""`edgeapp bench models`: its arithmetic, and that an installed package has every script it measures with."""

from __future__ import annotations

import ast
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from edgeapp.bench import models
from edgeapp.bench.core import last_json
from edgeapp.bench.held_out import scripts
from edgeapp.demo.kiosk import recorded_questions

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("right", "count", "high"), [(8, 10, 0.943), (0, 10, 0.278), (10, 10, 1.0), (0, 0, 1.0)])
def test_wilsons_interval(right: int, count: int, high: float) -> None:
    assert models.high_of(right, count) == pytest.approx(high, abs=1e-3)


def test_a_quick_run_misses_only_what_so_few_cases_refute() -> None:
    assert models._share("x", 47, 50, 0.95, quick=True).ok
    assert not models._share("x", 47, 50, 0.95, quick=False).ok
    assert not models._share("x", 40, 50, 0.95, quick=True).ok
    assert models._precision("x", 0.85, 0.9, quick=True, note="").ok
    assert not models._precision("x", 0.85, 0.9, quick=False, note="").ok
    assert not models._precision("x", 0.83, 0.9, quick=True, note="").ok


@pytest.mark.parametrize(
    ("text", "heard", "wrong"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b", "x b y", 2), ("a", "", 1), ("", "a", 1)],
)
def test_word_errors(text: str, heard: str, wrong: int) -> None:
    assert models._word_errors(text, heard) == wrong


def test_the_models_that_ship_are_small_enough() -> None:
    assert models._sizes(True)[0].ok


def test_the_noise_is_as_loud_as_it_says() -> None:
    question = recorded_questions()[1]
    noise = models._in_noise(question, np.random.default_rng(0)).astype(float) - question.samples
    clip = question.samples[: question.last_voiced].astype(float)
    assert 10 * np.log10(np.mean(clip**2) / np.mean(noise**2)) == pytest.approx(15, abs=0.3)


def test_an_installed_package_has_every_script_that_it_measures_with() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    shipped = {path for path in build["targets"]["wheel"]["force-include"] if path.startswith("scripts/")}
    assert scripts() == ROOT / "scripts"
    beside = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for path in shipped:
        tree = ast.parse((ROOT / path).read_text())
        names = {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
        names |= {alias.name for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names}
        assert {f"scripts/{name}.py" for name in names & beside} <= shipped, f"{path} imports more than what ships"


def test_measuring_a_start_leaves_the_devices_home_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAPP_HOME", "/home/of/the/device")
    with models._home_of_its_own():
        assert os.environ["EDGEAPP_HOME"] != "/home/of/the/device"
    assert os.environ["EDGEAPP_HOME"] == "/home/of/the/device"


@pytest.mark.parametrize("code", ["", "print('half a line'); raise SystemExit(3)"])
def test_a_measurement_that_fails_is_one_sentence(code: str) -> None:
    with pytest.raises(SystemExit, match=r"printed no result and exited with [03]"):
        last_json([sys.executable, "-c", code])
