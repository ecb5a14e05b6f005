"""A detector whose pictures are measured: one that is not of the calibrated size or camera is not looked at."""

from __future__ import annotations

from edgeapp.core.events import BackendError, CameraFrame, Detections
from edgeapp.vision.calibration import Calibration, refusal
from edgeapp.vision.inspection import Look


class CalibratedLook:
    """Looks like the detector."""

    def __init__(self, look: Look, calibration: Calibration, camera: str = "") -> None:
        """`camera` took the pictures; empty: the one that each is called by."""
        self._look, self._calibration, self._camera = look, calibration, camera

    async def __call__(self, frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        """As the detector. Raises BackendError, also if the calibration is not of such a picture."""
        height, width = frame.pixels.shape[:2]
        if why := refusal(self._calibration, camera=self._camera or frame.source, width=width, height=height):
            raise BackendError(why)
        return await self._look(frame, due_ns=due_ns, of=of)
