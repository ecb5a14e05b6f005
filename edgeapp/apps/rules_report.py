"""What `edgeapp rules` does, in words, tables and files."""

from __future__ import annotations

import asyncio
import difflib
import json
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.dry_run import DryRun, dry_run
from edgeapp.apps.rules import known_to, read_calibration, read_rule, rule_of
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import ConfigError
from edgeapp.station import queries, rule_book
from edgeapp.station.anchor import read_key
from edgeapp.station.queries import Row, Window
from edgeapp.station.rule_book import Book
from edgeapp.station.store import open_reading
from edgeapp.vision import calibration as plane
from edgeapp.vision.rules import InspectionRule


def report_list(folder: Path, key: Path | None, *, as_json: bool) -> int:
    """Every signed rule, the one in use marked. Raises ConfigError."""
    book = _read(folder, key)
    now = book.in_use
    if as_json:
        print(
            json.dumps(
                {"head": str(book.head), "in_use": now.id if now else "", "lines": msgspec.to_builtins(book.lines)}
            )
        )
        return 0
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in ("", "version", "sha256", "signed by", "when (UTC)", "why"):
        table.add_column(column, overflow="fold")
    for each in book.signed:
        mark = "in use" if now and now.sha256 == each.sha256 else ""
        row = (mark, each.version, each.sha256[:12], each.by, _when(each.utc_ns), each.why)
        table.add_row(*map(escape, row))
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    print(f"head {book.head}" if book.lines else f"the rule book {folder} is empty")
    return 0


def report_show(folder: Path, name: str, key: Path | None) -> int:
    """A rule's text, checked against its signature; who signed it on stderr. Raises ConfigError."""
    book = _read(folder, key)
    line = book.find(name) if name else book.in_use
    if line is None:
        raise ConfigError(f"no rule of the book {folder} is in use; name one of `edgeapp rules list`")
    text = book.text(line)
    for each in book.lines:
        if each.sha256 == line.sha256:
            print(f"{each.what} by {each.by}, {_when(each.utc_ns)} UTC: {each.why}", file=sys.stderr)
    print(text, end="" if text.endswith("\n") else "\n")
    return 0


def report_diff(folder: Path, one: str, other: str, key: Path | None) -> int:
    """What differs between two rules, each a signed one or a file; 1 if anything does. Raises ConfigError."""
    book = _read(folder, key)
    texts = [_text(book, name).splitlines(keepends=True) for name in (one, other)]
    lines = list(difflib.unified_diff(texts[0], texts[1], one, other))
    print("".join(line if line.endswith("\n") else f"{line}\n" for line in lines), end="")
    return 1 if lines else 0


def report_sign(folder: Path, file: Path, by: str, why: str, config: Path | None, key: Path | None) -> int:
    """Check a rule against the detector and put it into the book. Raises ConfigError."""
    content, rule = read_rule(file)
    known_to(rule, asyncio.run(classes_of(settings.load(config))), str(file))
    book = rule_book.sign(
        folder, content, rule.version, by=by, why=why, utc_ns=time.time_ns(), key=read_key(key) if key else b""
    )
    signed = book.find(rule.version)
    print(f"rule {signed.id} is signed by {signed.by}; head {book.head}")
    return 0


def report_use(folder: Path, name: str, by: str, why: str, key: Path | None) -> int:
    """Take a signed rule into use. Raises ConfigError."""
    book = rule_book.use(folder, name, by=by, why=why, utc_ns=time.time_ns(), key=read_key(key) if key else b"")
    line = book.in_use
    assert line
    print(f"rule {line.id} is in use; a running station takes it between two parts; head {book.head}")
    return 0


async def classes_of(config: settings.Config) -> tuple[str, ...]:
    """The classes of the configured detector; empty if it does not tell. Raises ConfigError if it does not load."""
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        return tuple(getattr(await parts.engine(config.vision.detect, "vision.detect"), "labels", ()))


def report_dry_run(
    file: Path, ledger: Path, *, book: Path, key: Path | None, calibrations: Sequence[Path], window: Window,
    stored_from_score: float, shown: int, as_json: bool,
) -> int:  # fmt: skip
    """Say which verdicts of the ledger would have been others under the rule in `file`. Raises ConfigError."""
    _, rule = read_rule(file)
    scales = [read_calibration(each)[0] for each in calibrations]
    olds = known(_read(book, key))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        closing(open_reading(ledger)) as database,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        try:
            (last,) = database.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
            rows = _watched(queries.rows(database, window), progress, last)
            found = dry_run(rows, rule, olds, stored_from_score=stored_from_score, scales=scales)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot read the ledger {ledger}: {error}; run `edgeapp ledger verify`") from error
    if as_json:
        print(json.dumps(_as_json(found, shown)))
    else:
        _say(found, shown)
    return 0


def known(book: Book) -> dict[str, InspectionRule]:
    """The rules whose verdicts can be checked: all in the book, and the bundled one."""
    bundled = rule_of(settings.Vision().rule)
    found = {bundled.id: bundled}
    for line in book.signed:
        rule = rule_of(settings.parse_rule(book.text(line), f"the rule {line.id}"), sha256=line.sha256)
        found[rule.id] = rule
    return found


def _watched(rows: Iterable[Row], progress: Progress, last: int) -> Iterator[Row]:
    task = progress.add_task("rows", total=last)
    for row in rows:
        if row.seq % 1_000 == 0:
            progress.update(task, completed=row.seq)
        yield row


def sentence(found: DryRun) -> str:
    """The dry run in one sentence."""
    kinds = ", ".join(f"{count} {was} -> {would}" for (was, would), count in found.flipped.most_common())
    cannot = found.cannot_tell.total()
    told = f"would have flipped {found.flips:,} of {found.rows:,}{f': {kinds}' if kinds else ''}"
    return f"{told}; cannot tell for {cannot:,}" if cannot else told


def _say(found: DryRun, shown: int) -> None:
    print(sentence(found))
    for why, count in found.cannot_tell.most_common():
        print(f"  cannot tell: {count:,}, {why}")
    for (part, cause, was, would), count in sorted(found.by_cause.items(), key=lambda item: -item[1]):
        print(f"  {part or 'no part'}, {cause or 'no cause'}: {count:,} {was} -> {would}")
    if not found.listed or not shown:
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in ("row", "when (UTC)", "source", "serial", "was", "would be", "why", "picture"):
        table.add_column(column, overflow="fold")
    for each in found.listed[:shown]:
        row = (
            str(each.seq),
            _when(each.utc_ns),
            each.source,
            each.serial,
            each.was,
            each.would,
            each.why,
            each.image[:16],
        )
        table.add_row(*map(escape, row))
    Console(width=None if sys.stdout.isatty() else 170).print(table)
    if found.flips > shown:
        print(f"and {found.flips - shown:,} more: --list N shows them, up to 1,000")


def _as_json(found: DryRun, shown: int) -> dict[str, object]:
    return {
        "rows": found.rows,
        "flips": found.flips,
        "flipped": {f"{was} -> {would}": count for (was, would), count in found.flipped.items()},
        "by_cause": [
            {"part_type": part, "cause": cause, "was": was, "would": would, "parts": count}
            for (part, cause, was, would), count in found.by_cause.items()
        ],
        "cannot_tell": dict(found.cannot_tell),
        "listed": [asdict(each) for each in found.listed[:shown]],
    }


def report_calibrate(
    images: Sequence[Path], out: Path, *, camera: str, board: str, square_mm: float | None, points: Path | None,
    mm_per_px: float | None, error_mm: float | None,
) -> int:  # fmt: skip
    """Write the calibration of a camera, and say how wrong it is. Raises ConfigError."""
    import cv2

    if [square_mm, points, mm_per_px].count(None) != 2:
        raise ConfigError("give exactly one of --square-mm (with --board), --points and --mm-per-px")
    pictures = []
    for path in images:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ConfigError(f"cannot read the picture {path}")
        pictures.append(picture)
    if len({each.shape for each in pictures}) != 1:
        raise ConfigError("the pictures are not of one size; take them all with the camera as it stands")
    height, width = pictures[0].shape
    known = {"camera": camera, "width": width, "height": height, "utc_ns": time.time_ns()}
    if square_mm is not None:
        from edgeapp.devices.target import find_board

        columns, rows = _board(board)
        corners = [find_board(each, columns, rows, str(path)) for each, path in zip(pictures, images, strict=True)]
        found = plane.by_boards(corners, columns, rows, square_mm, **known)
    elif points is not None:
        pixels, mm = _points(points)
        found = plane.by_points(pixels, mm, **known)
    else:
        assert mm_per_px is not None
        found = plane.by_scale(mm_per_px, error_mm=error_mm, **known)
    try:
        out.write_bytes(msgspec.json.encode(found) + b"\n")
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}; give another file") from error
    left, top, right, bottom = found.region
    print(
        f"{out}: {found.how}; residual {found.residual_mm:.4f} mm, a length is wrong by at most {found.error_mm:.4f} mm"
    )
    print(
        f"measured from ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f}) of {width} x {height} pixels, camera {camera}"
    )
    return 0


def _board(text: str) -> tuple[int, int]:
    columns, _, rows = text.partition("x")
    if not (columns.isdigit() and rows.isdigit() and 2 < int(columns) < 100 and 2 < int(rows) < 100):
        raise ConfigError(f"{text!r} is no board: give its inner corners, COLUMNSxROWS, such as 9x6")
    return int(columns), int(rows)


def _points(path: Path) -> tuple[plane.Points, plane.Points]:
    """A file of lines `x y X Y`: pixels and millimetres. Raises ConfigError."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
        table = np.array([[float(each) for each in line] for line in lines])
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the points {path}: {error}") from error
    if table.ndim != 2 or table.shape[1] != 4 or not np.isfinite(table).all():
        raise ConfigError(f"{path} must have lines of four numbers: x y in pixels, X Y in mm")
    return table[:, :2], table[:, 2:]


def _text(book: Book, name: str) -> str:
    if Path(name).is_file():
        return read_rule(Path(name))[0].decode()
    return book.text(book.find(name))


def _read(folder: Path, key: Path | None) -> Book:
    return rule_book.read_book(folder, read_key(key) if key else b"")


def _when(utc_ns: int) -> str:
    return f"{datetime.fromtimestamp(utc_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
