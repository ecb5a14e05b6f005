"""The picture of the real run: every frame's time to its verdict, where it ran, what was wrong then, the breaker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeapp.bench.line import Ran
from edgeapp.bench.real_score import LATE_LOCAL, LATE_REMOTE, LOCAL, NONE, RACE, RealScore, way
from edgeapp.core.events import MS, ConfigError

_LOOKS: Final = {
    LATE_REMOTE: ("o", "#4caf7d", 7, "sent away, answered there"),
    LATE_LOCAL: ("v", "#e08e36", 18, "sent away, its reserved local run answered"),
    LOCAL: ("o", "#3b82c4", 7, "kept here"),
    RACE: ("s", "#b78fd6", 14, "both at once"),
    NONE: ("x", "#d64550", 36, "no answer in time"),
}
_TOP: Final = 1.15  # of the due time
_LINK_TOP_MS: Final = 400.0
_UP_BYTES, _DOWN_BYTES, _SERVICE_NS = 20_000, 500, 20 * MS


def draw(ran: Ran, score: RealScore, out: Path) -> Path:
    """Write `offload_real.png` into `out`. Raises ConfigError if matplotlib is missing or the folder cannot be written."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("pictures need the package matplotlib: pip install 'edgeapp[plots]'") from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (frames, link, trust) = plt.subplots(
        3, 1, figsize=(12, 8.4), layout="constrained", height_ratios=(1.5, 0.8, 0.4), sharex=True
    )
    _frames(frames, ran, score)
    _link(link, ran)
    _trust(trust, ran)
    for axes in (frames, link, trust):
        axes.spines[["top", "right"]].set_visible(False)
        for trouble in score.troubles:
            axes.axvspan(trouble.start_s, trouble.end_s, color="#d64550", alpha=0.09, linewidth=0)
    for trouble in score.troubles:
        says = "outage of the link" if trouble.name == "outage" else "server killed, started again"
        frames.text(trouble.start_s, _TOP * ran.plan.due_ms, f" {says}", fontsize=9, color="#d64550", va="top")
    trust.set(xlabel="seconds", xlim=(0, ran.plan.frames / ran.plan.fps))
    path = out / "offload_real.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; give another folder with --out") from error
    plt.close(figure)
    return path


def _at_s(ran: Ran, numbers: list[int]) -> Any:
    return np.array([(ran.at_ns[n] - ran.start_ns) / 1e9 for n in numbers])


def _frames(axes: Any, ran: Ran, score: RealScore) -> None:
    for name, (marker, colour, size, label) in _LOOKS.items():
        numbers = [n for n in sorted(ran.verdicts) if way(ran.calls.get(n)) == name]
        if not numbers:
            continue
        verdicts = [ran.verdicts[n][0] for n in numbers]
        took_ms = [min(_TOP * ran.plan.due_ms, (each.decided_ns - each.at_ns) / MS) for each in verdicts]
        shown = f"{label} ({len(numbers):,})"
        axes.scatter(_at_s(ran, numbers), took_ms, s=size, marker=marker, color=colour, label=shown, linewidths=0.8)
    axes.axhline(ran.plan.due_ms, color="#2b2f36", linestyle="--", linewidth=1.2)
    axes.text(0.3, ran.plan.due_ms * 1.01, "due", fontsize=9, color="#2b2f36")
    axes.set(ylabel="sensor to verdict, ms", ylim=(0, _TOP * ran.plan.due_ms))
    axes.set_title(
        f"{score.frames:,} frames at {ran.plan.fps:g} fps through Triton over a {ran.plan.weather} link: {score.misses} missed, "
        f"{score.harm} of them local would have met; {score.remote_share:.0%} served remotely in time",
        loc="left", fontsize=11,
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.02))


def _link(axes: Any, ran: Ran) -> None:
    weather, numbers = ran.plan.link(), sorted(ran.at_ns)
    sent_ns = [ran.plan.first_ns + ran.at_ns[n] - ran.start_ns for n in numbers]
    took_ns = [weather.round_trip_ns(each, _UP_BYTES, _DOWN_BYTES, _SERVICE_NS) for each in sent_ns]
    took_ms = [min(_LINK_TOP_MS, (each if each is not None else 1 << 60) / MS) for each in took_ns]
    axes.plot(_at_s(ran, numbers), took_ms, color="#9aa5b1", linewidth=0.8)
    axes.set(ylabel="the link alone, ms", ylim=(0, _LINK_TOP_MS + 5))
    axes.text(
        1.0, 0.97, "a call of 20 kB, 20 ms at the server, by the relay's weather (top: later or never)",
        transform=axes.transAxes, fontsize=8, color="#6b7480", ha="right", va="top",
    )  # fmt: skip


def _trust(axes: Any, ran: Ran) -> None:
    numbers = sorted(ran.at_ns)
    at_s = _at_s(ran, numbers)
    level = np.array([0.0 if ran.shut[n] else ran.trust[n] for n in numbers])
    axes.step(at_s, level, where="post", color="#2b2f36", linewidth=1.2)
    axes.fill_between(at_s, 0, 1, where=[ran.shut[n] for n in numbers], step="post", color="#d64550", alpha=0.35)
    axes.set(ylim=(-0.05, 1.1), yticks=(0, 0.5, 1), ylabel="trust")
    axes.text(0.3, 0.12, "red: the breaker is open", fontsize=8, color="#6b7480")
