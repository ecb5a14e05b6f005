"""What the nano Whisper is trained on: plain words, nothing of its test, and rooms that depend on the seed only."""

import random
import string
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import kiosk_sentences as sentences  # type: ignore[import-not-found]
from kiosk_rooms import Rooms  # type: ignore[import-not-found]

from edgeapp.core.events import SAMPLE_RATE_HZ


def test_training_says_plain_words_and_nothing_of_the_test() -> None:
    rng = random.Random(3)
    drawn = {sentences.train_sentence(rng) for _ in range(3_000)}
    assert drawn.isdisjoint(sentences.TEST)
    assert set("".join(drawn)) <= set(string.ascii_lowercase + " '")
    assert drawn & set(sentences.GRAMMAR)


def test_the_test_is_of_this_size() -> None:
    assert (len(sentences.UNSEEN), len(sentences.OUTSIDE)) == (149, 18)
    assert set(sentences.UNSEEN).isdisjoint(sentences.GRAMMAR)


def test_numbers_are_said_in_words() -> None:
    said = {sentences.number(random.Random(seed)) for seed in range(2_000)}
    assert {"zero", "seven", "twenty", "forty two", "ninety nine"} <= said


def test_word_errors_count_what_was_put_in_left_out_and_replaced() -> None:
    for truth, heard, errors in (
        ("where is the saw", "where is the saw", 0),
        ("where is the saw", "", 4),
        ("", "stop", 1),
        ("where is the saw", "where is a hand saw", 2),
    ):
        assert sentences.word_errors(truth, heard) == errors


def test_a_room_keeps_the_clip_and_depends_on_the_seed_only() -> None:
    speech = (9_000 * np.sin(np.arange(SAMPLE_RATE_HZ) * 0.2)).astype(np.int16)
    first, begin_s, end_s = Rooms(1, rooms=3, noises=2)(speech, np.random.default_rng(5), 0.6)
    again, _, _ = Rooms(1, rooms=3, noises=2)(speech, np.random.default_rng(5), 0.6)
    assert np.array_equal(first, again)
    assert 0.8 < end_s - begin_s < 1.25
    assert 0.02 < np.abs(first).max() <= 0.95
    assert first.size / SAMPLE_RATE_HZ > end_s
