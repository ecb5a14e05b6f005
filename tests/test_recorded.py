"""What a recording of the air shows, on recordings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.bench.recorded import Callbacks, at_rate, callbacks_of, first_loud, place_of
from edgeapp.core.events import MS

RNG = np.random.default_rng(1)
CLIP = (8_000 * RNG.standard_normal(4_000) * np.hanning(4_000)).astype(np.int16)


def in_a_room(clip: np.ndarray, first: int, length: int, gain: float = 1.0, noise: float = 10.0) -> np.ndarray:
    heard = noise * RNG.standard_normal(length)
    heard[first : first + len(clip)] += gain * clip
    return np.clip(np.rint(heard), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("first", [0, 1, 7_777, 16_000])
@pytest.mark.parametrize("gain", [0.25, 1.0])
def test_a_clip_is_found_to_the_sample_however_loud_it_is(first: int, gain: float) -> None:
    found = place_of(CLIP, in_a_room(CLIP, first, 20_000, gain))
    assert (found.first, found.found) == (first, True)


def test_another_rate_moves_nothing_and_changes_no_loudness() -> None:
    tone = 8_000 * np.hanning(3_333) * np.sin(2 * np.pi * 1_000 * np.arange(3_333) / 16_000)
    made = at_rate(tone.astype(np.int16), 16_000, 44_100)
    at = np.arange(len(made)) / 44_100
    wanted = np.interp(at, np.arange(3_333) / 16_000, 8_000 * np.hanning(3_333)) * np.sin(2 * np.pi * 1_000 * at)
    assert len(made) == 9_187
    assert np.abs(made - wanted).max() < 4


def test_a_louder_sound_beside_it_does_not_draw_the_place_away() -> None:
    recording = in_a_room(CLIP, 12_000, 20_000, 0.5)
    recording[:8_000] += (8_000 * RNG.standard_normal(8_000)).clip(-20_000, 20_000).astype(np.int16)
    assert place_of(CLIP, recording).first == 12_000


def test_a_clip_with_a_hole_in_it_is_not_whole() -> None:
    recording = in_a_room(CLIP, 5_000, 20_000)
    recording[6_800:7_600] = 0
    assert not place_of(CLIP, recording).found


def test_a_clip_that_a_driver_stretched_by_a_block_is_not_whole() -> None:
    late = np.concatenate([CLIP[:2_000], np.zeros(441, np.int16), CLIP[2_000:]])
    assert not place_of(CLIP, in_a_room(late, 5_000, 20_000)).found


def test_noise_holds_no_clip_and_neither_does_a_recording_that_is_shorter() -> None:
    assert not place_of(CLIP, in_a_room(CLIP[:0], 0, 20_000)).found
    assert place_of(CLIP, CLIP[:-1]).likeness == 0
    assert place_of(CLIP, np.zeros(20_000, np.int16)).likeness == 0


def test_the_reply_begins_at_the_first_sample_that_is_heard_after_an_instant() -> None:
    sound = np.zeros(1_000, np.int16)
    sound[[100, 500, 700]] = 300, 200, -201
    assert (first_loud(sound, 0), first_loud(sound, 101), first_loud(sound, 701)) == (100, 700, None)


def every_10_ms(*left_out: int) -> list[int]:
    return [number * 10 * MS for number in range(301) if number not in left_out]


def test_callbacks_that_come_on_time_are_steady() -> None:
    found = callbacks_of(every_10_ms(), 10 * MS, 5 * MS, 2_995 * MS)
    assert (found, found.steady) == (Callbacks(299, 299, 10.0), True)


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (range(100, 110), "289 of 299 callbacks, the longest gap 110 ms"),
        (range(3, 300, 10), "269 of 299 callbacks, the longest gap 20 ms"),
        (range(270, 301), "269 of 299 callbacks, the longest gap 305 ms"),
        (range(301), "0 of 299 callbacks, the longest gap 2990 ms"),
    ],
    ids=["a long gap", "one in ten missing", "it stopped", "none came"],
)
def test_callbacks_that_stall_are_not_steady_and_say_what_was_seen(missing: range, says: str) -> None:
    found = callbacks_of(every_10_ms(*missing), 10 * MS, 5 * MS, 2_995 * MS)
    assert (str(found), found.steady) == (says, False)
