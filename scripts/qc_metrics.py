"""The QC detector's figures of merit: mean average precision, and the decision about each part. Pure functions.

mAP is COCO's: for each class and each IoU from 0.50 to 0.95 in steps of 0.05, detections in the order of their score take the free
label with the best IoU, and precision, made monotonic, is averaged over 101 recall levels (Lin et al. 2014, "Microsoft COCO"; ultralytics' `val` does
the same). `measure_qc.py` compares its result with ultralytics' own on request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

IOUS = np.arange(0.5, 0.951, 0.05)
PART_SCORE = 0.5
"""What `edgeapp.vision.rules.InspectionRule` asks of a part, to take it as seen."""

PRECISION_AIM = 0.96
"""What the choice of scores asks of precision: one point more than the bar of 0.95, since it is chosen on these very parts."""

GRID = [round(0.01 * step, 2) for step in range(4, 61)]
"""Scores to choose from. A mean of four looks can be below what the engine tells of one look."""

HALVES = 20
"""Random halves of the parts on which scores are chosen, to take the middle and to know how they fare on other parts."""


@dataclass(frozen=True)
class Seen:
    """One picture: what was detected and what is there. Boxes are (n, 4) left, top, right, bottom in pixels."""

    boxes: Floats
    scores: Floats
    """Shape (n,), best first."""
    classes: NDArray[np.intp]
    true_boxes: Floats
    true_classes: NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """One whole part: is it defective, how surely it was seen, and the best score of each class of defect on it."""

    defective: bool
    score: float
    defects: Mapping[str, float]
    again: bool = False
    """Whether it was in doubt and looked at again; the scores above are then those of all looks together."""

    first: Mapping[str, float] = field(default_factory=dict)
    """The best score of each class of defect at the first look."""


def overlaps(one: Floats, other: Floats) -> Floats:
    """Intersection over union of every box of `one` (n, 4) with every box of `other` (m, 4), shape (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None, :] - both + 1e-9))


def right(seen: Seen) -> NDArray[np.bool_]:
    """Which detections are right at each IoU: shape (detections, 10). One label makes one detection right."""
    found = np.zeros((len(seen.boxes), len(IOUS)), np.bool_)
    iou = overlaps(seen.true_boxes, seen.boxes)
    iou[seen.true_classes[:, None] != seen.classes[None, :]] = 0
    for level, least in enumerate(IOUS):
        free = iou >= least
        for detection in range(len(seen.boxes)):
            label = (
                int(np.argmax(np.where(free[:, detection], iou[:, detection], -1))) if free[:, detection].any() else -1
            )
            if label >= 0:
                found[detection, level] = True
                free[label] = False
    return found


def average_precision(hits: NDArray[np.bool_], labels: int) -> float:
    """Area under precision over recall of detections in order of their score (`hits`, shape (n,)), for `labels` labels."""
    if not labels or not hits.size:
        return 0.0
    true = np.cumsum(hits)
    recall = np.concatenate([[0.0], true / labels, [1.0]])
    precision = np.concatenate([[1.0], true / np.arange(1, len(hits) + 1), [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    levels = np.linspace(0, 1, 101)
    return float(np.trapezoid(np.interp(levels, recall, precision), levels))


def mean_precision(pictures: Sequence[Seen], names: Sequence[str]) -> dict[str, Any]:
    """mAP50, mAP50-95 and mAP50 of each class that has labels."""
    hits = np.concatenate([right(each) for each in pictures])
    scores = np.concatenate([each.scores for each in pictures])
    classes = np.concatenate([each.classes for each in pictures])
    truth = np.concatenate([each.true_classes for each in pictures])
    order = np.argsort(-scores, kind="stable")
    hits, classes = hits[order], classes[order]
    each_class = {
        name: [
            average_precision(hits[classes == number, level], int((truth == number).sum()))
            for level in range(len(IOUS))
        ]
        for number, name in enumerate(names)
        if (truth == number).any()
    }
    table = np.array(list(each_class.values()))
    return {
        "mAP50": round(float(table[:, 0].mean()), 4),
        "mAP50-95": round(float(table.mean()), 4),
        "mAP50 by class": {name: round(values[0], 3) for name, values in each_class.items()},
    }


def decide(parts: Sequence[Part], least: Mapping[str, float]) -> dict[str, Any]:
    """Recall and precision of "fails" with each class's least score, and the counts they come from.

    A part fails if a defect on it scores enough, or if the part itself is not seen.
    """
    fails = [
        part.score < PART_SCORE or any(score >= least.get(name, 0.25) for name, score in part.defects.items())
        for part in parts
    ]
    bad = sum(part.defective for part in parts)
    caught = sum(part.defective and fail for part, fail in zip(parts, fails, strict=True))
    return {
        "recall": round(caught / max(bad, 1), 4),
        "precision": round(caught / max(sum(fails), 1), 4),
        "defective parts": bad,
        "missed": bad - caught,
        "sound parts": len(parts) - bad,
        "sound parts rejected": sum(fails) - caught,
    }


def at_first_look(parts: Sequence[Part]) -> list[Part]:
    """The same parts as a station without a second look knows them."""
    return [Part(part.defective, part.score, part.first) for part in parts]


def interval(share: float, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `of` cases (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    z2 = 1.96**2 / of
    middle = (share + z2 / 2) / (1 + z2)
    half = 1.96 / (1 + z2) * math.sqrt(share * (1 - share) / of + z2 / of / 4)
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


def decide_surely(parts: Sequence[Part], least: Mapping[str, float]) -> dict[str, Any]:
    """`decide` with the limits of the 95 % intervals, and the share of parts that were looked at again."""
    found = decide(parts, least)
    caught = found["defective parts"] - found["missed"]
    recall = interval(found["recall"], found["defective parts"])
    precision = interval(found["precision"], caught + found["sound parts rejected"])
    return found | {
        "recall at least": recall[0],
        "recall at most": recall[1],
        "precision at least": precision[0],
        "precision at most": precision[1],
        "looked at again": round(sum(part.again for part in parts) / max(len(parts), 1), 3),
    }


def choose(parts: Sequence[Part], names: Sequence[str]) -> dict[str, float]:
    """Each class's least score with the most recall at PRECISION_AIM or more, class by class from the best common score."""
    scores = np.array([[part.defects.get(name, 0.0) for name in names] for part in parts])
    bad = np.array([part.defective for part in parts], np.bool_)
    unseen = np.array([part.score < PART_SCORE for part in parts], np.bool_)

    def rank(least: list[float]) -> tuple[float, float]:
        fails = unseen | (scores >= np.asarray(least)).any(axis=1)
        caught = int((fails & bad).sum())
        recall, precision = caught / max(int(bad.sum()), 1), caught / max(int(fails.sum()), 1)
        short = min(precision - PRECISION_AIM, 0.0)
        return (recall if short == 0 else short, precision)

    best = max([[common] * len(names) for common in GRID], key=rank)
    for _ in range(3):
        for place in range(len(names)):
            ranked = [rank([*best[:place], value, *best[place + 1 :]]) for value in GRID]
            equals = [value for value, each in zip(GRID, ranked, strict=True) if each == max(ranked)]
            # Of equals the middle one: a score at the edge of what works on these parts fails on others.
            best[place] = equals[len(equals) // 2]
    return dict(zip(names, best, strict=True))


def choose_steadily(parts: Sequence[Part], names: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Each class's least score as the median of what random halves of the parts choose, not the luckiest of all parts.

    The second value is the mean recall and precision of each half's scores on the other half: what to expect elsewhere.
    """
    rng = np.random.default_rng(1)
    chosen, fares = [], []
    for _ in range(HALVES):
        order = rng.permutation(len(parts))
        half, other = ([parts[n] for n in each] for each in np.array_split(order, 2))
        chosen.append(choose(half, names))
        fares.append(decide(other, chosen[-1]))
    least = {name: round(float(np.median([each[name] for each in chosen])), 3) for name in names}
    expected = {key: round(float(np.mean([each[key] for each in fares])), 4) for key in ("recall", "precision")}
    return least, expected
