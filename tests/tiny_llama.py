"""A Llama of 64 dimensions with random weights, as a CTranslate2 folder and as a GGUF file: real engines, no download.

Its replies mean nothing, but they depend on every token of the prompt through attention, so a wrong prefix, a lost token
or a wrong continuation changes them. It speaks the kiosk's prompt format (`edgeapp.core.chat.KIOSK`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MARKERS: Final = ("<pad>", "<bos>", "<end>", "<sys>", "<nl>", "<live>", "<user>", "<bot>", "<tool>")
CHAT_TEMPLATE: Final = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}<bos><sys> {{ m.content }}<live>"
    "{% elif m.role == 'user' %}<user> {{ m.content }}"
    "{% else %}<bot> {{ m.content }}{% if not loop.last %}<end>{% endif %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"
)
_WORDS: Final = (
    "how much is the hex bolt where are the washers it costs four euros and ten cents we have none left open"
)
_WIDTH, _LAYERS, _HEADS, _INNER = 64, 2, 4, 128

Weights = dict[str, NDArray[np.float32]]


def write_tokenizer(folder: Path) -> dict[str, Any]:
    """Write `tokenizer.json` (byte-level BPE, 9 markers, 256 bytes, a few merges); return it as parsed JSON."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {_WORDS}"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    parsed: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return parsed


def vocabulary(tokenizer: dict[str, Any]) -> list[str]:
    """The tokens in the order of their ids."""
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    return sorted(ids, key=lambda token: ids[token])


def make_weights(tokens: list[str], seed: int = 7) -> Weights:
    """Random float32 matrices by their GGUF names; markers (but `<end>`) and non-ASCII bytes are never said."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float) -> NDArray[np.float32]:
        return np.asarray(rng.standard_normal((rows, columns)) * scale / np.sqrt(columns), np.float32)

    head = matrix(len(tokens), _WIDTH, 4.0)
    for number, token in enumerate(tokens):
        said = token == "<end>" or (token not in MARKERS and all(c == "Ġ" or c.isascii() for c in token))
        if not said:
            head[number] = 0.0
    weights = {"token_embd.weight": matrix(len(tokens), _WIDTH, 8.0), "output.weight": head}
    weights["output_norm.weight"] = np.ones(_WIDTH, np.float32)
    for layer in range(_LAYERS):
        at = f"blk.{layer}."
        weights[f"{at}attn_norm.weight"] = np.ones(_WIDTH, np.float32)
        weights[f"{at}ffn_norm.weight"] = np.ones(_WIDTH, np.float32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights[f"{at}{name}.weight"] = matrix(_WIDTH, _WIDTH, 2.0)
        for name in ("ffn_gate", "ffn_up"):
            weights[f"{at}{name}.weight"] = matrix(_INNER, _WIDTH, 2.0)
        weights[f"{at}ffn_down.weight"] = matrix(_WIDTH, _INNER, 2.0)
    return weights


def write_ctranslate2(folder: Path, *, quantization: str = "int8") -> Path:
    """Write a CTranslate2 model with its tokenizer and `chat.json` into `folder`; return the folder."""
    from ctranslate2.specs import common_spec, transformer_spec

    folder.mkdir(parents=True, exist_ok=True)
    tokens = vocabulary(write_tokenizer(folder))
    weights = make_weights(tokens)
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        _LAYERS,
        _HEADS,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["token_embd.weight"]
    decoder.projection.weight = weights["output.weight"]
    decoder.layer_norm.gamma = weights["output_norm.weight"]
    for number, layer in enumerate(decoder.layer):
        at = f"blk.{number}."
        layer.self_attention.layer_norm.gamma = weights[f"{at}attn_norm.weight"]
        layer.ffn.layer_norm.gamma = weights[f"{at}ffn_norm.weight"]
        fused = [weights[f"{at}attn_{name}.weight"] for name in ("q", "k", "v")]
        layer.self_attention.linear[0].weight = np.concatenate(fused)
        layer.self_attention.linear[1].weight = weights[f"{at}attn_output.weight"]
        layer.ffn.linear_0.weight = weights[f"{at}ffn_gate.weight"]
        layer.ffn.linear_0_noact.weight = weights[f"{at}ffn_up.weight"]
        layer.ffn.linear_1.weight = weights[f"{at}ffn_down.weight"]
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<bos>", "<end>", "<pad>"
    spec.config.layer_norm_epsilon = 1e-5
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    return folder


def write_gguf(file: Path) -> Path:
    """Write the same model as one GGUF file (float32) with its tokenizer and chat template; return the file."""
    import gguf

    tokenizer = write_tokenizer(file.parent)
    tokens = vocabulary(tokenizer)
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_token_types([control if token in MARKERS else normal for token in tokens])
    merges: list[list[str] | str] = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, weight in make_weights(tokens).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
