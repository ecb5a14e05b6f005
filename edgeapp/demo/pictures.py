"""The pictures a demo leaves behind: waterfalls against the budget, annotated frames, a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import CameraFrame, ConfigError, Outcome, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.observe.waterfall import Span

COLOURS: Final = {
    "endpoint": "#9aa5b1",
    "stt": "#3b82c4",
    "llm": "#e08e36",
    "clause": "#f0c38e",
    "tts": "#4caf7d",
    "output": "#b78fd6",
    "wait": "#9aa5b1",
    "detect": "#3b82c4",
    "again": "#8fb8e0",
    "own": "#d64550",
}
_BGR: Final = {Outcome.PASS: (96, 160, 60), Outcome.FAIL: (60, 60, 210), Outcome.NOT_INSPECTED: (40, 150, 230)}


@dataclass(frozen=True, slots=True)
class Row:
    """One bar of a waterfall."""

    name: str
    spans: Sequence[Span]
    """Side by side, from 0 on."""

    staged: Sequence[Span] = ()
    """What had been done beside them, drawn thin above; negative times are before the clock's start."""


def waterfall(rows: Sequence[Row], budget_ms: float, title: str, path: Path) -> None:
    """Draw one bar a row, its spans side by side, with the budget as a line. Writes a PNG. Raises ConfigError."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("pictures need the package matplotlib: pip install 'edgeapp[plots]'") from error
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 1.6 + 0.36 * len(rows)), layout="constrained")
    longest = max([budget_ms, *(span.end_ms for row in rows for span in row.spans)])
    earliest = max(-longest, min([0.0, *(span.start_ms for row in rows for span in row.staged)]))
    shown: set[str] = set()
    for line, row in enumerate(rows):
        bars = [(span, line + 0.06, 0.5) for span in row.spans] + [(span, line - 0.31, 0.14) for span in row.staged]
        for span, at, height in bars:
            label = None if span.name in shown or span.took_ms < 0.05 else span.name
            shown |= {span.name} if label else set()
            axes.barh(at, span.took_ms, left=span.start_ms, color=COLOURS[span.name], height=height, label=label)
        end_ms = row.spans[-1].end_ms if row.spans else 0.0
        colour = "#2b2f36" if end_ms <= budget_ms else "#d64550"
        axes.text(end_ms + longest * 0.008, line, f"{end_ms:.0f} ms", va="center", fontsize=9, color=colour)
    axes.axvline(budget_ms, color="#2b2f36", linewidth=1.2, linestyle="--")
    axes.text(budget_ms, -0.85, f"{budget_ms:g} ms", ha="center", fontsize=9, color="#2b2f36")
    if earliest < 0:
        axes.axvline(0, color="#2b2f36", linewidth=0.8)
        axes.text(0, -0.85, "last voiced sample", ha="center", fontsize=9, color="#2b2f36")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -1.2)
    axes.set_xlim(earliest * 1.05, longest * 1.1)
    axes.set_xlabel("ms")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=len(names), frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def annotate(frame: CameraFrame, verdict: Verdict, height_px: int = 320) -> NDArray[np.uint8]:
    """A copy of the frame, `height_px` high, with its boxes and a banner that says the verdict, uint8 BGR."""
    import cv2

    scale = height_px / frame.pixels.shape[0]
    picture = cv2.resize(frame.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    parts = {"washer", "bracket"}
    best = max((box.score for box in verdict.boxes if box.label not in parts), default=0.0)
    for box in verdict.boxes:
        part = box.label in parts
        if box.score < 0.25 if part else verdict.outcome is Outcome.PASS or box.score < best / 2:
            continue  # seen, but too unsure to count
        colour = (200, 200, 200) if part else _BGR[Outcome.FAIL]
        left, top, right, bottom = (round(each * scale) for each in (box.left, box.top, box.right, box.bottom))
        cv2.rectangle(picture, (left, top), (right, bottom), colour, 1 if part else 2)
        if not part:
            text = f"{box.label} {box.score:.2f}"
            at = (max(2, min(left, picture.shape[1] - 9 * len(text))), max(12, top - 4))
            cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    banner: NDArray[np.uint8] = np.full((26, picture.shape[1], 3), _BGR[verdict.outcome], np.uint8)
    took_ms = (verdict.decided_ns - verdict.at_ns) / 1e6
    text = f"{verdict.frame_number:03d} {verdict.outcome.replace('_', ' ')}  {took_ms:.0f} ms"
    cv2.putText(banner, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([banner, picture])


def contact_sheet(pictures: Sequence[NDArray[np.uint8]], path: Path, columns: int = 10) -> None:
    """All pictures, half size, side by side. Writes a PNG or JPEG by its suffix."""
    import cv2

    small = [cv2.resize(each, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for each in pictures]
    blank = np.full_like(small[0], 24)
    small += [blank] * (-len(small) % columns)
    framed = [cv2.copyMakeBorder(each, 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=(24, 24, 24)) for each in small]
    rows = [np.concatenate(framed[n : n + columns], axis=1) for n in range(0, len(framed), columns)]
    cv2.imwrite(str(path), np.concatenate(rows))
