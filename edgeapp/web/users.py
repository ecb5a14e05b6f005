"""Who may sign in, and what each may do: one small file of argon2id hashes (RFC 9106, by argon2-cffi)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from edgeapp.core import durable
from edgeapp.core.events import ConfigError

USERS_MAX: Final = 200
"""Of one device; more is a directory's work."""

PASSWORD_MIN: Final = 10
PASSWORD_MAX: Final = 256
"""Characters. Length is what counts (NIST SP 800-63B, 5.1.1.2); the upper bound bounds the work of a hash."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Role(StrEnum):
    """What a person may do; each may do what those before it may."""

    VIEWER = "viewer"
    """Look at everything."""

    OPERATOR = "operator"
    """Acknowledge alarms, judge parts again."""

    ENGINEER = "engineer"
    """Change models, users and rules; read the audit trail."""

    def may(self, needed: Role) -> bool:
        """Is this role enough for what needs `needed`?"""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file."""

    role: Role
    password: str
    """Its hash, with salt and parameters, in PHC form."""

    @property
    def proof(self) -> str:
        """Says which password this is, and nothing about it."""
        return hashlib.sha256(self.password.encode()).hexdigest()[:16]


class Users:
    """The file of users. Methods that hash take some 50 ms of one core: for a thread, one at a time."""

    def __init__(self, file: Path) -> None:
        """The file need not exist yet. Raises ConfigError if the package for hashing is missing."""
        try:
            from argon2 import PasswordHasher
        except ImportError as error:
            raise ConfigError("passwords need the package argon2-cffi: pip install 'edgeapp[web]'") from error
        self._file = file
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)  # OWASP's argon2id: 19 MiB, t=2
        self._nobody = self._hasher.hash(os.urandom(16).hex())  # so that an unknown name takes as long as a known one

    def all(self) -> dict[str, User]:
        """Name to user. Raises ConfigError if the file cannot be read."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, User])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the users in {self._file}: {error}; mend or remove the file") from error

    def set(self, name: str, role: Role, password: str) -> None:
        """Make the user, or change role and password. Raises ConfigError that says what is wrong, or if no engineer were left."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name: use 1 to 32 of a-z, 0-9, dot, dash and underscore")
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise ConfigError(f"the password has {len(password)} characters: give {PASSWORD_MIN} to {PASSWORD_MAX}")
        if password.lower() in {name, "password12", "1234567890", "qwertyuiop", "edgeapp", "passwordpassword"}:
            raise ConfigError("the password is one that is tried first: choose another")
        try:
            hashed = self._hasher.hash(password)
        except UnicodeEncodeError as error:
            raise ConfigError("the password holds half a character: choose another") from error
        with self._alone():
            users = self.all()
            if name not in users and len(users) >= USERS_MAX:
                raise ConfigError(f"there are {USERS_MAX} users already: remove one")
            if role is not Role.ENGINEER and _engineers(users) == [name]:
                raise ConfigError(f"{name} is the last engineer: make another one first")
            self._write(users | {name: User(role, hashed)})

    def remove(self, name: str) -> None:
        """Raises ConfigError if there is no such user, or if nobody could sign in for changes afterwards."""
        with self._alone():
            users = self.all()
            if name not in users:
                raise ConfigError(f"there is no user {name!r}")
            rest = {each: user for each, user in users.items() if each != name}
            if rest and not _engineers(rest):
                raise ConfigError(f"{name} is the last engineer: make another one first")
            self._write(rest)

    def check(self, name: str, password: str) -> User | None:
        """The user if the password is right, else None; equally long for names that there are not."""
        from argon2.exceptions import InvalidHashError, VerificationError

        user = self.all().get(name)
        try:
            self._hasher.verify(user.password if user else self._nobody, password[: PASSWORD_MAX + 1])
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return None
        return user

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the users meanwhile, `edgeapp web passwd` beside a running device neither."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._file.with_name(".users.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write {self._file}: {error.strerror}; make room or mend its rights") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, users: dict[str, User]) -> None:
        write_private(self._file, msgspec.json.format(msgspec.json.encode(users), indent=2) + b"\n")


def _engineers(users: dict[str, User]) -> list[str]:
    return [name for name, user in users.items() if user.role is Role.ENGINEER]


def write_private(file: Path, content: bytes) -> None:
    """Replace a file that only we may read, in one step, durably. Raises ConfigError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.replace(file, content, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; make room or mend its rights") from error
