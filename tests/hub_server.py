"""A server in the shape of the Hugging Face hub, on loopback, that can be told to do each thing wrong once or always.

What goes wrong with a file is one word a download:

    cut:N       the connection ends after N bytes of the response      stall    half of it, then nothing
    other       other bytes of the same length                         long     promises ten bytes that never come
    more        ten bytes more than the file has, and says so          endless  bytes without end, and no length
    less        ends ten bytes early, and says so                      whole    ignores Range
    wrong-part  answers Range with another part of the file            gzip     claims an encoding
    429, 500... that status                                            away     redirects to `elsewhere`
    silent      never answers                                          no-number   a total of 5000 digits
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" + "0" * 34
_LARGE = (".bin", ".onnx", ".safetensors")


@dataclass(frozen=True)
class Served:
    """One request."""

    method: str
    path: str
    range: str
    token: str
    host: str


@dataclass
class Hub:
    """One repository at one commit."""

    files: dict[str, bytes]
    endpoint: str = ""
    commit: str = COMMIT
    served: list[Served] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Lies about sizes in the list of files."""

    hashes: dict[str, str] = field(default_factory=dict)
    """Lies about SHA-256 there."""

    elsewhere: str = ""
    """Where `away` points to: the start of an address."""

    status: int = 200
    """What the API answers."""

    error: str = ""
    """Its X-Error-Code."""

    body: bytes = b""
    """What the API answers instead of its list."""

    over: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends, so that nothing stalls longer."""

    def listed(self) -> bytes:
        """The model's description with its files, as the hub's API gives it with `blobs=true`."""
        siblings = []
        for name, data in self.files.items():
            size = self.sizes.get(name, len(data))
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            entry: dict[str, object] = {"rfilename": name, "size": size, "blobId": blob}
            if name.endswith(_LARGE):
                digest = self.hashes.get(name, hashlib.sha256(data).hexdigest())
                entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 130}
            siblings.append(entry)
        return json.dumps({"id": "maker/model", "sha": self.commit, "siblings": siblings}).encode()

    def ranges(self, name: str) -> list[str]:
        """The Range of each download of a file, in their order."""
        return [each.range for each in self.served if each.method == "GET" and each.path.endswith(f"/{name}")]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, state: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = state

    def handle_error(self, *_: object) -> None:
        """A client that is killed in the middle is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """The test reads `served`."""

    def do_GET(self) -> None:
        get = self.headers.get
        seen = Served("GET", self.path, get("Range", ""), get("Authorization", ""), get("Host", ""))
        self.server.hub.served.append(seen)
        if self.path.startswith("/api/models/"):
            self._head(
                self.server.hub.status,
                len(body := self.server.hub.body or self.server.hub.listed()),
                {"X-Error-Code": self.server.hub.error},
            )
            self.wfile.write(body)
            return
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if name not in self.server.hub.files:
            self._head(404, 0, {"X-Error-Code": "EntryNotFound"})
            return
        faults = self.server.hub.wrong.get(name, [])
        self._file(name, faults.pop(0) if faults else "")
        self.wfile.flush()

    def _head(self, status: int, length: int | None, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            if value:
                self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _file(self, name: str, fault: str) -> None:
        data = self.server.hub.files[name]
        if fault.isdecimal():
            self._head(int(fault), 0, {"Retry-After": "0"})
            return
        if fault == "silent":
            self.server.hub.over.wait(20)
            return
        if fault == "away":
            self._head(302, 0, {"Location": f"{self.server.hub.elsewhere}{self.path}"})
            return
        asked = self.headers.get("Range", "") if fault != "whole" else ""
        start = int(asked.removeprefix("bytes=").partition("-")[0] or 0)
        if asked and start >= len(data):
            self._head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
            return
        self._body(data, start, fault, partial=bool(asked))

    def _body(self, data: bytes, start: int, fault: str, *, partial: bool) -> None:
        start = max(0, start - 1) if fault == "wrong-part" and partial else start
        rest = data[start:]
        headers = {"Content-Encoding": "gzip" if fault == "gzip" else ""}
        if partial:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if partial and fault == "no-number":
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{'9' * 5000}"
        if fault == "other":
            rest = bytes(255 - byte for byte in rest)
        if fault == "more":
            rest += b"0123456789"
        if fault == "less":
            rest = rest[:-10]
        if fault == "endless":
            headers["Connection"] = "close"
        length = {"long": len(rest) + 10, "endless": None}.get(fault, len(rest))
        self._head(206 if partial else 200, length, headers)
        self.close_connection = bool(fault)
        if fault.startswith("cut:"):
            rest = rest[: int(fault.removeprefix("cut:"))]
        if fault == "stall":
            rest = rest[: len(rest) // 2]
        try:
            self.wfile.write(rest)
            while fault == "endless" and not self.server.hub.over.is_set():
                self.wfile.write(bytes(65536))
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has had enough
        self.wfile.flush()
        if fault == "stall":
            self.server.hub.over.wait(20)


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """Serve `files` on a free port."""
    state = Hub(files)
    server = _Server(state)
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
