"""From pixels to millimetres, against cameras whose true place is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeapp.apps.rules import read_calibration
from edgeapp.cli import cli
from edgeapp.core.events import Box, ConfigError
from edgeapp.vision.calibration import Calibration, by_boards, by_points, by_scale, refusal

TRUE = np.array([(0.11, 0.012, -3.0), (-0.004, 0.108, 2.0), (0.00009, 0.00006, 1.0)])
"""A camera that looks at the plane from aside: pixels to mm."""

COLUMNS, ROWS, SQUARE_MM = 7, 5, 6.0
CAMERA = {"camera": "belt", "width": 640, "height": 480, "utc_ns": 1_000}


def to_mm(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    there = np.column_stack((pixels, np.ones(len(pixels)))) @ TRUE.T
    return np.asarray(there[:, :2] / there[:, 2:])


def to_px(mm: NDArray[np.float64]) -> NDArray[np.float64]:
    there = np.column_stack((mm, np.ones(len(mm)))) @ np.linalg.inv(TRUE).T
    return np.asarray(there[:, :2] / there[:, 2:])


def board(x_mm: float, y_mm: float, turn: float = 0.0) -> NDArray[np.float64]:
    """Where the inner corners of a board that lies there are in the picture."""
    at = np.array([(column * SQUARE_MM, row * SQUARE_MM) for row in range(ROWS) for column in range(COLUMNS)])
    cos, sin = np.cos(turn), np.sin(turn)
    return to_px(at @ np.array([(cos, sin), (-sin, cos)]) + (x_mm, y_mm))


GRID = np.array([(x, y) for x in (40.0, 320.0, 600.0) for y in (40.0, 240.0, 440.0)])


def test_exact_points_give_the_true_plane() -> None:
    found = by_points(GRID, to_mm(GRID), **CAMERA)  # type: ignore[arg-type]
    assert np.array(found.matrix).reshape(3, 3) == pytest.approx(TRUE, abs=1e-9)
    assert max(found.residual_mm, found.error_mm) < 1e-9
    assert found.region == (40.0, 40.0, 600.0, 440.0)


def test_four_points_prove_nothing_so_a_pixel_is_allowed_for() -> None:
    corners = GRID[[0, 2, 6, 8]]
    found = by_points(corners, to_mm(corners), **CAMERA)  # type: ignore[arg-type]
    assert found.residual_mm < 1e-9
    assert 0.15 < found.error_mm < 0.3  # two pixels of 0.08 to 0.12 mm


def test_the_stated_error_holds_where_the_points_were_not_exact() -> None:
    """Points that are half a pixel off, 200 times: no length between other points is wrong by more than is stated."""
    rng = np.random.default_rng(5)
    ends = rng.uniform((60, 60), (580, 420), (400, 2))
    true = np.hypot(*(to_mm(ends[:200]) - to_mm(ends[200:])).T)
    for _ in range(200):
        seen = GRID + rng.uniform(-0.5, 0.5, GRID.shape)
        found = by_points(seen, to_mm(GRID), **CAMERA)  # type: ignore[arg-type]
        measured = np.hypot(*(found.to_mm(ends[:200]) - found.to_mm(ends[200:])).T)
        assert np.abs(measured - true).max() <= found.error_mm


BAD_POINTS = [
    (GRID[:3], to_mm(GRID[:3]), "3 points make no plane; give at least four"),
    (GRID[:3].repeat(3, axis=0), to_mm(GRID[:3].repeat(3, axis=0)), "lie on one line"),
    (GRID[[0, 0, 0, 0]], to_mm(GRID[[0, 0, 0, 0]]), "are all at one place"),
    (GRID[[0, 2, 8, 6]], to_mm(GRID[[0, 8, 2, 6]]), "make no plane that the camera sees"),
]


@pytest.mark.parametrize(("pixels", "mm", "said"), BAD_POINTS, ids=[row[2] for row in BAD_POINTS])
def test_points_that_make_no_plane_are_refused(pixels: NDArray[np.float64], mm: NDArray[np.float64], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        by_points(pixels, mm, **CAMERA)  # type: ignore[arg-type]


def test_further_boards_prove_the_fit_and_widen_where_it_holds() -> None:
    boards = [board(5, 5), board(20, 14, 0.3), board(10, 12, -0.2)]
    found = by_boards(boards, COLUMNS, ROWS, SQUARE_MM, **CAMERA)  # type: ignore[arg-type]
    assert found.error_mm < 1e-6
    every = np.concatenate(boards)
    assert found.region == (*every.min(axis=0), *every.max(axis=0))
    bent = [boards[0], boards[1] + 0.004 * (boards[1] - 320) * np.hypot(*(boards[1] - 320).T)[:, None] / 100, boards[2]]
    assert by_boards(bent, COLUMNS, ROWS, SQUARE_MM, **CAMERA).error_mm > 0.05  # type: ignore[arg-type] # a lens that bends shows


@given(st.lists(st.floats(45, 430), min_size=4, max_size=4), st.lists(st.floats(0, 30), min_size=4, max_size=4))
def test_a_box_within_another_never_measures_more(inner: list[float], more: list[float]) -> None:
    scale = by_points(GRID, to_mm(GRID), **CAMERA)  # type: ignore[arg-type]
    left, right = sorted(inner[:2])
    top, bottom = sorted(inner[2:])
    small = scale.extent(Box(left, top, right, bottom, "dent", 1.0))
    large = scale.extent(Box(left - more[0], top - more[1], right + more[2], bottom + more[3], "dent", 1.0))
    for name in ("length_mm", "width_mm", "area_mm2"):
        assert getattr(small, name) <= getattr(large, name) + 1e-9


def test_nothing_that_fits_into_a_box_is_larger_than_its_extent() -> None:
    scale = by_points(GRID, to_mm(GRID), **CAMERA)  # type: ignore[arg-type]
    box = Box(100, 200, 180, 260, "scratch", 1.0)
    extent = scale.extent(box)
    rng = np.random.default_rng(1)
    inside = to_mm(rng.uniform((box.left, box.top), (box.right, box.bottom), (500, 2)))
    apart = inside[:, None] - inside[None]
    assert np.hypot(apart[..., 0], apart[..., 1]).max() <= extent.length_mm
    hull = cv2.convexHull(inside.astype(np.float32))
    assert min(cv2.minAreaRect(hull)[1]) <= extent.width_mm
    assert cv2.contourArea(hull) <= extent.area_mm2


REFUSED = [
    ({"camera": "belt", "width": 640, "height": 480, "moved_utc_ns": 999}, ""),
    ({"camera": "other"}, "is of the camera 'belt', not of 'other'"),
    ({"camera": "belt", "width": 1280, "height": 960}, "is of pictures of 640 x 480 pixels"),
    ({"camera": "belt", "moved_utc_ns": 1_001}, "was moved after it had been calibrated"),
]


@pytest.mark.parametrize(("now", "said"), REFUSED)
def test_a_calibration_is_refused_where_it_is_not_true(now: dict[str, object], said: str) -> None:
    why = refusal(by_scale(0.1, camera="belt", width=640, height=480, utc_ns=1_000), **now)  # type: ignore[arg-type]
    assert said in why if said else not why
    assert not why or why.endswith("edgeapp rules calibrate")


# The command


def drawn(folder: Path, name: str, corners: NDArray[np.float64]) -> Path:
    """A picture of a board whose inner corners are there, drawn in perspective at four times the size."""
    square, margin = 60, 90
    flat = np.full((square * (ROWS + 1) + 2 * margin, square * (COLUMNS + 1) + 2 * margin), 255, np.uint8)
    for row in range(ROWS + 1):
        for column in range(COLUMNS + 1):
            if (row + column) % 2 == 0:
                y, x = margin + row * square, margin + column * square
                flat[y : y + square, x : x + square] = 20
    at = np.array([(column, row) for row in range(ROWS) for column in range(COLUMNS)], np.float64)
    inner = margin + square * (at + 1) - 0.5
    matrix, _ = cv2.findHomography(inner, corners * 4 + 1.5)
    large = cv2.warpPerspective(flat, matrix, (640 * 4, 480 * 4), borderValue=200)
    picture = cv2.resize(large, (640, 480), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(2).normal(0, 3, picture.shape)
    path = folder / name
    cv2.imwrite(str(path), np.clip(picture + noise, 0, 255).astype(np.uint8))
    return path


def told(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["rules", "calibrate", *map(str, arguments)])


def test_pictures_of_a_real_board_calibrate_a_camera(tmp_path: Path) -> None:
    images = [drawn(tmp_path, "a.png", board(3, 6)), drawn(tmp_path, "b.png", board(8, 10, 0.2))]
    out = tmp_path / "belt.json"
    result = told(*images, "--out", out, "--board", f"{COLUMNS}x{ROWS}", "--square-mm", SQUARE_MM, "--camera", "belt")
    assert result.exit_code == 0, result.output
    found, digest = read_calibration(out)
    assert (found.camera, found.width, found.height, len(digest)) == ("belt", 640, 480, 64)
    assert found.error_mm < 0.05
    assert f"a length is wrong by at most {found.error_mm:.4f} mm" in result.output
    ends = np.array([(200.0, 200.0), (300.0, 250.0)])
    true, measured = to_mm(ends), found.to_mm(ends)
    assert np.hypot(*(measured[0] - measured[1])) == pytest.approx(np.hypot(*(true[0] - true[1])), abs=found.error_mm)


def test_points_and_a_scale_calibrate_too(tmp_path: Path) -> None:
    picture = drawn(tmp_path, "a.png", board(5, 5))
    points = tmp_path / "points"
    points.write_text(
        "# x y X Y\n" + "".join(f"{x} {y} {u} {v}\n" for (x, y), (u, v) in zip(GRID, to_mm(GRID), strict=True))
    )
    out = tmp_path / "belt.json"
    assert told(picture, "--out", out, "--points", points).exit_code == 0
    assert read_calibration(out)[0].error_mm == pytest.approx(0, abs=1e-6)
    assert told(picture, "--out", out, "--mm-per-px", 0.1, "--error-mm", 0.05).exit_code == 0
    assert read_calibration(out)[0].matrix == (0.1, 0, 0, 0, 0.1, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png"], "give exactly one of"),
        (["a.png", "--square-mm", "6", "--mm-per-px", "1"], "give exactly one of"),
        (["a.png", "--square-mm", "6", "--board", "20x20"], "no chessboard of 20 x 20 inner corners is seen in"),
        (["a.png", "--square-mm", "6", "--board", "many"], "'many' is no board"),
        (["missing.png", "--mm-per-px", "1"], "cannot read the picture"),
    ],
)
def test_what_cannot_be_calibrated_is_said(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn(tmp_path, "a.png", board(5, 5))
    result = told(*arguments, "--out", "belt.json")
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)


def test_a_changed_calibration_is_none(tmp_path: Path) -> None:
    path = tmp_path / "belt.json"
    good = by_scale(0.1, camera="belt", width=640, height=480, utc_ns=1_000)
    for content in (b"{", msgspec.json.encode(replace(good, matrix=(1.0,)))):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="is no calibration"):
            read_calibration(path)
    with pytest.raises(ConfigError, match="edgeapp rules calibrate makes one"):
        read_calibration(tmp_path / "none")


def test_the_file_holds_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "belt.json"
    good: Calibration = by_points(GRID, to_mm(GRID), **CAMERA)  # type: ignore[arg-type]
    path.write_bytes(msgspec.json.encode(good))
    assert read_calibration(path)[0] == good
