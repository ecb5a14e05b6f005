"""What all of the OpenAI-compatible API has in common: the key, bounded bodies, strict types, and errors in its form.

The form is that of https://platform.openai.com/docs/api-reference and of the `openai` client's exceptions:
`{"error": {"message", "type", "param", "code"}}`.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from edgeapp.core.events import BackendError
from edgeapp.web.courtesy import Full

T = TypeVar("T")

BODY_BYTES_MAX: Final = 1_000_000
"""Of a request in JSON; recordings have a bound of their own."""

_SUBPROTOCOL_KEY: Final = "openai-insecure-api-key."


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What requests have in common: a field that is not known is refused by its name, not ignored."""


@dataclass(eq=False)
class Refused(Exception):
    """A request that is not served, in the words that its sender gets. They never repeat what was said or sent."""

    message: str
    status: int = 400
    param: str | None = None
    code: str | None = None

    def response(self) -> Response:
        """The answer in OpenAI's form."""
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            404: "invalid_request_error",
            429: "rate_limit_error",
        }
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        headers = {429: {"retry-after": "1"}, 503: {"retry-after": "5"}, 401: {"www-authenticate": "Bearer"}}
        return Response(
            msgspec.json.encode({"error": error}), self.status, headers.get(self.status), "application/json"
        )


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    key: str = ""
    """What clients send as `Authorization: Bearer KEY`; empty asks for none."""

    def __repr__(self) -> str:
        """Without the key."""
        return f"Access({'a key' if self.key else 'no key'})"

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises Refused for a wrong key, and without a key for a page of another origin in this machine's browser."""
        if not self.key:
            if headers.get("origin") and headers["origin"].partition("://")[2] != headers.get("host"):
                raise Refused("without a key no page of another origin may ask", 403, code="wrong_origin")
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":  # a browser's WebSocket cannot send headers, and sends it as a subprotocol
            offered = [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]
            given = next((each.removeprefix(_SUBPROTOCOL_KEY) for each in offered if _SUBPROTOCOL_KEY in each), "")
        if not hmac.compare_digest(given.strip().encode(), self.key.encode()):
            raise Refused("the key is not right", 401, code="invalid_api_key")


class OpenAiRoute(APIRoute):
    """A route whose errors have OpenAI's form, whatever application it is mounted in."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except Refused as refused:
                return refused.response()
            except Full as full:
                return Refused(str(full), 429, code="too_many_requests").response()
            except BackendError:  # its sentence may name files and servers of the device
                return Refused("the device could not do it now; ask again later", 503, code="backend_failed").response()

        return handle


async def bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises Refused as soon as it is longer than `most` bytes."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise Refused(f"the body is longer than {most:,} bytes", 413, code="too_large")
        yield piece


async def read(request: Request, kind: type[T]) -> T:
    """A body in JSON. Raises Refused that names what is wrong with it."""
    body = b"".join([piece async for piece in bounded(request, BODY_BYTES_MAX)])
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(*plainly(error)) from None
    except (msgspec.DecodeError, RecursionError):
        raise Refused("the body is not JSON", code="invalid_json") from None


async def streamed(parts: AsyncGenerator[bytes, None], media_type: str) -> Response:
    """A response that begins when its first part is in hand: what fails before can still be answered with an error."""
    first = await anext(parts, b"")

    async def all_parts() -> AsyncGenerator[bytes, None]:
        async with aclosing(parts):
            yield first
            async for part in parts:
                yield part

    return StreamingResponse(all_parts(), media_type=media_type)


def plainly(error: msgspec.ValidationError) -> tuple[Any, ...]:
    """What of a request is not right, and where, as `Refused` takes it: (message, status, param, code).

    Only names of fields and types are told. A key of a mapping that the sender made up is one of them.
    """
    what, _, where = str(error).partition(" - at `")
    param = where.rstrip("`").removeprefix("$").removeprefix(".") or None
    if what.startswith("Object contains unknown field `"):
        name = what.split("`")[1][:80]
        param = f"{param}.{name}" if param else name
        return f"{param} is not supported here", 400, param, "unsupported_parameter"
    if "Invalid enum value" in what:
        what = "a value that is not supported here"
    return f"{param or 'the body'}: {what[0].lower()}{what[1:200]}", 400, param, "invalid_value"


def described(kind: Any) -> dict[str, Any]:
    """The body's schema for the OpenAPI description."""
    schema = msgspec.json.schema(kind)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
