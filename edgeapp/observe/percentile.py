"""Percentiles as the benches print them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, nan


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` percent of the values do not exceed; nan without values."""
    if not values:
        return nan
    return sorted(values)[max(0, ceil(len(values) * share / 100) - 1)]
