"""The OpenAI engine against a server that misbehaves, and against llama.cpp's server killed in the middle."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import llama_server
import pytest
import tiny_llama
from rude_server import EVENTS, Call, Rude, Script, event, serving

from edgeapp.core.events import BackendError, ConfigError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.engines import llm_openai
from edgeapp.engines.llm_openai import OpenAiLlm, Options
from edgeapp.voice.prompt import so_far

PROMPT = Prompt("hex bolt: 4 euros", (("hello", "hello there"),), "how much is it", max_tokens=16)
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def loaded(base_url: str, **options: Any) -> AsyncIterator[OpenAiLlm]:
    """The engine, impatient."""
    lane = Lane("test")
    bounds = {"first_timeout_ms": 300, "next_timeout_ms": 150} | options
    try:
        async with llm_openai.load(Options(base_url=base_url, model="tiny", **bounds), lane) as llm:
            yield llm
    finally:
        lane.close()


@asynccontextmanager
async def against(script: Script, **options: Any) -> AsyncIterator[tuple[Rude, OpenAiLlm]]:
    """The engine and a server that follows `script`."""
    async with serving(script) as rude, loaded(rude.base_url, **options) as llm:
        yield rude, llm


async def text_of(llm: OpenAiLlm, prompt: Prompt = PROMPT) -> str:
    """The whole answer."""
    return "".join([piece async for piece in await llm(prompt)])


async def no_words(call: Call) -> None:
    await call.stall()


async def slow_headers(call: Call) -> None:
    for byte in EVENTS * 1000:
        call.send(bytes([byte]))
        await call.writer.drain()
        await asyncio.sleep(0.02)


async def no_text(call: Call) -> None:
    call.send(EVENTS + b": ping\n\n" * 3)
    await call.stall()


async def stalls(call: Call) -> None:
    call.send(EVENTS + event("it "))
    await call.stall()


async def pings_for_ever(call: Call) -> None:
    call.send(EVENTS + event("it "))
    while True:
        call.send(b": ping\n\n")
        await call.writer.drain()
        await asyncio.sleep(0.02)


async def cut(call: Call) -> None:
    call.send(EVENTS + event("it ") + event("costs"))


async def cut_in_an_event(call: Call) -> None:
    call.send(EVENTS + event("it ") + event("costs")[:20])


async def cut_chunks(call: Call) -> None:
    call.send(EVENTS.replace(b"Connection: close", b"Transfer-Encoding: chunked") + b"40\r\n" + event("it")[:10])


async def hangs_up(call: Call) -> None:
    call.writer.transport.abort()


async def not_http(call: Call) -> None:
    call.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def html(call: Call) -> None:
    call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>welcome</html>")


async def garbage(call: Call) -> None:
    call.send(EVENTS + b"data: {'not json'}\n\n")


async def wrong_shape(call: Call) -> None:
    call.send(EVENTS + b'data: {"choices": "none"}\n\n')


async def binary(call: Call) -> None:
    call.send(EVENTS + bytes(range(256)) * 8 + b"\n\n")


async def gives_up(call: Call) -> None:
    call.send(EVENTS + event("it ") + b'data: {"error": {"message": "out of memory", "code": 500}}\n\n')


async def endless_line(call: Call) -> None:
    call.send(EVENTS + b"data: ")
    while True:
        call.send(b"x" * 65536)
        await call.writer.drain()


async def error_500(call: Call) -> None:
    body = b'{"error": {"message": "the engine\\nhas died"}}'
    call.send(b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def error_404(call: Call) -> None:
    call.send(b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n<html>nothing</html>")


async def endless_error(call: Call) -> None:
    call.send(b"HTTP/1.1 503 No\r\nConnection: close\r\n\r\n")
    while True:
        call.send(b"busy " * 1000)
        await call.writer.drain()


WRONG: dict[Script, str] = {
    no_words: "sent no text for 300 ms",
    slow_headers: "sent no text for 300 ms",
    no_text: "sent no text for 300 ms",
    stalls: "sent no text for 150 ms",
    pings_for_ever: "sent no text for 150 ms",
    cut: "ended the reply before it was finished",
    cut_in_an_event: "ended the reply before it was finished",
    cut_chunks: "broke off",
    hangs_up: "broke off",
    not_http: "broke off",
    html: "did not answer with an event stream",
    garbage: "not a chat completion chunk",
    wrong_shape: "not a chat completion chunk",
    binary: "ended the reply",
    gives_up: "gave up: out of memory",
    endless_line: "longer than",
    error_500: "answered 500: the engine has died",
    error_404: "answered 404",
    endless_error: "answered 503: busy",
}


@pytest.mark.real_time
@pytest.mark.parametrize("script", WRONG, ids=lambda script: script.__name__)
async def test_what_a_server_does_wrong_is_one_sentence(script: Script) -> None:
    async with against(script) as (rude, llm):
        with pytest.raises(BackendError) as failed:
            await text_of(llm)
        assert WRONG[script] in str(failed.value)
        assert "\n" not in str(failed.value)
        assert len(str(failed.value)) < 500
        await rude.client_left()


@pytest.mark.real_time
async def test_nobody_listens_there() -> None:
    async with serving(no_words) as rude:
        closed = rude.base_url
    async with loaded(closed) as llm:
        with pytest.raises(BackendError, match="cannot be reached"):
            await llm(PROMPT)


@pytest.mark.real_time
async def test_cancel_closes_the_stream() -> None:
    async with against(stalls, next_timeout_ms=60_000) as (rude, llm):
        answer = await llm(PROMPT)
        assert not rude.left.is_set()
        await answer.aclose()
        await rude.client_left()
        rude.left.clear()
        rude.called.clear()
        asked = asyncio.ensure_future(text_of(llm))
        await asyncio.wait_for(rude.called.wait(), 10)
        asked.cancel()
        await rude.client_left()
        await asyncio.wait((asked,))
        assert asked.cancelled()


@pytest.mark.real_time
async def test_one_connection_serves_many_questions() -> None:
    async def answers(call: Call) -> bool:
        body = event("it costs") + event("", '"stop"') + DONE
        call.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        return True

    async with against(answers) as (rude, llm):
        await llm.probe("facts")
        for _ in range(5):
            assert await text_of(llm) == "it costs"
        assert rude.connections == 1
        assert len(rude.calls) == 6


@pytest.mark.real_time
@pytest.mark.parametrize("ending", [b"", b"data: [DO", event("", '"stop"') * 2, b"\xff\xfe"])
async def test_a_finished_reply_is_whole_whatever_follows(ending: bytes) -> None:
    async def finishes(call: Call) -> None:
        call.send(EVENTS + event("it ") + event("costs", '"stop"') + ending)
        await call.stall()

    async with against(finishes) as (_, llm):
        assert await text_of(llm) == "it costs"


@pytest.mark.real_time
async def test_only_what_every_server_accepts_is_sent() -> None:
    async def answers(call: Call) -> None:
        call.send(EVENTS + event("ok", '"stop"') + DONE)

    begun = replace(PROMPT, said="It")
    async with against(answers) as (rude, llm):
        await text_of(llm, begun)
        sent = json.loads(rude.calls[0].body)
        assert set(sent) == {"model", "messages", "stream", "temperature", "max_tokens"}
        assert [each["role"] for each in sent["messages"]] == ["system", "user", "assistant", "user", "assistant"]
        assert sent["messages"][-1]["content"] == "It"
        assert rude.calls[0].head.startswith("POST /v1/chat/completions HTTP/1.1")
    async with against(answers, continues="prefill_flags") as (rude, llm):
        await text_of(llm, begun)
        sent = json.loads(rude.calls[0].body)
        assert sent["continue_final_message"] is True
        assert sent["add_generation_prompt"] is False


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        (["It costs", " four euros"], " four euros"),
        (["It", " costs four", " euros"], " four euros"),
        ([" It costs four euros"], " four euros"),
        (["I think", " so"], "I think so"),
        (["It", " may be"], "It may be"),
        (["It costs"], ""),
    ],
)
async def test_a_server_that_cannot_continue_repeats_and_we_drop_it(reply: list[str], rest: str) -> None:
    async def answers(call: Call) -> None:
        call.send(EVENTS + b"".join(map(event, reply)) + DONE)

    async with against(answers, continues="repeat") as (rude, llm):
        assert await text_of(llm, replace(PROMPT, said="It costs")) == rest
        sent = json.loads(rude.calls[0].body)
        assert sent["messages"][-1]["role"] == "user"
        assert '"It costs"' in sent["messages"][-1]["content"]


@pytest.mark.real_time
async def test_the_key_is_sent_and_never_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_LLM_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)

    async def refuses(call: Call) -> None:
        call.send(b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\nIncorrect API key provided: sk-very-secret")

    async with against(refuses, api_key_env="SHOP_LLM_KEY") as (rude, llm):
        with pytest.raises(BackendError) as failed:
            await llm(PROMPT)
        assert "authorization: bearer sk-very-secret" in rude.calls[0].head.lower()
    assert "[key]" in str(failed.value)
    assert "sk-very-secret" not in str(failed.value) + caplog.text


@pytest.mark.real_time
async def test_a_server_that_repeats_the_question_is_not_quoted() -> None:
    async def refuses(call: Call) -> None:
        call.send(b"HTTP/1.1 400 No\r\nConnection: close\r\n\r\ncannot answer: how much is it")

    async with against(refuses) as (_, llm):
        with pytest.raises(BackendError, match="answered 400: a reason that repeats the conversation"):
            await llm(PROMPT)


@pytest.mark.real_time
@pytest.mark.parametrize(
    "options",
    [{"base_url": "localhost:8000"}, {"base_url": "ftp://host/v1"}, {"base_url": "http://me:secret@host/v1"},
     {"base_url": "http://host:99999/v1"}, {"base_url": "http:///v1"}, {"model": ""}, {"connect_timeout_ms": 0},
     {"first_timeout_ms": -1}, {"next_timeout_ms": 0}, {"max_prompt_chars": 0}, {"api_key_env": "NOT_SET_ANYWHERE"}],
    ids=str,
)  # fmt: skip
async def test_options_out_of_range_are_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        async with llm_openai.load(
            Options(**({"base_url": "http://host/v1", "model": "tiny"} | options)), Lane("test")
        ):
            pass
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.real_time
async def test_a_prefill_sends_what_every_server_accepts_and_what_changes_stands_last() -> None:
    async def answers(call: Call) -> None:
        call.send(EVENTS + event("ok", '"length"') + DONE)

    prompt = replace(PROMPT, system="hex bolt: 4 euros\n\nparts today: 3", facts="washer: 10 cents")
    async with against(answers) as (rude, llm):
        await llm.prefill(so_far(prompt.system, prompt.turns))
        await text_of(llm, prompt)
        ahead, asked = (json.loads(call.body) for call in rude.calls)
        assert set(ahead) == {"model", "messages", "stream", "temperature", "max_tokens"}
        assert ahead["max_tokens"] == 1
        assert ahead["messages"][:-1] == asked["messages"][:-1]
        assert ahead["messages"][0]["content"] == "hex bolt: 4 euros"
        assert ahead["messages"][-1]["role"] == "user"
        assert asked["messages"][-1]["content"] == "washer: 10 cents\nparts today: 3\n\nhow much is it"
    async with against(answers, prefill=False) as (rude, llm):
        await llm.prefill(so_far("facts", ()))
        assert rude.calls == []


@pytest.mark.real_time
async def test_one_prefill_at_a_time_and_a_question_ends_it() -> None:
    async def first_stalls(call: Call) -> None:
        if json.loads(call.body)["max_tokens"] == 1:
            await call.stall()
        else:
            call.send(EVENTS + event("it costs", '"stop"') + DONE)

    async with against(first_stalls, first_timeout_ms=60_000) as (rude, llm):
        ahead = asyncio.ensure_future(llm.prefill(so_far("facts", ())))
        await asyncio.wait_for(rude.called.wait(), 10)
        await llm.prefill(so_far("other facts", ()))
        assert len(rude.calls) == 1
        assert await text_of(llm) == "it costs"
        await asyncio.wait_for(ahead, 10)
        await rude.client_left()
        assert await text_of(llm) == "it costs"


@pytest.mark.real_time
async def test_a_prefill_that_is_cancelled_closes_its_stream_and_one_that_fails_says_so() -> None:
    async with against(stalls, next_timeout_ms=60_000) as (rude, llm):
        ahead = asyncio.ensure_future(llm.prefill(so_far("facts", ())))
        await asyncio.wait_for(rude.called.wait(), 10)
        ahead.cancel()
        await rude.client_left()
        await asyncio.wait((ahead,))
        assert ahead.cancelled()
    async with against(error_500) as (_, llm):
        with pytest.raises(BackendError, match="the engine has died"):
            await llm.prefill(so_far("facts", ()))
        with pytest.raises(BackendError, match="the engine has died"):
            await llm.prefill(so_far("facts", ()))


@pytest.mark.real_time
async def test_a_real_server_reads_only_the_tail_of_what_was_sent_ahead(tmp_path: Path) -> None:
    """llama.cpp's `timings.prompt_n` counts the tokens it had to read, `cache_n` those it still had."""
    turns = (("where are the washers", "they are here"), ("how much are they", "ten cents"))
    read, kept = [], []
    with llama_server.running(tiny_llama.write_gguf(tmp_path / "tiny.gguf")) as (base_url, _):
        async with loaded(base_url, first_timeout_ms=20_000, next_timeout_ms=20_000) as llm:
            for items in (1, 8):
                system = f"shop {items}\n" + "hex bolt: 4 euros\nwasher: 10 cents\n" * items + "\n\nparts today: "
                await llm.prefill(so_far(f"{system}3", turns))
                prompt = replace(PROMPT, system=f"{system}4", turns=turns, facts="the washer is here", max_tokens=4)
                counts = await _tokens_read(llm, prompt)
                read.append(counts[0])
                kept.append(counts[1])
    assert read[0] == read[1] < 40  # the facts of now, the question and the marks around them
    assert kept[1] > kept[0] + 7 * 10  # system text and history, though a count has changed since


async def _tokens_read(llm: OpenAiLlm, prompt: Prompt) -> tuple[int, int]:
    """How many tokens of a prompt the server had to read, and how many it still had."""
    async with httpx.AsyncClient() as client:  # of its own: the server may be about to close a kept connection
        answer = await client.post(llm._url, json=llm._body(prompt) | {"stream": False}, timeout=20)
    timings = answer.json()["timings"]
    return timings["prompt_n"], timings["cache_n"]


@pytest.mark.real_time
async def test_a_real_server_killed_in_the_middle_and_gone_after_it(tmp_path: Path) -> None:
    with llama_server.running(tiny_llama.write_gguf(tmp_path / "tiny.gguf")) as (base_url, process):
        async with loaded(base_url, first_timeout_ms=20_000, next_timeout_ms=20_000) as llm:
            answer = await llm(replace(PROMPT, max_tokens=900))
            process.kill()
            with pytest.raises(BackendError):
                async for _ in answer:
                    pass
            process.wait()
            with pytest.raises(BackendError, match="cannot be reached"):
                await llm(PROMPT)
