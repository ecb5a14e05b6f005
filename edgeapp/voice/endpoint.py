"""When a person starts and stops speaking: a rule over voice activity, silence and what was said so far.

Pure: frames with a probability of speech go in, events come out. Two silences end a turn: a short one after words that
form a finished sentence and have not changed for a while, a long one after any others. The short one counts frames without speech, because the
closure of a final stop ("stock", "cost") is silent for one frame and no more. The long one counts from the last voiced
sample, which is found inside the frames by energy, since the probability trails the voice by up to two frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, Transcript, Utterance

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME_SAMPLES: Final = 512
"""What the voice activity detector takes at a time: 32 ms."""

FRAME_NS: Final = FRAME_SAMPLES * 1_000_000_000 // SAMPLE_RATE_HZ
_WINDOW: Final = 128  # 8 ms: the grain of the last voiced sample
_VOICED_SHARE: Final = 0.03  # of the loudest window so far, -30 dB: a final s or f is that soft
_NOISE_FRAMES: Final = 2  # speech shorter than this is a click


@dataclass(frozen=True, slots=True)
class EndpointRule:
    """How long to wait for more."""

    complete_silence_ns: int = 64 * MS
    """Frames without speech that end a finished sentence."""

    stable_ns: int = 256 * MS
    """How long the finished sentence has stood: "how" sounds like "hello" for a moment."""

    silence_ns: int = 480 * MS
    """From the last voiced sample on, after anything else."""

    pre_roll_ns: int = 320 * MS
    """Kept from before the first voiced frame, so that a soft beginning is not lost."""

    utterance_max_ns: int = 30_000 * MS
    """A longer one is taken as finished: the bound of the buffer."""

    threshold: float = 0.5
    """The probability from which speech begins."""

    stop_threshold: float = 0.35
    """The probability below which a frame of an utterance is silent."""


class Speaking(Enum):
    """What a frame changed, short of ending the turn."""

    STARTED = "started"
    GOES_ON = "goes on"
    NOTHING = "nothing"
    NOISE = "noise"
    """What had started was a click: forget it."""


class Endpointer:
    """One microphone's turns."""

    def __init__(self, rule: EndpointRule) -> None:
        self.rule = rule
        self.number = 0
        """The number of the utterance under way, or of the last one."""
        self._pre_roll: deque[AudioChunk] = deque(maxlen=max(1, rule.pre_roll_ns // FRAME_NS))
        self._frames: list[AudioChunk] = []  # bounded by utterance_max_ns
        self._speech_frames = self._silent_frames = self._stable_frames = 0
        self._words = ""
        self._loudest = 0.0
        self._last_voiced_ns = 0

    @property
    def speech_ns(self) -> int:
        """How much of the utterance under way was speech; 0 while nobody speaks."""
        return self._speech_frames * FRAME_NS if self._frames else 0

    @property
    def heard(self) -> tuple[AudioChunk, ...]:
        """The frames of the utterance under way, pre-roll included."""
        return tuple(self._frames)

    def feed(self, frame: AudioChunk, probability: float, words: Transcript) -> Speaking | Utterance:
        """Take the next 512 samples, and the words that were recognised up to them.

        Returns the Utterance on the frame that ends it.
        """
        speech = probability >= (self.rule.stop_threshold if self._frames else self.rule.threshold)
        if not self._frames:
            self._pre_roll.append(frame)
            if not speech:
                return Speaking.NOTHING
            self.number += 1
            self._frames = list(self._pre_roll)
            self._pre_roll.clear()
            self._speech_frames, self._silent_frames, self._stable_frames = 1, 0, 0
            self._words, self._loudest = "", 0.0
            self._find_last_voiced(frame)
            return Speaking.STARTED
        self._frames.append(frame)
        self._silent_frames = 0 if speech else self._silent_frames + 1
        self._stable_frames = self._stable_frames + 1 if words.text == self._words else 1
        self._words = words.text
        if speech:
            self._speech_frames += 1
            self._find_last_voiced(frame)
        if len(self._frames) * FRAME_NS >= self.rule.utterance_max_ns:
            return self._end()
        enough = frame.ended_ns - self._last_voiced_ns >= self.rule.silence_ns
        # After a loud bump soft words do not count as voiced; the detector hears them all the same.
        enough = enough and self._silent_frames * FRAME_NS >= self.rule.silence_ns / 2
        finished = words.complete and self._stable_frames * FRAME_NS >= self.rule.stable_ns
        short = self._silent_frames * FRAME_NS >= self.rule.complete_silence_ns
        if not speech and (enough or (short and finished)):
            return self._end()
        return Speaking.GOES_ON

    def finish(self) -> Speaking | Utterance:
        """The audio has ended, and what was under way with it."""
        return self._end() if self._frames else Speaking.NOTHING

    def _find_last_voiced(self, frame: AudioChunk) -> None:
        windows = frame.samples[: len(frame.samples) // _WINDOW * _WINDOW].astype(np.float32).reshape(-1, _WINDOW)
        loudness = np.sqrt(np.mean(windows**2, axis=1))
        self._loudest = max(self._loudest, float(loudness.max()))
        voiced = np.flatnonzero(loudness >= self._loudest * _VOICED_SHARE)
        if len(voiced):
            after = len(frame.samples) - (int(voiced[-1]) + 1) * _WINDOW
            self._last_voiced_ns = frame.ended_ns - after * 1_000_000_000 // SAMPLE_RATE_HZ

    def _end(self) -> Speaking | Utterance:
        frames, self._frames = self._frames, []
        if self._speech_frames < _NOISE_FRAMES:
            self._pre_roll.extend(frames)  # a word that begins softly right after a click is not lost either
            return Speaking.NOISE
        return Utterance(self.number, np.concatenate([each.samples for each in frames]), self._last_voiced_ns)


class Framer:
    """Blocks of any size in, frames of 512 samples out. Holds less than one frame."""

    def __init__(self) -> None:
        self._held: NDArray[np.int16] = np.zeros(0, np.int16)
        self._held_shares: NDArray[np.float32] = np.zeros(0, np.float32)  # each sample's echo share

    def feed(self, chunk: AudioChunk) -> list[AudioChunk]:
        """Cut what has come into whole frames, each with the time of its own last sample and its mean echo share."""
        samples = np.concatenate([self._held, chunk.samples])
        shares = np.concatenate([self._held_shares, np.full(len(chunk.samples), chunk.echo_share, np.float32)])
        count = len(samples) // FRAME_SAMPLES
        self._held, self._held_shares = samples[count * FRAME_SAMPLES :], shares[count * FRAME_SAMPLES :]
        frames = []
        for n in range(count):
            after = len(samples) - (n + 1) * FRAME_SAMPLES
            ended_ns = chunk.ended_ns - after * 1_000_000_000 // SAMPLE_RATE_HZ
            frame = slice(n * FRAME_SAMPLES, (n + 1) * FRAME_SAMPLES)
            frames.append(AudioChunk(samples[frame], ended_ns, float(shares[frame].mean())))
        return frames
