"""The order of two things: a verdict is durable, and the line is told.

The row first, then the line: what the machines hear is in the ledger, whatever happens next. This is the output commit of
rollback recovery (Elnozahy, Alvisi, Wang and Johnson 2002, ACM Computing Surveys 34, 2.4): nothing goes to the outside world
before the state it follows from can be recovered.

A disk does not always answer in time, and a coil must. At the due time the line is told all the same, and never PASS: a part
whose proof is not on the disk is NOT_INSPECTED, and so says its row, which is still to be written. Only if the disk has been
given the row and does not answer, the row stays and one of the kind `withheld` behind it says what was told. While a verdict
waits for the disk beyond its due time, or the ledger is in trouble, no part passes; its verdict says why. So PASS is told only of
a row that is durable, and a disk that hangs costs at most the verdicts that were on their way when it began to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Outcome, Verdict
from edgeapp.station.evidence import Evidence, Look, Picture
from edgeapp.station.ledger import Ledger, Receipt
from edgeapp.station.part_numbers import PartNumbers

TELL_NS: Final = 3 * MS  # before the due time: so long the line's machines are given to hear it
OWED_MAX: Final = (
    20_000  # verdicts that a full ledger refused and that are offered again: 20 MB, ten minutes of 30 a second
)

NO_ROW: Final = "the proof was not on the disk in time"


@dataclass(eq=False, slots=True)
class _Given:
    """A verdict on its way to the disk and to the line."""

    evidence: Evidence
    told: bool = False
    due: asyncio.TimerHandle | None = None


class OutputCommit:
    """Takes verdicts with their evidence, records and tells them. Lives on one loop; nothing here waits."""

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

        self._ledger, self._numbers, self._tell, self._other_doubt = ledger, numbers, tell, doubt
        self._waiting: dict[_Given, asyncio.Future[Receipt]] = {}  # not told yet; each until its due time
        self._overdue: set[_Given] = set()  # told without a row; at most what the ledger lets wait
        self._owed: deque[Evidence] = deque()  # at most OWED_MAX

    @property
    def doubt(self) -> str:
        """Why no part may pass now; empty if it may."""
        if self._ledger.trouble:
            return f"the ledger takes no verdict: {self._ledger.trouble}"
        if self._overdue or self._owed:
            return "the ledger is behind"
        return self._other_doubt()

    def give(self, evidence: Evidence, picture: Picture | None = None, look: Look | None = None) -> None:
        """Record the verdict and tell the line, by its due time at the latest."""
        verdict = evidence.verdict
        late_ns = now_ns() - (verdict.due_ns - TELL_NS)
        why = f"judged {late_ns / MS:.0f} ms too late to be recorded" if late_ns >= 0 else self.doubt
        if verdict.outcome is Outcome.PASS and why:
            verdict = replace(verdict, outcome=Outcome.NOT_INSPECTED, why=why)
            evidence = replace(evidence, verdict=verdict, causes=("no proof",))
        given = _Given(evidence)
        late = bool(self._ledger.trouble or self._overdue)
        written = self._ledger.submit(evidence, picture, look)
        self._waiting[given] = written
        if late or written.done():
            self._say(given)
        else:
            due_s = (verdict.due_ns - TELL_NS) / 1e9
            given.due = asyncio.get_running_loop().call_at(due_s, self._say, given)
        written.add_done_callback(lambda done: self._settled(given, done))

    async def drain(self) -> None:
        """Wait until every verdict was told, which is at most until the last one's due time."""
        if self._waiting:
            last_ns = max(given.evidence.verdict.due_ns for given in self._waiting)
            await asyncio.wait(list(self._waiting.values()), timeout=max(0, last_ns - now_ns()) / 1e9)
        for given in list(self._waiting):
            self._say(given)

    def _say(self, given: _Given) -> None:
        """Tell the line: the verdict if its row is durable, else nothing that lets the part pass."""
        written = self._waiting.pop(given, None)
        if written is None:
            return
        verdict = given.evidence.verdict
        durable = written.done() and not written.cancelled() and not written.exception()
        if not written.done():
            self._overdue.add(given)
        if verdict.outcome is Outcome.PASS and not durable:
            self.withheld += 1
            verdict = replace(verdict, outcome=Outcome.NOT_INSPECTED, why=NO_ROW, decided_ns=now_ns())
            given.evidence = replace(given.evidence, verdict=verdict, causes=("no proof",))
            if not written.done() and not self._ledger.instead(written, given.evidence):
                # The disk has its row and does not answer: this one goes behind it, into the next commit.
                part = {"part": verdict.frame_number, "source": verdict.source}
                self._ledger.note("withheld", {**part, "told": verdict.outcome, "why": NO_ROW})
        self._tell(verdict)

    def _settled(self, given: _Given, done: asyncio.Future[Receipt]) -> None:
        """The row is durable, or the ledger did not take it."""
        if given.due:
            given.due.cancel()
        self._say(given)
        self._overdue.discard(given)
        evidence = given.evidence
        if done.cancelled() or done.exception():
            if len(self._owed) < OWED_MAX:
                self._owed.append(evidence)
            return
        self._numbers.settle(evidence.verdict.frame_number, rows=self._ledger.head.rows)
        if self._owed:  # one for each row that the disk took: a full ledger has rows waiting, so all come in the end
            again = _Given(self._owed.popleft())
            self._overdue.add(again)
            self._ledger.submit(again.evidence).add_done_callback(lambda done: self._settled(again, done))
