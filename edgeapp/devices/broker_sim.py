"""A broker where there is none: a Mosquitto of our own on loopback, and a reader that counts what it is sent."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

MOSQUITTO: Final = shutil.which(
    "mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
)
"""Debian installs it where users do not look; None if there is none."""

_START_S: Final = 10.0


@asynccontextmanager
async def broker(folder: Path) -> AsyncIterator[int]:
    """A Mosquitto that runs until the end of the block -> its port. MOSQUITTO must be there."""
    assert MOSQUITTO
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(MOSQUITTO, "-c", str(file), stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(_START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Subscriber:
    """Reads a topic tree, as a dashboard or a database would. `run` in a task of its own."""

    def __init__(self, port: int, topic: str) -> None:
        self.verdicts: dict[int, dict[str, Any]] = {}
        """By part; one that comes twice is one."""

        self.ready = asyncio.Event()
        self._port, self._topic = port, topic

    async def run(self) -> None:
        """Until cancelled."""
        import aiomqtt

        async with aiomqtt.Client("127.0.0.1", self._port) as client:
            await client.subscribe(f"{self._topic}/verdict", qos=1)
            self.ready.set()
            async for message in client.messages:
                if isinstance(message.payload, bytes):
                    content = json.loads(message.payload)
                    self.verdicts[content["part"]] = content
