"""The drawn parts: reproducible, honest about their defects, and never labelled with what nobody can see."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp.devices.line_view import (
    BELTS,
    SHIFTED_BELTS,
    TRAINING_BELT,
    Look,
    Placed,
    draw_belt,
    random_look,
    take_picture,
)
from edgeapp.devices.parts import DEFECTS, PART_TYPES, DrawnPart, Light, Pose, draw_part

LIGHT = Light(azimuth=0.8, elevation=0.9, ambient=0.35, diffuse=0.7)
POSE = Pose(radius_px=60, turn=0.7)


def drawn(kind: str, *defects: str, seed: int = 5, light: Light = LIGHT) -> DrawnPart:
    return draw_part(np.random.default_rng(seed), kind, defects, POSE, light)


def plain_belt() -> NDArray[np.uint8]:
    return np.full((160, 160, 3), 40, np.uint8)


@pytest.mark.parametrize("kind", PART_TYPES)
def test_a_sound_part_has_no_defect_and_is_the_same_again(kind: str) -> None:
    first, second = drawn(kind), drawn(kind)
    assert first.defects == ()
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert not np.array_equal(first.pixels, drawn(kind, seed=6).pixels)


@pytest.mark.parametrize("kind", PART_TYPES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_shows_where_the_truth_says_and_nowhere_else(kind: str, defect: str) -> None:
    sound, bad = drawn(kind), drawn(kind, defect)
    assert [each.kind for each in bad.defects] == [defect]
    mark = bad.defects[0]
    changed = np.abs(bad.pixels * bad.alpha[..., None] - sound.pixels * sound.alpha[..., None]).mean(axis=2)
    assert changed[mark.mask].mean() >= 12
    rows, columns = np.nonzero(mark.mask)
    around = np.zeros_like(mark.mask)
    around[max(rows.min() - 12, 0) : rows.max() + 13, max(columns.min() - 12, 0) : columns.max() + 13] = True
    assert changed[~around].max() < 12


def test_a_defect_that_no_light_shows_is_not_claimed() -> None:
    dark = Light(azimuth=0.0, elevation=1.5, ambient=0.01, diffuse=0.0)
    for seed in range(5):
        assert drawn("washer", "dent", seed=seed, light=dark).defects == ()


def test_unknown_names_are_named() -> None:
    with pytest.raises(ValueError, match="unknown part type 'bolt': use one of washer, bracket"):
        drawn("bolt")
    with pytest.raises(ValueError, match="unknown defect 'rust'"):
        drawn("washer", "rust")
    with pytest.raises(ValueError, match="unknown belt 'sand'"):
        draw_belt(np.random.default_rng(0), "sand", 16, 32)


@pytest.mark.parametrize("kind", [*BELTS, TRAINING_BELT, *SHIFTED_BELTS])
def test_a_belt_has_the_size_asked_for_and_joins_end_to_end(kind: str) -> None:
    belt = draw_belt(np.random.default_rng(3), kind, 96, 512).astype(np.float32)
    assert belt.shape == (96, 512, 3)
    inside = np.abs(np.diff(belt, axis=1)).mean(axis=(0, 2))
    seam = np.abs(belt[:, 0] - belt[:, -1]).mean()
    assert seam <= max(3.0 * float(inside.mean()), float(inside.max()) * 1.2)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_hold_what_is_visible(seed: int) -> None:
    rng = np.random.default_rng(seed)
    part = draw_part(rng, PART_TYPES[seed % 2], (DEFECTS[seed],), POSE, LIGHT)
    picture, (seen,) = take_picture(rng, plain_belt(), [Placed(part, 80, 80)], Look(LIGHT, noise=0.0, blur_px=0.3))
    left, top, right, bottom = seen.box
    assert 0.99 <= seen.visible <= 1.0
    assert picture.shape == (160, 160, 3)
    assert 40 <= right - left <= 150
    assert 40 <= bottom - top <= 150
    for defect in seen.defects:
        inner = defect.box
        assert inner[2] - inner[0] >= 14
        assert inner[3] - inner[1] >= 14
        assert left - 16 <= inner[0] < inner[2] <= right + 16
        assert top - 16 <= inner[1] < inner[3] <= bottom + 16


def test_what_the_rail_hides_is_not_in_the_truth() -> None:
    part = drawn("washer", "missing_hole")
    rng = np.random.default_rng(0)
    _, (seen,) = take_picture(rng, plain_belt(), [Placed(part, 80, 80)], Look(LIGHT), rail_px=100)
    assert seen.defects == ()
    assert seen.box[1] >= 100
    assert seen.visible < 0.5


def test_a_part_outside_the_frame_is_not_in_the_truth() -> None:
    part = drawn("bracket", "scratch")
    rng = np.random.default_rng(0)
    for x in (-60, 160 + 60, 1000):
        assert take_picture(rng, plain_belt(), [Placed(part, x, 80)], Look(LIGHT))[1] == ()


def test_the_shifted_light_is_outside_what_training_sees() -> None:
    rng = np.random.default_rng(0)
    usual = [random_look(rng) for _ in range(200)]
    other = [random_look(rng, shifted=True) for _ in range(200)]
    assert max(look.light.elevation for look in other) < min(look.light.elevation for look in usual)
