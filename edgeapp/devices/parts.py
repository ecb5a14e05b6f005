"""Drawings of industrial parts, sound and defective, with the truth about each: the demo's and the training set's parts.

A part is a signed distance field (shape), a height field (bevel, bend, dents, grooves) and an albedo (metal, stains).
One light shades all three, so a dent is bright on one side and dark on the other, as under a real lamp. Everything is
numpy and OpenCV, and the same seed draws the same part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Point = tuple[float, float]

PART_TYPES = ("washer", "bracket")
DEFECTS = ("scratch", "dent", "stain", "missing_hole", "burr", "crack")
CLASS_NAMES = PART_TYPES + DEFECTS
"""Class names in the order of the detector's class numbers."""

MARGIN_PX = 12
"""Room around the part in its patch, for burrs."""


MEND_PX = 13
"""Side of the square around each pixel of a defect's mask that holds the defect's soft edge too."""

MIN_DEFECT_PX = 36
"""A defect that covers fewer pixels is not one that a person would point at."""


@dataclass(frozen=True)
class Light:
    """One lamp above the belt.

    `azimuth` is in radians in the image plane, `elevation` in radians above it, `ambient` and `diffuse` are the shares
    of scattered and direct light, `colour` is a BGR gain.
    """

    azimuth: float
    elevation: float
    ambient: float
    diffuse: float
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def direction(self) -> tuple[float, float, float]:
        """Unit vector from the part to the lamp: x right, y down, z to the camera."""
        flat = np.cos(self.elevation)
        return (
            float(flat * np.cos(self.azimuth)),
            float(flat * np.sin(self.azimuth)),
            float(np.sin(self.elevation)),
        )


@dataclass(frozen=True)
class Pose:
    """Size and attitude of a part: outer radius in pixels, turn in radians, and how far tilt squeezes one axis."""

    radius_px: float
    turn: float
    squeeze: float = 1.0


@dataclass(frozen=True)
class DrawnDefect:
    """One defect in a patch: its class name, where it is seen (bool HxW) and how far it stands out (grey levels)."""

    kind: str
    mask: NDArray[np.bool_]
    contrast: float


@dataclass(frozen=True)
class DrawnPart:
    """One part drawn alone.

    `pixels` is float32 HxWx3 BGR on a scale of 0 to 255, `alpha` float32 HxW coverage from 0 to 1; the patch is square
    and the part's centre is the patch's centre. `sound_pixels` and `sound_alpha` show the same part without its defects.
    """

    kind: str
    pixels: Float
    alpha: Float
    sound_pixels: Float
    sound_alpha: Float
    defects: tuple[DrawnDefect, ...]

    def without(self, faulty: tuple[str, ...]) -> DrawnPart:
        """The same part with the named kinds of defect mended; the others stay."""
        kept = tuple(each for each in self.defects if each.kind not in faulty)
        if not kept:
            return replace(self, pixels=self.sound_pixels, alpha=self.sound_alpha, defects=())
        mended = np.zeros(self.alpha.shape, np.uint8)
        for each in self.defects:
            if each.kind in faulty:
                mended |= cv2.dilate(each.mask.astype(np.uint8), np.ones((MEND_PX, MEND_PX), np.uint8))
        for each in kept:
            mended[each.mask] = 0
        where = mended.astype(np.bool_)
        pixels = np.where(where[..., None], self.sound_pixels, self.pixels)
        alpha = np.where(where, self.sound_alpha, self.alpha)
        return replace(self, pixels=pixels, alpha=alpha, defects=kept)


@dataclass
class _Surface:
    """The part being built: coordinates in part space, shape, relief and colour, all float32 HxW (albedo HxWx3)."""

    u: Float
    v: Float
    unit_px: float
    sdf: Float
    relief: Float
    albedo: Float
    gloss: float
    marks: list[tuple[str, NDArray[np.bool_]]] = field(default_factory=list)


def draw_part(
    rng: np.random.Generator,
    kind: str,
    defects: tuple[str, ...],
    pose: Pose,
    light: Light,
    min_contrast: float = 12.0,
) -> DrawnPart:
    """Draw one part of `kind` with the named defects.

    A defect that the light hides (mean difference to the sound part under `min_contrast` grey levels) is drawn again,
    elsewhere and stronger, at most three times; what then still does not show is left out of the drawing and of the
    truth, so the truth names only what the picture shows. Raises ValueError on an unknown part type or defect.
    """
    if kind not in PART_TYPES:
        raise ValueError(f"unknown part type {kind!r}: use one of {', '.join(PART_TYPES)}")
    for name in defects:
        if name not in DEFECTS:
            raise ValueError(f"unknown defect {name!r}: use one of {', '.join(DEFECTS)}")
    seed = int(rng.integers(1 << 32))
    clean_pixels, clean_alpha = _shade(_build(seed, kind, (), pose, 1.0, 0), light)
    kept = defects
    strength = 1.0
    for attempt in range(4):
        if not kept:
            break
        surface = _build(seed, kind, kept, pose, strength, attempt)
        pixels, alpha = _shade(surface, light)
        drawn = _measure(surface, pixels, alpha, clean_pixels, clean_alpha)
        faint = {d.kind for d in drawn if d.contrast < min_contrast}
        if not faint and len(drawn) == len(kept):
            return DrawnPart(kind, pixels, alpha, clean_pixels, clean_alpha, drawn)
        strength *= 1.35
        if attempt == 2:
            shown = {d.kind for d in drawn} - faint
            kept = tuple(name for name in kept if name in shown)
    return DrawnPart(kind, clean_pixels, clean_alpha, clean_pixels, clean_alpha, ())


def _measure(
    surface: _Surface, pixels: Float, alpha: Float, clean_pixels: Float, clean_alpha: Float
) -> tuple[DrawnDefect, ...]:
    shown = np.abs(pixels * alpha[..., None] - clean_pixels * clean_alpha[..., None]).mean(axis=2)
    drawn = []
    for kind, mask in surface.marks:
        if mask.sum() >= MIN_DEFECT_PX:
            drawn.append(DrawnDefect(kind, mask, float(shown[mask].mean())))
    return tuple(drawn)


# --- shape -----------------------------------------------------------------------------------------------------------


def _build(seed: int, kind: str, defects: tuple[str, ...], pose: Pose, strength: float, attempt: int) -> _Surface:
    """Build the surface from one seed per aspect, so that a defect never changes the metal it sits on."""
    shape_rng, metal_rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    size = 2 * int(np.ceil(pose.radius_px)) + 2 * MARGIN_PX
    axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    x, y = axis[None, :], axis[:, None]
    cos, sin = np.float32(np.cos(pose.turn)), np.float32(np.sin(pose.turn))
    u: Float = x * cos + y * sin
    v: Float = ((y * cos - x * sin) / np.float32(pose.squeeze)).astype(np.float32)
    hole_rng = np.random.default_rng([seed, 2])
    if kind == "washer":
        surface = _washer(shape_rng, hole_rng, u, v, pose.radius_px, "missing_hole" in defects)
    else:
        surface = _bracket(shape_rng, hole_rng, u, v, pose.radius_px, "missing_hole" in defects)
    for number, name in enumerate(DEFECTS):
        if name in defects and name in _EDGE_DEFECTS:
            _EDGE_DEFECTS[name](np.random.default_rng([seed, 10 + number, attempt]), surface, strength)
    _finish_metal(metal_rng, surface, pose.turn)
    for number, name in enumerate(DEFECTS):
        if name in defects and name in _SURFACE_DEFECTS:
            _SURFACE_DEFECTS[name](np.random.default_rng([seed, 10 + number, attempt]), surface, strength)
    return surface


def _washer(
    rng: np.random.Generator, hole_rng: np.random.Generator, u: Float, v: Float, radius: float, filled: bool
) -> _Surface:
    r = np.sqrt(u * u + v * v)
    hole = radius * rng.uniform(0.36, 0.46)
    sdf = r - np.float32(radius)
    if not filled:
        sdf = np.maximum(sdf, np.float32(hole) - r)
    surface = _Surface(u, v, radius, sdf, np.zeros_like(sdf), np.ones((*sdf.shape, 3), np.float32), 0.0)
    if filled:
        surface.marks.append(("missing_hole", r < hole + 1))
        _pilot_mark(hole_rng, surface, r, hole)
    return surface


def _bracket(
    rng: np.random.Generator, hole_rng: np.random.Generator, u: Float, v: Float, radius: float, filled: bool
) -> _Surface:
    unit = radius / 1.36
    a, b = u / np.float32(unit) + np.float32(0.22), v / np.float32(unit)
    plate = _rounded_box(a, b, 1.0, 0.66 * rng.uniform(0.97, 1.03), 0.14)
    tab = _rounded_box(a - np.float32(1.05), b, 0.48, 0.36 * rng.uniform(0.95, 1.05), 0.12)
    slot = _rounded_box(a - np.float32(0.0), b, 0.34, 0.12, 0.119)
    holes = [((-0.66, -0.36), 0.17), ((-0.66, 0.36), 0.17), ((1.15, 0.0), 0.18)]
    missing = int(hole_rng.integers(len(holes))) if filled else -1
    sdf = np.maximum(np.minimum(plate, tab), -slot)
    marks = []
    for number, ((hole_a, hole_b), hole_r) in enumerate(holes):
        r = np.sqrt((a - np.float32(hole_a)) ** 2 + (b - np.float32(hole_b)) ** 2)
        if number == missing:
            marks.append(("missing_hole", r < hole_r + 1.0 / unit, r * np.float32(unit), hole_r * unit))
        else:
            sdf = np.maximum(sdf, np.float32(hole_r) - r)
    sdf = sdf * np.float32(unit)
    bend = np.tanh((a - np.float32(0.68)) * np.float32(9.0)) * np.float32(0.055 * unit * rng.choice([-1, 1]))
    surface = _Surface(u, v, unit, sdf, bend, np.ones((*sdf.shape, 3), np.float32), 0.0)
    for kind, mask, r_px, hole_px in marks:
        surface.marks.append((kind, mask))
        _pilot_mark(hole_rng, surface, r_px, hole_px)
    return surface


def _rounded_box(a: Float, b: Float, half_a: float, half_b: float, corner: float) -> Float:
    """Signed distance to a rounded rectangle (Quilez, "2D distance functions")."""
    qa = np.abs(a) - np.float32(half_a - corner)
    qb = np.abs(b) - np.float32(half_b - corner)
    outside = np.sqrt(np.maximum(qa, 0) ** 2 + np.maximum(qb, 0) ** 2)
    distance: Float = outside + np.minimum(np.maximum(qa, qb), 0) - np.float32(corner)
    return distance


def _pilot_mark(rng: np.random.Generator, surface: _Surface, r_px: Float, hole_px: float) -> None:
    """The ring a blunt punch leaves where the hole should be; some parts have it, some do not."""
    if rng.random() < 0.6:
        ring = np.exp(-(((r_px - np.float32(hole_px)) / np.float32(1.6)) ** 2))
        surface.relief -= ring * np.float32(rng.uniform(0.3, 1.0))


def _finish_metal(rng: np.random.Generator, surface: _Surface, turn: float) -> None:
    """Bevel, grain and colour: brushed steel, galvanised, brass, black oxide or paint."""
    bevel_px = np.float32(max(2.0, surface.unit_px * rng.uniform(0.03, 0.07)))
    inside = np.clip(-surface.sdf / bevel_px, 0.0, 1.0)
    surface.relief = surface.relief + (1 - (1 - inside) ** 2) * bevel_px * np.float32(rng.uniform(0.35, 0.7))
    name = rng.choice(list(_METALS), p=[0.4, 0.2, 0.15, 0.1, 0.15])
    colour, gloss, grain = _METALS[name]
    if name == "paint":
        colour = tuple((rng.uniform(0.35, 0.75) + rng.uniform(-0.15, 0.15, 3)).tolist())
    tone = np.array(colour, np.float32) * np.float32(rng.uniform(0.88, 1.12))
    size = surface.sdf.shape[0]
    noise = rng.standard_normal((size, size), dtype=np.float32)
    if name == "galvanised":
        texture = cv2.GaussianBlur(noise, (0, 0), 4.0) * 8.0
    elif grain > 0.03:
        streak = cv2.blur(noise, (41, 1)) * 5.0
        turn_deg = -np.degrees(turn) + rng.normal(0, 4)
        matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), float(turn_deg), 1.0)
        texture = cv2.warpAffine(streak, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    else:
        texture = cv2.GaussianBlur(noise, (0, 0), 0.8) * 1.8
    mottle = cv2.resize(rng.standard_normal((7, 7), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    texture = 1 + texture * np.float32(grain) + mottle * np.float32(rng.uniform(0.01, 0.05))
    surface.albedo = surface.albedo * (texture[..., None] * tone)
    surface.gloss = gloss * float(rng.uniform(0.6, 1.2))


_METALS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "steel": ((0.68, 0.67, 0.66), 0.35, 0.07),
    "galvanised": ((0.66, 0.65, 0.62), 0.2, 0.06),
    "brass": ((0.38, 0.62, 0.74), 0.35, 0.05),
    "black_oxide": ((0.30, 0.29, 0.28), 0.25, 0.04),
    "paint": ((0.5, 0.5, 0.5), 0.15, 0.02),
}
"""Colour (BGR reflectance), gloss and grain; paint takes a random colour."""


# --- defects ---------------------------------------------------------------------------------------------------------


def _spot(rng: np.random.Generator, surface: _Surface, depth_px: float) -> tuple[int, int]:
    """A pixel (row, column) at least `depth_px` inside the part, or the deepest one when the part is thinner."""
    inside = np.flatnonzero(surface.sdf < -depth_px)
    if inside.size == 0:
        inside = np.array([int(np.argmin(surface.sdf))])
    row, column = divmod(int(inside[rng.integers(inside.size)]), surface.sdf.shape[1])
    return row, column


def _rim(rng: np.random.Generator, surface: _Surface) -> tuple[int, int, float]:
    """A pixel on the part's edge (row, column) and the angle that points into the part."""
    edge = np.flatnonzero(np.abs(surface.sdf) < 0.8)
    row, column = divmod(int(edge[rng.integers(edge.size)]), surface.sdf.shape[1])
    top, left = max(row - 2, 0), max(column - 2, 0)
    bottom, right = min(row + 2, surface.sdf.shape[0] - 1), min(column + 2, surface.sdf.shape[1] - 1)
    fall_x = float(surface.sdf[row, left] - surface.sdf[row, right])
    fall_y = float(surface.sdf[top, column] - surface.sdf[bottom, column])
    return row, column, float(np.arctan2(fall_y, fall_x))


def _grid(surface: _Surface, row: int, column: int) -> tuple[Float, Float]:
    rows = np.arange(surface.sdf.shape[0], dtype=np.float32)[:, None] - np.float32(row)
    columns = np.arange(surface.sdf.shape[1], dtype=np.float32)[None, :] - np.float32(column)
    return columns, rows


def _walk(
    rng: np.random.Generator, start: Point, heading: float, length: float, step: float, bend: float
) -> list[Point]:
    """A path that turns at random: `bend` is the standard deviation of the turn at each step, in radians."""
    points = [start]
    for _ in range(max(2, int(length / step))):
        heading += float(rng.normal(0, bend))
        x, y = points[-1]
        points.append((x + step * float(np.cos(heading)), y + step * float(np.sin(heading))))
    return points


def _line(surface: _Surface, points: list[Point], width_px: float) -> Float:
    """Coverage (0 to 1) of a polyline with soft edges."""
    canvas = np.zeros(surface.sdf.shape, np.uint8)
    fixed = np.array([[round(x * 16), round(y * 16)] for x, y in points], np.int32)
    cv2.polylines(canvas, [fixed], False, 255, max(1, round(width_px)), cv2.LINE_AA, 4)
    cover: Float = cv2.GaussianBlur(canvas, (0, 0), 0.6).astype(np.float32) * np.float32(1 / 255)
    return cover


def _scratch(rng: np.random.Generator, surface: _Surface, strength: float) -> None:
    row, column = _spot(rng, surface, surface.unit_px * 0.08)
    length = surface.unit_px * rng.uniform(0.35, 0.95)
    heading = rng.uniform(0, 2 * np.pi)
    half = (
        column - length / 2 * np.cos(heading),
        row - length / 2 * np.sin(heading),
    )
    cover = np.zeros_like(surface.sdf)
    for _ in range(int(rng.integers(1, 4))):
        start = (half[0] + rng.normal(0, 3), half[1] + rng.normal(0, 3))
        points = _walk(rng, start, heading + rng.normal(0, 0.06), length * rng.uniform(0.7, 1), 6.0, 0.035)
        cover = np.maximum(cover, _line(surface, points, surface.unit_px * rng.uniform(0.012, 0.028)))
    cover *= (surface.sdf < -1.0).astype(np.float32)
    surface.relief = surface.relief - cover * np.float32(0.9 * strength)
    bright = np.float32(rng.uniform(0.5, 0.9) if rng.random() < 0.7 else -rng.uniform(0.45, 0.65))
    surface.albedo = np.clip(surface.albedo * (1 + cover * bright * strength)[..., None], 0.02, 1.3)
    surface.marks.append(("scratch", cover > 0.25))


def _dent(rng: np.random.Generator, surface: _Surface, strength: float) -> None:
    size = surface.unit_px * rng.uniform(0.09, 0.17)
    row, column = _spot(rng, surface, size * 0.9)
    x, y = _grid(surface, row, column)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    along = (x * np.cos(turn) + y * np.sin(turn)).astype(np.float32)
    across = ((y * np.cos(turn) - x * np.sin(turn)) / flat).astype(np.float32)
    r = np.sqrt(along**2 + across**2) / np.float32(size)
    bowl = np.clip(1 - r * r, 0, None) ** 1.5
    rim = np.exp(-(((r - 1.05) / 0.18) ** 2)) * np.float32(0.12)
    surface.relief = surface.relief + (rim - bowl) * np.float32(size * rng.uniform(0.5, 0.75) * strength)
    surface.albedo = surface.albedo * (1 - 0.12 * bowl)[..., None].astype(np.float32)
    surface.marks.append(("dent", (r < 1.15) & (surface.sdf < 0)))


def _stain(rng: np.random.Generator, surface: _Surface, strength: float) -> None:
    size = surface.unit_px * rng.uniform(0.13, 0.28)
    row, column = _spot(rng, surface, size * 0.35)
    x, y = _grid(surface, row, column)
    coarse = rng.standard_normal((9, 9), dtype=np.float32)
    ragged = cv2.resize(coarse, surface.sdf.shape[::-1], interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.standard_normal(surface.sdf.shape, dtype=np.float32), (0, 0), 2.5) * 2.5
    r = np.sqrt(x * x + y * y) / np.float32(size) + ragged * np.float32(0.22) + fine * np.float32(0.14)
    cover = np.clip((1.0 - r) / 0.25, 0, 1) * (surface.sdf < 0)
    colour = np.array([(0.25, 0.42, 0.62), (0.25, 0.25, 0.25), (0.30, 0.55, 0.45)][int(rng.integers(3))], np.float32)
    depth = np.float32(min(1.0, rng.uniform(0.6, 0.9) * strength))
    surface.albedo = surface.albedo * (1 - cover[..., None] * depth * (1 - colour))
    surface.marks.append(("stain", cover > 0.35))


def _crack(rng: np.random.Generator, surface: _Surface, strength: float) -> None:
    row, column, inward = _rim(rng, surface)
    length = surface.unit_px * rng.uniform(0.3, 0.55)
    width = surface.unit_px * rng.uniform(0.02, 0.032)
    trunk = _walk(rng, (column, row), inward + rng.normal(0, 0.25), length, 4.0, 0.42)
    cover = _line(surface, trunk[: len(trunk) * 2 // 3 + 1], max(2.0, width * 1.4))
    cover = np.maximum(cover, _line(surface, trunk, max(1.0, width * 0.8)))
    if rng.random() < 0.6:
        fork = trunk[len(trunk) // 2]
        branch = _walk(rng, fork, inward + rng.choice([-0.8, 0.8]), length * 0.4, 4.0, 0.4)
        cover = np.maximum(cover, _line(surface, branch, max(1.0, width * 0.7)))
    cover *= (surface.sdf < 0.5).astype(np.float32)
    surface.relief = surface.relief - cover * np.float32(1.2 * strength)
    surface.albedo = surface.albedo * (1 - cover * np.float32(0.86))[..., None]
    surface.marks.append(("crack", cover > 0.3))


def _burr(rng: np.random.Generator, surface: _Surface, strength: float) -> None:
    row, column, _inward = _rim(rng, surface)
    x, y = _grid(surface, row, column)
    length = surface.unit_px * rng.uniform(0.12, 0.24)
    reach = min(MARGIN_PX - 2.0, max(4.0, surface.unit_px * rng.uniform(0.06, 0.11)) * strength)
    window = np.clip(1.2 - (x * x + y * y) / np.float32(length**2), 0, 1)
    teeth = cv2.GaussianBlur(rng.standard_normal(surface.sdf.shape, dtype=np.float32), (0, 0), 1.8) * 4.0
    lift = window * np.clip(0.45 + 0.5 * teeth, 0.0, 1.2) * np.float32(reach)
    before = surface.sdf
    surface.sdf = np.where(before < reach + 1, before - lift, before).astype(np.float32)
    fringe = window * np.clip(1 - np.abs(before - reach * 0.3) / reach, 0, 1) * (surface.sdf < 0)
    surface.relief = surface.relief + fringe * teeth * np.float32(0.9 * strength)
    surface.albedo = surface.albedo * (1 + 0.45 * fringe)[..., None].astype(np.float32)
    grown = (surface.sdf < 0) & (before > 0)
    surface.marks.append(("burr", grown | (fringe > 0.5)))


_Defect = Callable[[np.random.Generator, _Surface, float], None]
_EDGE_DEFECTS: dict[str, _Defect] = {"burr": _burr}
_SURFACE_DEFECTS: dict[str, _Defect] = {"scratch": _scratch, "dent": _dent, "stain": _stain, "crack": _crack}


# --- light -----------------------------------------------------------------------------------------------------------


def _shade(surface: _Surface, light: Light) -> tuple[Float, Float]:
    """Blinn-Phong shading of the relief under one lamp; returns pixels (0 to 255, not clipped) and coverage."""
    slope_x = cv2.Sobel(surface.relief, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(surface.relief, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    lx, ly, lz = light.direction()
    norm = 1 / np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    lit = np.maximum((np.float32(lz) - slope_x * np.float32(lx) - slope_y * np.float32(ly)) * norm, 0)
    half = np.array([lx, ly, lz + 1.0])
    hx, hy, hz = (half / np.linalg.norm(half)).astype(np.float32)
    facing = np.clip((hz - slope_x * hx - slope_y * hy) * norm, 0, 1)
    glint = facing**24 * np.float32(surface.gloss * light.diffuse * 120)
    brightness = np.float32(light.ambient) + lit * np.float32(light.diffuse)
    colour = np.array(light.colour, np.float32)
    pixels = (surface.albedo * (brightness * 255)[..., None] + glint[..., None]) * colour
    alpha = np.clip(0.5 - surface.sdf, 0, 1)
    return pixels.astype(np.float32), alpha.astype(np.float32)
