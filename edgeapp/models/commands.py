"""What `edgeapp models` does, in words and tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, get_args

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgeapp.core.events import ConfigError
from edgeapp.models import slots
from edgeapp.models.catalogue import COMMIT, Source, catalogue, source_of
from edgeapp.models.golden import Check
from edgeapp.models.manifest import NAME, Kind, Model
from edgeapp.models.store import (
    alone,
    arriving_of,
    bundled,
    converting_of,
    find,
    folder_of,
    mend,
    pulled,
    pulled_root,
    spoiled,
    uninstall,
)
from edgeapp.models.verify import verify

_WIDE: Final = 120
"""Columns of a terminal from which on there is room for where a model comes from."""


def list_models(console: Console) -> None:
    """Print what is on this device, what can be pulled, and which model is current in each role.

    Sizes are looked at, hashes are not: that is `verify`'s work. Raises ConfigError if a manifest is wrong.
    """
    ships = bundled()
    here = ships + pulled()
    sources = {source.name: source for source in catalogue()}
    table = _table(console, "Models on this device", "engine, from")
    for model in here:
        size = sum(each.size for each in model.files)
        hashes = "shipped" if model in ships else _known(model, sources.get(model.name))
        state = "; ".join([_state(model), *_roles(model.name)])
        origin = f"{model.engine or 'no engine opens this form'}, {model.source} {model.revision[:12]}"
        _row(table, model.name, model.kind, _mb(size), state, hashes, model.licence, origin)
    console.print(table)
    for model in here:
        if _state(model) == "damaged":
            console.print(f"[red]damaged[/red]  {model.name}: {mend(model)}", highlight=False, soft_wrap=True)
    for error in spoiled():
        console.print(f"[red]wrong[/red]  {escape(str(error))}", highlight=False, soft_wrap=True)
    more = _table(console, "To be pulled: edgeapp models pull NAME", "from")
    names = {model.name for model in here}
    for source in sources.values():
        if source.name not in names:
            licence = f"{source.licence} (gated)" if source.gated else source.licence
            pinned = COMMIT.fullmatch(source.revision) is not None
            origin = f"{source.repository} {source.revision[:12] if pinned else source.revision}"
            hashes = "pinned" if pinned else "first use"
            _row(more, source.name, source.kind, f"{source.size_mb} MB", _arriving(source), hashes, licence, origin)
    console.print(more)
    console.print("pinned: the commit is known here; first use: it is recorded by the first pull.", highlight=False)
    console.print("`edgeapp models verify` reads every byte.", highlight=False)


def _table(console: Console, title: str, origin: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in ("name", "kind", "size", "state", "hashes", "licence"):
        table.add_column(column, no_wrap=column in {"name", "kind", "size", "hashes"}, overflow="fold")
    if console.width >= _WIDE:
        table.add_column(origin, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    """What the table has no column for is left out."""
    table.add_row(*(escape(cell) for cell in cells[: len(table.columns)]))


def verify_models(console: Console, names: Sequence[str] = ()) -> None:
    """Check size and hash of every file of the models `names`, or of all.

    Prints one line a model. Raises ConfigError, after the last line, if one is wrong or not known.
    """
    models = bundled() + pulled()
    wrong = 0
    for error in spoiled() if not names else []:
        wrong += 1
        console.print(f"[red]wrong[/red]  {escape(str(error))}", highlight=False, soft_wrap=True)
    for name in names:
        if find(name) is None:
            raise ConfigError(f"there is no model {name!r} on this device: see `edgeapp models list`")
    for model in models:
        if names and model.name not in names:
            continue
        try:
            found = verify(model)
        except ConfigError as error:
            wrong += 1
            console.print(f"[red]wrong[/red]  {model.name}: {escape(str(error))}", highlight=False, soft_wrap=True)
        else:
            console.print(
                f"[green]right[/green]  {model.name}: {found.files} files, {_mb(found.size)}", highlight=False
            )
    if wrong:
        raise ConfigError(f"{wrong} of the models must not be used as they are: see above")


def pull_model(console: Console, name: str, check: Check) -> Model:
    """Fetch the model `name` of the catalogue with a progress bar; return its record.

    A new version of a model that is here must pass `check` before it replaces it. Raises ConfigError.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from edgeapp.models.pull import pull

    source = source_of(name)
    if source is None:
        raise ConfigError(f"there is no model {name!r} to pull: see `edgeapp models list`")
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def watch(file: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(file, total=total)
            return lambda count: progress.advance(task, count)

        def say(line: str) -> None:
            progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

        model = pull(source, say, watch, lambda model, folder: _accept(model, folder, check))
    line = f"{name} is in {folder_of(model)}, under: {source.licence}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    if source.convert:
        say_more = f"no engine opens it as it is: run `edgeapp models convert {name}`"
        console.print(say_more, highlight=False, soft_wrap=True)
    return model


def convert_model(console: Console, name: str, check: Check, python: str, size_px: int) -> Model:
    """Convert the pulled model `name` by the tools of the interpreter `python`; return the result's record.

    A result that would replace a model must pass `check` first. Raises ConfigError.
    """
    from edgeapp.models.convert import convert

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with console.status(f"converting {escape(name)}"):
        made = convert(
            name,
            say,
            lambda model, folder: _accept(model, folder, check),
            python=python or sys.executable,
            size_px=size_px,
        )
    size = _mb(sum(each.size for each in made.files))
    say(f"{made.name} ({size}) is on this device: run `edgeapp models switch {made.kind} {made.name}`, or name it")
    return made


def switch_model(console: Console, role: str, name: str, check: Check) -> None:
    """Make `name` current in `role` if it passes; say what stays otherwise. Raises ConfigError."""
    before = slots.slot(role).current
    found = slots.switch(role, name, check)
    line = f"{name} is current for {role} ({found}); it serves from the next start on, where the configuration says"
    engine = slots.current(role).engine
    console.print(f'{line} engine = "{engine}" and model = "current"', highlight=False, markup=False, soft_wrap=True)
    if before and before != name:
        console.print(f"back: edgeapp models switch {role} {before}", highlight=False, soft_wrap=True)


def remove_model(console: Console, name: str) -> None:
    """Take a pulled or converted model, or what came of it, off this device. Raises ConfigError."""
    if name in {model.name for model in bundled()}:
        raise ConfigError(f"{name} ships with edgeapp and stays")
    places = (pulled_root() / name, arriving_of(name), converting_of(name))
    try:
        if not NAME.fullmatch(name) or not any(each.exists() for each in places):
            raise ConfigError(f"there is no model {name!r} to remove: see `edgeapp models list`")
        with alone(name, "remove"):  # which a switch to it holds too
            if roles := slots.roles_of(name):
                raise ConfigError(
                    f"{name} is current or the one to fall back to for {roles[0]}: switch to another model first "
                    "(twice, if it is the previous one)"
                )
            uninstall(name)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"cannot remove {name}: {why}; mend the rights of {pulled_root()}") from error
    console.print(f"{name} is gone from this device", highlight=False)


def _accept(model: Model, folder: Path, check: Check) -> None:
    """A new version in `folder` may replace the one that is here only if it passes."""
    try:
        check(model, folder)
    except ConfigError as error:
        raise ConfigError(f"the {model.name} that is here stays, the new one is not used: {error}") from error


def _state(model: Model) -> str:
    """Whether all files are there in their sizes."""
    try:
        sizes = [(folder_of(model) / each.path).stat().st_size for each in model.files]
    except OSError:
        return "damaged"
    return "here" if sizes == [each.size for each in model.files] else "damaged"


def _roles(name: str) -> list[str]:
    """Where the model is current, or waits to be again."""
    return [
        f"{what} for {role}"
        for role in get_args(Kind)
        for what, other in (("current", slots.slot(role).current), ("previous", slots.slot(role).previous))
        if other == name
    ]


def _known(model: Model, source: Source | None) -> str:
    """Who vouches for the bytes."""
    if source is None:
        return "made here"
    pinned = COMMIT.fullmatch(source.revision) and source.revision == model.revision
    return "pinned" if pinned else "first use"


def _arriving(source: Source) -> str:
    try:
        came = sum(path.stat().st_size for path in arriving_of(source.name).rglob("*") if path.is_file())
    except OSError:  # a pull that is under way has just moved it
        return "partly here"
    return f"partly here ({_mb(came)})" if came else "not here"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
