"""Where the milliseconds of a turn or a frame went: records in, named spans out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from edgeapp.core.events import MS, Verdict
from edgeapp.core.record import Record, TurnRecord


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of a turn; milliseconds from the clock's start."""

    name: str
    start_ms: float
    end_ms: float

    @property
    def took_ms(self) -> float:
        """How long it is."""
        return self.end_ms - self.start_ms


def turn_spans(turn: TurnRecord, calls: Iterable[Record]) -> list[Span]:
    """From the last voiced sample to the first audible one, without gaps.

    `endpoint`: waiting for more speech. `stt`, `llm`, `tts`: each to its first part. `clause`: from the first piece of the
    reply until its first clause is whole. `output`: buffers and the voice's own beginning silence. `own`: what is between
    them, which is this application's cost. A turn that said nothing ends with its last call.
    """
    firsts: dict[str, Record] = {}
    for call in calls:
        if call.of == f"turn {turn.number}" and not call.error:
            firsts.setdefault(call.stage, call)
    marks: list[tuple[str, int]] = [("endpoint", turn.committed_ns)]
    for name in ("stt", "llm", "tts"):
        found = firsts.get(name)
        if found is None or (turn.first_audible_ns is not None and found.asked_ns > turn.first_audible_ns):
            continue
        before = "clause" if name == "tts" and "llm" in firsts else "own"
        marks += [(before, found.asked_ns), (name, found.first_ns)]
    if turn.first_audible_ns is not None:
        marks.append(("output", turn.first_audible_ns))
    spans = []
    for (_, start_ns), (name, end_ns) in pairwise([("start", turn.last_voiced_ns), *marks]):
        spans.append(Span(name, (start_ns - turn.last_voiced_ns) / MS, (end_ns - turn.last_voiced_ns) / MS))
    return spans


def frame_spans(verdict: Verdict, calls: Iterable[Record]) -> list[Span]:
    """From the sensor's timestamp to the verdict: `wait` for the inspection, `detect`, `again` (a second look), `own`."""
    of = f"{verdict.source} {verdict.frame_number}"
    looks = [each for each in calls if each.of == of]
    marks = [("wait", looks[0].asked_ns), ("detect", looks[0].first_ns)] if looks else []
    marks += [("again", looks[-1].first_ns)] if len(looks) > 1 else []
    marks.append(("own", verdict.decided_ns))
    return [
        Span(name, (start_ns - verdict.at_ns) / MS, (end_ns - verdict.at_ns) / MS)
        for (_, start_ns), (name, end_ns) in pairwise([("start", verdict.at_ns), *marks])
    ]
