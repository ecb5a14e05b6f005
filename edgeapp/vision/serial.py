"""Which of the codes in a picture is the part's serial number, and what becomes of a part that has none. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SerialRule:
    """What counts as a serial number."""

    pattern: str = ""
    """A regular expression for the whole of it; other codes are passed over. Empty takes any."""

    must: bool = False
    """Is a part without exactly one serial number not inspected? Otherwise it is judged without it."""


@dataclass(frozen=True, slots=True)
class Serial:
    """What was read."""

    text: str = ""
    """Empty if there is not exactly one."""

    why: str = ""
    """Why there is none, in words; empty if there is one. Whoever asks counts these."""


def serial_of(codes: Sequence[str], rule: SerialRule) -> Serial:
    """The one code that looks like a serial number. Two different ones are none: whose would the verdict be?"""
    fitting = sorted({code for code in codes if not rule.pattern or re.fullmatch(rule.pattern, code)})
    if len(fitting) == 1:
        return Serial(fitting[0])
    if fitting:
        return Serial(why=f"{len(fitting)} serial numbers in one picture")
    return Serial(why=f"no code of {len(codes)} is a serial number" if codes else "the serial number could not be read")
