"""The QC detector's data set and figures: complete, reproducible, splits apart, decisions counted right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import make_qc_images  # type: ignore[import-not-found]
import qc_metrics  # type: ignore[import-not-found]

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
            assert -1e-6 <= centre_x - width / 2 < centre_x + width / 2 <= 1 + 1e-6
            assert -1e-6 <= centre_y - height / 2 < centre_y + height / 2 <= 1 + 1e-6
    assert (tmp_path / "a" / "qc.yaml").read_text().startswith(f"path: {tmp_path / 'a'}\n")


def test_no_two_splits_share_a_picture_or_a_belt() -> None:
    first = {split: make_qc_images.draw_scene(split, 0, 1)[0] for split in make_qc_images.SPLITS}
    names = list(first)
    for one in names:
        for other in names[names.index(one) + 1 :]:
            assert np.abs(first[one].astype(int) - first[other]).mean() > 2


def test_a_started_data_set_goes_on_and_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path / "a", monkeypatch)
    written(tmp_path / "b", monkeypatch)
    lost = tmp_path / "b" / "truth" / "train" / "000002.json"
    lost.unlink()
    (tmp_path / "b" / "images" / "train" / "train-000002.jpg").write_bytes(b"cut")
    assert written(tmp_path / "b", monkeypatch) == whole
    monkeypatch.setattr(sys, "argv", ["make_qc_images.py", "--out", str(tmp_path / "b"), "--seed", "5"])
    with pytest.raises(SystemExit, match="was begun with --seed 1"):
        make_qc_images.main()


def part(defective: bool, score: float = 0.9, **defects: float) -> Any:
    return qc_metrics.Part(defective, score, defects)


def test_a_missing_part_fails_safe_and_a_sound_part_passes() -> None:
    parts = [
        part(True, dent=0.6),
        part(True, dent=0.1),
        part(False, dent=0.1),
        part(False, 0.2),
        part(False, dent=0.55),
    ]
    assert qc_metrics.decide(parts, {"dent": 0.5}) == {
        "recall": 0.5,
        "precision": 0.3333,
        "defective parts": 2,
        "missed": 1,
        "sound parts": 3,
        "sound parts rejected": 2,
    }


def test_a_share_of_few_parts_is_known_roughly_only() -> None:
    assert qc_metrics.interval(0.5, 0) == (0.0, 1.0)
    assert qc_metrics.interval(0.9, 10) == (pytest.approx(0.5958, abs=1e-3), pytest.approx(0.9821, abs=1e-3))
    surely = qc_metrics.decide_surely([part(True, dent=0.6), part(True, dent=0.6), part(False)], {"dent": 0.5})
    assert (surely["recall"], surely["recall at most"]) == (1.0, 1.0)
    assert surely["recall at least"] == pytest.approx(2 / (2 + 1.96**2), abs=1e-3)


def test_scores_are_chosen_on_halves_and_tried_on_the_others() -> None:
    parts = [part(bool(n % 2), dent=0.2 + 0.3 * (n % 2) + 0.001 * (n % 50)) for n in range(200)]
    least, expected = qc_metrics.choose_steadily(parts, ("dent",))
    assert 0.25 < least["dent"] <= 0.5
    assert expected == {"recall": pytest.approx(1, abs=0.03), "precision": pytest.approx(1, abs=0.03)}


def test_each_class_gets_the_least_score_that_separates() -> None:
    parts = [part(True, dent=0.42), part(True, burr=0.1), part(False, dent=0.31, burr=0.06), part(False)]
    least = qc_metrics.choose(parts, ("dent", "burr"))
    assert 0.31 < least["dent"] <= 0.42
    assert 0.06 < least["burr"] <= 0.1


def seen(boxes: list[tuple[int, ...]], scores: list[float], truth: list[tuple[int, ...]]) -> Any:
    """Boxes and labels of class 0."""
    return qc_metrics.Seen(
        np.array(boxes, float).reshape(-1, 4),
        np.array(scores),
        np.zeros(len(boxes), np.intp),
        np.array(truth, float).reshape(-1, 4),
        np.zeros(len(truth), np.intp),
    )


def test_mean_precision_of_cases_worked_by_hand() -> None:
    box, other = (0, 0, 10, 10), (50, 50, 60, 60)
    perfect = qc_metrics.mean_precision([seen([box], [0.9], [box])], ["dent"])
    assert (perfect["mAP50"], perfect["mAP50-95"]) == (pytest.approx(0.995, abs=0.006),) * 2
    # Half of the labels are found, and first a wrong box: precision 0.5 up to recall 0.5, then nothing.
    half = qc_metrics.mean_precision([seen([other, box], [0.9, 0.8], [box, (80, 80, 90, 90)])], ["dent"])
    assert 0.2 < half["mAP50"] < 0.4
    # The surer of two boxes on one label is right, the other is not, however well it lies.
    large, loose = (0, 0, 100, 100), (0, 0, 100, 82)
    assert qc_metrics.right(seen([loose, large], [0.9, 0.8], [large]))[:, 0].tolist() == [True, False]
    # IoU 0.82: right at 0.50 to 0.80, wrong above.
    assert qc_metrics.right(seen([loose], [0.9], [large]))[0].sum() == 7
