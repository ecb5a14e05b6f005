"""The OpenAI-compatible API as one application with its own port: keys, not cookies, so it shares nothing with the dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response

from edgeapp import __version__
from edgeapp.core.events import ConfigError
from edgeapp.web import openai_audio, openai_chat, realtime
from edgeapp.web.guests import Guests
from edgeapp.web.openai_wire import Access, Refused
from edgeapp.web.realtime_events import MESSAGE_BYTES_MAX
from edgeapp.web.realtime_session import Seat

_CONNECTIONS_MAX = 64  # more are refused before they are read
_KEEP_ALIVE_S = 5


def router(guests: Guests, seats: Sequence[Seat], access: Access, *, model: str, idle_s: float) -> APIRouter:
    """All of it below `/v1`, to be mounted in any application; `model` is the name of the language model."""
    routes = APIRouter()
    routes.include_router(openai_audio.router(guests, access))
    routes.include_router(openai_chat.router(guests, access, model))
    routes.include_router(realtime.router(seats, guests.courtesy, access, openai_chat.DEVICE, idle_s))
    return routes


async def _not_here(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as the framework calls it
    return Refused("this device does not serve that", 404, code="not_found").response()


@asynccontextmanager
async def serve(routes: APIRouter, host: str, port: int, tls: tuple[str, str] = ("", "")) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port. `tls` names the files of a certificate and its key.

    Raises ConfigError if the address cannot be had or the files cannot be used.
    """
    import socket
    import ssl

    import uvicorn

    app = FastAPI(title="edgeapp, OpenAI-compatible", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(routes)
    app.add_exception_handler(404, _not_here)
    app.add_exception_handler(405, _not_here)
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        access_log=False,
        log_level="error",
        lifespan="off",
        server_header=False,
        ssl_certfile=tls[0] or None,
        ssl_keyfile=tls[1] or None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"protocols.openai: the certificate cannot be used ({error}); check tls_certificate and tls_key"
        ) from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"protocols.openai cannot listen on {host}:{port}: {error.strerror}; choose another"
        ) from error
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve([listening]))  # noqa: SLF001 - `serve` would take the process's signals
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        listening.close()
