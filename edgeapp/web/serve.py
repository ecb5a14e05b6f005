"""uvicorn on the device's own loop: it starts and ends with the application, and leaves the signals to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from edgeapp.core.events import ConfigError
from edgeapp.web.attempts import is_here
from edgeapp.web.live import Live

CONNECTIONS_MAX: Final = 200
"""At once, of everybody; beyond them 503."""

MESSAGE_BYTES_MAX: Final = 64 * 1024
"""Of a WebSocket message to us: our own pages send some hundred bytes."""

_GRACE_S: Final = 1  # for requests under way when the device ends


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: str = ""
    key: str = ""
    plain: bool = False

    @property
    def secure(self) -> bool:
        """Is there TLS?"""
        return bool(self.certificate)


def check_address(address: Address, *, users: bool) -> None:
    """Raises ConfigError if others could reach what only the device itself may."""
    here = address.host == "localhost" or is_here(address.host)
    if not here and not users:
        raise ConfigError(
            f"web.host is {address.host}, which others reach, and nobody has a password: run `edgeapp web passwd NAME` first"
        )
    if not here and not address.secure and not address.plain:
        raise ConfigError(
            f"web.host is {address.host}, which others reach, and there is no TLS: give web.certificate and web.key, "
            "or web.plain = true if passwords may cross this network as they are"
        )


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:  # the application has its own
        return nullcontext()


@asynccontextmanager
async def serving(app: Any, live: Live, address: Address) -> AsyncIterator[str]:
    """Serve while the block runs; gives the address as a URL. Raises ConfigError if it cannot be listened on."""
    listening = _listen(address)
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,  # addresses and paths of people are nobody's business here; changes are in the trail
        proxy_headers=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,  # pictures are compressed already
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=address.certificate or None,
        ssl_keyfile=address.key or None,
        lifespan="off",
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError too
        listening.close()
        raise ConfigError(f"cannot use web.certificate and web.key: {error}; give a PEM chain and its key") from error
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(live.run())
        running = group.create_task(server.serve([listening]))
        host = f"[{address.host}]" if ":" in address.host else address.host
        try:
            yield f"{'https' if address.secure else 'http'}://{host}:{port}"
        finally:
            server.should_exit = True
            await asyncio.shield(asyncio.wait([running]))
            looking.cancel()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(CONNECTIONS_MAX)  # who comes before the server accepts waits
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror}; change web.host or web.port"
        ) from error
    return listening
