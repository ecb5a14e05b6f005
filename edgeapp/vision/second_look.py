"""A second look at a part in doubt: the picture mirrored three ways, and what all looks say together. Pure functions.

Averaging a detector's answers over mirrored copies of the picture is known as test-time augmentation. A mirrored scratch is
a scratch; a glint that the detector took for one rarely looks like one from every side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from edgeapp.core.events import Box, CameraFrame, Detections
from edgeapp.vision.rules import InspectionRule

MIRRORINGS: Final = ((True, False), (False, True), (True, True))
"""Left to right, top to bottom: the looks beyond the first."""

SAME_IOU: Final = 0.3
"""Boxes of one label that overlap so much are one thing seen in several looks."""

BOXES_MAX: Final = 50
"""Boxes of each look that count, the surest ones: what bounds the work of putting looks together."""


def in_doubt(seen: Detections, rule: InspectionRule) -> bool:
    """Whether the surest defect's score lies from `rule.doubt_from_score` to below `rule.doubt_below_score`."""
    surest = max((box.score for box in seen.boxes if box.label in rule.defects), default=0.0)
    return rule.doubt_from_score <= surest < rule.doubt_below_score


def mirrored(frame: CameraFrame, across: bool, down: bool) -> CameraFrame:
    """The same frame mirrored left to right (`across`), top to bottom (`down`) or both."""
    pixels = frame.pixels[:: -1 if down else 1, :: -1 if across else 1]
    return replace(frame, pixels=np.ascontiguousarray(pixels))


def mirrored_back(seen: Detections, frame: CameraFrame, across: bool, down: bool) -> Detections:
    """What was seen in the mirrored `frame`, in pixels of the picture as it was taken."""
    height, width = frame.pixels.shape[:2]

    def back(box: Box) -> Box:
        left, right = (width - box.right, width - box.left) if across else (box.left, box.right)
        top, bottom = (height - box.bottom, height - box.top) if down else (box.top, box.bottom)
        return Box(left, top, right, bottom, box.label, box.score)

    return replace(seen, boxes=tuple(back(box) for box in seen.boxes))


def together(looks: Sequence[Detections]) -> Detections:
    """One answer of all looks (at least one): each thing once, with its surest box and its mean score over the looks.

    A look that does not see the thing counts as 0. Labels overlap at SAME_IOU or more to be one thing.
    """
    told = sorted(
        ((box, number) for number, seen in enumerate(looks) for box in seen.boxes[:BOXES_MAX]),
        key=lambda each: -each[0].score,
    )
    things: list[Box] = []
    while told:
        surest = told[0][0]
        same = [told[0], *(each for each in told[1:] if _same(surest, each[0]))]
        told = [each for each in told[1:] if not _same(surest, each[0])]
        # The list is sorted, so a look's first box of the thing is its surest, and the reversed dict keeps it.
        scores = {number: box.score for box, number in reversed(same)}
        things.append(replace(surest, score=sum(scores.values()) / len(looks)))
    return replace(looks[0], boxes=tuple(sorted(things, key=lambda box: -box.score)))


def _same(one: Box, other: Box) -> bool:
    if one.label != other.label:
        return False
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return both >= SAME_IOU * (areas - both) and both > 0
