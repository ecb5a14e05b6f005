"""`edgeapp bench grounding`: 1,000 held-out questions, half of them traps, through the real language model, checked by
another's eyes (`edgeapp.bench.spoken_truth`).

Three runs over the same conversations: the model alone, the model with the check, and as it ships, where closed questions
need no model. Each has its own history. The model is asked once for the same prompt, since it says the same again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from edgeapp.bench.core import Bar, run_bench
from edgeapp.bench.held_out import scripts
from edgeapp.bench.held_out_talk import NOT_KNOWN, Ask, Talk, reading_of, talks
from edgeapp.bench.spoken_truth import ungrounded
from edgeapp.core.events import MS, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.models.store import bundled, folder_of
from edgeapp.voice.answering import Answering, AnswerRule, Question
from edgeapp.voice.content import Content, Tool
from edgeapp.voice.tools import Argument, BoundTool, Toolbox

HISTORY_TURNS: Final = 2  # as the kiosk keeps them
REFUSED_LIMIT: Final = 0.10
"""A device that never answers says nothing wrong: so known questions that are refused are held below this as well."""

_ROOM_NS: Final = 60_000 * MS
_SHOWN: Final = 12  # of each kind of fault in the JSON: enough to look at

_figures: dict[str, Any] = {}


@dataclass
class Score:
    """What one run said."""

    asked: int = 0
    ungrounded: int = 0
    """Replies with at least one piece that is not so."""

    right: int = 0
    known: int = 0
    known_right: int = 0
    known_refused: int = 0
    unknown: int = 0
    unknown_right: int = 0
    paths: Counter[str] = field(default_factory=Counter)
    wrong_kinds: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    """True, and not what was asked."""

    took_ms: list[float] = field(default_factory=list)

    def add(self, ask: Ask, reply: str, faults: Sequence[str], path: str) -> None:
        self.asked += 1
        self.paths[path] += 1
        right = reply in ask.answers or " ".join(reply.split()) in ask.answers
        self.right += right
        if ask.known:
            self.known += 1
            self.known_right += right
            refused = reply in NOT_KNOWN and not right
            self.known_refused += refused
            if refused and len(self.refused) < _SHOWN:
                self.refused.append(f"{ask.kind}: {ask.text}")
        else:
            self.unknown += 1
            self.unknown_right += right
        if not (right or faults or reply in NOT_KNOWN) and len(self.beside) < _SHOWN:
            self.beside.append(f"{ask.kind}: {ask.text} -> {reply}")
        if faults:
            self.ungrounded += 1
            self.wrong_kinds[ask.kind] += 1
            if len(self.shown) < _SHOWN:
                self.shown.append(f"{ask.kind}: {ask.text} -> {reply} ({'; '.join(faults)})")


RULES: Final = {
    "model_alone": AnswerRule(closed_intents=False, grounded=False),
    "checked": AnswerRule(closed_intents=False),
    "as_shipped": AnswerRule(),
}


def bench_grounding(*, quick: bool, questions: int | None, seed: int) -> int:
    """Measure; 1 if a bar is missed, else 0."""
    _figures.clear()
    count = questions or (150 if quick else 1_000)

    def spoken(_: bool) -> list[Bar] | str:
        """held-out questions and traps through the language model"""
        folder = scripts()
        if folder is None:
            return "held-out questions: this installation lacks the scripts that write them"
        scores = asyncio.run(measure(list(talks(folder, seed, count))))
        _figures.update({name: _figures_of(score) for name, score in scores.items()})
        return _bars(scores)

    return run_bench("grounding", [spoken], quick=quick, figures={"seed": seed, "figures": _figures})


async def measure(every: Sequence[Talk]) -> dict[str, Score]:
    """Each of `RULES` over all conversations."""
    from edgeapp.engines import llm_ctranslate2

    folder = folder_of(next(each for each in bundled() if each.name == "kiosk-lm"))
    lane = Lane("llm")
    try:
        async with llm_ctranslate2.load(llm_ctranslate2.Options(model=str(folder), threads=1), lane) as llm:
            stage: Stage[Prompt, Stream[str]] = Stage(
                "llm", _Remembering(llm), lane, local_prior_ns=100 * MS, sink=lambda _: None
            )
            scores = {name: Score() for name in RULES}
            for talk in every:
                for name, rule in RULES.items():
                    await _hold(talk, stage, rule, scores[name])
            return scores
    finally:
        lane.close()


async def _hold(talk: Talk, llm: Stage[Prompt, Stream[str]], rule: AnswerRule, score: Score) -> None:
    """One conversation."""
    answering = Answering(llm, lambda: talk.content, toolbox=toolbox_for(talk.content), rule=rule)
    turns: list[tuple[str, str]] = []
    for number, ask in enumerate(talk.asks):
        committed = asyncio.Event()
        committed.set()
        due_ns = _due(_ROOM_NS)
        question = Question(ask.text, tuple(turns[-HISTORY_TURNS:]), f"turn {number}", due_ns, committed)
        began = time.perf_counter()
        async with aclosing(answering.answer(question)) as clauses:
            reply = " ".join([clause async for clause in clauses])
        score.took_ms.append((time.perf_counter() - began) * 1e3)
        turns.append((ask.text, reply))
        score.add(ask, reply, ungrounded(reply, talk.content, ask.subject), question.how.path)


def _due(room_ns: int) -> Callable[[str], int]:
    return lambda _: round(asyncio.get_running_loop().time() * 1e9) + room_ns


def toolbox_for(content: Content) -> Toolbox:
    """Tools whose results depend on what they read (`held_out_talk.reading_of`)."""
    offered = {tuple(sorted(tool.arguments.items())): tool for tool in content.tools if tool.name == "read_sensor"}

    async def read_sensor(**arguments: str) -> str:
        await asyncio.sleep(0)
        return reading_of(offered[tuple(sorted(arguments.items()))])

    async def get_time() -> str:
        await asyncio.sleep(0)
        return reading_of(Tool("the time", "get_time"))

    async def call_staff() -> str:
        await asyncio.sleep(0)
        return "on the way"

    text = {"quantity": Argument(), "place": Argument()}
    return Toolbox(
        [
            BoundTool("read_sensor", read_sensor, text),
            BoundTool("get_time", get_time),
            BoundTool("call_staff", call_staff, side_effect=True, confirm="Shall I call somebody?"),
        ]
    )


class _Remembering:
    """An engine that is asked once for each prompt."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._said: dict[Prompt, list[str]] = {}  # a few thousand prompts: one for each question and run

    async def __call__(self, prompt: Prompt, /) -> Stream[str]:
        if prompt not in self._said:
            self._said[prompt] = [piece async for piece in await self._engine(prompt)]
        return await Stream.start(_again(self._said[prompt]))


async def _again(pieces: Sequence[str]) -> AsyncGenerator[str, None]:
    for piece in pieces:
        yield piece


def _figures_of(score: Score) -> dict[str, Any]:
    return {
        "asked": score.asked,
        "ungrounded": score.ungrounded,
        "ungrounded_by_kind": dict(score.wrong_kinds),
        "right": score.right,
        "known": score.known,
        "known_right": score.known_right,
        "known_refused": score.known_refused,
        "not_known": score.unknown,
        "not_known_said_so": score.unknown_right,
        "paths": dict(score.paths),
        "examples": score.shown,
        "refused_examples": score.refused,
        "beside_examples": score.beside,
    }


def _bars(scores: dict[str, Score]) -> list[Bar]:
    alone, bars = scores["model_alone"], []
    for name in ("checked", "as_shipped"):
        score = scores[name]
        note = (
            f"of {score.asked}; none would mean at most {3 / score.asked:.2%} (rule of three, 95 %); model alone {alone.ungrounded}; "
            f"right {score.right} (alone {alone.right}), template instead {score.paths['template']}"
        )
        bars.append(Bar(f"ungrounded_replies_{name}", score.ungrounded, 0, "replies", score.ungrounded == 0, note))
        share = score.known_refused / max(score.known, 1)
        note = f"{score.known_refused} of {score.known} (alone {alone.known_refused}), {score.known_right} right"
        bars.append(Bar(f"known_refused_{name}", round(share, 4), REFUSED_LIMIT, "share", share <= REFUSED_LIMIT, note))
    return bars
