"""The relay in a process of its own, so that shaping bytes never shares the bench's event loop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from edgeapp.core.events import ConfigError

_START_S: Final = 30.0
_END_S: Final = 10.0


@dataclass
class RelayProcess:
    """A relay that listens."""

    port: int
    origin_ns: int
    """The weather's 0 on CLOCK_MONOTONIC, which is the loop's clock too."""

    counts: dict[str, int] = field(default_factory=dict)
    """What it did (`relay.Counts`); known when it has ended."""


@asynccontextmanager
async def relaying(
    to: str, *, weather: str, seed: int, listen_port: int = 0, outage_s: tuple[float, float] | None = None
) -> AsyncIterator[RelayProcess]:
    """Carry connections to `to` (HOST:PORT) through a weather, with one outage if one is given, in seconds of the weather.

    Raises ConfigError if it does not start.
    """
    command = [sys.executable, "-m", "edgeapp.near_edge.relay", "--to", to, "--listen", f"127.0.0.1:{listen_port}"]
    command += ["--weather", weather, "--seed", str(seed)]
    if outage_s is not None:
        command += ["--outage", f"{outage_s[0]}:{outage_s[1]}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        try:
            async with asyncio.timeout(_START_S):
                said = json.loads(await process.stdout.readline())
        except (TimeoutError, json.JSONDecodeError) as error:
            raise ConfigError("the relay did not start; what it said stands above") from error
        relay = RelayProcess(said["port"], said["origin_ns"])
        yield relay
        process.terminate()
        async with asyncio.timeout(_END_S):
            relay.counts = json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
