"""What the order of verdicts says while the line runs: rejects in a row, and the Western Electric rules on a running p-chart.

A point of the chart is so many inspected parts. Its centre is known from a period in control, or it is that of the first
`PRELIMINARY` points (Montgomery, 7.2.1: 20 to 25 preliminary samples); until then nothing fires but rejects in a row. Parts that
were not inspected say nothing about the process; the station's own alarms speak of them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from edgeapp.core.events import Outcome
from edgeapp.station.statistics import p_chart

PRELIMINARY: Final = 25
_POINTS: Final = 8  # the longest rule looks at eight in a row


class RunRules:
    """Takes outcomes in the order in which they were given; says what a person has to know."""

    def __init__(self, *, stop_after: int = 0, point_parts: int = 0, centre: float | None = None) -> None:
        """`stop_after` rejects in a row stop the station, 0 never; `point_parts` make a point, 0 draws no chart."""
        self.stop_after = stop_after
        """It may be changed while the line runs."""

        self.stopped = ""
        """Why the station is stopped; empty if it is not."""

        self.in_a_row = 0
        """Rejects since the last part that passed."""

        self._point_parts, self._centre = point_parts, centre
        self._parts = self._rejects = 0
        self._preliminary: list[int] = []  # at most PRELIMINARY
        self._points: deque[tuple[int, int]] = deque(maxlen=_POINTS)

    def verdict(self, outcome: Outcome) -> list[str]:
        """One more part; returns alarms, one sentence each."""
        if outcome is Outcome.NOT_INSPECTED:
            return []
        rejected = outcome is Outcome.FAIL
        self.in_a_row = self.in_a_row + 1 if rejected else 0
        alarms = self._count(rejected)
        if self.stop_after and self.in_a_row >= self.stop_after and not self.stopped:
            self.stopped = f"{self.in_a_row} rejects in a row: look at the line, then acknowledge"
            alarms.append(self.stopped)
        return alarms

    def resume(self) -> None:
        """A person has looked: go on, and count anew."""
        self.stopped, self.in_a_row = "", 0

    def _count(self, rejected: bool) -> list[str]:
        if not self._point_parts:
            return []
        self._parts, self._rejects = self._parts + 1, self._rejects + rejected
        if self._parts < self._point_parts:
            return []
        point, self._parts, self._rejects = (self._parts, self._rejects), 0, 0
        if self._centre is None:
            self._preliminary.append(point[1])
            if len(self._preliminary) == PRELIMINARY:
                self._centre = sum(self._preliminary) / (PRELIMINARY * self._point_parts)
            return []
        self._points.append(point)
        chart = p_chart(list(self._points), centre=self._centre)
        last = len(self._points) - 1
        share = 100 * point[1] / point[0]
        return [
            f"{signal.rule}: {'more' if signal.above else 'fewer'} rejects than this line has when in control, "
            f"{share:.1f} % of the last {point[0]} parts beside {100 * self._centre:.1f} %"
            for signal in chart.signals
            if signal.at == last
        ]
