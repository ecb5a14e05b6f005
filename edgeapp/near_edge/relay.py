"""A TCP relay on loopback that carries real bytes through the weather of a link: for kernels without netem, without root.

    python -m edgeapp.near_edge.relay --to 127.0.0.1:8001 --weather 5g-driving --seed 1 --outage 60:80

prints one line of JSON when it listens (`port`, `origin_ns` on CLOCK_MONOTONIC: the weather's 0) and one with its counts
when SIGTERM or Ctrl-C ends it. In a process of its own it does not share the bench's event loop.

Every piece of bytes is told on arrival when it will be through: behind what all connections sent before it in its
direction (they share the rate), and never before what its own connection sent before it. What it cannot show: packets, so
no congestion control of TCP across the link; the kernel's loopback TCP answers for both ends. A retransmission is
reckoned by the weather as time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, BackendError, ConfigError
from edgeapp.near_edge.presets import PRESETS, preset
from edgeapp.near_edge.trace import load_trace
from edgeapp.near_edge.weather import PACKET_BYTES, Direction, Kind, Trouble, Weather

_READ_BYTES: Final = 65_536
_HELD_BYTES: Final = 8 << 20  # under way in one direction of one connection; then the sender is not read from
_CONNECTIONS: Final = 256  # at once; more are cut and counted
_SLICE_NS: Final = 2 * MS  # of the link's rate: bytes arrive in lumps of so long
_LOOK_AHEAD_NS: Final = 1_000 * MS  # how far the relay looks for resets at once
_CONNECT_S: Final = 5.0
_FOREVER: Final = 1 << 62


@dataclass
class Counts:
    """What the relay did so far."""

    connections: int = 0
    too_many: int = 0
    """Cut because `_CONNECTIONS` were open."""

    refused: int = 0
    """Cut because nobody listens at the other end."""

    reset: int = 0
    """Connections cut by the weather's resets."""

    up_bytes: int = 0
    """Delivered to the near edge."""

    down_bytes: int = 0
    swallowed_bytes: int = 0
    """Read and never delivered: black holes, and what was under way when a connection ended."""

    held_bytes: int = 0
    """The most that was under way in one direction of one connection."""


class Shaper:
    """When bytes are through. One for all connections of a link: they share its rate. Pure but for what it remembers."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self._free_ns: dict[Direction, int] = {"up": 0, "down": 0}

    def through_ns(self, now: int, size_bytes: int, direction: Direction, not_before_ns: int = 0) -> int | None:
        """When `size_bytes` that are ready at `now` are at the other end; None if they are swallowed.

        `now` and the answer are on the weather's clock. Bytes wait for those that were ready before them.
        """
        start_ns = max(now, self._free_ns[direction])
        left_ns = self.weather.leaves_ns(start_ns, size_bytes, direction)
        if left_ns is None:
            return None
        # What an outage holds back waits for its own connection's retransmission; the link is free for the others.
        outage = self.weather.outage_between(start_ns, left_ns)
        self._free_ns[direction] = left_ns if outage is None else max(start_ns, outage.start_ns)
        return max(not_before_ns, self.weather.arrives_ns(left_ns, size_bytes, direction))

    def slice_bytes(self, now: int, direction: Direction) -> int:
        """How many bytes go through in about 2 ms at this moment: at least a packet, at most 64 KiB."""
        state = self.weather.at(now)
        bps = state.up_bps if direction == "up" else state.down_bps
        return min(max(PACKET_BYTES, round(bps * _SLICE_NS / 8e9)), _READ_BYTES)


class Relay:
    """A listening relay. `port` is where; `counts` what it did; the weather's 0 is `origin_ns` on the loop's clock."""

    def __init__(self, weather: Weather, host: str, port: int, origin_ns: int) -> None:
        self.port = 0
        self.origin_ns = origin_ns
        self.counts = Counts()
        self._shaper = Shaper(weather)
        self._to = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def weather_ns(self) -> int:
        """Now, on the weather's clock."""
        return now_ns() - self.origin_ns

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a new connection until one end closes it or the weather cuts it."""
        if len(self._tasks) >= _CONNECTIONS:
            self.counts.too_many += 1
            _cut(writer)
            return
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def resets(self) -> None:
        """Cut every connection at each of the weather's resets. Runs until it is cancelled."""
        known_ns = self.weather_ns()
        while True:
            at_ns = self._shaper.weather.cut_between(known_ns, known_ns + _LOOK_AHEAD_NS)
            known_ns = known_ns + _LOOK_AHEAD_NS if at_ns is None else at_ns
            await sleep_until(self.origin_ns + known_ns)
            if at_ns is not None:
                self.counts.reset += len(self._tasks)
                self._cut_all()

    async def close(self) -> None:
        """Cut what is open and wait until it is over."""
        self._cut_all()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cut_all(self) -> None:
        for writer in tuple(self._writers):
            _cut(writer)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        self._writers.add(writer)
        edge: asyncio.StreamWriter | None = None
        try:
            # SYN and SYN-ACK: the first bytes leave a round trip after the connection began.
            ready_ns = await self._handshake()
            if ready_ns is None:
                await self._swallow(reader)
                return
            await sleep_until(self.origin_ns + ready_ns)  # what is not ready yet must not stand before what is
            edge_reader, edge_writer = await asyncio.wait_for(asyncio.open_connection(*self._to), _CONNECT_S)
            self._writers.add(edge := edge_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, edge_writer, "up", ready_ns))
                both.create_task(self._pump(edge_reader, writer, "down", ready_ns))
        except* (ConnectionError, TimeoutError, OSError):
            self.counts.refused += edge is None
        finally:
            for each in (writer, edge):
                if each is not None:
                    self._writers.discard(each)
                    _cut(each)

    async def _handshake(self) -> int | None:
        """When a connection that begins now is there; None in a black hole."""
        now = self.weather_ns()
        left_ns = self._shaper.weather.leaves_ns(now, 0, "up")
        return None if left_ns is None else left_ns + self._shaper.weather.at(left_ns).rtt_ns

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        """Read until the sender gives up, and say nothing."""
        while piece := await reader.read(_READ_BYTES):
            self.counts.swallowed_bytes += len(piece)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, ready_ns: int
    ) -> None:
        """Carry one direction of one connection to its end."""
        way = _Way(self.counts)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(reader, way, direction, ready_ns))
            both.create_task(self._deliver(way, writer, direction))

    async def _take(self, reader: asyncio.StreamReader, way: _Way, direction: Direction, ready_ns: int) -> None:
        last_ns = ready_ns
        while piece := await reader.read(_READ_BYTES):
            now = self.weather_ns()
            size = self._shaper.slice_bytes(now, direction)
            for start in range(0, len(piece), size):
                part = piece[start : start + size]
                through_ns = self._shaper.through_ns(max(now, ready_ns), len(part), direction, last_ns)
                if through_ns is None:
                    self.counts.swallowed_bytes += len(piece) - start
                    await self._swallow(reader)
                    way.put(_FOREVER, b"")
                    return
                last_ns = through_ns
                way.put(through_ns, part)
            await way.room()
        way.put(self._shaper.through_ns(max(self.weather_ns(), ready_ns), 0, direction, last_ns) or _FOREVER, b"")

    async def _deliver(self, way: _Way, writer: asyncio.StreamWriter, direction: Direction) -> None:
        while True:
            due_ns, part = await way.get()
            if due_ns == _FOREVER:
                return
            await sleep_until(self.origin_ns + due_ns)
            way.gone(len(part))
            if not part:
                writer.write_eof()
                return
            writer.write(part)
            await writer.drain()
            if direction == "up":
                self.counts.up_bytes += len(part)
            else:
                self.counts.down_bytes += len(part)


class _Way:
    """What is under way in one direction of one connection: at most `_HELD_BYTES` and the last piece read."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._parts: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def put(self, due_ns: int, part: bytes) -> None:
        """Bytes that are through at `due_ns`; none at all is the end."""
        self._parts.append((due_ns, part))
        self._bytes += len(part)
        self._counts.held_bytes = max(self._counts.held_bytes, self._bytes)
        self._changed.set()

    async def get(self) -> tuple[int, bytes]:
        """The oldest, which counts as under way until `gone`."""
        while not self._parts:
            self._changed.clear()
            await self._changed.wait()
        return self._parts.popleft()

    def gone(self, size: int) -> None:
        """So many bytes less are under way."""
        self._bytes -= size
        self._changed.set()

    async def room(self) -> None:
        """Wait until more may be read."""
        while self._bytes >= _HELD_BYTES:
            self._changed.clear()
            await self._changed.wait()


def _cut(writer: asyncio.StreamWriter) -> None:
    """Close with a reset if anything is unsent or unread, as a link that is cut does."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def relay(
    weather: Weather, to: tuple[str, int], *, listen: tuple[str, int] = ("127.0.0.1", 0), origin_ns: int | None = None
) -> AsyncIterator[Relay]:
    """Listen at `listen` and carry every connection to `to` through `weather`, which begins now or at `origin_ns`.

    Raises ConfigError if the address is taken.
    """
    carried = Relay(weather, *to, now_ns() if origin_ns is None else origin_ns)
    try:
        server = await asyncio.start_server(carried.accept, *listen)
    except OSError as error:
        raise ConfigError(f"the relay cannot listen at {listen[0]}:{listen[1]}: {error.strerror}") from error
    carried.port = server.sockets[0].getsockname()[1]
    cutter = asyncio.get_running_loop().create_task(carried.resets())
    try:
        yield carried
    finally:
        cutter.cancel()
        server.close()
        await carried.close()
        await asyncio.gather(cutter, return_exceptions=True)


# The command


def weather_of(name: str, seed: int, schedule: Sequence[Trouble] = ()) -> Weather:
    """A preset by name, or a trace by its path. Raises ConfigError."""
    if Path(name).suffix in {".csv", ".jsonl"}:
        return Weather(load_trace(Path(name)), seed, schedule=schedule)
    return Weather(preset(name), seed, schedule=schedule)


def troubles_of(kind: Kind, given: Sequence[str]) -> list[Trouble]:
    """`FROM:TO` in seconds, or `AT` for a reset -> troubles. Raises ConfigError."""
    troubles = []
    for text in given:
        first, _, last = text.partition(":")
        try:
            start_ns, end_ns = round(float(first) * 1e9), round(float(last or first) * 1e9)
        except ValueError as error:
            raise ConfigError(f"{text!r} is no time; write seconds as FROM:TO, such as 60:80") from error
        if start_ns < 0 or end_ns < start_ns or (end_ns == start_ns and kind is not Kind.RESET):
            raise ConfigError(f"{text!r}: write seconds as FROM:TO with TO after FROM, such as 60:80")
        troubles.append(Trouble(kind, start_ns, end_ns))
    return troubles


def address_of(text: str) -> tuple[str, int]:
    """`HOST:PORT`. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{text!r} is no address; write HOST:PORT, such as 127.0.0.1:8001")
    return host, int(port)


async def _serve(given: argparse.Namespace) -> None:
    schedule = [
        trouble
        for kind, texts in (
            (Kind.STALL, given.stall), (Kind.OUTAGE, given.outage), (Kind.BLACK_HOLE, given.black_hole), (Kind.RESET, given.reset),
        )
        for trouble in troubles_of(kind, texts)
    ]  # fmt: skip
    weather = weather_of(given.weather, given.seed, schedule)
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    async with relay(weather, address_of(given.to), listen=address_of(given.listen)) as carried:
        print(json.dumps({"port": carried.port, "origin_ns": carried.origin_ns, "weather": weather.name}), flush=True)
        await ended.wait()
    print(json.dumps(asdict(carried.counts)), flush=True)


def main() -> int:
    """Read the command line and carry until a signal."""
    parser = argparse.ArgumentParser(description="Carry TCP connections through the weather of a link.")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--weather", default="5g-driving", help=f"{', '.join(PRESETS)}, or a trace (.csv, .jsonl)")
    parser.add_argument("--seed", type=int, default=0)
    for kind in ("stall", "outage", "black-hole"):
        parser.add_argument(
            f"--{kind}", action="append", default=[], metavar="FROM:TO", help="in seconds; may be repeated"
        )
    parser.add_argument("--reset", action="append", default=[], metavar="AT", help="in seconds; may be repeated")
    try:
        asyncio.run(_serve(parser.parse_args()))
    except (ConfigError, BackendError) as error:
        print(f"relay: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
