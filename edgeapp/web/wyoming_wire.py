"""Wyoming's events from a socket, with bounds: the library's own reader believes whatever length a client names.

A message is a line of JSON, perhaps followed by more JSON (`data_length` bytes) and a payload (`payload_length` bytes); see
https://github.com/OHF-Voice/wyoming. The events' types are the `wyoming` library's, and so is the writing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from wyoming.event import Event

LINE_BYTES_MAX: Final = 65_536
"""Of a line: the bound of the stream's buffer, too."""

_DATA_BYTES_MAX: Final = 65_536
_PAYLOAD_BYTES_MAX: Final = 1_000_000  # 15 s of sound at 16 kHz in stereo; clients send a tenth of a second


class Garbled(Exception):
    """What came is no event; what follows cannot be told apart from it, so the connection ends."""


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None at the end. Raises Garbled."""
    try:
        line = await reader.readline()
        if not line:
            return None
        head = json.loads(line)
        if not isinstance(head, dict) or not isinstance(head.get("type"), str):
            raise Garbled("an event has a type")
        data = _mapping(head.get("data"))
        if size := _length(head, "data_length", _DATA_BYTES_MAX):
            data |= _mapping(json.loads(await reader.readexactly(size)))
        size = _length(head, "payload_length", _PAYLOAD_BYTES_MAX)
        payload = await reader.readexactly(size) if size else None
    except (ValueError, RecursionError) as error:  # no JSON, or a line without an end
        raise Garbled("an event is JSON") from error
    except asyncio.IncompleteReadError:
        return None
    return Event(head["type"], data, payload)


def _length(head: dict[str, Any], name: str, most: int) -> int:
    length = head.get(name) or 0
    if not isinstance(length, int) or not 0 <= length <= most:
        raise Garbled(f"{name} must be 0 to {most}")
    return length


def _mapping(data: Any) -> dict[str, Any]:
    if data is not None and not isinstance(data, dict):
        raise Garbled("data must be an object")
    return dict(data or {})
