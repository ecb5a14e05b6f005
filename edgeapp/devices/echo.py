"""Microphone and loudspeaker on one clock: what a microphone hears of our own voice is taken out of its sound.

WebRTC's echo canceller (AEC3), by the package livekit, takes 10 ms of what was audible and of what was heard at a time.
The reference is what the loudspeaker really sounds, ducked and cut, moved by the delay that a chirp measured at boot, so
that the canceller's 50 ms filter is spent on the room and not on the driver. The canceller holds back 8 ms; so while
nothing of ours sounds or reverberates the microphone goes past it, and a turn that begins in silence loses nothing.

It runs on the loop: a frame is constant work, 0.2 ms for the canceller and 0.2 ms for the share (docs/LOG.md). Handing it
to a thread and back is quicker than that as a rule, but late by milliseconds now and then, which sound cannot wait for.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, ConfigError
from edgeapp.devices.echo_share import FRAME, EchoShare
from edgeapp.devices.level import Level
from edgeapp.devices.timeline import steady

Samples = NDArray[np.int16]

_SAMPLE_NS: Final = 1_000_000_000 // SAMPLE_RATE_HZ
_HELD_BACK: Final = 128  # samples that the canceller's output is behind its input, measured
_LEAD_NS: Final = 5 * MS  # the reference comes so much before its echo: a canceller cannot look ahead
_TAIL_NS: Final = 600 * MS  # how long our voice hangs in the room: at 0.7 s reverberation it is 51 dB down
_UNKNOWN_DB: Final = -10.0  # the coupling that is assumed until it is measured
_NONE_DB: Final = -60.0  # and where nothing came back


class Echo(StrEnum):
    """What is done about our own voice in the microphone."""

    CANCEL = "cancel"
    """It is taken out, so a person may speak over us."""

    NONE = "none"
    """There is none: a headset, or a speakerphone that cancels by itself."""

    HALF_DUPLEX = "half-duplex"
    """The microphone is not listened to while we speak."""


class Loudspeaker(Protocol):
    """What is asked of a loudspeaker: `devices/speaker.py` and `devices/files.py` both fit."""

    async def play(self, samples: Samples, sample_rate_hz: int) -> int:
        """Queue mono samples; returns when the first of them becomes audible."""

    def sounding(self, from_ns: int, count: int) -> Samples:
        """What is audible from an instant on, at 16 kHz, shape (count,)."""


@dataclass(frozen=True, slots=True)
class Coupling:
    """What a chirp through loudspeaker and microphone showed."""

    heard: bool
    """Did it come back?"""

    delay_ns: int = 0
    """From when the loudspeaker says a sample is audible to when the microphone says it was captured."""

    db: float = _UNKNOWN_DB
    """The energy that came back, to the energy played."""

    clipped: bool = False

    @property
    def safe(self) -> bool:
        """May a person interrupt our voice, without its interrupting itself? Measured up to -6 dB (docs/LOG.md)."""
        return not self.heard or (self.db <= -3 and not self.clipped)

    @property
    def says(self) -> str:
        """One sentence for the operator."""
        if not self.heard:
            return (
                "the microphone does not hear the loudspeaker: with a headset set audio.echo = 'none', "
                "else check that neither is muted"
            )
        found = f"the loudspeaker comes back at {self.db:.0f} dB after {self.delay_ns / MS:.0f} ms"
        if self.clipped:
            return f"{found} and makes the microphone clip: lower the loudspeaker or the microphone's gain"
        if not self.safe:
            return f"{found}, too strong to speak over it: lower the loudspeaker, or set audio.echo = 'half-duplex'"
        return f"{found}: people may speak over it"


class Canceller:
    """WebRTC's audio processing with echo cancellation and its high-pass at 100 Hz; no noise suppression, no gain control.

    Those two change what a recogniser hears, and the gate in `echo_share.py` learns from a canceller that does not.
    """

    def __init__(self) -> None:
        """Raises ConfigError without the package livekit."""
        try:
            from livekit.rtc.apm import AudioProcessingModule
            from livekit.rtc.audio_frame import AudioFrame
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"audio.echo = 'cancel' needs the package livekit: pip install 'edgeapp[voice]', "
                f"or set audio.echo to 'half-duplex' or 'none' ({error})"
            ) from error
        self._frame: Any = AudioFrame
        self._module: Any = AudioProcessingModule(echo_cancellation=True, high_pass_filter=True)
        self._delay_ms = _LEAD_NS // MS

    def __call__(self, played: Samples, heard: Samples) -> Samples:
        """Take 10 ms of both, shape (160,), and return what is left, 128 samples behind, shape (160,)."""
        self._module.process_reverse_stream(self._frame(bytearray(played.tobytes()), SAMPLE_RATE_HZ, 1, FRAME))
        self._module.set_stream_delay_ms(self._delay_ms)
        frame = self._frame(bytearray(heard.tobytes()), SAMPLE_RATE_HZ, 1, FRAME)
        self._module.process_stream(frame)
        return np.frombuffer(bytes(frame.data), np.int16)


class Duplex:
    """A microphone beside a loudspeaker: iterate over it for sound. Lives on one loop, one reader."""

    def __init__(
        self,
        ear: AsyncIterable[AudioChunk],
        mouth: Loudspeaker,
        echo: Echo = Echo.CANCEL,
        say: Callable[[str], None] = logging.getLogger(__name__).warning,
    ) -> None:
        """`say` hears in one sentence what is wrong with the levels. Raises ConfigError without the package livekit."""
        self.echo = echo
        self.coupling = Coupling(heard=False)
        self._ear, self._mouth = ear, mouth
        self._chunks: AsyncIterator[AudioChunk] | None = None
        self._level = Level(say)
        self._cancel = Canceller() if echo is Echo.CANCEL else None
        self._share = EchoShare(_UNKNOWN_DB)
        self._sounded_ns = -_TAIL_NS
        self._next_reference = 0  # the sample that the next one is expected to be
        self._played = self._heard = np.zeros(0, np.int16)  # less than a frame that the canceller has not seen
        self._raw = np.zeros(0, np.int16)  # heard and not given yet: a frame and what the canceller holds back
        self._ahead = _HELD_BACK  # samples given, beyond those the canceller has made

    @property
    def dropped(self) -> int:
        """Blocks that the microphone lost."""
        return int(getattr(self._ear, "dropped", 0))

    @property
    def xruns(self) -> int:
        """How often the microphone's driver lost sound before we saw it."""
        return int(getattr(self._ear, "xruns", 0))

    async def measure(self) -> Coupling:
        """Play a chirp and listen for it; what was measured is used from now on. Takes about 1.5 s.

        Raises DeviceError if one of the two is gone.
        """
        chunks: list[AudioChunk] = []
        chirp = _chirp()
        audible_ns = last_ns = 0
        async for chunk in self._captured():
            chunks.append(chunk)
            if not audible_ns and len(chunks) * len(chunk.samples) >= _QUIET_S * SAMPLE_RATE_HZ:
                audible_ns = await self._mouth.play(chirp, SAMPLE_RATE_HZ)
                last_ns = audible_ns + len(chirp) * _SAMPLE_NS + _LATEST_NS
            if audible_ns and chunk.ended_ns >= last_ns:
                break
        heard = np.concatenate([each.samples for each in chunks]) if chunks else np.zeros(0, np.int16)
        began_ns = chunks[-1].ended_ns - len(heard) * _SAMPLE_NS if chunks else 0
        self.coupling = coupling_of(self._mouth.sounding(began_ns, len(heard)), heard)
        self._share = EchoShare(self.coupling.db if self.coupling.heard else _NONE_DB)
        return self.coupling

    def _captured(self) -> AsyncIterator[AudioChunk]:
        if self._chunks is None:
            self._chunks = aiter(self._ear)
        return self._chunks

    def __aiter__(self) -> AsyncIterator[AudioChunk]:
        return self._listen()

    async def _listen(self) -> AsyncGenerator[AudioChunk, None]:
        async for chunk in self._captured():
            taken = self.take(chunk)
            if taken is not None:
                yield taken

    def take(self, chunk: AudioChunk) -> AudioChunk | None:
        """What is to be heard of a chunk from the microphone; None while a frame is not full."""
        played = self._reference(chunk)
        if played.any():
            self._sounded_ns = chunk.ended_ns
        speaking = chunk.ended_ns - self._sounded_ns < _TAIL_NS
        samples = self._level(chunk.samples, own_voice=speaking)
        if self.echo is Echo.HALF_DUPLEX and speaking:
            return AudioChunk(np.zeros_like(samples), chunk.ended_ns, 1.0)
        if self._cancel is None:
            return AudioChunk(samples, chunk.ended_ns)
        self._raw = np.concatenate([self._raw, samples])
        made, share = self._without_echo(self._cancel, played, samples)
        self._ahead -= len(made)
        if not speaking:
            given, share, self._raw = self._raw, 0.0, self._raw[:0]
        else:
            # What was given past the canceller is not given again; what it has not made yet comes later.
            given = made[max(0, len(made) + self._ahead) :] if self._ahead < 0 else made[:0]
            self._raw = self._raw[len(given) :]
        self._ahead += len(given)
        if not len(given):
            return None
        return AudioChunk(given, chunk.ended_ns - len(self._raw) * _SAMPLE_NS, share)

    def _without_echo(self, cancel: Canceller, played: Samples, heard: Samples) -> tuple[Samples, float]:
        """The canceller's next frames, and the share of them that can be our own voice."""
        self._played = np.concatenate([self._played, played])
        self._heard = np.concatenate([self._heard, heard])
        frames, shares = [np.zeros(0, np.int16)], []
        for _ in range(len(self._heard) // FRAME):
            play, self._played = self._played[:FRAME], self._played[FRAME:]
            hear, self._heard = self._heard[:FRAME], self._heard[FRAME:]
            frames.append(cancel(play, hear))
            shares.append(self._share(play, hear, frames[-1]))
        return np.concatenate(frames), sum(shares) / len(shares) if shares else 0.0

    def _reference(self, chunk: AudioChunk) -> Samples:
        """What was audible while the chunk was captured, or rather what its echo comes from, `_LEAD_NS` early."""
        count = len(chunk.samples)
        moved_ns = max(0, self.coupling.delay_ns - _LEAD_NS)
        wanted = round((chunk.ended_ns - moved_ns) / _SAMPLE_NS) - count
        first = steady(self._next_reference, wanted)
        self._next_reference = first + count
        return self._mouth.sounding(first * _SAMPLE_NS, count)


_QUIET_S: Final = 0.3  # listened to before the chirp: the room's noise
_CHIRP_S: Final = 0.4
_CHIRP_HZ: Final = (300.0, 6_000.0)
_CHIRP_LEVEL: Final = 8_000  # -12 dBFS: as loud as a voice
_LATEST_NS: Final = 500 * MS  # how late it may come back: far above any driver's buffers
_EARLIEST: Final = SAMPLE_RATE_HZ // 20  # samples that it may come early, where a driver overstates: 50 ms
_STANDS_OUT: Final = 12.0  # times the median of the correlation; the highest peak of mere noise has 6


def _chirp() -> Samples:
    """An exponential sweep with soft ends (Farina, 2000), shape (n,)."""
    low, high = _CHIRP_HZ
    at = np.arange(round(_CHIRP_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    rate = np.log(high / low) / _CHIRP_S
    sweep = np.sin(2 * np.pi * low * (np.exp(rate * at) - 1) / rate)
    ends = np.minimum(1, np.minimum(at, _CHIRP_S - at) / 0.02)
    samples: Samples = (_CHIRP_LEVEL * sweep * ends).astype(np.int16)
    return samples


def coupling_of(played: Samples, heard: Samples) -> Coupling:
    """Compare what was audible with what was captured in the same time, both at 16 kHz of shape (n,), by correlation."""
    if not played.any() or not heard.any():
        return Coupling(heard=False)
    clipped = bool(np.count_nonzero(np.abs(heard.astype(np.int32)) >= 32_600) >= 8)
    play, hear = played.astype(np.float64), heard - heard.mean()
    first, last = np.flatnonzero(played)[[0, -1]]
    size = 2 * len(play)
    correlation = np.fft.irfft(np.fft.rfft(hear, size) * np.conj(np.fft.rfft(play, size)), size)
    searched = np.abs(np.roll(correlation, _EARLIEST)[: _EARLIEST + _LATEST_NS // _SAMPLE_NS])
    lag = int(np.argmax(searched)) - _EARLIEST
    if searched.max() < _STANDS_OUT * np.median(searched):
        return Coupling(heard=False, clipped=clipped)
    begin, end = max(0, first + lag), min(len(hear), last + lag + SAMPLE_RATE_HZ // 5)
    noise = np.mean(hear[: max(1, first)] ** 2)  # before the chirp
    energy = max(np.sum(hear[begin:end] ** 2) - noise * (end - begin), 1e-9)
    return Coupling(True, lag * _SAMPLE_NS, float(10 * np.log10(energy / np.sum(play**2))), clipped)
