"""A YOLO detector in two halves on ONNX Runtime: the stem on the device, the rest here or, through `triton`, elsewhere.

`await split.stem(frame)` gives the features behind layer 3; `await split(features)` goes on from them to boxes. So a rest
that does not answer in time is taken over from what is already computed. The graph is cut at the last tensor of the
layer's name scope; layer 3 is the last cut that a single tensor crosses (the neck reads layers 4, 6 and 10 again).

Letterbox and box arithmetic as in ultralytics 8.4 (`LetterBox`, `scale_boxes`); suppression by OpenCV, class by class.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import BackendError, Box, CameraFrame, ConfigError, Detections, Features
from edgeapp.core.lane import Lane

Floats = NDArray[np.float32]

_GREY: Final = (114, 114, 114)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's table in the configuration."""

    model: str
    """An ONNX file exported by ultralytics (task detect, fixed size, without `nms=True`)."""

    layer: int = 3
    """The last layer of the stem."""

    confidence: float = 0.03
    iou: float = 0.7
    threads: int = 1
    max_boxes: int = 300


class Split:
    """Both halves of one detector on one lane."""

    def __init__(self, options: Options, lane: Lane, stem: Any, rest: Any, model: str, labels: dict[int, str]) -> None:
        """`stem` and `rest` are sessions; `model` is the whole file's sha256, first 12 hex digits."""
        self._options, self._lane, self._stem, self._rest = options, lane, stem, rest
        self._labels = labels
        self.model = model
        self._input = stem.get_inputs()[0].name
        self._height, self._width = stem.get_inputs()[0].shape[2:]
        self._cut = rest.get_inputs()[0]

    @property
    def size_px(self) -> int:
        """The longer side of the network's input."""
        return int(max(self._height, self._width))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self._labels.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features: (channels, height, width)."""
        return tuple(self._cut.shape[1:])

    async def stem(self, frame: CameraFrame) -> Features:
        """The first layers, in one bite. Raises BackendError."""
        return await self._lane.run(lambda: self.begin(frame), label="stem")

    async def __call__(self, it: Features | CameraFrame) -> Detections:
        """The other layers, in one bite; all layers, in two, for a whole picture. Raises BackendError."""
        features = it if isinstance(it, Features) else await self.stem(it)
        return await self._lane.run(lambda: self.finish(features), label="rest")

    def begin(self, frame: CameraFrame) -> Features:
        """The stem in this thread. Raises BackendError."""
        pixels = frame.bgr()
        try:
            values = self._stem.run(None, {self._input: self._letterbox(pixels)})[0][0]
        except Exception as error:
            raise BackendError(f"the stem failed on frame {frame.number} of {frame.source}: {error}") from error
        return Features(values, pixels.shape[0], pixels.shape[1], frame.number, frame.source)

    def finish(self, features: Features) -> Detections:
        """The rest in this thread. Raises BackendError."""
        import cv2

        if features.values.shape != self.shape or features.values.dtype != np.float32:
            raise BackendError(
                f"the rest takes float32 {self.shape}, not {features.values.dtype} {features.values.shape}"
            )
        if not 0 < features.frame_width <= 65_536 or not 0 < features.frame_height <= 65_536:
            raise BackendError(f"no picture has {features.frame_width} x {features.frame_height} pixels")
        try:
            output = self._rest.run(None, {self._cut.name: features.values[None]})[0][0]
            scores = output[4:].max(axis=0)
            cells = np.flatnonzero(scores > self._options.confidence)
            classes, scores = output[4:, cells].argmax(axis=0), scores[cells]
            x, y, width, height = output[:4, cells]
            corners = np.stack([x - width / 2, y - height / 2, width, height], axis=1)
            kept = cv2.dnn.NMSBoxesBatched(list(corners), scores, classes, self._options.confidence, self._options.iou)
        except Exception as error:
            raise BackendError(f"the rest failed on frame {features.number} of {features.source}: {error}") from error
        keep = sorted(np.asarray(kept, np.intp).reshape(-1).tolist(), key=lambda each: -scores[each])
        keep = keep[: self._options.max_boxes]
        corners[:, 2:] += corners[:, :2]
        boxes = self._to_frame(corners[keep], features)
        found = (
            Box(row[0], row[1], row[2], row[3], self._labels.get(number, str(number)), score)
            for row, number, score in zip(boxes.tolist(), classes[keep].tolist(), scores[keep].tolist(), strict=True)
        )
        return Detections(features.number, tuple(found), self.model)

    def _fit(self, frame_height: int, frame_width: int) -> tuple[int, int, int, int]:
        """Height and width of the picture inside the input, and its top and left."""
        ratio = min(self._height / frame_height, self._width / frame_width)
        width, height = max(round(frame_width * ratio), 1), max(round(frame_height * ratio), 1)
        return height, width, round((self._height - height) / 2 - 0.1), round((self._width - width) / 2 - 0.1)

    def _letterbox(self, pixels: NDArray[np.uint8]) -> Floats:
        import cv2

        height, width, top, left = self._fit(*pixels.shape[:2])
        inner = pixels if pixels.shape[:2] == (height, width) else cv2.resize(pixels, (width, height))
        bottom, right = self._height - height - top, self._width - width - left
        whole = cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_GREY)
        planes = whole[:, :, ::-1].transpose(2, 0, 1).astype(np.float32, order="C")
        planes /= np.float32(255)
        return np.asarray(planes[None])

    def _to_frame(self, corners: Floats, features: Features) -> Floats:
        """Boxes, shape (n, 4), from the input to the frame, clipped to it."""
        height, width, top, left = self._fit(features.frame_height, features.frame_width)
        limit = np.tile(np.array([features.frame_width, features.frame_height], np.float32), 2)
        gain = np.tile(np.array([width, height], np.float32), 2) / limit
        mapped: Floats = np.clip((corners - np.tile(np.array([left, top], np.float32), 2)) / gain, 0, limit)
        return mapped


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[Split]:
    """Cut the model and run both halves once. Raises ConfigError."""
    yield await lane.run(lambda: open_split(options, lane), label="split.load")


def open_split(options: Options, lane: Lane) -> Split:
    """Load, cut and warm up in this thread. Raises ConfigError."""
    if not 0 < options.confidence < 1 or not 0 < options.iou <= 1 or options.threads < 1 or options.max_boxes < 1:
        raise ConfigError("detect_split needs confidence and iou between 0 and 1, threads and max_boxes of at least 1")
    try:
        import cv2
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"detect_split needs the package {error.name}: pip install 'edgeapp[vision]'") from error
    cv2.setNumThreads(options.threads)
    try:
        content = Path(options.model).expanduser().read_bytes()
        whole = onnx.load_model_from_string(content)
        notes = {each.key: each.value for each in whole.metadata_props}
        labels = {int(number): str(name) for number, name in ast.literal_eval(notes["names"]).items()}
        if notes.get("task") != "detect" or ast.literal_eval(notes.get("args", "{}")).get("nms"):
            raise ValueError("it is not a detector without suppression")  # noqa: TRY301 - told with the others below
        # Where the export left height and width free, both halves take the size that the file names.
        for side, value in zip(
            whole.graph.input[0].type.tensor_type.shape.dim, (1, 3, *ast.literal_eval(notes["imgsz"])), strict=True
        ):
            side.dim_value = int(value)
        stem, rest = _halves(whole, options)
        split = Split(options, lane, stem, rest, hashlib.sha256(content).hexdigest()[:12], labels)
        split.finish(Features(np.zeros(split.shape, np.float32), 32, 32, 0, "warm-up"))
    except OSError as error:
        raise ConfigError(f"detect_split cannot read {options.model}: {error.strerror}; check `model`") from error
    except ConfigError:
        raise
    except Exception as error:  # onnx and onnxruntime raise whatever a damaged file leads them to
        raise ConfigError(
            f"detect_split cannot cut {options.model} behind layer {options.layer} ({' '.join(str(error).split())[:200]})"
        ) from error
    return split


def _halves(whole: Any, options: Options) -> tuple[Any, Any]:
    """Sessions of the layers up to the cut and of those behind it."""
    import onnx.shape_inference
    import onnx.utils

    scope = f"/model.{options.layer}/"
    inside = [node.output[0] for node in whole.graph.node if node.name.startswith(scope)]
    if not inside:
        raise ConfigError(f"{options.model} has no layer {options.layer}: detect_split needs ultralytics' own names")
    extractor = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(whole))
    before = extractor.extract_model([whole.graph.input[0].name], [inside[-1]])
    behind = extractor.extract_model([inside[-1]], [whole.graph.output[0].name])
    first = {f"/model.{number}/" for number in range(options.layer + 1)}
    if any(node.name.startswith(tuple(first)) for node in behind.graph.node):
        raise ConfigError(f"more than one tensor crosses behind layer {options.layer} of {options.model}; use layer 3")
    return _session(before, options), _session(behind, options)


def _session(model: Any, options: Options) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
