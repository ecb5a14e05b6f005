"""The golden parts at a station: judged by its own inspection, written into its ledger, and asked before any PASS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.inspection import camera_name, open_sight
from edgeapp.apps.rules import OpenedRule
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, CameraFrame, ConfigError, TimestampKind, Verdict
from edgeapp.station import queries
from edgeapp.station.golden_parts import (
    RUNS_MAX,
    SET_FILE,
    Golden,
    GoldenSet,
    Identity,
    Known,
    Result,
    Run,
    read_set,
    row_of,
    run_of,
)
from edgeapp.station.ledger import Ledger
from edgeapp.station.store import DATABASE, open_reading
from edgeapp.vision.rules import InspectionRule

BUDGET_NS: Final = 2_000 * MS
"""For one golden part: nobody waits for it, so production frames, which are due sooner, come first in the lane."""

_AGAIN_S: Final = 300.0  # after a run that failed; what failed it seldom mends itself
_LOOK_S: Final = 10.0  # how often it is asked whether a run is due
_LAID_S: Final = 600.0  # golden parts on the belt that come within so long of each other are one run

Inspect = Callable[[CameraFrame, InspectionRule], Awaitable[Verdict]]


def result_of(known: Known, verdict: Verdict, rule: InspectionRule) -> Result:
    """What the verdict on a golden part says against what is known of it."""
    wanted = known.causes or rule.defects
    part = max((box.score for box in verdict.boxes if box.label in rule.parts), default=0.0)
    defect = max((box.score for box in verdict.boxes if box.label in wanted), default=0.0)
    wrong = ""
    if verdict.outcome != known.expect:
        wrong = f"{verdict.outcome} instead of {known.expect}: {verdict.why}"
    else:
        seen = {box.label for box in verdict.boxes if box.score >= rule.least_score(box.label, verdict.part_type)}
        if missing := [each for each in known.causes if each not in seen]:
            wrong = f"{known.expect}, but not for {missing[0]}: {verdict.why}"
    return Result(known.name, verdict.outcome, round(part, 4), round(defect, 4), wrong)


class GoldenCheck:
    """Judges the golden parts and keeps the state that a PASS depends on. Lives on one loop."""

    def __init__(
        self,
        golden: Golden,
        inspect: Inspect,
        rule: InspectionRule,
        *,
        alarm: Callable[[str], None],
        ledger: Ledger | None = None,
    ) -> None:
        """`inspect` gives the verdict on a frame as the station would, with BUDGET_NS of time and no record of it."""
        self.golden, self._inspect, self._rule, self._alarm, self._ledger = golden, inspect, rule, alarm, ledger
        self._laid: dict[str, Result] = {}
        self._laid_ns = 0
        self._switched = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why no part may pass; empty if one may."""
        return self.golden.trouble

    async def run(self, why: str) -> Run:
        """Judge every part that has a picture, write the row, tell what is wrong and what drifts. Raises ConfigError, BackendError.

        All by one rule: if it is switched meanwhile, the run proves nothing of the new one.
        """
        rule, identity, results = self._rule, self.golden.identity, []
        for number, known in enumerate(self.golden.set.parts, 1):
            if not known.image:
                continue
            pixels = await asyncio.to_thread(_picture, self.golden.set.folder / known.image)
            frame = CameraFrame(pixels, now_ns() + number, number, f"golden {known.name}", TimestampKind.FILE)
            results.append(result_of(known, await self._inspect(frame, rule), rule))
        return await self._ends(results, why, identity)

    def switch(self, rule: InspectionRule, identity: Identity) -> None:
        """Another rule decides from now on: nothing passes until the golden parts were judged by it, and they are due at once."""
        self._rule, self.golden.identity, self._laid = rule, identity, {}
        self._switched.set()

    async def saw(self, serial: str, verdict: Verdict) -> bool:
        """Was it a golden part that came along the belt? Then it is no production; the run ends with the last of them."""
        known = self.golden.part(serial)
        if known is None:
            return False
        if now_ns() - self._laid_ns > _LAID_S * 1e9:
            self._laid = {}
        self._laid_ns = now_ns()
        if verdict.rule not in {"", self._rule.id}:
            return True  # it came before the rule was switched
        self._laid[known.name] = result_of(known, verdict, self._rule)
        if all(each.name in self._laid for each in self.golden.set.parts if each.serial):
            laid, self._laid = list(self._laid.values()), {}
            await self._ends(laid, "laid on the belt", self.golden.identity)
        return True

    async def _ends(self, results: list[Result], why: str, identity: Identity) -> Run:
        run = self.golden.judged(results, why, identity)
        if not run.ok:
            self._alarm(
                f"the golden parts failed, no part passes: {'; '.join(run.wrong[:3]) or 'there was none to judge'}"
            )
        for each in run.drift:
            self._alarm(f"the golden parts drift: {each}")
        if self._ledger:
            await self._ledger.note("golden", row_of(run))
        return run

    async def keep(self) -> None:
        """Judge them whenever it is due, until cancelled; what fails is tried again after some minutes."""
        pictured = all(each.image for each in self.golden.set.parts)
        while True:
            due, failed = self.golden.due, False
            if due and pictured:
                try:
                    failed = not (await self.run(due)).ok
                except (BackendError, ConfigError) as error:
                    failed = True
                    self._alarm(f"the golden parts could not be judged: {error}")
            self._switched.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S if failed else _LOOK_S):
                    await self._switched.wait()


def open_golden(
    golden: settings.Golden,
    inspect: Inspect,
    opened: OpenedRule,
    *,
    model: str,
    camera: str,
    past: Sequence[Run],
    ledger: Ledger | None,
    alarm: Callable[[str], None],
) -> GoldenCheck | None:
    """The configured golden set, with what the ledger knows of it; None if there is none. Raises ConfigError.

    `inspect` is an inspection of its own, with BUDGET_NS and a sink that drops: the detector, rule and zones of the station.
    """
    if not golden.folder:
        return None
    found = read_set(Path(golden.folder))
    identity = identity_of(found, opened, model, camera)
    state = Golden(found, identity, past, shifts_utc=golden.shifts_utc, utc_ns=time.time_ns)
    return GoldenCheck(state, inspect, opened.at(camera), alarm=alarm, ledger=ledger)


def past_runs(folder: Path) -> list[Run]:
    """The runs in a ledger, the oldest first; none if there is no ledger yet. Raises ConfigError."""
    if not (folder / DATABASE).exists():
        return []
    with closing(open_reading(folder)) as database:
        return [run_of(row) for row in reversed(queries.notes(database, "golden", RUNS_MAX))]


def identity_of(golden: GoldenSet, opened: OpenedRule, model: str, camera: str) -> Identity:
    """What a run of this set proves something about here. What the cameras measure by is part of the rule."""
    scales = " ".join(sorted(each.sha256 for each in opened.scales.values()))
    placed = f" {hashlib.sha256(scales.encode()).hexdigest()[:12]}" if scales else ""
    return Identity(model, opened.rule.id + placed, camera, golden.sha256[:12])


def report_run(folder: Path, config: settings.Config, *, as_json: bool) -> int:
    """Judge the golden set by the configured detector and rule, and print; 1 if a part is not as it is known. Raises ConfigError."""
    golden = read_set(folder)
    run = asyncio.run(_run_once(golden, config))
    if as_json:
        print(json.dumps(row_of(run)))
        return 0 if run.ok else 1
    table = Table(title=f"Golden parts of {folder}", title_justify="left")
    for column in ("part", "expected", "verdict", "part's score", "defect's score", ""):
        table.add_column(column, overflow="fold")
    expect = {each.name: each for each in golden.parts}
    for each in run.results:
        known = expect[each.name]
        expected = " ".join((known.expect, *known.causes))
        row = (each.name, expected, each.outcome, f"{each.part_score:.2f}", f"{each.defect_score:.2f}", each.wrong)
        table.add_row(*map(escape, row))
    Console(width=None).print(table)
    for wrong in run.wrong:
        print(f"WRONG: {wrong}")
    return 0 if run.ok else 1


async def _run_once(golden: GoldenSet, config: settings.Config) -> Run:
    vision = msgspec.structs.replace(config.vision, budget_ms=BUDGET_NS / MS)
    camera = camera_name(vision.camera)
    async with AsyncExitStack() as stack:
        sight = await open_sight(msgspec.structs.replace(config, vision=vision), Parts(stack, lambda _: None))
        inspect = sight.alone(vision, within_ns=BUDGET_NS).inspect
        identity = identity_of(golden, sight.opened, sight.model, camera)
        state = Golden(golden, identity, [], shifts_utc=vision.golden.shifts_utc, utc_ns=time.time_ns)
        return await GoldenCheck(state, inspect, sight.opened.at(camera), alarm=lambda _: None).run("by hand")


def report_add(
    folder: Path, image: Path, *, name: str, expect: str, causes: tuple[str, ...], serial: str, camera: str, by: str
) -> int:
    """Put a picture of a known part into the set, which begins with its first part. Raises ConfigError."""
    path = folder / SET_FILE
    known = Known(name=name, expect=expect, causes=causes, image=f"{name}{image.suffix}", serial=serial, by=by)  # type: ignore[arg-type]
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"the part's name {name!r} must be letters, digits, - and _: its picture is called so")
    if (expect == "FAIL") is not bool(causes):
        raise ConfigError("a bad part needs --cause, a good one has none")
    _picture(image)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = path.read_text() if path.exists() else f"camera = {json.dumps(camera)}\n"
        if f"camera = {json.dumps(camera)}\n" not in content:
            raise ConfigError(f"the set {folder} is of another camera: begin a new one for {camera!r}")
        if f"name = {json.dumps(name)}\n" in content:
            raise ConfigError(f"the set {folder} has a part {name!r}: give this one another name")
        (folder / known.image).write_bytes(image.read_bytes())
        fields = {key: value for key, value in msgspec.to_builtins(known).items() if value}
        lines = "".join(
            f"{key} = {json.dumps(value)}\n" for key, value in fields.items()
        )  # TOML has JSON's strings and lists
        path.write_text(f"{content}\n[[part]]\n{lines}")
    except OSError as error:
        raise ConfigError(f"cannot write the golden set {folder}: {error.strerror}") from error
    print(f"{name}: {expect} {' '.join(causes)}, in {path}".replace(" ,", ","))
    return 0


def _picture(path: Path) -> Any:
    """The pixels of a picture. Raises ConfigError."""
    import cv2

    pixels = cv2.imread(str(path))
    if pixels is None:
        raise ConfigError(f"{path} is not a picture that can be read")
    return pixels
