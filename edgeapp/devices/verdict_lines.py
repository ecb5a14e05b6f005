"""The verdict on three lines of a GPIO chip, one pulse a part, and a heartbeat line that changes with each part looked at.

PASS is a pulse and never a resting level, so a dead station, a broken wire and a part without a verdict all look like no PASS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from edgeapp.core.events import DeviceError, Outcome

Write = Callable[[bool], None]


class VerdictLines:
    """Lives on one loop."""

    def __init__(self, lines: dict[Outcome, Write], heartbeat: Write | None, *, pulse_ns: int) -> None:
        """The lines that are wired; the others are left out."""
        self.merged = 0
        """Pulses that began while the one before had not ended: the pulse is longer than a part takes."""

        self._lines, self._heartbeat, self._pulse_ns = lines, heartbeat, pulse_ns
        self._beat = False
        self._ending: asyncio.TimerHandle | None = None

    def show(self, outcome: Outcome) -> None:
        """Pulse the line of this verdict. Raises DeviceError."""
        if self._ending:
            self.merged += 1
            self._ending.cancel()
            self._end()
        if write := self._lines.get(outcome):
            write(True)
            self._ending = asyncio.get_running_loop().call_later(self._pulse_ns / 1e9, self._end)
        if self._heartbeat and outcome is not Outcome.NOT_INSPECTED:
            self._beat = not self._beat
            self._heartbeat(self._beat)

    def _end(self) -> None:
        self._ending = None
        for write in self._lines.values():
            with suppress(DeviceError):  # the next `show` raises it where somebody listens
                write(False)

    def close(self) -> None:
        """End the pulse. Idempotent."""
        if self._ending:
            self._ending.cancel()
            self._end()
