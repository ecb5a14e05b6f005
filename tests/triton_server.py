"""A real Triton for tests, started on a loop of its own in a thread, so that tests of any loop can use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from edgeapp.engines import triton
from edgeapp.near_edge.serve import Server, Settings, serving

T = TypeVar("T")


class Running:
    """A server and the loop it lives on."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self._loop = server, loop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the server's loop, at most two minutes."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def options(self, kind: Any, **more: Any) -> triton.Options:
        """An engine's options for this server, patient with a busy machine."""
        patient: dict[str, Any] = {"url": self.server.url, "deadline_ms": 60_000, "next_ms": 60_000, "stuck_ms": 60_000}
        return triton.Options(kind=kind, **(patient | more))


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """Start it, and end it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = serving(settings, watch=False)
    try:
        server = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(1_200)
        try:
            yield Running(server, loop)
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
