"""The line's side of the station: what pulls the trigger, and everything that is told a verdict.

`open_outputs` gives one callable for verdicts. It never waits: lines and registers are set at once, whatever needs a network
goes through a bounded list to a task or thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeapp import __version__
from edgeapp import config as settings
from edgeapp.apps.line import Outputs
from edgeapp.apps.secret import read_secret
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import MS, ConfigError, Outcome, Trigger, Verdict
from edgeapp.devices import home_assistant, modbus_client, modbus_server, mqtt, opcua, triggers
from edgeapp.devices.encoder import Encoder, Unwrap
from edgeapp.devices.gpio import Chip, GpiodChip, Input
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.devices.line_state import LineState, Station
from edgeapp.devices.reject import Rejector, RejectSchedule
from edgeapp.devices.verdict_lines import VerdictLines


@dataclass(frozen=True, slots=True)
class Counting:
    """Where an earlier run's numbers ended, and who is told of each part in the moment of its trigger."""

    after: int = 0
    plc_counter: int = -1
    """What the PLC's counter of parts was then; -1 if it is not known."""

    on_part: Callable[[Trigger], None] | None = None


class _Opening:
    """Opens what the configuration names, in the order in which verdicts are told: what switches the line comes first."""

    def __init__(
        self, config: settings.Config, parts: Parts, group: asyncio.TaskGroup, counting: Counting, outputs: Outputs
    ) -> None:
        self.config, self.parts, self.group, self.counting, self.outputs = config, parts, group, counting, outputs
        self.triggers: triggers.Triggers | None = None
        self.writer: modbus_client.PlcWriter | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run until the station ends."""
        task = self.group.create_task(work)

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})

        self.parts.stack.push_async_callback(end)

    def open_chip(self) -> None:
        gpio, trigger = self.config.outputs.gpio, self.config.vision.trigger
        if gpio.chip:
            chip: Chip = SimulatedChip() if gpio.chip == "simulated" else GpiodChip(gpio.chip)
            self.outputs.chip = chip
            self.parts.stack.callback(chip.close)
        if self.config.vision.encoder.source != "none":
            self.outputs.encoder = Encoder()
        if trigger.source != "camera":
            names = {"gpio": f"gpio {trigger.line}", "plc": f"plc {trigger.table} {trigger.address}"}
            self.triggers = triggers.Triggers(
                names.get(trigger.source, trigger.source),
                depth=trigger.waiting,
                on_lost=self.outputs.trigger_lost,
                encoder=self.outputs.encoder,
                hold_off_ns=round(trigger.hold_off_ms * MS),
                after=self.counting.after,
                on_part=self.counting.on_part,
            )
            self.outputs.triggers = pulled = self.triggers
            self.parts.count_drops("vision.trigger", _Dropped(lambda: pulled.lost))

    def open_trigger(self) -> None:
        trigger, encoder = self.config.vision.trigger, self.config.vision.encoder
        outputs, pulled = self.outputs, self.triggers
        if encoder.source == "gpio" and outputs.chip and outputs.encoder:
            filtered_ns = round(encoder.debounce_ms * MS)
            a, b = (Input(line, debounce_ns=filtered_ns) for line in (encoder.a, encoder.b))
            triggers.quadrature(outputs.chip, a, b, outputs.encoder, outputs.changed("vision.encoder"))
        if pulled and trigger.source == "gpio" and outputs.chip:
            line = Input(trigger.line, trigger.active_low, round(trigger.debounce_ms * MS))
            triggers.by_line(outputs.chip, line, pulled)
        elif pulled and trigger.source == "encoder" and outputs.encoder:
            triggers.by_counts(outputs.encoder, trigger.counts, pulled)
        elif pulled and trigger.source == "timer":
            self.start(triggers.by_timer(round(trigger.period_ms * MS), pulled))

    def open_verdict_lines(self) -> None:
        gpio, chip = self.config.outputs.gpio, self.outputs.chip
        if chip is None:
            return
        named = {Outcome.PASS: gpio.passed, Outcome.FAIL: gpio.failed, Outcome.NOT_INSPECTED: gpio.not_inspected}
        lines = {
            outcome: chip.drive(line, active_low=gpio.active_low) for outcome, line in named.items() if line is not None
        }
        beat = None if gpio.heartbeat is None else chip.drive(gpio.heartbeat, active_low=gpio.active_low)
        if not lines and beat is None:
            return
        shown = VerdictLines(lines, beat, pulse_ns=round(gpio.pulse_ms * MS))
        self.outputs.on_verdict.append(lambda _, verdict: shown.show(verdict.outcome))
        self.parts.stack.callback(shown.close)

    async def open_modbus(self) -> None:
        modbus, outputs = self.config.outputs.modbus, self.outputs
        if modbus.serve:
            trigger, encoder, belt = self.config.vision.trigger, outputs.encoder, Unwrap(32)
            by_plc = self.triggers if trigger.source == "modbus" else None
            counted = encoder if self.config.vision.encoder.source == "modbus" else None
            server = modbus_server.ModbusServer(
                on_trigger=by_plc.pull if by_plc else None,
                on_encoder=(lambda raw, at_ns: counted.moved(belt.position(raw), at_ns)) if counted else None,
                on_acknowledge=lambda: outputs.acknowledge("modbus"),
            )
            options = modbus_server.Options(host=modbus.host, port=modbus.port, unit=modbus.unit)
            outputs.modbus_port = await self.parts.stack.enter_async_context(modbus_server.serve(options, server))
            self._tell(lambda state, _: server.publish(state), server.publish)
            self.parts.count_drops("outputs.modbus", _Dropped(lambda: server.unread))
        if modbus.plc_host:
            self._open_plc()

    def _open_plc(self) -> None:
        modbus, trigger, encoder = self.config.outputs.modbus, self.config.vision.trigger, self.config.vision.encoder
        options = modbus_client.Options(
            host=modbus.plc_host,
            port=modbus.plc_port,
            unit=modbus.plc_unit,
            timeout_ms=modbus.timeout_ms,
            word=modbus.plc_word,
            coil=modbus.plc_coil,
        )
        writer = modbus_client.PlcWriter(options, self.outputs.changed("outputs.modbus plc"))
        self.writer = writer
        self._tell(lambda state, _: writer.publish(state), writer.publish)
        self.parts.count_drops("outputs.modbus plc", _Dropped(lambda: writer.skipped))
        self.start(writer.run())
        if trigger.source == "plc" or encoder.source == "plc":
            poller = modbus_client.PlcPoller(
                options,
                period_ns=round(trigger.poll_ms * MS),
                on_change=self.outputs.changed("vision.trigger"),
                triggers=self.triggers if trigger.source == "plc" else None,
                table=trigger.table,
                address=trigger.address,
                encoder=self.outputs.encoder,
                encoder_address=encoder.address if encoder.source == "plc" else None,
                counter=self.counting.plc_counter if trigger.source == "plc" else -1,
                on_gap=lambda what: self.outputs.alarm("vision.trigger", what),
            )
            self.outputs.plc_counter = lambda: poller.counter
            self.start(poller.run())

    def open_gate(self) -> None:
        reject, outputs = self.config.outputs.reject, self.outputs
        if reject.by == "none":
            return
        by_time = reject.by == "time"
        schedule = RejectSchedule(
            delay=round(reject.delay_ms * MS) if by_time else reject.delay_counts,
            window=round(reject.window_ms * MS) if by_time else reject.window_counts,
            pulse_ns=round(reject.pulse_ms * MS),
            depth=reject.parts_between,
        )
        writer, coil = self.writer, reject.plc_coil
        if reject.line is not None and outputs.chip:
            write = outputs.chip.drive(reject.line, active_low=self.config.outputs.gpio.active_low)
        elif writer and coil is not None:
            write = lambda active: writer.coil(coil, active)  # noqa: E731 - a coil looks like a line
        else:
            raise ConfigError("outputs.reject has neither a line nor a coil; give one")
        encoder = None if by_time else outputs.encoder
        rejector = Rejector(schedule, write, on_event=outputs.at_gate, encoder=encoder)
        outputs.rejector = rejector
        outputs.on_verdict.append(lambda _, verdict: rejector.verdict(verdict))
        self.start(rejector.run())

    async def open_opcua(self) -> None:
        section = self.config.outputs.opcua
        if not section.serve:
            return
        options = opcua.Options(host=section.host, port=section.port, certificate=section.certificate, key=section.key)
        server = await self.parts.stack.enter_async_context(opcua.serve(options, self.outputs.changed("outputs.opcua")))
        self._tell(server.publish, server.publish)
        self.outputs.on_alarm.append(server.alarm)
        self.parts.count_drops("outputs.opcua", _Dropped(lambda: server.skipped))

    def open_mqtt(self) -> None:
        section = self.config.outputs.mqtt
        if not section.host:
            return
        entities = home_assistant.STATION | (home_assistant.KIOSK if self.config.app == "device" else {})
        options = mqtt_options(section, self.config.name, announced(section, self.config.name, entities))
        self.outputs.broker = sender = mqtt.Mqtt(options, self.outputs.changed("outputs.mqtt"))

        def tell(state: LineState, verdict: Verdict) -> None:
            if state.last:
                sender.verdict(verdict, state.last)
            sender.state(state)

        self._tell(tell, sender.state)
        self.outputs.on_alarm.append(sender.alarm)
        self.parts.count_drops("outputs.mqtt", _Dropped(lambda: sender.unstored + sender.dropped))
        self.start(sender.run())

    def _tell(self, verdict: Callable[[LineState, Verdict], None], state: Callable[[LineState], None]) -> None:
        self.outputs.on_verdict.append(verdict)
        self.outputs.on_state.append(state)


class _Dropped:
    """What `Parts.count_drops` asks at the end."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count

    @property
    def dropped(self) -> int:
        return self._count()


def mqtt_options(
    section: settings.MqttOutput, station: str, announcements: tuple[tuple[str, str], ...] = ()
) -> mqtt.Options:
    """The configuration in the device's terms, the secret fetched. Raises ConfigError."""
    password = read_secret("outputs.mqtt", "password", env=section.password_env, file=section.password_file)
    return mqtt.Options(
        host=section.host,
        port=section.port,
        prefix=section.prefix,
        client=section.client or station,
        outbox=Path(section.outbox),
        outbox_rows=section.outbox_rows,
        user=section.user,
        password=password,
        tls=section.tls,
        ca=section.ca,
        certificate=section.certificate,
        key=section.key,
        announcements=announcements,
    )


def announced(
    section: settings.MqttOutput, name: str, entities: dict[str, dict[str, Any]]
) -> tuple[tuple[str, str], ...]:
    """The messages for Home Assistant; none if discovery is off."""
    if not section.discovery:
        return ()
    return home_assistant.announcements(section.discovery, section.prefix, name, __version__, entities)


async def open_outputs(
    config: settings.Config, parts: Parts, counting: Counting = Counting(), outputs: Outputs | None = None
) -> Outputs:
    """Open all that the configuration names; it is closed with `parts`. Raises ConfigError and DeviceError.

    Parts may come before this returns: whoever has to hear of them gives `outputs` with its hooks set.

    A PLC or broker that is not there yet is an alarm, not an error: the station judges parts without it.
    """
    group = await parts.stack.enter_async_context(asyncio.TaskGroup())
    line = _Opening(config, parts, group, counting, outputs or Outputs(config, parts))
    line.open_chip()
    line.open_verdict_lines()
    await line.open_modbus()
    line.open_gate()
    line.open_trigger()
    await line.open_opcua()
    line.open_mqtt()
    line.outputs.station(Station.RUNNING)
    parts.stack.callback(line.outputs.station, Station.STOPPED)
    return line.outputs
