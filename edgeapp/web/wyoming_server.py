"""A Wyoming server, as Home Assistant speaks to: words of speech, speech of words, and the keyphrase.

One task a connection, one event at a time. What is served of the protocol: docs/protocols.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice, WakeModel, WakeProgram
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped
from wyoming.wake import Detect, Detection, NotDetected

from edgeapp import __version__
from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, ConfigError, Speech
from edgeapp.devices.resample import Resampler
from edgeapp.voice.clauses import REPLY_CHARS_MAX, clauses
from edgeapp.web.courtesy import Full
from edgeapp.web.guests import RECORDING_MAX_S, Guests
from edgeapp.web.keyphrase import Keyphrase
from edgeapp.web.wyoming_wire import LINE_BYTES_MAX, Garbled, read_event

T = TypeVar("T")

_SEND_S: Final = 10.0  # a client that takes nothing for so long is gone
_PIECES_MAX: Final = 64  # of a text that is spoken while it is written; a faster writer waits
_PIECE_S: Final = 30.0  # the longest pause between two of them


@dataclass(frozen=True)
class Names:
    """What the engines are called in the description."""

    stt: str
    tts: str
    language: str = "en"


@dataclass(slots=True)
class _Sound:
    """What comes between audio-start and audio-stop, as mono at 16 kHz."""

    rate_hz: int = SAMPLE_RATE_HZ
    width: int = 2
    channels: int = 1
    resample: Resampler = field(default_factory=lambda: Resampler(1, 1))
    pieces: list[NDArray[np.int16]] = field(default_factory=list)  # bounded by RECORDING_MAX_S
    count: int = 0

    def take(self, chunk: AudioChunk) -> NDArray[np.int16]:
        """The next samples at 16 kHz. Raises Garbled for a format that is none."""
        if (chunk.rate, chunk.width, chunk.channels) != (self.rate_hz, self.width, self.channels) or not self.count:
            if not 8_000 <= chunk.rate <= 96_000 or chunk.width not in {2, 4} or not 1 <= chunk.channels <= 8:
                raise Garbled("audio has 16 or 32 bits, 1 to 8 channels and 8 to 96 kHz")
            self.rate_hz, self.width, self.channels = chunk.rate, chunk.width, chunk.channels
            self.resample = Resampler(chunk.rate, SAMPLE_RATE_HZ)
        whole = len(chunk.audio) // (chunk.width * chunk.channels) * chunk.width * chunk.channels
        values = np.frombuffer(chunk.audio[:whole], f"<i{chunk.width}")
        mono = values.reshape(-1, chunk.channels).mean(axis=1) / (65_536 if chunk.width == 4 else 1)
        samples = self.resample(np.rint(mono).astype(np.int16))
        self.count += len(samples)
        return samples

    def whole(self) -> NDArray[np.int16]:
        """All that was kept."""
        return np.concatenate([np.zeros(0, np.int16), *self.pieces])


class _Connection:
    """One client. `run` until it leaves, is silent for too long, or sends what is no event."""

    def __init__(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        guests: Guests,
        keyphrase: Keyphrase | None,
        info: Info,
        idle_s: float,
    ) -> None:
        (self._reader, self._writer), self._guests = streams, guests
        self._keyphrase, self._info, self._idle_s = keyphrase, info, idle_s
        self._sound: _Sound | None = None
        self._detecting = False  # does the sound go to the keyphrase?
        self._text: asyncio.Queue[str | None] | None = None  # of a text that is spoken while it comes
        self._speaking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            while True:
                async with asyncio.timeout(self._idle_s):
                    event = await read_event(self._reader)
                if event is None:
                    return
                await self._take(event)
        except (Garbled, TimeoutError) as wrong:
            with suppress(OSError, TimeoutError):
                await self._say(Error(str(wrong) or "nothing came for too long", "bad-event"))
        finally:
            if self._keyphrase is not None:
                self._keyphrase.leave(self)
            if self._speaking is not None:
                self._speaking.cancel()
                await asyncio.wait([self._speaking])

    async def _say(self, what: Eventable) -> None:
        async with asyncio.timeout(_SEND_S):
            await async_write_event(what.event(), self._writer)

    async def _take(self, event: Event) -> None:
        """Do what an event asks; those that are not known are dropped, as the protocol says."""
        kind = event.type
        try:
            if Describe.is_type(kind):
                await self._say(self._info)
            elif Ping.is_type(kind):
                await self._say(Pong(text=_read(Ping.from_event, event).text))
            elif Transcribe.is_type(kind):
                self._sound, self._detecting = _Sound(), False
            elif Detect.is_type(kind):
                await self._detect()
            elif AudioStart.is_type(kind):
                await self._start()
            elif AudioChunk.is_type(kind):
                await self._hear(_read(AudioChunk.from_event, event))
            elif AudioStop.is_type(kind):
                await self._stop()
            else:
                await self._take_text(event)
        except (BackendError, Full):  # its sentence may name files and servers of the device
            await self._say(Error("the device could not do it now; ask again later", "backend-failed"))

    async def _take_text(self, event: Event) -> None:
        kind = event.type
        if Synthesize.is_type(kind):
            if self._text is None:  # else it repeats what was streamed, for servers that cannot
                text = _read(Synthesize.from_event, event).text
                await self._speak(self._guests.speak(_bounded(text)))
        elif SynthesizeStart.is_type(kind) and self._text is None:
            self._text = asyncio.Queue(_PIECES_MAX)
            self._speaking = asyncio.create_task(self._speak_along(self._text))
        elif SynthesizeChunk.is_type(kind) and self._text is not None:
            await self._put(_bounded(_read(SynthesizeChunk.from_event, event).text))
        elif SynthesizeStop.is_type(kind) and self._text is not None and self._speaking is not None:
            await self._put(None)
            await asyncio.wait([self._speaking])
            self._text, speaking, self._speaking = None, self._speaking, None
            speaking.result()
            await self._say(SynthesizeStopped())

    # Speech to words, and the keyphrase

    async def _detect(self) -> None:
        self._sound, self._detecting = _Sound(), self._keyphrase is not None
        if self._keyphrase is None:
            await self._say(Error("this device listens for no keyphrase", "not-offered"))

    async def _start(self) -> None:
        self._sound = _Sound()
        if self._detecting and self._keyphrase is not None:
            self._keyphrase.begin(self)

    async def _hear(self, chunk: AudioChunk) -> None:
        sound = self._sound
        if sound is None:
            return
        samples = sound.take(chunk)
        if self._detecting and self._keyphrase is not None:
            if await self._keyphrase.hear(samples):
                await self._say(Detection(self._keyphrase.name, chunk.timestamp))
        elif sound.count > RECORDING_MAX_S * SAMPLE_RATE_HZ:
            raise Garbled(f"a recording has at most {RECORDING_MAX_S} seconds")
        else:
            sound.pieces.append(samples)

    async def _stop(self) -> None:
        sound, self._sound = self._sound, None
        if sound is None:
            return
        if self._detecting and self._keyphrase is not None:
            if not await self._keyphrase.ended():
                await self._say(NotDetected())
            return
        with self._guests.courtesy.guest():
            segments = await self._guests.transcribe(sound.whole())
        await self._say(Transcript(" ".join(each.text for each in segments), language=self._guests.language))

    # Words to speech

    async def _put(self, text: str | None) -> None:
        """Hand on a piece of the text; if the voice has failed, its error is raised instead."""
        assert self._text is not None
        assert self._speaking is not None
        putting = asyncio.ensure_future(self._text.put(text))
        try:
            await asyncio.wait([putting, self._speaking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        if self._speaking.done() and not putting.done():
            self._text, speaking, self._speaking = None, self._speaking, None
            speaking.result()

    async def _speak_along(self, text: asyncio.Queue[str | None]) -> None:
        async def pieces() -> AsyncGenerator[str, None]:
            while True:
                async with asyncio.timeout(_PIECE_S):
                    piece = await text.get()
                if piece is None:
                    return
                yield piece

        async def sound() -> AsyncGenerator[Speech, None]:
            async with aclosing(pieces()) as coming, aclosing(clauses(coming)) as cut:
                async for clause in cut:
                    async with aclosing(self._guests.speak(clause)) as speech:
                        async for part in speech:
                            yield part

        try:
            await self._speak(sound())
        except TimeoutError:
            raise BackendError("the rest of a text did not come") from None

    async def _speak(self, speech: AsyncGenerator[Speech, None]) -> None:
        """Send the sound as it is made, at the voice's own rate."""
        rate_hz = 0
        with self._guests.courtesy.guest():
            async with aclosing(speech):
                async for part in speech:
                    if not rate_hz:
                        rate_hz = part.sample_rate_hz
                        await self._say(AudioStart(rate_hz, 2, 1))
                    await self._say(AudioChunk(rate_hz, 2, 1, part.samples.astype("<i2").tobytes()))
        if not rate_hz:
            await self._say(AudioStart(rate_hz := SAMPLE_RATE_HZ, 2, 1))
        await self._say(AudioStop())


@asynccontextmanager
async def serve(
    guests: Guests,
    keyphrase: Keyphrase | None,
    names: Names,
    *,
    host: str,
    port: int,
    connections: int,
    idle_s: float,
) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port. Raises ConfigError if the address cannot be had."""
    info, running = described(names, keyphrase), set[asyncio.Task[None]]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(running) < connections:
                running.add(task)
                await _Connection((reader, writer), guests, keyphrase, info, idle_s).run()
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone, or the server ends
        finally:
            running.discard(task)
            writer.close()

    try:
        server = await asyncio.start_server(connected, host, port, limit=LINE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"protocols.wyoming cannot listen on {host}:{port}: {error.strerror}; choose another"
        ) from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        if running:
            await asyncio.wait(list(running))


@asynccontextmanager
async def announced(name: str, host: str, port: int) -> AsyncIterator[None]:
    """Say on the network of `host`, an IPv4 address of ours, that a Wyoming server is there, while the block runs.

    mDNS service discovery (RFC 6763), as Home Assistant looks for it. Raises ConfigError.
    """
    import ipaddress

    try:
        from zeroconf import Error as ZeroconfError
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf
    except ImportError as error:
        raise ConfigError("protocols.wyoming.zeroconf needs the package zeroconf: pip install zeroconf") from error
    kind = "_wyoming._tcp.local."
    try:
        address = ipaddress.IPv4Address(host)
        if address.is_unspecified:
            raise ConfigError("protocols.wyoming.zeroconf needs the address of one network as host, not 0.0.0.0")
        service = AsyncServiceInfo(kind, f"{name}.{kind}", addresses=[address.packed], port=port)
        network = AsyncZeroconf(interfaces=[host])
        await network.async_register_service(service)
    except (OSError, ValueError, ZeroconfError) as error:
        raise ConfigError(f"protocols.wyoming.zeroconf cannot announce {host}: {error}") from error
    try:
        yield
    finally:
        await network.async_unregister_service(service)
        await network.async_close()


def described(names: Names, keyphrase: Keyphrase | None) -> Info:
    """What the server offers."""
    ours = Attribution("edgeapp", "")

    def about(name: str, what: str) -> dict[str, object]:
        return {"name": name, "attribution": ours, "installed": True, "description": what, "version": __version__}

    model = AsrModel(**about(names.stt, "the device's recogniser"), languages=[names.language])  # type: ignore[arg-type]
    voice = TtsVoice(**about(names.tts, "the device's voice"), languages=[names.language])  # type: ignore[arg-type]
    wake = []
    if keyphrase is not None:
        phrase = about(keyphrase.name, "the device's keyphrase")
        it = WakeModel(**phrase, languages=[names.language], phrase=keyphrase.phrase)  # type: ignore[arg-type]
        wake = [WakeProgram(**about("edgeapp", "keyphrase"), models=[it])]  # type: ignore[arg-type]
    return Info(
        asr=[AsrProgram(**about("edgeapp", "speech to text"), models=[model])],  # type: ignore[arg-type]
        tts=[TtsProgram(**about("edgeapp", "text to speech"), voices=[voice], supports_synthesize_streaming=True)],  # type: ignore[arg-type]
        wake=wake,
    )


def _bounded(text: str) -> str:
    """At most as much as is spoken of one reply."""
    return text[:REPLY_CHARS_MAX]


def _read(from_event: Callable[[Event], T], event: Event) -> T:
    """The library takes fields as they come: what is missing or of another type is no event."""
    try:
        return from_event(event)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Garbled(f"{event.type[:40]} lacks a field, or one has another type") from None
