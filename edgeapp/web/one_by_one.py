"""Work that is done one after the other, with a bound on who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException


class OneByOne:
    """Lives on one loop."""

    def __init__(self, most: int, says: str, again_s: int) -> None:
        """At most `most` are in it, the one at work too; who else comes is told `says`, and to come again in so many seconds."""
        self._most, self._says, self._again_s = most, says, again_s
        self._in, self._one = 0, asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have one's turn. Raises HTTPException 429 if too many wait."""
        if self._in >= self._most:
            raise HTTPException(429, self._says, {"Retry-After": str(self._again_s)})
        self._in += 1
        try:
            async with self._one:
                yield
        finally:
            self._in -= 1
