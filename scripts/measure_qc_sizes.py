"""Measure how wrong the QC detector's boxes are, and what a guard band is worth: `python scripts/measure_qc_sizes.py`.

Parts of simulated lines that neither training nor the choice of scores has seen go through the station's own inspection (second look
included). Printed is the guard band that each box would have needed: of a part half of what its size is wrong by, of a defect the least by
which its box must grow on each side so that length, width and area are no smaller than the true box's. Quantiles, and for a quantile the
bound that holds with 95 % confidence, an order statistic that needs no shape of distribution (Wilks 1941). Then limits are laid
near each part's true size and each defect's true length, and the rule (`vision/rules.py: judge`) is asked with several guard bands: which of
those that are out are accepted (false accepts), which of those that are in are not (false rejects).

`--keep FILE` keeps what was seen, `--boxes FILE...` tells it again without the detector.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeapp import config as settings
from edgeapp.apps.rules import rule_of
from edgeapp.core.events import MS, Box, CameraFrame, Detections, Outcome
from edgeapp.core.lane import Lane
from edgeapp.devices.conveyor import SIZE_PX, Options, start
from edgeapp.engines.detect_yolo import Options as Engine
from edgeapp.engines.detect_yolo import open_detector
from edgeapp.vision.calibration import by_scale
from edgeapp.vision.inspection import Inspection
from edgeapp.vision.rules import InspectionRule, PartRule, Tolerance, judge
from edgeapp.vision.tracks import iou

MODEL = Path(__file__).resolve().parent.parent / "models" / "qc-yolo11n" / "qc-yolo11n.onnx"
FIRST_LINE = 501
"""Seeds of the lines from here on; `measure_qc.py` chose and measured on 101 to 105."""

SAME_IOU = 0.05
"""A box of the same label that overlaps the truth so much is the defect's: thin ones overlap little."""

SHARES = (0.5, 0.95, 0.98, 0.99, 0.995)
CONFIDENCE = 0.95
PX_MM = by_scale(1.0, camera="", width=SIZE_PX, height=SIZE_PX, utc_ns=1, error_mm=0.0)
"""One millimetre a pixel, and no error of its own: what is told is the boxes'."""

EDGES_PX = {"scratch": 16.0, "dent": 2.5, "stain": 5.0, "missing_hole": 6.5, "burr": 6.5, "crack": 9.0}
"""What is recommended for the bundled detector (docs/rules.md), by label."""

BEYOND_PX = (0.25, 1, 2, 4, 6, 8, 12, 20)
"""How far from the limit the true size lies, on either side."""


@dataclass(frozen=True)
class Pair:
    """What is there, and what was seen of it."""

    true: Box
    seen: Box

    def needed_px(self) -> float:
        """By how much the seen box must grow on each side to measure no less than the true one; 0 if it need not."""
        true = PX_MM.extent(self.true)
        low, high = 0.0, float(SIZE_PX)
        for _ in range(40):
            middle = (low + high) / 2
            grown = PX_MM.extent(self.seen, middle)
            enough = (
                grown.length_mm >= true.length_mm
                and grown.width_mm >= true.width_mm
                and grown.area_mm2 >= true.area_mm2
            )
            low, high = (low, middle) if enough else (middle, high)
        return high


async def look(line: int, parts: int, share: float, shifted: bool) -> tuple[list[Pair], list[Pair], int]:
    """Pairs of parts and of defects on one line, and how many things were not found."""
    rule = rule_of(settings.Vision().rule)
    lane = Lane("detect")
    detector = open_detector(Engine(model=str(MODEL), size_px=SIZE_PX, confidence=0.03, provider="cpu"), lane)

    async def detect(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        del due_ns, of  # nothing is due here
        return await detector(frame)

    inspection = Inspection(detect, rule, due_after_ns=60_000 * MS, sink=lambda _: None)
    of_parts, of_defects, lost = list[Pair](), list[Pair](), 0
    options = Options(parts=parts, seed=line, shifted=shifted, defect_share=share)
    async with start(options) as belt:
        async for frame in belt.frames():
            verdict = await inspection.inspect(frame)
            truth = belt.truth[frame.number]
            things = [(truth.kind, truth.box, of_parts), *((each.kind, each.box, of_defects) for each in truth.defects)]
            for label, corners, pairs in things:
                true = Box(*corners, label, 1.0)
                same = [
                    box for box in verdict.boxes
                    if box.label == label and box.score >= rule.least_score(label) and iou(box, true) >= SAME_IOU
                ]  # fmt: skip
                if same:
                    pairs.append(Pair(true, max(same, key=lambda box: iou(box, true))))
                else:
                    lost += 1
    lane.close()
    return of_parts, of_defects, lost


def bound(values: Sequence[float], share: float) -> float:
    """What a share of all values stays within, with CONFIDENCE; infinite if there are too few."""
    ordered, n = sorted(values), len(values)
    below, rank = 0.0, n
    for k in range(
        n + 1
    ):  # the largest but `k` is a bound as long as P(so many beyond the quantile, or fewer) is small
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(1 - share) + (n - k) * math.log(share)
        )  # fmt: skip
        if below > 1 - CONFIDENCE:
            break
        rank = n - k - 1
    return ordered[rank] if rank < n else math.inf


def tell_needed(name: str, values: Sequence[float]) -> None:
    quantiles = ", ".join(
        f"p{100 * share:g} {np.quantile(values, share):.2f} (bound {bound(values, share):.2f})" for share in SHARES
    )
    print(f"{name}: {len(values)} boxes, at most {max(values):.2f} px, {quantiles}")


def accepts_size(pair: Pair, limits: tuple[float, float], side: str, guard_px: float) -> bool:
    """Does the rule take the part's size for proven within the limits?"""
    rule = InspectionRule(
        (pair.seen.label,), (), 0.0, part_types={pair.seen.label: PartRule(sizes_mm={side: limits})}, part_edge_px=guard_px,
        calibration=PX_MM,
    )  # fmt: skip
    return judge(Detections(1, (within(pair.seen),), "m"), rule).outcome is Outcome.PASS


def accepts_defect(pair: Pair, most: float, guard_px: float) -> bool:
    """Does the rule tolerate the defect?"""
    part = Box(0, 0, SIZE_PX, SIZE_PX, "washer", 1.0)
    tolerate = (Tolerance((pair.seen.label,), length_mm=most),)
    rule = InspectionRule(
        ("washer",), (pair.seen.label,), 0.0, 0.0, part_types={"washer": PartRule(tolerate=tolerate)}, edge_px=guard_px,
        calibration=PX_MM,
    )  # fmt: skip
    return judge(Detections(1, (part, within(pair.seen)), "m"), rule).outcome is Outcome.PASS


def within(box: Box) -> Box:
    """A box that looks out of the picture by a hair is measured all the same."""
    return replace(
        box,
        left=max(0.0, box.left),
        top=max(0.0, box.top),
        right=min(SIZE_PX, box.right),
        bottom=min(SIZE_PX, box.bottom),
    )


def sides(box: Box) -> dict[str, float]:
    across, down = box.right - box.left, box.bottom - box.top
    return {"length": max(across, down), "width": min(across, down)}


def tell_sizes(pairs: Sequence[Pair], guards_px: Sequence[float]) -> None:
    """A limit just above, or just below, each part's true size."""
    print(f"parts, {4 * len(pairs)} limits at each distance (length and width, largest and least)")
    for guard in guards_px:
        out, kept = [], []
        for beyond in BEYOND_PX:
            found = {True: 0, False: 0}
            for pair in pairs:
                for side, size in sides(pair.true).items():
                    for bad, by in ((True, beyond), (False, -beyond)):
                        found[bad] += accepts_size(pair, (0.0, size - by), side, guard)
                        found[bad] += accepts_size(pair, (size + by, 1e5), side, guard)
            out.append(found[True] / (4 * len(pairs)))
            kept.append(1 - found[False] / (4 * len(pairs)))
        say(guard, out, kept)


def tell_defects(label: str, pairs: Sequence[Pair], guards_px: Sequence[float]) -> None:
    """A limit just above, or just below, the diagonal of each defect's true box."""
    print(f"{label}, {len(pairs)} limits at each distance")
    for guard in guards_px:
        out, kept = [], []
        for beyond in BEYOND_PX:
            lengths = [math.hypot(*sides(pair.true).values()) for pair in pairs]
            asked = [(pair, size) for pair, size in zip(pairs, lengths, strict=True) if size > beyond]
            out.append(sum(accepts_defect(pair, size - beyond, guard) for pair, size in asked) / max(1, len(asked)))
            kept.append(
                1 - sum(accepts_defect(pair, size + beyond, guard) for pair, size in asked) / max(1, len(asked))
            )
        say(guard, out, kept)


def say(guard: float, out: Sequence[float], kept: Sequence[float]) -> None:
    rows = (("accepted though out by", out), ("not accepted though in by", kept))
    for what, shares in rows:
        told = ", ".join(f"{px:g} px {100 * share:.2f} %" for px, share in zip(BEYOND_PX, shares, strict=True))
        print(f"  guard {guard:g} px a side: {what} {told}")


def told(pairs: Sequence[Pair]) -> list[Any]:
    """As it is kept in a file."""
    return [[list(asdict(box).values()) for box in (pair.true, pair.seen)] for pair in pairs]


def kept(files: Sequence[Path]) -> tuple[list[Pair], list[Pair], int]:
    """What earlier runs saw."""
    of_parts, of_defects, lost = list[Pair](), list[Pair](), 0
    for file in files:
        parts, defects, more = json.loads(file.read_text())
        of_parts += [Pair(Box(*true), Box(*seen)) for true, seen in parts]
        of_defects += [Pair(Box(*true), Box(*seen)) for true, seen in defects]
        lost += more
    return of_parts, of_defects, lost


def looked(asked: argparse.Namespace) -> tuple[list[Pair], list[Pair], int]:
    """What the detector sees now."""
    of_parts, of_defects, lost = list[Pair](), list[Pair](), 0
    for line in track(range(asked.first, asked.first + asked.lines), "lines"):
        parts, defects, more = asyncio.run(look(line, asked.parts, asked.defect_share, asked.shifted))
        of_parts, of_defects, lost = of_parts + parts, of_defects + defects, lost + more
    if asked.keep:
        asked.keep.write_text(json.dumps([told(of_parts), told(of_defects), lost]))
    return of_parts, of_defects, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10, help="simulated lines, each with a belt and a lamp of its own")
    parser.add_argument("--first", type=int, default=FIRST_LINE, help="the first line's seed")
    parser.add_argument("--parts", type=int, default=100, help="on each line")
    parser.add_argument("--defect-share", type=float, default=0.6)
    parser.add_argument("--shifted", action="store_true", help="belts and lamps that the detector was not trained on")
    parser.add_argument("--keep", type=Path, help="write what was seen")
    parser.add_argument("--boxes", type=Path, nargs="*", help="what was seen and kept, instead of looking")
    parser.add_argument("--part-guards", type=float, nargs="*", default=[0.0, 1.5, 2.5])
    parser.add_argument("--guards", type=float, nargs="*", default=[0.0, 3.5])
    asked = parser.parse_args()
    of_parts, of_defects, lost = kept(asked.boxes) if asked.boxes else looked(asked)
    print(f"{len(of_parts)} parts, {len(of_defects)} defects; {lost} not found and left out")
    errors = [
        abs(sides(pair.true)[name] - sides(pair.seen)[name]) / 2 for pair in of_parts for name in ("length", "width")
    ]
    tell_needed("parts", errors)
    for label in EDGES_PX:
        tell_needed(label, [pair.needed_px() for pair in of_defects if pair.true.label == label])
    tell_sizes(of_parts, asked.part_guards)
    for label, guard in EDGES_PX.items():
        tell_defects(label, [pair for pair in of_defects if pair.true.label == label], [*asked.guards, guard])


if __name__ == "__main__":
    main()
