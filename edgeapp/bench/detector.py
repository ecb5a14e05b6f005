"""The QC detector on freshly rendered held-out pictures, float32 beside INT8: accuracy, part decision, paired times.

Run in a process of its own by `edgeapp bench models`: `python -m edgeapp.bench.detector 60`; prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeapp.bench.held_out import scripts
from edgeapp.core.lane import Lane
from edgeapp.models.store import bundled, folder_of

SIZE_PX = 320
SEED = 1
"""The data set's own: `test` and `shifted` are the first pictures of the sets that the card is about."""


def measure(count: int) -> dict[str, Any]:
    """Accuracy of both builds on `count` pictures of each set, and how their times compare. Raises SystemExit."""
    folder = scripts()
    if folder is None:
        raise SystemExit("the scripts that render the pictures are not in this installation")
    sys.path.insert(0, str(folder))
    kit = import_module("measure_qc")
    model = next(each for each in bundled() if each.name == "qc-yolo11n")
    home = folder_of(model)
    figures = json.loads((home / "figures.json").read_text())
    least = figures.get("rule", {}).get("defect_scores", kit.DEFAULT_RULE)
    onnx = [each.path for each in model.files if each.path.endswith(".onnx")]
    files = {"int8": next(name for name in onnx if "int8" in name)}
    files["float32"] = next(name for name in onnx if "int8" not in name)
    with tempfile.TemporaryDirectory() as place:
        render = [sys.executable, str(folder / "make_qc_images.py"), "--out", place, "--seed", str(SEED)]
        counts = ["--train", "0", "--val", "0", "--held-out", str(count)]
        subprocess.run(render + counts, check=True, stdout=subprocess.DEVNULL)
        sets = {name: kit.read_split(Path(place), name, count) for name in ("test", "shifted")}
    found: dict[str, Any] = {"pictures": count, "default": "int8" if "int8" in model.main else "float32"}
    for build, file in files.items():
        eyes = kit.Eyes(home / file, SIZE_PX)
        for name, pictures in sets.items():
            seen, parts = kit.look(eyes, pictures, f"{build} {name}")
            accuracy = kit.mean_precision(seen, kit.CLASS_NAMES)
            found.setdefault(name, {})[build] = accuracy | {"decision": kit.decide(parts, least)}
    found["time"] = _times({build: home / file for build, file in files.items()}, sets["test"], kit, count)
    return found


def _times(files: dict[str, Path], pictures: Any, kit: Any, runs: int) -> dict[str, float]:
    """Median wall ms of each build through the engine, in pairs that alternate, and the median of the paired ratios."""
    lane = Lane("detector")
    detectors = {build: kit.opened(file, SIZE_PX, 0.25, lane) for build, file in files.items()}
    took: dict[str, list[float]] = {build: [] for build in detectors}
    for run in range(runs):
        frame = kit.frame_of(pictures[run % len(pictures)].pixels)
        order = list(detectors)[:: 1 if run % 2 else -1]
        for build in order:
            begun = time.perf_counter()
            detectors[build].look(frame)
            took[build].append((time.perf_counter() - begun) * 1e3)
    lane.close()
    ratios = [one / other for one, other in zip(took["int8"], took["float32"], strict=True)]
    medians = {f"{build}_ms": round(statistics.median(each), 2) for build, each in took.items()}
    return medians | {"int8_to_float32": round(statistics.median(ratios), 3)}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
