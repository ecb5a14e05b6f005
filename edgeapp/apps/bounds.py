"""Bounds of local runs that were measured here: kept by `edgeapp calibrate`, used by the stages, forgotten with the clocks.

The bound is an order statistic, so it needs no shape of distribution (Wilks 1941): the longest of 2,995 independent runs is
above the 99.9th percentile with 95 % confidence, the second longest of 4,742, and so on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import exp, lgamma, log, log1p
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeapp import config as settings
from edgeapp.core.events import MS, ConfigError
from edgeapp.core.stage import Stage
from edgeapp.models import slots
from edgeapp.models.store import find, fingerprint, pulled_root
from edgeapp.observe.platform_state import platform_state, state_hash

COVERAGE: Final = 0.999
CONFIDENCE: Final = 0.95
_LOOK_EVERY_S: Final = 5.0
_MAX_BYTES: Final = 8_000_000


class Runs(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The runs of one engine in one state of the platform, as they are kept."""

    engine: str
    options: dict[str, Any]
    model: str
    """What tells its files apart; empty if the model is in the engine's package."""

    platform: dict[str, str]
    took_ns: list[int]


def rank(runs: int, coverage: float = COVERAGE, confidence: float = CONFIDENCE) -> int | None:
    """Which of so many runs, counted from the longest (1), bounds a share `coverage` of all with that confidence.

    None if there are too few of them.
    """
    found, missed = None, 0.0  # the probability that fewer than `found` runs lie above the quantile
    for k in range(runs + 1):
        missed += exp(
            lgamma(runs + 1) - lgamma(k + 1) - lgamma(runs - k + 1) + k * log1p(-coverage) + (runs - k) * log(coverage)
        )
        if missed > 1 - confidence:
            break
        found = k + 1
    return found


def bound_ns(took_ns: Sequence[int]) -> int | None:
    """The bound that these runs show; None if they are too few."""
    place = rank(len(took_ns))
    return None if place is None else sorted(took_ns)[-place]


def file_of(section: settings.Engine, role: str, state: dict[str, str]) -> Path:
    """Where the runs of this engine as this role (`stt`, `llm`, `tts`, `detect`) in this state are kept."""
    key = json.dumps([section.engine, section.options, model_hash(section, role)], sort_keys=True, default=str)
    name = f"{section.engine}-{hashlib.sha256(key.encode()).hexdigest()[:12]}-{state_hash(state)}.json"
    return pulled_root().parent / "calibration" / name


def model_hash(section: settings.Engine, role: str) -> str:
    """What changes when the files of the engine's model do; empty for a model in the engine's package."""
    found = []
    for key in ("model", "voice"):
        name = section.options.get(key)
        if not isinstance(name, str):
            continue
        model = slots.current(role) if name == slots.CURRENT else find(name.partition("/")[0])
        path = Path(name)
        if model is not None:
            found.append(fingerprint(model))
        elif path.is_file():
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest()[:16])
    return " ".join(found)


def read_runs(path: Path) -> Runs | None:
    """The runs kept there, None if there are none. Raises ConfigError if the file is something else."""
    try:
        return msgspec.json.decode(path.read_bytes()[:_MAX_BYTES], type=Runs)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a calibration ({error}): delete it and run `edgeapp calibrate` again"
        ) from error


class Bounds:
    """The bounds of a stage's local engines, best first, in the platform's state as it is."""

    def __init__(self, sections: Sequence[settings.Engine], role: str, default_ns: int) -> None:
        """`default_ns` is believed of an engine that was neither calibrated nor given a `bound_ms`."""
        self._sections, self._role, self._default_ns = sections, role, default_ns
        self._state = platform_state()
        self.calibrated = False
        """Were all of them measured in this state?"""

        self.now_ns = self._look_up()

    def changed(self) -> bool:
        """Look at the platform again. True if its state is another one, and then the bounds are that state's."""
        state = platform_state()
        if state == self._state:
            return False
        self._state = state
        self.now_ns = self._look_up()
        return True

    def _look_up(self) -> list[int]:
        measured = [self._measured(each) for each in self._sections]
        self.calibrated = all(each is not None for each in measured)
        return [
            bound or round((section.bound_ms * MS) if section.bound_ms else self._default_ns)
            for bound, section in zip(measured, self._sections, strict=True)
        ]

    def _measured(self, section: settings.Engine) -> int | None:
        if section.bound_ms:
            return None  # the operator's word
        try:
            runs = read_runs(file_of(section, self._role, self._state))
        except ConfigError as error:  # the gate found another model to serve; a calibration is no reason not to
            print(f"edgeapp: {self._role} counts as not calibrated: {error}", file=sys.stderr)
            return None
        return bound_ns(runs.took_ns) if runs else None


@asynccontextmanager
async def following(stage: Stage[Any, Any], bounds: Bounds) -> AsyncIterator[None]:
    """While it is open, a change of clocks or power mode makes `stage` forget what it knew of its local engines."""

    async def look() -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if await asyncio.to_thread(bounds.changed):
                stage.recalibrate(bounds.now_ns, calibrated=bounds.calibrated)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
