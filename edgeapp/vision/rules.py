"""The inspection rule as data, and the pure function that applies it.

PASS needs proof, in millimetres too: what is compared with a limit is the largest that a thing in its box can be, the stated
errors of box and calibration included (the decision rule of ISO 14253-1: conformance is only said beyond the uncertainty).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from edgeapp.core.events import Box, Detections, Outcome
from edgeapp.vision.calibration import Calibration, Extent

SIZES: Final = ("length", "width")
"""What of a part can be measured: the longer and the shorter side of its box."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon on the part or in the picture."""

    polygon: tuple[tuple[float, float], ...]
    """At least three corners: shares of the part's box (0, 0 is its top left), or pixels of the picture."""

    of_part: bool = True

    def holds(self, box: Box, part: Box) -> bool:
        """Does the box lie wholly inside? A box within it does so too."""
        corners = self.polygon
        if self.of_part:
            width, height = part.right - part.left, part.bottom - part.top
            corners = tuple((part.left + x * width, part.top + y * height) for x, y in corners)
        x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        edges = list(zip(corners, (*corners[1:], corners[0]), strict=True))
        inside = sum(
            (a[1] > y) != (b[1] > y) and x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]) for a, b in edges
        )
        return inside % 2 == 1 and not any(_enters(*edge, box) for edge in edges)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Defects that are allowed all the same. A limit that is None does not ask."""

    defects: tuple[str, ...]
    length_mm: float | None = None
    width_mm: float | None = None
    area_mm2: float | None = None
    count: int | None = None
    """At most so many of them."""

    zone: str = ""
    """Only wholly inside this zone; empty is anywhere."""

    @property
    def asks_mm(self) -> bool:
        """Must a thing be measured for it?"""
        return (self.length_mm, self.width_mm, self.area_mm2) != (None, None, None)


@dataclass(frozen=True, slots=True)
class PartRule:
    """What is different for one type of part."""

    part_score: float | None = None
    """Instead of the rule's."""

    defect_scores: Mapping[str, float] = field(default_factory=dict)
    """Before the rule's, by label."""

    sizes_mm: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The least and the largest of a size (SIZES)."""

    tolerate: tuple[Tolerance, ...] = ()


_PLAIN: Final = PartRule()


@dataclass(frozen=True, slots=True)
class InspectionRule:
    """What makes a part good. Scores are 0 to 1."""

    parts: tuple[str, ...]
    """Labels of things that are parts."""

    defects: tuple[str, ...]
    """Labels of defects; any of them fails the part, unless it is tolerated."""

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

    part_types: Mapping[str, PartRule] = field(default_factory=dict)
    """By the part's label."""

    zones: Mapping[str, Zone] = field(default_factory=dict)
    edge_px: float = 16.0
    """How far inside of a defect's edge its box's may lie; counts against the part wherever a defect is measured."""

    edges_px: Mapping[str, float] = field(default_factory=dict)
    """A label's own, instead of `edge_px`."""

    part_edge_px: float = 2.5
    """How far from a part's edge its box's may lie; counts against the part wherever it is measured."""

    sha256: str = ""
    """Of the rule's file, in hex."""

    calibration: Calibration | None = None
    """Of the camera the rule is used at; without one nothing is measured."""

    @property
    def id(self) -> str:
        """Version and the hash's beginning: what the ledger writes beside each verdict."""
        return f"{self.version} {self.sha256[:12]}".strip()

    @property
    def asks_mm(self) -> bool:
        """Does it need a calibration?"""
        return any(each.sizes_mm or any(one.asks_mm for one in each.tolerate) for each in self.part_types.values())

    def of(self, part_type: str) -> PartRule:
        """What is different for this type of part."""
        return self.part_types.get(part_type, _PLAIN)

    def least_score(self, label: str, part_type: str = "") -> float:
        """From where on a part or a defect of this label counts."""
        own = self.of(part_type)
        if label in self.parts:
            least = self.of(label).part_score
            return self.part_score if least is None else least
        return own.defect_scores.get(label, self.defect_scores.get(label, self.defect_score))

    def counted(self, boxes: Sequence[Box]) -> tuple[list[Box], list[Box]]:
        """The parts and the defects that score enough; the defects' scores are those of the one part, if there is one."""
        parts = [box for box in boxes if box.label in self.parts and box.score >= self.least_score(box.label)]
        part_type = parts[0].label if len(parts) == 1 else ""
        defects = [
            box for box in boxes if box.label in self.defects and box.score >= self.least_score(box.label, part_type)
        ]
        return parts, defects


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rule says of one frame."""

    outcome: Outcome
    why: str
    """In words, with millimetres where there are any."""

    causes: tuple[str, ...] = ()
    """The labels of the defects of a FAIL, `size length` and the like; one short reason of a NOT_INSPECTED."""

    part_type: str = ""
    """Empty if there was not exactly one part."""

    sizes_mm: Mapping[str, float] = field(default_factory=dict)
    """What was measured, without the errors: the part's sizes, and the longest of each label of defects."""


def judge(seen: Detections, rule: InspectionRule) -> Judged:
    """The verdict on one frame and its reason in words.

    PASS needs proof: exactly one part seen with enough score, of the right size, and no defect that is not tolerated. A defect
    fails the part even when the part itself is seen poorly; tolerances are those of the one part. No part, or several, is not
    an inspection, and neither is a part whose size is asked and cannot be measured.
    """
    parts, defects = rule.counted(seen.boxes)
    part = parts[0] if len(parts) == 1 else None
    part_type = part.label if part else ""
    sizes = _sizes(part, defects, rule)
    bad = _not_tolerated(defects, part, rule) if part else defects
    if bad:
        worst = max(bad, key=lambda box: box.score)
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        why = f"{_named(worst)}{_excess(worst, defects, part, rule) if part else ''}{more}"
        return Judged(Outcome.FAIL, why, tuple(sorted({box.label for box in bad})), part_type, sizes)
    if part is None:
        why = f"{len(parts)} parts in one frame" if parts else _no_part(rule)
        return Judged(Outcome.NOT_INSPECTED, why, ("several parts" if parts else "no part",), "", sizes)
    if wrong := _wrong_size(part, sizes, rule):
        return Judged(*wrong, part_type, sizes)
    measured = ", ".join(f"{name} {sizes[name]:.2f} mm" for name in rule.of(part_type).sizes_mm)
    tolerated = f"{_listed(defects)} tolerated" if defects else "no defect"
    why = ", ".join(filter(None, (_named(part), measured, f"{tolerated} (rule {rule.version})")))
    return Judged(Outcome.PASS, why, (), part_type, sizes)


def _no_part(rule: InspectionRule) -> str:
    return f"no part seen with a score of {min(map(rule.least_score, rule.parts), default=rule.part_score):g} or more"


def _sizes(part: Box | None, defects: Sequence[Box], rule: InspectionRule) -> dict[str, float]:
    """The part's sides and each label's longest defect, where they can be measured."""
    scale, found = rule.calibration, dict[str, float]()
    if scale is None:
        return found
    if part and scale.covers(part):
        found |= dict(zip(SIZES, scale.sides_mm(part), strict=True))
    for box in defects:
        if scale.covers(box):
            name = f"{box.label} length"
            found[name] = max(found.get(name, 0.0), scale.extent(box).length_mm - scale.error_mm)
    return {name: round(size, 4) for name, size in found.items()}


def _wrong_size(
    part: Box, sizes: Mapping[str, float], rule: InspectionRule
) -> tuple[Outcome, str, tuple[str, ...]] | None:
    """What the part's size speaks against it; None if nothing."""
    asked, scale = rule.of(part.label).sizes_mm, rule.calibration
    if not asked:
        return None
    if scale is None:
        return Outcome.NOT_INSPECTED, "the part must be measured, and there is no calibration", ("no calibration",)
    if not scale.covers(part):
        return Outcome.NOT_INSPECTED, f"{_named(part)} lies outside of the calibrated area", ("not measurable",)
    error = scale.error_mm + 2 * rule.part_edge_px * scale.px_mm(part)
    wrong = [
        name
        for name, (least, most) in asked.items()
        if not least <= sizes[name] - error or not sizes[name] + error <= most
    ]
    if not wrong:
        return None
    said = (
        f"{name} {sizes[name]:.2f} mm, not proven within {asked[name][0]:g} to {asked[name][1]:g}" for name in wrong
    )
    why = f"{_named(part)}: {'; '.join(said)} (error {error:.2f} mm)"
    return Outcome.FAIL, why, tuple(f"size {name}" for name in wrong)


def _not_tolerated(defects: Sequence[Box], part: Box, rule: InspectionRule) -> list[Box]:
    """The defects that find no place among the tolerances, the largest ones first to be left over.

    Each defect takes one place of a tolerance that covers it, and gives way if it finds another: augmenting paths (Kuhn 1955).
    So a part is never failed because tolerances were used up in the wrong order, and as a growing box is only covered by fewer
    of them, no part gets better by a larger defect.
    """
    tolerances = rule.of(part.label).tolerate
    if not tolerances:
        return list(defects)
    boxes = sorted(defects, key=_area)
    covering = []
    for box in boxes:
        extent = _extent(box, rule)
        covering.append([n for n, each in enumerate(tolerances) if not _refuses(each, box, extent, part, rule)])
    taken: list[list[int]] = [[] for _ in tolerances]
    full: set[int] = set()  # what a search in vain has seen gives no place to any later one

    def place(number: int, tried: set[int]) -> bool:
        for n in covering[number]:
            if n in tried or n in full:
                continue
            tried.add(n)
            most = tolerances[n].count
            if len(taken[n]) < (inf if most is None else most):
                taken[n].append(number)
                return True
            for at, other in enumerate(taken[n]):
                if place(other, tried):
                    taken[n][at] = number
                    return True
        return False

    left_over = []
    for number, box in enumerate(boxes):
        tried: set[int] = set()
        if not place(number, tried):
            full |= tried
            left_over.append(box)
    return left_over


def _extent(box: Box, rule: InspectionRule) -> Extent | None:
    """How large the defect can be at most; None if it cannot be measured."""
    scale = rule.calibration
    return scale.extent(box, rule.edges_px.get(box.label, rule.edge_px)) if scale and scale.covers(box) else None


def _refuses(tolerance: Tolerance, box: Box, extent: Extent | None, part: Box, rule: InspectionRule) -> str:
    """Why the tolerance does not cover the defect, in words; empty if it does."""
    if box.label not in tolerance.defects:
        return "not tolerated"
    if tolerance.zone and not rule.zones[tolerance.zone].holds(box, part):
        return f"not inside {tolerance.zone}"
    if not tolerance.asks_mm:
        return ""
    if extent is None:
        return "outside of the calibrated area" if rule.calibration else "not measured without a calibration"
    asked = [
        (extent.length_mm, tolerance.length_mm, "mm long"),
        (extent.width_mm, tolerance.width_mm, "mm wide"),
        (extent.area_mm2, tolerance.area_mm2, "mm2 large"),
    ]
    for size, most, unit in asked:
        if most is not None and not size <= most:
            return f"up to {size:.2f} {unit}, {most:g} {unit.split()[0]} allowed"
    return ""


def _excess(box: Box, defects: Sequence[Box], part: Box, rule: InspectionRule) -> str:
    """Why this defect is not tolerated, for the verdict's reason; nothing to say where none of its label ever is."""
    mine = [each for each in rule.of(part.label).tolerate if box.label in each.defects]
    if not mine:
        return ""
    extent = _extent(box, rule)
    refusals = [_refuses(each, box, extent, part, rule) for each in mine]
    if all(refusals):
        return f", {refusals[-1]}"
    most = sum(each.count or 0 for each, refused in zip(mine, refusals, strict=True) if not refused)
    return f", one of {sum(each.label == box.label for each in defects)}, {most} of its kind allowed"


def _listed(boxes: Sequence[Box]) -> str:
    return ", ".join(f"{count} {label}" for label, count in sorted(Counter(box.label for box in boxes).items()))


def _named(box: Box) -> str:
    return f"{box.label} {box.score:.2f}"


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _enters(a: tuple[float, float], b: tuple[float, float], box: Box) -> bool:
    """Does the segment from `a` to `b` pass through the inside of the box? (Liang and Barsky 1984.)"""
    first, last = 0.0, 1.0
    for start, end, low, high in ((a[0], b[0], box.left, box.right), (a[1], b[1], box.top, box.bottom)):
        step = end - start
        if step == 0:
            if not low < start < high:
                return False
            continue
        near, far = sorted(((low - start) / step, (high - start) / step))
        first, last = max(first, near), min(last, far)
    return first < last
