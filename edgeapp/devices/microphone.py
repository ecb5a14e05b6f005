"""The microphone: PortAudio's blocks, resampled to 16 kHz, each with the instant its last sample was captured.

The callback copies a block into a ring made beforehand and wakes the loop; nothing else. A device that goes (a finished
stream, or no callback for `silent_ms`) is reopened by name with growing pauses, and iteration goes on when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, DeviceError
from edgeapp.devices.resample import Resampler
from edgeapp.devices.sound_card import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Opened,
    OpenStream,
    Request,
    StreamClock,
    close_stream,
    open_stream,
    start_stream,
)

_RING_MS: Final = 1000  # a reader who is later than this loses the oldest blocks, counted


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which microphone, and how soon its sound arrives."""

    device: str = ""
    """A part of the device's name; empty is the system's default."""

    block_ms: float = 16.0
    """Sound comes in pieces of this length, 10 to 20 as a rule."""

    latency_ms: float = 20.0
    """Asked of the driver; `Microphone.latency_ns` says what it really does."""

    silent_ms: float = 500.0
    """No block for this long means the device is gone."""

    gone_s: float = 60.0
    """A device that is away for longer is a DeviceError."""


class _Ring:
    """Blocks between PortAudio's thread, which never waits, and one reader. The newest stay."""

    def __init__(self, opened: Opened, loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
        count = max(4, round(_RING_MS / 1000 * opened.sample_rate_hz / opened.block))
        self._opened, self._loop, self._arrived = opened, loop, arrived
        self._clock = StreamClock(loop)
        self._blocks = np.zeros((count, opened.block), np.int16)
        self._lengths = [0] * count
        self._ended_ns = [0] * count
        self._put = self._taken = 0
        self.dropped = self.xruns = 0
        self.last_ns = round(loop.time() * 1e9)

    def callback(self, data: NDArray[np.int16], frames: int, times: Any, status: Any) -> None:
        slot = self._put % len(self._blocks)
        self._blocks[slot, :frames] = data[:, 0]
        began_ns = self._clock.loop_ns(times.inputBufferAdcTime, times.currentTime, -self._opened.latency_ns)
        self._ended_ns[slot] = began_ns + frames * 1_000_000_000 // self._opened.sample_rate_hz
        self._lengths[slot] = frames
        self.xruns += bool(status and status.input_overflow)
        self.last_ns = round(self._loop.time() * 1e9)
        self._put += 1
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)

    def take(self) -> tuple[NDArray[np.int16], int] | None:
        """The oldest block that is still whole, and when it ended; None if there is none."""
        oldest = self._put - len(self._blocks) + 1  # the one before it may be being overwritten
        if self._taken < oldest:
            self.dropped += oldest - self._taken
            self._taken = oldest
        if self._taken == self._put:
            return None
        slot = self._taken % len(self._blocks)
        self._taken += 1
        return self._blocks[slot, : self._lengths[slot]].copy(), self._ended_ns[slot]


class Microphone:
    """An open microphone: iterate over it for sound. Made by `open_microphone`; lives on one loop, one reader."""

    def __init__(self, options: Options, opener: OpenStream, say: Callable[[str], None]) -> None:
        self.options = options
        self.device = ""
        """The name of the device that is open."""
        self.latency_ns = 0
        """From the sound in the air to a full block in our hands: the driver's word and the resampler's delay."""
        self._opener, self._say = opener, say
        self._arrived = asyncio.Event()
        self._finished = False
        self._opened: Opened | None = None
        self._dropped = self._xruns = 0

    @property
    def dropped(self) -> int:
        """Blocks that a late reader lost."""
        return self._dropped + (self._ring.dropped if self._opened else 0)

    @property
    def xruns(self) -> int:
        """How often the driver lost sound before we saw it."""
        return self._xruns + (self._ring.xruns if self._opened else 0)

    def __aiter__(self) -> AsyncIterator[AudioChunk]:
        return self._listen()

    async def _listen(self) -> AsyncGenerator[AudioChunk, None]:
        """Blocks as they come. Raises DeviceError after `gone_s` without the device."""
        while True:
            if self._opened is None:
                await self._reopen()
            self._arrived.clear()
            block = self._ring.take()
            if block is not None:
                samples, ended_ns = block
                resampled = self._resample(samples)
                if len(resampled):
                    yield AudioChunk(resampled, ended_ns - self._resample.delay_ns)
                continue
            if self._finished:
                await self._lose("stopped")
                continue
            try:
                async with asyncio.timeout_at(self._ring.last_ns / 1e9 + self.options.silent_ms / 1e3):
                    await self._arrived.wait()
            except TimeoutError:
                if now_ns() - self._ring.last_ns >= self.options.silent_ms * MS:
                    await self._lose(f"gave nothing for {self.options.silent_ms:g} ms")

    async def open(self, *, again: bool = False) -> None:
        """Open the device and start it. Raises DeviceError or ConfigError."""
        loop = asyncio.get_running_loop()
        held: list[_Ring] = []

        def callback(data: NDArray[np.int16], frames: int, times: Any, status: Any) -> None:
            if held:
                held[0].callback(data, frames, times, status)

        def finished() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._note_finished, held)

        options = self.options
        request = Request("microphone", options.device, options.block_ms, options.latency_ms, callback, finished, again)
        opened = await loop.run_in_executor(None, self._opener, request)
        ring = _Ring(opened, loop, self._arrived)
        held.append(ring)
        await start_stream(opened.stream)
        self._ring, self._resample = ring, Resampler(opened.sample_rate_hz, SAMPLE_RATE_HZ)
        self._finished, self._opened, self.device = False, opened, opened.device
        self.latency_ns = opened.latency_ns + self._resample.delay_ns

    def _note_finished(self, of: list[_Ring]) -> None:
        if of and self._opened and of[0] is self._ring:
            self._finished = True
            self._arrived.set()

    async def _lose(self, how: str) -> None:
        self._say(f"the microphone {self.device} {how}: check its plug; it is being reopened")
        await self.close()

    async def _reopen(self) -> None:
        since_ns, pause_s = now_ns(), FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                await self.open(again=True)
            except DeviceError as error:
                if now_ns() - since_ns > self.options.gone_s * 1e9:
                    raise DeviceError(f"{error} (gone for {self.options.gone_s:g} s)") from error
                continue
            self._say(f"the microphone {self.device} is back")
            return

    async def close(self) -> None:
        """Let the device go. Idempotent."""
        opened, self._opened = self._opened, None
        if opened:
            self._dropped += self._ring.dropped
            self._xruns += self._ring.xruns
            await close_stream(opened.stream)


@asynccontextmanager
async def open_microphone(
    options: Options,
    opener: OpenStream = open_stream,
    say: Callable[[str], None] = logging.getLogger(__name__).warning,
) -> AsyncIterator[Microphone]:
    """Open a microphone; `say` hears when it goes and when it is back. Raises DeviceError or ConfigError."""
    microphone = Microphone(options, opener, say)
    await microphone.open()
    try:
        yield microphone
    finally:
        await microphone.close()
