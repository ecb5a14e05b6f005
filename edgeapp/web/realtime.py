"""`/v1/realtime`: who may connect, how many at once, and for how long; what is said then is `realtime_session.py`.

A client that floods or does not read costs bounded memory: a message has at most 1 MB, one is handled at a time, and what
waits to be sent is bounded, so that reading stops where writing does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from edgeapp.core.events import BackendError
from edgeapp.web.courtesy import Courtesy
from edgeapp.web.openai_wire import Access, Refused
from edgeapp.web.realtime_session import Seat, Session

_UNSENT_MAX: Final = 256  # events: a reply of half a minute; a client that does not read them makes the voice wait
_SEND_S: Final = 10.0  # a client that takes nothing for so long is gone
_SEAT_S: Final = 1.0  # whoever connects anew is here before the old session has ended
_SESSION_S: Final = 3_600.0
_POLICY, _TRY_LATER, _NORMAL = 1008, 1013, 1000  # close codes of RFC 6455 and its registry


def router(seats: Sequence[Seat], courtesy: Courtesy, access: Access, model: str, idle_s: float) -> APIRouter:
    """The one route, below `/v1`; as many sessions at once as there are seats."""
    routes = APIRouter(prefix="/v1")
    free: asyncio.Queue[Seat] = asyncio.Queue(len(seats))
    for each in seats:
        free.put_nowait(each)

    @routes.websocket("/realtime")
    async def realtime(socket: WebSocket) -> None:
        try:
            access.check(socket.headers)
        except Refused as refused:
            await socket.send_denial_response(refused.response())
            return
        try:
            async with asyncio.timeout(_SEAT_S):
                seat = await free.get()
        except TimeoutError:
            await socket.send_denial_response(Refused("every session is taken; try again later", 503).response())
            return
        try:
            offered = [each.strip() for each in socket.headers.get("sec-websocket-protocol", "").split(",")]
            await socket.accept("realtime" if "realtime" in offered else None)
            await _serve(socket, seat, courtesy, model, idle_s)
        finally:
            free.put_nowait(seat)

    return routes


async def _serve(socket: WebSocket, seat: Seat, courtesy: Courtesy, model: str, idle_s: float) -> None:
    """One session, from the accepted socket to its end."""
    unsent: asyncio.Queue[bytes] = asyncio.Queue(_UNSENT_MAX)
    session = Session(seat, courtesy, model, unsent.put)
    tasks = [
        asyncio.create_task(_write(socket, unsent)),
        asyncio.create_task(session.run()),
        asyncio.create_task(_read(socket, session, idle_s)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, timeout=_SESSION_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    ended = [task.exception() for task in tasks if not task.cancelled()]
    failures = [each for each in ended if each is not None]
    known = (WebSocketDisconnect, TimeoutError, BackendError)
    gone = any(isinstance(each, WebSocketDisconnect | TimeoutError) for each in failures)
    if not gone:
        try:
            await socket.close(_NORMAL if not failures and done else _TRY_LATER)
        except (RuntimeError, WebSocketDisconnect):  # it was closed meanwhile
            return
    for each in failures:
        if not isinstance(each, known):
            raise each


async def _write(socket: WebSocket, unsent: asyncio.Queue[bytes]) -> None:
    while True:
        event = await unsent.get()
        async with asyncio.timeout(_SEND_S):
            await socket.send_text(event.decode())


async def _read(socket: WebSocket, session: Session, idle_s: float) -> None:
    """Hand on what comes, one message at a time, until the client leaves or is silent for too long."""
    while True:
        try:
            async with asyncio.timeout(idle_s):
                message = await socket.receive()
        except TimeoutError:
            await session.refuse(Refused(f"nothing came for {idle_s:g} s", code="session_expired"))
            return
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", _NORMAL))
        text = message.get("text")
        if text is None:
            await session.refuse(Refused("messages are text, not binary", code="invalid_json"))
        else:
            await session.take(text)
