"""Verdicts on virtual time: exactly one for each frame, by its due time, and PASS only with proof."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
from worlds import Script

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, Box, CameraFrame, Detections, DeviceError, Outcome, TimestampKind, Verdict
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Why
from edgeapp.core.record import AnyRecord
from edgeapp.core.stage import Stage
from edgeapp.engines import fake
from edgeapp.vision.calibrated import CalibratedLook
from edgeapp.vision.calibration import by_scale
from edgeapp.vision.inspection import Inspection, watch
from edgeapp.vision.pace import Pace
from edgeapp.vision.rules import InspectionRule, judge
from edgeapp.vision.second_look import in_doubt, together

RULE = InspectionRule(parts=("washer",), defects=("scratch",), part_score=0.5, defect_score=0.25)
WASHER = (10.0, 10.0, 90.0, 90.0, "washer", 0.9)
SCRATCH = (20.0, 20.0, 40.0, 40.0, "scratch", 0.6)

#        what was seen                                  verdict
JUDGED = [
    ([WASHER], Outcome.PASS),
    ([WASHER, SCRATCH], Outcome.FAIL),
    ([SCRATCH], Outcome.FAIL),
    ([], Outcome.NOT_INSPECTED),
    ([WASHER, WASHER], Outcome.NOT_INSPECTED),
    ([(*WASHER[:5], 0.4)], Outcome.NOT_INSPECTED),
    ([WASHER, (*SCRATCH[:5], 0.2)], Outcome.PASS),
    ([WASHER, (*SCRATCH[:4], "nut", 0.9)], Outcome.PASS),
]


@pytest.mark.parametrize(("rows", "outcome"), JUDGED)
def test_the_rule(rows: list[tuple[float, float, float, float, str, float]], outcome: Outcome) -> None:
    assert judge(Detections(1, tuple(Box(*row) for row in rows), "m"), RULE).outcome is outcome


def test_a_defect_can_have_a_least_score_of_its_own() -> None:
    rule = replace(RULE, defects=("scratch", "burr"), defect_scores={"burr": 0.7})
    burr = Box(20.0, 20.0, 40.0, 40.0, "burr", 0.6)
    assert judge(Detections(1, (Box(*WASHER), burr), "m"), rule).outcome is Outcome.PASS
    assert judge(Detections(1, (Box(*WASHER), replace(burr, score=0.7)), "m"), rule).outcome is Outcome.FAIL
    assert judge(Detections(1, (Box(*WASHER), Box(*SCRATCH)), "m"), rule).outcome is Outcome.FAIL


def _frame(number: int, at_ns: int) -> CameraFrame:
    return CameraFrame(np.zeros((4, 4, 3), np.uint8), at_ns, number, "belt", TimestampKind.FILE)


async def _line(
    options: fake.Options,
    *at_ms: float,
    handed_late_ms: float = 0,
    records: list[AnyRecord] | None = None,
    rule: InspectionRule = RULE,
) -> list[Verdict]:
    """Frames captured at these times, handed over so much later; their verdicts in frame order."""
    records = [] if records is None else records
    given: list[Verdict] = []
    lost: list[DeviceError] = []
    lane = Lane("gpu")

    async def frames() -> AsyncIterator[CameraFrame]:
        for number, ms in enumerate(at_ms, 1):
            await sleep_until(round((ms + handed_late_ms) * MS))
            yield _frame(number, round(ms * MS))

    async with fake.load(options, lane) as detect:
        stage: Stage[CameraFrame, Detections] = Stage(
            "detect", detect, lane, local_prior_ns=60 * MS, sink=records.append
        )
        inspection = Inspection(stage, rule, due_after_ns=200 * MS, sink=records.append)
        await watch(frames(), inspection, lambda _, verdict: given.append(verdict), lost.append)
    assert [each for each in records if isinstance(each, Verdict)] == given
    return sorted(given, key=lambda verdict: verdict.frame_number)


def _script(takes_ms: float = 30, **more: object) -> fake.Options:
    return fake.Options(kind="detect", takes_ms=takes_ms, boxes=((WASHER,), (WASHER, SCRATCH)), **more)  # type: ignore[arg-type]


async def test_parts_are_judged_as_they_come() -> None:
    verdicts = await _line(_script(), 0, 100, 200)
    assert [each.outcome for each in verdicts] == [Outcome.PASS, Outcome.FAIL, Outcome.PASS]
    assert [(each.decided_ns - each.at_ns) / MS for each in verdicts] == [30, 30, 30]


async def test_each_part_is_announced_before_it_is_looked_at() -> None:
    told: list[str] = []

    async def look(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        told.append(of)
        return Detections(frame.number, (Box(*WASHER),), "m")

    inspection = Inspection(
        look, RULE, due_after_ns=200 * MS, sink=lambda _: None, on_part=lambda: told.append("a part comes")
    )
    await inspection.inspect(_frame(1, 0))
    assert told == ["a part comes", f"{_frame(1, 0).source} 1"]


async def test_a_detector_that_is_late_is_not_waited_for() -> None:
    (verdict,) = await _line(_script(takes_ms=500), 0)
    assert verdict.outcome is Outcome.NOT_INSPECTED
    assert verdict.decided_ns == 198 * MS
    assert "by the due time" in verdict.why


async def test_a_picture_that_the_calibration_is_not_of_is_not_a_pass() -> None:
    async def look(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        return Detections(frame.number, (Box(*WASHER),), "m")

    for camera, size, outcome in (
        ("belt", 4, Outcome.PASS),
        ("belt", 8, Outcome.NOT_INSPECTED),
        ("eye", 4, Outcome.NOT_INSPECTED),
    ):
        calibration = by_scale(0.1, camera=camera, width=size, height=size, utc_ns=1)
        inspection = Inspection(CalibratedLook(look, calibration), RULE, due_after_ns=200 * MS, sink=lambda _: None)
        verdict = await inspection.inspect(_frame(1, 0))
        assert verdict.outcome is outcome
        assert outcome is Outcome.PASS or "the calibration is of" in verdict.why


async def test_a_detector_that_fails_is_not_a_pass() -> None:
    (verdict,) = await _line(_script(fail_every=1), 0)
    assert verdict.outcome is Outcome.NOT_INSPECTED
    assert "the detector failed" in verdict.why


async def test_a_frame_that_arrives_old_has_only_what_is_left() -> None:
    (verdict,) = await _line(_script(takes_ms=30), 0, handed_late_ms=180)
    assert (verdict.outcome, verdict.decided_ns) == (Outcome.NOT_INSPECTED, 198 * MS)


async def test_a_line_that_is_too_fast_gets_a_verdict_for_every_part() -> None:
    """30 ms a part on the lane, one part every 5 ms: what cannot be inspected in time is said so, part by part."""
    verdicts = await _line(_script(takes_ms=30), *range(0, 500, 5))
    assert [each.frame_number for each in verdicts] == list(range(1, 101))
    assert all(each.decided_ns <= each.due_ns for each in verdicts)
    seen = [each for each in verdicts if each.outcome is not Outcome.NOT_INSPECTED]
    assert len(seen) >= 15
    assert {each.why.partition(":")[0] for each in verdicts if each not in seen} <= {
        "the line is faster than the inspection",
        "no answer from the detector by the due time",
    }


async def test_a_line_a_little_faster_than_the_detector_has_as_many_parts_judged_as_it_can() -> None:
    """40 ms a part on the lane, one every 33 ms for 10 s: 247 can be judged, and a queue as long as the budget would make all late."""
    verdicts = await _line(_script(takes_ms=40), *range(0, 9_900, 33))
    assert all(each.decided_ns <= each.due_ns for each in verdicts)
    assert sum(each.outcome is not Outcome.NOT_INSPECTED for each in verdicts) >= 240


def test_a_frame_that_cannot_be_judged_in_time_behind_the_others_is_turned_away() -> None:
    pace = Pace()
    assert pace.fits(7, 0, 1)  # nothing is known yet
    pace.ended(0, 40)
    pace.ended(10, 80)  # it waited behind the first: 40 of its own
    assert pace.fits(3, 80, 280)  # three, this one, and one that runs before it
    assert not pace.fits(3, 81, 280)
    assert pace.fits(0, 279, 280)  # alone it is tried
    pace.ended(1_000, 1_090)  # a slow one: 0.8 * 40 + 0.2 * 90
    assert pace.fits(1, 0, 150)
    assert not pace.fits(1, 1, 150)


async def test_a_timestamp_that_does_not_advance_is_not_a_pass() -> None:
    verdicts = await _line(_script(), 100, 100, 200)
    assert [each.outcome for each in verdicts] == [Outcome.PASS, Outcome.NOT_INSPECTED, Outcome.PASS]


async def test_stopping_the_line_ends_the_inspections_under_way_with_a_verdict() -> None:
    records: list[AnyRecord] = []
    line = asyncio.create_task(_line(_script(takes_ms=100), 0, 10_000, records=records))
    await asyncio.sleep(0.050)
    line.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line
    assert now_ns() == 50 * MS
    (verdict,) = [each for each in records if isinstance(each, Verdict)]
    assert (verdict.outcome, verdict.frame_number) == (Outcome.NOT_INSPECTED, 1)
    assert "was ended before an answer came" in verdict.why


async def test_a_reserved_run_that_takes_all_of_its_bound_still_gives_a_verdict() -> None:
    """The detector is due before the verdict is, so both waits never end at once."""
    given: list[Verdict] = []
    lane = Lane("gpu")

    async def frames() -> AsyncIterator[CameraFrame]:
        for number in range(1, 4):
            yield _frame(number, now_ns())
            await asyncio.sleep(0.3)

    async with fake.load(_script(60), lane) as detect:
        stage: Stage[CameraFrame, Detections] = Stage(
            "detect", detect, lane, local_prior_ns=60 * MS, sink=lambda _: None, calibrated=True,
            remote=Script([(0, "hang")]), link=Link("edge"),  # type: ignore[arg-type]
            placer=lambda it, _: Late(it.lane_last_ns or 0, Why.SAFE),
        )  # fmt: skip
        inspection = Inspection(stage, RULE, due_after_ns=200 * MS, sink=lambda _: None)
        await watch(frames(), inspection, lambda _, verdict: given.append(verdict), lambda _: None)
    assert [(each.outcome, each.due_ns - each.decided_ns) for each in given] == [
        (Outcome.PASS, 4 * MS), (Outcome.FAIL, 4 * MS), (Outcome.PASS, 4 * MS)
    ]  # fmt: skip


class Flaky:
    """A camera that is lost after every second frame and comes back half a second later."""

    def __init__(self, *, first: int) -> None:
        self.number = first

    async def __aiter__(self) -> AsyncIterator[CameraFrame]:
        for _ in range(2):
            if self.number > 6:
                return
            if self.number > 0:
                await asyncio.sleep(0.1)
                yield _frame(self.number, now_ns())
            self.number += 1
        await asyncio.sleep(0.5)
        raise DeviceError("the camera belt is gone: check its cable")


@pytest.mark.parametrize(("first", "frames", "losses"), [(1, 6, 3), (-1, 0, 0)])
async def test_a_lost_camera_is_told_and_watched_again(first: int, frames: int, losses: int) -> None:
    """One that never gave a frame is an error for the operator instead."""
    told: list[DeviceError] = []
    given: list[Verdict] = []
    lane = Lane("gpu")
    async with fake.load(_script(), lane) as detect:
        stage: Stage[CameraFrame, Detections] = Stage(
            "detect", detect, lane, local_prior_ns=60 * MS, sink=lambda _: None
        )
        inspection = Inspection(stage, RULE, due_after_ns=200 * MS, sink=lambda _: None)
        watching = watch(Flaky(first=first), inspection, lambda _, verdict: given.append(verdict), told.append)
        if frames:
            await watching
        else:
            with pytest.raises(ExceptionGroup) as raised:
                await watching
            assert raised.group_contains(DeviceError)
    assert (len(given), len(told)) == (frames, losses)


CAREFUL = replace(RULE, doubt_from_score=0.1, doubt_below_score=0.5)
PART = (0.0, 0.0, 4.0, 4.0, "washer", 0.9)
ALL_OVER = (0.0, 0.0, 4.0, 4.0, "scratch", 0.3)
IN_A_CORNER = (0.0, 0.0, 1.0, 1.0, "scratch", 0.3)
"""In a mirrored picture the fake detector sees it in the same corner again, which is another one of the part's."""


@pytest.mark.parametrize(("score", "doubt"), [(0.09, False), (0.1, True), (0.49, True), (0.5, False)])
def test_doubt_is_a_range_of_the_surest_defect(score: float, doubt: bool) -> None:
    seen = Detections(1, (Box(*WASHER), Box(*SCRATCH[:5], score)), "m")
    assert in_doubt(seen, CAREFUL) is doubt
    assert not in_doubt(seen, RULE)


def test_the_looks_together_give_each_thing_its_mean_score() -> None:
    there, almost, elsewhere = Box(*SCRATCH), Box(21, 21, 41, 41, "scratch", 0.2), Box(60, 60, 80, 80, "scratch", 0.4)
    dent = replace(there, label="dent", score=0.8)
    looks = [Detections(1, boxes, "m") for boxes in ((dent, there, almost), (elsewhere, almost), (), (there,))]
    boxes = together(looks).boxes
    assert [(box.label, box.left) for box in boxes] == [("scratch", 20), ("dent", 20), ("scratch", 60)]
    assert [box.score for box in boxes] == pytest.approx([(0.6 + 0.2 + 0 + 0.6) / 4, 0.2, 0.1])


async def test_a_part_in_doubt_is_looked_at_mirrored_and_all_looks_decide() -> None:
    doubtful = fake.Options(kind="detect", takes_ms=30, boxes=((PART, ALL_OVER), (PART, IN_A_CORNER)))
    stays, goes = await _line(doubtful, 0, 1000, rule=CAREFUL)
    assert (stays.outcome, stays.why) == (Outcome.FAIL, "scratch 0.30, on a second look")
    assert goes.outcome is Outcome.PASS
    assert [box.score for box in goes.boxes if box.label == "scratch"] == [pytest.approx(0.075)] * 4
    assert [(each.decided_ns - each.at_ns) / MS for each in (stays, goes)] == [120, 120]


async def test_a_second_look_that_is_late_leaves_the_first_in_force() -> None:
    slow = fake.Options(kind="detect", takes_ms=60, boxes=((WASHER, IN_A_CORNER),))
    (verdict,) = await _line(slow, 0, rule=CAREFUL)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.why == "scratch 0.30, no time for a second look"
    assert verdict.decided_ns < verdict.due_ns
