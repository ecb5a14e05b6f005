"""Pictures that may not be judged: each fault is named, alarmed and never a PASS; good pictures are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgeapp import config as settings
from edgeapp.apps.eyes import learn_camera
from edgeapp.bench.camera_faults import FAULTS, Fault
from edgeapp.bench.camera_lines import MARKS, PERIOD_NS, good_frames
from edgeapp.core.clock import sleep_until
from edgeapp.core.events import MS, Box, CameraFrame, ConfigError, Detections, Outcome, TimestampKind, Verdict
from edgeapp.core.lane import Lane
from edgeapp.core.record import AlarmRecord, AnyRecord
from edgeapp.vision.inspection import Inspection, checking
from edgeapp.vision.integrity import CAUSES, Complaint, Integrity
from edgeapp.vision.measures import GRID, box_mean, found_at, measure, sharpness, whole_picture
from edgeapp.vision.reference import Reference, learn, load, save
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.timestamps import Timestamps

RULE = InspectionRule(parts=("part",), defects=())
LEARNED, SHOWN = 32, 36


@cache
def _drawn() -> tuple[CameraFrame, ...]:
    return tuple(good_frames(seed=5, line=0, count=LEARNED + SHOWN))


@cache
def _reference() -> Reference:
    return learn(_drawn()[:LEARNED], MARKS)


def _shown() -> Sequence[CameraFrame]:
    return _drawn()[LEARNED:]


async def _inspect(frames: Sequence[CameraFrame], times_ns: Sequence[int], records: list[AnyRecord]) -> list[Verdict]:
    """The verdicts with a detector that passes whatever it is shown; the frames come at these times."""

    async def passes(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        return Detections(frame.number, (Box(0, 0, 9, 9, "part", 0.9),), "m")

    lane = Lane("integrity")
    inspection = Inspection(
        passes, RULE, due_after_ns=200 * MS, sink=records.append, check=checking(Integrity(_reference()), lane)
    )
    verdicts = []
    for frame, at_ns in zip(frames, times_ns, strict=True):
        await sleep_until(at_ns)
        verdicts.append(await inspection.inspect(frame))
    lane.close()
    return verdicts


async def test_good_frames_pass_without_an_alarm() -> None:
    records: list[AnyRecord] = []
    verdicts = await _inspect(_shown(), [frame.at_ns for frame in _shown()], records)
    assert {each.outcome for each in verdicts} == {Outcome.PASS}
    assert not [each for each in records if isinstance(each, AlarmRecord)]


@pytest.mark.parametrize("strong", [False, True], ids=["mild", "strong"])
@pytest.mark.parametrize("fault", [each for each in FAULTS if each.name != "lens dirt"], ids=lambda each: each.name)
async def test_each_fault_is_not_inspected_with_its_cause_and_one_alarm(fault: Fault, strong: bool) -> None:
    before, frame = _shown()[10:12]
    spoiled = fault.spoil(np.random.default_rng(3), frame, before, strong)
    records: list[AnyRecord] = []
    passed, verdict = await _inspect([before, spoiled], [before.at_ns, frame.at_ns], records)
    assert passed.outcome is Outcome.PASS
    assert verdict.outcome is Outcome.NOT_INSPECTED
    assert fault.causes & set(verdict.causes)
    assert set(verdict.causes) <= {*CAUSES, "timestamp"}
    alarms = [each for each in records if isinstance(each, AlarmRecord)]
    assert [each.part for each in alarms] == [spoiled.number] * len(verdict.causes)


@pytest.mark.parametrize("strong", [False, True], ids=["mild", "strong"])
async def test_dirt_on_the_lens_is_found_once_parts_have_passed_it(strong: bool) -> None:
    (dirt,) = [each for each in FAULTS if each.name == "lens dirt"]
    frames = [dirt.spoil(np.random.default_rng(4), frame, frame, strong) for frame in _shown()]
    verdicts = await _inspect(frames, [frame.at_ns for frame in frames], [])
    first = next(n for n, each in enumerate(verdicts) if each.outcome is Outcome.NOT_INSPECTED)
    assert verdicts[first].causes == ("lens dirt",)
    assert first == 31  # the first look with enough frames to tell


def test_without_marks_a_blur_is_found_by_the_fourth_picture_and_good_pictures_are_left_alone() -> None:
    (blur,) = [each for each in FAULTS if each.name == "out of focus"]
    rng, reference = np.random.default_rng(5), learn(_drawn()[:LEARNED])

    def found(strong: bool) -> list[bool]:
        checks = Integrity(reference)
        spoiled = [blur.spoil(rng, frame, frame, strong) for frame in _shown()[20:24]]
        complaints = [checks.check(frame) for frame in (*_shown()[:20], *spoiled)]
        return [any(each.cause == "out of focus" for each in one) for one in complaints]

    assert found(strong=False) == [False] * 23 + [True]
    assert found(strong=True) == [False] * 22 + [True] * 2


def test_sharpness_is_that_of_the_lines_and_not_of_every_eighth_pixel_of_them() -> None:
    line = 100 + 80 * np.sin(np.arange(320) / 10)  # rises by 8 levels a pixel at most, by 61 in 8
    pixels = np.repeat(np.tile(line.astype(np.uint8), (320, 1))[:, :, None], 3, axis=2)
    assert sharpness(whole_picture(pixels)) == sharpness(whole_picture(pixels.swapaxes(0, 1))) < 0.15


def test_empty_pictures_of_an_even_belt_are_called_frozen_when_three_in_a_row_are_like_the_last() -> None:
    rng, checks = np.random.default_rng(6), Integrity(_reference())
    plain = [np.clip(rng.normal(120, 1, (320, 320, 3)), 0, 255).astype(np.uint8) for _ in range(5)]
    lamp = np.uint8(3)  # levels more
    shown = [plain[0], plain[1], plain[2], plain[3] + lamp, plain[4] + lamp, plain[0], plain[1]]
    causes = [
        {each.cause for each in checks.check(CameraFrame(pixels, n, n, "belt", TimestampKind.FILE))}
        for n, pixels in enumerate(shown)
    ]
    # The lamp of the fourth is a new picture, so three more in a row it takes.
    assert ["frozen" in each for each in causes] == [False, False, False, False, False, False, True]


def test_an_empty_picture_that_is_the_same_to_the_byte_is_frozen_at_once() -> None:
    checks = Integrity(_reference())
    plain = np.clip(np.random.default_rng(6).normal(120, 1, (320, 320, 3)), 0, 255).astype(np.uint8)
    first, again = (checks.check(CameraFrame(plain, n, n, "belt", TimestampKind.FILE)) for n in (1, 2))
    assert ["frozen" in {each.cause for each in found} for found in (first, again)] == [False, True]


async def test_an_alarm_is_raised_once_and_again_only_after_good_frames() -> None:
    dark = [replace(frame, pixels=frame.pixels // 4) if n < 3 or n == 25 else frame for n, frame in enumerate(_shown())]
    records: list[AnyRecord] = []
    verdicts = await _inspect(dark, [frame.at_ns for frame in dark], records)
    bad = [n for n, each in enumerate(verdicts) if each.outcome is Outcome.NOT_INSPECTED]
    assert bad == [0, 1, 2, 25]
    alarms = [each for each in records if isinstance(each, AlarmRecord)]
    assert [each.part for each in alarms if "dark" in each.what] == [dark[0].number, dark[25].number]


async def test_the_checks_come_before_the_detector() -> None:
    looked: list[int] = []

    async def look(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        looked.append(frame.number)
        return Detections(frame.number, (Box(0, 0, 9, 9, "part", 0.9),), "m")

    async def check(frame: CameraFrame) -> tuple[Complaint, ...]:
        await asyncio.sleep(0.002)
        return (Complaint("dark", "too dark"),) if frame.number == 1 else ()

    inspection = Inspection(look, RULE, due_after_ns=200 * MS, sink=lambda _: None, check=check)
    pixels = np.zeros((8, 8, 3), np.uint8)
    for number, outcome in ((1, Outcome.NOT_INSPECTED), (2, Outcome.PASS)):
        await sleep_until(number * 100 * MS)
        frame = CameraFrame(pixels, number * 100 * MS, number, "belt", TimestampKind.KERNEL)
        verdict = await inspection.inspect(frame)
        assert verdict.outcome is outcome
        assert verdict.decided_ns == frame.at_ns + 2 * MS
    assert looked == [2]


async def test_checks_that_hang_are_not_waited_for() -> None:
    async def check(_: CameraFrame) -> tuple[Complaint, ...]:
        await asyncio.sleep(9)
        return ()

    async def never(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        raise AssertionError

    inspection = Inspection(never, RULE, due_after_ns=200 * MS, sink=lambda _: None, check=check)
    verdict = await inspection.inspect(CameraFrame(np.zeros((8, 8, 3), np.uint8), 0, 1, "belt", TimestampKind.KERNEL))
    assert (verdict.outcome, verdict.decided_ns) == (Outcome.NOT_INSPECTED, 198 * MS)


#   (sensor time, when it came) in ms                     the trouble of the last one
TIMES: list[tuple[list[tuple[float, float]], str]] = [
    ([(0, 3), (33, 36)], ""),
    ([(33, 36), (33, 69)], "the camera's timestamp did not advance"),
    ([(33, 36), (10, 69)], "the camera's timestamp did not advance: it stepped back 23 ms"),
    ([(33, 36), (500, 69)], "the camera's timestamp is 431 ms ahead of the clock"),
    ([(33, 36), (500, 69), (99, 102)], ""),
    ([(33, 36), (66, 267)], "the frame came 201 ms after its timestamp: nothing is left of its budget"),
    ([(33, 36), (66, 267), (300, 303)], ""),
    ([(40, 0)], ""),
]


@pytest.mark.parametrize(("rows", "trouble"), TIMES)
def test_a_time_is_believed_if_it_advances_and_is_near_the_clock(rows: list[tuple[float, float]], trouble: str) -> None:
    timestamps = Timestamps(200 * MS)
    told = [timestamps.trouble(round(at * MS), round(came * MS)) for at, came in rows]
    assert told[-1] == trouble


def test_a_reference_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "belt.npz"
    save(_reference(), path)
    again = load(path)
    assert path.stat().st_size < 60_000
    assert (again.spreads, len(again.marks)) == (_reference().spreads, 4)
    kept, read = Integrity(_reference()), Integrity(again)
    assert [kept.check(frame) for frame in _shown()[:4]] == [read.check(frame) for frame in _shown()[:4]]


@pytest.mark.parametrize("text", [b"", b"not a file of ours", b"PK\x03\x04broken"])
def test_a_file_that_is_no_reference_is_told_in_a_sentence(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "belt.npz"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="cannot read the camera's reference"):
        load(path)


def test_a_reference_wants_enough_good_frames_of_one_size_and_marks_that_stay() -> None:
    frames = _drawn()[:LEARNED]
    with pytest.raises(ConfigError, match="24 good frames"):
        learn(frames[:23])
    with pytest.raises(ConfigError, match="of one size"):
        learn([*frames[:30], replace(frames[0], pixels=frames[0].pixels[:200])])
    with pytest.raises(ConfigError, match="no mark stays"):
        learn(frames, [(0.4, 0.4, 0.6, 0.6)])
    with pytest.raises(ConfigError, match="must lie in the picture"):
        learn(frames, [(0.95, 0.95, 1.05, 1.05)])
    with pytest.raises(ConfigError, match="lower the camera's exposure"):
        learn([replace(frame, pixels=np.full_like(frame.pixels, 255)) for frame in frames])


@pytest.mark.parametrize(
    "pixels", [np.zeros((320, 320), np.uint8), np.zeros((0, 0, 3), np.uint8), np.zeros((320, 320, 3))]
)
def test_a_picture_of_another_kind_is_a_complaint_and_no_crash(pixels: np.ndarray) -> None:
    frame = CameraFrame(pixels, PERIOD_NS, 1, "belt", TimestampKind.KERNEL)
    assert [each.cause for each in Integrity(_reference()).check(frame)] == ["wrong format"]


def test_sharpness_falls_with_blur_whatever_the_contrast() -> None:
    x = np.arange(160, dtype=np.float64)
    found = []
    for contrast in (40, 160):
        for blur in (0.5, 1.0, 2.0, 4.0):
            edges = sum(np.tanh((x - at) / blur) * (-1) ** n for n, at in enumerate(range(20, 160, 30)))
            line = np.round(128 + contrast / 2 * edges / 1.2).astype(np.uint8)
            found.append(sharpness(whole_picture(np.repeat(np.repeat(line[None, :, None], 160, axis=0), 3, axis=2))))
    assert all(sharp > blurred for row in (found[:4], found[4:]) for sharp, blurred in pairwise(row))
    assert found[:4] == pytest.approx(found[4:], abs=0.06)
    assert np.isnan(sharpness(whole_picture(np.full((160, 160, 3), 90, np.uint8))))


def test_noise_is_measured_beside_edges() -> None:
    rng = np.random.default_rng(1)
    picture = np.repeat(np.where(np.arange(320) // 40 % 2, 180.0, 60.0)[None, :, None], 320, axis=0).repeat(3, axis=2)
    for sigma in (2.0, 8.0):
        noisy = np.clip(picture + rng.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)
        assert measure(noisy).noise == pytest.approx(sigma, rel=0.12)


def test_a_mark_is_found_to_a_fraction_of_a_pixel() -> None:
    y, x = np.mgrid[0:34, 0:34].astype(np.float32)

    def spot(down: float, right: float) -> np.ndarray:
        bump: np.ndarray = 200 * np.exp(-((x - 17 - right) ** 2 + (y - 17 - down) ** 2) / 18)
        return bump.astype(np.float32)

    template = spot(0, 0)[8:26, 8:26]
    regions, templates = np.stack([spot(2.3, -3.4), spot(-7, 0)]), np.stack([template, template])
    (down, right, score), (up, _, _) = found_at(regions, templates)
    assert (down - 8, right - 8, up - 8) == pytest.approx((2.3, -3.4, -7), abs=0.1)
    assert score > 0.98


def test_a_moving_mean_repeats_the_edge() -> None:
    values = np.arange(GRID * GRID, dtype=np.float32).reshape(GRID, GRID)
    for axis in (0, 1):
        padded = np.pad(values, [(1, 1), (0, 0)] if axis == 0 else [(0, 0), (1, 1)], mode="edge")
        parts = [np.take(padded, range(n, n + GRID), axis=axis) for n in range(3)]
        assert box_mean(values, 3, axis) == pytest.approx(sum(parts) / 3, rel=1e-4)


async def test_a_camera_is_learned_from_its_first_good_frames(tmp_path: Path) -> None:
    async def frames() -> AsyncIterator[CameraFrame]:
        for frame in _drawn():
            yield frame

    path, section = tmp_path / "belt.npz", settings.Integrity(marks=MARKS)
    said = await learn_camera(frames(), section, path, LEARNED)
    assert said.startswith("32 frames of 320 x 320 px: ")
    assert load(path).spreads == pytest.approx(_reference().spreads)
    with pytest.raises(ConfigError, match="--frames is 9"):
        await learn_camera(frames(), section, path, 9)


#    TOML                                                                 what is said
WRONG = [
    (
        "[vision.trigger]\nsource = 'timer'\n[vision.capture]\npolicy = 'tracks'",
        "vision.trigger.source must be 'camera'",
    ),
    (
        "[vision.trigger]\nsource = 'timer'\n[vision.capture]\nwindow_ms = 199",
        "must leave something of vision.budget_ms",
    ),
    ("[[vision.further_cameras]]\nname = 'left'", "vision.further_cameras need a vision.trigger.source"),
    ("[vision.capture]\noffset_ms = -20000", "give a number from -10000 to 600000"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_capture_that_does_not_add_up_is_told_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings.parse(text)
