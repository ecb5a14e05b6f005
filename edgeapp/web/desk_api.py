"""The rule book, a rule's dry run over old parts, and the golden parts."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from edgeapp.web.access import Engineer, Here, Operator, Viewer, change
from edgeapp.web.desk import Golden, GoldenRun, Rules
from edgeapp.web.site import Site

_RUNS: Final = 20
_FLIPS: Final = 48
_RULE_MAX: Final = 32_000  # characters; a rule has some hundred


class RuleOut(BaseModel):
    """A signed rule."""

    version: str
    id: str
    by: str
    why: str
    utc_ms: int
    in_use: bool


class RulesOut(BaseModel):
    """The book."""

    signed: list[RuleOut]
    text: str
    """The rule in use, as TOML."""


class Proposal(BaseModel):
    """A rule that is only asked."""

    toml: Annotated[str, Field(max_length=_RULE_MAX)]
    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 8.0


class FlipOut(BaseModel):
    """A verdict that would have been another one."""

    seq: int
    was: str
    would: str
    why: str


class DryRunOut(BaseModel):
    """What the rule would have said."""

    rows: int
    flips: int
    cannot_tell: int
    listed: list[FlipOut]


class GoldenRunOut(BaseModel):
    """One run of the golden parts."""

    utc_ms: int
    why: str
    ok: bool
    wrong: list[str]
    drift: list[str]


class GoldenOut(BaseModel):
    """The golden parts."""

    trouble: str
    """Why no part passes now; empty if parts may."""

    runs: list[GoldenRunOut]


def router() -> APIRouter:
    """The routes below /api/station."""
    api = APIRouter(prefix="/api/station", tags=["station"], responses={401: {}, 403: {}, 404: {}, 409: {}})
    one, looking = asyncio.Lock(), asyncio.Lock()

    @api.get("/rules")
    def rules(site: Here, _: Viewer) -> RulesOut:
        book = _rules(site)
        signed = [
            RuleOut(
                version=each.version,
                id=each.id,
                by=each.by,
                why=each.why,
                utc_ms=each.utc_ns // 1_000_000,
                in_use=each.in_use,
            )
            for each in book.lines()
        ]
        return RulesOut(signed=signed, text=book.text())

    @api.post("/rules/dry-run")
    async def dry_run(asked: Proposal, site: Here, _: Engineer) -> DryRunOut:
        """What would have been judged otherwise; changes nothing."""
        book = _rules(site)
        if one.locked():
            raise HTTPException(409, "a dry run is under way: wait for it")
        async with one:
            found = await asyncio.to_thread(book.dry_run, asked.toml, asked.hours)
        listed = [FlipOut(seq=e.seq, was=e.was, would=e.would, why=e.why) for e in found.listed[:_FLIPS]]
        return DryRunOut(rows=found.rows, flips=found.flips, cannot_tell=found.cannot_tell, listed=listed)

    @api.get("/golden")
    async def golden(site: Here, _: Viewer) -> GoldenOut:
        parts = _golden(site)
        runs = await asyncio.to_thread(parts.runs)
        return GoldenOut(trouble=parts.trouble(), runs=[_out(each) for each in runs[:_RUNS]])

    @api.post("/golden/run")
    async def run_golden(site: Here, person: Operator) -> GoldenRunOut:
        parts = _golden(site)
        if looking.locked():
            raise HTTPException(409, "the golden parts are being looked at: wait for it")
        async with looking, change(site, person, "golden parts run"):
            return _out(await parts.run(f"asked by {person.name}"))

    return api


def _rules(site: Site) -> Rules:
    if site.rules is None:
        raise HTTPException(404, "this device keeps no rule book")
    return site.rules


def _golden(site: Site) -> Golden:
    if site.golden is None:
        raise HTTPException(404, "this device has no golden parts")
    return site.golden


def _out(run: GoldenRun) -> GoldenRunOut:
    return GoldenRunOut(
        utc_ms=run.utc_ns // 1_000_000, why=run.why, ok=run.ok, wrong=list(run.wrong), drift=list(run.drift)
    )
