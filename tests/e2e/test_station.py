"""The whole station as an operator runs it: `edgeapp run`, read by two clients that know nothing of it, killed, and run again."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import mosquitto
import pytest

from edgeapp.station.audit import verify
from edgeapp.station.queries import notes, verdicts
from edgeapp.station.store import open_reading

ROOT = Path(__file__).parent.parent.parent
CLIENTS = ROOT / "tests" / "clients"
ENV = os.environ | {"PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.real_time


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _config(folder: Path, modbus: int, mqtt: int) -> Path:
    file = folder / "station.toml"
    file.write_text(
        f"""
        name = "line3"
        app = "qc"
        [vision.camera]
        source = "simulated"
        [outputs.modbus]
        serve = true
        port = {modbus}
        [outputs.mqtt]
        host = "127.0.0.1"
        port = {mqtt}
        prefix = "plant/line3"
        outbox = "{folder}/outbox.sqlite"
        [station]
        folder = "{folder}/ledger"
        operator = "ann"
        lot = "L7"
        """
    )
    return file


@asynccontextmanager
async def _station(config: Path) -> AsyncIterator[str]:
    """A station that runs -> its first verdict's line. Leaving is kill -9."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeapp", "run", str(config), stdout=asyncio.subprocess.PIPE, env=ENV
    )
    assert process.stdout
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        yield line.decode()
    finally:
        process.kill()
        await process.wait()


async def _read(*command: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=ENV)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said
    return said.decode().splitlines()


@pytest.mark.skipif(not (mosquitto.MOSQUITTO and shutil.which("mosquitto_sub")), reason=mosquitto.MISSING)
async def test_a_station_that_runs_is_read_by_pymodbus_and_mosquitto_sub_and_goes_on_after_a_kill(
    tmp_path: Path,
) -> None:
    modbus = _port()
    async with mosquitto.running(tmp_path) as broker:
        config = _config(tmp_path, modbus, broker.port)
        async with _station(config) as first:
            by_modbus, by_mqtt = await asyncio.gather(
                _read(sys.executable, str(CLIENTS / "read_modbus.py"), "127.0.0.1", str(modbus), "4"),
                _read("sh", str(CLIENTS / "read_mqtt.sh"), "127.0.0.1", str(broker.port), "4", "plant/line3"),
            )
        async with _station(config) as line:
            pass
    assert first.startswith("belt 1: ")
    assert [each.split()[0] for each in by_modbus] == ["reading"] + ["sequence"] * 4
    assert all(each.startswith("plant/line3/verdict {") for each in by_mqtt)
    found = verify(tmp_path / "ledger", images=True)
    assert found.wrong == []
    with closing(open_reading(tmp_path / "ledger")) as database:
        rows = list(verdicts(database, columns=("frame_number", "operator", "lot", "outcome", "frame_sha256", "why")))
        withheld = {row["part"] for row in notes(database, "withheld", 100)}  # a disk that is slow now and then
    numbers = sorted(row["frame_number"] for row in rows)
    assert numbers == list(range(1, len(rows) + 1))
    assert int(line.split()[1].rstrip(":")) > 5, "numbers go on after the kill"
    assert {(row["operator"], row["lot"]) for row in rows if "the station ended" not in row["why"]} == {("ann", "L7")}
    said = {int(words[3]): words[4] for words in (each.split() for each in by_modbus[1:])}
    kept = {row["frame_number"]: row["outcome"] for row in rows if row["frame_number"] in said}
    assert kept | dict.fromkeys(withheld & set(said), "NOT_INSPECTED") == said
    assert all(row["frame_sha256"] for row in rows if row["outcome"] in {"PASS", "FAIL"})


@pytest.mark.skipif(not mosquitto.MOSQUITTO, reason=mosquitto.MISSING)
def test_the_demo_shows_every_output_with_every_verdict(tmp_path: Path) -> None:
    import json

    command = [sys.executable, "-m", "edgeapp", "demo", "qc", "--parts", "8", "--out", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env=ENV, timeout=120, check=False)
    summary = json.loads(run.stdout.splitlines()[-1])
    assert {summary[each] for each in ("parts", "verdicts", "rows", "modbus", "mqtt")} == {8}, run.stderr
    assert summary["ledger_verified"]
    assert summary["passed_line"] == summary["pass"]
    for name in ("p_chart.png", "pareto.png", "waterfall.png", "contact_sheet.jpg"):
        assert (tmp_path / "qc" / name).stat().st_size > 1_000
