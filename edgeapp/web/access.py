"""Who may do what: host and origin of a request, the session behind it, the role it needs, and the line in the trail.

A page of another site can send requests to this device from the browser of somebody who is signed in here, and can point a
name of its own at our address. So: cookies are SameSite=Strict and HttpOnly; a request that changes anything must carry
the session's token in a header; the Host must be one of ours; a WebSocket's Origin must be its Host.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from starlette.requests import HTTPConnection

from edgeapp.core.events import BackendError, ConfigError, DeviceError
from edgeapp.web.attempts import is_here
from edgeapp.web.sessions import Session
from edgeapp.web.site import Site
from edgeapp.web.users import Role

BODY_BYTES_MAX: Final = 64 * 1024
"""Of a request: the largest is a drawn judgement."""

CSRF_HEADER: Final = "x-edgeapp-csrf"
_CHANGING: Final = {"POST", "PUT", "PATCH", "DELETE"}
_LOCAL_NAMES: Final = {"localhost"}

_CSP: Final = (
    b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    b"object-src 'none'"
)
_HEADERS: Final = [
    (b"content-security-policy", _CSP),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Scope], Any]


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks."""

    name: str
    role: Role
    address: str
    session: Session | None = None


def cookie_name(site: Site) -> str:
    """A cookie of this prefix is only taken over TLS and never from a neighbouring name (RFC 6265bis, 4.1.3.2)."""
    return "__Host-edgeapp" if site.secure else "edgeapp"


def address_of(connection: HTTPConnection) -> str:
    """The peer's address; what a proxy says of it is not believed."""
    return connection.client.host if connection.client else ""


def person_of(connection: HTTPConnection) -> Person | None:
    """Who is signed in; without any user at all, the device itself may look."""
    site: Site = connection.app.state.site
    address = address_of(connection)
    if session := site.sessions.find(connection.cookies.get(cookie_name(site), "")):
        user = site.users.all().get(session.user)
        return Person(session.user, user.role, address, session) if user and user.proof == session.proof else None
    said = connection.headers.get("authorization", "")
    if site.token and is_here(address) and _same(said.removeprefix("Bearer "), site.token):
        return Person("(this device)", Role.VIEWER, address)
    if is_here(address) and not site.users.all():
        return Person("(this device)", Role.VIEWER, address)
    return None


def _same(one: str, other: str) -> bool:
    import hmac

    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


def needs(role: Role) -> Callable[[Request], Person]:
    """A dependency: who asks, if they may. Changing requests must carry the session's token, and so come from our pages."""

    def check(request: Request) -> Person:
        person = person_of(request)
        if person is None:
            raise HTTPException(401, "sign in first")
        if not person.role.may(role):
            raise HTTPException(403, f"this needs the role {role}; {person.name} is {person.role}")
        if request.method in _CHANGING:
            if person.session is None:
                raise HTTPException(403, "sign in to change anything: a change needs a name")
            if not _same(request.headers.get(CSRF_HEADER, ""), person.session.csrf):
                raise HTTPException(403, "the request does not come from our pages: reload this one")
        return person

    return check


Viewer = Annotated[Person, Depends(needs(Role.VIEWER))]
Operator = Annotated[Person, Depends(needs(Role.OPERATOR))]
Engineer = Annotated[Person, Depends(needs(Role.ENGINEER))]


def site_of(request: Request) -> Site:
    """The device's site."""
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(site_of)]


@asynccontextmanager
async def change(site: Site, person: Person, what: str, of: str = "") -> AsyncIterator[None]:
    """A change, in the trail whatever comes of it: first that it is begun, durably, and if it fails, why."""

    def note(outcome: str) -> None:
        site.trail.add(who=person.name, role=person.role, address=person.address, what=what, of=of, outcome=outcome)

    await asyncio.to_thread(note, "begun")
    try:
        yield
    except (ConfigError, BackendError, DeviceError, HTTPException) as error:
        await asyncio.to_thread(note, f"refused: {getattr(error, 'detail', error)}")
        raise
    except BaseException as error:
        await asyncio.shield(asyncio.to_thread(note, f"failed: {type(error).__name__}"))
        raise
    await asyncio.to_thread(note, "done")


class Guard:
    """The outermost layer: names it answers to, origins of WebSockets, sizes of requests, headers of answers."""

    def __init__(self, app: Any, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection (ASGI)."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        origin = headers.get(b"origin", "")
        foreign = bool(origin) and urlsplit(origin).netloc != host
        changing = scope["type"] == "websocket" or scope["method"] in _CHANGING
        if not self._ours(host) or (foreign and changing):
            await _refuse(scope, receive, send, 421 if not foreign else 403)
            return
        length = headers.get(b"content-length", "0")
        if scope["type"] == "http" and (not length.isdecimal() or len(length) > 9 or int(length) > BODY_BYTES_MAX):
            await _refuse(scope, receive, send, 413)
            return
        await self._app(scope, _bounded(receive), _with_headers(send, kept=not scope["path"].startswith("/api/")))

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in _LOCAL_NAMES or name in self._site.names:
            return True
        try:
            ipaddress.ip_address(name)  # no name, so nobody can point it elsewhere
        except ValueError:
            return False
        return True


def _bounded(receive: Receive) -> Receive:
    """A body that was announced as shorter than it is, or not at all, ends the connection at the bound."""
    seen = 0

    async def bounded() -> Scope:
        nonlocal seen
        message: Scope = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > BODY_BYTES_MAX:
                return {"type": "http.disconnect"}
        return message

    return bounded


def _with_headers(send: Send, *, kept: bool) -> Send:
    """Unless it may be `kept`, no browser keeps an answer that does not say so itself: whoever signs out leaves nothing."""

    async def sending(message: Scope) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), *_HEADERS]
            if not kept and not any(name.lower() == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message["headers"] = headers
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    says = {
        403: b'{"detail": "requests from other sites are refused"}',
        413: b'{"detail": "the request is too large"}',
        421: b'{"detail": "this device does not answer to that name: add it to web.names"}',
    }
    headers = [(b"content-type", b"application/json"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": says[status]})
