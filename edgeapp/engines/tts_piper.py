"""Speech by Piper's voices (VITS in ONNX Runtime): the first audio does not wait for the clause, and loudness is one for the voice.

Piper makes one piece of audio a sentence and scales each piece to full peak, so clauses would jump in loudness; here
nothing is normalised, and one gain is measured when the voice loads. A voice is two files, NAME.onnx and NAME.onnx.json.
Piper is GPL-3.0-or-later and phonemises with espeak-ng.

VITS (Kim, Kong, Son 2021, arXiv:2106.06103) is a text encoder, which needs the whole clause, and a vocoder (HiFi-GAN,
arXiv:2010.05646) of convolutions, whose sample depends on a few hundred milliseconds around it and which does most of
the work. So the graph is cut between them, and the vocoder runs in windows: each has the margin that its convolutions
reach, what they spoilt at its ends is thrown away, and the rest joins without a seam. Noise is drawn in the first half.

The cut is the output of the first transposed convolution, the only kind of node that tells a vocoder whatever the
exporter called it. Behind it windows are bit-identical to the whole: ONNX Runtime sums a product in another order when it
has 64 columns or less, and there are that few only before the first upsampling.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np

from edgeapp.core.events import BackendError, Clause, ConfigError, Speech
from edgeapp.core.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.lane import Lane

    Floats = NDArray[np.float32]

T = TypeVar("T")

_CLAUSE_CHARS_MAX: Final = 100  # about 7 s of speech: the longest bite
_LEAD_MS: Final = 5  # of silence that stays before the first sound
_SOUND: Final = 0.01  # louder than this (of 1.0) is sound: -40 dB
_CALIBRATION: Final = "The quick brown fox is at the front left, and it costs 12 euros."
_CALIBRATED_PEAK: Final = 0.7  # leaves 3 dB for sentences that are louder than the calibration
_FIRST_MS: Final = 100  # of the first window: less is hardly sooner, for its margin costs as much
_LONGEST_MS: Final = 1_600  # of a window: the margins are then a tenth of the work. Each is twice the one before
_COLUMNS_A_THREAD: Final = 80  # above the 64 of MLAS's blocks, with what a partition into sixteens may take away
_SMALLEST: Final = 1 / 32_768  # one step of int16


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[tts]` of the configuration."""

    voice: str
    """Path of the voice's .onnx file; its .onnx.json lies beside it."""

    gain: float = 0.0
    """Loudness as a factor; 0 measures it once at load, so that a calibration sentence peaks at 0.7 of full scale."""

    speed: float = 1.0
    """0.5 is half as fast, 2 twice as fast as the voice's own."""

    speaker: int = 0
    """The speaker of a voice that has several."""

    split: bool = True
    """Give out the first audio before the phrase is done; false synthesizes whole phrases."""

    threads: int = 1
    """Threads of one inference."""

    device: str = "cpu"
    """`cpu` or `cuda`."""


@dataclass(frozen=True)
class Window:
    """A stretch of the cut tensor: what the vocoder is given, and what is kept of its answer."""

    start: int
    stop: int
    begin: int
    """The first step that is kept; at least `start`."""

    end: int
    """Behind the last step that is kept; at most `stop`."""


@dataclass(frozen=True)
class Plan:
    """Where a voice's graph is cut and how far its vocoder reaches, in steps of the cut tensor."""

    cut: str
    """The tensor's name."""

    before: int
    """Steps before a step that its samples depend on."""

    after: int
    """Steps behind it."""

    hop: int
    """Samples of a step."""

    def window(self, begin: int, want: int, steps: int, least: int) -> Window:
        """The window that gives `want` steps from `begin` on, of `steps`, in at least `least` if there are so many.

        It takes the rest too if that is no longer than the margins, which it would have to compute again.
        """
        end = begin + want
        if steps - end <= self.before + self.after:
            end = steps
        start, stop = max(0, begin - self.before), min(steps, end + self.after)
        stop = min(steps, max(stop, start + least))
        return Window(max(0, min(start, stop - least)), stop, begin, end)


class _Vocoder:
    """The second half of a voice."""

    def __init__(self, session: Any, plan: Plan, threads: int) -> None:
        self._session = session
        self.plan = plan
        self._least = _COLUMNS_A_THREAD * threads

    def window(self, latent: Floats, begin: int, want: int) -> Window:
        return self.plan.window(begin, want, latent.shape[2], self._least)

    def decode(self, latent: Floats, window: Window, handle: Any = None) -> Floats:
        """The kept samples of one window of `latent`, shape (1, channels, steps)."""
        given = np.ascontiguousarray(latent[:, :, window.start : window.stop])
        audio = self._session.run(None, {self.plan.cut: given}, handle)[0].reshape(-1)
        kept: Floats = audio[
            (window.begin - window.start) * self.plan.hop : (window.end - window.start) * self.plan.hop
        ]
        return kept

    def error(self, latent: Floats, want: int) -> float:
        """The largest difference between windows of `want` steps and the whole."""
        steps = latent.shape[2]
        whole, begin, most = self.decode(latent, Window(0, steps, 0, steps)), 0, 0.0
        while begin < steps:
            window = self.window(latent, begin, want)
            kept = self.decode(latent, window)
            same = whole[begin * self.plan.hop : window.end * self.plan.hop]
            most = max(most, float(np.abs(kept - same).max())) if kept.shape == same.shape else np.inf
            begin = window.end
        return most


class PiperVoice:
    """One voice on one lane."""

    def __init__(self, library: Any, front: Any, vocoder: _Vocoder | None, options: Options, lane: Lane) -> None:
        """`front` is the session of the first half, or of the whole if there is no `vocoder`."""
        from onnxruntime import RunOptions

        self._library = library
        self._front = front
        self.vocoder = vocoder
        """The second half; None if whole phrases are synthesized."""

        self._options = options
        self._lane = lane
        self._new_handle: Callable[[], Any] = RunOptions  # once its `terminate` is true, the run ends at its next node
        self._rate_hz: int = library.config.sample_rate
        self.gain = options.gain
        """The one factor between the network's output and the samples."""

    async def __call__(self, clause: Clause) -> Stream[Speech]:
        """Speak `clause` in parts (int16 at the voice's rate) as they are synthesized; none if nothing is sayable.

        Raises BackendError if Piper fails. Closing the stream ends the inference that is running.
        """
        return await Stream.start(self._parts(clause.text))

    async def _parts(self, text: str) -> AsyncGenerator[Speech, None]:
        begun = False
        async for samples in self._synthesize(text):
            audio = samples if begun else _without_lead(samples, self._rate_hz)
            if audio.size:
                begun = True
                scaled = np.clip(audio * np.float32(self.gain * 32767), -32767, 32767).astype(np.int16)
                yield Speech(scaled, self._rate_hz)

    async def _synthesize(self, text: str) -> AsyncGenerator[Floats, None]:
        """The network's own samples, -1 to 1: a window at a time, or a phrase if the voice is whole."""
        chunk_ms = _FIRST_MS
        for phrase in _phrases(text):
            for made in await self._bite(partial(self._encode, phrase), "tts"):
                if self.vocoder is None:
                    yield made.reshape(-1)
                    continue
                done = 0
                while done < made.shape[2]:  # each window keeps a step at least
                    window = self.vocoder.window(made, done, self._steps(chunk_ms))
                    yield await self._bite(partial(self._decode, made, window), "tts.chunk")
                    done, chunk_ms = window.end, min(2 * chunk_ms, _LONGEST_MS)

    async def _bite(self, work: Callable[[Any], T], label: str) -> T:
        """One inference on the lane; leaving it ends it."""
        handle = self._new_handle()
        try:
            return await self._lane.run(partial(work, handle), label=label)
        finally:
            handle.terminate = True

    def _steps(self, length_ms: int) -> int:
        assert self.vocoder is not None
        return max(1, length_ms * self._rate_hz // (1_000 * self.vocoder.plan.hop))

    def _encode(self, phrase: str, handle: Any) -> list[Floats]:
        """What the first session makes of each sentence inside `phrase`."""
        card = self._library.config
        scales = np.array([card.noise_scale, card.length_scale / self._options.speed, card.noise_w_scale], np.float32)
        try:
            made = []
            for phonemes in self._library.phonemize(phrase):
                if phonemes:
                    ids = np.array([self._library.phonemes_to_ids(phonemes)], np.int64)
                    inputs = {"input": ids, "input_lengths": np.array([ids.size]), "scales": scales}
                    if card.num_speakers > 1:
                        inputs["sid"] = np.array([self._options.speaker])
                    made.append(self._front.run(None, inputs, handle)[0])
        except Exception as error:  # Piper, its phonemiser and ONNX Runtime share no exception
            raise BackendError(f"tts_piper failed on a phrase of {len(phrase)} characters: {error}") from error
        return made

    def _decode(self, latent: Floats, window: Window, handle: Any) -> Floats:
        assert self.vocoder is not None
        try:
            return self.vocoder.decode(latent, window, handle)
        except Exception as error:  # ONNX Runtime has no exception of its own
            raise BackendError(f"tts_piper failed on {window.stop - window.start} steps: {error}") from error

    def calibrate(self) -> float:
        """Speak a real sentence to nobody, and choose the gain by its peak if none was given. Blocking.

        Returns the largest difference between a second of it in windows and the same second at once; 0 if whole.
        """
        made, error = self._encode(_CALIBRATION, None), 0.0
        if self.vocoder is not None:
            error = self.vocoder.error(made[0][:, :, : self._steps(1_000)], self._steps(_FIRST_MS))
            steps = [latent.shape[2] for latent in made]
            made = [self._decode(each, Window(0, size, 0, size), None) for each, size in zip(made, steps, strict=True)]
        peak = max((float(np.abs(each).max(initial=0.0)) for each in made), default=0.0)
        if self.gain == 0.0:
            self.gain = _CALIBRATED_PEAK / peak if peak > _SOUND else 1.0
        return error


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[PiperVoice]:
    """Open the voice, speak one sentence to nobody and measure the gain.

    Raises ConfigError for a missing package or file, a file that is not a Piper voice, or an option outside its range.
    """
    if not 0.25 <= options.speed <= 4:
        raise ConfigError(f"tts_piper: speed is {options.speed}; use 0.25 to 4")
    if not 0 <= options.gain <= 100:
        raise ConfigError(f"tts_piper: gain is {options.gain}; use a factor above 0, or 0 to measure it")
    if options.threads < 1:
        raise ConfigError(f"tts_piper: threads is {options.threads}; use 1 or more")
    if options.device not in {"cpu", "cuda"}:
        raise ConfigError(f"tts_piper: device is {options.device!r}; use cpu or cuda")
    yield await lane.run(lambda: _open(options, lane), label="load")


def _open(options: Options, lane: Lane) -> PiperVoice:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        from piper import PiperVoice as Library
        from piper.config import PiperConfig
    except ImportError as error:
        raise ConfigError(f"tts_piper needs the package {error.name}: pip install 'edgeapp[voice]'") from error
    model, card = Path(options.voice), Path(options.voice + ".json")
    for path in (model, card):
        if not path.is_file():
            raise ConfigError(f"tts_piper: there is no file {path}; a voice is NAME.onnx with NAME.onnx.json beside it")
    try:
        config = PiperConfig.from_dict(json.loads(card.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"tts_piper: {card} is not the card of a Piper voice ({error!r}); copy it again") from error
    if not 0 <= options.speaker < max(1, config.num_speakers):
        raise ConfigError(
            f"tts_piper: speaker is {options.speaker}, but {model} has {config.num_speakers}; count from 0"
        )
    if options.device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ConfigError(
            'tts_piper: this ONNX Runtime has no CUDAExecutionProvider; use device = "cpu" or install its GPU build'
        )
    library = Library(session=None, config=config)
    try:
        content = model.read_bytes()
        voice, why = _open_split(content, library, options, lane) if options.split else (None, "")
        voice = voice or _open_whole(content, library, options, lane)
    except BackendError as error:
        raise ConfigError(f"tts_piper: {model} and {card} do not belong together: {error}") from error
    except ConfigError:
        raise
    except Exception as error:  # a truncated file raises one of several unrelated exceptions
        raise ConfigError(f"tts_piper: {model} is not a readable ONNX file; copy it again ({error})") from error
    if why:
        print(f"edgeapp: tts_piper: {model} speaks whole phrases, so its first audio is late: {why}", file=sys.stderr)
    return voice


def _open_whole(content: bytes, library: Any, options: Options, lane: Lane) -> PiperVoice:
    front = _session(content, options)
    if not {"input", "input_lengths", "scales"} <= {each.name for each in front.get_inputs()}:
        raise ConfigError(
            f"tts_piper: {options.voice} is not a Piper voice: it needs the inputs input, input_lengths and scales"
        )
    voice = PiperVoice(library, front, None, options, lane)
    voice.calibrate()
    return voice


def _open_split(content: bytes, library: Any, options: Options, lane: Lane) -> tuple[PiperVoice | None, str]:
    """The voice in two halves, proven on its own sound; or none, and why."""
    import onnx

    whole = onnx.load_model_from_string(content)
    try:
        plan = plan_of(whole.graph)
        front, back = (_session(half.SerializeToString(), options) for half in halves(whole, plan))
    except ValueError as error:
        return None, str(error)
    voice = PiperVoice(library, front, _Vocoder(back, plan, options.threads), options, lane)
    off = voice.calibrate()
    if off > _SMALLEST:
        return None, f"in windows it sounds different, by up to {off:.2g} of full scale"
    return voice, ""


def _session(model: bytes, options: Options) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    # cuDNN would search anew for every length of audio: HEURISTIC asks its table.
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
    provider = cuda if options.device == "cuda" else "CPUExecutionProvider"
    return onnxruntime.InferenceSession(model, settings, providers=[provider])


def _phrases(text: str) -> list[str]:
    """One clause each, at most `_CLAUSE_CHARS_MAX` characters; `[[` would start Piper's raw phonemes."""
    spoken = "".join(sign if sign.isprintable() else " " for sign in text).replace("[[", "[ [")
    clauses = re.split(r"(?<=[.!?;:,])\s+", spoken)
    return [phrase for clause in clauses for phrase in textwrap.wrap(clause, _CLAUSE_CHARS_MAX)]


def _without_lead(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The samples from `_LEAD_MS` before the first sound on; empty if it is all silence."""
    loud = np.abs(audio) > _SOUND
    if not loud.any():
        return audio[:0]
    return audio[max(0, int(loud.argmax()) - rate_hz * _LEAD_MS // 1000) :]


# The cut

_ONE_TO_ONE: Final = {
    "Add", "Cast", "Clip", "Div", "Elu", "Identity", "LeakyRelu", "Mul", "PRelu", "Relu", "Sigmoid", "Sin", "Squeeze",
    "Sub", "Tanh", "Unsqueeze",
}  # fmt: skip
"""Operators whose every output over time depends on the input at the same time only."""


def plan_of(graph: Any) -> Plan:
    """Find the cut of a voice's graph and how far what lies behind it reaches.

    Raises ValueError if it cannot run in windows, with the reason.
    """
    cut = next((node.output[0] for node in graph.node if node.op_type == "ConvTranspose"), "")
    if not cut:
        raise ValueError("its graph has no transposed convolution, so no vocoder")
    rates, behind = {cut: 1}, []  # samples of each tensor a step; the nodes of the vocoder, in their order
    for node in _moving(graph):
        sources = {rates.get(name, 0) for name in node.input if name in rates}
        if not sources:
            continue
        if len(sources) > 1:
            raise ValueError(f"node {node.name!r} mixes two rates")
        rates[node.output[0]] = sources.pop() * _stride(node)
        behind.append(node)
    output = graph.output[0].name
    if output not in rates:
        raise ValueError("its output does not come from its vocoder")
    outside = {name for node in _moving(graph) for name in node.output} | _given(graph)
    for node in behind:
        if crossing := [name for name in node.input if name in outside and name not in rates]:
            raise ValueError(f"tensor {crossing[0]!r} goes around the cut at {cut!r}")
    needs = {output: (0, rates[output] - 1)}
    for node in reversed(behind):
        if node.output[0] in needs:
            first, last = _reach(node, *needs[node.output[0]])
            for name in node.input:
                if name in rates:
                    known = needs.get(name, (first, last))
                    needs[name] = (min(first, known[0]), max(last, known[1]))
    first, last = needs[cut]
    return Plan(cut, max(0, -first), max(0, last), rates[output])


def halves(whole: Any, plan: Plan) -> tuple[Any, Any]:
    """The models before and behind the cut. Constants that a vocoder computes from nothing stay in both."""
    from onnx import TensorProto, helper

    behind, made = [], {plan.cut}
    for node in whole.graph.node:
        if made & set(node.input):
            made.update(node.output)
            behind.append(node)
    moving = {node.output[0] for node in _moving(whole.graph)}
    before = [node for node in whole.graph.node if node.output[0] not in made or node.output[0] == plan.cut]
    fixed = [node for node in before if node.output[0] not in moving]
    kind = whole.graph.output[0].type.tensor_type.elem_type or TensorProto.FLOAT
    latent = helper.make_tensor_value_info(plan.cut, kind, ["batch", "channels", "steps"])

    def half(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Any:
        used = {name for node in nodes for name in node.input}
        values = [value for value in whole.graph.initializer if value.name in used]
        graph = helper.make_graph(nodes, whole.graph.name or "voice", inputs, outputs, values)
        return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)

    return half(before, list(whole.graph.input), [latent]), half(fixed + behind, [latent], [whole.graph.output[0]])


def _given(graph: Any) -> set[str]:
    """The inputs; old files list their weights among them."""
    return {each.name for each in graph.input} - {each.name for each in graph.initializer}


def _moving(graph: Any) -> list[Any]:
    """The nodes whose outputs depend on the inputs or on chance, in the order of the file, which is that of computation."""
    moving, nodes = _given(graph), []
    for node in graph.node:
        inner = any(each.HasField("g") for each in node.attribute)  # a branch may look at any tensor
        if inner or node.op_type.startswith("Random") or moving & set(node.input):
            moving.update(node.output)
            nodes.append(node)
    return nodes


def _shape(node: Any) -> tuple[int, int, int, int]:
    """Kernel, dilation, stride and padding before, of a convolution over time. Raises ValueError if it is another."""
    from onnx import helper

    found = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    one = {"kernel_shape": [0], "dilations": [1], "strides": [1], "pads": [0, 0], "output_padding": [0]} | found
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


def _stride(node: Any) -> int:
    """How many outputs an input becomes. Raises ValueError for an operator that may look anywhere."""
    if node.op_type in {"Conv", "ConvTranspose"}:
        return _shape(node)[2]
    if node.op_type not in _ONE_TO_ONE:
        raise ValueError(f"the vocoder's node {node.name!r} ({node.op_type}) may look at all of its input")
    return 1


def _reach(node: Any, first: int, last: int) -> tuple[int, int]:
    """The first and last input that the outputs `first` to `last` depend on."""
    if node.op_type not in {"Conv", "ConvTranspose"}:
        return first, last
    kernel, dilation, stride, before = _shape(node)
    wide = dilation * (kernel - 1)
    if node.op_type == "Conv":
        return first - before, last - before + wide
    return -((wide - first - before) // stride), (last + before) // stride
