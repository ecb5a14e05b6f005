"""Where the belt is: an incremental encoder by two lines in quadrature, or a counter in a PLC's register."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Final

_REMEMBERED: Final = (
    1024  # positions kept to date a trigger that is read a little later: 0.1 s at 10,000 counts a second
)


class Encoder:
    """The position in counts, with a short memory. It knows nothing of where the counts come from."""

    def __init__(self) -> None:
        self.position = 0
        self.listeners: list[Callable[[int, int], None]] = []
        """Called with the new position and its time at each movement."""

        self._times: deque[int] = deque(maxlen=_REMEMBERED)
        self._positions: deque[int] = deque(maxlen=_REMEMBERED)

    def moved(self, position: int, at_ns: int) -> None:
        """The belt is at `position` since `at_ns`."""
        self._times.append(at_ns)
        self._positions.append(position)
        self.position = position
        for listener in self.listeners:
            listener(position, at_ns)

    def position_at(self, at_ns: int) -> int:
        """The count at that time, interpolated; the nearest one known if it is outside the memory."""
        after = bisect_right(self._times, at_ns)
        if after == 0:
            return self._positions[0] if self._positions else self.position
        if after == len(self._times):
            return self.position
        began_ns, began = self._times[after - 1], self._positions[after - 1]
        step = (self._positions[after] - began) * (at_ns - began_ns)
        return began + step // (self._times[after] - began_ns)


class Quadrature:
    """Two lines A and B, a quarter period apart -> counts, four a period (x4 decoding)."""

    def __init__(self) -> None:
        self.errors = 0
        """Edges that did not fit, because one before them was lost: the position may be off by two counts for each."""

        self._a = self._b = False

    def edge(self, *, on_a: bool, rising: bool) -> int:
        """How far one edge moves: 1 with A ahead of B, -1 the other way, 0 for an edge that does not fit."""
        if rising is (self._a if on_a else self._b):
            self.errors += 1
            return 0
        if on_a:
            self._a = rising
            return 1 if self._a is not self._b else -1
        self._b = rising
        return 1 if self._a is self._b else -1


class Unwrap:
    """A counter of so many bits that starts over -> one that does not. Correct while it moves less than half its range."""

    def __init__(self, bits: int) -> None:
        self._range = 1 << bits
        self._raw: int | None = None
        self._position = 0

    def position(self, raw: int) -> int:
        """The unwrapped position, 0 at the first reading."""
        step = (raw - (raw if self._raw is None else self._raw)) % self._range
        self._raw = raw
        self._position += step - self._range if step >= self._range // 2 else step
        return self._position


class Divider:
    """Every so many counts of forward movement, once for each place: a belt that backs up and comes again adds nothing."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._next = every
        self._last: tuple[int, int] | None = None

    def crossed(self, position: int, at_ns: int) -> list[tuple[int, int]]:
        """The places passed since the last call as (position, when), interpolated over a jump."""
        began, began_ns = self._last or (0, at_ns)
        self._last = (position, at_ns)
        places = []
        while self._next <= position:
            passed_ns = began_ns + (at_ns - began_ns) * (self._next - began) // (position - began)
            places.append((self._next, passed_ns))
            self._next += self._every
        return places
