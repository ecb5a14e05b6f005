"""A free-running camera over a belt whose station is killed again and again: the real wiring, ledger and disk, a scripted detector.

As a script, FOLDER SEED LIVES: so many lives are forked one after the other; each but the last is killed (SIGKILL) wherever it is. On
a pipe each says at once what happened: `C number` a part is sure to be there, `V number outcome` the line was told; what was said is
printed, one JSON list a life.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import numpy as np

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.inspection import Sight
from edgeapp.apps.qc import Line
from edgeapp.apps.rules import OpenedRule, rule_of
from edgeapp.apps.station import open_station
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.clock import now_ns
from edgeapp.core.events import Box, CameraFrame, Detections, TimestampKind

SIDE_PX: Final = 200
STEP_PX: Final = 10
"""From frame to frame; a part passes the line in its 17th."""

APART_PX: Final = 90
PERIOD_S: Final = 0.004
PARTS: Final = 12
"""Of one life that is not killed."""


async def _frames() -> AsyncIterator[CameraFrame]:
    for number in range(1, (PARTS * APART_PX + SIDE_PX) // STEP_PX):
        await asyncio.sleep(PERIOD_S)
        yield CameraFrame(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), now_ns(), number, "belt", TimestampKind.KERNEL)


async def _detect(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
    """Every fifth part has a scratch."""
    del due_ns, of
    boxes = []
    for part in range(PARTS):
        x = frame.number * STEP_PX - part * APART_PX
        if 0 <= x <= SIDE_PX:
            boxes.append(Box(x - 20, 80, x + 20, 120, "washer", 0.9))
            boxes += [Box(x - 5, 90, x + 5, 96, "scratch", 0.8)] if part % 5 == 4 else []
    return Detections(frame.number, tuple(boxes), "0123456789ab")


async def live(folder: Path, say: Callable[[str], None]) -> None:
    """One life, from the empty belt on."""
    config = settings.Config(
        app="qc",
        vision=settings.Vision(capture=settings.Capture(policy="tracks")),
        station=settings.Station(folder=str(folder), record_ms=50, point_parts=0),
    )
    async with AsyncExitStack() as stack:
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, placements))
        booth = await open_station(config, parts, placements, "belt")
        booth.on_came.append(lambda trigger: say(f"C {trigger.number}\n"))
        booth.on_told.append(lambda verdict: say(f"V {verdict.frame_number} {verdict.outcome}\n"))
        rule = OpenedRule(rule_of(settings.Rule()))
        sight = Sight(_detect, rule, camera="belt", model="0123456789ab", probe=lambda: None)
        await Line(config, parts, sight, booth, None).run(_frames())
    say("E\n")


def one_life(folder: Path, words: int | None) -> list[str]:
    """Fork, let it live until it has said so much, kill it; what it said."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        try:

            def say(text: str) -> None:
                os.write(writer, text.encode())

            asyncio.run(live(folder, say))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exception(error)
            os._exit(3)
    os.close(writer)
    with os.fdopen(reader, "r") as stream:
        said = [line for _, line in zip(range(words), stream, strict=False)] if words is not None else list(stream)
        if words is not None:
            os.kill(child, signal.SIGKILL)
            said += [line for line in stream if line.endswith("\n")]
    os.waitpid(child, 0)
    return [line.strip() for line in said]


def main() -> None:
    """As many lives as were asked for."""
    folder, seed, lives = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    for life in range(lives):
        words = chance.randint(1, 2 * PARTS) if life < lives - 1 else None
        print(json.dumps(one_life(folder, words)), flush=True)


if __name__ == "__main__":
    main()
