"""Push-to-talk: a key of the terminal, or a button of an input device, as an async iterator of presses.

A terminal tells that a key was pressed and never that it was let go. An input device (evdev: keyboards, foot switches,
remote controls, and buttons on GPIO pins through the kernel's gpio-keys driver) tells both.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import Any, Final

import msgspec

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, ConfigError, DeviceError

_WAITING_MAX: Final = 16  # presses nobody took yet; a hand is slower than any reader that still runs
_REPEAT_NS: Final = (
    700 * MS
)  # the longest pause before a held key repeats itself: the same byte so soon is no new press
_READ_BYTES: Final = 64
_FIRST_PAUSE_S: Final = 0.25  # between two attempts to open a button that went; doubles
_LONGEST_PAUSE_S: Final = 5.0


class Press(StrEnum):
    """What happened to the key."""

    DOWN = "down"
    UP = "up"
    TAP = "tap"
    """Pressed, on a device that does not tell when it is let go."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which key."""

    device: str = "terminal"
    """`terminal`, or an input device such as /dev/input/by-id/..."""

    key: str = "space"
    """Of a terminal `space`, `enter` or one character; of an input device a name of the kernel's, such as KEY_SPACE."""


class Keys:
    """Presses as they come. What no reader takes in time is dropped and counted."""

    def __init__(self) -> None:
        self._presses: asyncio.Queue[Press | None] = asyncio.Queue(_WAITING_MAX)
        self.dropped = 0

    def put(self, press: Press | None) -> None:
        """Hand one over; None is the end."""
        try:
            self._presses.put_nowait(press)
        except asyncio.QueueFull:
            self.dropped += 1

    async def __aiter__(self) -> AsyncIterator[Press]:
        while (press := await self._presses.get()) is not None:
            yield press


@asynccontextmanager
async def open_key(options: Options) -> AsyncIterator[AsyncIterable[Press]]:
    """Open the configured key. Raises ConfigError, or DeviceError if the device is not there."""
    if options.device == "terminal":
        async with terminal(options.key, sys.stdin.fileno()) as keys:
            yield keys
    else:
        async with aclosing(await button(options)) as presses:
            yield presses


@asynccontextmanager
async def terminal(key: str, descriptor: int) -> AsyncIterator[Keys]:
    """Taps of a key in the terminal behind `descriptor`, which reads unbuffered meanwhile and is restored on every exit.

    Control-C goes on working. Raises ConfigError if the key is none, or if `descriptor` is not a terminal.
    """
    byte = {"space": b" ", "enter": b"\n"}.get(key, key.encode())
    if len(byte) != 1:
        raise ConfigError(f"the push-to-talk key is {key!r}; use space, enter or one plain character")
    if not os.isatty(descriptor):
        raise ConfigError(
            "push-to-talk by a key of the terminal needs a terminal: start it in one, or name an input device"
        )
    import termios
    import tty

    keys, loop = Keys(), asyncio.get_running_loop()
    last_ns = -_REPEAT_NS

    def read() -> None:
        nonlocal last_ns
        try:
            came = os.read(descriptor, _READ_BYTES)
        except OSError:
            came = b""
        if not came:  # the terminal was closed
            loop.remove_reader(descriptor)
            keys.put(None)
        elif byte in came:
            if now_ns() - last_ns >= _REPEAT_NS:
                keys.put(Press.TAP)
            last_ns = now_ns()

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)
        loop.add_reader(descriptor, read)
        yield keys
    finally:
        loop.remove_reader(descriptor)
        try:
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
        except termios.error:
            logging.getLogger(__name__).debug("the terminal is gone")


OpenButton = Callable[[str], Any]
"""Opens an input device by its path, as `evdev.InputDevice` does; a test scripts one."""


async def button(
    options: Options,
    opener: OpenButton | None = None,
    say: Callable[[str], None] = logging.getLogger(__name__).warning,
) -> AsyncGenerator[Press, None]:
    """Open an input device and return its presses. One that goes counts as let go, and is opened again when it is back.

    Raises ConfigError without the package or for an unknown key, DeviceError if the device is not there.
    """
    try:
        import evdev
    except ImportError as error:
        raise ConfigError("a button needs the package evdev: pip install 'edgeapp[keys]'") from error
    opener = opener or evdev.InputDevice
    code = evdev.ecodes.ecodes.get(options.key)
    if not options.key.startswith(("KEY_", "BTN_")) or not isinstance(code, int):
        raise ConfigError(
            f"the push-to-talk key is {options.key!r}; name it as the kernel does, such as KEY_SPACE or BTN_0"
        )
    try:
        device = opener(options.device)
    except OSError as error:
        raise DeviceError(
            f"the button {options.device} does not open: {error}; check its plug, and that you are in group input"
        ) from error
    return _presses(device, code, lambda: opener(options.device), say)


async def _presses(
    device: Any, code: int, reopen: Callable[[], Any], say: Callable[[str], None]
) -> AsyncGenerator[Press, None]:
    import evdev

    while True:
        down = False
        try:
            async for event in device.async_read_loop():
                if event.type == evdev.ecodes.EV_KEY and event.code == code and event.value in {0, 1}:  # 2 repeats
                    down = event.value == 1
                    yield Press.DOWN if down else Press.UP
        except OSError as error:
            say(f"the button went ({error}): check its plug; it is being reopened")
        finally:
            device.close()
        if down:
            yield Press.UP
        device = await _back(reopen)
        say("the button is back")


async def _back(reopen: Callable[[], Any]) -> Any:
    """Try to open it until it is there: its owner may plug it in next week. A try is rare and cheap."""
    pause_s = _FIRST_PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        try:
            return reopen()
        except OSError:
            continue
