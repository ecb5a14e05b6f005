"""What a verdict rests on, put together for the ledger: the frame's hash and light, where the detector ran, the picture."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

import numpy as np

from edgeapp.core.events import CameraFrame, Outcome, Verdict
from edgeapp.core.record import AnyRecord, Record
from edgeapp.station.evidence import Evidence, Look, Picture

_CALLS: Final = 256  # parts whose detector calls are remembered until their verdict: more than can be between the two
_DIM: Final = 60.0  # mean of the pixels, of 255; below it the light is `dim`,
_BRIGHT: Final = 180.0  # above it `bright`
_LIGHT_STEP: Final = 8  # every eighth pixel each way says how light a picture is
_JPEG_QUALITY: Final = 90


class Placements:
    """A sink that remembers where each frame's detector ran and why. At most the newest `_CALLS`."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, str] = OrderedDict()

    def __call__(self, record: AnyRecord) -> None:
        if isinstance(record, Record) and record.stage == "detect":
            self._said[record.of] = f"{record.side}: {record.error or record.why}"
            while len(self._said) > _CALLS:
                self._said.popitem(last=False)

    def of(self, camera: str, number: int) -> str:
        """Where the last look at this frame ran, and why there; asked once."""
        return self._said.pop(f"{camera} {number}", "")


def evidence_of(
    verdict: Verdict, parts: tuple[str, ...], placement: str, *, operator: str, lot: str, serial: str
) -> Evidence:
    """What is known on the loop; `look_at` and `picture_of` know the rest. `parts` are the labels that are parts."""
    seen = sum(box.label in parts for box in verdict.boxes)
    causes = verdict.causes or (("other",) if verdict.outcome is not Outcome.PASS else ())
    return Evidence(
        verdict,
        causes=causes,
        rule=verdict.rule,
        placement=placement,
        part_type=verdict.part_type,
        density="none" if not seen else "one" if seen == 1 else "several",
        sizes_mm=verdict.sizes_mm,
        operator=operator,
        lot=lot,
        serial=serial,
    )


def look_at(frame: CameraFrame) -> Look:
    """The hash of the pixels, and how light the picture is. 1 ms a megapixel, in the ledger's thread."""

    def look() -> dict[str, Any]:
        pixels = np.ascontiguousarray(frame.pixels)
        mean = float(pixels[::_LIGHT_STEP, ::_LIGHT_STEP].mean())
        light = "dim" if mean < _DIM else "bright" if mean > _BRIGHT else "normal"
        return {"frame_sha256": hashlib.sha256(pixels.data).hexdigest(), "light": light}

    return look


def picture_of(frame: CameraFrame) -> Picture:
    """The frame as a JPEG, encoded in the ledger's thread."""

    def picture() -> bytes:
        import cv2

        whole, data = cv2.imencode(".jpg", frame.pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not whole:
            raise ValueError("OpenCV could not encode it")
        return data.tobytes()

    return picture
