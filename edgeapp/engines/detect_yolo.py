"""YOLO detection on ONNX Runtime: letterbox, network, non-maximum suppression, equal to ultralytics' own `predict`.

Four things make it faster than the graph as exported, on the same file and threads, with the same boxes:

- Boxes on demand. A YOLO head computes a box for every cell, and all but a few are thrown away by their score. The class
  scores do not need the box branch, so the graph is cut at load: the trunk gives feature maps and scores, and the box
  branch (two 3x3 convolutions and a 1x1 for each scale, a fifth of the work) runs only over the rectangle around the
  cells that passed, with a margin of its receptive field. What it computes there is what it would have computed.
- Convolutions where they are cheap. A convolution whose output is split becomes two, so that no split has to undo the
  runtime's blocked layout; a 1x1 convolution over an upsampled map runs before the upsampling, on a quarter of the cells.
- The distribution over box sides (its softmax alone is 6 % of the time) is decoded for the surviving cells only.
- The letterbox writes into the network's input in place; the grey bars are written once.

The cut graph must reproduce the whole graph when it is loaded, or the whole graph is used. It is always used on a GPU,
for models with their own suppression inside (`nms=True`), and where the package `onnx` is not installed.

Sources: letterbox, class-aware suppression and box arithmetic as in ultralytics 8.4 (`data/augment.py LetterBox`,
`utils/nms.py`, `utils/ops.py scale_boxes`); distribution focal decoding, Li et al. 2020.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import BackendError, Box, CameraFrame, ConfigError, Detections, TimestampKind
from edgeapp.core.lane import Lane

Floats = NDArray[np.float32]

_GREY: Final = 114
_CLASS_OFFSET_PX: Final = 7680  # boxes of different classes are moved apart by this much, so they never overlap
_PROVIDERS: Final = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's table in the configuration."""

    model: str
    """An ONNX file exported by ultralytics (task detect), with or without `nms=True`."""

    size_px: int = 0
    """Pins height and width of the input of a model exported with free ones (`dynamic=True`), a multiple of 32;
    smaller frames are enlarged to it. 0 takes the size the file names, with bars only down to the stride."""

    confidence: float = 0.03
    """Boxes must score more than this, 0 to 1. What counts is the rule's own score, which must not be lower."""

    iou: float = 0.7
    """Of two boxes of one class that overlap more than this, the better one stays. Models with `nms=True` have their own."""

    threads: int = 1
    """CPU threads of the network and of OpenCV (which has one setting for the whole process)."""

    provider: Literal["auto", "tensorrt", "cuda", "cpu"] = "auto"
    """Where the network runs; `auto` takes the first of these that this onnxruntime really has."""

    max_boxes: int = 300
    """The best boxes that are kept."""


class Candidates(NamedTuple):
    """The cells that passed the score, in the order of the network's output."""

    boxes: Floats
    """Shape (n, 4): left, top, right, bottom in pixels of the network's input."""

    scores: Floats
    """Shape (n,): the best class's score."""

    classes: NDArray[np.intp]
    """Shape (n,): the best class."""


Network = Callable[[Floats, float], Candidates]
"""The network's input (1, 3, h, w), and the score to pass -> candidates."""


@dataclass(frozen=True)
class Model:
    """What the file says about itself."""

    digest: str
    labels: dict[int, str]
    stride: int
    height: int
    width: int
    dynamic: bool
    suppressed: bool
    """The graph ends in its own suppression: output (1, n, 6)."""


@dataclass(frozen=True)
class Fit:
    """Where a frame of one size lies in the network's input."""

    frame_height: int
    frame_width: int
    height: int
    """Of the network's input."""
    width: int
    top: int
    left: int
    inner_height: int
    """Of the picture inside the grey bars."""
    inner_width: int

    def to_frame(self, boxes: Floats) -> Floats:
        """Map boxes, shape (n, 4), from the network's input to the frame, clipped to it."""
        gain_x, gain_y = self.inner_width / self.frame_width, self.inner_height / self.frame_height
        pad = np.array([self.left, self.top, self.left, self.top], np.float32)
        gain = np.array([gain_x, gain_y, gain_x, gain_y], np.float32)
        limit = np.array([self.frame_width, self.frame_height, self.frame_width, self.frame_height], np.float32)
        mapped: Floats = np.clip((boxes - pad) / gain, 0, limit)
        return mapped


def fit(frame_height: int, frame_width: int, model: Model) -> Fit:
    """Fit a frame into the network's input: same aspect, centred, bars down to the stride if the input's size is free."""
    ratio = min(model.height / frame_height, model.width / frame_width)
    inner_width, inner_height = max(round(frame_width * ratio), 1), max(round(frame_height * ratio), 1)
    spare_width, spare_height = model.width - inner_width, model.height - inner_height
    if model.dynamic:
        spare_width, spare_height = spare_width % model.stride, spare_height % model.stride
    return Fit(
        frame_height=frame_height,
        frame_width=frame_width,
        height=inner_height + spare_height,
        width=inner_width + spare_width,
        top=round(spare_height / 2 - 0.1),
        left=round(spare_width / 2 - 0.1),
        inner_height=inner_height,
        inner_width=inner_width,
    )


class Letterbox:
    """Turns frames into the network's input in buffers made once for each frame size. Not for two threads at once."""

    def __init__(self, model: Model, dtype: type[np.floating[Any]]) -> None:
        self._model = model
        self._dtype = dtype
        self._frame_shape: tuple[int, ...] = ()

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[Floats, Fit]:
        """BGR (h, w, 3) -> RGB / 255 (1, 3, H, W) and where the frame lies in it. The result is valid until the next call."""
        import cv2

        if pixels.shape != self._frame_shape:
            self._prepare(pixels.shape)
        size = (self.fit.inner_width, self.fit.inner_height)
        resized = pixels
        if pixels.shape != self._small.shape:
            resized = cv2.resize(pixels, size, dst=self._small, interpolation=cv2.INTER_LINEAR)
        cv2.split(resized, self._planes)
        for plane, inner in zip(reversed(self._planes), self._inner, strict=True):
            np.divide(plane, self._dtype(255), out=inner)
        return self.input, self.fit

    def _prepare(self, shape: tuple[int, ...]) -> None:
        self.fit = place = fit(shape[0], shape[1], self._model)
        self.input = np.full((1, 3, place.height, place.width), self._dtype(_GREY) / self._dtype(255), self._dtype)
        inside = slice(place.top, place.top + place.inner_height), slice(place.left, place.left + place.inner_width)
        self._inner = [self.input[0, channel][inside] for channel in range(3)]
        self._small = np.empty((place.inner_height, place.inner_width, 3), np.uint8)
        self._planes = [np.empty(self._small.shape[:2], np.uint8) for _ in range(3)]
        self._frame_shape = shape


def suppress(found: Candidates, iou: float, max_boxes: int) -> NDArray[np.intp]:
    """Greedy class-aware suppression -> indices into `found`, best first. Float32 like torchvision's, so ties agree."""
    order = np.argsort(-found.scores, kind="stable")
    corners = (found.boxes + (found.classes * np.float32(_CLASS_OFFSET_PX)).astype(np.float32)[:, None])[order]
    left, top, right, bottom = np.ascontiguousarray(corners.T)
    area = (right - left) * (bottom - top)
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    for best in range(len(order)):
        if not alive[best]:
            continue
        kept.append(best)
        if len(kept) == max_boxes:
            break
        rest = slice(best + 1, None)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        both = np.maximum(width, np.float32(0)) * np.maximum(height, np.float32(0))
        alive[rest] &= ~(both / (area[best] + area[rest] - both) > np.float32(iou))
    return order[kept]


def _best_class(scores: Floats, least: float) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """Find the columns of `scores`, shape (classes, n), that pass -> their indices, best scores and classes."""
    best = scores.max(axis=0)
    cells = np.flatnonzero(best > least)
    return cells, best[cells], scores[:, cells].argmax(axis=0)


class WholeGraph:
    """The graph as exported."""

    def __init__(self, session: Any, *, suppressed: bool) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = [session.get_outputs()[0].name]
        self._suppressed = suppressed

    def __call__(self, image: Floats, least: float) -> Candidates:
        output = self._session.run(self._output, {self._input: image})[0][0].astype(np.float32, copy=False)
        if self._suppressed:
            rows = output[output[:, 4] > least]
            return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.intp))
        cells, scores, classes = _best_class(output[4:], least)
        x, y, width, height = output[:4, cells]
        boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
        return Candidates(boxes, scores, classes)


class _Cut(NamedTuple):
    """Where a detection head is cut: names of tensors, and the margin a box needs around its cell."""

    scores: str
    features: tuple[str, ...]
    sides: tuple[str, ...]
    margin: int


class BoxesOnDemand:
    """The graph cut in two: scores for all cells, boxes only around those that passed."""

    def __init__(self, trunk: Any, branches: list[Any], margin: int) -> None:
        self._trunk = trunk
        self._branches = branches
        self._margin = margin
        self._input = trunk.get_inputs()[0].name

    def __call__(self, image: Floats, least: float) -> Candidates:
        logits, *features = self._trunk.run(None, {self._input: image})
        # The sigmoid keeps order: compare before it, with some room, and exactly after it.
        room = np.log(least / (1 - least)) - 1e-3 if 0 < least < 1 else -np.inf
        cells, best, classes = _best_class(logits[0], room)
        scores = 1 / (1 + np.exp(-best))
        passed = scores > least
        cells, scores, classes = cells[passed], scores[passed], classes[passed]
        boxes = np.empty((len(cells), 4), np.float32)
        first = 0
        for branch, feature in zip(self._branches, features, strict=True):
            height, width = feature.shape[2:]
            begin, end = np.searchsorted(cells, (first, first + height * width))
            if begin < end:
                rows, columns = np.divmod(cells[begin:end] - first, width)
                boxes[begin:end] = self._decode(branch, feature, rows, columns) * np.float32(image.shape[2] / height)
            first += height * width
        return Candidates(boxes, scores.astype(np.float32), classes)

    def _decode(self, branch: Any, feature: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
        """Boxes, shape (n, 4), in cells of one scale."""
        top, left = max(0, rows.min() - self._margin), max(0, columns.min() - self._margin)
        bottom, right = rows.max() + self._margin + 1, columns.max() + self._margin + 1
        around = np.ascontiguousarray(feature[:, :, top:bottom, left:right])
        sides = branch.run(None, {branch.get_inputs()[0].name: around})[0][0, :, rows - top, columns - left]
        bins = sides.reshape(len(rows), 4, -1)
        weight = np.exp(bins - bins.max(axis=2, keepdims=True))
        reach = (weight @ np.arange(bins.shape[2], dtype=np.float32)) / weight.sum(axis=2)
        x, y = columns.astype(np.float32) + np.float32(0.5), rows.astype(np.float32) + np.float32(0.5)
        return np.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], axis=1)


class Detector:
    """What `load` gives: an async callable."""

    def __init__(self, model: Model, network: Network, letterbox: Letterbox, options: Options, lane: Lane) -> None:
        self._model = model
        self._network = network
        self._letterbox = letterbox
        self._options = options
        self._lane = lane
        self.provider = "cpu"
        """Where the network really runs."""
        self.plan = ""
        """How: boxes on demand, or the whole graph and why."""

    @property
    def model(self) -> str:
        """The sha256 of the file, first 12 hex digits."""
        return self._model.digest

    @property
    def size_px(self) -> int:
        """The longer side of the network's input."""
        return max(self._model.height, self._model.width)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self._model.labels.values())

    async def __call__(self, frame: CameraFrame) -> Detections:
        """Look at a frame in one bite of the lane. The pixels are only read. Raises BackendError."""
        return await self._lane.run(lambda: self.look(frame), label="detect")

    def look(self, frame: CameraFrame) -> Detections:
        """Look at a frame in this thread; one at a time. Raises BackendError."""
        pixels = frame.bgr()
        try:
            image, place = self._letterbox(pixels)
            found = self._network(image, self._options.confidence)
        except Exception as error:
            raise BackendError(f"the detector failed on frame {frame.number} of {frame.source}: {error}") from error
        keep = self._keep(found)
        boxes = tuple(
            Box(left=corners[0], top=corners[1], right=corners[2], bottom=corners[3], label=label, score=score)
            for corners, label, score in zip(
                place.to_frame(found.boxes[keep]).tolist(),
                [self._model.labels.get(number, str(number)) for number in found.classes[keep].tolist()],
                found.scores[keep].tolist(),
                strict=True,
            )
        )
        return Detections(frame_number=frame.number, boxes=boxes, model=self._model.digest)

    def _keep(self, found: Candidates) -> NDArray[np.intp]:
        if self._model.suppressed:
            return np.arange(min(len(found.scores), self._options.max_boxes))
        return suppress(found, self._options.iou, self._options.max_boxes)


def _read(options: Options) -> tuple[bytes, str]:
    path = Path(options.model).expanduser()
    if not 0 < options.confidence < 1 or not 0 < options.iou <= 1:
        raise ConfigError("detect_yolo needs confidence between 0 and 1 and iou above 0 and at most 1")
    if options.size_px < 0 or options.size_px % 32:
        raise ConfigError(f"detect_yolo needs size_px of 0 or a multiple of 32; it is {options.size_px}")
    if options.threads < 1 or options.max_boxes < 1:
        raise ConfigError("detect_yolo needs threads and max_boxes of at least 1")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"detect_yolo cannot read its model {path}: {error.strerror}; check `model`") from error
    return content, hashlib.sha256(content).hexdigest()[:12]


def _describe(session: Any, digest: str, options: Options) -> Model:
    """Read what ultralytics wrote into the file. Raises ConfigError for anything but a detector."""
    path = options.model
    notes = session.get_modelmeta().custom_metadata_map
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if "names" not in notes or notes.get("task") != "detect" or len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(
            f"{path} is not a detector exported by ultralytics (task detect, format onnx); export it again"
        )
    try:
        labels = {int(number): str(name) for number, name in ast.literal_eval(notes["names"]).items()}
        height, width = (int(side) for side in ast.literal_eval(notes["imgsz"]))
        stride, exported = int(notes["stride"]), ast.literal_eval(notes.get("args", "{}"))
    except (KeyError, ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} has unreadable metadata ({error}); export it again with ultralytics") from error
    suppressed = bool(exported.get("nms")) or notes.get("end2end") == "True"
    last = outputs[0].shape[-1 if suppressed else 1]
    if isinstance(last, int) and last != (6 if suppressed else 4 + len(labels)):
        raise ConfigError(f"{path} has an output of shape {outputs[0].shape}, which is not one of a YOLO detector")
    sides = inputs[0].shape[2:]
    dynamic = not all(isinstance(side, int) for side in sides)
    if options.size_px and sides != [options.size_px] * 2:
        raise ConfigError(
            f"{path} takes pictures of {height} x {width} px only; set size_px to 0 or take another export"
        )
    if options.size_px:
        height = width = options.size_px
    return Model(digest, labels, stride, height, width, dynamic, suppressed)


def _session(content: bytes, options: Options, providers: list[Any]) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # A waiting thread that spins eats a core that speech needs; one that sleeps at once is late for each of 100 short
    # operations. So: a moment only, and never after the frame.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.threads > 1 else "0")
    settings.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    settings.log_severity_level = 3
    # The names that ultralytics gives its free dimensions; a graph without them takes no notice.
    settings.add_free_dimension_override_by_name("batch", 1)
    if options.size_px:
        settings.add_free_dimension_override_by_name("height", options.size_px)
        settings.add_free_dimension_override_by_name("width", options.size_px)
    return onnxruntime.InferenceSession(content, settings, providers=providers)


def _providers(options: Options, digest: str) -> list[Any]:
    """The wanted providers in order, each with its settings. Raises ConfigError if the one asked for is not here."""
    import onnxruntime

    here = onnxruntime.get_available_providers()
    wanted = list(_PROVIDERS) if options.provider == "auto" else [options.provider]
    if options.provider != "auto" and _PROVIDERS[options.provider] not in here:
        raise ConfigError(
            f"detect_yolo was told to use {options.provider}, but this onnxruntime has only "
            f"{', '.join(here)}: install the build for this GPU or set provider = 'auto'"
        )
    # An engine belongs to one model, one runtime and one precision: the folder's name says all three.
    cache = Path(options.model).expanduser().parent / f"tensorrt-{digest}-{onnxruntime.__version__}-fp16"
    tensorrt = {"trt_fp16_enable": True, "trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}
    providers = [_PROVIDERS[name] for name in wanted if _PROVIDERS[name] in here]
    return [(each, tensorrt) if each == _PROVIDERS["tensorrt"] else each for each in providers]


class _Graph:
    """An ONNX graph with the look-ups that rewriting needs."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.made_by = {output: node for node in self.nodes for output in node.output}
        self.weights = {each.name: each for each in model.graph.initializer}

    def value(self, tensor: str) -> NDArray[Any]:
        """The constant behind a name. Raises LookupError if it is not one."""
        from onnx import numpy_helper

        while tensor not in self.weights:
            node = self.made_by[tensor]
            if node.op_type == "Constant":
                return np.asarray(numpy_helper.to_array(node.attribute[0].t))
            if node.op_type != "Identity":
                raise LookupError(f"{tensor} is not constant")
            tensor = node.input[0]
        return np.asarray(numpy_helper.to_array(self.weights[tensor]))

    def store(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self.model.graph.initializer.append(self.weights[name])
        return name

    def nearest(self, tensor: str, kind: str) -> Any:
        """The nearest node of a kind behind a tensor, the tensor's own maker included. Raises LookupError."""
        level = [tensor]
        while level:
            makers = [self.made_by[name] for name in level if name in self.made_by]
            for node in makers:
                if node.op_type == kind:
                    return node
            level = [name for node in makers for name in node.input]
        raise LookupError(f"no {kind} behind {tensor}")

    def convolution(self, tensor: str) -> Any:
        """The convolution of a tensor that is one with SiLU. Raises LookupError."""
        silu = self.made_by.get(tensor)
        if silu is None or silu.op_type != "Mul":
            raise LookupError(f"{tensor} has another activation")
        makers = {node.op_type: node for node in (self.made_by[name] for name in silu.input)}
        if set(makers) != {"Conv", "Sigmoid"} or makers["Sigmoid"].input[0] != makers["Conv"].output[0]:
            raise LookupError(f"{tensor} is no convolution with SiLU")
        return makers["Conv"]

    def replace(self, replaced: dict[str, list[Any]]) -> None:
        """Put nodes in the place of those that made the named outputs (an empty list takes them out)."""
        self.nodes = [new for node in self.nodes for new in replaced.get(node.output[0], [node])]
        del self.model.graph.node[:]
        self.model.graph.node.extend(self.nodes)
        self.made_by = {output: node for node in self.nodes for output in node.output}


def _copy(node: Any, name: str, inputs: list[str]) -> Any:
    import onnx

    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.name = name
    del copied.input[:], copied.output[:]
    copied.input.extend(inputs)
    copied.output.append(name)
    return copied


def _split_before(graph: _Graph) -> None:
    """Turn convolution, SiLU, split into one convolution with SiLU for each part."""
    from onnx.helper import make_node

    readers = Counter(name for node in graph.nodes for name in node.input)
    replaced: dict[str, list[Any]] = {}
    for split in graph.nodes:
        if split.op_type != "Split" or readers[split.input[0]] != 1:
            continue
        try:
            conv = graph.convolution(split.input[0])
            weight, bias = graph.value(conv.input[1]), graph.value(conv.input[2])
            edges = np.cumsum(graph.value(split.input[1]))[:-1]
        except (LookupError, IndexError):
            continue
        made: list[Any] = []
        pieces = zip(np.split(weight, edges), np.split(bias, edges), split.output, strict=True)
        for number, (part, shift, output) in enumerate(pieces):
            name = f"{conv.output[0]}.part{number}"
            inputs = [conv.input[0], graph.store(f"{name}.weight", part), graph.store(f"{name}.bias", shift)]
            made += [_copy(conv, name, inputs), make_node("Sigmoid", [name], [f"{name}.gate"])]
            made += [make_node("Mul", [name, f"{name}.gate"], [output])]
        gate = next(name for name in graph.made_by[split.input[0]].input if name != conv.output[0])
        replaced |= {conv.output[0]: made, gate: [], split.input[0]: [], split.output[0]: []}
    graph.replace(replaced)


def _convolve_before_upsampling(graph: _Graph, channels: dict[str, int]) -> None:
    """Turn a 1x1 convolution over (upsampled a, b) into upsampled(convolved a) + convolved b."""
    from onnx.helper import make_node

    replaced: dict[str, list[Any]] = {}
    for conv in graph.nodes:
        joined = graph.made_by.get(conv.input[0]) if conv.op_type == "Conv" else None
        if joined is None or joined.op_type != "Concat" or len(joined.input) != 2 or len(conv.input) != 3:
            continue
        coarse, other = joined.input
        resize = graph.made_by.get(coarse)
        if resize is None or resize.op_type != "Resize" or resize.input[0] not in channels:
            continue
        weight = graph.value(conv.input[1])
        if weight.shape[2:] != (1, 1):
            continue
        edge, name = channels[resize.input[0]], conv.output[0]
        over_coarse, over_other = (
            graph.store(f"{name}.coarse", weight[:, :edge]),
            graph.store(f"{name}.fine", weight[:, edge:]),
        )
        replaced[name] = [
            _copy(conv, f"{name}.small", [resize.input[0], over_coarse, conv.input[2]]),
            _copy(resize, f"{name}.large", [f"{name}.small", *resize.input[1:]]),
            _copy(conv, f"{name}.other", [other, over_other]),
            make_node("Add", [f"{name}.large", f"{name}.other"], [name]),
        ]
    graph.replace(replaced)


def _find_cut(graph: _Graph) -> _Cut:
    """Find the parts of an ultralytics head by its shape, not its names. Raises LookupError if it is another head."""
    last = graph.made_by[graph.model.graph.output[0].name]
    if last.op_type != "Concat" or len(last.input) != 2:
        raise LookupError("the head does not end in boxes and scores")
    scores = graph.nearest(last.input[1], "Sigmoid").input[0]
    joined = graph.made_by[graph.nearest(last.input[0], "Softmax").input[0]]
    while joined.op_type in {"Transpose", "Reshape"}:
        joined = graph.made_by[joined.input[0]]
    if joined.op_type != "Concat":
        raise LookupError(f"a {joined.op_type} before the distribution over box sides")
    features, sides, margin = [], [], 0
    for scale in joined.input:
        end = graph.made_by[graph.made_by[scale].input[0]]
        if graph.made_by[scale].op_type != "Reshape" or end.op_type != "Conv":
            raise LookupError("the box branch does not end in a convolution")
        middle = graph.convolution(end.input[0])
        first = graph.convolution(middle.input[0])
        margin = sum(graph.value(conv.input[1]).shape[2] // 2 for conv in (first, middle, end))
        features.append(first.input[0])
        sides.append(end.output[0])
    return _Cut(scores, tuple(features), tuple(sides), margin)


def _cut(content: bytes, options: Options, providers: list[Any]) -> BoxesOnDemand:
    """Cut the graph. Raises LookupError where the head is not the known one, ImportError without the package onnx."""
    import onnx
    from onnx.utils import Extractor

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content))
    channels = {
        each.name: each.type.tensor_type.shape.dim[1].dim_value
        for each in model.graph.value_info
        if len(each.type.tensor_type.shape.dim) == 4
    }
    graph = _Graph(model)
    cut = _find_cut(graph)
    _split_before(graph)
    _convolve_before_upsampling(graph, channels)
    extractor = Extractor(model)
    trunk = extractor.extract_model([model.graph.input[0].name], [cut.scores, *cut.features])
    branches = []
    for feature, sides in zip(cut.features, cut.sides, strict=True):
        branch = extractor.extract_model([feature], [sides])
        for tensor in (branch.graph.input[0], branch.graph.output[0]):
            for axis, name in ((2, "rows"), (3, "columns")):
                tensor.type.tensor_type.shape.dim[axis].dim_param = name
        del branch.graph.value_info[:]
        branches.append(_session(branch.SerializeToString(), options, providers))
    return BoxesOnDemand(_session(trunk.SerializeToString(), options, providers), branches, cut.margin)


def _agree(whole: WholeGraph, cut: BoxesOnDemand, shape: tuple[int, ...]) -> bool:
    """Does the cut graph give the whole graph's candidates? Asked once, on noise, for 10 to 40 cells."""
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    best = np.sort(whole(image, -1.0).scores)[-40:-9]
    if len(best) < 2:
        return False  # no scores, or none that are numbers
    gap = int(np.argmax(best[1:] / best[:-1]))  # between these two no rounding changes who passes
    least = float(np.sqrt(best[gap] * best[gap + 1]))
    one, other = whole(image, least), cut(image, least)
    return (
        one.scores.shape == other.scores.shape
        and np.allclose(one.scores, other.scores, rtol=5e-3)
        and np.allclose(one.boxes, other.boxes, atol=0.05)
    )


def _network(content: bytes, options: Options, whole: WholeGraph, model: Model, floats: type) -> tuple[Network, str]:
    """Choose the faster graph if it provably gives the same -> the network and what was chosen."""
    if model.suppressed or floats is not np.float32:
        return whole, "whole graph (suppression inside)" if model.suppressed else "whole graph (float16)"
    try:
        cut = _cut(content, options, ["CPUExecutionProvider"])
    except ImportError:
        return whole, "whole graph (the package onnx is not installed)"
    except (LookupError, ValueError) as error:
        return whole, f"whole graph (unknown head: {error})"
    if not _agree(whole, cut, (1, 3, model.height, model.width)):
        return whole, "whole graph (the cut one differs)"
    return cut, "boxes on demand"


def open_detector(options: Options, lane: Lane) -> Detector:
    """Load, check and warm up in this thread. Raises ConfigError."""
    try:
        import cv2
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"detect_yolo needs the package {error.name}: pip install 'edgeapp[vision]'") from error
    content, digest = _read(options)
    providers = _providers(options, digest)
    cv2.setNumThreads(options.threads)
    try:
        session = _session(content, options, providers)
    except Exception as error:
        raise ConfigError(
            f"detect_yolo cannot load {options.model}: it is damaged or not an ONNX model ({' '.join(str(error).split())})"
        ) from error
    model = _describe(session, digest, options)
    floats = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    used = next(name for name, full in _PROVIDERS.items() if full == session.get_providers()[0])
    if options.provider not in ("auto", used):
        raise ConfigError(
            f"detect_yolo was told to use {options.provider}, but it fell back to {used}: check its libraries"
        )
    whole = WholeGraph(session, suppressed=model.suppressed)
    network, plan = _network(content, options, whole, model, floats) if used == "cpu" else (whole, "whole graph (GPU)")
    detector = Detector(model, network, Letterbox(model, floats), options, lane)
    detector.provider, detector.plan = used, plan
    grey = np.full((model.height, model.width, 3), _GREY, np.uint8)
    detector.look(CameraFrame(pixels=grey, at_ns=0, number=0, source="warm-up", timestamp_kind=TimestampKind.FILE))
    return detector


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[Detector]:
    """Load the model and look at one grey frame. Raises ConfigError."""
    yield await lane.run(lambda: open_detector(options, lane), label="detect.load")
