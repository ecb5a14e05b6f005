"""An OPC UA server: the line's state, its counters, the last verdict and the alarms as nodes that clients subscribe to.

It runs in a thread of its own, with its own loop: building the standard address space takes seconds of Python, and a client
that browses must not cost a verdict. `publish` only appends to a list. Every verdict is written in order, `Sequence` last,
so a subscription with a queue sees each one; `Record` holds a whole verdict as JSON in one value. Alarms are events of the
station's node, too. Clients cannot write.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any, Final

import msgspec

from edgeapp.core.events import ConfigError, DeviceError, Verdict
from edgeapp.core.record import AlarmRecord
from edgeapp.devices.line_state import LineState, Station

NAMESPACE: Final = "urn:edgeapp:station"
_QUEUE: Final = 1024  # states that wait to be written: half a minute of a fast line, 1 MB
_START_S: Final = 60.0  # the address space takes 4 s on a slow core
_STOP_S: Final = 5.0


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the server listens, and whether it encrypts."""

    host: str = "127.0.0.1"
    port: int = 4840
    certificate: str = ""
    """With a certificate and a key only signed and encrypted connections (Basic256Sha256) are taken."""

    key: str = ""


_NODES: Final[dict[str, Any]] = {
    "State": "", "Heartbeat": 0, "Verdicts": 0, "Passed": 0, "Failed": 0, "NotInspected": 0, "TriggersLost": 0,
    "RejectsMissed": 0, "Alarms": 0, "AlarmActive": False, "AlarmText": "", "Part": 0, "Outcome": "", "OutcomeCode": 0,
    "Reason": 0, "Why": "", "AgeMs": 0, "Record": "", "Sequence": 0,
}  # fmt: skip


class OpcUa:
    """The station's nodes. `publish` and `alarm` are called on the station's loop; made by `serve`."""

    def __init__(self, options: Options, on_end: Callable[[DeviceError], None]) -> None:
        """`on_end` is told, on the station's loop, if the server ends by itself."""
        self.skipped = 0
        """States that were not written, because the server's thread was behind."""

        self._options, self._on_end = options, on_end
        self._station: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[dict[str, Any], str]] = (
            deque()
        )  # at most _QUEUE; crosses the threads by append and popleft
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._stop = False
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._main, name="opcua", daemon=True)

    def publish(self, state: LineState, verdict: Verdict | None = None) -> None:
        """Write this state, and the verdict that led to it, when its turn comes."""
        self._append(_values(state, verdict), "")

    def alarm(self, alarm: AlarmRecord) -> None:
        """Raise an event."""
        self._append({"AlarmText": alarm.what}, alarm.what)

    def _append(self, values: dict[str, Any], event: str) -> None:
        if len(self._waiting) >= _QUEUE:
            self.skipped += 1
            with suppress(IndexError):
                self._waiting.popleft()
        self._waiting.append((values, event))
        self._wake()

    def _wake(self) -> None:
        loop, changed = self._loop, self._changed
        if loop and changed:
            with suppress(RuntimeError):  # the thread has ended
                loop.call_soon_threadsafe(changed.set)

    # In the thread

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - `serve` raises it in the station's own words
            self._failure = error
            if self._station and self._started.is_set():
                told = DeviceError(f"the OPC UA server has ended ({error}): start the station again")
                with suppress(RuntimeError):  # the station has ended, too
                    self._station.call_soon_threadsafe(self._on_end, told)
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from asyncua import ua
        from asyncua.server.server import Server

        logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # clients that come and go are no news
        server: Any = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{self._options.host}:{self._options.port}/edgeapp")
        server.set_server_name("edgeapp station")
        server.allow_remote_admin(False)
        if self._options.certificate:
            await server.load_certificate(self._options.certificate)
            await server.load_private_key(self._options.key)
            server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        else:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        space = await server.register_namespace(NAMESPACE)
        station = await server.nodes.objects.add_object(f"ns={space};s=Station", f"{space}:Station")
        nodes = {}
        for name, value in _NODES.items():
            nodes[name] = await station.add_variable(f"ns={space};s=Station.{name}", f"{space}:{name}", _variant(value))
        events = await server.get_event_generator(emitting_node=station)
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        async with server:
            self._started.set()
            while not self._stop:
                self._changed.clear()
                while self._waiting:
                    values, event = self._waiting.popleft()
                    for name, value in values.items():
                        await nodes[name].write_value(_variant(value))
                    if event:
                        await events.trigger(message=event)
                if not self._stop:
                    await self._changed.wait()

    # On the station's loop

    async def open(self) -> None:
        """Start the thread and wait until it listens. Raises ConfigError."""
        self._station = asyncio.get_running_loop()
        self._thread.start()
        await asyncio.get_running_loop().run_in_executor(None, self._started.wait, _START_S)
        where = f"OPC UA cannot listen on {self._options.host} port {self._options.port}"
        if isinstance(self._failure, ImportError):
            raise ConfigError("OPC UA needs the package asyncua: pip install 'edgeapp[station]'") from self._failure
        if self._failure:
            raise ConfigError(f"{where}: {self._failure}; change outputs.opcua") from self._failure
        if not self._started.is_set():
            raise ConfigError(f"{where}: it did not start within {_START_S:.0f} s")

    async def close(self) -> None:
        """Write what waits and end; the thread is left behind if a client holds it up. Idempotent."""
        self._stop = True
        self._wake()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, _STOP_S)


def _values(state: LineState, verdict: Verdict | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "State": Station(state.station).name.lower(),
        "Heartbeat": state.heartbeat,
        "Verdicts": state.verdicts,
        "Passed": state.passed,
        "Failed": state.failed,
        "NotInspected": state.not_inspected,
        "TriggersLost": state.triggers_lost,
        "RejectsMissed": state.rejects_missed,
        "Alarms": state.alarms,
        "AlarmActive": state.alarm,
    }
    if verdict and state.last:
        last = state.last
        values |= {
            "Part": last.part,
            "Outcome": str(verdict.outcome),
            "OutcomeCode": last.outcome,
            "Reason": last.reason,
        }
        values |= {"Why": verdict.why, "AgeMs": last.age_ms}
        values["Record"] = json.dumps(asdict(last) | {"outcome": str(verdict.outcome), "why": verdict.why})
        values["Sequence"] = last.sequence  # the last one, so that whoever sees it finds the rest there
    return values


def _variant(value: Any) -> Any:
    from asyncua import ua

    kinds = {bool: ua.VariantType.Boolean, int: ua.VariantType.UInt64, str: ua.VariantType.String}
    return ua.Variant(value, kinds[type(value)])


@asynccontextmanager
async def serve(options: Options, on_end: Callable[[DeviceError], None]) -> AsyncIterator[OpcUa]:
    """Listen until the end of the block. Raises ConfigError."""
    server = OpcUa(options, on_end)
    try:
        await server.open()
        yield server
    finally:
        await server.close()
