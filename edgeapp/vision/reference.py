"""How a camera's pictures look when all is well: learned from good frames at set-up, kept as a small file.

Medians and median deviations (scaled to a standard deviation), so that a few odd frames among the good ones do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np

from edgeapp.core.events import CameraFrame, ConfigError
from edgeapp.vision.measures import (
    GRID,
    Float,
    Measures,
    Pixels,
    banding,
    both_ways,
    found_at,
    measure,
    ratio,
    sharpness,
    stands_out,
    whole_picture,
)

FRAMES_MIN: Final = 24
FRAMES_MAX: Final = 512
"""Bounds the memory of learning: 12 kB of blocks a frame."""

SEARCH_PX: Final = 8
"""How far a fiducial mark is looked for from its place, in each direction."""

_VERSION: Final = 1
_MARK_SEEN: Final = 0.6  # the least correlation at which a mark counts as found
_LEVEL_FLOOR: Final = 1.5  # grey levels that a block may stray even if it never did at set-up
_ARRAYS: Final = ("blocks", "sigma", "spot", "spot_sigma")
_CLIPPED_LEVELS: Final = 245.0  # a block of such a mean is at its end in most of its pixels
_CLIPPED_MAX: Final = 0.3  # of the blocks
_DRAWS: Final = 40
_DRAWN_FRAMES: Final = 16
_TO_SIGMA: Final = 1.4826  # a median deviation as a standard deviation, for Gaussian errors


@dataclass(frozen=True, slots=True)
class Mark:
    """A fiducial: something of good contrast that is fixed to the line, and where to look for it."""

    left: int
    top: int
    """Of the region, in pixels."""

    template: Float
    """The mark, SEARCH_PX smaller on each side than the region in which it is looked for."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a number lay among the good frames."""

    middle: float
    sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What good frames of one camera have in common."""

    height: int
    width: int
    blocks: Float
    """Median of each block's mean, shape (GRID, GRID, 3)."""

    sigma: Float
    """Robust standard deviation of each block's green, shape (GRID, GRID), in grey levels."""

    steady: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    """The half of the blocks that vary least from part to part, shape (GRID, GRID): what light is read from."""

    spot: Float
    """How much each block stands out of its surroundings, the weighted mean of all frames, shape (GRID, GRID)."""

    spot_sigma: Float
    """The standard deviation of such a mean times the root of its frames, by bootstrap."""

    frames: int
    """How many were learned from."""

    marks: tuple[Mark, ...]
    spreads: Mapping[str, Spread]
    """By the name of the measure, see `relative`."""


def learn(frames: Sequence[CameraFrame], marks: Sequence[tuple[float, float, float, float]] = ()) -> Reference:
    """Learn from at least FRAMES_MIN good frames of a moving line; `marks` are regions (left, top, right, bottom) in shares.

    Raises ConfigError if the frames do not do: too few, of different sizes, overexposed, or a region
    without a mark.
    """
    if len(frames) < FRAMES_MIN:
        raise ConfigError(f"the reference needs {FRAMES_MIN} good frames or more, not {len(frames)}")
    pictures = [frame.pixels for frame in frames[:FRAMES_MAX]]
    shapes = {each.shape for each in pictures}
    height, width = pictures[0].shape[:2]
    if len(shapes) > 1 or pictures[0].ndim != 3 or min(height, width) < 2 * GRID:
        raise ConfigError(
            f"the good frames must be BGR pictures of one size, {2 * GRID} px or more a side, not {shapes}"
        )
    measured = [measure(each) for each in pictures]
    stack = np.stack([each.blocks for each in measured])
    blocks = np.median(stack, axis=0)
    clipped = float((blocks.max(axis=2) >= _CLIPPED_LEVELS).mean())
    if clipped > _CLIPPED_MAX:
        raise ConfigError(
            f"{clipped:.0%} of the picture is at the end of its range, where nothing can be seen: lower the camera's exposure "
            "or the light, then learn again"
        )
    sigma = np.maximum(np.median(np.abs(stack - blocks)[..., 1], axis=0) * _TO_SIGMA, _LEVEL_FLOOR)
    stray = sigma / (blocks[..., 1] + 8)
    found = tuple(_mark(pictures, each, height, width) for each in marks)
    steady = stray <= np.median(stray)
    spot, spot_sigma = _spots(stack[..., 1])
    bare = Reference(height, width, blocks, sigma, steady, spot, spot_sigma, len(pictures), found, {})
    rows = [relative(one, picture, bare) for one, picture in zip(measured, pictures, strict=True)]
    spreads = {name: _spread([row[name] for row in rows]) for name in rows[0]}
    spreads["still"] = _spread([stillness(one, other) for one, other in pairwise(stack)])
    return replace(bare, spreads=spreads)


def _spots(stack: Float) -> tuple[Float, Float]:
    """Weighted mean of how much each block stands out, and its deviation (B. Efron, "Bootstrap methods", 1979)."""
    told = [stands_out(each) for each in stack]
    spots, weights = np.stack([each[0] for each in told]), np.stack([each[1] for each in told])
    rng = np.random.default_rng(1)  # the same frames make the same reference
    means = []
    for _ in range(_DRAWS):
        drawn = rng.integers(0, len(stack), _DRAWN_FRAMES)
        means.append((spots[drawn] * weights[drawn]).sum(axis=0) / weights[drawn].sum(axis=0))
    spot: Float = (spots * weights).sum(axis=0) / weights.sum(axis=0)
    return spot, (np.stack(means).std(axis=0) * _DRAWN_FRAMES**0.5).astype(np.float32)


def relative(seen: Measures, pixels: Pixels, reference: Reference) -> dict[str, float]:
    """What is compared with how it was at set-up, by name."""
    logs = ratio(seen.blocks, reference.blocks)
    steady = reference.steady
    green = logs[..., 1]
    light = float(np.median(green[steady]))
    away = np.abs(seen.blocks[..., 1] - reference.blocks[..., 1] * np.float32(np.exp(light)))
    groups = _regions(pixels, reference.marks)
    lines = both_ways([regions for regions, _ in groups]) if groups else whole_picture(pixels)
    found = {
        "light": light,
        "blue": float(np.median((logs[..., 0] - green)[steady])),
        "red": float(np.median((logs[..., 2] - green)[steady])),
        "strange": float((away > 6 * reference.sigma + 10)[steady].mean()),
        "banding": banding(green),
        "noise": seen.noise,
        "sharpness": sharpness(lines),
        "empty_rows": seen.empty_rows,
        "blue_is_green": seen.same_colours[0],
        "green_is_red": seen.same_colours[1],
        "clipped": float((seen.blocks.max(axis=2)[steady] >= _CLIPPED_LEVELS).mean()),
    }
    places = [each for regions, templates in groups for each in found_at(regions.astype(np.float32), templates)]
    for number, (down, right, score) in enumerate(places):
        found |= {f"mark{number}_down": down, f"mark{number}_right": right, f"mark{number}_score": score}
    return found


def _regions(pixels: Pixels, marks: Sequence[Mark]) -> list[tuple[Pixels, Float]]:
    """The green around the marks and their templates, in their order: neighbours of one size together."""
    groups = []
    for _, group in groupby(marks, key=lambda mark: mark.template.shape):
        same = list(group)
        height, width = (side + 2 * SEARCH_PX for side in same[0].template.shape)
        cuts = [pixels[mark.top : mark.top + height, mark.left : mark.left + width, 1] for mark in same]
        groups.append((np.stack(cuts), np.stack([mark.template for mark in same])))
    return groups


def stillness(blocks: Float, before: Float) -> float:
    """Mean absolute difference of two pictures in means of 2 x 2 blocks, in grey levels: noise hardly shows in it."""
    return float(np.abs(_coarse(blocks[..., 1] - before[..., 1])).mean())


def to_see(blocks: Float, steady: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    """How much a picture would differ from itself had everything moved a seventh of it, across or down: the lesser, in grey levels.

    Read where pictures usually differ, not in the `steady` blocks, as `stillness` is.
    """
    coarse, loose = _coarse(blocks[..., 1]), ~(_coarse(steady.astype(np.float32)) == 1)
    far = GRID // 2 // 7 + 1
    found = []
    for values, told in ((coarse, loose), (coarse.T, loose.T)):
        both = told[far:] & told[:-far]
        found.append(float(np.abs(values[far:] - values[:-far])[both].mean()) if both.any() else 0.0)
    return min(found)


def _coarse(values: Float) -> Float:
    means: Float = values.reshape(GRID // 2, 2, GRID // 2, 2).mean(axis=(1, 3))
    return means


def _mark(pictures: Sequence[Pixels], region: tuple[float, float, float, float], height: int, width: int) -> Mark:
    left, right = (round(region[side] * width) for side in (0, 2))
    top, bottom = (round(region[side] * height) for side in (1, 3))
    if min(right - left, bottom - top) < 2 * SEARCH_PX + 8 or min(left, top) < 0 or right > width or bottom > height:
        raise ConfigError(
            f"a mark's region must lie in the picture and be {2 * SEARCH_PX + 8} px or more a side, not "
            f"{right - left} x {bottom - top}"
        )
    inner = slice(top + SEARCH_PX, bottom - SEARCH_PX), slice(left + SEARCH_PX, right - SEARCH_PX)
    template = np.median(np.stack([each[inner][..., 1] for each in pictures]), axis=0).astype(np.float32)
    mark = Mark(left, top, template)
    regions = np.stack([each[top:bottom, left:right, 1] for each in pictures]).astype(np.float32)
    places = found_at(regions, np.repeat(template[None], len(pictures), axis=0))
    seen = sum(
        score >= _MARK_SEEN and max(abs(down - SEARCH_PX), abs(across - SEARCH_PX)) < 1
        for down, across, score in places
    )
    if seen < 0.9 * len(pictures):
        raise ConfigError(f"no mark stays at {region}: it was found there in {seen} of {len(pictures)} good frames")
    return mark


def _spread(values: Sequence[float]) -> Spread:
    told = np.array([value for value in values if not np.isnan(value)])
    if not len(told):
        return Spread(float("nan"), 0.0)
    middle = float(np.median(told))
    return Spread(middle, float(np.median(np.abs(told - middle))) * _TO_SIGMA)


def save(reference: Reference, path: Path) -> None:
    """Write the reference as one .npz file of some 30 kB. Raises ConfigError if that fails."""
    names = sorted(reference.spreads)
    arrays = {
        "head": np.array([_VERSION, reference.height, reference.width, reference.frames]),
        "blocks": reference.blocks.astype(np.float16),
        "sigma": reference.sigma.astype(np.float16),
        "steady": reference.steady,
        "spot": reference.spot.astype(np.float16),
        "spot_sigma": reference.spot_sigma.astype(np.float16),
        "names": np.array(names),
        "spreads": np.array([(reference.spreads[name].middle, reference.spreads[name].sigma) for name in names]),
        "places": np.array([(mark.left, mark.top) for mark in reference.marks]).reshape(-1, 2),
    } | {f"mark{number}": mark.template for number, mark in enumerate(reference.marks)}
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise ConfigError(f"cannot write the camera's reference {path}: {error.strerror}") from error


def load(path: Path) -> Reference:
    """Read what `save` wrote. Raises ConfigError."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            version, height, width, frames = (int(each) for each in file["head"])
            if version != _VERSION:
                raise ConfigError(f"the camera's reference {path} is of another version: learn it again")
            spreads = {
                str(name): Spread(float(middle), float(sigma))
                for name, (middle, sigma) in zip(file["names"], file["spreads"], strict=True)
            }
            marks = tuple(Mark(int(x), int(y), file[f"mark{n}"]) for n, (x, y) in enumerate(file["places"]))
            blocks, sigma, spot, spot_sigma = (file[name].astype(np.float32) for name in _ARRAYS)
            steady = file["steady"]
            return Reference(height, width, blocks, sigma, steady, spot, spot_sigma, frames, marks, spreads)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ConfigError(f"cannot read the camera's reference {path}: {error}") from error
