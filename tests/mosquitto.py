"""A real Mosquitto on loopback for tests, and readers of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
MISSING = "no mosquitto here: apt-get install mosquitto mosquitto-clients"


class Broker:
    """Start, stop and kill it; retained messages survive a kill as far as Mosquitto saved them."""

    def __init__(self, folder: Path, *more: str) -> None:
        """`more` are further lines of its configuration."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        access = [] if any("allow_anonymous" in line for line in more) else ["allow_anonymous true"]
        lines = [f"listener {self.port} 127.0.0.1", *access, "user root", "max_queued_messages 0", *more]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start and wait until it listens."""
        self._start()
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                return

    def _start(self) -> None:
        assert MOSQUITTO
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=quiet, stderr=quiet)

    def kill(self) -> None:
        """As a power cut would. Idempotent."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@asynccontextmanager
async def running(folder: Path, *more: str) -> AsyncIterator[Broker]:
    """A broker that runs, and is gone at the end."""
    broker = Broker(folder, *more)
    try:
        await broker.start()
        yield broker
    finally:
        broker.kill()


class Cable:
    """Between a client and the broker: it can be cut and mended, and what was in it when it was cut is gone."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def mend(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection and refuse new ones. Idempotent."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, here = await asyncio.open_connection("127.0.0.1", self._broker.port)
            self._writers.add(here)
            await asyncio.gather(self._carry(reader, here), self._carry(there, writer))
        except OSError:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


class Reader:
    """Reads a topic tree with aiomqtt, and reconnects as the broker comes and goes."""

    def __init__(self, port: int, topic: str = "edgeapp/#") -> None:
        self.messages: list[tuple[str, Any, bool]] = []
        """(topic, content, retained), in the order of their arrival."""

        self.subscribed = asyncio.Event()
        self._port, self._topic = port, topic
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        async with asyncio.timeout(10):
            await self.subscribed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _read(self) -> None:
        import aiomqtt

        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", self._port, identifier="reader", clean_session=False) as client:
                    await client.subscribe(self._topic, qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        assert isinstance(message.payload, bytes)
                        text = message.payload.decode()
                        content = json.loads(text) if text.startswith("{") else text
                        self.messages.append((str(message.topic), content, message.retain))
            except aiomqtt.MqttError:
                self.subscribed.clear()
                await asyncio.sleep(0.02)

    def of(self, topic: str) -> list[Any]:
        """The contents that came under one topic."""
        return [content for at, content, _ in self.messages if at == topic]

    def last(self, topic: str) -> Any:
        """The newest of them; None before there is one."""
        return next(iter(reversed(self.of(topic))), None)
