"""Is somebody in front of the camera? One look after the other, each a yes or a no; who blinks is for the reader to say."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass

from edgeapp.core.events import MS, BackendError, CameraFrame, Detections


@dataclass(frozen=True, slots=True)
class PresenceRule:
    """What counts as a person in front of the device."""

    label: str = "person"
    """The class's name in the detector."""

    score: float = 0.5
    height_share: float = 0.3
    """Of the picture's height: who is smaller than this walks past further away."""

    every_ns: int = 100 * MS
    """Between two looks: a camera is faster than people."""


def is_there(seen: Detections, frame_height: int, rule: PresenceRule) -> bool:
    """Does one box of the class reach the score and the height?"""
    return any(
        box.label == rule.label and box.score >= rule.score and box.bottom - box.top >= rule.height_share * frame_height
        for box in seen.boxes
    )


async def presence(
    frames: AsyncIterable[CameraFrame],
    detect: Callable[[CameraFrame], Awaitable[Detections]],
    rule: PresenceRule,
    on_failure: Callable[[BackendError], None],
) -> AsyncGenerator[bool, None]:
    """Look at a frame every so often; a look that fails says nothing about the person, only `on_failure`.

    Ends with the frames. Raises DeviceError if the camera is lost.
    """
    looked_ns: int | None = None
    async for frame in frames:
        if looked_ns is not None and frame.at_ns - looked_ns < rule.every_ns:
            continue
        looked_ns = frame.at_ns
        try:
            seen = await detect(frame)
        except BackendError as failure:
            on_failure(failure)
            continue
        yield is_there(seen, frame.pixels.shape[0], rule)
