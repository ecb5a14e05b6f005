"""`edgeapp bench ledger`: the evidence ledger beside a bare fsync of this disk, and an hour's Pareto over few and many rows."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.core.events import Box, ConfigError, Outcome, Verdict
from edgeapp.observe.percentile import percentile
from edgeapp.station import audit, derived, queries
from edgeapp.station.evidence import Entry, Evidence, encode, follow, says
from edgeapp.station.ledger import Ledger, open_ledger
from edgeapp.station.store import Store, open_reading

_CAUSES: Final = ("scratch", "dent", "stain", "missing_hole", "burr", "crack")
_DAYS: Final = 4  # that both ledgers cover: the larger one has 100 times the parts in the hour, too
_HOUR_NS: Final = 3_600_000_000_000
_AFTER_NS: Final = 37 * derived.MINUTE_NS  # one hour that is asked about begins so long before the other: at any minute
_BATCH: Final = 20_000
_PICTURE_BYTES: Final = 40_000  # a JPEG of 640 px
_ROW_BYTES: Final = 1_100  # of disk for each row, with indexes; measured, rounded up


def bench_ledger(*, quick: bool, folder: Path | None) -> int:
    """Measure; 1 if a bar is missed. Everything it writes is gone at the end. Raises ConfigError if there is no room."""
    few, many = (30_000, 300_000) if quick else (100_000, 10_000_000)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="edgeapp-bench-ledger-") as name:
            room = os.statvfs(name)
            if room.f_bavail * room.f_frsize < 2 * many * _ROW_BYTES:
                raise ConfigError(f"{many} rows need {2 * many * _ROW_BYTES / 1e9:.0f} GB: give another --folder")
            place, figures = Path(name), dict[str, Any]()
            steps: list[Callable[[bool], list[Bar] | str]] = [
                _step("a lone verdict beside a bare fsync", partial(_lone, place / "lone", figures)),
                _step("group commit beside one fsync a verdict", partial(_group, place / "group")),
                _step(f"an hour's Pareto over {few} and {many} rows", partial(_pareto, place, few, many, figures)),
            ]
            return run_bench("ledger", steps, quick=quick, figures=figures)
    except OSError as error:
        raise ConfigError(f"cannot measure in {folder or tempfile.gettempdir()}: {error.strerror}") from error


def _step(what: str, measure: Callable[[bool], list[Bar]]) -> Callable[[bool], list[Bar] | str]:
    def step(quick: bool) -> list[Bar] | str:
        return measure(quick)

    step.__doc__ = what
    return step


def _evidence(n: int) -> Evidence:
    """A verdict as the station gives it, every 25th a reject."""
    outcome, cause = (Outcome.FAIL, _CAUSES[n % 6]) if n % 25 == 0 else (Outcome.PASS, "")
    boxes = [Box(41.5, 60.25, 263.75, 281.5, "washer", 0.93), Box(101.5, 99.25, 130.5, 141.75, cause, 0.81)]
    verdict = Verdict(
        outcome, f"{cause} 0.81" if cause else "washer 0.93, no defect (rule 7)", "belt", n, n * 10**9, n * 10**9 + 61_204_331,
        n * 10**9 + 200_000_000, tuple(boxes[: 2 if cause else 1]), "3f9c2a51d0be",
    )  # fmt: skip
    return Evidence(
        verdict, (cause,) if cause else (), rule="7", frame_sha256=f"{n:064x}", placement="local: nearest", part_type="washer",
        light="normal", density="one", sizes_mm={"bore": 8.0131, "outer": 23.9874}, operator="ann", lot=f"L{n // 5_000}",
        serial=f"S{n:09d}",
    )  # fmt: skip


class _Bare:
    """A row's bytes to a file and an fsync, as a program without a database would: appended, or over what is there."""

    def __init__(self, path: Path, *, over: bool) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        self._at, self._row = 0, encode(Entry("verdict", 1, 1, says(_evidence(1))), 1)
        if over:
            os.write(self._file, bytes(4 << 20))
            os.fsync(self._file)

    def __call__(self) -> None:
        os.pwrite(self._file, self._row, self._at)
        os.fsync(self._file)
        self._at += len(self._row)

    def close(self) -> None:
        os.close(self._file)


def _took_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def _lone(place: Path, figures: dict[str, Any], quick: bool) -> list[Bar]:
    pairs = 300 if quick else 2_000

    async def measure() -> tuple[list[float], list[float], list[float]]:
        appended, over, lone, pictured = [], [], [], []
        async with open_ledger(place) as ledger:
            bare = _Bare(place / "appended", over=False), _Bare(place / "over", over=True)
            for n in range(1, pairs + 1):  # each with its neighbours in time, in the same folder
                appended.append(_took_ms(bare[0]))
                over.append(_took_ms(bare[1]))
                start = time.perf_counter_ns()
                await ledger.record(_evidence(n))
                lone.append((time.perf_counter_ns() - start) / 1e6)
            for n in range(pairs // 10):  # no bar: its picture is made durable first, by three fsyncs more
                picture = os.urandom(_PICTURE_BYTES)
                bare_ms = _took_ms(bare[0])
                start = time.perf_counter_ns()
                await ledger.record(_evidence(25 * n), lambda picture=picture: picture)  # type: ignore[misc]
                pictured.append((time.perf_counter_ns() - start) / 1e6 / bare_ms)
            for each in bare:
                each.close()
        figures["lone_reject_with_picture_to_bare_fsync"] = round(statistics.median(pictured), 2)
        return appended, over, lone

    appended, over, lone = asyncio.run(measure())
    ratios = [
        statistics.median(one / other for one, other in zip(lone, bare, strict=True)) for bare in (appended, over)
    ]
    figures["lone_verdict_to_bare_fsync_in_place"] = round(ratios[1], 2)
    note = (
        f"{pairs} pairs; lone verdict p50 {statistics.median(lone):.2f}, p99 {percentile(lone, 99):.2f} ms; a file that grows "
        f"p50 {statistics.median(appended):.2f}, p99 {percentile(appended, 99):.2f} ms; one that is overwritten p50 {statistics.median(over):.2f} ms: {ratios[1]:.2f} times"
    )
    return [at_most("lone_verdict_to_bare_fsync", ratios[0], 3, "times", note)]


def _group(place: Path, quick: bool) -> list[Bar]:
    rounds, each, waiting = (5, 100, 64) if quick else (20, 300, 64)

    async def many(ledger: Ledger, first: int, cameras: int, count: int) -> float:
        """Verdicts a second of so many by `cameras`, each of which waits for its own before it gives the next."""
        made = [_evidence(first + n) for n in range(count)]

        async def camera(at: int) -> None:
            for n in range(at, count, cameras):
                await ledger.record(made[n])

        start = time.perf_counter()
        await asyncio.gather(*(camera(at) for at in range(cameras)))
        return count / (time.perf_counter() - start)

    async def measure() -> dict[str, list[float]]:
        rates: dict[str, list[float]] = {"bare": [], "alone": [], "grouped": []}
        async with open_ledger(place) as ledger:
            bare = _Bare(place / "appended", over=False)
            for number in range(rounds):
                start = time.perf_counter()
                for _ in range(each):
                    bare()
                rates["bare"].append(each / (time.perf_counter() - start))
                first = 1 + number * each * 9
                rates["alone"].append(await many(ledger, first, 1, each))
                rates["grouped"].append(await many(ledger, first + each, waiting, each * 8))
            bare.close()
        return rates

    rates = asyncio.run(measure())
    middle = {name: statistics.median(found) for name, found in rates.items()}
    ratio = statistics.median(one / other for one, other in zip(rates["grouped"], rates["alone"], strict=True))
    note = (
        f"{rounds} rounds; {waiting} verdicts waiting at once: {middle['grouped']:.0f}/s; one, so each with its own fsync: "
        f"{middle['alone']:.0f}/s; bare writes with an fsync each, without a database: {middle['bare']:.0f}/s"
    )
    return [Bar("group_commit_to_one_fsync_a_verdict", round(ratio, 2), 5, "times at least", ratio >= 5, note)]


def _pareto(place: Path, few: int, many: int, figures: dict[str, Any], quick: bool) -> list[Bar]:
    now_ns = time.time_ns() // _HOUR_NS * _HOUR_NS
    start = time.perf_counter()
    for rows in (few, many):
        _fill(place / str(rows), rows, now_ns - _DAYS * 24 * _HOUR_NS)
    figures |= {"rows": many, "days": _DAYS, "filled_s": round(time.perf_counter() - start, 1)}
    took_ms: dict[int, list[float]] = {few: [], many: []}
    with closing(open_reading(place / str(few))) as small, closing(open_reading(place / str(many))) as large:
        for turn in range(200 if quick else 1_000):
            end_ns = now_ns - turn * _AFTER_NS % (90 * _HOUR_NS)
            window = queries.Window(end_ns - _HOUR_NS, end_ns)
            for rows, database in ((few, small), (many, large)):
                took_ms[rows].append(_took_ms(partial(queries.causes, database, window)))
        found = sum(queries.causes(large, window).values())
        scan = (
            "SELECT value, count(*) FROM entries, json_each(body, '$.causes') WHERE json_extract(body, '$.utc_ns') >= ? "
            "AND json_extract(body, '$.utc_ns') < ? GROUP BY value"
        )  # without the table of counts
        counted: dict[str, int] = {}
        scan_ms = _took_ms(lambda: counted.update(large.execute(scan, (window.from_ns, window.to_ns))))
        if sum(counted.values()) != found:
            raise SystemExit("edgeapp bench ledger: the table of counts does not agree with the rows")
    start = time.perf_counter()
    if not audit.verify(place / str(few)).ok:
        raise SystemExit("edgeapp bench ledger: the filled ledger does not verify")
    figures["verified_rows_per_s"] = round(few / (time.perf_counter() - start))
    medians = {rows: statistics.median(each) for rows, each in took_ms.items()}
    ratio = statistics.median(one / other for one, other in zip(took_ms[many], took_ms[few], strict=True))
    note = (
        f"{medians[many]:.3f} ms over {many:,} rows, {medians[few]:.3f} ms over {few:,}, in turn, hours that begin at any minute; the same hour from "
        f"its {found * 25} rows takes {scan_ms:.0f} ms"
    )
    return [at_most("hour_pareto_many_to_few_rows", ratio, 3, "times", note)]


def _fill(place: Path, rows: int, from_ns: int) -> None:
    """A ledger of so many rows, a real chain and real tables; written without fsync, indexes made at the end."""
    with closing(Store(place, utc_ns=from_ns)) as store:
        store.append([Entry("opened", from_ns, 0, {"ledger": store.name, "clock_back_ns": 0, "station": ""})])
        head = store.head
    path = place / "ledger.sqlite"
    database = sqlite3.connect(path, isolation_level=None)
    indexes = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%ON entries%'"
    ).fetchall()
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-200000"):
        database.execute(f"PRAGMA {pragma}")
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    step_ns = _DAYS * 24 * _HOUR_NS // rows
    template = [encode(Entry("verdict", 10**18, 1, says(_evidence(n)) | _NO_IMAGE), 10**8) for n in range(1, 151)]
    for first in range(0, rows, _BATCH):
        lines, counts, causes = [], Counter[tuple[int, int, str]](), []
        for n in range(first, min(first + _BATCH, rows)):
            utc_ns, cause = from_ns + n * step_ns, _CAUSES[(n % 150 + 1) % 6] if (n % 150 + 1) % 25 == 0 else ""
            seq = head.rows + 1
            body = template[n % 150].replace(b'"seq":100000000', b'"seq":%d' % seq, 1)
            body = body.replace(b"1000000000000000000", b"%d" % utc_ns, 1)
            head = follow(head, body)
            lines.append((seq, body.decode(), head.hash))
            for span in derived.SPANS:
                counts[span, utc_ns // derived.MINUTE_NS // span * span, cause] += 1
            causes += [(cause, seq)] if cause else []
        _insert(database, lines, counts, causes)
    for _, sql in indexes:
        database.execute(sql)
    database.execute("PRAGMA journal_mode=WAL")
    database.close()
    _anchor(place)


_NO_IMAGE: Final = {"image": "", "image_bytes": 0, "image_lost": ""}


def _insert(
    database: sqlite3.Connection, lines: list[Any], counts: Counter[tuple[int, int, str]], causes: list[tuple[str, int]]
) -> None:
    """Rows and what follows from them."""
    add = "INSERT INTO counts VALUES (?, ?, 'belt', 'washer', ?, ?, ?) ON CONFLICT DO UPDATE SET parts = parts + excluded.parts"
    database.execute("BEGIN")
    database.executemany("INSERT INTO entries VALUES (?, ?, ?)", lines)
    for (*span, cause), parts in counts.items():
        outcome = "FAIL" if cause else "PASS"
        database.execute(add, (*span, outcome, "", parts))
        if cause:
            database.execute(add, (*span, outcome, cause, parts))
    database.executemany("INSERT INTO causes VALUES (?, ?)", causes)
    database.execute("COMMIT")


def _anchor(place: Path) -> None:
    """Open it as a station would, which checks its tail, and anchor it."""
    with closing(Store(place)) as store:
        store.write_anchor(time.time_ns())
