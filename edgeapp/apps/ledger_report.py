"""What `edgeapp ledger` does, in words, tables, charts and files."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edgeapp.core.events import ConfigError
from edgeapp.station import audit, csv_file, queries, relabel
from edgeapp.station import statistics as spc
from edgeapp.station.anchor import read_key
from edgeapp.station.derived import MINUTE_NS
from edgeapp.station.queries import COLUMNS, Window
from edgeapp.station.store import open_reading

_SHOWN_MAX = 10_000  # lines of `show`; more is what `export` is for


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def report_verify(folder: Path, heads: Sequence[str], key: Path | None, *, images: bool, as_json: bool) -> int:
    """Read the ledger and say what is wrong, the first bad row first; 1 if anything is. Raises ConfigError."""
    noted = tuple(audit.parse_head(each) for each in heads)
    with _progress() as progress:
        task = progress.add_task("rows", total=None)
        found = audit.verify(
            folder,
            heads=noted,
            key=read_key(key) if key else b"",
            images=images,
            progress=lambda done, rows: progress.update(task, completed=done, total=rows),
        )
    if as_json:
        line = {"ok": found.ok, "rows": found.head.rows, "verdicts": found.verdicts, "head": str(found.head)}
        line |= {"first_bad": found.first_bad, "wrong": found.wrong, "more": found.more, "notes": found.notes}
        print(json.dumps(line))
        return 0 if found.ok else 1
    for each in found.notes:
        print(f"note: {each}")
    for each in found.wrong:
        print(f"WRONG: {each}")
    if found.more:
        print(f"WRONG: and {found.more} more")
    if found.ok:
        print(f"right: {found.head.rows} rows, {found.verdicts} of them verdicts; head {found.head}")
        return 0
    print(f"the rows up to {found.head.rows} are as they were written", file=sys.stderr)
    return 1


def report_show(
    folder: Path, *, seq: int | None, last: int, as_json: bool, cause: str, serial: str, lot: str, outcome: str
) -> int:
    """Print verdicts, the newest first, or one whole row; 1 if there is none. Raises ConfigError."""
    with closing(open_reading(folder)) as database:
        if seq is not None:
            row = database.execute("SELECT body, lower(hex(hash)) FROM entries WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                raise ConfigError(f"the ledger {folder} has no row {seq}")
            print(json.dumps(json.loads(row[0]) | {"hash": row[1]}, indent=None if as_json else 2))
            return 0
        found = list(
            queries.verdicts(
                database, cause=cause, serial=serial, lot=lot, outcome=outcome, newest=min(last, _SHOWN_MAX)
            )
        )
        if as_json:
            for each in found:
                print(json.dumps(each))
            return 0 if found else 1
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in ("row", "when (UTC)", "source", "verdict", "why", "part", "lot", "serial", "picture"):
        table.add_column(column, overflow="fold")
    for each in found:
        picture = each["image"][:8] or each["image_lost"]
        cells = (each["source"], each["outcome"], each["why"], each["part_type"], each["lot"], each["serial"], picture)
        table.add_row(str(each["seq"]), _when(each["utc_ns"]), *map(escape, cells))
    Console(width=None if sys.stdout.isatty() else 150).print(table if found else "no such verdict")
    return 0 if found else 1


def report_export(folder: Path, out: Path, window: Window) -> int:
    """Write the verdicts to a CSV or Parquet file, by its name. Raises ConfigError."""
    if out.suffix not in {".csv", ".parquet"}:
        raise ConfigError(f"{out.name} is neither .csv nor .parquet: name the file so that its kind is known")
    with closing(open_reading(folder)) as database, _progress() as progress:
        (rows,) = database.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
        verdicts = _watched(queries.verdicts(database, window=window), progress, rows)
        if out.suffix == ".csv":
            count = csv_file.write_csv(verdicts, out)
        else:
            from edgeapp.observe.parquet import write_parquet

            count = write_parquet(verdicts, out, COLUMNS, csv_file.INTEGERS)
    print(f"{count} verdicts in {out}")
    return 0


def _watched(rows: Iterable[Mapping[str, Any]], progress: Progress, total: int) -> Iterator[Mapping[str, Any]]:
    task = progress.add_task("rows", total=total)
    for row in rows:
        if row["seq"] % 1_000 == 0:
            progress.update(task, completed=row["seq"])
        yield row


@dataclass(frozen=True, slots=True)
class Size:
    """A measured size and its limits in mm."""

    name: str
    lower: float
    upper: float


def parse_size(text: str) -> Size:
    """NAME:LOWER:UPPER. Raises ConfigError."""
    name, _, limits = text.partition(":")
    try:
        lower, upper = map(float, limits.split(":"))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no size: give NAME:LOWER:UPPER in mm, such as bore:7.9:8.1") from error
    if not name or not lower < upper:
        raise ConfigError(f"{text!r} is no size: the lower limit must be below the upper one")
    return Size(name, lower, upper)


def report_stats(
    folder: Path, window: Window, *, every_min: int, sizes: Sequence[Size], out: Path | None, as_json: bool
) -> int:
    """Yield, control chart, Pareto, capability and what re-inspection says; charts into `out`. Raises ConfigError."""
    with closing(open_reading(folder)) as database:
        groups = queries.counts_by(database, window, every_min)
        counts = queries.counts(database, window)
        pareto = spc.pareto(queries.causes(database, window))
        missed = spc.pareto(queries.causes(database, window, "NOT_INSPECTED"))
        errors = spc.error_rates(queries.reinspected(database, window))
        measured = [(size, queries.sizes(database, size.name, window)) for size in sizes]
    groups = [(began_ns, each) for began_ns, each in groups if each.inspected]
    chart = spc.p_chart([(each.inspected, each.failed) for _, each in groups])
    fits = [(size, values, _capability(size, values)) for size, values in measured]
    if out:
        _draw(out, chart, [began_ns for began_ns, _ in groups], every_min, pareto, fits)
    if as_json:
        line: dict[str, Any] = {"counts": asdict(counts), "yield": asdict(spc.first_pass_yield(counts))}
        line |= {"pareto": [asdict(bar) for bar in pareto], "not_inspected": [asdict(bar) for bar in missed]}
        line |= {"p_chart": asdict(chart), "began_ns": [began_ns for began_ns, _ in groups]}
        line |= {"errors": asdict(errors), "capability": {size.name: asdict(fit) for size, _, fit in fits}}
        print(json.dumps(line))
        return 0
    _say_counts(counts, pareto, missed)
    print(f"p-chart of {len(groups)} stretches of {every_min} min: centre {_percent(chart.centre)}")
    for signal in chart.signals:
        side = "above" if signal.above else "below"
        print(f"ALARM: {signal.rule} at {_when(groups[signal.at][0])}, {side} the centre")
    for size, _, fit in fits:
        indices = ", ".join(
            f"{name} {index.value:.2f} [{index.low:.2f}, {index.high:.2f}]"
            for name, index in (("Cp", fit.cp), ("Cpk", fit.cpk), ("Pp", fit.pp), ("Ppk", fit.ppk))
        )
        print(f"{size.name}: {fit.values} parts, mean {fit.mean:.4f} mm, {indices}")
    print(
        f"of rejects drawn and seen again, good: {_share(errors.good_among_rejects)}; "
        f"of passes, bad: {_share(errors.bad_among_passes)}"
    )
    print(
        f"false rejects among good parts: {_share(errors.false_rejects)}; escapes among bad ones: {_share(errors.escapes)}"
    )
    return 0


def _capability(size: Size, values: Sequence[float]) -> spc.Capability:
    if len(values) < 2:
        raise ConfigError(f"the ledger has {len(values)} values of {size.name!r} in this time: two are needed")
    return spc.capability(values, size.lower, size.upper)


def _say_counts(counts: spc.Counts, pareto: Sequence[spc.Bar], missed: Sequence[spc.Bar]) -> None:
    print(
        f"{counts.parts} parts: {counts.passed} passed, {counts.failed} failed, {counts.not_inspected} not inspected; "
        f"first-pass yield {_share(spc.first_pass_yield(counts))}"
    )
    for name, bars in (("failed", pareto), ("not inspected", missed)):
        for bar in bars:
            print(f"  {name}: {bar.cause} {bar.parts} ({_percent(bar.share)}, cumulated {_percent(bar.cumulated)})")


def _draw(
    out: Path, chart: spc.PChart, began_ns: Sequence[int], every_min: int, pareto: Sequence[spc.Bar],
    fits: Sequence[tuple[Size, Sequence[float], spc.Capability]],
) -> None:  # fmt: skip
    from edgeapp.observe import station_plots as plots

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}; give another folder with --out") from error
    title = f"Rejects of inspected parts, stretches of {every_min} min"
    drawn = [plots.draw_p_chart(chart, began_ns, out / "p-chart.png", title)]
    drawn.append(plots.draw_pareto(pareto, out / "pareto.png", "Rejected parts by defect"))
    for size, values, fit in fits:
        path = out / f"capability-{''.join(c if c.isalnum() else '-' for c in size.name)}.png"
        drawn.append(plots.draw_capability(values, fit, (size.lower, size.upper), path, size.name))
    print(f"charts: {', '.join(map(str, drawn))}", file=sys.stderr)


def report_relabel(folder: Path, out: Path, wish: relabel.Wish) -> int:
    """Write the next training and calibration set. Raises ConfigError."""
    from edgeapp.devices.parts import DEFECTS, PART_TYPES

    with closing(open_reading(folder)) as database:
        try:
            manifest = relabel.export(database, folder, out, relabel.Classes(PART_TYPES, DEFECTS), wish)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot read the ledger {folder}: {error}; run `edgeapp ledger verify`") from error
    print(
        f"{manifest['disagreements']} disagreements, {manifest['unlabelled']} of them without boxes; drawn: "
        f"{wish.training} for {out}/training, {wish.calibration} for {out}/calibration"
    )
    return 0


def read_never(paths: Sequence[Path]) -> frozenset[str]:
    """Hashes, one a line. Raises ConfigError."""
    try:
        return frozenset(line.strip() for path in paths for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the list of hashes: {error}") from error


def parse_window(start: str, end: str, hours: float | None, now: datetime | None = None) -> Window:
    """From and to in ISO 8601 (UTC where no zone is given), or the last so many hours. Raises ConfigError."""
    if hours is not None:
        if start or end:
            raise ConfigError("give --hours, or --from and --to")
        to_ns = round((now or datetime.now(UTC)).timestamp() * 1e9) + MINUTE_NS  # this minute too
        return Window(max(0, to_ns - round(hours * 3_600e9)), to_ns)
    return Window(_instant(start) if start else 0, _instant(end) if end else Window().to_ns)


def _instant(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time: give it as 2026-11-25T14:00") from error
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e9)


def _when(utc_ns: int) -> str:
    return f"{datetime.fromtimestamp(utc_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _share(found: spc.Share) -> str:
    value = "not known" if found.value != found.value else _percent(found.value)  # nan: nothing was counted
    return f"{value} [{_percent(found.low)}, {_percent(found.high)}]"
