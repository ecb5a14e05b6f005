"""Signing in and out, the users, and the audit trail."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, Field

from edgeapp.core.clock import now_ns
from edgeapp.web.access import CSRF_HEADER, Engineer, Here, address_of, change, cookie_name, person_of
from edgeapp.web.one_by_one import OneByOne
from edgeapp.web.sessions import LASTS_NS
from edgeapp.web.site import Site
from edgeapp.web.users import PASSWORD_MAX, Role

_HASHING_MAX: Final = 8  # attempts at once, of which one is hashed: 19 MB and 50 ms

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]


class SessionNow(BaseModel):
    """Who the browser is, as far as we know."""

    device: str
    app: str
    user: str = ""
    role: str = ""
    csrf: str = ""
    """Goes back in the header `x-edgeapp-csrf` of every change."""

    users: bool
    """Is there anybody who could sign in?"""

    kiosk: bool
    station: bool
    content: bool
    """Is there a content file?"""

    rules: bool
    """Is there a rule book?"""

    golden: bool
    """Are there golden parts?"""


class Login(BaseModel):
    """A name and a password."""

    user: str = Field(max_length=32)
    password: str = Field(max_length=PASSWORD_MAX)


class NewUser(BaseModel):
    """A user's role and password."""

    role: Role
    password: str = Field(max_length=PASSWORD_MAX)


class UserLine(BaseModel):
    """One user."""

    name: str
    role: Role


class ChangeLine(BaseModel):
    """One line of the audit trail."""

    seq: int
    utc_ms: int
    who: str
    role: str
    address: str
    what: str
    of: str
    outcome: str


def router() -> APIRouter:
    """The routes below /api."""
    api = APIRouter(prefix="/api", tags=["access"])
    hashing = OneByOne(_HASHING_MAX, "too many attempts at once", again_s=2)

    @api.get("/session")
    async def session(request: Request, site: Here) -> SessionNow:
        person = person_of(request)
        csrf = person.session.csrf if person and person.session else ""
        return _now(site, person.name if person else "", person.role if person else "", csrf)

    @api.post("/login", responses={401: {}, 403: {}, 429: {}})
    async def login(request: Request, response: Response, site: Here, asked: Login) -> SessionNow:
        if CSRF_HEADER not in request.headers:  # a form of another site cannot set it: nobody is signed in unknowingly
            raise HTTPException(403, f"send the header {CSRF_HEADER} with any value")
        address = address_of(request)
        if wait_ns := site.attempts.wait_ns(address, now_ns()):
            raise HTTPException(429, "too many attempts: wait a little", {"Retry-After": str(-(-wait_ns // 10**9))})
        async with hashing.turn():
            user = await asyncio.to_thread(site.users.check, asked.user, asked.password)
        outcome = "done" if user else "refused: wrong name or password"
        who = asked.user if user else f"({asked.user[:32]})"
        await asyncio.to_thread(
            site.trail.add, who=who, role=user.role if user else "", address=address, what="sign in", outcome=outcome
        )
        if user is None:
            raise HTTPException(401, "the name or the password is wrong")
        token, begun = await asyncio.to_thread(site.sessions.begin, asked.user, user.proof)
        response.set_cookie(
            cookie_name(site), token, max_age=LASTS_NS // 10**9, httponly=True, samesite="strict", secure=site.secure
        )
        return _now(site, asked.user, user.role, begun.csrf)

    @api.post("/logout", status_code=204, responses={401: {}, 403: {}})
    async def logout(request: Request, response: Response, site: Here) -> None:
        token = request.cookies.get(cookie_name(site), "")
        if token and CSRF_HEADER in request.headers and (ended := await asyncio.to_thread(site.sessions.end, token)):
            await asyncio.to_thread(
                site.trail.add, who=ended.user, role="", address=address_of(request), what="sign out"
            )
        response.delete_cookie(cookie_name(site), httponly=True, samesite="strict", secure=site.secure)

    _add_users(api)
    return api


def _now(site: Site, user: str, role: str, csrf: str) -> SessionNow:
    return SessionNow(
        device=site.name,
        app=site.app,
        user=user,
        role=role,
        csrf=csrf,
        users=bool(site.users.all()),
        kiosk=site.app != "qc",
        station=site.app != "kiosk",
        content=site.content is not None,
        rules=site.rules is not None,
        golden=site.golden is not None,
    )


def _add_users(api: APIRouter) -> None:
    @api.get("/users", responses={401: {}, 403: {}})
    def users(site: Here, _: Engineer) -> list[UserLine]:
        return [UserLine(name=name, role=user.role) for name, user in sorted(site.users.all().items())]

    @api.put("/users/{name}", status_code=204, responses={401: {}, 403: {}, 409: {}})
    async def set_user(name: Name, new: NewUser, site: Here, person: Engineer) -> None:
        async with change(site, person, "users set", f"{name} as {new.role}"):
            await asyncio.to_thread(site.users.set, name, new.role, new.password)

    @api.delete("/users/{name}", status_code=204, responses={401: {}, 403: {}, 409: {}})
    async def remove_user(name: Name, site: Here, person: Engineer) -> None:
        async with change(site, person, "users remove", name):
            await asyncio.to_thread(site.users.remove, name)

    @api.get("/audit", responses={401: {}, 403: {}})
    def audit(site: Here, _: Engineer, last: Annotated[int, Query(ge=1, le=1_000)] = 100) -> list[ChangeLine]:
        return [
            ChangeLine(
                seq=each.seq,
                utc_ms=each.utc_ns // 1_000_000,
                who=each.who,
                role=each.role,
                address=each.address,
                what=each.what,
                of=each.of,
                outcome=each.outcome,
            )
            for each in site.trail.newest(last)
        ]
