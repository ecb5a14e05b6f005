"""What a reply may call: typed tools bound to callables, and the strict reading of a call that a model wrote.

What is offered stands in the content (`[[tools]]`): each entry is one whole call, and only those are ever carried out. A
model's call is compared with them; one that is nearly one of them, and only of that one, is taken for it. A tool with a side
effect is asked about first ("Shall I call somebody?"). Nothing here decides when: that is `edgeapp.voice.answering`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any, Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, ConfigError, DeviceError
from edgeapp.voice.asked import is_whole
from edgeapp.voice.clauses import speakable
from edgeapp.voice.content import Content, Tool
from edgeapp.voice.mentions import Sort, mentions, names_of, tokens
from edgeapp.voice.prompt import TOOL

CALL_CHARS_MAX: Final = 600
"""A call of three arguments of six words each is shorter; what is longer is none."""

_RESULT_CHARS_MAX: Final = 160  # one breath; a longer result is cut at a word
_LEAST_NS: Final = 100 * MS
"""A tool that is asked late in the turn gets this long all the same: an opener speaks meanwhile."""

_NEARLY: Final = 0.75
"""From this similarity on (difflib's ratio) a misspelt argument is taken for the offered one: "the sillo", "fil level"."""

Value = str | int | float


class Refusal(StrEnum):
    """Why a call is not carried out."""

    UNREADABLE = "it is no JSON object with a name and arguments"
    UNKNOWN_TOOL = "no tool has this name"
    UNKNOWN_ARGUMENT = "the tool has no such argument, or one is missing"
    WRONG_TYPE = "an argument has the wrong type"
    NOT_ALLOWED = "an argument has a value that is not allowed"
    NOT_OFFERED = "it is none of the calls that are offered, or could be several"
    NOT_ASKED = "the question does not name what it is about"


class Failure(StrEnum):
    """Why a call has no result. The value is what is said aloud."""

    TOO_SLOW = "I am sorry, that takes too long."
    FAILED = "I am sorry, I can not reach that."
    IN_DOUBT = "I am sorry, I can not say whether that worked."  # a side effect that was under way


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument's type and, if there are any, the only values it may have."""

    type: type[str] | type[int] | type[float] = str
    allowed: frozenset[Value] = frozenset()

    def read(self, written: object) -> Value | Refusal:
        """The value as the callable gets it. The content and most models write numbers as text, so "2" is an int too."""
        try:
            value = self.type(written) if isinstance(written, str) else written
        except ValueError:
            return Refusal.WRONG_TYPE
        if isinstance(value, int) and not isinstance(value, bool) and self.type is float:
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, self.type):
            return Refusal.WRONG_TYPE
        return Refusal.NOT_ALLOWED if self.allowed and value not in self.allowed else value


@dataclass(frozen=True, slots=True)
class BoundTool:
    """A tool and who carries it out."""

    name: str
    run: Callable[..., Awaitable[str]]
    """Called with the arguments by keyword; gives what is said of it ("71 degrees"). May raise BackendError or DeviceError."""

    arguments: Mapping[str, Argument] = field(default_factory=dict)
    side_effect: bool = False
    """Without one it may be called several times for a question, and for one that is not finished yet."""

    acts: bool = False
    """It changes what people see or hear, so it waits until the question is committed; nobody is asked first."""

    timeout_ns: int = 150 * MS
    """At most so long; less if the turn is due before, but never less than 100 ms."""

    says: str = "{about} is {result}."
    """The answer's sentence; the offered call's `about`, the result and every argument may stand in it."""

    confirm: str = "Shall I do that?"
    """What is asked first if it has a side effect; every argument may stand in it."""

    def read(self, arguments: Mapping[str, object]) -> dict[str, Value] | Refusal:
        """The arguments by keyword, or what is wrong with the first wrong one."""
        if set(arguments) != set(self.arguments):
            return Refusal.UNKNOWN_ARGUMENT
        values: dict[str, Value] = {}
        for name, each in self.arguments.items():
            value = each.read(arguments[name])
            if isinstance(value, Refusal):
                return value
            values[name] = value
        return values


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is one of those offered, ready to be carried out."""

    offered: Tool
    bound: BoundTool
    values: Mapping[str, Value]

    @property
    def confirm(self) -> str:
        """What is asked before a side effect."""
        return self.bound.confirm.format(about=self.offered.about, **self.offered.arguments)


class Toolbox:
    """The tools that an app has bound, by name."""

    def __init__(self, bound: Iterable[BoundTool] = ()) -> None:
        self._bound = {tool.name: tool for tool in bound}

    def check(self, content: Content) -> None:
        """Raise ConfigError if the content offers a call that no tool can carry out."""
        for offered in content.tools:
            bound = self._bound.get(offered.name)
            if bound is None:
                known = ", ".join(sorted(self._bound)) or "none"
                raise ConfigError(
                    f"the kiosk content offers the tool '{offered.name}', which nothing carries out: "
                    f"take it out of [[tools]], or use one of these: {known}"
                )
            values = bound.read(offered.arguments)
            if isinstance(values, Refusal):
                raise ConfigError(f"the kiosk content offers a call of '{offered.name}' that cannot be: {values}")

    def offered(self, content: Content) -> tuple[Tool, ...]:
        """Those of the content that can be carried out."""
        return tuple(tool for tool in content.tools if tool.name in self._bound)

    def read(self, text: str, content: Content, question: str) -> Call | Refusal:
        """A model's `<tool> {json}` -> the one offered call it is, or why it is none. `question` must name what it is about.

        What is written badly is taken for the only call that the question names whole, unless that has a side effect.
        """
        call = self._written(text, content, question)
        if isinstance(call, Call):
            return call
        offered = self.offered(content)
        named = [tool for tool in offered if tool.arguments and _is_named(tool, offered, question)]
        bound = self._bound[named[0].name] if len(named) == 1 else None
        values = bound.read(named[0].arguments) if bound and not bound.side_effect else call
        return Call(named[0], bound, values) if bound and not isinstance(values, Refusal) else call

    def _written(self, text: str, content: Content, question: str) -> Call | Refusal:
        written = _parsed(text)
        if isinstance(written, Refusal):
            return written
        name, arguments = written
        bound = self._bound.get(name)
        if bound is None:
            return Refusal.UNKNOWN_TOOL
        offered = [tool for tool in self.offered(content) if tool.name == name]
        same = [tool for tool in offered if _texts(tool.arguments) == _texts(arguments)]
        near = same or [tool for tool in offered if _is_nearly(tool.arguments, _texts(arguments))]
        if len(near) != 1:
            wrong = bound.read(arguments)
            return wrong if isinstance(wrong, Refusal) else Refusal.NOT_OFFERED
        if not _is_named(near[0], offered, question):
            return Refusal.NOT_ASKED
        values = bound.read(near[0].arguments)
        return values if isinstance(values, Refusal) else Call(near[0], bound, values)


async def carried_out(call: Call, due_ns: int) -> str | Failure:
    """Run the call and give the sentence that says its result, or why there is none. Ends by `due_ns`, if that is not too soon."""
    bound = call.bound
    now = now_ns()
    until_ns = min(now + bound.timeout_ns, max(due_ns, now + _LEAST_NS))
    try:
        async with asyncio.timeout_at(until_ns / 1e9):
            result = await bound.run(**call.values)
    except TimeoutError:
        return Failure.IN_DOUBT if bound.side_effect else Failure.TOO_SLOW
    except (BackendError, DeviceError):
        return Failure.IN_DOUBT if bound.side_effect else Failure.FAILED
    said = speakable(result)
    if len(said) > _RESULT_CHARS_MAX:
        said = said[:_RESULT_CHARS_MAX].rpartition(" ")[0]
    sentence = bound.says.format(about=call.offered.about, result=said, **call.offered.arguments)
    return sentence[0].upper() + sentence[1:]


def _parsed(text: str) -> tuple[str, dict[str, Any]] | Refusal:
    """`<tool> {"name": ..., "arguments": {...}}`, with nothing else around it."""
    body = text.strip().removeprefix(TOOL).strip()
    if len(body) > CALL_CHARS_MAX:
        return Refusal.UNREADABLE
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal.UNREADABLE
    if not isinstance(call, dict) or set(call) - {"name", "arguments"}:
        return Refusal.UNREADABLE
    name, arguments = call.get("name"), call.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return Refusal.UNREADABLE
    return name, arguments


def _texts(arguments: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items()}


def _is_nearly(offered: Mapping[str, str], written: Mapping[str, str]) -> bool:
    return set(offered) == set(written) and all(
        SequenceMatcher(None, value, written[name]).ratio() >= _NEARLY for name, value in offered.items()
    )


def _is_named(tool: Tool, offered: Iterable[Tool], question: str) -> bool:
    """Does the question name every argument, and whole? "The air pressure of the tank" is not about its pressure.

    A call without arguments is about nothing that could be taken for another.
    """
    values = {value for each in offered for value in each.arguments.values()}
    read = mentions(tokens(question), names_of(values))
    whole = (each for number, each in enumerate(read) if each.sort is Sort.ITEM and is_whole(read, number, frozenset()))
    named = {each.value for each in whole}  # "oven temperature": two of them may stand side by side
    return named >= set(tool.arguments.values())
