"""Budget: how a turn's or a frame's time divides into absolute due times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeapp.core.events import ConfigError


@dataclass(frozen=True, slots=True)
class Budget:
    """A total, and what each stage may take of it, in running order.

    A stage's due time leaves every later stage its share. What a stage does not use widens the next one's window, since
    due times count from the start of the turn and not from the end of the stage before.
    """

    total_ns: int
    """From the clock's start (last voiced sample, sensor timestamp) to the answer."""

    shares_ns: Mapping[str, int]
    """Stage name to its share, in running order."""

    def __post_init__(self) -> None:
        if any(share <= 0 for share in self.shares_ns.values()):
            raise ConfigError("every share of a budget must be more than 0 ms")
        if sum(self.shares_ns.values()) > self.total_ns:
            used_ms, total_ms = sum(self.shares_ns.values()) / 1e6, self.total_ns / 1e6
            raise ConfigError(
                f"the shares of the budget add up to {used_ms:g} ms, more than its {total_ms:g} ms: lower a share"
            )

    def due_ns(self, stage: str, started_ns: int) -> int:
        """When `stage` must have its first part in hand, if the clock started at `started_ns`."""
        names = list(self.shares_ns)
        later = names[names.index(stage) + 1 :]
        return started_ns + self.total_ns - sum(self.shares_ns[name] for name in later)
