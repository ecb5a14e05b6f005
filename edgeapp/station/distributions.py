"""The quantiles that the statistics need: beta, chi-square and normal, without scipy.

Incomplete gamma: series and continued fraction, DiDonato and Morris 1986 (ACM TOMS 12) as in DLMF 8.11.4 and 8.9.2. Incomplete beta:
continued fraction DLMF 8.17.22. Both by the modified Lentz method (Thompson and Barnett 1986). Quantiles by bisection.
Checked against exact sums and published tables in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import exp, inf, lgamma, log, log1p
from statistics import NormalDist
from typing import Final

_TERMS: Final = 100_000  # a continued fraction or series needs about the square root of its largest argument
_HALVINGS: Final = 200  # more than a double has bits
_SMALL: Final = 1e-300
_ENOUGH: Final = 1e-15


def normal_quantile(share: float) -> float:
    """The standard normal value below which `share` lies."""
    return NormalDist().inv_cdf(share)


def t_cdf(x: float, freedom: float) -> float:
    """The share of Student's distribution below x (Abramowitz and Stegun 26.7.1)."""
    tail = beta_cdf(freedom / (freedom + x * x), freedom / 2, 0.5) / 2
    return 1 - tail if x > 0 else tail


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b); a and b above 0."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))

    def terms() -> Iterator[float]:
        yield 1.0
        for m in range(_TERMS):
            yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            yield (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2))

    return front / a * _lentz(terms(), lambda _: 1.0)


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = share."""
    return _solve(lambda x: beta_cdf(x, a, b), share, 0.0, 1.0)


def gamma_cdf(x: float, a: float) -> float:
    """The regularized lower incomplete gamma function P(a, x); a above 0."""
    if x <= 0:
        return 0.0
    front = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, _TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _ENOUGH:
                break
        return front * total

    def terms() -> Iterator[float]:
        yield 1.0
        for n in range(1, _TERMS):
            yield -n * (n - a)

    return 1 - front * _lentz(terms(), lambda n: x + 2 * n + 1 - a)


def chi2_quantile(share: float, freedom: float) -> float:
    """The chi-square value with `freedom` degrees of freedom below which `share` lies."""
    high = freedom + 1.0
    while gamma_cdf(high / 2, freedom / 2) < share and high < inf:
        high *= 2
    return _solve(lambda x: gamma_cdf(x / 2, freedom / 2), share, 0.0, high)


def _lentz(above: Iterator[float], below: Callable[[int], float]) -> float:
    """The continued fraction a0/(b0 + a1/(b1 + ...)) with `above` a and `below` b."""
    value = c = _SMALL
    d = 0.0
    for n, a in enumerate(above):
        b = below(n)
        d = b + a * d or _SMALL
        c = b + a / c or _SMALL
        d = 1 / d
        delta = c * d
        value *= delta
        if n and abs(delta - 1) < _ENOUGH:
            break
    return value


def _solve(cdf: Callable[[float], float], share: float, low: float, high: float) -> float:
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if high - low <= 1e-14 * high:
            break
        low, high = (middle, high) if cdf(middle) < share else (low, middle)
    return (low + high) / 2
