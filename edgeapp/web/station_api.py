"""The station's memory for people: yield, control chart, Pareto, evidence with pictures, and what a person found later."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import isfinite
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from edgeapp.core.events import Box, Outcome
from edgeapp.station import queries
from edgeapp.station import statistics as spc
from edgeapp.station.derived import MINUTE_NS
from edgeapp.station.evidence import Judgement
from edgeapp.station.images import path_in
from edgeapp.station.queries import Window
from edgeapp.station.store import open_reading
from edgeapp.web.access import Here, Operator, Viewer, change
from edgeapp.web.picture import Sort
from edgeapp.web.site import Shift, Site

HOURS_MAX: Final = 24 * 366
POINTS_MAX: Final = 400
"""Of a chart: a screen has no more room, and a year in minutes would be half a million."""

SQLITE_INT: Final = (1 << 63) - 1

Row = Annotated[int, Path(ge=1, le=SQLITE_INT)]
Image = Annotated[str, Path(pattern=r"^[0-9a-f]{64}\.jpg$")]
Text = Annotated[str, Query(max_length=100)]
Counted = Literal["part", "defect", ""]


class Estimate(BaseModel):
    """A share and its 95 % interval; no value where nothing was counted."""

    value: float | None
    low: float
    high: float


class CauseBar(BaseModel):
    """One bar of a Pareto chart."""

    cause: str
    parts: int
    share: float
    cumulated: float


class ChartPoint(BaseModel):
    """One stretch of the p-chart."""

    utc_ms: int
    size: int
    share: float
    low: float
    high: float
    alarms: list[str]
    """The rules that fired here."""


class Summary(BaseModel):
    """The station over a time."""

    from_utc_ms: int
    every_min: int
    passed: int
    failed: int
    not_inspected: int
    first_pass_yield: Estimate
    centre: float
    points: list[ChartPoint]
    rejects: list[CauseBar]
    not_inspected_by: list[CauseBar]
    good_among_rejects: Estimate
    bad_among_passes: Estimate
    seen_again: int
    """Judgements of parts drawn at random, on which the last two rest."""


class Seen(BaseModel):
    """One box in a picture."""

    left: float
    top: float
    right: float
    bottom: float
    label: str = Field(max_length=64)
    score: float = 1.0


class Drawn(Seen):
    """One box of a verdict."""

    counts: Counted = ""
    """As what, by the rule in use now; empty where its score is not enough."""


class Found(BaseModel):
    """What a person found in a part, or its picture."""

    outcome: Literal["PASS", "FAIL"]
    causes: list[Annotated[str, Field(max_length=64)]] = Field(default=[], max_length=16)
    sampled: bool = False
    """Was the part drawn at random? Only such judgements estimate a rate."""

    boxes: list[Seen] | None = Field(default=None, max_length=64)


class ShiftNow(BaseModel):
    """Who is at the line, and which lot runs on it."""

    operator: str = Field(max_length=64)
    lot: str = Field(max_length=64)


class JudgementLine(BaseModel):
    """A judgement as it stands in the ledger."""

    utc_ms: int
    outcome: str
    operator: str
    causes: list[str]
    sampled: bool


class VerdictLine(BaseModel):
    """One verdict."""

    seq: int
    utc_ms: int
    source: str
    number: int
    outcome: str
    why: str
    causes: list[str]
    took_ms: float
    part_type: str
    lot: str
    serial: str
    image: str
    """The name of the kept picture; empty if there is none."""

    judged: str
    """What a person found last; empty if nobody looked."""


class VerdictWhole(VerdictLine):
    """One verdict and everything it rests on."""

    boxes: list[Drawn]
    sizes_mm: dict[str, float]
    model: str
    rule: str
    placement: str
    operator: str
    image_lost: str
    hash: str
    judgements: list[JudgementLine]


class Recorded(BaseModel):
    """A judgement is durable."""

    seq: int
    hash: str


def router() -> APIRouter:
    """The routes below /api/station."""
    api = APIRouter(prefix="/api/station", tags=["station"], responses={401: {}, 403: {}, 404: {}, 409: {}})

    @api.get("/summary")
    def summary(
        site: Here,
        _: Viewer,
        hours: Annotated[float, Query(gt=0, le=HOURS_MAX)] = 8.0,
        every_min: Annotated[int, Query(ge=1, le=24 * 60)] = 15,
    ) -> Summary:
        if hours * 60 / every_min > POINTS_MAX:
            every_min = -int(-hours * 60 // POINTS_MAX)
        end_ns = time.time_ns() + MINUTE_NS
        window = Window(max(0, end_ns - round(hours * 60) * MINUTE_NS), end_ns)
        with _reading(site) as database:
            return _summary(database, window, every_min)

    @api.get("/verdicts")
    def verdicts(
        site: Here,
        _: Viewer,
        last: Annotated[int, Query(ge=1, le=200)] = 40,
        before: Annotated[int | None, Query(ge=1, le=SQLITE_INT)] = None,
        outcome: Literal["", "PASS", "FAIL", "NOT_INSPECTED"] = "",
        cause: Text = "",
        serial: Text = "",
        lot: Text = "",
    ) -> list[VerdictLine]:
        with _reading(site) as database:
            rows = list(
                queries.verdicts(
                    database, newest=last, before=before, outcome=outcome, cause=cause, serial=serial, lot=lot
                )
            )
            judged = _last_judgements(database, [row["seq"] for row in rows])
        return [VerdictLine(**_line(row, judged.get(row["seq"], ""))) for row in rows]

    @api.get("/verdicts/{seq}")
    def verdict(seq: Row, site: Here, _: Viewer) -> VerdictWhole:
        with _reading(site) as database:
            row = next(queries.verdicts(database, seq=seq), None)
            if row is None:
                raise HTTPException(404, f"row {seq} is no verdict")
            return _whole(database, row, site.sort)

    @api.get("/images/{name}", response_class=FileResponse)
    def image(name: Image, site: Here, _: Viewer) -> Response:
        path = path_in(_folder(site) / "images", name)
        if not path.is_file():
            raise HTTPException(404, "the picture was removed, or never kept")
        return FileResponse(
            path, media_type="image/jpeg", headers={"cache-control": "private, max-age=86400, immutable"}
        )

    _add_changes(api)
    return api


def _add_changes(api: APIRouter) -> None:
    @api.post("/verdicts/{seq}/judgement")
    async def judge(seq: Row, found: Found, site: Here, person: Operator) -> Recorded:
        if site.ledger is None:
            raise HTTPException(409, "this device does not write the ledger: judge on the one that does")
        if found.outcome == "PASS" and found.causes:
            raise HTTPException(409, "a good part has no defects: leave them out")
        with _reading(site) as database:
            if next(queries.verdicts(database, seq=seq, columns=("seq",)), None) is None:
                raise HTTPException(404, f"row {seq} is no verdict")
        boxes = None
        if found.boxes is not None:
            boxes = tuple(Box(b.left, b.top, b.right, b.bottom, b.label, b.score) for b in found.boxes)
            if not all(isfinite(each) for b in found.boxes for each in (b.left, b.top, b.right, b.bottom, b.score)):
                raise HTTPException(409, "a corner is no number")
        judgement = Judgement(
            of=seq,
            outcome=Outcome(found.outcome),
            operator=person.name,
            causes=tuple(dict.fromkeys(found.causes)),
            boxes=boxes,
            sampled=found.sampled,
        )
        async with change(site, person, "judge", f"row {seq} {found.outcome}"):
            receipt = await site.ledger.judge(judgement)
        return Recorded(seq=receipt.seq, hash=receipt.hash)

    @api.post("/acknowledge", status_code=204)
    async def acknowledge(site: Here, person: Operator) -> None:
        """A person has seen the alarms: the line's machines are told."""
        if site.acknowledge is None:
            raise HTTPException(409, "this device has no line to acknowledge alarms of")
        async with change(site, person, "acknowledge alarms"):
            site.acknowledge(person.name)

    @api.get("/shift")
    def shift(site: Here, _: Viewer) -> ShiftNow:
        """Who is at the line, and which lot runs on it: what the next verdict's row will say."""
        now = _shift(site)
        return ShiftNow(operator=now.operator, lot=now.lot)

    @api.put("/shift")
    async def take_over(said: ShiftNow, site: Here, person: Operator) -> ShiftNow:
        """Another operator, or another lot, from the next verdict on."""
        now = _shift(site)
        async with change(site, person, "shift", f"operator {said.operator!r}, lot {said.lot!r}"):
            now.takes_over(said.operator, said.lot, person.name)
        return said

    @api.get("/defects")
    def defects(site: Here, _: Viewer) -> list[str]:
        return list(site.defects())


def _shift(site: Site) -> Shift:
    if site.shift is None:
        raise HTTPException(409, "this device has no line")
    return site.shift


@contextmanager
def _reading(site: Site) -> Iterator[sqlite3.Connection]:
    """The ledger, read only."""
    with closing(open_reading(_folder(site))) as database:
        yield database


def _folder(site: Site) -> Any:
    if site.ledger_folder is None or not site.ledger_folder.is_dir():
        raise HTTPException(404, "this device keeps no evidence ledger")
    return site.ledger_folder


def _summary(database: sqlite3.Connection, window: Window, every_min: int) -> Summary:
    counts = queries.counts(database, window)
    groups = [each for each in queries.counts_by(database, window, every_min) if each[1].inspected]
    chart = spc.p_chart([(each.inspected, each.failed) for _, each in groups])
    seen = queries.reinspected(database, window)
    errors = spc.error_rates(seen)
    fired: dict[int, list[str]] = {}
    for signal in chart.signals:
        fired.setdefault(signal.at, []).append(f"{signal.rule}, {'above' if signal.above else 'below'}")
    return Summary(
        from_utc_ms=window.from_ns // 1_000_000,
        every_min=every_min,
        passed=counts.passed,
        failed=counts.failed,
        not_inspected=counts.not_inspected,
        first_pass_yield=_estimate(spc.first_pass_yield(counts)),
        centre=chart.centre,
        points=[
            ChartPoint(
                utc_ms=began_ns // 1_000_000,
                size=point.size,
                share=point.share,
                low=point.low,
                high=point.high,
                alarms=fired.get(n, []),
            )
            for n, ((began_ns, _), point) in enumerate(zip(groups, chart.points, strict=True))
        ],
        rejects=_bars(spc.pareto(queries.causes(database, window))),
        not_inspected_by=_bars(spc.pareto(queries.causes(database, window, "NOT_INSPECTED"))),
        good_among_rejects=_estimate(errors.good_among_rejects),
        bad_among_passes=_estimate(errors.bad_among_passes),
        seen_again=seen.fails_seen + seen.passes_seen,
    )


def _estimate(found: spc.Share) -> Estimate:
    return Estimate(value=found.value if isfinite(found.value) else None, low=found.low, high=found.high)


def _bars(bars: list[spc.Bar]) -> list[CauseBar]:
    return [CauseBar(cause=b.cause, parts=b.parts, share=b.share, cumulated=b.cumulated) for b in bars[:40]]


def _last_judgements(database: sqlite3.Connection, rows: list[int]) -> dict[int, str]:
    """What was found last of each of these rows."""
    found: dict[int, str] = {}
    for seq in rows:
        for line in _judgements(database, seq):
            found[seq] = line.outcome
    return found


def _judgements(database: sqlite3.Connection, seq: int) -> list[JudgementLine]:
    query = (
        "SELECT body FROM entries WHERE json_extract(body, '$.kind') != 'verdict' AND json_extract(body, '$.kind') = 'judgement' "
        "AND json_extract(body, '$.of') = ? ORDER BY seq"
    )
    says = [json.loads(body) for (body,) in database.execute(query, (seq,))]
    return [
        JudgementLine(
            utc_ms=each["utc_ns"] // 1_000_000,
            outcome=each["outcome"],
            operator=each["operator"],
            causes=each["causes"],
            sampled=each["sampled"],
        )
        for each in says
    ]


def _line(row: dict[str, Any], judged: str) -> dict[str, Any]:
    return {
        "seq": row["seq"],
        "utc_ms": row["utc_ns"] // 1_000_000,
        "source": row["source"],
        "number": row["frame_number"],
        "outcome": row["outcome"],
        "why": row["why"],
        "causes": json.loads(row["causes"] or "[]"),
        "took_ms": round((row["decided_ns"] - row["at_ns"]) / 1e6, 1),
        "part_type": row["part_type"] or "",
        "lot": row["lot"] or "",
        "serial": row["serial"] or "",
        "image": row["image"] or "",
        "judged": judged,
    }


def _whole(database: sqlite3.Connection, row: dict[str, Any], sort: Sort) -> VerdictWhole:
    judgements = _judgements(database, row["seq"])
    boxes = [
        Box(b["left"], b["top"], b["right"], b["bottom"], b["label"], b["score"])
        for b in json.loads(row["boxes"] or "[]")
    ]
    parts, defects = sort(boxes)
    counts: dict[Box, Counted] = {}
    counts.update(dict.fromkeys(parts, "part"))
    counts.update(dict.fromkeys(defects, "defect"))
    texts: dict[str, Any] = {
        name: row[name] or "" for name in ("model", "rule", "placement", "operator", "image_lost", "hash")
    }
    return VerdictWhole(
        **_line(row, judgements[-1].outcome if judgements else ""),
        **texts,
        boxes=[
            Drawn(
                left=b.left,
                top=b.top,
                right=b.right,
                bottom=b.bottom,
                label=b.label,
                score=b.score,
                counts=counts.get(b, ""),
            )
            for b in boxes
        ],
        sizes_mm=json.loads(row["sizes_mm"] or "{}"),
        judgements=judgements,
    )
