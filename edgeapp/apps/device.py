"""The whole device: a voice kiosk and a quality-control station in one process; what the station sees, the voice knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.kiosk import converse, open_sound, open_voice
from edgeapp.apps.qc import open_line, say
from edgeapp.apps.tools import kiosk_tools
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import Outcome, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.voice.content import Content, QcCounts, with_counts
from edgeapp.web.courtesy import Courtesy


async def device(config: settings.Config) -> None:
    """Converse and inspect until both sources end or somebody stops it."""
    from edgeapp.apps.protocols import open_protocols  # it brings web servers

    courtesy = Courtesy(config.protocols.requests)
    counts: Counter[Outcome] = Counter()

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
        parts = Parts(stack, sink_of(config.records, stack, count, placements))
        line = await open_line(config, parts, placements)
        line.on_told.append(say)
        voice = await open_voice(config, parts, live, kiosk_tools(counts=today))
        await open_protocols(config, parts, voice, courtesy)
        ear, mouth = await open_sound(config.audio, parts)
        async with asyncio.TaskGroup() as forever:
            forever.create_task(line.run())
            forever.create_task(converse(config, parts, voice, ear, mouth, courtesy.give_way_to))
