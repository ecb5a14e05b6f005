"""The line wired from a configuration: triggers in, verdicts out, the gate, the alarms; on virtual time without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from edgeapp import config as settings
from edgeapp.apps.line import Outputs
from edgeapp.apps.outputs import mqtt_options, open_outputs
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, ConfigError, Outcome, Trigger, Verdict
from edgeapp.core.record import AlarmRecord, AnyRecord, DropRecord
from edgeapp.devices.belt_sim import Belt, turn
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.devices.line_state import Station
from edgeapp.devices.plc_sim import Conveyor, PlcServer, plc_server

GATE = """
[vision.trigger]
source = "gpio"
line = 4
[vision.encoder]
source = "gpio"
a = 5
b = 6
[outputs.gpio]
chip = "simulated"
passed = 10
failed = 11
heartbeat = 13
[outputs.reject]
by = "encoder"
line = 12
delay_counts = 400
window_counts = 40
pulse_ms = 30
"""


@asynccontextmanager
async def _line(toml: str) -> AsyncIterator[tuple[Outputs, list[AnyRecord]]]:
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        yield await open_outputs(settings.parse(toml), Parts(stack, records.append)), records


def _verdict(trigger: Trigger, outcome: Outcome) -> Verdict:
    return Verdict(outcome, "why", "belt", trigger.number, trigger.at_ns, now_ns(), trigger.at_ns + 200 * MS)


async def test_a_bad_part_is_rejected_where_it_is_and_good_ones_pass() -> None:
    async with _line(GATE) as (line, records):
        assert isinstance(line.chip, SimulatedChip)
        assert line.triggers
        chip, triggers = line.chip, line.triggers

        async def judge() -> None:
            async for trigger in triggers:
                line.triggered(trigger)
                await asyncio.sleep(0.05)
                line(_verdict(trigger, Outcome.FAIL if trigger.number == 3 else Outcome.PASS))

        judging = asyncio.create_task(judge())
        await turn(Belt(eye_line=4, a_line=5, b_line=6, counts_per_s=1000, pitch=200), chip, 2000)
        judging.cancel()
    gate = [(at // MS, level) for at, which, level in chip.history if which == 12]
    assert gate == [(1000, True), (1030, False)]
    assert sum(which == 10 and level for _, which, level in chip.history) == line.state.passed == 8
    assert [at // MS for at, which, level in chip.history if which == 11 and level] == [651]
    assert line.state.heartbeat == sum(which == 13 for _, which, _ in chip.history) == 9
    assert line.state.station is Station.STOPPED
    assert records == []


async def test_a_part_that_could_not_be_served_is_not_inspected_at_once_and_counted_and_rejected() -> None:
    toml = GATE.replace("line = 4\n", "line = 4\nwaiting = 2\n").replace('by = "encoder"', 'by = "time"')
    async with _line(toml) as (line, records):
        assert isinstance(line.chip, SimulatedChip)
        for n in range(4):
            asyncio.get_running_loop().call_later(0.1 * n, line.chip.set, 4, True)
            asyncio.get_running_loop().call_later(0.1 * n + 0.05, line.chip.set, 4, False)
        await asyncio.sleep(2)
        verdicts = [each for each in records if isinstance(each, Verdict)]
        assert [(each.frame_number, each.outcome, each.at_ns) for each in verdicts] == [
            (3, Outcome.NOT_INSPECTED, 200 * MS),
            (4, Outcome.NOT_INSPECTED, 300 * MS),
        ]
        assert (line.state.triggers_lost, line.state.not_inspected, line.state.heartbeat) == (2, 2, 0)
        assert [at // MS for at, which, level in line.chip.history if which == 12 and level] == [700, 800]
    assert [(each.where, each.dropped) for each in records if isinstance(each, DropRecord)] == [("vision.trigger", 2)]


async def test_a_missed_rejection_is_an_alarm_that_names_the_part_until_it_is_acknowledged() -> None:
    toml = GATE.replace('by = "encoder"', 'by = "encoder"\nparts_between = 1')
    async with _line(toml) as (line, records):
        for number in (7, 8):
            line.triggered(Trigger(number, 0, "gpio 4", 0))
        alarms = [each for each in records if isinstance(each, AlarmRecord)]
        assert [(each.part, each.where) for each in alarms] == [(8, "outputs.reject")]
        assert alarms[0].what.startswith("part 8 was not rejected: more than 1 parts between")
        assert (line.state.rejects_missed, line.state.alarm, line.state.alarms) == (1, True, 1)
        line.acknowledge("ann")
        assert (line.state.alarm, line.state.alarms) == (False, 1)


async def test_without_a_configuration_there_is_nothing_to_tell_and_nothing_pulls() -> None:
    async with _line("") as (line, records):
        assert line.triggers is None
        line.triggered(Trigger(1, 0, "camera"))
        line(_verdict(Trigger(1, 0, "camera"), Outcome.PASS))
        assert line.state.verdicts == 1
    assert records == []


@pytest.mark.real_time
async def test_a_plc_pulls_the_trigger_and_reads_its_verdict_through_the_whole_wiring() -> None:
    config = settings.parse('[vision.trigger]\nsource = "modbus"\nhold_off_ms = 0\n[outputs.modbus]\nserve = true')
    config = _with_any_port(config)
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        line = await open_outputs(config, Parts(stack, records.append))
        assert line.triggers
        triggers = line.triggers

        async def judge() -> None:
            async for trigger in triggers:
                line(_verdict(trigger, Outcome.FAIL if trigger.number % 5 == 0 else Outcome.PASS))

        judging = asyncio.create_task(judge())
        plc = Conveyor("127.0.0.1", line.modbus_port)
        await plc.run(20, 10 * MS)
        judging.cancel()
    assert [(each.part, each.outcome) for each in plc.seen] == [(n, 2 if n % 5 == 0 else 1) for n in range(1, 21)]


@pytest.mark.real_time
async def test_a_gate_behind_a_plc_is_its_coil_and_a_plc_that_goes_is_an_alarm() -> None:
    plc = PlcServer()
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        async with plc_server(plc) as port:
            toml = f"""
            [vision.trigger]
            source = "plc"
            address = 200
            [outputs.modbus]
            plc_host = "127.0.0.1"
            plc_port = {port}
            [outputs.reject]
            by = "time"
            plc_coil = 40
            delay_ms = 50
            window_ms = 500
            """
            line = await open_outputs(settings.parse(toml), Parts(stack, records.append))
            assert line.triggers
            async with asyncio.timeout(20):
                while plc.reads < 2 or not plc.coils.get(0):
                    await asyncio.sleep(0.005)
                plc.parts += 1
                trigger = await anext(aiter(line.triggers))
                line.triggered(trigger)
                line(_verdict(trigger, Outcome.FAIL))
                while [what for *_, what in plc.history if what.startswith("40:")][-2:] != ["40:1", "40:0"]:
                    await asyncio.sleep(0.005)
        async with asyncio.timeout(20):
            while not line.state.alarm:
                await asyncio.sleep(0.005)
    alarms = [each.what for each in records if isinstance(each, AlarmRecord)]
    assert alarms[0] == f"the PLC at 127.0.0.1:{port} is gone: check its cable and address"


@pytest.mark.real_time
async def test_what_a_plc_was_not_told_stands_in_the_records() -> None:
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        config = settings.parse('[outputs.modbus]\nplc_host = "127.0.0.1"\nplc_port = 9')
        line = await open_outputs(config, Parts(stack, records.append))
        for number in range(1, 6):
            line(_verdict(Trigger(number, 0, "camera"), Outcome.PASS))
    assert [each.dropped for each in records if isinstance(each, DropRecord)] == [5]


def _with_any_port(config: settings.Config) -> settings.Config:
    import msgspec

    modbus = msgspec.structs.replace(config.outputs.modbus, port=0)
    return msgspec.structs.replace(config, outputs=msgspec.structs.replace(config.outputs, modbus=modbus))


BAD = [
    ('[vision.trigger]\nsource = "gpio"', "vision.trigger.source is 'gpio', which needs outputs.gpio.chip"),
    (
        '[vision.trigger]\nsource = "modbus"',
        "vision.trigger.source is 'modbus', which needs outputs.modbus.serve = true",
    ),
    ('[vision.encoder]\nsource = "plc"', "vision.encoder.source is 'plc', which needs outputs.modbus.plc_host"),
    ('[vision.trigger]\nsource = "encoder"', "vision.trigger.source is 'encoder', which needs vision.encoder.source"),
    ('[vision.trigger]\nsource = "eye"', "key 'vision.trigger.source': invalid enum value 'eye'"),
    ("[vision.trigger]\nwaiting = 0", "vision.trigger.waiting is 0"),
    ("[vision.trigger]\ncounts = 0", "vision.trigger.counts is 0"),
    ("[vision.trigger]\nperiod_ms = 0", "vision.trigger.period_ms is 0; give a number above 0"),
    ("[vision.trigger]\nhold_off_ms = -1", "vision.trigger.hold_off_ms is -1; give a number from 0 to 10000"),
    ("[outputs.gpio]\npassed = 3", "GPIO lines are named, which needs outputs.gpio.chip"),
    ('[outputs.gpio]\nchip = "simulated"\npassed = 3\nfailed = 3', "GPIO line 3 is used twice"),
    ('[outputs.reject]\nby = "time"', "outputs.reject needs exactly one of line and plc_coil"),
    ('[outputs.reject]\nby = "time"\nplc_coil = 4', "outputs.reject.plc_coil needs outputs.modbus.plc_host"),
    (
        '[outputs.reject]\nby = "encoder"\nline = 4\n[outputs.gpio]\nchip = "simulated"',
        "outputs.reject.by is 'encoder', which",
    ),
    ("[outputs.modbus]\nport = 70000", "outputs.modbus.port is 70000; give a port from 1 to 65535"),
    ("[outputs.modbus]\nunit = 256", "outputs.modbus.unit is 256; give a unit from 0 to 255"),
    ("[outputs.modbus]\nplc_word = 65500", "outputs.modbus.plc_word is 65500; give an address from 0 to 65400"),
    ('[outputs.mqtt]\npassword = "x"', "unknown key 'outputs.mqtt.password'"),
    (
        '[outputs.mqtt]\npassword_env = "A"\npassword_file = "b"',
        "outputs.mqtt names both password_env and password_file",
    ),
    ('[outputs.mqtt]\nprefix = "a/#"', "outputs.mqtt.prefix must be a topic"),
    ('[outputs.mqtt]\ncertificate = "a"', "outputs.mqtt.certificate and key go together"),
    ("[outputs.mqtt]\noutbox_rows = 0", "outputs.mqtt.outbox_rows is 0"),
    ('[outputs.opcua]\nkey = "a"', "outputs.opcua.certificate and key go together"),
]


@pytest.mark.parametrize(("toml", "sentence"), BAD, ids=[row[1] for row in BAD])
def test_a_line_that_does_not_add_up_is_told_in_a_sentence(toml: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings.parse(toml, "edge.toml")
    assert str(error.value).startswith(f"edge.toml: {sentence}")


def test_the_brokers_password_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "s3cret")
    (tmp_path / "password").write_text("s3cret\n")
    for section in (
        settings.MqttOutput(host="broker", password_env="BROKER_PASSWORD"),
        settings.MqttOutput(host="broker", password_file=str(tmp_path / "password")),
    ):
        options = mqtt_options(section, "station-3")
        assert (options.password, options.client) == ("s3cret", "station-3")
        assert "s3cret" not in repr(options)
    with pytest.raises(ConfigError, match="password_env names NOT_SET_HERE, which is not set"):
        mqtt_options(settings.MqttOutput(host="broker", password_env="NOT_SET_HERE"), "")
    with pytest.raises(ConfigError, match="password_file cannot be read: No such file"):
        mqtt_options(settings.MqttOutput(host="broker", password_file=str(tmp_path / "none")), "")
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match="is no text; give a file with the password alone"):
        mqtt_options(settings.MqttOutput(host="broker", password_file=str(tmp_path / "picture")), "")
