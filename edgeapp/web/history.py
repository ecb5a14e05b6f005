"""What the device's records say to a person who looks now: the last verdicts, turns, placements and alarms.

A sink like the record file. It keeps a bounded past and makes each topic's state when it is asked for.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Verdict
from edgeapp.core.record import AlarmRecord, AnyRecord, GateRecord, Record, TurnRecord
from edgeapp.observe.waterfall import Span, frame_spans, staged_spans, turn_spans
from edgeapp.web.live import Live

TURNS: Final = 16
FRAMES: Final = 16
CALLS: Final = 512
"""Of stages: enough for the calls of all turns and frames above."""

ALARMS: Final = 100
SIDES: Final = 200
"""Calls of a stage over which the share of the remote is told."""

NAMES_MAX: Final = 64
"""Cameras and stages that are told apart; a device has a handful."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """What turns and frames are held against."""

    voice_ms: float
    vision_ms: float


class History:
    """The records of one device as topics of `live`. Lives on its loop."""

    def __init__(self, live: Live, budgets: Budgets) -> None:
        self._live, self._budgets = live, budgets
        self._verdicts: dict[str, Verdict] = {}
        self._frames: deque[Verdict] = deque(maxlen=FRAMES)
        self._turns: deque[TurnRecord] = deque(maxlen=TURNS)
        self._calls: deque[Record] = deque()  # at most CALLS, and the same ones by what they served
        self._calls_of: dict[str, list[Record]] = {}
        self._alarms: deque[AlarmRecord] = deque(maxlen=ALARMS)
        self._outcomes: Counter[str] = Counter()
        self._turn_outcomes: Counter[str] = Counter()
        self._late: Counter[str] = Counter()
        self._gates: dict[str, GateRecord] = {}
        self._stages: dict[str, deque[Record]] = {}
        live.topic("verdicts", self._tell_verdicts)
        live.topic("frames", self._tell_frames)
        live.topic("turns", self._tell_turns)
        live.topic("stages", self._tell_stages)
        live.topic("alarms", self._tell_alarms)
        live.topic("gates", self._tell_gates)

    def __call__(self, record: AnyRecord) -> None:
        """Remember a record."""
        match record:
            case Record():
                self._call(record)
            case Verdict():
                self._verdict(record)
            case TurnRecord():
                self._turns.append(record)
                self._turn_outcomes[record.outcome] += 1
                first_ns = record.first_audible_ns
                self._late["turns"] += first_ns is not None and first_ns > record.due_ns
                self._live.changed("turns")
            case AlarmRecord():
                self._alarms.append(record)
                self._live.changed("alarms")
            case GateRecord():
                if record.where in self._gates or len(self._gates) < NAMES_MAX:
                    self._gates[record.where] = record
                self._live.changed("gates")

    def _call(self, record: Record) -> None:
        self._calls.append(record)
        self._calls_of.setdefault(record.of, []).append(record)
        if len(self._calls) > CALLS:
            oldest = self._calls.popleft()
            rest = self._calls_of[oldest.of]
            rest.pop(0)
            if not rest:
                del self._calls_of[oldest.of]
        if record.stage in self._stages or len(self._stages) < NAMES_MAX:
            self._stages.setdefault(record.stage, deque(maxlen=SIDES)).append(record)
            self._live.changed("stages")

    def _verdict(self, verdict: Verdict) -> None:
        self._outcomes[verdict.outcome] += 1
        self._late["frames"] += verdict.decided_ns > verdict.due_ns
        if verdict.source in self._verdicts or len(self._verdicts) < NAMES_MAX:
            self._verdicts[verdict.source] = verdict
        self._frames.append(verdict)
        self._live.changed("verdicts", "frames")

    # What is told

    def _tell_verdicts(self) -> dict[str, Any]:
        return {
            "newest": {source: self._one(each) for source, each in self._verdicts.items()},
            "last": [[each.outcome, each.frame_number] for each in self._frames],
            "passed": self._outcomes["PASS"],
            "failed": self._outcomes["FAIL"],
            "not_inspected": self._outcomes["NOT_INSPECTED"],
            "late": self._late["frames"],
            "budget_ms": self._budgets.vision_ms,
        }

    def _one(self, verdict: Verdict) -> dict[str, Any]:
        return {
            "source": verdict.source,
            "number": verdict.frame_number,
            "outcome": verdict.outcome,
            "why": verdict.why,
            "utc_ms": utc_ms(verdict.decided_ns),
            "took_ms": _ms(verdict.decided_ns - verdict.at_ns),
            "model": verdict.model,
        }

    def _tell_frames(self) -> dict[str, Any]:
        rows = [
            {
                "name": f"{each.source} {each.frame_number}",
                "outcome": each.outcome,
                "spans": _spans(frame_spans(each, self._calls_of.get(f"{each.source} {each.frame_number}", ()))),
                "took_ms": _ms(each.decided_ns - each.at_ns),
                "where": self._where(f"{each.source} {each.frame_number}"),
            }
            for each in reversed(self._frames)
        ]
        return {"budget_ms": self._budgets.vision_ms, "rows": rows}

    def _tell_turns(self) -> dict[str, Any]:
        return {
            "budget_ms": self._budgets.voice_ms,
            "outcomes": dict(self._turn_outcomes),
            "late": self._late["turns"],
            "rows": [self._turn(each) for each in reversed(self._turns)],
        }

    def _turn(self, turn: TurnRecord) -> dict[str, Any]:
        first_ns, calls = turn.first_audible_ns, self._calls_of.get(f"turn {turn.number}", [])
        return {
            "name": f"turn {turn.number}",
            "outcome": turn.outcome,
            "utc_ms": utc_ms(turn.committed_ns),
            "took_ms": None if first_ns is None else _ms(first_ns - turn.last_voiced_ns),
            "spans": _spans(turn_spans(turn, calls)),
            "staged": _spans(staged_spans(turn, calls)),
            "where": self._where(f"turn {turn.number}"),
            "foreseen": turn.foreseen,
            "opener": turn.opener,
            "end_why": turn.end_why,
            "path": turn.path,
            "error": turn.error,
        }

    def _where(self, of: str) -> list[dict[str, Any]]:
        """Where each stage ran, and why: the last call of each that was answered, or the last one."""
        found: dict[str, Record] = {}
        for each in self._calls_of.get(of, ()):
            if each.side != "none" or each.stage not in found:
                found[each.stage] = each
        return [
            {
                "stage": each.stage,
                "side": each.side,
                "why": each.why,
                "took_ms": _ms(each.first_ns - each.asked_ns),
                "late_ms": _ms(each.late_ns),
                "error": each.error,
            }
            for each in found.values()
        ]

    def _tell_stages(self) -> dict[str, Any]:
        told = {}
        for name, calls in self._stages.items():
            whys = Counter(each.why for each in calls)
            took = sorted(each.first_ns - each.asked_ns for each in calls if not each.error)
            told[name] = {
                "calls": len(calls),
                "remote": sum(each.side == "remote" for each in calls),
                "errors": sum(bool(each.error) and each.error != "cancelled" for each in calls),
                "whys": dict(whys.most_common(6)),
                "p50_ms": _ms(took[len(took) // 2]) if took else None,
                "p95_ms": _ms(took[min(len(took) - 1, len(took) * 95 // 100)]) if took else None,
                "bound_ms": _ms(calls[-1].local_ns),
            }
        return told

    def _tell_alarms(self) -> list[dict[str, Any]]:
        return [
            {"where": each.where, "what": each.what, "part": each.part, "utc_ms": utc_ms(each.at_ns)}
            for each in reversed(self._alarms)
        ]

    def _tell_gates(self) -> dict[str, Any]:
        return {
            where: {
                "model": each.model,
                "outcome": each.outcome,
                "why": each.why,
                "cases": each.cases,
                "right": each.right,
                "took_ms": _ms(each.took_ns),
                "utc_ms": utc_ms(each.at_ns),
            }
            for where, each in self._gates.items()
        }


def utc_ms(at_ns: int) -> int:
    """An instant of the loop's clock as UTC in milliseconds, by what both clocks say now."""
    return (time.time_ns() - now_ns() + at_ns) // MS


def _ms(span_ns: int) -> float:
    return round(span_ns / MS, 1)


def _spans(spans: list[Span]) -> list[list[Any]]:
    return [[each.name, round(each.start_ms, 1), round(each.end_ms, 1)] for each in spans]
