"""What every machine on the line is told: counters, the last verdict, and a heartbeat that only an inspected part advances.

A value and pure functions; the register map, MQTT and OPC-UA each say it in their own words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from edgeapp.core.events import MS, Outcome, Verdict


class Station(IntEnum):
    """Whether the station judges parts."""

    STARTING = 0
    RUNNING = 1
    STOPPED = 2


OUTCOME_CODES: Final = {Outcome.PASS: 1, Outcome.FAIL: 2, Outcome.NOT_INSPECTED: 3}
"""0 is no verdict yet."""

OTHER_FAILURE: Final = 99
NOT_INSPECTED: Final = 200
LABELS_MAX: Final = 98


@dataclass(frozen=True, slots=True)
class Judged:
    """One verdict in a machine's words."""

    sequence: int
    """Counts the verdicts of this run, from 1: the reader's proof that it saw every one."""

    part: int
    outcome: int
    """See `OUTCOME_CODES`."""

    reason: int
    """See `reason_code`."""

    age_ms: int
    """From the sensor's timestamp to the verdict."""


@dataclass(frozen=True, slots=True)
class LineState:
    """Everything that is true of the line now."""

    station: Station = Station.STARTING
    heartbeat: int = 0
    """Parts that were really looked at. Never a timer: it stands still when the inspection does."""

    passed: int = 0
    failed: int = 0
    not_inspected: int = 0
    triggers_lost: int = 0
    """Parts that came faster than they could be inspected; they are in `not_inspected` too once their verdict is given."""

    rejects_missed: int = 0
    """Parts to be rejected that the gate did not reject."""

    alarms: int = 0
    """Alarms raised so far."""

    alarm: bool = False
    """Is there one that nobody has acknowledged?"""

    last: Judged | None = None

    @property
    def verdicts(self) -> int:
        """Verdicts given so far."""
        return self.passed + self.failed + self.not_inspected

    def after(self, verdict: Verdict, labels: tuple[str, ...]) -> LineState:
        """The state once this verdict is given."""
        age_ms = max(0, verdict.decided_ns - verdict.at_ns) // MS
        judged = Judged(
            self.verdicts + 1,
            verdict.frame_number,
            OUTCOME_CODES[verdict.outcome],
            reason_code(verdict, labels),
            age_ms,
        )
        return replace(
            self,
            heartbeat=self.heartbeat + (verdict.outcome is not Outcome.NOT_INSPECTED),
            passed=self.passed + (verdict.outcome is Outcome.PASS),
            failed=self.failed + (verdict.outcome is Outcome.FAIL),
            not_inspected=self.not_inspected + (verdict.outcome is Outcome.NOT_INSPECTED),
            last=judged,
        )


def reason_code(verdict: Verdict, labels: tuple[str, ...]) -> int:
    """Why, as a number a PLC can switch on: 0 passed; 1 to 98 the surest defect's place among `labels`, the rule's defects;
    99 failed for another reason; 200 not inspected.
    """
    if verdict.outcome is Outcome.PASS:
        return 0
    if verdict.outcome is Outcome.NOT_INSPECTED:
        return NOT_INSPECTED
    known = [labels.index(box.label) + 1 for box in verdict.boxes if box.label in labels[:LABELS_MAX]]
    return known[0] if known else OTHER_FAILURE
