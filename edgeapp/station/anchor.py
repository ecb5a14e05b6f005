"""The anchor: how many rows there were and how the chain ended, in a small file beside the database.

A chain alone does not notice that its end was cut off. The anchor does, for all rows it counts. It is replaced as a whole
(written, fsynced, renamed, the folder fsynced), so there is always the old one or the new one.

With a key (HMAC-SHA256, RFC 2104) nobody without it can make an anchor. What no file on the device can prove: that database
and anchor were not both put back to an earlier state, or that somebody who holds the key did not rewrite both. For that, note the
head elsewhere (on the shift report, in another system) and verify against it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from edgeapp.core import durable
from edgeapp.core.events import ConfigError
from edgeapp.station.evidence import GENESIS, Head

KEY_BYTES_MIN = 16
"""A shorter key can be guessed."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the file says."""

    ledger: str
    """The ledger's own random name, which its first row says too."""

    rows: int
    head: str
    """The hash of row `rows`, in hex."""

    utc_ns: int
    """When it was written."""

    hmac: str = ""
    """Over the fields above, in hex; empty without a key."""

    def is_at(self, head: Head) -> bool:
        """Does it say that the chain ends at `head`?"""
        return (self.rows, self.head) == (head.rows, head.hash.hex())


def sealed(ledger: str, head: Head, utc_ns: int, key: bytes) -> Anchor:
    """An anchor for `head`, signed if there is a key."""
    plain = Anchor(ledger, head.rows, head.hash.hex(), utc_ns)
    return replace(plain, hmac=_mac(plain, key)) if key else plain


def is_sealed_by(anchor: Anchor, key: bytes) -> bool:
    """Was it signed with this key?"""
    return hmac.compare_digest(anchor.hmac, _mac(anchor, key))


def read_key(path: Path) -> bytes:
    """The key in a file, as it is but for white space around it. Raises ConfigError."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the ledger's key {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES_MIN:
        raise ConfigError(f"the ledger's key {path} has {len(key)} bytes: make one of at least {KEY_BYTES_MIN}")
    return key


def read(path: Path) -> Anchor | None:
    """The anchor, or None if there is no file. Raises ConfigError if it cannot be read."""
    try:
        anchor = msgspec.json.decode(path.read_bytes(), type=Anchor)
        whole = anchor.rows >= 0 and len(bytes.fromhex(anchor.head)) == len(GENESIS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read the ledger's anchor {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"the ledger's anchor {path} is not one ({error}): somebody changed it") from error
    if not whole:
        raise ConfigError(f"the ledger's anchor {path} names no row and hash: somebody changed it")
    return anchor


def write(path: Path, anchor: Anchor) -> None:
    """Replace the file in one step; durable on return. Raises OSError."""
    durable.replace(path, msgspec.json.encode(anchor) + b"\n")


def _mac(anchor: Anchor, key: bytes) -> str:
    said = f"{anchor.ledger} {anchor.rows} {anchor.head} {anchor.utc_ns}"
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
