"""A rule asked about parts that were judged long ago: which verdicts would have been others, and where that cannot be told.

A row holds what was seen from the detector's least score on, and how many looks it is the mean of; not the picture as the detector
would see it again. Whatever depends on more than that is counted as "cannot tell", with the reason, and never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edgeapp.core.events import Detections, Outcome
from edgeapp.station.queries import Row
from edgeapp.vision.calibration import Calibration
from edgeapp.vision.rules import InspectionRule, Judged, judge
from edgeapp.vision.second_look import in_doubt

LISTED_MAX: Final = 1_000  # flips that are kept one by one; all are counted


@dataclass(frozen=True, slots=True)
class Flip:
    """A verdict that would have been another one."""

    seq: int
    utc_ns: int
    source: str
    serial: str
    image: str
    was: Outcome
    would: Outcome
    part_type: str
    causes: tuple[str, ...]
    """What the part fails for: now, or then."""

    why: str
    """The new rule's reason."""


@dataclass(slots=True)
class DryRun:
    """What came of it."""

    rows: int = 0
    flipped: Counter[tuple[Outcome, Outcome]] = field(default_factory=Counter)
    by_cause: Counter[tuple[str, str, Outcome, Outcome]] = field(default_factory=Counter)
    """By part type and cause; a part with two causes counts under both."""

    cannot_tell: Counter[str] = field(default_factory=Counter)
    listed: list[Flip] = field(default_factory=list)

    @property
    def flips(self) -> int:
        """All verdicts that would have been others."""
        return self.flipped.total()


def dry_run(
    rows: Iterable[Row],
    rule: InspectionRule,
    olds: Mapping[str, InspectionRule],
    *,
    stored_from_score: float,
    scales: Sequence[Calibration] = (),
) -> DryRun:
    """Ask `rule` about every row. `olds` are the rules known by their id; the detector kept what scored `stored_from_score`.

    `scales` are the calibrations of the line's cameras.
    """
    found = DryRun()
    at = {scale.camera: replace(rule, calibration=scale) for scale in scales}
    for row in rows:
        found.rows += 1
        told = ask_again(row, at.get(row.verdict.camera, rule), olds.get(row.rule), stored_from_score=stored_from_score)
        if isinstance(told, str):
            found.cannot_tell[told] += 1
            continue
        was = row.verdict.outcome
        if told.outcome is was:
            continue
        causes = told.causes or row.causes
        part_type = told.part_type or row.part_type
        found.flipped[was, told.outcome] += 1
        found.by_cause.update((part_type, cause, was, told.outcome) for cause in set(causes) or {""})
        if len(found.listed) < LISTED_MAX:
            seen = (row.seq, row.utc_ns, row.verdict.source, row.serial, row.image)
            found.listed.append(Flip(*seen, was, told.outcome, part_type, causes, told.why))
    return found


def ask_again(row: Row, rule: InspectionRule, old: InspectionRule | None, *, stored_from_score: float) -> Judged | str:
    """What the rule would have said of this part, or why that cannot be told."""
    verdict = row.verdict
    stays = Judged(verdict.outcome, "not by the rule", row.causes, row.part_type)
    if not verdict.model:
        return stays  # no detector answered, so no rule was asked
    late = verdict.decided_ns > verdict.due_ns
    seen = Detections(0, verdict.boxes, verdict.model)
    if verdict.outcome is Outcome.NOT_INSPECTED and late:
        return stays
    if old is None and verdict.outcome is Outcome.NOT_INSPECTED:
        return "the rule that was asked then is not in the book"
    if old is not None:
        then = judge(seen, _as_it_could_measure(old, row, rule)).outcome
        if then is not verdict.outcome:
            if verdict.outcome is Outcome.NOT_INSPECTED:
                return stays  # another check than the rule stopped it
            return "the verdict does not follow from the boxes in its row"
    if why := _looks_differ(verdict.looks, seen, rule, old):
        return why
    told = judge(seen, _as_it_could_measure(rule, row, rule))
    if rule.asks_mm and (why := _not_measurable(row, rule)):
        told = judge(seen, replace(rule, calibration=None))
        if told.outcome is not judge(seen, _whatever_its_size(rule)).outcome:
            return why
    if verdict.view and told.outcome is not Outcome.FAIL:
        return "its row has the boxes of one of several cameras only"
    return _below_what_was_kept(told, rule, stored_from_score) or told


def _not_measurable(row: Row, rule: InspectionRule) -> str:
    """Why the row's boxes have no size in mm; empty if they have."""
    if rule.calibration is None or rule.calibration.camera != row.verdict.camera:
        return "there is no calibration of its camera"
    return "it was seen before its camera was calibrated" if row.utc_ns < rule.calibration.utc_ns else ""


def _whatever_its_size(rule: InspectionRule) -> InspectionRule:
    """The rule without any limit in mm: what it says of a part that is as small as need be, and of the right size."""
    lax = {
        name: replace(
            each,
            sizes_mm={},
            tolerate=tuple(replace(one, length_mm=None, width_mm=None, area_mm2=None) for one in each.tolerate),
        )
        for name, each in rule.part_types.items()
    }
    return replace(rule, part_types=lax)


def _as_it_could_measure(rule: InspectionRule, row: Row, new: InspectionRule) -> InspectionRule:
    """The rule with the calibration that is given for the new one, if that is of this camera."""
    scale = new.calibration
    return replace(rule, calibration=scale if scale and scale.camera == row.verdict.camera else None)


def _looks_differ(looks: int | None, seen: Detections, rule: InspectionRule, old: InspectionRule | None) -> str:
    """Why the boxes are not those that the new rule would have seen; empty if they are."""
    if old is not None and _doubts(old) == _doubts(rule):
        return ""
    if looks is None:
        never = max(rule.doubt_below_score, old.doubt_below_score if old else 1.0) <= 0
        return "" if never else "its row does not say how often it was looked at"
    if looks == 1:
        return (
            "it would have been looked at again" if in_doubt(seen, rule) and not (old and in_doubt(seen, old)) else ""
        )
    if old is None:
        return "the rule that was asked then is not in the book"
    wider = (
        rule.doubt_from_score <= old.doubt_from_score
        and rule.doubt_below_score >= old.doubt_below_score
        and set(rule.defects) == set(old.defects)
    )
    return "" if wider else "it might not have been looked at again"


def _doubts(rule: InspectionRule) -> tuple[float, float, frozenset[str]]:
    return rule.doubt_from_score, rule.doubt_below_score, frozenset(rule.defects)


def _below_what_was_kept(told: Judged, rule: InspectionRule, stored_from_score: float) -> str:
    """Why boxes that were not kept could have changed the answer; empty if they could not."""
    unkept = f"boxes below a score of {stored_from_score:g} were not kept"
    if any(rule.least_score(part) < stored_from_score for part in rule.parts):
        return unkept
    least = min(
        (rule.least_score(defect, part) for defect in rule.defects for part in (*rule.parts, "")),
        default=stored_from_score,
    )
    return unkept if least < stored_from_score and told.outcome is not Outcome.FAIL else ""
