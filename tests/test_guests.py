"""Courtesy, the socket's microphone and loudspeaker, and what the configuration refuses: on virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp import config as settings
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, ConfigError
from edgeapp.web import realtime_events as client
from edgeapp.web.courtesy import Courtesy, Full
from edgeapp.web.openai_wire import Access, Refused
from edgeapp.web.realtime_sound import SocketEar, SocketMouth


@dataclass
class Host:
    busy: bool = False
    speaking: bool = False


async def test_a_guest_has_its_turn_as_soon_as_the_device_rests() -> None:
    courtesy, host = Courtesy(), Host(speaking=True)
    courtesy.give_way_to(host)
    turn = asyncio.create_task(courtesy.turn())
    await asyncio.sleep(1)
    host.speaking, host.busy = False, True  # the person has finished and is being answered
    await asyncio.sleep(1)
    assert not turn.done()
    host.busy = False
    await turn
    assert now_ns() <= 2_020 * MS


async def test_a_guest_is_told_when_the_device_does_not_rest() -> None:
    courtesy = Courtesy()
    courtesy.give_way_to(Host(busy=True))
    with pytest.raises(BackendError, match="talking to somebody"):
        await courtesy.turn()
    assert now_ns() == 30_000 * MS


def test_one_guest_too_many_is_turned_away_and_the_next_is_not() -> None:
    courtesy = Courtesy(guests_max=1)
    with courtesy.guest(), pytest.raises(Full), courtesy.guest():
        pass
    with courtesy.guest():
        pass


class Wire:
    """What the loudspeaker sent."""

    def __init__(self) -> None:
        self.sent: list[NDArray[np.int16]] = []
        self.ended = 0
        self.mouth = SocketMouth(24_000, self._sound, self._end)

    async def _sound(self, samples: NDArray[np.int16]) -> None:
        self.sent.append(samples)

    async def _end(self) -> None:
        self.ended += 1


async def test_sound_is_sent_at_once_and_counts_as_played_in_its_own_time() -> None:
    wire = Wire()
    second = np.full(22_050, 1_000, np.int16)
    assert await wire.mouth.play(second, 22_050) == 0
    assert await wire.mouth.play(second, 22_050) == 1_000 * MS
    assert now_ns() == 0
    await asyncio.sleep(0.5)
    assert wire.mouth.played_ns == 500 * MS
    assert await wire.mouth.drained() == 2_000 * MS
    assert now_ns() == 2_000 * MS
    assert wire.ended == 1
    assert abs(sum(map(len, wire.sent)) - 48_000) <= 2  # all of it at 24 kHz, what the resampler holds back included


async def test_a_cut_ends_what_was_heard_there_and_wakes_whoever_waits_for_the_end() -> None:
    wire = Wire()
    await wire.mouth.play(np.zeros(24_000, np.int16), 24_000)
    draining = asyncio.create_task(wire.mouth.drained())
    await asyncio.sleep(0.3)
    assert wire.mouth.cut() == 300 * MS
    assert await draining == 300 * MS
    assert now_ns() == 300 * MS


async def test_a_voice_that_runs_half_a_minute_ahead_of_its_listener_waits() -> None:
    wire = Wire()
    for _ in range(32):
        await wire.mouth.play(np.zeros(24_000, np.int16), 24_000)
    assert now_ns() == 1_000 * MS


async def test_what_is_read_counts_as_heard_at_once_and_sends_no_sound() -> None:
    wire = Wire()
    wire.mouth.written = True
    assert await wire.mouth.play(np.ones(24_000, np.int16), 24_000) == 0
    assert (wire.mouth.played_ns, await wire.mouth.drained(), now_ns()) == (1_000 * MS, 1_000 * MS, 0)
    assert (sum(map(len, wire.sent)), wire.ended) == (0, 1)


async def test_the_ear_hands_on_what_comes_in_frames_and_makes_a_faster_sender_wait() -> None:
    ear = SocketEar(24_000)
    sending = asyncio.create_task(ear.put(np.ones(24_000 * 40, np.int16)))
    await asyncio.sleep(0.1)
    assert not sending.done()  # 30 s wait, 10 s have to
    heard = 0
    async for chunk in ear.heard():
        assert 0 < len(chunk.samples) <= 512
        heard += len(chunk.samples)
        if heard >= 16_000 * 39:
            break
    await sending
    assert ear.given == heard


async def test_the_ear_ends_where_it_is_told_to_and_goes_on_afterwards_with_what_waits() -> None:
    ear = SocketEar(24_000)
    await ear.put(np.ones(2_400, np.int16))
    ear.end()
    assert [chunk async for chunk in ear.heard()] == []
    heard = ear.heard()
    assert len((await anext(heard)).samples) == 512
    ear.end()
    assert [chunk async for chunk in heard] == []
    ear.clear()
    ear.end()
    assert [chunk async for chunk in ear.heard()] == []


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ('{"type": "session.update", "session": {"type": "realtime", "instructions": ["be a pirate"]}}', "session.instructions"),
        ('{"type": "session.update", "session": {"type": "realtime", "tools": [{}], "voice": 1}}', "session.voice"),
        ('{"type": "session.update", "session": {"type": "transcription"}}', "session.type"),
        ('{"type": "conversation.item.delete", "item_id": "x"}', "type"),
        ('{"type": "response.create", "response": {"conversation": "none"}}', "response.conversation"),
        ('{"type": "input_audio_buffer.append"}', None),
        ("[]", None),
        ("{", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_a_session_cannot_do_is_refused_by_its_name(message: str, param: str | None) -> None:
    with pytest.raises(Refused) as refused:
        client.parse(message)
    assert refused.value.param == param
    assert "pirate" not in refused.value.message


def test_the_key_is_asked_for_however_it_is_sent_and_never_shown() -> None:
    access = Access("a secret of the shop")
    access.check({"authorization": "Bearer a secret of the shop"})
    Access("sk-1").check({"sec-websocket-protocol": "realtime, openai-insecure-api-key.sk-1"})
    for headers in ({}, {"authorization": "Bearer guess"}, {"authorization": "Basic a secret of the shop"}):
        with pytest.raises(Refused) as refused:
            access.check(headers)
        assert refused.value.status == 401
    assert "secret" not in repr(access)


def test_without_a_key_a_page_of_another_origin_is_refused() -> None:
    Access().check({"host": "127.0.0.1:8321"})
    Access().check({"host": "127.0.0.1:8321", "origin": "http://127.0.0.1:8321"})
    with pytest.raises(Refused):
        Access().check({"host": "127.0.0.1:8321", "origin": "https://somewhere.example"})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[protocols.openai]\nserve = true\nhost = "0.0.0.0"', "give a key"),
        ('[protocols.openai]\nkey_env = "A"\nkey_file = "b"', "give one"),
        ("[protocols.openai]\nrealtime_sessions = 99", "1 to 16"),
        ("[protocols.wyoming]\nconnections = 0", "1 to 64"),
        ("[protocols]\nrequests = 0", "1 to 16"),
        ('[protocols.openai]\ntls_key = "a"', "go together"),
        ("[protocols.wyoming]\nport = 0", "a port from 1 to 65535"),
        ('[outputs.mqtt]\ndiscovery = "home/#"', "without"),
    ],
)
def test_a_configuration_that_cannot_be_served_says_what_to_do(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        settings.parse(text)


@pytest.mark.real_time
async def test_home_assistant_finds_the_wyoming_server_by_itself() -> None:
    from zeroconf.asyncio import AsyncZeroconf

    from edgeapp.web.wyoming_server import announced

    kind = "_wyoming._tcp.local."
    async with announced("line 3", "127.0.0.1", 10_300), AsyncZeroconf(interfaces=["127.0.0.1"]) as network:
        found = await network.async_get_service_info(kind, f"line 3.{kind}", timeout=5_000)
        assert found is not None
        assert (found.port, found.parsed_addresses()) == (10_300, ["127.0.0.1"])
