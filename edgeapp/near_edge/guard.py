"""Keeps one server on a leash: starts it, and leaves nothing of it behind. Standard library only, run as a script.

The first line of stdin says what to start; stdin stays open as the lifeline. When it closes, because the application asked
or because it died, the server gets SIGTERM, some seconds, and then its whole process group SIGKILL; the same sweep follows
when the server dies by itself, since its Python stubs can outlive it. Shared memory with its prefix goes in the end. If
this process itself is killed, the kernel tells the server (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_LOG_BYTES = 1_000_000
_GRACE_S = 6.0


def main() -> int:
    """Run what the first line of stdin asks for; one JSON line on stdout when it started, one when it ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the lifeline decides
    lifeline = open(0, "rb", buffering=0)  # noqa: SIM115 - open as long as the process; unbuffered, so select sees all
    spec: dict[str, Any] = json.loads(lifeline.readline())
    child = subprocess.Popen(  # noqa: S603 - the application names the server
        spec["command"],
        env=spec["env"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread has started yet
    )
    assert child.stdout
    keeper = threading.Thread(target=_keep_log, args=(child.stdout, Path(spec["log"])), daemon=True)
    keeper.start()
    _say(pid=child.pid)
    asked = _wait(child, lifeline)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
    _kill_group(child.pid)
    code = child.wait()
    keeper.join(1.0)
    for left in Path("/dev/shm").glob(f"{spec['shm_prefix']}*"):  # noqa: S108 - where POSIX shared memory is
        left.unlink(missing_ok=True)
    _say(ended=code, asked=asked)
    return 0


def _wait(child: subprocess.Popen[bytes], lifeline: IO[bytes]) -> bool:
    """Until the server has ended (False) or the lifeline has (True)."""
    while child.poll() is None:
        readable, _, _ = select.select([lifeline], [], [], 0.05)
        if readable and not lifeline.read(4096):
            return True
    return False


def _kill_group(group: int) -> None:
    """The stubs too, until none is left (at most a second: then the kernel has a problem of its own)."""
    for _ in range(20):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.05)


def _keep_log(lines: IO[bytes], path: Path) -> None:
    """The server's words into a file that begins anew when it is full; the one before it is kept."""
    size = 0
    file = path.open("wb", buffering=0)
    while line := lines.readline(10_000):
        if size > _LOG_BYTES:
            file.close()
            path.replace(path.with_suffix(".1"))
            file, size = path.open("wb", buffering=0), 0
        size += file.write(line) or 0
    file.close()


def _say(**what: Any) -> None:
    try:
        print(json.dumps(what), flush=True)
    except BrokenPipeError:
        return  # the application is gone; the work here goes on


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
