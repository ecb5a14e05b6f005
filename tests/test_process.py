"""What ends a process ends it in a sentence: signals, errors that come together, and names that mean nothing."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeapp import config as settings
from edgeapp.apps.process import until_stopped
from edgeapp.apps.wiring import Parts
from edgeapp.cli import cli
from edgeapp.core.events import ConfigError, DeviceError


async def _fail(error: Exception) -> None:
    raise error


async def _together(*errors: Exception) -> None:
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(_fail(error))


def test_a_signal_after_the_loop_has_ended_is_an_ordinary_interrupt() -> None:
    until_stopped(asyncio.sleep(0))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_hub_that_takes_camera_and_microphone_with_it_is_one_sentence() -> None:
    with pytest.raises(DeviceError, match="the camera"):
        until_stopped(_together(DeviceError("the camera is gone"), DeviceError("the microphone is gone")))


def test_a_bug_beside_an_expected_error_is_not_hidden() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        until_stopped(_together(DeviceError("the camera is gone"), KeyError("bug")))
    assert raised.group_contains(KeyError)


@pytest.mark.parametrize("engine", ["..", "os.path", "", "commands; x"])
async def test_a_name_that_is_no_engine_is_said(engine: str) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match="there is no engine"):
            await Parts(stack, lambda _: None).engine(settings.Engine(engine=engine), "voice.vad")


def test_a_number_beyond_all_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"voice.history_turns is 1\d+; give"):
        settings.parse("[voice]\nhistory_turns = 10000000000000000000")


def test_a_demo_that_cannot_write_says_so() -> None:
    done = CliRunner().invoke(cli, ["demo", "qc", "--out", str(Path("/proc/nowhere"))])
    assert isinstance(done.exception, ConfigError)
    assert "give another folder" in str(done.exception)
