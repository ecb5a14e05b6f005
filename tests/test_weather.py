"""The weather of a link: the same for the same seed, like the traces it is fitted to, and exact in its arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.core.events import MS, ConfigError
from edgeapp.near_edge.presets import PRESETS, preset
from edgeapp.near_edge.trace import Trace, load_trace
from edgeapp.near_edge.weather import STEP_NS, Kind, Preset, Trouble, Weather

STEADY = Preset(
    name="steady",
    source="made up",
    rtt_ms=((0, 40), (1, 40)),
    up_mbps=((0, 8), (1, 8)),
    down_mbps=((0, 80), (1, 80)),
    after_step=0.0,
    after_second=0.0,
    rate_after_step=0.0,
)


def steady(*troubles: tuple[Kind, int, int]) -> Weather:
    """40 ms, 1,000 bytes a millisecond up and 10,000 down, and troubles in ms."""
    return Weather(STEADY, schedule=[Trouble(kind, start * MS, end * MS) for kind, start, end in troubles])


def trip_ms(
    weather: Weather, sent_ms: float, up_bytes: int = 0, down_bytes: int = 0, service_ms: int = 0
) -> float | None:
    """`round_trip_ns` in milliseconds."""
    took = weather.round_trip_ns(round(sent_ms * MS), up_bytes, down_bytes, service_ms * MS)
    return None if took is None else took / MS


# The arithmetic


def test_a_call_takes_its_bytes_both_ways_half_a_round_trip_each_and_the_service() -> None:
    assert trip_ms(steady(), 5) == 40
    assert trip_ms(steady(), 5, 30_000, 100_000, 12) == 30 + 20 + 12 + 10 + 20


def test_what_waits_out_a_stall_goes_on_at_its_end() -> None:
    weather = steady((Kind.STALL, 1_000, 1_300))
    assert trip_ms(weather, 900) == 40
    assert trip_ms(weather, 1_100) == 200 + 40
    assert trip_ms(weather, 990, 30_000) == 10 + 300 + 20 + 40, "a third was through"
    assert trip_ms(weather, 985) == 20 + 295 + 20, "the answer waits too"


def test_after_an_outage_tcp_retransmits_ever_more_rarely() -> None:
    weather = steady((Kind.OUTAGE, 1_000, 2_000))
    assert trip_ms(weather, 1_000) == 200 + 400 + 800 + 40, "at 200, 600 and 1,400 ms"
    assert trip_ms(weather, 1_900) == 200 + 40
    assert trip_ms(weather, 2_000) == 40


def test_a_black_hole_and_a_reset_swallow_calls() -> None:
    weather = steady((Kind.BLACK_HOLE, 1_000, 2_000), (Kind.RESET, 3_000, 3_000))
    assert trip_ms(weather, 1_500) is None
    assert trip_ms(weather, 990) is None, "its answer is swallowed"
    assert trip_ms(weather, 2_000) == 40
    assert trip_ms(weather, 2_970) is None
    assert trip_ms(weather, 3_001) == 40
    assert weather.cut_between(0, 2_999 * MS) is None
    assert weather.cut_between(2_999 * MS, 3_000 * MS) == 3_000 * MS


def test_the_worst_of_two_troubles_is_told() -> None:
    weather = steady((Kind.STALL, 0, 500), (Kind.OUTAGE, 100, 200))
    told = weather.at(150 * MS).trouble
    assert told is not None
    assert told.kind is Kind.OUTAGE
    assert not weather.at(300 * MS).alive
    assert weather.at(500 * MS).alive


def test_a_loss_costs_a_round_trip_or_a_timeout() -> None:
    lossy = Trace("lossy", [(0, 40 * MS, 8e6, 8e6, 0.9)])
    trips = {Weather(lossy, seed).round_trip_ns(0, 0, 0) for seed in range(200)}
    assert trips == {(40 + up + down) * MS for up in (0, 200) for down in (0, 200)}
    long = {
        Weather(Trace("l", [(0, 40 * MS, 8e9, 8e9, 0.01)]), seed).round_trip_ns(0, 144_800, 0) for seed in range(200)
    }
    assert {round((each or 0) / MS) for each in long} >= {40, 80, 240}


@settings(deadline=None)
@given(
    sent=st.integers(0, 20_000 * MS),
    up=st.integers(0, 200_000),
    down=st.integers(0, 200_000),
    name=st.sampled_from(sorted(PRESETS)),
    seed=st.integers(0, 3),
)
def test_no_call_is_faster_than_the_link_and_each_is_always_the_same(
    sent: int, up: int, down: int, name: str, seed: int
) -> None:
    weather = Weather(preset(name), seed)
    took = weather.round_trip_ns(sent, up, down)
    assert took is not None, "these presets swallow nothing"
    assert took >= preset(name).rtt_ms[0][1] * MS - 2
    weather.at(40_000 * MS)
    assert weather.round_trip_ns(sent, up, down) == took
    assert Weather(preset(name), seed).round_trip_ns(sent, up, down) == took


# The fit


@pytest.mark.parametrize(
    ("name", "quantiles"),
    [
        ("5g-driving", {0.5: 32.2, 0.95: 49.6, 0.99: 109}),
        ("lte-driving", {0.5: 33.2, 0.95: 45.7, 0.99: 57.7}),
        ("lte-walking", {0.5: 34.9, 0.95: 100, 0.99: 142}),
        ("lte-static", {0.5: 39, 0.95: 111, 0.99: 160}),
    ],
)
def test_pings_every_100_ms_have_the_quantiles_of_the_published_traces(
    name: str, quantiles: dict[float, float]
) -> None:
    weather = Weather(preset(name), 1)
    pings = sorted((weather.round_trip_ns(n * STEP_NS, 0, 0) or 0) / MS for n in range(36_000))
    for share, published_ms in quantiles.items():
        assert pings[int(share * len(pings))] == pytest.approx(published_ms, rel=0.25), share


def test_every_preset_says_where_it_is_from_and_a_wrong_name_lists_them() -> None:
    assert all("assumed" in each.source or "Ghoshal" in each.source for each in PRESETS.values())
    with pytest.raises(ConfigError, match="5g-driving"):
        preset("6g")
    crooked = STEADY.__class__(**{**{f: getattr(STEADY, f) for f in STEADY.__slots__}, "rtt_ms": ((0, 9), (1, 3))})
    with pytest.raises(ConfigError, match="rise"):
        Weather(crooked).at(0)


# Traces


def test_a_trace_is_read_from_csv_and_from_json_lines(tmp_path: Path) -> None:
    (tmp_path / "drive.csv").write_text("# a drive\nrtt_ms, time,loss\n40,7.0,0\n60, 7.5 ,0\n50,8.5,1\n")
    trace = load_trace(tmp_path / "drive.csv")
    assert trace.name == "drive"
    weather = Weather(trace)
    assert [weather.at(each * MS).rtt_ns // MS for each in (0, 499, 500, 1_499, 1_500, 2_499, 2_500)] == [
        40, 40, 60, 60, 50, 50, 40,
    ]  # fmt: skip
    assert weather.round_trip_ns(1_600 * MS, 0, 0) == (900 + 40) * MS, "a loss of 1 is an outage until the next row"
    assert not weather.at(1_600 * MS).alive
    (tmp_path / "drive.jsonl").write_text('{"time": 7, "rtt_ms": 40}\n{"time": 7.5, "rtt_ms": 60, "up_mbps": 8}\n')
    assert Weather(load_trace(tmp_path / "drive.jsonl")).round_trip_ns(600 * MS, 1_000, 0) == 61 * MS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,rtt_ms\n", "no rows"),
        ("time,rtt_ms\n1,20\n1,20\n", "line 3.*not later"),
        ("time,rtt_ms\n1,fast\n", "write a number"),
        ("time,rtt_ms\n1\n", "rtt_ms is None"),
        ("time,rtt_ms,loss\n1,20,2\n", "at most 1"),
        ("time,rtt_ms\n1,nan\n", "0 or more"),
        ("time,rtt_ms\n1,20\n1e300,20\n", "line 3: time is 1e300; .* at most 1e\\+10"),
        ('{"time": 1, "rtt_ms": 1e305}\n', "at most"),
        ("time,rtt_ms,jitter\n1,2,3\n", "unknown column 'jitter'"),
        ('{"time": 1, "rtt_ms": \n', "line 1: not a line of JSON"),
    ],
)
def test_a_bad_trace_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_trace(tmp_path / "bad.csv")
    with pytest.raises(ConfigError, match="cannot read"):
        load_trace(tmp_path / "absent.csv")
