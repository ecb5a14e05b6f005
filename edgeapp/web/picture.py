"""One picture on its way to a screen: 4 bytes (big endian) that say how long the JSON is, the JSON, a JPEG."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from edgeapp.core.events import BackendError, Box, CameraFrame, Verdict

WIDTH_MAX: Final = 960
"""Pixels: a screen shows it beside other things, and a phone sees no more."""

QUALITY: Final = 80


Sort = Callable[[Sequence[Box]], tuple[Sequence[Box], Sequence[Box]]]
"""Which boxes count as parts, and which as defects, by the rule in use; the others are not drawn."""


def encode(frame: CameraFrame, verdict: Verdict, sort: Sort) -> bytes:
    """The message for a frame and the verdict on it. For a thread: a few milliseconds. Raises BackendError."""
    data, (width, height) = jpeg(frame, WIDTH_MAX)
    parts, defects = sort(verdict.boxes)
    says = {
        "source": frame.source,
        "number": frame.number,
        "outcome": verdict.outcome,
        "width": frame.pixels.shape[1],
        "height": frame.pixels.shape[0],
        "shown": [width, height],
        "parts": _drawn(parts),
        "defects": _drawn(defects),
    }
    header = json.dumps(says).encode()
    return len(header).to_bytes(4, "big") + header + data


def _drawn(boxes: Sequence[Box]) -> list[list[Any]]:
    """Corners in pixels of the frame, label and score of each box."""
    return [
        [round(box.left), round(box.top), round(box.right), round(box.bottom), box.label, round(box.score, 2)]
        for box in boxes
    ]


def jpeg(frame: CameraFrame, width_max: int | None = None) -> tuple[bytes, tuple[int, int]]:
    """The frame as JPEG, no wider than `width_max`, and its width and height then. Raises BackendError."""
    import cv2

    pixels = frame.bgr()
    height, width = pixels.shape[:2]
    try:
        if width_max is not None and width > width_max:
            size = (width_max, max(1, round(height * width_max / width)))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        ok, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    except cv2.error as error:
        raise BackendError(f"frame {frame.number} of {frame.source} cannot be made a JPEG: {error}") from error
    if not ok:
        raise BackendError(f"frame {frame.number} of {frame.source} cannot be made a JPEG")
    return data.tobytes(), (pixels.shape[1], pixels.shape[0])
