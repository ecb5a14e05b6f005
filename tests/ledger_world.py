"""Verdicts for the ledger's tests, and a process that records them until it is killed.

As a script: one JSON object a line comes in ({"folder", "acks", "seed", "careless"}); a child opens the ledger and records without
end, and is killed (SIGKILL) when so many acknowledgements were read from it: wherever it is then. One line goes out: what
was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from edgeapp.core.events import Box, Outcome, Verdict
from edgeapp.station.evidence import Evidence
from edgeapp.station.images import Policy
from edgeapp.station.ledger import Ledger, open_ledger

POLICY = Policy(pass_share=0.1, quota_bytes=400_000, seed=3)
_CAMERAS = 9  # verdicts that wait at once


def evidence(
    n: int, outcome: Outcome = Outcome.PASS, causes: tuple[str, ...] = (), *, source: str = "belt", **more: Any
) -> Evidence:
    """The verdict on part `n`."""
    boxes = (
        Box(10.0, 12.5, 52.0, 50.0, "washer", 0.91),
        *(Box(20.0, 20.0, 30.0, 31.0, cause, 0.7) for cause in causes),
    )
    verdict = Verdict(outcome, "as told", source, n, n * 1000, n * 1000 + 61, n * 1000 + 200, boxes, "0123456789ab")
    more = {"rule": "7", "frame_sha256": f"{n:064x}", "part_type": "washer", "serial": f"S{n}"} | more
    return Evidence(verdict, causes, **more)


async def record_without_end(folder: Path, seed: int, say: Any, *, careless: bool = False) -> None:
    """Record; say each acknowledgement as soon as it comes."""
    chance = random.Random(seed)

    async def camera(ledger: Ledger, number: int) -> None:
        for n in range(1_000_000):
            outcome = chance.choice([Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED])
            causes = {"PASS": (), "FAIL": ("dent", "scratch"), "NOT_INSPECTED": ("late",)}[outcome]
            one = evidence(n, outcome, causes, source=f"{number}")
            picture = chance.randbytes(chance.randint(1, 9_000))
            receipt = await ledger.record(one, lambda picture=picture: picture)  # type: ignore[misc]
            say(f"{receipt.seq} {receipt.hash} {receipt.image or '-'}\n")
            await asyncio.sleep(0)

    async with open_ledger(folder, policy=POLICY, station="driven") as ledger:
        if careless:
            ledger._store._sql.execute("PRAGMA synchronous=OFF")
        say("open\n")
        await asyncio.gather(*(camera(ledger, number) for number in range(_CAMERAS)))


def acknowledged(reader: Any, acks: int) -> list[str]:
    """So many lines of a child, the first of which says that the ledger is open; no more than come."""
    lines = [line for _, line in zip(range(acks + 1), reader, strict=False)]
    return [line.strip() for line in lines[1:]]


def spawn(folder: Path, seed: int, *, careless: bool = False) -> tuple[int, Any]:
    """A child that records, and the stream of what it says."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        try:
            asyncio.run(
                record_without_end(folder, seed, lambda text: os.write(writer, text.encode()), careless=careless)
            )
        finally:
            os._exit(3)
    os.close(writer)
    return child, os.fdopen(reader, "r")


def main() -> None:
    """Until the input ends."""
    for line in sys.stdin:
        wish = json.loads(line)
        child, stream = spawn(Path(wish["folder"]), wish["seed"])
        with stream:
            acks = acknowledged(stream, wish["acks"]) if wish["acks"] >= 0 else []
            os.kill(child, signal.SIGKILL)
            acks += [
                line.strip() for line in stream if line.endswith("\n") and line != "open\n"
            ]  # said, and not yet read
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "acks": acks}), flush=True)


if __name__ == "__main__":
    main()
