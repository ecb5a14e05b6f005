"""On which line of a TOML text a value begins: what a person who wrote a mistake has to look at."""

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

LONG: Final = 32
"""Lines of one value. A longer one may be named by a line before it: an endless value must not cost endless time."""


def line_of(text: str, path: Sequence[str | int]) -> int:
    """The line (from 1) of valid TOML where the value at `path` begins; if it is not there, the line of the nearest table around it.

    tomllib keeps no positions. But a beginning of the text that is TOML by itself holds what begins in it, and what it holds, every
    longer one holds: so the shortest that holds the path is found by bisection, and its last statement is the one.
    """
    whole = tomllib.loads(text)
    while path and not _holds(whole, path):
        path = path[:-1]
    if not path:
        return 1
    lines = text.split("\n")
    without, low, held = (
        0,
        0,
        len(lines),
    )  # the longest known without it, where it is looked for after, the shortest known with it
    while low + 1 < held:
        middle = (low + held) // 2
        count, table = _beginning(lines, middle, low) or (without, {})
        if _holds(table, path):
            held = count
        else:
            without, low = count, middle
    return without + 1


def _beginning(lines: Sequence[str], most: int, more_than: int) -> tuple[int, dict[str, Any]] | None:
    """The most lines, up to `most`, that are TOML by themselves, and what they hold."""
    for count in range(most, max(more_than, most - LONG), -1):
        with suppress(tomllib.TOMLDecodeError):  # it ends within a value
            return count, tomllib.loads("\n".join(lines[:count]))
    return None


def _holds(value: Any, path: Sequence[str | int]) -> bool:
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True
