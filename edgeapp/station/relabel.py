"""The re-label loop: where people disagreed with the station becomes the next training set, normal production the calibration.

OUT/training is what `scripts/train_qc.py --data` reads, OUT/calibration what `scripts/quantize_qc.py --data` reads, and
OUT/unlabelled holds defects that a person saw and nobody drew yet. OUT/manifest.json says where every picture came from.
Calibration is never drawn from the disagreements alone: they are not what the line looks like.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeapp.core.events import ConfigError
from edgeapp.station.images import path_in, wrong_with
from edgeapp.station.queries import judgements
from edgeapp.station.strata import Stratum, allocate, choose

VAL_SHARE: Final = 0.2
"""Of the training pictures, by their own hash: a picture never moves from one side to the other between two exports,
unless a side would be empty."""


@dataclass(frozen=True, slots=True)
class Classes:
    """What a detector tells apart, in the order of its outputs."""

    parts: tuple[str, ...]
    defects: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.parts + self.defects


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be drawn."""

    training: int
    calibration: int
    floor: int = 2
    """The least from each stratum of light, density and part type."""

    seed: int = 1
    never: AbstractSet[str] = frozenset()
    """Hashes of frames or pictures that must not come in: the golden set's."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture and what is in it."""

    seq: int
    image: str
    stratum: Stratum
    boxes: tuple[Mapping[str, Any], ...] | None
    """None if nobody drew the defect that a person saw."""

    why: str


_ROW: Final = (
    "SELECT image, light, density, part_type, boxes, frame_sha256, outcome FROM verdicts "
    "WHERE seq = ? AND image IN (SELECT name FROM images)"
)


def disagreements(
    database: sqlite3.Connection, classes: Classes, never: AbstractSet[str] = frozenset()
) -> list[Labelled]:
    """Verdicts whose last judgement says otherwise, and whose picture is still there, by row.

    Boxes are what the person drew; if a good part was rejected and nothing was drawn, what the detector saw without its
    defects.
    """
    found = []
    for judged in judgements(database):
        if judged.verdict == judged.judgement:
            continue
        row = database.execute(_ROW, (judged.of,)).fetchone()
        if row is None or {row[0].partition(".")[0], row[5]} & never:
            continue
        boxes = judged.says["boxes"]
        if boxes is None and judged.judgement == "PASS":
            boxes = [box for box in json.loads(row[4]) if box["label"] in classes.parts]
        why = f"{judged.verdict}, and {judged.says['operator']} says {judged.judgement}"
        found.append(Labelled(judged.of, row[0], Stratum(*row[1:4]), None if boxes is None else tuple(boxes), why))
    return found


def production(
    database: sqlite3.Connection, classes: Classes, never: AbstractSet[str] = frozenset()
) -> tuple[Counter[Stratum], list[Labelled]]:
    """How many parts each stratum had, and the kept pictures in which a part was seen. Reads every row."""
    weights: Counter[Stratum] = Counter()
    query = "SELECT light, density, part_type, count(*) FROM verdicts WHERE part_type != '' GROUP BY 1, 2, 3"
    for light, density, part_type, parts in database.execute(query):
        weights[Stratum(light, density, part_type)] = parts
    kept = []
    for (seq,) in database.execute("SELECT seq FROM images ORDER BY seq").fetchall():
        row = database.execute(_ROW, (seq,)).fetchone()
        if not row or not row[3] or {row[0].partition(".")[0], row[5]} & never:
            continue
        boxes = tuple(json.loads(row[4]))
        if any(box["label"] in classes.parts for box in boxes):
            kept.append(Labelled(seq, row[0], Stratum(*row[1:4]), boxes, row[6]))
    return weights, kept


def export(database: sqlite3.Connection, folder: Path, out: Path, classes: Classes, wish: Wish) -> dict[str, Any]:
    """Write the data sets into the new folder `out`; returns the manifest. Raises ConfigError if there are too few pictures.

    The pictures come from the ledger in `folder`, and each is checked against its hash.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty: give a new folder")
    disagreed = disagreements(database, classes, wish.never)
    ready = [each for each in disagreed if each.boxes is not None]
    weights, kept = production(database, classes, wish.never)
    drawn = _draw(ready, Counter(each.stratum for each in ready), wish.training, wish, "labelled disagreements")
    normal = _draw(kept, weights, wish.calibration, wish, "kept pictures of normal production")
    pictures = folder / "images"
    head = database.execute("SELECT seq, lower(hex(hash)) FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    manifest = {
        "ledger_head": f"{head[0]}:{head[1]}", "seed": wish.seed, "floor": wish.floor, "classes": classes.names,
        "disagreements": len(disagreed), "unlabelled": len(disagreed) - len(ready),
        "training": _strata(drawn, Counter(each.stratum for each in ready)),
        "calibration": _strata(normal, weights),
        "pictures": [_line("training", each) for each in drawn] + [_line("calibration", each) for each in normal],
    }  # fmt: skip
    try:
        _write_set(out / "training", drawn, pictures, classes, wish.seed, split=True)
        _write_set(out / "calibration", normal, pictures, classes, wish.seed, split=False)
        for each in disagreed:
            if each.boxes is None:
                _copy(each, pictures, out / "unlabelled" / f"{each.seq:09d}.jpg")
        (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}; make room or give another folder") from error
    return manifest


def _draw(
    candidates: Sequence[Labelled], weights: Mapping[Stratum, float], n: int, wish: Wish, what: str
) -> list[Labelled]:
    """Exactly `n`, by strata; a picture that two verdicts share comes once."""
    by_name = {each.image: each for each in candidates}
    available = Counter(each.stratum for each in by_name.values())
    try:
        taken = allocate(weights, available, n=n, floor=wish.floor)
    except ValueError as error:
        raise ConfigError(f"too few {what}: {error}; ask for fewer, or keep more pictures") from error
    return [
        by_name[name] for name in choose(((each.stratum, each.image) for each in by_name.values()), taken, wish.seed)
    ]


def _strata(drawn: Sequence[Labelled], weights: Mapping[Stratum, float]) -> list[dict[str, Any]]:
    taken = Counter(each.stratum for each in drawn)
    return [
        {
            "light": one.light,
            "density": one.density,
            "part_type": one.part_type,
            "parts": weights[one],
            "taken": taken[one],
        }
        for one in sorted(weights)
    ]


def _line(use: str, each: Labelled) -> dict[str, Any]:
    return {"use": use, "row": each.seq, "image": each.image, "why": each.why}


def _write_set(
    out: Path, drawn: Sequence[Labelled], pictures: Path, classes: Classes, seed: int, *, split: bool
) -> None:
    """A folder as scripts/make_qc_images.py writes it."""
    by_hash = sorted(drawn, key=lambda each: each.image)
    val = {each.image for each in by_hash if int(each.image[:8], 16) < VAL_SHARE * 2**32} if split else set()
    if split and len(by_hash) > 1 and len(val) in {0, len(by_hash)}:  # neither side may be empty
        val = {by_hash[0].image}
    rows: list[dict[str, Any]] = []
    counts = {"train": 0, "val": 0}
    for folder in ("images", "labels"):
        for name in counts:
            (out / folder / name).mkdir(parents=True, exist_ok=True)
    for each in drawn:
        side = "val" if each.image in val else "train"
        counts[side] += 1
        stem = f"{side}-{each.seq:09d}"
        height, width = _copy(each, pictures, out / "images" / side / f"{stem}.jpg")
        boxes = each.boxes or ()
        labels = [_label(box, classes, height, width) for box in boxes if box["label"] in classes.names]
        (out / "labels" / side / f"{stem}.txt").write_text("".join(labels))
        look = {"light": each.stratum.light, "density": each.stratum.density}
        rows.append({"image": f"images/{side}/{stem}.jpg", "parts": _parts(each, classes), "look": look})
    truth = {"seed": seed, "classes": classes.names, "counts": counts, "pictures": rows}
    (out / "truth.json").write_text(json.dumps(truth))
    train = [row["image"] for row in rows if row["image"].startswith("images/train/")]
    (out / "train.txt").write_text("".join(f"./{name}\n" for name in train))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(classes.names))
    (out / "qc.yaml").write_text(
        f"path: {out.resolve()}\ntrain: train.txt\nval: images/val\ntest: images/val\nnames:\n{names}"
    )


def _copy(each: Labelled, pictures: Path, to: Path) -> tuple[int, int]:
    """Copy a picture that is what its name says; returns its height and width. Raises ConfigError or OSError."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError("pictures need the package opencv: pip install 'edgeapp[vision]'") from error
    path = path_in(pictures, each.image)
    if why := wrong_with(path):
        raise ConfigError(f"the picture of row {each.seq} {why}: run `edgeapp ledger verify --images`")
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise ConfigError(f"the picture of row {each.seq} is no picture: {path}")
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    return int(pixels.shape[0]), int(pixels.shape[1])


def _label(box: Mapping[str, Any], classes: Classes, height: int, width: int) -> str:
    """One line of a YOLO label file: class, centre and size as shares of the picture."""
    left, right = (min(max(box[side] / width, 0.0), 1.0) for side in ("left", "right"))
    top, bottom = (min(max(box[side] / height, 0.0), 1.0) for side in ("top", "bottom"))
    number = classes.names.index(box["label"])
    return f"{number} {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}\n"


def _parts(each: Labelled, classes: Classes) -> list[dict[str, Any]]:
    """What truth.json says: the part, with the defects on it. One part a picture; a second one has none of its own."""
    boxes = [(box["label"], [box[side] for side in ("left", "top", "right", "bottom")]) for box in each.boxes or ()]
    parts: list[dict[str, Any]] = [
        {"kind": label, "box": box, "defects": []} for label, box in boxes if label in classes.parts
    ]
    if parts:
        parts[0]["defects"] = [{"kind": label, "box": box} for label, box in boxes if label in classes.defects]
    return parts
