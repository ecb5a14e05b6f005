"""A station that is killed again and again: the real wiring, ledger and disk, a scripted camera and detector.

As a script: one JSON object a line comes in ({"folder", "parts", "seed", "lives"}); so many lives are forked one after the other, and
each but the last is killed (SIGKILL) wherever it is. Each life pulls triggers and says on a pipe, at once, what happened: `T number`
a trigger was pulled, `V number outcome` the line was told, `A number seq hash` the row was acknowledged. One line goes out: what
was said, by life.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.inspection import Sight
from edgeapp.apps.qc import Line
from edgeapp.apps.rules import OpenedRule, rule_of
from edgeapp.apps.station import QcStation, open_station
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.clock import now_ns
from edgeapp.core.events import BackendError, Box, CameraFrame, Detections, DeviceError, TimestampKind
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.devices.plc_sim import PlcServer, plc_server

EYE: Final = 4
SOURCE: Final = "belt"
_PIXELS: Final = np.full((8, 8, 3), 128, np.uint8)
_FREE_PORT: Final = 9  # the discard port of loopback: nobody listens there


def truth(number: int, seed: int) -> str:
    """What part `number` is, whenever it is looked at: `good`, or a defect."""
    draw = random.Random(f"{seed} {number}").random()
    return "good" if draw < 0.8 else "scratch" if draw < 0.9 else "dent"


class World:
    """Camera, detector, disk and network of one life, each with its own bad days."""

    def __init__(self, seed: int, life: int) -> None:
        self.seed = seed
        self.chance = random.Random(f"{seed} life {life}")
        self.frames: asyncio.Queue[CameraFrame | None] = asyncio.Queue()
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[CameraFrame]:
        """The camera's frames until somebody pulls the cable; the next iteration goes on."""
        while True:
            frame = await self.frames.get()
            if frame is None:
                raise DeviceError("the camera is gone: check its cable")
            yield frame

    def expose(self) -> None:
        """Take a picture of the part at the trigger, unless the camera has a bad moment."""
        draw = self.chance.random()
        self.taken += 1
        if draw < 0.01 and self.taken > 1:  # one that never gave a picture is the operator's
            self.frames.put_nowait(None)
        elif draw > 0.03 or self.taken == 1:
            at_ns = now_ns()
            self.frames.put_nowait(CameraFrame(_PIXELS, at_ns, self.taken, SOURCE, TimestampKind.KERNEL))

    async def detect(self, frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        """What the part is; or late, or never, or the network is cut."""
        del of
        draw = self.chance.random()
        if draw < 0.02:
            raise BackendError("the near edge is gone: its network is cut")
        if draw < 0.022:
            await asyncio.sleep(1.0)
        elif draw < 0.1:
            await asyncio.sleep(self.chance.random() / 100)
        boxes = [Box(1, 1, 7, 7, "washer", 0.9)]
        if (kind := truth(frame.number, self.seed)) != "good":
            boxes.append(Box(2, 2, 4, 4, kind, 0.8))
        return Detections(frame.number, tuple(boxes), "0123456789ab")

    async def disk(self) -> None:
        """Now and then the disk takes nothing: the kernel refuses to let any file grow beyond its first blocks, as a full one does."""
        while True:
            await asyncio.sleep(self.chance.expovariate(0.2))
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    async def stalls(self) -> None:
        """Now and then the whole process stands still."""
        while True:
            await asyncio.sleep(self.chance.expovariate(2))
            time.sleep(self.chance.choice([0.01, 0.05, 0.25]))  # noqa: ASYNC251 - that is what is tested

    async def network(self, port: int) -> None:
        """A PLC whose cable is pulled now and then."""
        while True:
            with suppress(OSError, RuntimeError):
                async with plc_server(PlcServer(), port):
                    await asyncio.sleep(self.chance.uniform(0.1, 0.5))
            await asyncio.sleep(self.chance.uniform(0.05, 0.3))


def _config(folder: Path, world: World) -> tuple[settings.Config, int]:
    """The station's configuration in this life, and the port of its PLC."""
    plc = world.chance.random() < 0.25
    port = 20_000 + os.getpid() % 20_000
    modbus = settings.ModbusOutput(plc_host="127.0.0.1" if plc else "", plc_port=port)
    away = world.chance.random() < 0.25
    mqtt = settings.MqttOutput(host="127.0.0.1" if away else "", port=_FREE_PORT, outbox=str(folder / "outbox.sqlite"))
    config = settings.Config(
        app="qc",
        vision=settings.Vision(trigger=settings.Trigger(source="gpio", line=EYE, debounce_ms=0, hold_off_ms=0)),
        outputs=settings.Outputs(
            gpio=settings.GpioOutput(chip="simulated", passed=10),
            modbus=modbus,
            mqtt=mqtt,
            reject=settings.RejectOutput(by="time", line=12, parts_between=100),
        ),
        station=settings.Station(folder=str(folder), record_ms=50, point_parts=0),
    )
    return config, port if plc else 0


async def live(folder: Path, parts: int, seed: int, life: int, say: Any) -> None:
    """One life: pull triggers until the part `parts` has come."""
    world = World(seed, life)
    config, port = _config(folder, world)
    async with AsyncExitStack() as stack:
        placements = Placements()
        wired = Parts(stack, sink_of(config.records, stack, placements))
        line = await open_station(config, wired, placements, SOURCE)
        line.on_told.append(lambda verdict: say(f"V {verdict.frame_number} {verdict.outcome}\n"))
        _say_acknowledgements(line, say)
        rule = OpenedRule(rule_of(settings.Rule()))
        sight = Sight(world.detect, rule, camera=SOURCE, model="0123456789ab", probe=lambda: None)
        tasks = [asyncio.create_task(each) for each in (world.disk(), world.stalls())]
        if port:
            tasks.append(asyncio.create_task(world.network(port)))
        seeing = asyncio.create_task(Line(config, wired, sight, line, None).run(world))
        try:
            await _run_belt(line, world, parts, say)
            if seeing.done():
                seeing.result()
        finally:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            for task in (seeing, *tasks):
                task.cancel()
            await asyncio.wait({seeing, *tasks})
    say("E\n")


async def _run_belt(line: QcStation, world: World, parts: int, say: Any) -> None:
    chip = line.outputs.chip
    assert isinstance(chip, SimulatedChip)
    number = line.number
    while number < parts:
        for _ in range(
            world.chance.choice([1] * 30 + [2, 2, 3, 4, 30])
        ):  # the line is sometimes faster than the inspection
            number += 1
            chip.set(EYE, True)
            say(f"T {number}\n")
            world.expose()
            chip.set(EYE, False)
        await asyncio.sleep(world.chance.choice([0, 0, 0.001, 0.002]))
    await asyncio.sleep(0.3)  # the last ones get their verdicts


def _say_acknowledgements(line: QcStation, say: Any) -> None:
    """Hear what the ledger acknowledges, as whoever submits does."""
    assert line.ledger
    submit = line.ledger.submit

    def heard(evidence: Any, *more: Any) -> Any:
        written = submit(evidence, *more)
        number = evidence.verdict.frame_number

        def acknowledged(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and not done.exception():
                say(f"A {number} {done.result().seq} {done.result().hash}\n")

        written.add_done_callback(acknowledged)
        return written

    line.ledger.submit = heard  # type: ignore[method-assign,assignment]


def one_life(folder: Path, parts: int, seed: int, life: int, *, last: bool) -> list[str]:
    """Fork, let it live, kill it; what it said until then."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(reader)
        try:
            asyncio.run(live(folder, parts, seed, life, lambda text: os.write(writer, text.encode())))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exception(error)
            os._exit(3)
    os.close(writer)
    chance = random.Random(f"{seed} death {life}")
    with os.fdopen(reader, "r") as stream:
        said = []
        if not last:
            until = chance.choice([0, chance.randint(1, 200), chance.randint(1, 4_000)])
            if not until:
                time.sleep(chance.random() / 5)
            said = [line for _, line in zip(range(until), stream, strict=False)]
            os.kill(child, signal.SIGKILL)
        said += [line for line in stream if line.endswith("\n")]
    os.waitpid(child, 0)
    return [line.strip() for line in said]


def main() -> None:
    """Until the input ends."""
    for text in sys.stdin:
        wish = json.loads(text)
        folder, parts = Path(wish["folder"]), wish["parts"]
        lives: list[list[str]] = []
        while not lives or lives[-1][-1:] != ["E"]:
            last = len(lives) >= wish["lives"]
            lives.append(one_life(folder, parts, wish["seed"], len(lives), last=last))
            if last and lives[-1][-1:] != ["E"]:
                break
        lives.append(
            one_life(folder, 0, wish["seed"], len(lives), last=True)
        )  # what the last one left gets its verdicts
        print(json.dumps(lives), flush=True)


if __name__ == "__main__":
    main()
