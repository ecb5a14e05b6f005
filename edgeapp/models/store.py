"""Where models live: those that ship with the application, and those that were pulled or converted.

Bundled models are in `models/` beside the package in a checkout, or in `edgeapp/models/bundled` in an installed wheel.
The others are in `$EDGEAPP_HOME/models`, or in `~/.local/share/edgeapp/models`:

    NAME/edgeapp-model.json    the record: which bytes the model is. Replacing this one file is what makes a model current
    NAME/1f3a.../              the files of one record, named by their hashes; the one before stays until the next pull
    .arriving-NAME/            what came so far of a pull that is not finished
    .converting-NAME/          where a converter works
    .lock-NAME                 held by whoever changes the model

So at every instant, and after a loss of power at any, there is the old model whole, or the new one whole, or none.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from edgeapp.core.events import ConfigError
from edgeapp.models.manifest import NAME, Model, check_model, read_manifest, read_record

RECORD: Final = "edgeapp-model.json"
"""The record's file name in a pulled model's folder."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def bundled_root() -> Path:
    """The folder of the models that ship."""
    checkout = _PACKAGE.parent / "models"
    return checkout if (checkout / "manifest.toml").is_file() else _PACKAGE / "models" / "bundled"


def pulled_root() -> Path:
    """The folder of the models that were pulled, as an absolute path; it may not exist yet. Raises ConfigError."""
    home = os.environ.get("EDGEAPP_HOME", "")
    try:
        return (Path(home).expanduser().absolute() if home else Path.home() / ".local/share/edgeapp") / "models"
    except (RuntimeError, OSError) as error:  # nobody's home, or a working folder that is gone
        raise ConfigError(f"there is no home to keep models in ({error}): set EDGEAPP_HOME to a folder") from error


def bundled() -> list[Model]:
    """The models that ship. Raises ConfigError if their manifest is missing or wrong."""
    return read_manifest(bundled_root() / "manifest.toml")


def pulled() -> list[Model]:
    """The models that were pulled or converted, by name; without those whose record is `spoiled`."""
    return [found for found in _records() if isinstance(found, Model)]


def spoiled() -> list[ConfigError]:
    """What is wrong with the records that cannot be used, a sentence each."""
    return [found for found in _records() if isinstance(found, ConfigError)]


def manifest() -> list[Model]:
    """All models on this device, bundled first. Raises ConfigError if the bundled manifest is wrong."""
    return bundled() + pulled()


def find(name: str) -> Model | None:
    """The model `name` of this device, None if it is not here. Raises ConfigError if its own record is wrong."""
    for model in bundled():
        if model.name == name:
            return model
    if not NAME.fullmatch(name):
        return None
    file = pulled_root() / name / RECORD
    return _read(file) if _is_there(file) else None


def recorded(name: str) -> Model | None:
    """The record of a pulled or converted model, None if there is none that can be read."""
    try:
        return _read(pulled_root() / name / RECORD)
    except ConfigError:
        return None


def fingerprint(model: Model) -> str:
    """16 hex digits that change with any path or hash of the model's files."""
    lines = sorted(f"{each.path}\0{each.sha256}\n" for each in model.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def folder_of(model: Model) -> Path:
    """The folder with the model's files. A model that ships keeps its own, whatever else lies under its name."""
    return bundled_root() / model.name if _ships(model.name) else pulled_root() / model.name / fingerprint(model)


def arriving_of(name: str) -> Path:
    """Where an unfinished pull of `name` keeps what came."""
    return pulled_root() / f".arriving-{name}"


def converting_of(name: str) -> Path:
    """Where the tool works that makes `name`; what is there without one was left by a killed one."""
    return pulled_root() / f".converting-{name}"


def mend(model: Model) -> str:
    """What the operator does when a file of this model is wrong."""
    if _ships(model.name):
        return "install edgeapp again, or check it out again (with `git lfs pull` if you use it)"
    if made := re.match(r"edgeapp models convert ([^\s:]+)", model.made_by):
        return f"run `edgeapp models convert {made[1]}` again"
    return f"run `edgeapp models pull {model.name}` again"


def path_of(name: str) -> Path:
    """The path that an engine opens for the model `name`: its folder, or its main file.

    Raises ConfigError that says what to do if the model is not on this device or in no engine's form. Hashes are
    `verify`'s work.
    """
    model = find(name)
    if model is not None:
        if not model.engine:
            raise ConfigError(f"no engine opens {name} as it was published: run `edgeapp models convert {name}`")
        path = folder_of(model) / model.main
        if not path.exists():
            raise ConfigError(f"the model {name} is listed, but {path} is missing: {mend(model)}")
        return path
    from edgeapp.models.catalogue import catalogue

    if any(each.name == name for each in catalogue()):
        raise ConfigError(f"the model {name} is not on this device: run `edgeapp models pull {name}`")
    known = ", ".join(model.name for model in manifest()) or "none"
    raise ConfigError(
        f"there is no model {name!r}; on this device: {known}; give a name of `edgeapp models list` or a path"
    )


@contextmanager
def alone(name: str, doing: str) -> Iterator[None]:
    """Hold the lock of one model; it goes with the process, however that ends. Raises ConfigError if it is taken
    or the folder of the models cannot be written.
    """
    root = pulled_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f".lock-{name}").open("w")
    except OSError as error:
        raise ConfigError(
            f"cannot keep models in {root} ({error.strerror}): make room, mend its rights, or set EDGEAPP_HOME to another folder"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"cannot {doing} {name}: another `edgeapp models` command is at it; wait until it is done"
            ) from error
        yield


def install(model: Model, staged: Path) -> None:
    """Make `staged`, which holds exactly the model's files, the model of that name. The caller holds its lock.

    Everything is on the disk before the record names it. Raises OSError, and ConfigError for a record nobody could read.
    """
    home = pulled_root() / model.name
    check_model(model, home / RECORD)
    before = recorded(model.name)
    home.mkdir(exist_ok=True)
    folder = home / fingerprint(model)
    for path in sorted(staged.rglob("*"), reverse=True):
        _sync(path)
    _sync(staged)
    new = home / f".{RECORD}"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(model), indent=2))
    _sync(new)
    if folder.exists():  # the same model, but somebody spoiled its files
        shutil.rmtree(folder)
    staged.rename(folder)
    _sync(home)
    new.replace(home / RECORD)
    _sync(home)
    _sync(home.parent)
    keep = {folder.name} | ({fingerprint(before)} if before else set())  # a running engine may read its own again
    for path in home.iterdir():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path)


def uninstall(name: str) -> None:
    """Take the model and its unfinished pull away, the record first. The caller holds its lock. Raises OSError."""
    home = pulled_root() / name
    (home / RECORD).unlink(missing_ok=True)
    for path in (home, arriving_of(name), converting_of(name)):
        if path.exists():
            shutil.rmtree(path)


def _records() -> Iterator[Model | ConfigError]:
    root = pulled_root()
    try:
        names = sorted(each.name for each in root.iterdir() if not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(
            f"cannot look into {root} ({error.strerror}): mend its rights, or set EDGEAPP_HOME to another folder"
        ) from error
    for file in (root / name / RECORD for name in names):
        try:
            if _is_there(file):
                yield _read(file)
        except ConfigError as error:
            yield error


def _is_there(file: Path) -> bool:
    """Whether there is a record, be it one that must not be read: reading it says so."""
    try:
        return file.is_file()
    except OSError:
        return True


def _ships(name: str) -> bool:
    """Whether a model of that name ships; one whose folder somebody took away does unless another was pulled."""
    return (bundled_root() / name).is_dir() or not _is_there(pulled_root() / name / RECORD)


def _read(file: Path) -> Model:
    model = read_record(file)
    if (bundled_root() / model.name).is_dir():
        raise ConfigError(f"{file} has the name of a model that ships, which serves: remove {file.parent}")
    if model.name != file.parent.name:
        raise ConfigError(
            f"{file} is the record of {model.name!r}, not of {file.parent.name!r}; remove the folder and pull again"
        )
    return model


def _sync(path: Path) -> None:
    """Have the file's bytes, or the folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
