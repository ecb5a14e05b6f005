"""What a model is, written down: `models/manifest.toml` for those that ship, a record beside each one that was pulled.

A manifest is read strictly: an unknown key, a hash that is none, a path that leaves the model's folder or a missing
licence is refused, because everything that loads a model trusts what stands here.
"""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import msgspec

from edgeapp.core.events import ConfigError

Kind = Literal["stt", "llm", "tts", "detect", "vad"]

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a model may be called; it becomes a folder's name."""

SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES: Final = 4_000_000
"""No manifest is longer."""


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of a model."""

    path: str
    """Relative to the model's folder, with forward slashes."""

    sha256: str
    """64 lower-case hex digits."""

    size: int
    """Bytes."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model: where it is from, what it may be used for, and exactly which bytes it is."""

    name: str
    kind: Kind
    engine: str
    """The engine's file name, such as `llm_ctranslate2`."""

    licence: str
    source: str
    """`made here`, or the hub's repository."""

    revision: str
    """The commit of the source that the files are from."""

    made_by: str
    """The script or the people."""

    files: list[ModelFile]
    main: str = ""
    """The file that the engine opens; empty if it opens the folder."""

    options: dict[str, bool | int | float | str] = {}
    """What its engine must be told besides, unless the configuration says otherwise: `context = "short"`."""

    golden: str = ""
    """The folder or file of the golden set, relative to the model's folder; empty if it has none."""

    golden_sha256: str = ""
    """Of the golden set, as `golden.read_golden` counts it; empty if that is not known."""

    figures: dict[str, float | str] = {}
    """What was measured, as on the card."""

    note: str = ""


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: list[Model] = []


def read_manifest(file: Path) -> list[Model]:
    """Read a manifest of models that ship. Raises ConfigError, naming the file and what to correct."""
    try:
        text = file.read_bytes()[:_MAX_BYTES]
        models = msgspec.toml.decode(text, type=_Manifest).model
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}; install edgeapp again") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file} is not a manifest: {_plainly(str(error), text)}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{file} is not a manifest: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not a manifest: it is not UTF-8 text") from error
    names = [model.name for model in models]
    for model in models:
        check_model(model, file)
        if names.count(model.name) > 1:
            raise ConfigError(f"{file}: the model {model.name} stands there twice; remove one")
    return models


def _plainly(message: str, text: bytes) -> str:
    """``Expected `int` - at `$.model[0].size` `` -> ``model 'kiosk-lm': size: Expected `int` ``."""
    what, _, where = message.partition(" - at `$.model[")
    number, _, field = where.rstrip("`").partition("]")
    if not number.isdecimal():
        return message
    entry = msgspec.toml.decode(text)["model"][int(number)]
    name = repr(entry["name"]) if isinstance(entry, dict) and "name" in entry else f"number {int(number) + 1}"
    return f"model {name}: {field.removeprefix('.')}{': ' if field else ''}{what}"


def read_record(file: Path) -> Model:
    """Read the record (JSON) beside a pulled model. Raises ConfigError."""
    try:
        model = msgspec.json.decode(file.read_bytes()[:_MAX_BYTES], type=Model)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}; pull the model again") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not the record of a model: {error}; pull the model again") from error
    check_model(model, file)
    return model


def check_model(model: Model, file: Path) -> None:
    """Refuse what a type cannot: raises ConfigError that names `file` and the key."""
    where = f"{file}: model {model.name!r}"
    if not NAME.fullmatch(model.name):
        raise ConfigError(f"{where}: name must be lower-case letters, digits, dots, dashes and underscores")
    if not model.licence.strip():
        raise ConfigError(f"{where}: licence is missing; say under which terms the files may be used")
    for key in ("source", "made_by"):
        if not getattr(model, key).strip():
            raise ConfigError(f"{where}: {key} is missing; say where the files are from and what made them")
    for figure, value in model.figures.items():
        if isinstance(value, float) and not isfinite(value):
            raise ConfigError(f"{where}: the figure {figure!r} is not a number; measure it again or leave it out")
    if not model.files:
        raise ConfigError(f"{where}: it lists no files")
    paths = [each.path for each in model.files]
    for each in model.files:
        check_path(each.path, where)
        if paths.count(each.path) > 1:
            raise ConfigError(f"{where}: {each.path} stands there twice")
        if sum(each.path.casefold() == path.casefold() for path in paths) > 1:
            raise ConfigError(f"{where}: {each.path} differs from another file only in case, which some disks ignore")
        if not SHA256.fullmatch(each.sha256):
            raise ConfigError(f"{where}: sha256 of {each.path} must be 64 lower-case hex digits")
        if each.size < 0:
            raise ConfigError(f"{where}: size of {each.path} is negative")
    if model.main and model.main not in paths:
        raise ConfigError(f"{where}: main is {model.main!r}, which is not one of its files")
    if model.golden:
        check_path(model.golden, where)
    if model.golden_sha256 and not (model.golden and SHA256.fullmatch(model.golden_sha256)):
        raise ConfigError(f"{where}: golden_sha256 must be 64 lower-case hex digits, beside `golden`")


def check_path(path: str, where: str) -> None:
    """Refuse a path that could leave the model's folder, on any system. Raises ConfigError."""
    parts = PurePosixPath(path).parts
    unsafe = not parts or path.startswith(("/", "~")) or ".." in parts or "\\" in path or ":" in path
    if unsafe or not path.isprintable() or path != str(PurePosixPath(path)):
        raise ConfigError(
            f"{where}: {path!r} is not a safe path; write it relative to the model's folder, without '..'"
        )
