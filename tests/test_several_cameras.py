"""Several cameras on one line: each measures by its own calibration, and a row says whose picture its boxes are of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeapp import config as settings
from edgeapp.apps.dry_run import dry_run
from edgeapp.apps.inspection import Sight
from edgeapp.apps.rules import OpenedRule, Scale, open_rule
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import sleep_until
from edgeapp.core.events import MS, Box, CameraFrame, ConfigError, Detections, Outcome, TimestampKind, Trigger
from edgeapp.core.record import AnyRecord
from edgeapp.station.queries import Row, RowVerdict
from edgeapp.vision.calibration import by_scale
from edgeapp.vision.capture import Capture, Eye, Inspected
from edgeapp.vision.rules import InspectionRule, PartRule, Tolerance

PART = Box(10, 10, 110, 60, "washer", 0.9)
"""100 x 50 pixels, in every camera."""

RULE = InspectionRule(
    ("washer",),
    ("scratch",),
    part_types={
        "washer": PartRule(sizes_mm={"length": (9, 11)}, tolerate=(Tolerance(("scratch",), length_mm=2.0, count=1),))
    },
    edge_px=0.0,
    part_edge_px=0.0,
)


def scale(camera: str, mm_per_px: float) -> Scale:
    return Scale(by_scale(mm_per_px, camera=camera, width=160, height=120, utc_ns=1, error_mm=0.0), camera)


async def judged(scales: dict[str, Scale], side: tuple[Box, ...] = (PART,)) -> tuple[Inspected, list[AnyRecord]]:
    """One part before two cameras, `belt` and `side`, whose own frames are all called `camera` as a driver calls them."""
    given: list[Inspected] = []
    records: list[AnyRecord] = []

    async def detect(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        del due_ns, of
        return Detections(frame.number, side if frame.pixels[0, 0, 0] else (PART,), "m")

    async def frames(level: int) -> AsyncIterator[CameraFrame]:
        await sleep_until(110 * MS)
        yield CameraFrame(np.full((120, 160, 3), level, np.uint8), 110 * MS, 1, "camera", TimestampKind.KERNEL)

    async def triggers() -> AsyncIterator[Trigger]:
        await sleep_until(100 * MS)
        yield Trigger(7, 100 * MS, "eye")

    sight = Sight(detect, OpenedRule(RULE, scales=scales), camera="belt", model="m", probe=lambda: None)
    async with AsyncExitStack() as stack:
        parts = Parts(stack, records.append)
        sections: dict[str, settings.Vision | settings.FurtherCamera]
        sections = {"belt": settings.Vision(), "side": settings.FurtherCamera(name="side")}
        eyes = [
            Eye(name, frames(level), sight.inspection(section, parts, within_ns=200 * MS, sink=records.append))
            for level, (name, section) in enumerate(sections.items())
        ]
        await Capture(
            eyes,
            source="belt",
            due_after_ns=200 * MS,
            sink=records.append,
            on_part=given.append,
            on_loss=lambda _: None,
        ).run(triggers())
    return given[0], records


async def test_each_camera_measures_by_its_own_calibration() -> None:
    same, _ = await judged({"belt": scale("belt", 0.1), "side": scale("side", 0.1)})
    assert same.verdict.outcome is Outcome.PASS
    other, _ = await judged({"belt": scale("belt", 0.1), "side": scale("side", 0.2)})
    assert (other.verdict.outcome, other.verdict.view, other.verdict.source) == (Outcome.FAIL, "side", "belt")
    assert other.verdict.sizes_mm["length"] == 20.0
    assert other.verdict.why.startswith("side: washer 0.90: length 20.00 mm, not proven within 9 to 11")
    assert [view.verdict.sizes_mm["length"] for view in other.views] == [10.0, 20.0]


async def test_a_camera_without_a_calibration_proves_no_size_and_tolerates_nothing_in_mm() -> None:
    """The size is the first camera's to prove."""
    scales = {"belt": scale("belt", 0.1)}
    clean, _ = await judged(scales)
    assert clean.verdict.outcome is Outcome.PASS
    scratched, _ = await judged(scales, (PART, Box(20, 20, 25, 22, "scratch", 0.8)))
    assert scratched.verdict.outcome is Outcome.FAIL
    assert "not measured without a calibration" in scratched.verdict.why
    calibrated, _ = await judged(scales | {"side": scale("side", 0.1)}, (PART, Box(20, 20, 25, 22, "scratch", 0.8)))
    assert calibrated.verdict.outcome is Outcome.PASS


async def test_a_calibration_of_another_picture_size_passes_no_part() -> None:
    wrong = Scale(by_scale(0.1, camera="side", width=640, height=480, utc_ns=1), "x")
    given, _ = await judged({"belt": scale("belt", 0.1), "side": wrong})
    assert given.verdict.outcome is Outcome.NOT_INSPECTED
    assert "side: the detector failed: the calibration is of pictures of 640 x 480 pixels" in given.verdict.why


def _vision(tmp_path: Path, belt: str, side: str) -> settings.Vision:
    for name, camera in (("belt.json", belt), ("side.json", side)):
        found = by_scale(0.1, camera=camera, width=160, height=120, utc_ns=5)
        (tmp_path / name).write_bytes(msgspec.json.encode(found))
    return settings.parse(
        f"""
        [vision]
        calibration = "{tmp_path}/belt.json"
        trigger.source = "timer"
        [[vision.further_cameras]]
        name = "side"
        calibration = "{tmp_path}/side.json"
        """
    ).vision


def test_each_cameras_calibration_is_opened_and_must_be_its_own(tmp_path: Path) -> None:
    opened = open_rule(_vision(tmp_path, "belt", "side"), (), camera="belt")
    assert [opened.at(name).calibration for name in ("belt", "side")] == [
        opened.scales[name].calibration for name in ("belt", "side")
    ]
    assert set(opened.row()["calibrations"]) == {"belt", "side"}
    with pytest.raises(ConfigError, match="the calibration is of the camera 'belt', not of 'side'"):
        open_rule(_vision(tmp_path, "belt", "belt"), (), camera="belt")
    with pytest.raises(ConfigError, match=r"the camera belt .* was moved after it had been calibrated"):
        open_rule(_vision(tmp_path, "belt", "side"), (), camera="belt", moved_utc_ns=6)


def test_a_further_camera_has_a_name_of_its_own() -> None:
    with pytest.raises(ConfigError, match="which is the first one's name; give it another"):
        settings.parse('[vision]\ntrigger.source = "timer"\n[[vision.further_cameras]]\nname = "camera"')


def test_a_dry_run_measures_by_the_camera_whose_boxes_stand_in_the_row_and_says_what_it_cannot_tell() -> None:
    """A row of a line with several cameras has the boxes of the one that decided."""
    small = Box(20, 20, 35, 22, "scratch", 0.8)  # 1.51 mm by the first camera's scale, 3.03 by the other's
    old = InspectionRule(("washer",), ("scratch",), version="old", sha256="0" * 64)

    def row(view: str) -> Row:
        verdict = RowVerdict(Outcome.FAIL, "belt", 100, 200, (PART, small), "m", 1, view)
        return Row(1, 10, verdict, ("scratch",), old.id, "washer")

    sizes = PartRule(tolerate=RULE.part_types["washer"].tolerate)
    new = InspectionRule(("washer",), ("scratch",), part_types={"washer": sizes}, edge_px=0.0, version="new")
    scales = [scale("belt", 0.1).calibration, scale("side", 0.2).calibration]

    def asked(view: str) -> tuple[int, list[str]]:
        found = dry_run([row(view)], new, {old.id: old}, stored_from_score=0.03, scales=scales)
        return found.flips, list(found.cannot_tell)

    assert asked("") == (1, []), "the only camera: it passes now"
    assert asked("side") == (0, []), "by the other camera's scale it is too long"
    assert asked("belt") == (0, ["its row has the boxes of one of several cameras only"])
