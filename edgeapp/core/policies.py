"""Named policies beside ours, so that anyone can compare: what else one might do with the same knowledge. Pure.

`seed` is the rule this project began with: local while the mean of the last hundred round trips is above 100 ms or their
standard deviation above 30 ms, otherwise the remote with a timeout of 150 ms and local after it. It measures only what it
sends and remembers only what came back, so one slow answer switches it off for ever and a dying link looks healthy to it.
`seed-repaired` counts what it gave up, and goes on measuring with shadow requests. `hedge-p90` is the usual hedge of
`The Tail at Scale` (Dean and Barroso, CACM 2013): start the other one when nine of ten answers would have come; its token
bucket is left out, which can only help it. `race` runs both at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from types import MappingProxyType
from typing import Final

from edgeapp.core.events import MS
from edgeapp.core.placement import Late, Local, Placement, Placer, Race, Situation, Terms, Why, place

_TIMEOUT_NS: Final = 150 * MS
_MEAN_NS: Final = 100 * MS
_STD_NS: Final = 30 * MS
_FORBIDDEN: Final = frozenset({Why.NO_REMOTE, Why.REFUSED})  # no policy may pass these over


def _forbidden(it: Situation) -> Local | None:
    return Local(it.remote) if isinstance(it.remote, Why) and it.remote in _FORBIDDEN else None


def local(it: Situation, terms: Terms) -> Placement:
    """Always on the device."""
    del terms
    return _forbidden(it) or Local(Why.POLICY)


def remote(it: Situation, terms: Terms) -> Placement:
    """Always elsewhere; local begins when it is too late, or when the remote fails, so that there is an answer at all."""
    del terms
    return _forbidden(it) or Late(max(it.due_ns, it.now_ns + 1), Why.POLICY)


def _unsteady(round_trips_ns: Sequence[int]) -> bool:
    if not round_trips_ns:
        return False
    mean = sum(round_trips_ns) / len(round_trips_ns)
    variance = sum((each - mean) ** 2 for each in round_trips_ns) / len(round_trips_ns)
    return mean > _MEAN_NS or sqrt(variance) > _STD_NS


def _timeout(it: Situation) -> Late:
    until_ns = it.now_ns + _TIMEOUT_NS
    return Late(until_ns, Why.POLICY, remote_until_ns=until_ns)


def seed(it: Situation, terms: Terms) -> Placement:
    """The seed's rule as it was."""
    del terms
    if _unsteady(it.answers_ns):
        return _forbidden(it) or Local(Why.POLICY)
    return _forbidden(it) or _timeout(it)


def seed_repaired(it: Situation, terms: Terms) -> Placement:
    """The seed's rule that counts what it gave up (as its timeout) and goes on measuring while it stays local."""
    del terms
    if _unsteady([min(each, _TIMEOUT_NS) for each in it.waits_ns]):
        return _forbidden(it) or Local(Why.JITTER)  # a reason for which a stage sends shadows
    return _forbidden(it) or _timeout(it)


def hedge_p90(it: Situation, terms: Terms) -> Placement:
    """Start local when nine of ten answers would have come; no due time, no reservation."""
    del terms
    known = sorted(it.waits_ns)
    after_ns = known[len(known) * 9 // 10] if known else _TIMEOUT_NS
    return _forbidden(it) or Late(it.now_ns + max(1, after_ns), Why.POLICY)


def race(it: Situation, terms: Terms) -> Placement:
    """Both at once, always."""
    del terms
    return _forbidden(it) or Race(Why.POLICY)


POLICIES: Final[Mapping[str, Placer]] = MappingProxyType(
    {
        "edgeapp": place,
        "local": local,
        "remote": remote,
        "seed": seed,
        "seed-repaired": seed_repaired,
        "hedge-p90": hedge_p90,
        "race": race,
    }
)
"""By the name that the configuration uses."""
