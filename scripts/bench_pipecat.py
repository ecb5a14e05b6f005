"""edgeapp and Pipecat side by side: `.venv/bin/python scripts/bench_pipecat.py [--quick] [--passes N]`.

The same recordings, the same engines and models, the same virtual microphone and loudspeaker, question by question in the
same run: one process each (`voice_side.py`, `pipecat_side.py`), asked strictly in turns, so that the machine's noise hits
both. Measured from the truly last voiced sample of a question to the first audible sample of the reply, endpointing and the
loudspeaker's buffers included, beside what each side understood, cut off and left unanswered. edgeapp may say an opener
before its answer, so the time to the answer itself stands beside it and has the same bar.

One pass over the recordings meets every setting of `pipecat_settings.py` with edgeapp; the others meet the fastest published
setting and the default again. A ratio is that of the p50 of one setting and of edgeapp on the questions they were asked
together. The last line is JSON; exits with 1 if a bar is missed. Pipecat lives in .venv-pipecat, which
`setup_venv.py pipecat` makes the first time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipecat_settings import SETTINGS
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from voice_side import Answer

from edgeapp.demo.kiosk import recorded_questions
from edgeapp.observe.percentile import percentile

ROOT: Final = Path(__file__).resolve().parent.parent
TIMES_FASTER: Final = 4.0
"""The bar: edgeapp's p50 against that of Pipecat's fastest published setting, on the same work."""

QUICK_SETTING: Final = "smart-turn"
QUICK_QUESTIONS: Final = (1, 9, 12)
"""Short ones: where is the hammer, front center (spoken by a person), thank you."""

_SHARES: Final = ("p50_ms", "p95_ms", "answer_p50_ms", "answer_p95_ms")
_START_S: Final = 120.0  # a cold disk, and one compilation by numba
_ANSWER_S: Final = 60.0  # a question, 8 s of silence or 30 s of reply, and as much again


@dataclass(frozen=True, slots=True)
class Pair:
    """One question, as both sides took it."""

    ours: Answer
    theirs: Answer


@dataclass(frozen=True, slots=True)
class Score:
    """What one side did with its questions."""

    turns: int
    p50_ms: float | None
    """Over the questions that were answered and not cut off; None if there are none. So is the next."""

    p95_ms: float | None
    answer_p50_ms: float | None
    """To the answer itself, openers not counted."""

    answer_p95_ms: float | None
    openers: int
    understood: int
    cut_off: int
    unanswered: int


def main() -> int:
    """Compare, print the table and the line."""
    arguments = parse(sys.argv[1:])
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    made = subprocess.run([sys.executable, str(ROOT / "scripts" / "setup_venv.py"), "pipecat"], check=False)
    if made.returncode:
        sys.exit("bench_pipecat: there is no environment for Pipecat, so there is nothing to compare with (see above)")
    try:
        pairs = asyncio.run(compare(arguments, console))
    except SideError as error:
        sys.exit(f"bench_pipecat: {error}")
    console.print(table(pairs))
    summary = summarise(pairs)
    print(json.dumps(summary))
    return 0 if all(summary["bars"].values()) else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="edgeapp and Pipecat side by side, on the same models and recordings")
    parser.add_argument("--quick", action="store_true", help=f"three questions against '{QUICK_SETTING}' alone: 50 s")
    parser.add_argument("--passes", type=int, default=5, help="over the recordings; 5 take 45 minutes")
    parsed = parser.parse_args(arguments)
    if parsed.passes < 1:
        parser.error("--passes: use 1 or more")
    return parsed


async def compare(arguments: argparse.Namespace, console: Console) -> dict[str, list[Pair]]:
    """Ask everything -> the pairs by Pipecat's setting. Raises SideError."""
    with Progress(console=console) as progress:
        if arguments.quick:
            return {QUICK_SETTING: await meet(QUICK_SETTING, QUICK_QUESTIONS, progress)}
        every = range(len(recorded_questions()))
        pairs = {name: await meet(name, every, progress) for name in SETTINGS}
        for _ in range(arguments.passes - 1):
            for name in dict.fromkeys((best(pairs), "default")):
                pairs[name] += await meet(name, every, progress)
    return pairs


async def meet(setting: str, questions: Sequence[int], progress: Progress) -> list[Pair]:
    """Start both sides, warm both up with one question, and ask them in turns; who is first changes with every question."""
    bar = progress.add_task(f"edgeapp and Pipecat, {setting}", total=len(questions))
    async with (
        started([sys.executable, "voice_side.py"], "edgeapp") as ours,
        started([str(ROOT / ".venv-pipecat" / "bin" / "python"), "pipecat_side.py", setting], "Pipecat") as theirs,
    ):
        await asyncio.gather(ours.ask(0), theirs.ask(0))
        pairs = []
        for number, question in enumerate(questions):
            first, second = (ours, theirs) if number % 2 == 0 else (theirs, ours)
            answers = {first: await first.ask(question), second: await second.ask(question)}
            pairs.append(Pair(answers[ours], answers[theirs]))
            progress.advance(bar)
    ours_ms, theirs_ms = (score([getattr(pair, side) for pair in pairs]).p50_ms for side in ("ours", "theirs"))
    progress.console.print(f"{setting}: p50 {theirs_ms} ms, edgeapp {ours_ms} ms on the same {len(pairs)} questions")
    return pairs


class SideError(Exception):
    """A side did not start or does not answer; says what it wrote last."""


class Side:
    """A process that is asked one question after the other."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        """`process` speaks as `voice_side.py` says."""
        self._process, self._name = process, name

    async def ready(self) -> None:
        """Wait until it listens. Raises SideError."""
        await self._line(_START_S)

    async def ask(self, question: int) -> Answer:
        """Ask the recording of that index and wait until it was answered. Raises SideError."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"ask": question}).encode() + b"\n")
        return answer_of(await self._line(_ANSWER_S))

    async def _line(self, limit_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), limit_s)
        except TimeoutError:
            raise SideError(f"{self._name} has not answered for {limit_s:g} s; see what it wrote above") from None
        if not line:
            raise SideError(f"{self._name} ended; see what it wrote above")
        parsed: dict[str, Any] = json.loads(line)
        return parsed


@asynccontextmanager
async def started(command: list[str], name: str) -> AsyncIterator[Side]:
    """Run one side from this checkout until the end of the block."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "LOGURU_LEVEL": "WARNING"}
    process = await asyncio.create_subprocess_exec(
        command[0],
        *(str(ROOT / "scripts" / each) if each.endswith(".py") else each for each in command[1:]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        side = Side(process, name)
        await side.ready()
        yield side
    finally:
        if process.returncode is None:
            process.kill()  # it holds nothing that must be closed
        await process.wait()


def answer_of(line: dict[str, Any]) -> Answer:
    """A side's line as a value. Raises SideError for one that is not an answer."""
    try:
        return Answer(**line)
    except TypeError as error:
        raise SideError(f"a side answered {line}, which is no answer ({error})") from error


def score(answers: Sequence[Answer]) -> Score:
    """One side's answers in figures."""
    whole = [each for each in answers if not each.cut_off]
    took_ms = [each.took_ms for each in whole if each.took_ms is not None]
    answer_ms = [each.answer_ms for each in whole if each.answer_ms is not None]
    return Score(
        turns=len(answers),
        p50_ms=_share(took_ms, 50),
        p95_ms=_share(took_ms, 95),
        answer_p50_ms=_share(answer_ms, 50),
        answer_p95_ms=_share(answer_ms, 95),
        openers=sum(each.opener for each in answers),
        understood=sum(each.heard == each.question for each in answers),
        cut_off=sum(each.cut_off for each in answers),
        unanswered=sum(each.took_ms is None for each in answers),
    )


def _share(values_ms: Sequence[float], share: float) -> float | None:
    return round(percentile(values_ms, share), 1) if values_ms else None


def best(pairs: dict[str, list[Pair]]) -> str:
    """The published setting with the lowest p50; one that answered nothing is not it."""
    scores = {name: score([pair.theirs for pair in each]) for name, each in pairs.items() if SETTINGS[name].published}
    return min(scores, key=lambda name: (scores[name].p50_ms is None, scores[name].p50_ms or 0.0))


def times_faster(pairs: Sequence[Pair], share: str) -> float | None:
    """How many times a figure of edgeapp's score (such as `p50_ms`) goes into Pipecat's; None without both."""
    ours = getattr(score([pair.ours for pair in pairs]), share)
    theirs = getattr(score([pair.theirs for pair in pairs]), share)
    return round(theirs / ours, 2) if ours and theirs else None


def summarise(pairs: dict[str, list[Pair]]) -> dict[str, Any]:
    """Everything that was measured, and whether the bar was met."""
    chosen = best(pairs)
    bars = {"first sound": "p50_ms", "answer itself": "answer_p50_ms"}
    return {
        "bench": "pipecat",
        "pipecat": pipecat_version(),
        "fastest_published_setting": chosen,
        "ours": _figures([pair.ours for each in pairs.values() for pair in each]),
        "settings": {
            name: _figures([pair.theirs for pair in each])
            | {
                "published": SETTINGS[name].published,
                "ours_on_the_same": _figures([pair.ours for pair in each]),
                "times_faster": {share: times_faster(each, share) for share in _SHARES},
            }
            for name, each in pairs.items()
        },
        "bars": {
            f"{what}: p50 at least {TIMES_FASTER:g} times lower": (times_faster(pairs[chosen], share) or 0.0)
            >= TIMES_FASTER
            for what, share in bars.items()
        },
    }


def _figures(answers: Sequence[Answer]) -> dict[str, Any]:
    figures = score(answers)
    return {name: getattr(figures, name) for name in Score.__slots__}


def table(pairs: dict[str, list[Pair]]) -> Table:
    """Both side by side: edgeapp over all of its questions, and every setting with its ratios on the shared ones."""
    made = Table(
        title="Milliseconds from the last voiced sample to the first sound of the reply, and to the answer after an opener",
        title_justify="left",
    )
    names = ("", "turns", "p50", "p95", "answer p50", "p95", "openers", "understood", "cut off", "unanswered")
    for name in (*names, "edgeapp is faster (answer)"):
        made.add_column(name, justify="right" if name else "left")
    made.add_row("edgeapp", *_cells(score([pair.ours for each in pairs.values() for pair in each])), "")
    chosen = best(pairs)
    for name, each in pairs.items():
        about = "" if SETTINGS[name].published else ", not published"
        about += ", fastest published" if name == chosen else ""
        first, answer = times_faster(each, "p50_ms"), times_faster(each, "answer_p50_ms")
        ratio = f"{first:.1f} times ({answer:.1f})" if first is not None and answer is not None else "-"
        made.add_row(f"Pipecat {name}{about}", *_cells(score([pair.theirs for pair in each])), ratio)
    return made


def _cells(figures: Score) -> list[str]:
    times = (figures.p50_ms, figures.p95_ms, figures.answer_p50_ms, figures.answer_p95_ms)
    counts = (figures.understood, figures.cut_off, figures.unanswered)
    return [
        str(figures.turns),
        *("-" if ms is None else f"{ms:.0f}" for ms in times),
        str(figures.openers),
        *(str(count) for count in counts),
    ]


def pipecat_version() -> str:
    """The pinned version."""
    lines = (ROOT / "requirements" / "pipecat.in").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("pipecat-ai==") for line in lines if line.startswith("pipecat-ai=="))


if __name__ == "__main__":
    sys.exit(main())
