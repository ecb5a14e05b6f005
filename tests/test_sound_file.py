"""Sound files that are sent while they are made."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from edgeapp.web.sound_file import FileFormat, SoundFile

RATE_HZ = 24_000
TONE = (8_000 * np.sin(np.arange(3 * RATE_HZ) * 2 * np.pi * 440 / RATE_HZ)).astype(np.int16)


def _made(form: FileFormat) -> list[bytes]:
    file = SoundFile(form, RATE_HZ)
    pieces = [file.feed(TONE[at : at + 6_000]) for at in range(0, len(TONE), 6_000)]
    return [*pieces, file.close()]


@pytest.mark.parametrize("form", ["mp3", "opus", "flac", "wav"])
def test_what_was_sent_is_a_file_that_others_read(form: FileFormat) -> None:
    with soundfile.SoundFile(io.BytesIO(b"".join(_made(form)))) as file:
        heard = file.read(10 * RATE_HZ)
    assert abs(len(heard) - len(TONE)) <= RATE_HZ // 10  # MP3 has whole frames, and one of silence in front
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(np.argmax(spectrum) * RATE_HZ / len(heard) - 440) < 1
    assert np.abs(heard).max() * 32_768 == pytest.approx(8_000, rel=0.15)


@pytest.mark.parametrize("form", ["mp3", "opus", "wav", "pcm"])
def test_a_file_begins_long_before_its_sound_has_ended(form: FileFormat) -> None:
    pieces = _made(form)
    sent_at = [number for number, piece in enumerate(pieces) if piece]
    assert sent_at[0] == 0
    half = b"".join(pieces[: len(pieces) // 2])
    assert len(half) > len(b"".join(pieces)) // 4


def test_what_has_no_loss_is_the_same_sound() -> None:
    for form in ("flac", "wav"):
        with soundfile.SoundFile(io.BytesIO(b"".join(_made(form)))) as file:
            assert np.array_equal(file.read(10 * RATE_HZ, dtype="int16"), TONE)
    assert b"".join(_made("pcm")) == TONE.astype("<i2").tobytes()


def test_a_file_may_be_given_up_and_closed_twice() -> None:
    file = SoundFile("mp3", RATE_HZ)
    file.feed(TONE[:100])
    file.close()
    assert file.close() == b""
