"""Train the kiosk's language model and export it for CTranslate2.

    python scripts/train_kiosk_lm.py --work /tmp/kiosk-lm --minutes 90       # train, or go on where it stopped
    python scripts/train_kiosk_lm.py --work /tmp/kiosk-lm --export models/kiosk-lm
    python scripts/train_kiosk_lm.py --smoke                                 # everything once, in seconds

A Llama-architecture model over a 2,048-token BPE. The dialogues are made while training runs (`make_kiosk_dialogues`),
so nothing is seen twice. Only answers are learnt. First few facts, then more. Hidden matrices are trained by Muon
(Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), the rest by AdamW. Batch k depends on the seed and on
k only; the learning rate and the curriculum follow the tokens seen, or the minutes where those run out first.
"""

import argparse
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from make_kiosk_dialogues import (
    DEV_PLANS,
    HISTORY_TURNS,
    TRAIN,
    Dialogue,
    Plan,
    Turn,
    dialogues,
    make_dialogue,
    scene,
)
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from tqdm import tqdm

from edgeapp.core.events import Prompt
from edgeapp.voice.content import ZONES, facts
from edgeapp.voice.prompt import BOS, BOT, END, MARKERS, PAD, TOOL, USER, prefix, render

CONTEXT = 1024  # tokens a position is defined for; training sees up to about 700
ROTARY = 16  # of the 48 values of a head tell the distance; the other 32 compare contents, however far apart
ROPE_BASE = 10000.0
PHRASES = (  # one token each, so that the value stands right behind the name in a fact and in its answer
    *(f" {zone}" for zone in ZONES), " is at the", " is in stock,", " is sold out", ", open from", ", closed",
    " passed today,", " failed today,", " not inspected today,",
    ' {"name": "', '", "arguments": {"', '", "arguments": {}}', '": "', '", "', '"}}',
)  # fmt: skip
FIRST = 4.0  # the first token decides between an answer, a call and "I do not know"; the rest is copying
LOG_EVERY = 20  # steps
CHECK_EVERY_S = 300  # seconds between checkpoints with accuracy on unseen dialogues


@dataclass(frozen=True)
class Shape:
    """The size of the model."""

    vocab: int = 2048
    width: int = 192
    layers: int = 5
    heads: int = 4
    hidden: int = 512


@dataclass
class Progress:
    """Where the training stands; saved in the checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Block(nn.Module):
    """One Llama layer: rotary self-attention, then SwiGLU, each behind an RMS norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.heads = shape.heads
        self.norm1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.Parameter(torch.ones(width))
        self.q, self.k, self.v, self.o = (_matrix(width, width) for _ in range(4))
        self.gate, self.up = _matrix(hidden, width), _matrix(hidden, width)
        self.down = _matrix(width, hidden)
        for last in (self.o, self.down):
            nn.init.zeros_(last)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        h = F.rms_norm(x, (width,), self.norm1.to(x.dtype), 1e-5)
        qkv = F.linear(h, torch.cat((self.q, self.k, self.v)).to(x.dtype))
        qkv = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = _rotate(qkv[0], cos, sin), _rotate(qkv[1], cos, sin), qkv[2]
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True) if q.is_cuda else _attention(q, k, v)
        x = x + F.linear(h.transpose(1, 2).reshape(batch, length, width), self.o.to(x.dtype))
        h = F.rms_norm(x, (width,), self.norm2.to(x.dtype), 1e-5)
        gate_up = F.linear(h, torch.cat((self.gate, self.up)).to(x.dtype))
        gate, up = gate_up.chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, self.down.to(x.dtype))


class KioskLm(nn.Module):
    """tokens (batch, length) int64 -> hidden states (batch, length, width); `logits` makes scores of chosen ones."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Parameter(torch.randn(shape.vocab, shape.width) * 0.12)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))
        cos, sin = _rope()
        _wire_induction(self)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        x = F.embedding(tokens, self.embed).to(dtype)
        length = tokens.shape[1]
        cos, sin = self.cos[:length].to(dtype), self.sin[:length].to(dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.rms_norm(x, (self.shape.width,), self.norm.to(dtype), 1e-5)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed.to(hidden.dtype)).float()


def _attention(q: Tensor, k: Tensor, v: Tensor, rows: int = 96) -> Tensor:
    """Causal attention in blocks of queries: half the time of torch's own on a CPU at these sizes (measured)."""
    length = q.shape[2]
    q, k = q / math.sqrt(q.shape[3]), k.transpose(-1, -2)
    blocks = []
    for start in range(0, length, rows):
        end = min(start + rows, length)
        later = torch.full((end - start, end), -1e4, dtype=q.dtype).triu(start + 1)
        blocks.append((q[:, :, start:end] @ k[..., :end] + later).softmax(-1) @ v[:, :, :end])
    return torch.cat(blocks, dim=2)


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))


@torch.no_grad()
def _wire_induction(model: KioskLm) -> None:
    """Start with a working induction head (Olsson et al. 2022, https://arxiv.org/abs/2209.11895).

    Block 0 writes part of the previous and of the last but one token's embedding beside the own one; block 1 finds
    where the present pair of tokens (heads 0, 1) or the present token (heads 2, 3) stood before and copies what
    came after it. From random weights this takes a small model millions of tokens to find. It goes on learning.
    """
    size, half = model.shape.width // model.shape.heads, model.shape.width // 2
    constant = model.shape.width - 1  # one value that is the same for every token: what a query by distance needs
    model.embed[:, half:] *= 0.1
    model.embed[:, constant] = 0.6
    before, after = model.blocks[0], model.blocks[1]
    cos, sin = _rope()
    for head, (distance, target) in enumerate(((1, half), (2, half + size))):
        rows = slice(head * size, (head + 1) * size)
        width = min(size, constant - target)
        key = torch.zeros(size)
        key[:4] = torch.tensor([2.0, 2.0, 1.0, 1.0])
        before.q[rows], before.k[rows], before.v[rows] = 0, 0, 0
        before.k[rows, constant] = key
        before.q[rows, constant] = _rotate(key[None], cos[distance : distance + 1], -sin[distance : distance + 1])[0]
        before.v[rows, :size] = torch.eye(size)
        before.o[target : target + width, rows] = torch.eye(size)[:width] * 0.12
    part = (size - ROTARY) // 2
    for head, (now, pair) in enumerate(((0, True), (part, True), (0, False), (part, False))):
        rows, copied = slice(head * size, (head + 1) * size), slice(head % 2 * size, (head % 2 + 1) * size)
        first, second = _diagonal(head * size + ROTARY, now, part), _diagonal(head * size + ROTARY + part, now, part)
        after.q[rows], after.k[rows], after.v[rows] = 0, 0, 0
        after.q[first] = 3
        after.k[first[0], half + first[1]] = 3
        after.q[second[0], second[1] + (half if pair else (part if now == 0 else -part))] = 3
        after.k[second[0], second[1] + (half + size if pair else (half + part if now == 0 else half - part))] = 3
        after.v[rows, copied] = torch.eye(size)
        after.o[copied, rows] = torch.eye(size) * 0.3
        if not pair:
            near = torch.arange(3, 6) + head * size  # of several places, prefer the latest
            after.q[near, constant] = after.k[near, constant] = 1.2
    for block in model.blocks[2:]:
        for head in range(0, model.shape.heads, 2):
            near = torch.arange(2, 5) + head * size  # wavelengths of 60 to 600 tokens: prefer the present question
            block.q[near, constant] = block.k[near, constant] = 1.5


def _diagonal(row: int, column: int, length: int) -> tuple[Tensor, Tensor]:
    return torch.arange(row, row + length), torch.arange(column, column + length)


@torch.no_grad()
def _tie_capitals(model: KioskLm, tokenizer: Tokenizer) -> None:
    """Let 'The' begin as nearly the same word as 'the'."""
    words = tokenizer.get_vocab()
    half = model.shape.width // 2
    for word, number in words.items():
        lower = words.get(word[:1] + word[1:].lower())
        if word.startswith("\u0120") and lower is not None and lower != number:
            model.embed[number, :half] = 0.8 * model.embed[lower, :half] + 0.6 * model.embed[number, :half]


def _rope() -> tuple[Tensor, Tensor]:
    frequency = ROPE_BASE ** (-torch.arange(0, ROTARY, 2).float() / ROTARY)
    angle = torch.outer(torch.arange(CONTEXT).float(), frequency)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned, kept = x[..., :ROTARY], x[..., ROTARY:]
    first, second = turned.chunk(2, dim=-1)
    return torch.cat((turned * cos + torch.cat((-second, first), dim=-1) * sin, kept), dim=-1)


def make_tokenizer(seed: int, vocab: int, count: int = 4000) -> Tokenizer:
    """A byte-level BPE learnt on `count` training dialogues; numbers are cut into pieces of at most two digits."""
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[AddedToken(marker, special=True) for marker in MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    numbers = " ".join(f"{number} {number:02d}" for number in range(100))
    texts = [numbers] * 400 + [f"1{number:02d}" for number in range(100)] * 400
    for dialogue in dialogues(seed, count, TRAIN):
        texts += facts(dialogue.content).replace("\n", "\n ").split("\n")
        texts += [f" {text}" for turn in dialogue.turns for text in (turn.question, turn.answer)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(phrase, special=False, normalized=False) for phrase in PHRASES])
    return with_tool_as_text(tokenizer)


def with_tool_as_text(tokenizer: Tokenizer) -> Tokenizer:
    """Keep `<tool>` in decoded replies: the trainer makes every token that it is given a skipped one."""
    table = json.loads(tokenizer.to_str())
    for token in table["added_tokens"]:
        if token["content"] == TOOL:
            token |= {"special": False, "lstrip": False}
    return Tokenizer.from_str(json.dumps(table))


def encode(
    tokenizer: Tokenizer, system: str, turns: Sequence[Turn], learn_from: int = 0
) -> tuple[list[int], list[int]]:
    """Token ids, and for each the token to learn after it (-100 where nothing is learnt: all but the last answers)."""
    start = Prompt(system, (), "")
    parts = [(render(start).removesuffix(USER + BOT), False)]
    for number, turn in enumerate(turns):
        said = Prompt("", (), turn.question, turn.opener)
        parts.append((render(said).removeprefix(prefix(said)), False))
        parts.append((f" {turn.answer}{END}", turn.learn and number >= learn_from))
    pieces = tokenizer.encode_batch([text for text, _ in parts], add_special_tokens=False)
    ids = [token for piece in pieces for token in piece.ids]
    learn = [flag for piece, (_, flag) in zip(pieces, parts, strict=True) for flag in [flag] * len(piece.ids)]
    targets = [after if flag else -100 for after, flag in zip(ids[1:], learn[1:], strict=True)]
    return ids[:-1], targets


def lessons(tokenizer: Tokenizer, rng: random.Random, dialogue: Dialogue) -> Iterator[tuple[list[int], list[int]]]:
    """One dialogue as sequences: a few turns over the facts they are about, or one turn just as the kiosk asks it."""
    first = 0
    while first < len(dialogue.turns):
        points_back = dialogue.turns[first].intent.startswith("it_")  # so the turn before belongs to it
        if rng.random() < 0.7:
            begin, last = first - points_back, min(first + rng.randint(3, 6), len(dialogue.turns))
            yield encode(tokenizer, scene(dialogue, begin, last), dialogue.turns[begin:last])
            first = last
            continue
        if dialogue.turns[first].learn:
            past = min(first, rng.randint(1 if points_back else 0, HISTORY_TURNS))
            system = dialogue.asked(first).system
            yield encode(tokenizer, system, dialogue.turns[first - past : first + 1], learn_from=past)
        first += 1


def plan_at(tokens: float, rng: random.Random) -> Plan:
    """The curriculum: few facts first, so that looking up is found; then shops of full size among smaller ones."""
    if tokens < 0.6e6:
        return replace(TRAIN, items=(1, 4), days=(0, 3), zones=(0, 3), turns=(8, 12))
    if rng.random() < 0.3:
        return replace(TRAIN, items=(1, 4), days=(0, 7), zones=(0, 8))
    return replace(TRAIN, items=(3, 12))


def batches(options: argparse.Namespace, at: Progress, tokenizer: Tokenizer) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Endless (ids, targets, number of tokens) batches, of dialogues of like length."""
    group = 8
    step, tokens = at.step, at.tokens
    while True:
        rng = random.Random(f"{options.seed}/step {step // group}")
        size = min(options.batch, options.first_batch + tokens // 1000)
        pool: list[tuple[list[int], list[int]]] = []
        while sum(len(ids) for ids, _ in pool) < size * group:
            pool.extend(lessons(tokenizer, rng, make_dialogue(rng, plan_at(tokens / options.scale, rng))))
        pool.sort(key=lambda pair: len(pair[0]))  # little padding
        for rows in _cut(rng, pool, size)[step % group :]:
            count = sum(len(ids) for ids, _ in rows)
            tokens += count
            step += 1
            yield *_stack(rows), count


def _cut(rng: random.Random, pool: list[tuple[list[int], list[int]]], size: int) -> list[Any]:
    rows: list[Any] = [[]]
    for pair in pool:
        if sum(len(ids) for ids, _ in rows[-1]) >= size:
            rows.append([])
        rows[-1].append(pair)
    rng.shuffle(rows)
    return rows


def _stack(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    length = min(CONTEXT, max(len(ids) for ids, _ in rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    targets = torch.full((len(rows), length), -100)
    for row, (row_ids, row_targets) in enumerate(rows):
        ids[row, : len(row_ids)] = torch.tensor(row_ids[:length])
        targets[row, : len(row_targets)] = torch.tensor(row_targets[:length])
    return ids, targets


def loss_of(model: KioskLm, ids: Tensor, targets: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean cross entropy and share of right tokens, over answer tokens only; an answer's first token counts `FIRST` times."""
    wanted = targets >= 0
    first = wanted & ~F.pad(wanted, (1, 0))[:, :-1]
    logits = model.logits(model(ids, dtype)[wanted])
    right = (logits.argmax(-1) == targets[wanted]).float().mean()
    weights = 1 + (FIRST - 1) * first[wanted].float()
    losses = F.cross_entropy(logits, targets[wanted], reduction="none")
    return (losses * weights).sum() / weights.sum(), right


@torch.no_grad()
def whole_answers(
    model: KioskLm, tokenizer: Tokenizer, device: str, dtype: torch.dtype, count: int = 12
) -> dict[str, float]:
    """Share of answers right to the last token, given the right beginning, per plan; asked as the kiosk asks."""
    shares = {}
    for name, plan in DEV_PLANS.items():
        rows = []
        for dialogue in dialogues(77, count, plan):
            for number in range(len(dialogue.turns)):
                past = max(0, number - HISTORY_TURNS)
                turns = dialogue.turns[past : number + 1]
                rows.append(encode(tokenizer, dialogue.asked(number).system, turns, len(turns) - 1))
        rows.sort(key=lambda pair: len(pair[0]))
        good = 0
        for start in range(0, len(rows), 16):
            ids, targets = (part.to(device) for part in _stack(rows[start : start + 16]))
            hits = (model.logits(model(ids, dtype)).argmax(-1) == targets) | (targets < 0)
            good += int(hits.all(dim=1).sum())
        shares[name] = good / len(rows)
    return shares


def optimizers(model: KioskLm, rate: float) -> list[Any]:
    """Muon for the hidden matrices, AdamW for embedding and norms. `initial_rate` is scaled by the schedule."""
    wired = [p for block in model.blocks[:2] for p in (block.q, block.k, block.v, block.o)]
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2 and all(p is not w for w in wired)]
    others = [model.embed, *[p for p in model.parameters() if p.ndim == 1]]
    groups = [{"params": matrices}, {"params": wired, "lr": rate / 10}]  # what is wired is refined, not relearnt
    made = [
        torch.optim.Muon(groups, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate / 3, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_rate"] = group["lr"]
    return made


def rate_at(done: float, step: int) -> float:
    """Warm up over 50 steps, stay, fall in a line to 1 % over the last 40 % of the training."""
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.01, (1.0 - done) / 0.4))


def train(options: argparse.Namespace) -> None:
    """Train until the tokens or the minutes are used up, writing a checkpoint every few minutes."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if options.float32 else torch.bfloat16
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(work, options)
    model = KioskLm(Shape(tokenizer.get_vocab_size(), options.width, options.layers, options.heads, options.hidden))
    _tie_capitals(model, tokenizer)
    model = model.to(device)
    steppers = optimizers(model, options.rate)
    at = Progress()
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        at = _resume(checkpoint, model, steppers)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, {device}, {dtype}, from step {at.step} ({at.tokens:,} tokens)", flush=True)
    began, checked = time.monotonic() - at.seconds, time.monotonic()
    source = batches(options, at, tokenizer)
    bar = tqdm(total=options.tokens, initial=at.tokens, unit="tok", unit_scale=True, mininterval=5)
    while True:
        at.seconds = time.monotonic() - began
        done = max(at.tokens / options.tokens, at.seconds / 60 / options.minutes)
        if done >= 1 or (work / "stop").exists():
            break
        ids, targets, count = next(source)
        loss, right = loss_of(model, ids.to(device), targets.to(device), dtype)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = group["initial_rate"] * rate_at(done, at.step)
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        at.step += 1
        at.tokens += count
        bar.update(count)
        if at.step % LOG_EVERY == 0:
            _log(work, at, loss=loss.item(), right=right.item())
            bar.set_postfix(loss=f"{loss.item():.3f}", right=f"{right.item():.3f}")
        if time.monotonic() - checked > options.check_every:
            _log(work, at, **whole_answers(model, tokenizer, device, dtype))
            _save(checkpoint, model, steppers, at)
            checked = time.monotonic()
    bar.close()
    _log(work, at, **whole_answers(model, tokenizer, device, dtype, 2 if options.smoke else 12))
    _save(checkpoint, model, steppers, at)


def _tokenizer(work: Path, options: argparse.Namespace) -> Tokenizer:
    path = work / "tokenizer.json"
    if not path.exists():
        make_tokenizer(options.seed, options.vocab, 200 if options.smoke else 4000).save(str(path))
    return Tokenizer.from_file(str(path))


def _log(work: Path, at: Progress, **values: float) -> None:
    line = {"step": at.step, "tokens": at.tokens, "seconds": round(at.seconds, 1)}
    line |= {key: round(value, 4) for key, value in values.items()}
    with (work / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    if "known" in values:
        tqdm.write(json.dumps(line))


def _save(path: Path, model: KioskLm, steppers: list[Any], at: Progress) -> None:
    state = {
        "model": model.state_dict(),
        "optimizers": [stepper.state_dict() for stepper in steppers],
        "progress": vars(at),
        "shape": vars(model.shape),
    }
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def _resume(path: Path, model: KioskLm, steppers: list[Any]) -> Progress:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    if state["optimizers"]:  # a grown checkpoint (grow_kiosk_lm.py) begins with none
        for stepper, saved in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(saved)
    return Progress(**state["progress"])


def export(work: Path, out: Path, quantization: str | None = "int8") -> None:
    """The last checkpoint for CTranslate2, with its tokenizer and the learning curve; no `quantization` is float32."""
    state = torch.load(work / "checkpoint.pt", weights_only=True, map_location="cpu")
    tokenizer = with_tool_as_text(Tokenizer.from_file(str(work / "tokenizer.json")))
    out.mkdir(parents=True, exist_ok=True)
    spec = _specification(Shape(**state["shape"]), {key: value.numpy() for key, value in state["model"].items()})
    spec.register_vocabulary([tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())])
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = BOS, END, PAD
    spec.config.layer_norm_epsilon = 1e-5
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(out))
    tokenizer.save(str(out / "tokenizer.json"))
    learning_curve(work / "log.jsonl", out / "learning_curve.png")
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB, after {state['progress']}")


def _specification(shape: Shape, state: dict[str, Any]) -> Any:
    """The weights as CTranslate2 wants them: a Llama whose heads turn only their first `ROTARY` values."""
    from ctranslate2.specs import common_spec, transformer_spec

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        shape.layers, shape.heads, pre_norm=True, activation=common_spec.Activation.SWISH, ffn_glu=True, rms_norm=True,
        rotary_dim=ROTARY, rotary_interleave=False, rotary_base=ROPE_BASE,
    )  # fmt: skip
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = state["embed"]
    decoder.layer_norm.gamma = state["norm"]
    for number, layer in enumerate(decoder.layer):
        w = {
            key: state[f"blocks.{number}.{key}"] for key in ["q", "k", "v", "o", "gate", "up", "down", "norm1", "norm2"]
        }
        layer.self_attention.layer_norm.gamma, layer.ffn.layer_norm.gamma = w["norm1"], w["norm2"]
        layer.self_attention.linear[0].weight = np.concatenate((w["q"], w["k"], w["v"]))
        layer.self_attention.linear[1].weight = w["o"]
        layer.ffn.linear_0.weight, layer.ffn.linear_0_noact.weight = w["gate"], w["up"]
        layer.ffn.linear_1.weight = w["down"]
    return spec


def learning_curve(log: Path, picture: Path) -> None:
    """Draw the log: loss over tokens, and whole answers right on unseen dialogues."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [line for line in lines if "loss" in line]
    left.plot([s["tokens"] / 1e6 for s in steps], [s["loss"] for s in steps], lw=0.8)
    left.set(xlabel="million tokens", ylabel="cross entropy of answer tokens", yscale="log")
    checks = [line for line in lines if "dev_phrasings" in line]
    for name in DEV_PLANS:
        right.plot([c["tokens"] / 1e6 for c in checks], [c[name] for c in checks], marker=".", label=name)
    right.set(xlabel="million tokens", ylabel="whole answers right (given the right beginning)", ylim=(None, 1.02))
    right.legend()
    figure.savefig(picture, dpi=110)


def main() -> None:
    """Train, export, or do both once on a toy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for the tokenizer, the checkpoint and the log")
    parser.add_argument("--export", type=Path, help="write the model of the last checkpoint here, train nothing")
    parser.add_argument("--float-weights", action="store_true", help="export float32 instead of int8, to compare")
    parser.add_argument("--smoke", action="store_true", help="train a toy for a few steps and export it")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--batch", type=int, default=4096, help="tokens in a step")
    parser.add_argument("--first-batch", type=int, default=2048, help="tokens in a step at first; grows by 1 per 1,000")
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--scale", type=float, default=1.0, help="stretch the curriculum")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16 arithmetic")
    parser.add_argument("--check-every", type=float, default=CHECK_EVERY_S, help="seconds between checkpoints")
    for name, value in vars(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if options.heads < 4 or options.layers < 2 or options.width != 48 * options.heads:
        parser.error("the start is wired for at least 2 layers and 4 heads of 48: --width must be 48 times --heads")
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.work = Path(folder)
            options.layers, options.hidden = 2, 128
            options.tokens, options.batch = 10_000, 2048
            train(options)
            export(options.work, options.work / "model")
        return
    if options.work is None:
        parser.error("--work FOLDER says where the checkpoint is kept")
    if options.export:
        export(options.work, options.export, None if options.float_weights else "int8")
    else:
        train(options)


if __name__ == "__main__":
    main()
