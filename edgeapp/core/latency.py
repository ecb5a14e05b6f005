"""What we know of a duration: a log-bucket histogram that forgets, and counts the waits we gave up on as evidence.

A wait that was ended (a timeout, a cancel, an error after t) says "longer than t". Dropping it would leave only survivors
and make a dying link look healthy, so the tail is the product-limit estimate of Kaplan and Meier (1958), in which a
censored wait stays at risk up to where it was given up. Ageing is exponential. Buckets are 5 % wide from 0.1 ms to 20 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FIRST_NS: Final = 100_000
_LOG_RATIO: Final = log(1.05)
_BUCKETS: Final = 1 + ceil(log(20e9 / _FIRST_NS) / _LOG_RATIO)
_EDGE_NS: Final = [round(_FIRST_NS * 1.05**n) for n in range(_BUCKETS)]
_Z: Final = 1.645  # one-sided 95 %
_INDEPENDENT: Final = 1 / 3  # neighbouring round trips resemble each other: lag-1 correlation about 0.5
_RESCALE: Final = 2.0**60
_NOTHING: Final = 1e-9  # a share of the evidence that has aged away
_BOUND_AGE: Final = 16  # samples after which a bound is worked out anew; at once if one lasted longer than it
_REFUTING: Final = 1.5  # so many runs beyond a calibrated bound say that it is not one any more; two, one of them aged
_FORGOTTEN: Final = 500  # half-lives after which nothing is left of old evidence


def _bucket(duration_ns: int) -> int:
    """The first bucket whose upper edge is not below the duration."""
    if duration_ns <= _FIRST_NS:
        return 0
    return min(_BUCKETS - 1, ceil(log(duration_ns / _FIRST_NS) / _LOG_RATIO - 1e-9))


def _below(than_ns: int) -> int:
    """The last bucket that is surely not longer; the one that holds the limit counts as longer."""
    below = _bucket(than_ns)
    return below - 1 if below and _EDGE_NS[below] > than_ns else below


def _survival(ended: NDArray[np.float64], gave_up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kaplan and Meier: P(longer than each bucket's upper edge), shape (buckets,); all ones without evidence."""
    at_risk = np.cumsum((ended + gave_up)[::-1])[::-1]
    hazard = np.divide(ended, at_risk, out=np.zeros(_BUCKETS), where=at_risk > 0)
    return np.cumprod(1 - hazard)


def _wilson(share: float, count: float, z: float) -> float:
    """The Wilson (1927) score bound of a proportion; z > 0 is the upper one, z < 0 the lower."""
    if count <= 0:
        return 1.0 if z > 0 else 0.0
    centre = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return min(1.0, max(0.0, (centre + spread) / (1 + z * z / count)))


class Latency:
    """The distribution of one duration, as far as recent evidence goes. Not thread-safe: it lives on the loop."""

    def __init__(self, *, prior_ns: int, half_life_ns: int = 300_000_000_000, calibrated: bool = False) -> None:
        """`prior_ns` is the bound believed before there is enough evidence; `half_life_ns` how fast evidence ages.

        A `calibrated` prior was measured over thousands of runs, of which a few may last longer: it is believed until
        there are more of those than it allows for.
        """
        self.prior_ns = prior_ns
        self.calibrated = calibrated
        self._half_life_ns = half_life_ns
        self._ended = np.zeros(_BUCKETS)
        self._gave_up = np.zeros(_BUCKETS)
        self._weight = self._weight_squared = 0.0
        self._epoch_ns = 0
        # What the evidence says, until there is more of it.
        self._survival: NDArray[np.float64] | None = None
        self._bounds: dict[float, int] = {}  # by coverage; a caller uses one or two
        self._since_bounds = 0

    def took(self, now_ns: int, took_ns: int) -> None:
        """The work ended after `took_ns`."""
        weight = self._fresh_weight(now_ns, took_ns)  # before the bucket is read, because it may rescale them all
        self._ended[_bucket(took_ns)] += weight

    def gave_up(self, now_ns: int, waited_ns: int) -> None:
        """The wait was ended after `waited_ns` without an answer: the duration is longer than that."""
        weight = self._fresh_weight(now_ns, waited_ns)
        self._gave_up[_bucket(waited_ns)] += weight

    def _fresh_weight(self, now_ns: int, lasted_ns: int) -> float:
        """The weight of evidence that arrives now; old evidence weighs less because new evidence weighs more."""
        half_lives = (now_ns - self._epoch_ns) / self._half_life_ns
        if not self._weight or half_lives > _FORGOTTEN:
            self._ended[:] = self._gave_up[:] = 0
            self._weight = self._weight_squared = 0.0
            self._epoch_ns, half_lives = now_ns, 0.0
        weight: float = 2.0**half_lives
        if weight > _RESCALE:
            self._ended /= weight
            self._gave_up /= weight
            self._weight /= weight
            self._weight_squared /= weight * weight
            self._epoch_ns, weight = now_ns, 1.0
        self._weight += weight
        self._weight_squared += weight * weight
        self._survival = None
        self._since_bounds += 1
        if self._since_bounds >= _BOUND_AGE or lasted_ns > min(self._bounds.values(), default=0):
            self._bounds.clear()
        return weight

    def count(self, now_ns: int) -> float:
        """How many samples the evidence is worth now: aged, and corrected for unequal weights (Kish 1965)."""
        if not self._weight:
            return 0.0
        aged: float = self._weight * 2.0 ** (-(now_ns - self._epoch_ns) / self._half_life_ns)
        return min(aged, self._weight**2 / self._weight_squared)

    def share_longer(self, than_ns: int) -> float:
        """The estimated probability of taking longer than `than_ns`; 1.0 without evidence."""
        return float(self._curve()[_below(than_ns)])

    def share_longer_at_most(self, now_ns: int, than_ns: int, waiting_ns: Sequence[int] = ()) -> float:
        """The 95 % upper bound of `share_longer`, given how much evidence there is; 1.0 without any.

        `waiting_ns` are the ages of waits under way: what has not come yet took longer than its age.
        """
        return self._share(now_ns, than_ns, waiting_ns, _Z)

    def share_longer_at_least(self, now_ns: int, than_ns: int, waiting_ns: Sequence[int] = ()) -> float:
        """The 95 % lower bound of `share_longer`; 0.0 without evidence."""
        return self._share(now_ns, than_ns, waiting_ns, -_Z)

    def _share(self, now_ns: int, than_ns: int, waiting_ns: Sequence[int], z: float) -> float:
        count = self.count(now_ns)
        if not waiting_ns:
            return _wilson(self.share_longer(than_ns), count * _INDEPENDENT, z)
        fresh = min(_RESCALE, 2.0 ** min(60.0, (now_ns - self._epoch_ns) / self._half_life_ns)) if self._weight else 1.0
        gave_up = self._gave_up.copy()
        np.add.at(gave_up, [_bucket(each) for each in waiting_ns], fresh)
        share = float(_survival(self._ended, gave_up)[_below(than_ns)])
        return _wilson(share, (count + len(waiting_ns)) * _INDEPENDENT, z)

    def bound_ns(self, coverage: float) -> int:
        """The duration that a share `coverage` of the work stays within.

        It may be 16 samples old, unless one of them lasted longer. With fewer samples than can show that share, the
        larger of the prior and the longest duration seen. A wait that was given up counts as seen: the duration is at
        least that long. A calibrated prior stands until it is refuted.
        """
        if coverage not in self._bounds:
            self._bounds[coverage] = self._bound_ns(1 - coverage)
            self._since_bounds = 0
        return self._bounds[coverage]

    def _bound_ns(self, missing: float) -> int:
        if not self._weight or (self.calibrated and not self._refuted(missing)):
            return self.prior_ns
        seen = np.flatnonzero(self._ended + self._gave_up > self._weight * _NOTHING)
        longest_ns = _EDGE_NS[int(seen[-1])]
        if self._weight**2 / self._weight_squared * missing < 1:
            return max(longest_ns, self.prior_ns)
        within = np.flatnonzero(self._curve() <= missing)
        return _EDGE_NS[int(within[0])] if len(within) else max(longest_ns, self.prior_ns)

    def _refuted(self, missing: float) -> bool:
        """Did more than a share `missing` last longer than the prior? One alone never says so: that is what a tail is."""
        longer = slice(_bucket(self.prior_ns) + 1, None)
        share = float(self._ended[longer].sum() + self._gave_up[longer].sum()) / self._weight
        count = self._weight**2 / self._weight_squared
        return share * count >= _REFUTING and _wilson(share, count, -_Z) > missing

    def _curve(self) -> NDArray[np.float64]:
        """P(longer than each bucket's upper edge), shape (buckets,)."""
        if self._survival is None:
            self._survival = _survival(self._ended, self._gave_up)
        return self._survival
