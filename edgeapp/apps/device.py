"""The whole device: a voice kiosk and a quality-control station in one process; what the station sees, the voice knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from edgeapp import config as settings
from edgeapp.apps.kiosk import converse, open_sound, open_voice
from edgeapp.apps.qc import open_camera, open_inspection, say, warn
from edgeapp.apps.tools import kiosk_tools
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import Outcome, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.vision.inspection import watch
from edgeapp.voice.content import Content, QcCounts, with_counts


async def device(config: settings.Config, file: Path | None = None) -> None:
    """Converse and inspect until both sources end or somebody stops it. `file` is where the configuration was read."""
    front = Front(config, file)
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
        parts = Parts(stack, sink_of(config.records, stack, count, *front.sinks))
        await front.open(parts)
        inspection = await open_inspection(config, parts)
        voice = await open_voice(config, parts, live, kiosk_tools(counts=today))
        ear, mouth = await open_sound(config.audio, parts)
        async with asyncio.TaskGroup() as forever:
            forever.create_task(
                watch(await open_camera(config.vision.camera, parts), inspection, front.showing(say), warn)
            )
            forever.create_task(converse(config, parts, voice, ear, mouth, front.converses))
