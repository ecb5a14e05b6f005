"""The whole device: a voice kiosk and a quality-control station in one process; what the station sees, the voice knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from edgeapp import config as settings
from edgeapp.apps.content_file import BUNDLED_CONTENT, open_content
from edgeapp.apps.evidence import Placements
from edgeapp.apps.kiosk import converse, open_sound, open_voice
from edgeapp.apps.kiosk_counts import KioskCounts
from edgeapp.apps.qc import open_line, say
from edgeapp.apps.station_voice import STATION_CONTENT, line_of, listens, open_station_voice, screen
from edgeapp.apps.tools import kiosk_tools
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import Outcome, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.voice.content import Content, QcCounts, with_counts
from edgeapp.web.courtesy import Courtesy


async def device(config: settings.Config, file: Path | None = None) -> None:
    """Converse and inspect until both sources end or somebody stops it. `file` is where the configuration was read."""
    from edgeapp.apps.protocols import open_protocols  # it brings web servers

    front, courtesy, spoken = Front(config, file), Courtesy(config.protocols.requests), KioskCounts()
    counts: Counter[Outcome] = Counter()
    shop = front.shop = open_content(config, STATION_CONTENT if listens(config) else BUNDLED_CONTENT)

    def count(record: AnyRecord) -> None:
        if isinstance(record, Verdict):
            counts[record.outcome] += 1

    def today() -> QcCounts:
        return QcCounts(counts[Outcome.PASS], counts[Outcome.FAIL], counts[Outcome.NOT_INSPECTED])

    def live(content: Content) -> Content:
        now = today()
        return with_counts(content, now.passed, now.failed, now.not_inspected)

    async with AsyncExitStack() as stack:
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, count, spoken.note, placements, screen, *front.sinks))
        line = await open_line(config, parts, placements)
        line.on_told.append(say)
        line.show_on(front)
        await front.open(parts)
        if line.station.outputs.broker:
            spoken.tell(line.station.outputs.broker)
        if listens(config):
            asked = await open_station_voice(config, parts, line_of(config, line.station, line.golden_due), shop)
            line.station.outputs.on_alarm.append(asked.alarm)
            voice, talk = asked.voice, asked.converse
        else:
            voice = await open_voice(config, parts, shop, live, kiosk_tools(counts=today))
            talk = partial(converse, voice)
        await open_protocols(config, parts, voice, courtesy)
        ear, mouth = await open_sound(config.audio, parts)
        async with asyncio.TaskGroup() as forever:
            forever.create_task(line.run())
            forever.create_task(talk(config, parts, ear, mouth, courtesy.give_way_to, front.converses))
