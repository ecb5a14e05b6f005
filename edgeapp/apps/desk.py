"""The station's rule book and golden parts, put behind the pages' desk (web/desk.py)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from edgeapp import config as settings
from edgeapp.apps.dry_run import dry_run
from edgeapp.apps.golden import GoldenCheck, past_runs
from edgeapp.apps.rules import book_key, read_calibration, rule_of
from edgeapp.apps.rules_report import known
from edgeapp.core.events import ConfigError
from edgeapp.station import queries
from edgeapp.station.derived import MINUTE_NS
from edgeapp.station.golden_parts import Run
from edgeapp.station.queries import Window
from edgeapp.station.rule_book import Book, read_book
from edgeapp.station.store import open_reading
from edgeapp.web.desk import DryRun, Flip, GoldenRun, RuleLine


class RuleDesk:
    """One station's rule book, read anew at each question: it is signed beside us."""

    def __init__(self, vision: settings.Vision, ledger: Path, running: Callable[[], str]) -> None:
        """`running` says which rule decides here now, by its id: the book may know of one that the station could not take."""
        self._vision, self._ledger, self._running = vision, ledger, running
        self._kept_score = float(vision.detect.options.get("confidence", 0.03))  # what the detector gives at all

    def lines(self) -> Sequence[RuleLine]:
        """What was signed, newest first. Raises ConfigError."""
        running = self._running()
        return [
            RuleLine(each.version, each.id, each.by, each.why, each.utc_ns, each.id == running)
            for each in reversed(self._book().signed)
        ]

    def text(self) -> str:
        """The rule in use; empty if none is. Raises ConfigError."""
        book = self._book()
        return book.text(book.in_use) if book.in_use else ""

    def _book(self) -> Book:
        return read_book(Path(self._vision.rule_book), book_key(self._vision))

    def dry_run(self, toml: str, hours: float) -> DryRun:
        """What the rule would have said of the parts of the last hours. Raises ConfigError."""
        rule = rule_of(settings.parse_rule(toml, "the rule"))
        files = (self._vision.calibration, *(each.calibration for each in self._vision.further_cameras))
        scales = [read_calibration(Path(file))[0] for file in files if file]
        olds = known(self._book())
        end_ns = time.time_ns() + MINUTE_NS
        window = Window(max(0, end_ns - round(hours * 60) * MINUTE_NS), end_ns)
        with closing(open_reading(self._ledger)) as database:
            try:
                found = dry_run(
                    queries.rows(database, window), rule, olds, stored_from_score=self._kept_score, scales=scales
                )
            except sqlite3.Error as error:
                raise ConfigError(
                    f"cannot read the ledger {self._ledger}: {error}; run `edgeapp ledger verify`"
                ) from error
        listed = tuple(Flip(each.seq, each.was, each.would, each.why) for each in found.listed)
        return DryRun(found.rows, found.flips, listed, found.cannot_tell.total())


class GoldenDesk:
    """One station's golden parts."""

    def __init__(self, check: GoldenCheck, ledger: Path) -> None:
        self._check, self._ledger = check, ledger

    def trouble(self) -> str:
        """Why no part may pass now; empty if one may."""
        return self._check.trouble

    def runs(self) -> Sequence[GoldenRun]:
        """The last runs, newest first. Raises ConfigError."""
        return [_told(run) for run in reversed(past_runs(self._ledger))]

    async def run(self, why: str) -> GoldenRun:
        """Look at them now. Raises BackendError or ConfigError."""
        return _told(await self._check.run(why))


def _told(run: Run) -> GoldenRun:
    return GoldenRun(run.utc_ns, run.why, run.ok, tuple(run.wrong), tuple(run.drift))
