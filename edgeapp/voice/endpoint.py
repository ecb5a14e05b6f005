"""When a person starts and stops speaking: voice activity, silence, what was said, how it was said, and who says it.

Pure: frames with a probability of speech go in, events come out. A silence counts from the last voiced sample, which is
found inside the frames by energy, since the detector's probability trails the voice by up to two frames. How long it must be
is decided by `voice/patience.py` from all that is known, anew in every silent frame. A turn that was ended too early can be
taken up again for a while (`rejoin`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, Transcript, Utterance
from edgeapp.voice import patience
from edgeapp.voice.loudness import WINDOW, Loudness
from edgeapp.voice.patience import Evidence, Expect, Patience, Pauses, Said, Wait, cadence
from edgeapp.voice.prosody import Prosody
from edgeapp.voice.syntax import Shape, digits_in, ends_in_cluster, ends_in_stop, is_yes_or_no, shape_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FRAME_NS", "FRAME_SAMPLES", "Ended", "EndpointRule", "Endpointer", "Expect", "Framer", "Speaking", "preset"]

FRAME_SAMPLES: Final = 512
"""What the voice activity detector takes at a time: 32 ms."""

FRAME_NS: Final = FRAME_SAMPLES * 1_000_000_000 // SAMPLE_RATE_HZ
_NOISE_FRAMES: Final = 2  # speech shorter than this is a click
_PAUSE_NS: Final = 120 * MS  # a shorter silence inside a turn is the closure of a stop
_SHORT_NS: Final = 1_200 * MS  # of speech: as long as the longest of the short answers
_FIRST_WORD_NS: Final = (
    256 * MS
)  # of speech: a "how" or "is" that a question begins with is shorter than a word said alone
_UNLIKE_FRAMES: Final = 3  # so many frames of speech that sound like something else are another sentence
_DIGITS: Final = 4  # from so many on, a number that was asked for may be whole
_RELEASE_NS: Final = 120 * MS  # so long after the voice a burst is still the release of a stop, and not a click
_BREATH_WINDOWS: Final = 3  # 24 ms of hiss: after a vowel that can only be the release
_CLOSURE_WINDOWS: Final = 2  # 16 ms without voice: the closure of a stop is as long at least
_BURST_WINDOWS: Final = 5  # 40 ms: the release of a stop is no longer
_BREATH_BURST_WINDOWS: Final = 14  # 112 ms: with its breath
_SAID: Final = {
    Shape.EMPTY: Said.NOTHING,
    Shape.HESITATION: Said.HESITATION,
    Shape.OPEN: Said.OPEN,
    Shape.NUMBER: Said.NUMBER,
    Shape.QUESTION: Said.PLAIN,
    Shape.PLAIN: Said.PLAIN,
}


@dataclass(frozen=True, slots=True)
class EndpointRule:
    """How long to wait for more, and what counts as speech."""

    patience: Patience = field(default_factory=Patience)
    """What waiting and cutting in cost."""

    stable_ns: int = 192 * MS
    """How long a finished sentence must have stood: "how" sounds like "hello" for a moment."""

    stable_closed_ns: int = 64 * MS
    """The same for one of several words that cannot go on."""

    rejoin_ns: int = 400 * MS
    """How long after its end a turn can be taken up again."""

    pre_roll_ns: int = 320 * MS
    """Kept from before the first voiced frame, so that a soft beginning is not lost."""

    utterance_max_ns: int = 30_000 * MS
    """A longer one is taken as finished: the bound of the buffer."""

    threshold: float = 0.5
    """The probability from which speech begins."""

    stop_threshold: float = 0.35
    """The probability below which a frame of an utterance is silent."""


def preset(name: str) -> EndpointRule:
    """The rule with the patience of this name: aggressive, default, relaxed or digits. Raises KeyError for another."""
    return EndpointRule(patience.preset(name))


class Speaking(Enum):
    """What a frame changed, short of ending the turn."""

    STARTED = "started"
    GOES_ON = "goes on"
    NOTHING = "nothing"
    NOISE = "noise"
    """What had started was a click: forget it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why the last turn was taken for finished."""

    why: str
    waited_ns: int
    """From the last voiced sample to the frame that ended the turn."""

    over: float
    """The probability that it was over, by the rule's own reckoning."""


@dataclass(slots=True)
class _Turn:
    """What is counted of the utterance under way."""

    began_ns: int = 0
    speech_frames: int = 1
    silent_frames: int = 0
    """In a row so far, by the detector alone."""

    unvoiced_frames: int = 0
    """The same by the detector or by energy."""

    stable_frames: int = 0
    words: str = ""
    stood: Transcript | None = None
    """The newest finished sentence that stood for long enough; kept while a recogniser wavers in the silence after it."""

    unlike_frames: int = 0
    """Of speech since then that were recognised as something else."""

    gap_windows: int = 0
    """Without voice in a row so far, by energy."""

    run_windows: int = 0
    """With voice since the last closure, gaps shorter than one left out."""

    hiss_windows: int = 0
    """Of those, in a row at the end: more high sound than low, as in a release or an s."""

    closed: bool = False
    """Was there a closure before them?"""

    voiced_by_detector_ns: int = 0
    """The last voiced sample in a frame that the detector takes for speech."""

    model: float | None = None
    """What an end-of-turn model says about the silence under way."""

    supposed: Transcript | None = None
    """What was said before that silence if it must be a sentence, where the recogniser has refused it; None if not asked."""

    def count(self, *, voiced: bool, hiss: bool) -> None:
        """Take one window of 8 ms."""
        if not voiced:
            self.gap_windows += 1
            return
        if self.gap_windows >= _CLOSURE_WINDOWS:
            self.closed, self.run_windows, self.hiss_windows = True, 0, 0
        self.gap_windows = 0
        self.run_windows += 1
        self.hiss_windows = self.hiss_windows + 1 if hiss else 0

    def may_be_released(self) -> bool:
        """May the last sound still be released: is it a stop, and was no burst heard after its closure?"""
        hissing = 2 * self.hiss_windows >= self.run_windows
        burst = self.closed and self.run_windows <= (_BREATH_BURST_WINDOWS if hissing else _BURST_WINDOWS)
        breath = self.hiss_windows >= _BREATH_WINDOWS and not ends_in_cluster(self.words)
        return ends_in_stop(self.words) and not burst and not breath


@dataclass(slots=True)
class _Earlier:
    """A turn that has ended and may be taken up again."""

    number: int
    frames: list[AudioChunk]
    speech_frames: int
    last_voiced_ns: int
    ended_ns: int
    since: list[AudioChunk] = field(default_factory=list)  # not in the pre-roll any more; bounded by rejoin_ns


class Endpointer:
    """One microphone's turns, and what was learned of the person who takes them."""

    def __init__(self, rule: EndpointRule) -> None:
        self.rule = rule
        self.number = 0
        """The number of the utterance under way, or of the last one."""
        self.ended: Ended | None = None
        """Why the last turn ended; None before the first."""
        self.own_voice = False
        """Set while our own voice is audible: pauses that it falls into are not learned."""
        self.held = False
        """Set while a key is held: no silence ends the turn then."""
        self.last_voiced_ns = 0
        """When the last voiced sample was captured, as far as the energy tells."""
        self.pauses = Pauses()
        """What was learned of the speaker."""
        self._numbers = 0  # given so far: one whose utterance was rejoined to an earlier one is not given again
        self._expect = Expect.ANY
        self._pre_roll: deque[AudioChunk] = deque(maxlen=max(1, rule.pre_roll_ns // FRAME_NS))
        self._frames: list[AudioChunk] = []  # bounded by utterance_max_ns
        self._loudness, self._prosody = Loudness(), Prosody()
        self._turn = _Turn()
        self._earlier: _Earlier | None = None
        self._heard_ns = 0

    @property
    def speech_ns(self) -> int:
        """How much of the utterance under way was speech; 0 while nobody speaks."""
        return self._turn.speech_frames * FRAME_NS if self._frames else 0

    @property
    def silent_ns(self) -> int:
        """How long it has been since the last voiced sample of the utterance under way; 0 while nobody speaks."""
        return self._heard_ns - self.last_voiced_ns if self._frames else 0

    @property
    def silent_frames(self) -> int:
        """How many frames without voice the utterance under way has ended with so far."""
        return self._turn.unvoiced_frames if self._frames else 0

    @property
    def stable_ns(self) -> int:
        """How long its words have been the same."""
        return self._turn.stable_frames * FRAME_NS

    def so_far(self) -> Utterance:
        """The utterance under way, as if it ended here."""
        return Utterance(self.number, np.concatenate([each.samples for each in self._frames]), self.last_voiced_ns)

    @property
    def heard(self) -> tuple[AudioChunk, ...]:
        """The frames of the utterance under way, pre-roll included."""
        return tuple(self._frames)

    def expect(self, answer: Expect) -> None:
        """What kind of answer is expected from now on."""
        self._expect = answer

    def forget_speaker(self) -> None:
        """Another person may come: what was learned of this one is gone, and nothing can be rejoined."""
        self.pauses, self._earlier, self._expect = Pauses(), None, Expect.ANY

    def turn_over(self, probability: float) -> None:
        """What an end-of-turn model says about the silence under way; forgotten when the voice goes on."""
        self._turn.model = probability

    def suppose(self, words: Transcript) -> None:
        """What was said before the silence under way if it must be a sentence, perhaps nothing; forgotten when the voice goes on."""
        self._turn.supposed = words

    def feed(self, frame: AudioChunk, probability: float, words: Transcript) -> Speaking | Utterance:
        """Take the next 512 samples, and the words that were recognised up to them.

        Returns the Utterance on the frame that ends it.
        """
        self._heard_ns = frame.ended_ns
        energies = self._loudness.energies(frame.samples)
        if not self._frames:
            return self._wait_for_speech(frame, probability, energies)
        turn = self._turn
        self._frames.append(frame)
        self._prosody.feed(frame.samples)
        speech = probability >= self.rule.stop_threshold
        turn.silent_frames = 0 if speech else turn.silent_frames + 1
        turn.speech_frames += speech
        self._take_words(words, speech=speech)
        self._find_last_voiced(frame, energies, speech=speech)
        if len(self._frames) * FRAME_NS >= self.rule.utterance_max_ns:
            return self._end("the longest turn that is kept", 1.0)
        return self._end_if_long_enough(words)

    def feed_part(self, part: NDArray[np.int16], heard_ns: int, words: Transcript) -> Speaking | Utterance:
        """Look at the first samples of the next frame, which is fed as a whole later: a silence need not wait for its end.

        `heard_ns` is when the last of them was captured. Returns the Utterance if they end it.
        """
        if not self._frames:
            return Speaking.NOTHING
        energies = self._loudness.energies(part)
        if self.silent_ns == 0 or not energies.size or self._loudness.stands_out(energies).any():
            return Speaking.GOES_ON
        whole_ns, self._heard_ns = self._heard_ns, heard_ns
        event = self._end_if_long_enough(words)
        if event is Speaking.GOES_ON:
            self._heard_ns = whole_ns
        return event

    def _end_if_long_enough(self, words: Transcript) -> Speaking | Utterance:
        if self.held or self.silent_ns < self.rule.patience.at_least_ns:
            return Speaking.GOES_ON
        wait = self._wait(words)
        # After a loud bump soft words may not count as voiced, and some final sounds are as soft as the room: so the
        # detector must agree in one frame at least, and for half of a long wait.
        quiet = self._turn.silent_frames * FRAME_NS >= max(FRAME_NS, wait.wait_ns // 2 - FRAME_NS)
        return self._end(wait.why, wait.over) if quiet and self.silent_ns >= wait.wait_ns else Speaking.GOES_ON

    def finish(self) -> Speaking | Utterance:
        """The audio has ended, and what was under way with it."""
        return self._end("the audio has ended", 1.0) if self._frames else Speaking.NOTHING

    def rejoin(self) -> bool:
        """The person went on within `rejoin_ns` of an end: the ended utterance goes on under its number.

        `heard` then holds all frames of both and those between them. False if nobody speaks or there is nothing to rejoin.
        """
        earlier, turn = self._earlier, self._turn
        if earlier is None or not self._frames or turn.began_ns - earlier.ended_ns > self.rule.rejoin_ns:
            return False
        self._learn(turn.began_ns - FRAME_NS - earlier.last_voiced_ns)
        self.pauses = replace(self.pauses, turns=self.pauses.turns - 1)
        self._frames = [*earlier.frames, *earlier.since, *self._frames]
        self.number, self._earlier = earlier.number, None
        turn.speech_frames += earlier.speech_frames
        turn.words, turn.stable_frames = "", 0
        return True

    def _wait_for_speech(self, frame: AudioChunk, probability: float, energies: NDArray[np.float64]) -> Speaking:
        if self._earlier is not None and frame.ended_ns - self._earlier.ended_ns > self.rule.rejoin_ns:
            self._earlier = None
        self._keep(frame)
        if probability < self.rule.threshold:
            self._loudness.hear_room(energies)
            return Speaking.NOTHING
        self._numbers += 1
        self.number = self._numbers
        self._frames = list(self._pre_roll)
        self._pre_roll.clear()
        self._turn = _Turn(began_ns=frame.ended_ns)
        self._loudness.begin()
        self._prosody.reset()
        self._prosody.feed(frame.samples)
        self.last_voiced_ns = frame.ended_ns
        self._find_last_voiced(frame, energies, speech=True)
        return Speaking.STARTED

    def _keep(self, frame: AudioChunk) -> None:
        """Into the pre-roll; what falls out of it is still needed while an earlier turn may be taken up again."""
        if self._earlier is not None and len(self._pre_roll) == self._pre_roll.maxlen:
            self._earlier.since.append(self._pre_roll[0])
        self._pre_roll.append(frame)

    def _find_last_voiced(self, frame: AudioChunk, energies: NDArray[np.float64], *, speech: bool) -> None:
        voiced, turn = self._loudness.voiced(energies), self._turn
        before_ns = self.last_voiced_ns
        first_ns, last_ns = _span_ns(frame, voiced)
        if not speech and last_ns - turn.voiced_by_detector_ns > _RELEASE_NS:
            voiced[:] = False
        for each, (low, high) in zip(voiced, energies, strict=True):
            turn.count(voiced=bool(each), hiss=bool(high > 2 * low))
        turn.unvoiced_frames = 0 if speech and voiced.any() else turn.unvoiced_frames + 1
        if not voiced.any():
            if not speech:
                self._loudness.hear_room(energies)
            return
        self.last_voiced_ns, turn.model, turn.supposed = last_ns, None, None
        if speech:
            turn.voiced_by_detector_ns = last_ns
            if first_ns - before_ns >= _PAUSE_NS:
                self._learn(first_ns - before_ns)

    def _take_words(self, words: Transcript, *, speech: bool) -> None:
        turn = self._turn
        turn.stable_frames = turn.stable_frames + 1 if words.text == turn.words else 1
        turn.words = words.text
        needed_ns = self.rule.stable_ns if words.may_go_on or " " not in words.text else self.rule.stable_closed_ns
        if words.complete and turn.stable_frames * FRAME_NS >= needed_ns:
            turn.stood, turn.unlike_frames = words, 0
        elif turn.stood is not None and speech and words.text != turn.stood.text:
            turn.unlike_frames += 1
            if turn.unlike_frames >= _UNLIKE_FRAMES:
                turn.stood = None

    def _learn(self, pause_ns: int) -> None:
        if not self.own_voice:
            self.pauses = self.pauses.learned(pause_ns)

    def _wait(self, words: Transcript) -> Wait:
        ending = self._prosody.ending()
        return patience.patience(
            self.rule.patience,
            Evidence(
                said=self._said(words),
                cadence=cadence(ending.pitch_fall, ending.loudness_fall_db, ending.drawn_out),
                closure=self._turn.may_be_released(),
                pauses=self.pauses,
                model=self._turn.model,
            ),
        )

    def _said(self, words: Transcript) -> Said:
        if self._expect is Expect.YES_NO and is_yes_or_no(words.text) and (words.complete or not words.may_go_on):
            return Said.ANSWER
        stood = self._turn.stood
        if stood is not None and not words.complete and self._turn.silent_frames:
            words = stood
        if words.complete:
            if stood is None or words.text != stood.text:
                return Said.OPEN  # for now
            number = words.may_go_on and shape_of(words.text) is Shape.NUMBER
            if words.may_go_on:
                return Said.NUMBER if number else Said.WHOLE
            return Said.CLOSED if " " in words.text else Said.WORD
        supposed = self._turn.supposed
        if not words.text and supposed is not None:
            short = _FIRST_WORD_NS <= self.speech_ns <= _SHORT_NS
            refused = Said.SOUND if short else Said.NOTHING
            return Said.SUPPOSED if supposed.complete else Said.OPEN if supposed.text else refused
        if words.text and words.may_go_on:
            return Said.OPEN
        if self._expect is Expect.NUMBER and 0 < digits_in(words.text) < _DIGITS:
            return Said.NUMBER
        return _SAID[shape_of(words.text)]

    def _end(self, why: str, over: float) -> Speaking | Utterance:
        frames, self._frames = self._frames, []
        turn = self._turn
        if turn.speech_frames < _NOISE_FRAMES:
            for each in frames:  # a word that begins softly right after a click is not lost either
                self._keep(each)
            return Speaking.NOISE
        self.ended = Ended(why, self._heard_ns - self.last_voiced_ns, over)
        self.pauses = self.pauses.after_turn()
        longest = len(frames) * FRAME_NS >= self.rule.utterance_max_ns  # it cannot go on: its buffer is full
        earlier = _Earlier(self.number, frames, turn.speech_frames, self.last_voiced_ns, self._heard_ns)
        self._earlier = None if longest else earlier
        self._expect = Expect.ANY
        return Utterance(self.number, np.concatenate([each.samples for each in frames]), self.last_voiced_ns)


def _span_ns(frame: AudioChunk, voiced: NDArray[np.bool_]) -> tuple[int, int]:
    """When the first voiced window of the frame began and the last one ended; the frame's end if there is none."""
    at = np.flatnonzero(voiced)
    if not at.size:
        return frame.ended_ns, frame.ended_ns
    after = (voiced.size - int(at[0]), voiced.size - int(at[-1]) - 1)
    window_ns = WINDOW * 1_000_000_000 // SAMPLE_RATE_HZ
    return frame.ended_ns - after[0] * window_ns, frame.ended_ns - after[1] * window_ns


class Framer:
    """Blocks of any size in, frames of 512 samples out. Holds less than one frame."""

    def __init__(self) -> None:
        self._held: NDArray[np.int16] = np.zeros(0, np.int16)
        self._held_shares: NDArray[np.float32] = np.zeros(0, np.float32)  # each sample's echo share

    @property
    def rest(self) -> NDArray[np.int16]:
        """What has come of the next frame, shape (n,) with n < 512."""
        return self._held

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
