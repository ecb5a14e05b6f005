"""Recordings as devices: a virtual microphone and loudspeaker on one clock, and videos at their own pace.

For demos, measurements and machines without a sound card. The truth about every clip is known (where its last voiced
sample is), both sides are recorded on one time line, and everything waits on the loop's clock only, so it runs on virtual
time too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, CameraFrame, ConfigError, DeviceError, TimestampKind
from edgeapp.devices.resample import Resampler
from edgeapp.devices.room import Air, Room
from edgeapp.devices.timeline import Timeline

Samples = NDArray[np.int16]

_SECOND_NS: Final = 1_000_000_000
_ROOM_NS: Final = 30 * _SECOND_NS  # sound that may wait to be played
_RECORD_NS: Final = 1_800 * _SECOND_NS  # what is kept for `save`: half an hour, 115 MB at most
_BEHIND_S: Final = 2  # of what has sounded stays readable: far above any echo's delay
_DUCKS_MAX: Final = 64  # changes of loudness that are remembered: several a second for as long as sound stays readable
_VOICED: Final = 200  # -44 dBFS, as in voice/speaker.py
_MAX_CLIP_S: Final = 3_600  # an hour at 16 kHz is 115 MB


def read_clip(path: Path) -> Samples:
    """Read a sound file of any rate, width and channel count -> mono int16 at 16 kHz, shape (n,).

    Channels are averaged. A file that was cut short gives what is there. Raises ConfigError for anything that is not
    sound, is empty, or lasts longer than an hour.
    """
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"sound files need the packages soundfile and soxr: pip install 'edgeapp[voice]' ({error})"
        ) from error
    if not path.is_file():
        raise ConfigError(f"there is no sound file {path}")
    pieces: list[NDArray[np.float32]] = []
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz = file.samplerate
            if file.frames > _MAX_CLIP_S * rate_hz:
                raise ConfigError(f"{path} lasts longer than an hour: cut it into pieces")
            try:
                while len(piece := file.read(rate_hz, dtype="float32", always_2d=True)):
                    pieces.append(piece.mean(axis=1))
            except soundfile.LibsndfileError:
                if not pieces:
                    raise
    except (soundfile.LibsndfileError, TypeError) as error:
        raise ConfigError(f"{path} is not a sound file that can be read ({error}): use WAV or FLAC") from error
    mono = np.nan_to_num(np.concatenate(pieces)) if pieces else np.empty(0, np.float32)
    if not len(mono):
        raise ConfigError(f"{path} holds no sound: record it again")
    if rate_hz != SAMPLE_RATE_HZ:
        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ)
    return np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)


def last_voiced(samples: Samples) -> int:
    """Return the index after the last sample a person can hear; 0 if there is none."""
    heard = np.flatnonzero((samples > _VOICED) | (samples < -_VOICED))
    return int(heard[-1]) + 1 if len(heard) else 0


@dataclass(frozen=True, slots=True)
class _Sound:
    """Samples that start at an instant."""

    start_ns: int
    rate_hz: int
    samples: Samples

    @property
    def end_ns(self) -> int:
        return self.start_ns + len(self.samples) * _SECOND_NS // self.rate_hz


class VirtualSpeaker:
    """The loudspeaker half; has the methods of `devices/speaker.py`. Lives on one loop."""

    def __init__(self, *, block_ns: int, latency_ns: int) -> None:
        self._block_ns = block_ns
        self.latency_ns = latency_ns
        """How long a sample waits before it is audible, like a sound card's buffers."""
        self._queue: deque[_Sound] = deque()  # bounded by _ROOM_NS of sound
        self._recorded: list[_Sound] = []  # bounded by _RECORD_NS of sound
        self._recorded_ns = 0
        self._played_ns = 0
        self._free_ns = 0  # when everything queued will have been heard
        self._cut = asyncio.Event()
        self._timeline = Timeline(_ROOM_NS / _SECOND_NS + _BEHIND_S)
        self._resample, self._run = Resampler(1, 1), (0, 0)  # the rate and the end of the run that it is in
        self._gains: deque[tuple[int, float]] = deque([(0, 1.0)], maxlen=_DUCKS_MAX)  # at instants, linear between

    @property
    def played_ns(self) -> int:
        """The sound that has been audible so far."""
        now = now_ns()
        while self._queue and self._queue[0].end_ns <= now:
            self._finish(self._queue.popleft())
        current = max(0, now - self._queue[0].start_ns) if self._queue else 0
        return self._played_ns + current

    async def play(self, samples: Samples, sample_rate_hz: int) -> int:
        """Queue mono samples and return when the first of them becomes audible; waits while 30 s are queued."""
        while self._free_ns - now_ns() > _ROOM_NS:
            await self._until_cut(self._free_ns - _ROOM_NS)
        sound = _Sound(max(now_ns() + self.latency_ns, self._free_ns), sample_rate_hz, np.array(samples, np.int16))
        if len(samples):
            self._queue.append(sound)
            self._free_ns = sound.end_ns
            self._put(sound)
        return sound.start_ns

    def cut(self) -> int:
        """Fall silent within one block and drop what is queued; returns what `played_ns` will stay at."""
        played_ns, silent_ns = self.played_ns, now_ns() + self._block_ns
        for sound in self._queue:
            count = min(len(sound.samples), max(0, silent_ns - sound.start_ns) * sound.rate_hz // _SECOND_NS)
            if count:
                self._finish(_Sound(sound.start_ns, sound.rate_hz, sound.samples[:count]))
        self._queue.clear()
        self._free_ns = min(self._free_ns, silent_ns)
        self._timeline.silence_from(silent_ns)
        self._run = (0, 0)
        self._gains += [(silent_ns, self._gains[-1][1]), (silent_ns, 1.0)]
        self._cut.set()
        self._cut = asyncio.Event()
        return max(played_ns, self._played_ns)

    def duck(self, gain: float) -> None:
        """Play at this share of the loudness, reached within one block; 1.0 is normal. `cut` restores it."""
        now = now_ns()
        present = float(self._gain_at(np.array([now]))[0])
        while self._gains and self._gains[-1][0] >= now:  # a change that was still under way
            self._gains.pop()
        self._gains += [(now, present), (now + self._block_ns, gain)]

    def sounding(self, from_ns: int, count: int) -> Samples:
        """What is audible from an instant on, at 16 kHz, shape (count,): the last two seconds and what is queued."""
        samples = self._timeline.read(from_ns, count)
        return self._louder(samples, from_ns, SAMPLE_RATE_HZ) if samples.any() else samples

    async def drained(self) -> int:
        """Return `played_ns` when everything queued has been heard."""
        while self._free_ns > now_ns():
            await self._until_cut(self._free_ns)
        return self.played_ns

    def recorded(self) -> list[_Sound]:
        """What has been heard so far, in order."""
        _ = self.played_ns
        return list(self._recorded)

    def _put(self, sound: _Sound) -> None:
        """Onto the time line at 16 kHz; sounds without a gap between them are resampled as one."""
        rate_hz, end_ns = self._run
        if rate_hz != sound.rate_hz or abs(sound.start_ns - end_ns) > _SECOND_NS // sound.rate_hz:
            self._resample = Resampler(sound.rate_hz, SAMPLE_RATE_HZ)
        self._run = (sound.rate_hz, sound.end_ns)
        made = self._resample(sound.samples)
        took_ns = self._resample.delay_ns + len(made) * _SECOND_NS // SAMPLE_RATE_HZ
        self._timeline.put(made, sound.end_ns - took_ns)

    def _gain_at(self, at_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        instants, gains = zip(*self._gains, strict=True)
        found: NDArray[np.float64] = np.interp(at_ns, instants, gains)
        return found

    def _louder(self, samples: Samples, start_ns: int, rate_hz: int) -> Samples:
        gains = self._gain_at(start_ns + np.arange(len(samples)) * _SECOND_NS // rate_hz)
        return samples if (gains == 1.0).all() else np.rint(samples * gains).astype(np.int16)

    def _finish(self, sound: _Sound) -> None:
        took_ns = sound.end_ns - sound.start_ns
        self._played_ns += took_ns
        if self._recorded_ns + took_ns <= _RECORD_NS:
            self._recorded_ns += took_ns
            samples = self._louder(sound.samples, sound.start_ns, sound.rate_hz)
            self._recorded.append(_Sound(sound.start_ns, sound.rate_hz, samples))

    async def _until_cut(self, at_ns: int) -> None:
        try:
            async with asyncio.timeout_at(at_ns / 1e9):
                await self._cut.wait()
        except TimeoutError:
            return


class VirtualAudio:
    """A microphone that hears clips on command, and a loudspeaker, on one clock. Make it inside a running loop.

    With a `room` the microphone also hears the loudspeaker through it; without one it hears the clips alone.
    """

    dropped = 0
    """Blocks that were lost: never one."""

    def __init__(self, *, block_samples: int = 256, latency_ms: float = 20.0, room: Room | None = None) -> None:
        """`block_samples` at 16 kHz is how much the microphone gives at once; `latency_ms` the loudspeaker's buffers."""
        self._block = block_samples
        self._air = Air(room) if room else None
        self._start_ns = now_ns()
        self._said: list[_Sound] = []  # bounded by _RECORD_NS of sound
        self._said_ns = 0
        self._pending: deque[tuple[int, Samples]] = deque()  # clips and where they start, in samples
        self._captured = 0
        self._hung_up = False
        # A real microphone is never digitally silent, and a recogniser must not be tested on silence that is.
        self._noise = np.random.default_rng(0).integers(-3, 4, SAMPLE_RATE_HZ, np.int16)
        self.speaker = VirtualSpeaker(
            block_ns=self._at(block_samples) - self._start_ns, latency_ns=round(latency_ms * MS)
        )

    def _at(self, sample: int) -> int:
        """Return when a sample (by its index, from 0) begins to be captured."""
        return self._start_ns + sample * _SECOND_NS // SAMPLE_RATE_HZ

    async def heard(self) -> AsyncIterator[AudioChunk]:
        """Give what the microphone captures, block by block at real-time pace, until `hang_up`. One reader."""
        while not self._hung_up:
            first, self._captured = self._captured, self._captured + self._block
            ended_ns = self._at(self._captured)
            await sleep_until(ended_ns)
            yield AudioChunk(self._block_at(first), ended_ns)

    def _block_at(self, first: int) -> Samples:
        block = np.take(self._noise, range(first, first + self._block), mode="wrap")
        for start, samples in self._pending:
            begin, end = max(first, start), min(first + self._block, start + len(samples))
            if begin < end:
                block[begin - first : end - first] = samples[begin - start : end - start]
        while self._pending and self._pending[0][0] + len(self._pending[0][1]) <= first + self._block:
            self._pending.popleft()
        if self._air is None:
            return block
        heard = block + self._air(self.speaker.sounding(self._at(first), self._block))
        return np.clip(np.rint(heard), -32768, 32767).astype(np.int16)

    async def say(self, samples: Samples, voiced: int | None = None) -> int:
        """Let the microphone hear mono samples at 16 kHz from the next block on, after what is being said already.

        Returns, when it has passed, the instant the last voiced sample was captured: that of `voiced`, the index after
        it, which is found by loudness if it is not given. Raises DeviceError after `hang_up`.
        """
        if self._hung_up:
            raise DeviceError("the virtual microphone was hung up: open another one")
        last = self._pending[-1] if self._pending else None
        start = max(self._captured, last[0] + len(last[1]) if last else 0)
        self._pending.append((start, samples))
        sound = _Sound(self._at(start), SAMPLE_RATE_HZ, samples)
        if self._said_ns + len(samples) * _SECOND_NS // SAMPLE_RATE_HZ <= _RECORD_NS:
            self._said_ns += sound.end_ns - sound.start_ns
            self._said.append(sound)
        voiced_ns = self._at(start + (last_voiced(samples) if voiced is None else voiced))
        await sleep_until(voiced_ns)
        return voiced_ns

    def hang_up(self) -> None:
        """End `heard` after the block under way. Idempotent."""
        self._hung_up = True

    def save(self, path: Path) -> None:
        """Write both sides so far as a stereo WAV at 16 kHz: the person left, the device right.

        What was played at another rate is resampled here, each uninterrupted run as one piece.
        """
        import soundfile

        left, right = self._said, [_at_our_rate(run) for run in _runs(self.speaker.recorded())]
        end_ns = max((sound.end_ns for sound in [*left, *right]), default=self._start_ns)
        both = np.zeros(((end_ns - self._start_ns) * SAMPLE_RATE_HZ // _SECOND_NS + 1, 2), np.int16)
        for side, sounds in enumerate((left, right)):
            for sound in sounds:
                first = round((sound.start_ns - self._start_ns) * SAMPLE_RATE_HZ / _SECOND_NS)
                room = both[first : first + len(sound.samples), side]
                room[:] = sound.samples[: len(room)]
        soundfile.write(path, both, SAMPLE_RATE_HZ, subtype="PCM_16")


def _runs(sounds: list[_Sound]) -> list[_Sound]:
    """Join sounds that follow each other without a gap at the same rate."""
    runs: list[tuple[_Sound, list[Samples]]] = []
    end_ns = 0
    for sound in sounds:
        if (
            runs
            and sound.rate_hz == runs[-1][0].rate_hz
            and abs(sound.start_ns - end_ns) <= _SECOND_NS // sound.rate_hz
        ):
            runs[-1][1].append(sound.samples)
        else:
            runs.append((sound, [sound.samples]))
        end_ns = sound.end_ns
    return [_Sound(first.start_ns, first.rate_hz, np.concatenate(pieces)) for first, pieces in runs]


def _at_our_rate(sound: _Sound) -> _Sound:
    if sound.rate_hz == SAMPLE_RATE_HZ:
        return sound
    import soxr

    return _Sound(sound.start_ns, SAMPLE_RATE_HZ, soxr.resample(sound.samples, sound.rate_hz, SAMPLE_RATE_HZ))


async def video_frames(path: Path, *, source: str = "", newest: bool = False) -> AsyncGenerator[CameraFrame, None]:
    """Give a video's frames (or one picture) at the video's own pace, decoded one ahead in a thread.

    `at_ns` is when the frame was due, so a reader who comes late gets frames that are already old; with `newest` it
    gets the newest one that is due instead, and the numbers show the gap. Raises ConfigError for what is not a video,
    DeviceError where the video breaks off before the end it states.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="video") as thread:
        video, period_ns, stated = await loop.run_in_executor(thread, _open_video, path)
        try:
            number, start_ns = 0, now_ns()
            coming = loop.run_in_executor(thread, _next_picture, video, 0)
            while (pixels := await coming) is not None:
                due_ns = start_ns + number * period_ns
                await sleep_until(due_ns)
                late = (now_ns() - due_ns) // period_ns if newest else 0
                coming = loop.run_in_executor(thread, _next_picture, video, late)
                number += 1
                yield CameraFrame(pixels, due_ns, number, source or path.name, TimestampKind.FILE)
                number += late
            if not number:
                raise ConfigError(f"{path} holds no picture that can be decoded: save it again")
            if number < stated:
                raise DeviceError(f"{path} breaks off after frame {number} of {stated}: copy it again")
        finally:
            await asyncio.shield(loop.run_in_executor(thread, video.release))


def _open_video(path: Path) -> tuple[Any, int, int]:
    """Open it -> the capture, nanoseconds a frame, and how many frames it states (0 if it does not)."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError("videos need the package opencv: pip install 'edgeapp[vision]'") from error
    if not path.is_file():
        raise ConfigError(f"there is no video {path}")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise ConfigError(f"{path} is not a video or picture that can be read: use MP4, AVI, JPEG or PNG")
    rate_hz, stated = video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    return video, round(1e9 / (rate_hz if 0 < rate_hz <= 1000 else 25)), max(0, round(stated))


def _next_picture(video: Any, skip: int) -> NDArray[np.uint8] | None:
    """Decode the next picture after `skip` others; None at the end."""
    for _ in range(skip):
        if not video.grab():
            return None
    ok, pixels = video.read()
    return pixels if ok else None
