"""GPIO: the calls to the real gpiod package, with the kernel's part scripted where no chip is; and the verdict's lines."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import gpiod
import pytest

from edgeapp.core.events import MS, ConfigError, DeviceError, Outcome
from edgeapp.devices.gpio import Edge, GpiodChip, Input
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.devices.verdict_lines import VerdictLines


def _never(error: DeviceError) -> None:
    raise AssertionError(str(error))


class Request:
    """What the kernel would do with a request for lines."""

    def __init__(self, config: dict[int, gpiod.LineSettings]) -> None:
        self.config = config
        self.fd, self.kernel = os.pipe()
        self.events: list[gpiod.EdgeEvent] = []
        self.values: list[tuple[int, gpiod.line.Value]] = []
        self.released = self.pulled_out = False

    def read_edge_events(self) -> list[gpiod.EdgeEvent]:
        if self.pulled_out:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        os.read(self.fd, 16)
        events, self.events = self.events, []
        return events

    def set_value(self, line: int, value: gpiod.line.Value) -> None:
        self.values.append((line, value))

    def release(self) -> None:
        self.released = True
        os.close(self.fd)
        os.close(self.kernel)

    def __bool__(self) -> bool:
        return not self.released


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    made: list[Request] = []

    def request_lines(path: str, *, consumer: str, config: dict[int, Any], event_buffer_size: int | None = None) -> Any:
        for settings in config.values():
            gpiod.line_settings._line_settings_to_ext(settings)  # what the package itself makes of them
        made.append(Request(config))
        return made[-1]

    monkeypatch.setattr(gpiod, "request_lines", request_lines)
    return made


@pytest.mark.real_time
async def test_edges_come_with_the_kernels_time_less_the_filters_and_tell_of_lost_ones(
    tmp_path: Path, requests: list[Request]
) -> None:
    (tmp_path / "gpiochip0").touch()
    chip = GpiodChip(str(tmp_path / "gpiochip0"))
    edges: list[Edge] = []
    chip.watch([Input(17, active_low=True, debounce_ns=2 * MS), Input(18)], edges.append, _never)
    (request,) = requests
    settings = request.config[17]
    assert settings.edge_detection is gpiod.line.Edge.BOTH
    assert settings.event_clock is gpiod.line.Clock.MONOTONIC
    assert (settings.active_low, settings.debounce_period) == (True, timedelta(milliseconds=2))
    now = time.monotonic_ns()
    rising, falling = gpiod.EdgeEvent.Type.RISING_EDGE.value, gpiod.EdgeEvent.Type.FALLING_EDGE.value
    request.events = [
        gpiod.EdgeEvent(rising, now, 17, 1, 1),
        gpiod.EdgeEvent(rising, now + 5, 18, 2, 1),
        gpiod.EdgeEvent(falling, now + 9, 17, 7, 4),
    ]
    os.write(request.kernel, b"x")
    while not edges:
        await asyncio.sleep(0)
    behind = edges[1].at_ns - now - 5  # the loop's clock and CLOCK_MONOTONIC are the same up to rounding
    assert abs(behind) < MS
    assert [(each.line, each.rising, each.at_ns - now - behind, each.lost) for each in edges] == [
        (17, True, -2 * MS, 0),
        (18, True, 5, 0),
        (17, False, 9 - 2 * MS, 2),
    ]
    chip.close()
    assert request.released


@pytest.mark.real_time
async def test_a_chip_that_is_pulled_out_is_told_to_whoever_waits_for_its_edges(
    tmp_path: Path, requests: list[Request]
) -> None:
    (tmp_path / "gpiochip0").touch()
    chip = GpiodChip(str(tmp_path / "gpiochip0"))
    gone: list[DeviceError] = []
    chip.watch([Input(17)], lambda _: None, gone.append)
    (request,) = requests
    request.pulled_out = True
    os.write(request.kernel, b"x")
    while not gone:
        await asyncio.sleep(0)
    assert "is gone (No such device): plug it in" in str(gone[0])
    assert request.released


@pytest.mark.real_time
async def test_an_output_switches_and_is_inactive_when_the_chip_is_closed(
    tmp_path: Path, requests: list[Request]
) -> None:
    (tmp_path / "gpiochip0").touch()
    chip = GpiodChip(str(tmp_path / "gpiochip0"))
    write = chip.drive(5, active_low=True)
    (request,) = requests
    assert request.config[5].direction is gpiod.line.Direction.OUTPUT
    assert request.config[5].active_low
    write(True)
    chip.close()
    active, inactive = gpiod.line.Value.ACTIVE, gpiod.line.Value.INACTIVE
    assert request.values == [(5, active), (5, inactive)]
    assert request.released


def test_a_chip_that_is_not_there_says_how_to_find_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no GPIO chip .*gpiodetect"):
        GpiodChip(str(tmp_path / "gpiochip9"))


def test_something_that_is_no_chip_is_refused_by_the_real_package(tmp_path: Path) -> None:
    (tmp_path / "gpiochip0").touch()
    with pytest.raises(DeviceError, match=r"GPIO line 5 of .* cannot be had: .*gpioinfo"):
        GpiodChip(str(tmp_path / "gpiochip0")).drive(5)


async def test_a_verdict_is_one_pulse_on_its_line_and_the_heartbeat_changes_with_each_part_looked_at() -> None:
    chip = SimulatedChip()
    wired = {Outcome.PASS: chip.drive(1), Outcome.FAIL: chip.drive(2)}
    lines = VerdictLines(wired, chip.drive(9), pulse_ns=50 * MS)
    for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED):
        lines.show(outcome)
        await asyncio.sleep(0.1)
    assert [(at // MS, line, level) for at, line, level in chip.history] == [
        (0, 1, True), (0, 9, True), (50, 1, False), (100, 2, True), (100, 9, False), (150, 2, False),
    ]  # fmt: skip


async def test_two_pulses_that_overlap_have_an_edge_between_them_and_are_counted() -> None:
    chip = SimulatedChip()
    lines = VerdictLines({Outcome.PASS: chip.drive(1)}, None, pulse_ns=50 * MS)
    lines.show(Outcome.PASS)
    await asyncio.sleep(0.02)
    lines.show(Outcome.PASS)
    lines.close()
    assert [level for _, _, level in chip.history] == [True, False, True, False]
    assert lines.merged == 1
