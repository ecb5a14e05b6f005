"""Is the machine slowed down because it is hot? Read from the kernel's cooling devices, at most once a second."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_EVERY_S: Final = 1.0  # a read takes some 50 us, too much for every frame of sound
_SLOWING: Final = ("processor", "cpufreq", "devfreq", "gpufreq", "throttle")
"""Parts of the names of cooling devices that slow the machine; others are fans."""


class Throttle:
    """A callable that says whether any cooling device holds the clocks down now."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._states = [
            device / "cur_state"
            for device in sorted(root.glob("sys/class/thermal/cooling_device*"))
            if any(name in _read(device / "type").lower() for name in _SLOWING)
        ]
        self._read_s = float("-inf")
        self._hot = False

    def __call__(self) -> bool:
        """True while the machine is throttled. Where the kernel does not say, it is not."""
        now_s = time.monotonic()
        if now_s - self._read_s >= _EVERY_S:
            self._read_s = now_s
            self._hot = any(_read(state).strip() not in {"", "0"} for state in self._states)
        return self._hot


def _read(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="ascii")[:64]
    return ""
