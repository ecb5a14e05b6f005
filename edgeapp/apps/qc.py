"""The quality-control station as a wiring diagram:

camera(s) and trigger -> inspection by the rule -> ledger -> line (Modbus, MQTT, OPC UA, GPIO, gate) -> console
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edgeapp import config as settings
from edgeapp.apps import golden as known
from edgeapp.apps.content_file import open_content
from edgeapp.apps.desk import GoldenDesk, RuleDesk
from edgeapp.apps.evidence import Placements
from edgeapp.apps.eyes import belt_of, window_of
from edgeapp.apps.golden import GoldenCheck, identity_of, open_golden, past_runs
from edgeapp.apps.inspection import Sight, camera_name, open_camera, open_sight, warn
from edgeapp.apps.rule_switch import RuleSwitch
from edgeapp.apps.rules import OpenedRule, book_key, last_rule, note_rule, rule_in_use
from edgeapp.apps.station import EachFrame, OnTheirWay, QcStation, open_station
from edgeapp.apps.station_voice import STATION_CONTENT, listens, screen, speaking
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import MS, CameraFrame, Outcome, Trigger, Verdict
from edgeapp.core.record import AnyRecord
from edgeapp.devices.triggers import Triggers
from edgeapp.vision.capture import Capture, Eye, Inspected, View
from edgeapp.vision.following import Following
from edgeapp.vision.photo_eye import PhotoEye

_SHOWN_MAX: Final = 16  # pictures whose verdicts are on their way to the disk


async def station(config: settings.Config, file: Path | None = None) -> None:
    """Judge parts until the camera's source ends or somebody stops it. `file` is where the configuration was read."""
    front = Front(config, file)
    shop = front.shop = open_content(config, STATION_CONTENT) if listens(config) else None
    async with AsyncExitStack() as stack:
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, placements, screen, *front.sinks))
        line = await open_line(config, parts, placements)
        line.on_told.append(say)
        line.show_on(front)
        await front.open(parts)
        async with speaking(config, parts, line.station, line.golden_due, shop, front.converses):
            await line.run()


class Line:
    """A line that is open: what looks at it, and the station that answers for it."""

    def __init__(
        self,
        config: settings.Config,
        parts: Parts,
        sight: Sight,
        booth: QcStation,
        golden: GoldenCheck | None,
        rules: RuleSwitch | None = None,
    ) -> None:
        self.station, self.on_told, self.golden, self._rules = booth, booth.on_told, golden, rules
        self._config, self._parts, self._sight = config, parts, sight
        self._group: asyncio.TaskGroup | None = None
        self._shown: dict[int, list[tuple[CameraFrame, Verdict]]] = {}  # until the line is told; bounded by _SHOWN_MAX
        self._shows = False

    @property
    def golden_due(self) -> Callable[[], str] | None:
        """Says why the golden parts should be judged now; None without any."""
        golden = self.golden
        return (lambda: golden.golden.due or golden.trouble) if golden else None

    def show_on(self, front: Front) -> None:
        """Let the pages see each picture with the verdict that the line was told, and the ledger."""
        booth, self._shows = self.station, front.serves
        if booth.ledger:
            folder = Path(self._config.station.folder)
            front.ledger = (folder, booth.ledger)
            if self._config.vision.rule_book:
                front.rules = RuleDesk(self._config.vision, folder, lambda: self._sight.opened.rule.id)
            front.golden = GoldenDesk(self.golden, folder) if self.golden else None
        front.acknowledge, front.shift = booth.outputs.acknowledge, booth
        front.rule = lambda: self._sight.opened.rule

        def told(verdict: Verdict) -> None:
            seen = self._shown.pop(verdict.frame_number, [])
            for frame, own in seen:
                front.live.saw(frame, own if len(seen) > 1 else verdict)

        if front.serves:
            self.on_told.append(told)

    async def run(self, frames: AsyncIterable[CameraFrame] | None = None) -> None:
        """Every trigger, or every frame if there is none, gets its verdict; until the source ends. `frames` instead of the camera's."""
        frames = frames or await open_camera(self._config.vision.camera, self._parts)
        async with asyncio.TaskGroup() as group:
            self._group = group
            keeping = [group.create_task(each.keep()) for each in (self.golden, self._rules) if each]
            await (self._follow(frames) if self._tracks else self._capture(frames))
            for each in keeping:
                each.cancel()

    @property
    def _tracks(self) -> bool:
        return self._config.vision.capture.policy == "tracks" and self.station.outputs.triggers is None

    async def _capture(self, frames: AsyncIterable[CameraFrame]) -> None:
        """A part is a trigger, and what the cameras saw of it."""
        vision, booth = self._config.vision, self.station
        triggers = booth.outputs.triggers
        if triggers is None:
            triggers = by_camera = booth.frames_as_triggers()
            frames = EachFrame(frames, by_camera, every=vision.camera.policy == "every")
        elif vision.trigger.source == "photo_eye" and isinstance(triggers, Triggers):
            eye_frames = vision.trigger.eye_frames
            frames = PhotoEye(frames, vision.trigger.region, pull=triggers.pull, debounce_frames=eye_frames)
        name, within_ns = camera_name(vision.camera), booth.inspect_within_ns
        sections = {name: (vision, frames, vision.capture)} | {
            each.name: (each, await open_camera(each.camera, self._parts), each) for each in vision.further_cameras
        }
        eyes = [
            Eye(eye, seen, self._sight.inspection(section, self._parts, within_ns=within_ns, sink=_told_later, on_alarm=booth.alarm),
                window_of(window))
            for eye, (section, seen, window) in sections.items()
        ]  # fmt: skip
        capture = Capture(
            eyes, source=name, due_after_ns=within_ns, sink=_told_later,
            on_part=lambda part: self._judged(part.verdict, _shown(part), part.views), on_loss=warn,
        )  # fmt: skip
        await capture.run(OnTheirWay(triggers, booth.outputs.triggered))

    async def _follow(self, frames: AsyncIterable[CameraFrame]) -> None:
        """A part is what is followed along the belt; it comes when it is sure to be one."""
        vision, booth = self._config.vision, self.station
        within_ns = booth.inspect_within_ns
        inspection = self._sight.inspection(
            vision, self._parts, within_ns=within_ns, sink=_told_later, on_alarm=booth.alarm
        )
        await Following(
            inspection, belt_of(vision.tracks), source=camera_name(vision.camera), due_after_ns=within_ns, sink=_told_later,
            came=booth.came_unasked, on_part=self._passed_line, on_loss=warn,
        ).run(frames)  # fmt: skip

    def _passed_line(self, frame: CameraFrame | None, verdict: Verdict) -> None:
        """A followed part is on its way to the gate from where it was judged."""
        self.station.outputs.triggered(Trigger(verdict.frame_number, verdict.at_ns, verdict.source))
        self._judged(verdict, frame)

    def _judged(self, verdict: Verdict, frame: CameraFrame | None, views: Sequence[View] = ()) -> None:
        """With its serial number to the station. A golden part is no production, and never passes."""
        serials, serial = self._sight.serials, ""
        if serials:
            read = serials.of(frame.number if frame else verdict.frame_number)
            serial = read.text
            if serials.must and read.why and verdict.outcome is not Outcome.NOT_INSPECTED:
                verdict = _not(verdict, read.why, "no serial")
        if self.golden and (part := self.golden.golden.part(serial)):
            assert self._group
            self._group.create_task(self.golden.saw(serial, verdict))
            verdict = _not(verdict, f"golden part {part.name}: {verdict.outcome}, {verdict.why}", "golden part")
        if self._shows and frame:
            self._shown[verdict.frame_number] = by_camera(views) or [(frame, verdict)]
            if len(self._shown) > _SHOWN_MAX:
                del self._shown[min(self._shown)]
        self.station.judged(verdict, frame, serial)


async def open_line(config: settings.Config, parts: Parts, placements: Placements) -> Line:
    """Open everything but the camera; closed with `parts`. Raises ConfigError, DeviceError and BackendError."""
    sight = await open_sight(config, parts)
    vision, folder, camera = config.vision, config.station.folder, camera_name(config.vision.camera)
    past, rule_before = (past_runs(Path(folder)), last_rule(Path(folder))) if folder else ([], None)
    booth = await open_station(config, parts, placements, camera)
    booth.judges_by(sight.opened.rule)
    if booth.ledger:
        rule_before = await note_rule(booth.ledger, sight.opened, rule_before)
    golden = open_golden(
        vision.golden, sight.alone(vision, within_ns=known.BUDGET_NS).inspect, sight.opened,
        model=sight.model, camera=camera, past=past, ledger=booth.ledger,
        alarm=lambda what: booth.outputs.alarm("vision.golden", what),
    )  # fmt: skip
    if golden:
        booth.golden = lambda: golden.trouble
    rules = _follow_book(vision, camera, sight, booth, golden, rule_before) if vision.rule_book else None
    return Line(config, parts, sight, booth, golden, rules)


def _follow_book(
    vision: settings.Vision,
    camera: str,
    sight: Sight,
    booth: QcStation,
    golden: GoldenCheck | None,
    row: dict[str, Any] | None,
) -> RuleSwitch:
    """Take what comes into use in the rule book: `row` is the ledger's newest row `rule`. Raises ConfigError."""

    async def note(opened: OpenedRule) -> None:
        nonlocal row
        if booth.ledger:
            row = await note_rule(booth.ledger, opened, row)

    def switch(opened: OpenedRule) -> None:
        sight.switch(opened)
        booth.judges_by(opened.rule)
        if golden:
            golden.switch(opened.at(camera), identity_of(golden.golden.set, opened, sight.model, camera))
        _write(f"the rule {opened.rule.id} decides about every part from here on")

    return RuleSwitch(
        Path(vision.rule_book), book_key(vision), sight.opened,
        ready=lambda book: rule_in_use(book, sight.classes, sight.opened.scales, camera=camera),
        note=note, switch=switch, alarm=lambda what: booth.outputs.alarm("vision.rule", what),
    )  # fmt: skip


def _told_later(_: AnyRecord) -> None:
    """The station writes a verdict down when the line was told."""


def _shown(part: Inspected) -> CameraFrame | None:
    """The picture the verdict speaks of: the deciding camera's."""
    shown = [view.frame for view in part.views if view.verdict.outcome is part.verdict.outcome]
    return next((frame for frame in shown if frame is not None), None)


def by_camera(views: Sequence[View]) -> list[tuple[CameraFrame, Verdict]]:
    """What each camera saw of a part and says of it, under the camera's name: further ones have frames of the same."""
    return [(replace(each.frame, source=each.camera), each.verdict) for each in views if each.frame is not None]


def _not(verdict: Verdict, why: str, cause: str) -> Verdict:
    return replace(verdict, outcome=Outcome.NOT_INSPECTED, why=why, causes=(cause,))


def say(verdict: Verdict) -> None:
    """One line a verdict."""
    took_ms = (verdict.decided_ns - verdict.at_ns) / MS
    _write(f"{verdict.source} {verdict.frame_number}: {verdict.outcome} in {took_ms:.0f} ms, {verdict.why}")


def _write(line: str) -> None:
    with suppress(OSError):  # a log on a full disk must not end the station
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
