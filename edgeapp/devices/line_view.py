"""What a camera above a conveyor sees: belt, light, lens and noise around drawn parts, with the boxes of what is visible.

The truth is taken from the picture: a box is the extent of the pixels that are really visible, after occlusion and the
frame's edge, so that a label never names what nobody could see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeapp.devices.parts import DEFECTS, DrawnPart, Light

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

BELTS = ("rubber", "pvc", "woven", "speckled", "slats")
TRAINING_BELT = "clutter"
"""Belts of no real line, for training: random stripes, shapes and colours, so that a belt's pattern comes to mean nothing."""

SHIFTED_BELTS = ("mesh", "modular")
"""Belts of the shifted test set: training never sees their pattern."""

MIN_BOX_PX = 14
"""Shortest side of a defect's box; a thinner defect gets a box of this width around it."""

BOX_PAD_PX = 2
"""Room between a defect's outermost visible pixels and its box."""

LIMIT_LEVELS = 12.0
"""A pixel shows a defect when it differs from the sound part by so many grey levels (of 255), behind light and lens."""

LIMIT_PX = 40
"""The norm's limit: what shows in fewer pixels is no defect. 1.4 mm2 where a washer of 40 mm is 210 px across."""

LIMIT_CONTRAST = 3.0
"""The norm's other limit: mean difference over the pixels that show, in standard deviations of sensor noise and metal
grain together, below which a careful inspector cannot tell the defect from them."""

SPECK_PX = 6
"""A group of fewer pixels that show is not counted and does not stretch a box."""

THIN = frozenset({"scratch", "burr", "crack"})
"""Defects whose box is the extent of what shows; the others have a shape of their own, are boxed whole and count when
at least half of that shape is in view."""


@dataclass(frozen=True)
class Look:
    """Light and lens of one picture.

    `exposure` is a gain, `falloff` how much the light fades from one side of the frame to the other, `vignette` how much
    it fades to the corners, `blur_px` the lens's Gaussian sigma, `motion_px` the smear along the belt (x), `noise` the
    standard deviation of sensor noise in grey levels.
    """

    light: Light
    exposure: float = 1.0
    falloff: float = 0.1
    vignette: float = 0.1
    blur_px: float = 0.6
    motion_px: int = 1
    noise: float = 2.0


@dataclass(frozen=True)
class Placed:
    """A drawn part and where its centre lies in the frame (pixels)."""

    part: DrawnPart
    x: int
    y: int


@dataclass(frozen=True)
class SeenDefect:
    """A defect as the frame shows it: class name, box (left, top, right, bottom) in pixels, contrast in grey levels."""

    kind: str
    box: tuple[int, int, int, int]
    contrast: float


@dataclass(frozen=True)
class SeenPart:
    """A part as the frame shows it: type, box of its visible pixels, visible share (0 to 1) and its visible defects."""

    kind: str
    box: tuple[int, int, int, int]
    visible: float
    defects: tuple[SeenDefect, ...]


def random_look(rng: np.random.Generator, shifted: bool = False, varied: bool = False) -> Look:
    """Light and lens drawn at random; `shifted` has lower lamps than training ever has, `varied` is for training only."""
    if shifted:
        colour = (float(rng.uniform(0.72, 1.12)), 1.0, float(rng.uniform(0.78, 1.15)))
        light = Light(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.42, 0.58)), 0.28, 1.05, colour)
        return Look(
            light,
            exposure=float(rng.uniform(0.75, 1.3)),
            falloff=float(rng.uniform(0.25, 0.45)),
            vignette=float(rng.uniform(0.2, 0.35)),
            blur_px=float(rng.uniform(0.5, 1.0)),
            motion_px=int(rng.integers(1, 4)),
            noise=float(rng.uniform(2.0, 4.0)),
        )
    if varied:
        return _any_look(rng)
    warm = float(rng.normal(0, 0.03))
    light = Light(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        elevation=float(rng.uniform(0.6, 1.3)),
        ambient=float(rng.uniform(0.22, 0.45)),
        diffuse=float(rng.uniform(0.5, 0.9)),
        colour=(1.0 - warm, 1.0, 1.0 + warm),
    )
    return Look(
        light,
        exposure=float(np.exp(rng.normal(0, 0.18))),
        falloff=float(rng.uniform(0, 0.25)),
        vignette=float(rng.uniform(0, 0.25)),
        blur_px=float(rng.uniform(0.35, 1.1)),
        motion_px=int(rng.integers(1, 4)),
        noise=float(rng.uniform(0.8, 4.0)),
    )


def _any_look(rng: np.random.Generator) -> Look:
    """Lamps of any colour and strength, often low (never as low as the shifted set's), and lenses of any error."""
    gains = np.exp(rng.normal(0, 0.16, 3))
    light = Light(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        elevation=float(0.6 + 0.7 * rng.random() ** 2),
        ambient=float(rng.uniform(0.15, 0.5)),
        diffuse=float(rng.uniform(0.4, 1.2)),
        colour=(float(gains[0]), float(gains[1]), float(gains[2])),
    )
    return Look(
        light,
        exposure=float(np.exp(rng.normal(0, 0.25))),
        falloff=float(rng.uniform(0, 0.5)),
        vignette=float(rng.uniform(0, 0.4)),
        blur_px=float(rng.uniform(0.3, 1.2)),
        motion_px=int(rng.integers(1, 5)),
        noise=float(rng.uniform(0.5, 5.0)),
    )


def draw_belt(rng: np.random.Generator, kind: str, height: int, length: int) -> Image:
    """Draw `length` pixels of belt, uint8 height x length x 3 BGR, that join end to end. ValueError on an unknown kind."""
    grey = np.float32(rng.uniform(0.10, 0.45))
    colour = grey * (1 + rng.uniform(-0.12, 0.12, 3)).astype(np.float32)
    if kind == "rubber":
        pattern = _smooth_noise(rng, height, length, 1.0) * 0.06 + _smooth_noise(rng, height, length, 12.0) * 0.05
    elif kind == "pvc":
        tints = np.array([(0.20, 0.38, 0.16), (0.42, 0.30, 0.12), (0.55, 0.56, 0.56), (0.30, 0.30, 0.31)], np.float32)
        colour = tints[int(rng.integers(4))] * np.float32(rng.uniform(0.8, 1.15))
        pattern = _smooth_noise(rng, height, length, 20.0) * 0.04 + _smooth_noise(rng, height, length, 0.7) * 0.02
    elif kind == "woven":
        pattern = _weave(rng, height, length) * 0.09 + _smooth_noise(rng, height, length, 1.0) * 0.03
    elif kind == "speckled":
        fleck = _smooth_noise(rng, height, length, float(rng.uniform(1.2, 2.5)))
        pattern = np.where(fleck > 1.3, 0.35, 0.0) - np.where(fleck < -1.4, 0.25, 0.0)
        pattern = pattern.astype(np.float32) + _smooth_noise(rng, height, length, 1.0) * 0.03
    elif kind == "slats":
        pattern = _slats(rng, height, length) + _smooth_noise(rng, height, length, 1.5) * 0.05
    elif kind == "mesh":
        colour = colour * 0.5 + 0.08
        pattern = _mesh(rng, height, length)
    elif kind == "modular":
        tints = np.array([(0.62, 0.36, 0.14), (0.18, 0.42, 0.70), (0.60, 0.60, 0.58)], np.float32)
        colour = tints[int(rng.integers(3))]
        pattern = _modules(rng, height, length) + _smooth_noise(rng, height, length, 6.0) * 0.04
    elif kind == TRAINING_BELT:
        colour = rng.uniform(0.06, 0.65, 3).astype(np.float32)
        pattern = _smooth_noise(rng, height, length, float(rng.uniform(0.6, 12))) * np.float32(rng.uniform(0, 0.15))
        for _ in range(int(rng.integers(0, 3))):
            pattern += _stripes(rng, height, length)
        pattern += _shapes(rng, height, length)
    else:
        known = (*BELTS, TRAINING_BELT, *SHIFTED_BELTS)
        raise ValueError(f"unknown belt {kind!r}: use one of {', '.join(known)}")
    belt = (1 + pattern)[..., None].astype(np.float32) * colour
    _wear(rng, belt)
    drawn: Image = np.clip(belt * 255, 0, 255).astype(np.uint8)
    return drawn


def take_picture(
    rng: np.random.Generator, belt: Image, placed: list[Placed], look: Look, rail_px: int = 0, cable: bool = False
) -> tuple[Image, tuple[SeenPart, ...]]:
    """Put the parts on a piece of belt (uint8 HxWx3) and photograph them.

    `rail_px` is the width of a guide rail that hides the upper edge of the frame; `cable` lays a cable across it.
    Returns the picture (uint8 HxWx3 BGR) and what is visible in it, in the order of `placed`; a part of which less than
    a twentieth is visible is left out of the truth. A defect below the norm's limits (LIMIT_*) in the picture as taken
    (light, lens, what lies in front) is mended: neither the picture nor the truth has it.
    """
    cover = _cover(rng, belt.shape[:2], rail_px, cable)
    while True:
        bare, _ = _compose(belt, [replace(item, part=item.part.without(DEFECTS)) for item in placed], look, cover)
        scene, covers = _compose(belt, placed, look, cover)
        difference = np.sqrt(np.mean((scene - bare) ** 2, axis=2))
        masking = _masking(bare, look)
        seen, mended = [], list(placed)
        for number, item in enumerate(placed):
            blocked = cover[1] > 0.5
            for later in covers[number + 1 :]:
                blocked |= later
            part = _look_at(item, covers[number] & ~blocked, blocked, difference, masking)
            shown = () if part is None else tuple(each.kind for each in part.defects)
            below = tuple(each.kind for each in item.part.defects if each.kind not in shown)
            if below:
                mended[number] = replace(item, part=item.part.without(below))
            if part is not None:
                seen.append(part)
        if all(new is old for new, old in zip(mended, placed, strict=True)):
            return _add_noise(rng, scene, look), tuple(seen)
        # Each round mends at least one defect, so there are at most as many rounds as defects.
        placed = mended


# --- belts -----------------------------------------------------------------------------------------------------------


def _smooth_noise(rng: np.random.Generator, height: int, length: int, sigma: float) -> Float:
    """Noise of unit variance that joins end to end along the belt; coarse noise is drawn small and enlarged."""
    step = max(1, int(sigma / 2))
    rows, columns = height // step + 2, length // step
    pad = int(4 * sigma / step) + 1
    noise = rng.standard_normal((rows, columns), dtype=np.float32)
    noise = np.concatenate([noise[:, -pad:], noise, noise[:, :pad]], axis=1)
    noise = cv2.GaussianBlur(noise, (0, 0), max(0.3, sigma / step))
    full = cv2.resize(noise, ((columns + 2 * pad) * step, rows * step), interpolation=cv2.INTER_LINEAR)
    cut = full[:height, pad * step : pad * step + length]
    if cut.shape[1] < length:
        cut = np.pad(cut, ((0, 0), (0, length - cut.shape[1])), mode="edge")
    even: Float = (cut / max(float(cut.std()), 1e-6)).astype(np.float32)
    return even


def _waves(length: int, pitch: float) -> Float:
    """A cosine along the belt with a whole number of periods."""
    count = max(1, round(length / pitch))
    wave: Float = np.cos(np.arange(length, dtype=np.float32) * np.float32(2 * np.pi * count / length))
    return wave


def _weave(rng: np.random.Generator, height: int, length: int) -> Float:
    pitch = float(rng.uniform(4, 9))
    along = _waves(length, pitch)[None, :]
    across = np.cos(np.arange(height, dtype=np.float32) * np.float32(2 * np.pi / pitch))[:, None]
    weave: Float = (along * across if rng.random() < 0.5 else along + across * 0.5).astype(np.float32)
    return weave


def _slats(rng: np.random.Generator, height: int, length: int) -> Float:
    wave = _waves(length, float(rng.uniform(35, 80)))
    groove = -0.45 * np.clip((wave - 0.93) / 0.05, 0, 1) + 0.08 * wave
    return np.repeat(groove[None, :], height, axis=0).astype(np.float32)


def _stripes(rng: np.random.Generator, height: int, length: int) -> Float:
    """Stripes of random direction, pitch and sharpness; a whole number of periods along the belt."""
    pitch = float(rng.uniform(6, 60))
    turn = float(rng.uniform(0, np.pi))
    along = 2 * np.pi * round(length * np.cos(turn) / pitch) / length
    across = 2 * np.pi * np.sin(turn) / pitch
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(across)
    x = np.arange(length, dtype=np.float32)[None, :] * np.float32(along)
    wave = np.tanh((np.cos(x + y) - rng.uniform(-0.8, 0.8)) * rng.uniform(1, 8))
    stripes: Float = (wave * rng.uniform(0.1, 0.6)).astype(np.float32)
    return stripes


def _shapes(rng: np.random.Generator, height: int, length: int) -> Float:
    """Blots, bars and polygons at random places."""
    canvas = np.zeros((height, length), np.float32)
    for _ in range(int(rng.integers(0, 1 + length // 8))):
        tone = float(rng.uniform(-0.7, 0.9))
        size = float(rng.choice([3, 8, 20, 50])) * rng.uniform(0.5, 1.5)
        x, y = float(rng.integers(length)), float(rng.integers(height))
        corners = int(rng.integers(2, 7))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        around = np.stack([np.cos(angles), np.sin(angles)], 1) * size * rng.uniform(0.3, 1.0, (corners, 1))
        for shift in (0, -length if x > length / 2 else length):
            points = (around + np.array([x + shift, y])).astype(np.int32)
            if corners == 2:
                cv2.line(canvas, points[0].tolist(), points[1].tolist(), tone, int(rng.integers(1, 6)), cv2.LINE_AA)
            elif corners == 6:
                cv2.circle(canvas, (int(x + shift), int(y)), int(size / 2) + 1, tone, -1, cv2.LINE_AA)
            else:
                cv2.fillPoly(canvas, [points], tone, cv2.LINE_AA)
    return canvas


def _mesh(rng: np.random.Generator, height: int, length: int) -> Float:
    pitch = float(rng.uniform(14, 24))
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(length, dtype=np.float32)[None, :] * np.float32(pitch * max(1, round(length / pitch)) / length)
    wire = np.maximum(
        np.cos((x + 0.7 * y) * np.float32(2 * np.pi / pitch)), np.cos((x - 0.7 * y) * np.float32(2 * np.pi / pitch))
    )
    return (np.clip((wire - 0.75) / 0.2, 0, 1) * np.float32(1.6)).astype(np.float32)


def _modules(rng: np.random.Generator, height: int, length: int) -> Float:
    pitch_x, pitch_y = float(rng.uniform(24, 40)), float(rng.uniform(24, 40))
    seam_x = np.clip((_waves(length, pitch_x) - 0.9) / 0.08, 0, 1)[None, :]
    phase = np.cos(np.arange(height, dtype=np.float32) * np.float32(2 * np.pi / pitch_y))
    seam_y = np.clip((phase - 0.9) / 0.08, 0, 1)[:, None]
    opening = np.clip((-_waves(length, pitch_x)[None, :] - phase[:, None] - 1.5) / 0.3, 0, 1)
    pattern: Float = (-0.35 * np.maximum(seam_x, seam_y) - 0.6 * opening).astype(np.float32)
    return pattern


def _wear(rng: np.random.Generator, belt: Float) -> None:
    """Rub marks along the belt, smudges and dust: things that are not defects of a part."""
    height, length = belt.shape[:2]
    marks = np.zeros((height, length), np.float32)
    for _ in range(int(rng.integers(0, 1 + length // 80))):
        x, y = int(rng.integers(length)), int(rng.integers(height))
        end = (x + int(rng.integers(-90, 90)), y + int(rng.normal(0, 4)))
        cv2.line(marks, (x, y), end, float(rng.uniform(-0.3, 0.4)), 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 1 + length // 60))):
        centre = (int(rng.integers(length)), int(rng.integers(height)))
        axes = (int(rng.integers(1, 18)), int(rng.integers(1, 12)))
        turn = float(rng.uniform(0, 180))
        cv2.ellipse(marks, centre, axes, turn, 0, 360, float(rng.uniform(-0.3, 0.2)), -1, cv2.LINE_AA)
    belt *= (1 + cv2.GaussianBlur(marks, (0, 0), 1.2))[..., None]


# --- picture ---------------------------------------------------------------------------------------------------------


def _window(item: Placed, shape: tuple[int, ...]) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns of the frame, then of the patch, where the two overlap; None if they do not."""
    size = item.part.alpha.shape[0]
    top, left = item.y - size // 2, item.x - size // 2
    y0, y1 = max(top, 0), min(top + size, shape[0])
    x0, x1 = max(left, 0), min(left + size, shape[1])
    if y0 >= y1 or x0 >= x1:
        return None
    return slice(y0, y1), slice(x0, x1), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)


def _cast_shadow(scene: Float, item: Placed, look: Look) -> None:
    lx, ly, lz = look.light.direction()
    reach = 5.0 / max(lz, 0.35)
    moved = Placed(item.part, item.x - round(lx * reach), item.y - round(ly * reach))
    window = _window(moved, scene.shape)
    if window is None:
        return
    rows, columns, patch_rows, patch_columns = window
    soft = cv2.GaussianBlur(item.part.alpha, (0, 0), 2.5)[patch_rows, patch_columns]
    share = look.light.diffuse * lz / (look.light.ambient + look.light.diffuse * lz)
    scene[rows, columns] *= (1 - soft * np.float32(0.75 * share))[..., None]


def _paste(scene: Float, item: Placed) -> NDArray[np.bool_]:
    """Lay the part on the scene; returns where it is."""
    cover = np.zeros(scene.shape[:2], np.bool_)
    window = _window(item, scene.shape)
    if window is not None:
        rows, columns, patch_rows, patch_columns = window
        alpha = item.part.alpha[patch_rows, patch_columns]
        region = scene[rows, columns]
        region += (item.part.pixels[patch_rows, patch_columns] - region) * alpha[..., None]
        cover[rows, columns] = alpha > 0.5
    return cover


def _cover(rng: np.random.Generator, shape: tuple[int, int], rail_px: int, cable: bool) -> tuple[Float, Float]:
    """What lies in front of the parts: its colour (float32 HxWx3) and coverage (float32 HxW, 0 to 1)."""
    height, width = shape
    colour, alpha = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    if rail_px > 0:
        tone = np.array([(150, 150, 152), (40, 170, 210), (60, 60, 62)][int(rng.integers(3))], np.float32)
        colour[:rail_px] = tone * np.linspace(0.75, 1.1, rail_px, dtype=np.float32)[:, None, None]
        alpha[:rail_px] = 1.0
        alpha[rail_px : rail_px + 4] = 0.4
    if cable:
        canvas = np.zeros((height, width), np.uint8)
        y0, y1 = int(rng.integers(height)), int(rng.integers(height))
        sag = float(rng.uniform(-40, 40))
        x = np.linspace(0, width - 1, 24)
        y = y0 + (y1 - y0) * x / width + sag * np.sin(np.pi * x / width)
        cv2.polylines(canvas, [np.stack([x, y], 1).astype(np.int32)], False, 255, int(rng.integers(7, 12)), cv2.LINE_AA)
        over = canvas.astype(np.float32) / 255
        colour += (np.array((28, 28, 30), np.float32) - colour) * over[..., None]
        alpha = np.maximum(alpha, over)
    return colour, alpha


def _compose(
    belt: Image, placed: list[Placed], look: Look, cover: tuple[Float, Float]
) -> tuple[Float, list[NDArray[np.bool_]]]:
    """The scene behind light and lens (float32 HxWx3, no sensor noise yet) and where each part lies in it."""
    level = look.light.ambient + look.light.diffuse * float(np.sin(look.light.elevation))
    scene = belt.astype(np.float32) * (np.array(look.light.colour, np.float32) * np.float32(level))
    for item in placed:
        _cast_shadow(scene, item, look)
    covers = [_paste(scene, item) for item in placed]
    colour, alpha = cover
    scene += (colour - scene) * alpha[..., None]
    return _through_lens(scene, look), covers


def _masking(bare: Float, look: Look) -> Float:
    """Standard deviation (grey levels, float32 HxW) of sensor noise and of the fine grain of the sound picture."""
    grey = bare.mean(axis=2)
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 3.0))
    # The median ignores the edges of parts; 1.48 makes a standard deviation of it for Gaussian grain.
    small = np.minimum(fine, 255).astype(np.uint8)
    grain = cv2.medianBlur(small, 31).astype(np.float32) * np.float32(1.48)
    noise = np.float32(look.noise) * np.sqrt(np.clip(grey, 8, 255) / np.float32(128))
    masking: Float = np.sqrt(grain * grain + noise * noise)
    return masking


def _look_at(
    item: Placed, visible: NDArray[np.bool_], blocked: NDArray[np.bool_], difference: Float, masking: Float
) -> SeenPart | None:
    shape = visible.shape
    share = float(visible.sum()) / max(float((item.part.alpha > 0.5).sum()), 1.0)
    window = _window(item, shape)
    if window is None or share < 0.05:
        return None
    rows, columns, patch_rows, patch_columns = window
    defects = []
    for defect in item.part.defects:
        mask = np.zeros(shape, np.uint8)
        mask[rows, columns] = defect.mask[patch_rows, patch_columns]
        near = (cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0) & ~blocked
        shown = _without_specks(near & (difference >= LIMIT_LEVELS))
        if shown.sum() < LIMIT_PX:
            continue
        contrast = float(difference[shown].mean())
        if contrast < LIMIT_CONTRAST * float(masking[shown].mean()):
            continue
        extent = shown if defect.kind in THIN else (mask > 0) & ~blocked
        if defect.kind in THIN or extent.sum() >= 0.5 * defect.mask.sum():
            defects.append(SeenDefect(defect.kind, _box(extent, BOX_PAD_PX, MIN_BOX_PX), round(contrast, 1)))
    return SeenPart(item.part.kind, _box(visible, 0, 1), share, tuple(defects))


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without its groups of fewer than SPECK_PX pixels."""
    _, groups, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= SPECK_PX
    large[0] = False
    kept: NDArray[np.bool_] = large[groups]
    return kept


def _box(mask: NDArray[np.bool_], pad: int, shortest: int) -> tuple[int, int, int, int]:
    """Extent of a mask with room around it, at least `shortest` pixels a side, inside the frame."""
    limits = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.any(axis=1 - axis))
        low, high = int(used[0]) - pad, int(used[-1]) + 1 + pad
        lack = max(0, shortest - (high - low))
        low, high = low - lack // 2, high + lack - lack // 2
        limits.append((max(0, low), min(mask.shape[axis], high)))
    (left, right), (top, bottom) = limits
    return left, top, right, bottom


def _through_lens(scene: Float, look: Look) -> Float:
    """Light fall-off, exposure, motion and lens; uses up `scene`."""
    height, width = scene.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    lx, ly, _ = look.light.direction()
    gain = 1 + np.float32(look.falloff) * (x * np.float32(lx) + y * np.float32(ly))
    gain -= np.float32(look.vignette / 2) * (x * x + y * y)
    gain *= np.float32(look.exposure)
    scene *= gain[..., None]
    if look.motion_px > 1:
        scene = cv2.blur(scene, (look.motion_px, 1))
    np.clip(scene, 0, 255, out=scene)
    sharp: Float = cv2.GaussianBlur(scene, (0, 0), max(0.3, look.blur_px))
    return sharp


def _add_noise(rng: np.random.Generator, scene: Float, look: Look) -> Image:
    """Sensor noise that grows with the root of the brightness; uses up `scene`."""
    height, width = scene.shape[:2]
    grain = np.clip(scene, 8, 255)
    grain /= np.float32(128)
    np.sqrt(grain, out=grain)
    grain *= np.float32(look.noise)
    grain *= rng.standard_normal((height, width, 3), dtype=np.float32)
    scene += grain
    np.clip(scene, 0, 255, out=scene)
    return scene.astype(np.uint8)
