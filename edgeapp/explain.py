"""`edgeapp explain`: what happened in one turn or frame, in sentences, from its records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeapp.core.events import MS, ConfigError, Verdict
from edgeapp.core.placement import Why
from edgeapp.core.record import Record, TurnRecord
from edgeapp.observe.jsonl import read
from edgeapp.observe.waterfall import Span, frame_spans, turn_spans


def explain(what: str, path: Path) -> None:
    """Print the story of `what` (`7`, `turn 7`, `belt 12`). The newest session that has it is told.

    Raises ConfigError if the records do not hold it, naming what they do hold.
    """
    of = f"turn {what}" if what.isdigit() else what
    calls: list[Record] = []
    under_way: list[Record] = []  # calls of this session whose turn or frame has not ended
    end: TurnRecord | Verdict | None = None
    known: list[str] = []
    try:
        for line in read(path):
            kind, fields = line.pop("kind"), line
            if kind == "session":
                known, under_way = [], []
            elif kind == "call" and fields["of"] == of:
                under_way.append(msgspec.convert(fields, Record))
            elif kind in {"turn", "verdict"}:
                name, value = _ending(kind, fields)
                known.append(name)
                if name == of:
                    calls, under_way, end = under_way, [], value
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} was written by another version of edgeapp ({error}): move it away") from error
    if end is None:
        kinds = dict.fromkeys(name.rpartition(" ")[0] for name in known)
        runs = [[name for name in known if name.rpartition(" ")[0] == kind] for kind in kinds]
        span = ", ".join(f"{run[0]} to {run[-1]}" for run in runs) or "nothing"
        raise ConfigError(f"{path} has no '{of}'; its last session holds {span}")
    for sentence in _turn(end, calls) if isinstance(end, TurnRecord) else _frame(end, calls):
        print(sentence)


def _ending(kind: str, fields: dict[str, Any]) -> tuple[str, TurnRecord | Verdict]:
    if kind == "turn":
        return f"turn {fields['number']}", msgspec.convert(fields, TurnRecord)
    verdict = msgspec.convert(fields, Verdict)
    return f"{verdict.source} {verdict.frame_number}", verdict


def _turn(turn: TurnRecord, calls: list[Record]) -> list[str]:
    sentences = [f"Turn {turn.number} was {turn.outcome}."]
    if turn.heard:
        sentences.append(f"It heard: {turn.heard!r}. It said: {turn.said!r}.")
    waited_ms = (turn.committed_ns - turn.last_voiced_ns) / MS
    sentences.append(
        f"The turn was taken for finished {waited_ms:.0f} ms after the last voiced sample that the device heard"
        + (f": {turn.end_why}." if turn.end_why else ".")
    )
    if turn.path:
        sentences.append(f"The reply came from: {turn.path}.")
    if turn.ungrounded:
        sentences.append("What the model said next was not borne out by any fact, so it was not spoken.")
    sentences += _prepared(turn)
    sentences += [_call(call) for call in calls]
    if turn.first_audible_ns is None:
        sentences.append("Nothing was said.")
    else:
        took_ms, budget_ms = (
            (turn.first_audible_ns - turn.last_voiced_ns) / MS,
            (turn.due_ns - turn.last_voiced_ns) / MS,
        )
        verdict = "in time" if took_ms <= budget_ms else f"{took_ms - budget_ms:.0f} ms too late"
        sentences.append(f"The first audible sample came after {took_ms:.0f} of {budget_ms:.0f} ms: {verdict}.")
    if turn.opener:
        reply = "the reply itself was never heard"
        if turn.first_reply_ns is not None:
            reply = f"the reply itself came after {(turn.first_reply_ns - turn.last_voiced_ns) / MS:.0f} ms"
        sentences.append(f"It was an opener, because the reply was not there in time; {reply}.")
    if turn.outcome == "rolled back":
        sentences.append("The person went on speaking, so the turn had not been over: both halves became one.")
    if turn.error:
        sentences.append(f"What failed: {turn.error}.")
    return [*sentences, *_spans(turn_spans(turn, calls))]


def _prepared(turn: TurnRecord) -> list[str]:
    """What had been done before the turn was over."""
    sentences = []
    if turn.foreseen and turn.candidate_ns is not None:
        text = f"The reply was begun {(turn.committed_ns - turn.candidate_ns) / MS:.0f} ms before that"
        if turn.staged_ns is not None and turn.staged_ns <= turn.committed_ns:
            text += f", and its first sound was staged {(turn.committed_ns - turn.staged_ns) / MS:.0f} ms before"
        sentences.append(f"{text}.")
    elif turn.candidate_ns is not None:
        sentences.append("The reply was begun then: nothing with these words had been prepared.")
    thrown = turn.candidates - turn.foreseen
    if thrown > 0:
        sentences.append(
            f"{thrown} other {'reply' if thrown == 1 else 'replies'} had been begun and thrown away, "
            f"which cost {turn.wasted_ns / MS:.0f} ms of work at most."
        )
    return sentences


def _frame(verdict: Verdict, calls: list[Record]) -> list[str]:
    took_ms, budget_ms = (verdict.decided_ns - verdict.at_ns) / MS, (verdict.due_ns - verdict.at_ns) / MS
    sentences = [
        f"Frame {verdict.frame_number} of {verdict.source} got {verdict.outcome} after {took_ms:.0f} of {budget_ms:.0f} ms.",
        f"The reason: {verdict.why}.",
    ]
    if verdict.model:
        boxes = ", ".join(f"{box.label} {box.score:.2f}" for box in verdict.boxes) or "nothing"
        sentences.append(f"Model {verdict.model} saw {boxes}.")
    return [*sentences, *[_call(call) for call in calls], *_spans(frame_spans(verdict, calls))]


def _call(call: Record) -> str:
    took_ms, left_ms = (call.first_ns - call.asked_ns) / MS, -call.late_ns / MS
    if call.side == "none":
        text = f"{call.stage} gave no answer and ended after {took_ms:.1f} ms"
    else:
        where = "at the near edge" if call.side == "remote" else "on this device"
        text = f"{call.stage} ran {where}, because {call.why}; its first part took {took_ms:.1f} ms"
    text += f", {left_ms:.0f} ms before it was due" if left_ms >= 0 else f", {-left_ms:.0f} ms after it was due"
    if call.side == "none":
        text += f"; it was placed as it was because {call.why}"
    smaller = f" with smaller model {call.rung}" if call.rung else ""
    text += f" (local{smaller} is bounded at {call.local_ns / MS:.0f} ms)"
    if call.local_at_ns is not None:
        moment = "the last safe moment for local was" if call.policy == "edgeapp" else "local was to start"
        text += f"; {moment} {(call.local_at_ns - call.asked_ns) / MS:.0f} ms after the ask"
    elif call.window_ns:
        text += f"; the remote would have had {call.window_ns / MS:.0f} ms before local had to start"
    if call.late_share is not None:
        text += f", and the remote was late with a probability of at most {call.late_share:.1%}"
    if call.remote_end in _REMOTE:
        text += f"; the remote {_REMOTE[call.remote_end]} {(call.remote_took_ns or 0) / MS:.0f} ms"
    if call.remote_end and call.local_took_ns is not None:
        text += f", and local took {call.local_took_ns / MS:.0f} ms"
    if call.policy != "edgeapp":
        text += f"; the policy was {call.policy}"
    if call.error:
        text += f"; it ended with: {call.error}"
    return f"{text}. {oracle(call)}"


_REMOTE = {
    "answered": "answered after",
    "given up": "had not answered when it was given up after",
    "failed": "failed after",
}


def oracle(call: Record) -> str:
    """What somebody who knew this call's future would have done, as far as the record tells it."""
    window_ns = call.due_ns - call.asked_ns
    if not call.remote_end:
        if call.why == Why.NO_REMOTE:
            return "There was no choice."
        return "What the remote would have done is not known: it was not asked."
    near_ns = call.local_took_ns
    if call.remote_end == "answered" and (call.remote_took_ns or 0) <= window_ns:
        return "Who knew the future would have sent it away too, and reserved nothing."
    if call.remote_end == "given up" and (call.remote_took_ns or 0) < window_ns:
        here = "" if near_ns is None else f"; here it would have taken {near_ns / MS:.0f} ms from the start"
        return f"Whether the remote would still have been in time is not known{here}."
    if near_ns is None:
        return "Who knew the future would not have asked the remote; how long local would have taken is not known."
    if near_ns <= window_ns:
        return f"Who knew the future would have run it here at once and had it after {near_ns / MS:.0f} ms."
    return "Nobody could have met this due time."


def _spans(spans: list[Span]) -> list[str]:
    width = 48
    whole_ms = max((span.end_ms for span in spans), default=1.0) or 1.0
    lines = [""]
    for span in spans:
        start = min(width, round(max(0.0, span.start_ms) / whole_ms * width))
        bar = max(0, min(width - start, round(span.took_ms / whole_ms * width)))
        lines.append(f"  {span.name:>9} {' ' * start}{'█' * bar}{' ' * (width - start - bar)} {span.took_ms:7.1f} ms")
    return lines
