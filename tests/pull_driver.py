"""A process that pulls the test's model as often as it is told, each time in a child that may be killed anywhere.

One JSON object a line comes in: `bytes` kills the child (SIGKILL, by itself) when so many bytes came, `calls` at that call
to the file system; `limit` bounds the size of its files, as a full disk would; `pinned` asks for the commit; `fill`
fills the disk when the first bytes of the large file came, and the next wish makes room again. One line goes out: the child's exit
status (negative: the signal) and what it said.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import huggingface_hub
import msgspec
from hub_server import COMMIT

from edgeapp.core.events import ConfigError
from edgeapp.models.catalogue import Source
from edgeapp.models.fetch import Patience
from edgeapp.models.pull import pull

SOURCE = Source(
    name="tiny",
    kind="llm",
    engine="llm_ctranslate2",
    licence="MIT",
    repository="maker/model",
    files=["config.json", "sub/model.bin"],
    also=["sub/notes.json"],
    strip="sub/",
    main="model.bin",
    alternative="the bundled kiosk-lm",
    size_mb=1,
)
QUICK = Patience(connect_s=5, stall_s=0.3, least_bytes=1, tries=3, wait_s=0.0, longest_wait_s=0.01)


ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment] # 0.1 s each


_CALLS = {
    "open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate", "shutil.rmtree"
}  # fmt: skip


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _child(wish: dict[str, int], say: Callable[[str], object]) -> None:
    if limit := wish.get("limit", 0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    left = wish.get("bytes", -1)
    calls = 0
    filler = Path(os.environ["EDGEAPP_HOME"], "filler")
    filler.unlink(missing_ok=True)

    def watch(_: str, __: int) -> Callable[[int], None]:
        def count(more: int) -> None:
            nonlocal left
            left -= more
            if wish.get("fill") and more > 8 and not filler.exists():
                with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
                    while stream.write(bytes(65536)):
                        pass
            if left < 0 <= wish.get("bytes", -1):
                _die()

        return count

    def audit(event: str, _: object) -> None:
        nonlocal calls
        if event in _CALLS:
            calls += 1
            if calls == wish["calls"]:
                _die()

    if "calls" in wish:
        sys.addaudithook(audit)
    try:
        source = msgspec.structs.replace(SOURCE, revision=COMMIT) if wish.get("pinned") else SOURCE
        pull(source, lambda _: None, watch, patience=QUICK)
    except ConfigError as error:
        say(str(error))
        os._exit(2)
    os._exit(0)


def main() -> None:
    """Until the input ends."""
    with contextlib.suppress(httpx.HTTPError), httpx.Client() as http:  # what is imported now need not be in each child
        http.get(huggingface_hub.hf_hub_url("maker/model", "x", endpoint="http://127.0.0.1:9"))
    endpoint, os.environ["HF_ENDPOINT"] = os.environ["HF_ENDPOINT"], "http://127.0.0.1:9"
    with contextlib.suppress(ConfigError):
        pull(SOURCE, lambda _: None, lambda *_: lambda _: None, patience=QUICK)
    os.environ["HF_ENDPOINT"] = endpoint
    for line in sys.stdin:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            _child(json.loads(line), lambda text, writer=writer: os.write(writer, text.encode()))  # type: ignore[misc]
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            said = stream.read().decode()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "said": said}), flush=True)


if __name__ == "__main__":
    main()
