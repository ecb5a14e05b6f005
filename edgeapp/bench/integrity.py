"""`edgeapp bench integrity`: faults of a camera that must be caught, and good frames that must not be complained of.

Every frame goes through the application's own inspection with a detector that would pass it, on virtual time: what counts is
the verdict. Each line (bench/camera_lines.py) learns its reference from frames of its own, is then shown good frames,
and from there each fault (bench/camera_faults.py) begins on a copy of the checks. Odd lines get the mild degree of a fault,
even ones the strong, so that every light sees both. The thresholds were chosen on lines of other seeds.
"""

from __future__ import annotations

import copy
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from edgeapp.bench.camera_faults import FAULTS, Fault
from edgeapp.bench.camera_lines import MARKS, PERIOD_NS, good_frames
from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.bench.virtual import run
from edgeapp.core.clock import sleep_until
from edgeapp.core.events import MS, Box, CameraFrame, Detections, Outcome, Verdict
from edgeapp.core.lane import Lane
from edgeapp.core.record import AlarmRecord, AnyRecord
from edgeapp.vision.inspection import Inspection, checking
from edgeapp.vision.integrity import Complaint, Integrity
from edgeapp.vision.reference import learn
from edgeapp.vision.rules import InspectionRule

LEARN_FRAMES: Final = 64
GOOD_FRAMES: Final = 100
"""A line. Faults begin after them."""

LEAD_FRAMES: Final = 30
"""Good frames that a fault's inspection has seen before it begins; they are the end of the GOOD_FRAMES."""

_LINES: Final = 100
_QUICK_LINES: Final = 6
_BUDGET_NS: Final = 200 * MS
_RULE: Final = InspectionRule(parts=("part",), defects=())
_WORKERS: Final = 2  # a line's pictures are 50 MB


@dataclass(slots=True)
class Line:
    """What came of one line."""

    good: int = 0
    false_alarms: list[str] = field(default_factory=list)
    injected: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By fault and degree."""

    caught: Counter[tuple[str, str]] = field(default_factory=Counter)
    named: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Caught, with a cause that fits."""

    missed: list[str] = field(default_factory=list)
    frames: dict[str, list[int]] = field(default_factory=lambda: {each.name: [] for each in FAULTS if each.frames > 1})
    """How many frames it took, of each fault that may take more than one."""

    took_ms: list[float] = field(default_factory=list)
    """CPU time of the checks of each good frame."""


def bench_integrity(*, quick: bool, lines: int | None, seed: int) -> int:
    """Measure; 1 if a bar is missed."""
    count = lines or (_QUICK_LINES if quick else _LINES)
    figures: dict[str, Any] = {"lines": count, "seed": seed}

    def step(_: bool) -> list[Bar] | str:
        found = _all_lines(seed, count, both=quick)
        figures.update(_figures(found))
        return _bars(found)

    step.__doc__ = f"{count} lines, {LEARN_FRAMES} frames to learn, {GOOD_FRAMES} good ones and the faults on each"
    return run_bench("integrity", [step], quick=quick, figures=figures)


def _all_lines(seed: int, count: int, *, both: bool) -> list[Line]:
    context = multiprocessing.get_context("spawn")  # threads of the parent are not inherited in the middle of a lock
    with ProcessPoolExecutor(_WORKERS, mp_context=context) as pool:
        return list(pool.map(_line, [seed] * count, range(count), [both] * count))


def _line(seed: int, number: int, both: bool) -> Line:
    """One line, in a process of its own."""
    import cv2

    cv2.setNumThreads(1)
    frames = list(good_frames(seed, number, LEARN_FRAMES + GOOD_FRAMES))
    reference, good = learn(frames[:LEARN_FRAMES], MARKS), frames[LEARN_FRAMES:]
    checks, line = Integrity(reference), Line()
    verdicts, _ = run(_judge(_Timed(checks, line.took_ms, None), good, [frame.at_ns for frame in good]))
    for frame, told in zip(good, verdicts, strict=True):
        line.good += 1
        if told.outcome is not Outcome.PASS:
            line.false_alarms.append(f"line {number} frame {frame.number}: {told.why}")
    led = Integrity(reference)
    for frame in good[-LEAD_FRAMES:]:
        led.check(frame)
    after = [  # the belt goes round once more
        replace(frame, at_ns=good[-1].at_ns + n * PERIOD_NS, number=good[-1].number + n)
        for n, frame in enumerate(good[: max(each.frames for each in FAULTS)], 1)
    ]
    for fault_no, fault in enumerate(FAULTS):
        for strong in (False, True) if both else ((number + fault_no) % 2 == 0,):
            spoiled = []
            for frame in after[: fault.frames]:
                rng = np.random.default_rng([seed, number, fault_no, strong])  # the same spot in each frame
                spoiled.append(fault.spoil(rng, frame, good[-1], strong))
            timed, times_ns = _Timed(copy.deepcopy(led), [], good[-1]), [frame.at_ns for frame in after]
            verdicts, silent = run(_judge(timed, spoiled, times_ns[: fault.frames]))
            _score(line, fault, "strong" if strong else "mild", verdicts, f"line {number}: ", silent)
    return line


def _score(
    line: Line, fault: Fault, degree: str, verdicts: Sequence[Verdict], where: str, silent: frozenset[str]
) -> None:
    first = next((n for n, each in enumerate(verdicts, 1) if each.outcome is Outcome.NOT_INSPECTED), None)
    line.injected[fault.name, degree] += 1
    if first is None or silent:
        line.missed.append(f"{where}{degree} {fault.name}" + (", without an alarm" if silent else ""))
        return
    line.caught[fault.name, degree] += 1
    line.named[fault.name, degree] += bool(fault.causes & set(verdicts[first - 1].causes))
    if fault.frames > 1:
        line.frames[fault.name].append(first)


@dataclass
class _Timed:
    """The checks, timed; `known` is a frame that they have seen already."""

    checks: Integrity
    took_ms: list[float]
    known: CameraFrame | None

    def check(self, frame: CameraFrame) -> tuple[Complaint, ...]:
        if frame is self.known:
            return ()
        start_ns = time.thread_time_ns()
        found = self.checks.check(frame)
        self.took_ms.append((time.thread_time_ns() - start_ns) / 1e6)
        return found


async def _passes(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
    """A detector that would pass anything."""
    del due_ns, of
    return Detections(frame.number, (Box(0, 0, 9, 9, "part", 0.9),), "scripted")


async def _judge(
    timed: _Timed, frames: Sequence[CameraFrame], times_ns: Sequence[int]
) -> tuple[list[Verdict], frozenset[str]]:
    """The verdicts on the frames, which come at these times, and the causes of which no alarm was raised."""
    records: list[AnyRecord] = []
    lane = Lane("integrity")
    inspection = Inspection(_passes, _RULE, due_after_ns=_BUDGET_NS, sink=records.append, check=checking(timed, lane))
    if timed.known is not None:
        await sleep_until(timed.known.at_ns)
        await inspection.look(timed.known)
    verdicts = []
    for frame, at_ns in zip(frames, times_ns, strict=True):
        await sleep_until(at_ns)
        verdicts.append(await inspection.inspect(frame))
    lane.close()
    alarms = [each.what for each in records if isinstance(each, AlarmRecord)]
    causes = {cause for each in verdicts for cause in each.causes}
    return verdicts, frozenset(cause for cause in causes if not any(f": {cause}: " in what for what in alarms))


def _bars(lines: Sequence[Line]) -> list[Bar]:
    injected, caught = (sum(sum(getattr(each, name).values()) for each in lines) for name in ("injected", "caught"))
    good, false = sum(each.good for each in lines), [why for each in lines for why in each.false_alarms]
    missed = [why for each in lines for why in each.missed]
    allowed = max(1, good // 10_000)
    note = "; ".join(missed[:5]) or f"{caught} of {injected} caught, each with an alarm"
    why = "; ".join(false[:3]) or f"{good} good frames"
    return [
        at_most("faults_missed", injected - caught, 0, f"of {injected}", note),
        at_most("false_alarms", len(false), allowed, f"of {good}", why),
    ]


def _figures(lines: Sequence[Line]) -> dict[str, Any]:
    told = {}
    for fault in FAULTS:
        for degree in ("mild", "strong"):
            key = (fault.name, degree)
            injected, caught, named = (
                sum(getattr(each, name)[key] for each in lines) for name in ("injected", "caught", "named")
            )
            told[f"{fault.name}, {degree}"] = f"{caught} of {injected}, {named} by name"
    took = {name: [frames for each in lines for frames in each.frames[name]] for name in lines[0].frames}
    return {
        "good_frames": sum(each.good for each in lines),
        "caught": told,
        "mildest": {fault.name: fault.mild for fault in FAULTS},
        "frames_until_caught": {
            name: {"median": statistics.median(each), "max": max(each)} for name, each in took.items() if each
        },
        "check_cpu_median_ms": round(statistics.median([ms for each in lines for ms in each.took_ms]), 2),
        "false": [why for each in lines for why in each.false_alarms][:20],
        "missed": [why for each in lines for why in each.missed][:20],
    }
