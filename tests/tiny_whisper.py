"""A Whisper of the right shape with random weights, in CTranslate2's format, made on the spot without torch.

Everything but the weights is real: the feature extractor's 80 mel bands, the 30 s of positions, the special tokens, and
a byte-level tokenizer of 256 letters. What it "hears" is nonsense, but always the same nonsense.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2 import specs
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WIDTH, HEADS, LAYERS, MELS = 32, 2, 1, 80
ENCODER_POSITIONS, DECODER_POSITIONS = 1500, 448
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip


def build(folder: Path, *, short_context: bool = False) -> Path:
    """Write model.bin, config.json, vocabulary.json, tokenizer.json and edgeapp.json into `folder`; return it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    stamps = [f"<|{step * 0.02:.2f}|>" for step in range(ENCODER_POSITIONS + 1)]
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in stamps])
    tokenizer.save(str(folder / "tokenizer.json"))
    vocabulary = [*letters, *SPECIAL, *stamps]

    rng = np.random.default_rng(0)
    spec = specs.WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    _convolutions(spec.encoder, rng)
    spec.encoder.position_encodings.encodings = _random(rng, ENCODER_POSITIONS, WIDTH)
    spec.decoder.position_encodings.encodings = _random(rng, DECODER_POSITIONS, WIDTH)
    spec.decoder.embeddings.weight = _random(rng, len(vocabulary), WIDTH)
    spec.decoder.projection.weight = _random(rng, len(vocabulary), WIDTH)
    for part in (spec.encoder, spec.decoder):
        _norm(part.layer_norm)
        for layer in part.layer:
            _attention(layer.self_attention, rng, [3 * WIDTH, WIDTH])
            _norm(layer.ffn.layer_norm)
            _linear(layer.ffn.linear_0, rng, 4 * WIDTH, WIDTH)
            _linear(layer.ffn.linear_1, rng, WIDTH, 4 * WIDTH)
    for layer in spec.decoder.layer:
        _attention(layer.attention, rng, [WIDTH, 2 * WIDTH, WIDTH])
    spec.register_vocabulary(vocabulary)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [vocabulary.index("<|endoftext|>")]
    spec.config.alignment_heads = [(0, 0)]
    spec.config.lang_ids = [vocabulary.index("<|en|>")]
    spec.validate()
    spec.save(str(folder))
    (folder / "edgeapp.json").write_text(json.dumps({"short_context": short_context}))
    return folder


def _random(rng: np.random.Generator, *shape: int) -> Any:
    return (rng.normal(size=shape) * 0.3).astype(np.float32)


def _linear(linear: Any, rng: np.random.Generator, outputs: int, inputs: int) -> None:
    linear.weight = _random(rng, outputs, inputs)
    linear.bias = np.zeros(outputs, np.float32)


def _norm(norm: Any) -> None:
    norm.gamma, norm.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)


def _attention(attention: Any, rng: np.random.Generator, outputs: list[int]) -> None:
    _norm(attention.layer_norm)
    for linear, size in zip(attention.linear, outputs, strict=True):
        _linear(linear, rng, size, WIDTH)


def _convolutions(encoder: Any, rng: np.random.Generator) -> None:
    for convolution, inputs in ((encoder.conv1, MELS), (encoder.conv2, WIDTH)):
        convolution.weight = _random(rng, WIDTH, inputs, 3)
        convolution.bias = np.zeros(WIDTH, np.float32)
