"""The quality-control station as a wiring diagram:

    camera(s) and trigger -> inspection with its rule -> ledger -> line (Modbus, MQTT, OPC UA, GPIO, gate) -> console
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from contextlib import AsyncExitStack, suppress
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.rules import open_rule
from edgeapp.apps.station import EachFrame, OnTheirWay, QcStation, open_station
from edgeapp.apps.wiring import Parts, settle, sink_of
from edgeapp.core.events import MS, CameraFrame, DeviceError, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.vision.capture import Capture, Eye, Inspected, Window
from edgeapp.vision.inspection import Inspection
from edgeapp.vision.split import SplitDetector


async def station(config: settings.Config) -> None:
    """Judge parts until the camera's source ends or somebody stops it."""
    async with AsyncExitStack() as stack:
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, placements))
        inspection = await open_inspection(config, parts)
        frames = await open_camera(config.vision.camera, parts)
        line = await open_station(config, parts, placements, camera_name(config.vision.camera))
        line.on_told.append(say)
        await inspect(config, line, inspection, frames)


async def inspect(
    config: settings.Config, line: QcStation, inspection: Inspection, frames: AsyncIterable[CameraFrame]
) -> None:
    """Every trigger, or every frame if there is none, gets its verdict; until the source ends."""
    camera, triggers, window = config.vision.camera, line.outputs.triggers, Window()
    if triggers is None:
        triggers = by_camera = line.frames_as_triggers()
        frames = EachFrame(frames, by_camera, every=camera.policy == "every")
    capture = Capture(
        [Eye(camera_name(camera), frames, inspection, window)],
        source=camera_name(camera),
        due_after_ns=line.inspect_within_ns,
        sink=_told_later,
        on_part=lambda part: line.judged(part.verdict, _shown(part)),
        on_loss=warn,
    )
    await capture.run(OnTheirWay(triggers, line.outputs.triggered))


def _told_later(_: AnyRecord) -> None:
    """The station writes a verdict down when the line was told."""


def _shown(part: Inspected) -> CameraFrame | None:
    """The picture the verdict speaks of: the deciding camera's."""
    shown = [view.frame for view in part.views if view.verdict.outcome is part.verdict.outcome]
    return next((frame for frame in shown if frame is not None), None)


async def open_inspection(config: settings.Config, parts: Parts) -> Inspection:
    """The detector's stage and the rule."""
    vision = config.vision
    split = vision.detect.engine == "detect_split"  # its features leave as one byte each
    stage = await parts.stage(vision.detect, "vision.detect", lambda it: it.values.size if split else it.pixels.nbytes)
    local: Any = stage.local
    detect = SplitDetector(local.stem, stage) if split else stage
    rule = open_rule(vision, getattr(local, "labels", ()), camera=camera_name(vision.camera)).rule
    settle()
    within_ns = round((vision.budget_ms - (config.station.record_ms if config.station.folder else 0)) * MS)
    return Inspection(detect, rule, due_after_ns=within_ns, sink=parts.sink, on_part=stage.probe)


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


def say(verdict: Verdict) -> None:
    """One line a verdict."""
    took_ms = (verdict.decided_ns - verdict.at_ns) / MS
    with suppress(OSError):  # a log on a full disk must not end the station
        sys.stdout.write(
            f"{verdict.source} {verdict.frame_number}: {verdict.outcome} in {took_ms:.0f} ms, {verdict.why}\n"
        )
        sys.stdout.flush()


def warn(lost: DeviceError) -> None:
    """One line for each failed attempt to reach the camera."""
    with suppress(OSError):
        sys.stderr.write(f"edgeapp: {lost}\n")
