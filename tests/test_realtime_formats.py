"""The sound of a Realtime session on the wire."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.web.realtime_formats import FORMATS

EVERY = np.arange(-32_768, 32_768).astype(np.int16)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("audio/pcmu", {0x80: 32_124, 0x8F: 16_764, 0x90: 15_996, 0xFE: 8, 0xFF: 0, 0x7F: 0, 0x7E: -8, 0x00: -32_124}),
        ("audio/pcma", {0xAA: 32_256, 0xA5: 16_896, 0xD5: 8, 0xD4: 24, 0x55: -8, 0x2A: -32_256}),
    ],
)
def test_codes_mean_what_the_tables_of_g711_say(name: str, values: dict[int, int]) -> None:
    """Tables 1a to 2b of the Recommendation: the outermost and the innermost values, scaled to 16 bits."""
    assert list(FORMATS[name].decode(bytes(values))) == list(values.values())


@pytest.mark.parametrize("name", FORMATS)
def test_sound_comes_in_blocks_of_any_size(name: str) -> None:
    form = FORMATS[name]
    whole = form.encode(EVERY)
    assert len(whole) == len(EVERY) * form.sample_bytes
    assert b"".join(form.encode(EVERY[at : at + 777]) for at in range(0, len(EVERY), 777)) == whole
    assert form.decode(b"").shape == (0,)
