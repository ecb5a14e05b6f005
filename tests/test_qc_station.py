"""The station around its ledger: it stops and goes on, knows what an earlier run left, and hears of parts a PLC counted meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.station import ENDED, EachFrame, QcStation, open_station
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Box, CameraFrame, ConfigError, DeviceError, Outcome, TimestampKind, Trigger, Verdict
from edgeapp.core.record import AlarmRecord, AnyRecord
from edgeapp.devices.line_state import Station
from edgeapp.devices.plc_sim import PlcServer, plc_server
from edgeapp.station.audit import verify
from edgeapp.station.store import open_reading
from edgeapp.vision.rules import InspectionRule

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def _station(toml: str) -> AsyncIterator[tuple[QcStation, list[AnyRecord]]]:
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        yield await open_station(settings.parse(toml), Parts(stack, records.append), Placements(), "belt"), records


def _give(station: QcStation, outcome: Outcome) -> int:
    """The next part, from its trigger to its verdict."""
    trigger = Trigger(station.number + 1, now_ns(), "belt")
    station.came(trigger)
    due_ns = now_ns() + 5_000 * MS
    station.judged(Verdict(outcome, "as told", "belt", trigger.number, trigger.at_ns, now_ns(), due_ns))
    return trigger.number


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


_KEYS = (
    ("kind",),
    ("kind", "where", "what", "part"),
    ("kind", "command", "by", "stopped"),
    ("kind", "operator", "lot", "by"),
    ("kind",),
)


def _rows(folder: Path) -> list[tuple[int, str, str]]:
    with closing(open_reading(folder)) as database:
        return list(database.execute("SELECT frame_number, outcome, why FROM verdicts ORDER BY frame_number"))


async def test_three_rejects_in_a_row_stop_it_nothing_passes_then_and_an_acknowledgement_lets_it_go_on(
    tmp_path: Path,
) -> None:
    async with _station(f'[station]\nfolder = "{tmp_path}"\nstop_after = 3') as (station, records):
        for _ in range(3):
            _give(station, Outcome.FAIL)
        await _until(lambda: station.outputs.state.failed == 3)
        states = [station.outputs.state.station]
        assert station.outputs.state.alarm
        _give(station, Outcome.PASS)
        await _until(lambda: station.outputs.state.not_inspected == 1)
        station.outputs.acknowledge("ann")
        states.append(station.outputs.state.station)
        _give(station, Outcome.PASS)
        await _until(lambda: station.outputs.state.passed == 1)
    assert states == [Station.STOPPED, Station.RUNNING]
    why = "stopped: 3 rejects in a row: look at the line, then acknowledge"
    assert [each[1:] for each in _rows(tmp_path)] == [
        *[("FAIL", "as told")] * 3, ("NOT_INSPECTED", why), ("PASS", "as told"),
    ]  # fmt: skip
    assert [each.what for each in records if isinstance(each, AlarmRecord)] == [why.removeprefix("stopped: ")]


async def test_alarms_acknowledgements_and_who_takes_over_are_rows_between_the_verdicts(tmp_path: Path) -> None:
    async with _station(f'[station]\nfolder = "{tmp_path}"\nstop_after = 1\nlot = "L1"') as (station, _):
        _give(station, Outcome.FAIL)
        await _until(lambda: station.outputs.state.alarm)
        station.outputs.acknowledge("ann")
        station.takes_over("bob", "L2", by="ann")
        _give(station, Outcome.PASS)
        await _until(lambda: station.outputs.state.passed == 1)
    with closing(open_reading(tmp_path)) as database:
        rows = [json.loads(body) for (body,) in database.execute("SELECT body FROM entries ORDER BY seq")]
        whose = list(database.execute("SELECT outcome, operator, lot FROM verdicts ORDER BY seq"))
    why = "1 rejects in a row: look at the line, then acknowledge"
    said = [{key: row[key] for key in keys} for row, keys in zip(rows[1:], _KEYS, strict=True)]
    assert said == [
        {"kind": "verdict"},
        {"kind": "alarm", "where": "station", "what": why, "part": 1},
        {"kind": "command", "command": "acknowledge", "by": "ann", "stopped": why},
        {"kind": "line", "operator": "bob", "lot": "L2", "by": "ann"},
        {"kind": "verdict"},
    ]
    assert whose == [("FAIL", "", "L1"), ("PASS", "bob", "L2")]
    assert verify(tmp_path).ok


async def test_parts_that_came_and_had_no_verdict_get_one_at_the_next_start_and_numbers_go_on(tmp_path: Path) -> None:
    toml = f'[station]\nfolder = "{tmp_path}"'
    async with _station(toml) as (station, _):
        _give(station, Outcome.PASS)
        for number in (2, 3):
            station.came(Trigger(number, now_ns(), "belt"))  # and the station ends before anybody has looked
        _give(station, Outcome.FAIL)
    async with _station(toml) as (station, records):
        assert station.number == 4
        assert _give(station, Outcome.PASS) == 5
    assert _rows(tmp_path) == [
        (1, "PASS", "as told"), (2, "NOT_INSPECTED", ENDED), (3, "NOT_INSPECTED", ENDED), (4, "FAIL", "as told"), (5, "PASS", "as told"),
    ]  # fmt: skip
    assert [each.what for each in records if isinstance(each, AlarmRecord)] == [
        "2 parts came and had no verdict when the station ended: NOT_INSPECTED"
    ]
    async with _station(toml) as (_, records):
        assert records == []
    assert verify(tmp_path).wrong == []


async def test_nothing_passes_while_the_golden_parts_are_due(tmp_path: Path) -> None:
    async with _station(f'[station]\nfolder = "{tmp_path}"') as (station, _):
        station.golden = lambda: "the golden parts are due"
        _give(station, Outcome.PASS)
        await _until(lambda: station.outputs.state.verdicts == 1)
    assert _rows(tmp_path) == [(1, "NOT_INSPECTED", "the golden parts are due")]


async def test_a_plc_is_told_a_defects_place_in_the_rule_that_decides() -> None:
    async with _station("") as (station, _):
        fails = Verdict(Outcome.FAIL, "x", "belt", 1, 0, 1, 2, (Box(0, 0, 1, 1, "bubble", 0.9),), causes=("bubble",))
        station.judged(fails)
        states = [station.outputs.state]
        station.judges_by(InspectionRule(("bottle",), ("chip", "bubble")))
        station.judged(fails)
        states.append(station.outputs.state)
    assert [state.last and state.last.reason for state in states] == [99, 2]


async def test_without_a_ledger_verdicts_are_told_at_once_and_a_stop_still_stops() -> None:
    async with _station("[station]\nstop_after = 1") as (station, records):
        _give(station, Outcome.FAIL)
        _give(station, Outcome.PASS)
        assert [each.outcome for each in records if isinstance(each, Verdict)] == ["FAIL", "NOT_INSPECTED"]


async def test_parts_that_a_plc_counted_while_there_was_no_station_are_not_inspected_each(tmp_path: Path) -> None:
    plc = PlcServer()
    async with plc_server(plc) as port:
        toml = f"""
        [vision.trigger]
        source = "plc"
        address = 200
        [outputs.modbus]
        plc_host = "127.0.0.1"
        plc_port = {port}
        [station]
        folder = "{tmp_path}"
        """
        plc.parts = 65_530
        async with _station(toml) as (station, _):
            triggers = station.outputs.triggers
            assert triggers
            await _until(lambda: plc.reads > 3)
            plc.parts += 1
            trigger = await anext(aiter(triggers))
            station.lost(trigger)
            await _until(lambda: station.outputs.state.verdicts == 1)
        plc.parts += 10  # over the end of its 16 bits
        async with _station(toml) as (station, _):
            await _until(lambda: station.outputs.state.verdicts == 10)
    assert [each[:2] for each in _rows(tmp_path)] == [(number, "NOT_INSPECTED") for number in range(1, 12)]


async def test_a_frame_that_the_camera_dropped_is_a_part_that_nobody_saw(tmp_path: Path) -> None:
    import numpy as np

    async def frames() -> AsyncIterator[CameraFrame]:
        for number in (1, 2, 5):
            yield CameraFrame(np.zeros((4, 4, 3), np.uint8), now_ns(), number, "belt", TimestampKind.FILE)

    async with _station(f'[station]\nfolder = "{tmp_path}"') as (station, _):
        triggers = station.frames_as_triggers()
        seen = [frame.number async for frame in EachFrame(frames(), triggers, every=True)]
        waiting = [trigger.number async for trigger in triggers]
    assert (seen, waiting) == ([1, 2, 5], [1, 2, 5])
    assert [each[0] for each in _rows(tmp_path)] == [3, 4]


async def test_a_camera_that_is_lost_can_be_iterated_again() -> None:
    import numpy as np

    class Camera:
        at = 0

        async def __aiter__(self) -> AsyncIterator[CameraFrame]:
            self.at += 1
            yield CameraFrame(np.zeros((4, 4, 3), np.uint8), now_ns(), self.at, "belt", TimestampKind.FILE)
            if self.at == 1:
                raise DeviceError("the camera is gone")

    async with _station("") as (station, _):
        triggers = station.frames_as_triggers()
        frames = EachFrame(Camera(), triggers, every=True)
        with pytest.raises(DeviceError):
            [frame async for frame in frames]
        assert [frame.number async for frame in frames] == [2]
        assert [trigger.number async for trigger in triggers] == [1, 2]


def test_a_station_whose_key_cannot_be_read_does_not_start(tmp_path: Path) -> None:
    async def start() -> None:
        async with _station(f'[station]\nfolder = "{tmp_path}"\nkey_file = "{tmp_path}/none"'):
            pass

    with pytest.raises(ConfigError, match="cannot read the ledger's key"):
        asyncio.run(start())
