"""A microphone and a loudspeaker whose other ends are a socket: what a conversation hears and says goes over the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, Clause, Speech
from edgeapp.core.stream import Stream
from edgeapp.devices.resample import Resampler
from edgeapp.voice.endpoint import FRAME_SAMPLES

if TYPE_CHECKING:
    from edgeapp.core.stage import Backend

_WAITING_MAX: Final = 30 * SAMPLE_RATE_HZ  # samples: a recording may be sent at once; whoever sends more has to wait
_PIECES_A_SECOND: Final = 10  # so much is resampled at once: a millisecond of work
_AHEAD_NS: Final = 30_000 * MS  # of sound that a client may hold before it plays it, as in devices/files.py
_SECOND_NS: Final = 1_000_000_000


class OptionalVoice:
    """A voice that can be switched off: then a clause is one sample, so that a written reply costs no voice."""

    def __init__(self, voice: Backend[Clause, Stream[Speech]]) -> None:
        self._voice = voice
        self.off = False

    async def __call__(self, clause: Clause, /) -> Stream[Speech]:
        """As the voice's own call."""
        return await (Stream.start(_one_sample()) if self.off else self._voice(clause))


async def _one_sample() -> AsyncGenerator[Speech, None]:
    yield Speech(np.full(1, np.iinfo(np.int16).max, np.int16), SAMPLE_RATE_HZ)  # loud: it counts as heard


class SocketEar:
    """The microphone. A sample counts as captured when it has arrived: what the network took is not known here."""

    def __init__(self, rate_hz: int) -> None:
        """`rate_hz` is the client's."""
        self.take(rate_hz)
        self._waiting = np.zeros(0, np.int16)  # at most _WAITING_MAX and one piece
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._ending = False
        self.given = 0
        """Samples at 16 kHz that were handed on."""

    def take(self, rate_hz: int) -> None:
        """From now on the client's sound has this rate."""
        self._rate_hz, self._resample = rate_hz, Resampler(rate_hz, SAMPLE_RATE_HZ)

    async def put(self, samples: NDArray[np.int16]) -> None:
        """Take mono samples at the client's rate, shape (n,); waits while half a minute is held."""
        piece = self._rate_hz // _PIECES_A_SECOND
        for at in range(0, len(samples), piece):
            while len(self._waiting) >= _WAITING_MAX:
                self._room.clear()
                await self._room.wait()
            self._waiting = np.concatenate([self._waiting, self._resample(samples[at : at + piece])])
            self._some.set()
            await asyncio.sleep(0)  # a message may hold many seconds: others must have their turn in between

    def clear(self) -> None:
        """Forget what was not handed on yet."""
        self._waiting = np.zeros(0, np.int16)
        self._room.set()

    def end(self) -> None:
        """End the iteration under way, or else the next one; the one after it goes on with what waits."""
        self._ending = True
        self._some.set()

    async def heard(self) -> AsyncIterator[AudioChunk]:
        """Hand on what has come, at most one frame at a time, until `end`. One reader."""
        while True:
            while not len(self._waiting) and not self._ending:
                self._some.clear()
                await self._some.wait()
            if self._ending:
                self._ending = False
                return
            samples, self._waiting = self._waiting[:FRAME_SAMPLES], self._waiting[FRAME_SAMPLES:]
            self._room.set()
            self.given += len(samples)
            yield AudioChunk(samples, now_ns())


class SocketMouth:
    """The loudspeaker; fits `voice.speaker.Speaker`. Sound is sent at once, and taken for played in its own time.

    So a reply counts as heard as far as it would be by a client that plays what it gets; a client that knows better says so
    with `conversation.item.truncate`.
    """

    latency_ns = 0
    """The client's is not known."""

    def __init__(
        self,
        rate_hz: int,
        on_sound: Callable[[NDArray[np.int16]], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        """`on_sound` gets each run of samples at `rate_hz`, `on_end` is told when all of a reply was sent."""
        self._on_sound, self._on_end = on_sound, on_end
        self.written = False
        """Are replies read instead of heard? Then their sound is not sent, and counts as played at once."""

        self.give(rate_hz)
        self._sent_ns = 0  # the sound that was sent and not cut
        self._free_ns = 0  # when it will have been played
        self._cut = asyncio.Event()

    def give(self, rate_hz: int) -> None:
        """From now on the client wants this rate."""
        self._rate_hz, self._from_hz, self._resample = rate_hz, rate_hz, Resampler(rate_hz, rate_hz)

    @property
    def played_ns(self) -> int:
        """The sound that has been audible so far."""
        return self._sent_ns - max(0, self._free_ns - now_ns())

    async def play(self, samples: NDArray[np.int16], sample_rate_hz: int) -> int:
        """Send mono samples and return when the first of them becomes audible; waits while 30 s are not played yet."""
        if self.written:
            self._sent_ns += len(samples) * _SECOND_NS // sample_rate_hz
            await self._on_sound(samples[:0])
            return now_ns()
        while self._free_ns - now_ns() > _AHEAD_NS:
            await self._until_cut(self._free_ns - _AHEAD_NS)
        if sample_rate_hz != self._from_hz:
            self._resample, self._from_hz = Resampler(sample_rate_hz, self._rate_hz), sample_rate_hz
        start_ns, took_ns = max(now_ns(), self._free_ns), len(samples) * _SECOND_NS // sample_rate_hz
        self._sent_ns += took_ns
        self._free_ns = start_ns + took_ns
        await self._on_sound(self._resample(samples))
        return start_ns

    def cut(self) -> int:
        """Send no more of it; returns what was played."""
        played_ns = self.played_ns
        self._sent_ns, self._free_ns = played_ns, min(self._free_ns, now_ns())
        self._resample.reset()
        self._cut.set()
        self._cut = asyncio.Event()
        return played_ns

    def duck(self, gain: float) -> None:
        """Nothing: the sound is at the client already, which may be softer when it is told that speech started."""

    async def drained(self) -> int:
        """Return when everything sent has been played."""
        held = round(self._resample.delay_ns * self._from_hz / _SECOND_NS)
        if len(tail := self._resample(np.zeros(held, np.int16))):
            await self._on_sound(tail)
        self._resample.reset()
        await self._on_end()
        while self._free_ns > now_ns():
            await self._until_cut(self._free_ns)
        return self.played_ns

    async def _until_cut(self, at_ns: int) -> None:
        try:
            async with asyncio.timeout_at(at_ns / 1e9):
                await self._cut.wait()
        except TimeoutError:
            return
