"""What the station looks with, opened from its configuration: cameras, the detector's stage, the rule, checks and zones."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

from edgeapp import config as settings
from edgeapp.apps.eyes import check_of, learn_camera, zones_of
from edgeapp.apps.rules import OpenedRule, book_key, moved_utc_ns, open_rule
from edgeapp.apps.serials import Serials, open_serials
from edgeapp.apps.wiring import Parts, settle
from edgeapp.core.events import MS, CameraFrame, ConfigError, Detections, DeviceError
from edgeapp.core.record import Sink
from edgeapp.vision.calibrated import CalibratedLook
from edgeapp.vision.inspection import Inspection, Look
from edgeapp.vision.serial import Serial
from edgeapp.vision.split import SplitDetector

_SERIALS: Final = 64  # parts whose serial number waits for their verdict: more than can be in flight


class SerialLook:
    """Looks like the detector, and reads the part's serial number beside it, in the reader's own lane."""

    def __init__(self, look: Look, serials: Serials) -> None:
        self._look, self._serials = look, serials
        self._read: OrderedDict[int, Serial] = OrderedDict()  # by the frame's number, at most _SERIALS

    async def __call__(self, frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        """As the detector. A mirrored second look reads nothing."""
        if frame.number in self._read:
            return await self._look(frame, due_ns=due_ns, of=of)
        seen, serial = await asyncio.gather(self._look(frame, due_ns=due_ns, of=of), self._serials(frame))
        self._read[frame.number] = serial
        while len(self._read) > _SERIALS:
            self._read.popitem(last=False)
        return seen

    @property
    def must(self) -> bool:
        """Is a part without a serial number not inspected?"""
        return self._serials.rule.must

    def of(self, number: int) -> Serial:
        """What was read of this part; asked once."""
        return self._read.pop(number, Serial(why="nobody read its serial number"))


class Sight:
    """The detector and the rule, which all cameras of a line share. Lives on one loop."""

    def __init__(
        self,
        look: Look,
        opened: OpenedRule,
        *,
        camera: str,
        model: str,
        probe: Callable[[], None],
        classes: Sequence[str] = (),
        serials: Serials | None = None,
    ) -> None:
        """`camera` is what the line's first one is called; it reads the serial numbers. `classes` are those the detector knows."""
        self.opened, self.model, self.classes = opened, model, tuple(classes)
        self._look, self._camera, self._probe = look, camera, probe
        self.serials = SerialLook(self._measured(camera), serials) if serials else None
        self._made: list[tuple[str, Inspection]] = []  # one a camera, and that of the golden parts

    def inspection(
        self,
        section: settings.Vision | settings.FurtherCamera,
        parts: Parts,
        *,
        within_ns: int,
        sink: Sink,
        on_alarm: Callable[[str, int], None] | None = None,
    ) -> Inspection:
        """The inspection of one camera of the line. Raises ConfigError."""
        name = section.name if isinstance(section, settings.FurtherCamera) else self._camera
        inspection = Inspection(
            self.serials if name == self._camera and self.serials else self._measured(name),
            self.opened.at(name),
            due_after_ns=within_ns,
            sink=sink,
            on_part=self._probe,
            check=check_of(section.integrity, parts),
            zones=zones_of(section.zones),
            on_alarm=on_alarm,
        )
        self._made.append((name, inspection))
        return inspection

    def alone(self, section: settings.Vision, *, within_ns: int) -> Inspection:
        """An inspection for golden parts: the same detector, rule and zones, no checks, nothing written down."""
        return Inspection(
            self._measured(self._camera, pictures=True),
            self.opened.at(self._camera),
            due_after_ns=within_ns,
            sink=lambda _: None,
            zones=zones_of(section.zones),
        )

    def switch(self, opened: OpenedRule) -> None:
        """Another rule decides about all parts that come from now on, at every camera in the same moment."""
        self.opened = opened
        for name, inspection in self._made:
            inspection.rule = opened.at(name)

    def _measured(self, camera: str, *, pictures: bool = False) -> Look:
        """What measures this camera's frames; or pictures that were taken with it and are called otherwise."""
        scale = self.opened.scales.get(camera)
        return CalibratedLook(self._look, scale.calibration, camera if pictures else "") if scale else self._look


async def open_sight(config: settings.Config, parts: Parts) -> Sight:
    """The detector's stage, the rule that decides, and the reader of serial numbers. Raises ConfigError."""
    vision = config.vision
    split = vision.detect.engine == "detect_split"  # its features leave as one byte each
    stage = await parts.stage(vision.detect, "vision.detect", lambda it: it.values.size if split else it.pixels.nbytes)
    local: Any = stage.local
    look: Look = SplitDetector(local.stem, stage) if split else stage
    camera, classes = camera_name(vision.camera), getattr(local, "labels", ())
    moved = moved_utc_ns(Path(config.station.folder), camera) if config.station.folder else None
    opened = open_rule(vision, classes, camera=camera, key=book_key(vision), moved_utc_ns=moved)
    serials = await open_serials(vision.barcode, parts)
    settle()
    model = getattr(local, "model", "")
    return Sight(look, opened, camera=camera, model=model, probe=stage.probe, classes=classes, serials=serials)


async def open_inspection(config: settings.Config, parts: Parts) -> Inspection:
    """One camera's inspection with the whole budget: for who wants verdicts and no station. Raises ConfigError."""
    sight = await open_sight(config, parts)
    return sight.inspection(config.vision, parts, within_ns=round(config.vision.budget_ms * MS), sink=parts.sink)


async def learn(config: settings.Config, path: Path, frames: int, camera: str) -> str:
    """Learn how a camera of the line sees good parts. Raises ConfigError and DeviceError."""
    further = {each.name: each for each in config.vision.further_cameras}
    if camera and camera not in further:
        raise ConfigError(
            f"there is no camera {camera!r} in vision.further_cameras: use one of {', '.join(further) or 'none'}"
        )
    section = further[camera] if camera else config.vision
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        return await learn_camera(await open_camera(section.camera, parts), section.integrity, path, frames)


def camera_name(camera: settings.Camera) -> str:
    """What the camera's frames are called."""
    return "belt" if camera.source == "simulated" else "camera"


async def open_camera(camera: settings.Camera, parts: Parts) -> AsyncIterable[CameraFrame]:
    """The configured camera, or the simulated line."""
    if camera.source == "simulated":
        from edgeapp.devices import conveyor

        options = conveyor.Options(parts=conveyor.MAX_PARTS, parts_per_minute=120, source="belt")
        belt = await parts.stack.enter_async_context(conveyor.start(options))
        parts.count_drops("camera", belt)
        return belt.frames()
    from edgeapp.devices import camera as device

    frames = await parts.stack.enter_async_context(
        device.open_camera(
            device.Options(
                source=camera.source,
                policy=camera.policy,
                width=camera.width,
                height=camera.height,
                stall_ms=camera.stall_ms,
            )
        )
    )
    parts.count_drops("camera", frames)
    return frames


def warn(lost: DeviceError) -> None:
    """One line for each failed attempt to reach the camera."""
    with suppress(OSError):
        sys.stderr.write(f"edgeapp: {lost}\n")
