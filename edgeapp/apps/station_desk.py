"""What is done with a question or a command at the station: the ledger is asked, the line is told, or a yes is asked for first.

A command is looked at again at the moment it is carried out: an acknowledgement is for what was heard, and nothing that
happened since.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from edgeapp.apps.station_answers import Answer, answer, title
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.core.record import AnyRecord, ScreenRecord, Sink, TurnRecord
from edgeapp.station.images import path_in
from edgeapp.station.spans import Calendar
from edgeapp.station.store import open_reading
from edgeapp.voice.announcer import Announcer
from edgeapp.voice.answering import Turns
from edgeapp.voice.content import Tool
from edgeapp.voice.intents import NOT_KNOWN
from edgeapp.voice.station_questions import StationQuestion, Topic, station_question
from edgeapp.voice.tools import Argument, BoundTool, Call, Toolbox

if TYPE_CHECKING:
    from edgeapp.apps.station_voice import Line

_ASK_NS: Final = 1_000 * MS
"""For a question to the ledger. It takes milliseconds; where the disk is busy an opener speaks meanwhile."""

_DO_NS: Final = 2_000 * MS
"""For a command and the ledger's row of it."""

COMMAND: Final = "command"
"""The kind of row that says what was done by voice."""


class Desk:
    """Answers for one station. Lives on one loop; the ledger is read in the lane's thread."""

    def __init__(
        self,
        line: Line,
        labels: Sequence[str],
        calendar: Calendar,
        announcer: Announcer,
        sink: Sink,
        lane: Lane,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`labels` are the defects that can be asked for; `sink` gets what is to be seen on a screen."""
        self._line, self._labels, self._calendar = line, tuple(labels), calendar
        self._announcer, self._sink, self._lane, self._utc_ns = announcer, sink, lane, utc_ns
        self._answered_ns = -1

    def saw(self, record: AnyRecord) -> None:
        """A sink: when the last question was answered decides what "repeat that" means."""
        if isinstance(record, TurnRecord) and record.outcome == "answered":
            self._answered_ns = record.ended_ns

    def own(self, text: str, turns: Turns) -> Call | str | None:
        """What `Answering` asks before anything else."""
        asked = station_question(text, self._labels, [question for question, _ in turns])
        if asked is None:
            return None
        if asked.topic is Topic.REPEAT:
            return self._again(turns)
        if asked.topic is Topic.GOLDEN:
            return self._golden()
        if asked.topic is Topic.STATUS:
            return self._status()
        if asked.topic is Topic.ACKNOWLEDGE:
            return self._acknowledge()
        if asked.topic in {Topic.STOP, Topic.RESUME, Topic.STOP_AFTER}:
            return self._command(asked)

        async def look() -> str:
            return await self._look(asked)

        return _call("ledger", look, timeout_ns=_ASK_NS, acts=asked.topic is Topic.SHOW)

    def toolbox(self) -> Toolbox:
        """What a model may call: it chooses the question, the ledger gives the number."""

        def by(form: str) -> Callable[..., Any]:
            async def run(**arguments: str) -> str:
                asked = station_question(form.format(**arguments), self._labels)
                return await self._look(asked) if asked else NOT_KNOWN

            return run

        async def golden() -> str:
            return self._golden()

        figure = {"figure": Argument(), "time": Argument()}
        counted = {"parts": Argument(), "time": Argument()}
        return Toolbox(
            [
                BoundTool("count_parts", by("how many {parts} {time}"), counted, timeout_ns=_ASK_NS, says="{result}"),
                BoundTool("yield", by("what is the yield {time}"), figure, timeout_ns=_ASK_NS, says="{result}"),
                BoundTool(
                    "common_defect",
                    by("what is the most common defect {time}"),
                    figure,
                    timeout_ns=_ASK_NS,
                    says="{result}",
                ),
                BoundTool("last_part", by("what was the last verdict"), timeout_ns=_ASK_NS, says="{result}"),
                BoundTool("golden_check", golden, says="{result}"),
            ]
        )

    # The ledger

    async def _look(self, asked: StationQuestion) -> str:
        """Ask the ledger, and show what is to be shown. Raises BackendError."""
        utc_ns = self._utc_ns()

        def read() -> Answer:
            with closing(open_reading(self._line.folder)) as database:
                return answer(database, asked, self._calendar, utc_ns)

        try:
            found = await self._lane.run(read, label="ledger")
        except (ConfigError, sqlite3.Error) as error:
            raise BackendError(f"the ledger could not be asked: {error}") from error
        if asked.topic is Topic.SHOW and found.row is not None:
            image, row = found.row["image"], found.row
            picture = str(path_in(self._line.folder / "images", image)) if image else ""
            self._sink(ScreenRecord(now_ns(), title(asked), row["seq"], picture, f"{row['outcome']}, {row['why']}"))
        return found.text

    # What needs no ledger

    def _again(self, turns: Turns) -> str:
        """The last thing that was said: an alarm if one was said since the last reply."""
        alarm = self._announcer.last
        if alarm is not None and self._announcer.said_ns > self._answered_ns:
            return alarm.text
        return turns[-1][1] if turns else "There is nothing to repeat."

    def _golden(self) -> str:
        if self._line.golden_due is None:
            return "This station has no golden parts."
        due = self._line.golden_due()
        return f"The golden check is due: {due}." if due else "The golden check is not due."

    def _status(self) -> str:
        last = self._announcer.last
        if stopped := self._line.stopped():
            return f"The line is stopped: {stopped}."
        if not self._line.alarm_is_open():
            return "The line is running, and no alarm is open."
        return (
            f"The line is running, with an open alarm. {last.what}"
            if last
            else "The line is running, with an open alarm."
        )

    # Commands

    def _acknowledge(self) -> Call | str:
        stopped = self._line.stopped()
        if not (stopped or self._line.alarm_is_open() or self._announcer.alarms.waiting):
            return "No alarm is open."

        async def acknowledge() -> str:
            if (unheard := self._announcer.tell()) is not None:
                return f"Not yet, this is new. {unheard.text}"
            if self._line.stopped() != stopped:
                return f"Not yet, the line is {'stopped: ' + self._line.stopped() if self._line.stopped() else 'running again'}."
            self._line.acknowledge("voice")
            if stopped:
                return "Acknowledged, the line runs."
            return f"Acknowledged. {self._announcer.last.what}" if self._announcer.last else "Acknowledged."

        if stopped and not self._announcer.alarms.waiting:
            return _call(
                "acknowledge",
                acknowledge,
                confirm=f"The line is stopped: {stopped}. Shall I acknowledge, and let it run?",
            )
        return _call("acknowledge", acknowledge, timeout_ns=_DO_NS, acts=True)

    def _command(self, asked: StationQuestion) -> Call | str:
        line, stopped, parts = self._line, self._line.stopped(), asked.parts
        if asked.topic is Topic.RESUME:
            return self._acknowledge() if stopped else "The line is running."
        if asked.topic is Topic.STOP:

            async def stop() -> str:
                line.stop("stopped by voice")
                await self._note("stop")
                return "The line is stopped."

            return (
                f"The line is stopped already: {stopped}."
                if stopped
                else _call("stop", stop, confirm="Shall I stop the line?")
            )

        async def stop_after() -> str:
            await self._note("stop after", parts=parts)
            line.stop_after(parts)
            return (
                f"The line stops on {_rejects(parts)} from now on."
                if parts
                else "The line does not stop on rejects in a row any more."
            )

        asks = f"stop the line on {_rejects(parts)}" if parts else "no longer stop the line on rejects in a row"
        return _call("stop_after", stop_after, confirm=f"Shall I {asks}?")

    async def _note(self, command: str, **more: int) -> None:
        if self._line.note is not None:
            await self._line.note(COMMAND, {"command": command, "by": "voice", **more})


def _rejects(parts: int) -> str:
    return "every reject" if parts == 1 else f"{parts} rejects in a row"


def _call(
    name: str, run: Callable[[], Any], *, confirm: str = "", timeout_ns: int = _DO_NS, acts: bool = False
) -> Call:
    """A call that needs no arguments; with `confirm` the person is asked that first."""
    bound = BoundTool(
        name,
        run,
        side_effect=bool(confirm),
        acts=acts,
        timeout_ns=timeout_ns,
        says="{result}",
        confirm=_literal(confirm),
    )
    return Call(Tool(name, name), bound, {})


def _literal(text: str) -> str:
    """A sentence in which nothing stands for an argument."""
    return text.replace("{", "{{").replace("}", "}}")
