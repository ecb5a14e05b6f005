"""Stretches of time as people at a line name them, as windows of the ledger. Pure: the instant comes from the caller.

Days and hours are those of the station's own clock on the wall; shifts begin at fixed times UTC, as the configuration has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from edgeapp.station.derived import MINUTE_NS
from edgeapp.station.queries import Window

_END: int = Window().to_ns


@dataclass(frozen=True, slots=True)
class Calendar:
    """What is needed to name a stretch of time."""

    zone: tzinfo | None = None
    """None is this device's own."""

    shifts_utc: tuple[str, ...] = ("06:00", "14:00", "22:00")
    """When shifts begin, such as `06:00`; at least one."""

    def window(self, span: str, utc_ns: int, minutes: int = 0) -> Window:
        """`hour`, `today`, `yesterday`, `shift`, `last shift`, `ever`, or the last so many `minutes`, the one under way among them."""
        now = self.clock(utc_ns)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if span == "minutes":
            return Window((utc_ns // MINUTE_NS - minutes + 1) * MINUTE_NS, _END)
        if span == "hour":
            return Window(_ns(now.replace(minute=0, second=0, microsecond=0)), _END)
        if span == "today":
            return Window(_ns(midnight), _END)
        if span == "yesterday":
            return Window(_ns(midnight - timedelta(days=1)), _ns(midnight))
        if span in {"shift", "last shift"}:
            before, began = self._shifts(utc_ns)
            return Window(began, _END) if span == "shift" else Window(before, began)
        return Window()

    def clock(self, utc_ns: int) -> datetime:
        """The instant on the station's clock."""
        return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).astimezone(self.zone)

    def _shifts(self, utc_ns: int) -> tuple[int, int]:
        """When the shift before, and this one, began."""
        now = datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        begun = sorted(
            midnight - timedelta(days=day) + timedelta(hours=int(each[:2]), minutes=int(each[3:]))
            for day in range(3)
            for each in self.shifts_utc
        )
        *_, before, this = [each for each in begun if each <= now]
        return _ns(before), _ns(this)


def _ns(when: datetime) -> int:
    return int(when.timestamp()) * 1_000_000_000
