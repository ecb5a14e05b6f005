"""How this machine and this process are: temperatures, power, memory, load, as far as the kernel says.

Sources: thermal zones and hwmon of sysfs (Documentation/hwmon/sysfs-interface.rst: millidegrees, microwatts, millivolts and
milliamperes; a Jetson's INA3221 has the last two), /proc/self/statm, /proc/self/stat.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_SENSORS_MAX: Final = 24  # of each kind: a screen's worth


class Vitals:
    """Sensors that were there at the start. Each look reads some twenty small files: about a millisecond."""

    def __init__(self, root: Path = Path("/")) -> None:
        zones = sorted(root.glob("sys/class/thermal/thermal_zone*/temp"))[:_SENSORS_MAX]
        self._zones = [(_read(zone.with_name("type")) or zone.parent.name, zone) for zone in zones]
        self._watts: list[tuple[str, tuple[Path, ...]]] = [
            (_label(each, "power"), (each,)) for each in sorted(root.glob("sys/class/hwmon/hwmon*/power*_input"))
        ]
        for volts in sorted(root.glob("sys/class/hwmon/hwmon*/in*_input")):
            amperes = volts.with_name(volts.name.replace("in", "curr", 1))
            if amperes.is_file():
                self._watts.append((_label(volts, "in"), (volts, amperes)))
        self._watts = self._watts[:_SENSORS_MAX]
        self._proc = root / "proc/self"
        self._cpu_s, self._at_s = time.process_time(), time.monotonic()

    def look(self) -> dict[str, object]:
        """Name to value: `temperatures_c`, `power_w`, `rss_mb`, `cpu_share` of one core since the last look, `load`."""
        cpu_s, at_s = time.process_time(), time.monotonic()
        share = (cpu_s - self._cpu_s) / (at_s - self._at_s) if at_s > self._at_s else 0.0
        self._cpu_s, self._at_s = cpu_s, at_s
        return {
            "temperatures_c": {name: round(value / 1e3, 1) for name, zone in self._zones if (value := _number(zone)) is not None},
            "power_w": {name: round(watts, 2) for name, files in self._watts if (watts := _power(files)) is not None},
            "rss_mb": self._rss_mb(),
            "cpu_share": round(share, 2),
            "load": round(os.getloadavg()[0], 2),
            "cores": os.cpu_count() or 1,
        }  # fmt: skip

    def _rss_mb(self) -> int:
        pages = _read(self._proc / "statm").split()
        return round(int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6) if len(pages) > 1 else 0


def _power(files: tuple[Path, ...]) -> float | None:
    values = [_number(each) for each in files]
    if len(values) == 1:
        return None if values[0] is None else values[0] / 1e6
    volts, amperes = values
    return None if volts is None or amperes is None else volts * amperes / 1e6


def _label(file: Path, kind: str) -> str:
    """The sensor's own name, or its chip's and its number."""
    label = _read(file.with_name(file.name.replace("_input", "_label")))
    return label or f"{_read(file.with_name('name')) or file.parent.name} {kind}{file.name[len(kind)]}"


def _number(file: Path) -> int | None:
    with suppress(ValueError):
        return int(_read(file))
    return None


def _read(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")[:128].strip()
    return ""
