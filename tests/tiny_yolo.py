"""A detector of the right shape with random weights: backbone with a split, neck with upsampling, ultralytics' head.

Small enough to build in a test, and odd enough that a wrong cut, a wrong letterbox or a wrong suppression shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE, BINS = 64, 16
NAMES = {0: "round", 1: "square", 2: "odd"}
CELLS = [SIZE // stride for stride in (8, 16, 32)]


class Builder:
    """Collects nodes and weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def constant(self, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), self.name()))
        return str(self.weights[-1].name)

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        made = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, made, **attributes))
        return made

    def conv(self, x: str, channels: tuple[int, int], size: int, stride: int = 1, bias: float = 0.0) -> str:
        weight = self.rng.normal(0, 1.6 / np.sqrt(channels[0] * size * size), (channels[1], channels[0], size, size))
        shift = np.full(channels[1], bias) + self.rng.normal(0, 0.1, channels[1])
        inputs = [x, self.constant(weight.astype(np.float32)), self.constant(shift.astype(np.float32))]
        return self.node("Conv", inputs, kernel_shape=[size, size], strides=[stride] * 2, pads=[size // 2] * 4)[0]

    def silu(self, x: str, channels: tuple[int, int], size: int, stride: int = 1) -> str:
        made = self.conv(x, channels, size, stride)
        gate = self.node("Sigmoid", [made])[0]
        return self.node("Mul", [made, gate])[0]

    def shape(self, x: str, *sides: int) -> str:
        return self.node("Reshape", [x, self.constant(np.array(sides, np.int64))])[0]

    def double(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.node(
            "Resize", [x, "", scales], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
        )[0]


def _features(b: Builder) -> list[str]:
    x = b.silu(b.silu("images", (3, 8), 3, 2), (8, 8), 3, 2)
    p3 = b.silu(x, (8, 16), 3, 2)
    left, right = b.node("Split", [b.silu(p3, (16, 16), 1), b.constant(np.array([8, 8], np.int64))], 2, axis=1)
    mixed = b.node("Concat", [left, right, b.silu(right, (8, 8), 3)], axis=1)[0]
    p3 = b.silu(mixed, (24, 16), 1)
    p4 = b.silu(p3, (16, 16), 3, 2)
    p5 = b.silu(p4, (16, 16), 3, 2)
    n4 = b.silu(b.node("Concat", [b.double(p5), p4], axis=1)[0], (32, 16), 1)
    n3 = b.silu(b.node("Concat", [b.double(n4), p3], axis=1)[0], (32, 16), 1)
    return [n3, n4, p5]


def _head(b: Builder, features: list[str]) -> str:
    sides, scores, anchors, strides = [], [], [], []
    for x, cells, stride in zip(features, CELLS, (8, 16, 32), strict=True):
        side = b.conv(b.silu(b.silu(x, (16, 16), 3), (16, 16), 3), (16, 4 * BINS), 1)
        sides.append(b.shape(side, 1, 4 * BINS, cells * cells))
        scores.append(
            b.shape(b.conv(b.silu(x, (16, 16), 3), (16, len(NAMES)), 1, bias=-0.7), 1, len(NAMES), cells * cells)
        )
        y, x_ = np.mgrid[:cells, :cells] + 0.5
        anchors.append(np.stack([x_.ravel(), y.ravel()]))
        strides.append(np.full((1, cells * cells), stride))
    total = sum(cells * cells for cells in CELLS)
    bins = b.shape(b.node("Concat", sides, axis=2)[0], 1, 4, BINS, total)
    weight = b.node("Softmax", [b.node("Transpose", [bins], perm=[0, 2, 1, 3])[0]], axis=1)[0]
    ramp = b.constant(np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    reach = b.shape(b.node("Conv", [weight, ramp], kernel_shape=[1, 1])[0], 1, 4, total)
    near, far = b.node("Split", [reach, b.constant(np.array([2, 2], np.int64))], 2, axis=1)
    centre = b.constant(np.concatenate(anchors, axis=1)[None].astype(np.float32))
    begin, end = b.node("Sub", [centre, near])[0], b.node("Add", [centre, far])[0]
    middle = b.node("Div", [b.node("Add", [begin, end])[0], b.constant(np.array(2, np.float32))])[0]
    boxes = b.node("Concat", [middle, b.node("Sub", [end, begin])[0]], axis=1)[0]
    scaled = b.node("Mul", [boxes, b.constant(np.concatenate(strides, axis=1).astype(np.float32))])[0]
    chance = b.node("Sigmoid", [b.node("Concat", scores, axis=2)[0]])[0]
    return b.node("Concat", [scaled, chance], axis=1)[0]


def _suppressed(b: Builder) -> str:
    """Constant boxes that only pretend to depend on the picture."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :3] = [[8, 8, 24, 24, 0.9, 1], [30, 30, 40, 60, 0.5, 0], [0, 0, 9, 9, 0.2, 2]]
    nothing = b.node("Mul", [b.node("ReduceMean", ["images"], keepdims=0)[0], b.constant(np.array(0, np.float32))])[0]
    return b.node("Add", [b.constant(rows), nothing])[0]


def build(path: Path, *, seed: int = 3, suppressed: bool = False, **notes: str) -> Path:
    """Write the model; `notes` change its metadata, and an empty note takes one out."""
    b = Builder(seed)
    output = _suppressed(b) if suppressed else _head(b, _features(b))
    b.nodes[-1].output[0] = "output0"
    assert output
    shape = [1, 300, 6] if suppressed else [1, 4 + len(NAMES), sum(cells * cells for cells in CELLS)]
    graph = helper.make_graph(
        b.nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        b.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    told = {
        "task": "detect",
        "stride": "32",
        "batch": "1",
        "channels": "3",
        "imgsz": str([SIZE, SIZE]),
        "names": str(NAMES),
        "args": str({"nms": suppressed}),
    } | notes
    helper.set_model_props(model, {key: value for key, value in told.items() if value})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def pictures() -> list[NDArray[np.uint8]]:
    """Blocks of colour in frames of several shapes: larger and smaller than the network's input, portrait and landscape."""
    rng = np.random.default_rng(5)
    made = []
    for height, width in ((64, 64), (48, 96), (120, 70), (480, 640), (30, 20), (333, 77)):
        small = rng.integers(0, 256, (1 + height // 12, 1 + width // 12, 3)).astype(np.uint8)
        made.append(np.ascontiguousarray(np.kron(small, np.ones((12, 12, 1), np.uint8))[:height, :width]))
    return made
