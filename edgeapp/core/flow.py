"""Recent: the one channel. It keeps the newest, counts the rest, and never makes a device wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Recent(Generic[Item]):
    """A bounded channel between a device, which puts, and one reader, which pulls.

    `put` hands over a reference: a frame's pixels are never copied. Lives on one loop; a device thread puts through
    `loop.call_soon_threadsafe`.
    """

    def __init__(self, depth: int) -> None:
        """Keep at most `depth` items; there is no default, because the bound is a decision."""
        self._items: deque[Item] = deque(maxlen=depth)
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0
        """How many items made room for newer ones."""

    def put(self, item: Item) -> None:
        """Hand over an item. Never waits: the oldest makes room."""
        if len(self._items) == self._items.maxlen:
            self.dropped += 1
        self._items.append(item)
        self._arrived.set()

    def close(self) -> None:
        """No more items will come; what is inside can still be read. Idempotent."""
        self._closed = True
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Item]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def get(self) -> Item:
        """Return the oldest item that is still here. Raises EOFError once closed and empty."""
        async for item in self:
            return item
        raise EOFError("the source has ended")
