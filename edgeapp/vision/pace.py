"""How many frames may wait for the detector and still be judged in time. Pure.

A queue that is longer than the budget makes every frame in it late, one after the other: a line that is a little faster than
the detector would have almost no frame judged (congestion collapse). So a frame that cannot be judged in time any more is
turned away at once, by what the frames before it took.
"""

from __future__ import annotations

from typing import Final

_NEWEST: Final = 0.2  # how much the newest frame says of the next one


class Pace:
    """One camera's detector, as its frames see it."""

    def __init__(self) -> None:
        self._each_ns = 0.0  # from one end to the next while frames wait; 0 while nothing is known
        self._last_end_ns = 0

    def fits(self, waiting: int, now_ns: int, decide_ns: int) -> bool:
        """Can one more be judged by then, behind so many others and one that overtakes it? With none before it, it is always tried."""
        return not waiting or now_ns + (waiting + 2) * self._each_ns <= decide_ns

    def ended(self, began_ns: int, now_ns: int) -> None:
        """A frame that was taken at `began_ns` is judged, or given up."""
        took_ns = now_ns - max(began_ns, self._last_end_ns)
        self._last_end_ns = now_ns
        self._each_ns = took_ns if not self._each_ns else (1 - _NEWEST) * self._each_ns + _NEWEST * took_ns
