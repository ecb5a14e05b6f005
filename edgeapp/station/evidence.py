"""What the ledger writes down, and the bytes it writes: one JSON object an entry, hashed as it lies in the file.

An auditor needs no code of ours: the hash of a row is the sha256 of the hash before it (32 zero bytes before the first)
and the row's JSON text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from edgeapp.core.events import Box, Outcome, Verdict

GENESIS: Final = bytes(32)
"""The hash before the first row."""

Picture = Callable[[], bytes]
"""Gives the frame as an encoded JPEG file. Called in the ledger's thread, and only if the picture is to be kept."""

Look = Callable[[], Mapping[str, Any]]
"""Gives fields of the evidence that take time to find in the frame. Called in the ledger's thread; its failure costs only them."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verdict and everything it rests on."""

    verdict: Verdict
    causes: tuple[str, ...] = ()
    """What a Pareto counts it under: the defects of a FAIL, a short reason of a NOT_INSPECTED. Each once."""

    rule: str = ""
    """The version of the rule that decided."""

    frame_sha256: str = ""
    """Of the pixels the detector saw, in hex; empty if there was no frame."""

    placement: str = ""
    """Where the detector ran, and why."""

    part_type: str = ""
    light: str = ""
    """The stratum of the picture's light, such as `dim`."""

    density: str = ""
    """The stratum of how full the picture is, such as `several`."""

    sizes_mm: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name."""

    operator: str = ""
    lot: str = ""
    serial: str = ""
    """Serial number or barcode; empty if it could not be read."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person found when the part, or its picture, was looked at again."""

    of: int
    """The row of the verdict."""

    outcome: Outcome
    """PASS or FAIL: what the part truly is."""

    operator: str
    causes: tuple[str, ...] = ()
    """The defects that were found."""

    boxes: tuple[Box, ...] | None = None
    """Everything in the picture as it should be labelled, the part too; None if nobody drew it."""

    sampled: bool = False
    """Was the part drawn at random for re-inspection? Only such judgements estimate a rate without bias."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to be: the kind, both clocks, and what it says."""

    kind: str
    """`verdict`, `judgement`, `rule` (which one decides from here on), `golden` (a run of known parts), or one of the ledger's own:
    `opened`, `clock`, `image removed`, `unrecorded`."""

    utc_ns: int
    mono_ns: int
    """The running loop's clock; comparable from one `opened` to the next."""

    says: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain."""

    rows: int = 0
    """How many rows there are, which is the number of the last one."""

    hash: bytes = GENESIS

    def __str__(self) -> str:
        return f"{self.rows}:{self.hash.hex()}"


def follow(head: Head, body: bytes) -> Head:
    """The head after one more row."""
    return Head(head.rows + 1, hashlib.sha256(head.hash + body).digest())


def says(value: Evidence | Judgement) -> dict[str, Any]:
    """The fields of an entry, as plain values."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def encode(entry: Entry, seq: int) -> bytes:
    """The row's text: JSON, keys of mappings sorted, floats in their shortest form, NaN as null. Never fails on text."""
    body = {"seq": seq, "kind": entry.kind, "utc_ns": entry.utc_ns, "mono_ns": entry.mono_ns, **entry.says}
    try:
        return _ENCODER.encode(body)
    except UnicodeEncodeError:  # a reader gave half a character
        return _ENCODER.encode(_cleaned(msgspec.to_builtins(body, enc_hook=_plain)))


def decode(body: bytes) -> dict[str, Any]:
    """The object in a row's text. Raises ValueError if there is none."""
    try:
        found = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    return found


def _plain(value: object) -> object:
    """numpy's numbers as numbers, anything else in words."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else str(value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(each) for key, each in value.items()}
    return [_cleaned(each) for each in value] if isinstance(value, list | tuple) else value


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_plain, order="deterministic")
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
