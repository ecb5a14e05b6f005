"""What the screens show now: the newest state of each topic, and the newest picture of each camera.

A viewer is told what changed since it was last told, ten times a second at most. It never has a queue: who is slow gets
newer state, and of a camera only the newest picture, and that only after the one before has arrived. Text is made once for all
viewers, and pictures are encoded once, in a thread; while nobody looks nothing is made at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, BackendError, CameraFrame, Verdict
from edgeapp.web.picture import Sort, encode

VIEWERS_MAX: Final = 32
"""At once; each costs some percent of a core, and a device has a few screens, not an audience."""

EVERY_NS: Final = 100 * MS
"""Between two messages to a viewer, and between two pictures of a camera."""

PICTURES_UNDER_WAY: Final = 2
"""Sent to a viewer and not yet confirmed: one on the wire and one on the screen."""

CAMERAS_MAX: Final = 16
TOPICS_MAX: Final = 64
_NICE: Final = 10  # 19 would hold the interpreter's lock for long where others want the core


@dataclass(slots=True)
class _Topic:
    make: Callable[[], Any]
    version: int = 0
    encoded: tuple[int, bytes] = (-1, b"")

    def text(self) -> bytes:
        """The topic's JSON, made at most once a version."""
        if self.encoded[0] != self.version:
            self.encoded = (self.version, json.dumps(self.make(), ensure_ascii=True, allow_nan=False).encode())
        return self.encoded[1]


@dataclass(slots=True)
class _Camera:
    newest: tuple[CameraFrame, Verdict] | None = None
    """Seen, and not yet encoded."""

    encoded_ns: int = -EVERY_NS
    version: int = 0
    message: bytes = b""


@dataclass(eq=False, slots=True)
class Viewer:
    """One screen and what it was told."""

    topics: frozenset[str] | None = None
    """What it may be told; None is everything."""

    pictures: bool = False
    told: dict[str, int] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    under_way: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    skipped: int = 0
    """Pictures it was not sent, because it was still busy with older ones."""

    def confirmed(self) -> None:
        """A picture has arrived on the screen."""
        self.under_way = max(0, self.under_way - 1)
        self.news.set()


class Live:
    """The state of one device for its screens. Lives on one loop; `run` is its only task."""

    def __init__(self, *, pictures: bool = True, sort: Sort = lambda boxes: ((), boxes)) -> None:
        """Without `pictures` no pixel is ever kept or encoded. `sort` says which boxes are drawn, and as what."""
        self._pictures, self._sort = pictures, sort
        self._topics: dict[str, _Topic] = {}
        self._cameras: dict[str, _Camera] = {}
        self._viewers: set[Viewer] = set()
        self._samplers: list[tuple[str, int, Callable[[], Any]]] = []  # as many as the wiring names
        self._beside: list[Callable[[], Coroutine[Any, Any, None]]] = []  # as many as the wiring names
        self._seen = asyncio.Event()
        self._watched = asyncio.Event()

    @property
    def viewers(self) -> int:
        """How many screens look on."""
        return len(self._viewers)

    def topic(self, name: str, make: Callable[[], Any]) -> None:
        """Name a topic and how its state is made, in values that JSON knows."""
        assert len(self._topics) < TOPICS_MAX
        self._topics[name] = _Topic(make)

    def sample(self, name: str, every_ns: int, look: Callable[[], Any]) -> None:
        """A topic whose state is looked at every so often while anybody watches; told when it changed."""
        last: list[Any] = [look()]
        self.topic(name, lambda: last[0])

        def again() -> None:
            if (now := look()) != last[0]:
                last[0] = now
                self.changed(name)

        self._samplers.append((name, every_ns, again))

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Something that runs as long as the view does, such as a meter that rests while nobody watches."""
        self._beside.append(work)

    async def watched(self) -> None:
        """Return when somebody looks on."""
        await self._watched.wait()

    def changed(self, *names: str) -> None:
        """The state of these topics is another one now. Costs next to nothing while nobody watches."""
        for name in names:
            self._topics[name].version += 1
        for viewer in self._viewers:
            viewer.news.set()

    def saw(self, frame: CameraFrame, verdict: Verdict) -> None:
        """A camera's frame was judged: it is the newest. The pixels are kept by reference until a newer one comes."""
        if not self._pictures or (frame.source not in self._cameras and len(self._cameras) >= CAMERAS_MAX):
            return
        self._cameras.setdefault(frame.source, _Camera()).newest = (frame, verdict)
        self._seen.set()

    def state(self, topics: frozenset[str] | None = None) -> bytes:
        """Everything (or these topics) as it is now, as one JSON object."""
        return _joined([(n, t.text()) for n, t in self._topics.items() if topics is None or n in topics])

    # Viewers

    def enter(self, topics: frozenset[str] | None = None, *, pictures: bool = False) -> Viewer:
        """A screen begins to look. Raises BackendError if there are too many."""
        if len(self._viewers) >= VIEWERS_MAX:
            raise BackendError(f"{VIEWERS_MAX} screens look on already: close one")
        viewer = Viewer(topics, pictures)
        viewer.news.set()
        self._viewers.add(viewer)
        self._watched.set()
        self._seen.set()
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Idempotent."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self._watched.clear()

    async def news(self, viewer: Viewer) -> tuple[bytes, list[bytes]]:
        """Wait until there is something to tell; the changed topics as one JSON object (or nothing), and new pictures."""
        while True:
            viewer.news.clear()
            text, pictures = self._text_for(viewer), self._pictures_for(viewer)
            if text or pictures:
                return text, pictures
            await viewer.news.wait()

    def _text_for(self, viewer: Viewer) -> bytes:
        fresh = []
        for name, topic in self._topics.items():
            if (viewer.topics is None or name in viewer.topics) and viewer.told.get(name) != topic.version:
                viewer.told[name] = topic.version
                fresh.append((name, topic.text()))
        return _joined(fresh) if fresh else b""

    def _pictures_for(self, viewer: Viewer) -> list[bytes]:
        if not viewer.pictures:
            return []
        found = []
        for name, camera in self._cameras.items():
            missed = camera.version - viewer.shown.get(name, 0)
            if missed <= 0:
                continue
            if viewer.under_way >= PICTURES_UNDER_WAY:
                break  # it is slow: the newest one waits here, and is the only one that does
            viewer.skipped += missed - 1 if name in viewer.shown else 0
            viewer.shown[name] = camera.version
            viewer.under_way += 1
            found.append(camera.message)
        return found

    # The task

    async def run(self) -> None:
        """Encode and look while anybody watches, until cancelled."""
        thread = ThreadPoolExecutor(1, "pictures", initializer=_give_way)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._encode(thread))
                for _, every_ns, look in self._samplers:
                    group.create_task(self._look(every_ns, look))
                for work in self._beside:
                    group.create_task(work())
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self, every_ns: int, look: Callable[[], Any]) -> None:
        while True:
            await self._watched.wait()
            look()
            await sleep_until(now_ns() + every_ns)

    async def _encode(self, thread: ThreadPoolExecutor) -> None:
        """The newest picture of each camera, ten times a second at most; what came in between is never encoded."""
        loop = asyncio.get_running_loop()
        while True:
            await self._seen.wait()
            self._seen.clear()
            if not any(viewer.pictures for viewer in self._viewers):
                continue  # whoever comes wakes us
            for camera in self._cameras.values():
                if camera.newest is None:
                    continue
                await sleep_until(camera.encoded_ns + EVERY_NS)
                (frame, verdict), camera.newest = camera.newest, None
                camera.encoded_ns = now_ns()
                try:
                    message = await loop.run_in_executor(thread, encode, frame, verdict, self._sort)
                except BackendError:
                    continue  # the verdict says already that the frame is no picture
                camera.message, camera.version = message, camera.version + 1
                for viewer in self._viewers:
                    viewer.news.set()


def _give_way() -> None:
    """On Linux a thread has its own priority: pictures for screens must not keep a model waiting."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _joined(parts: list[tuple[str, bytes]]) -> bytes:
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in parts) + b"}"
