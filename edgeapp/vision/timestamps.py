"""Can a frame's time be believed? It has to be newer than the last one's, not ahead of the clock, and not older than its budget."""

from __future__ import annotations

from typing import Final

from edgeapp.core.events import MS

AHEAD_NS: Final = 50 * MS
"""A driver's clock and the loop's may differ by so much; a frame from further ahead is of a clock that jumped."""


class Timestamps:
    """The times of one camera's frames, on the loop's clock.

    A time that cannot be believed is never what the next one is compared with, so a clock that jumped and came back costs
    only the frames in between.
    """

    def __init__(self, old_ns: int) -> None:
        """A frame of `old_ns` or more has no time left."""
        self._old_ns = old_ns
        self._last_ns: int | None = None

    def trouble(self, at_ns: int, now_ns: int) -> str:
        """What is wrong with the time of the frame that came now, in words; empty if nothing is."""
        if at_ns > now_ns + AHEAD_NS:
            return f"the camera's timestamp is {(at_ns - now_ns) / MS:.0f} ms ahead of the clock"
        last_ns, self._last_ns = self._last_ns, max(at_ns, self._last_ns or at_ns)
        if last_ns is not None and at_ns <= last_ns:
            back_ns = last_ns - at_ns
            return "the camera's timestamp did not advance" + (
                f": it stepped back {back_ns / MS:.0f} ms" if back_ns else ""
            )
        if now_ns - at_ns >= self._old_ns:
            return f"the frame came {(now_ns - at_ns) / MS:.0f} ms after its timestamp: nothing is left of its budget"
        return ""
