"""A server in the shape of the Hugging Face hub, on loopback, that can be told to do each thing wrong once or always."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """One repository at one commit."""

    files: dict[str, bytes]
    endpoint: str = ""
    commit: str = COMMIT
    served: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    """What goes wrong with a file, one word a download: cut, stall, other, status, long."""

    status: int = 200
    """What the API answers."""

    over: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends, so that nothing stalls longer."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """The test reads `served`."""

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            hub.served.append((self.command, self.path, self.headers.get("Range", "")))
            if self.path.startswith("/api/models/"):
                self._api()
                return
            name = self.path.partition("/resolve/")[2].partition("/")[2]
            if name not in hub.files:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            fault = hub.wrong.get(name, []) if with_body else []
            self._file(hub.files[name], fault.pop(0) if fault else "", with_body=with_body)

        def _api(self) -> None:
            siblings = [{"rfilename": name} for name in hub.files]
            body = json.dumps({"id": "maker/model", "sha": hub.commit, "siblings": siblings}).encode()
            self.send_response(hub.status)
            if hub.status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _file(self, data: bytes, fault: str, *, with_body: bool) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            rest = data[start:]
            if fault == "other":
                rest = bytes(255 - byte for byte in rest)
            self.send_response(500 if fault == "status" else 206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(rest) + 10 if fault == "long" else len(rest)))
            self.end_headers()
            if with_body:
                self.wfile.write(rest[: len(rest) // 2] if fault in {"cut", "stall"} else rest)
                self.wfile.flush()
            if fault == "stall":
                hub.over.wait(20)
            if fault:
                self.close_connection = True

    return Handler


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve `files` on a free port."""
    state = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
