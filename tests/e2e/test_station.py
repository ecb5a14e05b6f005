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
import msgspec
import pytest
from click.testing import CliRunner
from test_golden_parts import drawn

from edgeapp import config as settings
from edgeapp.cli import cli
from edgeapp.station.audit import verify
from edgeapp.station.queries import notes, rows, verdicts
from edgeapp.station.store import open_reading
from edgeapp.vision.calibration import by_scale

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


def _edgeapp(*arguments: object) -> None:
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output


def _bundled_rule(version: str, part_score: float) -> str:
    """The bundled rule as a file that is signed here; its parts must be some 14 mm long, which all are."""
    rule = settings.Vision().rule
    scores = "".join(f"defect_scores.{label} = {score}\n" for label, score in rule.defect_scores.items())
    doubt = f"doubt_from_score = {rule.doubt_from_score}\ndoubt_below_score = {rule.doubt_below_score}\n"
    sizes = "[part.washer]\nsizes_mm.length = [1, 32]\n"
    return f'version = "{version}"\npart_score = {part_score}\n{scores}{doubt}{sizes}'


async def _line_with(stream: asyncio.StreamReader, text: str) -> None:
    """Read until a line has the text."""
    async with asyncio.timeout(120):
        while text not in (line := (await stream.readline()).decode()):
            assert line, "the station has ended"


async def test_a_rule_that_is_signed_while_the_station_runs_decides_after_the_golden_parts_were_judged_by_it(
    tmp_path: Path,
) -> None:
    book, golden, ledger = tmp_path / "rules", tmp_path / "golden", tmp_path / "ledger"
    sealed = ("--by", "ann", "--why", "tested on the line", "--book", book)
    for version, part_score in (("7", 0.5), ("8", 0.45)):
        (tmp_path / f"{version}.toml").write_text(_bundled_rule(version, part_score))
    await asyncio.to_thread(_edgeapp, "rules", "sign", tmp_path / "7.toml", *sealed)
    _edgeapp("rules", "use", "7", *sealed)
    for n, (path, expect, cause) in enumerate((await drawn(tmp_path, 8))[:8]):
        more = ("--cause", cause) if cause else ()
        named = ("--name", f"P{n}", "--expect", expect, *more, "--camera", "belt", "--by", "ann")
        _edgeapp("golden", "add", golden, path, *named)
    scale = by_scale(0.1, camera="belt", width=320, height=320, utc_ns=1)
    (tmp_path / "belt.json").write_bytes(msgspec.json.encode(scale))
    config = tmp_path / "station.toml"
    config.write_text(
        f"""
        app = "qc"
        [vision]
        budget_ms = 3000
        rule_book = "{book}"
        calibration = "{tmp_path}/belt.json"
        camera.source = "simulated"
        golden.folder = "{golden}"
        [station]
        folder = "{ledger}"
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeapp", "run", str(config), stdout=asyncio.subprocess.PIPE, env=ENV
    )
    assert process.stdout
    try:
        await _line_with(process.stdout, "(rule 7)")
        await asyncio.to_thread(_edgeapp, "rules", "sign", tmp_path / "8.toml", *sealed)
        _edgeapp("rules", "use", "8", *sealed)
        await _line_with(process.stdout, "decides about every part from here on")
        await _line_with(process.stdout, "(rule 8)")
    finally:
        process.kill()
        await process.wait()
    with closing(open_reading(ledger)) as database:
        switched = notes(database, "rule", 9)[::-1]
        runs = notes(database, "golden", 9)[::-1]
        judged = [(row.seq, row.rule, row.verdict.outcome) for row in rows(database) if row.rule]
    seven, eight = (row["rule"] for row in switched)
    assert (switched[1]["instead_of"], switched[1]["signed_by"]) == (seven, "ann")
    assert [(run["why"], run["ok"], run["identity"]["rule"].split()[0]) for run in runs] == [
        ("first run", True, "7"), ("rule", True, "8"),
    ]  # fmt: skip
    assert [rule for _, rule, _ in judged] == sorted(rule for _, rule, _ in judged), (
        "first all by the one, then by the other"
    )
    assert {rule for _, rule, _ in judged} == {seven, eight}
    assert all(seq > runs[1]["seq"] for seq, rule, outcome in judged if rule == eight and outcome == "PASS")
    assert all(seq > switched[1]["seq"] for seq, rule, _ in judged if rule == eight)
    assert verify(ledger).wrong == []
