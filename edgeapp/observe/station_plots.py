"""The station's charts as PNG: control chart of rejects, Pareto of causes, capability of a measured size."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeapp.core.events import ConfigError
from edgeapp.station.statistics import Bar, Capability, PChart

_DARK: Final = "#2b2f36"
_BLUE: Final = "#3b82c4"
_RED: Final = "#d64550"
_GREY: Final = "#9aa5b1"
_BARS_MAX: Final = 12  # a Pareto with more bars is not read; the smallest are put together


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("pictures need the package matplotlib: pip install 'edgeapp[plots]'") from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> Path:
    for axes in figure.axes:
        axes.spines["top"].set_visible(False)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; give another folder with --out") from error
    finally:
        _pyplot().close(figure)
    return path


def draw_p_chart(chart: PChart, began_ns: Sequence[int], path: Path, title: str) -> Path:
    """Share of rejects of each subgroup, limits for its size, and every point at which a rule fired. Returns `path`.

    `began_ns` says when each point of the chart began (UTC). Raises ConfigError.
    """
    figure, axes = _pyplot().subplots(figsize=(11, 4.6), layout="constrained")
    at = np.arange(len(chart.points))
    edges = np.arange(len(chart.points) + 1) - 0.5
    for values, name in (
        ([point.high for point in chart.points], "3-sigma limits for the subgroup's size"),
        ([point.low for point in chart.points], None),
    ):
        axes.stairs([100 * value for value in values], edges, baseline=None, color=_GREY, linewidth=1.3, label=name)
    axes.axhline(
        100 * chart.centre, color=_GREY, linestyle="--", linewidth=1, label=f"centre {100 * chart.centre:.2f} %"
    )
    axes.plot(at, [100 * point.share for point in chart.points], color=_BLUE, marker="o", markersize=4, linewidth=1.2)
    fired = {signal.at: signal for signal in reversed(chart.signals)}  # the first of several rules is the plainest one
    if fired:
        shares = [100 * chart.points[n].share for n in fired]
        axes.scatter(
            list(fired), shares, s=70, facecolors="none", edgecolors=_RED, linewidths=1.8, label="a rule fired"
        )
    for n, signal in fired.items():
        name = signal.rule.replace("Western Electric ", "WE ").replace("Nelson ", "N ")
        axes.annotate(
            name, (n, 100 * chart.points[n].share), xytext=(0, 9 if chart.points[n].z > 0 else -16),
            textcoords="offset points", ha="center", fontsize=8, color=_RED,
        )  # fmt: skip
    ticks = at[:: max(1, len(at) // 12)]
    axes.set_xticks(ticks, [_when(began_ns[n]) for n in ticks], fontsize=8)
    axes.set(xlabel="subgroup, from (UTC)", ylabel="rejects, %")
    axes.margins(x=0.02, y=0.18)
    axes.set_ylim(bottom=0)
    axes.spines["right"].set_visible(False)
    axes.set_title(title, loc="left", fontsize=11)
    if chart.points:
        axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper left")
    return _save(figure, path)


def _when(utc_ns: int) -> str:
    return f"{datetime.fromtimestamp(utc_ns / 1e9, UTC):%d %b\n%H:%M}"


def draw_pareto(bars: Sequence[Bar], path: Path, title: str) -> Path:
    """Parts by cause, most first, with the cumulated share. Returns `path`. Raises ConfigError."""
    figure, axes = _pyplot().subplots(figsize=(8.5, 4.6), layout="constrained")
    shown = list(bars[: _BARS_MAX - 1] if len(bars) > _BARS_MAX else bars)
    if rest := bars[len(shown) :]:
        parts, part = sum(bar.parts for bar in rest), sum(bar.share for bar in rest)
        shown.append(Bar(f"{len(rest)} others", parts, part, 1.0))
    axes.bar(range(len(shown)), [bar.parts for bar in shown], color=_BLUE, width=0.7)
    names = [f"{bar.cause}\n{bar.parts}" for bar in shown]
    axes.set_xticks(range(len(shown)), names, rotation=20 if len(shown) > 8 else 0)
    axes.set_ylabel("parts")
    axes.set_ylim(0, 1.05 * max(1, sum(bar.parts for bar in shown)))  # so that the curve begins at the first bar's top
    right = axes.twinx()
    right.plot(range(len(shown)), [100 * bar.cumulated for bar in shown], color=_RED, marker="o", markersize=4)
    right.set_ylim(0, 105)
    right.set_yticks([0, 20, 40, 60, 80, 100])
    right.set_ylabel("cumulated, %", color=_RED)
    right.tick_params(axis="y", colors=_RED)
    axes.set_title(title, loc="left", fontsize=11)
    return _save(figure, path)


def draw_capability(
    values: Sequence[float], found: Capability, limits: tuple[float, float], path: Path, title: str
) -> Path:
    """The measured values in the order they came, and how they lie between the limits. Returns `path`. Raises ConfigError."""
    figure, (run, spread) = _pyplot().subplots(
        1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(2, 1), sharey=True
    )
    run.plot(values, color=_BLUE, linewidth=0.8, marker=".", markersize=3)
    spread.hist(
        values, bins=min(40, max(8, round(len(values) ** 0.5))), orientation="horizontal", color=_BLUE, density=True
    )
    for sigma, style, name in ((found.sigma_within, "-", "within"), (found.sigma_overall, "--", "overall")):
        if sigma > 0:
            heights = np.linspace(found.mean - 4 * sigma, found.mean + 4 * sigma, 200)
            density = np.exp(-0.5 * ((heights - found.mean) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
            spread.plot(density, heights, color=_DARK, linestyle=style, linewidth=1.1, label=f"normal, {name}")
    for axes in (run, spread):
        for limit in limits:
            axes.axhline(limit, color=_RED, linewidth=1.2)
        axes.axhline(found.mean, color=_GREY, linestyle="--", linewidth=1)
        axes.spines["right"].set_visible(False)
    run.set(xlabel="part", ylabel="mm")
    spread.set(xlabel="density")
    spread.legend(frameon=False, fontsize=8)
    indices = "   ".join(
        f"{name} {index.value:.2f} [{index.low:.2f}, {index.high:.2f}]"
        for name, index in (("Cp", found.cp), ("Cpk", found.cpk), ("Pp", found.pp), ("Ppk", found.ppk))
        if isfinite(index.value)
    )
    figure.suptitle(f"{title}, {found.values} parts\n{indices} (95 % intervals)", x=0.01, ha="left", fontsize=11)
    return _save(figure, path)
