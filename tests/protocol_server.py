"""The protocols of a device with the bundled models, on loopback, in a thread of its own, for all tests that speak to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.content_file import open_content
from edgeapp.apps.kiosk import open_voice
from edgeapp.apps.protocols import open_protocols
from edgeapp.apps.wiring import Parts
from edgeapp.web.courtesy import Courtesy

KEY = "a key of more than sixteen signs"


@dataclass
class Host:
    """The device's own conversation, as far as guests see it."""

    busy: bool = False
    speaking: bool = False


@dataclass
class Served:
    """A server that runs."""

    http: int = 0
    wyoming: int = 0
    host: Host = field(default_factory=Host)
    records: list[Any] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where OpenAI's client is pointed to."""
        return f"http://127.0.0.1:{self.http}/v1"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def serving(monkey_env: dict[str, str]) -> Iterator[Served]:
    """Serve both protocols; `monkey_env` gets the key."""
    served, up, down = Served(_free_port(), _free_port()), threading.Event(), asyncio.Event()
    monkey_env["EDGEAPP_TEST_KEY"] = KEY
    openai = settings.OpenAiServer(serve=True, port=served.http, key_env="EDGEAPP_TEST_KEY", idle_ms=8_000)
    wyoming = settings.WyomingServer(serve=True, port=served.wyoming, idle_ms=8_000)
    config = settings.Config(app="kiosk", protocols=settings.Protocols(openai=openai, wyoming=wyoming))
    loops: list[asyncio.AbstractEventLoop] = []
    failed: list[BaseException] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with AsyncExitStack() as stack:
            parts, courtesy = Parts(stack, served.records.append), Courtesy()
            courtesy.give_way_to(served.host)
            await open_protocols(config, parts, await open_voice(config, parts, open_content(config)), courtesy)
            up.set()
            await down.wait()

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - the test that started it raises it
            failed.append(error)
        finally:
            up.set()

    class Logged(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            served.logged.append(record.getMessage())

    logging.getLogger().addHandler(handler := Logged())
    worker = threading.Thread(target=thread)
    worker.start()
    up.wait(60)
    try:
        if not failed:
            yield served
    finally:
        with contextlib.suppress(RuntimeError):
            loops[0].call_soon_threadsafe(down.set)
        worker.join(20)
        logging.getLogger().removeHandler(handler)
        if failed:
            raise failed[0]
