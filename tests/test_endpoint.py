"""The endpointer: frames in, turns out. Exact to the frame."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp.core.events import MS, AudioChunk, Transcript, Utterance
from edgeapp.voice.endpoint import FRAME_NS, FRAME_SAMPLES, Endpointer, EndpointRule, Expect, Speaking, preset

NOTHING = Transcript("", complete=False)
DONE = Transcript("where is the hammer", complete=True)
BEGUN = Transcript("where is the", complete=False, may_go_on=True)
GREETED = Transcript("hello", complete=True, may_go_on=True)


def tone(level: float, samples: int = FRAME_SAMPLES) -> NDArray[np.int16]:
    return np.asarray(level * np.sin(np.arange(samples) * 0.3), np.int16)


class Mouth:
    """Feeds frames of a tone or of silence, and keeps the time."""

    def __init__(self, rule: EndpointRule = EndpointRule()) -> None:
        self.ear = Endpointer(rule)
        self.number = 0

    def feed(self, samples: NDArray[np.int16], probability: float, words: Transcript) -> Speaking | Utterance:
        self.number += 1
        return self.ear.feed(AudioChunk(samples, self.number * FRAME_NS), probability, words)

    def speak(self, frames: int, words: Transcript, level: float = 6_000) -> list[Speaking | Utterance]:
        return [self.feed(tone(level), 0.95, words) for _ in range(frames)]

    def pause(self, frames: int, words: Transcript) -> list[Speaking | Utterance]:
        return [self.feed(tone(0), 0.05, words) for _ in range(frames)]

    def silence_until_end(self, words: Transcript) -> int:
        """Frames of silence until the turn ends."""
        for count in range(1, 100):
            if isinstance(self.feed(tone(0), 0.05, words), Utterance):
                return count
        raise AssertionError("the turn did not end")


def test_a_finished_sentence_ends_after_two_silent_frames() -> None:
    mouth = Mouth()
    mouth.speak(12, DONE)
    assert mouth.silence_until_end(DONE) == 2
    assert mouth.ear.ended is not None
    assert mouth.ear.ended.waited_ns == 64 * MS
    assert mouth.ear.ended.over > 0.97
    assert mouth.ear.ended.why.startswith("a whole sentence")


def test_half_a_silent_frame_is_enough_if_it_makes_the_silence_long_enough() -> None:
    mouth = Mouth()
    mouth.speak(12, DONE)
    half, at_ns = tone(0)[: FRAME_SAMPLES // 2], (12 * 32 + 16) * MS
    assert mouth.ear.feed_part(half, at_ns, DONE) is Speaking.GOES_ON  # 16 ms of silence, and no frame of it
    assert mouth.pause(1, DONE) == [Speaking.GOES_ON]
    assert mouth.ear.feed_part(tone(6_000)[: FRAME_SAMPLES // 2], at_ns + FRAME_NS, DONE) is Speaking.GOES_ON
    assert mouth.ear.silent_ns == 32 * MS  # a part that ends nothing leaves no trace
    assert isinstance(mouth.ear.feed_part(half, at_ns + FRAME_NS, DONE), Utterance)
    assert mouth.ear.ended is not None
    assert mouth.ear.ended.waited_ns == 48 * MS
    assert mouth.ear.feed_part(half, at_ns + FRAME_NS, DONE) is Speaking.NOTHING


def test_a_recogniser_that_wavers_in_the_silence_does_not_take_a_sentence_back() -> None:
    mouth = Mouth()
    mouth.speak(12, DONE)
    mouth.pause(1, NOTHING)
    assert isinstance(mouth.feed(tone(0), 0.05, NOTHING), Utterance)


def test_speech_that_sounds_like_something_else_takes_a_sentence_back() -> None:
    mouth = Mouth()
    mouth.speak(12, DONE)
    mouth.speak(3, BEGUN)
    assert mouth.silence_until_end(BEGUN) > 20


def test_a_word_alone_or_one_that_may_go_on_must_stand_for_longer_than_a_sentence_that_cannot() -> None:
    mouth = Mouth()
    mouth.speak(12, BEGUN)
    mouth.pause(1, BEGUN)
    assert mouth.silence_until_end(DONE) == 2
    word = Mouth()
    word.speak(12, NOTHING)
    word.pause(1, NOTHING)
    assert word.silence_until_end(Transcript("hello", complete=True)) > 4


@pytest.mark.parametrize(("frames", "waits_long"), [(6, True), (9, False)])
def test_a_sound_too_short_for_a_word_said_alone_may_begin_a_question(frames: int, *, waits_long: bool) -> None:
    mouth = Mouth()
    mouth.speak(frames, NOTHING)
    mouth.pause(1, NOTHING)
    mouth.ear.suppose(NOTHING)
    assert (mouth.silence_until_end(NOTHING) > 20) == waits_long


def test_an_unfinished_sentence_survives_700_ms() -> None:
    mouth = Mouth()
    mouth.speak(12, BEGUN)
    assert mouth.pause(700 // 32 + 1, BEGUN) == [Speaking.GOES_ON] * 22
    mouth.speak(12, DONE)
    assert mouth.silence_until_end(DONE) == 2


def test_a_sentence_of_which_nothing_was_understood_does_not_wait_the_whole_time() -> None:
    mouth = Mouth()
    mouth.speak(30, NOTHING)
    waited = mouth.silence_until_end(NOTHING)
    unfinished = Mouth()
    unfinished.speak(30, BEGUN)
    assert waited < unfinished.silence_until_end(BEGUN)


def test_the_silence_counts_from_the_last_voiced_sample_inside_a_frame() -> None:
    mouth = Mouth()
    mouth.speak(12, DONE)
    half = tone(6_000)
    half[FRAME_SAMPLES // 2 :] = 0
    assert mouth.feed(half, 0.9, DONE) is Speaking.GOES_ON
    assert mouth.ear.last_voiced_ns == (12 * 32 + 16) * MS
    assert mouth.ear.silent_ns == 16 * MS


def test_the_end_of_a_voice_is_seen_by_its_energy_while_the_detector_trails() -> None:
    """The detector still says speech in the first frame after the voice; it must agree in the second."""
    mouth = Mouth()
    mouth.speak(12, DONE)
    mouth.feed(tone(0), 0.9, DONE)
    assert mouth.ear.silent_frames == 1
    assert isinstance(mouth.feed(tone(0), 0.3, DONE), Utterance)


def test_a_final_stop_is_waited_for_until_its_release() -> None:
    stock = Transcript("is the hammer in stock", complete=True)
    mouth = Mouth()
    mouth.speak(12, stock)
    waited = mouth.silence_until_end(stock)
    released = Mouth()
    released.speak(12, stock)
    released.pause(2, stock)
    burst = tone(0)
    burst[:160] = tone(1_500, 160)
    assert released.feed(burst, 0.2, stock) is Speaking.GOES_ON
    assert released.silence_until_end(stock) < waited


@pytest.mark.parametrize("frames", [5, 9])
def test_short_words_are_turns(frames: int) -> None:
    """150 to 300 ms: "yes", "stop"."""
    yes = Transcript("yes", complete=True)
    mouth = Mouth()
    mouth.ear.expect(Expect.YES_NO)
    mouth.pause(20, NOTHING)
    mouth.speak(frames, yes)
    end = [event for event in mouth.pause(20, yes) if isinstance(event, Utterance)]
    assert len(end) == 1
    assert len(end[0].samples) >= (9 + frames) * FRAME_SAMPLES  # with what came before it


def test_a_single_word_that_was_asked_for_ends_sooner_than_one_that_was_not() -> None:
    """A "how" before a pause is heard as "no"; after a question, "no" is the answer."""
    yes = Transcript("yes", complete=True)
    waits = {}
    for expected in (Expect.YES_NO, Expect.ANY):
        mouth = Mouth()
        mouth.ear.expect(expected)
        mouth.speak(5, NOTHING)
        mouth.speak(1, yes)
        waits[expected] = mouth.silence_until_end(yes)
    assert waits[Expect.YES_NO] == 2
    assert waits[Expect.ANY] == 5


def test_what_is_expected_holds_for_one_turn() -> None:
    mouth, yes = Mouth(), Transcript("yes", complete=True)
    mouth.ear.expect(Expect.YES_NO)
    mouth.speak(12, DONE)
    mouth.silence_until_end(DONE)
    mouth.speak(5, NOTHING)
    mouth.speak(1, yes)
    assert mouth.silence_until_end(yes) == 5  # 2 if it still held


def test_a_number_that_was_asked_for_may_come_in_groups() -> None:
    waits = {}
    for name, expected in itertools.product(("default", "digits"), (Expect.ANY, Expect.NUMBER)):
        mouth = Mouth(preset(name))
        mouth.ear.expect(expected)
        words = Transcript("five five", complete=False)
        mouth.speak(20, words)
        waits[name, expected] = mouth.silence_until_end(words)
    assert waits["digits", Expect.NUMBER] > waits["default", Expect.NUMBER]


# What is learned of the speaker


def test_pauses_after_which_the_person_went_on_are_learned() -> None:
    mouth = Mouth()
    mouth.speak(12, BEGUN)
    mouth.pause(20, BEGUN)
    mouth.speak(4, BEGUN)
    assert mouth.ear.pauses.count == 1
    assert mouth.ear.pauses.log_sum == pytest.approx(np.log(640))


def test_a_closure_inside_a_word_is_no_pause() -> None:
    mouth = Mouth()
    mouth.speak(12, BEGUN)
    mouth.pause(3, BEGUN)
    mouth.speak(4, BEGUN)
    assert mouth.ear.pauses.count == 0


def test_a_pause_across_our_own_voice_is_not_learned() -> None:
    mouth = Mouth()
    mouth.speak(12, BEGUN)
    mouth.ear.own_voice = True
    mouth.pause(20, BEGUN)
    mouth.speak(4, BEGUN)
    assert mouth.ear.pauses.count == 0


def test_a_speaker_who_pauses_long_is_given_more_time_and_is_forgotten_with_the_session() -> None:
    words = Transcript("i would like a hammer", complete=False)
    waits = []
    for pauses, forgotten in ((0, False), (6, False), (6, True)):
        mouth = Mouth()
        mouth.speak(20, words)
        for _ in range(pauses):
            mouth.pause(12, BEGUN)
            mouth.speak(12, words)
        if forgotten:
            mouth.ear.forget_speaker()
        waits.append(mouth.silence_until_end(words))
    assert waits[1] > waits[0]
    assert waits[2] == waits[0]


# Taking a turn up again


def ended(mouth: Mouth) -> Utterance:
    mouth.speak(12, DONE)
    events = mouth.pause(2, DONE)
    assert isinstance(events[-1], Utterance)
    return events[-1]


@pytest.mark.parametrize(("silent", "joined"), [(0, True), (6, True), (11, True), (12, False), (40, False)])
def test_a_person_who_goes_on_within_400_ms_goes_on_in_the_same_turn(silent: int, joined: bool) -> None:
    mouth = Mouth()
    first = ended(mouth)
    mouth.pause(silent, NOTHING)
    assert mouth.speak(1, NOTHING) == [Speaking.STARTED]
    mouth.speak(3, NOTHING)
    assert mouth.ear.rejoin() is joined
    assert mouth.ear.number == (1 if joined else 2)
    heard = np.concatenate([frame.samples for frame in mouth.ear.heard])
    if joined:
        assert [frame.ended_ns for frame in mouth.ear.heard] == [n * FRAME_NS for n in range(1, mouth.number + 1)]
        assert np.array_equal(heard[: len(first.samples)], first.samples)
    assert mouth.ear.pauses.count == joined


def test_a_joined_turn_ends_under_its_number_and_the_next_has_a_new_one() -> None:
    mouth = Mouth()
    ended(mouth)
    mouth.pause(4, NOTHING)
    mouth.speak(12, DONE)
    assert mouth.ear.rejoin()
    mouth.speak(12, DONE)
    end = [event for event in mouth.pause(3, DONE) if isinstance(event, Utterance)]
    assert [each.number for each in end] == [1]
    mouth.pause(30, NOTHING)
    mouth.speak(1, NOTHING)
    assert mouth.ear.number == 3


def test_there_is_nothing_to_rejoin_before_the_first_end_or_twice_or_for_another_person() -> None:
    mouth = Mouth()
    mouth.speak(3, NOTHING)
    assert not mouth.ear.rejoin()
    mouth = Mouth()
    ended(mouth)
    assert not mouth.ear.rejoin()  # nobody speaks
    mouth.speak(2, NOTHING)
    assert mouth.ear.rejoin()
    assert not mouth.ear.rejoin()
    mouth = Mouth()
    ended(mouth)
    mouth.ear.forget_speaker()
    mouth.speak(2, NOTHING)
    assert not mouth.ear.rejoin()


# Bad input


def room(rng: np.random.Generator, rms: float = 15) -> NDArray[np.int16]:
    return np.asarray(np.rint(rng.normal(0, rms, FRAME_SAMPLES)), np.int16)


def test_an_hour_of_silence_is_no_turn_and_keeps_ten_frames() -> None:
    mouth = Mouth()
    frame = room(np.random.default_rng(0))
    assert {mouth.feed(frame, 0.02, NOTHING) for _ in range(3600 * 1000 // 32)} == {Speaking.NOTHING}
    assert mouth.ear.speech_ns == mouth.ear.silent_ns == 0
    mouth.speak(1, NOTHING)
    assert len(mouth.ear.heard) == 10


def test_speech_without_an_end_is_cut_at_the_bound() -> None:
    """As two people at once, or music that the detector takes for speech."""
    mouth = Mouth(EndpointRule(utterance_max_ns=3_200 * MS))
    events = mouth.speak(250, NOTHING)
    assert [len(each.samples) for each in events if isinstance(each, Utterance)] == [100 * FRAME_SAMPLES] * 2


def test_clicks_are_no_turns() -> None:
    mouth, rng = Mouth(), np.random.default_rng(0)
    events: list[Speaking | Utterance] = []
    for _ in range(20):
        click = room(rng)
        click[100:140] = 20_000
        events.append(mouth.feed(click, 0.7, NOTHING))
        events += [mouth.feed(room(rng), 0.05, NOTHING) for _ in range(40)]
    assert not [each for each in events if isinstance(each, Utterance)]
    assert events.count(Speaking.NOISE) == 20


ROOMS = [
    ("DC offset", 3_000, 6_000, 15),
    ("clipped", 0, 90_000, 15),
    ("very quiet", 0, 60, 2),
    ("noisy", 0, 6_000, 300),
]


@pytest.mark.parametrize(("name", "offset", "level", "noise"), ROOMS)
def test_the_end_is_found_to_8_ms_with(name: str, offset: float, level: float, noise: float) -> None:
    del name
    mouth, rng = Mouth(), np.random.default_rng(0)

    def heard(voice: float) -> NDArray[np.int16]:
        sound = room(rng, noise) + offset + voice * np.sin(np.arange(FRAME_SAMPLES) * 0.3)
        return np.asarray(np.clip(sound, -32768, 32767), np.int16)

    for _ in range(30):
        mouth.feed(heard(0), 0.02, NOTHING)
    for _ in range(12):
        mouth.feed(heard(level), 0.9, DONE)
    assert mouth.feed(heard(0), 0.9, DONE) is Speaking.GOES_ON
    assert abs(mouth.ear.last_voiced_ns - 42 * FRAME_NS) <= 8 * MS
    assert isinstance(mouth.feed(heard(0), 0.3, DONE), Utterance)


def test_steady_music_that_the_detector_does_not_take_for_speech_does_not_hold_a_turn_open() -> None:
    mouth = Mouth()
    mouth.speak(12, DONE)
    events = [mouth.feed(tone(2_000), 0.05, DONE) for _ in range(30)]
    assert [each for each in events if isinstance(each, Utterance)]


@pytest.mark.parametrize(
    ("supposed", "waits_frames"),
    [
        (None, 36),  # not asked: by the voice alone
        (DONE, 2),  # it would be a whole sentence
        (BEGUN, 38),  # it would not be finished
        (NOTHING, 2),  # a short sound that is no sentence at all
    ],
)
def test_refused_speech_ends_by_what_it_would_be_if_it_were_a_sentence(
    supposed: Transcript | None, waits_frames: int
) -> None:
    mouth = Mouth()
    mouth.speak(12, NOTHING)
    mouth.pause(1, NOTHING)
    if supposed is not None:
        mouth.ear.suppose(supposed)
    events = [*mouth.pause(40, NOTHING)]
    assert next(n for n, event in enumerate(events, 2) if isinstance(event, Utterance)) == waits_frames


def test_what_was_supposed_is_forgotten_when_the_voice_goes_on() -> None:
    mouth = Mouth()
    mouth.speak(12, NOTHING)
    mouth.pause(1, NOTHING)
    mouth.ear.suppose(DONE)
    mouth.speak(2, BEGUN)
    assert not [event for event in mouth.pause(20, BEGUN) if isinstance(event, Utterance)]


def test_an_end_of_turn_model_is_heard_and_forgotten_when_the_voice_goes_on() -> None:
    words = Transcript("i would like a hammer", complete=False)

    def waits(verdict: float | None) -> int:
        mouth = Mouth()
        mouth.speak(20, words)
        mouth.pause(3, words)
        if verdict is not None:
            mouth.ear.turn_over(verdict)
        return mouth.silence_until_end(words)

    assert waits(0.99) < waits(None) <= waits(0.01)
    mouth = Mouth()
    mouth.speak(20, words)
    mouth.ear.turn_over(0.99)
    mouth.speak(1, words)
    mouth.pause(3, words)
    assert mouth.silence_until_end(words) == waits(None)


def test_a_greeting_may_go_on_and_says_so() -> None:
    mouth = Mouth()
    mouth.speak(12, GREETED)
    mouth.silence_until_end(GREETED)
    assert mouth.ear.ended is not None
    assert mouth.ear.ended.why.startswith("a whole sentence that may go on")
