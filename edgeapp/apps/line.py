"""The line as the station sees it: what its machines are told now, who is told, and what the devices report back."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import replace
from typing import Final

from edgeapp import config as settings
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, DeviceError, Outcome, Trigger, Verdict
from edgeapp.core.record import AlarmRecord
from edgeapp.devices.encoder import Encoder
from edgeapp.devices.gpio import Chip
from edgeapp.devices.line_state import LineState, Station
from edgeapp.devices.mqtt import Mqtt
from edgeapp.devices.reject import Gate, GateEvent, Rejector

_ALARMS_MAX: Final = 10_000  # a broken sensor must not fill the disk with alarms; the counters go on


class Outputs:
    """Call it with each verdict, and with `triggered` for each part. Lives on one loop."""

    def __init__(self, config: settings.Config, parts: Parts) -> None:
        self.state = LineState()
        """What the machines are told now."""

        self.triggers: AsyncIterable[Trigger] | None = None
        """What pulls the trigger; None if each frame of the camera is a part."""

        self.encoder: Encoder | None = None
        self.chip: Chip | None = None
        self.modbus_port = 0
        """Where our Modbus server listens; 0 if it does not."""

        self.broker: Mqtt | None = None
        """The MQTT broker, for whoever else has something to say there."""

        self.on_lost: Callable[[Trigger], None] = self._lost_verdict
        """What gives a part its NOT_INSPECTED whose trigger nobody could serve; by default the verdict is given here."""

        self.labels = config.vision.rule.defects
        """The defects of the rule that decides: a PLC's reason is a place in it."""

        self._sink = parts.sink
        self._due_after_ns = round(config.vision.budget_ms * MS)
        self.on_verdict: list[Callable[[LineState, Verdict], None]] = []
        self.on_state: list[Callable[[LineState], None]] = []
        self.on_alarm: list[Callable[[AlarmRecord], None]] = []
        self.on_acknowledge: list[Callable[[str], None]] = []
        self.plc_counter: Callable[[], int] = lambda: -1
        """The PLC's count of parts at the last trigger; -1 if it has none."""

        self.rejector: Rejector | None = None
        self._lost = parts.lost

    def __call__(self, verdict: Verdict) -> None:
        """Tell everybody. Never waits and never raises for a cable."""
        self.state = self.state.after(verdict, self.labels)
        for tell in self.on_verdict:
            try:
                tell(self.state, verdict)
            except DeviceError as error:
                self.alarm("outputs", str(error), verdict.frame_number)

    def triggered(self, trigger: Trigger) -> None:
        """A part is on its way to the gate."""
        if self.rejector:
            self.rejector.part(trigger)

    def alarm(self, where: str, what: str, part: int | None = None) -> None:
        """Something a person has to know."""
        self.state = replace(self.state, alarms=self.state.alarms + 1, alarm=True)
        self._tell_state()
        if self.state.alarms <= _ALARMS_MAX:
            record = AlarmRecord(where, now_ns(), what, part)
            self._sink(record)
            for tell in self.on_alarm:
                tell(record)

    def acknowledge(self, by: str) -> None:
        """A person has seen the alarms: `by` says who, or by what way it was told."""
        self.state = replace(self.state, alarm=False)
        self._tell_state()
        for each in self.on_acknowledge:
            each(by)

    def _tell_state(self) -> None:
        for tell in self.on_state:
            tell(self.state)

    def station(self, station: Station) -> None:
        self.state = replace(self.state, station=station)
        self._tell_state()

    # What devices report

    def changed(self, where: str) -> Callable[[DeviceError | None], None]:
        """An alarm when a device is lost, a line in the records when it is back."""

        def changed(error: DeviceError | None) -> None:
            if error:
                self._lost[where] = str(error)
                self.alarm(where, str(error))
            elif where in self._lost:
                del self._lost[where]
                self._sink(AlarmRecord(where, now_ns(), "is back"))

        return changed

    def trigger_lost(self, trigger: Trigger) -> None:
        self.state = replace(self.state, triggers_lost=self.state.triggers_lost + 1)
        self.triggered(trigger)
        self.on_lost(trigger)

    def _lost_verdict(self, trigger: Trigger) -> None:
        verdict = Verdict(
            outcome=Outcome.NOT_INSPECTED,
            why="the line is faster than the inspection: the trigger was lost",
            source=trigger.source,
            frame_number=trigger.number,
            at_ns=trigger.at_ns,
            decided_ns=now_ns(),
            due_ns=trigger.at_ns + self._due_after_ns,
        )
        self._sink(verdict)
        self(verdict)

    def at_gate(self, event: GateEvent) -> None:
        if event.gate is Gate.FIRED:
            return
        missed = event.gate is Gate.MISSED
        self.state = replace(self.state, rejects_missed=self.state.rejects_missed + missed)
        what = f"part {event.part} was not rejected" if missed else f"part {event.part} may have been swept along"
        self.alarm("outputs.reject", f"{what}: {event.why}", event.part)
