"""What to say to a question: a stub that the real one replaces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from edgeapp.core.events import BackendError, Prompt
from edgeapp.voice.clauses import clauses


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    turns: tuple[tuple[str, str], ...]
    of: str
    due_ns: Callable[[str], int]
    committed: asyncio.Event
    opener: str = ""


class Answering:
    def __init__(
        self, llm: Any, system: Any, not_understood: str = "I am sorry, I did not catch that.", max_tokens: int = 64
    ) -> None:
        self._llm, self._system, self._not_understood, self._max_tokens = llm, system, not_understood, max_tokens

    async def answer(self, question: Question) -> AsyncGenerator[str, None]:
        if not question.text:
            yield self._not_understood
            return
        before = " ".join(question.turns[-1]) if question.turns else ""
        prompt = Prompt(self._system(question.text, before), question.turns, question.text, max_tokens=self._max_tokens)
        async with aclosing(self._written(prompt, question)) as pieces:
            async for clause in clauses(pieces):
                yield clause

    async def _written(self, prompt: Prompt, question: Question) -> AsyncGenerator[str, None]:
        said = ""
        for resumed in (False, True):
            pieces = await self._llm(
                replace(prompt, said=said), due_ns=question.due_ns("llm"), of=question.of, resumed=resumed
            )
            try:
                async for piece in pieces:
                    said += piece
                    yield piece
            except BackendError:
                if resumed or not self._llm.lends:
                    raise
            else:
                return
            finally:
                await pieces.aclose()
