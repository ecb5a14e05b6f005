"""A Realtime session with scripted engines on virtual time: which event comes when."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import sim
from talk import CANNOT, SHOP, Talk

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.lane import Lane
from edgeapp.core.record import Sink
from edgeapp.core.stage import Stage
from edgeapp.engines import fake
from edgeapp.voice.answering import Answering, AnswerRule
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import EndpointRule
from edgeapp.voice.openers import Openers
from edgeapp.voice.turns import Manners
from edgeapp.web import realtime
from edgeapp.web.courtesy import Courtesy
from edgeapp.web.realtime_session import Seat, Session

REPLY = "it is there, on the left."
ASKED = ((160, False), (640, True), (1_600, False))


class Client:
    """What a session told, and when."""

    def __init__(self, session: Callable[[Callable[[bytes], Any]], Session]) -> None:
        self.told: list[tuple[float, dict[str, Any]]] = []
        self.session = session(self._send)

    async def _send(self, event: bytes) -> None:
        self.told.append((now_ns() / MS, json.loads(event)))

    async def say(self, kind: str, **fields: Any) -> None:
        await self.session.take(json.dumps({"type": kind, **fields}))

    async def speak(self, *segments: tuple[int, bool]) -> None:
        """Segments of (milliseconds, does somebody speak), 20 ms every 20 ms."""
        level = np.concatenate([np.full(ms * 24, 6_000 * voiced) for ms, voiced in segments])
        sound = (level * np.sin(np.arange(len(level)) * 0.2)).astype("<i2")
        for at in range(0, len(sound), 480):
            await asyncio.sleep(0.02)
            audio = base64.b64encode(sound[at : at + 480].tobytes()).decode()
            await self.say("input_audio_buffer.append", audio=audio)

    def kinds(self) -> list[str]:
        return [event["type"] for _, event in self.told]

    def at_ms(self, kind: str) -> float:
        return next(at for at, event in self.told if event["type"] == kind)

    def last(self, kind: str) -> dict[str, Any]:
        return next(event for _, event in reversed(self.told) if event["type"] == kind)


@asynccontextmanager
async def _seat(**engines: fake.Options) -> AsyncIterator[Seat]:
    async with AsyncExitStack() as stack:

        async def opened(kind: str, **options: Any) -> tuple[Any, Lane]:
            lane = Lane(kind)
            it = engines.get(kind) or fake.Options(kind=kind, **options)  # type: ignore[arg-type]
            return await stack.enter_async_context(fake.load(it, lane)), lane

        stt, llm, tts = (
            await opened("stt", texts=("where is the hammer",)),
            await opened("llm", texts=(REPLY,)),
            await opened("tts"),
        )
        vad, _ = await opened("vad", takes_ms=0)
        openers = Openers()
        await openers.render(tts[0], also=(CANNOT,))

        def stage(name: str, pair: tuple[Any, Lane], sink: Sink) -> Stage[Any, Any]:
            return Stage(name, pair[0], pair[1], local_prior_ns=20 * MS, sink=sink)

        def answering() -> Answering:
            rule = AnswerRule(closed_intents=False, grounded=False)
            return Answering(stage("llm", llm, lambda _: None), lambda: SHOP, rule=rule)

        async def converse(rule: EndpointRule, answers: Answering, sink: Sink) -> Conversation:
            return Conversation(
                vad=vad, stt=stage("stt", stt, sink), answering=answers, tts=stage("tts", tts, sink),
                budget=Budget(200 * MS, {"stt": 10 * MS, "llm": 60 * MS, "tts": 20 * MS}), sink=sink, hear=stt[0].hear,
                rule=rule, manners=Manners(log_text=True), openers=openers,
            )  # fmt: skip

        yield Seat(EndpointRule(), answering, converse)


@asynccontextmanager
async def _client(courtesy: Courtesy | None = None, **engines: fake.Options) -> AsyncIterator[Client]:
    async with _seat(**engines) as seat:
        client = Client(lambda send: Session(seat, courtesy or Courtesy(), "edgeapp", send))
        running = asyncio.create_task(client.session.run())
        try:
            yield client
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()


async def test_a_spoken_turn_is_told_in_openais_order() -> None:
    async with _client() as client:
        heard = {"transcription": {"model": "x"}}
        await client.say("session.update", session={"type": "realtime", "audio": {"input": heard}})
        await client.speak(*ASKED)
    kinds = list(dict.fromkeys(client.kinds()))
    spoken = [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert kinds[: len(spoken)] == spoken
    replied = [kind for kind in kinds if kind.startswith("response.")]
    assert replied == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    done = client.last("response.done")["response"]
    assert (done["status"], done["output"][0]["content"][0]["transcript"]) == ("completed", REPLY)
    words = client.last("conversation.item.input_audio_transcription.completed")
    assert words["transcript"] == "where is the hammer"
    assert words["item_id"] == client.last("input_audio_buffer.committed")["item_id"]


def test_the_reply_begins_as_soon_as_at_the_kiosk() -> None:
    """But for the client's block of 20 ms beside the microphone's 16."""

    async def over_the_socket() -> float:
        async with _client() as client:
            await client.say("input_audio_buffer.clear")  # answered when the session is open
            began_ms = now_ns() / MS
            await client.speak(*ASKED)
            return client.at_ms("response.output_audio.delta") - began_ms

    turn = sim.run(Talk().hold(*ASKED))[0]
    assert abs(sim.run(over_the_socket()) - turn.first_audible_ns / MS) <= 20


async def test_who_speaks_over_a_reply_that_is_still_made_cancels_it_and_is_answered() -> None:
    async with _client(tts=fake.Options(kind="tts", takes_ms=400)) as client:
        await client.speak((160, False), (640, True), (700, False), (640, True), (1_600, False))
    ends = [event["response"] for _, event in client.told if event["type"] == "response.done"]
    assert [(each["status"], (each["status_details"] or {}).get("reason")) for each in ends] == [
        ("cancelled", "turn_detected"),
        ("completed", None),
    ]
    assert [each["output"][0]["content"][0]["transcript"] for each in ends] == ["it is there,", REPLY]


async def test_who_speaks_over_a_reply_that_was_sent_is_told_to_the_client_and_remembered_as_far_as_heard() -> None:
    async with _client() as client:
        await client.speak((160, False), (640, True), (1_000, False), (640, True), (1_600, False))
        await asyncio.sleep(3)
        history = client.session._conversation.turns.history  # type: ignore[union-attr]
    assert client.kinds().count("input_audio_buffer.speech_started") == 2
    assert [said for _, said in history] == ["it is there, on", REPLY]


async def test_a_reply_that_is_cancelled_says_that_the_client_wanted_it() -> None:
    long = fake.Options(kind="tts", takes_ms=400)
    async with _client(tts=long) as client:
        await client.speak(*ASKED[:2], (700, False))
        assert "response.created" in client.kinds()
        await client.say("response.cancel")
        await client.say("response.cancel")
    done = client.last("response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert client.last("error")["error"]["code"] == "response_cancel_not_active"


async def test_a_model_that_fails_is_admitted_aloud_and_a_voice_that_fails_is_a_failed_response() -> None:
    async with _client(llm=fake.Options(kind="llm", texts=(REPLY,), fail_every=1)) as client:
        await client.speak(*ASKED)
    said = client.last("response.done")["response"]
    assert (said["status"], said["output"][0]["content"][0]["transcript"]) == ("completed", CANNOT)
    async with _client(tts=fake.Options(kind="tts", fail_every=1)) as client:
        await client.speak(*ASKED)
    said = client.last("response.done")["response"]
    assert (said["status"], said["output"]) == ("failed", [])


async def test_without_turn_detection_silence_ends_nothing_and_the_client_asks() -> None:
    async with _client() as client:
        update = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await client.say("session.update", session=update)
        await client.speak(*ASKED)
        assert "response.created" not in client.kinds()
        await client.say("response.create")
        assert client.last("error")["error"]["code"] == "nothing_to_answer"
        await client.say("input_audio_buffer.commit")
        await client.say("input_audio_buffer.commit")
        assert client.last("error")["error"]["code"] == "input_audio_buffer_commit_empty"
        await client.say("response.create")
        await asyncio.sleep(4)
    assert client.last("response.done")["response"]["status"] == "completed"
    assert client.kinds().count("input_audio_buffer.committed") == 1


async def test_a_new_rule_takes_over_and_keeps_what_was_said() -> None:
    async with _client() as client:
        await client.speak(*ASKED)
        await asyncio.sleep(3)
        detection = {"type": "server_vad", "silence_duration_ms": 900}
        await client.say(
            "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        )
        began_ms = now_ns() / MS
        await client.speak(*ASKED)
        await asyncio.sleep(3)
        history = client.session._conversation.turns.history  # type: ignore[union-attr]
    assert [asked for asked, _ in history] == ["where is the hammer"] * 2
    committed_ms = [at for at, event in client.told if event["type"] == "input_audio_buffer.committed"]
    assert committed_ms[1] - began_ms - 800 >= 900


async def test_a_session_gives_way_to_the_device() -> None:
    class Host:
        busy, speaking = True, False

    courtesy, host = Courtesy(), Host()
    courtesy.give_way_to(host)
    async with _client(courtesy) as client:
        await client.speak(*ASKED)
        without_words = [kind for kind in client.kinds() if kind == "response.output_audio_transcript.done"]
        host.busy = False
        await asyncio.sleep(5)
    assert not without_words
    assert client.last("response.done")["response"]["output"][0]["content"][0]["transcript"].endswith(REPLY)


async def test_a_long_recording_without_turn_detection_fills_a_bounded_buffer() -> None:
    async with _client() as client:
        update = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await client.say("session.update", session=update)
        audio = base64.b64encode(bytes(480_000)).decode()  # 10 s
        for _ in range(4):
            await client.say("input_audio_buffer.append", audio=audio)
    errors = [event["error"]["code"] for _, event in client.told if event["type"] == "error"]
    assert errors == ["input_audio_buffer_full"]


class Socket:
    """A client that says `says` and then nothing; without `reads` it takes nothing either."""

    def __init__(self, *says: str, reads: bool = True) -> None:
        self._says, self._reads = list(says), reads
        self.told: list[dict[str, Any]] = []
        self.closed_at_ms: float | None = None

    async def receive(self) -> dict[str, Any]:
        if not self._says:
            await asyncio.get_running_loop().create_future()
        return {"type": "websocket.receive", "text": self._says.pop(0)}

    async def send_text(self, text: str) -> None:
        if not self._reads:
            await asyncio.get_running_loop().create_future()
        self.told.append(json.loads(text))

    async def close(self, code: int) -> None:
        self.closed_at_ms = now_ns() / MS


async def test_a_client_that_says_nothing_for_its_time_is_told_and_closed() -> None:
    socket = Socket()
    async with _seat() as seat:
        began_ms = now_ns() / MS
        await realtime._serve(socket, seat, Courtesy(), "edgeapp", 120.0)  # type: ignore[arg-type]
    assert socket.closed_at_ms == began_ms + 120_000
    assert [each["type"] for each in socket.told] == ["session.created", "error"]
    assert socket.told[1]["error"]["code"] == "session_expired"


async def test_a_client_that_takes_nothing_is_closed_and_what_it_sends_is_not_read_without_end() -> None:
    socket = Socket(*["{"] * 1_000, reads=False)
    async with _seat() as seat:
        began_ms = now_ns() / MS
        await realtime._serve(socket, seat, Courtesy(), "edgeapp", 120.0)  # type: ignore[arg-type]
    assert now_ns() / MS == began_ms + 10_000
    assert len(socket._says) > 700
