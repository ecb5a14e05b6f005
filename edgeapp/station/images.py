"""Pictures as evidence: which are kept, under which name, and how they come and go.

Kept are all pictures of parts that failed or were not inspected, and a seeded sample of those that passed. A picture is a
file named by the sha256 of its bytes, written and fsynced before its row: a row never names a picture that was not there.
One that goes, because the quota is reached, is taken out of the ledger by a row first and deleted then. A cut between the two
steps leaves a file that no row names; it is swept at the next start.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeapp.core.durable import sync_folder
from edgeapp.core.events import Outcome, Verdict

SUFFIX: Final = ".jpg"
_BLOCK_BYTES: Final = 4_096  # of the usual file systems
_NAME: Final = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True)
class Policy:
    """Which pictures are kept."""

    pass_share: float = 0.02
    """Of the parts that passed, 0 to 1."""

    quota_bytes: int = 2_000_000_000
    """All pictures together; the oldest passes go first, then the oldest not inspected, then the oldest fails."""

    seed: int = 1


def wanted(policy: Policy, verdict: Verdict) -> bool:
    """Is this part's picture kept? The same seed and the same part give the same answer, wherever it is asked."""
    if verdict.outcome is not Outcome.PASS:
        return True
    said = f"{policy.seed} {verdict.source} {verdict.frame_number} {verdict.at_ns}"
    draw = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big")
    return draw < policy.pass_share * 2**64


def size_on_disk(data: bytes) -> int:
    """What a picture takes: whole blocks."""
    return -(-len(data) // _BLOCK_BYTES) * _BLOCK_BYTES


def name_of(data: bytes) -> str:
    """The name of a picture's file."""
    return hashlib.sha256(data).hexdigest() + SUFFIX


def path_in(folder: Path, name: str) -> Path:
    """Where a picture lies in the folder of pictures: 256 folders keep each one short."""
    return folder / name[:2] / name


class Images:
    """The folder of pictures. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError if the folder cannot be made."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(256):
            (folder / f"{number:02x}").mkdir(exist_ok=True)
        sync_folder(folder)

    def write(self, data: bytes) -> str:
        """Keep a picture; durable on return. Returns its name. Raises OSError, and leaves nothing behind then."""
        name = name_of(data)
        path = path_in(self._folder, name)
        if path.is_file() and path.stat().st_size == len(data):
            return name
        try:
            # Under its own name at once: until its row is there it is a stray, whole or not, and strays are swept. Renaming
            # would cost one more commit of the file system's journal.
            with path.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return name

    def remove(self, name: str) -> None:
        """Delete a picture; one that is gone already is not missed. Raises OSError."""
        path_in(self._folder, name).unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> int:
        """Delete our files that no row names; returns how many. Raises OSError."""
        strays = [path for path in self._files() if path.name not in known]
        for path in strays:
            path.unlink(missing_ok=True)
        return len(strays)

    def _files(self) -> Iterator[Path]:
        """What looks like a picture of ours, whole or begun; anything else somebody put there stays."""
        for number in range(256):
            for path in (self._folder / f"{number:02x}").iterdir():
                if _NAME.fullmatch(path.name):
                    yield path


def wrong_with(path: Path) -> str:
    """What is wrong with a kept picture; empty if nothing is. The name says what the bytes must be."""
    try:
        return "" if name_of(path.read_bytes()) == path.name else "has other bytes"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
