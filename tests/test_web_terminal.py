"""The pages' side at a terminal: users, the audit trail, and the live view of `edgeapp top`."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from web_world import ALARM, Running, running

from edgeapp.apps.top import screen
from edgeapp.cli import cli
from edgeapp.core.events import BackendError, ConfigError, Outcome


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device of the test's own."""
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "web"


def _run(*arguments: str, says: str = "") -> str:
    done = CliRunner().invoke(cli, arguments, input=says, standalone_mode=False, catch_exceptions=True)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_user_is_made_changed_and_removed_and_the_trail_says_so(home: Path) -> None:
    assert "ada may sign in as engineer" in _run("web", "passwd", "ada", "--stdin", says="a long password\n")
    _run("web", "passwd", "bob", "--stdin", "--role", "viewer", says="a long password\n")
    assert "viewer" in _run("web", "users")
    _run("web", "remove", "bob")
    with pytest.raises(ConfigError, match="there is no user 'bob'"):
        _run("web", "remove", "bob")
    trail = _run("web", "audit")
    assert [line.split(": ")[1] for line in trail.splitlines()] == [
        "users set ada as engineer", "users set bob as viewer", "users remove bob",
    ]  # fmt: skip
    assert "a long password" not in (home / "changes.log").read_text()


def test_a_password_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="10 to 256"):
        _run("web", "passwd", "ada", "--stdin", says="short\n")


def test_top_shows_a_running_device_and_says_what_is_wrong_without_one(tmp_path: Path, home: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the-device-token\n")
    with running(tmp_path / "device") as one:
        _fill(one)
        shown = _run("top", "--url", one.device.url, "--token", str(token), "--once")
        url = one.device.url
    for each in (
        "FAIL",
        "belt 3",
        "scratch 0.70",
        "turn 2",
        "170 ms",
        "the gate was busy",
        "camera is away: it gave no new frame",
        "51.5 °C",
        "31 ms, jitter 6 ms",
    ):
        assert each in shown
    with pytest.raises(BackendError, match="cannot be looked at"):
        _run("top", "--url", url, "--token", str(token), "--once")
    with pytest.raises(ConfigError, match=r"run a device with \[web\] serve = true first"):
        _run("top", "--url", url, "--once")
    (home / "device-token").mkdir(parents=True)
    with pytest.raises(ConfigError, match="as the user who runs the device"):
        _run("top", "--url", url, "--once")


def _fill(one: Running) -> None:
    one.do(one.device.part, 3, Outcome.FAIL)
    one.do(one.device.talk, 2, 170)
    one.do(one.device.history, ALARM)


def test_top_fits_a_terminal_of_24_lines_with_what_is_wrong_on_top() -> None:
    spans = [["endpoint", 0.0, 90.0], ["stt", 90.0, 95.0], ["output", 95.0, 120.0]]
    turn = {"name": "turn 7", "took_ms": 120.0, "spans": spans, "outcome": "answered"}
    stage = {"calls": 9, "remote": 0, "errors": 0, "whys": {"no remote is configured": 9}, "p50_ms": 3.0, "p95_ms": 8.0}
    newest = {
        "outcome": "PASS",
        "source": "belt",
        "number": 7,
        "took_ms": 61.0,
        "why": "washer 0.90, no defect (rule 1)",
    }
    state: dict[str, Any] = {
        "verdicts": {"newest": {"belt": newest}, "passed": 7},
        "turns": {"rows": [turn] * 9},
        "stages": {name: stage | {"bound_ms": 20.0} for name in ("stt", "llm", "tts", "detect")},
        "devices": [
            {
                "name": "camera",
                "trouble": "no new frame for 500 ms: check its cable; it is being reopened",
                "dropped": 0,
            }
        ],
    }
    console = Console(width=80, height=24, record=True, file=StringIO())
    console.print(screen(state, "http://127.0.0.1:8080", 24))
    lines = console.export_text().splitlines()
    assert len(lines) <= 24
    assert "camera is away" in lines[5]


def test_top_draws_a_device_that_has_nothing_yet() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        console.print(screen({}, "http://127.0.0.1:8080"))
        assert "no part yet" in console.export_text()
