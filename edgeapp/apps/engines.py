"""From an engine's name in the configuration to its module."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from edgeapp.core.events import ConfigError


def module_of(engine: str, where: str) -> Any:
    """`llm_openai` is `edgeapp.engines.llm_openai`; a dotted name is a module of somebody else's package.

    `where` is the section's name in the file. Raises ConfigError for a name or a package that is not there.
    """
    name = engine if "." in engine else f"edgeapp.engines.{engine}"
    folder = Path(__file__).parent.parent / "engines"
    known = ", ".join(sorted(path.stem for path in folder.glob("[a-z]*.py")))
    unknown = f"{where}.engine: there is no engine '{engine}'; use one of {known}"
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(unknown)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise ConfigError(unknown) from error
        raise ConfigError(
            f"{where}.engine: {engine} needs the package {error.name}: pip install {error.name}"
        ) from error
    if not (hasattr(module, "Options") and hasattr(module, "load")):
        raise ConfigError(unknown)
    return module
