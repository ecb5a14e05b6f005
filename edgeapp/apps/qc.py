"""The quality-control station: camera -> detector -> rule -> verdict."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.eyes import check_of, learn_camera, zones_of
from edgeapp.apps.rules import open_rule
from edgeapp.apps.wiring import Parts, settle, sink_of
from edgeapp.core.events import MS, CameraFrame, ConfigError, DeviceError, Verdict
from edgeapp.vision.inspection import Inspection, watch
from edgeapp.vision.split import SplitDetector


async def station(config: settings.Config) -> None:
    """Judge parts until the camera's source ends or somebody stops it."""
    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink_of(config.records, stack))
        inspection = await open_inspection(config, parts)
        await watch(await open_camera(config.vision.camera, parts), inspection, say, warn)


async def open_inspection(config: settings.Config, parts: Parts) -> Inspection:
    """The detector's stage and the rule."""
    vision = config.vision
    split = vision.detect.engine == "detect_split"  # its features leave as one byte each
    stage = await parts.stage(vision.detect, "vision.detect", lambda it: it.values.size if split else it.pixels.nbytes)
    local: Any = stage.local
    detect = SplitDetector(local.stem, stage) if split else stage
    rule = open_rule(vision, getattr(local, "labels", ()), camera=camera_name(vision.camera)).rule
    settle()
    return Inspection(
        detect,
        rule,
        due_after_ns=round(vision.budget_ms * MS),
        sink=parts.sink,
        on_part=stage.probe,
        check=check_of(vision.integrity, parts),
        zones=zones_of(vision.zones),
    )


async def learn(config: settings.Config, path: Path, frames: int, camera: str) -> str:
    """Learn how a camera of the line sees good parts. Raises ConfigError and DeviceError."""
    further = {each.name: each for each in config.vision.further_cameras}
    if camera and camera not in further:
        raise ConfigError(f"there is no camera {camera!r} in vision.further_cameras: use one of {', '.join(further) or 'none'}")
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
        return (await parts.stack.enter_async_context(conveyor.start(options))).frames()
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


def say(frame: CameraFrame, verdict: Verdict) -> None:
    """One line a verdict."""
    took_ms = (verdict.decided_ns - verdict.at_ns) / MS
    sys.stdout.write(f"{frame.source} {frame.number}: {verdict.outcome} in {took_ms:.0f} ms, {verdict.why}\n")
    sys.stdout.flush()


def warn(lost: DeviceError) -> None:
    """One line for each failed attempt to reach the camera."""
    sys.stderr.write(f"edgeapp: {lost}\n")
