"""Real models that can be pulled: which repository, which revision, which files, under which licence.

A revision that is no commit, or a file without a hash, could not be known where this list was written: the first pull
resolves and records them and says so (trust on first use); from then on they are fixed on this device.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from edgeapp.core.events import ConfigError
from edgeapp.models.manifest import Kind

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_FILE: Final = Path(__file__).with_name("catalogue.toml")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model on the hub."""

    name: str
    kind: Kind
    engine: str
    licence: str
    repository: str
    """`owner/name` on the hub."""

    patterns: list[str]
    """Which files: shell patterns over the repository's paths."""

    alternative: str
    """What to use instead where there is no network: a bundled model or engine."""

    revision: str = "main"
    """A commit, or a branch while the commit is not known."""

    sha256: dict[str, str] = {}
    """Hashes known in advance, by path."""

    main: str = ""
    strip: str = ""
    """A folder of the repository that is left out of the paths on the device."""

    size_mb: int = 0
    """About how much is fetched, in millions of bytes; 0 if not known."""

    convert: str = ""
    """The command that makes it loadable; `{folder}` is where it lies."""


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: list[Source] = []


def catalogue(file: Path = _FILE) -> list[Source]:
    """All models that can be pulled. Raises ConfigError if the list is wrong."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=_Catalogue).source
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{file} cannot be read as a catalogue: {error}; install edgeapp again") from error
