"""From a configuration to running parts: lanes by name, engines by file name, stages from both."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeapp import config as settings
from edgeapp.apps.engines import module_of
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.record import AnyRecord, DropRecord, Sink
from edgeapp.core.stage import Stage
from edgeapp.models.catalogue import catalogue
from edgeapp.models.store import manifest, path_of
from edgeapp.models.verify import verify
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

    def lane(self, name: str) -> Lane:
        """The lane of that name, opened at its first use and closed with the rest."""
        if name not in self.lanes:
            self.lanes[name] = Lane(name)
            self.stack.callback(self.lanes[name].close)
        return self.lanes[name]

    def count_drops(self, where: str, device: Any) -> None:
        """When all is closed, write down what a device's buffer had to drop, if it counts that and dropped anything."""

        def write() -> None:
            if dropped := getattr(device, "dropped", 0):
                self.sink(DropRecord(where, now_ns(), dropped))

        self.stack.callback(write)

    async def engine(self, section: settings.Engine, where: str) -> Any:
        """Open the engine of a section. `where` is the section's name in the file, for errors."""
        module = module_of(section.engine, where)
        values = dict(section.options)
        for key in ("model", "voice"):
            if isinstance(name := values.get(key), str):
                values[key] = _from_store(name)
        options = settings.options(module.Options, values, where)
        return await self.stack.enter_async_context(module.load(options, self.lane(section.lane or where)))

    async def stage(
        self, section: settings.Stage, where: str, payload_bytes: Callable[[Any], int] = lambda _: 0
    ) -> Stage[Any, Any]:
        """Open a stage: its local engine and, if there is one, its remote engine and their link."""
        name = where.rpartition(".")[2]
        local = await self.engine(section, where)
        remote, link = None, None
        if section.remote is not None:
            remote = await self.engine(section.remote, f"{where}.remote")
            link = self.links.setdefault(section.remote.lane or section.remote.engine, Link(section.remote.engine))
        stage: Stage[Any, Any] = Stage(
            name,
            local,
            self.lane(section.lane or where),
            local_prior_ns=round((section.bound_ms or _BOUNDS_MS[name]) * MS),
            sink=self.sink,
            remote=remote,
            link=link,
            payload_bytes=payload_bytes,
        )
        self.stack.push_async_callback(stage.aclose)
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


def _from_store(name: str) -> str:
    """The path of a model of the store, its files checked; anything else (a path, a server's own name) as it is.

    Raises ConfigError for a model that is known but not here, or not whole.
    """
    for model in manifest():
        if model.name == name:
            verify(model)
            return str(path_of(name))
    return str(path_of(name)) if name in {each.name for each in catalogue()} else name
