"""Which rule decides at this station: the one in use in the rule book, or the configuration's own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edgeapp import config as settings
from edgeapp.core.events import ConfigError
from edgeapp.station import queries
from edgeapp.station.ledger import Ledger
from edgeapp.station.rule_book import Line, read_book
from edgeapp.station.store import DATABASE, open_reading
from edgeapp.vision.calibration import Calibration, refusal
from edgeapp.vision.rules import InspectionRule, PartRule, Tolerance, Zone


@dataclass(frozen=True, slots=True)
class OpenedRule:
    """A rule that may decide, and who says so."""

    rule: InspectionRule
    signature: Line | None = None
    """None for the bundled rule, and for one that the configuration takes unsigned."""

    book: str = ""
    """The end of the rule book (ROWS:HASH) when it was read."""

    calibration_sha256: str = ""

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
            "calibration_sha256": self.calibration_sha256,
        }


def open_rule(
    vision: settings.Vision, classes: Collection[str], *, camera: str, key: bytes = b"", moved_utc_ns: int | None = None
) -> OpenedRule:
    """The rule of this station, ready to judge. `classes` are the detector's (empty if they are not known), `key` seals the book.

    Raises ConfigError: it is not signed, was changed, names a class that the detector does not know, or asks for
    millimetres that the calibration of `camera` cannot give; `moved_utc_ns` is when that camera was last seen to have moved.
    """
    calibration, digest = None, ""
    if vision.calibration:
        calibration, digest = read_calibration(Path(vision.calibration))
        if why := refusal(calibration, camera=camera, moved_utc_ns=moved_utc_ns):
            raise ConfigError(why)
    if vision.rule_book:
        folder = Path(vision.rule_book)
        book = read_book(folder, key)
        line = book.in_use
        if line is None:
            raise ConfigError(f"no rule of the book {folder} is in use: edgeapp rules use VERSION --book {folder}")
        text, name = book.text(line), f"the rule {line.id} of the book {folder}"
        opened = OpenedRule(
            rule_of(settings.parse_rule(text, name), sha256=line.sha256), book.signature(line.sha256), str(book.head)
        )
    else:
        bundled = vision.rule == settings.Vision().rule
        if not bundled and not vision.unsigned_rule:
            raise ConfigError(
                "the rule in vision.rule is signed by nobody: put it into a rule book (edgeapp rules sign) and name that in "
                "vision.rule_book, or set vision.unsigned_rule = true for tests"
            )
        opened, name = OpenedRule(rule_of(vision.rule)), "vision.rule"
    known_to(opened.rule, classes, name)
    if opened.rule.asks_mm and calibration is None:
        raise ConfigError(
            f"{name} asks for millimetres: edgeapp rules calibrate, and name its file in vision.calibration"
        )
    return replace(opened, rule=replace(opened.rule, calibration=calibration), calibration_sha256=digest)


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


async def note_rule(ledger: Ledger, opened: OpenedRule, last: dict[str, Any] | None) -> None:
    """Write into the ledger which rule decides from here on, if it is another one than in `last`, the newest row `rule`."""
    row = opened.row()
    if last is None or any(last.get(name) != row[name] for name in ("version", "sha256", "calibration_sha256")):
        await ledger.note("rule", row | {"instead_of": last.get("rule", "") if last else ""})


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
