"""How the bench on a sound card counts, on a recording made by hand. The card itself needs a sound server and is not tested here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from edgeapp.bench.null_card import RATE_HZ, null_card
from edgeapp.bench.recorded import at_rate
from edgeapp.bench.voice import bench_voice
from edgeapp.bench.voice_card import Said, Tapped, Timed, timed_turns
from edgeapp.bench.voice_turns import SpokenTurn
from edgeapp.core.events import MS, AudioChunk, ConfigError
from edgeapp.core.flow import Recent
from edgeapp.core.record import TurnRecord

RNG = np.random.default_rng(2)
CLIP = (4_000 * RNG.standard_normal(16_000) * np.hanning(16_000)).astype(np.int16)
TURN = SpokenTurn("hello", "person", CLIP, 12_000)


def tapped(*pieces: np.ndarray, began_ms: int = 5_000) -> Tapped:
    """A microphone that gave these in blocks of 10 ms."""
    microphone, sound = Tapped(Recent[AudioChunk](depth=1)), np.concatenate(pieces)
    for first in range(0, len(sound), 160):
        microphone.kept.append(AudioChunk(sound[first : first + 160], (began_ms + 10 + first // 16) * MS))
    return microphone


def quiet(samples: int) -> np.ndarray:
    return RNG.integers(-3, 4, samples).astype(np.int16)


def test_the_instant_of_a_sample_is_the_one_that_the_microphone_says() -> None:
    microphone = tapped(quiet(16_000), CLIP, quiet(8_000))
    assert microphone.captured_ns(CLIP, 12_000, 0) == pytest.approx((5_000 + 1_000 + 750) * MS, abs=70_000)
    assert microphone.captured_ns(CLIP, 12_000, 5_900 * MS) == pytest.approx(6_750 * MS, abs=70_000)


def test_a_clip_of_which_the_microphone_lost_a_piece_has_no_instant() -> None:
    assert tapped(quiet(16_000), CLIP[:7_000], CLIP[7_480:], quiet(8_000)).captured_ns(CLIP, 12_000, 0) is None
    assert tapped(quiet(160)).captured_ns(CLIP, 12_000, 9_000 * MS) is None


def air(reply_at: int | None, hole: slice = slice(0)) -> np.ndarray:
    """Four seconds: the person from frame 22,050 on, the reply from `reply_at`."""
    both = np.zeros((4 * RATE_HZ, 2), np.int16)
    said = at_rate(CLIP, 16_000, RATE_HZ)
    both[22_050 : 22_050 + len(said), 0] = said
    both[hole, 0] = 0
    if reply_at is not None:
        both[reply_at : reply_at + 10_000, 1] = 5_000
    return both


def record(first_ms: float | None) -> TurnRecord:
    first_ns = None if first_ms is None else round(first_ms * MS)
    return TurnRecord(
        number=1, last_voiced_ns=6_740 * MS, committed_ns=6_800 * MS, due_ns=6_950 * MS, first_audible_ns=first_ns,
        ended_ns=8_000 * MS, outcome="answered", heard_words=1, heard="hello", first_reply_ns=first_ns,
    )  # fmt: skip


async def timed(captured_ms: float | None, first_ms: float | None, air: np.ndarray) -> Timed:
    captured_ns = None if captured_ms is None else round(captured_ms * MS)
    await asyncio.sleep(60)  # the turn is over long since
    [turn] = timed_turns([Said(TURN, 5_500 * MS, 1_000, captured_ns)], [record(first_ms)], air)
    return turn


LAST_VOICED = 22_050 + 12_000 * RATE_HZ // 16_000


async def test_the_recording_tells_the_delay_and_the_application_what_it_believed() -> None:
    turn = await timed(6_750, 6_870, air(LAST_VOICED + 5_733))
    assert (turn.recorded_ms, turn.believed_ms, turn.counts) == (130.0, 120.0, True)


async def test_a_turn_without_a_reply_or_with_a_hole_is_not_timed() -> None:
    silent = await timed(6_750, None, air(None))
    holed = await timed(6_750, 6_870, air(LAST_VOICED + 5_733, slice(40_000, 50_000)))
    unheard = await timed(None, 6_870, air(LAST_VOICED + 5_733))
    assert (silent.counts, holed.counts, unheard.counts) == (False, False, False)
    assert (silent.whole, holed.whole, unheard.whole) == (True, False, False)


async def test_a_reply_that_sounds_before_the_last_voiced_sample_is_not_timed() -> None:
    turn = await timed(6_750, 6_870, air(LAST_VOICED - 441))
    assert (turn.recorded_ms, turn.counts) == (-10.0, False)


async def test_without_the_sound_server_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"needs pulseaudio, pactl, pacat, parec: sudo apt-get install pulseaudio"):
        async with null_card("pulseaudio"):
            pass


def test_more_turns_than_a_card_lasts_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="up to 60"):
        bench_voice(quick=False, presets=(), turns=61, seed=1, out=tmp_path, sound_card="pulseaudio")
