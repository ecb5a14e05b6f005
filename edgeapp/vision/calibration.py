"""From pixels to millimetres: one plane, one camera that stays where it is, and a bound on what a length is wrong by.

The map is a homography (a plane seen in perspective), fitted by the normalised direct linear transform (Hartley 1997, "In
defense of the eight-point algorithm"; Hartley and Zisserman, Multiple View Geometry, 2nd ed., algorithm 4.2). It knows no lens
distortion: what a lens bends shows in the error that is stated, which comes from points that the fit did not use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import dist, inf, pi
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import Box, ConfigError

Points = NDArray[np.float64]
"""Shape (n, 2): x and y."""

POINT_PX: Final = 1.0
"""How far a point that a person pointed at may lie from where it is; what is stated where no point is left to prove it."""

_POINT_MM: Final = 1e-12  # a side so short has no direction
_LEFT_OUT_LEAST: Final = 6  # points: with fewer, a fit without one of them has nothing to spare
_DEGENERATE: Final = 1e-6  # of the largest singular value: points that lie on one line give no plane


@dataclass(frozen=True, slots=True)
class Extent:
    """How large the thing in a box can be at most, in mm: nothing that fits into the box is larger."""

    length_mm: float
    """The box's longest diagonal."""

    width_mm: float
    """The box's least width: across it, a thing is no wider."""

    area_mm2: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where a pixel lies on the plane of the parts."""

    matrix: tuple[float, ...]
    """Nine numbers, row by row: (x, y, 1) in pixels to mm, up to a factor."""

    camera: str
    width: int
    height: int
    """Of the pictures it is true of, in pixels."""

    region: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels: where there were points. Outside of it nothing is measured."""

    residual_mm: float
    """Root mean square of what the fit leaves at its own points."""

    error_mm: float
    """A length between two points is wrong by no more: the largest error that was seen on points the fit did not use."""

    utc_ns: int
    how: str
    """In words: what it was made from."""

    def to_mm(self, points: Points) -> Points:
        """Points on the plane in mm, shape (n, 2)."""
        return _mapped(np.array(self.matrix).reshape(3, 3), points)

    def covers(self, box: Box) -> bool:
        """Does the box lie where lengths are known?"""
        left, top, right, bottom = self.region
        return left <= box.left and top <= box.top and box.right <= right and box.bottom <= bottom

    def extent(self, box: Box, edge_px: float = 0.0) -> Extent:
        """What the box can hold at most, when its edges may lie `edge_px` inside of the thing's, and `error_mm` comes on top.

        All three grow with the box: a box within another one never measures more.
        """
        corners = self._corners(box, edge_px)
        longest = max(dist(one, other) for one, other in combinations(corners, 2))
        widest, around, doubled = inf, 0.0, 0.0
        for n, (x, y) in enumerate(corners):
            before = corners[n - 1]
            side = dist(before, (x, y))
            around += side
            doubled += before[0] * y - x * before[1]
            # A convex shape's least width has one of its sides flush (Houle and Toussaint 1988).
            across, down = (before[1] - y) / max(side, _POINT_MM), (x - before[0]) / max(side, _POINT_MM)
            heights = [(u - x) * across + (v - y) * down for u, v in corners]
            widest = min(widest, max(heights) - min(heights))
        error = self.error_mm  # each edge is half of it further out
        return Extent(longest + error, widest + error, abs(doubled) / 2 + around * error / 2 + pi * error**2 / 4)

    def sides_mm(self, box: Box) -> tuple[float, float]:
        """The box's longer and shorter side, as they are measured: the size of a thing that is round or lies straight."""
        top, right, bottom, left = self._sides(box)
        across, down = (top + bottom) / 2, (left + right) / 2
        return max(across, down), min(across, down)

    def px_mm(self, box: Box) -> float:
        """The longest that one pixel is within the box."""
        top, right, bottom, left = self._sides(box)
        width, height = max(box.right - box.left, 1e-9), max(box.bottom - box.top, 1e-9)
        return max(top / width, bottom / width, left / height, right / height)

    def _sides(self, box: Box) -> tuple[float, float, float, float]:
        """Top, right, bottom, left in mm."""
        one, two, three, four = self._corners(box)
        return dist(one, two), dist(two, three), dist(three, four), dist(four, one)

    def _corners(self, box: Box, grown_px: float = 0.0) -> list[tuple[float, float]]:
        """On the plane, around the box. In plain numbers: a verdict waits for it, and arrays of four are slow."""
        left, top = box.left - grown_px, box.top - grown_px
        right, bottom = box.right + grown_px, box.bottom + grown_px
        a, b, c, d, e, f, g, h, i = self.matrix
        found = []
        for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)):
            depth = g * x + h * y + i
            found.append(((a * x + b * y + c) / depth, (d * x + e * y + f) / depth))
        return found


def refusal(
    calibration: Calibration, *, camera: str, width: int = 0, height: int = 0, moved_utc_ns: int | None = None
) -> str:
    """Why the calibration is not true of this camera as it stands now; empty if nothing speaks against it.

    `width` and `height` are those of its pictures, 0 where they are not known yet; `moved_utc_ns` is when it was last seen to have
    moved.
    """
    again = "calibrate it again: edgeapp rules calibrate"
    if calibration.camera != camera:
        return f"the calibration is of the camera {calibration.camera!r}, not of {camera!r}; {again}"
    if (width and width != calibration.width) or (height and height != calibration.height):
        return (
            f"the calibration is of pictures of {calibration.width} x {calibration.height} pixels, "
            f"the camera {camera} gives {width} x {height}; {again}"
        )
    if moved_utc_ns is not None and moved_utc_ns > calibration.utc_ns:
        return f"the camera {camera} (or another of its line) was moved after it had been calibrated; {again}"
    return ""


def by_scale(
    mm_per_px: float, *, camera: str, width: int, height: int, utc_ns: int, error_mm: float | None = None
) -> Calibration:
    """One scale for the whole picture: a camera that looks straight down. Its error is what the operator says, or two points'.

    Raises ConfigError if a number makes no sense.
    """
    if not 0 < mm_per_px < 1_000:
        raise ConfigError(f"{mm_per_px:g} mm per pixel is no scale; give a number above 0")
    error = 2 * POINT_PX * mm_per_px if error_mm is None else error_mm
    if not 0 <= error < float("inf"):
        raise ConfigError(f"an error of {error:g} mm makes no sense; give a number from 0 on")
    how = f"a scale of {mm_per_px:g} mm per pixel, as it was typed"
    matrix = (mm_per_px, 0.0, 0.0, 0.0, mm_per_px, 0.0, 0.0, 0.0, 1.0)
    return Calibration(matrix, camera, width, height, (0, 0, width, height), 0.0, error, utc_ns, how)


def by_points(
    pixels: Points, mm: Points, *, camera: str, width: int, height: int, utc_ns: int, how: str = ""
) -> Calibration:
    """From four or more points whose place on the plane is known. Raises ConfigError if they make no plane.

    With six or more, each point is left out once and looked for by the others; the largest miss, twice (a length has two ends),
    is the error. Fewer leave nothing to prove it with: then a point is believed to within POINT_PX.
    """
    matrix = _fit(pixels, mm)
    missed = _left_out(pixels, mm)
    if missed is None:
        missed = POINT_PX * _px_mm(matrix, pixels)
    how = how or f"{len(pixels)} known points"
    residual = float(np.sqrt(np.mean(np.sum((_mapped(matrix, pixels) - mm) ** 2, axis=1))))
    return Calibration(
        tuple(float(each) for each in matrix.ravel()), camera, width, height, _around(pixels), residual, 2 * missed,
        utc_ns, how,
    )  # fmt: skip


def by_boards(
    boards: Sequence[Points],
    columns: int,
    rows: int,
    square_mm: float,
    *,
    camera: str,
    width: int,
    height: int,
    utc_ns: int,
) -> Calibration:
    """From the inner corners of a chessboard that lay on the plane of the parts, once in each picture, anywhere.

    `boards` holds columns * rows corners each, row by row. The largest board is fitted. Every length between two corners of the others is
    then measured by it: the largest error that is found is the bound, there and in between. Raises ConfigError.
    """
    true = np.array([(column * square_mm, row * square_mm) for row in range(rows) for column in range(columns)])
    if not boards or any(len(each) != len(true) for each in boards):
        raise ConfigError(f"a board of {columns} x {rows} inner corners was not found in every picture")
    sizes = [np.ptp(each[:, 0]) * np.ptp(each[:, 1]) for each in boards]
    base = int(np.argmax(sizes))
    how = f"a board of {columns} x {rows} inner corners, {square_mm:g} mm apart, in {len(boards)} pictures"
    found = by_points(boards[base], true, camera=camera, width=width, height=height, utc_ns=utc_ns, how=how)
    others = [each for number, each in enumerate(boards) if number != base]
    wrong = max((_lengths_wrong(found, each, true) for each in others), default=0.0)
    every = np.concatenate(boards)
    return Calibration(
        found.matrix, camera, width, height, _around(every), found.residual_mm, max(found.error_mm, wrong), utc_ns, how
    )


def _lengths_wrong(found: Calibration, pixels: Points, true: Points) -> float:
    """The largest error of a length between two of these points."""
    measured = found.to_mm(pixels)
    first, second = np.triu_indices(len(true), 1)
    lengths = np.hypot(*(measured[first] - measured[second]).T) - np.hypot(*(true[first] - true[second]).T)
    return float(np.abs(lengths).max())


def _left_out(pixels: Points, mm: Points) -> float | None:
    """By how much a point is missed at most by a fit that did not use it; None if there are too few points."""
    if len(pixels) < _LEFT_OUT_LEAST:
        return None
    missed = 0.0
    for n in range(len(pixels)):
        kept = np.arange(len(pixels)) != n
        there = _mapped(_fit(pixels[kept], mm[kept]), pixels[n : n + 1])
        missed = max(missed, float(np.hypot(*(there - mm[n : n + 1]).T)[0]))
    return missed


def _fit(pixels: Points, mm: Points) -> Points:
    """The homography, 3 x 3, scaled so that its last number is 1. Raises ConfigError."""
    if len(pixels) != len(mm) or len(pixels) < 4:
        raise ConfigError(f"{len(pixels)} points make no plane; give at least four, no three on one line")
    (from_pixels, normal_px), (from_mm, normal_mm) = _normalised(pixels), _normalised(mm)
    rows = []
    for (x, y), (u, v) in zip(from_pixels, from_mm, strict=True):
        rows.append((-x, -y, -1, 0, 0, 0, u * x, u * y, u))
        rows.append((0, 0, 0, -x, -y, -1, v * x, v * y, v))
    _, values, vectors = np.linalg.svd(np.array(rows))
    if values[7] < _DEGENERATE * values[0]:
        raise ConfigError("the known points lie on one line; spread them over the picture")
    matrix = np.linalg.inv(normal_mm) @ vectors[-1].reshape(3, 3) @ normal_px
    if abs(matrix[2, 2]) < _DEGENERATE * np.abs(matrix).max():
        raise ConfigError("the known points make no plane that the camera sees; check which belongs to which")
    whole = matrix / matrix[2, 2]
    depths = np.column_stack((pixels, np.ones(len(pixels)))) @ whole[2]
    if depths.min() <= 0 < depths.max():
        raise ConfigError("the known points make no plane that the camera sees; check which belongs to which")
    return np.asarray(whole)


def _normalised(points: Points) -> tuple[Points, Points]:
    """Points about the origin at a mean distance of the square root of two, and the matrix that takes them there."""
    centre = points.mean(axis=0)
    spread = float(np.hypot(*(points - centre).T).mean())
    if spread <= 0:
        raise ConfigError("the known points are all at one place; spread them over the picture")
    scale = np.sqrt(2) / spread
    return (points - centre) * scale, np.array(
        [(scale, 0, -scale * centre[0]), (0, scale, -scale * centre[1]), (0, 0, 1)]
    )


def _mapped(matrix: Points, points: Points) -> Points:
    there = np.column_stack((points, np.ones(len(points)))) @ matrix.T
    return np.asarray(there[:, :2] / there[:, 2:])


def _px_mm(matrix: Points, pixels: Points) -> float:
    """The longest that one pixel is at any of these points."""
    steps = [np.hypot(*(_mapped(matrix, pixels + step) - _mapped(matrix, pixels)).T).max() for step in ((1, 0), (0, 1))]
    return float(max(steps))


def _around(points: Points) -> tuple[float, float, float, float]:
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
