"""A Modbus TCP server: PLCs read the station's registers and bits, and may pull the trigger and tell the belt's count.

The block of `register_map` stands twice, as input registers (function 4) and as holding registers (function 3) from 0 on, and
its bits as discrete inputs (2) and coils (1); all of these can only be read. A PLC may write

    coil 16               trigger: a part is there, at each change from 0 to 1
    coil 17               acknowledge the alarm: write 1
    holding 128 and 129   the encoder's count, 32 bits, high word first, written with one request

Modbus has no passwords: bind it to the machine network only. (MODBUS Application Protocol Specification V1.1b3.)
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from edgeapp.core.clock import now_ns
from edgeapp.core.events import ConfigError
from edgeapp.devices import register_map
from edgeapp.devices.line_state import Judged, LineState

TRIGGER_COIL: Final = 16
ACKNOWLEDGE_COIL: Final = 17
ENCODER_WORD: Final = 128

_READ: Final = frozenset({1, 2, 3, 4})  # function codes


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 5020
    unit: int = 1
    """The unit identifier it answers to."""


class ModbusServer:
    """The registers that PLCs read. Made by `serve`; lives on one loop."""

    def __init__(
        self,
        *,
        on_trigger: Callable[[int], None] | None = None,
        on_encoder: Callable[[int, int], None] | None = None,
        on_acknowledge: Callable[[], None] | None = None,
    ) -> None:
        """`on_trigger` gets the time; `on_encoder` the raw count of 32 bits and the time."""
        self.unread = 0
        """Verdicts that left the ring of the last ones before any PLC had read the block."""

        self._on_trigger, self._on_encoder, self._on_acknowledge = on_trigger, on_encoder, on_acknowledge
        self._recent: deque[Judged] = deque(maxlen=register_map.RING)
        self._words = register_map.words(LineState(), ())
        self._bits = 0
        self._read_sequence = 0
        self._trigger = False

    def publish(self, state: LineState) -> None:
        """Show this state to whoever reads next. Called at each verdict and each change; takes some microseconds."""
        if state.last and (not self._recent or state.last.sequence != self._recent[-1].sequence):
            if len(self._recent) == register_map.RING and self._recent[0].sequence > self._read_sequence:
                self.unread += 1
            self._recent.append(state.last)
        self._words = register_map.words(state, self._recent)
        self._bits = sum(1 << n for n, bit in enumerate(register_map.bits(state)) if bit)

    async def access(
        self, function: int, _start: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> Any:
        """Pymodbus calls this before each access: fill in what is read, take what is written."""
        from pymodbus.constants import ExcCodes

        if function in _READ:
            if function <= 2:
                registers[0] = self._bits | registers[0] & ~((1 << 16) - 1)
            else:
                registers[: register_map.WORDS] = self._words
                if address <= 5 < address + count and self._recent:
                    self._read_sequence = self._recent[-1].sequence
            return None
        if function in {5, 15}:
            return self._coils(address, values or []) or None
        if function in {6, 16} and address == ENCODER_WORD and values and len(values) == 2:
            if self._on_encoder:
                self._on_encoder(values[0] << 16 | values[1], now_ns())
            return None
        return ExcCodes.ILLEGAL_ADDRESS

    def _coils(self, address: int, values: list[bool]) -> Any:
        from pymodbus.constants import ExcCodes

        if address < TRIGGER_COIL:
            return ExcCodes.ILLEGAL_ADDRESS
        for coil, value in enumerate(values, address):
            if coil == TRIGGER_COIL:
                pulled, self._trigger = value and not self._trigger, bool(value)
                if pulled and self._on_trigger:
                    self._on_trigger(now_ns())
            elif coil == ACKNOWLEDGE_COIL and value and self._on_acknowledge:
                self._on_acknowledge()
        return None


@asynccontextmanager
async def serve(options: Options, server: ModbusServer) -> AsyncIterator[int]:
    """Listen until the end of the block -> the port. Raises ConfigError without pymodbus or such a port."""
    try:
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice
    except ImportError as error:
        raise ConfigError("Modbus needs the package pymodbus: pip install 'edgeapp[station]'") from error
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a PLC's mistake is answered, not written to our stderr
    block = SimData(0, count=register_map.WORDS, values=0, datatype=DataType.REGISTERS, readonly=True)
    encoder = SimData(ENCODER_WORD, count=2, values=0, datatype=DataType.REGISTERS)
    device = SimDevice(
        options.unit,
        simdata=(
            [SimData(0, count=32, values=False, datatype=DataType.BITS)],
            [SimData(0, count=16, values=False, datatype=DataType.BITS)],
            [block, encoder],
            [block],
        ),
        action=server.access,
    )
    tcp: Any = ModbusTcpServer(device, address=(options.host, options.port))
    try:
        await tcp.serve_forever(background=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"Modbus cannot listen on {options.host} port {options.port}: another program has it, or a port below 1024 "
            "needs rights; change outputs.modbus.port"
        ) from error
    try:
        yield tcp.transport.sockets[0].getsockname()[1]
    finally:
        await tcp.shutdown()
