"""The person at the device comes first: programs on the network use its engines in the time that is left.

A guest's work is done in bites (a clause, a few tokens, a second of sound), and before each it waits here while somebody
speaks to the device or is being answered. So the device's own turn waits for one bite at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from edgeapp.core.events import BackendError

_LOOK_S: Final = 0.02
_PATIENCE_S: Final = 30.0  # a turn at the device is over by then; a client would not wait longer


class Host(Protocol):
    """The conversation at the device."""

    @property
    def busy(self) -> bool:
        """Is a turn being answered?"""

    @property
    def speaking(self) -> bool:
        """Does somebody speak?"""


class Full(Exception):
    """So many guests are served at once that another one is turned away."""


class Courtesy:
    """Lets guests wait for the device's own conversation. Lives on one loop."""

    def __init__(self, guests_max: int = 4) -> None:
        """At most `guests_max` requests are served at once, all protocols together; the next is refused, not queued."""
        self._host: Host | None = None
        self._guests, self._guests_max = 0, guests_max

    def give_way_to(self, host: Host) -> None:
        """The conversation at the device has been opened."""
        self._host = host

    @property
    def occupied(self) -> bool:
        """Does the device's own conversation need the engines now?"""
        return self._host is not None and (self._host.busy or self._host.speaking)

    async def turn(self) -> None:
        """Return when the device's own conversation rests. Raises BackendError if that takes longer than 30 s."""
        if not self.occupied:
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while self.occupied:
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise BackendError("the device is talking to somebody; ask again later") from None

    @contextmanager
    def guest(self) -> Iterator[None]:
        """Serve one request. Raises Full."""
        if self._guests >= self._guests_max:
            raise Full("too many requests at once; ask again later")
        self._guests += 1
        try:
            yield
        finally:
            self._guests -= 1
