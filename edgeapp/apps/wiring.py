"""From a configuration to running parts: lanes by name, engines by file name, stages from both."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeapp import config as settings
from edgeapp.apps.bounds import Bounds, following
from edgeapp.apps.gate import admit, ready
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Terms
from edgeapp.core.policies import POLICIES
from edgeapp.core.record import AnyRecord, DropRecord, Sink
from edgeapp.core.stage import Stage
from edgeapp.observe.jsonl import JsonLines

_BOUNDS_MS: Final = {"stt": 10.0, "llm": 60.0, "tts": 20.0, "detect": 80.0}
"""To the first part, believed of an engine on this device until it was seen running."""


@dataclass
class Parts:
    """What one application has open; closing `stack` closes everything in reverse order."""

    stack: AsyncExitStack
    sink: Sink
    lanes: dict[str, Lane] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    """What is open to the world outside, a handful by name; its `dropped` and `trouble` are shown, if it has them."""

    lost: dict[str, str] = field(default_factory=dict)
    """Why one of them is away, by the same names, where it does not say so itself."""

    def lane(self, name: str) -> Lane:
        """The lane of that name, opened at its first use and closed with the rest."""
        if name not in self.lanes:
            self.lanes[name] = Lane(name)
            self.stack.callback(self.lanes[name].close)
        return self.lanes[name]

    def count_drops(self, where: str, device: Any) -> None:
        """Show a device; when all is closed, write down what its buffer had to drop, if it counts that and dropped anything."""
        alike = sum(each.split(" #")[0] == where for each in self.devices)
        self.devices[f"{where} #{alike + 1}" if alike else where] = device

        def write() -> None:
            if dropped := getattr(device, "dropped", 0):
                self.sink(DropRecord(where, now_ns(), dropped))

        self.stack.callback(write)

    async def engine(self, section: settings.Engine, where: str) -> Any:
        """Open the engine of a section through the golden gate. `where` is the section's name in the file, for errors."""
        return await admit(section, where, self.stack, self.lane(section.lane or where), self.sink)

    async def remote(self, section: settings.Engine, where: str) -> Any:
        """Open an engine that runs elsewhere: its golden set is asked there."""
        asked = ready(section, where)
        return await self.stack.enter_async_context(asked.module.load(asked.options, self.lane(section.lane or where)))

    async def stage(
        self, section: settings.Stage, where: str, payload_bytes: Callable[[Any], int] = lambda _: 0
    ) -> Stage[Any, Any]:
        """Open a stage: its local engines and, if there is one, its remote engine and their link."""
        name = where.rpartition(".")[2]
        local = await self.engine(section, where)
        lane = section.lane or where
        smaller = [
            await self.engine(msgspec.structs.replace(each, lane=lane), f"{where}.smaller") for each in section.smaller
        ]
        remote, link = None, None
        if section.remote is not None:
            remote = await self.remote(section.remote, f"{where}.remote")
            link = self.links.setdefault(section.remote.lane or section.remote.engine, Link(section.remote.engine))
        bounds = Bounds([section, *section.smaller], name, round(_BOUNDS_MS[name] * MS))
        stage: Stage[Any, Any] = Stage(
            name,
            local,
            self.lane(lane),
            local_prior_ns=bounds.now_ns[0],
            sink=self.sink,
            remote=remote,
            link=link,
            terms=Terms(race=section.race, local_j=section.local_j, send_j=section.send_j, value_j=section.value_j),
            payload_bytes=payload_bytes,
            placer=POLICIES[section.policy],
            policy=section.policy,
            smaller=list(zip(smaller, bounds.now_ns[1:], strict=True)),
            calibrated=bounds.calibrated,
        )
        self.stack.push_async_callback(stage.aclose)
        if remote is not None:
            await self.stack.enter_async_context(following(stage, bounds))
        return stage


def settle() -> None:
    """Everything is loaded: keep the garbage collector from walking it again in the middle of a turn."""
    gc.collect()
    gc.freeze()


def sink_of(records: settings.Records, stack: AsyncExitStack, *also: Sink) -> Sink:
    """The configured record file, if any, and whoever else wants to see the records."""
    sinks = list(also)
    if records.path:
        file = JsonLines(Path(records.path), max_bytes=round(records.max_mb * 1e6))
        stack.callback(file.close)
        sinks.append(file)

    def sink(record: AnyRecord) -> None:
        for each in sinks:
            each(record)

    return sink
