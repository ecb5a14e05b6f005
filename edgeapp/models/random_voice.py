"""A Piper voice with random weights: every layer of a published voice at its true size, and no speech in it.

What a voice costs depends on its shapes, not on its weights, so measurements and tests need no download. The layers are
those of VITS (Kim, Kong, Son 2021, arXiv:2106.06103) as Piper trains them: text encoder with relative positions,
stochastic duration predictor with rational-quadratic splines, four coupling flows, HiFi-GAN (arXiv:2010.05646). Tensor
and node names follow torch's exporter, as in the published files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

_BINS: Final = 10  # of a spline
_TAIL: Final = 5.0  # beyond it a spline is the identity
_WINDOW: Final = 4  # relative positions on either side
_HEADS: Final = 2


@dataclass(frozen=True)
class Sizes:
    """One quality level."""

    hidden: int
    filters: int
    layers: int
    """Of the text encoder."""

    channels: int
    """Of the vocoder before its first upsampling; halved at each."""

    rates: tuple[int, ...]
    """Of the upsamplings; their product is the hop in samples."""

    kernels: tuple[int, ...] = (3, 5, 7)
    """Of the residual blocks."""

    dilations: tuple[tuple[int, ...], ...] = ((1, 2), (2, 6), (3, 12))
    paired: bool = False
    """HiFi-GAN's residual block 1, where a plain convolution follows each dilated one; else block 2."""

    rate_hz: int = 22_050


QUALITIES: Final = {
    "x_low": Sizes(96, 384, 6, 256, (8, 8, 4), rate_hz=16_000),
    "low": Sizes(192, 768, 6, 256, (8, 8, 4), rate_hz=16_000),
    "medium": Sizes(192, 768, 6, 256, (8, 8, 4)),
    "high": Sizes(192, 768, 6, 512, (8, 8, 2, 2), (3, 7, 11), ((1, 3, 5),) * 3, paired=True),
    "tiny": Sizes(8, 16, 1, 64, (8, 8, 4), rate_hz=16_000),
}
"""Piper's quality levels, and one for tests whose layers are the same but thin."""


def build_voice(
    path: Path, quality: str, *, speakers: int = 1, noise: bool = True, frames_an_id: float = 2.8, seed: int = 1
) -> Path:
    """Write a voice to `path` (NAME.onnx) and its card to NAME.onnx.json; returns `path`.

    `frames_an_id` is the mean duration of a phoneme's id (published voices: 2 to 3). Without `noise` the card sets both
    noises to zero, so that the same text is always the same audio.
    """
    from onnx import checker
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP as IDS

    sizes = QUALITIES[quality]
    symbols = 1 + max(number for numbers in IDS.values() for number in numbers)
    graph = _Graph(np.random.default_rng(seed))
    voice = _Voice(graph, sizes, speakers)
    model = graph.model(voice.infer(symbols, frames_an_id), speakers)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    card = {
        "audio": {"sample_rate": sizes.rate_hz, "quality": quality},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667 * noise, "length_scale": 1, "noise_w": 0.8 * noise},
        "phoneme_type": "espeak",
        "phoneme_id_map": IDS,
        "num_symbols": symbols,
        "num_speakers": speakers,
        "speaker_id_map": {},
    }
    path.with_name(path.name + ".json").write_text(json.dumps(card))
    return path


class _Graph:
    """Nodes and weights as they are added; a tensor is its name."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._nodes: list[Any] = []
        self._values: list[Any] = []

    def op(self, kind: str, *inputs: str, to: str = "", parts: int = 1, **attributes: Any) -> str:
        """Add a node and return its output, or the first of `parts` outputs: NAME, NAME.1, ..."""
        from onnx import helper

        name = to or f"/{kind}_{len(self._nodes)}_output_0"
        outputs = [name, *(f"{name}.{number}" for number in range(1, parts))]
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=name.removesuffix("_output_0"), **attributes))
        return name

    def value(self, array: Any, name: str = "") -> str:
        """Add a constant."""
        from onnx import numpy_helper

        name = name or f"constant.{len(self._values)}"
        self._values.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def number(self, value: float) -> str:
        return self.value(np.float32(value))

    def integers(self, *values: int) -> str:
        return self.value(np.array(values, np.int64))

    def weight(self, name: str, *shape: int, scale: float) -> str:
        return self.value(self._random.normal(0, scale, shape).astype(np.float32), name)

    def conv(
        self, name: str, x: str, inside: int, outside: int, kernel: int = 1, *, dilation: int = 1, groups: int = 1,
        bias: bool = True, gain: float = 1.0,
    ) -> str:  # fmt: skip
        """A convolution over time that keeps the length."""
        fan = inside // groups * kernel
        inputs = [x, self.weight(f"{name}.weight", outside, inside // groups, kernel, scale=gain / math.sqrt(fan))]
        if bias:
            inputs.append(self.weight(f"{name}.bias", outside, scale=0.02))
        pad = dilation * (kernel - 1) // 2
        return self.op(
            "Conv", *inputs, to=f"/{name.replace('.', '/')}/Conv_output_0", kernel_shape=[kernel],
            dilations=[dilation], group=groups, pads=[pad, pad], strides=[1],
        )  # fmt: skip

    def upsampling(self, name: str, x: str, inside: int, outside: int, rate: int) -> str:
        """A transposed convolution of twice the rate's width."""
        kernel, pad = 2 * rate, rate // 2
        inputs = [
            x,
            self.weight(f"{name}.weight", inside, outside, kernel, scale=1 / math.sqrt(2 * inside)),
            self.weight(f"{name}.bias", outside, scale=0.02),
        ]
        return self.op(
            "ConvTranspose", *inputs, to=f"/{name.replace('.', '/')}/ConvTranspose_output_0", kernel_shape=[kernel],
            strides=[rate], pads=[pad, pad], dilations=[1], group=1,
        )  # fmt: skip

    def cast(self, x: str, *, integer: bool = False) -> str:
        """To int64, or to float32."""
        from onnx import TensorProto, helper

        name = f"/Cast_{len(self._nodes)}_output_0"
        kind = TensorProto.INT64 if integer else TensorProto.FLOAT
        self._nodes.append(helper.make_node("Cast", [x], [name], name=name.removesuffix("_output_0"), to=kind))
        return name

    def split(self, x: str, sizes: Sequence[int], axis: int = 1) -> list[str]:
        first = self.op("Split", x, self.integers(*sizes), parts=len(sizes), axis=axis)
        return [first, *(f"{first}.{number}" for number in range(1, len(sizes)))]

    def cut(self, x: str, start: str, end: str, axis: int) -> str:
        return self.op("Slice", x, start, end, self.integers(axis))

    def pad(self, x: str, *ends: str) -> str:
        """`ends` are the lengths before each axis, then those behind each."""
        return self.op("Pad", x, self.op("Concat", *ends, axis=0))

    def flip(self, x: str) -> str:
        """The channels the other way round."""
        return self.op(
            "Slice", x, self.integers(-1), self.integers(-(2**31)), self.integers(1), self.integers(-1)
        )  # fmt: skip

    def norm(self, name: str, x: str, channels: int) -> str:
        """Layer normalisation over the channels."""
        scale, shift = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        turned = self.op("Transpose", x, perm=[0, 2, 1])
        inputs = (turned, self.value(scale, f"{name}.gamma"), self.value(shift, f"{name}.beta"))
        return self.op("Transpose", self.op("LayerNormalization", *inputs, axis=-1, epsilon=1e-5), perm=[0, 2, 1])

    def gelu(self, x: str) -> str:
        error = self.op("Erf", self.op("Div", x, self.number(math.sqrt(2))))
        return self.op("Mul", self.op("Mul", x, self.op("Add", error, self.number(1))), self.number(0.5))

    def model(self, output: str, speakers: int) -> Any:
        """The whole, with Piper's inputs and output."""
        from onnx import TensorProto, helper

        self.op("Unsqueeze", output, self.integers(1), to="output")
        inputs = [
            helper.make_tensor_value_info("input", TensorProto.INT64, ["batch_size", "phonemes"]),
            helper.make_tensor_value_info("input_lengths", TensorProto.INT64, ["batch_size"]),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
        ]
        if speakers > 1:
            inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch_size", 1, "time", "samples"])]
        graph = helper.make_graph(self._nodes, "main_graph", inputs, outputs, self._values)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


class _Voice:
    """VITS at inference, for a batch of one."""

    def __init__(self, graph: _Graph, sizes: Sizes, speakers: int) -> None:
        self.g = graph
        self.sizes = sizes
        self.speaker = ""
        if speakers > 1:
            table = graph.weight("emb_g.weight", speakers, 512, scale=1.0)
            self.speaker = graph.op("Unsqueeze", graph.op("Gather", table, "sid", axis=0), graph.integers(-1))

    def infer(self, symbols: int, frames_an_id: float) -> str:
        g, hidden = self.g, self.sizes.hidden
        noise, length, noise_w = g.split("scales", [1, 1, 1], axis=0)
        count = g.cut(g.op("Shape", "input"), g.integers(1), g.integers(2), 0)
        mask = self._mask(count, "input_lengths")
        x = self._text(symbols, count, mask)
        means, spreads = g.split(
            g.op("Mul", g.conv("enc_p.proj", x, hidden, 2 * hidden, gain=0.5), mask), [hidden] * 2
        )  # fmt: skip
        log_frames = self._durations(x, mask, noise_w, frames_an_id)
        frames = g.op("Ceil", g.op("Mul", g.op("Mul", g.op("Exp", log_frames), mask), length))
        total = g.op("Max", g.op("ReduceSum", frames, g.integers(1, 2), keepdims=0), g.number(1))
        total = g.cast(total, integer=True)
        y_mask = self._mask(total, total)
        until = g.op("Transpose", g.op("CumSum", frames, g.integers(2)), perm=[0, 2, 1])
        since = g.op("Sub", until, g.op("Transpose", frames, perm=[0, 2, 1]))
        at = g.cast(self._range(total))
        path = g.op("Sub", self._before(at, until), self._before(at, since))
        means, spreads = g.op("MatMul", means, path), g.op("MatMul", spreads, path)
        drawn = g.op("Mul", g.op("RandomNormalLike", means), g.op("Exp", spreads))
        z = self._flow(g.op("Add", means, g.op("Mul", drawn, noise)), y_mask)
        return self._vocoder(g.op("Mul", z, y_mask))

    def _range(self, count: str) -> str:
        g = self.g
        return g.op("Range", g.value(np.int64(0)), g.op("Squeeze", count), g.value(np.int64(1)))

    def _before(self, at: str, end: str) -> str:
        return self.g.cast(self.g.op("Less", at, end))

    def _mask(self, count: str, lengths: str) -> str:
        """Ones before each length, shape (1, 1, count)."""
        return self.g.op("Unsqueeze", self._before(self._range(count), lengths), self.g.integers(0, 1))

    # Text encoder

    def _text(self, symbols: int, count: str, mask: str) -> str:
        g, hidden, filters = self.g, self.sizes.hidden, self.sizes.filters
        table = g.weight("enc_p.emb.weight", symbols, hidden, scale=1.0)
        x = g.op("Mul", g.op("Transpose", g.op("Gather", table, "input", axis=0), perm=[0, 2, 1]), mask)
        for n in range(self.sizes.layers):
            name = f"enc_p.encoder.attn_layers.{n}"
            x = g.norm(
                f"enc_p.encoder.norm_layers_1.{n}", g.op("Add", x, self._attention(name, x, count, mask)), hidden
            )
            name = f"enc_p.encoder.ffn_layers.{n}"
            y = g.op("Relu", g.conv(f"{name}.conv_1", g.op("Mul", x, mask), hidden, filters, 3))
            y = g.op("Mul", g.conv(f"{name}.conv_2", g.op("Mul", y, mask), filters, hidden, 3), mask)
            x = g.norm(f"enc_p.encoder.norm_layers_2.{n}", g.op("Add", x, y), hidden)
        return g.op("Mul", x, mask)

    def _attention(self, name: str, x: str, count: str, mask: str) -> str:
        """Two heads with relative positions (Shaw et al. 2018, arXiv:1803.02155), skewed by padding and reshaping."""
        g, hidden = self.g, self.sizes.hidden
        wide = hidden // _HEADS
        heads = g.integers(1, _HEADS, wide, -1)
        query, key, value = (
            g.op("Reshape", g.conv(f"{name}.conv_{each}", x, hidden, hidden), heads) for each in ("q", "k", "v")
        )
        query = g.op("Div", g.op("Transpose", query, perm=[0, 1, 3, 2]), g.number(math.sqrt(wide)))
        near = g.op("Transpose", self._positions(f"{name}.emb_rel_k", wide, count), perm=[0, 2, 1])
        scores = g.op("Add", g.op("MatMul", query, key), self._absolute(g.op("MatMul", query, near), count))
        both = g.op("Mul", g.op("Unsqueeze", mask, g.integers(1)), g.op("Unsqueeze", mask, g.integers(3)))
        scores = g.op("Where", g.op("Equal", both, g.number(0)), g.number(-1e4), scores)
        shares = g.op("Softmax", scores, axis=-1)
        near = g.op("MatMul", self._relative(shares, count), self._positions(f"{name}.emb_rel_v", wide, count))
        mixed = g.op("Add", g.op("MatMul", shares, g.op("Transpose", value, perm=[0, 1, 3, 2])), near)
        flat = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 1, 3, 2]), g.integers(1, hidden, -1))
        return g.conv(f"{name}.conv_o", flat, hidden, hidden)

    def _positions(self, name: str, wide: int, count: str) -> str:
        """The embeddings of the distances -(count - 1) to count - 1, zero where far; shape (1, 2 count - 1, wide)."""
        g, none = self.g, self.g.integers(0)
        table = g.weight(name, 1, 2 * _WINDOW + 1, wide, scale=wide**-0.5)
        more = g.op("Max", g.op("Sub", count, g.integers(_WINDOW + 1)), none)
        start = g.op("Max", g.op("Sub", g.integers(_WINDOW + 1), count), none)
        end = g.op("Sub", g.op("Add", start, g.op("Mul", count, g.integers(2))), g.integers(1))
        return g.cut(g.pad(table, none, more, none, none, more, none), start, end, 1)

    def _absolute(self, x: str, count: str) -> str:
        """Scores by distance, shape (1, heads, count, 2 count - 1), to scores by place, (1, heads, count, count)."""
        g, none = self.g, self.g.integers(0)
        less = g.op("Sub", count, g.integers(1))
        row = g.op("Add", count, less)
        x = g.pad(x, *[none] * 7, g.integers(1))
        x = g.op("Reshape", x, g.integers(1, _HEADS, -1))
        x = g.pad(x, *[none] * 5, less)
        x = g.op("Reshape", x, g.op("Concat", g.integers(1, _HEADS, -1), row, axis=0))
        return g.cut(g.cut(x, none, count, 2), less, row, 3)

    def _relative(self, x: str, count: str) -> str:
        """The way back."""
        g, none = self.g, self.g.integers(0)
        x = g.pad(x, *[none] * 7, g.op("Sub", count, g.integers(1)))
        x = g.op("Reshape", x, g.integers(1, _HEADS, -1))
        x = g.pad(x, none, none, count, *[none] * 3)
        double = g.op("Mul", count, g.integers(2))
        x = g.op("Reshape", x, g.op("Concat", g.integers(1, _HEADS), count, double, axis=0))
        return g.cut(x, g.integers(1), double, 3)

    # Durations

    def _durations(self, x: str, mask: str, noise: str, frames_an_id: float) -> str:
        """The logarithm of each id's frames, shape (1, 1, count)."""
        g, hidden = self.g, self.sizes.hidden
        x = g.conv("dp.pre", x, hidden, hidden)
        if self.speaker:
            x = g.op("Add", x, g.conv("dp.cond", self.speaker, 512, hidden))
        x = g.op("Mul", g.conv("dp.proj", self._separable("dp.convs", x, mask), hidden, hidden), mask)
        pair = g.op("RandomNormalLike", g.op("Concat", mask, mask, axis=1))
        pair = g.op("Mul", pair, noise)
        for n in (7, 5, 3):  # the first flow is not used at inference
            pair = self._spline_flow(f"dp.flows.{n}", g.flip(pair), x, mask)
        first, _ = g.split(g.flip(pair), [1, 1])
        mean = g.number(-2 * math.log(frames_an_id - 0.5))  # rounding up adds half a frame
        return g.op("Mul", g.op("Mul", g.op("Sub", first, mean), g.number(0.5)), mask)

    def _separable(self, name: str, x: str, mask: str) -> str:
        """Three dilated depth-separable convolutions with residues."""
        g, hidden = self.g, self.sizes.hidden
        for n in range(3):
            y = g.conv(
                f"{name}.convs_sep.{n}", g.op("Mul", x, mask), hidden, hidden, 3, dilation=3**n, groups=hidden
            )  # fmt: skip
            y = g.gelu(g.norm(f"{name}.norms_1.{n}", y, hidden))
            y = g.conv(f"{name}.convs_1x1.{n}", y, hidden, hidden)
            x = g.op("Add", x, g.gelu(g.norm(f"{name}.norms_2.{n}", y, hidden)))
        return g.op("Mul", x, mask)

    def _spline_flow(self, name: str, pair: str, given: str, mask: str) -> str:
        g, hidden = self.g, self.sizes.hidden
        kept, moved = g.split(pair, [1, 1])
        h = self._separable(f"{name}.convs", g.op("Add", g.conv(f"{name}.pre", kept, 1, hidden), given), mask)
        h = g.op("Mul", g.conv(f"{name}.proj", h, hidden, 3 * _BINS - 1, gain=0.1), mask)
        h = g.op("Transpose", h, perm=[0, 2, 1])
        moved = self._spline(g.op("Transpose", moved, perm=[0, 2, 1]), h)
        return g.op("Mul", g.op("Concat", kept, g.op("Transpose", moved, perm=[0, 2, 1]), axis=1), mask)

    def _edges(self, raw: str) -> tuple[str, str]:
        """The ends of the bins, (1, count, bins + 1), and their sizes, from unnormalised sizes."""
        g = self.g
        share = g.op("Softmax", g.op("Div", raw, g.number(math.sqrt(self.sizes.hidden))), axis=-1)
        share = g.op("Add", g.op("Mul", share, g.number(1 - 1e-3 * _BINS)), g.number(1e-3))
        ends = g.op("Pad", g.op("CumSum", share, g.integers(2)), g.integers(0, 0, 1, 0, 0, 0))
        ends = g.op("Sub", g.op("Mul", ends, g.number(2 * _TAIL)), g.number(_TAIL))
        upper = g.cut(ends, g.integers(1), g.integers(_BINS + 1), 2)
        lower = g.cut(ends, g.integers(0), g.integers(_BINS), 2)
        return lower, g.op("Sub", upper, lower)

    def _spline(self, x: str, h: str) -> str:
        """The inverse rational-quadratic spline (Durkan et al. 2019, arXiv:1906.04032), the identity in its tails."""
        g = self.g
        widths, heights, slopes = g.split(h, [_BINS, _BINS, _BINS - 1], axis=2)
        left, width = self._edges(widths)
        low, height = self._edges(heights)
        slopes = g.op("Add", g.op("Softplus", slopes), g.number(1e-3))
        slopes = g.op("Pad", slopes, g.integers(0, 0, 1, 0, 0, 1), g.number(1.0))
        inside = g.op("Clip", x, g.number(-_TAIL), g.number(_TAIL))
        above = g.cast(g.op("GreaterOrEqual", inside, low), integer=True)
        bin_ = g.op("Sub", g.op("ReduceSum", above, g.integers(2), keepdims=1), g.integers(1))
        bin_ = g.op("Max", bin_, g.integers(0))
        after = g.op("Add", bin_, g.integers(1))
        left, width, low, height = (g.op("GatherElements", each, bin_, axis=2) for each in (left, width, low, height))
        slope, next_slope = (g.op("GatherElements", slopes, each, axis=2) for each in (bin_, after))
        delta = g.op("Div", height, width)
        bend = g.op("Sub", g.op("Add", slope, next_slope), g.op("Mul", delta, g.number(2)))
        over = g.op("Sub", inside, low)
        a = g.op("Add", g.op("Mul", over, bend), g.op("Mul", height, g.op("Sub", delta, slope)))
        b = g.op("Sub", g.op("Mul", height, slope), g.op("Mul", over, bend))
        c = g.op("Neg", g.op("Mul", delta, over))
        root = g.op("Sub", g.op("Mul", b, b), g.op("Mul", g.op("Mul", a, c), g.number(4)))
        root = g.op("Sqrt", g.op("Max", root, g.number(0)))
        root = g.op("Div", g.op("Mul", c, g.number(2)), g.op("Sub", g.op("Neg", b), root))
        bent = g.op("Add", g.op("Mul", root, width), left)
        return g.op("Where", g.op("LessOrEqual", g.op("Abs", x), g.number(_TAIL)), bent, x)

    # Flow

    def _flow(self, z: str, mask: str) -> str:
        g, half = self.g, self.sizes.hidden // 2
        for n in (6, 4, 2, 0):
            kept, moved = g.split(g.flip(z), [half, half])
            h = g.op("Mul", g.conv(f"flow.flows.{n}.pre", kept, half, self.sizes.hidden), mask)
            mean = g.conv(f"flow.flows.{n}.post", self._gated(f"flow.flows.{n}.enc", h, mask), self.sizes.hidden, half)
            moved = g.op("Mul", g.op("Sub", moved, g.op("Mul", mean, mask)), mask)
            z = g.op("Concat", kept, moved, axis=1)
        return z

    def _gated(self, name: str, x: str, mask: str) -> str:
        """WaveNet's gated convolutions, four layers."""
        g, hidden, layers = self.g, self.sizes.hidden, 4
        given = [""] * layers
        if self.speaker:
            given = g.split(
                g.conv(f"{name}.cond_layer", self.speaker, 512, 2 * hidden * layers), [2 * hidden] * layers
            )  # fmt: skip
        output = ""
        for n in range(layers):
            both = g.conv(f"{name}.in_layers.{n}", x, hidden, 2 * hidden, 5)
            if given[n]:
                both = g.op("Add", both, given[n])
            signal, gate = g.split(both, [hidden, hidden])
            gated = g.op("Mul", g.op("Tanh", signal), g.op("Sigmoid", gate))
            last = n == layers - 1
            skip = g.conv(f"{name}.res_skip_layers.{n}", gated, hidden, hidden if last else 2 * hidden)
            if not last:
                residue, skip = g.split(skip, [hidden, hidden])
                x = g.op("Mul", g.op("Add", x, residue), mask)
            output = g.op("Add", output, skip) if output else skip
        return g.op("Mul", output, mask)

    # HiFi-GAN

    def _vocoder(self, z: str) -> str:
        g, sizes, wide = self.g, self.sizes, self.sizes.channels
        x = g.conv("dec.conv_pre", z, sizes.hidden, wide, 7)
        if self.speaker:
            x = g.op("Add", x, g.conv("dec.cond", self.speaker, 512, wide))
        for n, rate in enumerate(sizes.rates):
            x = g.upsampling(f"dec.ups.{n}", g.op("LeakyRelu", x, alpha=0.1), wide, wide // 2, rate)
            wide //= 2
            blocks = [
                self._residual(f"dec.resblocks.{n * len(sizes.kernels) + each}", x, wide, kernel, dilations)
                for each, (kernel, dilations) in enumerate(zip(sizes.kernels, sizes.dilations, strict=True))
            ]
            total = blocks[0]
            for block in blocks[1:]:
                total = g.op("Add", total, block)
            x = g.op("Div", total, g.number(len(blocks)))
        x = g.conv("dec.conv_post", g.op("LeakyRelu", x, alpha=0.01), wide, 1, 7, bias=False, gain=0.2)
        return g.op("Tanh", x)

    def _residual(self, name: str, x: str, wide: int, kernel: int, dilations: Sequence[int]) -> str:
        g = self.g
        lists = ("convs1", "convs2") if self.sizes.paired else ("convs",)
        for n, dilation in enumerate(dilations):
            y = x
            for each in lists:
                step = 1 if each == "convs2" else dilation
                y = g.conv(
                    f"{name}.{each}.{n}", g.op("LeakyRelu", y, alpha=0.1), wide, wide, kernel, dilation=step
                )  # fmt: skip
            x = g.op("Add", y, x)
        return x
