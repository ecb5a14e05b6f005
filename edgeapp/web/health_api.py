"""The doctor's report for a browser."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel

from edgeapp.core.clock import now_ns
from edgeapp.web.access import Here, Viewer

_FRESH_NS: Final = 30_000_000_000  # a report takes seconds of a core, and hashes every model


class FindingLine(BaseModel):
    """One line of the report."""

    what: str
    state: str
    says: str
    fix: str


class Report(BaseModel):
    """What this machine has, lacks, and what mends it."""

    age_s: float
    findings: list[FindingLine]


def router() -> APIRouter:
    """The routes below /api/health."""
    api = APIRouter(prefix="/api/health", tags=["health"], responses={401: {}, 403: {}})
    one = asyncio.Lock()
    last: list[tuple[int, list[FindingLine]]] = []

    @api.get("/doctor")
    async def doctor(site: Here, _: Viewer) -> Report:
        """At most one report in half a minute, however many ask."""
        async with one:
            if not last or now_ns() - last[0][0] > _FRESH_NS:
                found = await asyncio.to_thread(site.doctor)
                lines = [FindingLine(what=each.what, state=each.state, says=each.says, fix=each.fix) for each in found]
                last[:] = [(now_ns(), lines)]
            at_ns, lines = last[0]
        return Report(age_s=round((now_ns() - at_ns) / 1e9, 1), findings=lines)

    return api
