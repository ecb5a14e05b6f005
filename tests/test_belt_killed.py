"""Parts that a free-running camera follows when the station is killed: each that was sure to be one gets its one verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from edgeapp.apps.station import ENDED
from edgeapp.station.audit import verify
from edgeapp.station.store import open_reading

WORLD = Path(__file__).parent / "belt_world.py"


def test_a_part_in_view_when_the_station_is_killed_is_not_inspected_at_the_next_start(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(WORLD), str(tmp_path / "ledger"), "1", "6"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(WORLD.parent.parent)},
    )
    assert run.returncode == 0, run.stderr
    lives = [[line.split() for line in json.loads(each)] for each in run.stdout.splitlines()]
    assert lives[-1][-1] == ["E"], run.stderr
    came = [int(words[1]) for life in lives for words in life if words[0] == "C"]
    told = {int(words[1]): words[2] for life in lives for words in life if words[0] == "V"}
    with closing(open_reading(tmp_path / "ledger")) as database:
        rows = list(database.execute("SELECT frame_number, outcome, why FROM verdicts ORDER BY frame_number"))
    assert [number for number, *_ in rows] == list(range(1, len(rows) + 1)), "one verdict each, and none is left out"
    assert set(came) <= {number for number, *_ in rows}
    assert len(rows) - len(came) < len(lives), "and no part but those that came: a kill may come before it is said"
    in_view = [number for number, _, why in rows if why == ENDED]
    assert len(in_view) >= len(lives) - 1, "it was killed with parts in view"
    assert all(outcome == "NOT_INSPECTED" for number, outcome, _ in rows if number in in_view)
    for number, outcome, _ in rows:
        if outcome == "PASS":
            assert told.get(number, "PASS") == "PASS"
        assert not (told.get(number) == "PASS" and outcome != "PASS")
    assert verify(tmp_path / "ledger").wrong == []
