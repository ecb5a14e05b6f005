"""Recordings as devices: exact on virtual time, and every odd file handled or refused in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, AudioChunk, ConfigError, DeviceError, TimestampKind
from edgeapp.devices.files import VirtualAudio, last_voiced, read_clip, video_frames

SECOND_NS = 1_000_000_000


def tone(samples: int, rate_hz: int = 16_000) -> NDArray[np.int16]:
    return (8_000 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate_hz)).astype(np.int16)


async def collect(heard: AsyncIterator[AudioChunk], into: list[AudioChunk]) -> None:
    into.extend([chunk async for chunk in heard])


async def test_the_microphone_keeps_real_time_and_hears_the_clip_sample_by_sample() -> None:
    audio, clip = VirtualAudio(block_samples=256), tone(1_000)
    chunks: list[AudioChunk] = []
    listening = asyncio.create_task(collect(audio.heard(), chunks))
    await asyncio.sleep(0.1)
    voiced_ns = await audio.say(clip, 900)
    assert now_ns() == voiced_ns
    await asyncio.sleep(0.1)
    audio.hang_up()
    await listening
    assert [each.ended_ns for each in chunks] == [(n + 1) * 16 * MS for n in range(len(chunks))]
    heard = np.concatenate([each.samples for each in chunks])
    start = voiced_ns * 16_000 // SECOND_NS - 900
    assert np.array_equal(heard[start : start + 1_000], clip)
    assert start % 256 == 0
    assert start >= 1_600
    assert 0 < np.abs(heard[:start]).max() <= 3, "silence is not digital"


async def test_clips_follow_each_other_and_the_last_voiced_sample_is_found() -> None:
    audio = VirtualAudio()
    listening = asyncio.create_task(collect(audio.heard(), []))
    clip = np.concatenate([tone(801), np.zeros(400, np.int16)])
    first_ns, second_ns = await asyncio.gather(audio.say(clip), audio.say(clip))
    assert last_voiced(clip) in (800, 801)
    assert second_ns - first_ns == len(clip) * SECOND_NS // 16_000
    audio.hang_up()
    await listening
    with pytest.raises(DeviceError, match="hung up"):
        await audio.say(clip)


async def test_the_speaker_says_when_sound_is_audible_and_how_much_was_heard() -> None:
    speaker = VirtualAudio(latency_ms=20).speaker
    assert await speaker.play(tone(22_050), 22_050) == 20 * MS
    assert await speaker.play(tone(16_000), 16_000) == 1_020 * MS, "one after the other, whatever their rates"
    await asyncio.sleep(0.52)
    assert speaker.played_ns == 500 * MS
    assert await speaker.drained() == 2 * SECOND_NS
    assert now_ns() == 2_020 * MS
    await asyncio.sleep(1)
    assert await speaker.play(tone(160), 16_000) == 3_040 * MS
    assert speaker.played_ns == 2 * SECOND_NS, "gaps do not count"


async def test_cut_ends_within_a_block_and_tells_what_was_heard() -> None:
    speaker = VirtualAudio(block_samples=160, latency_ms=20).speaker
    await speaker.play(tone(16_000), 16_000)
    await speaker.play(tone(16_000), 16_000)
    await asyncio.sleep(0.5)
    waiting = asyncio.create_task(speaker.drained())
    await asyncio.sleep(0)
    assert speaker.cut() == 490 * MS
    assert speaker.cut() == 490 * MS
    assert await waiting == 490 * MS
    await asyncio.sleep(1)
    assert speaker.played_ns == 490 * MS


async def test_play_waits_for_room() -> None:
    speaker = VirtualAudio().speaker
    await speaker.play(tone(31 * 16_000), 16_000)
    assert now_ns() == 0
    await speaker.play(tone(160), 16_000)
    assert now_ns() == 1_020 * MS


async def test_both_sides_are_saved_on_one_clock(tmp_path: Path) -> None:
    audio = VirtualAudio(block_samples=160, latency_ms=20)
    listening = asyncio.create_task(collect(audio.heard(), []))
    clip = tone(1_600)
    voiced_ns = await audio.say(clip, 1_600)
    await audio.speaker.play(clip[:800], 16_000)
    audible_ns = voiced_ns + 20 * MS
    await audio.speaker.play(clip[800:], 16_000)
    await audio.speaker.play(tone(441 * 5, 22_050), 22_050)
    await audio.speaker.drained()
    audio.hang_up()
    await listening
    audio.save(tmp_path / "both.wav")
    both, rate_hz = soundfile.read(tmp_path / "both.wav", dtype="int16")
    assert rate_hz == 16_000
    said, answered = voiced_ns * 16_000 // SECOND_NS - 1_600, audible_ns * 16_000 // SECOND_NS
    assert np.array_equal(both[said : said + 1_600, 0], clip)
    assert np.array_equal(both[answered : answered + 1_600, 1], clip)
    assert not both[:answered, 1].any()
    assert both[answered + 1_600 :, 1].any()


def write(path: Path, rate_hz: int, channels: int, subtype: str) -> NDArray[np.int16]:
    one = tone(rate_hz // 2, rate_hz)
    soundfile.write(path, np.stack([one / 32_768] * channels, axis=1), rate_hz, subtype=subtype)
    return tone(8_000)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "subtype", "suffix"),
    [
        (8_000, 1, "PCM_16", "wav"),
        (11_025, 2, "PCM_U8", "wav"),
        (44_100, 2, "PCM_24", "wav"),
        (48_000, 6, "PCM_32", "wav"),
        (22_050, 1, "FLOAT", "wav"),
        (96_000, 1, "DOUBLE", "wav"),
        (16_000, 1, "PCM_16", "wav"),
        (44_100, 2, "PCM_24", "flac"),
        (12_345, 3, "PCM_16", "flac"),
    ],
)
def test_any_rate_width_and_channel_count_is_read(
    rate_hz: int, channels: int, subtype: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"clip.{suffix}"
    expected = write(path, rate_hz, channels, subtype)
    clip = read_clip(path)
    assert clip.dtype == np.int16
    assert abs(len(clip) - 8_000) <= 2
    middle = slice(1_000, 7_000)
    assert np.abs(clip[middle].astype(int) - expected[middle]).max() < 400, "8 bits are steps of 256"


def test_a_sound_file_that_was_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        whole = tmp_path / f"whole.{suffix}"
        noise = np.random.default_rng(0).integers(-9_000, 9_000, 48_000).astype(np.int16)
        soundfile.write(whole, noise, 16_000)
        short = tmp_path / f"short.{suffix}"
        short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        clip = read_clip(short)
        assert 10_000 < len(clip) < 30_000
        assert np.array_equal(clip[:10_000], noise[:10_000])


def test_what_is_not_a_sound_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text, nothing, silent = tmp_path / "text.wav", tmp_path / "nothing.wav", tmp_path / "silent.wav"
    text.write_text("this is not audio")
    nothing.write_bytes(b"")
    soundfile.write(silent, np.empty(0, np.int16), 16_000)
    for path, says in (
        (text, "not a sound file"),
        (nothing, "not a sound file"),
        (silent, "holds no sound"),
        (tmp_path / "gone.wav", "there is no"),
        (tmp_path, "there is no"),
    ):
        with pytest.raises(ConfigError, match=says):
            read_clip(path)


def write_video(path: Path, frames: int = 20) -> None:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for number in range(frames):
        video.write(np.full((48, 64, 3), number % 25 * 10, np.uint8))
    video.release()


async def test_a_video_keeps_its_own_pace(tmp_path: Path) -> None:
    write_video(tmp_path / "video.avi")
    frames = [(frame, now_ns()) async for frame in video_frames(tmp_path / "video.avi", source="belt")]
    assert [frame.number for frame, _ in frames] == list(range(1, 21))
    assert [frame.at_ns for frame, _ in frames] == [n * 50 * MS for n in range(20)]
    assert [frame.at_ns for frame, _ in frames] == [at_ns for _, at_ns in frames]
    assert all(abs(int(frame.pixels[5, 5, 0]) - 10 * (frame.number - 1)) < 6 for frame, _ in frames)
    assert frames[0][0].source == "belt"
    assert frames[0][0].timestamp_kind is TimestampKind.FILE


async def test_a_late_reader_gets_the_newest_frame_and_sees_the_gap(tmp_path: Path) -> None:
    write_video(tmp_path / "video.avi")
    numbers = []
    async for frame in video_frames(tmp_path / "video.avi", newest=True):
        numbers.append(frame.number)
        await asyncio.sleep(0.12)
    assert numbers == sorted(set(numbers))
    assert max(np.diff(numbers)) > 1


async def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.full((48, 64, 3), 77, np.uint8))
    frames = [frame async for frame in video_frames(tmp_path / "one.png")]
    assert [frame.number for frame in frames] == [1]
    assert (frames[0].pixels == 77).all()


async def test_a_video_that_does_not_decode_is_refused(tmp_path: Path) -> None:
    whole, short = tmp_path / "video.avi", tmp_path / "short.avi"
    write_video(whole, 200)
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DeviceError, match="breaks off after frame"):
        [frame async for frame in video_frames(short)]
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    picture = tmp_path / "broken.jpg"
    picture.write_bytes(b"\xff\xd8\xff\xe0 broken")
    for path in (text, tmp_path / "gone.mp4", picture):
        with pytest.raises((ConfigError, DeviceError)) as refused:
            [frame async for frame in video_frames(path)]
        assert str(path) in str(refused.value)


async def test_ducked_sound_is_recorded_as_it_was_heard_and_a_cut_restores_full_loudness() -> None:
    speaker = VirtualAudio(block_samples=160, latency_ms=20).speaker
    await speaker.play(np.full(16_000, 10_000, np.int16), 16_000)
    await asyncio.sleep(0.2)
    speaker.duck(0.5)
    await asyncio.sleep(0.005)
    speaker.duck(0.25)  # while the first change is under way
    await asyncio.sleep(0.2)
    assert speaker.sounding(199 * MS, 1).tolist() == [10_000]
    assert speaker.sounding(205 * MS, 1).tolist() == [7_500], "half way to a half"
    assert speaker.sounding(215 * MS, 2).tolist() == [2_500, 2_500]
    heard_ns = speaker.cut()
    await asyncio.sleep(0.1)
    recorded = np.concatenate([each.samples for each in speaker.recorded()])
    assert len(recorded) * SECOND_NS // 16_000 == heard_ns, "ducked sound counts as played"
    assert recorded[-1] == 2_500
    assert await speaker.play(np.full(160, 10_000, np.int16), 16_000) == now_ns() + 20 * MS
    assert speaker.sounding(now_ns() + 20 * MS, 160).tolist() == [10_000] * 160


async def test_what_sounds_is_at_16_khz_and_parts_without_a_gap_are_one_sound() -> None:
    speaker, sound = VirtualAudio(latency_ms=20).speaker, tone(22_050, 22_050)
    for first in range(0, len(sound), 441):
        await speaker.play(sound[first : first + 441], 22_050)
    assert not speaker.sounding(0, 320).any()
    heard = speaker.sounding(20 * MS, 15_000)
    assert np.abs(heard[100:].astype(int) - tone(15_000)[100:]).max() <= 60
