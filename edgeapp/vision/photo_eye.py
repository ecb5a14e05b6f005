"""A photo-eye without a photo-eye: a small region of the camera's own frames as a light barrier. No model looks at it.

The empty belt under the region is learned from the first frames and followed slowly, so that daylight does not trigger.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import Final

import numpy as np

from edgeapp.core.events import CameraFrame, ConfigError

LEARN_FRAMES: Final = 25
"""The belt must be empty under the region in more than half of the first frames."""

COVERED: Final = 6.0
"""So many standard deviations of the empty belt from its middle: something breaks the beam."""

CLEAR: Final = 3.0
"""Below this it has passed; in between the state stays as it is."""

_LEVELS_MIN: Final = (2.0, 1.0)  # the least deviation believed of mean and spread, in grey levels
_FOLLOW: Final = 1 / 64  # how fast the empty belt is followed: a lamp drifts over minutes, a part passes in frames
_TO_SIGMA: Final = 1.4826


class PhotoEye:
    """The same frames, each looked at first: it pulls once for each thing that comes under its region.

    Lives on one loop; a look takes some 20 microseconds. Iterate over it in the place of the camera.
    """

    def __init__(
        self,
        frames: AsyncIterable[CameraFrame],
        region: tuple[float, float, float, float],
        *,
        pull: Callable[[int], None],
        debounce_frames: int = 2,
    ) -> None:
        """`region` is left, top, right, bottom in shares of the picture; a thin one across the belt is best.

        `pull` gets the sensor time of the first of `debounce_frames` covered frames; as many clear ones end a part. Raises
        ConfigError if the region is empty.
        """
        left, top, right, bottom = region
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ConfigError(f"the photo-eye's region {region} is not left < right and top < bottom within 0 to 1")
        self._frames, self._region, self._pull, self._debounce = frames, region, pull, debounce_frames
        self._first: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []  # at most LEARN_FRAMES
        self._middle = self._sigma = np.zeros(2)
        self._covered = False
        self._other = 0  # frames in a row that speak against the state
        self._since_ns = 0
        self.pulls = 0

    def see(self, frame: CameraFrame) -> None:
        """Look at the next frame."""
        found = self._levels(frame)
        if len(self._first) < LEARN_FRAMES:
            self._first.append(found)
            if len(self._first) == LEARN_FRAMES:
                told = np.stack(self._first)
                self._middle = np.median(told, axis=0)
                spread = np.median(np.abs(told - self._middle), axis=0) * _TO_SIGMA
                self._sigma = np.maximum(spread, _LEVELS_MIN)
            return
        away = float((np.abs(found - self._middle) / self._sigma).max())
        if away < CLEAR and not self._covered:
            self._middle = self._middle + _FOLLOW * (found - self._middle)
        against = away < CLEAR if self._covered else away > COVERED
        self._other = self._other + 1 if against else 0
        if self._other == 1:
            self._since_ns = frame.at_ns
        if self._other >= self._debounce:
            self._covered, self._other = not self._covered, 0
            if self._covered:
                self.pulls += 1
                self._pull(self._since_ns)

    async def __aiter__(self) -> AsyncGenerator[CameraFrame, None]:
        """Ends with the frames and raises what they raise; can be iterated again if they can."""
        async for frame in self._frames:
            self.see(frame)
            yield frame

    def _levels(self, frame: CameraFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Mean and spread of the region's green: a part of the belt's own grey still has edges."""
        height, width = frame.pixels.shape[:2]
        left, top, right, bottom = self._region
        rows = slice(int(top * height), max(int(top * height) + 1, int(bottom * height)))
        columns = slice(int(left * width), max(int(left * width) + 1, int(right * width)))
        green = frame.pixels[rows, columns, 1] if frame.pixels.ndim == 3 else frame.pixels[rows, columns]
        return np.array([float(green.mean()), float(green.std())])
