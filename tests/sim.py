"""Virtual time for tests: the loop of the simulated bench."""

from __future__ import annotations

from edgeapp.bench.virtual import run

__all__ = ["run"]
