"""What goes wrong with a camera, done to good pictures: each fault in a mild and in a strong degree.

Mild is the least that the bench injects; what is milder is not promised to be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeapp.bench.camera_lines import PERIOD_NS, SIZE_PX, through_jpeg
from edgeapp.core.events import MS, CameraFrame

Image = NDArray[np.uint8]
Spoil = Callable[[np.random.Generator, CameraFrame, CameraFrame, bool], CameraFrame]
"""Random numbers, the good frame, the frame before it, is it strong -> the frame as it comes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble."""

    name: str
    causes: frozenset[str]
    """What a verdict may give as the cause."""

    spoil: Spoil
    mild: str
    """The mildest degree, in words."""

    frames: int = 1
    """Within how many frames it has to be found."""


def _of(pixels: NDArray[np.floating]) -> Image:
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def _stands_still(_: np.random.Generator, frame: CameraFrame, before: CameraFrame, strong: bool) -> CameraFrame:
    return replace(frame, at_ns=before.at_ns - (500 * MS if strong else 0))


def _jumps(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    ahead = rng.random() < 0.5
    by_ns = 10_000 * MS if strong else 100 * MS if ahead else PERIOD_NS - 10 * MS
    return replace(frame, at_ns=frame.at_ns + (by_ns if ahead else -by_ns))


def _frozen(rng: np.random.Generator, frame: CameraFrame, before: CameraFrame, strong: bool) -> CameraFrame:
    if strong:
        return replace(frame, pixels=before.pixels.copy())
    coded = through_jpeg(before.pixels, 85).astype(np.float32)
    return replace(frame, pixels=_of(coded + rng.normal(0, 1, coded.shape)))


def _dark(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    noise = rng.normal(0, 1, frame.pixels.shape)
    return replace(frame, pixels=_of(frame.pixels * (0.05 if strong else 0.5) + noise))


def _overexposed(_: np.random.Generator, frame: CameraFrame, __: CameraFrame, strong: bool) -> CameraFrame:
    return replace(frame, pixels=_of(frame.pixels * np.float32(5 if strong else 1.8)))


def _unsharp(_: np.random.Generator, frame: CameraFrame, __: CameraFrame, strong: bool) -> CameraFrame:
    return replace(frame, pixels=np.asarray(cv2.GaussianBlur(frame.pixels, (0, 0), 5.0 if strong else 1.8), np.uint8))


def _moved(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    turn = float(rng.uniform(0, 2 * np.pi))
    far = 12.0 if strong else 3.0
    matrix = cv2.getRotationMatrix2D((SIZE_PX / 2, SIZE_PX / 2), 3.0 if strong else 0.0, 1.0)
    matrix[:, 2] += (far * np.cos(turn), far * np.sin(turn))
    size = (SIZE_PX, SIZE_PX)
    moved = cv2.warpAffine(frame.pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return replace(frame, pixels=np.asarray(moved, np.uint8))


def _dirty(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    """The same `rng` puts the same spot into each frame; its edge is soft, because it is out of focus."""
    radius, opacity = (30, 0.9) if strong else (16, 0.6)
    x, y = (int(each) for each in rng.integers(radius + 4, SIZE_PX - radius - 4, 2))
    spot = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    cv2.circle(spot, (x, y), radius, 1.0, -1)
    spot = np.asarray(cv2.GaussianBlur(spot, (0, 0), radius / 4), np.float32) * np.float32(opacity)
    return replace(frame, pixels=_of(frame.pixels * (1 - spot[..., None])))


def _other_picture(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    pixels = frame.pixels
    kind = int(rng.integers(5 if strong else 2))
    if not strong:
        gains = np.ones(3, np.float32)
        gains[0 if kind else 2] = rng.choice([0.8, 1.25])
        return replace(frame, pixels=_of(pixels * gains))
    if kind == 0:
        return replace(frame, pixels=np.ascontiguousarray(pixels[: SIZE_PX // 2]))
    if kind == 1:
        return replace(frame, pixels=pixels.astype(np.uint16))
    if kind == 2:
        return replace(frame, pixels=np.ascontiguousarray(pixels[..., 1]))
    if kind == 3:
        return replace(frame, pixels=np.repeat(pixels[..., 1:2], 3, axis=2))
    lost = pixels.copy()
    lost[..., int(rng.integers(3))] = 0
    return replace(frame, pixels=lost)


def _torn(rng: np.random.Generator, frame: CameraFrame, before: CameraFrame, strong: bool) -> CameraFrame:
    pixels, rows = frame.pixels.copy(), SIZE_PX // 2 if strong else 16
    kind = int(rng.integers(4))
    if kind == 0:  # the buffer was not full yet
        pixels[-rows:] = before.pixels[-rows:]
    elif kind == 1:  # a decoder's grey
        pixels[-rows:] = 128
    elif kind == 2:  # a row over and over
        pixels[-rows:] = pixels[-rows - 1]
    else:
        pixels[-rows:] = (0, 135, 0)  # YUV of zeros
    return replace(frame, pixels=pixels)


def _noisy(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    pixels = frame.pixels.astype(np.float32)
    if rng.random() < 0.5:
        rows = slice(None) if strong else slice(int(rng.integers(0, 240)), None)
        rows = slice(rows.start, rows.start + 80) if not strong else rows
        part = pixels[rows]
        part += rng.normal(0, 40 if strong else 15, part.shape).astype(np.float32)
    else:
        bands = float(rng.uniform(3, 8))
        swing = np.sin(np.linspace(0, 2 * np.pi * bands, SIZE_PX) + rng.uniform(0, 6)) * (0.6 if strong else 0.35)
        pixels *= (1 + swing[:, None, None]).astype(np.float32)
    return replace(frame, pixels=_of(pixels))


def _covered(rng: np.random.Generator, frame: CameraFrame, _: CameraFrame, strong: bool) -> CameraFrame:
    """Something close to the lens: without detail, with a soft edge."""
    share = 1.1 if strong else 0.25
    turn = float(rng.uniform(0, 2 * np.pi))
    y, x = np.mgrid[-0.5 : 0.5 : SIZE_PX * 1j, -0.5 : 0.5 : SIZE_PX * 1j]
    along = x * np.cos(turn) + y * np.sin(turn)
    edge = np.quantile(along, min(share, 1.0)) + (0.2 if strong else 0.0)
    cover = np.clip((edge - along) / 0.04 + 0.5, 0, 1)[..., None].astype(np.float32)
    tone = np.float32(rng.choice([8.0, 90.0, 200.0])) + rng.normal(0, 1.5, frame.pixels.shape).astype(np.float32)
    return replace(frame, pixels=_of(frame.pixels * (1 - cover) + tone * cover))


_ANY_LOOK: Final = frozenset({"dark", "overexposed", "covered", "out of focus", "wrong colour", "camera moved", "torn"})

FAULTS: Final = (
    Fault("timestamp stands still", frozenset({"timestamp"}), _stands_still, "the last frame's time again"),
    Fault("timestamp jumps", frozenset({"timestamp"}), _jumps, "100 ms ahead of the clock, or 240 ms back"),
    Fault("frozen", frozenset({"frozen"}), _frozen, "the last picture, through JPEG 85 and noise of 1 grey level", 4),
    Fault("dark", frozenset({"dark"}), _dark, "half the light"),
    Fault("overexposed", frozenset({"overexposed"}), _overexposed, "1.8 times the light"),
    Fault("out of focus", frozenset({"out of focus"}), _unsharp, "a further blur of 1.8 px (sigma) at 320 px"),
    Fault("camera moved", frozenset({"camera moved"}), _moved, "3 px at 320 px (1 %), seen by its marks"),
    Fault("lens dirt", frozenset({"lens dirt", "camera moved", "covered", "banding"}), _dirty, "32 px across, takes 60 % of the light, soft edge", 96),
    Fault("wrong picture", frozenset({"wrong format", "wrong colour"}), _other_picture, "red or blue 0.8 or 1.25 times"),
    Fault("torn", frozenset({"torn", "camera moved"}), _torn, "16 rows of 320 missing, grey, repeated or old"),
    Fault("noise or banding", frozenset({"noise", "banding"}), _noisy, "noise of 15 in a quarter, or bands of +-35 %"),
    Fault("covered", _ANY_LOOK, _covered, "a quarter of the picture, from one side"),
)  # fmt: skip
