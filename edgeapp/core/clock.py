"""The running loop is the only clock: swap the loop and time itself is virtual."""

from __future__ import annotations

import asyncio


def now_ns() -> int:
    """The running loop's time in integer nanoseconds. Raises RuntimeError outside a loop."""
    return round(asyncio.get_running_loop().time() * 1e9)


async def sleep_until(at_ns: int) -> None:
    """Return at `at_ns` on the loop's clock, or after one pass of the loop if that is past."""
    await asyncio.sleep(max(0, at_ns - now_ns()) / 1e9)
