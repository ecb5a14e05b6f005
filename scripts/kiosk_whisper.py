"""A small Whisper (Radford et al. 2022, https://arxiv.org/abs/2212.04356) to train: model, tokenizer, CTranslate2 export.

The shape is Whisper's: two convolutions, sinusoids, encoder blocks; a decoder that reads the encoder by cross attention.
Small means: 48 mel bands every 20 ms, so the encoder has a position every 40 ms; the model folder says so to
faster-whisper in preprocessor_config.json. A linear layer on the encoder learns the sounds of the words by CTC beside the
decoder and is left out of the export.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

FEATURES: Final = {"feature_size": 48, "sampling_rate": 16000, "hop_length": 320, "n_fft": 512, "chunk_length": 30}
SPECIAL: Final = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>",
    "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
ENCODER_POSITIONS: Final = 750  # 30 s
DECODER_POSITIONS: Final = 448
LONGEST_S: Final = 5  # of a clip in training; the engine cuts what is longer


@dataclass(frozen=True)
class Shape:
    """The size of the model."""

    vocab: int = 640
    width: int = 160
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2
    phones: int = 60  # sounds that CTC tells apart, with "nothing"


class Attention(nn.Module):
    """Multi-head attention. With `memory` it looks there and gives its weights (batch, heads, queries, keys) too.

    Written out: torch's own attention takes three times as long on a CPU at these lengths (measured, with gradient).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor | None = None, later: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch, length, width = x.shape
        x = _normed(self.norm, x)
        if memory is None:
            weight = torch.cat((self.q.weight, self.k.weight, self.v.weight)).to(x.dtype)
            qkv = F.linear(x, weight, torch.cat((self.q.bias, self.k.bias, self.v.bias)).to(x.dtype))
            q, k, v = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        else:
            q = _through(self.q, x).view(batch, length, self.heads, -1).transpose(1, 2)
            k = _through(self.k, memory).view(batch, memory.shape[1], self.heads, -1).transpose(1, 2)
            v = _through(self.v, memory).view(batch, memory.shape[1], self.heads, -1).transpose(1, 2)
        scores = (q / math.sqrt(width // self.heads)) @ k.transpose(-1, -2)
        weights = (scores if later is None else scores + later).softmax(-1)
        return _through(self.o, (weights @ v).transpose(1, 2).reshape(batch, length, width)), weights


class Block(nn.Module):
    """Self attention, cross attention in the decoder, then two layers with GELU between."""

    def __init__(self, width: int, heads: int, cross: bool) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads) if cross else None
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, later: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        seen = None
        x = x + self.self_attention(x, None, later)[0]
        if self.cross_attention is not None:
            heard, seen = self.cross_attention(x, memory)
            x = x + heard
        return x + _through(self.down, F.gelu(_through(self.up, _normed(self.norm, x)))), seen


def _through(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer in the precision of `x`; the weights stay float32 for the optimizer."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _normed(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, layer.normalized_shape, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _convolved(layer: nn.Conv1d, x: Tensor) -> Tensor:
    return F.conv1d(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype), layer.stride, layer.padding)


class KioskWhisper(nn.Module):
    """Log mel features (batch, 48, frames) and tokens (batch, length) in, scores of tokens out.

    It computes in the precision of the features. No dropout: other rooms and masks every time are enough for so few
    weights, and random numbers cost a CPU as much as the convolutions.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.conv1 = nn.Conv1d(FEATURES["feature_size"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.encoder = nn.ModuleList(Block(width, shape.heads, False) for _ in range(shape.encoder_layers))
        self.encoder_norm = nn.LayerNorm(width)
        self.ctc = nn.Linear(width, shape.phones)
        self.embed = nn.Parameter(torch.randn(shape.vocab, width) * 0.1)
        self.positions = nn.Parameter(0.1 * sinusoids(DECODER_POSITIONS, width))
        self.decoder = nn.ModuleList(Block(width, shape.heads, True) for _ in range(shape.decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.register_buffer("places", 0.3 * sinusoids(ENCODER_POSITIONS, width))

    def encode(self, features: Tensor) -> Tensor:
        """(batch, 48, frames) -> (batch, frames / 2 rounded up, width)."""
        x = F.gelu(_convolved(self.conv2, F.gelu(_convolved(self.conv1, features)))).transpose(1, 2).contiguous()
        x = x + self.places[: x.shape[1]].to(x.dtype)
        for block in self.encoder:
            x, _ = block(x)
        return _normed(self.encoder_norm, x)

    def by_ctc(self, memory: Tensor) -> Tensor:
        """Scores (batch, positions, phones) of the sound at each position; 0 is nothing new."""
        return _through(self.ctc, memory)

    def decode(self, memory: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (batch, length, vocab) and the mean cross attention of the first block (batch, length, positions)."""
        length, dtype = tokens.shape[1], memory.dtype
        x = (F.embedding(tokens, self.embed) + self.positions[:length]).to(dtype)
        later = torch.full((length, length), -1e4, dtype=dtype, device=tokens.device).triu(1)
        first = None
        for block in self.decoder:
            x, seen = block(x, memory, later)
            first = seen if first is None else first
        return F.linear(_normed(self.decoder_norm, x), self.embed.to(dtype)), first.float().mean(1)

    @torch.no_grad()
    def transcribe(self, features: Tensor, prompt: list[int], end: int, most: int = 40) -> list[list[int]]:
        """Greedy tokens of each clip, without prompt and end."""
        memory = self.encode(features)
        tokens = torch.tensor([prompt] * features.shape[0], device=features.device)
        done = torch.zeros(features.shape[0], dtype=torch.bool, device=features.device)
        for _ in range(most):
            scores = self.decode(memory, tokens)[0][:, -1].float()
            scores[:, end + 1 :] = float("-inf")
            best = scores.argmax(-1)
            best[done] = end
            tokens = torch.cat((tokens, best[:, None]), 1)
            done |= best == end
            if bool(done.all()):
                break
        rows = tokens[:, len(prompt) :].tolist()
        return [row[: row.index(end)] if end in row else row for row in rows]


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's fixed positions (length, width)."""
    steps = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * steps[None, :]
    return torch.cat((angles.sin(), angles.cos()), 1)


def make_tokenizer(texts: Iterable[str], vocab: int) -> Tokenizer:
    """A byte-level BPE with Whisper's special tokens after the text tokens.

    While merges are learnt, a word's first letter is written as a capital, which stands for the space and the letter. So
    no word ever needs the space alone as a token: faster-whisper forbids that token, because " -" begins with it.
    """
    space = "Ġ"
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    fixed = len(letters) + 256 + len(SPECIAL)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - fixed + 2 * len(letters), min_frequency=2, show_progress=False,
        initial_alphabet=[*letters, *(letter.lower() for letter in letters), "'"],
    )  # fmt: skip
    learner.train_from_iterator((" ".join(w[0].upper() + w[1:] for w in text.split()) for text in texts), trainer)
    learnt = json.loads(learner.to_str())["model"]["merges"]

    def written(token: str) -> str:
        return space + token[0].lower() + token[1:] if token[:1].isupper() else token

    merges = [(space, letter.lower()) for letter in letters]
    merges += [(written(left), written(right)) for left, right in learnt]
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(numbers, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return tokenizer


def export(shape: Shape, state: dict[str, Any], tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model as int8 for CTranslate2, with what faster-whisper and the engine want beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = specification(shape, {key: value.float().numpy() for key, value in state.items()})
    spec.register_vocabulary([tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())])
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []  # silence may end at once
    spec.config.alignment_heads = [(0, head) for head in range(shape.heads)]
    spec.config.lang_ids = [tokenizer.token_to_id("<|en|>")]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(FEATURES) + "\n")
    (folder / "edgeapp.json").write_text(json.dumps({"short_context": True, "window_s": LONGEST_S}) + "\n")


def specification(shape: Shape, state: dict[str, Any]) -> Any:
    """The weights under CTranslate2's names."""
    from ctranslate2 import specs

    spec = specs.WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    for name in ("conv1", "conv2"):
        convolution = getattr(spec.encoder, name)
        convolution.weight, convolution.bias = state[f"{name}.weight"], state[f"{name}.bias"]
    spec.encoder.position_encodings.encodings = state["places"]
    spec.decoder.position_encodings.encodings = state["positions"]
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = state["embed"]
    spec.decoder.scale_embeddings = False
    for name, part in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        _norm(part.layer_norm, state, f"{name}_norm")
        for number, layer in enumerate(part.layer):
            block = f"{name}.{number}"
            _attention(layer.self_attention, state, f"{block}.self_attention", ("qkv", "o"))
            if name == "decoder":
                _attention(layer.attention, state, f"{block}.cross_attention", ("q", "kv", "o"))
            _norm(layer.ffn.layer_norm, state, f"{block}.norm")
            _linear(layer.ffn.linear_0, state, (f"{block}.up",))
            _linear(layer.ffn.linear_1, state, (f"{block}.down",))
    return spec


def _norm(norm: Any, state: dict[str, Any], name: str) -> None:
    norm.gamma, norm.beta = state[f"{name}.weight"], state[f"{name}.bias"]


def _linear(linear: Any, state: dict[str, Any], names: tuple[str, ...]) -> None:
    linear.weight = np.concatenate([state[f"{name}.weight"] for name in names])
    linear.bias = np.concatenate([state[f"{name}.bias"] for name in names])


def _attention(attention: Any, state: dict[str, Any], name: str, groups: tuple[str, ...]) -> None:
    _norm(attention.layer_norm, state, f"{name}.norm")
    for linear, group in zip(attention.linear, groups, strict=True):
        _linear(linear, state, tuple(f"{name}.{part}" for part in group))
