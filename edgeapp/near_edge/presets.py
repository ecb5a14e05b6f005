"""Kinds of links, each with its source.

The figures of `lte-*` and `5g-*` were computed from the published ping (every 100 ms) and uplink traces of Ghoshal et al.,
"An In-Depth Study of Uplink Performance of 5G mmWave Networks", ACM SIGCOMM 5G-MeMU 2022, repository
NUWiNS/sigcomm-5gmemu-5g-mmWave-uplink-data at 255526a; the traces themselves are not here because they have no licence.
Its downlinks are assumed, because that study has none and our answers are small. Stalls are the ramps in the 5G traces
(the first ping of each plus 40 ms, since a stall begins somewhere between two pings), and are taken out of the body.
`scripts/fetch_traces.py` brings the traces themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edgeapp.core.events import ConfigError
from edgeapp.near_edge.weather import Kind, Often, Preset, Quantiles

_STUDY: Final = "Ghoshal et al., 5G-MeMU 2022, {}; downlink assumed"
_LTE_UP: Final[Quantiles] = (
    (0, 11),
    (0.01, 36),
    (0.1, 42.5),
    (0.25, 44.5),
    (0.5, 45.5),
    (0.75, 62),
    (0.9, 65),
    (1, 66),
)
_LTE_DOWN: Final[Quantiles] = ((0, 10), (0.1, 30), (0.5, 60), (0.9, 100), (1, 150))
_5G_DOWN: Final[Quantiles] = ((0, 20), (0.1, 80), (0.5, 250), (0.9, 600), (1, 1000))
_OUTAGES: Final = Often(Kind.OUTAGE, per_minute=1.0, lasts_ms=((0, 500), (0.5, 4_000), (0.9, 8_000), (1, 20_000)))

_ALL: Final = (
    Preset(
        name="ethernet",
        source="assumed: a switched network in one building",
        rtt_ms=((0, 0.2), (0.5, 0.4), (0.99, 1.5), (1, 5)),
        up_mbps=((0, 900), (1, 940)),
        down_mbps=((0, 900), (1, 940)),
        after_step=0.1,
        after_second=0.0,
        rate_after_step=0.9,
    ),
    Preset(
        name="fibre",
        source="assumed: a metro near edge behind a fibre line",
        rtt_ms=((0, 3), (0.5, 5), (0.95, 7), (0.99, 10), (0.999, 25), (1, 60)),
        up_mbps=((0, 80), (0.5, 95), (1, 100)),
        down_mbps=((0, 150), (0.5, 240), (1, 250)),
        after_step=0.2,
        after_second=0.1,
        rate_after_step=0.95,
    ),
    Preset(
        name="wifi",
        source="assumed: one busy access point, stalls while it scans or retries",
        rtt_ms=((0, 1.5), (0.5, 4), (0.9, 12), (0.95, 20), (0.99, 45), (0.999, 120), (1, 250)),
        up_mbps=((0, 5), (0.1, 20), (0.5, 60), (0.9, 120), (1, 200)),
        down_mbps=((0, 8), (0.1, 30), (0.5, 80), (0.9, 160), (1, 250)),
        after_step=0.4,
        after_second=0.2,
        rate_after_step=0.9,
        troubles=(Often(Kind.STALL, per_minute=1.0, lasts_ms=((0, 40), (0.5, 100), (0.9, 250), (1, 600))),),
    ),
    Preset(
        name="lte-static",
        source=_STUDY.format("ping/static/lte (2,617 pings), throughput/static/lte"),
        rtt_ms=((0, 21), (0.01, 24.7), (0.1, 27.8), (0.25, 31), (0.5, 39), (0.75, 50), (0.9, 88), (0.95, 111), (0.99, 160), (0.999, 215), (1, 231)),
        up_mbps=_LTE_UP,
        down_mbps=_LTE_DOWN,
        after_step=0.5,
        after_second=0.12,
        rate_after_step=0.94,
    ),
    Preset(
        name="lte-walking",
        source=_STUDY.format("ping/walking/lte (4,791 pings), throughput/walking/lte"),
        rtt_ms=((0, 20.5), (0.01, 24.9), (0.1, 27.4), (0.25, 30.5), (0.5, 34.9), (0.75, 46), (0.9, 79), (0.95, 100), (0.99, 142), (0.999, 226), (1, 399)),
        up_mbps=_LTE_UP,
        down_mbps=_LTE_DOWN,
        after_step=0.42,
        after_second=0.03,
        rate_after_step=0.93,
    ),
    Preset(
        name="lte-driving",
        source=_STUDY.format("ping/driving/lte (12,527 pings), throughput/driving/lte"),
        rtt_ms=((0, 19.9), (0.01, 25.7), (0.1, 27.9), (0.25, 30), (0.5, 33.2), (0.75, 36.4), (0.9, 41.7), (0.95, 45.3), (0.99, 54.6), (0.999, 80), (1, 93)),
        up_mbps=((0, 0.2), (0.01, 4.9), (0.1, 15.4), (0.25, 23.3), (0.5, 35.9), (0.75, 43.6), (0.95, 45.9), (0.99, 55.4), (1, 65)),
        down_mbps=_LTE_DOWN,
        after_step=0.25,
        after_second=0.15,
        rate_after_step=0.96,
        troubles=(Often(Kind.STALL, per_minute=1.48, lasts_ms=((0, 90), (0.1, 109), (0.5, 201), (0.9, 572), (1, 958))),),
    ),
    Preset(
        name="5g-static",
        source=_STUDY.format("ping/static/5g (2,522 pings), throughput/static/5g"),
        rtt_ms=((0, 8), (0.01, 10.5), (0.1, 11.7), (0.25, 12.8), (0.5, 14.4), (0.75, 16), (0.9, 19), (0.95, 21.7), (0.99, 31), (0.999, 45), (1, 66)),
        up_mbps=((0, 0.5), (0.02, 15), (0.1, 45), (0.25, 76), (0.5, 105), (0.75, 148), (0.9, 163), (1, 173)),
        down_mbps=_5G_DOWN,
        after_step=0.25,
        after_second=0.05,
        rate_after_step=0.87,
        troubles=(Often(Kind.STALL, per_minute=6.2, lasts_ms=((0, 90), (0.1, 145), (0.5, 210), (0.9, 290), (1, 338))),),
    ),
    Preset(
        name="5g-walking",
        source=_STUDY.format("ping/walking/5g (4,720 pings), throughput/walking/5g"),
        rtt_ms=((0, 9), (0.01, 10.6), (0.1, 11.8), (0.25, 13), (0.5, 14.6), (0.75, 16.5), (0.9, 21), (0.95, 27), (0.99, 36), (0.999, 46), (1, 60)),
        up_mbps=((0, 0.5), (0.1, 9), (0.25, 50), (0.5, 80), (0.75, 120), (0.9, 140), (1, 162)),
        down_mbps=_5G_DOWN,
        after_step=0.27,
        after_second=0.12,
        rate_after_step=0.85,
        troubles=(Often(Kind.STALL, per_minute=3.6, lasts_ms=((0, 90), (0.1, 125), (0.5, 220), (0.9, 295), (1, 339))),),
    ),
    Preset(
        name="5g-driving",
        source=_STUDY.format("ping/driving/5g (15,561 pings), throughput/driving/5g, both carriers added"),
        rtt_ms=((0, 7.8), (0.01, 11.7), (0.1, 14.9), (0.25, 27.5), (0.5, 32), (0.75, 36.5), (0.9, 43.4), (0.95, 47.1), (0.99, 56.9), (0.999, 82), (1, 91)),
        up_mbps=((0, 0.5), (0.05, 0.8), (0.1, 3), (0.25, 11.5), (0.5, 26.4), (0.75, 55.3), (0.9, 83.9), (0.99, 140), (1, 173)),
        down_mbps=_5G_DOWN,
        after_step=0.56,
        after_second=0.49,
        rate_after_step=0.957,
        troubles=(Often(Kind.STALL, per_minute=6.05, lasts_ms=((0, 90), (0.1, 108), (0.5, 154), (0.9, 232), (0.98, 400), (1, 839))),),
    ),
)  # fmt: skip


def _with_outages(preset: Preset) -> Preset:
    return replace(
        preset,
        name=f"{preset.name}-outages",
        source=f"{preset.source}; and about one outage a minute, assumed, half of a second to 20 s",
        troubles=(*preset.troubles, _OUTAGES),
    )


PRESETS: Final = {each.name: each for each in (*_ALL, *map(_with_outages, _ALL))}
"""By name; `NAME-outages` is NAME with about one outage a minute."""


def preset(name: str) -> Preset:
    """The preset of that name. Raises ConfigError that lists the known ones."""
    if name not in PRESETS:
        raise ConfigError(f"there is no weather called {name!r}; use one of {', '.join(PRESETS)}")
    return PRESETS[name]
