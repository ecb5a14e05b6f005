"""`edgeapp ledger`: what a person types, reads and gets as files."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner, Result
from ledger_world import evidence
from pyarrow import parquet

from edgeapp.apps.judge import judge
from edgeapp.cli import cli
from edgeapp.core.events import ConfigError, Outcome
from edgeapp.observe.parquet import write_parquet
from edgeapp.station.evidence import Judgement
from edgeapp.station.ledger import open_ledger
from edgeapp.station.queries import COLUMNS

START_NS = 1_800_000_000_000_000_000
ROWS = 3_000


async def filled(folder: Path) -> None:
    """50 hours of 60 parts; the last ten hours are bad."""
    clock_ns = [START_NS]
    async with open_ledger(folder, utc_ns=lambda: clock_ns[0]) as ledger:
        waiting = []
        for n in range(ROWS):
            clock_ns[0] = START_NS + n * 60_000_000_000
            more: dict[str, Any] = {"sizes_mm": {"bore": 8 + (n % 9 - 4) * 0.01}, "lot": f"L{n // 1_000}"}
            if n % 10 == 0 or (n >= 2_400 and n % 2 == 0):
                one = evidence(n, Outcome.FAIL, ("dent",) if n % 3 else ("dent", "burr"), **more)
            elif n % 97 == 0:
                one = evidence(n, Outcome.NOT_INSPECTED, ("late",), **more)
            else:
                one = evidence(n, **more | ({"serial": "=1+1"} if n == 7 else {}))
            waiting.append(ledger.submit(one, lambda: b"no jpeg"))
        receipts = await asyncio.gather(*waiting)
        for n in range(0, 400, 10):
            await ledger.judge(
                Judgement(receipts[n].seq, Outcome.PASS if n < 80 else Outcome.FAIL, "ann", sampled=True)
            )
            await ledger.judge(Judgement(receipts[n + 1].seq, Outcome.PASS, "ann", sampled=True))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    folder = tmp_path_factory.mktemp("ledger")
    asyncio.run(filled(folder))
    return folder


def told(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["ledger", *map(str, arguments)])


def refused(*arguments: object) -> str:
    found = told(*arguments)
    assert isinstance(found.exception, ConfigError), found.output
    assert "\n" not in str(found.exception)
    return str(found.exception)


def test_verify_says_right_and_how_it_ends(ledger: Path) -> None:
    found = told("verify", ledger, "--images", "--json")
    line = json.loads(found.stdout)
    assert (found.exit_code, line["ok"], line["verdicts"], line["first_bad"]) == (0, True, ROWS, None)
    assert told("verify", ledger, "--head", line["head"]).stdout.endswith(f"head {line['head']}\n")
    later = told("verify", ledger, "--head", f"{line['rows'] + 1}:{'ab' * 32}")
    assert later.exit_code == 1
    assert f"WRONG: row {line['rows'] + 1} is cut off: the head noted elsewhere counts" in later.stdout


def test_show_finds_parts(ledger: Path) -> None:
    assert json.loads(told("show", ledger, 1).stdout)["kind"] == "opened"
    rows = [
        json.loads(line) for line in told("show", ledger, "--cause", "burr", "--last", 2, "--json").stdout.splitlines()
    ]
    assert [each["frame_number"] for each in rows] == [2994, 2988]
    assert "S1234" in told("show", ledger, "--serial", "S1234").stdout
    none = told("show", ledger, "--serial", "nobody's")
    assert (none.exit_code, none.stdout) == (1, "no such verdict\n")
    assert "has no row 999999" in refused("show", ledger, 999_999)


def test_stats_count_chart_and_warn(ledger: Path, tmp_path: Path) -> None:
    found = told("stats", ledger, "--size", "bore:7.9:8.1", "--json", "--out", tmp_path / "charts")
    line = json.loads(found.stdout)
    fails = sum(n % 10 == 0 or (n >= 2_400 and n % 2 == 0) for n in range(ROWS))
    assert line["counts"]["failed"] == fails
    assert sum(line["counts"].values()) == ROWS
    assert [bar["cause"] for bar in line["pareto"]] == ["dent", "burr"]
    assert line["pareto"][0]["parts"] == fails
    assert line["not_inspected"][0]["cause"] == "late"
    bad_from_ns = START_NS + 2_400 * 60_000_000_000
    alarms = {line["began_ns"][each["at"]] for each in line["p_chart"]["signals"] if each["above"]}
    assert alarms
    assert min(alarms) >= bad_from_ns - 3_600_000_000_000
    assert line["capability"]["bore"]["values"] == ROWS
    assert line["errors"]["good_among_rejects"]["value"] == 8 / 40
    for name in ("p-chart", "pareto", "capability-bore"):
        picture = cv2.imread(str(tmp_path / "charts" / f"{name}.png"))
        assert picture is not None
        assert picture.std() > 5
    words = told("stats", ledger, "--from", "2027-01-15T08:00", "--to", "2027-01-15T09:00").stdout
    assert words.startswith("60 parts: 54 passed, 6 failed, 0 not inspected; first-pass yield 90.00 %")
    assert told("stats", ledger, "--hours", "1").stdout.startswith("0 parts")


def test_export_to_csv_and_parquet_say_the_same(ledger: Path, tmp_path: Path) -> None:
    assert told("export", ledger, tmp_path / "x.csv").stdout == f"{ROWS} verdicts in {tmp_path / 'x.csv'}\n"
    assert told("export", ledger, tmp_path / "x.parquet").exit_code == 0
    with (tmp_path / "x.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    table = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert len(lines) == len(table) == ROWS
    assert tuple(table[0]) == tuple(lines[0]) == COLUMNS
    assert table[7]["serial"] == "=1+1"
    assert lines[7]["serial"] == "'=1+1"
    table[7]["serial"] = "'=1+1"
    assert [{name: str(value) for name, value in row.items()} for row in table] == lines
    assert [row["seq"] for row in table] == sorted(row["seq"] for row in table)
    assert json.loads(table[0]["boxes"])[0]["label"] == "washer"


def test_parquet_is_written_in_groups(tmp_path: Path) -> None:
    rows = ({"a": n, "b": "x"} for n in range(45_000))
    assert write_parquet(rows, tmp_path / "x.parquet", ("a", "b"), {"a"}) == 45_000
    assert parquet.ParquetFile(tmp_path / "x.parquet").num_row_groups == 3


def test_what_is_wrong_is_one_sentence(ledger: Path, tmp_path: Path) -> None:
    assert "there is no ledger in" in refused("verify", tmp_path)
    assert "there is no ledger in" in refused("stats", tmp_path)
    assert "neither .csv nor .parquet" in refused("export", ledger, tmp_path / "x.txt")
    assert "cannot write" in refused("export", ledger, tmp_path / "none" / "x.csv")
    assert "cannot write" in refused("export", ledger, tmp_path / "none" / "x.parquet")
    assert "is no head" in refused("verify", ledger, "--head", "12")
    assert "cannot read the ledger's key" in refused("verify", ledger, "--key", tmp_path / "key")
    (tmp_path / "key").write_text("short")
    assert "has 5 bytes" in refused("verify", ledger, "--key", tmp_path / "key")
    assert "is no time" in refused("stats", ledger, "--from", "yesterday")
    assert "give --hours, or" in refused("stats", ledger, "--from", "2027-01-01", "--hours", "1")
    assert "is no size" in refused("stats", ledger, "--size", "bore")
    assert "has 0 values of 'length'" in refused("stats", ledger, "--size", "length:1:2")
    assert "too few labelled disagreements" in refused(
        "relabel", ledger, tmp_path / "out", "--training", 99, "--calibration", 1
    )
    assert "is no picture" in refused("relabel", ledger, tmp_path / "out", "--training", 1, "--calibration", 1)


def test_a_part_is_judged_again_without_pages_and_the_ledger_still_verifies(tmp_path: Path) -> None:
    async def one_reject() -> int:
        async with open_ledger(tmp_path) as ledger:
            return (await ledger.record(evidence(1, Outcome.FAIL, ("dent",)))).seq

    row = asyncio.run(one_reject())
    said = told("judge", tmp_path, row, "PASS", "--by", "ann", "--sampled").stdout
    assert said.endswith(f"ann found PASS where row {row} says FAIL\n")
    assert told("verify", tmp_path).exit_code == 0
    assert "of rejects drawn and seen again, good: 100.00 %" in told("stats", tmp_path).stdout
    assert "is no verdict" in refused("judge", tmp_path, row + 1, "PASS", "--by", "ann")
    assert "has no defects" in refused("judge", tmp_path, row, "PASS", "--by", "ann", "--cause", "dent")
    assert "--by" in refused("judge", tmp_path, row, "PASS", "--by", " ")


@pytest.mark.real_time
async def test_a_part_is_not_judged_beside_the_station_that_writes(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        row = (await ledger.record(evidence(1, Outcome.FAIL, ("dent",)))).seq
        with pytest.raises(ConfigError, match="another process writes the ledger"):
            await judge(tmp_path, row, Outcome.PASS, "ann", (), None, sampled=False)
