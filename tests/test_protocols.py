"""The protocols against real clients: OpenAI's and Home Assistant's own libraries, on loopback, with the bundled models."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import re
import resource
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import protocol_server
import pytest
import soundfile
import websockets
from protocol_server import KEY, Served
from wyoming.client import AsyncTcpClient
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop

from edgeapp.voice.openers import OPENERS
from edgeapp.web.realtime_formats import FORMATS

pytestmark = pytest.mark.real_time
CLIENTS = Path(__file__).parent / "clients"
QUESTIONS = Path(__file__).parent.parent / "edgeapp" / "assets" / "questions"
HAMMER = QUESTIONS / "02_where_is_the_hammer.flac"
DRILL = QUESTIONS / "03_how_much_is_the_power_drill.flac"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with protocol_server.serving(os.environ) as server:  # type: ignore[arg-type]
        yield server
        assert not any("hammer" in line for line in server.logged), "words reached a log"
        assert not any("turn" in getattr(each, "of", "") for each in server.records), "a guest's turn was recorded"


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def _run(client: str, *args: object) -> str:
    done = subprocess.run(
        [sys.executable, CLIENTS / client, *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _without_opener(reply: str) -> str:
    """A reply that took longer than the budget, as on a machine that does much else, has an opener in front."""
    openers = {opener for each in OPENERS.values() for opener in each}
    return next((reply.removeprefix(f"{each} ") for each in openers if reply.startswith(f"{each} ")), reply)


# OpenAI-compatible HTTP


def test_the_openai_client_gets_words_speech_and_replies(served: Served) -> None:
    said = json.loads(_run("openai_audio.py", served.url, KEY, HAMMER, DRILL))
    assert said["models"] == ["edgeapp", "kiosk-lm"]
    assert said["words"] == ["where is the hammer", "how much is the power drill"]
    assert 1.5 < said["sound_s"] < 2.5
    assert (said["reply"], said["finish"]) == ("The hammer is at the rear left.", "stop")
    assert said["streamed"] == said["reply"]


def test_a_transcription_comes_as_text_and_with_the_times_of_what_was_said_between_pauses(
    client: openai.OpenAI,
) -> None:
    clips = [soundfile.read(each, dtype="float32") for each in (HAMMER, DRILL)]
    rate_hz = clips[0][1]
    silence = np.zeros(2 * rate_hz, np.float32)
    both = np.concatenate([clips[0][0], silence, clips[1][0], silence])
    for form, subtype in (("WAV", "PCM_24"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        sound = io.BytesIO()
        soundfile.write(sound, np.stack([both, both], axis=1), rate_hz, format=form, subtype=subtype)
        file = (f"both.{form.lower()}", sound.getvalue())
        told = client.audio.transcriptions.create(model="x", file=file, response_format="verbose_json")
        assert told.segments is not None
        assert [each.text for each in told.segments] == ["where is the hammer", "how much is the power drill"]
        assert told.segments[0].end < told.segments[1].start + 0.5 < told.segments[1].end
        assert told.duration == pytest.approx(len(both) / rate_hz, abs=0.1)
    plain = client.audio.transcriptions.create(model="x", file=HAMMER, response_format="text")
    assert str(plain).strip() == "where is the hammer"


def test_what_is_spoken_is_understood_again(client: openai.OpenAI) -> None:
    """The voice's WAV, whose length is not known when it begins, is read by the recogniser's own route."""
    text = "how much is the power drill"
    sound = client.audio.speech.create(model="x", voice="x", input=text, response_format="wav").read()
    heard = client.audio.transcriptions.create(model="x", file=("said.wav", sound))
    assert heard.text == text
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)


@pytest.mark.parametrize("form", ["mp3", "opus", "flac", "wav", "pcm", None])
def test_speech_comes_in_every_stated_format_and_as_mp3_if_none_is_named(client: openai.OpenAI, form: Any) -> None:
    text = "how much is the power drill"
    wanted: Any = {"response_format": form} if form else {}
    with client.audio.speech.with_streaming_response.create(model="x", voice="alloy", input=text, **wanted) as answer:
        assert "content-length" not in answer.headers
        data = b"".join(answer.iter_bytes())
        kind = answer.headers["content-type"]
    raw: Any = {"samplerate": 24_000, "channels": 1, "format": "RAW", "subtype": "PCM_16"} if form == "pcm" else {}
    with soundfile.SoundFile(io.BytesIO(data), **raw) as file:
        assert (file.samplerate, file.channels) == (24_000, 1)
        assert 1 < len(file.read(10 * 24_000)) / 24_000 < 3
    assert kind == {"mp3": "audio/mpeg", "opus": "audio/ogg", None: "audio/mpeg"}.get(form, f"audio/{form}")
    if form != "pcm":
        told = client.audio.transcriptions.create(model="x", file=(f"said.{form or 'mp3'}", data))
        assert told.text == text


def test_a_transcription_comes_as_subtitles(client: openai.OpenAI) -> None:
    rate_hz = soundfile.info(HAMMER).samplerate
    clips = [soundfile.read(each, dtype="float32")[0] for each in (HAMMER, DRILL)]
    sound = io.BytesIO()
    soundfile.write(sound, np.concatenate([clips[0], np.zeros(2 * rate_hz), clips[1]]), rate_hz, format="WAV")
    file, times = ("both.wav", sound.getvalue()), r"00:00:0\d[,.]\d{3} --> 00:00:0\d[,.]\d{3}"
    srt = str(client.audio.transcriptions.create(model="x", file=file, response_format="srt"))
    vtt = str(client.audio.transcriptions.create(model="x", file=file, response_format="vtt"))
    said = ("where is the hammer", "how much is the power drill")
    assert re.fullmatch(rf"1\n{times}\n{said[0]}\n\n2\n{times}\n{said[1]}\n\n", srt)
    assert re.fullmatch(rf"WEBVTT\n\n{times}\n{said[0]}\n\n{times}\n{said[1]}\n\n", vtt)
    assert srt.replace("1\n00", "00", 1).replace("2\n00", "00", 1).replace(",", ".") == vtt.removeprefix("WEBVTT\n\n")


def test_a_transcription_tells_times_of_segments_and_refuses_those_of_words(client: openai.OpenAI) -> None:
    ask: Any = client.audio.transcriptions.create
    told = ask(model="x", file=HAMMER, response_format="verbose_json", timestamp_granularities=["segment"])
    assert [each.text for each in told.segments] == ["where is the hammer"]
    assert ask(model="x", file=HAMMER).usage.seconds == pytest.approx(soundfile.info(HAMMER).duration, abs=0.01)
    for refused in ({"timestamp_granularities": ["word", "segment"]}, {"stream": True}, {"language": "de"}):
        with pytest.raises(openai.BadRequestError) as error:
            ask(model="x", file=HAMMER, response_format="verbose_json", **refused)
        assert (error.value.param or "").removesuffix("[]") == next(iter(refused))


@pytest.mark.parametrize("model", ["edgeapp", "kiosk-lm"])
def test_a_completion_says_what_it_used_whole_and_streamed_and_its_sampling_has_no_effect(
    client: openai.OpenAI, model: str
) -> None:
    messages: Any = [
        {"role": "system", "content": "The hammer is at the rear left."},
        {"role": "user", "content": "where is the hammer"},
    ]
    usage: Any = {"include_usage": True}
    whole = client.chat.completions.create(model=model, messages=messages, temperature=0.7, top_p=0.5, seed=1)
    streamed = list(client.chat.completions.create(model=model, messages=messages, stream=True, stream_options=usage))
    text = "".join(each.choices[0].delta.content or "" for each in streamed[:-1])
    assert text == whole.choices[0].message.content
    assert (streamed[-1].choices, streamed[-1].usage) == ([], whole.usage)
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.prompt_tokens == 10  # the model's own tokens
    assert len(text.split()) <= whole.usage.completion_tokens <= len(text) // 3


def test_a_model_can_be_asked_for_by_its_name(client: openai.OpenAI) -> None:
    assert [client.models.retrieve(each).id for each in ("edgeapp", "kiosk-lm")] == ["edgeapp", "kiosk-lm"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_the_model_itself_stops_at_a_stop_and_at_its_bound_of_tokens(client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "The hammer is at the rear left."},
        {"role": "user", "content": [{"type": "text", "text": "where is the hammer"}]},
    ]
    whole = client.chat.completions.create(model="kiosk-lm", messages=messages, max_tokens=40).choices[0]
    assert whole.finish_reason == "stop"
    text = whole.message.content or ""
    cut = client.chat.completions.create(model="kiosk-lm", messages=messages, max_tokens=2).choices[0]
    assert cut.finish_reason == "length"
    assert cut.message.content
    assert text.startswith(cut.message.content)
    stop = text[len(text) // 2 :][:3]
    stopped = client.chat.completions.create(model="kiosk-lm", messages=messages, stop=[stop], stream=True)
    assert "".join([each.choices[0].delta.content or "" for each in stopped]) == text[: text.index(stop)]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "x"}], "logprobs": True}, "logprobs"),
        ({"messages": [{"role": "user", "content": "x"}], "n": 2}, "n"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 100_000}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "model": "gpt"}, "model"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name_in_openais_form(
    client: openai.OpenAI, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.post("/chat/completions", body={"model": "edgeapp"} | body, cast_to=object)
    assert refused.value.status_code in {400, 404}
    assert refused.value.param == param
    assert refused.value.body is not None


def test_a_wrong_key_a_huge_body_and_a_file_that_is_no_sound_are_refused(served: Served) -> None:
    with pytest.raises(openai.AuthenticationError), openai.OpenAI(base_url=served.url, api_key="guess") as stranger:
        stranger.models.list()
    with httpx.Client(base_url=served.url + "/", headers={"authorization": f"Bearer {KEY}"}) as http:
        assert http.post("chat/completions", content=b"x" * 2_000_000).status_code == 413
        assert http.post("chat/completions", content=b"{" * 900_000).json()["error"]["code"] == "invalid_json"
        for name, data, status in (
            ("x.wav", b"RIFF" * 100, 400),
            ("x.wav", b"", 400),
            ("x.wav", b"\0" * 26_000_000, 413),
        ):
            answer = http.post("audio/transcriptions", files={"file": (name, data)}, data={"model": "x"})
            assert (answer.status_code, set(answer.json()["error"])) == (status, {"message", "type", "param", "code"})


def test_what_is_not_there_is_said_in_openais_form(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="x", input="x")
    assert refused.value.code == "not_found"


def test_a_small_file_that_holds_hours_of_silence_is_refused(client: openai.OpenAI) -> None:
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(8_000 * 3_600, np.int16), 8_000, format="FLAC")
    assert len(sound.getvalue()) < 1_000_000
    with pytest.raises(openai.APIStatusError) as refused:
        client.audio.transcriptions.create(model="x", file=("hour.flac", sound.getvalue()))
    assert refused.value.status_code == 413


async def test_a_guest_waits_while_somebody_speaks_to_the_device(served: Served) -> None:
    messages: Any = [{"role": "user", "content": "where is the hammer"}]
    async with openai.AsyncOpenAI(base_url=served.url, api_key=KEY, max_retries=0) as client:
        served.host.speaking = True
        asked = asyncio.create_task(client.chat.completions.create(model="edgeapp", messages=messages))
        try:
            done, _ = await asyncio.wait([asked], timeout=0.5)
            assert not done
        finally:
            served.host.speaking = False
        assert (await asked).choices[0].message.content == "The hammer is at the rear left."


# OpenAI Realtime


def test_the_openai_client_holds_a_spoken_conversation(served: Served) -> None:
    turns = [json.loads(line) for line in _run("openai_realtime.py", served.url, KEY, HAMMER, DRILL).splitlines()]
    assert [each["understood"] for each in turns] == ["where is the hammer", "how much is the power drill"]
    replies = [_without_opener(each["reply"]) for each in turns]
    assert replies == ["The hammer is at the rear left.", "The power drill costs 89 euros."]
    assert all(1.5 < each["sound_s"] < 4 for each in turns)


async def _official(served: Served, session: dict[str, Any], question: str, **response: Any) -> list[Any]:
    """What OpenAI's client gets for a written question, up to the response's end, and an error that came."""
    events: list[Any] = []
    async with openai.AsyncOpenAI(base_url=served.url, api_key=KEY) as client:  # noqa: SIM117 - as its documentation does
        async with client.realtime.connect(model="gpt-realtime") as connection:
            wanted: Any = {"type": "realtime"} | session
            await connection.session.update(session=wanted)
            content: Any = [{"type": "input_text", "text": question}]
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            asked: Any = response or openai.omit
            await connection.response.create(response=asked)
            async with asyncio.timeout(15):
                async for event in connection:
                    events.append(event)
                    if event.type == "response.done":
                        break
    return events


def test_the_openai_clients_example_of_text_works_as_it_stands(served: Served) -> None:
    asked = ("Where is the hammer?", "How much is it?", "When do you open on Monday?")
    replies = _run("openai_realtime_text.py", served.url, KEY, *asked).splitlines()
    assert replies == [
        "The hammer is at the rear left.",
        "The hammer costs 12 euros 50.",
        "On Monday, open from 8 to 18.",
    ]


async def test_the_openai_clients_example_of_a_session_with_everything_works_where_it_can(served: Served) -> None:
    """Instructions, a voice, turn detection with all of its parameters, formats, a response with instructions of its own."""
    heard = {
        "format": {"type": "audio/pcmu"},
        "transcription": {"model": "gpt-4o-transcribe"},
        "turn_detection": {
            "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500,
            "create_response": True, "interrupt_response": True,
        },
    }  # fmt: skip
    session = {
        "model": "gpt-realtime", "output_modalities": ["audio"], "instructions": "Speak clearly and briefly.",
        "audio": {"input": heard, "output": {"format": {"type": "audio/pcma"}, "voice": "marin"}},
        "tools": [], "tool_choice": "auto",
    }  # fmt: skip
    events = await _official(served, session, "Where is the hammer?", instructions="Please be kind.")
    updated = next(each.session for each in events if each.type == "session.updated")
    assert "follows no instructions" in updated.instructions
    assert (updated.audio.input.format.type, updated.audio.output.format.type) == ("audio/pcmu", "audio/pcma")
    assert updated.audio.input.turn_detection.prefix_padding_ms == 300
    assert [each.error.code for each in events if each.type == "error"] == ["instructions_not_followed"]
    assert events[-1].response.status == "completed"
    sound = b"".join(base64.b64decode(each.delta) for each in events if each.type == "response.output_audio.delta")
    assert 1.5 < len(sound) / 8_000 < 4
    assert np.abs(FORMATS["audio/pcma"].decode(sound).astype(int)).max() > 2_000


async def test_a_telephones_question_is_understood(served: Served) -> None:
    import soxr

    samples, rate_hz = soundfile.read(HAMMER, dtype="float32")
    narrow = (soxr.resample(samples, rate_hz, 8_000) * 32_767).astype(np.int16)
    async with _connect(served) as socket:
        talk = Talk(socket)
        heard = {"format": {"type": "audio/pcmu"}, "turn_detection": None, "transcription": {"model": "x"}}
        session = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": heard}}
        await talk.send("session.update", session=session)
        await talk.send(
            "input_audio_buffer.append", audio=base64.b64encode(FORMATS["audio/pcmu"].encode(narrow)).decode()
        )
        await talk.send("input_audio_buffer.commit")
        await talk.send("response.create")
        done = await talk.until("response.done")
    assert done["response"]["output"][0]["content"] == [
        {"type": "output_text", "text": "The hammer is at the rear left."}
    ]


class Talk:
    """A Realtime connection by hand: what was sent and what came."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.events = socket, list[dict[str, Any]]()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; those before it are kept."""
        async with asyncio.timeout(15):
            while True:
                event: dict[str, Any] = json.loads(await self.socket.recv())
                self.events.append(event)
                if event["type"] == kind:
                    return event


def _connect(served: Served, key: str = KEY) -> Any:
    url = f"ws://127.0.0.1:{served.http}/v1/realtime?model=edgeapp"
    return websockets.connect(url, additional_headers={"authorization": f"Bearer {key}"}, max_size=None)


def _pcm(path: Path) -> str:
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="float32")
    return base64.b64encode((soxr.resample(samples, rate_hz, 24_000) * 32_767).astype("<i2").tobytes()).decode()


async def test_without_turn_detection_the_client_commits_and_asks_for_the_reply(served: Served) -> None:
    async with _connect(served) as socket:
        talk = Talk(socket)
        heard = {"turn_detection": None, "transcription": {"model": "x"}}
        await talk.send("session.update", session={"type": "realtime", "audio": {"input": heard}})
        assert (await talk.until("session.updated"))["session"]["audio"]["input"]["turn_detection"] is None
        await talk.send("input_audio_buffer.append", audio=_pcm(HAMMER))
        await talk.send("input_audio_buffer.commit")
        await talk.send("response.create")
        done = await talk.until("response.done")
        assert done["response"]["status"] == "completed"
        said = done["response"]["output"][0]["content"][0]["transcript"]
        assert _without_opener(said) == "The hammer is at the rear left."
        words = [each["transcript"] for each in talk.events if "transcription.completed" in each["type"]]
        assert words == ["where is the hammer"]


async def test_a_written_question_is_answered_aloud_and_the_reply_can_be_truncated(served: Served) -> None:
    async with _connect(served) as socket:
        talk = Talk(socket)
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where is the hammer?"}]}
        await talk.send("conversation.item.create", item=item)
        await talk.send("response.create")
        reply = (await talk.until("response.done"))["response"]["output"][0]
        kinds = [each["type"] for each in talk.events]
        order = ["response.created", "response.output_item.added", "response.content_part.added",
                 "response.output_audio_transcript.delta", "response.output_audio.delta", "response.output_audio.done",
                 "response.output_item.done", "response.done"]  # fmt: skip
        assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order
        await talk.send("conversation.item.truncate", item_id=reply["id"], content_index=0, audio_end_ms=900)
        await talk.until("conversation.item.truncated")
        await talk.send("conversation.item.retrieve", item_id=reply["id"])
        words = (await talk.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        assert words
        assert reply["content"][0]["transcript"].startswith(words)
        assert len(words) < len(reply["content"][0]["transcript"])


async def test_a_reply_that_is_spoken_over_or_cancelled_ends_and_says_why(served: Served) -> None:
    async with _connect(served) as socket:
        talk = Talk(socket)
        text = {"type": "input_text", "text": "when do you close on saturday"}
        for _ in range(2):
            await talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": [text]})
        await talk.send("response.create")
        await talk.until("response.output_audio.delta")
        block = _pcm(DRILL)
        size = 24_000 // 50 * 2 * 4 // 3
        for at in range(0, len(block) - size, size):
            await talk.send("input_audio_buffer.append", audio=block[at : at + size])
            await asyncio.sleep(0.02)
        await talk.until("input_audio_buffer.speech_started")
        quiet = base64.b64encode(bytes(24_000)).decode()
        for _ in range(3):
            await talk.send("input_audio_buffer.append", audio=quiet)
        await talk.until("input_audio_buffer.committed")
        answer = await talk.until("response.done")
        said = answer["response"]["output"][0]["content"][0]["transcript"]
        assert _without_opener(said) == "The power drill costs 89 euros."
        await talk.send("response.cancel")
        assert (await talk.until("error"))["error"]["code"] == "response_cancel_not_active"


async def test_one_session_at_a_time_and_none_without_the_key(served: Served) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await _connect(served, "guess").__aenter__()
    assert refused.value.response.status_code == 401
    async with _connect(served) as first:
        await Talk(first).until("session.created")
        with pytest.raises(websockets.InvalidStatus) as taken:
            await _connect(served).__aenter__()
        assert taken.value.response.status_code == 503


def _hostile(number: int, dice: random.Random) -> str | bytes:
    """A message that no client should send."""
    kinds = ["session.update", "input_audio_buffer.append", "conversation.item.create", "response.create",
             "conversation.item.truncate", "input_audio_buffer.commit", "response.cancel", "no.such.event"]  # fmt: skip
    junk: list[Any] = [None, True, -1, 1e308, "\0", "x" * 5_000, [], {}, [[[]]] * 50, {"a": {"b": {}}}]
    kind = dice.choice(kinds)
    fields = {
        name: dice.choice(junk)
        for name in dice.sample(["session", "audio", "item", "item_id", "audio_end_ms", "response", "event_id"], 3)
    }
    shapes: list[Any] = [
        json.dumps({"type": kind, **fields}),
        json.dumps({"type": kind, "audio": base64.b64encode(dice.randbytes(dice.randrange(2_000))).decode()}),
        json.dumps(dice.choice(junk)),
        "[" * dice.randrange(1, 20_000),
        dice.randbytes(dice.randrange(1, 3_000)),
        json.dumps({"type": kind, "session": {"type": "realtime", "audio": {"input": {"turn_detection": fields}}}}),
    ]
    return shapes[number % len(shapes)]  # type: ignore[no-any-return]


async def test_a_thousand_hostile_messages_end_no_session_and_cost_bounded_memory(served: Served) -> None:
    dice = random.Random(7)
    async with _connect(served) as socket:
        talk = Talk(socket)

        async def read() -> None:
            async for message in socket:
                talk.events.append(json.loads(message))

        reading = asyncio.create_task(read())
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(1_000):
            await socket.send(_hostile(number, dice))
        await talk.send("input_audio_buffer.clear", event_id="last")
        async with asyncio.timeout(30):
            while not talk.events or talk.events[-1]["type"] != "input_audio_buffer.cleared":
                await asyncio.sleep(0.01)
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
        reading.cancel()
        assert not reading.done()
    errors = [each["error"] for each in talk.events if each["type"] == "error"]
    assert len(errors) > 700
    assert all(each["message"] and "\0" not in each["message"] and len(each["message"]) < 400 for each in errors)
    assert grown_mb < 60
    async with _connect(served) as socket:
        assert (await Talk(socket).until("session.created"))["session"]["object"] == "realtime.session"


async def test_a_message_beyond_the_bound_closes_its_session_and_no_other(served: Served) -> None:
    async with _connect(served) as socket:
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 3_000_000}))
        with pytest.raises(websockets.ConnectionClosed):
            await Talk(socket).until("never")
    async with _connect(served) as socket:
        assert (await Talk(socket).until("session.created"))["session"]["object"] == "realtime.session"


# Wyoming


def test_home_assistants_library_gets_words_and_speech(served: Served, tmp_path: Path) -> None:
    here = ("127.0.0.1", served.wyoming)
    info = json.loads(_run("wyoming_client.py", *here, "describe"))
    assert {kind for kind, offered in info.items() if offered} == {"asr", "tts", "wake"}  # it handles no intents
    assert [info[kind][0]["name"] for kind in ("asr", "tts", "wake")] == ["edgeapp"] * 3
    parts = [info["asr"][0]["models"][0], info["tts"][0]["voices"][0], info["wake"][0]["models"][0]]
    assert all(each["installed"] and each["languages"] == ["en"] and each["version"] for each in parts)
    assert info["tts"][0]["supports_synthesize_streaming"]
    words = _run("wyoming_client.py", *here, "transcribe", HAMMER, DRILL).splitlines()
    assert words == ["where is the hammer", "how much is the power drill"]
    text = "The hammer is at the rear left. It costs 12 euros."
    lengths = [_run("wyoming_client.py", *here, way, tmp_path / f"{way}.wav", text) for way in ("synthesize", "stream")]
    assert float(lengths[0]) == pytest.approx(float(lengths[1]), abs=0.1)
    assert 2.5 < float(lengths[0]) < 5


async def test_a_text_is_spoken_while_it_is_still_written(served: Served) -> None:
    async with asyncio.timeout(20), AsyncTcpClient("127.0.0.1", served.wyoming) as client:
        await client.write_event(SynthesizeStart().event())
        await client.write_event(SynthesizeChunk("The hammer is at the rear left. ").event())
        first = [await client.read_event() for _ in range(2)]  # and only now the rest
        assert [each.type for each in first if each] == ["audio-start", "audio-chunk"]
        for event in (SynthesizeChunk("It costs 12 euros."), SynthesizeStop()):
            await client.write_event(event.event())
        rest: list[str] = []
        while rest[-1:] != ["synthesize-stopped"]:
            event = await client.read_event()
            assert event is not None
            rest.append(event.type)
        assert list(dict.fromkeys(rest)) == ["audio-chunk", "audio-stop", "synthesize-stopped"]


def test_the_keyphrase_is_detected_where_it_was_said_and_not_elsewhere(
    served: Served, client: openai.OpenAI, tmp_path: Path
) -> None:
    here = ("127.0.0.1", served.wyoming)
    said = ("hello kiosk", "hello kiosk where is the hammer", "the weather is nice today")
    files = [tmp_path / f"{number}.wav" for number in range(len(said))]
    for file, text in zip(files, said, strict=True):
        file.write_bytes(client.audio.speech.create(model="x", voice="x", input=text, response_format="wav").read())
    found = _run("wyoming_client.py", *here, "detect", *files, HAMMER).splitlines()
    assert [line.split()[0] for line in found] == ["hello_kiosk", "hello_kiosk", "not", "not"]
    assert int(found[1].split()[1]) < 1_500  # while the question behind it is still being asked


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 200_000,
        b"{" * 70_000 + b"\n",
        b'{"type": "audio-chunk", "payload_length": 9000000000}\n',
        b'{"type": "audio-chunk", "data_length": -5}\n',
        b'{"type": 7}\n',
        b"[]\n",
        b'{"type": "audio-start"}\n{"type": "transcribe"}\n{"type": "audio-chunk", "data": {"rate": 0, "width": 2, "channels": 1}}\n',
        b'{"type": "synthesize", "data": {"text": 5}}\n',
        b'{"type": "synthesize", "data": {"text": "x", "voice": 3}}\n',
    ],
)
async def test_garbage_ends_its_connection_and_no_other(served: Served, garbage: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.wyoming)
    writer.write(garbage)
    try:
        async with asyncio.timeout(15):
            while await reader.read(65_536):
                pass
    except ConnectionError:
        pass
    finally:
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.wyoming)
    writer.write(b'{"type": "ping", "data": {"text": "still there"}}\n')
    async with asyncio.timeout(5):
        assert b"pong" in await reader.readline()
    writer.close()


async def test_a_connection_too_many_is_closed_and_the_others_are_not(served: Served) -> None:
    streams = [await asyncio.open_connection("127.0.0.1", served.wyoming) for _ in range(4)]
    try:
        for reader, writer in streams:
            writer.write(b'{"type": "ping"}\n')
            async with asyncio.timeout(5):
                assert b"pong" in await reader.readline()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.wyoming)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    finally:
        for _, writer in streams:
            writer.close()
