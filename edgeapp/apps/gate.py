"""The golden gate: no model serves before it has answered known questions rightly, on this machine, through its engine."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.engines import module_of
from edgeapp.core.events import BackendError, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.models.golden import Examined, GoldenSet, examine, read_golden
from edgeapp.models.manifest import Model


def check(model: Model, folder: Path) -> Examined | None:
    """Load `model` from `folder` as an application would, run its golden set: a `golden.Check`, see there."""
    golden = golden_of(model, folder)
    examined = None if golden is None else asyncio.run(_run(model, folder / model.main, golden))
    if examined is not None and not examined.ok:
        raise ConfigError(refusal(examined))
    return examined


def refusal(examined: Examined) -> str:
    """The sentence about a model that answers wrongly."""
    return (
        f"{examined.model} answers wrongly here, so it is not used: {examined.right} of {examined.cases} golden cases are "
        f"right ({examined.allowed} of {examined.of} may be wrong), the worst is {examined.worst}"
    )


def golden_of(model: Model, folder: Path) -> GoldenSet | None:
    """The model's own golden set; None if there is none. Raises ConfigError if it is not right."""
    return read_golden(folder / model.golden) if model.golden else None


async def _run(model: Model, path: Path, golden: GoldenSet) -> Examined:
    module = module_of(model.engine, f"model {model.name}")
    options: Any = settings.options(module.Options, {"model": str(path)}, f"model {model.name}")
    lane = Lane("golden")
    try:
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(module.load(options, lane))
            return await examine(golden, engine, model.name, confidence=getattr(options, "confidence", 0.25))
    except BackendError as error:
        raise ConfigError(f"{model.name} does not load here: {error}") from error
    finally:
        lane.close()
