"""Are the bytes of a model the ones that its manifest names?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeapp.core.events import ConfigError
from edgeapp.models.manifest import Model, ModelFile
from edgeapp.models.store import folder_of, mend

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Verified:
    """Every file of the model is there, whole and right."""

    name: str
    files: int
    size: int
    """Bytes, all files together."""


def sha256_of(file: Path) -> str:
    """The file's SHA-256 in hex, read in pieces of 1 MiB. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def check_file(file: Path, expected: ModelFile, fix: str) -> None:
    """Raise ConfigError in one sentence, ending in `fix`, unless `file` has the expected size and hash."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise ConfigError(f"{file} is not a file: {fix}")
        if size < expected.size:
            raise ConfigError(f"{file} is cut short: {size} of {expected.size} bytes: {fix}")
        if size > expected.size:
            raise ConfigError(f"{file} is not the model's file: {size} bytes instead of {expected.size}: {fix}")
        if sha256_of(file) != expected.sha256:
            raise ConfigError(f"{file} is not the model's file: its SHA-256 is another one: {fix}")
    except FileNotFoundError as error:
        raise ConfigError(f"{file} is missing: {fix}") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}): {fix}") from error


def verify(model: Model, folder: Path | None = None) -> Verified:
    """Check size and hash of every file of `model`, in `folder` or where the store has it.

    Raises ConfigError, one sentence that names the first wrong file and the fix.
    """
    folder = folder or folder_of(model)
    for each in model.files:
        if not _stays_inside(folder, each.path):
            raise ConfigError(f"{folder / each.path} is a link that leaves the model's folder: {mend(model)}")
        check_file(folder / each.path, each, mend(model))
    return Verified(model.name, len(model.files), sum(each.size for each in model.files))


def _stays_inside(folder: Path, path: str) -> bool:
    try:
        return (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        return False
