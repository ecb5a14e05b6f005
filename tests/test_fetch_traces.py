"""Fetching traces: against a server on loopback, with files shaped as the study's."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeapp.core.events import MS
from edgeapp.near_edge.trace import load_trace
from edgeapp.near_edge.weather import Weather

SCRIPTS = Path(__file__).parent.parent / "scripts"
PING = "\n####\nRun 1\n45.2,32.3\n\n####\nRun 2\n41.6,831\n"
ONE = "####\nRun 1\n10,20,30\n"
TWO = "####\nRun 1\n0.1,0.2\n5,6\n0.0,0.1\n1,2\n"


@pytest.fixture
def fetcher(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("fetch_traces")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Writes nothing to the terminal."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and where it is served."""
    folder = tmp_path / "served"
    for path, text in (("ping/driving/5g/ping.list", PING), ("throughput/driving/5g/throughput.list", TWO)):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def hashes(folder: Path) -> str:
    """As the script lists them."""
    found = sorted(path for path in folder.rglob("*.list"))
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}\n" for path in found
    )


def test_what_is_fetched_becomes_a_trace(
    fetcher: Any, hub: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, base = hub
    monkeypatch.setattr(fetcher, "FILES", hashes(folder))
    written = fetcher.write("5g-driving", tmp_path / "out", base)
    assert "licence" in written.read_text().splitlines()[0]
    weather = Weather(load_trace(written))
    states = [weather.at(number * 100 * MS) for number in range(4)]
    assert [each.rtt_ns / MS for each in states] == [45.2, 32.3, 41.6, 831]
    assert [each.up_bps / 1e6 for each in states] == [1, 7, 6, 1], "both carriers, and again from the beginning"
    (folder / "ping/driving/5g/ping.list").unlink()
    assert fetcher.write("5g-driving", tmp_path / "out", base) == written, "the second time from the disk"


def test_other_bytes_a_missing_file_and_no_network_are_one_sentence(
    fetcher: Any, hub: tuple[Path, str], tmp_path: Path
) -> None:
    _, base = hub
    with pytest.raises(fetcher.FetchError, match="SHA-256"):
        fetcher.fetch("ping/driving/5g/ping.list", "0" * 64, base, tmp_path)
    with pytest.raises(fetcher.FetchError, match="404"):
        fetcher.fetch("absent.list", "0" * 64, base, tmp_path)
    with pytest.raises(fetcher.FetchError, match="without a network use the presets"):
        fetcher.fetch("x", "0" * 64, "http://127.0.0.1:1/", tmp_path)
    assert fetcher.rates_mbps([ONE]) == [10, 20, 30]


def test_every_scenario_has_pings_and_rates(fetcher: Any) -> None:
    assert fetcher.scenarios() == [
        "5g-driving", "5g-static", "5g-walking", "lte-driving", "lte-static", "lte-walking",
    ]  # fmt: skip
    kinds = {tuple(path.split("/")[:3]) for path in fetcher.files()}
    assert len(kinds) == 12
    answer = subprocess.run(
        [sys.executable, str(SCRIPTS / "fetch_traces.py"), "6g"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, "5g-driving" in answer.stderr) == (2, True)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    fetcher: Any, hub: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, base = hub
    monkeypatch.setattr(fetcher, "FILES", hashes(folder))
    monkeypatch.setattr(sys, "argv", ["fetch_traces.py", "5g-driving", "--out", "/proc/self", "--base", base])
    assert fetcher.main() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("cannot write to /proc/self")
