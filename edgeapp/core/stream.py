"""Stream: an answer that comes in parts, returned when its first part is in hand.

Every stage call returns at its first part, so that all stages are timed, placed and hedged the same way; the rest is
pulled. Closing the stream cancels the work behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Generic, TypeVar

Part = TypeVar("Part")


class Stream(Generic[Part]):
    """An async iterator over all parts, the first included.

    Make one with `await Stream.start(parts)`: it waits for the first part, so a stream that exists has begun. An answer
    with no part at all is a stream that ends at once.
    """

    def __init__(self, first: tuple[Part, ...], rest: AsyncGenerator[Part, None]) -> None:
        """`first` holds the first part, or nothing if the answer is empty."""
        self._first = first
        self._rest = rest

    @classmethod
    async def start(cls, parts: AsyncGenerator[Part, None]) -> Stream[Part]:
        """Pull the first part of `parts`. Whatever `parts` raises before it passes through."""
        try:
            first = (await anext(parts),)
        except StopAsyncIteration:
            return cls((), parts)
        except BaseException:
            await parts.aclose()
            raise
        return cls(first, parts)

    def __aiter__(self) -> AsyncIterator[Part]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[Part]:
        held, self._first = self._first, ()
        for part in held:
            yield part
        async for part in self._rest:
            yield part

    async def aclose(self) -> None:
        """Stop the work behind the stream; idempotent."""
        self._first = ()
        await self._rest.aclose()
