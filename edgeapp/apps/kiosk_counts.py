"""What a broker is told of the voice: counts and times of its turns, never their words."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.outputs import announced, mqtt_options
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, DeviceError
from edgeapp.core.record import AlarmRecord, AnyRecord, TurnRecord
from edgeapp.devices import home_assistant, mqtt


class KioskCounts:
    """A sink of records that counts turns and tells a broker."""

    def __init__(self) -> None:
        self._turns: Counter[str] = Counter()
        self._reply_ms: float | None = None
        self._broker: mqtt.Mqtt | None = None

    def tell(self, broker: mqtt.Mqtt) -> None:
        """Tell this broker, now and after every turn."""
        self._broker = broker
        broker.retain("kiosk", self.words)

    def note(self, record: AnyRecord) -> None:
        """Count a turn that has ended. Other records are of no interest."""
        if not isinstance(record, TurnRecord) or record.outcome == "rolled back":
            return
        self._turns[record.outcome] += 1
        if record.first_audible_ns is not None:
            self._reply_ms = round((record.first_audible_ns - record.last_voiced_ns) / MS, 1)
        if self._broker is not None:
            self._broker.retain("kiosk", self.words)

    def words(self) -> dict[str, Any]:
        """What is true now."""
        names = {"not_understood": "not understood", "interrupted": "interrupted", "failed": "failed"}
        return {
            "turns": self._turns.total(),
            **{k: self._turns[v] for k, v in names.items()},
            "reply_ms": self._reply_ms,
        }


async def open_broker(config: settings.Config, parts: Parts, counts: KioskCounts) -> None:
    """Tell the broker of `[outputs.mqtt]`, if there is one, of a kiosk that has no station beside it. Raises ConfigError."""
    section = config.outputs.mqtt
    if not section.host:
        return

    def changed(error: DeviceError | None) -> None:
        if error is not None:
            parts.sink(AlarmRecord("outputs.mqtt", now_ns(), str(error)))

    options = mqtt_options(section, config.name, announced(section, config.name, home_assistant.KIOSK))
    broker = mqtt.Mqtt(options, changed)
    counts.tell(broker)
    group = await parts.stack.enter_async_context(asyncio.TaskGroup())
    task = group.create_task(broker.run())

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    parts.stack.push_async_callback(end)
