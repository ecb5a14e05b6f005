"""The golden gate: no model serves before it has answered known questions rightly, on this machine, through its engine.

At boot (`admit`) every engine of the configuration is asked the first cases of its golden set, for `BOOT_S` at most. One that
does not load or answers wrongly is closed again, and the model that last passed for this role serves instead, or the
one that was current before, or the one of the embedded defaults. After a switch (`check`) the whole set is asked.

What is not asked: engines elsewhere, models given as a path, a detector at an input size of which its set has no case, and
models without a set of their own under options that change the answers. The record says so.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from edgeapp import config as settings
from edgeapp.apps import passed
from edgeapp.apps.engines import module_of
from edgeapp.core.clock import now_ns
from edgeapp.core.events import BackendError, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.core.record import GateRecord, Sink
from edgeapp.models import slots
from edgeapp.models.catalogue import catalogue
from edgeapp.models.golden import RULE_SCORE, Examined, GoldenSet, examine, read_golden
from edgeapp.models.manifest import Kind, Model
from edgeapp.models.store import find, folder_of, mend, path_of
from edgeapp.models.verify import verify

BOOT_S: Final = 1.0
"""What the golden set of one role may take at boot, the case under way aside."""

PACKAGES: Final = ("vad_silero", "stt_pocketsphinx", "tts_espeak")
"""Engines whose model is in their package."""

_KEYS: Final = ("model", "voice")
"""The options of engines that may name a model of the store."""

_PLACE: Final = {"device", "provider", "compute_type", "threads", "cpu_threads"}
"""The options that say where a model runs. They must not change its answers: that is what the gate is for."""

_ASSETS: Final = Path(__file__).parent.parent / "assets"
_GENERAL: Final = {
    "vad_silero": _ASSETS / "questions" / "golden-vad.json",
    "stt_pocketsphinx": _ASSETS / "questions" / "golden-grammar.json",
    "stt": _ASSETS / "questions" / "golden-stt.json",
    "llm": _ASSETS / "golden-llm.json",
    "tts": _ASSETS / "golden-tts.json",
    "tts_espeak": _ASSETS / "golden-tts.json",
}
"""For models that have no set of their own, by engine or kind: what any good one gets right."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An engine's section of the configuration, made ready to open."""

    section: settings.Engine
    module: Any
    options: Any
    model: Model | None
    """Of the store, if the section names one."""

    golden: GoldenSet | None
    why: str
    """Why there is no golden set to ask; empty if there is one."""

    @property
    def name(self) -> str:
        """What it is called in records and sentences."""
        return self.model.name if self.model else self.section.engine


def check(model: Model, folder: Path) -> Examined | None:
    """Load `model` from `folder` as an application would and run its golden set: a `golden.Check`, see there."""
    golden = golden_of(model, folder)
    if golden is None:
        asyncio.run(_load(_section(model, folder / model.main), model.name))
        return None
    examined = ask_build(model, folder / model.main, golden)
    if not examined.ok:
        raise ConfigError(refusal(examined))
    return examined


def builds(model: Model) -> list[str]:
    """The files of a model that its engine can open, each a build of its own; its folder (empty) if it opens that."""
    suffix = Path(model.main).suffix
    return [each.path for each in model.files if each.path.endswith(suffix)] if suffix else [model.main]


def ask_build(model: Model, path: Path, golden: GoldenSet) -> Examined:
    """Open `path` by the model's engine and ask it the whole set. Blocking. Raises ConfigError if it does not load."""
    name = model.name if not model.main or path.name == Path(model.main).name else f"{model.name}/{path.name}"
    return asyncio.run(_ask(_section(model, path), name, golden))


def ask_package(engine: str) -> Examined:
    """Ask an engine whose model is in its package its whole golden set. Blocking. Raises ConfigError."""
    return asyncio.run(_ask(settings.Engine(engine=engine), engine, read_golden(_GENERAL[engine])))


def _section(model: Model, path: Path) -> settings.Engine:
    key = "voice" if model.kind == "tts" else "model"
    return settings.Engine(engine=model.engine, options=dict(model.options) | {key: str(path)})


async def _ask(section: settings.Engine, name: str, golden: GoldenSet) -> Examined:
    async with _loaded(section, name) as (engine, options):
        return await examine(golden, engine, name, confidence=getattr(options, "confidence", RULE_SCORE))


async def _load(section: settings.Engine, name: str) -> None:
    """Without a golden set, at least the engine must open it and run it once."""
    async with _loaded(section, name):
        return


@asynccontextmanager
async def _loaded(section: settings.Engine, name: str) -> AsyncIterator[tuple[Any, Any]]:
    """The engine of a section on a lane of its own, and its options."""
    module = module_of(section.engine, name)
    options = settings.options(module.Options, section.options, name)
    lane = Lane("golden")
    try:
        async with module.load(options, lane) as engine:
            yield engine, options
    except BackendError as error:
        raise ConfigError(f"{name} does not run here: {error}") from error
    finally:
        lane.close()


def refusal(examined: Examined) -> str:
    """The sentence about a model that answers wrongly."""
    return (
        f"{examined.model} answers wrongly here, so it is not used: {examined.right} of {examined.cases} golden cases are "
        f"right ({examined.allowed} of {examined.of} may be wrong), the worst is {examined.worst}"
    )


def golden_of(model: Model, folder: Path) -> GoldenSet | None:
    """The model's golden set, its own or the general one of its engine or kind. Raises ConfigError if it is not right."""
    if model.golden:
        golden = read_golden(folder / model.golden)
        if model.golden_sha256 and golden.sha256 != model.golden_sha256:
            raise ConfigError(f"the golden set of {model.name} is not the one of its manifest: {mend(model)}")
        return golden
    general = _GENERAL.get(model.engine) or _GENERAL.get(model.kind)
    return read_golden(general) if general else None


def ready(section: settings.Engine, where: str) -> Asked:
    """Check a section's names, options and the hashes of its model. Raises ConfigError.

    A name of the store becomes the path that its engine opens, and `NAME/FILE` another build of that model; anything else
    (a path, a server's own name) stays. General golden sets are for default options: nobody knows what others change.
    """
    module = module_of(section.engine, where)
    values, model = dict(section.options), None
    changed = set(values) - _PLACE
    for key in _KEYS:
        if not isinstance(name := values.get(key), str):
            continue
        model = find(name.partition("/")[0])
        if model is not None:
            changed -= {key}
            values = dict(model.options) | values | {key: _file_of(model, name.partition("/")[2])}
        elif name in {each.name for each in catalogue()}:
            path_of(name)  # which raises the sentence about pulling it
    golden, why = None, "it has no golden set"
    if model is not None and (model.golden or not changed):
        golden = golden_of(model, folder_of(model))
    elif model is None and section.engine in _GENERAL and not changed:
        golden = read_golden(_GENERAL[section.engine])
    elif changed and (model is not None or section.engine in _GENERAL):
        why = f"nobody knows its right answers with {', '.join(sorted(changed))} set"
    options = settings.options(module.Options, values, where)
    return Asked(section, module, options, model, golden, "" if golden else why)


def _file_of(model: Model, build: str) -> str:
    """The path of a model of the store, or of one of its builds, its files checked. Raises ConfigError."""
    if not build:
        path_of(model.name)
    elif build not in builds(model):
        raise ConfigError(f"the model {model.name} has no build {build!r}; it has {', '.join(builds(model))}")
    verify(model)
    return str(folder_of(model) / (build or model.main))


async def admit(
    section: settings.Engine, where: str, stack: AsyncExitStack, lane: Lane, sink: Sink, *, boot_s: float = BOOT_S
) -> Any:
    """Open the engine of a section once its golden set is right; closing `stack` closes it.

    If a model of the store is not right, the one that last passed here, the one that was current before, or the embedded
    default's serves, and stderr and the records say so. Raises ConfigError if there is none, or if the section itself is wrong.
    """
    named = section
    try:
        named = _named(section, where)
        engine, answered = await _open(ready(named, where), where, stack, lane, sink, boot_s)
    except ConfigError as error:
        if not _is_stored(named, where):
            raise
        others = (passed.last(where), _previous(section, where), _default(where))
        return await _instead(named, others, where, stack, lane, sink, error)
    if answered:
        passed.keep(where, named, default=_default(where))
    return engine


async def _instead(
    section: settings.Engine,
    others: Sequence[settings.Engine | None],
    where: str,
    stack: AsyncExitStack,
    lane: Lane,
    sink: Sink,
    error: ConfigError,
) -> Any:
    """The engine of the first of `others` that is right. Raises `error` if none is."""
    model = str(section.options.get("model") or section.options.get("voice"))
    tried = [(section.engine, section.options)]
    for other in others:
        if other is None or (other.engine, other.options) in tried:
            continue
        tried.append((other.engine, other.options))
        try:
            asked = ready(other, where)
            engine, _ = await _open(asked, where, stack, lane, sink, BOOT_S)
        except ConfigError as also:
            print(f"edgeapp: {where}: {also}", file=sys.stderr)
            continue
        print(f"edgeapp: {where}: {error}; {asked.name} serves instead", file=sys.stderr)
        sink(GateRecord(where, now_ns(), model, "refused", f"{error}; {asked.name} serves instead"))
        return engine
    sink(GateRecord(where, now_ns(), model, "refused", str(error)))
    raise error


async def _open(
    asked: Asked, where: str, stack: AsyncExitStack, lane: Lane, sink: Sink, boot_s: float
) -> tuple[Any, bool]:
    """Open, ask, and hand over to `stack`; what is refused is closed again. Raises ConfigError.

    Returns the engine, and whether it was asked.
    """
    examined, why = None, asked.why
    async with AsyncExitStack() as trial:
        try:
            engine = await trial.enter_async_context(asked.module.load(asked.options, lane))
            size_px = getattr(engine, "size_px", 0)
            if asked.golden is not None and asked.golden.cases_for(size_px):
                least = getattr(asked.options, "confidence", RULE_SCORE)
                examined = await examine(asked.golden, engine, asked.name, confidence=least, budget_s=boot_s)
        except BackendError as error:
            raise ConfigError(f"{where}: {asked.name} does not run here: {error}") from error
        if examined is None:
            why = why or f"it has no golden case for {size_px} px"
            sink(GateRecord(where, now_ns(), asked.name, "not asked", why))
        elif examined.ok:
            took_ns = round(examined.took_s * 1e9)
            sink(GateRecord(where, now_ns(), asked.name, "passed", "", examined.cases, examined.right, took_ns))
        else:
            raise ConfigError(refusal(examined))
        await stack.enter_async_context(trial.pop_all())
    return engine, examined is not None


def _named(section: settings.Engine, where: str) -> settings.Engine:
    """A section that says `current` with the name of the role's current model instead. Raises ConfigError."""
    names = {key: slots.current(_role(where)).name for key in _KEYS if section.options.get(key) == slots.CURRENT}
    return msgspec.structs.replace(section, options=section.options | names)


def _previous(section: settings.Engine, where: str) -> settings.Engine | None:
    """Where a section says `current`, the same with the model that was current before; None if there is none for it."""
    keys = [key for key in _KEYS if section.options.get(key) == slots.CURRENT]
    try:
        model = find(slots.slot(_role(where)).previous) if keys else None
    except ConfigError:  # spoiled as well
        return None
    if model is None or model.engine != section.engine:
        return None
    return msgspec.structs.replace(section, options=section.options | dict.fromkeys(keys, model.name))


def _role(where: str) -> str:
    """The role of a section: `llm` of `voice.llm` and of `voice.llm.smaller`."""
    return next((part for part in reversed(where.split(".")) if part in get_args(Kind)), where)


def _is_stored(section: settings.Engine, where: str) -> bool:
    """Is its model one of the store, so that not the operator but the model may be to blame?"""
    for key in _KEYS:
        name, _, build = str(section.options.get(key, "")).partition("/")
        try:
            model = find(name)
            if name == slots.CURRENT and slots.slot(_role(where)).current:
                return True  # it was switched to once
        except ConfigError:  # its record is spoiled
            return True
        if model is not None and (not build or build in builds(model)):
            return True
    return False


def _default(where: str) -> settings.Engine | None:
    """What the embedded configuration has for this role; None if it has no such role."""
    found: Any = settings.Config()
    for key in where.split("."):
        found = getattr(found, key, None)
    return found if isinstance(found, settings.Engine) else None
