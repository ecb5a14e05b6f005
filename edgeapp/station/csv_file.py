"""A ledger's verdicts as CSV, row by row: memory does not grow with the ledger. Parquet is in observe/parquet.py."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeapp.core.events import ConfigError
from edgeapp.station.queries import COLUMNS

INTEGERS = frozenset({"seq", "utc_ns", "mono_ns", "frame_number", "at_ns", "decided_ns", "due_ns"})
"""Columns of whole numbers; all others are text."""


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write RFC 4180 with a header, UTF-8; returns how many rows. Raises ConfigError if the disk does not take it."""
    count = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for row in rows:
                writer.writerow([_safe(row[name]) for name in COLUMNS])
                count += 1
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; make room or give another file") from error
    return count


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe: a barcode is read from outside (OWASP)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
