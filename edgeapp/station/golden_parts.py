"""Golden parts: known parts that the station judges at every shift and at every switch of model, rule or camera.

Each must get the verdict that is known of it, for the reason that is known; until it does, no part passes. Beside that the scores are
compared with those of the first runs after the last switch: a drift is an alarm before it is a wrong verdict.
Two tests, both robust and with stated false alarms. All parts moved at once: Wilcoxon's signed ranks on the paired differences,
one false alarm in a thousand runs at most. They creep: a self-starting CUSUM over the median difference of each run, one in about
3,500. A shift below LEAST_SHIFT is no alarm however sure it is.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

import msgspec

from edgeapp.core.events import ConfigError, Outcome
from edgeapp.station.derived import MINUTE_NS
from edgeapp.station.statistics import CUSUM_LIMIT, self_starting_cusum, signed_rank

SET_FILE: Final = "golden.toml"
PARTS_MAX: Final = 200  # a run is some seconds; the exact test counts their whole distribution
RUNS_MAX: Final = 1_000  # of the past that are read: a year of three shifts
REFERENCE_RUNS: Final = (
    3  # the first so many after a switch, each part's median of them, are what later runs are held against
)
FALSE_ALARMS: Final = 0.001  # of a run, over all that is tested in it
LEAST_SHIFT: Final = 0.02  # of a score
_LEAST_SIGMA: Final = 0.002  # of a run's median: pictures through the same engine repeat exactly
_EARLY_NS: Final = 15 * MINUTE_NS  # a run so long before a shift is that shift's, so that the line need not wait for it
_DAY_NS: Final = 24 * 60 * MINUTE_NS


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part whose verdict is known."""

    name: str
    expect: Literal["PASS", "FAIL"]
    causes: tuple[str, ...] = ()
    """Of a FAIL: the labels that must be among those it fails for."""

    image: str = ""
    """A picture of it beside the set's file; empty if it is only laid on the belt."""

    serial: str = ""
    """The code on the part: who lays it on the belt need not say so."""

    by: str = ""
    """Who says that this is so."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    camera: str
    part: list[Known]


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The parts, and what their pictures were taken with."""

    folder: Path
    camera: str
    parts: tuple[Known, ...]
    sha256: str
    """Of the set's file and every picture in it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a golden run proves something about. If any of it changes, it proves nothing any more."""

    model: str
    rule: str
    camera: str
    golden_set: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the station made of one golden part."""

    name: str
    outcome: Outcome
    part_score: float
    """The surest part's; 0 if none was seen."""

    defect_score: float
    """The surest of the expected causes; of a good part, the surest defect of all."""

    wrong: str = ""
    """In words; empty if it is as expected."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the set, as its row in the ledger has it."""

    utc_ns: int
    why: str
    """`shift`, or what was switched, or who asked."""

    identity: Identity
    results: tuple[Result, ...]
    missing: tuple[str, ...] = ()
    """Parts that were not judged."""

    drift: tuple[str, ...] = ()
    """What moved, in words. An alarm, and no reason to stop."""

    medians: Mapping[str, float] = field(default_factory=dict)
    """The median difference from the reference, by what is compared."""

    @property
    def wrong(self) -> tuple[str, ...]:
        """What is not as expected, in words."""
        return (*(f"{each.name}: {each.wrong}" for each in self.results if each.wrong),
                *(f"{name}: not judged" for name in self.missing))  # fmt: skip

    @property
    def ok(self) -> bool:
        """Is every part judged as it is known?"""
        return not self.wrong and bool(self.results)


def read_set(folder: Path) -> GoldenSet:
    """Read and check a golden set. Raises ConfigError that names the part."""
    path = folder / SET_FILE
    try:
        content = path.read_bytes()
        found = msgspec.convert(tomllib.loads(content.decode()), _File)
    except OSError as error:
        raise ConfigError(
            f"cannot read the golden set {path}: {error.strerror}; edgeapp golden add begins one"
        ) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no golden set: {error}") from error
    names = [each.name for each in found.part]
    serials = [each.serial for each in found.part if each.serial]
    twice = sorted(
        {each for each in names if names.count(each) > 1} | {each for each in serials if serials.count(each) > 1}
    )
    if twice:
        raise ConfigError(f"{path}: {twice[0]!r} stands there twice; give each part a name and a serial of its own")
    if not {"PASS", "FAIL"} <= {each.expect for each in found.part}:
        raise ConfigError(
            f"{path} needs at least one good and one bad part: one kind alone proves nothing of the other"
        )
    if len(found.part) > PARTS_MAX:
        raise ConfigError(f"{path} has {len(found.part)} parts; at most {PARTS_MAX}")
    digest = hashlib.sha256(content)
    for each in found.part:
        if not each.image and not each.serial:
            raise ConfigError(f"{path}: {each.name} has neither a picture nor a serial; it cannot be judged")
        if Path(each.image).name != each.image:
            raise ConfigError(f"{path}: the picture {each.image!r} of {each.name} must lie beside the set's file")
        if each.image:
            try:
                digest.update((folder / each.image).read_bytes())
            except OSError as error:
                raise ConfigError(
                    f"{path}: the picture {each.image} of {each.name} cannot be read: {error.strerror}"
                ) from error
    return GoldenSet(folder, found.camera, tuple(found.part), digest.hexdigest())


def run_of(row: Mapping[str, Any]) -> Run:
    """A run from its row. Raises ConfigError if the row is none."""
    try:
        return msgspec.convert({key: row[key] for key in Run.__dataclass_fields__}, Run)
    except (KeyError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"row {row.get('seq')} of the ledger is no golden run: {error}; run `edgeapp ledger verify`"
        ) from error


def row_of(run: Run) -> dict[str, Any]:
    """What the ledger writes."""
    return {key: msgspec.to_builtins(getattr(run, key)) for key in Run.__dataclass_fields__ if key != "utc_ns"} | {
        "ok": run.ok, "wrong": run.wrong,
    }  # fmt: skip


class Golden:
    """What stands between the golden parts and a PASS. Lives on one loop; says what it knows and runs nothing."""

    def __init__(
        self,
        golden: GoldenSet,
        identity: Identity,
        past: Sequence[Run],
        *,
        shifts_utc: Sequence[str],
        utc_ns: Callable[[], int],
    ) -> None:
        """`past` are the runs in the ledger, the oldest first."""
        self.set, self.identity, self._utc_ns = golden, identity, utc_ns
        self._runs = list(past[-RUNS_MAX:])
        self._shifts_ns = sorted((int(each[:2]) * 60 + int(each[3:])) * MINUTE_NS for each in shifts_utc)

    @property
    def trouble(self) -> str:
        """Why no part may pass; empty if one may."""
        if self.set.camera != self.identity.camera:
            return f"the golden pictures are of the camera {self.set.camera!r}: take new ones with {self.identity.camera!r}"
        if not self._runs:
            return "the golden parts were never judged here"
        last = self._runs[-1]
        if changed := self._changed(last):
            return f"the golden parts were not judged since the {changed} was switched"
        if not last.ok:
            more = f" and {len(last.wrong) - 1} more" if len(last.wrong) > 1 else ""
            return f"the golden parts failed: {last.wrong[0]}{more}"
        if last.utc_ns < self._shift_began_ns(self._utc_ns()) - _EARLY_NS:
            return "the golden parts were not judged in this shift"
        return ""

    @property
    def due(self) -> str:
        """Why they should be judged now; empty if there is no need. Shortly before a shift they may be judged for it."""
        if not self._runs:
            return "first run"
        last = self._runs[-1]
        if changed := self._changed(last):
            return changed
        early_ns = self._utc_ns() + _EARLY_NS
        return "shift" if last.utc_ns < self._shift_began_ns(early_ns) - _EARLY_NS else "" if last.ok else "it failed"

    def part(self, serial: str) -> Known | None:
        """The golden part with this serial number: what the station judges then is no production."""
        return next((each for each in self.set.parts if serial and each.serial == serial), None)

    def judged(self, results: Sequence[Result], why: str, identity: Identity | None = None) -> Run:
        """What a run comes to. It counts from here on, and belongs into the ledger as a row `golden`.

        `identity` is what the run was made with, if something was switched meanwhile.
        """
        identity = identity or self.identity
        names = {each.name for each in results}
        missing = tuple(each.name for each in self.set.parts if each.name not in names)
        utc_ns = self._utc_ns()
        same = [each for each in self._runs if each.identity == identity and each.ok]
        medians, drift = _drift(results, same, {each.name: each.expect for each in self.set.parts})
        run = Run(utc_ns, why, identity, tuple(results), missing, drift, medians)
        self._runs = [*self._runs[1 - RUNS_MAX :], run]
        return run

    def _changed(self, last: Run) -> str:
        for name in ("model", "rule", "camera", "golden_set"):
            if getattr(last.identity, name) != getattr(self.identity, name):
                return name.replace("_", " ")
        return ""

    def _shift_began_ns(self, utc_ns: int) -> int:
        day_ns = utc_ns // _DAY_NS * _DAY_NS
        began = [day_ns + each for each in self._shifts_ns if day_ns + each <= utc_ns]
        return began[-1] if began else day_ns - _DAY_NS + self._shifts_ns[-1]


def _scores(results: Sequence[Result], expect: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """What is compared, each by the part's name."""
    return {
        "score of parts": {each.name: each.part_score for each in results},
        "score of defects": {each.name: each.defect_score for each in results if expect[each.name] == "FAIL"},
        "score of defects on good parts": {
            each.name: each.defect_score for each in results if expect[each.name] == "PASS"
        },
    }


def _drift(
    results: Sequence[Result], same: Sequence[Run], expect: Mapping[str, str]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Median differences from the first runs of this identity, and what of them is an alarm."""
    if len(same) < REFERENCE_RUNS:
        return {}, ()
    references = [_scores(each.results, expect) for each in same[:REFERENCE_RUNS]]
    medians: dict[str, float] = {}
    said: list[str] = []
    now = _scores(results, expect)
    for name, scores in now.items():
        differences = [
            score - median(each[name][part] for each in references)
            for part, score in scores.items()
            if all(part in each[name] for each in references)
        ]
        if not differences:
            continue
        shift = medians[name] = median(differences)
        if abs(shift) < LEAST_SHIFT:
            continue
        p = signed_rank(differences)
        series = [*(each.medians[name] for each in same[REFERENCE_RUNS:] if name in each.medians), shift]
        crept = self_starting_cusum(series, _LEAST_SIGMA)[-1]
        if p < FALSE_ALARMS / len(now):
            said.append(f"the {name} moved by {shift:+.3f} (signed ranks, p = {p:.1g}, {len(differences)} parts)")
        elif abs(crept) > CUSUM_LIMIT:
            said.append(f"the {name} creeps, now by {shift:+.3f} (CUSUM {crept:+.1f}, limit {CUSUM_LIMIT:g})")
    return medians, tuple(said)
