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

    `endpoint`: waiting for more speech. `stt`, `llm`, `tts`: what was left of each until its first part, once the turn was
    over; what had been done before is in `staged_spans`. `clause`: from the first piece of the reply until its first clause
    is whole. `output`: buffers and the voice's own beginning silence. `own`: what is between them, which is this
    application's cost. A turn that said nothing ends with its last call.
    """
    firsts = _firsts(turn, calls)
    marks: list[tuple[str, int]] = [("endpoint", turn.committed_ns)]
    for name in ("stt", "llm", "tts"):
        found = firsts.get(name)
        if found is None or found.first_ns <= turn.committed_ns:
            continue
        if turn.first_audible_ns is not None and found.first_ns > turn.first_audible_ns:
            continue  # an opener was audible before
        if found.asked_ns >= turn.committed_ns:
            marks.append(("clause" if name == "tts" and "llm" in firsts else "own", found.asked_ns))
        marks.append((name, found.first_ns))
    if turn.first_audible_ns is not None:
        marks.append(("output", turn.first_audible_ns))
    return _spans(turn.last_voiced_ns, marks)


def staged_spans(turn: TurnRecord, calls: Iterable[Record]) -> list[Span]:
    """What the reply that was played had done before its turn was over: `stt`, `llm`, `clause`, `tts`.

    Times count from the last voiced sample, so they are negative while the person still spoke.
    """
    firsts = _firsts(turn, calls)
    spans: list[Span] = []
    for name in ("stt", "llm", "tts"):
        found = firsts.get(name)
        if turn.candidate_ns is None or found is None or found.asked_ns >= turn.committed_ns:
            continue
        asked_ms, first_ms = ((each - turn.last_voiced_ns) / MS for each in (found.asked_ns, found.first_ns))
        if name == "tts" and spans:
            spans.append(Span("clause", spans[-1].end_ms, asked_ms))
        spans.append(Span(name, asked_ms, first_ms))
    return spans


def _firsts(turn: TurnRecord, calls: Iterable[Record]) -> dict[str, Record]:
    """The first call of each stage that the reply which was played made."""
    begun_ns = turn.candidate_ns if turn.candidate_ns is not None else turn.last_voiced_ns
    firsts: dict[str, Record] = {}
    for call in calls:
        if call.of == f"turn {turn.number}" and not call.error and call.asked_ns >= min(begun_ns, turn.committed_ns):
            firsts.setdefault(call.stage, call)
    return firsts


def _spans(start_ns: int, marks: list[tuple[str, int]]) -> list[Span]:
    return [
        Span(name, (from_ns - start_ns) / MS, (to_ns - start_ns) / MS)
        for (_, from_ns), (name, to_ns) in pairwise([("start", start_ns), *marks])
    ]


def frame_spans(verdict: Verdict, calls: Iterable[Record]) -> list[Span]:
    """From the sensor's timestamp to the verdict: `wait` for the inspection, `detect`, `again` (a second look), `own`."""
    of = f"{verdict.source} {verdict.frame_number}"
    looks = [each for each in calls if each.of == of]
    marks = [("wait", looks[0].asked_ns), ("detect", looks[0].first_ns)] if looks else []
    marks += [("again", looks[-1].first_ns)] if len(looks) > 1 else []
    marks.append(("own", verdict.decided_ns))
    return _spans(verdict.at_ns, marks)
