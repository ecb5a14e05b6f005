"""Every `async def test_*` runs on virtual time, unless it is marked `real_time`."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeapp.near_edge import environment, repository
from edgeapp.near_edge.serve import Settings

sys.path.insert(0, str(Path(__file__).parent))
import sim
import tiny_llama
import triton_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests; leave the others to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    call = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    if pyfuncitem.get_closest_marker("real_time"):
        asyncio.run(call)
    else:
        sim.run(call)
    return True


def pytest_addoption(parser: pytest.Parser) -> None:
    """Hardware that only some machines have."""
    parser.addoption("--tensorrt-llm", default="", help="a model folder: run the contract on TensorRT-LLM too")


@pytest.fixture(scope="session")
def near_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton_server.Running]:
    """A real Triton with every model and, as `tiny`, a language model with random weights; one for all tests."""
    if why := environment.no_wheel():
        pytest.skip(why)
    tiny = tiny_llama.write_ctranslate2(tmp_path_factory.mktemp("served-ct2"))
    models = (*repository.DEFAULT, repository.Served("tiny", "llm", str(tiny)))
    with triton_server.running(Settings(models=models, folder=tmp_path_factory.mktemp("near-edge"))) as server:
        yield server


@pytest.fixture(
    scope="module"
)  # not longer: while it is there, its loop is the thread's, and tests of other files have theirs
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a file."""
    from playwright.sync_api import sync_playwright
    from web_world import CHROMIUM

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()
