"""A cancellation that a library took for itself is raised again.

`asyncio.wait_for` before Python 3.12 returns its answer, and forgets that it was cancelled, if both come at once (CPython
issue 86296). Clients that wait with it would run on for ever after the station has stopped.
"""

from __future__ import annotations

import asyncio


def check_cancelled() -> None:
    """Raise CancelledError if somebody has cancelled the running task. For loops that wait in a vendor's code."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
