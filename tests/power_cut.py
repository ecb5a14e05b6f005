"""Power cuts on a file system of our own: `power_cut.py CUTS SEED CARELESS`, as root in a mount namespace of its own.

A child records on an ext4 file system that lies in a file. When so many acknowledgements were read it is stopped, and the
file is copied: it holds what reached the disk, and nothing that only lies in the kernel's memory. The copy is mounted as after a
power cut, its journal replayed, and every acknowledged row must be in the ledger there. CARELESS=1 takes SQLite's fsync away.
Prints how many rows were acknowledged and how many of them were lost.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from ledger_world import acknowledged, spawn

from edgeapp.core.events import ConfigError
from edgeapp.station.audit import verify
from edgeapp.station.store import Store, open_reading

_SIZE = 24 << 20


def cut(place: Path, acks: int, seed: int, *, careless: bool) -> tuple[int, int]:
    """One power cut; rows acknowledged, and lost."""
    disk, copy, mounted = place / "disk", place / "copy", place / "mounted"
    disk.write_bytes(bytes(_SIZE))
    mounted.mkdir(exist_ok=True)
    _run("mkfs.ext4", "-q", "-F", disk)
    _run("mount", "-o", "loop", disk, mounted)
    try:
        child, stream = spawn(mounted / "ledger", seed, careless=careless)
        with stream:
            said = acknowledged(stream, acks)
            os.kill(child, signal.SIGSTOP)
            _still_copy(disk, copy)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    finally:
        _run("umount", mounted)
    _run("mount", "-o", "loop", copy, mounted)
    try:
        return len(said), _lost(mounted / "ledger", said)
    finally:
        _run("umount", mounted)


def _still_copy(disk: Path, copy: Path) -> None:
    """Copy until two copies are the same: nothing was written meanwhile."""
    shutil.copyfile(disk, copy)
    for _ in range(20):
        if copy.read_bytes() == disk.read_bytes():
            return
        shutil.copyfile(disk, copy)
    raise SystemExit("the disk does not come to rest")


def _lost(ledger: Path, said: list[str]) -> int:
    """How many acknowledged rows, or their pictures, are not there as they were said."""
    try:
        Store(ledger).close()
        found = verify(ledger, images=True)
        if not found.ok:
            return len(said)
        database = open_reading(ledger)
    except ConfigError:
        return len(said)
    there = {f"{seq} {digest}" for seq, digest in database.execute("SELECT seq, lower(hex(hash)) FROM entries")}
    database.close()
    return sum(line.rpartition(" ")[0] not in there for line in said)


def _run(*command: str | Path) -> None:
    subprocess.run([str(each) for each in command], check=True, capture_output=True, timeout=60)


def main() -> None:
    cuts, seed, careless = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
    chance = random.Random(seed)
    acks = lost = 0
    with tempfile.TemporaryDirectory() as place:
        for number in range(cuts):
            more, gone = cut(Path(place), chance.randint(1, 120), seed + number, careless=careless)
            acks, lost = acks + more, lost + gone
    print(json.dumps({"acks": acks, "lost": lost}))


if __name__ == "__main__":
    main()
