"""Two PLCs that exist only as programs, for a station without one: they speak real Modbus TCP over a real socket.

`Conveyor` is a client of the station's server, as most PLCs are: it pulls the trigger coil for each part and reads the block
until the part's verdict is there. `PlcServer` is the other kind: the station writes its block into it, and polls its counter
of parts, its trigger bit and its encoder.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, DeviceError
from edgeapp.devices import register_map
from edgeapp.devices.cancellation import check_cancelled
from edgeapp.devices.modbus_server import TRIGGER_COIL

_HISTORY: Final = 100_000  # parts and writes that are kept for whoever looks
_SCAN_NS: Final = 1 * MS  # how often a PLC's program runs
_FULL_SCAN: Final = (
    20  # scans after which the block is read in any case: two verdicts between two scans leave the strobe as it was
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the PLC read about one of its parts."""

    part: int
    outcome: int
    reason: int
    took_ns: int
    """From pulling the trigger to having read the verdict's bit."""


@dataclass
class Conveyor:
    """A PLC with a conveyor, as a client of the station."""

    host: str
    port: int
    unit: int = 1
    wait_ns: int = 1000 * MS
    """A verdict that is not there after this is late, and the part goes to the reject bin."""

    seen: list[Seen] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    async def run(self, parts: int, period_ns: int) -> None:
        """Let so many parts pass, one a period. Raises DeviceError if the station does not answer."""
        from pymodbus.client import AsyncModbusTcpClient

        client: Any = AsyncModbusTcpClient(self.host, port=self.port, retries=0, reconnect_delay=0)
        if not await client.connect():
            raise DeviceError(f"the simulated PLC finds no station at {self.host}:{self.port}")
        try:
            began_ns = now_ns()
            last = (await self._block(client))[4:6]
            sequence = last[0] << 16 | last[1]
            for part in range(1, parts + 1):
                await sleep_until(began_ns + part * period_ns)
                pulled_ns = now_ns()
                await client.write_coil(TRIGGER_COIL, True, device_id=self.unit)
                await self._await_verdict(client, sequence + part, part, pulled_ns)
                await client.write_coil(TRIGGER_COIL, False, device_id=self.unit)
        finally:
            client.close()

    async def _await_verdict(self, client: Any, sequence: int, part: int, pulled_ns: int) -> None:
        while now_ns() < pulled_ns + self.wait_ns:
            bits = (await client.read_discrete_inputs(0, count=register_map.BITS, device_id=self.unit)).bits
            if bits[register_map.STROBE] == bool(sequence % 2):
                read_ns = now_ns()
                words = await self._block(client)
                if (words[4] << 16 | words[5]) == sequence:
                    self.seen.append(Seen(words[6] << 16 | words[7], words[8], words[9], read_ns - pulled_ns))
                    return
            await sleep_until(now_ns() + _SCAN_NS)
        self.late.append(part)

    async def _block(self, client: Any) -> list[int]:
        response = await client.read_input_registers(0, count=26, device_id=self.unit)
        words: list[int] = response.registers
        return words


@dataclass(frozen=True, slots=True)
class Read:
    """One verdict as a PLC found it."""

    sequence: int
    part: int
    outcome: int
    reason: int
    read_ns: int
    """When its bit was there."""


@dataclass
class Scanner:
    """A PLC that only reads: it scans the bits, and the block when the strobe has changed."""

    host: str
    port: int
    unit: int = 1
    period_ns: int = 5 * MS
    """From scan to scan, as a usual PLC's program."""

    read: list[Read] = field(default_factory=list)

    async def run(self) -> None:
        """Scan until cancelled. Raises DeviceError if the station does not answer."""
        from pymodbus.client import AsyncModbusTcpClient

        client: Any = AsyncModbusTcpClient(self.host, port=self.port, retries=0, reconnect_delay=0)
        if not await client.connect():
            raise DeviceError(f"the simulated PLC finds no station at {self.host}:{self.port}")
        try:
            last, scans = 0, 0
            while True:
                check_cancelled()
                bits = (await client.read_discrete_inputs(0, count=register_map.BITS, device_id=self.unit)).bits
                read_ns, scans = now_ns(), scans + 1
                if bits[register_map.STROBE] != bool(last % 2) or scans % _FULL_SCAN == 0:
                    last = await self._block(client, last, read_ns)
                await sleep_until(read_ns + self.period_ns)
        finally:
            client.close()

    async def _block(self, client: Any, last: int, read_ns: int) -> int:
        """Read every verdict after `last` that the ring still holds; returns the newest."""
        words = (await client.read_input_registers(0, count=register_map.WORDS, device_id=self.unit)).registers
        newest: int = words[4] << 16 | words[5]
        for sequence in range(max(last, newest - register_map.RING) + 1, newest + 1):
            high, low, outcome, reason = register_map.ring(words, sequence)
            self.read.append(Read(sequence, high << 16 | low, outcome, reason, read_ns))
        return newest


class PlcServer:
    """A PLC that the station writes into. Made by `plc_server`; set `parts`, `trigger` and `belt` as its program would."""

    def __init__(self) -> None:
        self.parts = 0
        """Holding register 200: counts parts, 16 bits."""

        self.belt = 0
        """Holding registers 202 and 203: the encoder, 32 bits."""

        self.trigger = False
        """Coil 64; the station clears it."""

        self.words: list[int] = [0] * register_map.WORDS
        """What the station wrote last, holding registers from 0."""

        self.reads = 0
        """How often it was polled."""

        self.coils: dict[int, bool] = {}
        """What the station wrote last."""

        self.history: deque[tuple[int, int, str]] = deque(maxlen=_HISTORY)
        """Each write: when, the sequence that the words spoke of then, `words` or the coils as `0:101000`."""

    async def access(
        self, function: int, _start: int, address: int, _count: int, registers: list[int], values: list[Any] | None
    ) -> Any:
        """Pymodbus calls this before each access."""
        self.reads += function < 5
        if function == 1:
            registers[4] = registers[4] & ~1 | self.trigger
        elif function == 3:
            registers[200], registers[202:204] = self.parts & 0xFFFF, [self.belt >> 16 & 0xFFFF, self.belt & 0xFFFF]
        elif function == 16 and values:
            self.words = list(values)
            self.history.append((now_ns(), self.sequence, "words"))
        elif function in {5, 15} and values:
            self.coils.update(dict(enumerate(map(bool, values), address)))
            self.history.append((now_ns(), self.sequence, f"{address}:{''.join(str(int(each)) for each in values)}"))
            if address == 64:
                self.trigger = bool(values[0])
        return None

    @property
    def sequence(self) -> int:
        """Of the last verdict in the words."""
        return self.words[4] << 16 | self.words[5]


@asynccontextmanager
async def plc_server(plc: PlcServer, port: int = 0) -> AsyncIterator[int]:
    """The PLC listens on loopback -> its port. Leaving is pulling its plug: every connection breaks."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    device = SimDevice(
        1,
        simdata=(
            [SimData(0, count=128, values=False, datatype=DataType.BITS)],
            [SimData(0, count=128, values=False, datatype=DataType.BITS)],
            [SimData(0, count=256, values=0, datatype=DataType.REGISTERS)],
            [SimData(0, count=256, values=0, datatype=DataType.REGISTERS)],
        ),
        action=plc.access,
    )
    server: Any = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()
        await asyncio.sleep(0)
