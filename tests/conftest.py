"""Every `async def test_*` runs on virtual time, unless it is marked `real_time`."""

from __future__ import annotations

import asyncio
import inspect
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sim


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
