"""A sample that keeps the rare: proportional to the strata with a floor, exactly n, and the same for the same seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heapreplace


@dataclass(frozen=True, slots=True, order=True)
class Stratum:
    """Pictures that are alike."""

    light: str
    density: str
    part_type: str


def allocate(
    weights: Mapping[Stratum, float], available: Mapping[Stratum, int], *, n: int, floor: int
) -> dict[Stratum, int]:
    """How many of the `n` come from each stratum of `available`; they sum to exactly `n`.

    Each stratum gets `floor`, or all it has; if `n` does not suffice for that, the largest equal floor that fits. What is left
    is dealt in proportion to `weights` by the method of Webster (Sainte-Lague; Balinski and Young, Fair Representation, 1982),
    the floors counted in: every next one goes to the stratum with the largest weight / (2 * taken + 1). So a larger n
    takes nothing away from any stratum. Raises ValueError if fewer than `n` are there.
    """
    strata = sorted(stratum for stratum, there in available.items() if there > 0)
    if sum(available[stratum] for stratum in strata) < n:
        raise ValueError(f"there are {sum(available[stratum] for stratum in strata)} and {n} were asked for")
    while floor > 0 and sum(min(floor, available[stratum]) for stratum in strata) > n:
        floor -= 1
    taken = {stratum: min(floor, available[stratum]) for stratum in strata}

    def claim(stratum: Stratum) -> tuple[bool, float, Stratum]:
        """Smallest first: those that have none left come last."""
        return (taken[stratum] >= available[stratum], -weights.get(stratum, 0.0) / (2 * taken[stratum] + 1), stratum)

    claims = [claim(stratum) for stratum in strata]
    heapify(claims)
    for _ in range(n - sum(taken.values())):
        stratum = claims[0][2]
        taken[stratum] += 1
        heapreplace(claims, claim(stratum))
    return taken


def choose(candidates: Iterable[tuple[Stratum, str]], taken: Mapping[Stratum, int], seed: int) -> list[str]:
    """So many names of each stratum, drawn by the seed; the order in which candidates come does not matter."""
    groups: dict[Stratum, list[str]] = {}
    for stratum, name in candidates:
        groups.setdefault(stratum, []).append(name)
    found = []
    for stratum in sorted(taken):
        draw = random.Random(f"{seed} {stratum.light} {stratum.density} {stratum.part_type}")
        found += sorted(draw.sample(sorted(groups.get(stratum, [])), taken[stratum]))
    return found
