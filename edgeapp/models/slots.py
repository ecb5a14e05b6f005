"""Which model serves in a role (stt, llm, tts, detect): the current one and the one before it.

A configuration that says `model = "current"` gets the role's current model. `switch` puts a model there only after it has
passed its golden set on this machine; else the one that is there stays. Either way a line in `switches.jsonl` says so.
Both files lie in the folder of the pulled models.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, get_args

import msgspec

from edgeapp.core import durable
from edgeapp.core.events import ConfigError
from edgeapp.models.golden import Check
from edgeapp.models.manifest import Kind, Model
from edgeapp.models.store import alone, find, folder_of, manifest, pulled_root
from edgeapp.models.verify import verify

CURRENT: Final = "current"
"""What a configuration writes instead of a model's name."""

_BUNDLED: Final = {"llm": "kiosk-lm", "detect": "qc-yolo11n"}
"""Current where nobody ever switched."""

_MOST_BYTES: Final = 1_000_000
"""`switches.jsonl` is cut to its newer half when it is longer."""


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One role."""

    current: str
    """A model's name; empty if there is none."""

    previous: str = ""
    """The one before, to fall back to."""


class Switch(msgspec.Struct, frozen=True):
    """One line of `switches.jsonl`."""

    at: str
    """UTC, ISO 8601."""

    role: str
    before: str
    to: str
    accepted: bool
    says: str
    """What the golden set found, or why the model was refused."""


def slot(role: str) -> Slot:
    """The role's models. Raises ConfigError for an unknown role or a spoiled file."""
    if role not in get_args(Kind):
        raise ConfigError(f"there is no role {role!r}; use one of {', '.join(get_args(Kind))}")
    return _slots().get(role, Slot(_BUNDLED.get(role, "")))


def current(role: str) -> Model:
    """The model that serves in `role`. Raises ConfigError that says what to do if there is none, or it is not here."""
    name = slot(role).current
    if not name:
        raise ConfigError(f"no model is current for {role}: run `edgeapp models switch {role} NAME`, or name one")
    model = find(name)
    if model is None:
        raise ConfigError(
            f"{name}, the current model for {role}, is not on this device: pull it, or run `edgeapp models switch {role} NAME`"
        )
    return model


def switch(role: str, name: str, check: Check) -> str:
    """Make `name` the current model of `role` if its files are right and it passes `check`; return what that found.

    Raises ConfigError with the reason otherwise; then the slot is as it was. Both are recorded.
    """
    with alone("roles", "switch"):  # one file holds all of them
        before = slot(role)
        try:
            model = _fitting(role, name)
            with alone(name, "switch to"):  # nobody removes or replaces it meanwhile
                verify(model)
                examined = check(model, folder_of(model))
                if name != before.current:
                    _write(_slots() | {role: Slot(name, before.current)})
        except ConfigError as error:
            _record(Switch(_now(), role, before.current, name, accepted=False, says=str(error)))
            raise ConfigError(f"{before.current or 'nothing'} stays current for {role}: {error}") from error
        says = (
            f"{examined.right} of {examined.cases} golden cases right"
            if examined
            else "it has no golden set: its hashes are right and it runs"
        )
        _record(Switch(_now(), role, before.current, name, accepted=True, says=says))
    return says


def roles_of(name: str) -> list[str]:
    """The roles in which the model is the current one or the one to fall back to."""
    return sorted(role for role, each in _slots().items() if name in {each.current, each.previous})


def switches() -> list[Switch]:
    """What was switched or refused so far, oldest first; lines that cannot be read are left out."""
    found = []
    for line in _lines(pulled_root() / "switches.jsonl"):
        try:
            found.append(msgspec.json.decode(line, type=Switch))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # the machine stopped in the middle of it
    return found


def _fitting(role: str, name: str) -> Model:
    model = find(name)
    if model is None:
        known = ", ".join(each.name for each in manifest() if each.kind == role and each.engine) or "none"
        raise ConfigError(f"there is no model {name!r} on this device for {role}; there is: {known}")
    if model.kind != role:
        raise ConfigError(f"{name} is a model for {model.kind}, not for {role}")
    if not model.engine:
        raise ConfigError(f"no engine opens {name} as it was published: run `edgeapp models convert {name}`")
    return model


def _slots() -> dict[str, Slot]:
    file = pulled_root() / "slots.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Slot])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {file} ({error.strerror}): mend its rights, or set EDGEAPP_HOME") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}): remove it, and switch again to the models you use"
        ) from error


def _write(slots: dict[str, Slot]) -> None:
    """Replace the file in one step."""
    file = pulled_root() / "slots.json"
    _replace(file, msgspec.json.format(msgspec.json.encode(slots), indent=2) + b"\n")


def _record(line: Switch) -> None:
    file = pulled_root() / "switches.jsonl"
    lines = _lines(file)
    if sum(map(len, lines)) > _MOST_BYTES:
        _replace(file, b"\n".join(lines[len(lines) // 2 :]) + b"\n")
    try:
        with file.open("ab") as stream:
            stream.write(msgspec.json.encode(line) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; make room or mend its rights") from error


def _replace(file: Path, content: bytes) -> None:
    try:
        durable.replace(file, content)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; make room or mend its rights") from error


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines() if file.is_file() else []


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
