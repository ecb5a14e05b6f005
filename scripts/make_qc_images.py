"""Render the QC detector's data: `python scripts/make_qc_images.py --out DIR`.

Writes a YOLO data set: images/SPLIT/*.jpg, labels/SPLIT/*.txt, qc.yaml and truth.json (per image: parts, defects, light).
Started again with the same --out it goes on where it stopped (truth/SPLIT/*.json says which pictures are whole), and
with a larger --train it adds pictures.
Splits: train, val, test and shifted (another light, another belt). Every split has its own seeds for parts, light and
belts, so no belt and no part of one split is in another. Within a split the part types and the defect classes are dealt
evenly. The same arguments write the same files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeapp.devices.line_view import (
    BELTS,
    SHIFTED_BELTS,
    THIN,
    TRAINING_BELT,
    Image,
    Placed,
    SeenPart,
    draw_belt,
    random_look,
    take_picture,
)
from edgeapp.devices.parts import CLASS_NAMES, DEFECTS, PART_TYPES, Pose, draw_part

SIZE_PX = 320
SPLITS = {"train": 0, "val": 1, "test": 2, "shifted": 3}
"""Each split's word in the seed: what keeps their parts, lights and belts apart."""

SOUND_SHARE = 0.4
"""Share of parts without a defect."""

DEALT = (*DEFECTS, "scratch", "burr", "burr")
"""What training deals: the classes that are hardest to learn come more often."""


def draw_scene(split: str, number: int, seed: int) -> tuple[Image, tuple[SeenPart, ...], dict[str, Any]]:
    """Picture `number` of a split: pixels (uint8 320x320x3 BGR), what is visible, and the light it was taken in."""
    rng = np.random.default_rng([seed, SPLITS[split], number])
    shifted = split == "shifted"
    unusual = split == "train" and bool((number // 4) % 2)
    look = random_look(rng, shifted, varied=unusual)
    kinds = SHIFTED_BELTS if shifted else BELTS
    belt_rng = np.random.default_rng([seed, 100 + SPLITS[split], number // 4])
    belt_kind = kinds[(number // 4) % len(kinds)]
    if unusual:
        belt_kind = TRAINING_BELT
    belt = draw_belt(belt_rng, belt_kind, SIZE_PX, 2 * SIZE_PX)
    shift = int(rng.integers(belt.shape[1]))
    belt = np.ascontiguousarray(np.roll(belt, shift, axis=1)[:, :SIZE_PX])
    if rng.random() < 0.5:
        belt = np.ascontiguousarray(belt.transpose(1, 0, 2))
    placed = []
    for slot, (x, y, radius) in enumerate(_layout(rng)):
        kind = PART_TYPES[(number + slot) % len(PART_TYPES)]
        deal = number // len(PART_TYPES) + 3 * slot
        grow = 1.0 if kind == "washer" else 1.12
        pose = Pose(radius * grow, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.93, 1.0)))
        part = draw_part(rng, kind, _deal_defects(rng, deal, split), pose, look.light, 14.0)
        placed.append(Placed(part, x, y))
    rail = int(rng.integers(8, 26)) if rng.random() < 0.12 else 0
    picture, seen = take_picture(rng, belt, placed, look, rail, bool(rng.random() < 0.05))
    return picture, seen, asdict(look)


def _layout(rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """Centres and radii: mostly one part, often two, sometimes a neighbour cut by the frame, rarely an empty belt."""
    case = rng.random()
    middle = SIZE_PX / 2
    if case < 0.03:
        return []
    if case < 0.30:
        near, far = rng.normal(0.27, 0.02), rng.normal(0.73, 0.02)
        across = rng.uniform(0.3, 0.7, 2)
        spots = [(near, across[0]), (far, across[1])]
        if rng.random() < 0.5:
            spots = [(y, x) for x, y in spots]
        return [(int(x * SIZE_PX), int(y * SIZE_PX), float(rng.uniform(54, 72))) for x, y in spots]
    radius = float(rng.uniform(80, 125))
    slack = max(4.0, middle - radius)
    x, y = (middle + rng.uniform(-slack, slack, 2)).astype(int)
    spots_px = [(int(x), int(y), radius)]
    if case > 0.85:
        size = float(rng.uniform(70, 100))
        angle = rng.uniform(0, 2 * np.pi)
        gap = (radius + size) * rng.uniform(1.12, 1.25)
        nx, ny = x + gap * np.cos(angle), y + gap * np.sin(angle)
        if -0.35 * size < nx < SIZE_PX + 0.35 * size and -0.35 * size < ny < SIZE_PX + 0.35 * size:
            spots_px.append((int(nx), int(ny), size))
    return spots_px


def _deal_defects(rng: np.random.Generator, deal: int, split: str) -> tuple[str, ...]:
    """Deal defect classes evenly (in training by DEALT) over the defective parts; a quarter of those carry a second one."""
    if rng.random() < SOUND_SHARE:
        return ()
    dealt = DEALT if split == "train" else DEFECTS
    first = dealt[deal % len(dealt)]
    if rng.random() < 0.25:
        second = DEFECTS[int(rng.integers(len(DEFECTS)))]
        return (first, second) if second != first else (first,)
    return (first,)


def write_picture(job: tuple[str, int, int, str]) -> dict[str, Any]:
    """Render and write one picture with its labels, unless it is there; returns its entry for truth.json.

    Raises OSError when the disk does not take it.
    """
    split, number, seed, out = job
    done = Path(out) / "truth" / split / f"{number:06d}.json"
    if done.is_file():
        return dict(json.loads(done.read_text()))
    cv2.setNumThreads(1)
    picture, seen, look = draw_scene(split, number, seed)
    stem = f"{split}-{number:06d}"
    path = Path(out) / "images" / split / f"{stem}.jpg"
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise OSError(f"could not write {path}: is the disk full?")
    lines = []
    for part in seen:
        lines.append(_label(part.kind, part.box))
        lines += [_label(defect.kind, defect.box) for defect in part.defects]
    (Path(out) / "labels" / split / f"{stem}.txt").write_text("".join(lines))
    row = {"image": f"images/{split}/{stem}.jpg", "parts": [asdict(part) for part in seen], "look": look}
    # The entry comes last and by renaming: where it is whole, so are the picture and its labels.
    part_done = done.with_suffix(".part")
    part_done.write_text(json.dumps(row))
    part_done.replace(done)
    return row


def _label(kind: str, box: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = (value / SIZE_PX for value in box)
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
    return f"{CLASS_NAMES.index(kind)} {centre_x:.6f} {centre_y:.6f} {right - left:.6f} {bottom - top:.6f}\n"


def _jobs(counts: dict[str, int], seed: int, out: Path) -> Iterator[tuple[str, int, int, str]]:
    for split, count in counts.items():
        for number in range(count):
            yield split, number, seed, str(out)


def training_list(rows: list[dict[str, Any]]) -> list[str]:
    """The training pictures an epoch shows: all with a thin defect, the hardest to learn, and 9 of 20 of the others."""
    names = []
    for number, row in enumerate(row for row in rows if row["image"].startswith("images/train/")):
        kinds = {defect["kind"] for part in row["parts"] for defect in part["defects"]}
        if kinds & THIN or number % 20 < 9:
            names.append(row["image"])
    return names


def refuse_another_seed(out: Path, seed: int) -> None:
    """Note the seed of a new folder. Raises SystemExit with one sentence if the folder was begun with another."""
    noted = out / "seed.txt"
    if noted.is_file() and noted.read_text().strip() != str(seed):
        raise SystemExit(f"{out} was begun with --seed {noted.read_text().strip()}: give that seed or another --out")
    noted.write_text(f"{seed}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--train", type=int, default=6000, help="training pictures (default 6000)")
    parser.add_argument("--val", type=int, default=250, help="validation pictures (default 250)")
    parser.add_argument("--held-out", type=int, default=500, help="pictures in test and in shifted (default 500)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that render (default 1)")
    parser.add_argument("--smoke", action="store_true", help="24 training pictures, 8 in each other split")
    args = parser.parse_args()
    train, val, held_out = (24, 8, 8) if args.smoke else (args.train, args.val, args.held_out)
    counts = {"train": train, "val": val, "test": held_out, "shifted": held_out}
    for split in SPLITS:
        for kind in ("images", "labels", "truth"):
            (args.out / kind / split).mkdir(parents=True, exist_ok=True)
    refuse_another_seed(args.out, args.seed)
    jobs = list(_jobs(counts, args.seed, args.out))
    if args.workers == 1:
        rows = [write_picture(job) for job in track(jobs, description="render")]
    else:
        # Forked children would inherit OpenCV's threads locked; spawned ones start their own.
        with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
            drawn = pool.map(write_picture, jobs, chunksize=16)
            rows = list(track(drawn, total=len(jobs), description="render"))
    truth = {"size_px": SIZE_PX, "seed": args.seed, "classes": CLASS_NAMES, "counts": counts, "pictures": rows}
    (args.out / "truth.json").write_text(json.dumps(truth))
    (args.out / "train.txt").write_text("".join(f"./{name}\n" for name in training_list(rows)))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASS_NAMES))
    (args.out / "qc.yaml").write_text(
        f"path: {args.out.resolve()}\ntrain: train.txt\nval: images/val\ntest: images/test\nnames:\n{names}"
    )
    (args.out / "qc-shifted.yaml").write_text(
        f"path: {args.out.resolve()}\ntrain: train.txt\nval: images/shifted\nnames:\n{names}"
    )
    labels = sum(len(part["defects"]) for row in rows for part in row["parts"])
    parts = sum(len(row["parts"]) for row in rows)
    print(json.dumps({"pictures": len(rows), "parts": parts, "defects": labels, "out": str(args.out)}))


if __name__ == "__main__":
    main()
