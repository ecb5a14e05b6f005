"""OpenAI-compatible text: `/v1/chat/completions` and `/v1/models`. What of them is served: docs/protocols.md.

Two models. `edgeapp` answers as the device does: from its content file, every clause checked. The other one is the language
model behind it, as it is.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response

from edgeapp.core.events import BackendError, Prompt
from edgeapp.web.guests import Guests
from edgeapp.web.openai_wire import Access, Body, OpenAiRoute, Refused, described, read, streamed

DEVICE: Final = "edgeapp"
"""The model that answers as the device does."""

_MESSAGES_MAX: Final = 64
_TOKENS_MAX: Final = 1_024
_STOPS_MAX: Final = 4


class Text(Body, frozen=True, tag="text"):
    """One part of a message's content."""

    text: str


class Message(Body, frozen=True):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Text]
    name: str = ""

    @property
    def words(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(each.text for each in self.content)


class StreamOptions(Body, frozen=True):
    """What a stream brings besides."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class ChatRequest(Body, frozen=True):
    """The body of `/v1/chat/completions`."""

    messages: list[Message]
    model: str = DEVICE
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    temperature: float | None = None
    """Accepted without effect, as the next four: the model takes its likeliest token."""

    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    user: str = ""


@dataclass(slots=True)
class _Reply:
    """One reply under way."""

    id: str
    model: str
    most: int
    asked_tokens: int = 0
    """Of the messages."""

    tell_usage: bool = False
    """Does the stream end with what was used?"""

    tokens: int = 0
    finish: str = "stop"

    def usage(self) -> dict[str, int]:
        """What was read and written, in OpenAI's form."""
        written = min(self.tokens, self.most)
        return {
            "prompt_tokens": self.asked_tokens,
            "completion_tokens": written,
            "total_tokens": self.asked_tokens + written,
        }


def router(guests: Guests, access: Access, model: str) -> APIRouter:
    """The routes below `/v1`; `model` is the name of the language model."""
    routes = APIRouter(prefix="/v1", route_class=OpenAiRoute, tags=["openai"])
    created = int(time.time())

    @routes.get("/models")
    async def models(request: Request) -> Response:
        """What can be asked."""
        access.check(request.headers)
        known = [_model(name, created) for name in dict.fromkeys((DEVICE, model))]
        return _json({"object": "list", "data": known})

    @routes.get("/models/{name}")
    async def one_model(request: Request, name: str) -> Response:
        """One of them."""
        access.check(request.headers)
        if name not in {DEVICE, model}:
            raise _unknown_model()
        return _json(_model(name, created))

    @routes.post("/chat/completions", openapi_extra=described(ChatRequest))
    async def completions(request: Request) -> Response:
        """A reply to a conversation."""
        access.check(request.headers)
        wanted = await read(request, ChatRequest)
        if wanted.model not in {DEVICE, model}:
            raise _unknown_model()
        reply = _Reply(f"chatcmpl-{secrets.token_hex(12)}", wanted.model, _most(wanted))
        words = [each.words for each in wanted.messages[:_MESSAGES_MAX]]
        reply.asked_tokens = await asyncio.to_thread(lambda: sum(map(guests.count_tokens, words)))
        reply.tell_usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        pieces = _until(_counted(_written(guests, wanted, reply), reply), _stops(wanted))
        if wanted.stream:
            return await streamed(_events(guests, reply, pieces), "text/event-stream")
        with guests.courtesy.guest():
            return _json(_whole(reply, "".join([piece async for piece in pieces])))

    return routes


def prompt_of(wanted: ChatRequest) -> Prompt:
    """Messages -> prompt: system text, pairs of user and assistant, the last question, and a reply that was begun.

    Raises Refused if there is no question, or if messages do not alternate.
    """
    system = "\n".join(each.words for each in wanted.messages if each.role in {"system", "developer"})
    talk = [each for each in wanted.messages if each.role in {"user", "assistant"}]
    said = talk.pop().words if talk and talk[-1].role == "assistant" else ""
    if len(wanted.messages) > _MESSAGES_MAX:
        raise Refused(f"there are more than {_MESSAGES_MAX} messages", param="messages", code="too_large")
    if not talk or talk[-1].role != "user":
        raise Refused("messages has no question of the user at its end", param="messages", code="invalid_value")
    pairs = list(zip(talk[0:-1:2], talk[1:-1:2], strict=False))
    if len(talk) % 2 == 0 or any((a.role, b.role) != ("user", "assistant") for a, b in pairs):
        raise Refused("messages of user and assistant must alternate", param="messages", code="invalid_value")
    turns = tuple((asked.words, answered.words) for asked, answered in pairs)
    return Prompt(system, turns, talk[-1].words, said, _most(wanted))


async def _written(guests: Guests, wanted: ChatRequest, reply: _Reply) -> AsyncGenerator[str, None]:
    prompt = prompt_of(wanted)
    if reply.model != DEVICE:
        async with aclosing(guests.complete(prompt)) as pieces:
            async for piece in pieces:
                yield piece
        return
    if prompt.said:
        raise Refused(f"{DEVICE} does not go on with a reply that was begun", param="messages", code="invalid_value")
    async with aclosing(guests.answer(prompt.question, prompt.turns, prompt.system)) as clauses:
        begun = False
        async for clause in clauses:
            yield f" {clause}" if begun else clause
            begun = True


async def _counted(pieces: AsyncGenerator[str, None], reply: _Reply) -> AsyncGenerator[str, None]:
    """The reply up to its bound. A piece of the model is a token; of the device's clauses four characters are one."""
    async with aclosing(pieces):
        async for piece in pieces:
            reply.tokens += -(-len(piece) // 4) if reply.model == DEVICE else 1
            if reply.tokens > reply.most:
                break
            yield piece
    if reply.tokens >= reply.most:
        reply.finish = "length"


async def _until(pieces: AsyncGenerator[str, None], stops: list[str]) -> AsyncGenerator[str, None]:
    """The reply up to the first of `stops`, which may be spread over pieces: what could be its beginning is held back."""
    held, longest = "", max(map(len, stops), default=0)
    async with aclosing(pieces):
        async for piece in pieces:
            held += piece
            if found := [at for stop in stops if (at := held.find(stop)) >= 0]:
                if text := held[: min(found)]:
                    yield text
                return
            safe = len(held) - max(0, longest - 1)
            if safe > 0:
                yield held[:safe]
                held = held[safe:]
    if held:
        yield held


async def _events(guests: Guests, reply: _Reply, words: AsyncGenerator[str, None]) -> AsyncGenerator[bytes, None]:
    """Server-sent events, ended by `[DONE]`. What fails before the first word is raised, what fails later is an event."""
    with guests.courtesy.guest():
        async with aclosing(words):
            first = await anext(words, "")
            yield _event(_chunk(reply, {"role": "assistant", "content": first}))
            try:
                async for piece in words:
                    yield _event(_chunk(reply, {"content": piece}))
            except BackendError:
                failed = {"message": "the device could not go on", "type": "server_error", "param": None, "code": None}
                yield _event({"error": failed})
                return
        yield _event(_chunk(reply, {}, finish=reply.finish))
        if reply.tell_usage:
            yield _event(_chunk(reply, None) | {"usage": reply.usage()})
        yield b"data: [DONE]\n\n"


def _most(wanted: ChatRequest) -> int:
    most = wanted.max_completion_tokens or wanted.max_tokens or (64 if wanted.model != DEVICE else _TOKENS_MAX)
    if not 1 <= most <= _TOKENS_MAX:
        raise Refused(f"max_tokens must be 1 to {_TOKENS_MAX}", param="max_tokens", code="invalid_value")
    return most


def _stops(wanted: ChatRequest) -> list[str]:
    stops = [wanted.stop] if isinstance(wanted.stop, str) else list(wanted.stop or ())
    if len(stops) > _STOPS_MAX or any(not 1 <= len(each) <= 64 for each in stops):
        raise Refused(f"stop takes {_STOPS_MAX} texts of 1 to 64 characters", param="stop", code="invalid_value")
    return stops


def _unknown_model() -> Refused:
    return Refused("there is no such model; ask /v1/models", 404, "model", "model_not_found")


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "edgeapp"}


def _chunk(reply: _Reply, delta: dict[str, str] | None, finish: str | None = None) -> dict[str, Any]:
    """One piece; without `delta` one that belongs to no choice."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}] if delta is not None else []
    head = {"id": reply.id, "object": "chat.completion.chunk", "created": int(time.time()), "model": reply.model}
    return head | {"choices": choices}


def _whole(reply: _Reply, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}
    head = {"id": reply.id, "object": "chat.completion", "created": int(time.time()), "model": reply.model}
    return head | {"choices": [choice], "usage": reply.usage()}


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
