"""Where things count: zones of the picture, and a region of it as a light barrier."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.core.events import MS, Box, CameraFrame, ConfigError, Detections, TimestampKind
from edgeapp.vision.inspection import Inspection
from edgeapp.vision.photo_eye import LEARN_FRAMES, PhotoEye
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.zones import Zones, inside

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
NOTCH = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0))


def _box(left: float, right: float, label: str) -> Box:
    return Box(left, 40, right, 60, label, 0.9)


#    zones                            boxes (left, right, label)                            which count
COUNTED = [
    (Zones(), [(0, 20, "part"), (80, 99, "dent")], [0, 1]),
    (Zones(parts=(LEFT_HALF,)), [(0, 20, "part"), (30, 68, "part"), (40, 64, "part"), (80, 99, "dent")], [0, 1, 3]),
    (Zones(defects=(LEFT_HALF,)), [(0, 20, "dent"), (48, 90, "dent"), (52, 90, "dent"), (80, 99, "part")], [0, 1, 3]),
    (Zones(ignored=(LEFT_HALF,)), [(0, 20, "dent"), (10, 49, "part"), (40, 60, "dent")], [2]),
    (Zones(ignored=(((0, 0), (50, 0), (50, 100), (0, 100)),), in_px=True), [(0, 20, "dent"), (80, 99, "dent")], [1]),
]


@pytest.mark.parametrize(("zones", "boxes", "counted"), COUNTED)
def test_what_counts(zones: Zones, boxes: list[tuple[float, float, str]], counted: list[int]) -> None:
    told = [_box(*each) for each in boxes]
    seen = zones.only(Detections(1, tuple(told), "m"), ("part",), 100, 100)
    assert list(seen.boxes) == [told[n] for n in counted]


@given(x=st.floats(0, 1), y=st.floats(0, 1))
def test_a_polygon_with_a_notch_holds_what_is_above_it(x: float, y: float) -> None:
    notch = max(x, 1 - x)
    if abs(y - notch) > 1e-6 and min(x, y, 1 - x, 1 - y) > 1e-6:
        assert inside(NOTCH, x, y) is (y < notch)


@pytest.mark.parametrize("wrong", [((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.0), (2.0, 0.0), (1.0, 1.0))])
def test_a_zone_that_is_none_is_refused(wrong: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ConfigError):
        Zones(parts=(wrong,))


async def test_a_defect_in_an_ignored_zone_does_not_fail_the_part() -> None:
    async def look(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        return Detections(frame.number, (_box(10, 90, "part"), _box(10, 20, "dent")), "m")

    rule = InspectionRule(parts=("part",), defects=("dent",))
    frame = CameraFrame(np.zeros((100, 100, 3), np.uint8), 0, 1, "belt", TimestampKind.KERNEL)
    for zones, outcome in ((None, "FAIL"), (Zones(ignored=(LEFT_HALF,)), "PASS")):
        inspection = Inspection(look, rule, due_after_ns=200 * MS, sink=lambda _: None, zones=zones)
        assert (await inspection.inspect(frame)).outcome == outcome


def _picture(rng: np.random.Generator, level: float, covered: float | None) -> np.ndarray:
    pixels = rng.normal(level, 3, (60, 80, 3))
    if covered is not None:
        pixels[:, 20:60] = rng.normal(covered, 3, (60, 40, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


async def _pulls(rows: list[float | None], *, drift: float = 0.0, debounce_frames: int = 2) -> list[int]:
    """What the eye pulls at, in frames after it has learned; a row is the grey of what lies under it, None an empty belt."""
    rng, pulled = np.random.default_rng(7), list[int]()

    async def frames() -> AsyncIterator[CameraFrame]:
        for n, row in enumerate([None] * LEARN_FRAMES + rows):
            yield CameraFrame(_picture(rng, 60 + drift * n, row), n * MS, n, "belt", TimestampKind.KERNEL)

    eye = PhotoEye(frames(), (0.45, 0.1, 0.55, 0.9), pull=pulled.append, debounce_frames=debounce_frames)
    assert [frame.number async for frame in eye] == list(range(LEARN_FRAMES + len(rows)))
    assert eye.pulls == len(pulled)
    return [at_ns // MS - LEARN_FRAMES for at_ns in pulled]


@pytest.mark.parametrize(
    ("rows", "pulled"),
    [
        ([None] * 40, []),
        ([None, 150.0, 150.0, 150.0, None, None, 20.0, 20.0, None, None], [1, 6]),
        ([None, 150.0, None, None, 150.0, 150.0, None], [4]),
        ([None, 150.0, 150.0, None, 150.0, 150.0, None, None, 150.0, 150.0], [1, 8]),
    ],
    ids=["an empty belt", "two parts, bright and dark", "one frame is no part", "one clear frame does not end a part"],
)
async def test_the_photo_eye_pulls_once_a_part_at_its_first_frame(rows: list[float | None], pulled: list[int]) -> None:
    assert await _pulls(rows) == pulled


async def test_daylight_that_comes_slowly_does_not_pull_and_parts_still_do() -> None:
    assert await _pulls([*[None] * 600, 200.0, 200.0, None], drift=0.05) == [600]


async def test_a_region_that_is_none_is_refused() -> None:
    async def none() -> AsyncIterator[CameraFrame]:
        return
        yield

    with pytest.raises(ConfigError, match="photo-eye"):
        PhotoEye(none(), (0.5, 0.1, 0.4, 0.9), pull=lambda _: None)
