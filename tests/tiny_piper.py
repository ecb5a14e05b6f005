"""A voice of Piper's shape, made on the spot: every symbol is 256 samples of its own tone; pauses are silent.

The real library runs on it: same inputs, same card, same phonemes; only the sound is nothing like speech.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RATE_HZ = 16_000
HOP = 256
SILENT = ("_", "^", "$", " ", ",", ".", "?", "!", ":", ";")


def build(folder: Path, *, speakers: int = 1) -> Path:
    """Write `tiny.onnx` and `tiny.onnx.json` into `folder` and return the path of the first."""
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP as IDS

    count = 1 + max(number for numbers in IDS.values() for number in numbers)
    tones = np.stack([0.2 * np.sin(np.arange(HOP) * 2 * np.pi * (2 + symbol % 24) / HOP) for symbol in range(count)])
    for symbol in SILENT:
        tones[IDS[symbol]] = 0
    nodes = [
        helper.make_node("Gather", ["tones", "input"], ["frames"]),
        helper.make_node("Reshape", ["frames", "flat"], ["output"]),
    ]
    values = [
        numpy_helper.from_array(tones.astype(np.float32), "tones"),
        numpy_helper.from_array(np.array([1, 1, -1], np.int64), "flat"),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "phonemes"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, "samples"])]
    graph = helper.make_graph(nodes, "tiny_voice", inputs, outputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path = folder / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    card = {
        "audio": {"sample_rate": RATE_HZ, "quality": "x_low"},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": IDS,
        "num_symbols": count,
        "num_speakers": speakers,
        "speaker_id_map": {},
    }
    (folder / "tiny.onnx.json").write_text(json.dumps(card))
    return path
