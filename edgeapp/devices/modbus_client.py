"""Modbus TCP the other way: the PLC is the server, and the station writes its verdicts into it and polls its triggers.

Writer: while the PLC is there, every verdict is written in order, words first, then bits. When it was away, the state as it
is now is written first of all; verdicts of the outage are not replayed, because a coil that speaks of a part that is gone
rejects the wrong one. The counters and the ring of the last verdicts hold what happened, and `skipped` says how many.

Poller: a part is a bit that rises (and is cleared again if it is a coil, so that none is lost), or a counter that counts. Times
are those of the poll before, so a due time is never later than the truth. The two use a connection each: a poll never stands
before a verdict.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import msgspec

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import ConfigError, DeviceError
from edgeapp.devices import register_map
from edgeapp.devices.cancellation import check_cancelled
from edgeapp.devices.encoder import Encoder, Unwrap
from edgeapp.devices.line_state import Judged, LineState
from edgeapp.devices.triggers import Triggers

_FIRST_PAUSE_S: Final = 0.1  # between two attempts to connect; doubles
_LONGEST_PAUSE_S: Final = 5.0
_QUEUE: Final = 64  # verdicts that may wait for a slow PLC: 2 s of a line of 30 parts a second, 60 kB
_IDLE_S: Final = 2.0  # without a verdict the same state is written so often: a PLC that lost its power is noticed
_FAREWELL_S: Final = 0.5  # for what waits when the station is stopped
_CHUNK: Final = 64  # missed parts that are reported in one go before the loop may do something else


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which PLC, and where in it."""

    host: str
    port: int = 502
    unit: int = 1
    timeout_ms: float = 500.0
    """Without an answer for this long the PLC counts as gone."""

    word: int = 0
    """Holding register where the block of `register_map` begins in the PLC."""

    coil: int = 0
    """Coil where its bits begin."""


@asynccontextmanager
async def _connected(options: Options) -> AsyncIterator[Any]:
    """A connected client. Raises DeviceError if there is none, ConfigError without pymodbus."""
    try:
        from pymodbus.client import AsyncModbusTcpClient
    except ImportError as error:
        raise ConfigError("Modbus needs the package pymodbus: pip install 'edgeapp[station]'") from error
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # what goes wrong is raised, told once, and counted
    client: Any = AsyncModbusTcpClient(
        options.host, port=options.port, timeout=options.timeout_ms / 1e3, retries=0, reconnect_delay=0
    )
    try:
        if not await client.connect():
            raise DeviceError(f"the PLC at {options.host}:{options.port} does not answer: check its cable and address")
        yield client
    finally:
        client.close()


async def _ask(options: Options, what: str, request: Callable[..., Awaitable[Any]], *args: Any, **more: Any) -> Any:
    """The PLC's answer to a request of the client. Raises DeviceError; `what` is named if the PLC refuses it."""
    from pymodbus.exceptions import ModbusException

    try:  # a connection that is closed already fails in the call, before there is anything to wait for
        response = await request(*args, **more, device_id=options.unit)
    except (ModbusException, OSError, TimeoutError) as error:
        raise DeviceError(f"the PLC at {options.host}:{options.port} is gone: check its cable and address") from error
    if response.isError():
        raise DeviceError(
            f"the PLC at {options.host} refuses {what} (exception {response.exception_code}): "
            "check the unit and the addresses in outputs.modbus and vision.trigger"
        )
    return response


_Use = Callable[[Any, Callable[[], None]], Awaitable[None]]


async def _keep(options: Options, use: _Use, on_change: Callable[[DeviceError | None], None]) -> None:
    """Connect, use, and connect again with growing pauses, until cancelled.

    `use` gets the client and what it calls once the PLC has taken something. `on_change` is told of each loss and return.
    """
    pause_s, working = _FIRST_PAUSE_S, True

    def works() -> None:
        nonlocal pause_s, working
        pause_s, working = _FIRST_PAUSE_S, True
        on_change(None)

    while True:
        check_cancelled()
        try:
            async with _connected(options) as client:
                await use(client, works)
        except DeviceError as error:
            if working:
                on_change(error)
            working = False
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class PlcWriter:
    """Writes the station's block into a PLC. `publish` and `coil` never wait; `run` in a task of its own."""

    def __init__(self, options: Options, on_change: Callable[[DeviceError | None], None]) -> None:
        """`on_change` is told when the PLC is lost (why) and when it is back (None)."""
        self.skipped = 0
        """Verdicts that were not written one by one, because the PLC was away or slow; they are in its counters."""

        self.connected = False
        self._options, self._on_change = options, on_change
        self._recent: deque[Judged] = deque(maxlen=register_map.RING)
        self._waiting: deque[tuple[list[int], list[bool], bool]] = deque()  # at most _QUEUE
        self._now = (register_map.words(LineState(), ()), register_map.bits(LineState()))
        self._coils: dict[int, bool] = {}
        self._due: dict[int, bool] = {}
        self._changed = asyncio.Event()

    def publish(self, state: LineState) -> None:
        """Write this state when its turn comes."""
        judged = bool(state.last and (not self._recent or state.last.sequence != self._recent[-1].sequence))
        if judged and state.last:
            self._recent.append(state.last)
        self._now = (register_map.words(state, self._recent), register_map.bits(state))
        if not self.connected:
            self.skipped += judged
            return
        if len(self._waiting) == _QUEUE:
            self.skipped += self._waiting.popleft()[2]
        self._waiting.append((*self._now, judged))
        self._changed.set()

    def coil(self, address: int, active: bool) -> None:
        """Set another coil, before anything that waits; only its newest value counts.

        A PLC that was away finds it reset when it is back: what it was for has passed. Raises DeviceError if it is to be set
        while there is no PLC.
        """
        self._coils[address] = active and self.connected
        if active and not self.connected:
            raise DeviceError(f"the PLC at {self._options.host} is gone: its coil {address} was not set")
        self._due[address] = active
        self._changed.set()

    async def run(self) -> None:
        """Keep the PLC up to date until cancelled."""
        await _keep(self._options, self._write, self._on_change)

    async def _write(self, client: Any, works: Callable[[], None]) -> None:
        try:
            self.skipped += sum(judged for *_, judged in self._waiting)
            self._waiting.clear()
            self._due = dict.fromkeys(self._coils, False)
            self.connected = True
            await self._state(client, *self._now)
            works()
            while True:
                self._changed.clear()
                await self._drain(client)
                check_cancelled()
                try:
                    async with asyncio.timeout(_IDLE_S):
                        await self._changed.wait()
                except TimeoutError:
                    await self._state(client, *self._now)
        except asyncio.CancelledError:
            with suppress(TimeoutError, DeviceError):  # a PLC that is there learns that the station stops
                async with asyncio.timeout(_FAREWELL_S):
                    await self._drain(client)
            raise
        finally:
            self.connected = False

    async def _drain(self, client: Any) -> None:
        while self._due or self._waiting:
            await self._urgent(client)
            if self._waiting:
                words, bits, _ = self._waiting[0]
                await self._state(client, words, bits)
                if self._waiting and self._waiting[0][0] is words:  # else it made room for newer ones meanwhile
                    self._waiting.popleft()

    async def _urgent(self, client: Any) -> None:
        while self._due:
            address, active = self._due.popitem()
            await _ask(self._options, f"coil {address}", client.write_coil, address, active)

    async def _state(self, client: Any, words: list[int], bits: list[bool]) -> None:
        options = self._options
        what = f"holding registers {options.word} to {options.word + len(words) - 1}"
        await _ask(options, what, client.write_registers, options.word, words)
        await self._urgent(client)
        what = f"coils {options.coil} to {options.coil + len(bits) - 1}"
        await _ask(options, what, client.write_coils, options.coil, bits)


Table = Literal["coil", "discrete_input", "counter"]


class PlcPoller:
    """Polls a PLC for triggers and for the belt's count. `run` in a task of its own."""

    def __init__(
        self,
        options: Options,
        *,
        period_ns: int,
        on_change: Callable[[DeviceError | None], None],
        triggers: Triggers | None = None,
        table: Table = "counter",
        address: int = 0,
        encoder: Encoder | None = None,
        encoder_address: int | None = None,
        counter: int = -1,
        on_gap: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`table` and `address`: where the trigger is; `counter` is a holding register that counts parts. The encoder's 32
        bits stand in two holding registers at `encoder_address`, high word first.

        With the `counter` of an earlier run, -1 if none is known, the parts since then are missed ones; `on_gap` is told if
        it cannot be known how many there were.
        """
        self.counter = counter
        """What the PLC had counted when the last trigger was pulled, 16 bits; -1 before it was read."""

        self._options, self._period_ns, self._on_change = options, period_ns, on_change
        self._triggers, self._table, self._address = triggers, table, address
        self._encoder, self._encoder_address = encoder, encoder_address
        self._level = False
        self._parts, self._on_gap = Unwrap(16), on_gap
        self._counted = None if counter < 0 else self._parts.position(counter)
        self._polled = counter < 0  # else what the first poll finds came while there was no station
        self._belt = Unwrap(32)
        self._last_ns = 0

    async def run(self) -> None:
        """Poll until cancelled."""
        await _keep(self._options, self._poll, self._on_change)

    async def _poll(self, client: Any, works: Callable[[], None]) -> None:
        due_ns, first = now_ns(), True
        while True:
            check_cancelled()
            asked_ns = now_ns()
            if self._encoder and self._encoder_address is not None:
                await self._read_belt(client, self._encoder, self._encoder_address)
            if self._triggers:
                await self._read_trigger(client, self._triggers, self._last_ns or asked_ns, fresh=self._polled)
                self._polled = True
            self._last_ns = asked_ns
            if first:
                works()
            first = False
            due_ns = max(due_ns + self._period_ns, now_ns())
            await sleep_until(due_ns)

    async def _read_belt(self, client: Any, encoder: Encoder, address: int) -> None:
        what = f"holding registers {address} and {address + 1}"
        high, low = (await _ask(self._options, what, client.read_holding_registers, address, count=2)).registers
        position = self._belt.position(high << 16 | low)
        if position != encoder.position:
            encoder.moved(position, now_ns())

    async def _read_trigger(self, client: Any, triggers: Triggers, since_ns: int, *, fresh: bool) -> None:
        """`since_ns`: when the poll before was asked: the part came after it. Not `fresh`: there was none for long."""
        options, what = self._options, f"{self._table} {self._address}"
        if self._table == "counter":
            read = client.read_holding_registers
            raw = (await _ask(options, what, read, self._address, count=1)).registers[0]
            count = self._parts.position(raw)
            new, self._counted = count - (count if self._counted is None else self._counted), count
            if new < 0:
                self._on_gap(
                    "the PLC's counter went back, or by more than 32767 parts: it is not known which parts passed"
                )
            seen = 1 if fresh else 0
            while new > seen:  # parts that came and went between two polls: nobody can look at them any more
                missed = min(new - seen, _CHUNK)
                new -= missed
                self.counter = (raw - new) & 0xFFFF
                triggers.missed(missed, since_ns)
                await asyncio.sleep(0)
            self.counter = raw
            if new == 1:
                triggers.pull(since_ns)
            return
        read = client.read_coils if self._table == "coil" else client.read_discrete_inputs
        level = (await _ask(options, what, read, self._address, count=1)).bits[0]
        if level and not self._level:
            triggers.pull(since_ns)
        self._level = level
        if level and self._table == "coil":
            await _ask(options, what, client.write_coil, self._address, False)
            self._level = False
