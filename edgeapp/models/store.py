"""Where models live: those that ship with the application, and those that were pulled.

Bundled models are in `models/` beside the package in a checkout, or in `edgeapp/models/bundled` in an installed wheel.
Pulled ones are in `$EDGEAPP_HOME/models`, or in `~/.local/share/edgeapp/models`, each with a record of what it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from edgeapp.core.events import ConfigError
from edgeapp.models.manifest import Model, read_manifest, read_record

RECORD: Final = "edgeapp-model.json"
"""The record's file name in a pulled model's folder."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def bundled_root() -> Path:
    """The folder of the models that ship."""
    checkout = _PACKAGE.parent / "models"
    return checkout if (checkout / "manifest.toml").is_file() else _PACKAGE / "models" / "bundled"


def pulled_root() -> Path:
    """The folder of the models that were pulled; it may not exist yet."""
    home = os.environ.get("EDGEAPP_HOME", "")
    return Path(home).expanduser() / "models" if home else Path.home() / ".local" / "share" / "edgeapp" / "models"


def bundled() -> list[Model]:
    """The models that ship. Raises ConfigError if their manifest is missing or wrong."""
    return read_manifest(bundled_root() / "manifest.toml")


def pulled() -> list[Model]:
    """The models that were pulled, by name. Raises ConfigError if a record is wrong."""
    return [read_record(file) for file in sorted(pulled_root().glob(f"[!.]*/{RECORD}"))]


def manifest() -> list[Model]:
    """All models on this device, bundled first. Raises ConfigError."""
    return bundled() + pulled()


def folder_of(model: Model) -> Path:
    """The model's folder."""
    own = pulled_root() / model.name
    return own if (own / RECORD).is_file() else bundled_root() / model.name


def mend(model: Model) -> str:
    """What the operator does when a file of this model is wrong."""
    if (pulled_root() / model.name / RECORD).is_file():
        return f"run `edgeapp models pull {model.name}` again"
    return "install edgeapp again, or check it out again (with `git lfs pull` if you use it)"


def path_of(name: str) -> Path:
    """The path that an engine opens for the model `name`: its folder, or its main file.

    Raises ConfigError that says what to do if the model is not on this device. Hashes are `verify`'s work.
    """
    models = manifest()
    for model in models:
        if model.name == name:
            path = folder_of(model) / model.main
            if not path.exists():
                raise ConfigError(f"the model {name} is listed, but {path} is missing: {mend(model)}")
            return path
    from edgeapp.models.catalogue import catalogue

    if any(each.name == name for each in catalogue()):
        raise ConfigError(f"the model {name} is not on this device: run `edgeapp models pull {name}`")
    known = ", ".join(model.name for model in models) or "none"
    raise ConfigError(
        f"there is no model {name!r}; on this device: {known}; give a name of `edgeapp models list` or a path"
    )
