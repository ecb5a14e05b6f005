"""Make the QC detector's INT8 file: `python scripts/quantize_qc.py --data DIR --model models/qc-yolo11n`.

Static quantization by ONNX Runtime (QDQ, per-channel weights, min-max), calibrated on training pictures dealt evenly over part
types and defects, half of them at 320 px and half as views of four at 640 px, for one file that serves both. The detection
head stays in float32: its last concat joins boxes in pixels with scores from 0 to 1, and one INT8 scale for both leaves
nothing of the scores. Needs onnx and onnxruntime, not torch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

HEAD = "/model.23/"
"""Names of YOLO11's head nodes start with its layer."""


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration pictures one by one, as the detector's engine would: single ones, then four as one view."""

    def __init__(self, paths: list[Path]) -> None:
        half = len(paths) // 2
        singles = ([path] for path in paths[: len(paths) - half])
        fours = (paths[first : first + 4] for first in range(len(paths) - half, len(paths) - 3, 4))
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = (
            {"images": tensor(group)} for group in chain(singles, fours)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def tensor(paths: list[Path]) -> NDArray[np.float32]:
    """One picture, or four as one view, as float32 1x3xHxW, RGB, 0 to 1. Raises OSError when one cannot be read."""
    pictures = [cv2.imread(str(path)) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture is None:
            raise OSError(f"{path} cannot be read: write the data again with scripts/make_qc_images.py")
    view = np.concatenate([np.concatenate(pictures[row : row + 2], axis=1) for row in range(0, len(pictures), 2)])
    return np.ascontiguousarray(view[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32) / 255


def calibration_pictures(data: Path, count: int) -> list[Path]:
    """Training pictures dealt in turn from the groups "sound" and each defect of each part type."""
    truth = data / "truth.json"
    if not truth.is_file():
        raise SystemExit(f"{truth} is missing: write it with scripts/make_qc_images.py --out {data}")
    groups: dict[str, list[Path]] = {}
    for row in json.loads(truth.read_text())["pictures"]:
        if row["image"].startswith("images/train/") and row["parts"]:
            part = row["parts"][0]
            name = f"{part['kind']} {part['defects'][0]['kind'] if part['defects'] else 'sound'}"
            groups.setdefault(name, []).append(data / row["image"])
    dealt = [paths[turn] for turn in range(count) for paths in groups.values() if turn < len(paths)]
    return dealt[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by make_qc_images.py")
    parser.add_argument("--model", type=Path, required=True, help="folder with the float32 ONNX file")
    parser.add_argument("--pictures", type=int, default=140, help="calibration pictures (default 140)")
    parser.add_argument("--smoke", action="store_true", help="eight calibration pictures: does it run at all")
    args = parser.parse_args()
    source = args.model / "qc-yolo11n.onnx"
    if not source.is_file():
        raise SystemExit(f"{source} is missing: train it with scripts/train_qc.py --out {args.model}")
    target = args.model / "qc-yolo11n-int8.onnx"
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        head = [node.name for node in onnx.load(prepared).graph.node if node.name.startswith(HEAD)]
        quantize_static(
            str(prepared),
            str(target),
            Pictures(calibration_pictures(args.data, 8 if args.smoke else args.pictures)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=head,
        )
    graph = onnx.load(target)
    if not graph.metadata_props:
        graph.metadata_props.extend(onnx.load(source).metadata_props)
        onnx.save(graph, target)
    print(json.dumps({"model": str(target), "bytes": target.stat().st_size, "nodes left in float": len(head)}))


if __name__ == "__main__":
    main()
