"""Compare our detector with ultralytics' own `predict`: same ONNX file, same thread count, same pictures, turn by turn.

    python scripts/bench_detect.py [--model MODEL.onnx] [--quick] [--runs 100] [--threads 1,2] [PICTURE_OR_FOLDER...]

Needs an environment that has ultralytics and this project. Both run in one process and alternate, so that other load
falls on both alike; the ratio is the median of paired ratios. `predict` runs as a careful user would call it: the model
loaded once, the array given directly, nothing printed or saved. Its session has ONNX Runtime's defaults (spinning
included) but for the number of threads; torch has the same number. Without pictures the parts of the simulated conveyor are used.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import CameraFrame, TimestampKind
from edgeapp.core.lane import Lane
from edgeapp.engines.detect_yolo import Detector, Options, open_detector

Picture = NDArray[np.uint8]
BUNDLED = Path(__file__).parent.parent / "models" / "qc-yolo11n" / "qc-yolo11n.onnx"


@contextmanager
def _sessions_with(threads: int) -> Iterator[None]:
    """Give every session that is made inside this many threads and no other change."""
    import onnxruntime

    original = onnxruntime.InferenceSession

    def make(path: Any, sess_options: Any = None, **settings: Any) -> Any:
        sess_options = sess_options or onnxruntime.SessionOptions()
        sess_options.intra_op_num_threads = threads
        return original(path, sess_options, **settings)

    onnxruntime.InferenceSession = make
    try:
        yield
    finally:
        onnxruntime.InferenceSession = original


def _theirs(model_path: str, options: Options, first: Picture) -> Any:
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(options.threads)
    model = YOLO(model_path, task="detect")
    settings = {"conf": options.confidence, "iou": options.iou, "max_det": options.max_boxes, "verbose": False}
    with _sessions_with(options.threads):
        model.predict(first, **settings)
    return lambda picture: model.predict(picture, **settings)[0]


def largest_difference(ours: Any, theirs: Any) -> tuple[float, float] | None:
    """Return the largest difference of a corner (pixels) and of a score; None if the lists do not have the same boxes."""
    if len(ours.boxes) != len(theirs.boxes):
        return None
    rows = theirs.boxes.data.cpu().numpy()
    if not len(rows):
        return 0.0, 0.0
    mine = np.array([(box.left, box.top, box.right, box.bottom, box.score) for box in ours.boxes])
    if [box.label for box in ours.boxes] != [theirs.names[int(row[5])] for row in rows]:
        return None
    difference = np.abs(mine - rows[:, :5])
    return float(difference[:, :4].max()), float(difference[:, 4].max())


def _frame(picture: Picture, number: int) -> CameraFrame:
    return CameraFrame(pixels=picture, at_ns=0, number=number, source="bench", timestamp_kind=TimestampKind.FILE)


def _race(ours: Detector, theirs: Any, pictures: Sequence[Picture], runs: int) -> dict[str, Any]:
    took: dict[str, list[float]] = {"ours_ms": [], "theirs_ms": []}
    unequal, corner, score, boxes = 0, 0.0, 0.0, 0
    for run in range(runs + 5):
        frame = _frame(pictures[run % len(pictures)], run + 1)
        pair: dict[str, tuple[float, Any]] = {}
        calls: list[tuple[str, Any, Any]] = [("ours_ms", ours.look, frame), ("theirs_ms", theirs, frame.pixels)]
        for name, call, argument in calls if run % 2 else reversed(calls):
            began = time.perf_counter()
            answer = call(argument)
            pair[name] = ((time.perf_counter() - began) * 1e3, answer)
        apart = largest_difference(pair["ours_ms"][1], pair["theirs_ms"][1])
        if apart is None:
            unequal += 1
        else:
            corner, score = max(corner, apart[0]), max(score, apart[1])
        boxes += len(pair["ours_ms"][1].boxes)
        if run >= 5:  # the first calls fill caches
            for name, (took_ms, _) in pair.items():
                took[name].append(took_ms)
    result: dict[str, Any] = {
        name: {"median": round(statistics.median(each), 2), "p95": round(float(np.percentile(each, 95)), 2)}
        for name, each in took.items()
    }
    ratios = [mine / other for mine, other in zip(took["ours_ms"], took["theirs_ms"], strict=True)]
    return result | {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_fastest": round(min(took["ours_ms"]) / min(took["theirs_ms"]), 3),
        "frames_with_other_boxes": unequal,
        "largest_corner_difference_px": round(corner, 4),
        "largest_score_difference": round(score, 6),
        "boxes_a_frame": round(boxes / (runs + 5), 1),
    }


def compare(
    model_path: str, images: Sequence[Picture], runs: int = 100, *, threads: int = 1, confidence: float = 0.25
) -> dict[str, Any]:
    """Run both alternately over `images` (uint8 BGR, any sizes) -> medians and p95 in ms, paired ratio, box equality.

    Raises ImportError where ultralytics is not installed.
    """
    options = Options(model=model_path, threads=threads, confidence=confidence, provider="cpu")
    lane = Lane("bench")
    try:
        ours = open_detector(options, lane)
        result = _race(ours, _theirs(model_path, options, images[0]), images, runs)
    finally:
        lane.close()
    sizes = sorted({f"{each.shape[1]}x{each.shape[0]}" for each in images})
    return {"model": ours.model, "threads": threads, "plan": ours.plan, "frames": sizes, "runs": runs} | result


def _read(paths: Sequence[str]) -> list[Picture]:
    files = [file for path in paths for file in (sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)])]
    pictures = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files[:200]]
    return [each.astype(np.uint8, copy=False) for each in pictures if each is not None]


def _drawn(parts: int) -> list[Picture]:
    """Parts on the simulated belt."""
    from edgeapp.devices import conveyor

    async def draw() -> list[Picture]:
        async with conveyor.start(conveyor.Options(parts=parts)) as belt:
            return [frame.pixels async for frame in belt.frames()]

    return asyncio.run(draw())


def _tell(size: str, row: dict[str, Any]) -> str:
    return (
        f"{size:>9} threads {row['threads']}: ours {row['ours_ms']['median']} (p95 {row['ours_ms']['p95']}) ms, "
        f"ultralytics {row['theirs_ms']['median']} (p95 {row['theirs_ms']['p95']}) ms, ratio {row['ratio']} "
        f"(fastest {row['ratio_of_fastest']}), {row['boxes_a_frame']} boxes, "
        f"{row['frames_with_other_boxes']} frames differ, corners within {row['largest_corner_difference_px']} px"
    )


def main() -> None:
    """Print one line for each frame size and thread count, then JSON."""
    parser = argparse.ArgumentParser(description="our detector beside ultralytics' predict")
    parser.add_argument("pictures", nargs="*")
    parser.add_argument("--model", default=str(BUNDLED))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--confidence", type=float, default=0.25)
    parser.add_argument("--sizes", default="320x320,640x480,1280x720")
    asked = parser.parse_args()
    if asked.quick:
        asked.runs, asked.sizes = 40, "640x480"
    pictures = _read(asked.pictures) if asked.pictures else _drawn(40)
    if not pictures:
        raise SystemExit("no picture could be read")
    rows = []
    for threads in map(int, asked.threads.split(",")):
        for size in asked.sizes.split(","):
            width, height = map(int, size.split("x"))
            scaled = [cv2.resize(each, (width, height)).astype(np.uint8, copy=False) for each in pictures]
            rows.append(compare(asked.model, scaled, asked.runs, threads=threads, confidence=asked.confidence))
            print(_tell(size, rows[-1]), flush=True)
    unequal = sum(row["frames_with_other_boxes"] for row in rows)
    apart_px = max(row["largest_corner_difference_px"] for row in rows)
    conditions = (
        f"{rows[0]['model']}, {rows[0]['plan']}, frames {asked.sizes}, threads {asked.threads}, "
        f"{asked.runs} pairs each, load {os.getloadavg()[0]:.1f}"
    )
    bars = []
    for threads in map(int, asked.threads.split(",")):
        ratio = round(statistics.median(row["ratio"] for row in rows if row["threads"] == threads), 3)
        name = f"detect_to_ultralytics_{threads}_threads"
        bars.append({"name": name, "value": ratio, "limit": 0.6, "ok": ratio <= 0.6})
    bars += [
        {"name": "detect_frames_with_other_boxes", "value": unequal, "limit": 0, "ok": not unequal},
        {"name": "detect_corner_difference_px", "value": apart_px, "limit": 0.05, "ok": apart_px <= 0.05},
    ]
    print(json.dumps({"bench": "detect", "conditions": conditions, "bars": bars, "rows": rows}))


if __name__ == "__main__":
    main()
