"""The plan `split`: the detector's first layers on the device, the rest wherever it is safe.

What may leave the device is then a tensor and never the picture, and a rest that does not come back in time goes on here
from that tensor. Whether it is worth it is measured, not assumed: for small detectors a JPEG of the whole frame is smaller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from edgeapp.core.events import CameraFrame, Detections, Features
from edgeapp.core.stage import Stage


class SplitDetector:
    """Looks like the stage of a whole detector."""

    def __init__(self, stem: Callable[[CameraFrame], Awaitable[Features]], rest: Stage[Features, Detections]) -> None:
        """`stem` runs on the device; `rest` is placed call by call."""
        self._stem, self._rest = stem, rest

    async def __call__(self, frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        """Both halves by `due_ns`. Raises BackendError."""
        return await self._rest(await self._stem(frame), due_ns=due_ns, of=of)
