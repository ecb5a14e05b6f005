"""Files that are there whole, whenever the power goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_OPEN: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def replace(path: Path, content: bytes, mode: int | None = None) -> None:
    """Put `content` in the place of a file in one step; durable on return. One writer at a time.

    `mode` is the new file's; None leaves it to the umask. Raises OSError: then the old file is there as it was.
    """
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, _OPEN, 0o666 if mode is None else mode), "wb") as stream:
        if mode is not None:
            os.fchmod(stream.fileno(), mode)  # whatever the umask is, or a run that was cut off has left
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
