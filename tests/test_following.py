"""Parts that a free-running camera sees in many frames, on virtual time: one part, one verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim import run

from edgeapp.core.clock import sleep_until
from edgeapp.core.events import MS, Box, CameraFrame, ConfigError, Detections, DeviceError, TimestampKind, Verdict
from edgeapp.vision.following import Following
from edgeapp.vision.inspection import Inspection
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.tracks import Belt, Track, Tracks, iou

RULE = InspectionRule(parts=("washer", "nut"), defects=("scratch",))
WIDTH = HEIGHT = 200
PERIOD_MS = 40.0
SPEED = 250.0
"""Pixels a second: 10 a frame. A part is 40 px long and passes the line in its 16th frame."""


@dataclass
class Run:
    """What came of a run."""

    given: list[tuple[CameraFrame | None, Verdict]] = field(default_factory=list)
    records: list[object] = field(default_factory=list)
    lost: list[DeviceError] = field(default_factory=list)
    flickers: int = 0
    came_ms: list[int] = field(default_factory=list)
    """When each part had its number."""

    def told(self) -> list[tuple[int, str, tuple[str, ...]]]:
        return [(verdict.frame_number, str(verdict.outcome), verdict.causes) for _, verdict in self.given]


def _part(start_ms: float, at_ms: float, label: str = "washer") -> Box | None:
    """A part that enters at the left edge at `start_ms`; None while it is not in view."""
    centre = (at_ms - start_ms) / 1e3 * SPEED
    return Box(centre - 20, 80, centre + 20, 120, label, 0.9) if 0 <= centre <= WIDTH else None


async def _follow(
    seen: Callable[[float], list[Box | None]], frames: int = 60, *, belt: Belt | None = None,
    takes_ms: Callable[[float], float] = lambda _: 10, gap_ms: tuple[float, float] = (1e9, 1e9), number: int = 0,
) -> Run:  # fmt: skip
    """Frames every 40 ms with what `seen` says; none are taken inside the gap, at whose end the camera reports its loss."""
    came = Run()

    class Camera:
        def __init__(self) -> None:
            self.number = number

        async def __aiter__(self) -> AsyncIterator[CameraFrame]:
            while self.number < frames:
                self.number += 1
                at_ms = self.number * PERIOD_MS
                if gap_ms[0] <= at_ms < gap_ms[1]:
                    await sleep_until(round(gap_ms[1] * MS))
                    self.number = int(gap_ms[1] / PERIOD_MS)
                    raise DeviceError("camera gone")
                await sleep_until(round(at_ms * MS))
                yield CameraFrame(
                    np.zeros((HEIGHT, WIDTH, 3), np.uint8), round(at_ms * MS), self.number, "belt", TimestampKind.KERNEL
                )

    async def detect(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        at_ms = frame.at_ns / MS
        await asyncio.sleep(takes_ms(at_ms) / 1e3)
        return Detections(frame.number, tuple(box for box in seen(at_ms) if box), "m")

    def part_came(at_ns: int) -> int:
        came.came_ms.append(round(at_ns / MS))
        return len(came.came_ms)

    inspection = Inspection(detect, RULE, due_after_ns=200 * MS, sink=came.records.append)
    following = Following(
        inspection, belt or Belt(), source="belt", due_after_ns=200 * MS, sink=came.records.append,
        on_part=lambda frame, verdict: came.given.append((frame, verdict)), on_loss=came.lost.append, came=part_came,
    )  # fmt: skip
    await following.run(Camera())
    came.flickers = following.flickers
    assert [each for each in came.records if isinstance(each, Verdict)] == [verdict for _, verdict in came.given]
    return came


def _scratch(part: Box | None) -> Box | None:
    return part and Box(part.left + 10, 90, part.left + 16, 96, "scratch", 0.8)


async def test_a_part_seen_in_many_frames_gets_one_verdict_when_it_passes_the_line() -> None:
    run = await _follow(lambda at: [_part(0, at)])
    assert run.told() == [(1, "PASS", ())]
    (frame, verdict) = run.given[0]
    assert verdict.at_ns == 640 * MS  # the first frame in which the centre is at 160 of 200 px
    assert (verdict.decided_ns, verdict.due_ns) == (650 * MS, 840 * MS)
    assert frame is not None
    assert frame.number == 16


async def test_parts_behind_each_other_get_one_verdict_each_in_order() -> None:
    run = await _follow(lambda at: [_part(start, at) for start in (0, 240, 480, 720)])
    assert run.told() == [(n, "PASS", ()) for n in (1, 2, 3, 4)]


async def test_a_defect_in_a_single_frame_fails_its_part_and_no_other() -> None:
    run = await _follow(lambda at: [_part(0, at), _part(300, at), _scratch(_part(300, at)) if at == 600 else None])
    assert run.told() == [(1, "PASS", ()), (2, "FAIL", ("scratch",))]
    frame = run.given[1][0]
    assert frame is not None
    assert frame.at_ns == 600 * MS


async def test_a_defect_seen_where_the_part_itself_is_not_is_the_parts() -> None:
    run = await _follow(lambda at: [None if at == 400 else _part(0, at), _scratch(_part(0, at)) if at == 400 else None])
    assert run.told() == [(1, "FAIL", ("scratch",))]


async def test_frames_between_which_a_part_was_not_seen_do_not_make_two_parts_of_it() -> None:
    run = await _follow(lambda at: [None if 280 <= at <= 400 else _part(0, at)])
    assert run.told() == [(1, "PASS", ())]


async def test_a_part_lost_before_the_line_is_not_inspected_and_counts_once_when_it_is_seen_again() -> None:
    """One part went before, so the belt's speed is known and the lost one is expected further along."""
    run = await _follow(lambda at: [_part(0, at), None if 1080 <= at <= 1300 else _part(900, at)], 80)
    assert run.told() == [(1, "PASS", ()), (2, "NOT_INSPECTED", ("track lost",))]


async def test_a_part_proven_in_too_few_frames_is_not_inspected() -> None:
    run = await _follow(
        lambda at: [_part(0, at) if at <= 80 or at >= 640 else None], belt=Belt(lost_frames=99, proof_frames=5)
    )
    assert run.told() == [(1, "NOT_INSPECTED", ("too few frames",))]


async def test_a_flicker_is_no_part_and_is_counted() -> None:
    run = await _follow(lambda at: [_part(0, at) if at == 200 else None])
    assert (run.told(), run.flickers) == ([], 1)


NUMBERED: list[tuple[str, Callable[[float], list[Box | None]], list[int]]] = [
    ("seen twice", lambda at: [_part(0, at)], [80]),
    ("with a defect", lambda at: [_part(0, at), _scratch(_part(0, at))], [40]),
    ("beyond the line", lambda at: [_part(0, at) if at >= 680 else None], [680]),
    ("a flicker", lambda at: [_part(0, at) if at == 200 else None], []),
]


@pytest.mark.parametrize(("what", "seen", "came_ms"), NUMBERED, ids=[row[0] for row in NUMBERED])
async def test_a_part_has_its_number_as_soon_as_it_is_sure_to_be_one(
    what: str, seen: Callable[[float], list[Box | None]], came_ms: list[int]
) -> None:
    """Its verdict comes when it passes the line, or is lost."""
    run = await _follow(seen)
    assert run.came_ms == came_ms, what
    assert len(run.given) == len(came_ms)


async def test_what_was_taken_for_a_flicker_and_is_seen_again_is_a_part() -> None:
    """One part went before, so it is expected further along, and found there."""
    run = await _follow(lambda at: [_part(0, at), None if 1000 <= at <= 1200 else _part(930, at)], 80)
    assert (run.told(), run.flickers) == ([(1, "PASS", ()), (2, "PASS", ())], 0)


async def test_a_flicker_with_a_defect_is_a_fail() -> None:
    run = await _follow(lambda at: [_part(0, at), _scratch(_part(0, at))] if at == 200 else [])
    assert run.told() == [(1, "FAIL", ("scratch",))]


async def test_a_part_first_seen_beyond_the_line_does_not_pass() -> None:
    run = await _follow(lambda at: [_part(0, at) if at >= 680 else None])
    assert run.told() == [(1, "NOT_INSPECTED", ("too few frames",))]


async def test_a_detector_that_changes_its_mind_about_the_type_makes_no_second_part() -> None:
    run = await _follow(lambda at: [_part(0, at, "nut" if at in {200, 360} else "washer")])
    assert run.told() == [(1, "PASS", ())]


async def test_frames_that_cannot_be_judged_in_time_prove_nothing() -> None:
    run = await _follow(
        lambda at: [_part(0, at)], takes_ms=lambda at: 10 if at <= 120 else 500, belt=Belt(proof_frames=4)
    )
    assert [outcome for _, outcome, _ in run.told()] == ["NOT_INSPECTED"]


async def test_a_camera_that_goes_dark_loses_the_parts_in_view_within_a_budget() -> None:
    run = await _follow(lambda at: [_part(0, at), _part(1600, at)], 70, gap_ms=(400, 1500))
    assert run.told() == [(1, "NOT_INSPECTED", ("track lost",)), (2, "PASS", ())]
    assert run.given[0][1].decided_ns == (360 + 198) * MS
    assert len(run.lost) == 1


async def test_a_line_that_is_stopped_gives_parts_in_view_their_verdict() -> None:
    run = await _follow(lambda at: [_part(0, at)], 10)
    assert run.told() == [(1, "NOT_INSPECTED", ("stopped",))]


async def test_a_thing_that_lies_still_has_no_verdict_until_the_belt_moves() -> None:
    still = Box(50, 50, 80, 80, "nut", 0.9)
    run = await _follow(lambda at: [still, _part(0, at)], 60)
    assert run.told() == [(2, "PASS", ()), (1, "NOT_INSPECTED", ("stopped",))]


@settings(max_examples=60, deadline=None)
@given(
    gaps_ms=st.lists(st.integers(280, 900), max_size=5),
    missed=st.lists(st.booleans(), min_size=17, max_size=17),
    scratched=st.sets(st.integers(0, 5)),
)
def test_each_part_gets_exactly_one_verdict_whatever_frames_miss_it(
    gaps_ms: list[int], missed: list[bool], scratched: set[int]
) -> None:
    """Never more than four frames in a row miss a part: fewer than `lost_frames`. The first few show how fast the belt is."""
    starts = [sum(gaps_ms[:n]) for n in range(len(gaps_ms) + 1)]

    def seen(at: float) -> list[Box | None]:
        number = round(at / PERIOD_MS)
        if number > 5 and missed[number % 17] and number % 5:
            return []
        parts = [_part(start, at) for start in starts]
        return [*parts, *(_scratch(part) for n, part in enumerate(parts) if n in scratched)]

    outcomes = run(_follow(seen, frames=round((starts[-1] + 1000) / PERIOD_MS), belt=Belt(proof_frames=2))).told()
    assert outcomes == [
        (n + 1, *(("FAIL", ("scratch",)) if n in scratched else ("PASS", ()))) for n in range(len(starts))
    ]


@pytest.mark.parametrize("towards", ["right", "left", "down", "up"])
def test_a_belt_runs_in_any_direction(towards: str) -> None:
    tracks = Tracks(Belt(towards=towards), 100, 100)  # type: ignore[arg-type]
    start = {"right": (5, 50), "left": (95, 50), "down": (50, 5), "up": (50, 95)}[towards]
    step = {"right": (8, 0), "left": (-8, 0), "down": (0, 8), "up": (0, -8)}[towards]
    for n in range(8):
        x, y = start[0] + n * step[0], start[1] + n * step[1]
        tracks.see(n * 40 * MS, [Box(x - 10, y - 10, x + 10, y + 10, "washer", 0.9)])
    (track,) = tracks.tracks
    assert tracks.place(track, 8 * 40 * MS) == pytest.approx(0.05 + 8 * 0.08)
    assert tracks.speed(track) == pytest.approx(2.0)


def test_a_part_never_goes_backwards() -> None:
    tracks = Tracks(Belt(), 100, 100)
    tracks.see(0, [Box(40, 40, 60, 60, "washer", 0.9)])
    tracks.see(40 * MS, [Box(30, 40, 50, 60, "washer", 0.9)])
    assert len(tracks.tracks) == 2


def test_more_parts_than_there_is_room_for_push_out_the_one_furthest_along() -> None:
    tracks = Tracks(Belt(), 1000, 100)
    boxes = [Box(n * 50, 10, n * 50 + 30, 40, "washer", 0.9) for n in range(17)]
    out: list[Track] = tracks.see(0, boxes)
    assert [track.box for track in out] == [boxes[16]]
    assert len(tracks.tracks) == 16


def test_overlap_is_the_share_of_both() -> None:
    assert iou(Box(0, 0, 10, 10, "a", 1), Box(5, 0, 15, 10, "a", 1)) == pytest.approx(1 / 3)
    assert iou(Box(0, 0, 10, 10, "a", 1), Box(10, 0, 20, 10, "a", 1)) == 0


@pytest.mark.parametrize("wrong", [{"decide_at": 0.0}, {"decide_at": 1.0}, {"proof_frames": 0}, {"lost_frames": 0}])
def test_a_belt_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Belt(**wrong)  # type: ignore[arg-type]
