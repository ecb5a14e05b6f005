"""One application's life in its process: the loop, the signals, and an end that comes in time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from edgeapp.core.events import BackendError, ConfigError, DeviceError

T = TypeVar("T")

_GRACE_S: Final = 1.5
"""After a signal the application ends by itself within this, or the process ends without it: a model's thread cannot
be interrupted, and nobody should have to pull the plug. Records are written line by line, so none is lost."""


def until_stopped(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end. SIGINT and SIGTERM cancel it, and the process ends with 130 within two seconds.

    Errors inside task groups are unwrapped when there is only one, or when all of them are expected and the first says
    enough, so that the caller sees the sentence and no tree.
    """
    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(main)

        def stop(number: int, _: object) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            watchdog = threading.Timer(_GRACE_S, os._exit, [130])
            watchdog.daemon = True
            watchdog.start()
            print(f"edgeapp: {signal.Signals(number).name}, ending", file=sys.stderr)
            runner.get_loop().call_soon_threadsafe(task.cancel)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

        async def wait() -> T:
            return await task

        try:
            return runner.run(wait())
        except asyncio.CancelledError:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(130)  # a lane's thread may still be inside a model: nothing is left to be saved
        except BaseExceptionGroup as group:
            error: BaseException = group
            expected = (ConfigError, DeviceError, BackendError)
            plain = group.split(expected)[1] is None  # a hub that is pulled out takes the camera and the microphone
            while isinstance(error, BaseExceptionGroup) and (plain or len(error.exceptions) == 1):
                error = error.exceptions[0]
            raise error from error.__cause__
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
