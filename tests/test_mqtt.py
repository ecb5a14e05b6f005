"""MQTT against a real Mosquitto that is killed and started again: nothing lost, order kept, no secret told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mosquitto
import pytest

from edgeapp.core.events import MS, Box, DeviceError, Outcome, Verdict
from edgeapp.core.record import AlarmRecord
from edgeapp.devices.line_state import LineState, Station
from edgeapp.devices.mqtt import Mqtt, Options
from edgeapp.devices.outbox import Outbox
from edgeapp.near_edge import certificates

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(not mosquitto.MOSQUITTO, reason=mosquitto.MISSING),
]
READER = Path(__file__).parent / "clients" / "read_mqtt.sh"


class Judge:
    """Gives verdicts, one a call."""

    def __init__(self, mqtt: Mqtt) -> None:
        self.mqtt, self.state = mqtt, LineState(Station.RUNNING)

    def judge(self, parts: int) -> None:
        for _ in range(parts):
            part = self.state.verdicts + 1
            outcome = Outcome.FAIL if part % 4 == 0 else Outcome.PASS
            box = Box(1, 2, 3, 4, "scratch", 0.75)
            verdict = Verdict(outcome, f"part {part}", "belt", part, 0, 42 * MS, 200 * MS, (box,), "abc")
            self.state = self.state.after(verdict, ("scratch",))
            assert self.state.last
            self.mqtt.verdict(verdict, self.state.last)
            self.mqtt.state(self.state)


@asynccontextmanager
async def _sending(options: Options, changes: list[str] | None = None) -> AsyncIterator[tuple[Mqtt, Judge]]:
    told = changes if changes is not None else []

    def changed(error: DeviceError | None) -> None:
        told.append(str(error or "connected"))

    mqtt = Mqtt(options, changed)
    task = asyncio.create_task(mqtt.run())
    try:
        yield mqtt, Judge(mqtt)
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()


async def _until(true: Callable[[], bool], seconds: float = 12) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def _options(broker: mosquitto.Broker | mosquitto.Cable, folder: Path, **more: Any) -> Options:
    return Options(host="127.0.0.1", port=broker.port, outbox=folder / "outbox.sqlite", **more)


def _once(messages: list[dict[str, Any]]) -> list[int]:
    """The parts in the order of their messages, repetitions told by their id left out."""
    seen: set[int] = set()
    return [each["part"] for each in messages if not (each["id"] in seen or seen.add(each["id"]))]  # type: ignore[func-returns-value]


async def test_a_verdict_is_one_json_object_and_the_state_is_kept_for_whoever_comes_later(tmp_path: Path) -> None:
    async with mosquitto.running(tmp_path) as broker:
        async with mosquitto.Reader(broker.port) as reader, _sending(_options(broker, tmp_path)) as (mqtt, station):
            station.judge(4)
            mqtt.alarm(AlarmRecord("reject", 0, "part 3 was not rejected", 3))
            await _until(lambda: len(reader.of("edgeapp/verdict")) == 4 and bool(reader.of("edgeapp/alarm")))
            verdict = reader.of("edgeapp/verdict")[3]
            assert verdict.pop("at").endswith("+00:00")
            assert verdict == {
                "id": 4, "sequence": 4, "part": 4, "source": "belt", "outcome": "FAIL", "reason": 1, "why": "part 4",
                "age_ms": 42.0, "late": False, "model": "abc",
                "boxes": [{"left": 1, "top": 2, "right": 3, "bottom": 4, "label": "scratch", "score": 0.75}],
            }  # fmt: skip
            assert reader.of("edgeapp/alarm")[0]["what"] == "part 3 was not rejected"
            await _until(lambda: mqtt.waiting == 0 and (reader.last("edgeapp/state") or {}).get("verdicts") == 4)
        async with mosquitto.Reader(broker.port) as late:
            await _until(lambda: late.last("edgeapp/status") == "offline" and bool(late.last("edgeapp/state")))
            state = late.last("edgeapp/state")
            assert (state["passed"], state["failed"], state["station"]) == (3, 1, "running")


async def test_a_broker_that_is_killed_and_back_after_an_hour_of_parts_gets_every_verdict_in_order(
    tmp_path: Path,
) -> None:
    changes: list[str] = []
    async with mosquitto.running(tmp_path) as broker, mosquitto.Reader(broker.port) as reader:
        cable = mosquitto.Cable(broker)
        await cable.mend()
        async with _sending(_options(cable, tmp_path), changes) as (mqtt, station):
            station.judge(100)
            await _until(lambda: len(reader.of("edgeapp/verdict")) == 100 and mqtt.waiting == 0)
            broker.kill()
            cable.cut()
            reader.subscribed.clear()
            for _ in range(40):  # two a second for an hour, less a half
                station.judge(90)
                await asyncio.sleep(0)
            await _until(lambda: mqtt.waiting == 3600)
            await broker.start()
            await reader.subscribed.wait()
            await cable.mend()
            await _until(lambda: mqtt.waiting < 3600)
            station.judge(100)
            await _until(lambda: len(_once(reader.of("edgeapp/verdict"))) == 3800 and mqtt.waiting == 0)
            cable.cut()
    assert _once(reader.of("edgeapp/verdict")) == list(range(1, 3801))
    assert (mqtt.dropped, mqtt.unstored) == (0, 0)
    assert [each.split(" (")[0].split(" at ")[0] for each in changes[:3]] == [
        "connected",
        "the MQTT broker",
        "connected",
    ]


async def test_a_cable_cut_in_the_middle_of_a_stream_again_and_again_loses_nothing_and_keeps_the_order(
    tmp_path: Path,
) -> None:
    async with mosquitto.running(tmp_path) as broker, mosquitto.Reader(broker.port) as reader:
        cable = mosquitto.Cable(broker)
        await cable.mend()
        async with _sending(_options(cable, tmp_path)) as (mqtt, station):
            for _ in range(5):
                await _until(lambda: mqtt.connected)
                for _ in range(10):
                    station.judge(20)
                    await asyncio.sleep(0.005)
                cable.cut()
                await _until(lambda: not mqtt.connected)
                await cable.mend()
            await _until(lambda: mqtt.waiting == 0 and len(_once(reader.of("edgeapp/verdict"))) == 1000)
            cable.cut()
    assert _once(reader.of("edgeapp/verdict")) == list(range(1, 1001))


async def test_a_station_whose_cable_is_cut_is_offline_by_its_last_will_and_sends_what_a_killed_one_left(
    tmp_path: Path,
) -> None:
    box = Outbox(tmp_path / "outbox.sqlite", rows_max=1000)
    box.put([("edgeapp/verdict", f'{{"part": {n}}}') for n in range(1, 201)])
    box.close()
    async with mosquitto.running(tmp_path) as broker, mosquitto.Reader(broker.port) as reader:
        cable = mosquitto.Cable(broker)
        await cable.mend()
        async with _sending(_options(cable, tmp_path)) as (mqtt, _):
            await _until(lambda: len(reader.of("edgeapp/verdict")) == 200 and mqtt.waiting == 0)
            cable.cut()
            await _until(lambda: reader.of("edgeapp/status") == ["online", "offline"])
            await cable.mend()
            await _until(lambda: reader.of("edgeapp/status") == ["online", "offline", "online"])
        await _until(lambda: reader.of("edgeapp/status")[3:] == ["offline"])
        cable.cut()
    assert [each["part"] for each in reader.of("edgeapp/verdict")] == list(range(1, 201))


async def test_what_the_bound_drops_is_counted_told_once_and_said_in_the_state(tmp_path: Path) -> None:
    changes: list[str] = []
    async with mosquitto.running(tmp_path) as broker:
        broker.kill()
        async with _sending(_options(broker, tmp_path, outbox_rows=50), changes) as (mqtt, station):
            station.judge(40)
            await _until(lambda: mqtt.waiting == 40)
            for _ in range(5):
                station.judge(20)
                await _until(lambda: mqtt.waiting == 50)
            await _until(lambda: mqtt.dropped == 90)
            await broker.start()
            async with mosquitto.Reader(broker.port) as reader:
                await _until(lambda: bool(reader.of("edgeapp/state")))
                assert reader.of("edgeapp/state")[-1]["outbox_dropped"] == 90
    assert sum("more than 50 MQTT messages wait" in each for each in changes) == 1


async def test_a_disk_that_refuses_is_counted_and_told(tmp_path: Path) -> None:
    changes: list[str] = []
    async with mosquitto.running(tmp_path) as broker, _sending(_options(broker, tmp_path), changes) as (mqtt, station):
        await _until(lambda: mqtt.connected)
        assert mqtt._box
        await mqtt._blocking(mqtt._box._db.execute, "PRAGMA max_page_count = 1")
        for _ in range(50):
            station.judge(100)
            await asyncio.sleep(0.01)
            if mqtt.unstored:
                break
    assert mqtt.unstored
    assert any("MQTT messages are being lost: database or disk is full; free space" in each for each in changes)


async def test_a_wrong_password_is_a_sentence_without_the_password_and_the_right_one_connects(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    make = await asyncio.create_subprocess_exec("mosquitto_passwd", "-b", "-c", str(passwords), "station", "s3cret")
    assert await make.wait() == 0
    async with mosquitto.running(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        changes: list[str] = []
        wrong = _options(broker, tmp_path, user="station", password="wr0ng")
        async with _sending(wrong, changes):
            await _until(lambda: bool(changes))
        assert "refuses us" in changes[0]
        assert "wr0ng" not in changes[0] + repr(wrong) + str(wrong)
        async with _sending(_options(broker, tmp_path, user="station", password="s3cret"), changes):
            await _until(lambda: changes[-1] == "connected")


@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")  # paho's, when it refuses
async def test_tls_checks_the_brokers_certificate(tmp_path: Path) -> None:
    certificates.make(tmp_path, ["127.0.0.1"], 1)
    server = tmp_path / "server"
    lines = (f"certfile {server / 'server.pem'}", f"keyfile {server / 'server.key'}")
    async with mosquitto.running(tmp_path, *lines) as broker:
        changes: list[str] = []
        trusted = _options(broker, tmp_path, tls=True, ca=str(server / "ca.pem"))
        async with _sending(trusted, changes) as (mqtt, station):
            station.judge(5)
            await _until(lambda: mqtt.connected and mqtt.waiting == 0)
        changes = []
        async with _sending(_options(broker, tmp_path, tls=True), changes):
            await _until(lambda: bool(changes))
        assert "certificate verify failed" in changes[0]


async def test_the_example_reader_sees_every_verdict(tmp_path: Path) -> None:
    async with mosquitto.running(tmp_path) as broker, _sending(_options(broker, tmp_path)) as (_, station):
        reader = await asyncio.create_subprocess_exec(
            "sh", str(READER), "127.0.0.1", str(broker.port), "12", stdout=asyncio.subprocess.PIPE
        )
        assert reader.stdout
        first = asyncio.ensure_future(reader.stdout.readline())
        while not first.done():  # it does not say when it has subscribed
            station.judge(1)
            await asyncio.sleep(0.02)
        station.judge(12)
        lines = [await first, *(await reader.stdout.read()).splitlines()]
        assert await reader.wait() == 0
    assert len(lines) == 12
    assert all(line.startswith(b'edgeapp/verdict {"id": ') for line in lines)
