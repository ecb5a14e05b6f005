"""Train the kiosk's language model and export it for CTranslate2.

    python scripts/train_kiosk_lm.py --work /tmp/kiosk-lm --minutes 90       # train, or go on where it stopped
    python scripts/train_kiosk_lm.py --work /tmp/kiosk-lm --export models/kiosk-lm
    python scripts/train_kiosk_lm.py --smoke                                 # everything once, under a minute

A Llama-architecture model over a 2,048-token BPE. The dialogues are made while training runs (`make_kiosk_dialogues`),
so nothing is seen twice. Only answers are learnt. First few facts, then more. Hidden matrices are trained by Muon
(Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), the rest by AdamW. Batch k depends on the seed and on
k only; the learning rate and the curriculum follow the tokens seen, or the minutes where those run out first.
"""

import argparse
import itertools
import json
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from make_kiosk_dialogues import TEST_PLANS, TRAIN, Dialogue, Plan, dialogues, make_dialogue
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from tqdm import tqdm

from edgeapp.core.events import Prompt
from edgeapp.voice.content import facts
from edgeapp.voice.prompt import BOS, BOT, END, MARKERS, PAD, TOOL, USER, prefix, render

CONTEXT = 1024  # tokens a position is defined for; training sees up to about 700
LOG_EVERY = 20  # steps
CHECK_EVERY_S = 300  # seconds between checkpoints with accuracy on unseen dialogues


@dataclass(frozen=True)
class Shape:
    """The size of the model."""

    vocab: int = 2048
    width: int = 256
    layers: int = 6
    heads: int = 8
    hidden: int = 704


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
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
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
        self.embed = nn.Parameter(torch.randn(shape.vocab, shape.width) * 0.02)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))
        cos, sin = _rope(shape.width // shape.heads)
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


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))


def _rope(size: int) -> tuple[Tensor, Tensor]:
    frequency = 10000.0 ** (-torch.arange(0, size, 2).float() / size)
    angle = torch.outer(torch.arange(CONTEXT).float(), frequency)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def make_tokenizer(seed: int, vocab: int) -> Tokenizer:
    """A byte-level BPE learnt on training dialogues; numbers are cut into pieces of at most two digits."""
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(m, special=True) for m in MARKERS if m != TOOL])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[AddedToken(marker, special=marker != TOOL, lstrip=marker == TOOL) for marker in MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    numbers = " ".join(f"{number} {number:02d}" for number in range(100))
    texts = [numbers] * 400 + [f"1{number:02d}" for number in range(100)] * 400
    for dialogue in dialogues(seed, 4000, TRAIN):
        texts += facts(dialogue.content).replace("\n", "\n ").split("\n")
        texts += [f" {text}" for turn in dialogue.turns for text in (turn.question, turn.answer)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, dialogue: Dialogue) -> tuple[list[int], list[int]]:
    """Token ids, and for each the token to learn after it (-100 where nothing is learnt)."""
    start = Prompt(facts(dialogue.content), (), "")
    head = render(start).removesuffix(USER + BOT)
    parts = [(head, False)]
    for turn in dialogue.turns:
        said = Prompt("", (), turn.question, turn.opener)
        parts.append((render(said).removeprefix(prefix(said)), False))
        parts.append((f" {turn.answer}{END}", turn.learn))
    pieces = tokenizer.encode_batch([text for text, _ in parts], add_special_tokens=False)
    ids = [token for piece in pieces for token in piece.ids]
    learn = [flag for piece, (_, flag) in zip(pieces, parts, strict=True) for flag in [flag] * len(piece.ids)]
    targets = [after if flag else -100 for after, flag in zip(ids[1:], learn[1:], strict=True)]
    return ids[:-1], targets


def plan_at(tokens: int, rng: random.Random, scale: float) -> Plan:
    """The curriculum: few facts first, so that looking up is found; then shops of full size among smaller ones."""
    if tokens < 0.8e6 * scale:
        return replace(TRAIN, items=(1, 4), days=(0, 2), zones=(0, 2), turns=(8, 12))
    if tokens < 2.5e6 * scale:
        return replace(TRAIN, items=(2, 6), days=(1, 5), zones=(1, 5))
    if rng.random() < 0.3:
        return replace(TRAIN, items=(1, 6), days=(0, 7), zones=(0, 8))
    return replace(TRAIN, items=(4, 11))


def batches(seed: int, step: int, tokens: int, tokenizer: Tokenizer, size: int, scale: float) -> Iterator[Any]:
    """Endless (ids, targets, tokens) batches of about `size` tokens, of dialogues of like length."""
    group = 8
    while True:
        rng = random.Random(f"{seed}/step {step // group}")
        pool: list[tuple[list[int], list[int]]] = []
        while sum(len(ids) for ids, _ in pool) < size * group:
            pool.append(encode(tokenizer, make_dialogue(rng, plan_at(tokens, rng, scale))))
        pool.sort(key=lambda pair: len(pair[0]))
        cuts = [len(pool) * part // group for part in range(group + 1)]
        order = [pool[a:b] for a, b in itertools.pairwise(cuts)]
        rng.shuffle(order)
        for rows in order[step % group :]:
            length = min(CONTEXT, max(len(ids) for ids, _ in rows))
            ids = torch.zeros(len(rows), length, dtype=torch.long)
            targets = torch.full((len(rows), length), -100)
            for row, (row_ids, row_targets) in enumerate(rows):
                ids[row, : len(row_ids)] = torch.tensor(row_ids[:length])
                targets[row, : len(row_targets)] = torch.tensor(row_targets[:length])
            count = sum(len(row_ids) for row_ids, _ in rows)
            tokens += count
            step += 1
            yield ids, targets, count


def loss_of(model: KioskLm, ids: Tensor, targets: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean cross entropy and share of right tokens, over answer tokens only."""
    wanted = targets >= 0
    logits = model.logits(model(ids, dtype)[wanted])
    right = (logits.argmax(-1) == targets[wanted]).float().mean()
    return F.cross_entropy(logits, targets[wanted]), right


@torch.no_grad()
def whole_answers(model: KioskLm, tokenizer: Tokenizer, device: str, dtype: torch.dtype) -> dict[str, float]:
    """Share of answers right to the last token, given the right beginning, per test plan."""
    shares = {}
    for name, plan in TEST_PLANS.items():
        good = total = 0
        for dialogue in dialogues(77, 12, plan):
            ids, targets = encode(tokenizer, dialogue)
            best = model.logits(model(torch.tensor([ids[:CONTEXT]]).to(device), dtype))[0].argmax(-1).tolist()
            hits = [(want < 0, want == got) for want, got in zip(targets[:CONTEXT], best, strict=True)]
            for skipped, run in itertools.groupby(hits, key=lambda hit: hit[0]):
                if not skipped:
                    total += 1
                    good += all(hit for _, hit in run)
        shares[name] = good / total
    return shares


def optimizers(model: KioskLm, rate: float) -> list[Any]:
    """Muon for the hidden matrices, AdamW for embedding and norms. `initial_rate` is scaled by the schedule."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    others = [model.embed, *[p for p in model.parameters() if p.ndim == 1]]
    made = [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_rate"] = rate
    return made


def rate_at(done: float, step: int) -> float:
    """Warm up over 50 steps, stay, fall in a line to 2 % over the last 40 % of the training."""
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (1.0 - done) / 0.4))


@dataclass
class Progress:
    """Where the training stands; saved in the checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


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
    model = model.to(device)
    steppers = optimizers(model, options.rate)
    at = Progress()
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        at = _resume(checkpoint, model, steppers)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:,} parameters, {device}, {dtype}, from step {at.step} ({at.tokens:,} tokens)", flush=True)
    run = torch.compile(loss_of, dynamic=True) if options.compile else loss_of
    began, checked = time.monotonic() - at.seconds, time.monotonic()
    source = batches(options.seed, at.step, at.tokens, tokenizer, options.batch, options.scale)
    bar = tqdm(total=options.tokens, initial=at.tokens, unit="tok", unit_scale=True, mininterval=5)
    while True:
        at.seconds = time.monotonic() - began
        done = max(at.tokens / options.tokens, at.seconds / 60 / options.minutes)
        if done >= 1 or (work / "stop").exists():
            break
        ids, targets, count = next(source)
        loss, right = run(model, ids.to(device), targets.to(device), dtype)
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
    _log(work, at, **whole_answers(model, tokenizer, device, dtype))
    _save(checkpoint, model, steppers, at)


def _tokenizer(work: Path, options: argparse.Namespace) -> Tokenizer:
    path = work / "tokenizer.json"
    if not path.exists():
        make_tokenizer(options.seed, options.vocab).save(str(path))
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
    for stepper, saved in zip(steppers, state["optimizers"], strict=True):
        stepper.load_state_dict(saved)
    return Progress(**state["progress"])


def export(work: Path, out: Path) -> None:
    """The last checkpoint as CTranslate2 int8, with its tokenizer and the learning curve."""
    import ctranslate2
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    state = torch.load(work / "checkpoint.pt", weights_only=True)
    shape = Shape(**state["shape"])
    config = LlamaConfig(
        vocab_size=shape.vocab, hidden_size=shape.width, intermediate_size=shape.hidden, rms_norm_eps=1e-5,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT, tie_word_embeddings=True, rope_theta=10000.0,
        bos_token_id=MARKERS.index(BOS), eos_token_id=MARKERS.index(END), pad_token_id=MARKERS.index(PAD),
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.load_state_dict(_hf_names(state["model"], shape))
    tokenizer = work / "tokenizer.json"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_file=str(tokenizer), bos_token=BOS, eos_token=END, pad_token=PAD
        ).save_pretrained(folder)
        converter = ctranslate2.converters.TransformersConverter(folder)
        converter.convert(str(out), quantization="int8", force=True)
    (out / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    learning_curve(work / "log.jsonl", out / "learning_curve.png")
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB, after {state['progress']}")


def _hf_names(state: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    named = {"model.embed_tokens.weight": state["embed"], "lm_head.weight": state["embed"]}
    named["model.norm.weight"] = state["norm"]
    inner = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj"}
    inner |= {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    inner |= {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
    for layer in range(shape.layers):
        for ours, theirs in inner.items():
            named[f"model.layers.{layer}.{theirs}.weight"] = state[f"blocks.{layer}.{ours}"]
    return named


def learning_curve(log: Path, picture: Path) -> None:
    """Draw the log: loss over tokens, and whole answers right on unseen dialogues."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [line for line in lines if "loss" in line]
    left.plot([s["tokens"] / 1e6 for s in steps], [s["loss"] for s in steps], lw=0.8)
    left.set(xlabel="million tokens", ylabel="cross entropy of answer tokens", yscale="log")
    checks = [line for line in lines if "known" in line]
    for name in TEST_PLANS:
        right.plot([c["tokens"] / 1e6 for c in checks], [c[name] for c in checks], marker=".", label=name)
    right.set(xlabel="million tokens", ylabel="whole answers right (given the right beginning)", ylim=(0, 1.02))
    right.legend()
    figure.savefig(picture, dpi=110)


def main() -> None:
    """Train, export, or do both once on a toy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder for the tokenizer, the checkpoint and the log")
    parser.add_argument("--export", type=Path, help="write the model of the last checkpoint here, train nothing")
    parser.add_argument("--smoke", action="store_true", help="train a toy for a few steps and export it")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--batch", type=int, default=4096, help="tokens in a step")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--scale", type=float, default=1.0, help="stretch the curriculum")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16 arithmetic")
    parser.add_argument("--compile", action="store_true", help="torch.compile: faster, needs a C++ compiler")
    parser.add_argument("--check-every", type=float, default=CHECK_EVERY_S, help="seconds between checkpoints")
    for name, value in vars(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            options.work = Path(folder)
            options.width, options.layers, options.hidden, options.heads = 64, 2, 128, 2
            options.tokens, options.batch = 40_000, 2048
            train(options)
            export(options.work, options.work / "model")
        return
    if options.work is None:
        parser.error("--work FOLDER says where the checkpoint is kept")
    if options.export:
        export(options.work, options.export)
    else:
        train(options)


if __name__ == "__main__":
    main()
