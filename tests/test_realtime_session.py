"""A Realtime session with scripted engines on virtual time: which event comes when."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pydantic
import pytest
import sim
from openai.types.realtime import RealtimeServerEvent
from talk import CANNOT, SHOP, Talk

from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.record import Sink
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.engines import fake
from edgeapp.voice.answering import Answering, AnswerRule
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import EndpointRule
from edgeapp.voice.openers import Openers
from edgeapp.voice.turns import Manners
from edgeapp.web import realtime
from edgeapp.web.courtesy import Courtesy
from edgeapp.web.realtime_formats import FORMATS, PCM, SoundFormat
from edgeapp.web.realtime_session import Seat, Session
from edgeapp.web.realtime_sound import OptionalVoice

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

    async def speak(self, *segments: tuple[int, bool], as_: SoundFormat = PCM) -> None:
        """Segments of (milliseconds, does somebody speak), 20 ms every 20 ms."""
        block = as_.rate_hz // 50
        level = np.concatenate([np.full(ms * as_.rate_hz // 1000, 6_000 * voiced) for ms, voiced in segments])
        sound = (level * np.sin(np.arange(len(level)) * 4_800 / as_.rate_hz)).astype(np.int16)
        for at in range(0, len(sound), block):
            await asyncio.sleep(0.02)
            audio = base64.b64encode(as_.encode(sound[at : at + block])).decode()
            await self.say("input_audio_buffer.append", audio=audio)

    async def ask(self, text: str, **response: Any) -> dict[str, Any]:
        """Write a question, and return the response to it."""
        content = [{"type": "input_text", "text": text}]
        await self.say("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self.say("response.create", response=response)
        await asyncio.sleep(5)
        done: dict[str, Any] = self.last("response.done")["response"]
        return done

    def kinds(self) -> list[str]:
        return [event["type"] for _, event in self.told]

    def at_ms(self, kind: str) -> float:
        return next(at for at, event in self.told if event["type"] == kind)

    def last(self, kind: str) -> dict[str, Any]:
        return next(event for _, event in reversed(self.told) if event["type"] == kind)


class Noted:
    """A scripted model whose prompts can be read."""

    def __init__(self, llm: Any) -> None:
        self.llm, self.prompts = llm, list[Prompt]()

    async def __call__(self, prompt: Prompt, /) -> Stream[str]:
        self.prompts.append(prompt)
        reply: Stream[str] = await self.llm(prompt)
        return reply


@asynccontextmanager
async def _seat(prompts: list[Prompt] | None = None, **engines: fake.Options) -> AsyncIterator[Seat]:
    """With `prompts`, which get what the model is asked, the model is one that follows instructions."""
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
        noted = Noted(llm[0])
        noted.prompts = noted.prompts if prompts is None else prompts
        llm, voice = (noted, llm[1]), OptionalVoice(tts[0])
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
                vad=vad, stt=stage("stt", stt, sink), answering=answers, tts=stage("tts", (voice, tts[1]), sink),
                budget=Budget(200 * MS, {"stt": 10 * MS, "llm": 60 * MS, "tts": 20 * MS}), sink=sink, hear=stt[0].hear,
                rule=rule, manners=Manners(log_text=True), openers=openers,
            )  # fmt: skip

        def write(off: bool) -> None:
            voice.off = openers.off = off

        yield Seat(EndpointRule(), answering, converse, write, takes_instructions=prompts is not None)


@asynccontextmanager
async def _client(
    courtesy: Courtesy | None = None, prompts: list[Prompt] | None = None, **engines: fake.Options
) -> AsyncIterator[Client]:
    async with _seat(prompts, **engines) as seat:
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


async def test_a_reply_in_text_is_told_in_openais_order_without_a_voice_and_without_an_opener() -> None:
    dumb = fake.Options(kind="tts", fail_every=1)
    async with _client(tts=dumb, llm=fake.Options(kind="llm", texts=(REPLY,), takes_ms=300)) as client:
        await client.say("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        assert client.last("session.updated")["session"]["output_modalities"] == ["text"]
        await client.speak(*ASKED, (2_000, False))
    assert [kind for kind in dict.fromkeys(client.kinds()) if kind.startswith("response.")] == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    deltas = [event["delta"] for _, event in client.told if event["type"] == "response.output_text.delta"]
    assert deltas == ["it is there,", " on the left."]
    done = client.last("response.done")["response"]
    assert (done["status"], done["output_modalities"]) == ("completed", ["text"])
    assert done["output"][0]["content"] == [{"type": "output_text", "text": REPLY}]
    assert client.session._conversation.turns.history == (("where is the hammer", REPLY),)  # type: ignore[union-attr]


async def test_one_reply_may_be_text_in_a_spoken_session_and_the_next_is_spoken_again() -> None:
    async with _client() as client:
        written = await client.ask("where is it", output_modalities=["text"])
        assert "response.output_audio.delta" not in client.kinds()
        spoken = await client.ask("where is it")
        await client.say("conversation.item.truncate", item_id=written["output"][0]["id"], audio_end_ms=0)
    assert [each["output"][0]["content"][0] for each in (written, spoken)] == [
        {"type": "output_text", "text": REPLY},
        {"type": "output_audio", "transcript": REPLY},
    ]
    assert client.last("error")["error"]["message"] == "only a spoken reply can be truncated"


async def test_an_update_beside_a_reply_in_text_leaves_the_rest_of_it_text() -> None:
    dumb = fake.Options(kind="tts", fail_every=1)
    async with _client(tts=dumb, llm=fake.Options(kind="llm", texts=(REPLY,), takes_ms=200)) as client:
        asking = asyncio.create_task(client.ask("where is it", output_modalities=["text"]))
        await asyncio.sleep(0.9)
        assert "response.output_text.delta" in client.kinds()
        await client.say("session.update", session={"type": "realtime", "audio": {"input": {"transcription": None}}})
        said = await asking
    assert (said["status"], said["output"][0]["content"][0]["text"]) == ("completed", REPLY)


async def test_a_model_that_fails_is_admitted_in_writing() -> None:
    async with _client(llm=fake.Options(kind="llm", fail_every=1)) as client:
        said = await client.ask("where is it", output_modalities=["text"])
    assert said["output"][0]["content"] == [{"type": "output_text", "text": CANNOT}]


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
async def test_a_telephone_is_heard_and_answered_in_g711(name: str) -> None:
    async with _client() as client:
        form = {"format": {"type": name}}
        await client.say("session.update", session={"type": "realtime", "audio": {"input": form, "output": form}})
        shown = client.last("session.updated")["session"]["audio"]
        assert (shown["input"]["format"], shown["output"]["format"]) == ({"type": name}, {"type": name})
        await client.speak(*ASKED, as_=FORMATS[name])
        assert client.last("response.done")["response"]["output"][0]["content"][0]["transcript"] == REPLY
    deltas = [event["delta"] for _, event in client.told if event["type"] == "response.output_audio.delta"]
    sound = FORMATS[name].decode(b"".join(map(base64.b64decode, deltas)))
    letters = len("it is there,") + len("on the left.")
    assert abs(len(sound) - letters * 60 * 8) < 80  # 60 ms a letter
    spectrum = np.abs(np.fft.rfft(sound.astype(float)))
    assert abs(np.argmax(spectrum) * 8_000 / len(sound) - 440) < 2


async def test_instructions_stand_in_the_models_system_text_and_those_of_a_response_for_it_alone() -> None:
    prompts: list[Prompt] = []
    async with _client(prompts=prompts) as client:
        told = "Be brief.\n\nBe kind."
        await client.say("session.update", session={"type": "realtime", "instructions": told})
        assert client.last("session.updated")["session"]["instructions"] == told
        await client.ask("where is it")
        await client.ask("where is it", instructions="Be long.")
        await client.ask("where is it")
    assert [each.system.partition("\nname")[0] for each in prompts] == [
        "Be brief.\nBe kind.",
        "Be long.",
        "Be brief.\nBe kind.",
    ]
    assert all("\n\n" in each.system for each in prompts)
    assert "error" not in client.kinds()


async def test_a_model_that_follows_no_instructions_is_told_to_the_client_and_answers_without_them() -> None:
    async with _client() as client:
        await client.say("session.update", session={"type": "realtime", "instructions": "Be brief."})
        shown = client.last("session.updated")["session"]["instructions"]
        assert "Be brief" not in shown
        assert "follows no instructions" in shown
        assert "error" not in client.kinds()
        said = await client.ask("where is it", instructions="Be long.")
    assert said["status"] == "completed"
    wrong = [event["error"] for _, event in client.told if event["type"] == "error"]
    assert [(each["code"], each["param"]) for each in wrong] == [("instructions_not_followed", "response.instructions")]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, "session.tools"),
        ({"output_modalities": ["text", "audio"]}, "session.output_modalities"),
        ({"instructions": "x" * 2_001}, "session.instructions"),
        ({"include": ["item.input_audio_transcription.logprobs"]}, "session.include"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format.type"),
        ({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}, "session.audio.input.noise_reduction"),
        ({"prompt": {"id": "x"}}, "session.prompt"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_its_name_and_nothing_of_the_update_is_done(
    session: dict[str, Any], param: str
) -> None:
    async with _client() as client:
        wanted = {"type": "realtime", "output_modalities": ["text"]} | session
        await client.say("session.update", event_id="mine", session=wanted)
        error = client.last("error")["error"]
        assert (error["param"], error["event_id"]) == (param, "mine")
        assert "session.updated" not in client.kinds()
        assert (await client.ask("where is it"))["output_modalities"] == ["audio"]


async def test_formats_and_modality_do_not_change_under_a_reply() -> None:
    async with _client(tts=fake.Options(kind="tts", takes_ms=400)) as client:
        await client.speak(*ASKED[:2], (700, False))
        for wanted in ({"output_modalities": ["text"]}, {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}):
            await client.say("session.update", session={"type": "realtime"} | wanted)
            assert client.last("error")["error"]["code"] == "conversation_already_has_active_response"
        assert "session.updated" not in client.kinds()


async def test_every_event_is_one_of_the_official_clients_types_with_no_field_that_they_lack() -> None:
    official: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RealtimeServerEvent)
    async with _client(tts=fake.Options(kind="tts", takes_ms=400)) as client:
        heard = {"transcription": {"model": "x"}, "turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}
        await client.say("session.update", session={"type": "realtime", "audio": {"input": heard}})
        await client.speak(*ASKED, (3_000, False))
        await client.ask("where is it", output_modalities=["text"])
        spoken = await client.ask("where is it")
        item_id = spoken["output"][0]["id"]
        await client.say("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=100)
        await client.say("conversation.item.retrieve", item_id=item_id)
        await client.speak(*ASKED[:2], (700, False))
        await client.say("response.cancel")
        await client.say("input_audio_buffer.clear")
        await client.say("no.such.event")
    assert len(set(client.kinds())) == 24
    for _, event in client.told:
        read = official.validate_python(event)
        assert read.type == event["type"]
        extra = set(_unknown(read, ""))
        assert extra <= {"session.id", "session.object"}, (event["type"], extra)  # OpenAI's own have these two as well


def _unknown(read: Any, where: str) -> list[str]:
    """The fields that a model of the client does not know, by their paths."""
    if isinstance(read, list):
        return [name for each in read for name in _unknown(each, where)]
    if not isinstance(read, pydantic.BaseModel):
        return []
    found = [f"{where}{name}" for name in read.model_extra or {}]
    return found + [
        path for name in type(read).model_fields for path in _unknown(getattr(read, name), f"{where}{name}.")
    ]


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
