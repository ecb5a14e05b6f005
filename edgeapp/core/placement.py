"""Where one call runs. Pure and total: numbers in, one explained decision out.

    asked ───────── remote may answer ─────────┤ local_at = due − bound − slop ├──── local ────┤ due
                                                ▲ the lane is reserved from here

`Late` sends the call away and starts local at the last safe moment unless the answer came; it misses only if the reserved
local run takes longer than its bound. The probability of harm is at most (1 − coverage of the bound) × P(remote late).
The idea of local compensation for an unreliable component is Liu, Chen, Toma, Kuo and Deng (DAC 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from edgeapp.core.events import MS


class Why(StrEnum):
    """The reason of a placement, as it stands in the record."""

    NO_REMOTE = "no remote is configured"
    REFUSED = "the privacy level does not let it leave the device"
    BREAKER = "the link's breaker is open"
    TIGHT = "no window is left before local has to start"
    JITTER = "the remote would be late too often in the window it has"
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

    late_share_max: float = 0.3
    """Above this, the fallback would run so often that sending saves nothing."""

    harm_max: float = 1e-3
    """The highest acceptable probability of a miss that local alone would have avoided."""

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
        if late_share <= terms.late_share_max and (1 - terms.local_coverage) * late_share <= terms.harm_max:
            return Late(it.lane_last_ns, Why.SAFE)
    if terms.race and it.remote(it.due_ns - it.now_ns) < 0.5:
        return Race(Why.WORTH)
    return Local(Why.JITTER if window_ns > 0 else Why.TIGHT)
