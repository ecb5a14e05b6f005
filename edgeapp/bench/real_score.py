"""What a run of the line amounts to: misses, harm, what was served where, troubles, cost. Pure.

A miss is a frame without the detector's answer by its due time. It is *harm* if local would have met it: had every frame of
the run been run here as soon as it was asked for, one after the other on the one lane, each for as long as its own local work
took in its thread at that very time, and the frames that never ran here for the median of those that did. So a miss of a
frame that never ran here counts as harm, unless the frames before it would have held it up.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Final

from edgeapp.bench.line import Ran
from edgeapp.bench.measures import longest, steady
from edgeapp.core.events import MS, Verdict
from edgeapp.core.placement import Terms
from edgeapp.core.record import Record
from edgeapp.observe.percentile import percentile

LOCAL, LATE_REMOTE, LATE_LOCAL, RACE, NONE = "local", "late, won remotely", "late, fell back", "race", "no answer"
DECIDE_NS: Final = 2 * MS  # what the inspection keeps for itself


@dataclass(frozen=True, slots=True)
class Trouble:
    """How the line went through one trouble, in seconds."""

    name: str
    start_s: float
    end_s: float
    detected_s: float
    """From its start to the first frame that was not sent away; inf if all were."""

    recovered_s: float
    """From its end to the first of three (of six) frames served remotely in time; inf if that did not happen."""


@dataclass(frozen=True, slots=True)
class RealScore:
    """One run. Shares are of all frames."""

    source: str
    policy: str
    frames: int
    misses: int
    harm: int
    without_one_verdict: int
    """Frames that got none, or more than one."""

    remote_share: float
    """Answered from the near edge, in time."""

    local: int
    late_remote: int
    late_local: int
    race: int
    local_runs: float
    requests: float
    breaker_opened: int
    up_kb: float
    """Per frame, the warm-up's traffic included."""

    down_kb: float
    energy: float
    """Per frame, in units of one local run; see `Terms`."""

    burst: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float
    stall_ms: float
    troubles: tuple[Trouble, ...]


def missed(verdict: Verdict) -> bool:
    """Did the detector's answer not come in time?"""
    return not verdict.model or verdict.decided_ns > verdict.due_ns


def harm(ran: Ran) -> list[int]:
    """The numbers of the frames that were missed and that local would have met."""
    usual_ns = statistics.median(ran.local_ns.values()) if ran.local_ns else 0
    free_ns, found = 0.0, []
    for number, (verdict, *_) in sorted(ran.verdicts.items()):
        call, by_ns = ran.calls.get(number), verdict.due_ns - DECIDE_NS
        begins_ns: float = max(call.asked_ns if call else verdict.at_ns, free_ns)
        ends_ns = begins_ns + ran.local_ns.get(number, usual_ns)
        if begins_ns < by_ns:  # nobody begins what is too late
            free_ns = ends_ns
        if missed(verdict) and ends_ns <= by_ns:
            found.append(number)
    return found


def way(call: Record | None) -> str:
    """Which way a frame's call went."""
    if call is None or call.side == "none":
        return NONE
    if call.local_at_ns is not None:
        return LATE_REMOTE if call.side == "remote" else LATE_LOCAL
    return RACE if call.remote_end else LOCAL


def score(ran: Ran) -> RealScore:
    """Measure a run whose frames all came to an end."""
    plan, terms = ran.plan, Terms()
    numbers = range(1, plan.frames + 1)
    first = {n: given[0] for n, given in ran.verdicts.items()}
    late = [n not in first or missed(first[n]) for n in numbers]
    in_time = [
        not miss and (call := ran.calls.get(n)) is not None and call.side == "remote"
        for n, miss in zip(numbers, late, strict=True)
    ]
    ways = [way(ran.calls.get(n)) for n in numbers]
    took_ms = [(each.decided_ns - each.at_ns) / MS for each in first.values()]
    carried = plan.frames + plan.warm_frames
    return RealScore(
        source=plan.source,
        policy=plan.policy,
        frames=plan.frames,
        misses=sum(late),
        harm=len(harm(ran)),
        without_one_verdict=sum(len(ran.verdicts.get(n, ())) != 1 for n in numbers),
        remote_share=sum(in_time) / plan.frames,
        local=ways.count(LOCAL),
        late_remote=ways.count(LATE_REMOTE),
        late_local=ways.count(LATE_LOCAL),
        race=ways.count(RACE),
        local_runs=len(ran.local_ns) / plan.frames,
        requests=ran.requests / plan.frames,
        breaker_opened=sum(ran.shut[n] and not ran.shut.get(n - 1, False) for n in sorted(ran.shut)),
        up_kb=ran.relay.get("up_bytes", 0) / carried / 1e3,
        down_kb=ran.relay.get("down_bytes", 0) / carried / 1e3,
        energy=(len(ran.local_ns) * terms.local_j + ran.requests * terms.send_j) / plan.frames,
        burst=longest(late),
        p50_ms=percentile(took_ms, 50),
        p95_ms=percentile(took_ms, 95),
        p99_ms=percentile(took_ms, 99),
        longest_ms=max(took_ms, default=nan),
        stall_ms=ran.stall_ms,
        troubles=tuple(_troubles(ran, in_time)),
    )


def _troubles(ran: Ran, in_time: Sequence[bool]) -> list[Trouble]:
    found = []
    if ran.plan.outage_s is not None:
        found.append(_trouble(ran, in_time, "outage", *ran.plan.outage_s))
    if ran.killed_ns:
        start_s, end_s = ((each - ran.start_ns) / 1e9 for each in (ran.killed_ns, ran.back_ns))
        found.append(_trouble(ran, in_time, "kill", start_s, end_s))
    return found


def _trouble(ran: Ran, in_time: Sequence[bool], name: str, start_s: float, end_s: float) -> Trouble:
    def after(n: int, from_s: float) -> float:
        return (ran.at_ns[n] - ran.start_ns) / 1e9 - from_s

    kept = (n for n, call in sorted(ran.calls.items()) if not call.remote_end and after(n, start_s) >= 0)
    detected_s = next((after(n, start_s) for n in kept if after(n, end_s) <= 0), inf)
    rest = [n for n in sorted(ran.at_ns) if after(n, end_s) >= 0]
    used = steady((in_time[n - 1] for n in rest), among=6)
    return Trouble(name, start_s, end_s, detected_s, inf if used is None else after(rest[used], end_s))
