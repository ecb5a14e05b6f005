"""Real models that can be pulled: which repository, which revision, which files, under which licence.

A revision or hash that could not be checked where this list was written is left out: the first pull then resolves and
records it and says so (trust on first use), and from then on it is fixed on this device.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from edgeapp.core.events import ConfigError
from edgeapp.models.manifest import NAME, SHA256, Kind, check_path

COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION: Final = re.compile(r"[A-Za-z0-9][\w.-]*")
_FILE: Final = Path(__file__).with_name("catalogue.toml")

Tool = Literal["", "ctranslate2", "ultralytics"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model on the hub."""

    name: str
    kind: Kind
    engine: str
    licence: str
    repository: str
    """`owner/name` on the hub."""

    files: list[str]
    """Paths in the repository; all must be there."""

    also: list[str] = []
    """Paths that are taken if they are there."""

    alternative: str
    """What to use instead where there is no network: a bundled model or engine."""

    revision: str = "main"
    """A commit, or a branch while the commit is not known."""

    sha256: dict[str, str] = {}
    """Hashes known in advance, by path in the repository."""

    main: str = ""
    """The file that the engine opens, without `strip`; empty if it opens the folder."""

    strip: str = ""
    """A folder of the repository, with its slash, that is left out of the paths on the device."""

    size_mb: int
    """About how much is fetched, in millions of bytes."""

    gated: bool = False
    """The hub wants an account that accepted the licence."""

    convert: Tool = ""
    """What makes it loadable; empty if `engine` opens it as it is."""

    note: str = ""


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: list[Source] = []


def catalogue(file: Path = _FILE) -> list[Source]:
    """All models that can be pulled. Raises ConfigError, naming the model and what is wrong."""
    try:
        sources = msgspec.toml.decode(file.read_bytes(), type=_Catalogue).source
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as a catalogue: {error}; install edgeapp again") from error
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            raise ConfigError(f"{file}: the model {source.name} stands there twice; remove one")
        check_source(source, str(file))
    return sources


def source_of(name: str) -> Source | None:
    """The catalogue's entry of that name. Raises ConfigError if the catalogue is wrong."""
    return next((each for each in catalogue() if each.name == name), None)


def check_source(source: Source, where: str) -> None:
    """Refuse what a type cannot: raises ConfigError that names the model and the key."""
    where = f"{where}: model {source.name!r}"
    for key, value, form in (
        ("name", source.name, NAME),
        ("repository", source.repository, _REPOSITORY),
        ("revision", source.revision, _REVISION),
    ):
        if not form.fullmatch(value):
            raise ConfigError(f"{where}: {key} {value!r} is not of the form that the hub and file systems allow")
    for key in ("licence", "alternative"):
        if not getattr(source, key).strip():
            raise ConfigError(f"{where}: {key} is missing")
    paths = source.files + source.also
    inside = [path.removeprefix(source.strip) for path in paths]
    for path in inside:
        check_path(path, where)
    if not source.files or len({path.casefold() for path in inside}) < len(inside):
        raise ConfigError(f"{where}: files must name at least one file, and no two that differ only in case")
    for path, digest in source.sha256.items():
        if path not in paths or not SHA256.fullmatch(digest):
            raise ConfigError(f"{where}: sha256 of {path!r} must be 64 lower-case hex digits of one of its files")
    if source.main and source.main not in inside:
        raise ConfigError(f"{where}: main is {source.main!r}, which is not one of its files")
