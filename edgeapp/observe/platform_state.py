"""What the speed of this machine hangs on, as far as the system says it: board, cores, governors, clocks, power mode.

A bound on a local run holds for the state it was measured in. `edgeapp calibrate` keeps its runs under the state's hash, and
a device that finds itself in another state forgets the bound.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Final

_FILES: Final = (
    "proc/device-tree/model",
    "var/lib/nvpmodel/status",  # Jetson's power mode
    "sys/devices/system/cpu/smt/active",
    "sys/devices/system/cpu/online",
)
_GLOBS: Final = (
    "sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    "sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq",
    "sys/class/devfreq/*/governor",  # the GPU and the memory of a Jetson
    "sys/class/devfreq/*/max_freq",
)
_MAX_BYTES: Final = 256


def platform_state(root: Path = Path("/")) -> dict[str, str]:
    """Name to value, for what there is below `root`. Reads small files only; a file that cannot be read is left out."""
    state = {"machine": platform.machine(), "processor": _processor(root), "cores": str(os.cpu_count())}
    paths = [root / name for name in _FILES]
    paths += sorted(path for pattern in _GLOBS for path in root.glob(pattern))
    for path in paths:
        text = _read(path)
        if text:
            state[str(path.relative_to(root))] = text
    return state


def state_hash(state: dict[str, str]) -> str:
    """Twelve hex digits that change with any value."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:12]


def _processor(root: Path) -> str:
    for line in _read(root / "proc/cpuinfo", 4_096).splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.partition(":")[2].strip()
    return "unknown"


def _read(path: Path, most: int = _MAX_BYTES) -> str:
    try:
        with path.open("rb") as file:
            return file.read(most).decode(errors="replace").strip().strip("\0")
    except OSError:
        return ""
