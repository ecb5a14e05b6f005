"""The storm: a station under stalls, cuts, a camera that goes, a disk that refuses, and kill -9, over and over, on a real disk.

Every part whose trigger was pulled has exactly one verdict; none passed without proof; what was acknowledged is there. The small
one runs always, the one of 100,000 parts with `pytest -m slow tests/test_station_storm.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from station_world import truth

from edgeapp.apps.station import ENDED
from edgeapp.station.audit import verify
from edgeapp.station.store import open_reading

WORLD = Path(__file__).parent / "station_world.py"


class Told:
    """What the lives of a station said, all together."""

    def __init__(self, lives: list[list[str]]) -> None:
        self.came: set[int] = set()
        self.told: dict[int, list[str]] = {}
        self.acknowledged: list[tuple[int, int, str]] = []
        self.killed: set[int] = set()
        for life in lives:
            for kind, *words in (line.split() for line in life):
                if kind == "T":
                    self.came.add(int(words[0]))
                elif kind == "V":
                    self.told.setdefault(int(words[0]), []).append(words[1])
                    self.killed |= {int(words[0])} if life[-1] != "E" else set()
                elif kind == "A":
                    self.acknowledged.append((int(words[0]), int(words[1]), words[2]))


def storm(folder: Path, parts: int, lives: int, seed: int) -> Told:
    wish = json.dumps({"folder": str(folder), "parts": parts, "lives": lives, "seed": seed})
    path = {"PYTHONPATH": str(WORLD.parent.parent)}
    run = subprocess.run(
        [sys.executable, str(WORLD)],
        input=wish,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **path},
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said[-1][-1] == "E", run.stderr
    assert len(said) > lives // 2, "it was killed often"
    return Told(said)


def check(folder: Path, parts: int, seed: int, told: Told) -> None:
    """Every promise, part by part."""
    database = open_reading(folder)
    query = "SELECT frame_number, outcome, why, boxes, model, causes FROM verdicts WHERE source = 'belt' ORDER BY frame_number"
    rows = list(database.execute(query))
    numbers = [number for number, *_ in rows]
    assert numbers == list(range(1, len(rows) + 1)), "each number has exactly one verdict, and none is left out"
    assert told.came <= set(numbers)
    assert parts <= len(rows)
    withheld = {
        part for (part,) in database.execute(
            "SELECT json_extract(body, '$.part') FROM entries WHERE json_extract(body, '$.kind') = 'withheld'"
        )
    }  # fmt: skip
    for number, outcome, why, boxes, model, _ in rows:
        said = told.told.get(number, [])
        assert len(said) <= 1, f"part {number} was told {said}"
        if outcome == "PASS":
            assert truth(number, seed) == "good"
            assert model
            assert len(json.loads(boxes)) == 1
            if said == ["NOT_INSPECTED"]:
                assert number in withheld | told.killed
            else:
                assert said in (["PASS"], []), "a row that the line never heard of lets nothing pass"
        elif outcome == "FAIL":
            assert truth(number, seed) != "good"
            assert said in (["FAIL"], [])
        else:
            assert said in (["NOT_INSPECTED"], []) or (said == ["FAIL"] and why == ENDED)
    there = dict(database.execute("SELECT seq, lower(hex(hash)) FROM entries"))
    assert told.acknowledged
    assert all(there[seq] == digest for _, seq, digest in told.acknowledged)
    database.close()
    assert verify(folder).wrong == []
    outcomes = Counter(outcome for _, outcome, *_ in rows)
    assert min(outcomes[each] for each in ("PASS", "FAIL", "NOT_INSPECTED")) > parts / 50, outcomes
    causes = {cause for *_, each in rows for cause in json.loads(each)}
    assert {"stopped", "too fast", "no proof", "detector failed", "scratch", "dent"} <= causes


def test_a_station_that_is_killed_again_and_again_gives_every_part_exactly_one_verdict(tmp_path: Path) -> None:
    told = storm(tmp_path / "ledger", 2_500, 10, seed=1)
    check(tmp_path / "ledger", 2_500, 1, told)


@pytest.mark.slow
def test_a_hundred_thousand_parts_in_the_storm_lose_nothing(tmp_path: Path) -> None:
    told = storm(tmp_path / "ledger", 100_000, 150, seed=2)
    check(tmp_path / "ledger", 100_000, 2, told)
