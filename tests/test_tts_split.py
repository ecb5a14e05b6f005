"""A Piper voice in parts: what it says is bit for bit what the whole says, and what cannot be split says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_piper
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeapp.core.events import Clause
from edgeapp.core.lane import Lane
from edgeapp.engines import tts_piper
from edgeapp.engines.tts_piper import PiperVoice
from edgeapp.models.cut_voice import Part, models_of, parts_of
from edgeapp.models.random_voice import build_voice

LONG = "The green hammer lies at the rear left, beside the long ladder. It costs 12 euros 50, and three are left."


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[PiperVoice]:
    """The voice on a lane of its own."""
    lane = Lane("test")
    try:
        async with tts_piper.load(tts_piper.Options(voice=str(path), **options), lane) as voice:
            yield voice
    finally:
        lane.close()


async def parts_of_text(voice: PiperVoice, text: str) -> list[NDArray[np.int16]]:
    return [part.samples async for part in await voice(Clause(text))]


@pytest.fixture(scope="module")
def voice_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thin voice without noise."""
    return build_voice(tmp_path_factory.mktemp("voice") / "random.onnx", "tiny", noise=False)


@pytest.fixture(scope="module")
def graph(voice_file: Path) -> Any:
    """Its model; a test that changes it takes a copy."""
    return onnx.load(str(voice_file))


def changed(model: Any) -> Any:
    """A copy that may be changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


@pytest.mark.real_time
@pytest.mark.parametrize("speakers", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
async def test_split_says_bit_for_bit_what_the_whole_says(tmp_path: Path, speakers: int, threads: int) -> None:
    path = build_voice(tmp_path / "random.onnx", "tiny", speakers=speakers, noise=False)
    options = {"threads": threads, "speaker": speakers - 1}
    async with opened(path, **options) as split, opened(path, split=False, **options) as whole:
        assert split.gain == whole.gain
        for text in ("Yes.", "The hammer is here.", LONG):
            in_parts, at_once = await parts_of_text(split, text), await parts_of_text(whole, text)
            assert np.array_equal(np.concatenate(in_parts), np.concatenate(at_once))
        assert len(in_parts) > len(at_once)


def spoken(voice: PiperVoice, text: str, chunk: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's own samples of one sentence, `chunk` at a time and at once."""
    (sentence,) = voice._encode(text)
    again = sentence.anew()
    sentence.speak(chunk)
    again.speak(again.samples)
    return sentence.spoken, again.spoken


@pytest.mark.real_time
@pytest.mark.parametrize("threads", [1, 2])
async def test_windows_of_any_size_are_the_whole_in_float_too(tmp_path: Path, threads: int) -> None:
    path = build_voice(tmp_path / "random.onnx", "tiny", speakers=3)
    async with opened(path, threads=threads) as voice:
        for chunk in (700, 2_048, 2_080, 10_000):
            in_windows, at_once = spoken(voice, LONG[:60], chunk)
            assert np.array_equal(in_windows, at_once)


@pytest.mark.real_time
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(("stage", "quality"), [(0, "x_low"), (1, "tiny")])
async def test_a_smaller_margin_would_be_heard(tmp_path: Path, side: str, stage: int, quality: str) -> None:
    """By one step. A flow must have its true size for that: a thin one's last steps weigh less than a float holds."""
    async with opened(build_voice(tmp_path / "random.onnx", quality, noise=False)) as voice:
        part = voice.stages[stage].part
        fewer = {side: getattr(part, side) - 1}
        voice.stages[stage].part = replace(part, **fewer)
        (sentence,) = voice._encode(LONG[:60])
        again = sentence.anew()
        sentence.speak(3_000)
        again.speak(again.samples)
        assert not np.array_equal(sentence._tensors[stage + 1], again._tensors[stage + 1])


@pytest.mark.real_time
async def test_the_first_samples_need_only_the_beginning_of_the_flow(voice_file: Path) -> None:
    async with opened(voice_file) as voice:
        (sentence,) = voice._encode(LONG[:60])
        for bite in sentence.until(1_600):
            bite(None)
        latent, upsampled, samples = (each.shape[-1] for each in sentence._tensors)
        assert latent > 160
        assert upsampled == (80 - 36) * 8, "80 steps, less the margin"
        assert samples == 1_600


@pytest.mark.real_time
async def test_the_first_part_is_short_and_the_next_ones_grow(voice_file: Path) -> None:
    async with opened(voice_file, split=True) as voice:
        sizes = [part.size for part in await parts_of_text(voice, LONG[:80].replace(",", ""))]
    assert sizes[0] <= 1_600, "100 ms at 16 kHz"
    assert sizes[1:4] == [3_200, 6_400, 12_800]
    assert max(sizes) <= 25_600 + 106 * 32, "the longest, and a rest not worth a window"


@pytest.mark.parametrize(
    ("quality", "margin", "hop"), [("tiny", 53, 32), ("x_low", 53, 32), ("medium", 53, 32), ("high", 74, 32)]
)
def test_the_margin_is_what_the_convolutions_reach(tmp_path: Path, quality: str, margin: int, hop: int) -> None:
    flow, vocoder = parts_of(onnx.load(str(build_voice(tmp_path / "random.onnx", quality))).graph)
    assert (flow.before, flow.after, flow.hop) == (36, 36, 8), (
        "4 times 4 layers of kernel 5, 3 and 1 steps to the vocoder"
    )
    assert (vocoder.before, vocoder.after, vocoder.hop) == (margin, margin, hop)


def test_no_name_tells_where_to_cut(graph: Any) -> None:
    anonymous = changed(graph)
    names: dict[str, str] = {each: each for each in ("input", "input_lengths", "scales", "output", "")}
    for node in anonymous.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [names.setdefault(name, str(len(names))) for name in side]
    for value in anonymous.graph.initializer:
        value.name = names.setdefault(value.name, str(len(names)))
    assert parts_of(anonymous.graph) == [
        replace(
            part,
            source=names[part.source],
            output=names[part.output],
            beside=tuple(names[each] for each in part.beside),
        )
        for part in parts_of(graph.graph)
    ]


def test_all_chance_is_before_the_first_cut(graph: Any) -> None:
    kinds = [
        {node.op_type for node in model.graph.node if node.op_type.startswith("Random")}
        for model in models_of(graph, parts_of(graph.graph))
    ]
    assert kinds == [{"RandomNormalLike"}, set(), set()]


def test_the_mask_and_the_speaker_go_beside_the_flow(tmp_path: Path) -> None:
    one, three = (
        parts_of(onnx.load(str(build_voice(tmp_path / f"{count}.onnx", "tiny", speakers=count))).graph)
        for count in (1, 3)
    )
    assert [len(part.beside) for part in one] == [1, 0]
    assert [len(part.beside) for part in three] == [1 + 4 * 4 + 1, 0], "the mask, every layer's, and the vocoder's"


def test_weights_that_are_nodes_or_inputs_make_no_difference(graph: Any) -> None:
    exported = changed(graph)
    values = list(exported.graph.initializer)
    del exported.graph.initializer[:]
    constants = [helper.make_node("Constant", [], [value.name], value=value) for value in values[::2]]
    nodes = list(exported.graph.node)
    del exported.graph.node[:]
    exported.graph.node.extend(constants + nodes)
    exported.graph.initializer.extend(values[1::2])
    exported.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in values[1::2]
    )
    assert parts_of(exported.graph) == parts_of(graph.graph)


def test_zeros_of_a_tensors_length_and_a_slice_of_everything_make_no_difference(graph: Any) -> None:
    """So torch exports the gates of a voice with one speaker, and `[:, :, :None]`."""
    exported = changed(graph)
    nodes = exported.graph.node
    at = next(n for n, node in enumerate(nodes) if node.op_type == "Conv" and "in_layers" in node.name)
    taken = next(n for n, node in enumerate(nodes) if "conv_pre" in node.name)
    assert at < taken
    more = {"everything": [0], "end": [2**63 - 1], "time": [2]}
    exported.graph.initializer.extend(numpy_helper.from_array(np.array(each), name) for name, each in more.items())
    sliced = helper.make_node("Slice", [nodes[taken].input[0], "everything", "end", "time"], ["sliced"])
    nodes[taken].input[0] = "sliced"
    nodes.insert(taken, sliced)
    gated, follows = nodes[at].output[0], nodes[at + 1]
    follows.input[list(follows.input).index(gated)] = "added"
    for node in (
        helper.make_node("Add", [gated, "zeros"], ["added"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Shape", [gated], ["shape"]),
    ):
        nodes.insert(at + 1, node)
    onnx.checker.check_model(exported)
    assert parts_of(exported.graph) == parts_of(graph.graph)


def _looks_everywhere(graph: Any) -> None:
    next(
        node for node in graph.node if node.op_type == "Tanh" and node.output[0] in graph.node[-1].input
    ).op_type = "Softmax"


def _uneven(graph: Any) -> None:
    node = next(node for node in reversed(graph.node) if node.op_type == "Conv")
    next(each for each in node.attribute if each.name == "pads").ints[:] = [0, 6]
    next(each for each in node.attribute if each.name == "strides").ints[:] = [2]


def _around(graph: Any) -> None:
    node = next(node for node in reversed(graph.node) if node.op_type == "Add")
    node.input[1] = next(each for each in graph.node if each.name == "/dec/conv_pre/Conv").output[0]


def _early_output(graph: Any) -> None:
    graph.output[0].name = next(node for node in graph.node if node.op_type == "Ceil").output[0]


def _glance(graph: Any) -> None:
    """A flow that looks at all of its input."""
    next(node for node in reversed(graph.node) if node.op_type == "Sigmoid").op_type = "Softmax"


def _slices_time(graph: Any) -> None:
    node = next(node for node in reversed(graph.node) if node.op_type == "Slice")
    node.input[3] = "time"
    graph.initializer.append(numpy_helper.from_array(np.array([2]), "time"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_looks_everywhere, "Softmax"),
        (_uneven, "does not keep time"),
        (_around, "goes around the cut"),
        (_early_output, "does not come from"),
        (_glance, "Softmax"),
        (_slices_time, "Slice"),
    ],
)
def test_a_graph_that_cannot_run_in_windows_says_why(graph: Any, change: Any, why: str) -> None:
    other = changed(graph)
    change(other.graph)
    with pytest.raises(ValueError, match=why):
        parts_of(other.graph)


@pytest.mark.real_time
async def test_a_voice_whose_flow_cannot_be_split_has_its_vocoder_in_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build_voice(tmp_path / "random.onnx", "tiny", speakers=3, noise=False)
    model = onnx.load(str(path))
    _glance(model.graph)
    onnx.save(model, str(path))
    async with opened(path) as split, opened(path, split=False) as whole:
        assert len(split.stages) == 1
        in_parts, at_once = await parts_of_text(split, LONG), await parts_of_text(whole, LONG)
        assert np.array_equal(np.concatenate(in_parts), np.concatenate(at_once))
        assert len(in_parts) > len(at_once)
    said = capsys.readouterr().err
    assert "random.onnx has only its vocoder in windows" in said
    assert "Softmax" in said


@pytest.mark.real_time
async def test_a_voice_that_cannot_be_split_is_whole_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tiny_piper.build(tmp_path)) as voice:
        assert not voice.stages
        assert await parts_of_text(voice, "Yes.")
    said = capsys.readouterr().err
    assert "tiny.onnx speaks whole phrases" in said
    assert "no vocoder" in said
    async with opened(tmp_path / "tiny.onnx", split=False):
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("steps", [1, 60, 81, 500, 4_999])
@pytest.mark.parametrize("want", [1, 68, 1_000])
def test_windows_keep_every_step_once_with_its_margins(steps: int, want: int) -> None:
    part, least = Part("cut", (), "output", 53, 50, 32), 160
    done = 0
    while done < steps:
        window = part.window(done, want, steps, least)
        assert window.begin == done
        assert window.begin < window.end <= window.stop <= steps
        assert window.start <= max(0, done - 53)
        assert window.stop >= min(steps, window.end + 50)
        assert window.stop - window.start >= min(steps, least)
        done = window.end
    assert done == steps
