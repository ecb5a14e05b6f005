"""The QC detector's data set and figures: complete, reproducible, splits apart, decisions counted right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import make_qc_images  # type: ignore[import-not-found]
import measure_qc  # type: ignore[import-not-found]

from edgeapp.devices.parts import CLASS_NAMES


def written(out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    command = ["make_qc_images.py", "--out", str(out), "--train", "4", "--val", "2", "--held-out", "2"]
    monkeypatch.setattr(sys, "argv", command)
    make_qc_images.main()
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != ".yaml"
    }


def test_the_same_command_writes_the_same_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = written(tmp_path / "a", monkeypatch)
    assert files == written(tmp_path / "b", monkeypatch)
    truth = json.loads(files["truth.json"])
    assert truth["classes"] == list(CLASS_NAMES)
    for row in truth["pictures"]:
        picture = cv2.imdecode(np.frombuffer(files[row["image"]], np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (320, 320, 3)
        lines = files[row["image"].replace("images/", "labels/").replace(".jpg", ".txt")].decode().splitlines()
        assert len(lines) == len(row["parts"]) + sum(len(part["defects"]) for part in row["parts"])
        for line in lines:
            number, *box = line.split()
            centre_x, centre_y, width, height = map(float, box)
            assert 0 <= int(number) < len(CLASS_NAMES)
            assert 0 <= centre_x - width / 2 < centre_x + width / 2 <= 1
            assert 0 <= centre_y - height / 2 < centre_y + height / 2 <= 1
    assert (tmp_path / "a" / "qc.yaml").read_text().startswith(f"path: {tmp_path / 'a'}\n")


def test_no_two_splits_share_a_picture_or_a_belt() -> None:
    first = {split: make_qc_images.draw_scene(split, 0, 1)[0] for split in make_qc_images.SPLITS}
    names = list(first)
    for one in names:
        for other in names[names.index(one) + 1 :]:
            assert np.abs(first[one].astype(int) - first[other]).mean() > 2


def test_a_missing_part_fails_safe_and_a_sound_part_passes() -> None:
    parts = [(True, 0.9, 0.6), (True, 0.9, 0.1), (False, 0.9, 0.1), (False, 0.2, 0.0), (False, 0.9, 0.55)]
    assert measure_qc.decide(parts, 0.5) == {
        "recall": 0.5,
        "precision": 0.3333,
        "defective parts": 2,
        "missed": 1,
        "sound parts": 3,
        "sound parts rejected": 2,
    }


def test_the_threshold_is_the_one_that_separates() -> None:
    parts = [(True, 0.9, 0.42), (True, 0.9, 0.8), (False, 0.9, 0.31), (False, 0.9, 0.0)]
    assert measure_qc.choose_threshold(parts) in (0.35, 0.4)
