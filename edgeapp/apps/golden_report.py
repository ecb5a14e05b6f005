"""`edgeapp models verify --golden`: every model on this device, its hashes and its golden set, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgeapp.apps.gate import PACKAGES, ask_build, ask_package, builds, golden_of, refusal
from edgeapp.core.events import ConfigError
from edgeapp.models.golden import Examined
from edgeapp.models.manifest import Model
from edgeapp.models.store import find, folder_of, manifest, spoiled
from edgeapp.models.verify import verify


@dataclass(frozen=True, slots=True)
class Line:
    """What came of one build of one model."""

    name: str
    examined: Examined | None
    """None if it was not asked."""

    wrong: str = ""
    """Why it must not be used; empty if it may."""

    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The line as plain values."""
        found: dict[str, Any] = {"model": self.name, "ok": not self.wrong, "why": self.wrong or self.note}
        if asked := self.examined:
            found |= {"right": asked.right, "cases": asked.cases, "of": asked.of, "worst": asked.worst}
            found |= {"took_s": round(asked.took_s, 3), "golden_sha256": asked.set_sha256}
        return found


def report_golden(names: Sequence[str], *, as_json: bool) -> int:
    """Verify the models `names` (all by default), with the packages' own; print; 1 if one must not be used, else 0.

    Raises ConfigError if a name is not known here.
    """
    models = manifest()
    for name in names:
        if name not in PACKAGES and find(name) is None:
            raise ConfigError(f"there is no model {name!r} on this device: see `edgeapp models list`")
    lines = [Line("a record", None, wrong=str(error)) for error in spoiled() if not names]
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for name, ask in _builds(models):
            if names and name.partition("/")[0] not in names:
                continue
            task = progress.add_task(name)
            lines.append(ask())
            progress.remove_task(task)
    if not as_json:
        Console(width=None if sys.stdout.isatty() else 150).print(_table(lines))
    wrong = [line for line in lines if line.wrong]
    if as_json:
        print(json.dumps({"models": [line.as_json() for line in lines], "ok": not wrong}))
    elif wrong:
        print(f"edgeapp: {len(wrong)} of {len(lines)} must not be used as they are: see above", file=sys.stderr)
    return 1 if wrong else 0


def _builds(models: Sequence[Model]) -> Iterator[tuple[str, Callable[[], Line]]]:
    for model in models:
        for build in builds(model) if model.engine else [""]:
            name = model.name if build == model.main or not model.engine else f"{model.name}/{build}"
            yield name, partial(_ask_model, model, build, name)
    for engine in PACKAGES:
        yield engine, partial(_ask_engine, engine)


def _ask_model(model: Model, build: str, name: str) -> Line:
    try:
        verify(model)
        if not model.engine:
            return Line(name, None, note="right by its hashes; no engine opens it in this form")
        folder = folder_of(model)
        golden = golden_of(model, folder)
        if golden is None:
            return Line(name, None, note="right by its hashes; it has no golden set")
        examined = ask_build(model, folder / build, golden)
    except ConfigError as error:
        return Line(name, None, wrong=str(error))
    return Line(name, examined, wrong="" if examined.ok else refusal(examined))


def _ask_engine(engine: str) -> Line:
    try:
        examined = ask_package(engine)
    except ConfigError as error:
        return Line(engine, None, wrong=str(error))
    return Line(engine, examined, wrong="" if examined.ok else refusal(examined))


def _table(lines: Sequence[Line]) -> Table:
    table = Table(title="Golden sets, through the engines that serve", title_justify="left")
    for column in ("model", "right", "time", "golden set", "", "worst case"):
        table.add_column(column, justify="right" if column in {"right", "time"} else "left", overflow="fold")
    for line in lines:
        asked = line.examined
        figures = (
            (f"{asked.right} of {asked.cases}", f"{asked.took_s:.2f} s", asked.set_sha256[:12])
            if asked
            else ("", "", "")
        )
        mark = "[red]refused[/]" if line.wrong else "[green]ok[/]" if asked else "[yellow]not asked[/]"
        says = line.note or (asked.worst if asked else line.wrong)
        table.add_row(escape(line.name), *figures, mark, escape(says))
    return table
