"""The bench of the line's own cost runs on the real parts and measures every part."""

from __future__ import annotations

import pytest

from edgeapp.bench.station_outputs import station_outputs


@pytest.mark.real_time
async def test_the_bench_measures_every_part() -> None:
    figures = await station_outputs(10)
    assert figures["parts"] == 10
    for name in ("tell_us", "edge_to_line_us", "coil_to_bit_ms", "bare_read_ms"):
        assert 0 < figures[name]["p50"] <= figures[name]["p99"] <= figures[name]["max"]
