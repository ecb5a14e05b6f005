"""Which rule decides at this station: the one in use in the rule book, or the configuration's own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from edgeapp import config as settings
from edgeapp.core.events import ConfigError
from edgeapp.station import queries
from edgeapp.station.anchor import read_key
from edgeapp.station.ledger import Ledger
from edgeapp.station.rule_book import Book, Line, read_book
from edgeapp.station.store import DATABASE, open_reading
from edgeapp.vision.calibration import Calibration, refusal
from edgeapp.vision.rules import InspectionRule, PartRule, Tolerance, Zone


@dataclass(frozen=True, slots=True)
class Scale:
    """What a camera measures by."""

    calibration: Calibration
    sha256: str
    """Of its file, in hex."""


@dataclass(frozen=True, slots=True)
class OpenedRule:
    """A rule that may decide, and who says so."""

    rule: InspectionRule
    """Without a calibration: that is a camera's (`at`)."""

    signature: Line | None = None
    """None for the bundled rule, and for one that the configuration takes unsigned."""

    book: str = ""
    """The end of the rule book (ROWS:HASH) when it was read."""

    scales: Mapping[str, Scale] = field(default_factory=dict)
    """By the camera's name."""

    def at(self, camera: str) -> InspectionRule:
        """The rule as this camera of the line asks it. One that is not calibrated proves no size, which another one of the line does."""
        if scale := self.scales.get(camera):
            return replace(self.rule, calibration=scale.calibration)
        if not self.scales:
            return self.rule
        unsized = {name: replace(part, sizes_mm={}) for name, part in self.rule.part_types.items()}
        return replace(self.rule, part_types=unsized)

    def row(self) -> dict[str, Any]:
        """What the ledger writes at a switch."""
        signed = self.signature
        return {
            "version": self.rule.version,
            "sha256": self.rule.sha256,
            "rule": self.rule.id,
            "signed_by": signed.by if signed else "",
            "signed_why": signed.why if signed else "",
            "signed_utc_ns": signed.utc_ns if signed else 0,
            "book": self.book,
            "calibrations": {camera: scale.sha256 for camera, scale in self.scales.items()},
        }


def open_rule(
    vision: settings.Vision, classes: Collection[str], *, camera: str, key: bytes = b"", moved_utc_ns: int | None = None
) -> OpenedRule:
    """The rule of this station, ready to judge. `classes` are the detector's (empty if they are not known), `key` seals the book.

    Raises ConfigError: it is not signed, was changed, names a class that the detector does not know, or asks for
    millimetres that the calibration of `camera`, the line's first one, cannot give; `moved_utc_ns` is when a camera of this line
    was last seen to have moved.
    """
    scales = open_scales(vision, camera=camera, moved_utc_ns=moved_utc_ns)
    if vision.rule_book:
        return rule_in_use(read_book(Path(vision.rule_book), key), classes, scales, camera=camera)
    bundled = vision.rule == settings.Vision().rule
    if not bundled and not vision.unsigned_rule:
        raise ConfigError(
            "the rule in vision.rule is signed by nobody: put it into a rule book (edgeapp rules sign) and name that in "
            "vision.rule_book, or set vision.unsigned_rule = true for tests"
        )
    return _ready(OpenedRule(rule_of(vision.rule), scales=scales), classes, "vision.rule", camera)


def rule_in_use(book: Book, classes: Collection[str], scales: Mapping[str, Scale], *, camera: str) -> OpenedRule:
    """The rule that the book says decides, ready to judge; as `open_rule`. Raises ConfigError."""
    line = book.in_use
    if line is None:
        raise ConfigError(
            f"no rule of the book {book.folder} is in use: edgeapp rules use VERSION --book {book.folder}"
        )
    text, name = book.text(line), f"the rule {line.id} of the book {book.folder}"
    rule = rule_of(settings.parse_rule(text, name), sha256=line.sha256)
    return _ready(OpenedRule(rule, book.signature(line.sha256), str(book.head), scales), classes, name, camera)


def _ready(opened: OpenedRule, classes: Collection[str], name: str, camera: str) -> OpenedRule:
    known_to(opened.rule, classes, name)
    if opened.rule.asks_mm and camera not in opened.scales:
        raise ConfigError(
            f"{name} asks for millimetres: edgeapp rules calibrate, and name its file in vision.calibration"
        )
    return opened


def book_key(vision: settings.Vision) -> bytes:
    """The key that seals the rule book; empty if there is none. Raises ConfigError."""
    return read_key(Path(vision.rule_key_file)) if vision.rule_key_file else b""


def open_scales(vision: settings.Vision, *, camera: str, moved_utc_ns: int | None = None) -> dict[str, Scale]:
    """The calibration of each camera that has one; `camera` is what the first one is called. Raises ConfigError."""
    files = {camera: vision.calibration} | {each.name: each.calibration for each in vision.further_cameras}
    scales = {}
    for name, file in files.items():
        if file:
            calibration, digest = read_calibration(Path(file))
            if why := refusal(calibration, camera=name, moved_utc_ns=moved_utc_ns):
                raise ConfigError(why)
            scales[name] = Scale(calibration, digest)
    return scales


def known_to(rule: InspectionRule, classes: Collection[str], name: str) -> None:
    """Raises ConfigError if the rule names a class that is not among the detector's. Without classes nothing can be said."""
    unknown = [each for each in (*rule.parts, *rule.defects) if each not in classes]
    if classes and unknown:
        raise ConfigError(
            f"{name} names the class {unknown[0]!r}, which the detector does not know; it knows {', '.join(classes)}"
        )


def last_rule(ledger: Path) -> dict[str, Any] | None:
    """The newest row `rule` of a ledger; None if there is none, or no ledger yet. Raises ConfigError."""
    if not (ledger / DATABASE).exists():
        return None
    with closing(open_reading(ledger)) as database:
        return next(iter(queries.notes(database, "rule", 1)), None)


def moved_utc_ns(ledger: Path, camera: str) -> int | None:
    """When a ledger last says that this camera had moved; None if never, or if there is no ledger yet. Raises ConfigError."""
    if not (ledger / DATABASE).exists():
        return None
    with closing(open_reading(ledger)) as database:
        return queries.last_with_cause(database, "camera moved", camera)


async def note_rule(ledger: Ledger, opened: OpenedRule, last: dict[str, Any] | None) -> dict[str, Any]:
    """Write into the ledger which rule decides from here on, if it is another one than in `last`, the newest row `rule`.

    Returns the newest row then. Raises BackendError if the ledger does not take it.
    """
    row = opened.row()
    if last is None or any(last.get(name) != row[name] for name in ("version", "sha256", "calibrations")):
        row |= {"instead_of": last.get("rule", "") if last else ""}
        await ledger.note("rule", row)
    return row


def rule_of(rule: settings.Rule, *, sha256: str = "") -> InspectionRule:
    """The rule as data for `judge`. Without a file its hash is that of its values as JSON."""
    parts = {
        name: PartRule(
            part_score=each.part_score,
            defect_scores=each.defect_scores,
            sizes_mm={str(size): limits for size, limits in each.sizes_mm.items()},
            tolerate=tuple(
                Tolerance(one.defects, one.length_mm, one.width_mm, one.area_mm2, one.count, one.zone)
                for one in each.tolerate
            ),
        )
        for name, each in rule.part.items()
    }
    return InspectionRule(
        parts=rule.parts,
        defects=rule.defects,
        part_score=rule.part_score,
        defect_score=rule.defect_score,
        defect_scores=rule.defect_scores,
        doubt_from_score=rule.doubt_from_score,
        doubt_below_score=rule.doubt_below_score,
        version=rule.version,
        part_types=parts,
        zones={name: Zone(each.polygon, each.of == "part") for name, each in rule.zones.items()},
        edge_px=rule.edge_px,
        edges_px=rule.edges_px,
        part_edge_px=rule.part_edge_px,
        sha256=sha256 or hashlib.sha256(msgspec.json.encode(rule, order="deterministic")).hexdigest(),
    )


def read_rule(path: Path) -> tuple[bytes, InspectionRule]:
    """A rule file: its bytes and what they say. Raises ConfigError."""
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the rule {path}: {error}") from error
    return content, rule_of(settings.parse_rule(text, str(path)), sha256=hashlib.sha256(content).hexdigest())


def read_calibration(path: Path) -> tuple[Calibration, str]:
    """A calibration and the hash of its file. Raises ConfigError."""
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content, type=Calibration)
    except OSError as error:
        raise ConfigError(
            f"cannot read the calibration {path}: {error.strerror}; edgeapp rules calibrate makes one"
        ) from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path} is no calibration: {error}; make it again with edgeapp rules calibrate") from error
    if len(found.matrix) != 9:
        raise ConfigError(f"{path} is no calibration: its matrix has {len(found.matrix)} numbers, not 9")
    return found, hashlib.sha256(content).hexdigest()
