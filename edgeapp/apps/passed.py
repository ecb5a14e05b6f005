"""Which model last passed the golden gate for a role: one small file, so that a bad update does not end the service.

Only what differs from the embedded defaults is kept, because those are what a device falls back to anyway.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from edgeapp import config as settings
from edgeapp.models.store import pulled_root

_MAX_BYTES: Final = 1_000_000


def last(where: str) -> settings.Engine | None:
    """The section that last passed for the role `where`; None if none did or the file cannot be read."""
    return _read().get(where)


def keep(where: str, section: settings.Engine, *, default: settings.Engine | None) -> None:
    """Remember that `section` passed. A disk that refuses is told on stderr: the service does not depend on it."""
    known = _read()
    plain = settings.Engine(engine=section.engine, options=section.options)
    is_default = default is not None and (plain.engine, plain.options) == (default.engine, default.options)
    if known.get(where) == (None if is_default else plain):
        return
    known = {role: each for role, each in known.items() if role != where} | ({} if is_default else {where: plain})
    file = _file()
    new = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=2))
        new.replace(file)
    except OSError as error:
        print(f"edgeapp: cannot remember in {file} which models passed ({error.strerror})", file=sys.stderr)


def _file() -> Path:
    return pulled_root().parent / "passed.json"


def _read() -> dict[str, settings.Engine]:
    file = _file()
    try:
        return msgspec.json.decode(file.read_bytes()[:_MAX_BYTES], type=dict[str, settings.Engine])
    except FileNotFoundError:
        return {}
    except OSError as error:
        print(
            f"edgeapp: {file} cannot be read ({error.strerror}): mend its rights, or set EDGEAPP_HOME", file=sys.stderr
        )
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        print(f"edgeapp: {file} does not say which models passed ({error}); it is written anew", file=sys.stderr)
        return {}
