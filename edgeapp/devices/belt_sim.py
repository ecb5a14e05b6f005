"""A belt that exists only as levels on a simulated chip: an encoder's two lines turn, and parts break a photo-eye's beam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.devices.gpio_sim import SimulatedChip

_PHASES: Final = ((False, False), (True, False), (True, True), (False, True))  # A leads B: forward


@dataclass(frozen=True, slots=True)
class Belt:
    """Where the sensors are connected, and how fast the belt moves."""

    eye_line: int
    a_line: int
    b_line: int
    counts_per_s: float = 1000.0
    pitch: int = 200
    """Counts from one part to the next."""

    length: int = 60
    """Counts for which a part breaks the beam."""


async def turn(belt: Belt, chip: SimulatedChip, counts: int, *, start: int = 0, forward: bool = True) -> None:
    """Move by so many counts at the belt's speed; parts reach the eye at each multiple of the pitch above 0."""
    began_ns, position = now_ns(), start
    for step in range(1, counts + 1):
        await sleep_until(began_ns + round(step * 1e9 / belt.counts_per_s))
        position += 1 if forward else -1
        a, b = _PHASES[position % 4]
        chip.set(belt.a_line, a)
        chip.set(belt.b_line, b)
        chip.set(belt.eye_line, position >= belt.pitch and position % belt.pitch < belt.length)
