"""Lines of a GPIO chip: edges with the kernel's timestamps in, levels out.

`Chip` is all that the rest of the application knows of one; `devices/gpio_sim.py` is another. The real one is libgpiod's
(https://libgpiod.readthedocs.io, version 2, kernel 5.10 or newer): the kernel debounces, stamps each edge with
CLOCK_MONOTONIC, and numbers it, so an edge that its buffer had to drop shows as a gap. A debounced edge is stamped when its
level has been stable (debounce_work_func in drivers/gpio/gpiolib-cdev.c), so the period is taken off again: a due time
counts from the sensor's change, not from the filter's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from edgeapp.core.events import ConfigError, DeviceError

_KERNEL_EDGES: Final = 1024  # edges the kernel keeps for us: its largest buffer, 0.1 s of a 10 kHz encoder


@dataclass(frozen=True, slots=True)
class Edge:
    """One change of an input."""

    line: int
    rising: bool
    at_ns: int
    """When the level changed, on the loop's clock."""

    lost: int = 0
    """How many edges of this line before it were dropped by the kernel's buffer."""


@dataclass(frozen=True, slots=True)
class Input:
    """One line that is watched."""

    line: int
    active_low: bool = False
    debounce_ns: int = 0
    """A level must be stable for this long; rounded up to whole microseconds."""


OnEdge: TypeAlias = Callable[[Edge], None]
OnGone: TypeAlias = Callable[[DeviceError], None]


class Chip(Protocol):
    """A GPIO chip. Everything is called on the loop."""

    def watch(self, inputs: Sequence[Input], on_edge: OnEdge, on_gone: OnGone) -> Callable[[], None]:
        """Call `on_edge` for each edge of these lines, in order, and `on_gone` if the chip is taken away.

        Returns what ends it. Raises DeviceError.
        """

    def drive(self, line: int, *, active_low: bool = False) -> Callable[[bool], None]:
        """Take a line as an output, inactive now; returns what sets it. Both raise DeviceError."""

    def close(self) -> None:
        """Set every driven line inactive and give all lines back. Idempotent."""


class GpiodChip:
    """A chip of the kernel, such as /dev/gpiochip0. Lives on one loop."""

    def __init__(self, path: str, consumer: str = "edgeapp") -> None:
        """Raises ConfigError without gpiod or such a chip."""
        try:
            import gpiod
        except ImportError as error:
            raise ConfigError("GPIO lines need the package gpiod: pip install 'edgeapp[station]'") from error
        if not Path(path).exists():
            raise ConfigError(f"there is no GPIO chip {path}: `gpiodetect` lists them; outputs.gpio.chip names it")
        self._gpiod: Any = gpiod
        self._path, self._consumer = path, consumer
        self._outputs: dict[int, Any] = {}
        self._watches: list[Callable[[], None]] = []

    def watch(self, inputs: Sequence[Input], on_edge: OnEdge, on_gone: OnGone) -> Callable[[], None]:
        line = self._gpiod.line
        config = {
            each.line: self._gpiod.LineSettings(
                direction=line.Direction.INPUT,
                edge_detection=line.Edge.BOTH,
                active_low=each.active_low,
                debounce_period=timedelta(microseconds=-(-each.debounce_ns // 1000)),
                event_clock=line.Clock.MONOTONIC,
            )
            for each in inputs
        }
        request = self._request(config, event_buffer_size=_KERNEL_EDGES)
        loop = asyncio.get_running_loop()
        behind_ns = round((loop.time() - time.monotonic()) * 1e9)
        filtered_ns = {each.line: each.debounce_ns for each in inputs}
        seen = dict.fromkeys(filtered_ns, 0)

        def read() -> None:
            try:
                events = request.read_edge_events()
            except OSError as error:
                end()
                on_gone(DeviceError(f"GPIO chip {self._path} is gone ({error.strerror}): plug it in and start again"))
                return
            for event in events:
                at, number = event.line_offset, event.line_seqno
                rising = event.event_type is event.Type.RISING_EDGE
                lost, seen[at] = number - seen[at] - 1, number
                on_edge(Edge(at, rising, event.timestamp_ns + behind_ns - filtered_ns[at], lost))

        def end() -> None:
            if request:
                loop.remove_reader(request.fd)
                request.release()

        loop.add_reader(request.fd, read)
        self._watches.append(end)
        return end

    def drive(self, line: int, *, active_low: bool = False) -> Callable[[bool], None]:
        names = self._gpiod.line
        settings = self._gpiod.LineSettings(
            direction=names.Direction.OUTPUT, active_low=active_low, output_value=names.Value.INACTIVE
        )
        request = self._request({line: settings})
        self._outputs[line] = request

        def write(active: bool) -> None:
            try:
                request.set_value(line, names.Value.ACTIVE if active else names.Value.INACTIVE)
            except OSError as error:
                raise DeviceError(f"GPIO line {line} of {self._path} does not switch: {error.strerror}") from error

        return write

    def _request(self, config: dict[int, Any], **more: Any) -> Any:
        try:
            return self._gpiod.request_lines(self._path, consumer=self._consumer, config=config, **more)
        except (OSError, ValueError) as error:
            lines = ", ".join(str(each) for each in config)
            raise DeviceError(
                f"GPIO line {lines} of {self._path} cannot be had: {error}; `gpioinfo` shows who uses it"
            ) from error

    def close(self) -> None:
        for end in self._watches:
            end()
        for line, request in self._outputs.items():
            request.set_value(line, self._gpiod.line.Value.INACTIVE)
            request.release()
        self._watches, self._outputs = [], {}
