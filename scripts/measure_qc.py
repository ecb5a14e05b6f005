"""Measure the QC detector on held-out pictures: `python scripts/measure_qc.py --data DIR --model models/qc-yolo11n`.

Prints and writes (figures.json beside the model) for each build, float32 and INT8, at 320 and 640 px: bytes, CPU time and
its ratio (the project's own engine), mAP50 and mAP50-95. At 640 px the same pictures
are looked at in two ways: four side by side as one wider view (the parts as large as in training), and enlarged. The
decision about parts is measured at 320 px: a part fails if a defect on it scores enough, or if the part itself is not
seen; a part in doubt is looked at again as the station does (edgeapp/vision/second_look.py). Each class's least score is
chosen on the validation set with the float32 build and only applied to the others: test, shifted and 300 parts of five
simulated conveyors. Needs no torch; `--check` compares mAP with ultralytics' `val` (extra `train`).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from qc_metrics import Part, Seen, at_first_look, choose_steadily, decide, decide_surely, mean_precision
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeapp.core.events import Box as Found
from edgeapp.core.events import CameraFrame, Detections, TimestampKind
from edgeapp.core.lane import Lane
from edgeapp.devices.conveyor import Options as Line
from edgeapp.devices.conveyor import start
from edgeapp.devices.parts import CLASS_NAMES, DEFECTS, PART_TYPES
from edgeapp.engines.detect_yolo import Candidates, Detector, Letterbox, Model, Options, open_detector, suppress
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.second_look import MIRRORINGS, in_doubt, mirrored, mirrored_back, together

BUILDS = {"float32": "qc-yolo11n.onnx", "int8": "qc-yolo11n-int8.onnx"}
SIZE_PX, LARGE_PX = 320, 640
DEFAULT_RULE = dict.fromkeys(DEFECTS, 0.25)
"""What `edgeapp.vision.rules.InspectionRule` takes for a defect when nothing else is configured."""

WHOLE = 0.9
"""Share of a part that must be visible for its decision to count: a part cut by the frame is another trigger's part."""

TOLD = 0.03
"""The engine's `confidence` unless configured: what one look does not score above it, the rule never hears of."""

DOUBT = (TOLD, 0.3)
"""Which parts are looked at again: those whose surest defect scores from the one to below the other at the first look."""

RULE = InspectionRule(PART_TYPES, DEFECTS, doubt_from_score=DOUBT[0], doubt_below_score=DOUBT[1])

LINES = range(101, 106)
"""Seeds of the simulated lines: five belts and lamps, 60 parts each."""

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Labelled:
    """A picture (uint8 BGR), its labelled boxes (name, left, top, right, bottom), and its whole parts: box, defective."""

    pixels: Pixels
    labels: tuple[tuple[str, Box], ...]
    parts: tuple[tuple[Box, bool], ...]


def read_split(data: Path, split: str, limit: int) -> list[Labelled]:
    """The first `limit` pictures of a split. Raises SystemExit with one sentence if the data is not there."""
    truth = data / "truth.json"
    if not truth.is_file():
        raise SystemExit(f"{truth} is missing: write it with scripts/make_qc_images.py --out {data}")
    rows = [row for row in json.loads(truth.read_text())["pictures"] if row["image"].startswith(f"images/{split}/")]
    found = []
    for row in rows[:limit]:
        pixels = cv2.imread(str(data / row["image"]))
        if pixels is None:
            raise SystemExit(f"{data / row['image']} cannot be read: write the data again")
        labels = [(part["kind"], tuple(part["box"])) for part in row["parts"]]
        labels += [(mark["kind"], tuple(mark["box"])) for part in row["parts"] for mark in part["defects"]]
        parts = [(tuple(part["box"]), bool(part["defects"])) for part in row["parts"] if part["visible"] >= WHOLE]
        found.append(Labelled(pixels.astype(np.uint8, copy=False), tuple(labels), tuple(parts)))
    return found


def side_by_side(pictures: Sequence[Labelled]) -> list[Labelled]:
    """Four pictures each as one view twice as wide and high."""
    views = []
    for first in range(0, len(pictures) - 3, 4):
        four = pictures[first : first + 4]
        rows = [np.concatenate([four[n].pixels, four[n + 1].pixels], axis=1) for n in (0, 2)]
        labels = []
        for number, each in enumerate(four):
            x, y = SIZE_PX * (number % 2), SIZE_PX * (number // 2)
            labels += [(name, (box[0] + x, box[1] + y, box[2] + x, box[3] + y)) for name, box in each.labels]
        views.append(Labelled(np.concatenate(rows), tuple(labels), ()))
    return views


async def conveyor_pictures(seed: int, parts: int) -> list[Labelled]:
    """The frames of one simulated line, one whole part each."""
    pictures = []
    async with start(Line(seed=seed, parts=parts)) as belt:
        async for frame in belt.frames():
            part = belt.truth[frame.number]
            pictures.append(Labelled(frame.pixels, (), ((part.box, bool(part.defects)),)))
    return pictures


def opened(file: Path, size_px: int, confidence: float, lane: Lane) -> Detector:
    """The engine as the station would load it, one thread."""
    return open_detector(Options(model=str(file), size_px=size_px, confidence=confidence, provider="cpu"), lane)


def frame_of(pixels: Pixels) -> CameraFrame:
    """A frame around a picture."""
    return CameraFrame(pixels, 0, 1, "measure", TimestampKind.FILE)


class Eyes:
    """One build at one size, with all scores of all classes: what mAP is defined on (the engine keeps the best class)."""

    def __init__(self, file: Path, size_px: int) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        for name, value in (("batch", 1), ("height", size_px), ("width", size_px)):
            settings.add_free_dimension_override_by_name(name, value)
        self._session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
        names = dict(enumerate(CLASS_NAMES))
        self._letterbox = Letterbox(Model("", names, 32, size_px, size_px, dynamic=False, suppressed=False), np.float32)

    def look(self, pixels: Pixels) -> tuple[Candidates, Candidates]:
        """Detections best first, boxes in pixels of the picture: of every class above 0.001, and as the engine gives them."""
        image, place = self._letterbox(pixels)
        output = self._session.run(None, {"images": image})[0][0]
        x, y, width, height = output[:4]
        boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
        scores = output[4:]
        classes, cells = np.nonzero(scores > 0.001)
        every = Candidates(boxes[cells], scores[classes, cells], classes)
        cells = np.flatnonzero(scores.max(axis=0) > TOLD)
        best = Candidates(boxes[cells], scores[:, cells].max(axis=0), scores[:, cells].argmax(axis=0))
        told = []
        for found in (every, best):
            kept = suppress(found, 0.7, 300)
            told.append(Candidates(place.to_frame(found.boxes[kept]), found.scores[kept], found.classes[kept]))
        return told[0], told[1]


def look(eyes: Eyes, pictures: Sequence[Labelled], what: str) -> tuple[list[Seen], list[Part]]:
    """Look at the pictures: what was seen for mAP, and each whole part with the best scores on it."""
    seen, parts = [], []
    for picture in track(pictures, description=what):
        every, best = eyes.look(picture.pixels)
        true_boxes = np.array([box for _, box in picture.labels], float).reshape(-1, 4)
        true_classes = np.array([CLASS_NAMES.index(name) for name, _ in picture.labels], np.intp)
        seen.append(
            Seen(every.boxes.astype(float), every.scores.astype(float), every.classes, true_boxes, true_classes)
        )
        parts += [inspected(eyes, picture, best, box, defective) for box, defective in picture.parts]
    return seen, parts


def inspected(eyes: Eyes, picture: Labelled, best: Candidates, box: Box, defective: bool) -> Part:
    """What the station knows of one part after the first look (`best`), or after all four if it was in doubt."""
    one = known = on_part(best, box)
    if again := in_doubt(one, RULE):
        looks = [one]
        for sides in MIRRORINGS:
            frame = mirrored(frame_of(picture.pixels), *sides)
            there = mirrored_back(Detections(1, (Found(*box, "part", 1.0),), ""), frame, *sides).boxes[0]
            place = (there.left, there.top, there.right, there.bottom)
            looks.append(mirrored_back(on_part(eyes.look(frame.pixels)[1], place), frame, *sides))
        known = together(looks)
    scores, first = best_scores(known), best_scores(one)
    surely = max(scores.get(kind, 0.0) for kind in PART_TYPES)
    return Part(
        defective,
        surely,
        {name: scores[name] for name in DEFECTS if name in scores},
        again,
        {name: first[name] for name in DEFECTS if name in first},
    )


def on_part(best: Candidates, box: Box) -> Detections:
    """What was seen on one part: everything whose centre lies on it, 8 px of room around."""
    left, top, right, bottom = box
    centres = (best.boxes[:, :2] + best.boxes[:, 2:]) / 2
    on = (centres >= (left - 8, top - 8)).all(axis=1) & (centres <= (right + 8, bottom + 8)).all(axis=1)
    rows = zip(best.boxes[on].tolist(), best.classes[on].tolist(), best.scores[on].tolist(), strict=True)
    boxes = (Found(x0, y0, x1, y1, CLASS_NAMES[number], score) for (x0, y0, x1, y1), number, score in rows)
    return Detections(1, tuple(boxes), "")


def best_scores(seen: Detections) -> dict[str, float]:
    """The best score of each label."""
    scores: dict[str, float] = {}
    for box in seen.boxes:
        scores[box.label] = max(scores.get(box.label, 0.0), box.score)
    return scores


def cpu_times(model: Path, pictures: Sequence[Labelled], runs: int, lane: Lane) -> dict[str, float]:
    """Median CPU ms a frame of each build at each size, one thread, in turn so that other load falls on all alike."""
    detectors = {
        f"{build} {size_px}": opened(model / file, size_px, 0.25, lane)
        for build, file in BUILDS.items()
        for size_px in (SIZE_PX, LARGE_PX)
    }
    large = side_by_side(pictures)
    took: dict[str, list[float]] = {name: [] for name in detectors}
    for run in track(range(runs), description="time"):
        for name, detector in detectors.items():
            frames = large if name.endswith(str(LARGE_PX)) else pictures
            began = time.process_time()
            detector.look(frame_of(frames[run % len(frames)].pixels))
            took[name].append((time.process_time() - began) * 1e3)
    return {name: round(statistics.median(each), 2) for name, each in took.items()}


def measure(args: argparse.Namespace, lane: Lane) -> dict[str, Any]:
    """All figures. Raises SystemExit if a file is missing."""
    limit, runs = (8, 4) if args.smoke else (args.limit, 60)
    splits = {name: read_split(args.data, name, limit) for name in ("val", "test", "shifted")}
    lines = [
        picture
        for seed in list(LINES)[: 1 if args.smoke else None]
        for picture in asyncio.run(conveyor_pictures(seed, 8 if args.smoke else 60))
    ]
    times = cpu_times(args.model, splits["val"], runs, lane)
    figures: dict[str, Any] = {}
    least: dict[str, float] = {}
    for build, file in BUILDS.items():
        small = Eyes(args.model / file, SIZE_PX)
        found: dict[str, Any] = {"file": file, "bytes": (args.model / file).stat().st_size}
        found["sha256"] = hashlib.sha256((args.model / file).read_bytes()).hexdigest()
        found["cpu ms"] = times[f"{build} {SIZE_PX}"]
        found["time to float32"] = round(times[f"{build} {SIZE_PX}"] / times[f"float32 {SIZE_PX}"], 3)
        if not least:
            _, parts = look(small, splits["val"], f"{build} val")
            least, expected = choose_steadily(parts, DEFECTS)
            figures["rule"] = {
                "defect_scores": least,
                "doubt_from_score": DOUBT[0],
                "doubt_below_score": DOUBT[1],
                "val": decide_surely(parts, least),
                "val, chosen on half, on the other half": expected,
            }
        for name in ("test", "shifted", "conveyor"):
            seen, parts = look(small, splits.get(name, lines), f"{build} {name}")
            found[name] = mean_precision(seen, CLASS_NAMES) if name in splits else {}
            found[name] |= {
                "decision": decide_surely(parts, least),
                "decision at 0.25, one look": decide(at_first_look(parts), DEFAULT_RULE),
            }
        figures[f"{build} {SIZE_PX}"] = found
        figures[f"{build} {LARGE_PX}"] = at_large_size(args.model / file, splits["test"]) | {
            "cpu ms": times[f"{build} {LARGE_PX}"],
            "time to float32": round(times[f"{build} {LARGE_PX}"] / times[f"float32 {LARGE_PX}"], 3),
            "time to float32 320": round(times[f"{build} {LARGE_PX}"] / times[f"float32 {SIZE_PX}"], 3),
        }
    return figures


def at_large_size(file: Path, test: Sequence[Labelled]) -> dict[str, Any]:
    """mAP at 640 px: the first 240 pictures in views of four, and the first 120 enlarged."""
    large = Eyes(file, LARGE_PX)
    views, _ = look(large, side_by_side(test[:240]), f"{file.stem} {LARGE_PX} view")
    enlarged, _ = look(large, test[:120], f"{file.stem} {LARGE_PX} enlarged")
    return {
        "file": file.name,
        "four as one view": mean_precision(views, CLASS_NAMES),
        "enlarged": mean_precision(enlarged, CLASS_NAMES),
    }


def ultralytics_says(model: Path, data: Path) -> dict[str, float]:
    """mAP of the float32 file on the test split by ultralytics' own `val`, on all its pictures."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics import YOLO

    result = YOLO(model / BUILDS["float32"], task="detect").val(
        data=str((data / "qc.yaml").resolve()),
        split="test",
        imgsz=SIZE_PX,
        batch=1,
        device="cpu",
        plots=False,
        verbose=False,
        workers=0,
        rect=False,
    )
    return {"mAP50": round(float(result.box.map50), 4), "mAP50-95": round(float(result.box.map), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by make_qc_images.py")
    parser.add_argument("--model", type=Path, required=True, help="folder with the ONNX files")
    parser.add_argument("--limit", type=int, default=10_000, help="pictures of each split at most")
    parser.add_argument("--check", action="store_true", help="add ultralytics' own mAP on test")
    parser.add_argument("--smoke", action="store_true", help="eight pictures of each split: does it run at all")
    args = parser.parse_args()
    for file in BUILDS.values():
        if not (args.model / file).is_file():
            raise SystemExit(
                f"{args.model / file} is missing: make it with scripts/train_qc.py, then scripts/quantize_qc.py"
            )
    with closing(Lane("measure")) as lane:
        figures = measure(args, lane)
    if args.check:
        figures["float32 320"]["test by ultralytics"] = ultralytics_says(args.model, args.data)
    (args.model / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
