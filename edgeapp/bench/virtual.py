"""Virtual time: a loop that jumps to the next timer when every task waits. Tests and the simulated bench run on it.

`asyncio.sleep`, `timeout_at` and `call_at` already ask the loop for the time, so the code under test is untouched. It is
stricter than a real loop: no threads, no sockets, and "no timer and nothing ready" is an error rather than a hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Deadlock(Exception):
    """Every task waits, and no timer is set."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 and moves only when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_ns = 0
        self._clock_resolution = 1e-9
        self._real_select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._virtual_ns / 1e9

    def _jump(self, timeout: float | None) -> Any:
        if timeout is None:
            raise Deadlock("every task waits and no timer is set")
        if timeout > 0:
            self._virtual_ns = max(self._virtual_ns, round(self._scheduled[0].when() * 1e9))  # type: ignore[attr-defined]
        return self._real_select(0)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Blocking work takes `func.takes_ns` of virtual time (0 if it does not say) and no thread.

        Scripted work has an `outcome` to call instead of itself, since calling it would really wait.
        """
        del executor
        work = getattr(func, "outcome", func)
        future: asyncio.Future[Any] = self.create_future()

        def finish() -> None:
            if future.cancelled():
                return
            try:
                value = work(*args)
            except Exception as error:  # noqa: BLE001 - whatever the work raises belongs to its caller
                future.set_exception(error)
            else:
                future.set_result(value)

        self.call_later(getattr(func, "takes_ns", 0) / 1e9, finish)
        return future


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
