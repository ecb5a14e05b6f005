"""From a blocking producer in the lane's thread to an async generator on the loop, bounded, and stopped at its next part.

For a model that hands out its answer through a callback or a blocking iterator while it computes. Nothing of it runs on
the loop; whoever stops listening makes `emit` return True, and the producer is expected to end there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Final, TypeVar

from edgeapp.core.lane import Lane

T = TypeVar("T")


class _End:
    """The producer is done."""


_END: Final = _End()


async def pour(
    lane: Lane, work: Callable[[Callable[[T], bool]], None], *, label: str, most: int
) -> AsyncGenerator[T, None]:
    """Run `work(emit)` as one bite of `lane` and yield what it emits, at most `most` parts (the bound of the queue).

    `emit(part)` returns True once nobody listens any more. Whatever `work` raises is raised after the last part.
    Closing the generator leaves at once; the bite ends at its next `emit`.
    """
    loop = asyncio.get_running_loop()
    parts: asyncio.Queue[T | _End] = asyncio.Queue(most + 1)
    gone = threading.Event()

    def emit(part: T) -> bool:
        if not gone.is_set():
            loop.call_soon_threadsafe(parts.put_nowait, part)
        return gone.is_set()

    job = asyncio.ensure_future(lane.run(partial(work, emit), label=label))
    job.add_done_callback(lambda _: parts.put_nowait(_END))
    try:
        while not isinstance(part := await parts.get(), _End):
            yield part
        await job
    finally:
        gone.set()
        job.cancel()
        await asyncio.wait((job,))
        if not job.cancelled():
            job.exception()
