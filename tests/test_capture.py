"""Triggers and frames on virtual time: one verdict a trigger, by its due time, and PASS only by a frame that is surely its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim import run

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import (
    MS,
    BackendError,
    Box,
    CameraFrame,
    ConfigError,
    Detections,
    DeviceError,
    Outcome,
    TimestampKind,
    Trigger,
    Verdict,
)
from edgeapp.core.record import AlarmRecord, AnyRecord
from edgeapp.vision.capture import Capture, Eye, Inspected, Window
from edgeapp.vision.inspection import Inspection
from edgeapp.vision.rules import InspectionRule

RULE = InspectionRule(parts=("washer",), defects=("scratch",))
PART, SCRATCH = Box(1, 1, 9, 9, "washer", 0.9), Box(2, 2, 4, 4, "scratch", 0.8)
BUDGET_NS = 200 * MS


@dataclass
class Detector:
    """Sees what was written down for the time at which a frame was taken; `errors` and `takes_ms` go by that time too."""

    boxes: dict[float, tuple[Box, ...]] = field(default_factory=dict)
    takes_ms: dict[float, float] = field(default_factory=dict)
    errors: frozenset[float] = frozenset()

    async def __call__(self, frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        at_ms = frame.at_ns / MS
        await asyncio.sleep(self.takes_ms.get(at_ms, 30) / 1e3)
        if at_ms in self.errors:
            raise BackendError("it is broken")
        return Detections(frame.number, self.boxes.get(at_ms, (PART,)), "m")


class Camera:
    """Frames at (sensor time, time of arrival) in ms; an error in the place of one is raised when it comes."""

    def __init__(self, rows: Sequence[tuple[float, float] | DeviceError], name: str = "belt") -> None:
        self._rows, self._name, self._number = list(rows), name, 0

    async def __aiter__(self) -> AsyncIterator[CameraFrame]:
        while self._rows:
            row = self._rows.pop(0)
            if isinstance(row, DeviceError):
                raise row
            at_ms, came_ms = row
            await sleep_until(round(came_ms * MS))
            self._number += 1
            yield CameraFrame(
                np.zeros((10, 10, 3), np.uint8), round(at_ms * MS), self._number, self._name, TimestampKind.KERNEL
            )


async def _pulled(at_ms: Sequence[float | tuple[float, float] | DeviceError]) -> AsyncIterator[Trigger]:
    """Triggers at these times, or (time, when it is heard)."""
    for number, row in enumerate(at_ms, 1):
        if isinstance(row, DeviceError):
            raise row
        at, heard = row if isinstance(row, tuple) else (row, row)
        await sleep_until(round(heard * MS))
        yield Trigger(number, round(at * MS), "eye")


@dataclass
class Line:
    """What came of a run."""

    given: list[Inspected] = field(default_factory=list)
    records: list[AnyRecord] = field(default_factory=list)
    lost: list[DeviceError] = field(default_factory=list)
    capture: Capture | None = None

    def told(self) -> list[tuple[int, str, tuple[str, ...]]]:
        rows = sorted(self.given, key=lambda each: each.trigger.number)
        return [(each.verdict.frame_number, str(each.verdict.outcome), each.verdict.causes) for each in rows]


async def _line(
    triggers: Sequence[float | tuple[float, float] | DeviceError],
    *cameras: Sequence[tuple[float, float] | DeviceError],
    detector: Detector | None = None,
    windows: Sequence[Window] = (),
    detectors: Sequence[Detector] = (),
) -> Line:
    line, eyes = Line(), []
    for n, rows in enumerate(cameras):
        detect = detectors[n] if detectors else detector or Detector()
        inspection = Inspection(detect, RULE, due_after_ns=BUDGET_NS, sink=line.records.append)
        name = "belt" if len(cameras) == 1 else f"eye{n}"
        window = windows[n] if windows else Window(0, 50 * MS)
        eyes.append(Eye(name, Camera(rows, name), inspection, window))
    line.capture = Capture(
        eyes,
        source="line",
        due_after_ns=BUDGET_NS,
        sink=line.records.append,
        on_part=line.given.append,
        on_loss=line.lost.append,
    )
    await line.capture.run(_pulled(triggers))
    assert [each for each in line.records if isinstance(each, Verdict)] == [each.verdict for each in line.given]
    return line


def _at(*times_ms: float) -> list[tuple[float, float]]:
    """Frames that arrive 3 ms after they were taken."""
    return [(at, at + 3) for at in times_ms]


PASSED, FAILED = ("PASS", ()), ("FAIL", ("scratch",))


def _not(cause: str) -> tuple[str, tuple[str, ...]]:
    return ("NOT_INSPECTED", (cause,))


# name: triggers (ms), frames (sensor time, arrival), what the detector sees at a sensor time, expected
SCRIPTS: dict[str, tuple[Any, Any, dict[float, tuple[Box, ...]], list[tuple[str, tuple[str, ...]]]]] = {
    "each trigger takes the first frame after it": (
        [100, 300], _at(90, 123, 156, 290, 323), {123: (PART,), 323: (PART, SCRATCH)}, [PASSED, FAILED]
    ),
    "a frame at the very moment of the trigger is its own": ([100], _at(100, 133), {133: ()}, [PASSED]),
    "a frame at the end of the window is in it": ([100], _at(150), {}, [PASSED]),
    "a frame just beyond the window is not": ([100], _at(150.1), {}, [_not("no frame")]),
    "a trigger without a frame": ([100], _at(90), {}, [_not("no frame")]),
    "a camera that has ended": ([100, 900], _at(110), {}, [PASSED, _not("no frame")]),
    "a trigger with an empty belt": ([100], _at(110), {110: ()}, [_not("no part")]),
    "two parts in a frame": ([100], _at(110), {110: (PART, PART)}, [_not("several parts")]),
    "a trigger that is heard after its frame came": ([(100, 160)], _at(90, 105, 138), {138: ()}, [PASSED]),
    "a trigger that is heard when eight more frames have come": (
        [(100, 260)], _at(105, *range(140, 230, 10)), {}, [_not("no frame")]
    ),
    "two triggers that claim one frame": ([100, 110], _at(120, 153), {}, [_not("shared frame")] * 2),
    "a second trigger for a frame that is being looked at": (
        [100, (105, 130)], _at(110, 143), {}, [_not("shared frame")] * 2
    ),
    "a frame whose time stands still is nobody's": ([100, 200], [(110, 113), (110, 213)], {}, [PASSED, _not("no frame")]),
    "a frame whose time steps back is nobody's": ([100, 200], [(110, 113), (60, 213)], {}, [PASSED, _not("no frame")]),
    "a frame from the future is nobody's, and the next good one is": (
        [100, 300], [(5000, 113), (310, 313)], {}, [_not("no frame"), PASSED]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
async def test_the_frame_of_a_trigger(name: str) -> None:
    triggers, frames, seen, expected = SCRIPTS[name]
    line = await _line(triggers, frames, detector=Detector(seen))
    assert line.told() == [(n, *each) for n, each in enumerate(expected, 1)]
    assert all(each.verdict.decided_ns <= each.verdict.due_ns for each in line.given)


@pytest.mark.parametrize("spoiled", [(110.0, 213.0), (60.0, 213.0), (5000.0, 213.0)], ids=["still", "back", "ahead"])
async def test_a_frame_whose_time_is_not_believed_is_one_alarm_and_its_part_is_not_inspected(
    spoiled: tuple[float, float],
) -> None:
    line = await _line([100, 200, 300, 400], [(110, 113), spoiled, (310, 313), (spoiled[0], 413)])
    assert line.told() == [(1, *PASSED), (2, *_not("no frame")), (3, *PASSED), (4, *_not("no frame"))]
    alarms = [each for each in line.records if isinstance(each, AlarmRecord)]
    assert [(each.where, each.part) for each in alarms] == [("vision.integrity", 2)]
    assert alarms[0].what.startswith("belt: timestamp: the camera's timestamp ")


async def test_the_clock_starts_at_the_frames_time_and_without_a_frame_at_the_trigger() -> None:
    line = await _line([100, 400], _at(120), detector=Detector(takes_ms={120: 500}))
    late, none = (each.verdict for each in line.given)
    assert (late.at_ns, late.due_ns, late.decided_ns) == (120 * MS, 320 * MS, 318 * MS)
    assert late.causes == ("late",)
    assert (none.at_ns, none.due_ns, none.decided_ns) == (400 * MS, 600 * MS, 400 * MS)
    assert none.why == "the pictures of belt have ended"


async def test_a_trigger_whose_frame_does_not_come_is_told_at_its_due_time_with_the_reason() -> None:
    line = await _line([100], _at(90, 1000))
    (only,) = line.given
    assert (only.verdict.decided_ns, only.verdict.due_ns) == (298 * MS, 300 * MS)
    assert only.verdict.why == "belt gave no frame from 0 to 50 ms after the trigger"
    assert only.views[0].frame is None


async def test_an_offset_lets_the_part_travel_to_the_camera() -> None:
    window = Window(400 * MS, 30 * MS)
    line = await _line([100], _at(110, 490, 505, 538), detector=Detector({490: (), 538: ()}), windows=[window])
    (only,) = line.given
    assert (only.verdict.outcome, only.verdict.at_ns, only.verdict.due_ns) == (Outcome.PASS, 505 * MS, 705 * MS)


async def test_the_verdict_the_records_and_the_frame_carry_the_triggers_number() -> None:
    line = await _line([500], _at(100, 200, 300, 510))
    (only,) = line.given
    frame = only.views[0].frame
    assert frame is not None
    assert (only.verdict.frame_number, frame.number, only.verdict.source) == (1, 1, "belt")


async def test_a_line_faster_than_its_inspection_is_told_part_by_part_and_counted() -> None:
    triggers = [100 + 5 * n for n in range(40)]
    line = await _line(
        triggers, [(at + 1, at + 1) for at in triggers], detector=Detector(takes_ms={at + 1: 190 for at in triggers})
    )
    told = line.told()
    assert [number for number, _, _ in told] == list(range(1, 41))
    assert {causes for _, _, causes in told[:8]} == {()}
    assert {causes for _, _, causes in told[8:38]} == {("too fast",)}
    assert all(each.verdict.decided_ns <= each.verdict.due_ns for each in line.given)


async def test_more_open_parts_than_there_is_room_for_are_refused_at_once() -> None:
    line = await _line([100 + n for n in range(20)], _at(90, 1000))
    refused = [each.verdict for each in line.given if each.verdict.causes == ("too fast",)]
    assert [each.frame_number for each in refused] == [17, 18, 19, 20]
    assert all(each.decided_ns == each.at_ns for each in refused)
    assert line.capture is not None
    assert line.capture.refused == 4


async def test_a_trigger_that_was_lost_before_is_not_inspected_at_once() -> None:
    line = await _line([], _at(90))
    assert line.capture is not None
    line.capture.lost(Trigger(7, 50 * MS, "eye"))
    assert line.told() == [(7, *_not("too fast"))]
    assert line.capture.refused == 1


async def test_a_lost_camera_is_the_reason_until_it_gives_frames_again() -> None:
    gone = DeviceError("camera belt is gone: check its cable")
    line = await _line([100, 200, 500], [*_at(110), gone, *_at(510)])
    assert line.told() == [(1, *PASSED), (2, *_not("no frame")), (3, *PASSED)]
    assert line.given[1].verdict.why.endswith("check its cable")
    assert line.lost == [gone]


async def test_a_camera_that_never_gave_a_frame_is_an_error_and_the_open_parts_have_their_verdicts() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await _line([100], [DeviceError("there is no camera")])
    assert raised.group_contains(DeviceError)


async def test_a_stopped_line_gives_every_open_part_its_verdict() -> None:
    line = Line()
    inspection = Inspection(Detector(takes_ms={110: 90}), RULE, due_after_ns=BUDGET_NS, sink=line.records.append)
    capture = Capture(
        [Eye("belt", Camera(_at(110, 5000)), inspection)], source="line", due_after_ns=BUDGET_NS, sink=line.records.append,
        on_part=line.given.append, on_loss=line.lost.append,
    )  # fmt: skip
    running = asyncio.create_task(capture.run(_pulled([100, 150, 9000])))
    await sleep_until(160 * MS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert line.told() == [(1, *_not("stopped")), (2, *_not("stopped"))]
    assert now_ns() == 160 * MS


SEVERAL = [
    # what each camera sees                              the part's verdict
    ([(PART,), (PART,)], PASSED),
    ([(PART,), (PART, SCRATCH)], FAILED),
    ([(PART, SCRATCH), ()], FAILED),
    ([(PART,), ()], _not("no part")),
    ([(), (PART, PART)], ("NOT_INSPECTED", ("no part", "several parts"))),
]


@pytest.mark.parametrize(("seen", "expected"), SEVERAL)
async def test_a_part_seen_by_several_cameras_gets_the_worst_of_their_verdicts(
    seen: list[tuple[Box, ...]], expected: tuple[str, tuple[str, ...]]
) -> None:
    line = await _line([100], _at(110), _at(112), detectors=[Detector({110: seen[0]}), Detector({112: seen[1]})])
    assert line.told() == [(1, *expected)]
    (only,) = line.given
    assert (only.verdict.source, only.verdict.due_ns) == ("line", 300 * MS)
    assert [view.camera for view in only.views] == ["eye0", "eye1"]


async def test_a_camera_that_gives_no_frame_keeps_the_part_from_passing() -> None:
    line = await _line([100], _at(110), _at(90, 1000))
    assert line.told() == [(1, *_not("no frame"))]
    assert line.given[0].verdict.why.startswith("eye1: ")
    assert line.given[0].verdict.decided_ns == 298 * MS


async def test_a_window_that_leaves_nothing_of_the_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves nothing of a budget"):
        await _line([], _at(), windows=[Window(0, 198 * MS)])


async def test_a_trigger_source_that_fails_is_told_and_heard_again() -> None:
    line = Line()

    class Flaky:
        def __init__(self) -> None:
            self.rows: list[Trigger | DeviceError] = [
                Trigger(1, 0, "plc"),
                DeviceError("plc gone"),
                Trigger(2, 300 * MS, "plc"),
            ]

        async def __aiter__(self) -> AsyncIterator[Trigger]:
            while self.rows:
                row = self.rows.pop(0)
                if isinstance(row, DeviceError):
                    raise row
                await sleep_until(row.at_ns)
                yield row

    inspection = Inspection(Detector(), RULE, due_after_ns=BUDGET_NS, sink=line.records.append)
    eye = Eye("belt", Camera(_at(10, 310)), inspection)
    await Capture(
        [eye],
        source="line",
        due_after_ns=BUDGET_NS,
        sink=line.records.append,
        on_part=line.given.append,
        on_loss=line.lost.append,
    ).run(Flaky())
    assert (line.told(), len(line.lost)) == ([(1, *PASSED), (2, *PASSED)], 1)


TIMES = st.integers(0, 600).map(float)
FRAMES = st.lists(st.one_of(st.tuples(TIMES, st.integers(0, 40)), st.just(None)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(
    triggers=st.lists(st.tuples(TIMES, st.integers(0, 120)), max_size=25),
    cameras=st.lists(FRAMES, min_size=1, max_size=3),
    takes_ms=st.lists(st.integers(1, 260), min_size=1, max_size=7),
    errors=st.frozensets(TIMES, max_size=5),
    stop_ms=st.one_of(st.none(), st.integers(1, 700)),
)
def test_every_trigger_gets_exactly_one_verdict_whatever_comes(
    triggers: list[tuple[float, int]],
    cameras: list[list[tuple[float, int] | None]],
    takes_ms: list[int],
    errors: frozenset[float],
    stop_ms: int | None,
) -> None:
    """Frames late, early, repeated, from the past; cameras lost; a detector slow or broken; a stop at any moment."""
    heard_at = [at + late for at, late in sorted(triggers)]
    line, started = Line(), list[Trigger]()

    async def pulls() -> AsyncIterator[Trigger]:
        async for trigger in _pulled([(at, at + late) for at, late in sorted(triggers, key=sum)]):
            started.append(trigger)
            yield trigger

    async def world() -> None:
        detector = Detector(takes_ms={float(n): takes_ms[n % len(takes_ms)] for n in range(601)}, errors=errors)
        eyes = []
        for n, rows in enumerate(cameras):
            lost = DeviceError("gone")
            frames = [lost if row is None else (row[0], row[0] + row[1]) for row in [(0.0, 0), *rows]]
            inspection = Inspection(detector, RULE, due_after_ns=BUDGET_NS, sink=line.records.append)
            eyes.append(Eye(f"eye{n}", Camera(frames), inspection, Window(5 * n * MS, 40 * MS)))
        capture = Capture(
            eyes,
            source="line",
            due_after_ns=BUDGET_NS,
            sink=line.records.append,
            on_part=line.given.append,
            on_loss=line.lost.append,
        )
        running = asyncio.create_task(capture.run(pulls()))
        if stop_ms is not None:
            asyncio.get_running_loop().call_at(stop_ms / 1e3, running.cancel)
        await asyncio.wait({running})
        if not running.cancelled():
            running.result()

    run(world())
    assert sorted(each.trigger.number for each in line.given) == [each.number for each in started]
    verdicts = [each for each in line.records if isinstance(each, Verdict)]
    assert [each.frame_number for each in verdicts] == [each.trigger.number for each in line.given]
    for each in line.given:
        at_ns, heard_ns = each.trigger.at_ns, round(max(heard_at, default=0) * MS)
        assert each.verdict.decided_ns <= max(each.verdict.due_ns, heard_ns)
        if each.verdict.outcome is Outcome.PASS:
            frames = [view.frame for view in each.views]
            assert len(frames) == len(cameras)
            assert all(
                frame and 5 * n * MS <= frame.at_ns - at_ns <= (5 * n + 40) * MS for n, frame in enumerate(frames)
            )
    passed = [
        view.frame.at_ns
        for each in line.given
        if each.verdict.outcome is Outcome.PASS
        for view in each.views[:1]
        if view.frame
    ]
    assert len(passed) == len(set(passed))
