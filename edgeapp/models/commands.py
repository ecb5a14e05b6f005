"""What `edgeapp models` does: list, verify, pull, in words and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from edgeapp.core.events import ConfigError
from edgeapp.models.catalogue import catalogue
from edgeapp.models.manifest import Model
from edgeapp.models.store import bundled, folder_of, pulled
from edgeapp.models.verify import verify


def list_models(console: Console) -> None:
    """Print what is on this device and what can be pulled. Raises ConfigError if a manifest is wrong."""
    table = Table(title="Models on this device")
    for column in ("name", "kind", "engine", "size", "licence", "from", "where"):
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    here = [(model, "bundled") for model in bundled()] + [(model, "pulled") for model in pulled()]
    for model, where in here:
        size = sum(each.size for each in model.files)
        origin = f"{model.source} {model.revision[:12]}".strip()
        table.add_row(model.name, model.kind, model.engine, _mb(size), model.licence, origin, where)
    console.print(table)
    more = Table(title="To be pulled: edgeapp models pull NAME")
    for column in ("name", "kind", "about", "licence", "from"):
        more.add_column(column, no_wrap=column == "name", overflow="fold")
    names = {model.name for model, _ in here}
    for source in catalogue():
        if source.name not in names:
            about = f"{source.size_mb} MB" if source.size_mb else "?"
            more.add_row(source.name, source.kind, about, source.licence, source.repository)
    console.print(more)


def verify_models(console: Console, names: Sequence[str] = ()) -> None:
    """Check size and hash of every file of the models `names`, or of all.

    Prints one line a model. Raises ConfigError, after the last line, if one is wrong or not known.
    """
    models = bundled() + pulled()
    unknown = sorted(set(names) - {model.name for model in models})
    if unknown:
        raise ConfigError(f"there is no model {unknown[0]!r} on this device: see `edgeapp models list`")
    wrong = 0
    for model in models:
        if names and model.name not in names:
            continue
        try:
            found = verify(model)
        except ConfigError as error:
            wrong += 1
            console.print(f"[red]wrong[/red]  {model.name}: {error}", highlight=False, soft_wrap=True)
        else:
            console.print(
                f"[green]right[/green]  {model.name}: {found.files} files, {_mb(found.size)}", highlight=False
            )
    if wrong:
        raise ConfigError(f"{wrong} of the models must not be used as they are: see above")


def pull_model(console: Console, name: str) -> Model:
    """Fetch the model `name` of the catalogue with a progress bar; return its record. Raises ConfigError."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from edgeapp.models.pull import pull

    source = next((each for each in catalogue() if each.name == name), None)
    if source is None:
        raise ConfigError(f"there is no model {name!r} to pull: see `edgeapp models list`")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def watch(file: str, total: int | None) -> Callable[[int], None]:
            task = progress.add_task(file, total=total)
            return lambda count: progress.advance(task, count)

        model = pull(source, lambda line: progress.console.print(line, highlight=False), watch)
    folder = folder_of(model)
    console.print(f"{name} is in {folder}, under {source.licence}", highlight=False, soft_wrap=True)
    if source.convert:
        console.print(f"convert it with: {source.convert.format(folder=folder)}", highlight=False, soft_wrap=True)
    return model


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
