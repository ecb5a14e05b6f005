"""An HTTP server on loopback that does what it is told, wrong things included: cuts, stalls, garbage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(text: str, finish: str = "null") -> bytes:
    """One chunk of a chat completion."""
    return b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":%s}]}\n\n' % (text.encode(), finish.encode())


@dataclass
class Call:
    """One request, and the connection it came on."""

    head: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        """Write, now."""
        self.writer.write(data)

    async def stall(self) -> None:
        """Say nothing until the client goes away."""
        while await self.reader.read(65536):
            pass


@dataclass
class Rude:
    """A server that runs."""

    base_url: str = ""
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a request has come."""

    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a connection ends."""

    async def client_left(self) -> None:
        """Wait until a connection ends, at most 10 s."""
        await asyncio.wait_for(self.left.wait(), 10)


Script = Callable[[Call], Awaitable[bool | None]]
"""Answers one request; True keeps the connection for another, anything else closes it."""


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Rude]:
    """Serve `script` on a free port."""
    rude = Rude()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rude.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:")]
                body = await reader.readexactly(lengths[0] if lengths else 0)
                call = Call(head, body, reader, writer)
                rude.calls.append(call)
                rude.called.set()
                if not await script(call):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left, which is what many of the tests are about
        finally:
            rude.left.set()
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    rude.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield rude
    finally:
        server.close()
