"""The rule of patience, what it reads from a text and a voice, and the making of paused turns. All pure."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.bench.paused import Room, heard_in, quietest, voiced_span, with_pause
from edgeapp.core.events import MS
from edgeapp.voice.grammar import kiosk_grammar, without_greeting
from edgeapp.voice.patience import Evidence, Patience, Pauses, Said, cadence, patience, preset
from edgeapp.voice.prosody import Prosody, pitch_of
from edgeapp.voice.syntax import Shape, digits_in, ends_in_stop, is_yes_or_no, shape_of


def test_the_less_finished_the_words_the_longer_the_wait() -> None:
    order = (Said.CLOSED, Said.PLAIN, Said.HESITATION, Said.OPEN)
    waits = [patience(Patience(), Evidence(said)).wait_ns for said in order]
    assert waits == sorted(waits)
    assert waits[0] == 48 * MS
    assert waits[-1] == 1_200 * MS


def test_the_presets_are_ordered_by_their_patience() -> None:
    waits = [patience(preset(name), Evidence(Said.NOTHING)).wait_ns for name in ("aggressive", "default", "relaxed")]
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


def test_a_voice_that_ends_shortens_the_wait_and_the_record_says_so() -> None:
    level, falling = (patience(Patience(), Evidence(Said.NOTHING, cadence=each)) for each in (-1.0, 1.5))
    assert falling.wait_ns < level.wait_ns
    assert "the voice ends" in falling.why
    assert "the voice stays level" in level.why
    assert cadence(4.0, 12.0, 1.5) > cadence(0.0, 6.0, 1.0)


def test_the_pauses_of_a_speaker_move_the_wait_both_ways() -> None:
    long = short = Pauses()
    for _ in range(8):
        long, short = long.learned(700 * MS), short.learned(150 * MS)
    waits = [patience(Patience(), Evidence(Said.NOTHING, pauses=each)).wait_ns for each in (short, long)]
    assert waits[0] < waits[1]
    assert short.median_ms < Pauses().median_ms < long.median_ms


def test_what_is_learned_is_bounded() -> None:
    pauses = Pauses()
    for _ in range(1_000):
        pauses = pauses.learned(300 * MS).after_turn()
    assert pauses.turns <= 33
    assert pauses.count <= 66


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("", Shape.EMPTY),
        ("i would like um", Shape.HESITATION),
        ("where is the", Shape.OPEN),
        ("a hammer and", Shape.OPEN),
        ("my number is five five", Shape.NUMBER),
        ("it is 42", Shape.NUMBER),
        ("what is it for", Shape.QUESTION),
        ("who are you", Shape.QUESTION),
        ("a hammer please give me", Shape.PLAIN),
    ],
)
def test_the_shape_of_a_text(text: str, shape: Shape) -> None:
    assert shape_of(text) is shape


def test_numbers_answers_and_stops_are_read_from_the_text() -> None:
    assert [digits_in(each) for each in ("five five two", "room 4711", "a hammer")] == [3, 4, 0]
    assert [is_yes_or_no(each) for each in ("yes please", "no", "the hammer", "")] == [True, True, False, False]
    assert [ends_in_stop(each) for each in ("in stock", "does it cost", "side right", "a tape", "the hammer")] == [
        True, True, True, True, False,
    ]  # fmt: skip


def test_a_greeting_may_come_before_a_question_and_is_taken_off() -> None:
    grammar = kiosk_grammar(["hammer"], [], []).greeted()
    assert grammar.is_sentence("hello where is the hammer")
    assert not grammar.is_sentence("hello hello")
    assert without_greeting("hello where is the hammer") == "where is the hammer"
    assert without_greeting("hello") == "hello"


@pytest.mark.parametrize("pitch_hz", [70, 110, 220, 440])
def test_the_pitch_of_a_voice_is_found_within_one_percent(pitch_hz: float) -> None:
    phase = 2 * np.pi * pitch_hz * np.arange(1024) / 16_000
    assert pitch_of(3_000 * np.sin(phase) + 1_500 * np.sin(2 * phase)) == pytest.approx(pitch_hz, rel=0.01)


def test_noise_and_silence_have_no_pitch() -> None:
    assert pitch_of(np.random.default_rng(0).normal(0, 1_000, 1024)) == 0
    assert pitch_of(np.zeros(1024)) == pitch_of(np.zeros(100)) == 0


def test_a_falling_pitch_is_heard_as_falling() -> None:
    falls = []
    for end_hz in (200.0, 120.0):
        prosody = Prosody()
        phase = 2 * np.pi * np.cumsum(np.linspace(200, end_hz, 16_384)) / 16_000
        for frame in (4_000 * np.sin(phase)).astype(np.int16).reshape(-1, 512):
            prosody.feed(frame)
        falls.append(prosody.ending().pitch_fall)
    assert falls[0] == pytest.approx(0, abs=0.2)
    assert falls[1] > 3


def test_a_pause_is_as_long_as_asked_and_the_speech_around_it_is_kept() -> None:
    speech = np.asarray(4_000 * np.sin(np.arange(16_000) * 0.3), np.int16)
    paused = with_pause(speech, 8_000, 500, np.random.default_rng(0), noise_rms=8)
    assert len(paused) == 16_000 + 8_000
    assert np.array_equal(paused[:7_900], speech[:7_900])
    assert np.array_equal(paused[16_100:], speech[8_100:])
    assert 6 < paused[8_000:16_000].std() < 10
    with pytest.raises(ValueError, match="outside"):
        with_pause(speech, 17_000, 500, np.random.default_rng(0))


def test_the_quietest_place_and_the_voiced_span_are_found() -> None:
    speech = np.asarray(4_000 * np.sin(np.arange(16_000) * 0.3), np.int16)
    speech[8_000:8_320] = 0
    assert 8_000 <= quietest(speech, 7_800) <= 8_320
    heard, lead = heard_in(Room(noise_rms=1, lead_ms=100, tail_ms=100), speech, np.random.default_rng(0))
    assert (lead, len(heard)) == (1_600, 16_000 + 3_200)
    assert voiced_span(heard) == (1_600, 17_600)
