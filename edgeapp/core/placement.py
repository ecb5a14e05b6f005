"""Where one call runs. Pure and total: numbers in, one explained decision out.

    asked ───────── remote may answer ─────────┤ local_at = due − bound − slop ├──── local ────┤ due
                                                ▲ the lane is reserved from here

`Late` sends the call away and starts local at the last safe moment unless the answer came; it misses only if the reserved
local run takes longer than its bound. The probability of harm is at most (1 − coverage of the bound) × P(remote late), and
sending has to pay: energy of the request, plus local's when it is late, less the value of the remote's answer.

A stage may have smaller models behind its best local one. A smaller fallback starts later, so it widens the remote's
window, and it may still make a due time that the best one cannot: the best one that fits is taken.

The idea of local compensation for an unreliable component is Liu, Chen, Toma, Kuo and Deng (DAC 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from edgeapp.core.events import MS


class Why(StrEnum):
    """The reason of a placement, as it stands in the record."""

    NO_REMOTE = "no remote is configured"
    REFUSED = "the privacy level does not let it leave the device"
    BREAKER = "the link's breaker is open"
    TIGHT = "no window is left before local has to start"
    BUSY = "as many calls as the link may have are under way"
    RAMP = "the link is trusted again step by step, and this call was not let through"
    JITTER = "the remote would be late too often in the window it has"
    DEAR = "sending it would cost more than it saves"
    SMALLER = "a smaller model on this device still makes it"
    SAFE = "local can still make it after the remote had its window"
    RESCUE = "local cannot make it, the remote may"
    WORTH = "both at once: the remote's answer is worth it"
    RESUMED = "the remote broke off, so the rest is made here"
    POLICY = "the named policy said so"


@dataclass(frozen=True, slots=True)
class Local:
    """Run on the device, now."""

    why: Why


@dataclass(frozen=True, slots=True)
class Late:
    """Send it away now; start local at `local_at_ns` unless an answer came."""

    local_at_ns: int
    why: Why
    remote_until_ns: int | None = None
    """The remote is given up then; None listens on while local runs, which every sound policy does."""


@dataclass(frozen=True, slots=True)
class Race:
    """Both now; the first valid answer wins."""

    why: Why


Placement: TypeAlias = Local | Late | Race
Tail: TypeAlias = Callable[[int], float]
"""Upper bound of the probability that the remote takes longer than so many nanoseconds."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms one stage may leave the device."""

    local_coverage: float = 0.999
    """The share of local runs that stay within the bound used for the last safe moment."""

    harm_max: float = 5e-4
    """The highest acceptable probability, by its upper bound, of a miss that local alone would have avoided."""

    local_j: float = 1.0
    """The energy of one local run. These three are joules or anything that compares with them: their ratios decide."""

    send_j: float = 0.4
    """The energy of one request and its answer."""

    value_j: float = 0.0
    """What the remote's answer is worth beyond local's, as when its model is the better one."""

    slop_ns: int = 2 * MS
    """What the loop and the thread may need to wake up for the fallback (p99.9)."""

    race: bool = False
    """May both run at once when the window is too short? It costs the full local energy."""

    patience_ns: int = 2_000 * MS
    """How long after the due time a remote is still listened to, when local failed."""

    stall_ns: int = 500 * MS
    """How long a remote's answer may pause between its parts before it counts as broken off."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when one call is asked for."""

    now_ns: int
    due_ns: int
    local_ns: int
    """The bound on local's time to its first part."""

    lane_last_ns: int | None
    """The last moment the lane can promise to start local and still make it; None if it cannot."""

    remote: Tail | Why
    """What the link believes for this payload, or why it may not be used."""

    lane_first_ns: int | None = None
    """The first moment the lane could start local; None is now."""

    answers_ns: Sequence[int] = ()
    """How long the link's last answers took; what was given up is not among them. For named policies."""

    waits_ns: Sequence[int] = ()
    """How long its last requests were waited for, whatever came of them. For named policies."""

    @property
    def local_meets(self) -> bool:
        """Would local, started as soon as the lane is free, be in time by its bound?"""
        return max(self.now_ns, self.lane_first_ns or 0) + self.local_ns <= self.due_ns


Placer: TypeAlias = Callable[[Situation, Terms], Placement]
"""A policy: `place`, or one of `policies.py`."""


def place(it: Situation, terms: Terms) -> Placement:
    """Decide where one call runs."""
    if isinstance(it.remote, Why):
        return Local(it.remote)
    if it.lane_last_ns is None:
        rescued = it.due_ns > it.now_ns and it.remote(it.due_ns - it.now_ns) < 0.5
        return Race(Why.RESCUE) if rescued else Local(Why.TIGHT)
    window_ns = it.lane_last_ns - it.now_ns
    if window_ns > 0:
        late_share = it.remote(window_ns)
        safe = (1 - terms.local_coverage) * late_share <= terms.harm_max
        if safe and pays(late_share, terms):
            return Late(it.lane_last_ns, Why.SAFE)
    if terms.race and it.remote(it.due_ns - it.now_ns) < 0.5:
        return Race(Why.WORTH)
    if window_ns > 0 and not pays(0.0, terms):
        return Local(Why.DEAR)
    return Local(Why.JITTER if window_ns > 0 else Why.TIGHT)


def pays(late_share: float, terms: Terms) -> bool:
    """Is sending cheaper than running local at once, if the remote is late with this probability?"""
    sending_j = terms.send_j + late_share * terms.local_j - (1 - late_share) * terms.value_j
    return sending_j < terms.local_j


def place_on(ladder: Sequence[Situation], terms: Terms, placer: Placer = place) -> tuple[int, Placement]:
    """Decide where one call runs and which local model is behind it: the best one that fits.

    `ladder` holds what is known with each local model, best first, at least one; returns its index and the placement. A
    smaller one backs the remote up if the best cannot, and only if that does not give away an answer of the best model
    that could be had here, unless the remote's is worth more.
    """
    best = placer(ladder[0], terms)
    if len(ladder) == 1 or isinstance(best, Late) or (ladder[0].local_meets and terms.value_j <= 0):
        return 0, best
    for n, it in enumerate(ladder[1:], 1):
        smaller = placer(it, terms)
        if isinstance(smaller, Late):
            return n, replace(smaller, why=Why.SMALLER)
    for n, it in enumerate(ladder):
        if it.local_meets:
            return n, best if n == 0 else Local(Why.SMALLER)
    return len(ladder) - 1, best
