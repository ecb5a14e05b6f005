"""The live view from outside: what `edgeapp top` and the bench look through, the same door as the browser's."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from edgeapp.core.events import BackendError, ConfigError
from edgeapp.web.attempts import is_here


def news(url: str, token: str, topics: Sequence[str], certificate: str = "") -> Generator[dict[str, Any]]:
    """What changed, as it comes. Raises ConfigError without the package, BackendError when the device is not there."""
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError as error:
        raise ConfigError("this needs the package websockets: pip install 'edgeapp[web]'") from error
    address, secure = _door(url, certificate)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with connect(address, additional_headers=headers, open_timeout=5, ssl=secure, proxy=None) as socket:
            socket.send(json.dumps({"want": topics}))
            for message in socket:
                if isinstance(message, str):
                    yield {key: value for key, value in json.loads(message).items() if key in topics}
    except ssl.SSLError as error:
        raise BackendError(f"the device at {url} cannot be looked at: {error}; give its certificate") from error
    except (OSError, WebSocketException, TimeoutError) as error:
        raise BackendError(f"the device at {url} cannot be looked at: {error or type(error).__name__}") from error
    raise BackendError(f"the device at {url} has closed")


async def pictures(url: str, topics: Sequence[str]) -> AsyncGenerator[bytes]:
    """The pictures of a device that shows them to everybody, each confirmed as a screen does it; ends with the connection."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    address, secure = _door(url)
    with suppress(WebSocketException, OSError):
        async with connect(address, ssl=secure, max_size=None, proxy=None) as socket:
            await socket.send(json.dumps({"want": [*topics, "pictures"]}))
            async for message in socket:
                if isinstance(message, bytes):
                    yield message
                    await socket.send('{"got": 1}')


def _door(url: str, certificate: str = "") -> tuple[str, ssl.SSLContext | None]:
    """The live view's address and what to trust: the device's own `certificate`, whose names need not be loopback's."""
    address = url.replace("http", "ws", 1).rstrip("/") + "/api/live"
    if not address.startswith("wss"):
        return address, None
    try:
        secure = ssl.create_default_context(cafile=certificate or None)
    except OSError as error:
        raise ConfigError(
            f"cannot use the certificate {certificate}: {error}; give the file of web.certificate"
        ) from error
    secure.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # that one itself is trusted, whoever signed it
    secure.check_hostname = not (certificate and is_here(urlsplit(url).hostname or ""))
    return address, secure
