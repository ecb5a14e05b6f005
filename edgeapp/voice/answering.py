"""What to say to a question, apart from when: facts, the model, the check of what it says, and tools.

    the application's own question or command -> a call, or a sentence, no model
    closed question -> the fact's own sentence, no model
    anything else   -> the model's reply, cut into clauses, each checked before it is handed on
    a call          -> the tool; asked about first if it has a side effect

What a reply may not say is replaced by the sentence of the right fact, or by "I am sorry, I do not know that.", and the reply
ends there. Before a question is committed nothing with a side effect happens and nothing is remembered, so a reply may be
made, thrown away and made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from edgeapp.core.chat import newest_that_fit
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, Prompt
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.voice.asked import asked_in
from edgeapp.voice.clauses import REPLY_CHARS_MAX, clauses, clauses_of
from edgeapp.voice.content import Content, facts
from edgeapp.voice.endpoint import Expect
from edgeapp.voice.grammar import normalise
from edgeapp.voice.grounding import Grounding
from edgeapp.voice.intents import NOT_KNOWN, closed_answer
from edgeapp.voice.mentions import Lexicon, lexicon
from edgeapp.voice.prompt import TOOL, so_far
from edgeapp.voice.relevance import FACTS_MOST, parted
from edgeapp.voice.tools import CALL_CHARS_MAX, Call, Refusal, Toolbox, carried_out

_WRITTEN_MAX: Final = 4 * REPLY_CHARS_MAX
"""The bound of what is read of one reply, each piece counting one more than its characters: one that writes only signs that
cannot be spoken, or nothing, ends too."""

_CONFIRM_WITHIN_NS: Final = 20_000 * MS
"""Later a "yes" is no answer to "Shall I call somebody?": another person may stand there."""

_YES: Final = frozenset({"yes", "yeah", "yep", "sure", "okay", "please do", "do it", "of course", "please"})
_YES_MORE: Final = frozenset({"yes", "please", "do", "that", "it", "thank", "thanks", "you", "sure", "go", "ahead"})
_NO: Final = frozenset({"no", "nope", "no thank you", "no thanks", "do not", "never mind", "stop", "please do not"})


class Path(StrEnum):
    """How a reply came about."""

    UNHEARD = "not understood"
    CLOSED = "closed question"
    MODEL = "model"
    TEMPLATE = "template"
    """The model failed, or what it said was not so."""

    TOOL = "tool"
    CONFIRM = "asked before a side effect"
    CANNOT = "cannot answer"


@dataclass(slots=True)
class How:
    """What a reply's record may say of it; filled in while the reply is made."""

    path: Path = Path.UNHEARD
    ungrounded: int = 0
    """Clauses of the model that were not so and not spoken: 0 or 1, since the reply ends there."""

    turns_cut: int = 0
    """Turns of the history that did not fit the prompt."""

    refusal: str = ""
    """Why a call was not carried out."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a person, and what belongs to it alone."""

    text: str
    """What was understood; empty if nothing was."""

    turns: tuple[tuple[str, str], ...]
    """What was said and what was heard as the answer, oldest first."""

    of: str
    """What the stage's records are about, such as "turn 3"."""

    due_ns: Callable[[str], int]
    """When the named stage must have its first part in hand; asked anew for each call, since sound that plays gives time."""

    committed: asyncio.Event
    """Set when the person has certainly finished: from then on the reply counts."""

    opener: str = ""
    """What the device has said already; the reply goes on from there."""

    instructions: str = ""
    """How to say it, for a model that follows instructions. What may be said is checked all the same."""

    how: How = field(default_factory=How, compare=False)


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """How replies are made."""

    closed_intents: bool = True
    """Answer the fixed forms of questions with no model."""

    grounded: bool = True
    """Check what a model says before it is spoken. Off only to measure what that catches."""

    not_understood: str = "I am sorry, I did not catch that."
    cannot_answer: str = "I am sorry, I cannot answer right now."
    declined: str = "All right, I will not."
    max_tokens: int = 64
    history_tokens: int = 256
    """What of the past stands in the prompt at most."""

    facts_most: int = FACTS_MOST
    """How many of the content's facts stand in the prompt; 0 is all of them."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A call that waits for the person's yes."""

    call: Call
    asked_ns: int


@dataclass(slots=True)
class _After:
    """What a reply leaves behind once it counts."""

    pending: _Pending | None = None


@dataclass(slots=True)
class _Reply:
    """One reply of the model so far."""

    grounding: Grounding
    said: list[str] = field(default_factory=list)
    call: str = ""
    """The text of a call, from its marker on."""

    refused: bool = False
    """The last clause was not so, and the reply ends."""


Turns = tuple[tuple[str, str], ...]

Own = Callable[[str, Turns], Call | str | None]
"""What an application answers by itself: the question and the turns before it -> a call, a sentence, or None: it is none of its."""


class Answering:
    """Makes the replies of one conversation. Lives on one loop."""

    def __init__(
        self,
        llm: Stage[Prompt, Stream[str]],
        content: Callable[[], Content],
        *,
        toolbox: Toolbox = Toolbox(),
        own: Own = lambda _question, _turns: None,
        rule: AnswerRule = AnswerRule(),
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        """`content` gives what is known now; `own` is asked before anything else. `count_tokens` is the engine's own by default, else a token is four characters."""
        self._llm, self._content, self._toolbox, self._own, self._rule = llm, content, toolbox, own, rule
        self._count_tokens = count_tokens or getattr(llm.local, "count_tokens", None) or _about_tokens
        self._pending: _Pending | None = None
        self._names: tuple[Content, Lexicon] | None = None

    @property
    def expects(self) -> Expect:
        """What the next thing said will be, as far as the device has asked for it."""
        return Expect.YES_NO if self._waiting() else Expect.ANY

    async def prefill(self, turns: tuple[tuple[str, str], ...]) -> None:
        """Somebody begins to speak: let model and link get ready for what is known of the prompt. Raises BackendError."""
        self._llm.probe()
        engine = self._llm.local
        if hasattr(engine, "prefill"):
            system = facts(self._content())
            if self._rule.facts_most:
                system, _ = parted(system, "", self._rule.facts_most)
            await engine.prefill(so_far(system, turns))

    async def forget(self) -> None:
        """The person has left: nothing is pending, and the model keeps no history. Raises BackendError."""
        self._pending = None
        if hasattr(self._llm.local, "forget"):
            await self._llm.local.forget()

    async def answer(self, question: Question) -> AsyncGenerator[str, None]:
        """The reply, clause by clause, each as soon as it is whole and checked.

        Where the reply changes what is remembered (a side effect was asked about, or the answer to that came), the generator
        ends only after the question is committed. Close it when it is no longer wanted. Raises BackendError if the model
        failed and nothing can be said in its place.
        """
        after = _After()
        try:
            async with aclosing(self._reply(question, after)) as reply:
                async for clause in reply:
                    yield clause
            if after.pending or self._pending:
                await question.committed.wait()
        finally:
            if question.committed.is_set():
                self._pending = after.pending

    async def _reply(self, question: Question, after: _After) -> AsyncGenerator[str, None]:
        how, plain = question.how, normalise(question.text)
        waiting = self._waiting()
        if not plain:
            yield self._rule.not_understood
        elif waiting and _is_yes(plain):
            how.path = Path.TOOL
            await question.committed.wait()
            self._pending = None  # it runs once, whatever becomes of this reply
            for clause in clauses_of(await carried_out(waiting.call, question.due_ns("llm"))):
                yield clause
        elif waiting and plain in _NO:
            how.path = Path.CONFIRM
            yield self._rule.declined
        elif (own := self._own(question.text, question.turns)) is not None:
            how.path = Path.CLOSED
            for clause in clauses_of(own if isinstance(own, str) else await self._carry_out(question, own, after)):
                yield clause
        else:
            content = self._content()
            closed = closed_answer(question.text, content) if self._rule.closed_intents else None
            if closed is not None:
                how.path = Path.CLOSED
                for clause in clauses_of(closed):
                    yield clause
            else:
                async with aclosing(self._modelled(question, content, after)) as made:
                    async for clause in made:
                        yield clause

    def _waiting(self) -> _Pending | None:
        waiting = self._pending
        return waiting if waiting and now_ns() - waiting.asked_ns <= _CONFIRM_WITHIN_NS else None

    def _lexicon(self, content: Content) -> Lexicon:
        still = replace(content, qc=None)
        if self._names is None or self._names[0] != still:
            self._names = (still, lexicon(still))
        return self._names[1]

    async def _modelled(self, question: Question, content: Content, after: _After) -> AsyncGenerator[str, None]:
        """What the model says, as far as it is so; else what stands in for it."""
        how, names = question.how, self._lexicon(content)
        how.path = Path.MODEL
        asked = asked_in(question.text, question.turns, content, names)
        reply = _Reply(Grounding(content, names, asked, question.text))
        try:
            async with aclosing(self._checked(question, content, reply)) as checked:
                async for clause in checked:
                    yield clause
        except BackendError:
            if reply.grounding.rest(reply.said) is None:
                how.path = Path.CANNOT
                raise
            reply.refused = True
        if reply.refused:
            how.path = Path.TEMPLATE
            instead = _instead(reply)
        elif reply.call:
            instead = await self._called(question, content, reply.call, after)
        else:
            instead = self._end(how, reply)
        for clause in clauses_of(instead):
            yield clause

    async def _checked(self, question: Question, content: Content, reply: _Reply) -> AsyncGenerator[str, None]:
        """The model's clauses up to the first that may not be spoken, or to a call."""
        prompt = self._prompt(question, content)
        async with (
            aclosing(self._written(prompt, question)) as written,
            aclosing(_before_call(written, reply)) as words,
            aclosing(clauses(words)) as cut,
        ):
            async for clause in cut:
                if self._rule.grounded and not reply.grounding.allows(clause):
                    question.how.ungrounded += 1
                    reply.refused = True
                    return
                reply.said.append(clause)
                yield clause

    def _prompt(self, question: Question, content: Content) -> Prompt:
        """Facts, as much of the past as fits, and the question: these two are never cut."""
        before = " ".join(question.turns[-1]) if question.turns else ""
        system, of_it = facts(content), ""
        if self._rule.facts_most:
            system, of_it = parted(system, question.text, self._rule.facts_most, before)
        if question.instructions:  # an empty line would end what an engine keeps
            system = "\n".join([*filter(str.strip, question.instructions.splitlines()), system])
        costs = [self._count_tokens(asked) + self._count_tokens(answer) for asked, answer in question.turns]
        kept = newest_that_fit(costs, self._rule.history_tokens)
        question.how.turns_cut = len(costs) - kept
        turns = question.turns[len(costs) - kept :]
        return Prompt(system, turns, question.text, question.opener, self._rule.max_tokens, of_it)

    async def _written(self, prompt: Prompt, question: Question) -> AsyncGenerator[str, None]:
        """The reply as it is written. If it breaks off elsewhere, it goes on here, behind the last piece that came.

        Not behind the last clause: a model goes on from its own pieces, and a clause may end inside of one.
        """
        said, room = prompt.said, _WRITTEN_MAX
        for resumed in (False, True):
            due_ns = question.due_ns("llm")
            pieces = await self._llm(replace(prompt, said=said), due_ns=due_ns, of=question.of, resumed=resumed)
            try:
                async for piece in pieces:
                    said += piece
                    room -= len(piece) + 1
                    yield piece
                    if room <= 0:
                        return
            except BackendError:
                if resumed or not self._llm.lends:
                    raise
            else:
                return
            finally:
                await pieces.aclose()

    async def _called(self, question: Question, content: Content, text: str, after: _After) -> str:
        """Carry out the call, or ask first; what is said of it."""
        read = self._toolbox.read(text, content, question.text)
        if isinstance(read, Refusal):
            question.how.path, question.how.refusal = Path.TEMPLATE, read
            return NOT_KNOWN
        return await self._carry_out(question, read, after)

    async def _carry_out(self, question: Question, call: Call, after: _After) -> str:
        """Carry it out now, or when the question is committed; or ask first."""
        if call.bound.side_effect:
            question.how.path = Path.CONFIRM
            after.pending = _Pending(call, now_ns())
            return call.confirm
        question.how.path = Path.TOOL
        if call.bound.acts:
            await question.committed.wait()
        return await carried_out(call, question.due_ns("llm"))

    def _end(self, how: How, reply: _Reply) -> str:
        """What is still to be said when the model has ended: the rest of a sentence that it left open, if it is known."""
        right = reply.grounding.right
        if not reply.said:
            how.path = Path.TEMPLATE if right else Path.CANNOT
            return right or self._rule.cannot_answer
        is_open = reply.said[-1][-1] not in ".!?"
        return reply.grounding.rest(reply.said) or "" if self._rule.grounded and is_open else ""


async def _before_call(pieces: AsyncGenerator[str, None], reply: _Reply) -> AsyncGenerator[str, None]:
    """The reply up to a call. The call's own text, bounded, goes to `reply.call`: it is not spoken."""
    held = ""
    async for piece in pieces:
        if reply.call:
            reply.call += piece
            if len(reply.call) > CALL_CHARS_MAX:
                return
            continue
        text, opened, call = (held + piece).partition(TOOL)
        if opened:
            reply.call, held = TOOL + call, ""
        else:
            most = min(len(TOOL) - 1, len(text))
            open_ = next((size for size in range(most, 0, -1) if TOOL.startswith(text[-size:])), 0)
            text, held = text[: len(text) - open_], text[len(text) - open_ :]
        if text:
            yield text
    if held:
        yield held


def _instead(reply: _Reply) -> str:
    """What is said in place of a clause that was not so, grammatical behind what was said before it."""
    rest = reply.grounding.rest(reply.said)
    if rest is not None:
        return rest
    return "" if reply.grounding.told else reply.grounding.right or NOT_KNOWN


def _is_yes(plain: str) -> bool:
    return plain in _YES or (plain.startswith("yes") and set(plain.split()) <= _YES_MORE)


def _about_tokens(text: str) -> int:
    """Where an engine does not say: about four characters of English are a token."""
    return -(-len(text) // 4)
