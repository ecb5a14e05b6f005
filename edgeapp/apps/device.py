"""The whole device: voice and quality control in one process; what the station sees, the voice knows.

With a ledger and `voice.station.listen` the voice answers for the station, from the ledger; otherwise it is the kiosk's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from edgeapp import config as settings
from edgeapp.apps import station_voice
from edgeapp.apps.evidence import Placements
from edgeapp.apps.kiosk import converse, open_sound, open_voice
from edgeapp.apps.qc import Line, open_line, say
from edgeapp.apps.tools import kiosk_tools
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import Outcome, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.voice.content import Content, QcCounts, with_counts


async def device(config: settings.Config) -> None:
    """Converse and inspect until both sources end or somebody stops it."""
    counts: Counter[Outcome] = Counter()

    def count(record: AnyRecord) -> None:
        if isinstance(record, Verdict):
            counts[record.outcome] += 1

    async with AsyncExitStack() as stack:
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, count, placements, station_voice.screen))
        line = await open_line(config, parts, placements)
        line.on_told.append(say)
        if line.station.ledger and config.voice.station.listen:
            conversation = await hear_station(config, parts, line)
        else:
            conversation = await _hear_kiosk(config, parts, counts)
        async with asyncio.TaskGroup() as forever:
            forever.create_task(line.run())
            forever.create_task(conversation)


async def _hear_kiosk(config: settings.Config, parts: Parts, counts: Counter[Outcome]) -> Coroutine[Any, Any, None]:
    """The kiosk's conversation, ready to be run; it knows today's counts."""

    def today() -> QcCounts:
        return QcCounts(counts[Outcome.PASS], counts[Outcome.FAIL], counts[Outcome.NOT_INSPECTED])

    def live(content: Content) -> Content:
        now = today()
        return with_counts(content, now.passed, now.failed, now.not_inspected)

    voice = await open_voice(config, parts, live, kiosk_tools(counts=today))
    ear, mouth = await open_sound(config.audio, parts)
    return converse(config, parts, voice, ear, mouth)


async def hear_station(config: settings.Config, parts: Parts, line: Line) -> Coroutine[Any, Any, None]:
    """The station's conversation, ready to be run: it asks the ledger, and may stop the line. There must be a ledger."""
    station, golden = line.station, line.golden
    assert station.ledger

    def stop_after(rejects: int) -> None:
        station.rules.stop_after = rejects

    spoken = await station_voice.open_station_voice(
        config,
        parts,
        station_voice.Line(
            folder=Path(config.station.folder),
            alarm_is_open=lambda: station.outputs.state.alarm,
            acknowledge=station.outputs.acknowledge,
            stopped=lambda: station.rules.stopped,
            stop=station.stop,
            stop_after=stop_after,
            note=station.ledger.note,
            golden_due=(lambda: golden.golden.due or golden.trouble) if golden else None,
            shifts_utc=config.vision.golden.shifts_utc,
        ),
    )
    station.outputs.on_alarm.append(spoken.alarm)
    ear, mouth = await open_sound(config.audio, parts)
    return spoken.converse(config, parts, ear, mouth)
