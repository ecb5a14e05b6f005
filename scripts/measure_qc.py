"""Measure the QC detector on held-out pictures: `python scripts/measure_qc.py --data DIR --model models/qc-yolo11n`.

Prints and writes (figures.json beside the model) mAP50 and mAP50-95 of the ONNX file on the test and the shifted set, by
ultralytics' own `val`, and the part decision: a part fails if a defect with at least `defect_score` lies on it, or if the part
itself is not seen. The threshold is chosen on the validation set and only applied to the others: test, shifted and
300 parts of five simulated conveyors. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeapp.devices.conveyor import Options, start

SIZE_PX = 320
PART_SCORE = 0.5
DEFAULT_RULE_SCORE = 0.25
"""What `edgeapp.vision.rules.InspectionRule` takes for a defect when nothing else is configured."""

WHOLE = 0.9
"""Share of a part that must be visible for its decision to count: a part cut by the frame is another trigger's part."""

LINES = range(101, 106)
"""Seeds of the simulated lines: five belts and lamps, 60 parts each."""

Decision = tuple[bool, float, float]
Picture = tuple[Any, list[tuple[tuple[int, ...], bool]]]

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 19)]


def mean_precision(model: Path, data: Path, split: str) -> dict[str, Any]:
    """Ultralytics' mAP of an ONNX file on one split, over all classes and for each class (mAP50)."""
    from ultralytics import YOLO

    listing, key = (data / "qc-shifted.yaml", "val") if split == "shifted" else (data / "qc.yaml", split)
    result = YOLO(model, task="detect").val(
        data=str(listing), split=key, imgsz=SIZE_PX, batch=1, device="cpu", plots=False, verbose=False, workers=0
    )
    classes = {
        result.names[int(number)]: round(float(ap), 3)
        for number, ap in zip(result.box.ap_class_index, result.box.ap50, strict=True)
    }
    return {
        "mAP50": round(float(result.box.map50), 4),
        "mAP50-95": round(float(result.box.map), 4),
        "mAP50 by class": classes,
    }


def decisions(detector: Any, pictures: Iterable[Picture], name: str) -> list[Decision]:
    """For each whole part in the pictures: is it defective, the part's best score, and the best score of a defect on it."""
    decided = []
    for picture, parts in track(list(pictures), description=f"decide {name}"):
        found = detector.predict(picture, imgsz=SIZE_PX, conf=0.04, device="cpu", verbose=False)[0].boxes
        boxes = [
            (found_class, score, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            for found_class, score, box in zip(
                found.cls.tolist(), found.conf.tolist(), found.xyxy.tolist(), strict=True
            )
        ]
        for (left, top, right, bottom), defective in parts:
            on_part = [
                (found_class, score)
                for found_class, score, x, y in boxes
                if left - 8 <= x <= right + 8 and top - 8 <= y <= bottom + 8
            ]
            part_score = max((score for found_class, score in on_part if found_class < 2), default=0.0)
            defect_score = max((score for found_class, score in on_part if found_class >= 2), default=0.0)
            decided.append((defective, part_score, defect_score))
    return decided


def split_pictures(data: Path, split: str) -> list[Picture]:
    """A split's pictures with the boxes of their whole parts and whether each is defective."""
    truth = json.loads((data / "truth.json").read_text())
    return [
        (
            data / row["image"],
            [(tuple(part["box"]), bool(part["defects"])) for part in row["parts"] if part["visible"] >= WHOLE],
        )
        for row in truth["pictures"]
        if row["image"].startswith(f"images/{split}/")
    ]


async def conveyor_pictures(seed: int, parts: int) -> list[Picture]:
    """The frames of one simulated line, one whole part each."""
    pictures: list[Picture] = []
    async with start(Options(seed=seed, parts=parts)) as belt:
        async for frame in belt.frames():
            part = belt.truth[frame.number]
            pictures.append((frame.pixels, [(part.box, bool(part.defects))]))
    return pictures


def decide(parts: list[Decision], threshold: float) -> dict[str, Any]:
    """Recall and precision of "fails" at one threshold, with the counts they come from."""
    fails = [part_score < PART_SCORE or defect_score >= threshold for _, part_score, defect_score in parts]
    bad = sum(defective for defective, _, _ in parts)
    caught = sum(defective and fail for (defective, _, _), fail in zip(parts, fails, strict=True))
    return {
        "recall": round(caught / max(bad, 1), 4),
        "precision": round(caught / max(sum(fails), 1), 4),
        "defective parts": bad,
        "missed": bad - caught,
        "sound parts": len(parts) - bad,
        "sound parts rejected": sum(fails) - caught,
    }


def decide_both(parts: list[Decision], threshold: float) -> dict[str, Any]:
    """The decision at the chosen threshold and at the station's default rule."""
    return {"decision": decide(parts, threshold), "decision at default rule": decide(parts, DEFAULT_RULE_SCORE)}


def choose_threshold(parts: list[Decision]) -> float:
    """The threshold with the best F2 score (recall counts twice, as a missed defect costs more than a second look)."""

    def f2(threshold: float) -> float:
        figures = decide(parts, threshold)
        recall, precision = figures["recall"], figures["precision"]
        return float(5 * precision * recall / max(4 * precision + recall, 1e-9))

    return max(THRESHOLDS, key=f2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by make_qc_images.py")
    parser.add_argument("--model", type=Path, required=True, help="folder with the ONNX file")
    parser.add_argument("--file", default=f"qc-yolo11n-{SIZE_PX}.onnx", help="which ONNX file of the folder")
    args = parser.parse_args()
    model = args.model / args.file
    if not model.is_file():
        raise SystemExit(f"{model} is missing: train it with scripts/train_qc.py --out {args.model}")
    from ultralytics import YOLO

    detector = YOLO(model, task="detect")
    threshold = choose_threshold(decisions(detector, split_pictures(args.data, "val"), "val"))
    figures: dict[str, Any] = {
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "bytes": model.stat().st_size,
        "defect_score": threshold,
    }
    for split in ("test", "shifted"):
        parts = decisions(detector, split_pictures(args.data, split), split)
        figures[split] = mean_precision(model, args.data, split) | decide_both(parts, threshold)
    lines = [picture for seed in LINES for picture in asyncio.run(conveyor_pictures(seed, 60))]
    figures["conveyor"] = decide_both(decisions(detector, lines, "conveyor"), threshold)
    kept = args.model / "figures.json"
    every = json.loads(kept.read_text()) if kept.is_file() else {}
    every[args.file] = figures
    kept.write_text(json.dumps(every, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
