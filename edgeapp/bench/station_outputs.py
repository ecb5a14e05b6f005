"""What the line's side of the station costs by itself: from a trigger to its verdict's bit, with a detector that takes no time.

Three figures. `tell`: one verdict to every output that is switched on, on the loop. `edge_to_line`: from an edge at the (simulated)
chip to the PASS line, through trigger, reader and outputs. `coil_to_bit`: from a PLC's coil to the bit it reads, over a real
socket, with the PLC in a process of its own; beside it the round trip of a bare read, of which it takes two (pull, read). A
broker that is not there and a PLC that is written into, in a process of its own, run along, because they must cost nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from edgeapp import config as settings
from edgeapp.apps.line import Outputs
from edgeapp.apps.outputs import open_outputs
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Box, Outcome, Trigger, Verdict
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.observe.percentile import percentile

_EYE, _PASSED = 4, 10
_NOWHERE: Final = 9  # the discard port of loopback: nobody listens there
_PERIOD_NS: Final = 20 * MS  # 50 parts a second

_PLC: Final = """
import asyncio, json, sys, time
from edgeapp.devices.plc_sim import Conveyor
async def main():
    from pymodbus.client import AsyncModbusTcpClient
    port, parts, period_ns = map(int, sys.argv[1:])
    plc = Conveyor("127.0.0.1", port)
    await plc.run(parts, period_ns)
    client, trips = AsyncModbusTcpClient("127.0.0.1", port=port), []
    await client.connect()
    for _ in range(parts):
        began = time.perf_counter_ns()
        await client.read_discrete_inputs(0, count=6, device_id=1)
        trips.append(time.perf_counter_ns() - began)
    client.close()
    print(json.dumps({"took": [each.took_ns for each in plc.seen], "late": len(plc.late), "trips": trips}))
asyncio.run(main())
"""

_WRITTEN: Final = """
import asyncio
from edgeapp.devices.plc_sim import PlcServer, plc_server
async def main():
    async with plc_server(PlcServer()) as port:
        print(port, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def _written_plc() -> AsyncIterator[int]:
    """A PLC that the station writes into -> its port. Here it would take the loop from the one that reads."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _WRITTEN, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


def _config(folder: Path, plc_port: int, trigger: str) -> settings.Config:
    return settings.Config(
        vision=settings.Vision(trigger=settings.Trigger(source=trigger, line=_EYE, debounce_ms=0, hold_off_ms=0)),  # type: ignore[arg-type]
        outputs=settings.Outputs(
            modbus=settings.ModbusOutput(serve=True, port=0, plc_host="127.0.0.1", plc_port=plc_port),
            mqtt=settings.MqttOutput(host="127.0.0.1", port=_NOWHERE, outbox=str(folder / f"{trigger}.sqlite")),
            gpio=settings.GpioOutput(chip="simulated", passed=_PASSED, pulse_ms=5),
            reject=settings.RejectOutput(by="time", line=12),
        ),
    )


def _pass(trigger: Trigger) -> Verdict:
    box = Box(10, 10, 200, 200, "washer", 0.9)
    return Verdict(
        Outcome.PASS, "washer, sound", "belt", trigger.number, trigger.at_ns, now_ns(), trigger.at_ns + 200 * MS, (box,)
    )


@asynccontextmanager
async def _line(config: settings.Config, took_ns: list[int]) -> AsyncIterator[Outputs]:
    """The line with an inspection that passes everything at once; `took_ns` gets the time to tell one verdict."""
    async with AsyncExitStack() as stack:
        line = await open_outputs(config, Parts(stack, lambda _: None))
        assert line.triggers
        triggers = line.triggers

        async def judge() -> None:
            async for trigger in triggers:
                line.triggered(trigger)
                verdict = _pass(trigger)
                began_ns = time.perf_counter_ns()
                line(verdict)
                took_ns.append(time.perf_counter_ns() - began_ns)

        judging = asyncio.create_task(judge())
        try:
            yield line
        finally:
            judging.cancel()
            await asyncio.wait({judging})


async def station_outputs(parts: int = 500) -> dict[str, Any]:
    """Measure with so many parts a figure -> min, p50, p99 and max of each, in the unit of its name."""
    tell_ns: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        async with _written_plc() as plc_port:
            edge_ns = await _edges(_config(Path(name), plc_port, "gpio"), parts, tell_ns)
            seen = await _coils(_config(Path(name), plc_port, "modbus"), parts, tell_ns)
    return {
        "bench": "station outputs",
        "parts": parts,
        "tell_us": _summary(tell_ns, 1e3),
        "edge_to_line_us": _summary(edge_ns, 1e3),
        "coil_to_bit_ms": _summary(seen["took"], 1e6),
        "bare_read_ms": _summary(seen["trips"], 1e6),
        "late": seen["late"],
    }


async def _edges(config: settings.Config, parts: int, tell_ns: list[int]) -> list[int]:
    took_ns = []
    async with _line(config, tell_ns) as line:
        chip = line.chip
        assert isinstance(chip, SimulatedChip)
        for _ in range(parts):
            began_ns = now_ns()
            chip.set(_EYE, True)
            while not chip.level[_PASSED]:
                await asyncio.sleep(0)
            took_ns.append(now_ns() - began_ns)
            chip.set(_EYE, False)
            await asyncio.sleep(_PERIOD_NS / 1e9)
    return took_ns


async def _coils(config: settings.Config, parts: int, tell_ns: list[int]) -> dict[str, Any]:
    async with _line(config, tell_ns) as line:
        arguments = [str(line.modbus_port), str(parts), str(_PERIOD_NS)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PLC, *arguments, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(said)
    return seen


def _summary(values_ns: list[int], unit_ns: float) -> dict[str, float]:
    return {
        "min": round(min(values_ns) / unit_ns, 2),
        "p50": round(percentile(values_ns, 50) / unit_ns, 2),
        "p99": round(percentile(values_ns, 99) / unit_ns, 2),
        "max": round(max(values_ns) / unit_ns, 2),
    }
