"""MQTT 3.1.1: every verdict and alarm to a broker, at least once and in order, also when it was gone for an hour.

Topics, below the configured prefix:

    verdict   one JSON object a part, QoS 1, through the outbox
    alarm     one JSON object an alarm, QoS 1, through the outbox
    state     the counters, QoS 1, retained: whoever subscribes later has them at once
    kiosk     counts of the voice's turns, QoS 1, retained
    status    `online` or `offline`, QoS 1, retained; `offline` is the last will, so a station that dies says so

What goes through the outbox carries an `id` that counts without a gap: after a broken connection up to `_WINDOW` messages come
twice, a reader tells them by it. `put` only appends to a list; a thread stores, a task sends, and neither delays a verdict.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import ssl
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeapp.core.events import MS, ConfigError, DeviceError, Verdict
from edgeapp.core.record import AlarmRecord
from edgeapp.devices.cancellation import check_cancelled
from edgeapp.devices.line_state import Judged, LineState
from edgeapp.devices.outbox import Message, Outbox

_WINDOW: Final = 64  # messages on their way to the broker at once; so many may come twice after a broken connection
_UNSTORED: Final = (
    4096  # messages that wait for the disk: a line of 30 parts a second over a stall of two minutes, 2 MB
)
_FIRST_PAUSE_S: Final = 0.25  # between two attempts to connect; doubles
_LONGEST_PAUSE_S: Final = 10.0
_ANSWER_S: Final = 5.0  # a broker that does not confirm within this is gone
_QUIET: Final = logging.getLogger(
    "edgeapp.mqtt"
)  # what goes wrong is told once and counted; the client logs every attempt
_QUIET.setLevel(logging.CRITICAL)
_FAREWELL_S: Final = 1.0  # for the last messages when the station is stopped; what is left stays in the outbox


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which broker, and what it may know."""

    host: str
    port: int = 1883
    prefix: str = "edgeapp"
    client: str = "edgeapp"
    """The client identifier: one for each station of a broker."""

    outbox: Path = Path("outbox.sqlite")
    outbox_rows: int = 200_000
    """What may wait: more than an hour of a line of 30 parts a second; 100 MB at most."""

    user: str = ""
    password: str = ""
    """Never written anywhere: not into records, errors or representations."""

    tls: bool = False
    ca: str = ""
    """A file of certificates to trust; empty is the system's."""

    certificate: str = ""
    key: str = ""
    announcements: tuple[tuple[str, str], ...] = ()
    """Topics and payloads that are published retained at each connection: what Home Assistant finds the device by."""

    keep_alive_s: int = 15
    """Without a sign for one and a half times this the broker sends the last will."""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Options({self.host}:{self.port}, {self.prefix})"


class Mqtt:
    """The station's side of a broker. Lives on one loop; `run` in a task of its own."""

    def __init__(self, options: Options, on_change: Callable[[DeviceError | None], None]) -> None:
        """`on_change` is told when the broker is lost (why) and when it is back (None)."""
        self.unstored = 0
        """Messages that never reached the outbox, because the disk refused or was too slow."""

        self.waiting = 0
        """Messages in the outbox."""

        self.dropped = 0
        """Messages that the outbox's bound has dropped."""

        self.connected = False
        self._options, self._on_change = options, on_change
        self._unstored: deque[tuple[str, str]] = deque()  # at most _UNSTORED
        self._retained: dict[str, Callable[[], dict[str, Any]]] = {}  # by topic, what is not sent yet; a handful
        self._stored = asyncio.Event()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mqtt-outbox")
        self._context = _context(options)
        self._box: Outbox | None = None
        self._told: set[str] = set()

    # From the station; none of them waits

    def verdict(self, verdict: Verdict, judged: Judged) -> None:
        """Send a verdict when its turn comes."""
        self._put("verdict", _verdict_words(verdict, judged))

    def alarm(self, alarm: AlarmRecord) -> None:
        """Send an alarm when its turn comes."""
        self._put("alarm", {"at": _wall(), "where": alarm.where, "what": alarm.what, "part": alarm.part})

    def state(self, state: LineState) -> None:
        """The newest state is sent, and kept by the broker."""
        self.retain("state", lambda: _state_words(state) | {"outbox_dropped": self.dropped})

    def retain(self, topic: str, words: Callable[[], dict[str, Any]]) -> None:
        """Send what `words` says when its turn comes, and have it kept by the broker. Only the newest of a topic is sent."""
        self._retained[topic] = words
        self._stored.set()

    def _put(self, topic: str, content: dict[str, Any]) -> None:
        if len(self._unstored) == _UNSTORED:
            self._unstored.popleft()
            self.unstored += 1
        self._unstored.append((f"{self._options.prefix}/{topic}", json.dumps(content, ensure_ascii=False)))
        self._arrived.set()

    # In tasks of its own

    async def run(self) -> None:
        """Store and send until cancelled; then try for a second to send the rest and say `offline`. Raises ConfigError."""
        self._box = await self._blocking(Outbox, self._options.outbox, rows_max=self._options.outbox_rows)
        self.dropped = self._box.dropped
        self._count()
        storing = asyncio.create_task(self._store_all())
        try:
            await self._keep_sending()
        finally:
            storing.cancel()
            with suppress(asyncio.CancelledError):
                await storing
            await self._store()
            await self._blocking(self._box.close)
            self._thread.shutdown(wait=False)

    async def _blocking(self, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **named))

    async def _store_all(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await asyncio.shield(self._store())

    async def _store(self) -> None:
        """Put what has come since into the file, with one sync."""
        batch = list(self._unstored)
        self._unstored.clear()
        if not batch or self._box is None:
            return
        try:
            await self._blocking(self._box.put, batch)
        except sqlite3.Error as error:
            self.unstored += len(batch)
            self._tell("disk", f"MQTT messages are being lost: {error}; free space for {self._options.outbox}")
        self._count()
        self._stored.set()

    def _count(self) -> None:
        if self._box:
            if self._box.dropped > self.dropped:
                rows = self._options.outbox_rows
                self._tell("full", f"more than {rows} MQTT messages wait for the broker: the oldest are being dropped")
            self.waiting, self.dropped = self._box.waiting, self._box.dropped

    def _tell(self, kind: str, sentence: str) -> None:
        """Once for each kind of trouble."""
        if kind not in self._told:
            self._told.add(kind)
            self._on_change(DeviceError(sentence))

    async def _keep_sending(self) -> None:
        from aiomqtt.exceptions import MqttConnectError, MqttError

        pause_s, told = _FIRST_PAUSE_S, True
        while True:
            check_cancelled()
            try:
                async with self._client() as client:
                    self._on_change(None)
                    told, pause_s, self.connected = True, _FIRST_PAUSE_S, True
                    await self._converse(client)
            except MqttError as error:
                if told:
                    what = "refuses us" if isinstance(error, MqttConnectError) else "is gone"
                    where = f"the MQTT broker at {self._options.host}:{self._options.port}"
                    self._on_change(DeviceError(f"{where} {what} ({error}); messages wait on disk"))
                told = False
            finally:
                self.connected = False
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _client(self) -> Any:
        import aiomqtt

        options = self._options
        client = aiomqtt.Client(
            options.host,
            options.port,
            identifier=options.client,
            username=options.user or None,
            password=options.password or None,
            tls_context=self._context,
            keepalive=options.keep_alive_s,
            timeout=_ANSWER_S,
            max_inflight_messages=_WINDOW,
            will=aiomqtt.Will(f"{options.prefix}/status", "offline", qos=1, retain=True),
            logger=_QUIET,
        )
        client.pending_calls_threshold = 2 * _WINDOW  # a window in flight is meant; above that it would log
        return client

    async def _converse(self, client: Any) -> None:
        """Talk to a connected broker until it goes (MqttError) or the station stops (CancelledError)."""
        status = f"{self._options.prefix}/status"
        gone = asyncio.ensure_future(anext(aiter(client.messages)))  # nothing is subscribed to: only a loss ends it
        try:
            await client.publish(status, "online", qos=1, retain=True)
            for topic, payload in self._options.announcements:
                await client.publish(topic, payload, qos=1, retain=True)
            await self._send(client, gone)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self._store()
                    while await self._send_some(client, gone):
                        pass
                    await self._send_retained(client)
                    await client.publish(status, "offline", qos=1, retain=True)
            raise
        finally:
            await _ended({gone})

    async def _send(self, client: Any, gone: asyncio.Future[Any]) -> None:
        """Send what waits until cancelled. Raises MqttError when the broker goes, also if nothing is to be sent."""
        while True:
            self._stored.clear()
            sent = await self._send_some(client, gone)
            await self._send_retained(client)
            check_cancelled()
            if sent == _WINDOW:
                continue
            stored = asyncio.ensure_future(self._stored.wait())
            try:
                await asyncio.wait({gone, stored}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _ended({stored})
            if gone.done():
                gone.result()

    async def _send_some(self, client: Any, gone: asyncio.Future[Any]) -> int:
        """Send the oldest window, and take what was confirmed, up to the first that was not, out of the outbox.

        Raises MqttError when the broker goes.
        """
        assert self._box
        window: list[Message] = await self._blocking(self._box.first, _WINDOW)
        if not window:
            return 0
        sending = [asyncio.ensure_future(client.publish(each.topic, _with_id(each), qos=1)) for each in window]
        try:  # the last is confirmed last; a client that loses the broker would wait for its answers to the end
            await asyncio.wait({sending[-1], gone}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await asyncio.wait(sending)
        finally:
            await _ended(set(sending))
        failed = [each.cancelled() or each.exception() is not None for each in sending]
        confirmed = failed.index(True) if any(failed) else len(window)
        if confirmed:
            await self._blocking(self._box.confirmed, window[confirmed - 1].id)
            self._count()
        if gone.done():
            gone.result()
        for each in sending:
            each.result()
        return len(window)

    async def _send_retained(self, client: Any) -> None:
        while self._retained:
            topic, words = self._retained.popitem()
            content = json.dumps({"at": _wall(), **words()})
            try:
                await client.publish(f"{self._options.prefix}/{topic}", content, qos=1, retain=True)
            except BaseException:
                self._retained.setdefault(topic, words)
                raise


async def _ended(tasks: set[asyncio.Future[Any]]) -> None:
    """Cancel them and wait; what went wrong in them is looked at by whoever waited for their results."""
    for each in tasks:
        each.cancel()
    await asyncio.wait(tasks)
    for each in tasks:
        if not each.cancelled():
            each.exception()


def _context(options: Options) -> ssl.SSLContext | None:
    """TLS with the host's name checked. Raises ConfigError for files that cannot be used."""
    if not options.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca or None)
        if options.certificate:
            context.load_cert_chain(options.certificate, options.key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"outputs.mqtt: the certificates cannot be used ({error}); check ca, certificate and key"
        ) from error
    return context


def _verdict_words(verdict: Verdict, judged: Judged) -> dict[str, Any]:
    return {
        "at": _wall(),
        "sequence": judged.sequence,
        "part": judged.part,
        "source": verdict.source,
        "outcome": str(verdict.outcome),
        "reason": judged.reason,
        "why": verdict.why,
        "age_ms": round((verdict.decided_ns - verdict.at_ns) / MS, 1),
        "late": verdict.decided_ns > verdict.due_ns,
        "model": verdict.model,
        "boxes": [asdict(box) for box in verdict.boxes],
    }


def _state_words(state: LineState) -> dict[str, Any]:
    words = asdict(state)
    return words | {"station": state.station.name.lower(), "verdicts": state.verdicts}


def _with_id(message: Message) -> str:
    return f'{{"id": {message.id}, {message.payload[1:]}'


def _wall() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
