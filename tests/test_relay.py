"""The relay: arithmetic on virtual instants, then real bytes through real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeapp.core.events import MS, ConfigError
from edgeapp.near_edge import relay as relays
from edgeapp.near_edge.relay import Relay, Shaper, address_of, relay, troubles_of, weather_of
from edgeapp.near_edge.trace import Trace
from edgeapp.near_edge.weather import Kind, Trouble, Weather

ROOT = Path(__file__).parent.parent


def link(*troubles: tuple[Kind, int, int], rtt_ms: int = 4, mbps: float = 800) -> Weather:
    """A steady link, and troubles in ms."""
    trace = Trace("steady", [(0, rtt_ms * MS, mbps * 1e6, mbps * 1e6, 0.0)])
    return Weather(trace, schedule=[Trouble(kind, start * MS, end * MS) for kind, start, end in troubles])


# When bytes are through


def test_bytes_wait_for_those_before_them_and_share_the_rate() -> None:
    shaper = Shaper(link(rtt_ms=20, mbps=8))
    assert shaper.through_ns(0, 1_000, "up") == 11 * MS
    assert shaper.through_ns(0, 1_000, "up") == 12 * MS, "of another connection, but on the same link"
    assert shaper.through_ns(0, 1_000, "down") == 11 * MS, "the ways do not share"
    assert shaper.through_ns(50 * MS, 0, "up", 90 * MS) == 90 * MS, "never before what was sent before it"


def test_a_shorter_way_does_not_reorder_what_one_connection_sent() -> None:
    shaper = Shaper(Weather(Trace("t", [(0, 100 * MS, 1e9, 1e9, 0.0), (10 * MS, 2 * MS, 1e9, 1e9, 0.0)])))
    first = shaper.through_ns(9 * MS, 0, "up")
    assert first == 59 * MS
    assert shaper.through_ns(12 * MS, 0, "up", first) == 59 * MS


def test_a_retransmission_after_an_outage_holds_up_its_own_connection_alone() -> None:
    shaper = Shaper(link((Kind.OUTAGE, 1_000, 21_000)))
    before = shaper.through_ns(990 * MS, 3_000_000, "up")  # under way when it begins
    during = shaper.through_ns(17_000 * MS, 1_000, "up")
    assert before is not None
    assert during is not None
    assert min(before, during) > 21_000 * MS
    new = shaper.through_ns(21_010 * MS, 1_000, "up")
    assert new is not None
    assert new < 21_100 * MS


def test_lumps_are_two_milliseconds_of_the_rate() -> None:
    assert Shaper(link(mbps=80)).slice_bytes(0, "up") == 20_000
    assert Shaper(link(mbps=0.01)).slice_bytes(0, "up") == 1_448
    assert Shaper(link(mbps=10_000)).slice_bytes(0, "down") == 65_536


def test_a_black_hole_swallows() -> None:
    assert Shaper(link((Kind.BLACK_HOLE, 0, 100))).through_ns(5, 10, "down") is None


# The command's words


def test_times_addresses_and_weathers_are_read_strictly(tmp_path: Path) -> None:
    assert troubles_of(Kind.OUTAGE, ["60:80", "1.5:2"])[1] == Trouble(Kind.OUTAGE, 1_500 * MS, 2_000 * MS)
    assert troubles_of(Kind.RESET, ["3"]) == [Trouble(Kind.RESET, 3_000 * MS, 3_000 * MS)]
    for wrong in ("80:60", "soon", "5", "-1:2"):
        with pytest.raises(ConfigError, match="such as 60:80"):
            troubles_of(Kind.STALL, [wrong])
    assert address_of("[::1]:80") == ("[::1]", 80)
    for wrong in ("8001", "host:", "host:99999"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            address_of(wrong)
    (tmp_path / "t.csv").write_text("time,rtt_ms\n0,20\n")
    assert weather_of(str(tmp_path / "t.csv"), 1).at(0).rtt_ns == 20 * MS
    assert weather_of("lte-walking", 1).name == "lte-walking"


# Real bytes


@asynccontextmanager
async def carried(weather: Weather, *, echo: bool = True) -> AsyncIterator[tuple[Relay, list[asyncio.StreamWriter]]]:
    """A relay in front of a server that sends back what it gets, or only takes it."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while piece := await reader.read(65_536):
                if echo:
                    writer.write(piece)
                    await writer.drain()
            writer.close()
        except ConnectionError:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with relay(weather, server.sockets[0].getsockname()) as through:
            yield through, writers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def said(port: int, message: bytes) -> bytes:
    """Send, close that way, and read all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.create_task(_send(writer, message))
    answer = await reader.read(-1)
    await sending
    writer.close()
    return answer


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(message)
    await writer.drain()
    writer.write_eof()


@pytest.mark.real_time
async def test_every_byte_comes_through_in_order_on_several_connections() -> None:
    chance = random.Random(1)
    messages = [chance.randbytes(size) for size in (0, 1, 70_001, 400_000)]
    async with carried(link((Kind.STALL, 20, 40), (Kind.OUTAGE, 60, 61))) as (through, _):
        answers = await asyncio.gather(*(said(through.port, each) for each in messages))
        assert answers == messages
        counts = through.counts
        assert counts.up_bytes == counts.down_bytes == sum(map(len, messages))
        assert (counts.connections, counts.swallowed_bytes, counts.refused) == (4, 0, 0)


@pytest.mark.real_time
async def test_what_is_under_way_is_bounded_and_the_sender_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "_HELD_BYTES", 100_000)
    message = random.Random(2).randbytes(1_000_000)
    async with carried(link((Kind.STALL, 0, 100))) as (through, _):
        assert await said(through.port, message) == message
        assert through.counts.held_bytes <= 100_000 + 65_536


@pytest.mark.real_time
async def test_the_round_trip_is_never_shorter_than_the_links() -> None:
    loop = asyncio.get_running_loop()
    async with carried(link(rtt_ms=30)) as (through, _):
        started = loop.time()
        assert await said(through.port, b"ping") == b"ping"
        assert loop.time() - started >= 0.059, "one for the connection, one for the bytes"


@pytest.mark.real_time
async def test_a_black_hole_accepts_and_says_nothing_even_afterwards() -> None:
    async with carried(link((Kind.BLACK_HOLE, 0, 80))) as (through, writers):
        reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
        writer.write(b"anybody?")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.15)
        assert not writers, "the near edge never heard of it"
        assert through.counts.swallowed_bytes == 8
        assert await said(through.port, b"again") == b"again", "a new connection is heard"
        writer.close()


@pytest.mark.real_time
async def test_a_reset_cuts_both_ends_and_new_connections_live() -> None:
    async with carried(link((Kind.RESET, 60, 60))) as (through, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
        writer.write(b"before")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(7)
        writer.close()
        assert through.counts.reset == 1
        assert await said(through.port, b"after") == b"after"


@pytest.mark.real_time
async def test_no_server_and_a_server_that_dies_end_the_connection() -> None:
    async with relay(link(), ("127.0.0.1", 1)) as through:
        assert await _ended(through.port)
        assert through.counts.refused == 1
    async with carried(link(), echo=False) as (through, writers):
        reader, writer = await asyncio.open_connection("127.0.0.1", through.port)
        writer.write(b"question")
        while not writers:
            await asyncio.sleep(0.001)
        writers[0].transport.abort()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()


async def _ended(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(1), 5) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


@pytest.mark.real_time
async def test_too_many_connections_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "_CONNECTIONS", 1)
    async with carried(link()) as (through, _):
        _, writer = await asyncio.open_connection("127.0.0.1", through.port)
        assert await _ended(through.port)
        assert through.counts.too_many == 1
        writer.close()
        with pytest.raises(ConfigError, match="cannot listen"):
            async with relay(link(), ("127.0.0.1", 1), listen=("127.0.0.1", through.port)):
                pass


async def _command(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeapp.near_edge.relay", *words,
        cwd=ROOT, env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.real_time
async def test_in_a_process_of_its_own_it_says_where_it_listens_and_what_it_carried() -> None:
    server = await asyncio.start_server(_parrot, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await _command("--to", f"127.0.0.1:{port}", "--weather", "fibre", "--outage", "100:120")
    assert process.stdout is not None
    told = json.loads(await process.stdout.readline())
    assert told["weather"] == "fibre"
    assert told["origin_ns"] <= asyncio.get_running_loop().time() * 1e9, "the same clock in every process"
    assert await said(told["port"], b"parrot") == b"parrot"
    process.send_signal(signal.SIGTERM)
    counts = json.loads(await process.stdout.readline())
    assert await process.wait() == 0
    assert counts["up_bytes"] == counts["down_bytes"] == 6
    server.close()


async def _parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(-1))
    writer.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--to", "nowhere"], "HOST:PORT"), (["--to", "127.0.0.1:1", "--weather", "hail"], "there is no weather called")],
)
@pytest.mark.real_time
async def test_a_wrong_word_is_one_sentence(words: Sequence[str], says: str) -> None:
    process = await _command(*words)
    _, error = await process.communicate()
    assert process.returncode == 2
    assert says in error.decode()
    assert "Traceback" not in error.decode()
