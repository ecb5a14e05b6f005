"""G.711 against the Recommendation's own values and against libsndfile."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from edgeapp.web import g711

Decode = Callable[[bytes], NDArray[np.int16]]
Encode = Callable[[NDArray[np.int16]], bytes]

EVERY = np.arange(-32_768, 32_768).astype(np.int16)
CODES = bytes(range(256))
LAWS = [
    pytest.param("ULAW", g711.mu_law_decode, g711.mu_law_encode, id="mu-law"),
    pytest.param("ALAW", g711.a_law_decode, g711.a_law_encode, id="A-law"),
]


def test_codes_mean_what_the_tables_of_the_recommendation_say() -> None:
    """Tables 1a to 2b: the outermost and the innermost values of both laws, scaled to 16 bits."""
    mu = {0x80: 32_124, 0x8F: 16_764, 0x90: 15_996, 0xFE: 8, 0xFF: 0, 0x7F: 0, 0x7E: -8, 0x00: -32_124}
    a = {0xAA: 32_256, 0xA5: 16_896, 0xD5: 8, 0xD4: 24, 0x55: -8, 0x2A: -32_256}
    assert list(g711.mu_law_decode(bytes(mu))) == list(mu.values())
    assert list(g711.a_law_decode(bytes(a))) == list(a.values())


@pytest.mark.parametrize(("subtype", "decode", "encode"), LAWS)
def test_every_code_is_decoded_as_libsndfile_does(subtype: str, decode: Decode, encode: Encode) -> None:
    raw = {"samplerate": 8_000, "channels": 1, "format": "RAW", "subtype": subtype}
    theirs, _ = soundfile.read(io.BytesIO(CODES), dtype="int16", **raw)
    assert np.array_equal(decode(CODES), theirs)
    again = encode(decode(CODES))
    assert [one for one, two in zip(CODES, again, strict=True) if one != two] == ([0x7F] if subtype == "ULAW" else [])


@pytest.mark.parametrize(("subtype", "decode", "encode"), LAWS)
def test_every_sample_gets_libsndfiles_code_but_on_the_border_of_two_where_ours_is_no_farther(
    subtype: str, decode: Decode, encode: Encode
) -> None:
    file = io.BytesIO()
    soundfile.write(file, EVERY, 8_000, format="RAW", subtype=subtype)
    theirs, ours = file.getvalue(), encode(EVERY)
    differs = np.frombuffer(theirs, np.uint8) != np.frombuffer(ours, np.uint8)
    their_error, our_error = (np.abs(decode(each).astype(int) - EVERY) for each in (theirs, ours))
    assert differs.sum() == 127  # negative decision values
    assert (our_error <= their_error).all()


def test_a_telephones_sound_comes_in_blocks_of_any_size() -> None:
    assert g711.mu_law_encode(EVERY[::7]) == g711.mu_law_encode(EVERY)[::7]
    assert g711.a_law_decode(b"").shape == (0,)
