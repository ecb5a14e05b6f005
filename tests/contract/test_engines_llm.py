"""What every language model engine promises, on real engines with a tiny model: CTranslate2, llama.cpp's server, Triton.

TensorRT-LLM joins with `--tensorrt-llm MODEL` on a machine that has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import llama_server
import pytest
import tiny_llama

from edgeapp.core.events import BackendError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.stream import Stream
from edgeapp.engines import llm_ctranslate2, llm_openai, llm_tensorrt_llm, triton

PROMPT = Prompt("hex bolt: 4 euros 10\nwasher: 10 cents\n\nparts today: 3 passed", (), "how much is it", max_tokens=32)
LONG = "how much is the hex bolt " * 400  # 10,000 characters


class Llm(Protocol):
    """The contract."""

    async def __call__(self, prompt: Prompt) -> Stream[str]: ...

    async def probe(self, system: str = "") -> None: ...


Opened = Callable[[], "Any"]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model for CTranslate2."""
    return tiny_llama.write_ctranslate2(tmp_path_factory.mktemp("tiny-ct2"))


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tiny model behind llama.cpp's server."""
    model = tiny_llama.write_gguf(tmp_path_factory.mktemp("tiny-gguf") / "tiny.gguf")
    with llama_server.running(model) as (base_url, _):
        yield base_url


@pytest.fixture(params=["ctranslate2", "openai", "triton", "tensorrt_llm"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """A function that loads the engine on a lane of its own."""
    model = request.config.getoption("--tensorrt-llm")
    if request.param == "tensorrt_llm" and not model:
        pytest.skip("wants --tensorrt-llm MODEL and a GPU")

    @asynccontextmanager
    async def open_it() -> AsyncIterator[Llm]:
        lane = Lane("test")
        try:
            if request.param == "ctranslate2":
                folder = request.getfixturevalue("tiny_folder")
                async with llm_ctranslate2.load(llm_ctranslate2.Options(model=str(folder)), lane) as llm:
                    yield llm
            elif request.param == "openai":
                url = request.getfixturevalue("tiny_server")
                async with llm_openai.load(
                    llm_openai.Options(base_url=url, model="tiny", max_prompt_chars=1_500), lane
                ) as llm:
                    yield llm
            elif request.param == "triton":
                server = request.getfixturevalue("near_edge")
                async with triton.load(server.options("llm", served_model="tiny"), lane) as llm:
                    assert isinstance(llm, triton.Llm)
                    yield llm
            else:
                async with llm_tensorrt_llm.load(llm_tensorrt_llm.Options(model=model), lane) as llm:
                    yield llm
        finally:
            lane.close()

    if request.param != "tensorrt_llm":
        needs = {"ctranslate2": "tiny_folder", "openai": "tiny_server", "triton": "near_edge"}
        request.getfixturevalue(needs[request.param])
    return open_it


async def pieces_of(llm: Llm, prompt: Prompt = PROMPT) -> list[str]:
    """All pieces of an answer."""
    return [piece async for piece in await llm(prompt)]


@pytest.mark.real_time
async def test_pieces_come_one_by_one_and_make_the_whole(opened: Opened) -> None:
    async with opened() as llm:
        pieces = await pieces_of(llm)
        assert 1 < len(pieces) <= PROMPT.max_tokens
        assert all(pieces)
        assert not pieces[0][0].isspace()
        assert "<end>" not in "".join(pieces)
        assert await pieces_of(llm) == pieces


@pytest.mark.real_time
async def test_the_reply_goes_on_from_what_is_said(opened: Opened) -> None:
    async with opened() as llm:
        begun = "".join(await pieces_of(llm, replace(PROMPT, said="it costs")))
        assert begun
        assert not begun.startswith("it costs")
        assert begun != "".join(await pieces_of(llm))


@pytest.mark.real_time
async def test_facts_history_and_question_all_matter(opened: Opened) -> None:
    async with opened() as llm:
        seen = {
            "".join(await pieces_of(llm, prompt))
            for prompt in (
                PROMPT,
                replace(PROMPT, system=PROMPT.system.replace("10 cents", "11 cents")),
                replace(PROMPT, system=PROMPT.system.replace("3 passed", "4 passed")),
                replace(PROMPT, turns=(("hello", "hello there"),)),
                replace(PROMPT, question="where is it"),
            )
        }
        assert len(seen) == 5


@pytest.mark.real_time
@pytest.mark.parametrize("most", [0, 1, 7])
async def test_a_reply_has_a_bound(opened: Opened, most: int) -> None:
    async with opened() as llm:
        assert len(await pieces_of(llm, replace(PROMPT, max_tokens=most))) <= most


@pytest.mark.real_time
async def test_cancelled_at_any_await_it_still_works(opened: Opened) -> None:
    async with opened() as llm:
        whole = await pieces_of(llm)
        for passes in range(0, 60, 3):
            asked = asyncio.ensure_future(pieces_of(llm))
            for _ in range(passes):
                await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait((asked,))
        assert await pieces_of(llm) == whole


@pytest.mark.real_time
@pytest.mark.parametrize("taken", [0, 1, 5])
async def test_closing_an_answer_in_the_middle_is_the_end_of_it(opened: Opened, taken: int) -> None:
    async with opened() as llm:
        whole = await pieces_of(llm)
        answer = await llm(PROMPT)
        for _ in range(taken):
            await anext(aiter(answer))
        await answer.aclose()
        await answer.aclose()
        assert [piece async for piece in answer] == []
        assert await pieces_of(llm) == whole


@pytest.mark.real_time
async def test_two_answers_at_once_do_not_mix(opened: Opened) -> None:
    async with opened() as llm:
        other = replace(PROMPT, question="where is it")
        alone = [await pieces_of(llm), await pieces_of(llm, other)]
        assert list(await asyncio.gather(pieces_of(llm), pieces_of(llm, other))) == alone


@pytest.mark.real_time
async def test_a_question_of_ten_thousand_characters_is_refused_in_words(opened: Opened) -> None:
    async with opened() as llm:
        with pytest.raises(BackendError) as refused:
            await llm(replace(PROMPT, question=LONG))
        assert one_sentence(refused.value)
        assert await pieces_of(llm)


@pytest.mark.real_time
async def test_a_long_history_loses_its_oldest_turns(opened: Opened) -> None:
    async with opened() as llm:
        turn = ("how much is the washer and where is it", "it costs ten cents and it is here")
        long = await pieces_of(llm, replace(PROMPT, turns=(turn,) * 30))
        assert long
        longer = replace(PROMPT, turns=(("hello", "oldest"), *((turn,) * 400)))
        assert await pieces_of(llm, longer)


@pytest.mark.real_time
async def test_a_probe_can_come_before_the_first_question(opened: Opened) -> None:
    async with opened() as llm:
        await llm.probe(PROMPT.system)
        assert await pieces_of(llm)


def one_sentence(error: BaseException) -> bool:
    """One line that a person can act on."""
    text = str(error)
    return 10 < len(text) < 400 and "\n" not in text and "Traceback" not in text
