"""Draw the QC detector's golden set and note what the model sees: `python scripts/make_qc_golden.py --model models/qc-yolo11n`.

Fourteen pictures, each type sound and with each defect, drawn with seeds that no data set uses, and for 640 px seven views
of four of them side by side. golden/golden.json holds for each the boxes that the float32 model gives (by ultralytics'
own predict at conf 0.25), so that another build or another machine can be compared with it. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeapp.devices.line_view import BELTS, Image, Placed, SeenPart, draw_belt, random_look, take_picture
from edgeapp.devices.parts import DEFECTS, PART_TYPES, Pose, draw_part

SIZE_PX = 320
SEED = 2026
WORD = 9
"""The golden set's word in the seed; the data set's splits use 0 to 3 and 100 to 103."""

AT_LEAST = 0.85
"""The share of pictures that must be right: INT8 and other kernels may move a score over the margin in one or two."""

DRAWS = 20

CASES = [(kind, defects) for kind in PART_TYPES for defects in ((), *((name,) for name in DEFECTS))]


def draw_case(number: int) -> tuple[Image, tuple[SeenPart, ...]]:
    """Golden picture `number`: pixels (uint8 320x320x3 BGR) and what is visible: the first draw that shows its defect."""
    for attempt in range(DRAWS):
        picture, seen = _draw(number, attempt)
        if len(seen[0].defects) == len(CASES[number][1]):
            return picture, seen
    raise SystemExit(f"golden picture {number} shows no defect in {DRAWS} draws: give another SEED")


def _draw(number: int, attempt: int) -> tuple[Image, tuple[SeenPart, ...]]:
    kind, defects = CASES[number]
    rng = np.random.default_rng([SEED, WORD, number, attempt])
    look = random_look(rng)
    belt = draw_belt(rng, BELTS[number % len(BELTS)], SIZE_PX, SIZE_PX)
    pose = Pose(105.0 if kind == "washer" else 118.0, float(rng.uniform(0, 2 * np.pi)))
    part = draw_part(rng, kind, defects, pose, look.light, min_contrast=18.0)
    return take_picture(rng, belt, [Placed(part, SIZE_PX // 2, SIZE_PX // 2)], look)


def view(pictures: list[Image], number: int) -> Image:
    """View `number` of seven: four of the pictures side by side (uint8 640x640x3), each picture in two views."""
    four = [pictures[(2 * number + step) % len(pictures)] for step in (0, 1, 7, 8)]
    return np.concatenate([np.concatenate(four[:2], axis=1), np.concatenate(four[2:], axis=1)])


def asked(detector: Any, file: Path, size_px: int) -> dict[str, Any]:
    """What ultralytics sees in a picture, as a case of the golden set."""
    found = detector.predict(file, imgsz=size_px, conf=0.25, device="cpu", verbose=False)[0]
    boxes = [
        {"label": found.names[int(label)], "xyxy": [round(value, 2) for value in box], "score": round(score, 4)}
        for label, score, box in zip(
            found.boxes.cls.tolist(), found.boxes.conf.tolist(), found.boxes.xyxy.tolist(), strict=True
        )
    ]
    return {"image": file.name, "size_px": size_px, "boxes": boxes}


def written(file: Path, picture: Image, quality: int) -> Path:
    """The picture as a JPEG file. Raises OSError."""
    if not cv2.imwrite(str(file), picture, [cv2.IMWRITE_JPEG_QUALITY, quality]):
        raise OSError(f"could not write {file}: is the disk full?")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder with the ONNX file")
    args = parser.parse_args()
    from ultralytics import YOLO

    model = args.model / "qc-yolo11n.onnx"
    if not model.is_file():
        raise SystemExit(f"{model} is missing: train it with scripts/train_qc.py --out {args.model}")
    detector = YOLO(model, task="detect")
    out = args.model / "golden"
    out.mkdir(exist_ok=True)
    cases: list[dict[str, Any]] = []
    pictures: list[Image] = []
    told = 0
    for number, (kind, defects) in enumerate(CASES):
        picture, parts = draw_case(number)
        pictures.append(picture)
        file = written(out / f"{number:02d}-{kind}-{'-'.join(defects) or 'sound'}.jpg", picture, 95)
        cases.append(asked(detector, file, SIZE_PX))
        seen = {defect.kind for part in parts for defect in part.defects}
        told += seen == {each["label"] for each in cases[-1]["boxes"]} - set(PART_TYPES)
    for number in range(len(CASES) // 2):
        file = written(out / f"view-{number}.jpg", view(pictures, number), 90)
        cases.append(asked(detector, file, 2 * SIZE_PX))
    note = f"boxes of ultralytics' own predict on {model.name}, by scripts/make_qc_golden.py"
    golden = {"task": "detect", "at_least": AT_LEAST, "note": note, "cases": cases}
    (out / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps({"pictures": len(cases), "defects told exactly": told, "out": str(out)}))


if __name__ == "__main__":
    main()
