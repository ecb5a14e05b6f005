"""The inspection rule as data, and the pure function that applies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeapp.core.events import Box, Detections, Outcome


@dataclass(frozen=True, slots=True)
class InspectionRule:
    """What makes a part good. Scores are 0 to 1."""

    parts: tuple[str, ...]
    """Labels of things that are parts."""

    defects: tuple[str, ...]
    """Labels of defects; any of them fails the part."""

    part_score: float = 0.5
    """Below this a part is not proven to be there."""

    defect_score: float = 0.25
    """From this on a defect counts."""

    defect_scores: Mapping[str, float] = field(default_factory=dict)
    """A label's own least score, instead of `defect_score`."""

    doubt_from_score: float = 0.03
    doubt_below_score: float = 0.0
    """A frame whose surest defect scores from the one to below the other is looked at again (vision/second_look.py), and
    the scores above are then asked of the mean of all looks. 0: never."""

    version: str = "1"
    """Stands in every verdict's reason."""


def judge(seen: Detections, rule: InspectionRule) -> tuple[Outcome, str]:
    """The verdict on one frame and its reason in words.

    PASS needs proof: exactly one part seen with enough score, and no defect. A defect fails the part even when the part
    itself is seen poorly. No part, or several, is not an inspection.
    """
    defects = [
        box
        for box in seen.boxes
        if box.label in rule.defects and box.score >= rule.defect_scores.get(box.label, rule.defect_score)
    ]
    parts = [box for box in seen.boxes if box.label in rule.parts and box.score >= rule.part_score]
    if defects:
        worst = max(defects, key=lambda box: box.score)
        more = f" and {len(defects) - 1} more" if len(defects) > 1 else ""
        return Outcome.FAIL, f"{_named(worst)}{more}"
    if not parts:
        return Outcome.NOT_INSPECTED, f"no part seen with a score of {rule.part_score:g} or more"
    if len(parts) > 1:
        return Outcome.NOT_INSPECTED, f"{len(parts)} parts in one frame"
    return Outcome.PASS, f"{_named(parts[0])}, no defect (rule {rule.version})"


def _named(box: Box) -> str:
    return f"{box.label} {box.score:.2f}"
