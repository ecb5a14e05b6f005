"""The quality-control station: camera -> detector -> rule -> verdict."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, settle, sink_of
from edgeapp.core.events import MS, CameraFrame, DeviceError, Verdict
from edgeapp.vision.inspection import Inspection, watch
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.split import SplitDetector


async def station(config: settings.Config, file: Path | None = None) -> None:
    """Judge parts until the camera's source ends or somebody stops it. `file` is where the configuration was read."""
    front = Front(config, file)
    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink_of(config.records, stack, *front.sinks))
        inspection = await open_inspection(config, parts)
        await front.open(parts)
        await watch(await open_camera(config.vision.camera, parts), inspection, front.showing(say), warn)


async def open_inspection(config: settings.Config, parts: Parts) -> Inspection:
    """The detector's stage and the rule."""
    vision = config.vision
    split = vision.detect.engine == "detect_split"  # its features leave as one byte each
    stage = await parts.stage(vision.detect, "vision.detect", lambda it: it.values.size if split else it.pixels.nbytes)
    local: Any = stage.local
    detect = SplitDetector(local.stem, stage) if split else stage
    settle()
    due_after_ns = round(vision.budget_ms * MS)
    return Inspection(detect, rule_of(vision.rule), due_after_ns=due_after_ns, sink=parts.sink, on_part=stage.probe)


def rule_of(rule: settings.Rule) -> InspectionRule:
    """The rule as the configuration says it."""
    return InspectionRule(
        parts=rule.parts,
        defects=rule.defects,
        part_score=rule.part_score,
        defect_score=rule.defect_score,
        defect_scores=rule.defect_scores,
        doubt_from_score=rule.doubt_from_score,
        doubt_below_score=rule.doubt_below_score,
        version=rule.version,
    )


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
