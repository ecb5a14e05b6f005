"""What can be measured of one picture in about a millisecond, and what of it against a reference. Pure functions of arrays.

Pictures are uint8 BGR, shape (height, width, 3), at least GRID pixels a side. Large pictures are read in steps, so the cost
does not grow with their size; sharpness and noise are read at full resolution in fewer rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Float = NDArray[np.float32]

GRID: Final = 40
"""A picture is divided into so many blocks a side; 8 px each at 320 px."""

_SIDE_PX: Final = 320  # a picture is read in steps that leave about so many pixels of its shorter side
_STRIPS: Final = 8  # a burst of noise in an eighth of the picture is still seen
_EDGES: Final = 150  # the strongest edges in each direction: what sharpness is read from
_EDGE_LEVELS: Final = 16.0  # a weaker edge says nothing about focus
_REACH_PX: Final = 8  # an edge wider than this is not told from a slope
_BAND_BLOCKS: Final = 13  # the longest band that shows is about a third of the picture
_RING_BLOCKS: Final = (5, 7)  # inner and outer side of the ring that a spot is compared with
_EVEN: Final = 0.2  # a ring that varies by less is as good as even
_SPOT_MOST: Final = 0.8  # the hole of a part stands out more, and does so by chance
_DARK_LEVELS: Final = 2.0  # added before a ratio is taken, so that black does not divide by nothing


@dataclass(frozen=True, slots=True)
class Measures:
    """One picture by itself."""

    blocks: Float
    """Mean of each block, shape (GRID, GRID, 3), in grey levels."""

    noise: float
    """Standard deviation of fine noise in grey levels, in the noisiest of eight strips."""

    empty_rows: float
    """Rows without any difference between neighbours, or equal to the row above, as a share."""

    same_colours: tuple[float, float]
    """Share of pixels whose blue equals their green, and whose green equals their red."""


def measure(pixels: Pixels) -> Measures:
    """Everything that one picture says by itself."""
    step = _step(pixels)
    view = pixels if step == 1 else np.ascontiguousarray(pixels[::step, ::step])
    blue, green, red = np.ascontiguousarray(view[::2, ::2].transpose(2, 0, 1))
    return Measures(
        blocks=block_means(view),
        noise=_noise(pixels[:, :, 1], step),
        empty_rows=float(_empty_rows(view).mean()),
        same_colours=(float((blue == green).mean()), float((green == red).mean())),
    )


def _step(pixels: Pixels) -> int:
    return max(1, int(min(pixels.shape[:2])) // _SIDE_PX)


def block_means(view: Pixels) -> Float:
    """Mean of each of GRID x GRID blocks, shape (GRID, GRID, 3); what does not divide is left out at the lower right."""
    rows, columns = view.shape[0] // GRID, view.shape[1] // GRID
    cut = np.ascontiguousarray(view[: rows * GRID, : columns * GRID])
    lines = cut.reshape(GRID, rows, columns * GRID * 3)[:, ::2]  # every second row is enough for a mean
    sums = lines.sum(axis=1, dtype=np.uint32).reshape(GRID, GRID, columns, 3).sum(axis=2)
    means: Float = sums.astype(np.float32) / np.float32(lines.shape[1] * columns)
    return means


def _noise(green: Pixels, step: int) -> float:
    """Deviation of the noise in grey levels.

    J. Immerkaer, "Fast noise variance estimation" (1996): a mask that is blind to flat and sloping ground; its median instead
    of its mean, so that edges do not count.
    """
    groups = green[: green.shape[0] // 8 * 8].reshape(-1, 8, green.shape[1])[::step, :4]
    values = groups[:, :, : 2 * _SIDE_PX].astype(np.int16)
    across = values[:, :, :-2] - 2 * values[:, :, 1:-1] + values[:, :, 2:]
    both = np.abs(across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:])
    per_strip = both.shape[0] // _STRIPS
    strips = both[: per_strip * _STRIPS].reshape(_STRIPS, -1)[:, ::2]
    middle = strips.shape[1] // 2
    return float(np.partition(strips, middle, axis=1)[:, middle].max()) / (6 * 0.6745)


def sharpness(ways: tuple[Sequence[Pixels], Sequence[Pixels]]) -> float:
    """The steepest pixel of an edge over its whole step, median of the strongest edges of the lines (green, (..., length)).

    `ways` are the rows and the columns of the picture, each along the last axis with every pixel of it.

    Motion along the belt smears one direction only, so the better of both counts. NaN if there are no edges. After
    P. Marziliano et al., "A no-reference perceptual blur metric" (2002), which measures the width of edges.
    """
    return max(map(_edges, ways), key=lambda each: -1.0 if np.isnan(each) else each)


def both_ways(patches: Sequence[Pixels]) -> tuple[Sequence[Pixels], Sequence[Pixels]]:
    """All rows and columns of patches of the green, (..., H, W), for `sharpness`."""
    return patches, [patch.swapaxes(-1, -2) for patch in patches]


def whole_picture(pixels: Pixels) -> tuple[Sequence[Pixels], Sequence[Pixels]]:
    """Every eighth row and column of the green, for `sharpness`: fewer of a large picture."""
    step = 8 * _step(pixels)
    return [pixels[::step, :, 1]], [np.ascontiguousarray(pixels[:, ::step, 1].T)]


def _edges(patches: Sequence[Pixels]) -> float:
    wholes, tops = [], []
    for patch in patches:
        if patch.shape[-1] <= _REACH_PX:
            continue
        values = patch.astype(np.int16)
        slope = np.abs(values[..., 1:] - values[..., :-1])
        steepest = np.maximum(slope[..., :-1], slope[..., 1:])
        steepest = np.maximum(steepest[..., :-2], steepest[..., 2:])
        tops.append(np.maximum(steepest[..., :-4], steepest[..., 4:]).ravel())
        wholes.append(np.abs(values[..., _REACH_PX:] - values[..., :-_REACH_PX]).ravel())
    whole, steepest = np.concatenate(wholes), np.concatenate(tops)
    count = max(8, min(_EDGES, whole.size // 40))
    strongest = np.argpartition(whole, -count)[-count:]
    step = whole[strongest]
    if float(np.median(step)) < _EDGE_LEVELS:
        return float("nan")
    return float(np.median(steepest[strongest] / np.maximum(step, 1)))


def _empty_rows(view: Pixels) -> NDArray[np.bool_]:
    """Which rows say nothing: filled with one value, or a copy of the row above, as decoders do with what did not come."""
    lines = view.reshape(view.shape[0], -1)
    constant = (lines[:, 3:] == lines[:, :-3]).all(axis=1)
    bytes_ = np.ascontiguousarray(lines[:, : lines.shape[1] // 8 * 8]).view(np.uint64)
    constant[1:] |= (bytes_[1:] == bytes_[:-1]).all(axis=1)
    same: NDArray[np.bool_] = constant
    return same


def same_rows(pixels: Pixels, before: Pixels) -> float:
    """The share of rows that are, byte for byte, the same as in the picture before and not of one value."""
    if pixels.shape != before.shape:
        return 0.0
    lines, old = (each.reshape(each.shape[0], -1) for each in (pixels, before))
    whole = lines.shape[1] // 8 * 8
    same = (lines[:, :whole].view(np.uint64) == old[:, :whole].view(np.uint64)).all(axis=1)
    if not same.any():
        return 0.0
    told = lines[same]
    return float((told.max(axis=1) - told.min(axis=1) > 8).sum()) / len(lines)


def ratio(blocks: Float, reference: Float) -> Float:
    """Natural logarithm of how much brighter each block is than the reference's, per channel."""
    logs: Float = np.log((blocks + np.float32(_DARK_LEVELS)) / (reference + np.float32(_DARK_LEVELS)))
    return logs


def banding(off: Float) -> float:
    """How strongly brightness swings from row to row: root mean square over the rows of blocks.

    `off` is the logarithm of the ratio to the reference, shape (GRID, GRID). Of each block what its column's moving mean
    leaves is taken; a row counts by what at least 70 of 100 columns agree on: an edge of a part is in few columns, a band is
    in all.
    """
    swing = np.sort(off - box_mean(off, _BAND_BLOCKS, 0), axis=1)
    low, high = swing[:, round(0.3 * GRID)], swing[:, round(0.7 * GRID) - 1]
    agreed = np.where(low * high > 0, np.minimum(np.abs(low), np.abs(high)), 0)
    return float(np.sqrt(np.mean(agreed * agreed)))


def stands_out(blocks: Float) -> tuple[Float, Float]:
    """How much each block stands out of the ring of blocks around it, as a logarithm, and how much that is worth (0 to 625).

    It is worth most where the ring is even: all belt, or all part. `blocks` has shape (GRID, GRID), one channel.
    """
    logs = np.log(blocks + np.float32(_DARK_LEVELS))
    inner_side, outer_side = _RING_BLOCKS
    ring_blocks = np.float32(outer_side**2 - inner_side**2)
    mean, square = (
        (_square_sum(each, outer_side) - _square_sum(each, inner_side)) / ring_blocks for each in (logs, logs * logs)
    )
    uneven = np.maximum(square - mean * mean, 0)
    spot = np.clip(_square_sum(logs, 3) / np.float32(9) - mean, -_SPOT_MOST, _SPOT_MOST)
    return spot.astype(np.float32), (1 / (np.float32(_EVEN**2) + uneven) ** 2).astype(np.float32)


def _square_sum(values: Float, side: int) -> Float:
    return box_mean(box_mean(values, side, 0), side, 1) * np.float32(side * side)


def box_mean(values: Float, width: int, axis: int) -> Float:
    """Moving mean over `width` (odd) of the GRID values along an axis; the edges are repeated."""
    at = np.arange(-(width // 2) - 1, GRID + width // 2).clip(0, GRID - 1)
    sums = values.take(at, axis=axis).cumsum(axis=axis, dtype=np.float32)
    ahead, behind = (sums[width:], sums[:-width]) if axis == 0 else (sums[:, width:], sums[:, :-width])
    means: Float = (ahead - behind) / np.float32(width)
    return means


def found_at(regions: Float, templates: Float) -> list[tuple[float, float, float]]:
    """Where in each region its template is: rows down, columns right (fractions of a pixel), and the correlation there.

    Zero-mean normalised cross-correlation at every place (J. P. Lewis, "Fast normalized cross-correlation", 1995), the
    peak refined by a parabola. Both float32, shapes (n, H, W) and (n, h, w), h <= H, w <= W.
    """
    places = np.lib.stride_tricks.sliding_window_view(regions, templates.shape[1:], axis=(1, 2))
    count, down, right = places.shape[:3]
    # A quarter of the pixels finds the same place; about 0, so that sums of squares lose nothing in float32.
    flat = places[:, :, :, ::2, ::2].reshape(count, down * right, -1) - regions.mean(axis=(1, 2))[:, None, None]
    patterns = templates[:, ::2, ::2].reshape(count, -1, 1)
    patterns = patterns - patterns.mean(axis=1, keepdims=True)
    sums, size = flat.sum(axis=2), np.float32(patterns.shape[1])
    energy = np.maximum(np.einsum("npk,npk->np", flat, flat) - sums * sums / size, 0)
    norms = np.sqrt(energy * (patterns * patterns).sum(axis=1))
    scores = ((flat @ patterns)[..., 0] / np.maximum(norms, np.float32(1))).reshape(count, down, right)
    found = []
    for each in scores:
        row, column = divmod(int(each.argmax()), right)
        top = float(each[row, column])
        found.append((row + _peak(each[:, column], row), column + _peak(each[row], column), top))
    return found


def _peak(scores: Float, at: int) -> float:
    """How far beside `at` the parabola through it and its neighbours has its top."""
    if not 0 < at < len(scores) - 1:
        return 0.0
    left, top, right = (float(each) for each in scores[at - 1 : at + 2])
    bend = left - 2 * top + right
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, 0.5 * (left - right) / bend))
