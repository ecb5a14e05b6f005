"""A disk that is really full: `full_disk.py DIR`, in a mount namespace of its own, with a small file system mounted on DIR.

Records until the disk refuses, and beyond, then makes room. Prints what the station was told, and what became of the
verdicts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from ledger_world import evidence

from edgeapp.core.events import Outcome
from edgeapp.station import ledger as module
from edgeapp.station.audit import verify
from edgeapp.station.images import Policy
from edgeapp.station.store import open_reading


def fill(filler: Path) -> None:
    """Leave no block free."""
    with filler.open("ab", buffering=0) as stream:
        for size in (65_536, 512, 1):
            while True:
                try:
                    if not stream.write(bytes(size)):
                        break
                except OSError:
                    break


async def main(place: Path) -> None:
    told: list[str] = []
    refusal, relief = asyncio.Event(), asyncio.Event()

    def alarm(what: str) -> None:
        told.append(what)
        if "wait" in what and "refuses" in what:
            refusal.set()
        if "takes verdicts again" in what:
            relief.set()

    module.WAITING_MAX = 500  # type: ignore[misc] # small, so that it fills
    folder, filler = place / "ledger", place / "filler"
    async with module.open_ledger(folder, alarm=alarm, policy=Policy(quota_bytes=1 << 20)) as ledger:
        before = [await ledger.record(evidence(n)) for n in range(50)]
        fill(filler)
        waiting = []
        for n in range(50, 100_000):  # the log's own zeros are used up first
            waiting.append(ledger.submit(evidence(n, Outcome.FAIL, ("dent",)), lambda: bytes(5_000)))
            if n % 50 == 0:
                await asyncio.sleep(0)
            if refusal.is_set() and ledger.refused >= 20:
                break
            if not refusal.is_set() and n % 400 == 0:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        trouble = ledger.trouble
        refused = sum(each.done() and each.exception() is not None for each in waiting)
        filler.unlink()
        await asyncio.wait_for(relief.wait(), 30)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        receipts = before + [each for each in answers if isinstance(each, module.Receipt)]
    database = open_reading(folder)
    there = {(seq, digest) for seq, digest in database.execute("SELECT seq, lower(hex(hash)) FROM entries")}
    query = (
        "SELECT sum(json_extract(body, '$.verdicts')) FROM entries WHERE json_extract(body, '$.kind') = 'unrecorded'"
    )
    (unrecorded,) = database.execute(query).fetchone()
    lost_pictures = database.execute("SELECT count(*) FROM verdicts WHERE image_lost != ''").fetchone()[0]
    found = verify(folder, images=True)
    result = {
        "told": told, "trouble": trouble, "submitted": len(waiting), "refused": refused, "counted": ledger.refused,
        "unrecorded": unrecorded, "acknowledged": len(receipts), "wrong": found.wrong,
        "lost": sum((each.seq, each.hash) not in there for each in receipts), "lost_pictures": lost_pictures,
        "verdicts": found.verdicts,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
