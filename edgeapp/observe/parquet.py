"""Rows as a Parquet file, in row groups: memory does not grow with the file. Needs pyarrow (the extra `station`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edgeapp.core.events import ConfigError

_GROUP_ROWS: Final = 20_000  # in memory at once, about 20 MB of verdicts


def write_parquet(
    rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str], integers: AbstractSet[str]
) -> int:
    """Write `columns` as int64 (`integers`) or string, zstd; returns how many rows.

    Raises ConfigError if pyarrow is missing or the disk does not take it.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("Parquet needs the package pyarrow: pip install 'edgeapp[station]', or export CSV") from error
    schema = pa.schema([(name, pa.int64() if name in integers else pa.string()) for name in columns])
    count, source = 0, iter(rows)
    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            while chunk := list(islice(source, _GROUP_ROWS)):
                writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema=schema))
                count += len(chunk)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; make room or give another file") from error
    return count
