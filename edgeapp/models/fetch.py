"""Bring one file over HTTP, to the byte: resumed after a cut, in this process or a later one, and never longer than stated.

The hub's own library starts a file anew in every process (its partial file has a name of its own and goes with it), so a
device that is switched off in the middle would never finish a large model over a slow link. That is why this is ours; what
the hub has, and which bytes are right, is asked of its library in `pull.py`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx

Count = Callable[[int], None]
"""Told of every change of the bytes that are here; a new start takes them back with a negative number."""

_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
_LENGTH: Final = re.compile(r"\d{1,18}")
_LATER: Final = {408, 425, 429, 500, 502, 503, 504}
_MAX_REDIRECTS: Final = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a bad link is borne."""

    connect_s: float = 10.0
    stall_s: float = 30.0
    """Without a byte for this long, or with fewer than `least_bytes` in it, a transfer counts as cut."""

    least_bytes: int = 1024
    tries: int = 6
    """In a row that brought nothing new."""

    requests: int = 1000
    """For one file in one pull."""

    wait_s: float = 1.0
    """Before the second try in a row that brought nothing; it doubles."""

    longest_wait_s: float = 60.0
    """Also of what a server asks for with Retry-After."""


class Unfinished(Exception):
    """The file is not here; what is stays for the next pull. Carries why, and the HTTP status if that is final."""

    def __init__(self, why: str, status: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class Stopped(Exception):
    """Somebody does not want it any more. What came stays for the next pull."""


class _Again(Exception):
    """Nothing more comes of a response; the next one may bring it."""

    def __init__(self, why: str, wait_s: float = 0.0, *, anew: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s
        self.anew = anew


@contextmanager
def client(token: str, agent: str, patience: Patience) -> Iterator[httpx.Client]:
    """An HTTP client that sends `token` to the hub alone: httpx drops it where a redirect leaves the host.

    Raises ImportError if httpx is not installed.
    """
    import httpx

    headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = httpx.Timeout(patience.connect_s, read=patience.stall_s)
    with httpx.Client(headers=headers, timeout=timeout, follow_redirects=True, max_redirects=_MAX_REDIRECTS) as found:
        yield found


def fetch(
    http: httpx.Client, url: str, partial: Path, size: int, count: Count, patience: Patience, stop: Event | None = None
) -> None:
    """Bring the file `partial` to its `size` in bytes, going on where it stands.

    Raises Unfinished when patience is over or the server refuses, OSError when the disk does (ENOSPC, EFBIG), Stopped after `stop`
    was set: with the next piece, or within the patience for a stall. Either way `partial` keeps what came. Whether the bytes are right is
    the caller's to check.
    """
    import httpx

    stop = stop or Event()
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with FileIO(descriptor, "a+b") as stream:
        if os.fstat(descriptor).st_size > size:
            stream.truncate(0)
        most = os.fstat(descriptor).st_size
        count(most)
        failed = 0
        for _ in range(patience.requests):
            if os.fstat(descriptor).st_size == size:
                os.fsync(descriptor)
                return
            why, wait_s = "it ended too early", 0.0
            if stop.is_set():
                raise Stopped
            try:
                _go_on(http, url, stream, size, count, patience, stop)
            except _Again as again:
                why, wait_s = again.why, again.wait_s
                if again.anew:
                    count(-os.fstat(descriptor).st_size)
                    stream.truncate(0)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                why = _in_words(error)
            have = os.fstat(descriptor).st_size
            if have > most:
                most, failed = have, 0
                continue
            failed += 1
            if failed >= patience.tries:
                raise Unfinished(why)
            stop.wait(min(max(wait_s, patience.wait_s * 2 ** (failed - 1)), patience.longest_wait_s))
        if os.fstat(descriptor).st_size != size:
            raise Unfinished(f"{patience.requests} requests were not enough")


def _go_on(
    http: httpx.Client, url: str, stream: FileIO, size: int, count: Count, patience: Patience, stop: Event
) -> None:
    """One request for the rest; what it brings is written as it comes."""
    have = os.fstat(stream.fileno()).st_size
    with http.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
        if _start(response, have, size) != have:
            stream.truncate(0)
            count(-have)
            have = 0
        since, brought = time.monotonic(), 0
        for piece in response.iter_raw():
            if have + len(piece) > size:
                raise _Again(f"it sends more than the {size} bytes that the hub lists", anew=True)
            rest = memoryview(piece)
            while rest:
                rest = rest[stream.write(rest) or 0 :]
            have += len(piece)
            brought += len(piece)
            count(len(piece))
            if stop.is_set():
                raise Stopped
            if time.monotonic() - since > patience.stall_s:
                if brought < patience.least_bytes:
                    raise _Again("it all but stands still")
                since, brought = time.monotonic(), 0


def _start(response: httpx.Response, have: int, size: int) -> int:
    """Where in the file the response begins. Raises _Again or Unfinished if it is not the file's rest or whole."""
    status = response.status_code
    named = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if status in _LATER:
        raise _Again(f"it answered {status}", _retry_after_s(response.headers.get("Retry-After", "")))
    if status == 416:
        raise _Again("it refuses to go on where the transfer stopped", anew=True)
    if status not in {200, 206}:
        raise Unfinished(f"it answered {status}", status)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Again("it sends the file in another encoding")
    start = have if status == 206 else 0
    if status == 206 and (named is None or named[1] is None or int(named[1]) != have):
        raise _Again("it sends another part of the file than was asked for", anew=True)
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if _LENGTH.fullmatch(length) else size
    if status == 206 and named is not None and named[3] not in {"*", str(size)}:
        total = int(named[3])
    if total != size:
        raise _Again(f"it sends {total} bytes where the hub lists {size} (is a login page or a proxy in between?)")
    return start


def _retry_after_s(given: str) -> float:
    """The header's seconds; a date, or none, leaves the wait to us."""
    return float(given) if given.isdecimal() else 0.0


def _in_words(error: Exception) -> str:
    """What the transport says, in one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__
