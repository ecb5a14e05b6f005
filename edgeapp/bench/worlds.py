"""Worlds for the simulated bench: when calls come, how long the remote and local would take, and when the link is dead.

A world is drawn once from its seed, so every policy meets the very same calls, round trips and local runs (common random
numbers): differences between policies are theirs. Links are those of `edgeapp.near_edge.presets`, or recorded traces.
Local is log-normal, and one run in a thousand takes 1.6 times as long. It is invented, as are the outages; nothing here was
measured on a device.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgeapp.core.events import MS
from edgeapp.near_edge.presets import preset
from edgeapp.near_edge.trace import Trace
from edgeapp.near_edge.weather import Kind, Trouble, Weather

DUE_NS: Final = 200 * MS
UP_BYTES: Final = 25_000  # a camera frame of 320 pixels as a JPEG
DOWN_BYTES: Final = 2_000
SERVICE_NS: Final = 12 * MS
LOCAL_MEDIAN_MS: Final = 60.0
_LOCAL_SIGMA: Final = 0.106  # of the logarithm: the 99.9th percentile is 1.39 times the median
_SPIKE: Final = (1e-3, 1.6)
CALIBRATION_RUNS: Final = 3_000
_APART_MS: Final = (200.0, 300.0)
_OUTAGE_S: Final = (5.0, 40.0)
_BETWEEN_OUTAGES_S: Final = (120.0, 360.0)


@dataclass(frozen=True, slots=True)
class World:
    """One seed of one kind of link."""

    name: str
    asked_ns: list[int]
    """When each call is asked, shape (calls,), rising."""

    remote_ns: list[int | None]
    """How long the remote would take for each call; None if no answer would ever come, negative if it would fail then."""

    local_ns: list[int]
    """How long local would take for each call."""

    outages: list[tuple[int, int]]
    """From when to when the link is dead."""

    bound_ns: int
    """The calibrated bound on local: the longest of 3,000 other runs."""

    together: int = 1
    """How many calls are asked at the same instant, by as many stages on the same lane."""

    recorded: Recorded | None = None
    """What a replayed session has of its own for each call; else every call is alike."""

    def due_after_ns(self, n: int) -> int:
        """How long after its ask call `n` is due."""
        return self.recorded.due_after_ns[n] if self.recorded else DUE_NS

    def size_bytes(self, n: int) -> int:
        """How much call `n` sends and is answered with."""
        return self.recorded.size_bytes[n] if self.recorded else UP_BYTES + DOWN_BYTES

    def in_time(self, n: int) -> bool:
        """Would the remote's answer to call `n` be in time?"""
        took_ns = self.remote_ns[n]
        return took_ns is not None and 0 <= took_ns <= self.due_after_ns(n)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The calls of a session, each list of shape (calls,)."""

    stage: list[str]
    due_after_ns: list[int]
    size_bytes: list[int]
    bounds_ns: dict[str, int]
    """By stage: the bound on local that the session began with."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a world is made of."""

    name: str
    link: str | Trace
    """The name of a preset of `edgeapp.near_edge.presets`, or a recorded link."""

    outages: bool = False
    healthy: bool = False
    together: int = 1
    local_scale: float = 1.0


RECIPES: Final = (
    Recipe("fibre", "fibre", healthy=True),
    Recipe("wifi", "wifi", healthy=True),
    Recipe("lte-static", "lte-static"),
    Recipe("lte-walking", "lte-walking"),
    Recipe("5g-driving", "5g-driving"),
    Recipe("wifi, outages", "wifi", outages=True),
    Recipe("lte-walking, outages", "lte-walking", outages=True),
    Recipe("5g-driving, outages", "5g-driving", outages=True),
    Recipe("two stages, 5g-driving, outages", "5g-driving", outages=True, together=2, local_scale=0.6),
)


def make_world(recipe: Recipe, calls: int, seed: int) -> World:
    """Draw `calls` calls of a world, four a second. The same arguments give the same world."""
    dice = random.Random(f"{seed}/{recipe.name}")
    asked_ns: list[int] = []
    now_ns = 5_000 * MS
    while len(asked_ns) < calls:
        asked_ns += [now_ns] * recipe.together
        now_ns += round(dice.uniform(*_APART_MS) * MS)
    outages = _outages(dice, now_ns) if recipe.outages else []
    kinds = (Kind.OUTAGE, Kind.BLACK_HOLE)
    schedule = [Trouble(kinds[n % 2], *outage) for n, outage in enumerate(outages)]
    link = preset(recipe.link) if isinstance(recipe.link, str) else recipe.link
    weather = Weather(link, seed, schedule=schedule)
    remote_ns = [weather.round_trip_ns(sent_ns, UP_BYTES, DOWN_BYTES, SERVICE_NS) for sent_ns in asked_ns]
    draw = _local(dice, recipe.local_scale)
    local_ns = [draw() for _ in asked_ns]
    bound_ns = max(draw() for _ in range(CALIBRATION_RUNS))
    return World(recipe.name, asked_ns, remote_ns, local_ns, outages, bound_ns, recipe.together)


def _local(dice: random.Random, scale: float) -> Callable[[], int]:
    def draw() -> int:
        spike = _SPIKE[1] if dice.random() < _SPIKE[0] else 1.0
        return round(LOCAL_MEDIAN_MS * scale * dice.lognormvariate(0, _LOCAL_SIGMA) * spike * MS)

    return draw


def _outages(dice: random.Random, until_ns: int) -> list[tuple[int, int]]:
    """Dead from when to when; they do not overlap."""
    found = []
    at_s = dice.uniform(20.0, 60.0)
    while at_s * 1e9 < until_ns:
        took_s = dice.uniform(*_OUTAGE_S)
        found.append((round(at_s * 1e9), round((at_s + took_s) * 1e9)))
        at_s += took_s + dice.uniform(*_BETWEEN_OUTAGES_S)
    return found
