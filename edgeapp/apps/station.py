"""A running station: every part that came gets one verdict, its row in the ledger, and its telling, in that order."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edgeapp import __version__
from edgeapp import config as settings
from edgeapp.apps.evidence import Placements, evidence_of, look_at, picture_of
from edgeapp.apps.line import Outputs
from edgeapp.apps.outputs import Counting, open_outputs
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, CameraFrame, Outcome, Trigger, Verdict
from edgeapp.core.record import AlarmRecord
from edgeapp.devices.line_state import Station
from edgeapp.devices.triggers import Triggers
from edgeapp.station.anchor import read_key
from edgeapp.station.evidence import Evidence
from edgeapp.station.images import Policy
from edgeapp.station.ledger import Ledger, open_ledger
from edgeapp.station.output_commit import OutputCommit
from edgeapp.station.part_numbers import PartNumbers
from edgeapp.station.queries import verdicts
from edgeapp.station.run_rules import RunRules
from edgeapp.station.store import open_reading
from edgeapp.vision.rules import InspectionRule

_NEWEST: Final = 1_000  # rows in which the highest number is looked for: parts end out of order, but not by so many
_AT_ONCE: Final = 512  # rows that are recovered in one commit
ENDED: Final = "the station ended before the part had a verdict"


class QcStation:
    """Made by `open_station`. Lives on one loop; nothing here waits."""

    def __init__(self, config: settings.Config, parts: Parts, placements: Placements, source: str) -> None:
        """`source` names the line's parts: the camera's name, or the line's with several cameras."""
        section = config.station
        self.operator, self.lot = section.operator, section.lot
        """Whoever is at the line, and what runs on it; `takes_over` changes them."""

        self.rules = RunRules(
            stop_after=section.stop_after, point_parts=section.point_parts, centre=section.reject_share
        )
        self.on_came: list[Callable[[Trigger], None]] = []
        """Called in the moment of each trigger, as a camera's own input is."""

        self.on_told: list[Callable[[Verdict], None]] = []
        """Called with each verdict once the line was told."""

        self.golden: Callable[[], str] = lambda: ""
        """Why nothing may pass until the golden parts were judged right; empty if it may."""

        self.ledger: Ledger | None = None
        self.outputs = Outputs(config, parts)
        self.outputs.on_lost = self.lost
        self.outputs.on_acknowledge.append(self._acknowledged)
        self.outputs.on_alarm.append(self._alarmed)
        self._config, self._parts, self._placements, self._source = config, parts, placements, source
        self._labels = config.vision.rule.parts
        self._record_ns = round(section.record_ms * MS) if section.folder else 0
        self._numbers: PartNumbers | None = None
        self._commit: OutputCommit | None = None
        self.number = 0
        """Of the last part that came, over all restarts."""

    @property
    def inspect_within_ns(self) -> int:
        """From the sensor's timestamp: what the budget leaves to the inspection."""
        return round(self._config.vision.budget_ms * MS) - self._record_ns

    @property
    def doubt(self) -> str:
        """Why no part may pass now; empty if it may."""
        return self._commit.doubt if self._commit else self._own_doubt()

    def _own_doubt(self) -> str:
        return f"stopped: {self.rules.stopped}" if self.rules.stopped else self.golden()

    # A part, from its trigger to its telling

    def came(self, trigger: Trigger) -> None:
        """A part is there: remember it, whatever happens now."""
        self.number = trigger.number
        if self._numbers and self.ledger:
            counter = self.outputs.plc_counter()
            self._numbers.came(trigger.number, rows=self.ledger.head.rows, utc_ns=time.time_ns(), counter=counter)
        for each in self.on_came:
            each(trigger)

    def judged(self, verdict: Verdict, frame: CameraFrame | None = None, serial: str = "") -> None:
        """The inspection's verdict: record it, and tell the line."""
        verdict = replace(verdict, due_ns=verdict.due_ns + self._record_ns)
        # A frame that shows a triggered part has the part's number; one of many of a followed part has its own.
        ran = self._placements.of(verdict.view or verdict.source, frame.number if frame else verdict.frame_number)
        evidence = evidence_of(verdict, self._labels, ran, operator=self.operator, lot=self.lot, serial=serial)
        if self._commit:
            seen = (picture_of(frame), look_at(frame)) if frame else (None, None)
            self._commit.give(evidence, *seen)
            return
        if verdict.outcome is Outcome.PASS and (why := self.doubt):
            verdict = replace(verdict, outcome=Outcome.NOT_INSPECTED, why=why, causes=("no proof",))
        self._tell(verdict)

    def came_unasked(self, at_ns: int) -> int:
        """A part that nothing triggered is there. Returns its number, the next one."""
        self.came(Trigger(self.number + 1, at_ns, self._source))
        return self.number

    def judges_by(self, rule: InspectionRule) -> None:
        """Which rule decides from here on: its labels are what machines and rows are told by."""
        self._labels, self.outputs.labels = rule.parts, rule.defects

    def stop(self, why: str) -> None:
        """Let nothing pass until somebody acknowledges."""
        self.rules.stopped = why
        self.outputs.station(Station.STOPPED)

    def stop_after(self, rejects: int) -> None:
        """Stop from now on after so many rejects in a row; 0 never."""
        self.rules.stop_after = rejects

    def alarm(self, what: str, part: int) -> None:
        """Pictures can no longer be trusted."""
        self.outputs.alarm("vision.integrity", what, part)

    def lost(self, trigger: Trigger, why: str = "the line is faster than the inspection: the trigger was lost") -> None:
        """A part that nobody can look at."""
        due_ns = trigger.at_ns + self.inspect_within_ns
        none = (Outcome.NOT_INSPECTED, why, self._source, trigger.number, trigger.at_ns, now_ns(), due_ns)
        self.judged(Verdict(*none, causes=("too fast",)))

    def frames_as_triggers(self) -> Triggers:
        """The triggers of a camera whose frames are the parts; feed them with `EachFrame`."""
        return Triggers(
            self._source,
            depth=self._config.vision.trigger.waiting,
            on_lost=self.outputs.trigger_lost,
            encoder=self.outputs.encoder,
            after=self.number,
            on_part=self.came,
        )

    def _tell(self, verdict: Verdict) -> None:
        self._parts.sink(verdict)
        self.outputs(verdict)
        for alarm in self.rules.verdict(verdict.outcome):
            self.outputs.alarm("station", alarm, verdict.frame_number)
        if self.rules.stopped and self.outputs.state.station is Station.RUNNING:
            self.outputs.station(Station.STOPPED)
        for each in self.on_told:
            each(verdict)

    # What happened beside the parts, in the ledger

    def takes_over(self, operator: str, lot: str, by: str) -> None:
        """From the next verdict on another operator is at the line, or another lot runs on it; `by` says who told so."""
        self.operator, self.lot = operator, lot
        self._note("line", operator=operator, lot=lot, by=by)

    def _alarmed(self, alarm: AlarmRecord) -> None:
        self._note("alarm", where=alarm.where, what=alarm.what, part=alarm.part)

    def _note(self, kind: str, **fields: Any) -> None:
        """Nobody waits for it: the line goes on, and what a full list refuses is counted by the ledger."""
        if self.ledger:
            self.ledger.note(kind, fields)

    def _acknowledged(self, by: str) -> None:
        self._note("command", command="acknowledge", by=by, stopped=self.rules.stopped)
        if self.rules.stopped:
            self.rules.resume()
            self.outputs.station(Station.RUNNING)

    # Opening

    async def open(self) -> None:
        """Ledger, what an earlier run left without a verdict, and outputs; all closed with the parts. Raises ConfigError, DeviceError."""
        section, recovered = self._config.station, 0
        if section.folder:
            self.ledger = await self._open_ledger(section)
            known = newest_number(Path(section.folder), self._source)
            self._numbers = PartNumbers(Path(section.folder), rows=self.ledger.head.rows, known=known)
            self._parts.stack.callback(self._numbers.close)
            recovered = await self._recover(self.ledger, self._numbers)
            self.number = self._numbers.mark.came
            self._commit = OutputCommit(self.ledger, self._numbers, tell=self._tell, doubt=self._own_doubt)
        counter = self._numbers.mark.counter if self._numbers else -1
        counting = Counting(after=self.number, plc_counter=counter, on_part=self.came)
        await open_outputs(self._config, self._parts, counting, self.outputs)
        if self._commit:
            self._parts.stack.push_async_callback(self._commit.drain)
        if recovered:
            self.outputs.alarm(
                "station", f"{recovered} parts came and had no verdict when the station ended: NOT_INSPECTED"
            )

    async def _open_ledger(self, section: settings.Station) -> Ledger:
        policy = Policy(section.pass_share, round(section.quota_mb * 1e6), section.seed)
        return await self._parts.stack.enter_async_context(
            open_ledger(
                Path(section.folder),
                policy=policy,
                key=read_key(Path(section.key_file)) if section.key_file else b"",
                station=self._config.name,
                version=__version__,
                alarm=lambda what: self.outputs.alarm("station.ledger", what),
            )
        )

    async def _recover(self, ledger: Ledger, numbers: PartNumbers) -> int:
        """Give every part that came and has no row its NOT_INSPECTED; returns how many there were. Raises BackendError."""
        folder, source = Path(self._config.station.folder), self._source
        left = numbers.unsettled
        there = numbers_after(folder, source, numbers.found.row) if left else set()
        missing = [number for number in left if number not in there]
        for first in range(0, len(missing), _AT_ONCE):
            some, now = missing[first : first + _AT_ONCE], now_ns()
            rows = [
                ledger.submit(
                    Evidence(Verdict(Outcome.NOT_INSPECTED, ENDED, source, number, now, now, now), ("stopped",))
                )
                for number in some
            ]
            for row in rows:
                await row
        for number in left:
            numbers.settle(number, rows=ledger.head.rows)
        return len(missing)


class EachFrame:
    """The frames of a camera, each of which pulls a trigger. Iterate again after a DeviceError, as with the camera itself."""

    def __init__(self, frames: AsyncIterable[CameraFrame], triggers: Triggers, *, every: bool) -> None:
        """With `every`, a frame that the camera dropped is a part that nobody saw; otherwise only frames that came are parts."""
        self._frames, self._triggers, self._every = frames, triggers, every
        self._last = 0

    async def __aiter__(self) -> AsyncIterator[CameraFrame]:
        async for frame in self._frames:
            if self._every:
                self._triggers.missed(frame.number - self._last - 1, frame.at_ns)
            self._last = frame.number
            self._triggers.pull(frame.at_ns)
            yield frame
        self._triggers.close()


class OnTheirWay:
    """Triggers that are told to the gate as they pass. Iterate again after a DeviceError."""

    def __init__(self, triggers: AsyncIterable[Trigger], tell: Callable[[Trigger], None]) -> None:
        self._triggers, self._tell = triggers, tell

    async def __aiter__(self) -> AsyncIterator[Trigger]:
        async for trigger in self._triggers:
            self._tell(trigger)
            yield trigger


def newest_number(folder: Path, source: str) -> int:
    """The highest number among the newest verdicts of a source; 0 without any."""
    with closing(open_reading(folder)) as database:
        found = verdicts(database, newest=_NEWEST, columns=("source", "frame_number"))
        return max((each["frame_number"] for each in found if each["source"] == source), default=0)


def numbers_after(folder: Path, source: str, row: int) -> set[int]:
    """The numbers of a source's parts whose verdicts stand behind a row."""
    with closing(open_reading(folder)) as database:
        query = "SELECT frame_number FROM verdicts WHERE seq > ? AND source = ?"
        return {number for (number,) in database.execute(query, (row, source))}


async def open_station(config: settings.Config, parts: Parts, placements: Placements, source: str) -> QcStation:
    """Open what the configuration names; `placements` is among the sinks of `parts`. Raises ConfigError and DeviceError."""
    station = QcStation(config, parts, placements, source)
    await station.open()
    return station
