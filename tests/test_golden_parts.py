"""Golden parts: no PASS before they are right, drift is found, noise is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Told

from edgeapp.apps.golden import GoldenCheck, identity_of, past_runs, result_of
from edgeapp.apps.rules import OpenedRule
from edgeapp.cli import cli
from edgeapp.core.events import Box, CameraFrame, ConfigError, Outcome, Verdict
from edgeapp.devices import conveyor
from edgeapp.station import queries
from edgeapp.station.golden_parts import Golden, GoldenSet, Identity, Known, Result, Run, read_set, row_of, run_of
from edgeapp.station.ledger import open_ledger
from edgeapp.station.statistics import CUSUM_LIMIT, self_starting_cusum, signed_rank
from edgeapp.station.store import open_reading
from edgeapp.vision.rules import InspectionRule

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
START_NS = 20_000 * DAY_NS
RULE = InspectionRule(("washer",), ("scratch", "dent"), sha256="a" * 64)
HERE = Identity("model", "1 aaa", "belt", "set")
GOOD, BAD = Known(name="G1", expect="PASS", image="G1.png", serial="GOLD-1"), Known(
    name="B1", expect="FAIL", causes=("scratch",), image="B1.png", serial="GOLD-2"
)  # fmt: skip
SET = GoldenSet(Path(), "belt", (GOOD, BAD), "set")
RIGHT = (Result("G1", Outcome.PASS, 0.9, 0.05), Result("B1", Outcome.FAIL, 0.9, 0.8))


class Clock:
    """UTC that a test moves."""

    def __init__(self, hour: float) -> None:
        self.now_ns = START_NS + round(hour * HOUR_NS)

    def __call__(self) -> int:
        return self.now_ns

    def at(self, hour: float) -> None:
        self.now_ns = START_NS + round(hour * HOUR_NS)


def state(clock: Clock, *past: Run, identity: Identity = HERE, golden: GoldenSet = SET) -> Golden:
    return Golden(golden, identity, past, shifts_utc=("06:00", "14:00", "22:00"), utc_ns=clock)


def test_no_part_passes_before_the_first_run() -> None:
    golden = state(Clock(7))
    assert (golden.trouble, golden.due) == ("the golden parts were never judged here", "first run")
    run = golden.judged(RIGHT, golden.due)
    assert run.ok
    assert (golden.trouble, golden.due) == ("", "")


SHIFTS = [
    #  run at, asked at, due, trouble
    (7.0, 13.70, "", False),
    (7.0, 13.80, "shift", False),  # shortly before the shift it may be judged, and need not be yet
    (7.0, 13.99, "shift", False),
    (7.0, 14.00, "shift", True),
    (13.8, 14.01, "", False),
    (13.8, 21.5, "", False),
    (13.7, 14.01, "shift", True),
    (22.5, 29.5, "", False),  # over midnight
    (22.5, 30.3, "shift", True),
]


@pytest.mark.parametrize(("run_at", "asked_at", "due", "trouble"), SHIFTS)
def test_each_shift_asks_for_a_run_of_its_own(run_at: float, asked_at: float, due: str, trouble: bool) -> None:
    clock = Clock(run_at)
    golden = state(clock)
    golden.judged(RIGHT, "shift")
    clock.at(asked_at)
    assert golden.due == due
    assert golden.trouble == ("the golden parts were not judged in this shift" if trouble else "")


@pytest.mark.parametrize("what", ["model", "rule", "camera", "golden_set"])
def test_a_switch_asks_for_a_run_of_its_own(what: str) -> None:
    clock = Clock(7)
    run = state(clock).judged(RIGHT, "shift")
    golden_set = replace(SET, camera="new") if what == "camera" else SET
    golden = state(clock, run, identity=replace(HERE, **{what: "new"}), golden=golden_set)
    assert golden.due == what.replace("_", " ")
    assert golden.trouble == f"the golden parts were not judged since the {golden.due} was switched"
    assert golden.judged(RIGHT, golden.due).identity == golden.identity
    assert golden.trouble == ""


def test_pictures_of_another_camera_prove_nothing_of_this_one() -> None:
    golden = state(Clock(7), identity=replace(HERE, camera="new"))
    golden.judged(RIGHT, "camera")
    assert golden.trouble == "the golden pictures are of the camera 'belt': take new ones with 'new'"


def test_a_failed_run_stops_every_pass_until_one_succeeds() -> None:
    clock = Clock(7)
    golden = state(clock)
    golden.judged(RIGHT, "shift")
    wrong = replace(RIGHT[1], outcome=Outcome.PASS, wrong="PASS instead of FAIL: no defect")
    golden.judged((RIGHT[0], wrong), "shift")
    assert golden.trouble == "the golden parts failed: B1: PASS instead of FAIL: no defect"
    assert golden.due == "it failed"
    golden.judged(RIGHT[:1], "shift")
    assert golden.trouble == "the golden parts failed: B1: not judged"
    golden.judged((), "shift")
    assert golden.trouble == "the golden parts failed: G1: not judged and 1 more"
    golden.judged(RIGHT, "it failed")
    assert golden.trouble == ""


# Drift

PARTS = tuple(Known(name=f"P{n}", expect="FAIL" if n % 2 else "PASS", serial=f"S{n}") for n in range(30))
MANY = GoldenSet(Path(), "belt", PARTS, "set")
TRUE = np.random.default_rng(7).uniform(0.6, 0.95, (30, 2))


def runs_of(shifts: Sequence[float], noise: float, seed: int) -> list[Run]:
    """Runs of thirty parts laid on the belt, each score with noise of its own, all moved by the run's shift."""
    rng, clock = np.random.default_rng(seed), Clock(7)
    golden = Golden(MANY, HERE, [], shifts_utc=("06:00",), utc_ns=clock)
    runs = []
    for n, shift in enumerate(shifts):
        clock.at(7 + 8 * n)
        scores = np.clip(TRUE + rng.normal(0, noise, TRUE.shape) + shift, 0, 1)
        results = [
            Result(part.name, Outcome(part.expect), float(each[0]), float(each[1]))
            for part, each in zip(PARTS, scores, strict=True)
        ]
        runs.append(golden.judged(results, "shift"))
    return runs


def test_noise_is_no_drift() -> None:
    """2,000 runs of ten stations: no more false alarms than the two tests state together."""
    alarms = sum(bool(run.drift) for seed in range(10) for run in runs_of([0.0] * 200, 0.03, seed))
    assert alarms <= 3


def test_pictures_that_repeat_exactly_are_no_drift() -> None:
    assert not any(run.drift for run in runs_of([0.0] * 50, 0.0, 1))


def test_scores_that_drop_at_once_are_an_alarm_of_that_run() -> None:
    runs = runs_of([0.0] * 20 + [-0.06], 0.03, 3)
    assert not any(run.drift for run in runs[:-1])
    assert any("the score of parts moved by -0.0" in each and "signed ranks" in each for each in runs[-1].drift)
    assert runs[-1].ok


def test_scores_that_creep_are_an_alarm_before_a_verdict_is_wrong() -> None:
    """A thousandth a shift, as a lens that gets dirty: found before it is a twentieth."""
    runs = runs_of([0.0] * 20 + [-0.001 * n for n in range(120)], 0.03, 4)
    first = next(n for n, run in enumerate(runs) if run.drift)
    assert 20 < first < 70
    assert sum(bool(run.drift) for run in runs[first:]) > 30


def test_a_shift_that_is_too_small_to_matter_is_no_alarm() -> None:
    assert not any(run.drift for run in runs_of([0.0] * 5 + [-0.015] * 50, 0.002, 5))


def test_a_switch_begins_a_new_reference() -> None:
    """A new model scores otherwise, and that is no drift."""
    clock = Clock(7)
    before = runs_of([0.0] * 5, 0.03, 6)
    golden = Golden(MANY, replace(HERE, model="new"), before, shifts_utc=("06:00",), utc_ns=clock)
    moved = [replace(each, part_score=each.part_score - 0.2) for each in before[0].results]
    assert not golden.judged(moved, "model").drift


def test_signed_ranks_are_exact() -> None:
    """Wilcoxon's table: n = 10, W = 8 has a two-sided p of 50/1024; and by counting every sign of small samples."""
    low_ranks = [-1, -7] + [each for each in range(2, 11) if each != 7]
    assert signed_rank([float(each) for each in low_ranks]) == pytest.approx(50 / 1024)
    assert signed_rank([1.0] * 13) == pytest.approx(2 / 2**13)
    assert signed_rank([0.0, 0.0]) == 1.0
    assert signed_rank([1.0, -1.0]) == 1.0
    values = [0.5, -0.5, 0.5, 2.0, -3.0, 4.0, 4.0]
    sizes = sorted(abs(each) for each in values)
    rank = {size: (sizes.index(size) + len(sizes) - sizes[::-1].index(size) + 1) / 2 for size in sizes}
    seen = sum(rank[abs(each)] for each in values if each > 0)
    total = sum(rank[abs(each)] for each in values)
    sums = [sum(rank[abs(each)] for bit, each in enumerate(values) if signs >> bit & 1) for signs in range(1 << 7)]
    count = sum(each <= min(seen, total - seen) for each in sums)
    assert signed_rank(values) == pytest.approx(min(1.0, 2 * count / 128))


def test_the_cusum_of_noise_alarms_as_seldom_as_is_stated() -> None:
    """500 series of 300 values: where the sums begin anew after an alarm, one in 3,500 values is one."""
    rng = np.random.default_rng(8)
    first = []
    for series in rng.normal(5, 2, (500, 300)).tolist():
        sums = self_starting_cusum(series, 1e-9)
        first.append(next((n for n, each in enumerate(sums, 1) if abs(each) > CUSUM_LIMIT), 300))
    alarms, values = sum(each < 300 for each in first), sum(first)
    assert 3_500 / 2 < values / alarms < 3_500 * 2


def test_the_cusum_finds_one_standard_deviation_within_some_twenty_values() -> None:
    rng = np.random.default_rng(9)
    delays = []
    for _ in range(200):
        series = [*rng.normal(0, 1, 100), *rng.normal(1, 1, 100)]
        sums = self_starting_cusum(series, 1e-9)
        delays.append(next((n for n, each in enumerate(sums[100:], 1) if each > CUSUM_LIMIT), 101))
    assert np.median(delays) < 25
    assert sum(each > 100 for each in delays) <= 4  # it takes what stays for long for the new mean; signed ranks do not


# The set


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def add(folder: Path, image: Path, *more: str) -> Told:
    return CliRunner().invoke(cli, ["golden", "add", str(folder), str(image), "--camera", "belt", "--by", "ann", *more])


def filled(folder: Path) -> Path:
    image = folder / "shot.png"
    cv2.imwrite(str(image), picture(1))
    golden = folder / "golden"
    assert add(golden, image, "--name", "G1", "--expect", "PASS", "--serial", "GOLD-1").exit_code == 0
    assert (
        add(golden, image, "--name", "B1", "--expect", "FAIL", "--cause", "scratch", "--serial", "GOLD-2").exit_code
        == 0
    )
    return golden


def test_a_set_is_begun_and_grows_by_pictures(tmp_path: Path) -> None:
    golden = read_set(filled(tmp_path))
    assert [(each.name, each.expect, each.causes, each.image, each.serial, each.by) for each in golden.parts] == [
        ("G1", "PASS", (), "G1.png", "GOLD-1", "ann"), ("B1", "FAIL", ("scratch",), "B1.png", "GOLD-2", "ann"),
    ]  # fmt: skip
    before = golden.sha256
    cv2.imwrite(str(golden.folder / "B1.png"), picture(2))
    assert read_set(golden.folder).sha256 != before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--name", "G1", "--expect", "PASS"), "has a part 'G1'"),
        (("--name", "G2", "--expect", "FAIL"), "a bad part needs --cause"),
        (("--name", "../G2", "--expect", "PASS"), "must be letters, digits"),
    ],
)
def test_what_cannot_be_added_is_said(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    folder = filled(tmp_path)
    before = (folder / "golden.toml").read_text()
    result = add(folder, tmp_path / "shot.png", *more)
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
    assert (folder / "golden.toml").read_text() == before


WRONG_SETS = [
    ('name = "B1"', 'name = "G1"', "'G1' stands there twice"),
    ('serial = "GOLD-2"', 'serial = "GOLD-1"', "'GOLD-1' stands there twice"),
    ('expect = "FAIL"', 'expect = "PASS"', "needs at least one good and one bad part"),
    ('image = "B1.png"', 'image = "../B1.png"', "must lie beside the set's file"),
    ('image = "B1.png"', 'image = "gone.png"', "cannot be read"),
    ('image = "B1.png"\nserial = "GOLD-2"', "", "has neither a picture nor a serial"),
    ("expect", "expects", "is no golden set"),
    ("camera", "camra", "is no golden set"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), WRONG_SETS, ids=[row[2] for row in WRONG_SETS])
def test_what_is_wrong_in_a_set_is_named(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    folder = filled(tmp_path)
    text = (folder / "golden.toml").read_text()
    assert right in text
    (folder / "golden.toml").write_text(text.replace(right, wrong))
    with pytest.raises(ConfigError, match=said):
        read_set(folder)


# At the station

WASHER, SCRATCH, DENT = Box(0, 0, 9, 9, "washer", 0.9), Box(1, 1, 2, 2, "scratch", 0.6), Box(1, 1, 2, 2, "dent", 0.6)


def verdict(frame_number: int, outcome: Outcome, *boxes: Box) -> Verdict:
    return Verdict(outcome, "as told", "belt", frame_number, 0, 1, 2, boxes, "m", "washer")


@pytest.mark.parametrize(
    ("known", "given", "wrong"),
    [
        (GOOD, verdict(1, Outcome.PASS, WASHER), ""),
        (GOOD, verdict(1, Outcome.FAIL, WASHER, DENT), "FAIL instead of PASS: as told"),
        (GOOD, verdict(1, Outcome.NOT_INSPECTED), "NOT_INSPECTED instead of PASS: as told"),
        (BAD, verdict(1, Outcome.FAIL, WASHER, SCRATCH), ""),
        (BAD, verdict(1, Outcome.FAIL, WASHER, DENT), "FAIL, but not for scratch: as told"),
        (
            BAD,
            verdict(1, Outcome.FAIL, WASHER, DENT, replace(SCRATCH, score=0.2)),
            "FAIL, but not for scratch: as told",
        ),
        (BAD, verdict(1, Outcome.PASS, WASHER), "PASS instead of FAIL: as told"),
    ],
)
def test_a_golden_part_must_be_right_for_the_right_reason(known: Known, given: Verdict, wrong: str) -> None:
    assert result_of(known, given, RULE).wrong == wrong


class Station:
    """The inspection, scripted: which boxes are seen of which golden part."""

    def __init__(self, folder: Path, clock: Clock, **boxes: tuple[Box, ...]) -> None:
        self.boxes, self.alarms = boxes, list[str]()
        golden = read_set(folder)
        identity = identity_of(golden, OpenedRule(RULE), "m", "belt")
        self.golden = Golden(golden, identity, [], shifts_utc=("06:00", "14:00", "22:00"), utc_ns=clock)
        self.check = GoldenCheck(self.golden, self.inspect, RULE, alarm=self.alarms.append)
        self.times: list[int] = []

    async def inspect(self, frame: CameraFrame, _: InspectionRule) -> Verdict:
        assert frame.pixels.shape == (40, 60, 3)
        self.times.append(frame.at_ns)
        await asyncio.sleep(0.1)
        boxes = self.boxes[frame.source.removeprefix("golden ")]
        bad = any(box.label in RULE.defects for box in boxes)
        return verdict(frame.number, Outcome.FAIL if bad else Outcome.PASS, *boxes)


@pytest.mark.real_time
async def test_the_pictures_are_judged_as_frames_of_the_station_are(tmp_path: Path) -> None:
    station = Station(filled(tmp_path), Clock(7), G1=(WASHER,), B1=(WASHER, SCRATCH))
    assert station.check.trouble
    run = await station.check.run("first run")
    assert (run.ok, station.check.trouble, station.alarms) == (True, "", [])
    assert all(one < other for one, other in pairwise(station.times))


@pytest.mark.real_time
async def test_a_failed_run_is_an_alarm_and_a_row_and_no_part_of_the_yield(tmp_path: Path) -> None:
    station = Station(filled(tmp_path), Clock(7), G1=(WASHER,), B1=(WASHER,))
    async with open_ledger(tmp_path / "ledger") as ledger:
        check = GoldenCheck(station.golden, station.inspect, RULE, alarm=station.alarms.append, ledger=ledger)
        await check.run("first run")
        assert check.trouble == "the golden parts failed: B1: PASS instead of FAIL: as told"
        assert station.alarms == ["the golden parts failed, no part passes: B1: PASS instead of FAIL: as told"]
        station.boxes["B1"] = (WASHER, SCRATCH)
        await check.run("it failed")
        assert check.trouble == ""
    runs = past_runs(tmp_path / "ledger")
    assert [(each.why, each.ok) for each in runs] == [("first run", False), ("it failed", True)]
    assert runs[1].results == (Result("G1", Outcome.PASS, 0.9, 0.0), Result("B1", Outcome.FAIL, 0.9, 0.6))
    again = Golden(
        station.golden.set, station.golden.identity, runs, shifts_utc=("06:00",), utc_ns=lambda: runs[1].utc_ns
    )
    assert (again.trouble, again.due) == ("", "")
    with closing(open_reading(tmp_path / "ledger")) as database:
        assert queries.counts(database).parts == 0


@pytest.mark.real_time
async def test_golden_parts_on_the_belt_are_known_by_their_serial_and_end_a_run(tmp_path: Path) -> None:
    station = Station(filled(tmp_path), Clock(7))
    assert not await station.check.saw("S1", verdict(1, Outcome.PASS, WASHER))
    assert not await station.check.saw("", verdict(1, Outcome.PASS, WASHER))
    assert await station.check.saw("GOLD-1", verdict(2, Outcome.PASS, WASHER))
    assert station.check.trouble
    assert await station.check.saw("GOLD-2", verdict(3, Outcome.FAIL, WASHER, SCRATCH))
    assert station.check.trouble == ""


def test_a_run_survives_its_row() -> None:
    run = runs_of([0.0] * 20 + [-0.06], 0.03, 3)[-1]
    row: dict[str, Any] = {**row_of(run), "utc_ns": run.utc_ns, "seq": 1}
    assert run_of(row) == run
    with pytest.raises(ConfigError, match="row 1 of the ledger is no golden run"):
        run_of({"seq": 1})


# By the bundled detector


async def drawn(folder: Path, parts: int) -> list[tuple[Path, str, str]]:
    """Pictures of the simulated belt, each with its verdict and its defect by the truth."""
    found = []
    async with conveyor.start(conveyor.Options(parts=parts, source="belt", seed=4)) as belt:
        async for frame in belt.frames():
            path = folder / f"shot{frame.number}.png"
            cv2.imwrite(str(path), frame.pixels)
            defects = belt.truth[frame.number].defects
            found.append((path, "FAIL" if defects else "PASS", defects[0].kind if defects else ""))
    return found


def run_golden(golden: Path) -> Told:
    return CliRunner().invoke(cli, ["golden", "run", str(golden), "--json"])


def test_real_pictures_are_judged_by_the_bundled_detector_and_rule(tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    for n, (path, expect, cause) in enumerate(asyncio.run(drawn(tmp_path, 8))):
        more = ("--cause", cause) if cause else ()
        assert add(golden, path, "--name", f"P{n}", "--expect", expect, *more).exit_code == 0
    result = run_golden(golden)
    says = json.loads(result.stdout)
    assert (result.exit_code, says["ok"], says["wrong"], len(says["results"])) == (0, True, [], 8)
    assert all(each["part_score"] > 0.5 for each in says["results"])
    text = (golden / "golden.toml").read_text()
    (golden / "golden.toml").write_text(text.replace('expect = "PASS"', 'expect = "FAIL"', 1))
    result = run_golden(golden)
    assert result.exit_code == 1
    assert "PASS instead of FAIL: " in json.loads(result.stdout)["wrong"][0]
