"""Simulated lines for the integrity bench: drawn parts over a moving belt, in every light of devices/line_view.py.

A line is one light, one belt and one camera. Four fiducial marks are fixed to its frame, the lamp drifts and flickers a
little, one picture in twenty shows an empty belt, and every third camera sends JPEG. The exposure was set so that the belt
is not white.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import MS, CameraFrame, TimestampKind
from edgeapp.devices.line_view import BELTS, SHIFTED_BELTS, Look, Placed, draw_belt, random_look, take_picture
from edgeapp.devices.parts import PART_TYPES, Pose, draw_part

Image = NDArray[np.uint8]

SIZE_PX: Final = 320
PITCH_PX: Final = 420
PERIOD_NS: Final = 250 * MS
LIGHTS: Final = ("normal", "shifted", "varied")
MARKS: Final = tuple(
    (left / SIZE_PX, top / SIZE_PX, (left + 34) / SIZE_PX, (top + 34) / SIZE_PX)
    for left in (0, 286)
    for top in (0, 286)
)
"""Where the marks are looked for, as a configuration says it."""

_BELT_PX: Final = 2048
_DRIFT: Final = 0.08
_FLICKER: Final = 0.01
_JPEG_QUALITY: Final = 90
_STOPS: Final = 12  # 0.85 each: a seventh of the light
_WHITE: Final = 250
_WHITE_SHARE: Final = 0.1


def light_of(line: int) -> str:
    return LIGHTS[line % len(LIGHTS)]


def good_frames(seed: int, line: int, count: int) -> Iterator[CameraFrame]:
    """So many frames of one line, as its camera gives them when all is well."""
    rng = np.random.default_rng([seed, line])
    light, belts = light_of(line), SHIFTED_BELTS if light_of(line) == "shifted" else BELTS
    belt = draw_belt(rng, belts[int(rng.integers(len(belts)))], SIZE_PX, _BELT_PX)
    look = random_look(rng, shifted=light == "shifted", varied=light == "varied")
    look = _set_up(look, belt)
    phase, jpeg = float(rng.uniform(0, 2 * np.pi)), line % 9 in {1, 5, 6}
    for number in range(1, count + 1):
        drift = 1 + _DRIFT * np.sin(phase + number / 25) + _FLICKER * rng.standard_normal()
        moved = number * PITCH_PX % _BELT_PX
        piece = _with_marks(np.take(belt, range(moved, moved + SIZE_PX), axis=1, mode="wrap"))
        placed = [] if rng.random() < 0.05 else [_part(rng, look)]
        pixels, _ = take_picture(rng, piece, placed, replace(look, exposure=look.exposure * drift))
        yield CameraFrame(
            through_jpeg(pixels) if jpeg else pixels, number * PERIOD_NS, number, "belt", TimestampKind.FILE
        )


def _set_up(look: Look, belt: Image) -> Look:
    """As whoever mounts a camera does: an exposure at which the belt is not white with the lamp at its brightest."""
    empty = _with_marks(belt[:, :SIZE_PX])
    for _ in range(_STOPS):
        bright = replace(look, exposure=look.exposure * (1 + _DRIFT))
        pixels, _ = take_picture(np.random.default_rng(1), empty, [], bright)
        if (pixels.max(axis=2) >= _WHITE).mean() <= _WHITE_SHARE:
            break
        look = replace(look, exposure=look.exposure * 0.85)
    return look


def through_jpeg(pixels: Image, quality: int = _JPEG_QUALITY) -> Image:
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded: Image = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return decoded


def _part(rng: np.random.Generator, look: Look) -> Placed:
    kind = PART_TYPES[int(rng.integers(len(PART_TYPES)))]
    radius = float(rng.uniform(96, 112)) * (1.0 if kind == "washer" else 1.12)
    pose = Pose(radius, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.95, 1.0)))
    x, y = (SIZE_PX / 2 + rng.uniform(-14, 14, 2)).astype(int)
    return Placed(draw_part(rng, kind, (), pose, look.light, min_contrast=14.0), int(x), int(y))


def _with_marks(piece: Image) -> Image:
    """Four targets as photogrammetry uses them: black discs with two white quarters, on white."""
    marked = piece.copy()
    for x in (17, SIZE_PX - 17):
        for y in (17, SIZE_PX - 17):
            cv2.circle(marked, (x, y), 11, (200, 200, 200), -1)
            cv2.circle(marked, (x, y), 8, (20, 20, 20), -1)
            for turn in (0, 180):
                cv2.ellipse(marked, (x, y), (8, 8), turn, 0, 90, (200, 200, 200), -1)
    return marked
