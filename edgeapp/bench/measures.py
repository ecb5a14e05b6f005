"""What a policy's run in a world amounts to: misses, harm with its bound, what was served where, outages, cost. Pure."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, log1p, nan

from edgeapp.bench.simulate import THERE, Played
from edgeapp.bench.worlds import DUE_NS, World
from edgeapp.core.placement import Terms

_CALLS = 3  # a link is back with so many good round trips in a row, a policy with so many of six calls served remotely
_BEFORE = 10  # calls before an outage; if none was served remotely, nothing was lost in it that could come back


def upper_bound(events: int, trials: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a proportion (Clopper and Pearson 1934); with no event, the rule of three.

    It takes the trials for independent: where misses come in bursts it is too low.
    """
    if trials <= 0 or events >= trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(events, trials, middle) > 1 - confidence else (low, middle)
    return high


def _at_most(events: int, trials: int, share: float) -> float:
    """P(at most `events` of `trials`) if each happens with probability `share`."""
    if share <= 0 or share >= 1:
        return float(share <= 0)
    whole = lgamma(trials + 1)
    terms = [
        whole - lgamma(k + 1) - lgamma(trials - k + 1) + k * log(share) + (trials - k) * log1p(-share)
        for k in range(events + 1)
    ]
    most = max(terms)
    return min(1.0, exp(most) * sum(exp(term - most) for term in terms))


@dataclass(frozen=True, slots=True)
class Score:
    """One policy in one world. Shares are of all calls."""

    world: str
    policy: str
    calls: int
    misses: int
    harm: int
    """Misses that the same call met when everything ran on the device."""

    harm_upper_per_million: float
    """With 95 % confidence, the true rate is below this."""

    remote_share: float
    """Answered from elsewhere, in time."""

    oracle_remote_share: float
    local_runs: float
    requests: float
    """Calls sent away and shadows, per call."""

    kb_per_call: float
    energy: float
    """Per call, in units of one local run; see `Terms`."""

    detect_s: float
    """Median time from the beginning of an outage to the first call that was not sent; inf if it kept sending."""

    recover_s: float
    """Median time from when the link was good again to calls served remotely again; inf if never."""

    recover_worst_s: float
    burst: int
    """The most misses in a row."""

    outages: int
    used_before: int
    """Outages that began while calls were served remotely, and after which the link was good for a while."""

    @property
    def miss_share(self) -> float:
        """Of all calls."""
        return self.misses / self.calls

    @property
    def harm_per_million(self) -> float:
        """Of a million calls."""
        return self.harm / self.calls * 1e6

    @property
    def of_oracle(self) -> float:
        """The share served remotely in time, of what one who knows the future would serve so."""
        return self.remote_share / self.oracle_remote_share if self.oracle_remote_share else nan


def score(world: World, played: Played, base: Played) -> Score:
    """Measure a run over its own calls, which may be fewer than the world's; `base` is the same world, always local."""
    terms, calls = Terms(), len(played.late_ns)
    missed = [late_ns > 0 for late_ns in played.late_ns]
    harm = sum(miss and base.late_ns[n] <= 0 for n, miss in enumerate(missed))
    in_time = [side == THERE and not miss for side, miss in zip(played.side, missed, strict=True)]
    known = [world.in_time(n) for n in range(calls)]
    kb = sum(map(world.size_bytes, range(calls))) / calls / 1e3
    outages = [each for each in world.outages if each[1] < world.asked_ns[calls - 1]]
    detected = [_detected_s(world, played, outage) for outage in outages]
    recovered = [each for outage in outages if (each := _recovered_s(world, in_time, outage)) is not None]
    return Score(
        world=world.name,
        policy=played.policy,
        calls=calls,
        misses=sum(missed),
        harm=harm,
        harm_upper_per_million=upper_bound(harm, calls) * 1e6,
        remote_share=sum(in_time) / calls,
        oracle_remote_share=sum(known) / calls,
        local_runs=played.local_runs / calls,
        requests=played.requests / calls,
        kb_per_call=played.requests / calls * kb,
        energy=(played.local_runs * terms.local_j + played.requests * terms.send_j) / calls,
        detect_s=statistics.median(detected) if detected else nan,
        recover_s=statistics.median(recovered) if recovered else nan,
        recover_worst_s=max(recovered, default=nan),
        burst=longest(missed),
        outages=len(outages),
        used_before=len(recovered),
    )


def oracle(world: World, calls: int) -> Score:
    """The one who knows each call's future: remote if it will be in time, else local. Misses only if both would."""
    terms = Terms()
    known = [world.in_time(n) for n in range(calls)]
    kb = sum(map(world.size_bytes, range(calls))) / calls / 1e3
    missed = [not far and world.local_ns[n] > world.due_after_ns(n) for n, far in enumerate(known)]
    share = sum(known) / calls
    return Score(
        world=world.name, policy="oracle", calls=calls, misses=sum(missed), harm=0, harm_upper_per_million=0.0,
        remote_share=share, oracle_remote_share=share, local_runs=1 - share, requests=share,
        kb_per_call=share * kb, energy=(1 - share) * terms.local_j + share * terms.send_j,
        detect_s=0.0 if world.outages else nan, recover_s=0.0 if world.outages else nan,
        recover_worst_s=0.0 if world.outages else nan, burst=longest(missed), outages=len(world.outages),
        used_before=len(world.outages),
    )  # fmt: skip


def best_fixed(scores: Sequence[Score]) -> Score:
    """In hindsight the better of always here and always there: fewer misses of its calls, then less energy."""
    return min(
        (each for each in scores if each.policy in {"local", "remote"}), key=lambda one: (one.miss_share, one.energy)
    )


def _detected_s(world: World, played: Played, outage: tuple[int, int]) -> float:
    for n, asked_ns in enumerate(world.asked_ns[: len(played.sent)]):
        if outage[0] <= asked_ns < outage[1] and not played.sent[n]:
            return (asked_ns - outage[0]) / 1e9
    return inf


def _recovered_s(world: World, in_time: Sequence[bool], outage: tuple[int, int]) -> float | None:
    """From when the link would have answered three calls in a row before local had to start, to when it was so used.

    None if it was not in use before the outage, or not that good before the next one.
    """
    window_ns = DUE_NS - Terms().slop_ns - world.together * world.bound_ns
    until_ns = min((start_ns for start_ns, _ in world.outages if start_ns > outage[1]), default=1 << 62)
    first = bisect_left(world.asked_ns, outage[0])
    after = range(bisect_left(world.asked_ns, outage[1]), bisect_left(world.asked_ns, until_ns, hi=len(in_time)))
    if not any(in_time[max(0, first - _BEFORE) : first]):
        return None
    good = steady((world.remote_ns[n] or DUE_NS) <= window_ns for n in after)
    if good is None:
        return None
    used = steady((in_time[n] for n in after), among=2 * _CALLS)
    return inf if used is None else max(0, world.asked_ns[after[used]] - world.asked_ns[after[good]]) / 1e9


def steady(values: Iterable[bool], among: int = _CALLS) -> int | None:
    """Where the first three `among` so many consecutive ones begin."""
    found: deque[int] = deque(maxlen=_CALLS)
    for n, value in enumerate(values):
        if value:
            found.append(n)
            if len(found) == _CALLS and n - found[0] < among:
                return found[0]
    return None


def longest(values: Iterable[bool]) -> int:
    most = run = 0
    for value in values:
        run = run + 1 if value else 0
        most = max(most, run)
    return most
