"""A VITS voice's graph in parts that run in windows: where it is cut, and how far each part looks before and behind.

VITS (Kim, Kong, Son 2021, arXiv:2106.06103) is a text encoder with durations, which needs the whole clause; then a flow
and a vocoder (HiFi-GAN, arXiv:2010.05646) of convolutions, which do nearly all of the work and look less than a second
around. So a window of either, with the margin that its convolutions reach, makes what the whole makes, but for the
margin, which is thrown away. Chance and durations stay before the first cut.

The cuts are found by what computes them, whatever the exporter called it: the sum behind the last noise is what the flow
is given, and the first transposed convolution begins the vocoder's upsampling.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_ONE_TO_ONE: Final = {
    "Add", "Cast", "Clip", "ConstantOfShape", "Div", "Elu", "Exp", "Identity", "LeakyRelu", "Mul", "Neg", "PRelu", "Relu",
    "Shape", "Sigmoid", "Sin", "Squeeze", "Sub", "Tanh", "Unsqueeze",
}  # fmt: skip
"""Operators whose every output over time depends on the input at the same time only; Shape, as it makes zeros here."""

_TIME: Final = 2  # the axis; before it are the batch and the channels
_ENDLESS: Final = 2**31 - 1  # an end at least this far cuts nothing off


@dataclass(frozen=True)
class Window:
    """A stretch of a part's source: what the part is given, and for which of it the answer is kept, all in steps."""

    start: int
    stop: int
    begin: int
    """The first step that is kept; at least `start`."""

    end: int
    """Behind the last step that is kept; at most `stop`."""


@dataclass(frozen=True)
class Part:
    """What a graph computes from one tensor over time to another; lengths are in steps of the first."""

    source: str
    """The name of the tensor it is given in windows, shape (1, channels, steps)."""

    beside: tuple[str, ...]
    """What else it needs from before the first cut: as long as the source (a mask), or of one step (a speaker)."""

    output: str
    """The name of what it makes."""

    before: int
    """Steps before a step that its output depends on."""

    after: int
    """Steps behind it."""

    hop: int
    """Steps of the output that a step of the source becomes."""

    def window(self, begin: int, want: int, steps: int, least: int) -> Window:
        """The window that gives at least `want` steps from `begin` on, of `steps`, in `least` if there are so many.

        It takes the rest too if that is no longer than the margins, which it would have to compute again.
        """
        start = max(0, begin - self.before)
        stop = max(begin + want + self.after, start + least)
        if steps - stop <= self.before:
            return Window(max(0, min(start, steps - least)), steps, begin, steps)
        return Window(start, stop, begin, stop - self.after)


def parts_of(graph: Any, *, flow: bool = True) -> list[Part]:
    """The parts behind the cuts of a voice's graph, in order; without `flow` the vocoder's upsampling alone.

    Raises ValueError if they cannot run in windows, with the reason.
    """
    sources = [_sampled(graph)] if flow else []
    upsampled = next((node.output[0] for node in graph.node if node.op_type == "ConvTranspose"), "")
    if not upsampled:
        raise ValueError("its graph has no transposed convolution, so no vocoder")
    sources.append(upsampled)
    parts = [_part(graph, *ends) for ends in zip(sources, [*sources[1:], graph.output[0].name], strict=True)]
    inside = _behind(graph.node, sources[0])[1]
    for part in parts:
        if crossing := inside.intersection(part.beside):
            raise ValueError(f"tensor {min(crossing)!r} goes around the cut at {part.source!r}")
    return parts


def models_of(whole: Any, parts: list[Part]) -> list[Any]:
    """The model before the first cut, which gives the first source and whatever goes beside, and one model for each part."""
    from onnx import TensorProto, helper

    kind = whole.graph.output[0].type.tensor_type.elem_type or TensorProto.FLOAT
    beside = dict.fromkeys(name for part in parts for name in part.beside)

    def over_time(name: str) -> Any:
        return helper.make_tensor_value_info(name, kind, ["batch", f"channels of {name}", f"steps of {name}"])

    def model(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Any:
        used = {name for node in nodes for name in node.input}
        values = [value for value in whole.graph.initializer if value.name in used]
        graph = helper.make_graph(nodes, whole.graph.name or "voice", inputs, outputs, values)
        return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)

    first = parts[0].source
    made = _behind(whole.graph.node, first)[1] - {first}
    front = [node for node in whole.graph.node if not made & set(node.output)]
    models = [model(front, list(whole.graph.input), [over_time(name) for name in (first, *beside)])]
    for part in parts:
        given = [over_time(name) for name in (part.source, *part.beside)]
        last = part.output == whole.graph.output[0].name
        output = whole.graph.output[0] if last else over_time(part.output)
        models.append(model(_needed(whole.graph, part.output, {part.source, *part.beside}), given, [output]))
    return models


def _sampled(graph: Any) -> str:
    """The latent that is drawn: the sum behind the last noise, through products alone."""
    drawn = next((node.output[0] for node in reversed(graph.node) if node.op_type.startswith("RandomNormal")), "")
    for node in graph.node:
        if drawn and drawn in node.input:
            drawn = node.output[0]
            if node.op_type == "Add":
                return str(drawn)
            if node.op_type != "Mul":
                break
    raise ValueError("its graph does not add noise to a latent, so it has no flow that can be found")


def _part(graph: Any, source: str, output: str) -> Part:
    nodes, made = _behind(_needed(graph, output, {source}), source)
    if output not in made:
        raise ValueError(f"{output!r} does not come from {source!r} alone")
    changing = {name for node in _changing(graph) for name in node.output} | _given(graph)
    beside = dict.fromkeys(name for node in nodes for name in node.input if name in changing - made)
    constants = _constants(graph)
    rates = {source: 1}  # steps of each tensor in a step of the source
    for node in nodes:
        sources = {rates[name] for name in node.input if name in rates}
        if len(sources) > 1:
            raise ValueError(f"node {node.name!r} mixes two rates")
        rates.update(dict.fromkeys(node.output, sources.pop() * _stride(node, constants)))
    needs = {output: (0, rates[output] - 1)}
    for node in reversed(nodes):
        asked = [needs[name] for name in node.output if name in needs]
        first, last = _reach(node, min(first for first, _ in asked), max(last for _, last in asked))
        for name in node.input:
            if name in rates:
                known = needs.get(name, (first, last))
                needs[name] = (min(first, known[0]), max(last, known[1]))
    first, last = needs[source]
    return Part(source, tuple(beside), output, max(0, -first), max(0, last), rates[output])


def _behind(nodes: Iterable[Any], source: str) -> tuple[list[Any], set[str]]:
    """The nodes that depend on `source`, and it with all that they make."""
    behind, made = [], {source}
    for node in nodes:
        if made & set(node.input):
            made.update(node.output)
            behind.append(node)
    return behind, made


def _needed(graph: Any, output: str, given: set[str]) -> list[Any]:
    """The nodes that make `output` from what is given, in order."""
    wanted, nodes = {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output) - given:
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _given(graph: Any) -> set[str]:
    """The inputs; old files list their weights among them."""
    return {each.name for each in graph.input} - {each.name for each in graph.initializer}


def _changing(graph: Any) -> list[Any]:
    """The nodes whose outputs depend on the inputs or on chance, in the order of the file, which is that of computation."""
    changing, nodes = _given(graph), []
    for node in graph.node:
        inner = any(each.HasField("g") for each in node.attribute)  # a branch may look at any tensor
        if inner or node.op_type.startswith("Random") or changing & set(node.input):
            changing.update(node.output)
            nodes.append(node)
    return nodes


def _constants(graph: Any) -> dict[str, Any]:
    """The tensors that are written into the file, by name."""
    nodes = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    return {value.name: value for value in graph.initializer} | {node.output[0]: node.attribute[0].t for node in nodes}


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _shape(node: Any) -> tuple[int, int, int, int]:
    """Kernel, dilation, stride and padding before, of a convolution over time. Raises ValueError if it is another."""
    one = {"kernel_shape": [0], "dilations": [1], "strides": [1], "pads": [0, 0], "output_padding": [0]} | _attributes(
        node
    )
    if len(one["kernel_shape"]) != 1 or one["kernel_shape"] == [0] or one.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError(f"the convolution {node.name!r} is not one over time with its padding given")
    (kernel,), (dilation,), (stride,), (before, after) = (
        one[name] for name in ("kernel_shape", "dilations", "strides", "pads")
    )
    wide = dilation * (kernel - 1) + 1
    grows = node.op_type == "ConvTranspose"
    fits = wide + one["output_padding"][0] - before - after == stride if grows else stride == 1 == wide - before - after
    if not fits or "output_shape" in one:
        raise ValueError(f"the convolution {node.name!r} does not keep time")
    return kernel, dilation, stride, before


def _stride(node: Any, constants: dict[str, Any]) -> int:
    """How many outputs an input becomes. Raises ValueError for an operator that may look anywhere."""
    if node.op_type in {"Conv", "ConvTranspose"}:
        return _shape(node)[2]
    if node.op_type not in _ONE_TO_ONE and not _over_channels(node, constants):
        raise ValueError(f"the node {node.name!r} ({node.op_type}) may look at all of its input")
    return 1


def _over_channels(node: Any, constants: dict[str, Any]) -> bool:
    """Whether it joins or divides other axes than time, or is a slice that takes all of it."""
    from onnx import numpy_helper

    if node.op_type in {"Concat", "Split"}:
        return _attributes(node).get("axis", 0) in {0, 1, -2, -3}
    if node.op_type != "Slice" or len(node.input) < 4 or not constants.keys() >= set(node.input[1:]):
        return False
    starts, ends, axes, *rest = (numpy_helper.to_array(constants[name]).tolist() for name in node.input[1:])
    strides = rest[0] if rest else [1] * len(axes)
    return all(
        axis in {0, 1, -2, -3} or (axis in {_TIME, -1} and start == 0 and end >= _ENDLESS and stride == 1)
        for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True)
    )


def _reach(node: Any, first: int, last: int) -> tuple[int, int]:
    """The first and last input that the outputs `first` to `last` depend on."""
    if node.op_type not in {"Conv", "ConvTranspose"}:
        return first, last
    kernel, dilation, stride, before = _shape(node)
    wide = dilation * (kernel - 1)
    if node.op_type == "Conv":
        return first - before, last - before + wide
    return -((wide - first - before) // stride), (last + before) // stride
