"""The station's statistics: pure functions over counts and measured values.

Sources: Montgomery, Introduction to Statistical Quality Control, 7th ed. (control charts 7.2, capability 8.2 and 8.3); Western
Electric, Statistical Quality Control Handbook, 1956 (the rules); Nelson, Journal of Quality Technology 16, 1984 (further
rules); Clopper and Pearson, Biometrika 26, 1934 (intervals of a share); Bissell, Applied Statistics 39, 1990 (interval of Cpk);
Wilcoxon, Biometrics Bulletin 1, 1945 (signed ranks); Hawkins, The Statistician 36, 1987 (the self-starting CUSUM).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, nan, sqrt
from statistics import fmean, stdev
from typing import Final

import numpy as np

from edgeapp.station.distributions import beta_quantile, chi2_quantile, normal_quantile, t_cdf


@dataclass(frozen=True, slots=True)
class Counts:
    """How parts ended."""

    passed: int = 0
    failed: int = 0
    not_inspected: int = 0

    @property
    def parts(self) -> int:
        """All of them."""
        return self.passed + self.failed + self.not_inspected

    @property
    def inspected(self) -> int:
        """Those with a verdict on the part itself."""
        return self.passed + self.failed


@dataclass(frozen=True, slots=True)
class Share:
    """An estimated share with its interval; nan if nothing was counted."""

    value: float
    low: float
    high: float


def share(events: int, trials: int, confidence: float = 0.95) -> Share:
    """A share of independent trials with its two-sided interval (Clopper and Pearson 1934: never too narrow)."""
    if trials <= 0:
        return Share(nan, 0.0, 1.0)
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, events, trials - events + 1) if events else 0.0
    high = beta_quantile(1 - tail, events + 1, trials - events) if events < trials else 1.0
    return Share(events / trials, low, high)


def first_pass_yield(counts: Counts, confidence: float = 0.95) -> Share:
    """Passed of all parts. A part that was not inspected is not a good one: it goes the way of the rejects."""
    return share(counts.passed, counts.parts, confidence)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a Pareto chart."""

    cause: str
    parts: int
    share: float
    """Of all that are counted."""

    cumulated: float
    """The share of this bar and all before it."""


def pareto(causes: Mapping[str, int]) -> list[Bar]:
    """Bars by number of parts, most first, equal ones by name."""
    total, before, bars = sum(causes.values()), 0, []
    for cause, parts in sorted(causes.items(), key=lambda item: (-item[1], item[0])):
        before += parts
        if parts:
            bars.append(Bar(cause, parts, parts / total, before / total))
    return bars


@dataclass(frozen=True, slots=True)
class Point:
    """One subgroup of a p-chart."""

    size: int
    share: float
    low: float
    high: float
    """The three-sigma limits for this subgroup's size, within 0 and 1."""

    z: float
    """How many standard deviations the share lies above the centre; 0 if there are none."""


@dataclass(frozen=True, slots=True)
class PChart:
    """A control chart of the share of rejects, subgroups of any size."""

    centre: float
    points: tuple[Point, ...]
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """A rule that fired."""

    at: int
    """Which point completed the pattern, from 0."""

    rule: str
    above: bool
    """On which side of the centre; True where a rule knows no side."""


def p_chart(groups: Sequence[tuple[int, int]], *, centre: float | None = None, nelson: bool = False) -> PChart:
    """Limits and signals for subgroups of (size, rejects): p +- 3 sqrt(p(1-p)/n), Montgomery 7.2.1 and 7.2.2.

    `centre` is a known share from a period in control; otherwise that of all subgroups. Empty subgroups are left out. The
    rules run on the standardized points, as subgroups differ in size (Montgomery 7.2.2), and on the normal
    approximation: below about 5 expected rejects a subgroup they fire more often than they promise.
    """
    groups = [(size, rejects) for size, rejects in groups if size > 0]
    sizes = sum(size for size, _ in groups)
    if centre is None:
        centre = sum(rejects for _, rejects in groups) / sizes if sizes else 0.0
    points = []
    for size, rejects in groups:
        sigma = sqrt(centre * (1 - centre) / size)
        value = rejects / size
        z = (value - centre) / sigma if sigma else 0.0 if value == centre else inf
        points.append(Point(size, value, max(0.0, centre - 3 * sigma), min(1.0, centre + 3 * sigma), z))
    values = [point.z for point in points]
    return PChart(centre, tuple(points), tuple(western_electric(values) + (nelson_rules(values) if nelson else [])))


def western_electric(z: Sequence[float]) -> list[Signal]:
    """The four rules on standardized points: Western Electric 1956, pages 25 to 28.

    1: beyond three sigma. 2: two of three beyond two, on one side. 3: four of five beyond one, on one side. 4: eight in a row on
    one side. A signal is at the point that completes it, which is itself in the pattern.
    """
    rules = [("1", 1, 1, 3.0), ("2", 2, 3, 2.0), ("3", 4, 5, 1.0), ("4", 8, 8, 0.0)]
    found = []
    for at, value in enumerate(z):
        for name, needed, among, beyond in rules:
            for above in (True, False):
                sign = 1 if above else -1
                window = z[max(0, at - among + 1) : at + 1]
                if sign * value > beyond and sum(sign * each > beyond for each in window) >= needed:
                    found.append(Signal(at, f"Western Electric {name}", above))
    return found


def nelson_rules(z: Sequence[float]) -> list[Signal]:
    """Four more: Nelson 1984, tests 3, 4, 7 and 8.

    3: six in a row rising, or falling. 4: fourteen in a row going up and down in turn. 7: fifteen in a row within one sigma.
    8: eight in a row beyond one sigma on either side.
    """

    def rising(run: Sequence[float]) -> bool:
        return all(one < other for one, other in pairwise(run))

    def falling(run: Sequence[float]) -> bool:
        return all(one > other for one, other in pairwise(run))

    def in_turn(run: Sequence[float]) -> bool:
        steps = [other - one for one, other in pairwise(run)]
        return all(one * other < 0 for one, other in pairwise(steps))

    def within(run: Sequence[float]) -> bool:
        return all(abs(each) < 1 for each in run)

    def beyond(run: Sequence[float]) -> bool:
        return all(abs(each) > 1 for each in run)

    tests: list[tuple[str, int, bool, Callable[[Sequence[float]], bool]]] = [
        ("3", 6, True, rising), ("3", 6, False, falling), ("4", 14, True, in_turn), ("7", 15, True, within), ("8", 8, True, beyond),
    ]  # fmt: skip
    return [
        Signal(at, f"Nelson {name}", above)
        for at in range(len(z))
        for name, length, above, holds in tests
        if at + 1 >= length and holds(z[at + 1 - length : at + 1])
    ]


@dataclass(frozen=True, slots=True)
class Index:
    """A capability index with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Capability:
    """How a measured size fits between its limits."""

    values: int
    mean: float
    sigma_within: float
    """From the moving range: what the process does from part to part."""

    sigma_overall: float
    """The sample's standard deviation: with every drift in it."""

    cp: Index
    cpk: Index
    """With `sigma_within`."""

    pp: Index
    ppk: Index
    """With `sigma_overall`: what the customer got."""


MOVING_RANGE_EFFICIENCY = 0.605
"""The mean moving range of two knows sigma as well as so large a share of the values would by their standard deviation
(Cryer and Ryan 1990, Journal of Quality Technology 22); the share of the degrees of freedom that is used for Cp and Cpk."""


def capability(values: Sequence[float], lower: float, upper: float, confidence: float = 0.95) -> Capability:
    """Cp, Cpk, Pp, Ppk of measured values in the order in which they came, for limits in the same unit.

    Intervals: chi-square for Cp and Pp (Montgomery 8.3, exact for a normal process), Bissell 1990 for Cpk and Ppk. All of it
    assumes a stable, normal process: look at the chart first. Raises ValueError for fewer than two values, or no tolerance.
    """
    if len(values) < 2:
        raise ValueError("a capability needs at least two measured values")
    if not lower < upper:
        raise ValueError(f"the lower limit {lower:g} must be below the upper one {upper:g}")
    mean = fmean(values)
    within = fmean(abs(other - one) for one, other in pairwise(values)) / 1.128  # d2 for ranges of two
    overall = stdev(values)
    freedom = len(values) - 1
    indices = []
    for sigma, free in ((within, freedom * MOVING_RANGE_EFFICIENCY), (overall, float(freedom))):
        if sigma == 0:
            indices += [Index(inf, inf, inf)] * 2
            continue
        tail = (1 - confidence) / 2
        whole = (upper - lower) / (6 * sigma)
        low, high = (whole * sqrt(chi2_quantile(each, free) / free) for each in (tail, 1 - tail))
        indices.append(Index(whole, low, high))
        nearer = min(upper - mean, mean - lower) / (3 * sigma)
        spread = normal_quantile(1 - tail) * sqrt(1 / (9 * len(values)) + nearer**2 / (2 * free))
        indices.append(Index(nearer, nearer - spread, nearer + spread))
    return Capability(len(values), mean, within, overall, *indices)


@dataclass(frozen=True, slots=True)
class Reinspection:
    """What re-inspection of parts drawn at random found."""

    fails: int
    """Rejected in the period."""

    fails_seen: int
    fails_good: int
    """Of those seen again: they were good."""

    passes: int
    passes_seen: int = 0
    passes_bad: int = 0
    """Of those seen again: they were bad."""


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """Of the inspection itself."""

    false_rejects: Share
    """Of the good parts: what was rejected in error."""

    escapes: Share
    """Of the bad parts: what passed in error."""

    good_among_rejects: Share
    bad_among_passes: Share


def error_rates(found: Reinspection, confidence: float = 0.95) -> ErrorRates:
    """False rejects and escapes, from what was found among rejects and among passes that were drawn at random.

    With a the share of good ones among the rejects and b of bad ones among the passes, good parts are a F + (1-b) P, and
    a F of them were rejected. The rate rises with a and with b, so its limits are those of both shares together, each
    Clopper-Pearson at half the error (Bonferroni): at least the stated confidence. Operators who only look at what
    seems wrong to them make it worthless: the parts must be drawn. Without any passes seen, b is anything: [0, 1].
    """
    half = 1 - (1 - confidence) / 2
    a, b = share(found.fails_good, found.fails_seen, half), share(found.passes_bad, found.passes_seen, half)

    def rejected(a: float, b: float) -> float:
        good = a * found.fails + (1 - b) * found.passes
        return a * found.fails / good if good > 0 else nan

    def escaped(a: float, b: float) -> float:
        bad = (1 - a) * found.fails + b * found.passes
        return b * found.passes / bad if bad > 0 else nan

    def low(value: float) -> float:
        return 0.0 if value != value else value  # noqa: PLR0124

    def high(value: float) -> float:
        return 1.0 if value != value else value  # noqa: PLR0124

    return ErrorRates(
        Share(rejected(a.value, b.value), low(rejected(a.low, b.low)), high(rejected(a.high, b.high))),
        Share(escaped(a.value, b.value), low(escaped(a.low, b.low)), high(escaped(a.high, b.high))),
        share(found.fails_good, found.fails_seen, confidence),
        share(found.passes_bad, found.passes_seen, confidence),
    )


def signed_rank(differences: Sequence[float]) -> float:
    """Two-sided p that paired differences lie about zero: Wilcoxon 1945, exact, ties by their mean rank, zeros left out.

    1 if there is nothing but zeros. At most some hundred differences: the whole distribution is counted.
    """
    told = sorted((each for each in differences if each), key=abs)
    ranks: list[int] = []  # twice the rank, so that a mean of two is a whole number
    while len(ranks) < len(told):
        size = abs(told[len(ranks)])
        tied = sum(abs(each) == size for each in told)
        ranks += [2 * len(ranks) + tied + 1] * tied
    ways = np.ones(1)
    for rank in ranks:
        without = np.pad(ways, (0, rank))
        ways = (without + np.pad(ways, (rank, 0))) / 2
    above = sum(rank for rank, each in zip(ranks, told, strict=True) if each > 0)
    low = min(above, sum(ranks) - above)
    return min(1.0, 2 * float(ways[: low + 1].sum()))


CUSUM_SLACK: Final = 0.5
CUSUM_LIMIT: Final = 7.0
"""For a shift of one standard deviation, in steps of it. A series in control alarms once in about 3,500 values (Siegmund 1985:
(exp(2kb) - 2kb - 1) / 2k^2 with b = h + 1.166, both sides)."""


def self_starting_cusum(values: Sequence[float], least_sigma: float) -> list[float]:
    """How far the values have drifted from all before them, after each: the larger one-sided sum, negative if it is the lower one.

    Each value is compared with mean and deviation of those before it and made standard normal by Student's distribution, so that
    no period of known-good values is needed (Hawkins 1987). Beyond CUSUM_LIMIT is an alarm. `least_sigma` is the deviation that is
    assumed at least: what repeats exactly has none.
    """
    up = down = mean = squares = 0.0
    found = []
    for n, value in enumerate(values):
        if n >= 2:
            sigma = max(sqrt(squares / (n - 1)), least_sigma)
            t = (value - mean) / sigma * sqrt(n / (n + 1))
            u = normal_quantile(min(max(t_cdf(t, n - 1), 1e-12), 1 - 1e-12))
            up, down = max(0.0, up + u - CUSUM_SLACK), max(0.0, down - u - CUSUM_SLACK)
        found.append(up if up >= down else -down)
        step = value - mean  # mean and sum of squares as they grow (Welford 1962)
        mean += step / (n + 1)
        squares += step * (value - mean)
    return found
