"""A Piper voice in two halves: what it says is bit for bit what the whole says, and what cannot be split says why."""

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
from onnx import helper

from edgeapp.core.events import Clause
from edgeapp.core.lane import Lane
from edgeapp.engines import tts_piper
from edgeapp.engines.tts_piper import PiperVoice, Plan, halves, plan_of
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


async def parts_of(voice: PiperVoice, text: str) -> list[NDArray[np.int16]]:
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
            in_parts, at_once = await parts_of(split, text), await parts_of(whole, text)
            assert np.array_equal(np.concatenate(in_parts), np.concatenate(at_once))
        assert len(in_parts) > len(at_once)


@pytest.mark.real_time
@pytest.mark.parametrize("threads", [1, 2])
async def test_windows_of_any_size_are_the_whole_in_float_too(tmp_path: Path, threads: int) -> None:
    path = build_voice(tmp_path / "random.onnx", "tiny")
    async with opened(path, threads=threads) as voice:
        assert voice.vocoder is not None
        latent = voice._encode(LONG[:60], None)[0][:, :, :700]
        assert [voice.vocoder.error(latent, want) for want in (7, 50, 64, 65, 333)] == [0.0] * 5


@pytest.mark.real_time
async def test_a_smaller_margin_would_be_heard(voice_file: Path) -> None:
    async with opened(voice_file) as voice:
        assert voice.vocoder is not None
        latent = voice._encode(LONG[:60], None)[0]
        plan = voice.vocoder.plan
        for short in (replace(plan, before=plan.before - 1), replace(plan, after=plan.after - 1)):
            voice.vocoder.plan = short
            assert voice.vocoder.error(latent, 100) > 0


@pytest.mark.real_time
async def test_the_first_part_is_short_and_the_next_ones_grow(voice_file: Path) -> None:
    async with opened(voice_file, split=True) as voice:
        sizes = [part.size for part in await parts_of(voice, LONG[:80].replace(",", ""))]
    assert sizes[0] <= 1_600, "100 ms at 16 kHz"
    assert sizes[1:4] == [3_200, 6_400, 12_800]
    assert max(sizes) <= 25_600 + 106 * 32, "the longest, and a rest not worth a window"


@pytest.mark.parametrize(
    ("quality", "margin", "hop"), [("tiny", 53, 32), ("x_low", 53, 32), ("medium", 53, 32), ("high", 74, 32)]
)
def test_the_margin_is_what_the_convolutions_reach(tmp_path: Path, quality: str, margin: int, hop: int) -> None:
    plan = plan_of(onnx.load(str(build_voice(tmp_path / "random.onnx", quality))).graph)
    assert (plan.before, plan.after, plan.hop) == (margin, margin, hop)


def test_no_name_tells_where_to_cut(graph: Any) -> None:
    anonymous = changed(graph)
    names: dict[str, str] = {each: each for each in ("input", "input_lengths", "scales", "output", "")}
    for node in anonymous.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [names.setdefault(name, str(len(names))) for name in side]
    for value in anonymous.graph.initializer:
        value.name = names.setdefault(value.name, str(len(names)))
    known, plan = plan_of(graph.graph), plan_of(anonymous.graph)
    assert plan == replace(known, cut=names[known.cut])


def test_all_chance_is_in_the_first_half(graph: Any) -> None:
    first, second = (
        {node.op_type for node in half.graph.node if node.op_type.startswith("Random")}
        for half in halves(graph, plan_of(graph.graph))
    )
    assert (first, second) == ({"RandomNormalLike"}, set())


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
    assert plan_of(exported.graph) == plan_of(graph.graph)


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


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_looks_everywhere, "Softmax"),
        (_uneven, "does not keep time"),
        (_around, "goes around the cut"),
        (_early_output, "does not come from its vocoder"),
    ],
)
def test_a_graph_that_cannot_run_in_windows_says_why(graph: Any, change: Any, why: str) -> None:
    other = changed(graph)
    change(other.graph)
    with pytest.raises(ValueError, match=why):
        plan_of(other.graph)


@pytest.mark.real_time
async def test_a_voice_that_cannot_be_split_is_whole_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tiny_piper.build(tmp_path)) as voice:
        assert voice.vocoder is None
        assert await parts_of(voice, "Yes.")
    said = capsys.readouterr().err
    assert "tiny.onnx speaks whole phrases" in said
    assert "no vocoder" in said
    async with opened(tmp_path / "tiny.onnx", split=False):
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("steps", [1, 60, 81, 500, 4_999])
@pytest.mark.parametrize("want", [1, 68, 1_000])
def test_windows_keep_every_step_once_with_its_margins(steps: int, want: int) -> None:
    plan, least = Plan("cut", 53, 50, 32), 160
    done = 0
    while done < steps:
        window = plan.window(done, want, steps, least)
        assert window.begin == done
        assert window.begin < window.end <= window.stop <= steps
        assert window.start <= max(0, done - 53)
        assert window.stop >= min(steps, window.end + 50)
        assert window.stop - window.start >= min(steps, least)
        done = window.end
    assert done == steps
