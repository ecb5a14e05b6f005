"""A secret that the configuration names and never holds: in an environment variable, or in a file of its own."""

from __future__ import annotations

import os
from pathlib import Path

from edgeapp.core.events import ConfigError


def read_secret(section: str, name: str, *, env: str, file: str) -> str:
    """The secret; empty if neither `env` nor `file` is given. `section` and `name` are its keys' in the TOML. Raises ConfigError."""
    if env:
        if env not in os.environ:
            raise ConfigError(f"{section}.{name}_env names {env}, which is not set; set it")
        return os.environ[env]
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{section}.{name}_file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{section}.{name}_file {file} is no text; give a file with the {name} alone") from error
