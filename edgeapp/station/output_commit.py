"""The order of two things: a verdict is durable, and the line is told.

The row first, then the line: what the machines hear is in the ledger, whatever happens next. This is the output commit of
rollback recovery (Elnozahy, Alvisi, Wang and Johnson 2002, ACM Computing Surveys 34, 2.4): nothing goes to the outside world
before the state it follows from can be recovered.

A disk does not always answer in time, and a coil must. At the due time the line is told all the same, and never PASS: a part
whose proof is not on the disk is NOT_INSPECTED, and a row `withheld` says so behind its verdict. While a verdict waits for the
disk beyond its due time, or the ledger is in trouble, no part passes; its verdict says why. So PASS is told only of a row that
is durable, and a disk that hangs costs at most the verdicts that were on their way when it began to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, Outcome, Verdict
from edgeapp.station.evidence import Evidence, Picture
from edgeapp.station.ledger import Ledger, Receipt
from edgeapp.station.part_numbers import PartNumbers

TELL_NS: Final = 2 * MS  # before the due time: so long the line's machines are given to hear it
OWED_MAX: Final = 20_000  # verdicts that a full ledger refused and that are offered again: 20 MB, ten minutes of 30 a second

NO_ROW: Final = "the proof was not on the disk in time"


class OutputCommit:
    """Takes verdicts with their evidence, tells them. Lives on one loop."""

    def __init__(
        self,
        ledger: Ledger,
        numbers: PartNumbers,
        *,
        tell: Callable[[Verdict], None],
        doubt: Callable[[], str] = lambda: "",
    ) -> None:
        """`tell` is called once for each verdict. `doubt` says why nothing may pass now, beside the ledger; empty if it may."""
        self.withheld = 0
        """Parts that were not passed because their proof came too late."""

        self._ledger, self._numbers, self._tell, self._doubt = ledger, numbers, tell, doubt
        self._overdue: set[int] = set()  # told without a row; at most what the ledger lets wait
        self._owed: deque[tuple[int, Evidence]] = deque()  # at most OWED_MAX

    @property
    def owed(self) -> int:
        """Verdicts that the ledger refused and that will be offered again."""
        return len(self._owed)

    def doubt(self) -> str:
        """Why no part may pass now; empty if it may."""
        if self._ledger.trouble:
            return f"the ledger takes no verdict: {self._ledger.trouble}"
        if self._overdue or self._owed:
            return "the ledger is behind"
        return self._doubt()

    async def give(self, evidence: Evidence, picture: Picture | None = None) -> Verdict:
        """Record the verdict and tell the line, by its due time at the latest; returns what was told. Never raises.

        A cancel comes after the verdict was told.
        """
        verdict, why = evidence.verdict, self.doubt()
        if why and verdict.outcome is Outcome.PASS:
            verdict = replace(verdict, outcome=Outcome.NOT_INSPECTED, why=why)
            evidence = replace(evidence, verdict=verdict, causes=("no proof",))
        number = verdict.frame_number
        written = self._ledger.submit(evidence, picture)
        written.add_done_callback(lambda done: self._settled(number, evidence, done))
        try:
            if not (self._ledger.trouble or self._overdue):
                async with asyncio.timeout_at((verdict.due_ns - TELL_NS) / 1e9):
                    await asyncio.shield(written)
        except (TimeoutError, BackendError):
            pass
        finally:
            told = self._safe(verdict, written)
            self._tell(told)
        return told

    def _safe(self, verdict: Verdict, written: asyncio.Future[Receipt]) -> Verdict:
        """The verdict if its row is durable; else nothing that lets a part pass."""
        if written.done() and not written.cancelled() and not written.exception():
            return verdict
        if not written.done():
            self._overdue.add(verdict.frame_number)
        if verdict.outcome is not Outcome.PASS:
            return verdict
        self.withheld += 1
        told = replace(verdict, outcome=Outcome.NOT_INSPECTED, why=NO_ROW, decided_ns=now_ns())
        if not written.done():  # it goes behind the verdict's row, in the same commit or the next
            fields = {"part": verdict.frame_number, "source": verdict.source, "told": told.outcome, "why": told.why}
            self._ledger.note("withheld", fields)
        return told

    def _settled(self, number: int, evidence: Evidence, done: asyncio.Future[Receipt]) -> None:
        self._overdue.discard(number)
        if done.cancelled() or done.exception():
            if len(self._owed) < OWED_MAX:
                passed = evidence.verdict.outcome is Outcome.PASS  # it was not told so
                refused = replace(evidence.verdict, outcome=Outcome.NOT_INSPECTED, why=NO_ROW) if passed else evidence.verdict
                self._owed.append((number, replace(evidence, verdict=refused, causes=("no proof",) if passed else evidence.causes)))
            return
        self._numbers.settle(number, rows=self._ledger.head.rows)
        if self._owed:  # one for each row that the disk took: a full ledger has rows waiting, so all come in the end
            self._offer(*self._owed.popleft())

    def _offer(self, number: int, evidence: Evidence) -> None:
        self._ledger.submit(evidence).add_done_callback(lambda done: self._settled(number, evidence, done))
