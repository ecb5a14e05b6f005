"""The voice at the station: questions to the ledger, commands to the line, and alarms said aloud."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgeapp import config as settings
from edgeapp.apps.content_file import ContentFile
from edgeapp.apps.kiosk import Voice, converse, open_sound, open_voice
from edgeapp.apps.station import QcStation
from edgeapp.apps.station_desk import Desk
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import MS, AudioChunk
from edgeapp.core.record import AlarmRecord, AnyRecord, ScreenRecord
from edgeapp.station.spans import Calendar
from edgeapp.voice.announcer import Announcer
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.speaker import Speaker
from edgeapp.voice.station_grammar import station_grammar

STATION_CONTENT: Final = Path(__file__).parent.parent / "assets" / "station.toml"


@dataclass(frozen=True)
class Line:
    """What the voice may ask of the station, and do to it."""

    folder: Path
    """Of the evidence ledger."""

    alarm_is_open: Callable[[], bool]
    acknowledge: Callable[[str], None]
    """The alarms were seen; a line that was stopped runs again."""

    stopped: Callable[[], str]
    """Why it is stopped; empty if it is not."""

    stop: Callable[[str], None]
    """For this reason."""

    stop_after: Callable[[int], None]
    """From now on after so many rejects in a row; 0 is never."""

    note: Callable[[str, Mapping[str, Any]], Awaitable[object]] | None = None
    """Writes what was done into the ledger, as a row of this kind."""

    golden_due: Callable[[], str] | None = None
    """Why the golden parts should be judged now; empty if there is no need. None: there are no golden parts."""

    shifts_utc: tuple[str, ...] = Calendar().shifts_utc
    """When shifts begin."""


class StationVoice:
    """Made by `open_station_voice`. Lives on one loop."""

    def __init__(self, voice: Voice, desk: Desk, announcer: Announcer, *, speaks: bool) -> None:
        self.voice, self.desk, self.announcer, self._speaks = voice, desk, announcer, speaks

    def alarm(self, alarm: AlarmRecord) -> None:
        """Say it aloud when nobody speaks, if the configuration says so."""
        if self._speaks:
            self.announcer.alarm(alarm)

    async def converse(
        self,
        config: settings.Config,
        parts: Parts,
        ear: AsyncIterable[AudioChunk],
        mouth: Speaker,
        *on_open: Callable[[Conversation], None],
    ) -> None:
        """Listen, answer and say alarms until the microphone ends. Each `on_open` is told of the conversation."""
        telling: list[asyncio.Task[None]] = []

        def sink(record: AnyRecord) -> None:
            self.desk.saw(record)
            parts.sink(record)

        def opened(conversation: Conversation) -> None:
            telling.append(asyncio.create_task(self.announcer.run(conversation)))

        try:
            await converse(self.voice, config, replace(parts, sink=sink), ear, mouth, opened, *on_open)
        finally:
            for task in telling:
                task.cancel()
            if telling:
                await asyncio.wait(telling)


async def open_station_voice(config: settings.Config, parts: Parts, line: Line, shop: ContentFile) -> StationVoice:
    """Its voice and grammar, ready for `converse`; it knows `shop` beside the line. Raises ConfigError, BackendError."""
    section, labels = config.voice.station, config.vision.rule.defects
    announcer, calendar = Announcer(round(section.again_ms * MS)), Calendar(shifts_utc=line.shifts_utc)
    desk = Desk(line, labels, calendar, announcer, parts.sink, parts.lane("voice.station"))
    voice = await open_voice(
        config,
        parts,
        shop,
        toolbox=desk.toolbox(),
        own=desk.own,
        sentences=station_grammar(labels).sentences,
    )
    parts.count_drops("voice.station", announcer)
    return StationVoice(voice, desk, announcer, speaks=section.speak_alarms)


def listens(config: settings.Config) -> bool:
    """Does the station answer questions? It needs a ledger to ask."""
    return config.voice.station.listen and bool(config.station.folder)


def line_of(config: settings.Config, booth: QcStation, golden_due: Callable[[], str] | None) -> Line:
    """What the voice may ask of a running station, and do to it."""
    return Line(
        folder=Path(config.station.folder),
        alarm_is_open=lambda: booth.outputs.state.alarm,
        acknowledge=booth.outputs.acknowledge,
        stopped=lambda: booth.rules.stopped,
        stop=booth.stop,
        stop_after=booth.stop_after,
        note=booth.ledger.note if booth.ledger else None,
        golden_due=golden_due,
        shifts_utc=config.vision.golden.shifts_utc,
    )


@asynccontextmanager
async def speaking(
    config: settings.Config,
    parts: Parts,
    booth: QcStation,
    golden_due: Callable[[], str] | None,
    shop: ContentFile | None,
    *on_open: Callable[[Conversation], None],
) -> AsyncIterator[None]:
    """Answer at the station and say its alarms meanwhile; without a `shop` it is silent."""
    if shop is None:
        yield
        return
    spoken = await open_station_voice(config, parts, line_of(config, booth, golden_due), shop)
    booth.outputs.on_alarm.append(spoken.alarm)
    ear, mouth = await open_sound(config.audio, parts)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(spoken.converse(config, parts, ear, mouth, *on_open))
        yield
        listening.cancel()


def screen(record: AnyRecord) -> None:
    """A sink that prints what somebody asked to see."""
    if isinstance(record, ScreenRecord):
        picture = record.picture or "no picture was kept"
        sys.stdout.write(f"screen: {record.what}, row {record.row}: {record.why}; {picture}\n")
        sys.stdout.flush()
