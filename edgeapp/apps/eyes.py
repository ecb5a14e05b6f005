"""What the station looks with, from its configuration: checks, zones, the belt, and the set-up of a camera's reference."""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path
from typing import Final

from edgeapp import config as settings
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import MS, CameraFrame, ConfigError
from edgeapp.vision import reference
from edgeapp.vision.capture import Window
from edgeapp.vision.inspection import Check, checking
from edgeapp.vision.integrity import Integrity
from edgeapp.vision.tracks import Belt
from edgeapp.vision.zones import Zones

LANE: Final = "integrity"
"""The thread of the checks of all cameras: 2 ms a frame, beside the detector and never on the loop."""


def check_of(section: settings.Integrity, parts: Parts) -> Check | None:
    """The checks of one camera; None without a reference. Raises ConfigError."""
    if not section.reference:
        return None
    return checking(Integrity(reference.load(Path(section.reference).expanduser())), parts.lane(LANE))


def zones_of(section: settings.Zones) -> Zones | None:
    """The zones; None if none are drawn. Raises ConfigError."""
    if not (section.parts or section.defects or section.ignored):
        return None
    return Zones(section.parts, section.defects, section.ignored, in_px=section.units == "px")


def window_of(section: settings.Capture | settings.FurtherCamera) -> Window:
    """Which frames belong to a trigger."""
    return Window(round(section.offset_ms * MS), round(section.window_ms * MS))


def belt_of(section: settings.Tracks) -> Belt:
    """How parts come. Raises ConfigError."""
    return Belt(
        towards=section.towards,
        decide_at=section.decide_at,
        confirm_frames=section.confirm_frames,
        proof_frames=section.proof_frames,
        lost_frames=section.lost_frames,
    )


async def learn_camera(frames: AsyncIterable[CameraFrame], section: settings.Integrity, path: Path, count: int) -> str:
    """Take so many good frames, write the reference, and say what was learned. Raises ConfigError and DeviceError."""
    if not reference.FRAMES_MIN <= count <= reference.FRAMES_MAX:
        raise ConfigError(f"--frames is {count}; give {reference.FRAMES_MIN} to {reference.FRAMES_MAX}")
    good: list[CameraFrame] = []
    async for frame in frames:
        good.append(frame)
        if len(good) == count:
            break
    learned = reference.learn(good, section.marks)
    reference.save(learned, path)
    told = learned.spreads
    sharp, noise, still = (told[name].middle for name in ("sharpness", "noise", "still"))
    return (
        f"{len(good)} frames of {learned.width} x {learned.height} px: edges rise by {sharp:.2f} of their height in one pixel, "
        f"noise {noise:.1f}, from frame to frame {still:.1f} grey levels, {len(learned.marks)} marks; written to {path}"
    )
