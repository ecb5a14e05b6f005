"""The picture of the simulated bench: how long answers take under each policy, and one outage as we lived through it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeapp.bench.simulate import HERE, THERE, Played
from edgeapp.bench.worlds import DUE_NS, World
from edgeapp.core.events import ConfigError

_COLOURS: Final = {
    "edgeapp": "#d64550",
    "local": "#3b82c4",
    "remote": "#9aa5b1",
    "seed": "#e08e36",
    "seed-repaired": "#b8862b",
    "hedge-p90": "#4caf7d",
    "race": "#b78fd6",
}
_BEFORE_S: Final = 8.0
_AFTER_S: Final = 14.0
_OUTAGE_S: Final = 20.0  # the outage nearest to this length is shown
_TOP_MS: Final = 420.0


def ready() -> None:
    """Raise ConfigError if matplotlib is missing: ask before hours are spent on what is to be drawn."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("pictures need the package matplotlib: pip install 'edgeapp[plots]'") from error
    mpl.use("Agg")


def draw(world: World, runs: Mapping[str, Played], out: Path) -> Path:
    """Write `offload.png` into the folder `out`. Raises ConfigError if matplotlib is missing."""
    ready()
    from matplotlib import pyplot as plt

    figure, (tails, link, decisions) = plt.subplots(
        3, 1, figsize=(11, 11), layout="constrained", height_ratios=(1.25, 1, 0.42)
    )
    _tails(tails, world, runs)
    if world.outages:
        whole = [
            one for one in world.outages if one[1] + _AFTER_S * 1e9 < world.asked_ns[len(runs["edgeapp"].sent) - 1]
        ]
        run = runs["edgeapp"]

        def used(outage: tuple[int, int]) -> bool:
            """Was anything served remotely just before it?"""
            first = bisect_left(world.asked_ns, outage[0])
            return any(side == THERE for side in run.side[max(0, first - 20) : first])

        start_ns, end_ns = min(
            whole or world.outages, key=lambda one: (not used(one), abs((one[1] - one[0]) / 1e9 - _OUTAGE_S))
        )
        _outage(link, decisions, world, run, start_ns, end_ns)
    for axes in (tails, link, decisions):
        axes.spines[["top", "right"]].set_visible(False)
    path = out / "offload.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _tails(axes: Any, world: World, runs: Mapping[str, Played]) -> None:
    """Share of calls answered later than so many milliseconds."""
    for policy, run in runs.items():
        took_ms = np.sort((np.array(run.late_ns, dtype=np.int64) + DUE_NS) / 1e6)
        later = 1 - np.arange(1, len(took_ms) + 1) / len(took_ms)
        width = 2.4 if policy == "edgeapp" else 1.3
        axes.step(took_ms, np.maximum(later, 1e-6), where="post", label=policy, color=_COLOURS[policy], linewidth=width)
    fewest = max(2e-6, 0.5 / max(len(run.late_ns) for run in runs.values()))
    axes.axvline(DUE_NS / 1e6, color="#2b2f36", linestyle="--", linewidth=1.2)
    axes.text(DUE_NS / 1e6 + 2, 0.6, "due", fontsize=9, color="#2b2f36")
    axes.set(
        yscale="log",
        xlim=(0, _TOP_MS),
        ylim=(fewest, 1),
        xlabel="answered after, ms",
        ylabel="share of calls later than this",
    )
    axes.set_title(f"{world.name}, simulated: how long answers take", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="upper right")


def _outage(link: Any, decisions: Any, world: World, run: Played, start_ns: int, end_ns: int) -> None:
    """The link, our answers, our trust and our decisions around one outage."""
    calls = [
        n
        for n, asked_ns in enumerate(world.asked_ns[: len(run.late_ns)])
        if start_ns - _BEFORE_S * 1e9 <= asked_ns <= end_ns + _AFTER_S * 1e9
    ]
    at_s = np.array([(world.asked_ns[n] - start_ns) / 1e9 for n in calls])
    remote_ms = np.array([min(_TOP_MS, (world.remote_ns[n] or 1 << 60) / 1e6) for n in calls])
    side = np.array([run.side[n] for n in calls])
    took_ms = np.array([min(_TOP_MS, (run.late_ns[n] + DUE_NS) / 1e6) for n in calls])
    link.scatter(
        at_s, remote_ms, s=14, marker="x", color="#9aa5b1", label="the remote would answer (top: later or never)"
    )
    for which, name, colour in ((THERE, "answered from the near edge", "#4caf7d"), (HERE, "answered here", "#3b82c4")):
        link.scatter(at_s[side == which], took_ms[side == which], s=20, color=colour, label=name)
    link.axhline(DUE_NS / 1e6, color="#2b2f36", linestyle="--", linewidth=1.2)
    link.set(ylabel="ms", ylim=(0, _TOP_MS + 12), xlim=(at_s[0], at_s[-1]))
    link.set_title(
        f"An outage of {(end_ns - start_ns) / 1e9:.0f} s, call by call (policy edgeapp)", loc="left", fontsize=11
    )
    trust = np.array([run.trust[n] for n in calls])
    decisions.step(at_s, trust, where="post", color="#2b2f36", linewidth=1.4, label="trust (0: breaker open)")
    late = np.array([run.late_share[n] for n in calls])
    decisions.plot(at_s, late, color="#e08e36", linewidth=1.2, label="P(remote late) at most")
    sent = np.array([run.sent[n] for n in calls], dtype=bool)
    ran = sent & (side == HERE)
    decisions.scatter(at_s[sent], np.full(sent.sum(), 1.22), s=9, color="#4caf7d", label="sent away")
    decisions.scatter(
        at_s[ran], np.full(ran.sum(), 1.36), s=14, marker="v", color="#d64550", label="its reserved local run answered"
    )
    decisions.scatter(at_s[~sent], np.full((~sent).sum(), 1.22), s=9, color="#3b82c4", label="kept here")
    decisions.set(
        xlabel="seconds since the outage began", ylim=(-0.04, 1.5), yticks=(0, 0.5, 1), xlim=(at_s[0], at_s[-1])
    )
    for axes in (link, decisions):
        axes.axvspan(0, (end_ns - start_ns) / 1e9, color="#d64550", alpha=0.08, linewidth=0)
    link.legend(frameon=False, fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.2))
    decisions.legend(frameon=False, fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.35))
