"""A language model in this process: CTranslate2's `Generator`, int8, one thread unless told otherwise.

The part of the prompt that never changes stays resident (`static_prompt`) from the second time on that it comes, or from
`probe`; where it changes with every question nothing is kept. `prefill` makes it resident with the history behind it.
CTranslate2 keys that cache by the exact tokens and never evicts, so after `max_prefixes` different ones the weights are
loaded anew, which empties it: for a head at once, for a history only when `forget` says that nobody waits. A reply is
made in bites of `bite_tokens`, each one piece of work for the lane, so that something more urgent waits for one bite only;
the next bite continues from the very tokens of the last, so the text is that of one long generation. Tokens leave
CTranslate2 through its callback, which also is how a reply is cancelled, within one token.

How the conversation is written as text comes from the model folder's `chat.json` (the fields of `ChatFormat`); a folder
without one is recognised by its vocabulary if it speaks the kiosk's format, ChatML or Llama 3's.

Model files are trusted input: check their hashes (`edgeapp models verify`) before they are loaded.
"""

from __future__ import annotations

import atexit
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeapp.core.chat import CHATML, KIOSK, LLAMA3, ChatFormat, newest_that_fit
from edgeapp.core.events import BackendError, ConfigError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.pour import pour
from edgeapp.core.stream import Stream

_CHARACTERS_PER_TOKEN: Final = 16
"""No text of this many characters for each token of context can fit: it is refused before it is tokenised."""

_PADDING: Final = re.compile(r"<extra_id_\d+>|madeupword\d+")
"""What CTranslate2's converter calls rows of the embedding that stand for no token."""

_TAIL_TOKENS: Final = 4
"""How many tokens before the reply are decoded with it, so that its first space is right."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's part of the configuration."""

    model: str
    """The model folder: model.bin, config.json, vocabulary.json, tokenizer.json and, best, chat.json."""

    threads: int = 1
    device: str = "cpu"
    """`cpu` or `cuda`; the published wheels for ARM have no CUDA."""

    compute_type: str = "int8"
    bite_tokens: int = 24
    """The longest stretch of tokens that holds the lane."""

    context_tokens: int = 0
    """The bound of prompt and reply together; 0 takes the one of `chat.json`."""

    max_prefixes: int = 8
    """How many different resident prefixes are kept before the cache is emptied."""


class CTranslate2Llm:
    """`await llm(prompt)` returns at the first piece of text. Lives on one loop and one lane."""

    def __init__(
        self,
        options: Options,
        lane: Lane,
        *,
        chat: ChatFormat,
        tokenizer: Any,
        generator: Any,
        make: Callable[[], Any],
    ) -> None:
        """`generator` is what `make` made; `make` loads the weights anew and blocks, so it runs in the lane."""
        self._lane = lane
        self._chat = chat
        self._tokenizer = tokenizer
        self._make = make
        self._bite_tokens = options.bite_tokens
        self._max_prefixes = options.max_prefixes
        self._context_tokens = options.context_tokens or chat.context_tokens
        self._head_text = ""
        self._head: list[str] = []
        self._last_head: list[str] = []  # one that comes twice running is worth keeping, one of many is not
        self._generator = generator  # touched in the lane's thread only, but for close
        self._resident: set[tuple[str, ...]] = set()
        self._closed = False

    async def __call__(self, prompt: Prompt) -> Stream[str]:
        """Answer `prompt`; raises BackendError if the question does not fit or CTranslate2 fails."""
        return await Stream.start(self._reply(prompt))

    async def probe(self, system: str = "") -> None:
        """Make the unchanging part of `system` resident and touch every layer, so that the first question does not pay."""
        prompt = Prompt(system, (), "hello", max_tokens=1)
        self._last_head = self._tokens(prompt)[0]
        async with aclosing(self._reply(prompt, "llm.probe")) as pieces:
            async for _ in pieces:
                pass

    @property
    def takes_instructions(self) -> bool:
        """Does the model follow what its system text tells it to do?"""
        return self._chat.instructions

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` is, as this model reads it. Quick: the tokenizer alone, on the calling thread."""
        return len(self._encode(text))

    async def prefill(self, prompt: Prompt) -> None:
        """Make the head and the history of `prompt` resident while the person still talks; its question does not matter.

        Does nothing where the head is one that changes with every question, and no history once `max_prefixes` are
        resident. Raises BackendError.
        """
        head, rest = self._tokens(replace(prompt, question="", said=""))
        asked = len(self._encode(self._chat.ask(replace(prompt, question="", said=""))))
        known = tuple(head) in self._resident
        if not known and not self._chat.facts_last:
            return
        self._last_head = head
        await self._fill(head)
        if (whole := head + rest[: len(rest) - asked]) != head and len(self._resident) < self._max_prefixes:
            await self._fill(whole)

    async def forget(self) -> None:
        """The conversation is over: keep no history. Blocks the lane while the weights are loaded anew, if any was kept."""
        if self._resident - {tuple(self._last_head)}:
            await self._lane.run(self._load_anew, label="llm.load")
            await self._fill(self._last_head)

    async def _fill(self, prefix: list[str]) -> None:
        """Make it resident by one token behind it, if it is not."""
        if prefix and tuple(prefix) not in self._resident:
            opening = self._encode(self._chat.user_open)
            async with aclosing(self._bite(prefix, opening, 1, "llm.prefill", keep=True)) as ids:
                async for _ in ids:
                    pass

    def close(self) -> None:
        """Let go of the weights once the bite under way is over. Idempotent."""
        self._closed = True
        self._generator = None

    async def _reply(self, prompt: Prompt, label: str = "llm") -> AsyncGenerator[str, None]:
        head, rest = self._tokens(prompt)
        keep = head == self._last_head or tuple(head) in self._resident
        self._last_head = head
        head, rest = self._longest(head, rest) if keep else (head, rest)
        text = _Text(self._tokenizer, [self._tokenizer.token_to_id(token) for token in rest[-_TAIL_TOKENS:]])
        opened = bool(prompt.said) and not prompt.said[-1].isspace()
        made: list[str] = []
        ended = False
        while not ended and len(made) < prompt.max_tokens:
            most = min(self._bite_tokens, prompt.max_tokens - len(made))
            before = len(made)
            async with aclosing(self._bite(head, rest + made, most, label, keep=keep)) as ids:
                async for token_id in ids:
                    token = self._tokenizer.id_to_token(token_id)
                    if token is None:
                        raise BackendError(f"the model said token {token_id}, which stands for nothing")
                    if token in self._chat.ends:
                        ended = True
                        continue
                    made.append(token)
                    piece = text.add(token_id)
                    piece = piece if opened else piece.lstrip()
                    if piece:
                        opened = True
                        yield piece
            ended = ended or len(made) - before < most
        if last := text.rest():
            yield last

    def _bite(
        self, head: list[str], tokens: list[str], most: int, label: str, *, keep: bool
    ) -> AsyncGenerator[int, None]:
        def work(emit: Callable[[int], bool]) -> None:
            # The callback owns nothing but `emit`: CTranslate2 drops it in its worker thread, and a generator whose last
            # owner it were would end there, waiting for itself, which aborts the process.
            try:
                self._ready(head if keep else []).generate_batch(
                    [tokens if keep else head + tokens],
                    static_prompt=head if keep else None,
                    cache_static_prompt=keep,
                    include_prompt_in_result=False,
                    beam_size=1,
                    sampling_topk=1,
                    max_length=most,
                    end_token=list(self._chat.ends),
                    callback=lambda step: emit(step.token_id),
                )
            except (RuntimeError, ValueError, MemoryError) as error:
                raise BackendError(f"CTranslate2 did not finish the reply: {error}") from error

        return pour(self._lane, work, label=label, most=most)

    def _ready(self, head: list[str]) -> Any:
        """The generator, its cache of prefixes bounded. Runs in the lane's thread."""
        if self._closed:
            raise BackendError("the language model is closed; load it again")
        key = tuple(head)
        full = bool(key) and key not in self._resident and len(self._resident) >= self._max_prefixes
        if self._generator is None or full:
            self._load_anew()
        if key:
            self._resident.add(key)
        return self._generator

    def _load_anew(self) -> None:
        """What empties the cache. Runs in the lane's thread."""
        self._generator = None  # the old weights go before the new ones come
        self._resident.clear()
        self._generator = self._make()

    def _longest(self, head: list[str], rest: list[str]) -> tuple[list[str], list[str]]:
        """Head and rest parted anew behind the longest beginning that is resident."""
        known = [len(each) for each in self._resident if len(head) < len(each) < len(head) + len(rest)]
        whole = tuple(head + rest)
        longest = max((size for size in known if whole[:size] in self._resident), default=len(head))
        return list(whole[:longest]), list(whole[longest:])

    def _tokens(self, prompt: Prompt) -> tuple[list[str], list[str]]:
        """The resident tokens and the rest, without the oldest turns if they do not fit."""
        live, ask = self._encode(self._chat.live(prompt)), self._encode(self._chat.ask(prompt))
        head_text = self._chat.head(prompt)
        if head_text != self._head_text:
            self._head_text, self._head = head_text, self._encode(head_text)
        room = self._context_tokens - len(self._head) - len(live) - len(ask) - prompt.max_tokens
        if room < 0:
            raise BackendError(
                f"the facts take {len(self._head) + len(live)} tokens and the question {len(ask)}, which leaves no room for "
                f"{prompt.max_tokens} more in the model's {self._context_tokens}: shorten them"
            )
        turns = [self._encode(self._chat.turn(question, answer)) for question, answer in prompt.turns]
        kept = newest_that_fit([len(turn) for turn in turns], room)
        talk = [token for turn in turns[len(turns) - kept :] for token in turn]
        return self._head, live + talk + ask

    def _encode(self, text: str) -> list[str]:
        limit = self._context_tokens * _CHARACTERS_PER_TOKEN
        if len(text) > limit:
            raise BackendError(f"a text of {len(text)} characters cannot fit the model's {self._context_tokens} tokens")
        tokens: list[str] = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return tokens


class _Text:
    """Token ids -> pieces of text whose concatenation is the decoded whole; bytes of a split character wait."""

    def __init__(self, tokenizer: Any, before: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = before
        self._sent = self._decoded()

    def add(self, token_id: int) -> str:
        """The new text; empty while the last character is not complete."""
        self._ids.append(token_id)
        text = self._decoded()
        if text.endswith("\ufffd"):
            return ""
        new = text[len(self._sent) :]
        self._sent = text
        return new

    def rest(self) -> str:
        """What still waited at the end."""
        return self._decoded()[len(self._sent) :]

    def _decoded(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=False)
        return text


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[CTranslate2Llm]:
    """Read the model folder, load the weights in the lane and run them once.

    Raises ConfigError if a package, a file or an option is not right, naming what to do.
    """
    folder = Path(options.model)
    _check(options, folder)
    try:
        import ctranslate2
        import tokenizers
    except ImportError as error:
        raise ConfigError(f"llm_ctranslate2 needs the package {error.name}: pip install 'edgeapp[voice]'") from error
    tokenizer = _read_tokenizer(tokenizers, folder)
    chat = _read_chat(folder, tokenizer)

    def make() -> Any:
        return ctranslate2.Generator(
            str(folder),
            device=options.device,
            compute_type=options.compute_type,
            inter_threads=1,
            intra_threads=options.threads,
        )

    try:
        llm = CTranslate2Llm(
            options, lane, chat=chat, tokenizer=tokenizer, generator=await lane.run(make, label="llm.load"), make=make
        )
        await llm.probe()
    except (RuntimeError, ValueError, BackendError) as error:
        raise ConfigError(
            f"CTranslate2 cannot load {folder} on {options.device} as {options.compute_type}: {error}; "
            "run `edgeapp models verify`, or pull the model again"
        ) from error
    atexit.register(llm.close)  # a generator that outlives the interpreter's threads aborts the process
    try:
        yield llm
    finally:
        atexit.unregister(llm.close)
        llm.close()


def _check(options: Options, folder: Path) -> None:
    for name in ("threads", "bite_tokens", "max_prefixes"):
        if getattr(options, name) < 1:
            raise ConfigError(f"llm_ctranslate2: {name} is {getattr(options, name)}; it must be at least 1")
    if options.context_tokens < 0:
        raise ConfigError("llm_ctranslate2: context_tokens is negative; leave it out to take the model's own")
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{folder} is not a CTranslate2 language model: {name} is missing; pull or convert it again"
            )


def _read_tokenizer(tokenizers: Any, folder: Path) -> Any:
    """The tokenizer, after a check that it numbers the tokens as the model does."""
    file = folder / "tokenizer.json"
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare Exception for every malformed file
        raise ConfigError(f"{file} is not a tokenizer: {error}; pull the model again") from error
    tokens = _vocabulary(folder)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    same = size <= len(tokens) and all(tokenizer.id_to_token(n) == tokens[n] for n in range(size))
    if not same or not all(_PADDING.fullmatch(token) for token in tokens[size:]):
        raise ConfigError(
            f"{file} does not belong to this model: its {size} tokens are not the model's {len(tokens)}; "
            "pull or convert the model again"
        )
    return tokenizer


def _vocabulary(folder: Path) -> list[str]:
    """The model's tokens by id, from either of the files that CTranslate2 reads."""
    for name in ("vocabulary.json", "vocabulary.txt"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            if name.endswith(".txt"):
                return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            return msgspec.json.decode(file.read_bytes(), type=list[str])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not a list of tokens: {error}; pull the model again") from error
    raise ConfigError(
        f"{folder} is not a CTranslate2 language model: vocabulary.json is missing; pull or convert it again"
    )


def _read_chat(folder: Path, tokenizer: Any) -> ChatFormat:
    file = folder / "chat.json"
    if file.is_file():
        try:
            raw = file.read_bytes()
            chat = msgspec.json.decode(raw, type=ChatFormat)
            unknown = set(msgspec.json.decode(raw, type=dict[str, Any])) - {each.name for each in fields(ChatFormat)}
        except msgspec.DecodeError as error:
            raise ConfigError(f"{file} is not a chat format: {error}") from error
        if unknown:
            raise ConfigError(f"{file}: unknown key '{min(unknown)}'; see edgeapp/core/chat.py for the known ones")
    else:
        chat = _recognise(folder, tokenizer)
    if tokenizer.token_to_id(chat.ends[0] if chat.ends else "") is None:
        raise ConfigError(f"{file}: the model has no token {chat.ends[:1]} to end a reply with; correct `ends`")
    known = tuple(token for token in chat.ends if tokenizer.token_to_id(token) is not None)
    return replace(chat, ends=known)


def _recognise(folder: Path, tokenizer: Any) -> ChatFormat:
    for token, chat in (("<|im_start|>", CHATML), ("<|start_header_id|>", LLAMA3), ("<live>", KIOSK)):
        if tokenizer.token_to_id(token) is not None:
            if chat is CHATML and tokenizer.token_to_id("<think>") is not None:
                return replace(chat, reply_open=f"{chat.bot_open}<think>\n\n</think>\n\n")
            return chat
    raise ConfigError(
        f"{folder} has no chat.json and its vocabulary is none of the known ones (the kiosk's, ChatML, Llama 3): "
        "write a chat.json with the fields of edgeapp.core.chat.ChatFormat"
    )
