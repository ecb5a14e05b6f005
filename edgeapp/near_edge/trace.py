"""A recorded link: a file of rows -> what `Weather` asks for.

CSV with a header, or JSON lines, told apart by the first character. Columns, by name and in any order:

    time        seconds from the beginning; rises strictly; the first row may be at any time and becomes 0
    rtt_ms      round trip of a small packet
    up_mbps     rate from the device to the near edge, 0 for nothing
    down_mbps   and back
    loss        share of packets lost, 0 to 1; 1 is an outage

`time` and `rtt_ms` are needed; a rate that is not given is 1,000 Mbit/s, a loss that is not given is 0. A row holds until
the next one, the last for as long as the one before it; then the trace begins again. Lines that begin with # are comments.
"""

from __future__ import annotations

import csv
import json
import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgeapp.core.events import MS, ConfigError

COLUMNS: Final = ("time", "rtt_ms", "up_mbps", "down_mbps", "loss")
_MAX_ROWS: Final = 2_000_000
_MOST: Final = 1e10  # of any column: seconds since 1970 are below it, and what is above it is no measurement
_DEFAULTS: Final = {"up_mbps": 1_000.0, "down_mbps": 1_000.0, "loss": 0.0}


class Trace:
    """Rows of (start in ns, round trip in ns, bit/s up, bit/s down, loss), repeated for ever."""

    def __init__(self, name: str, rows: list[tuple[int, int, float, float, float]]) -> None:
        """`rows` rise strictly in time from 0; at least one."""
        self.name = name
        self.rows = rows
        self._starts = [row[0] for row in rows]
        last_ns = rows[-1][0] - rows[-2][0] if len(rows) > 1 else 1_000 * MS
        self.lasts_ns = rows[-1][0] + last_ns
        """After this the trace begins again."""

    def values(self, now_ns: int) -> tuple[int, float, float, float]:
        """Round trip in ns, rates up and down in bit/s, share lost."""
        _, rtt_ns, up_bps, down_bps, loss = self.rows[bisect_right(self._starts, now_ns % self.lasts_ns) - 1]
        return (rtt_ns, up_bps, down_bps, loss) if loss < 1 else (rtt_ns, 0.0, 0.0, 0.0)

    def constant_until_ns(self, now_ns: int) -> int:
        """When the next row begins to hold."""
        lap_ns = now_ns // self.lasts_ns * self.lasts_ns
        following = bisect_right(self._starts, now_ns - lap_ns)
        return lap_ns + (self._starts[following] if following < len(self._starts) else self.lasts_ns)


def load_trace(path: Path) -> Trace:
    """Read a trace. Raises ConfigError that names the file, the line and what is wrong."""
    rows: list[tuple[int, int, float, float, float]] = []
    first_s = 0.0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line, entry in _entries(file):
                time_s, rtt_ms, up_mbps, down_mbps, loss = _numbers(entry, f"{path}, line {line}")
                first_s = first_s if rows else time_s
                start_ns = round((time_s - first_s) * 1e9)
                if rows and start_ns <= rows[-1][0]:
                    raise ConfigError(f"{path}, line {line}: time is {time_s}, not later than the line before; sort it")
                if len(rows) == _MAX_ROWS:
                    raise ConfigError(f"{path}: more than {_MAX_ROWS} lines; split it")
                rows.append((start_ns, round(rtt_ms * MS), up_mbps * 1e6, down_mbps * 1e6, loss))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read the trace {path}: {error}") from error
    if not rows:
        raise ConfigError(f"{path}: no rows; a trace has the columns {', '.join(COLUMNS)}")
    return Trace(path.stem, rows)


def _entries(file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, columns by name) of either format."""
    header: list[str] | None = None
    for number, line in enumerate(file, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("{"):
            try:
                yield number, json.loads(text)
            except ValueError as error:
                raise ConfigError(f"{file.name}, line {number}: not a line of JSON ({error})") from error
            continue
        fields = [field.strip() for field in next(csv.reader([text]))]
        if header is None:
            header = fields
        else:
            yield number, dict(zip(header, fields, strict=False))


def _numbers(entry: dict[str, Any], where: str) -> tuple[float, ...]:
    unknown = sorted(set(entry) - set(COLUMNS))
    if unknown:
        raise ConfigError(f"{where}: unknown column {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    values = []
    for name in COLUMNS:
        given = entry.get(name, _DEFAULTS.get(name))
        try:
            value = float(given)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {name} is {given!r}; write a number") from error
        most = 1 if name == "loss" else _MOST
        if not math.isfinite(value) or abs(value) > most or (value < 0 and name != "time"):
            raise ConfigError(f"{where}: {name} is {given}; it must be 0 or more, and at most {most:g}")
        values.append(value)
    return tuple(values)
