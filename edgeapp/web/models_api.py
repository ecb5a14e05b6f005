"""The models on this device: what is here, what serves where, what can be fetched; and fetching and switching."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from threading import Event
from typing import Annotated, Final, Literal, get_args

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel

from edgeapp.core.events import ConfigError
from edgeapp.models import slots
from edgeapp.models.catalogue import COMMIT, catalogue, source_of
from edgeapp.models.manifest import Kind, Model
from edgeapp.models.store import bundled, find, folder_of, mend, pulled, spoiled
from edgeapp.web.access import Engineer, Here, Person, Viewer, change
from edgeapp.web.live import Live
from edgeapp.web.site import Site

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Role = Literal["vad", "stt", "llm", "tts", "detect", "turn"]

_LINES_MAX: Final = 50  # of what a pull says


class ModelLine(BaseModel):
    """A model that is here."""

    name: str
    kind: str
    engine: str
    size_bytes: int
    licence: str
    source: str
    revision: str
    sha256: str
    """Of the file the engine opens, or else of its largest one; its first 12 digits stand in every verdict."""

    ships: bool
    whole: bool
    """Are all files there in their sizes? Hashes are `edgeapp models verify`'s work."""

    current_for: list[str]
    previous_for: list[str]
    mend: str


class SourceLine(BaseModel):
    """A model that can be fetched."""

    name: str
    kind: str
    size_mb: int
    licence: str
    repository: str
    pinned: bool
    gated: bool
    convert: str
    note: str


class SwitchLine(BaseModel):
    """Something that was switched, or refused."""

    at: str
    role: str
    before: str
    to: str
    accepted: bool
    says: str


class Models(BaseModel):
    """All of it."""

    here: list[ModelLine]
    more: list[SourceLine]
    switches: list[SwitchLine]
    wrong: list[str]


class Switched(BaseModel):
    """What the golden set found."""

    says: str


@dataclass(slots=True)
class Pull:
    """The one fetch under way, or the last one, as the live view shows it."""

    live: Live
    name: str = ""
    state: str = "none"
    """`none`, `under way`, `stopping`, `stopped`, `done` or `failed`."""

    stop: Event = field(default_factory=Event)
    """Set when nobody wants it any more."""

    says: list[str] = field(default_factory=list)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """File to bytes that came and bytes in all."""

    def begin(self, name: str) -> None:
        self.name, self.state, self.says, self.files, self.stop = name, "under way", [], {}, Event()
        self.live.changed("pull")

    def give_up(self) -> None:
        """It ends with its next piece; over a link that stands still, when that counts as cut."""
        if self.state == "under way":  # it may have ended while the trail was written
            self.stop.set()
            self.state = "stopping"
            self.live.changed("pull")

    def say(self, line: str) -> None:
        self.says = [*self.says, line][-_LINES_MAX:]
        self.live.changed("pull")

    def came(self, file: str, total: int, count: int) -> None:
        self.files[file] = (self.files.get(file, (0, total))[0] + count, total)
        self.live.changed("pull")

    def end(self, state: str, line: str) -> None:
        self.state = state
        self.say(line)

    def now(self) -> dict[str, object]:
        """For the live view."""
        came, total = (sum(each[n] for each in self.files.values()) for n in (0, 1))
        return {"name": self.name, "state": self.state, "says": self.says[-8:], "came_bytes": came, "bytes": total}


def router(site: Site) -> APIRouter:
    """The routes below /api/models."""
    api = APIRouter(prefix="/api/models", tags=["models"], responses={401: {}, 403: {}, 404: {}, 409: {}})
    pull = Pull(site.live)
    site.live.topic("pull", pull.now)
    busy = asyncio.Lock()
    under_way: set[asyncio.Task[None]] = set()

    @api.get("")
    def models(_: Viewer) -> Models:
        return _models()

    @api.post("/{name}/pull", status_code=202)
    async def fetch(name: Name, site: Here, person: Engineer) -> None:
        """Begin to fetch a model of the catalogue; its progress is the topic `pull` of the live view."""
        if await asyncio.to_thread(source_of, name) is None:
            raise HTTPException(404, f"there is no model {name!r} to pull")
        if under_way:
            raise HTTPException(409, f"{pull.name} is being fetched: wait until it is here")
        pull.begin(name)
        task = asyncio.create_task(_fetch(site, pull, name, person))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    @api.delete("/{name}/pull", status_code=202)
    async def stop(name: Name, site: Here, person: Engineer) -> None:
        """Stop fetching this model. What came is kept, and fetching it again goes on there."""
        if not under_way or pull.name != name:
            raise HTTPException(404, f"{name} is not being fetched")
        async with change(site, person, "models pull stop", name):
            pull.give_up()

    @api.post("/{role}/switch/{name}")
    async def switch(role: Role, name: Name, site: Here, person: Engineer) -> Switched:
        """Make a model current if it passes its golden set here; it serves from the next start on."""
        check = site.check
        if check is None:
            raise HTTPException(409, "this device cannot ask a model its golden set")
        if role not in get_args(Kind):
            raise HTTPException(404, f"no model is switched for {role}")
        if busy.locked():
            raise HTTPException(409, "another switch is under way")
        async with busy, change(site, person, "models switch", f"{role} to {name}"):
            says = await asyncio.to_thread(slots.switch, role, name, check)
        return Switched(says=says)

    return api


async def _fetch(site: Site, pull: Pull, name: str, person: Person) -> None:
    """Fetch in a thread; what it says comes back to the loop, and how it ended stands in the trail."""
    from edgeapp.models.fetch import Stopped
    from edgeapp.models.pull import pull as fetch

    loop = asyncio.get_running_loop()

    def say(line: str) -> None:
        loop.call_soon_threadsafe(pull.say, line)

    def watch(file: str, total: int) -> Callable[[int], None]:
        def came(count: int) -> None:
            loop.call_soon_threadsafe(pull.came, file, total, count)

        return came

    def accept(model: Model, folder: FilePath) -> None:
        if site.check:
            site.check(model, folder)

    def work() -> None:
        source = source_of(name)
        assert source is not None  # it was asked before
        fetch(source, say, watch, accept, stop=pull.stop)

    try:
        async with change(site, person, "models pull", name):
            await asyncio.to_thread(work)
    except Stopped:
        pull.end("stopped", "what came is kept: fetching it again goes on there")
    except ConfigError as error:
        pull.end("failed", str(error))
    except Exception as bug:
        pull.end("failed", f"{type(bug).__name__}: {bug}")
        raise
    else:
        pull.end("done", f"{name} is on this device")


def _models() -> Models:
    ships = {each.name for each in bundled()}
    here = bundled() + pulled()
    roles = {role: slots.slot(role) for role in get_args(Kind)}
    return Models(
        here=[
            ModelLine(
                name=each.name,
                kind=each.kind,
                engine=each.engine,
                size_bytes=sum(file.size for file in each.files),
                licence=each.licence,
                source=each.source,
                revision=each.revision,
                sha256=_sha256(each),
                ships=each.name in ships,
                whole=(whole := _whole(each)),
                current_for=[role for role, slot in roles.items() if slot.current == each.name],
                previous_for=[role for role, slot in roles.items() if slot.previous == each.name],
                mend="" if whole else mend(each),
            )
            for each in here
        ],
        more=[
            SourceLine(
                name=each.name,
                kind=each.kind,
                size_mb=each.size_mb,
                licence=each.licence,
                repository=each.repository,
                pinned=COMMIT.fullmatch(each.revision) is not None,
                gated=each.gated,
                convert=each.convert,
                note=each.note,
            )
            for each in catalogue()
            if find(each.name) is None
        ],
        switches=[
            SwitchLine(at=s.at, role=s.role, before=s.before, to=s.to, accepted=s.accepted, says=s.says)
            for s in slots.switches()[-20:][::-1]
        ],
        wrong=[str(each) for each in spoiled()],
    )


def _sha256(model: Model) -> str:
    opened = [file for file in model.files if file.path == model.main] or model.files
    return max(opened, key=lambda file: file.size).sha256


def _whole(model: Model) -> bool:
    try:
        return all((folder_of(model) / each.path).stat().st_size == each.size for each in model.files)
    except OSError:
        return False
