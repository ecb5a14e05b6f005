"""What the voice knows, written by people: shown, checked, and saved for whoever looked at the newest text."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from edgeapp.core.events import ConfigError
from edgeapp.web.access import Engineer, Here, Viewer, change
from edgeapp.web.desk import ContentChange, ContentDesk
from edgeapp.web.one_by_one import OneByOne
from edgeapp.web.site import Site

TEXT_MAX: Final = 16_000
"""Characters of a content: 20 items with hours and zones are some 3,000, and a mistake's line is searched for by reading again."""

_CHECKING_MAX: Final = 4  # texts at once, of which one is looked at: a page asks once while its person writes


class ContentOut(BaseModel):
    """The file as it lies there."""

    text: str
    tag: str
    file: str
    locked: str
    in_use: bool


class Draft(BaseModel):
    """A text that somebody wrote."""

    text: Annotated[str, Field(max_length=TEXT_MAX)]


class NewContent(Draft):
    """A text to be saved."""

    tag: Annotated[str, Field(max_length=64)]
    """Of the text it was made from."""


class ChangeOut(BaseModel):
    """Facts that would be gone, and new ones."""

    gone: list[str]
    new: list[str]


def router() -> APIRouter:
    """The routes below /api/content."""
    api = APIRouter(prefix="/api/content", tags=["content"], responses={401: {}, 403: {}, 404: {}, 409: {}, 429: {}})
    checking = OneByOne(_CHECKING_MAX, "too many texts at once", again_s=1)

    @api.get("")
    async def content(site: Here, _: Viewer) -> ContentOut:
        found = await asyncio.to_thread(_desk(site).read)
        return ContentOut(text=found.text, tag=found.tag, file=found.file, locked=found.locked, in_use=found.in_use)

    @api.post("/check")
    async def check(asked: Draft, site: Here, _: Engineer) -> ChangeOut:
        """What the voice would know otherwise; changes nothing. A mistake is refused with its line."""
        desk = _desk(site)
        async with checking.turn():
            return _out(await desk.check(asked.text))

    @api.put("")
    async def save(asked: NewContent, site: Here, person: Engineer) -> ChangeOut:
        """Save it and answer from it. Refused if somebody saved another one since the text with that tag was read."""
        desk = _desk(site)
        try:
            of = _in_words(await desk.check(asked.text))
        except ConfigError:
            of = "with a mistake"  # which the save below says again, and its line in the trail
        async with change(site, person, "content save", of):
            return _out(await desk.save(asked.text, asked.tag))

    return api


def _desk(site: Site) -> ContentDesk:
    if site.content is None:
        raise HTTPException(404, "this device has no voice that knows anything")
    return site.content


def _out(found: ContentChange) -> ChangeOut:
    return ChangeOut(gone=list(found.gone), new=list(found.new))


def _in_words(found: ContentChange) -> str:
    lines = [f"- {each}" for each in found.gone] + [f"+ {each}" for each in found.new]
    return "; ".join(lines) or "no fact"
