"""The QC detector's figures of merit: mean average precision, and the decision about each part. Pure functions.

mAP is COCO's: for each class and each IoU from 0.50 to 0.95 in steps of 0.05, detections in the order of their score take the free
label with the best IoU, and precision, made monotonic, is averaged over 101 recall levels (Lin et al. 2014, "Microsoft COCO"; ultralytics' `val` does
the same). `measure_qc.py` compares its result with ultralytics' own on request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

IOUS = np.arange(0.5, 0.951, 0.05)
PART_SCORE = 0.5
"""What `edgeapp.vision.rules.InspectionRule` asks of a part, to take it as seen."""

RECALL_BAR, PRECISION_BAR = 0.98, 0.95
GRID = [round(0.02 * step, 2) for step in range(5, 46)]
"""Scores to choose from; the engine tells nothing below 0.1 unless configured to."""


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


def choose(parts: Sequence[Part], names: Sequence[str]) -> dict[str, float]:
    """Each class's least score with the most room to both bars, found class by class from the best common score.

    The room is the smaller of what recall has above 0.98 and precision above 0.95, each as a share of what is possible.
    """

    def room(least: Mapping[str, float]) -> tuple[float, float]:
        figures = decide(parts, least)
        over = (figures["recall"] - RECALL_BAR) / (1 - RECALL_BAR)
        sure = (figures["precision"] - PRECISION_BAR) / (1 - PRECISION_BAR)
        return min(over, sure), over + sure

    best = max((dict.fromkeys(names, common) for common in GRID), key=room)
    for _ in range(3):
        for name in names:
            # Of equals the middle one: a score at the edge of what works on these parts fails on others.
            ranked = [room(best | {name: value}) for value in GRID]
            equals = [value for value, rank in zip(GRID, ranked, strict=True) if rank == max(ranked)]
            best = best | {name: equals[len(equals) // 2]}
    return best
