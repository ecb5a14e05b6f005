"""Make a checkpoint of `train_kiosk_lm.py` larger without changing what it says, so that training goes on from there.

    python scripts/grow_kiosk_lm.py small/ large/ --layers 7 --hidden 1024

New layers stand from the fourth on, every other one; they and the new columns of wider feed-forward layers write nothing at
first, because their output matrices begin at zero (Chen et al. 2016, https://arxiv.org/abs/1511.05641). Phrases of
`train_kiosk_lm.PHRASES` that the tokenizer lacks become tokens that begin near the mean of the others. Steps and minutes
are counted anew: train it with another `--seed`, or it sees its first dialogues again.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor
from train_kiosk_lm import PHRASES, with_tool_as_text

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")


def grow(state: dict[str, Any], layers: int, hidden: int, words: int) -> dict[str, Any]:
    """A checkpoint of `layers` layers, `hidden` wide inside, with `words` tokens; its optimizers begin anew."""
    small, shape = state["model"], dict(state["shape"])
    if layers < shape["layers"] or hidden < shape["hidden"] or words < shape["vocab"]:
        raise SystemExit(f"this checkpoint has {shape}; it can only grow")
    width, more = shape["width"], layers - shape["layers"]
    fresh = set(range(3, 3 + 2 * more, 2))
    if fresh and max(fresh) >= layers:
        raise SystemExit(f"{shape['layers']} layers can become at most {2 * shape['layers'] - 3} in one go")
    old = iter(range(shape["layers"]))
    large = {name: value for name, value in small.items() if not name.startswith("blocks.")}
    for number in range(layers):
        source = None if number in fresh else next(old)
        for name in ("norm1", "norm2"):
            large[f"blocks.{number}.{name}"] = torch.ones(width) if source is None else small[f"blocks.{source}.{name}"]
        for name in MATRICES:
            matrix = _matrix(name, width, hidden)
            if source is not None:
                known: Tensor = small[f"blocks.{source}.{name}"]
                matrix[: known.shape[0], : known.shape[1]] = known
            large[f"blocks.{number}.{name}"] = matrix
    embed: Tensor = small["embed"]
    noise = torch.randn(words - len(embed), width)
    large["embed"] = torch.cat((embed, embed.mean(0) + noise * embed.std(0)))
    return {
        "model": large,
        "optimizers": [],
        "progress": {"step": 0, "tokens": state["progress"]["tokens"], "seconds": 0.0},
        "shape": shape | {"layers": layers, "hidden": hidden, "vocab": words},
    }


def _matrix(name: str, width: int, hidden: int) -> Tensor:
    rows, columns = {"gate": (hidden, width), "up": (hidden, width), "down": (width, hidden)}.get(name, (width, width))
    if name in ("o", "down"):
        return torch.zeros(rows, columns)
    return torch.randn(rows, columns) / columns**0.5


def main() -> None:
    """Read the small work folder, write the large one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small", type=Path, help="work folder with checkpoint.pt and tokenizer.json")
    parser.add_argument("large", type=Path, help="the folder to write")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--hidden", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    tokenizer = Tokenizer.from_file(str(options.small / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(phrase, special=False, normalized=False) for phrase in PHRASES])
    tokenizer = with_tool_as_text(tokenizer)
    state = torch.load(options.small / "checkpoint.pt", weights_only=True, map_location="cpu")
    grown = grow(state, options.layers, options.hidden, tokenizer.get_vocab_size())
    options.large.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.large / "tokenizer.json"))
    torch.save(grown, options.large / "checkpoint.pt")
    log = options.small / "log.jsonl"
    if log.exists():
        (options.large / "log.jsonl").write_text(log.read_text())
    print(f"{sum(value.numel() for value in grown['model'].values()):,} parameters, {grown['shape']}")


if __name__ == "__main__":
    main()
