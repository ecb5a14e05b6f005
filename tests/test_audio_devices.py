"""Microphone and loudspeaker on a scripted sound card and virtual time; and the resampler between them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, DeviceError
from edgeapp.devices import microphone, speaker
from edgeapp.devices.echo import Duplex, Echo
from edgeapp.devices.resample import Resampler
from edgeapp.devices.sound_card import Opened, Request, StreamClock, find

SECOND_NS = 1_000_000_000
LATENCY_NS = 20 * MS


@dataclass
class Card:
    """A sound card that opens, plays and hears by its script. Its own clock is 1000 s ahead of the loop's."""

    rate_hz: int = 48_000
    here: bool = True
    """Does the device open?"""
    broken: bool = False
    """It opens, but does not start."""
    requests: list[Request] = field(default_factory=list)
    streams: list[CardStream] = field(default_factory=list)
    heard: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    """What the microphone hears, from its opening on; then silence."""

    def __call__(self, request: Request) -> Opened:
        self.requests.append(request)
        if not self.here:
            raise DeviceError(f"there is no {request.side}: plug it in")
        block = round(self.rate_hz * request.block_ms / 1000)
        self.streams.append(CardStream(self, request, block))
        return Opened(self.streams[-1], "USB Audio", self.rate_hz, block, LATENCY_NS)


@dataclass
class CardStream:
    """One stream of the card."""

    card: Card
    request: Request
    block: int
    running: bool = False
    count: int = 0
    started_s: float = 0.0
    played: list[NDArray[np.int16]] = field(default_factory=list)
    jitter_s: float = 0.0
    status: Any = None

    def start(self) -> None:
        if self.card.broken:
            raise DeviceError("the speaker does not start")
        loop = asyncio.get_running_loop()
        self.running, self.started_s = True, loop.time()
        self._later()

    def _later(self) -> None:
        first = 1 if self.request.side == "microphone" else 0
        at_s = self.started_s + (self.count + first) * self.block / self.card.rate_hz
        asyncio.get_running_loop().call_at(at_s + self.jitter_s, self._call, at_s)

    def _call(self, at_s: float) -> None:
        if not self.running:
            return
        begin, self.count = self.count * self.block, self.count + 1
        data = np.zeros((self.block, 2), np.int16)
        piece = self.card.heard[begin : begin + self.block]
        data[: len(piece), 0] = piece
        now_s = 1_000 + at_s
        times = SimpleNamespace(
            currentTime=now_s,
            inputBufferAdcTime=now_s - self.block / self.card.rate_hz - LATENCY_NS / 1e9,
            outputBufferDacTime=now_s + LATENCY_NS / 1e9,
        )
        self.request.callback(data, self.block, times, self.status)
        self.played.append(data[:, 0].copy())
        self._later()

    def abort(self) -> None:
        self.running = False
        self.request.finished()

    def close(self) -> None:
        self.running = False

    def unplug(self) -> None:
        """The driver notices and ends the stream."""
        self.running = False
        self.request.finished()

    def freeze(self) -> None:
        """The driver does not notice."""
        self.running = False


def tone(samples: int, rate_hz: int, hz: float = 440) -> NDArray[np.int16]:
    return (8_000 * np.sin(2 * np.pi * hz * np.arange(samples) / rate_hz)).astype(np.int16)


async def listen(ear: microphone.Microphone, chunks: list[AudioChunk]) -> None:
    async for chunk in ear:
        chunks += [chunk]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("to_hz", [16_000, 48_000])
def test_the_resampler_gives_the_same_sound_in_any_pieces_with_its_stated_delay(rate_hz: int, to_hz: int) -> None:
    sound = tone(rate_hz // 2, rate_hz)
    for piece in (rate_hz // 100, 317):
        resample, made, behind = Resampler(rate_hz, to_hz), [], []
        for first in range(0, len(sound), piece):
            made.append(resample(sound[first : first + piece]))
            given = min(first + piece, len(sound))
            behind.append(given / rate_hz - sum(map(len, made)) / to_hz)
        result = np.concatenate(made)
        expected = tone(len(result), to_hz)
        assert np.abs(result[300:].astype(int) - expected[300:]).max() <= 3
        assert all(abs(late - resample.delay_ns / 1e9) <= 1 / to_hz + 1e-9 for late in behind)
        assert resample.delay_ns <= 2.3 * MS


def test_the_resampler_lets_no_alias_through() -> None:
    high = tone(48_000, 48_000, hz=9_000)
    assert np.abs(Resampler(48_000, 16_000)(high)[300:]).max() <= 3


async def test_the_stream_clock_takes_the_least_lateness_and_notices_a_step() -> None:
    clock = StreamClock(asyncio.get_running_loop())
    assert clock.loop_ns(5.0, 5.0, 0) == now_ns()
    await asyncio.sleep(0.010)
    first_ns = clock.loop_ns(5.01, 5.01, 0)
    await asyncio.sleep(0.013)  # 3 ms late: the callback waited for the interpreter
    assert abs(clock.loop_ns(5.02, 5.02, 0) - (first_ns + 10 * MS)) <= 2_000
    assert clock.loop_ns(105.02, 105.02, 0) == now_ns(), "the stream's clock was set"
    assert clock.loop_ns(0.0, 0.0, 7 * MS) == now_ns() + 7 * MS, "a host that does not know"


async def test_the_microphone_says_when_its_last_sample_was_captured() -> None:
    card = Card(heard=tone(48_000, 48_000))
    chunks: list[AudioChunk] = []
    async with microphone.open_microphone(microphone.Options(block_ms=16), card) as ear:
        assert ear.device == "USB Audio"
        assert 20 * MS < ear.latency_ns < 22 * MS
        listening = asyncio.create_task(listen(ear, chunks))
        card.streams[0].jitter_s = 0.002  # callbacks are late, the sound is not
        await asyncio.sleep(0.5)
        listening.cancel()
        await asyncio.wait([listening])
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert np.abs(heard[300:].astype(int) - tone(len(heard), 16_000)[300:]).max() <= 3
    samples = 0
    for chunk in chunks:
        samples += len(chunk.samples)
        captured_ns = samples * SECOND_NS // 16_000 - LATENCY_NS
        assert abs(chunk.ended_ns - captured_ns) < 2.2 * MS, "late callbacks at first, exact but for drift later"
    assert not ear.dropped
    assert card.streams[0].running is False


async def test_a_late_reader_loses_the_oldest_blocks_counted() -> None:
    card = Card(rate_hz=16_000)
    card.heard = np.arange(16_000 * 3, dtype=np.int16)
    async with microphone.open_microphone(microphone.Options(block_ms=10), card) as ear:
        card.streams[0].status = SimpleNamespace(input_overflow=True)
        await asyncio.sleep(2.0)
        chunk = await anext(aiter(ear))
        assert ear.dropped == 200 - 99
        assert chunk.samples[0] == ear.dropped * 160
        assert ear.xruns == 200


@pytest.mark.parametrize("how", ["unplug", "freeze"])
async def test_a_microphone_that_goes_is_reopened_when_it_is_back(how: str) -> None:
    card, said = Card(rate_hz=16_000), list[str]()
    chunks: list[AudioChunk] = []
    options = microphone.Options(block_ms=10, silent_ms=200)
    async with microphone.open_microphone(options, card, said.append) as ear:
        listening = asyncio.create_task(listen(ear, chunks))
        await asyncio.sleep(1)
        card.here = False
        getattr(card.streams[0], how)()
        await asyncio.sleep(3)
        before = len(chunks)
        card.here = True
        await asyncio.sleep(6)
        assert len(chunks) > before
        assert [text.split(":")[0] for text in said] == [
            "the microphone USB Audio stopped"
            if how == "unplug"
            else "the microphone USB Audio gave nothing for 200 ms",
            "the microphone USB Audio is back",
        ]
        assert [request.again for request in card.requests][:2] == [False, True]
        assert 3 <= len(card.requests) <= 8, "the pauses grow"
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_microphone_that_stays_away_is_an_error() -> None:
    card = Card()
    async with microphone.open_microphone(microphone.Options(gone_s=10), card, lambda _: None) as ear:
        card.here = False
        card.streams[0].unplug()
        with pytest.raises(DeviceError, match=r"plug it in \(gone for 10 s\)"):
            await listen(ear, [])
        assert now_ns() < 20 * SECOND_NS


async def test_a_device_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(DeviceError, match="there is no microphone"):
        async with microphone.open_microphone(microphone.Options(), Card(here=False)):
            raise AssertionError
    card = Card(broken=True)
    with pytest.raises(DeviceError, match="does not start"):
        async with speaker.open_speaker(speaker.Options(), card):
            raise AssertionError
    assert not card.streams[0].running


def sounded(card: Card) -> NDArray[np.int16]:
    return np.concatenate(card.streams[-1].played)


async def test_the_speaker_knows_when_a_sample_will_be_audible() -> None:
    card = Card(rate_hz=16_000)
    async with speaker.open_speaker(speaker.Options(block_ms=10), card) as mouth:
        assert mouth.latency_ns == 30 * MS
        await asyncio.sleep(0.5051)
        sound = tone(4_000, 16_000)
        audible_ns = await mouth.play(sound[:1_000], 16_000)
        next_ns = await mouth.play(sound[1_000:], 16_000)
        assert abs(audible_ns - 530 * MS) < MS / 10, "the block at 510 ms, 20 ms later"
        assert abs(next_ns - audible_ns - 62.5 * MS) < MS / 10
        assert await mouth.drained() == 250 * MS
        assert abs(now_ns() - audible_ns - 250 * MS) < 2 * MS
        first = round((audible_ns - LATENCY_NS) * 16_000 / SECOND_NS)
        assert np.array_equal(sounded(card)[first : first + 4_000], sound)
        assert not sounded(card)[:first].any()
        assert mouth.played_ns == 250 * MS


async def test_the_speaker_resamples_a_voice_to_the_cards_own_rate() -> None:
    card = Card(rate_hz=48_000)
    async with speaker.open_speaker(speaker.Options(), card) as mouth:
        voice = tone(22_050, 22_050)
        for first in range(0, len(voice), 3_000):
            await mouth.play(voice[first : first + 3_000], 22_050)
        played_ns = await mouth.drained()
        assert abs(played_ns - SECOND_NS) < MS
        heard = sounded(card)
        first = int(np.flatnonzero(heard)[0]) - 1
        expected = tone(40_000, 48_000)
        assert np.abs(heard[first + 500 : first + 40_000].astype(int) - expected[500:]).max() < 600


async def test_cut_is_silent_within_a_block_and_says_what_was_heard() -> None:
    card = Card(rate_hz=16_000)
    async with speaker.open_speaker(speaker.Options(block_ms=10), card) as mouth:
        await mouth.play(np.full(16_000, 10_000, np.int16), 16_000)
        await asyncio.sleep(0.3051)
        draining = asyncio.create_task(mouth.drained())
        await asyncio.sleep(0)
        before = len(sounded(card))
        heard_ns = mouth.cut()
        assert mouth.cut() == heard_ns
        assert await draining == heard_ns
        await asyncio.sleep(0.5)
        assert mouth.played_ns == heard_ns
        sound = sounded(card)
        assert np.count_nonzero(sound) * SECOND_NS // 16_000 <= heard_ns
        assert not sound[before + 160 :].any()
        fade = sound[before : before + 160].astype(int)
        assert (np.diff(fade) <= 0).all()
        assert fade[0] == 10_000
        audible_ns = await mouth.play(np.full(160, 5_000, np.int16), 16_000)
        assert await mouth.drained() == heard_ns + 10 * MS
        assert now_ns() >= audible_ns + 10 * MS


async def test_play_waits_for_room_and_gaps_do_not_count() -> None:
    card = Card(rate_hz=8_000)
    async with speaker.open_speaker(speaker.Options(), card) as mouth:
        started_ns = now_ns()
        await mouth.play(np.ones(35 * 8_000, np.int16), 8_000)
        assert 4.9 * SECOND_NS < now_ns() - started_ns < 5.2 * SECOND_NS
        assert await mouth.drained() == 35 * SECOND_NS
        await asyncio.sleep(2)
        assert mouth.played_ns == 35 * SECOND_NS


async def test_a_speaker_that_goes_says_so_and_comes_back() -> None:
    card, said = Card(rate_hz=16_000), list[str]()
    async with speaker.open_speaker(speaker.Options(silent_ms=200), card, said.append) as mouth:
        await mouth.play(np.ones(16_000, np.int16), 16_000)
        await asyncio.sleep(0.5)
        card.here = False
        card.streams[0].status = SimpleNamespace(output_underflow=True)
        await asyncio.sleep(0.1)
        card.streams[0].freeze()
        with pytest.raises(DeviceError, match="took nothing for 200 ms"):
            await mouth.drained()
        played_ns = mouth.played_ns
        assert 500 * MS < played_ns <= 900 * MS
        with pytest.raises(DeviceError):
            await mouth.play(np.ones(16, np.int16), 16_000)
        assert mouth.cut() == played_ns
        card.here = True
        await asyncio.sleep(10)
        assert said[-1] == "the speaker USB Audio is back"
        assert await mouth.play(np.ones(1_600, np.int16), 16_000) > now_ns()
        assert await mouth.drained() == played_ns + 100 * MS, "what was queued before is gone"
        assert mouth.xruns >= 10
        card.streams[-1].unplug()
        await asyncio.sleep(0.01)
        with pytest.raises(DeviceError, match="stopped"):
            await mouth.play(np.ones(16, np.int16), 16_000)


def test_a_device_is_chosen_by_name() -> None:
    names = ["HDA Intel: ALC (hw:0,0)", "Jabra Speak 510 USB: Audio (hw:1,0)", "default"]
    devices = [(n, {"name": name, "max_input_channels": 1, "max_output_channels": 2}) for n, name in enumerate(names)]
    assert find("jabra usb", "microphone", devices, 2)[0] == 1
    assert find("", "speaker", devices, 2)[0] == 2
    assert find("", "speaker", devices, -1)[0] == 0
    with pytest.raises(DeviceError, match=r"there is no speaker Bose: .*Jabra Speak"):
        find("Bose", "speaker", devices, 2)
    with pytest.raises(DeviceError, match=r"there is no microphone: .*none at all"):
        find("", "microphone", [], -1)


def test_options_refuse_nothing_silently() -> None:
    with pytest.raises(TypeError):
        microphone.Options(devise="x")  # type: ignore[call-arg]


def test_the_real_portaudio_says_in_one_sentence_that_the_device_is_not_there() -> None:
    script = (
        "import asyncio\n"
        "from edgeapp.devices.microphone import Options, open_microphone\n"
        "async def main():\n"
        "    async with open_microphone(Options(device='no such thing')): pass\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("edgeapp.core.events.DeviceError", "edgeapp.core.events.ConfigError"))
    assert "plug it in" in last or "apt-get install" in last, "no such device, or no PortAudio"


async def test_the_speaker_ducks_within_a_block_and_knows_what_sounds_when() -> None:
    card = Card(rate_hz=16_000)
    async with speaker.open_speaker(speaker.Options(block_ms=10), card) as mouth:
        audible_ns = await mouth.play(np.full(16_000, 10_000, np.int16), 16_000)
        await asyncio.sleep(0.205)
        mouth.duck(0.25)
        before = len(sounded(card))
        await asyncio.sleep(0.1)
        ramp = sounded(card)[before : before + 160].astype(int)
        assert ramp[0] == 10_000
        assert (np.diff(ramp) <= 0).all()
        assert set(sounded(card)[before + 160 :].tolist()) == {2_500}
        card_ns = before * SECOND_NS // 16_000 + LATENCY_NS
        assert mouth.sounding(card_ns - 10 * MS, 320).tolist() == [10_000] * 160 + ramp.tolist()
        assert mouth.sounding(audible_ns - 10 * MS, 160).tolist() == [0] * 160
        mouth.cut()
        await asyncio.sleep(0.1)
        await mouth.play(np.full(160, 10_000, np.int16), 16_000)
        await asyncio.sleep(0.1)
        assert sounded(card).max() == 10_000
        assert sounded(card)[-1_600:].max() == 10_000, "a cut restores full loudness"


@dataclass
class LoopedCard(Card):
    """Its microphone hears its loudspeaker 30 ms after it sounds, 10 dB softer."""

    def loop(self) -> None:
        spoken = next(stream for stream in self.streams if stream.request.side == "speaker")
        late = np.zeros(round(self.rate_hz * (30 * MS + 2 * LATENCY_NS) / SECOND_NS), np.int16)
        self.heard = (np.concatenate([late, *spoken.played]) * 0.316).astype(np.int16)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
async def test_microphone_and_loudspeaker_of_a_card_are_joined_on_one_clock(rate_hz: int) -> None:
    card, chunks = LoopedCard(rate_hz=rate_hz), list[AudioChunk]()
    async with (
        speaker.open_speaker(speaker.Options(block_ms=10), card) as mouth,
        microphone.open_microphone(microphone.Options(block_ms=10), card) as ear,
    ):

        async def keep_looping() -> None:
            while True:
                card.loop()
                await asyncio.sleep(0.01)

        async def listen_along(duplex: Duplex) -> None:
            async for chunk in duplex:
                chunks.append(chunk)

        looping = asyncio.create_task(keep_looping())
        duplex = Duplex(ear, mouth, Echo.CANCEL)
        found = await duplex.measure()
        assert found.delay_ns == pytest.approx(30 * MS, abs=2 * MS)
        assert found.db == pytest.approx(-10, abs=1)
        listening = asyncio.create_task(listen_along(duplex))
        await mouth.play((np.random.default_rng(0).standard_normal(32_000) * 3_000).astype(np.int16), 16_000)
        await asyncio.sleep(2)
        for task in (listening, looping):
            task.cancel()
        await asyncio.wait([listening, looping])
    left = np.concatenate([chunk.samples for chunk in chunks])[16_000:30_000].astype(float)
    assert 10 * np.log10(np.mean(left**2)) < 20 * np.log10(3_000) - 10 - 20
    assert duplex.dropped == 0
