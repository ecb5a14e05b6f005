"""The live view's two doors: `/api/live` for who is signed in, `/api/visitor` for the kiosk's face and nothing more.

From us: text messages, each one JSON object of changed topics, and binary ones, each a picture (see picture.py). To us: one
small JSON object a message: `{"want": [topics]}`, `{"got": n}` after n pictures, and from a visitor `{"touch": true|false}`.
Anything else ends the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response, WebSocket
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from edgeapp import __version__
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import BackendError
from edgeapp.web.access import Here, Viewer, address_of, person_of
from edgeapp.web.attempts import is_here
from edgeapp.web.live import EVERY_NS
from edgeapp.web.live import Viewer as Looking
from edgeapp.web.site import Site

MESSAGE_MAX: Final = 1_024
"""Characters of a message to us."""

MESSAGES_PER_S: Final = 60
"""From one screen: ten pictures confirmed, and a finger."""

_ASK_EVERY_NS: Final = 5_000_000_000  # whether a screen may still look

VISITOR_TOPICS: Final = frozenset({"captions", "content"})


class FaceNow(BaseModel):
    """What the kiosk's page says without a login."""

    name: str
    languages: list[str]
    keyphrase: str
    touch: bool
    questions: list[str]
    hours: list[list[str]]
    idle_ms: float
    captions: bool


class Rude(Exception):
    """A message that our pages never send."""


def router() -> APIRouter:
    """The routes below /api."""
    api = APIRouter(prefix="/api", tags=["live"])

    @api.get("/state", responses={401: {}})
    async def state(site: Here, _: Viewer) -> Response:
        """Every topic as it is now, one JSON object; what `/api/live` tells piece by piece."""
        return Response(site.live.state(), media_type="application/json")

    @api.get("/visitor/face", responses={403: {}})
    async def face(request: Request, site: Here) -> FaceNow:
        if not may_visit(site, address_of(request)):
            raise HTTPException(403, "the kiosk's face is not shown here: see web.visitors in the configuration")
        now = site.face()
        shown = asdict(now) | {"hours": [list(each) for each in now.hours], "captions": site.words}
        return FaceNow(**shown)

    @api.websocket("/live")
    async def live(socket: WebSocket) -> None:
        site: Site = socket.app.state.site
        if person_of(socket) is None:
            await socket.close(1008, "sign in first")
            return
        await _look_on(socket, site, None, lambda: person_of(socket) is not None)

    @api.websocket("/visitor")
    async def visitor(socket: WebSocket) -> None:
        site: Site = socket.app.state.site
        if not may_visit(site, address_of(socket)):
            await socket.close(1008, "not here")
            return
        await _look_on(socket, site, VISITOR_TOPICS, lambda: may_visit(site, address_of(socket)))

    return api


def may_visit(site: Site, address: str) -> bool:
    """May this address see the kiosk's face?"""
    return site.visitors == "anyone" or (site.visitors == "here" and is_here(address))


async def _look_on(socket: WebSocket, site: Site, topics: frozenset[str] | None, may: Callable[[], bool]) -> None:
    """Tell and listen until the screen goes, or may not look any more. Without `topics` the screen chooses, pictures too."""
    await socket.accept()
    try:
        viewer = site.live.enter(topics if topics is not None else frozenset(), pictures=False)
    except BackendError as full:
        await socket.close(1013, str(full))
        return
    held = _Held(site)
    try:
        await socket.send_text(json.dumps({"hello": {"device": site.name, "version": __version__}}))
        beside = [asyncio.create_task(_tell(socket, site, viewer)), asyncio.create_task(_ask_again(socket, may))]
        try:
            await _listen(socket, viewer, held, visitor=topics is not None)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
    except (WebSocketDisconnect, RuntimeError):  # starlette says by RuntimeError that it is closed already
        pass
    except Rude as rude:
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(1008, str(rude))
    finally:
        held.let_go()
        site.live.leave(viewer)


async def _tell(socket: WebSocket, site: Site, viewer: Looking) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            text, pictures = await site.live.news(viewer)
            told_ns = now_ns()
            if text:
                await socket.send_text(text.decode())
            for each in pictures:
                await socket.send_bytes(each)
            await sleep_until(told_ns + EVERY_NS)


async def _ask_again(socket: WebSocket, may: Callable[[], bool]) -> None:
    """Who signed out, was removed or ran out of time does not look on."""
    while True:
        await sleep_until(now_ns() + _ASK_EVERY_NS)
        if not await asyncio.to_thread(may):
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(1008, "sign in again")
            return


async def _listen(socket: WebSocket, viewer: Looking, held: _Held, *, visitor: bool) -> None:
    """Take what the screen says. Raises Rude or WebSocketDisconnect."""
    second_ns, count = now_ns(), 0
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if now_ns() - second_ns > 1_000_000_000:
            second_ns, count = now_ns(), 0
        count += 1
        if count > MESSAGES_PER_S:
            raise Rude("too many messages")
        said = _parsed(message.get("text"))
        match said:
            case {"touch": bool(down)} if visitor and len(said) == 1:
                held.touch(down=down)
            case {"got": int(pictures_got)} if not visitor and 0 < pictures_got <= 16 and len(said) == 1:
                for _ in range(pictures_got):
                    viewer.confirmed()
            case {"want": list(wanted)} if not visitor and len(wanted) <= 32 and len(said) == 1:
                if not all(isinstance(each, str) for each in wanted):
                    raise Rude("a topic is a name")
                viewer.topics = frozenset(wanted)
                viewer.pictures = "pictures" in wanted
                viewer.told.clear()
                viewer.news.set()
            case _:
                raise Rude("no message of ours")


def _parsed(text: str | None) -> dict[str, Any]:
    if text is None or len(text) > MESSAGE_MAX:
        raise Rude("messages are short texts")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rude("no JSON") from error
    if not isinstance(said, dict):
        raise Rude("no object")
    return said


class _Held:
    """One screen's finger; lifted when the screen goes."""

    def __init__(self, site: Site) -> None:
        self._touch, self._down = site.touch, False

    def touch(self, *, down: bool) -> None:
        if self._touch is None or down == self._down:
            return
        self._down = down
        self._touch.pressed() if down else self._touch.released()

    def let_go(self) -> None:
        self.touch(down=False)
