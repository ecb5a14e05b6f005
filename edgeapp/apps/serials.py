"""The part's serial number: the configured reader on the camera's frames, and how often there was none."""

from __future__ import annotations

from typing import Any

from edgeapp import config as settings
from edgeapp.apps.engines import module_of
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import BackendError, CameraFrame
from edgeapp.vision.serial import Serial, SerialRule, serial_of


class Serials:
    """Call it with a frame. Lives on one loop."""

    def __init__(self, read: Any, rule: SerialRule) -> None:
        self._read, self.rule = read, rule
        self.unreadable = 0
        """Frames without exactly one serial number."""

    async def __call__(self, frame: CameraFrame) -> Serial:
        """The serial number in the picture, or why there is none. Never raises for the reader's failure."""
        try:
            serial = serial_of(await self._read(frame), self.rule)
        except BackendError as error:
            serial = Serial(why=str(error))
        self.unreadable += not serial.text
        return serial


async def open_serials(barcode: settings.Barcode, parts: Parts) -> Serials | None:
    """The configured reader, in a lane of its own unless one is named; None if there is none. Raises ConfigError."""
    if not barcode.engine:
        return None
    where = "vision.barcode"
    module = module_of(barcode.engine, where)
    options = settings.options(module.Options, barcode.options, where)
    read = await parts.stack.enter_async_context(module.load(options, parts.lane(barcode.lane or where)))
    return Serials(read, SerialRule(barcode.pattern, barcode.unreadable == "not_inspected"))
