"""The loudspeaker: a stream that always runs, a ring it plays from, and the truth about what was heard and when.

The stream plays silence while there is nothing to say, so the instant at which the next sample becomes audible is known
before it is queued. The callback copies from a ring made beforehand; nothing else. `cut` fades what is left of one block.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, DeviceError
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
from edgeapp.devices.timeline import Timeline

_ROOM_S: Final = 30  # sound that may wait to be played: 2.9 MB at 48 kHz
_PIECE_S: Final = 0.1  # resampled at once: about a millisecond of work
_SOUNDED_S: Final = 2.0  # what has sounded stays readable for this long: far above any echo's delay
_SECOND_NS: Final = 1_000_000_000


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which loudspeaker, and how soon it sounds."""

    device: str = ""
    """A part of the device's name; empty is the system's default."""

    block_ms: float = 10.0
    """Sound leaves in pieces of this length; `cut` takes one."""

    latency_ms: float = 20.0
    """Asked of the driver; `SoundCardSpeaker.latency_ns` says what it really does."""

    silent_ms: float = 500.0
    """A card that takes nothing for this long is gone."""


class _Player:
    """One open stream: the ring between the loop, which writes, and PortAudio's thread, which reads."""

    def __init__(self, opened: Opened, loop: asyncio.AbstractEventLoop) -> None:
        self.opened = opened
        self._loop = loop
        self._clock = StreamClock(loop)
        self._ring = np.zeros(_ROOM_S * opened.sample_rate_hz, np.int16)
        self._lock = threading.Lock()  # held for one block's copy at most
        self._written = self._taken = self._cut_to = 0  # samples since the start
        self._handed = 0  # samples given to the card
        self._next_ns = round(loop.time() * 1e9) + opened.latency_ns  # when the card's next sample will be audible
        self._ended_ns = 0  # when the last sample given to the card has been heard
        self._gain = self._target_gain = 1.0
        self.sounded = _Sounded(opened)
        self.xruns = 0
        self.last_ns = round(loop.time() * 1e9)
        self.finished = False

    def callback(self, out: NDArray[np.int16], frames: int, times: Any, status: Any) -> None:
        rate_hz = self.opened.sample_rate_hz
        audible_ns = self._clock.loop_ns(times.outputBufferDacTime, times.currentTime, self.opened.latency_ns)
        with self._lock:
            cutting = self._taken < self._cut_to
            count = min(frames, (self._cut_to if cutting else self._written) - self._taken)
            first = self._taken % len(self._ring)
            head = min(count, len(self._ring) - first)
            out[:head] = self._ring[first : first + head, None]
            out[head:count] = self._ring[: count - head, None]
            out[count:] = 0
            if self._gain != 1.0 or self._target_gain != 1.0:
                out[:count] = out[:count] * np.linspace(self._gain, self._target_gain, count)[:, None]
                self._gain = self._target_gain
            if cutting:
                out[:count] = out[:count] * np.linspace(1, 0, count)[:, None]
                self._gain = self._target_gain = 1.0
            self._taken = self._cut_to if cutting else self._taken + count
            self._handed += count
            self._next_ns = audible_ns + frames * _SECOND_NS // rate_hz
            if count:
                self._ended_ns = audible_ns + count * _SECOND_NS // rate_hz
        self.sounded.put(out[:, 0], self._next_ns)
        self.xruns += bool(status and status.output_underflow)
        self.last_ns = round(self._loop.time() * 1e9)

    def room(self) -> int:
        """Samples that can be written now."""
        with self._lock:
            return len(self._ring) - (self._written - self._taken)

    def write(self, samples: NDArray[np.int16]) -> int:
        """Put samples behind the others; the caller knows there is room. Returns when the first becomes audible."""
        first = self._written % len(self._ring)
        head = min(len(samples), len(self._ring) - first)
        self._ring[first : first + head] = samples[:head]
        self._ring[: len(samples) - head] = samples[head:]
        with self._lock:
            audible_ns = self._next_ns + self._waiting() * _SECOND_NS // self.opened.sample_rate_hz
            self._written += len(samples)
        return max(audible_ns, round(self._loop.time() * 1e9))

    def _waiting(self) -> int:
        return self._written - max(self._taken, self._cut_to)

    def duck(self, gain: float) -> None:
        """From the next block on, reached within it."""
        with self._lock:
            self._target_gain = gain

    def cut(self) -> int:
        """Drop what waits, but for one faded block. Returns the sound given to the card when that has been, in ns."""
        with self._lock:
            self._cut_to = max(self._cut_to, self._written)
            if self._taken >= self._cut_to:  # nothing is left to fade
                self._gain = self._target_gain = 1.0
            fading = min(self.opened.block, self._cut_to - self._taken)
            return (self._handed + max(0, fading)) * _SECOND_NS // self.opened.sample_rate_hz

    def played_ns(self) -> int:
        """The sound that has been heard."""
        with self._lock:
            ahead_ns = max(0, self._ended_ns - round(self._loop.time() * 1e9))
            return max(0, self._handed * _SECOND_NS // self.opened.sample_rate_hz - ahead_ns)

    def drained_ns(self) -> int:
        """When everything that waits will have been heard, if nothing is added."""
        with self._lock:
            left = self._waiting() + min(self.opened.block, max(0, self._cut_to - self._taken))
            return self._next_ns + left * _SECOND_NS // self.opened.sample_rate_hz if left else self._ended_ns

    def empty(self) -> bool:
        """Has everything that was written gone to the card?"""
        with self._lock:
            return self._taken >= self._written


class _Sounded:
    """What went to the card, silence too, from PortAudio's thread, which never waits, to the time line on the loop."""

    def __init__(self, opened: Opened) -> None:
        count = max(4, round(_SOUNDED_S * opened.sample_rate_hz / opened.block))
        self._blocks = np.zeros((count, opened.block), np.int16)
        self._lengths = [0] * count
        self._ended_ns = [0] * count
        self._put = self._taken = 0
        self._resample = Resampler(opened.sample_rate_hz, SAMPLE_RATE_HZ)

    def put(self, samples: NDArray[np.int16], ended_ns: int) -> None:
        slot = self._put % len(self._blocks)
        self._blocks[slot, : len(samples)] = samples
        self._lengths[slot], self._ended_ns[slot] = len(samples), ended_ns
        self._put += 1

    def move(self, timeline: Timeline) -> None:
        """Put what is new onto the time line; of a reader who comes after more than two seconds only the newest."""
        self._taken = max(self._taken, self._put - len(self._blocks) + 1)  # the one before it may be being overwritten
        while self._taken < self._put:
            slot = self._taken % len(self._blocks)
            self._taken += 1
            made = self._resample(self._blocks[slot, : self._lengths[slot]].copy())
            took_ns = self._resample.delay_ns + len(made) * _SECOND_NS // SAMPLE_RATE_HZ
            timeline.put(made, self._ended_ns[slot] - took_ns)


class SoundCardSpeaker:
    """A loudspeaker that fits `voice/speaker.py`. Made by `open_speaker`; lives on one loop."""

    def __init__(self, options: Options, opener: OpenStream, say: Callable[[str], None]) -> None:
        self.options = options
        self.device = ""
        """The name of the device that is open."""
        self._opener, self._say = opener, say
        self._player: _Player | None = None
        self._gone = "the speaker is not open"
        self._played_ns = 0  # with earlier streams, and never less than it was
        self._before_ns = 0
        self._xruns = 0
        self._resample = Resampler(1, 1)
        self._rate_hz = 0
        self._changed = asyncio.Event()
        self._finished = asyncio.Event()
        self._timeline = Timeline(_SOUNDED_S)

    @property
    def latency_ns(self) -> int:
        """How long a sample waits between leaving us and being audible: the driver's word and one block."""
        if self._player is None:
            return 0
        opened = self._player.opened
        return opened.latency_ns + opened.block * _SECOND_NS // opened.sample_rate_hz

    @property
    def xruns(self) -> int:
        """How often the card ran dry because we were late."""
        return self._xruns + (self._player.xruns if self._player else 0)

    @property
    def played_ns(self) -> int:
        """The sound that has been audible so far."""
        if self._player is not None:
            self._played_ns = max(self._played_ns, self._before_ns + self._player.played_ns())
        return self._played_ns

    async def play(self, samples: NDArray[np.int16], sample_rate_hz: int) -> int:
        """Queue mono samples, shape (n,), and return when the first becomes audible; waits while 30 s are queued.

        Raises DeviceError while the device is gone.
        """
        player = self._alive(None)
        if player.empty() or sample_rate_hz != self._rate_hz:
            self._resample = Resampler(sample_rate_hz, player.opened.sample_rate_hz)
            self._rate_hz = sample_rate_hz
        piece, audible_ns = max(1, round(sample_rate_hz * _PIECE_S)), 0
        for first in range(0, max(1, len(samples)), piece):
            made = self._resample(samples[first : first + piece])
            while player.room() < len(made):
                await self._pause(now_ns() + round(self.options.block_ms * MS))
                self._alive(player)
            at_ns = player.write(made)
            audible_ns = audible_ns or at_ns
            await asyncio.sleep(0)
            self._alive(player)
        return audible_ns

    def cut(self) -> int:
        """Fall silent within one block and drop what is queued; returns what `played_ns` will stay at."""
        self._rate_hz = 0
        self._changed.set()
        self._changed = asyncio.Event()
        return max(self.played_ns, self._before_ns + self._player.cut()) if self._player else self._played_ns

    def duck(self, gain: float) -> None:
        """Play at this share of the loudness from the next block on, ramped within one; `cut` restores 1.0."""
        if self._player is not None:
            self._player.duck(gain)

    def sounding(self, from_ns: int, count: int) -> NDArray[np.int16]:
        """What is audible from an instant on, at 16 kHz, shape (count,): up to what the card has, two seconds back.

        It is what went to the card: ducked, faded and resampled.
        """
        if self._player is not None:
            self._player.sounded.move(self._timeline)
        return self._timeline.read(from_ns, count)

    async def drained(self) -> int:
        """Return `played_ns` when everything queued has been heard. Raises DeviceError if the device goes before."""
        player = self._alive(None)
        while player.drained_ns() > now_ns() or not player.empty():
            await self._pause(max(player.drained_ns(), now_ns() + MS))
            self._alive(player)
        return self.played_ns

    def _alive(self, player: _Player | None) -> _Player:
        """The open stream; it must be `player` if one is given. Raises DeviceError."""
        if self._player is None or (player is not None and player is not self._player):
            raise DeviceError(self._gone)
        return self._player

    async def _pause(self, until_ns: int) -> None:
        """Wait for an instant, or for a cut or a loss."""
        try:
            async with asyncio.timeout_at(until_ns / 1e9):
                await self._changed.wait()
        except TimeoutError:
            return

    async def open(self, *, again: bool = False) -> None:
        """Open the device and start it. Raises DeviceError or ConfigError."""
        loop, options = asyncio.get_running_loop(), self.options
        held: list[_Player] = []

        def callback(out: NDArray[np.int16], frames: int, times: Any, status: Any) -> None:
            if held:
                held[0].callback(out, frames, times, status)
            else:
                out[:] = 0

        def finished() -> None:
            if held and not loop.is_closed():
                held[0].finished = True
                loop.call_soon_threadsafe(self._finished.set)

        request = Request("speaker", options.device, options.block_ms, options.latency_ms, callback, finished, again)
        opened = await loop.run_in_executor(None, self._opener, request)
        player = _Player(opened, loop)
        held.append(player)
        await start_stream(opened.stream)
        player.last_ns = now_ns()
        self._player, self.device, self._rate_hz = player, opened.device, 0

    async def watch(self) -> None:
        """Reopen the device whenever it goes; runs until it is cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            if self._player is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                try:
                    await self.open(again=True)
                except DeviceError as error:
                    self._gone = str(error)
                    continue
                self._say(f"the speaker {self.device} is back")
                continue
            pause_s = FIRST_PAUSE_S
            player, self._finished = self._player, asyncio.Event()
            due_ns = player.last_ns + round(self.options.silent_ms * MS)
            if player.finished or now_ns() >= due_ns:
                how = "stopped" if player.finished else f"took nothing for {self.options.silent_ms:g} ms"
                self._gone = f"the speaker {self.device} {how}: check its plug; it is being reopened"
                self._say(self._gone)
                await self.close()
                continue
            try:
                async with asyncio.timeout_at(due_ns / 1e9):
                    await self._finished.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Let the device go; what was queued is dropped. Idempotent."""
        player = self._player
        if player is not None:
            self._before_ns = self.played_ns
            self._player = None
            self._xruns += player.xruns
            self._changed.set()
            self._changed = asyncio.Event()
            await close_stream(player.opened.stream)


@asynccontextmanager
async def open_speaker(
    options: Options,
    opener: OpenStream = open_stream,
    say: Callable[[str], None] = logging.getLogger(__name__).warning,
) -> AsyncIterator[SoundCardSpeaker]:
    """Open a loudspeaker; `say` hears when it goes and when it is back. Raises DeviceError or ConfigError."""
    speaker = SoundCardSpeaker(options, opener, say)
    await speaker.open()
    watching = asyncio.create_task(speaker.watch())
    try:
        yield speaker
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await speaker.close()
