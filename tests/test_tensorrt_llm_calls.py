"""TensorRT-LLM cannot run here, so its engine is held against the package's documented signatures.

`DOCUMENTED` is from NVIDIA/TensorRT-LLM (Apache-2.0), release line 1.2: tests/unittest/api_stability/
references_committed/{llm,sampling_params}.yaml, tensorrt_llm/llmapi/llm_args.py (KvCacheConfig) and
tensorrt_llm/executor/result.py (GenerationResult). A scripted package with just these signatures runs the engine.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeapp.core.events import BackendError, ConfigError, Prompt
from edgeapp.core.lane import Lane
from edgeapp.engines import llm_tensorrt_llm
from edgeapp.engines.llm_tensorrt_llm import Options

DOCUMENTED: dict[str, set[str]] = {
    "LLM": {
        "model", "tokenizer", "tokenizer_mode", "skip_tokenizer_init", "trust_remote_code", "tensor_parallel_size", "dtype",
        "revision", "tokenizer_revision", "max_batch_size", "max_input_len", "max_seq_len", "max_beam_width",
        "max_num_tokens", "load_format", "enable_chunked_prefill", "kv_cache_config", "stream_interval",
        "speculative_config", "guided_decoding_backend",
    },
    "KvCacheConfig": {
        "enable_block_reuse", "max_tokens", "max_attention_window", "sink_token_length", "free_gpu_memory_fraction",
        "host_cache_size", "onboard_blocks", "enable_partial_reuse", "copy_on_partial_reuse", "dtype",
    },
    "_sampling": {  # SamplingParams
        "n", "best_of", "use_beam_search", "max_tokens", "min_tokens", "end_id", "pad_id", "seed", "temperature", "top_k",
        "top_p", "min_p", "repetition_penalty", "stop", "stop_token_ids", "ignore_eos", "detokenize",
        "add_special_tokens", "skip_special_tokens", "spaces_between_special_tokens",
    },
    "generate_async": {
        "inputs", "sampling_params", "lora_request", "prompt_adapter_request", "streaming", "kv_cache_retention_config",
        "disaggregated_params", "scheduling_params", "cache_salt",
    },
    "shutdown": set(),
    "abort": set(),
}  # fmt: skip
POSITIONAL = {"generate_async": 1}
RESULT = {"outputs", "finished", "abort", "text_diff", "token_ids", "finish_reason"}


def test_every_keyword_we_pass_is_documented() -> None:
    tree = ast.parse(inspect.getsource(llm_tensorrt_llm))
    called = set()
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "attr", None)
        if isinstance(node, ast.Call) and name in DOCUMENTED:
            called.add(name)
            assert {each.arg for each in node.keywords} <= DOCUMENTED[name], name
            assert len(node.args) == POSITIONAL.get(name, 0), name
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in {"request", "step"}
        ):
            assert node.attr in RESULT
    assert called >= {"LLM", "KvCacheConfig", "_sampling", "generate_async", "abort"}


class ScriptedResult:
    """Stands for RequestOutput: says the tokens one by one, as text."""

    def __init__(self, words: list[str], log: list[str]) -> None:
        self.words, self.log, self.text_diff, self.finished = words, log, "", False
        self.outputs = [self]

    def __aiter__(self) -> ScriptedResult:
        return self

    async def __anext__(self) -> ScriptedResult:
        if self.finished:
            raise StopAsyncIteration
        if self.words[0] == "STALL":
            await asyncio.sleep(1e6)
        if self.words[0] == "DIE":
            raise RuntimeError("the executor has died")
        self.text_diff = self.words.pop(0)
        self.finished = not self.words
        return self

    def abort(self) -> None:
        self.log.append("abort")


class ScriptedLlm:
    """Stands for tensorrt_llm.LLM."""

    script: list[str] = ["ok"]  # noqa: RUF012 - the test sets it
    log: list[str] = []  # noqa: RUF012 - the test reads it
    prompts: list[list[int]] = []  # noqa: RUF012 - the test reads it

    def __init__(self, *, model: str, kv_cache_config: Any, max_batch_size: int, max_seq_len: int) -> None:
        assert kv_cache_config["free_gpu_memory_fraction"] <= 0.2
        if "broken" in model:
            raise RuntimeError("engine plan file is for another GPU")

    def generate_async(self, inputs: list[int], sampling_params: Any = None, streaming: bool = False) -> ScriptedResult:
        assert streaming
        self.prompts.append(inputs)
        return ScriptedResult(list(self.script), self.log)

    def shutdown(self) -> None:
        self.log.append("shutdown")


class ScriptedTokenizer:
    """Stands for a tokenizer of transformers."""

    @staticmethod
    def from_pretrained(_: str, **keywords: Any) -> ScriptedTokenizer:
        assert keywords == {"trust_remote_code": False, "local_files_only": True}
        return ScriptedTokenizer()

    def apply_chat_template(self, messages: list[dict[str, str]], **keywords: Any) -> str:
        assert keywords["add_generation_prompt"] != keywords["continue_final_message"]
        return "".join(f"<{each['role']}>{each['content']}" for each in messages)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return list(text.encode())


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model folder, and a package that answers to the documented names."""
    package, llmapi, transformers = (
        ModuleType(name) for name in ("tensorrt_llm", "tensorrt_llm.llmapi", "transformers")
    )
    package.__dict__.update(LLM=ScriptedLlm, SamplingParams=dict, llmapi=llmapi)
    llmapi.__dict__.update(KvCacheConfig=dict)
    transformers.__dict__.update(AutoTokenizer=ScriptedTokenizer)
    for module in (package, llmapi, transformers):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ScriptedLlm, "script", ["ok"])
    ScriptedLlm.log.clear()
    ScriptedLlm.prompts.clear()
    (tmp_path / "config.json").write_text("{}")
    return str(tmp_path)


async def test_text_comes_in_pieces_and_a_closed_answer_is_aborted(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with llm_tensorrt_llm.load(Options(model=model), Lane("test")) as llm:
        monkeypatch.setattr(ScriptedLlm, "script", [" It", " costs", "", " four"])
        answer = await llm(Prompt("facts", (), "how much"))
        assert [piece async for piece in answer] == ["It", " costs", " four"]
        assert ScriptedLlm.log == []
        answer = await llm(Prompt("facts", (), "how much", said="It"))
        await answer.aclose()
        assert ScriptedLlm.log == ["abort"]
        assert bytes(ScriptedLlm.prompts[-1]).decode() == "<system>facts<user>how much<assistant>It"
    assert ScriptedLlm.log == ["abort", "shutdown"]


@pytest.mark.parametrize(("word", "says"), [("STALL", "no text for"), ("DIE", "executor has died")])
async def test_what_the_vendor_does_wrong_is_a_backend_error(
    model: str, monkeypatch: pytest.MonkeyPatch, word: str, says: str
) -> None:
    async with llm_tensorrt_llm.load(Options(model=model), Lane("test")) as llm:
        monkeypatch.setattr(ScriptedLlm, "script", ["It", word])
        answer = await llm(Prompt("facts", (), "how much"))
        with pytest.raises(BackendError, match=says):
            async for _ in answer:
                pass
        assert ScriptedLlm.log == ["abort"]


async def test_old_turns_go_first_and_a_long_question_is_refused(model: str) -> None:
    async with llm_tensorrt_llm.load(Options(model=model, context_tokens=200), Lane("test")) as llm:
        turns = tuple((f"question {number}", "answer") for number in range(50))
        await llm(Prompt("facts", turns, "how much"))
        assert "question 49" in bytes(ScriptedLlm.prompts[-1]).decode()
        assert len(ScriptedLlm.prompts[-1]) <= 200 - 64
        for length in (300, 10_000):
            with pytest.raises(BackendError):
                await llm(Prompt("facts", (), "x" * length))


async def test_without_the_package_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_llm", None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="pip install tensorrt_llm"):
        async with llm_tensorrt_llm.load(Options(model=str(tmp_path)), Lane("test")):
            pass


async def test_bad_options_and_models_are_one_sentence(model: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    wrong = (
        Options(model=f"{model}/none"),
        Options(model=str(broken)),
        Options(model=model, gpu_memory_fraction=0.0),
        Options(model=model, kv_tokens=0),
    )
    for options in wrong:
        with pytest.raises(ConfigError) as refused:
            async with llm_tensorrt_llm.load(options, Lane("test")):
                pass
        assert "\n" not in str(refused.value)
