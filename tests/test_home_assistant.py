"""What Home Assistant finds on a real Mosquitto: entities that read our topics and are there while we are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import mosquitto
import pytest

from edgeapp import config as settings
from edgeapp.apps.kiosk_counts import KioskCounts
from edgeapp.apps.outputs import announced, mqtt_options
from edgeapp.core.events import MS
from edgeapp.core.record import TurnRecord
from edgeapp.devices import home_assistant
from edgeapp.devices.line_state import LineState, Station
from edgeapp.devices.mqtt import Mqtt

needs_broker = pytest.mark.skipif(not mosquitto.MOSQUITTO, reason=mosquitto.MISSING)
ENTITIES = home_assistant.STATION | home_assistant.KIOSK


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(12):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def _station(broker: mosquitto.Broker, folder: Path) -> AsyncIterator[Mqtt]:
    section = settings.MqttOutput(
        host="127.0.0.1", port=broker.port, outbox=str(folder / "outbox.sqlite"), discovery="homeassistant"
    )
    mqtt = Mqtt(mqtt_options(section, "line 3", announced(section, "line 3", ENTITIES)), lambda _: None)
    task = asyncio.create_task(mqtt.run())
    try:
        yield mqtt
    finally:
        task.cancel()
        await asyncio.wait({task})


def _turn(outcome: str, number: int = 1, first_audible_ns: int | None = 150 * MS) -> TurnRecord:
    return TurnRecord(number, 0, 100 * MS, 200 * MS, first_audible_ns, 900 * MS, outcome, 3, heard="a secret")


@needs_broker
@pytest.mark.real_time
async def test_every_entity_is_announced_once_and_kept_and_reads_a_topic_that_is_there(tmp_path: Path) -> None:
    async with mosquitto.running(tmp_path) as broker:
        async with _station(broker, tmp_path) as mqtt:
            counts = KioskCounts()
            counts.tell(mqtt)
            counts.note(_turn("answered"))
            mqtt.state(LineState(Station.RUNNING, passed=3, failed=1))
            async with mosquitto.Reader(broker.port, "#") as reader:
                await _until(lambda: bool(reader.last("edgeapp/kiosk") and reader.last("edgeapp/state")))
                assert reader.last("edgeapp/status") == "online"
        async with mosquitto.Reader(broker.port, "#") as late:  # Home Assistant starts after us
            await _until(lambda: late.last("edgeapp/status") == "offline")
            await _until(lambda: bool(late.last("edgeapp/kiosk")) and len(late.messages) >= len(ENTITIES) + 3)
            configs = {topic: content for topic, content, kept in late.messages if topic.endswith("/config") and kept}
            kiosk = late.last("edgeapp/kiosk")
    assert len(configs) == len(ENTITIES)
    for topic, content in configs.items():
        _, kind, node, entity, _ = topic.split("/")
        assert kind == ENTITIES[entity].get("kind", "sensor")
        assert node == "line_3"
        assert content["unique_id"] == f"edgeapp_line_3_{entity}"
        assert content["availability_topic"] == "edgeapp/status"
        assert content["device"]["identifiers"] == ["edgeapp_line_3"]
        assert content["state_topic"] in {"edgeapp/state", "edgeapp/kiosk", "edgeapp/verdict", "edgeapp/alarm"}
    assert (kiosk["turns"], kiosk["reply_ms"]) == (1, 150.0)
    assert "secret" not in json.dumps(kiosk)


@needs_broker
@pytest.mark.real_time
async def test_a_broker_that_forgot_everything_is_told_again_when_it_is_back(tmp_path: Path) -> None:
    async with mosquitto.running(tmp_path) as broker, _station(broker, tmp_path):
        for _ in range(2):
            async with mosquitto.Reader(broker.port, "homeassistant/#") as reader:
                await _until(lambda: len({topic for topic, _, _ in reader.messages}) == len(ENTITIES))
            broker.kill()
            await broker.start()


def test_every_template_reads_what_the_messages_hold() -> None:
    state = {"passed": 3, "failed": 1, "not_inspected": 0, "verdicts": 4, "rejects_missed": 0, "alarm": False}
    known = set(state) | {"station", "outcome", "what"} | set(KioskCounts().words())
    for about in ENTITIES.values():
        used = {
            word.split(")")[0].split("[")[0] for word in about["value"].replace("value_json.", "\0").split("\0")[1:]
        }
        assert {word.split()[0] for word in used} <= known


def test_turns_are_counted_by_how_they_ended_and_those_taken_back_are_not() -> None:
    counts = KioskCounts()
    for outcome in ("answered", "answered", "not understood", "interrupted", "rolled back", "failed"):
        counts.note(_turn(outcome))
    assert counts.words() == {"turns": 5, "not_understood": 1, "interrupted": 1, "failed": 1, "reply_ms": 150.0}


def test_nothing_is_announced_unless_it_is_asked_for() -> None:
    assert announced(settings.MqttOutput(host="broker"), "x", ENTITIES) == ()
