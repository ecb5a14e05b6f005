"""A language model behind an OpenAI-compatible server: TensorRT Edge-LLM, trtllm-serve, llama-server, vLLM, Ollama.

Streams `POST /chat/completions` as server-sent events over one connection that stays open. Only what all of these servers
accept is sent: model, messages, stream, temperature 0 and max_tokens (TensorRT Edge-LLM refuses penalties and n > 1).
These servers keep the beginning of what they have read, so what changes stands last: live facts in the question.
Cancelling closes the HTTP stream, which is how these servers learn that nobody listens.

The requests do not use the accelerator's lane: the server is another process or another machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from edgeapp.core.chat import always, in_question
from edgeapp.core.events import BackendError, ConfigError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.stream import Stream

if TYPE_CHECKING:
    import httpx
    import httpx_sse

_TAIL_S: Final = 0.25
"""How long the end of a finished reply may take to arrive; after it the connection is dropped, the reply is whole."""

_BYTES_PER_TOKEN: Final = 4096
_ERROR_BYTES: Final = 4096


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's part of the configuration."""

    base_url: str
    """Such as `http://127.0.0.1:8000/v1`."""

    model: str
    """The model's name as the server knows it."""

    api_key_env: str = ""
    """The NAME of the environment variable that holds the key; the key itself is never in a file or a log."""

    continues: Literal["prefill", "prefill_flags", "repeat"] = "prefill"
    """How a begun reply is handed over: as a trailing assistant message (llama-server); the same with the flags
    `continue_final_message` and `add_generation_prompt` (vLLM, which needs them); or, for a server that cannot continue,
    by asking for a reply that begins with the words and dropping them again."""

    connect_timeout_ms: int = 500
    first_timeout_ms: int = 5_000
    """The bound of the wait for the first text, connecting and headers included."""

    next_timeout_ms: int = 2_000
    """The bound of every later wait."""

    max_prompt_chars: int = 12_000
    """Facts, history and question together; the oldest turns are left out first."""

    prefill: bool = True
    """Send system text and history ahead while the person still talks. Of use where the server keeps what it has read:
    llama-server, vLLM and trtllm-serve do, TensorRT Edge-LLM's server does with `--enable-context-reuse`. Switch it off
    elsewhere: there it is work for nothing."""


class OpenAiLlm:
    """`await llm(prompt)` returns at the first piece of text. Lives on one loop."""

    takes_instructions = True
    """Servers and their chat templates have a system message."""

    def __init__(self, options: Options, client: httpx.AsyncClient, key: str) -> None:
        """`key` is only known here to keep it out of error sentences."""
        self._options = options
        self._client = client
        self._key = key
        self._prefill: asyncio.Future[None] | None = None
        self._url = f"{options.base_url.rstrip('/')}/chat/completions"

    async def __call__(self, prompt: Prompt) -> Stream[str]:
        """Answer `prompt`; raises BackendError in one sentence for whatever the network or the server does wrong."""
        if self._prefill is not None:
            self._prefill.cancel()  # what the server has read by now stays in its cache
        return await Stream.start(self._reply(prompt))

    async def prefill(self, prompt: Prompt) -> None:
        """Ask for one token behind the system text and the history of `prompt`, so that the server has read them.

        Call it while the person still talks. `prompt.question` is what was said so far and may be empty. One at a time:
        while one is under way, another returns at once; a question ends it. Raises BackendError as a question does.
        """
        if not self._options.prefill or self._prefill is not None:
            return
        self._prefill = asyncio.ensure_future(self._read(prompt))
        try:
            await asyncio.wait((self._prefill,))
            if not self._prefill.cancelled():
                self._prefill.result()
        finally:
            self._prefill.cancel()
            self._prefill = None

    async def _read(self, prompt: Prompt) -> None:
        begun = replace(prompt, question=prompt.question or "hello", said="", max_tokens=1)
        async with aclosing(self._deltas(begun)) as deltas:
            async for _ in deltas:
                pass

    async def probe(self, system: str = "") -> None:
        """Ask for one token: opens the connection and lets the server keep the prompt's beginning. Raises BackendError."""
        async with aclosing(self._reply(Prompt(system, (), "hello", max_tokens=1))) as pieces:
            async for _ in pieces:
                pass

    async def _reply(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        if prompt.max_tokens < 1:
            return
        repeats = bool(prompt.said) and self._options.continues == "repeat"
        held = ""  # the beginning that may be a repetition of what is said; not longer than that plus one delta
        opened = bool(prompt.said) and not prompt.said[-1].isspace()
        async with aclosing(self._deltas(prompt)) as deltas:
            async for delta in deltas:
                piece = delta
                if repeats:
                    held = (held + delta).lstrip()
                    repeats = prompt.said.startswith(held)
                    piece = "" if repeats else held.removeprefix(prompt.said)
                piece = piece if opened else piece.lstrip()
                if piece:
                    opened = True
                    yield piece

    async def _deltas(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        """The texts of the reply's events, until the server says that it is finished."""
        import httpx
        import httpx_sse

        options, wait_ms = self._options, self._options.first_timeout_ms
        loop = asyncio.get_running_loop()
        first_by = loop.time() + options.first_timeout_ms / 1e3
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout_at(first_by):
                response = await self._send(prompt)
                if response.status_code != httpx.codes.OK:
                    raise BackendError(
                        f"{self._url} answered {response.status_code}: {await self._said(response, prompt)}"
                    )
            limit = max(prompt.max_tokens, 16) * _BYTES_PER_TOKEN
            async with aclosing(httpx_sse.EventSource(_bounded(response, limit)).aiter_sse()) as events:
                until = first_by
                while True:
                    async with asyncio.timeout_at(until):
                        delta, finished = await self._next(events, prompt)
                    if delta:
                        yield delta
                        wait_ms = options.next_timeout_ms
                        until = loop.time() + wait_ms / 1e3
                    if finished:
                        await _drain(events)
                        return
        except TimeoutError as error:
            raise BackendError(f"{self._url} sent no text for {wait_ms} ms") from error
        except httpx.ConnectTimeout as error:
            raise BackendError(f"{self._url} did not accept a connection in {options.connect_timeout_ms} ms") from error
        except httpx.ConnectError as error:
            raise BackendError(f"{self._url} cannot be reached: {self._safe(str(error))}") from error
        except httpx_sse.SSEError as error:
            raise BackendError(f"{self._url} did not answer with an event stream: {self._safe(str(error))}") from error
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise BackendError(f"{self._url} broke off: {self._safe(str(error) or type(error).__name__)}") from error
        finally:
            if response is not None:
                await response.aclose()

    async def _send(self, prompt: Prompt) -> httpx.Response:
        """Ask, and ask once more if a kept connection was closed by the server just as it was used."""
        import httpx

        for last in (False, True):
            request = self._client.build_request("POST", self._url, json=self._body(prompt))
            try:
                return await self._client.send(request, stream=True)
            except httpx.RemoteProtocolError:
                if last:
                    raise
        raise AssertionError

    async def _next(self, events: AsyncGenerator[httpx_sse.ServerSentEvent, None], prompt: Prompt) -> tuple[str, bool]:
        """The next event's text, maybe empty, and whether the reply is finished."""
        event = await anext(events, None)
        if event is None:
            raise BackendError(f"{self._url} ended the reply before it was finished")
        if event.data.strip() == "[DONE]":
            return "", True
        try:
            chunk = msgspec.json.decode(event.data, type=_Chunk)
        except msgspec.MsgspecError as error:
            raise BackendError(f"{self._url} sent an event that is not a chat completion chunk: {error}") from error
        if chunk.error is not None:
            raise BackendError(f"{self._url} gave up: {self._told(_message(chunk.error), prompt)}")
        if not chunk.choices:
            return "", False
        choice = chunk.choices[0]
        return choice.delta.content or "", choice.finish_reason is not None

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        options = self._options
        question = in_question(prompt)
        if prompt.said and options.continues == "repeat":
            question += f'\n\nBegin your reply with exactly these words and go on from there: "{prompt.said}"'
        messages = [{"role": "system", "content": system}] if (system := always(prompt)) else []
        for asked, answered in prompt.turns[self._first_turn(prompt) :]:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        messages.append({"role": "user", "content": question})
        body: dict[str, Any] = {"model": options.model, "messages": messages, "stream": True}
        body |= {"temperature": 0, "max_tokens": prompt.max_tokens}
        if prompt.said and options.continues != "repeat":
            messages.append({"role": "assistant", "content": prompt.said})
            if options.continues == "prefill_flags":
                body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body

    def _first_turn(self, prompt: Prompt) -> int:
        """The oldest turn that still fits the bound."""
        limit = self._options.max_prompt_chars
        room = limit - len(prompt.system) - len(prompt.facts) - len(prompt.question) - len(prompt.said)
        if room < 0:
            raise BackendError(
                f"facts and question have {limit - room} characters, more than the {limit} of max_prompt_chars: shorten them"
            )
        first = len(prompt.turns)
        while first and (room := room - sum(map(len, prompt.turns[first - 1]))) >= 0:
            first -= 1
        return first

    async def _said(self, response: httpx.Response, prompt: Prompt) -> str:
        """The server's own words about an error, in one short line."""
        body = b""
        async for part in response.aiter_raw():
            body += part
            if len(body) > _ERROR_BYTES:
                break
        try:
            answer = msgspec.json.decode(body, type=dict[str, Any])
            text = _message(answer.get("error", answer))
        except msgspec.MsgspecError:
            text = body[:_ERROR_BYTES].decode("utf-8", "replace")
        return self._told(text, prompt)

    def _told(self, text: str, prompt: Prompt) -> str:
        """A server's words, unless they repeat the conversation's: errors reach records, and transcripts must not."""
        text = " ".join(text.split())
        words = [prompt.question, prompt.said, *(each for turn in prompt.turns for each in turn)]
        if any(len(each) > 3 and each in text for each in words):
            return "a reason that repeats the conversation"
        return self._safe(text[:300]) or "no reason given"

    def _safe(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: Any = None


def _message(error: Any) -> str:
    """The words in the several shapes that servers give an error."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("detail") or error)
    return str(error)


def _bounded(response: httpx.Response, limit: int) -> httpx.Response:
    """The response, which breaks off after `limit` bytes: an event may not grow in memory without end."""
    import httpx

    assert isinstance(response.stream, httpx.AsyncByteStream)
    inner: httpx.AsyncByteStream = response.stream

    class Bounded(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = limit
            async for part in inner:
                left -= len(part)
                if left < 0:
                    raise httpx.RemoteProtocolError(f"the reply is longer than {limit} bytes")
                yield part

        async def aclose(self) -> None:
            await inner.aclose()

    response.stream = Bounded()
    return response


async def _drain(events: AsyncGenerator[Any, None]) -> None:
    """Read the little that follows a finished reply, so that the connection can be used again."""
    import httpx

    try:
        async with asyncio.timeout(_TAIL_S):
            async for _ in events:
                pass
    except (TimeoutError, httpx.HTTPError):
        return  # the reply is whole; the next one opens a new connection


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[OpenAiLlm]:  # noqa: ARG001 - all engines load alike
    """Make the client; nothing is sent before the first call or `probe`. Raises ConfigError for options that are not right."""
    try:
        import httpx
        import httpx_sse  # noqa: F401 - a missing package is said here, not in the first turn
    except ImportError as error:
        raise ConfigError(f"llm_openai needs the package {error.name}: pip install 'edgeapp[voice]'") from error
    key = _check(options)
    connect_s = options.connect_timeout_ms / 1e3
    async with httpx.AsyncClient(
        headers={"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        | ({"Authorization": f"Bearer {key}"} if key else {}),
        timeout=httpx.Timeout(None, connect=connect_s, pool=connect_s),
        limits=httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=300),
        trust_env=False,  # where a question goes is said by the configuration alone
    ) as client:
        yield OpenAiLlm(options, client, key)


def _check(options: Options) -> str:
    """Refuse what cannot work; return the API key, or nothing."""
    try:
        url = urlsplit(options.base_url)
        port_is_valid = url.port is None or url.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
        raise ConfigError(
            "llm_openai: base_url must look like http://127.0.0.1:8000/v1, without a user name or a question mark"
        )
    if not options.model:
        raise ConfigError("llm_openai: model is empty; name it as the server does")
    for name in ("connect_timeout_ms", "first_timeout_ms", "next_timeout_ms", "max_prompt_chars"):
        if getattr(options, name) < 1:
            raise ConfigError(f"llm_openai: {name} is {getattr(options, name)}; it must be at least 1")
    if not options.api_key_env:
        return ""
    key = os.environ.get(options.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"llm_openai: the environment variable {options.api_key_env} holds no API key; set it, or drop api_key_env"
        )
    return key
