"""A GPIO chip in the process, for machines without one: the same small interface as the kernel's, levels set by a call.

Debounces as the kernel does: an edge counts, with the time at which it came, once its level has been stable for the period.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.devices.gpio import Edge, Input, OnEdge, OnGone

_HISTORY: Final = 100_000  # switchings of the outputs that are kept for whoever looks: an hour of a fast line


@dataclass
class _Watched:
    """One input line and who wants its edges."""

    settings: Input
    on_edge: OnEdge
    level: bool = False
    settling: asyncio.TimerHandle | None = None


class SimulatedChip:
    """Set inputs with `set`, read outputs from `level` and `history`. Lives on one loop."""

    def __init__(self) -> None:
        self.level: dict[int, bool] = {}
        """What each driven line is now: True is active."""

        self.history: list[tuple[int, int, bool]] = []
        """Each change of a driven line: when, which, to what."""

        self._watched: dict[int, _Watched] = {}

    def watch(self, inputs: Sequence[Input], on_edge: OnEdge, on_gone: OnGone) -> Callable[[], None]:
        del on_gone  # this chip stays
        for each in inputs:
            self._watched[each.line] = _Watched(each, on_edge)

        def end() -> None:
            for each in inputs:
                watched = self._watched.pop(each.line, None)
                if watched and watched.settling:
                    watched.settling.cancel()

        return end

    def set(self, line: int, level: bool) -> None:
        """Put a level on an input, as a sensor would; active-low lines are inverted as the kernel inverts them."""
        watched = self._watched.get(line)
        if watched is None:
            return
        if watched.settling:
            watched.settling.cancel()
            watched.settling = None
        active = level is not watched.settings.active_low
        if active is watched.level:
            return
        edge = Edge(line, active, now_ns())
        if not watched.settings.debounce_ns:
            self._settled(watched, edge)
            return
        due_s = (edge.at_ns + watched.settings.debounce_ns) / 1e9
        watched.settling = asyncio.get_running_loop().call_at(due_s, self._settled, watched, edge)

    def _settled(self, watched: _Watched, edge: Edge) -> None:
        watched.settling, watched.level = None, edge.rising
        watched.on_edge(edge)

    def drive(self, line: int, *, active_low: bool = False) -> Callable[[bool], None]:
        del active_low  # levels are kept as active and inactive
        self.level[line] = False

        def write(active: bool) -> None:
            if self.level[line] is not active:
                self.level[line] = active
                self.history.append((now_ns(), line, active))
                del self.history[:-_HISTORY]

        return write

    def close(self) -> None:
        for watched in self._watched.values():
            if watched.settling:
                watched.settling.cancel()
        self._watched = {}
        self.level = dict.fromkeys(self.level, False)
