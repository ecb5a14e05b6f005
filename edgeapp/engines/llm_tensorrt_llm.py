"""A language model in this process on a discrete NVIDIA GPU: TensorRT-LLM's `LLM.generate_async`, streamed.

NOT RUN HERE: no machine of ours had a GPU with the package. The calls are checked against the signatures of TensorRT-LLM
1.2 (`tests/test_tensorrt_llm_calls.py`). What would run it, on a machine with a GPU and an instruct model in `MODEL`:

    pip install tensorrt_llm && pytest tests/contract/test_engines_llm.py --tensorrt-llm MODEL

It is not for Jetson: NVIDIA's path there is TensorRT Edge-LLM behind `llm_openai`.

TensorRT-LLM computes in its own process and schedules its requests itself, so a reply does not take the lane; loading does.
A prompt's beginning stays in the KV cache by itself (`enable_block_reuse`, blocks of 32 tokens). The cache is bounded by
tokens and by a small share of the memory: the package's own default of 90 % leaves nothing for the other models.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from edgeapp.core.chat import always, in_question
from edgeapp.core.events import BackendError, ConfigError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.stream import Stream


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's part of the configuration."""

    model: str
    """A folder in Hugging Face form, quantised (ModelOpt FP8, NVFP4, AWQ) or not, with its tokenizer."""

    context_tokens: int = 2048
    """The bound of prompt and reply together."""

    kv_tokens: int = 8192
    """The bound of the KV cache."""

    gpu_memory_fraction: float = 0.1
    """The KV cache's largest share of the free GPU memory; the smaller of the two bounds holds."""

    next_timeout_ms: int = 5_000
    """The bound of every wait for more text."""


class TensorRtLlm:
    """`await llm(prompt)` returns at the first piece of text. Lives on one loop."""

    takes_instructions = True
    """A chat template has a system message."""

    def __init__(self, options: Options, llm: Any, tokenizer: Any, sampling: Any) -> None:
        """`llm` is a `tensorrt_llm.LLM`, `sampling` the class `SamplingParams`, `tokenizer` one of transformers."""
        self._options = options
        self._llm = llm
        self._tokenizer = tokenizer
        self._sampling = sampling

    async def __call__(self, prompt: Prompt) -> Stream[str]:
        """Answer `prompt`; raises BackendError if the question does not fit or TensorRT-LLM fails."""
        return await Stream.start(self._reply(prompt))

    async def probe(self, system: str = "") -> None:
        """Make the prompt's beginning resident and touch every layer. Raises BackendError."""
        async with aclosing(self._reply(Prompt(system, (), "hello", max_tokens=1))) as pieces:
            async for _ in pieces:
                pass

    async def prefill(self, prompt: Prompt) -> None:
        """Have the system text and the history of `prompt` read while the person still talks. Raises BackendError."""
        question = prompt.question or "hello"
        async with aclosing(self._reply(replace(prompt, question=question, said="", max_tokens=1))) as pieces:
            async for _ in pieces:
                pass

    async def _reply(self, prompt: Prompt) -> AsyncGenerator[str, None]:
        if prompt.max_tokens < 1:
            return
        tokens = self._tokens(prompt)
        wait_s = self._options.next_timeout_ms / 1e3
        opened = bool(prompt.said) and not prompt.said[-1].isspace()
        request: Any = None
        try:
            sampling = self._sampling(max_tokens=prompt.max_tokens, top_k=1)
            request = self._llm.generate_async(tokens, sampling_params=sampling, streaming=True)
            while not request.finished:
                async with asyncio.timeout(wait_s):
                    step = await anext(request, None)
                if step is None:
                    break
                piece = step.outputs[0].text_diff
                piece = piece if opened else piece.lstrip()
                if piece:
                    opened = True
                    yield piece
        except TimeoutError as error:
            raise BackendError(f"TensorRT-LLM gave no text for {self._options.next_timeout_ms} ms") from error
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"TensorRT-LLM did not finish the reply: {error}") from error
        finally:
            if request is not None and not request.finished:
                request.abort()

    def _tokens(self, prompt: Prompt) -> list[int]:
        """The prompt's token ids, without the oldest turns if they do not fit."""
        room = self._options.context_tokens - prompt.max_tokens
        if len(prompt.system) + len(prompt.facts) + len(prompt.question) > 16 * self._options.context_tokens:
            raise BackendError(f"facts and question cannot fit the model's {self._options.context_tokens} tokens")
        for first in range(len(prompt.turns) + 1):
            tokens = self._render(prompt, first)
            if len(tokens) <= room:
                return tokens
        raise BackendError(
            f"facts and question take more than the {room} tokens that {prompt.max_tokens} for the reply leave: shorten them"
        )

    def _render(self, prompt: Prompt, first_turn: int) -> list[int]:
        messages = [{"role": "system", "content": system}] if (system := always(prompt)) else []
        for asked, answered in prompt.turns[first_turn:]:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        messages.append({"role": "user", "content": in_question(prompt)})
        if prompt.said:
            messages.append({"role": "assistant", "content": prompt.said})
        text = self._tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=not prompt.said,
            continue_final_message=bool(prompt.said),
            enable_thinking=False,  # a template that knows no thinking ignores it
        )
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[TensorRtLlm]:
    """Load the model in the lane and run it once. Raises ConfigError if a package, the model or an option is not right."""
    _check(options)
    try:
        import tensorrt_llm
        from tensorrt_llm import llmapi
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ConfigError(
            f"llm_tensorrt_llm needs the package {error.name}, which wants a discrete NVIDIA GPU: "
            "pip install tensorrt_llm; on a Jetson use llm_openai with TensorRT Edge-LLM's server"
        ) from error

    def make() -> tuple[Any, Any]:
        tokenizer = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False, local_files_only=True)
        cache = llmapi.KvCacheConfig(
            enable_block_reuse=True,
            max_tokens=options.kv_tokens,
            free_gpu_memory_fraction=options.gpu_memory_fraction,
        )
        llm = tensorrt_llm.LLM(
            model=options.model,
            kv_cache_config=cache,
            max_batch_size=1,
            max_seq_len=options.context_tokens,
        )
        return llm, tokenizer

    try:
        llm, tokenizer = await lane.run(make, label="llm.load")
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"TensorRT-LLM cannot load {options.model}: {error}; was it built for this GPU?") from error
    try:
        engine = TensorRtLlm(options, llm, tokenizer, tensorrt_llm.SamplingParams)
        try:
            await engine.probe()
        except BackendError as error:
            raise ConfigError(f"TensorRT-LLM loads {options.model} but cannot run it: {error}") from error
        yield engine
    finally:
        await lane.run(llm.shutdown, label="llm.load")


def _check(options: Options) -> None:
    for name in ("context_tokens", "kv_tokens", "next_timeout_ms"):
        if getattr(options, name) < 1:
            raise ConfigError(f"llm_tensorrt_llm: {name} is {getattr(options, name)}; it must be at least 1")
    if not 0 < options.gpu_memory_fraction < 1:
        raise ConfigError("llm_tensorrt_llm: gpu_memory_fraction must lie between 0 and 1, such as 0.1")
    if not (Path(options.model) / "config.json").is_file():
        raise ConfigError(f"{options.model} is not a model folder: config.json is missing; pull or export it again")
