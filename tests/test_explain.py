"""What `edgeapp explain` says of each placement, word for word, from records that a real stage wrote on virtual time."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from worlds import OnLane, Script

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Box, ConfigError, Outcome, Verdict
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Terms, Why
from edgeapp.core.record import AnyRecord, Record
from edgeapp.core.stage import Stage
from edgeapp.explain import explain
from edgeapp.observe.jsonl import JsonLines

SAFE = "because local can still make it after the remote had its window"
#  remote        due  race   what is said of the call
CALLS = [
    (None, 200, False,
     ("detect ran on this device, because no remote is configured; its first part took 40.0 ms, 160 ms before it was due "
     "(local is bounded at 60 ms). There was no choice.")),
    ((30, "ok"), 70, False,
     ("detect ran on this device, because the remote would be late too often in the window it has; its first part took "
     "40.0 ms, 30 ms before it was due (local is bounded at 60 ms); the remote would have had 8 ms before local had to "
     "start, and the remote was late with a probability of at most 100.0%. What the remote would have done is not known: "
     "it was not asked.")),
    ((30, "ok"), 200, False,
     (f"detect ran at the near edge, {SAFE}; its first part took 30.0 ms, 170 ms before it was due (local is bounded at "
     "60 ms); the last safe moment for local was 138 ms after the ask, and the remote was late with a probability of at "
     "most 11.9%; the remote answered after 30 ms. Who knew the future would have sent it away too, and reserved nothing.")),
    ((0, "hang"), 200, False,
     (f"detect ran on this device, {SAFE}; its first part took 178.0 ms, 22 ms before it was due (local is bounded at "
     "60 ms); the last safe moment for local was 138 ms after the ask, and the remote was late with a probability of at "
     "most 11.9%; the remote had not answered when it was given up after 178 ms, and local took 40 ms. Whether the "
     "remote would still have been in time is not known; here it would have taken 40 ms from the start.")),
    ((50, "ok"), 70, True,
     ("detect ran on this device, because both at once: the remote's answer is worth it; its first part took 40.0 ms, "
     "30 ms before it was due (local is bounded at 60 ms); the remote would have had 8 ms before local had to start, and "
     "the remote was late with a probability of at most 100.0%; the remote had not answered when it was given up after "
     "40 ms, and local took 40 ms. Whether the remote would still have been in time is not known; here it would have "
     "taken 40 ms from the start.")),
]  # fmt: skip


async def _told(remote: tuple[float, str] | None, due_ms: int, race: bool, path: Path) -> None:
    """One call of a stage, and the verdict made of it, as records in a file."""
    file = JsonLines(path, max_bytes=10**9)
    lane, link, sent = Lane("gpu"), Link("edge"), now_ns()
    for n in range(60):
        link.took(n, 0, 20 * MS, late=False)
    records: list[AnyRecord] = []
    stage: Stage[str, str] = Stage(
        "detect", OnLane(lane, repeat(40)), lane, local_prior_ns=60 * MS, sink=records.append,
        remote=Script([remote]) if remote else None, link=link, terms=Terms(race=race),
    )  # fmt: skip
    await stage("x", due_ns=sent + due_ms * MS, of="belt 1")
    await stage.aclose()
    for record in [*records, Verdict(Outcome.PASS, "sound", "belt", 1, sent, now_ns(), sent + due_ms * MS)]:
        file(record)
    file.close()


@pytest.mark.parametrize(("remote", "due_ms", "race", "said"), CALLS)
async def test_each_placement_is_told_with_its_numbers_and_what_the_oracle_would_have_done(
    remote: tuple[float, str] | None, due_ms: int, race: bool, said: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "records.jsonl"
    await _told(remote, due_ms, race, path)
    explain("belt 1", path)
    assert said in capsys.readouterr().out.splitlines()


RECORD = Record("belt 1", "detect", 0, 200 * MS, 10 * MS, "none", Why.SAFE, 60 * MS, 138 * MS, 0.1)


@pytest.mark.parametrize(("changed", "said"), [
    ({"error": "cancelled", "remote_end": "given up", "remote_took_ns": 10 * MS},
     "detect gave no answer and ended after 10.0 ms, 190 ms before it was due; it was placed as it was because local"),
    ({"side": "remote", "policy": "remote", "local_at_ns": 200 * MS}, "; local was to start 200 ms after the ask"),
])  # fmt: skip
def test_a_call_without_an_answer_and_one_of_another_policy_are_told_as_they_were(
    changed: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.jsonl"
    file = JsonLines(path, max_bytes=10**9)
    file(replace(RECORD, **changed))
    file(Verdict(Outcome.PASS, "sound", "belt", 1, 0, MS, 200 * MS, boxes=(Box(1, 2, 3, 4, "scratch", 0.5),)))
    file.close()
    explain("belt 1", path)
    assert said in capsys.readouterr().out
    path.write_text(path.read_text().replace('"first_ns": 10000000', '"first_ns": "soon"'))
    with pytest.raises(ConfigError, match="written by another version"):
        explain("belt 1", path)
