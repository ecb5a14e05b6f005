"""Who is signed in: opaque random tokens, of which the file holds only hashes, so that it lends nobody a session."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgeapp.core.events import ConfigError
from edgeapp.web.users import write_private

LASTS_NS: Final = 12 * 3_600 * 1_000_000_000
"""A shift and its ends; then one signs in again."""

SESSIONS_MAX: Final = 500
"""Kept at once; the oldest makes room."""


class Session(msgspec.Struct, frozen=True):
    """One browser's session."""

    user: str
    csrf: str
    """What a changing request must send back in a header: another site cannot read it."""

    until_ns: int
    """UTC."""

    proof: str
    """Of the password it was begun with: a new one ends it."""


class Sessions:
    """The sessions of one device. They outlive a restart, so that a screen on the wall does not go dark.

    `begin` and `end` write a file: for a thread; several may call them.
    """

    def __init__(self, file: Path, utc_ns: Callable[[], int]) -> None:
        """A file that cannot be read is begun anew: its sessions are gone, nothing else."""
        self._file, self._utc_ns, self._one = file, utc_ns, threading.Lock()
        try:
            self._all = msgspec.json.decode(file.read_bytes(), type=dict[str, Session])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            self._all = {}

    def begin(self, user: str, proof: str) -> tuple[str, Session]:
        """A new token and its session. Raises ConfigError if the file cannot be written."""
        token = secrets.token_urlsafe(32)
        session = Session(user, secrets.token_urlsafe(24), self._utc_ns() + LASTS_NS, proof)
        with self._one:
            self._all[_hash(token)] = session
            self._store()
        return token, session

    def find(self, token: str) -> Session | None:
        """The session of a token, unless it has run out."""
        session = self._all.get(_hash(token)) if token else None
        return session if session and session.until_ns > self._utc_ns() else None

    def end(self, token: str) -> Session | None:
        """Forget a session, and give it back if there was one."""
        with self._one:
            ended = self._all.pop(_hash(token), None)
            if ended:
                self._store()
        return ended

    def _store(self) -> None:
        now_ns = self._utc_ns()
        live = sorted(
            ((key, each) for key, each in self._all.items() if each.until_ns > now_ns), key=lambda it: it[1].until_ns
        )
        self._all = dict(live[-SESSIONS_MAX:])
        write_private(self._file, msgspec.json.encode(self._all))


def device_token(file: Path) -> str:
    """The secret by which `edgeapp top` on this device may look: who can read the file owns the device anyway.

    Made at the first call. Raises ConfigError.
    """
    try:
        if token := file.read_text(encoding="ascii").strip():
            return token
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}; mend its rights or remove it") from error
    token = secrets.token_urlsafe(32)
    write_private(file, token.encode() + b"\n")
    return token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
