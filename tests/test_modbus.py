"""Modbus TCP with real sockets: the station's server, the station as a client of a PLC, and a PLC that goes and comes back."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edgeapp.core.events import MS, ConfigError, DeviceError, Outcome, Trigger, Verdict
from edgeapp.devices import modbus_client, modbus_server
from edgeapp.devices.encoder import Encoder
from edgeapp.devices.line_state import LineState, Station
from edgeapp.devices.plc_sim import Conveyor, PlcServer, plc_server
from edgeapp.devices.triggers import Triggers

pytestmark = pytest.mark.real_time

RUNNING = LineState(Station.RUNNING)
CLIENT = Path(__file__).parent / "clients" / "read_modbus.py"


def _after(state: LineState, part: int, outcome: Outcome = Outcome.PASS) -> LineState:
    return state.after(Verdict(outcome, "", "belt", part, 0, 7 * MS, 200 * MS), ())


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.002)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def _running(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[Any]:
    client: Any = AsyncModbusTcpClient("127.0.0.1", port=port)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


async def test_a_plc_reads_the_same_block_and_bits_by_all_four_functions() -> None:
    server = modbus_server.ModbusServer()
    server.publish(_after(RUNNING, 70_000, Outcome.FAIL))
    async with modbus_server.serve(modbus_server.Options(port=0), server) as port, _client(port) as plc:
        words = (await plc.read_input_registers(0, count=96, device_id=1)).registers
        assert words[:12] == [1, 1, 0, 1, 0, 1, 1, 4464, 2, 99, 7, 0]
        assert (await plc.read_holding_registers(0, count=96, device_id=1)).registers == words
        bits = (await plc.read_discrete_inputs(0, count=6, device_id=1)).bits[:6]
        assert bits == [True, False, True, False, False, True]
        assert (await plc.read_coils(0, count=6, device_id=1)).bits[:6] == bits


async def test_a_plc_pulls_the_trigger_tells_the_count_and_acknowledges_and_can_write_nothing_else() -> None:
    pulls: list[int] = []
    counts: list[int] = []
    acknowledged: list[bool] = []
    server = modbus_server.ModbusServer(
        on_trigger=pulls.append,
        on_encoder=lambda raw, _: counts.append(raw),
        on_acknowledge=lambda: acknowledged.append(True),
    )
    async with modbus_server.serve(modbus_server.Options(port=0), server) as port, _client(port) as plc:
        for level in (True, True, False, True):
            assert not (await plc.write_coil(16, level, device_id=1)).isError()
        assert len(pulls) == 2
        await plc.write_registers(128, [1, 2], device_id=1)
        assert counts == [65_538]
        await plc.write_coil(17, True, device_id=1)
        assert acknowledged == [True]
        for refused in (
            await plc.write_coil(1, True, device_id=1),
            await plc.write_register(2, 5, device_id=1),
            await plc.write_register(128, 5, device_id=1),
            await plc.read_holding_registers(97, count=1, device_id=1),
        ):
            assert refused.exception_code == 2
        assert (await plc.read_coils(0, count=6, device_id=1)).bits[:6] == [False] * 6


async def test_verdicts_that_left_the_ring_before_any_plc_read_are_counted() -> None:
    server = modbus_server.ModbusServer()
    state = RUNNING
    async with modbus_server.serve(modbus_server.Options(port=0), server) as port, _client(port) as plc:
        for part in range(1, 41):
            state = _after(state, part)
            server.publish(state)
            if part == 20:
                await plc.read_input_registers(0, count=96, device_id=1)
    assert server.unread == 4 + 4


async def test_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        options = modbus_server.Options(port=sock.getsockname()[1])
        with pytest.raises(ConfigError, match=r"Modbus cannot listen .* outputs.modbus.port"):
            async with modbus_server.serve(options, modbus_server.ModbusServer()):
                pass


async def test_a_simulated_conveyor_gets_one_verdict_for_each_of_its_parts() -> None:
    state = RUNNING
    server = modbus_server.ModbusServer()

    def judge(_: int) -> None:
        nonlocal state
        part = state.verdicts + 1
        state = _after(state, part, Outcome.FAIL if part % 3 == 0 else Outcome.PASS)
        server.publish(state)

    server._on_trigger = judge
    server.publish(state)
    async with modbus_server.serve(modbus_server.Options(port=0), server) as port:
        plc = Conveyor("127.0.0.1", port)
        await plc.run(30, 5 * MS)
    assert plc.late == []
    assert [(each.part, each.outcome) for each in plc.seen] == [(n, 2 if n % 3 == 0 else 1) for n in range(1, 31)]


async def test_the_example_client_sees_every_verdict_once() -> None:
    state = _after(RUNNING, 1)
    server = modbus_server.ModbusServer()
    server.publish(state)
    async with modbus_server.serve(modbus_server.Options(port=0), server) as port:
        reader = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), "127.0.0.1", str(port), "12", stdout=asyncio.subprocess.PIPE
        )
        assert reader.stdout
        assert await reader.stdout.readline() == b"reading\n"
        for part in range(2, 14):
            state = _after(state, part, Outcome.NOT_INSPECTED if part == 5 else Outcome.PASS)
            server.publish(state)
            await asyncio.sleep(0.001)
        said = (await reader.stdout.read()).decode().splitlines()
        assert await reader.wait() == 0
    assert [line.partition(" heartbeat")[0] for line in said[2:5]] == [
        "sequence 4 part 4 PASS reason 0",
        "sequence 5 part 5 NOT_INSPECTED reason 200",
        "sequence 6 part 6 PASS reason 0",
    ]
    assert [int(line.split()[1]) for line in said] == list(range(2, 14))


async def test_the_station_writes_each_verdict_into_the_plc_in_order_words_before_bits() -> None:
    plc = PlcServer()
    changes: list[DeviceError | None] = []
    async with plc_server(plc) as port:
        writer = modbus_client.PlcWriter(modbus_client.Options(host="127.0.0.1", port=port), changes.append)
        async with _running(writer.run()):
            await _until(lambda: writer.connected)
            state = RUNNING
            for part in range(1, 31):
                state = _after(state, part)
                writer.publish(state)
            await _until(lambda: plc.sequence == 30 and plc.history[-1][2].startswith("0:"))
    written = [(sequence, what[:2]) for _, sequence, what in plc.history if sequence]
    assert written == [(n, what) for n in range(1, 31) for what in ("wo", "0:")]
    assert [what for _, _, what in plc.history][-1] == "0:110000"
    assert changes == [None]
    assert writer.skipped == 0


async def test_a_plc_that_was_away_finds_the_state_as_it_is_now_and_no_old_coil() -> None:
    port, changes, plc = _free_port(), [], PlcServer()
    writer = modbus_client.PlcWriter(
        modbus_client.Options(host="127.0.0.1", port=port), lambda error: changes.append(str(error or "back"))
    )
    state = RUNNING
    async with _running(writer.run()):
        async with plc_server(plc, port):
            await _until(lambda: writer.connected)
            for part in range(1, 6):
                state = _after(state, part)
                writer.publish(state)
            await _until(lambda: not writer._waiting)
        await _until(lambda: not writer.connected)
        for part in range(6, 106):
            state = _after(state, part, Outcome.FAIL)
            writer.publish(state)
        with pytest.raises(DeviceError, match="its coil 40 was not set"):
            writer.coil(40, True)
        plc = PlcServer()
        async with plc_server(plc, port):
            await _until(lambda: plc.sequence == 105)
            state = _after(state, 106)
            writer.publish(state)
            await _until(lambda: plc.sequence == 106 and bool(plc.coils.get(1)))
    sequences = [sequence for _, sequence, what in plc.history if what == "words"]
    assert sequences == [105, 106]
    assert plc.coils[40] is False
    assert plc.words[12:18] == [0, 106, 0, 6, 0, 100]
    assert writer.skipped == 100
    assert [each if each == "back" else each[:7] for each in changes] == ["the PLC", "back", "the PLC", "back"]


async def test_a_plc_too_slow_for_the_line_gets_the_newest_in_order_and_the_rest_is_counted() -> None:
    plc = PlcServer()
    async with plc_server(plc) as port:
        writer = modbus_client.PlcWriter(modbus_client.Options(host="127.0.0.1", port=port), lambda _: None)
        async with _running(writer.run()):
            await _until(lambda: writer.connected)
            state = RUNNING
            for part in range(1, 501):  # at once: the PLC's answers cannot come in between
                state = _after(state, part)
                writer.publish(state)
            await _until(lambda: plc.sequence == 500 and not writer._waiting)
    written = [sequence for _, sequence, what in plc.history if what == "words" and sequence]
    assert written == sorted(written)
    assert len(written) == 64
    assert writer.skipped == 500 - 64


async def test_a_station_that_stops_says_so_to_its_plc() -> None:
    plc = PlcServer()
    async with plc_server(plc) as port:
        writer = modbus_client.PlcWriter(modbus_client.Options(host="127.0.0.1", port=port), lambda _: None)
        async with _running(writer.run()):
            writer.publish(RUNNING)
            await _until(lambda: bool(plc.coils.get(0)))
            writer.publish(LineState(Station.STOPPED))
        assert (plc.words[1], plc.coils[0]) == (2, False)


async def test_a_plc_that_refuses_an_address_is_told_apart_from_one_that_is_gone() -> None:
    changes: list[DeviceError | None] = []
    async with plc_server(PlcServer()) as port:
        options = modbus_client.Options(host="127.0.0.1", port=port, word=250)
        writer = modbus_client.PlcWriter(options, changes.append)
        async with _running(writer.run()):
            await _until(lambda: bool(changes))
    assert "refuses holding registers 250 to 345 (exception 2)" in str(changes[0])


def _poller(port: int, triggers: Triggers, **more: Any) -> modbus_client.PlcPoller:
    options = modbus_client.Options(host="127.0.0.1", port=port)
    return modbus_client.PlcPoller(options, period_ns=2 * MS, on_change=lambda _: None, triggers=triggers, **more)


async def test_a_plcs_counter_gives_every_part_a_number_also_those_between_two_polls_and_of_an_outage() -> None:
    lost: list[Trigger] = []
    triggers = Triggers("plc", depth=100, on_lost=lost.append)
    port, plc = _free_port(), PlcServer()
    plc.parts = 65_530
    got: list[int] = []

    async def read() -> None:
        async for each in triggers:
            got.append(each.number)  # noqa: PERF401 - each is looked for while the next is on its way

    async with _running(_poller(port, triggers, table="counter", address=200).run()), _running(read()):
        async with plc_server(plc, port):
            await _until(lambda: plc.reads > 1)
            for n in range(1, 11):
                plc.parts += 1
                await _until(lambda n=n: len(got) + len(lost) == n)  # type: ignore[misc]
            assert got == list(range(1, 11))
            plc.parts += 3
            await _until(lambda: len(got) + len(lost) == 13)
        plc.parts += 200  # an outage of the network: the PLC counted on
        async with plc_server(plc, port):
            await _until(lambda: len(got) + len(lost) == 213)
    assert sorted(got + [each.number for each in lost]) == list(range(1, 214))
    assert got == [*range(1, 11), 13, 213]


async def test_a_plcs_coil_is_cleared_once_it_was_seen_and_is_one_part() -> None:
    triggers = Triggers("plc", depth=100, on_lost=lambda _: None)
    plc = PlcServer()
    async with plc_server(plc) as port, _running(_poller(port, triggers, table="coil", address=64).run()):
        for _ in range(5):
            plc.trigger = True
            await _until(lambda: not plc.trigger)
    triggers.close()
    assert [each.number async for each in triggers] == [1, 2, 3, 4, 5]


async def test_a_plcs_encoder_moves_ours_also_where_its_counter_starts_over() -> None:
    encoder, triggers, plc = Encoder(), Triggers("plc", depth=1, on_lost=lambda _: None), PlcServer()
    plc.belt = (1 << 32) - 10
    async with plc_server(plc) as port:
        poller = _poller(port, triggers, table="counter", address=200, encoder=encoder, encoder_address=202)
        async with _running(poller.run()):
            await _until(lambda: plc.reads > 1)
            plc.belt += 25
            await _until(lambda: encoder.position == 25)


async def test_a_client_that_sends_garbage_or_breaks_off_does_not_disturb_the_others() -> None:
    server = modbus_server.ModbusServer()
    server.publish(_after(RUNNING, 5))
    rng = random.Random(1)
    async with modbus_server.serve(modbus_server.Options(port=0), server) as port, _client(port) as plc:
        for n in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(rng.randbytes(rng.randrange(1, 300)) if n % 2 else b"\x00\x01\x00\x00\x00\x06\x01")
            await writer.drain()
            if n % 3:
                writer.close()
            else:
                writer.transport.abort()
            assert (await plc.read_input_registers(4, count=4, device_id=1)).registers == [0, 1, 0, 5]
