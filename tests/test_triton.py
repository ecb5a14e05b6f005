"""The Triton engine against a server that misbehaves: each wrong answer is one sentence, and the next call works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rude_triton
from rude_triton import Rude, gives_up, last, listening, response, streamed

from edgeapp.core.events import (
    BackendError,
    CameraFrame,
    Clause,
    ConfigError,
    Features,
    Prompt,
    TimestampKind,
    Utterance,
)
from edgeapp.core.lane import Lane
from edgeapp.engines import triton

FRAME = CameraFrame(np.zeros((40, 60, 3), np.uint8), 0, 7, "test", TimestampKind.FILE)
PROMPT = Prompt("hex bolt: 4 euros", (), "how much is it", max_tokens=4)
SAID = Utterance(1, np.zeros(100, np.int16), 0)
BOX = [[1.0, 2.0, 30.0, 20.0, 0.9]]
SEEN: dict[str, Any] = {"boxes": np.array(BOX, np.float32), "labels": "dent", "model": "abc"}


@asynccontextmanager
async def opened(url: str, kind: Any, **options: Any) -> AsyncIterator[Any]:
    """The engine, impatient."""
    lane = Lane("test")
    bounds = {"deadline_ms": 400, "next_ms": 200} | options
    try:
        async with triton.load(triton.Options(url=url, kind=kind, **bounds), lane) as engine:
            yield engine
    finally:
        lane.close()


async def asked(engine: Any) -> Any:
    """Ask an engine of any kind, to the end of its answer."""
    if isinstance(engine, triton.Detector):
        return await engine(FRAME)
    if isinstance(engine, triton.Rest):
        return await engine(Features(np.ones((2, 3, 4), np.float32), 40, 60, 7, "test"))
    if isinstance(engine, triton.Recogniser):
        return await engine(SAID)
    stream = await engine(Clause("hello") if isinstance(engine, triton.Voice) else PROMPT)
    return [part async for part in stream]


def floats(*rows: list[float]) -> Any:
    return np.array(rows, np.float32).reshape(-1, 5)


def cut_short(answer: Any) -> Any:
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-1]
    return answer


def without_bytes(answer: Any) -> Any:
    del answer.raw_output_contents[:]
    return answer


def negative(answer: Any) -> Any:
    answer.outputs[0].shape[0] = -1
    return answer


RIGHT_WORDS: dict[str, Any] = {"text": "hello", "complete": [True]}
HELLO: dict[str, Any] = {"samples": np.ones(80, np.int16), "sample_rate_hz": np.array([16_000], np.int32)}
WRONG: list[tuple[str, str, Any, str]] = [
    ("detect", "a NaN", response(**SEEN | {"boxes": floats([np.nan, 0, 1, 1, 0.5])}), "not finite"),
    ("detect", "infinite", response(**SEEN | {"boxes": floats([0, 0, np.inf, 1, 0.5])}), "not finite"),
    ("detect", "type", response(**SEEN | {"boxes": np.ones((1, 5), np.int32)}), "as INT32"),
    ("detect", "rank", response(**SEEN | {"boxes": np.ones(5, np.float32)}), "2 dimensions"),
    ("detect", "columns", response(**SEEN | {"boxes": np.ones((1, 4), np.float32)}), "shape (1, 4)"),
    ("detect", "cut", cut_short(response(**SEEN)), "19 bytes"),
    ("detect", "no bytes", without_bytes(response(**SEEN)), "outputs"),
    ("detect", "negative", negative(response(**SEEN)), "[-1, 5]"),
    ("detect", "missing", response(labels="dent", model="abc"), "['labels', 'model']"),
    ("detect", "extra", response(**SEEN, more="x"), "more"),
    ("detect", "labels", response(**SEEN | {"labels": "dent\nscratch"}), "2 labels"),
    ("detect", "no text", response(**SEEN | {"labels": np.array([255], np.uint8)}), "no text"),
    ("detect", "outside", response(**SEEN | {"boxes": floats([1, 2, 99, 20, 0.9])}), "in the picture"),
    ("detect", "inside out", response(**SEEN | {"boxes": floats([30, 2, 1, 20, 0.9])}), "in the picture"),
    ("detect", "score", response(**SEEN | {"boxes": floats([1, 2, 30, 20, 1.5])}), "in the picture"),
    ("detect", "many", response(**SEEN | {"boxes": floats(*BOX * 1001), "labels": "a\n" * 1000}), "1001 labels"),
    ("detect", "model", response(**SEEN | {"model": "other"}), "expects 'abc'"),
    ("rest", "a NaN", response(**SEEN | {"boxes": floats([np.nan, 0, 1, 1, 0.5])}), "not finite"),
    ("stt", "no text", response(**RIGHT_WORDS | {"text": np.array([0xC3], np.uint8)}), "no text"),
    ("stt", "long", response(**RIGHT_WORDS | {"text": "a" * 4_001}), "4001 characters"),
    ("stt", "two flags", response(**RIGHT_WORDS | {"complete": [True, False]}), "shape (2,)"),
    ("tts", "rate", streamed(**HELLO | {"sample_rate_hz": np.array([5], np.int32)}), "at [5] Hz"),
    ("tts", "no rate", streamed(**HELLO | {"sample_rate_hz": np.array([], np.int32)}), "at [] Hz"),
    ("tts", "floats", streamed(**HELLO | {"samples": np.ones(9, np.float32)}), "as FP32"),
    ("tts", "endless", streamed(**HELLO | {"samples": np.zeros(500_000, np.int16)}), "500000 samples"),
    ("llm", "no text", streamed(text=np.array([255], np.uint8)), "no text"),
    ("llm", "gives up", gives_up("out of\nmemory"), "gave up: out of memory"),
    ("llm", "unfinished", streamed(text="it"), "before it was finished"),
]


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("kind", "what", "answer", "says"), WRONG, ids=lambda each: each if isinstance(each, str) else ""
)
async def test_a_wrong_answer_is_one_sentence(kind: str, what: str, answer: Any, says: str) -> None:
    def answers(_: Rude, __: Any) -> Iterator[Any]:
        yield answer

    with rude_triton.serving(answers) as rude:
        async with opened(rude.url, kind, expects="abc" if kind == "detect" else "") as engine:
            with pytest.raises(BackendError) as failed:
                await asked(engine)
            assert says in str(failed.value), what
            assert "\n" not in str(failed.value)
            assert rude.url in str(failed.value)


@pytest.mark.real_time
async def test_right_answers_of_every_kind() -> None:
    answers = {
        "detect": [response(**SEEN)],
        "rest": [response(**SEEN)],
        "stt": [response(**RIGHT_WORDS)],
        "tts": [streamed(**HELLO), last()],
        "llm": [streamed(text="it"), streamed(text=" costs"), last()],
    }
    for kind, parts in answers.items():
        with rude_triton.serving(lambda _, __, parts=parts: iter(parts)) as rude:  # type: ignore[misc]
            async with opened(rude.url, kind, jpeg_quality=0) as engine:
                for _ in range(3):
                    assert await asked(engine)
                assert (engine.counts.calls, engine.counts.answered, engine.counts.failed) == (3, 3, 0)
            request = rude.requests[0]
            assert request.parameters["timeout"].int64_param == 400_000
            assert len(request.raw_input_contents) == len(request.inputs)
            if kind == "detect":
                assert list(request.inputs[0].shape) == [40, 60, 3]
                assert request.raw_input_contents[0] == FRAME.pixels.tobytes()


@pytest.mark.real_time
async def test_more_pieces_than_were_asked_for_are_refused() -> None:
    def chats(_: Rude, __: Any) -> Iterator[Any]:
        while True:
            yield streamed(text=" and")

    with rude_triton.serving(chats) as rude:
        async with opened(rude.url, "llm") as llm:
            with pytest.raises(BackendError, match="more than the 4 pieces"):
                await asked(llm)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["detect", "llm"])
async def test_a_server_that_says_nothing_costs_the_deadline_and_no_more(kind: str) -> None:
    def waits(rude: Rude, _: Any) -> Iterator[Any]:
        rude.go.wait(20)
        yield response(**SEEN)

    with rude_triton.serving(waits) as rude:
        async with opened(rude.url, kind) as engine:
            with pytest.raises(BackendError, match=r"did not answer in 400 ms|sent nothing for 400 ms"):
                await asked(engine)
            assert await asyncio.to_thread(rude.left.wait, 10)


@pytest.mark.real_time
async def test_a_pause_inside_a_stream_has_a_bound() -> None:
    def pauses(rude: Rude, _: Any) -> Iterator[Any]:
        yield streamed(text="it")
        rude.go.wait(20)

    with rude_triton.serving(pauses) as rude:
        async with opened(rude.url, "llm") as llm:
            stream = await llm(PROMPT)
            pieces = aiter(stream)
            assert await anext(pieces) == "it"
            with pytest.raises(BackendError, match="sent nothing for 200 ms"):
                await anext(pieces)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["detect", "llm"])
async def test_a_cancel_reaches_the_server(kind: str) -> None:
    def waits(rude: Rude, _: Any) -> Iterator[Any]:
        rude.go.wait(20)
        yield response(**SEEN)

    with rude_triton.serving(waits) as rude:
        async with opened(rude.url, kind, deadline_ms=60_000) as engine:
            call = asyncio.ensure_future(asked(engine))
            assert await asyncio.to_thread(rude.asked.wait, 10)
            call.cancel()
            await asyncio.wait((call,))
            assert call.cancelled()
            assert await asyncio.to_thread(rude.left.wait, 10)
            assert engine.counts.answered == 0


@pytest.mark.real_time
async def test_what_comes_after_a_cancel_is_ignored_and_counted() -> None:
    def answers(rude: Rude, _: Any) -> Iterator[Any]:
        for word in ("it", " costs", " four", " euros"):
            yield streamed(text=word)
        rude.go.set()
        yield last()

    with rude_triton.serving(answers) as rude:
        async with opened(rude.url, "llm") as llm:
            stream = await llm(PROMPT)
            assert await asyncio.to_thread(rude.go.wait, 10)
            while llm.counts.answered == 0:  # the rest has come and waits
                await asyncio.sleep(0)
            await stream.aclose()
            async with asyncio.timeout(10):
                while llm.counts.ignored < 3:
                    await asyncio.sleep(0)
            assert llm.counts.ignored == 3


@pytest.mark.real_time
async def test_a_server_that_accepts_and_says_nothing_is_left_for_a_new_connection() -> None:
    connections = 0

    def answers(_: Rude, __: Any) -> Iterator[Any]:
        yield response(**RIGHT_WORDS)

    with rude_triton.serving(answers) as rude:
        port = int(rude.url.rpartition(":")[2])

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            if connections == 1:
                while await reader.read(65_536):
                    pass  # a black hole
            else:
                there, back = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
            writer.close()

        async with listening(connected) as url, opened(url, "stt", stuck_ms=500) as stt:
            for _ in range(2):
                with pytest.raises(BackendError, match="did not answer"):
                    await stt(SAID)
            for _ in range(20):
                try:
                    heard = await stt(SAID)
                except BackendError:
                    continue
                break
            assert heard.text == "hello"
            assert stt.counts.rebuilt >= 1


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.real_time
@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 400 No\r\n\r\n" * 50])
async def test_what_is_no_grpc_server_is_one_sentence(says: bytes) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    async with listening(connected) as url, opened(url, "stt") as stt:
        with pytest.raises(BackendError) as failed:
            await stt(SAID)
        assert "\n" not in str(failed.value)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["detect", "rest", "stt", "tts", "llm"])
async def test_nobody_listens_there_and_the_engine_loads_all_the_same(kind: str) -> None:
    async with opened("127.0.0.1:1", kind) as engine:
        with pytest.raises(BackendError, match=r"cannot be reached|did not answer|sent nothing"):
            await asked(engine)


@pytest.mark.real_time
async def test_an_error_does_not_quote_what_was_said() -> None:
    def quotes(_: Rude, request: Any) -> Iterator[Any]:
        yield gives_up(f"cannot answer {request.raw_input_contents[0].decode()}")

    with rude_triton.serving(quotes) as rude:
        async with opened(rude.url, "llm") as llm:
            with pytest.raises(BackendError) as failed:
                await asked(llm)
            assert "how much" not in str(failed.value)


@pytest.mark.real_time
@pytest.mark.parametrize(
    "options",
    [{"url": "localhost"}, {"url": "http://localhost:8001"}, {"url": ":8001"}, {"url": "host:99999"},
     {"deadline_ms": 0}, {"next_ms": 0}, {"stuck_ms": 0}, {"jpeg_quality": 101}, {"key": "x"}, {"ca": "/not/there.pem"},
     {"certificate": "a", "key": "b"}],
    ids=str,
)  # fmt: skip
async def test_options_out_of_range_are_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        async with triton.load(triton.Options(**({"url": "host:8001", "kind": "stt"} | options)), Lane("test")):
            pass
    assert "\n" not in str(refused.value)


@pytest.mark.real_time
async def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(ConfigError, match="near-edge certificates"):
        async with opened("host:8001", "stt", ca=str(tmp_path / "ca.pem")):
            pass
