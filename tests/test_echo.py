"""Echo: the real canceller in simulated rooms on virtual time, the delay by a chirp, the levels of a microphone."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp.bench.echo import Case, hold
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.devices.echo import Canceller, Coupling, Duplex, Echo, coupling_of
from edgeapp.devices.echo_share import EchoShare
from edgeapp.devices.files import VirtualAudio, read_clip
from edgeapp.devices.level import Level
from edgeapp.devices.room import Air, Room, impulse_response
from edgeapp.devices.timeline import Timeline, steady
from edgeapp.engines import vad_silero

Samples = NDArray[np.int16]
SAMPLE_NS = 62_500
QUESTION = Path(__file__).parent.parent / "edgeapp" / "assets" / "questions" / "02_where_is_the_hammer.flac"


def noise(seconds: float, level: float = 2_000, seed: int = 0) -> Samples:
    sound = np.random.default_rng(seed).standard_normal(round(seconds * 16_000)) * level
    return np.clip(sound, -32768, 32767).astype(np.int16)


def db(samples: NDArray[np.generic]) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-9))


async def collect(duplex: Duplex, into: list[AudioChunk]) -> None:
    async for chunk in duplex:
        into.append(chunk)
        assert now_ns() - chunk.ended_ns <= 40 * MS


def joined(chunks: list[AudioChunk]) -> tuple[Samples, int]:
    """All samples, and when the first of them began; checks that none is missing and none comes twice."""
    for before, after in pairwise(chunks):
        assert after.ended_ns - len(after.samples) * SAMPLE_NS == before.ended_ns
    return np.concatenate([each.samples for each in chunks]), chunks[0].ended_ns - len(chunks[0].samples) * SAMPLE_NS


def test_a_row_of_samples_goes_on_through_jitter_slides_through_drift_and_jumps_over_a_gap() -> None:
    assert [steady(100, wanted) for wanted in (98, 100, 102)] == [100, 100, 100]
    assert [steady(100, wanted) for wanted in (97, 110, 180)] == [99, 101, 101]
    assert [steady(100, wanted) for wanted in (19, 181)] == [19, 181]


def test_the_time_line_gives_what_sounds_at_an_instant_and_silence_elsewhere() -> None:
    line = Timeline(0.1)
    line.put(np.arange(1, 161, dtype=np.int16), 20 * MS)
    line.put(np.arange(161, 321, dtype=np.int16), 30 * MS + 100_000)  # 100 us of jitter
    assert line.read(19 * MS, 18).tolist() == [0] * 16 + [1, 2]
    assert line.read(30 * MS, 160).tolist() == list(range(161, 321))
    assert line.read(40 * MS, 3).tolist() == [0, 0, 0]
    line.silence_from(35 * MS)
    assert line.read(35 * MS - SAMPLE_NS, 3).tolist() == [240, 0, 0]
    line.put(np.full(160, 7, np.int16), 125 * MS)
    assert line.read(30 * MS, 1).tolist() == [0], "forgotten: the bound is 100 ms"
    assert line.read(124 * MS, 18).tolist() == [0] * 16 + [7, 7]


def test_a_room_gives_back_its_coupling_and_the_same_sound_in_any_pieces() -> None:
    room = Room(coupling_db=-10, delay_ms=3, drive=0, noise=0, seed=3)
    response = impulse_response(room)
    assert 10 * np.log10(np.sum(response**2)) == pytest.approx(-10)
    assert 48 + 14 <= np.argmax(np.abs(response)) <= 48 + 15, "3 ms, and 0.3 m through the air"
    sound, air, heard, at = noise(0.5), Air(room), [], 0
    for size in [1, 700, 512, 160, 2_000, 37] * 2 + [8_000]:
        heard.append(air(sound[at : at + size]))
        at += size
    assert np.allclose(np.concatenate(heard), np.convolve(sound, response)[: len(sound)], atol=1e-6)


def test_a_room_is_the_same_for_a_seed_and_its_loudspeaker_clips_softly() -> None:
    loud = noise(0.1, 12_000)
    assert np.array_equal(Air(Room(seed=1))(loud), Air(Room(seed=1))(loud))
    assert not np.array_equal(Air(Room(seed=1))(loud), Air(Room(seed=2))(loud))
    assert db(Air(Room(drive=2, noise=0))(loud)) < db(Air(Room(drive=0, noise=0))(loud)) - 1


async def test_the_virtual_microphone_hears_the_loudspeaker_through_the_room_ducked_and_cut() -> None:
    audio = VirtualAudio(block_samples=160, latency_ms=20, room=Room(coupling_db=-10, drive=0, noise=0))
    chunks: list[AudioChunk] = []
    listening = asyncio.create_task(collect(Duplex(audio.heard(), audio.speaker, Echo.NONE), chunks))
    assert await audio.speaker.play(noise(3), 16_000) == 20 * MS
    await asyncio.sleep(1)
    audio.speaker.duck(0.25)
    await asyncio.sleep(1)
    audio.speaker.cut()
    await asyncio.sleep(0.5)
    assert audio.speaker.sounding(500 * MS, 160).tolist() == noise(3)[480 * 16 : 480 * 16 + 160].tolist()
    audio.hang_up()
    await listening
    heard, began_ns = joined(chunks)
    assert began_ns == 0
    full, ducked, after = db(heard[8_000:15_000]), db(heard[24_000:31_000]), db(heard[38_000:])
    assert full == pytest.approx(db(noise(3)) - 10, abs=1)
    assert ducked == pytest.approx(full - 12, abs=0.5)
    assert after < full - 30


async def test_a_turn_that_begins_in_silence_passes_the_canceller_untouched_and_at_once() -> None:
    audio, chunks = VirtualAudio(block_samples=160), list[AudioChunk]()
    listening = asyncio.create_task(collect(Duplex(audio.heard(), audio.speaker, Echo.CANCEL), chunks))
    await asyncio.sleep(0.1)
    clip = noise(0.5)
    ended_ns = await audio.say(clip, len(clip))
    await asyncio.sleep(0.02)
    audio.hang_up()
    await listening
    heard, began_ns = joined(chunks)
    first = (ended_ns - began_ns) // SAMPLE_NS - len(clip)
    assert np.abs(heard[first : first + len(clip)].astype(int) - clip).max() <= 150, "but for a drifting offset"
    assert all(len(each.samples) == 160 and each.echo_share == 0 for each in chunks)


@pytest.mark.parametrize("block", [160, 256])
async def test_what_the_canceller_holds_back_is_taken_off_the_instants(block: int) -> None:
    audio, chunks = VirtualAudio(block_samples=block), list[AudioChunk]()
    listening = asyncio.create_task(collect(Duplex(audio.heard(), audio.speaker, Echo.CANCEL), chunks))
    playing = asyncio.create_task(audio.speaker.play(noise(1, 3), 16_000))  # so soft that nothing comes back
    await asyncio.sleep(0.3)
    began_ns = await audio.say(noise(0.4), 0)
    await asyncio.sleep(1.5)
    last_ns = await audio.say(noise(0.1), 0)  # past the canceller again
    await asyncio.sleep(0.2)
    audio.hang_up()
    await asyncio.gather(listening, playing)
    heard, at_ns = joined(chunks)
    for start_ns, count in ((began_ns, 6_400), (last_ns, 1_600)):
        first = (start_ns - at_ns) // SAMPLE_NS
        likeness = np.correlate(heard[first - 50 : first + count + 50].astype(float), noise(count / 16_000), "valid")
        assert abs(int(np.argmax(likeness)) - 50) <= 1


async def test_over_our_voice_a_person_is_heard_and_our_voice_is_not() -> None:
    audio = VirtualAudio(block_samples=160, room=Room(coupling_db=-10, delay_ms=60))
    duplex, chunks = Duplex(audio.heard(), audio.speaker, Echo.CANCEL), list[AudioChunk]()
    assert (await duplex.measure()).delay_ns == pytest.approx(61 * MS, abs=MS)
    listening = asyncio.create_task(collect(duplex, chunks))
    before_ns = now_ns()
    playing = asyncio.create_task(audio.speaker.play(noise(4, 1_500), 16_000))
    await asyncio.sleep(3)
    began_ns = await audio.say(read_clip(QUESTION), 4_800)
    await asyncio.sleep(1.5)
    audio.hang_up()
    await asyncio.gather(listening, playing)
    heard, at_ns = joined(chunks)
    alone = heard[(before_ns + 1_500 * MS - at_ns) // SAMPLE_NS : (began_ns - 300 * MS - at_ns) // SAMPLE_NS]
    person = heard[(began_ns - at_ns) // SAMPLE_NS :][:8_000]
    assert db(alone) < db(noise(1, 1_500)) - 10 - 15, "still learning"
    assert db(person) > db(alone) + 15


async def test_half_duplex_hears_nothing_while_we_speak_and_all_after() -> None:
    audio, chunks = VirtualAudio(block_samples=160, room=Room()), list[AudioChunk]()
    listening = asyncio.create_task(collect(Duplex(audio.heard(), audio.speaker, Echo.HALF_DUPLEX), chunks))
    await audio.speaker.play(noise(1), 16_000)
    await audio.say(noise(0.5, seed=1), 8_000)
    await asyncio.sleep(1.5)
    last_ns = await audio.say(noise(0.5, seed=1), 8_000)
    audio.hang_up()
    await listening
    speaking = [each for each in chunks if 30 * MS < each.ended_ns < 1_600 * MS]
    assert all(each.echo_share == 1 and not each.samples.any() for each in speaking)
    after = [each for each in chunks if last_ns - 450 * MS < each.ended_ns < last_ns]
    assert all(each.echo_share == 0 and each.samples.any() for each in after)


@pytest.mark.parametrize(
    ("room", "safe", "words"),
    [
        (Room(coupling_db=-10, delay_ms=20), True, "at -11 dB after 21 ms: people may speak over it"),
        (Room(coupling_db=-20, delay_ms=200, noise=30), True, "at -21 dB after 201 ms: people"),
        (Room(coupling_db=3), False, "too strong to speak over it: lower the loudspeaker"),
        (Room(coupling_db=20), False, "makes the microphone clip"),
        (None, True, "does not hear the loudspeaker: with a headset set audio.echo = 'none'"),
    ],
)
async def test_a_chirp_at_boot_tells_delay_and_coupling_in_a_sentence(
    room: Room | None, safe: bool, words: str
) -> None:
    audio = VirtualAudio(block_samples=160, room=room)
    found = await Duplex(audio.heard(), audio.speaker, Echo.NONE).measure()
    assert words in found.says
    assert found.safe is safe
    assert now_ns() < 2_000 * MS


def test_a_chirp_that_drowns_in_noise_is_not_found() -> None:
    for seed in range(20):
        assert coupling_of(noise(1, 3_000, seed), noise(1, 3_000, seed + 100)) == Coupling(heard=False)
    assert coupling_of(np.zeros(100, np.int16), np.zeros(100, np.int16)) == Coupling(heard=False)


def test_without_the_package_the_operator_reads_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc.apm", None)
    with pytest.raises(ConfigError, match=r"pip install 'edgeapp\[voice\]', or set audio.echo to 'half-duplex'"):
        Canceller()


def test_what_is_left_is_ours_until_somebody_adds_to_it() -> None:
    share, air = EchoShare(-10), Air(Room(coupling_db=-10, noise=2))
    played = noise(6) * (np.arange(6 * 16_000) % 8_000 < 5_600).astype(np.int16)  # with pauses, as speech has
    heard = air(played)
    left, person = heard * 0.05, noise(6, 300, seed=1)
    shares = []
    for at in range(0, len(played), 160):
        piece = slice(at, at + 160)
        added = person[piece] * (at >= 5 * 16_000)
        shares.append(
            share(played[piece], (heard[piece] + added).astype(np.int16), (left[piece] + added).astype(np.int16))
        )
    assert np.quantile(shares[100:499], 0.05) > 0.5
    assert max(shares[502:530]) < 0.5
    assert all(0 <= each <= 1 for each in shares)


def test_silence_has_no_share_and_no_number_is_ever_missing() -> None:
    share, nothing = EchoShare(-10), np.zeros(160, np.int16)
    full = np.full(160, 32_767, np.int16)
    for played, heard, left in ((nothing, nothing, nothing), (full, nothing, nothing), (nothing, full, full)) * 5:
        assert 0 <= share(played, heard, left) <= 1


def test_an_offset_is_taken_off_and_a_good_microphone_is_not_spoken_of() -> None:
    said: list[str] = []
    level = Level(said.append)
    clip = read_clip(QUESTION)
    shifted = np.clip(clip.astype(int) + 9_000, -32768, 32767).astype(np.int16)
    mended = np.concatenate([level(shifted[at : at + 160], own_voice=False) for at in range(0, len(clip), 160)])
    assert abs(mended[len(mended) // 2 :].mean()) < 30
    assert np.corrcoef(mended, clip)[0, 1] > 0.99
    for _ in range(20):
        level(clip, own_voice=False)
    assert said == []


def test_a_clipping_microphone_is_said_once() -> None:
    said: list[str] = []
    level = Level(said.append)
    clip = np.clip(read_clip(QUESTION).astype(int) * 20, -32768, 32767).astype(np.int16)
    for _ in range(20):
        level(clip, own_voice=False)
    assert said == ["the microphone clips: lower its gain"]


def test_a_very_quiet_microphone_is_said_once_and_a_silent_room_never() -> None:
    said: list[str] = []
    level = Level(said.append)
    for second in range(600):
        level(noise(1, 2, seed=second), own_voice=False)
    assert said == []
    quiet = (read_clip(QUESTION) / 128 + noise(2, 0.7)[: len(read_clip(QUESTION))]).astype(np.int16)
    for _ in range(30):
        level(quiet, own_voice=False)
    assert said == ["the microphone is very quiet: raise its gain, or bring it nearer"]


@pytest.mark.parametrize(
    ("what", "gain", "offset"),
    [("clipped", 30.0, 0), ("very quiet", 0.01, 0), ("shifted", 1.0, 12_000), ("as recorded", 1.0, 0)],
)
async def test_speech_is_found_on_a_bad_microphone(what: str, gain: float, offset: int) -> None:
    level, clip = Level(lambda _: None), read_clip(QUESTION)
    bad = np.clip(np.rint(np.concatenate([np.zeros(16_000), clip]) * gain + offset), -32768, 32767).astype(np.int16)
    async with vad_silero.load(vad_silero.Options(), Lane("vad")) as vad:
        found = [await vad(level(bad[at : at + 512], own_voice=False)) >= 0.5 for at in range(0, len(bad) - 511, 512)]
    assert sum(found[41:70]) >= 24, what
    assert not any(found[8:38]), "and none before"


def test_in_a_room_our_voice_does_not_interrupt_itself_and_without_the_canceller_it_would() -> None:
    room = Room(coupling_db=-10, delay_ms=30)
    assert hold(Case(room, 2.0)).stops == 0
    assert hold(Case(room, 2.0, echo=Echo.NONE)).stops > 3


def test_people_stop_our_voice_and_most_coughs_do_not() -> None:
    room = Room(coupling_db=-15, delay_ms=30)
    took_ms = hold(Case(room, 0.0, "people", sounds=3)).took_ms
    assert all(took is not None and took <= 300 for took in took_ms)
    assert hold(Case(room, 0.0, "coughs", sounds=5)).stops <= 2  # one in five; processors differ in the last bits
