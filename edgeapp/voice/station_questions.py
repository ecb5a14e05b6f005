"""What a person asks at the station, read from the words alone: which count, of which stretch of time, or which command.

Every word must be understood. "How many rejects on line two" is not answered as if "on line two" had not been said: a word that
belongs to no known phrase makes it no question of ours, because a right count of something else is a wrong number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from edgeapp.voice.grammar import normalise


class Topic(StrEnum):
    """What is wanted."""

    COUNT = "count"
    CAUSES = "causes"
    OVERVIEW = "overview"
    """Passed, failed and not inspected."""

    YIELD = "yield"
    REJECT_RATE = "reject rate"
    COMMON = "most common defect"
    LAST = "last part"
    SHOW = "show"
    GOLDEN = "golden check"
    STATUS = "status"
    """Is the line stopped, and what was the last alarm?"""

    REPEAT = "repeat"
    ACKNOWLEDGE = "acknowledge"
    STOP_AFTER = "stop after rejects in a row"
    STOP = "stop the line"
    RESUME = "let the line run"


FAIL, PASS, NOT_INSPECTED, INSPECTED, ALL = "FAIL", "PASS", "NOT_INSPECTED", "INSPECTED", "ALL"

HOUR, SHIFT, LAST_SHIFT, TODAY, YESTERDAY, EVER, MINUTES = (
    "hour",
    "shift",
    "last shift",
    "today",
    "yesterday",
    "ever",
    "minutes",
)
"""Stretches of time: since the full hour, the shift's beginning, midnight; and the last so many minutes."""


@dataclass(frozen=True, slots=True)
class StationQuestion:
    """A question or a command, typed."""

    topic: Topic
    outcome: str = ""
    """Which parts; empty if it does not matter."""

    causes: tuple[str, ...] = ()
    """The defects it is about."""

    span: str = SHIFT
    minutes: int = 0
    """Of the span MINUTES."""

    why: bool = False
    """The reasons too."""

    parts: int = 0
    """Rejects in a row, of STOP_AFTER; 0 is never."""


_NUMBERS: Final = {
    word: number
    for number, word in enumerate(
        (
            "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
            "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
        )
    )
} | {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}  # fmt: skip

_IN: Final = "(?:(?:in|during|within|over|for|of|on|from) )?"
_LAST: Final = "(?:last|latest|newest|most recent)"
_PART: Final = "(?:part|piece|one|component|unit)"
_NUMBER: Final = r"(\d{1,3}|[a-z]+(?: (?:one|two|three|four|five|six|seven|eight|nine))?)"

_SPANS: Final = (
    (HOUR, rf"{_IN}(?:this|the current) (?:full )?hour|since the (?:full )?hour(?: began| started)?"),
    (LAST_SHIFT, rf"{_IN}(?:the |our )?(?:last|previous) shift|{_IN}the shift before(?: this(?: one)?)?"),
    (
        SHIFT,
        (
            rf"since (?:the )?(?:start|beginning) of (?:the|this|our) shift|since (?:the|this|our) shift (?:began|started)"
            rf"|{_IN}(?:this|the current|our|my|the) shift"
        ),
    ),
    (TODAY, rf"{_IN}today|since midnight|{_IN}this day"),
    (YESTERDAY, rf"{_IN}yesterday"),
    (EVER, r"ever|of all time|since the beginning|in the (?:whole |entire )?ledger"),
)  # fmt: skip
_LAST_HOUR: Final = rf"{_IN}(?:the |this )?(?:last|past) (half hour|hour)"
_LAST_MINUTES: Final = rf"{_IN}(?:the |these )?(?:last|past) {_NUMBER} (minutes|hours)"

_OUTCOMES: Final = (
    (NOT_INSPECTED, r"(?:not|never|without) (?:being |been |be )?(?:inspected|checked|examined)|uninspected|unchecked|un inspected"),
    (FAIL, r"rejects?|rejected|fail(?:s|ed|ures?|ing)?|bad|defects?|defective|faulty|faults?|thrown out|scrap(?:ped)?"),
    (PASS, r"pass(?:ed|es|ing)?|good|accepted"),
    (INSPECTED, r"inspect(?:ed)?|check(?:ed)?|examined?"),
    (ALL, r"(?:come|came|gone|went|been|run|ran) (?:through|by|past|along|down|off)|(?:make|made|run|ran|produced?|handled?)"),
)  # fmt: skip
_RATES: Final = (
    (Topic.YIELD, r"(?:first pass )?yield|pass rate|(?:share|percentage|percent|proportion) of (?:the )?(?:good|parts (?:were |are |was )?(?:good|passed))"),
    (
        Topic.REJECT_RATE,
        (
            r"(?:reject(?:ion|s)?|scrap|fail(?:ure)?|defect) (?:rate|ratio|share|percentage|quota)|(?:share|percentage|percent|proportion) of "
            r"(?:the )?(?:rejects|bad|failures|parts (?:were |are |was )?(?:bad|failed|rejected))"
        ),
    ),
)  # fmt: skip
_COMMON: Final = (
    r"(?:most (?:common|frequent)|commonest|main|top|biggest|leading|number one) (?:defect|fault|reason|cause|problem)"
    r"(?: (?:of|for) (?:the )?(?:rejects|failures))?"
    r"|(?:which|what) (?:kind of )?(?:defect|fault|problem) (?:is|was|comes|came|happens|happened|occurs|appears|do we (?:have|see|get)) "
    r"(?:the )?most(?: (?:common|frequent|often))?"
    r"|what (?:goes wrong|fails|do we reject) (?:the )?most(?: often)?"
)
_WHY: Final = (
    r"\bwhy\b|for what(?: reasons?)?|what for|(?:what (?:is|was|were|are) )?the (?:reasons?|causes?)(?: (?:of|for|behind) (?:it|that|them))?"
    r"|what (?:is|was) wrong(?: with (?:it|them|that))?"
)
_COUNT: Final = r"how many|(?:what (?:is|was) )?(?:the )?(?:number|count|total) of|count|(?:(?:are|were|have) there (?:been )?|did |have |had )?any"
_SHOW: Final = (
    r"show(?: me| us)?(?: (?:the|a) (?:picture|image|photo) of)?|display(?: the (?:picture|image|photo) of)?|bring up|put up|pull up"
    r"|let (?:me|us) see|(?:can|could|may) i see|(?:the |a )?(?:picture|image|photo) of|i (?:want|would like) to see"
)
_WHEN: Final = (
    r"when (?:was|did|were)|at what time (?:was|did)|what time (?:was|did)|how long ago (?:was|did)|how long since"
)
_VERDICT: Final = (
    rf"{_LAST} (?:verdict|result|judgement|inspection)(?: of the station)?|verdict (?:on|of|for) the {_LAST} {_PART}"
)
_GOLDEN: Final = r"golden (?:check|parts?|samples?|test|set|run)"
_STATUS: Final = (
    r"(?:(?:are|were) there |do we have |is there )?(?:any |an? |the last |the latest |open |the )*(?:alarms?|warnings?)"
    r"|why (?:did|has|is|was) the (?:line|belt|station) (?:stop|stopped|standing)"
    r"|(?:is|has) the (?:line|belt|station) (?:stopped|running|standing|okay|all right)"
    r"|is (?:anything|something) wrong(?: with the (?:line|station|belt))?"
)
_FILLER: Final = frozenset(
    """
    a already an and are at been by can could did do does done exactly far far get give had has have he hear here how i is it know just
    let like line many me now of okay on or our out overall parts part pieces piece please say so station tell that the them
    there these they those through to told total up us was we well were what which with would you altogether all came come made make
    got components units our in for from number ones happened
    """.split()  # noqa: SIM905
)
"""Words that change nothing in what is asked, once its phrases are taken out."""

_GOLDEN_FILLER: Final = frozenset(
    "due needed necessary overdue outstanding need next still valid okay again done run another time when must should".split()  # noqa: SIM905
)

_STARTS: Final = re.compile(
    r"^(?:(?:hello|hi|hey|excuse me|please|sorry|okay|ok|so|well|um|uh|computer|station) )*(.*?)(?: (?:please|thanks|thank you|then))*$"
)
_GOES_ON: Final = re.compile(r"^(?:and|what about|how about) ")
_SPOKEN: Final = {
    "what's": "what is", "how's": "how is", "that's": "that is", "it's": "it is", "i've": "i have", "i'd": "i would", "let's": "let us",
    "there's": "there is", "we've": "we have", "who's": "who is", "when's": "when is", "line's": "line is",
}  # fmt: skip

_COMMANDS: Final = (
    (Topic.REPEAT, r"(?:please )?(?:repeat(?: that| it)?|say (?:that|it) again|once more|come again|what did you say|what was that|pardon)"),
    (
        Topic.ACKNOWLEDGE,
        (
            r"(?:i )?acknowledged?(?: (?:it|that|(?:the|this) alarm|all|(?:the )?alarms))?"
            r"|(?:yes |okay )?(?:i have )?seen(?: (?:it|that|the alarm))?"
        ),
    ),
    (Topic.STOP, r"stop the (?:line|belt|station)(?: now)?|(?:halt|hold) the (?:line|belt)"),
    (Topic.RESUME, r"(?:re)?start the (?:line|belt|station)(?: again)?|let the (?:line|belt) run(?: again)?|resume(?: the line)?|run the line"),
)  # fmt: skip
_STOP_AFTER: Final = re.compile(
    r"stop (?:the (?:line|belt|station) )?(?:on|after|at) (\d{1,2}|[a-z]+)(?: (?:rejects?|fails|failures|bad parts|failed parts|defects))? in a row"
)
_NEVER_STOP: Final = re.compile(r"(?:do not|don't|never) stop (?:the line )?(?:on|for|after) rejects(?: in a row)?")


def station_question(text: str, labels: Sequence[str], before: Sequence[str] = ()) -> StationQuestion | None:
    """The question or command, or None if it is none that is understood whole.

    `labels` are the defects that the station knows; `before` are the questions before, oldest first, for "and why" or "and today".
    """
    earlier: StationQuestion | None = None
    for each in before:
        earlier = _one_question(each, labels, earlier) or earlier
    return _one_question(text, labels, earlier)


def _one_question(text: str, labels: Sequence[str], earlier: StationQuestion | None) -> StationQuestion | None:
    plain = _STARTS.sub(r"\1", " ".join(_SPOKEN.get(word, word) for word in normalise(text).split()))
    if (command := _command(plain)) is not None:
        return command
    goes_on = _GOES_ON.match(plain)
    asked = _Reading(plain[goes_on.end() :] if goes_on else plain, labels)
    return asked.question(earlier, goes_on=goes_on is not None)


def spoken(label: str) -> str:
    """A label as it is said: `missing_hole` is a missing hole."""
    return " ".join(re.split(r"[_\s-]+", label.strip().lower()))


def plural(label: str) -> str:
    """Several of them: scratches, dents."""
    said = spoken(label)
    return said + ("es" if said.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _command(plain: str) -> StationQuestion | None:
    if match := _STOP_AFTER.fullmatch(plain):
        parts = _number(match[1])
        return StationQuestion(Topic.STOP_AFTER, parts=parts) if parts else None
    if _NEVER_STOP.fullmatch(plain):
        return StationQuestion(Topic.STOP_AFTER)
    return next((StationQuestion(topic) for topic, form in _COMMANDS if re.fullmatch(form, plain)), None)


def _number(words: str) -> int | None:
    """Up to 999 in digits or up to 99 in words."""
    if words.isdigit():
        return int(words)
    numbers = [_NUMBERS.get(word) for word in words.split()]
    if None in numbers or not numbers:
        return None
    tens, *ones = [number for number in numbers if number is not None]
    if ones and (tens < 20 or tens % 10 or not 0 < ones[0] < 10):
        return None
    return tens + sum(ones)


class _Reading:
    """One question while its phrases are taken out of it, the longest and most telling first."""

    def __init__(self, plain: str, labels: Sequence[str]) -> None:
        self._rest = plain
        self._unclear = False
        kinds = "|".join(sorted((form for label in labels for form in _forms(label)), key=len, reverse=True)) or r"\b\B"
        bad = r"rejects?|(?:rejected|failed|bad|defective) (?:part|piece|one)|failure|fail"
        never = r"uninspected (?:part|piece|one)|(?:part|piece|one) (?:that|which) was not inspected"
        behind = rf"(?:part|piece|one) (?:that|which|with) (?:(?:was|were|has|had|is) )?(?:an? )?(?:{kinds}|rejected|failed|bad)"
        self.golden = bool(self._take(_GOLDEN))
        self.status = bool(self._take(_STATUS))
        self.common = bool(self._take(_COMMON))
        self.rate = next((topic for topic, form in _RATES if self._take(form)), None)
        spans = self._spans()
        self.span = spans[0] if spans else None
        self._unclear |= len(spans) > 1
        self.when = bool(self._take(_WHEN))
        self.show = bool(self._take(_SHOW))
        last_of = self._take(
            rf"(?:the |our )?{_LAST} (?:(?:{kinds})(?: (?:part|piece))?|{never}|{bad}|good (?:part|piece|one)|{behind})"
        )
        self.last = (
            bool(last_of)
            or bool(self._take(_VERDICT))
            or bool(self._take(rf"(?:the |our )?{_LAST} {_PART}(?:'s)?(?: verdict)?"))
        )
        self.last_of = self._of(last_of[0], labels) if last_of else ("", ())
        self.why = bool(self._take(_WHY))
        self.count = bool(self._take(_COUNT))
        self.causes = tuple(label for label in labels if self._take("|".join(_forms(label))))
        self.outcomes = tuple(outcome for outcome, form in _OUTCOMES if self._take(form))
        self.parts = bool(re.search(r"\b(?:parts?|pieces?|components|units)\b", self._rest))
        self._filler = _FILLER | _GOLDEN_FILLER if self.golden else _FILLER

    def _take(self, form: str) -> list[str]:
        """Take out every place of a phrase; what stood there."""
        found = [match[0] for match in re.finditer(rf"\b(?:{form})(?![\w'])", self._rest)]
        if found:
            self._rest = re.sub(rf"\b(?:{form})(?![\w'])", " , ", self._rest)
        return found

    def _spans(self) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for match in re.finditer(rf"\b{_LAST_HOUR}\b", self._rest):
            found += [(MINUTES, 30 if match[1] == "half hour" else 60)]
        for match in re.finditer(rf"\b{_LAST_MINUTES}\b", self._rest):
            number = _number(match[1])
            self._unclear |= not number
            found.append((MINUTES, (number or 0) * (60 if match[2] == "hours" else 1)))
        self._take(_LAST_HOUR)
        self._take(_LAST_MINUTES)
        for span, form in _SPANS:
            found += [(span, 0)] * bool(self._take(form))
        self._take(r"(?:so far|until now|up to now|till now|in total|in all|as of now|right now)")
        return found

    @staticmethod
    def _of(said: str, labels: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """What "the last rejected part" is the last of."""
        causes = tuple(label for label in labels if re.search(rf"\b(?:{'|'.join(_forms(label))})\b", said))
        if causes:
            return FAIL, causes
        return next((outcome for outcome, form in _OUTCOMES[:3] if re.search(rf"\b(?:{form})\b", said)), ""), ()

    @property
    def _is_clear(self) -> bool:
        return not self._unclear and set(self._rest.replace(",", " ").split()) <= self._filler

    def question(self, before: StationQuestion | None, *, goes_on: bool) -> StationQuestion | None:
        """What all of it comes to; None if a word is left over, or it does not come to one thing."""
        if not self._is_clear:
            return None
        special = [self.golden, self.status, self.common, self.rate is not None, self.last or self.show or self.when]
        if sum(special) > 1:
            return None
        if self.golden or self.status:
            plain = not (self.count or self.causes or self.span)
            return StationQuestion(Topic.GOLDEN if self.golden else Topic.STATUS) if plain else None
        span, minutes = self.span or ((before.span, before.minutes) if goes_on and before else (SHIFT, 0))
        if self.common or self.rate:
            plain = not self.causes and set(self.outcomes) <= {FAIL} and not self.why
            topic = Topic.COMMON if self.common else self.rate
            return StationQuestion(topic, span=span, minutes=minutes) if plain and topic else None
        if self.last or self.show or self.when:
            return self._of_one()
        if (follows := self._follows(before, span, minutes, goes_on=goes_on)) is not None:
            return follows
        return self._of_many(span, minutes)

    def _of_one(self) -> StationQuestion | None:
        """The last part, or the last of a kind."""
        outcome, causes = self.last_of
        if self.span or self.count:
            return None
        if self.show and not self.last and len(self.causes) == 1:
            outcome, causes = FAIL, self.causes
        elif not self.last or self.causes or len(causes) > 1:
            return None
        return StationQuestion(Topic.SHOW if self.show else Topic.LAST, outcome, causes)

    def _follows(
        self, before: StationQuestion | None, span: str, minutes: int, *, goes_on: bool
    ) -> StationQuestion | None:
        """Of "why", "and today" and "and dents" the rest was said before."""
        if before is None or self.outcomes or self.count or self.parts:
            return None
        counted = before.topic in {
            Topic.COUNT,
            Topic.CAUSES,
            Topic.OVERVIEW,
            Topic.YIELD,
            Topic.REJECT_RATE,
            Topic.COMMON,
        }
        if self.why and not self.causes:
            if before.topic in {Topic.LAST, Topic.SHOW}:
                return replace(before, topic=Topic.LAST)
            outcome = before.outcome if before.outcome == NOT_INSPECTED else FAIL
            here = (span, minutes) if self.span else (before.span, before.minutes)
            return StationQuestion(Topic.CAUSES, outcome, span=here[0], minutes=here[1]) if counted else None
        if not goes_on or not counted:
            return None
        if self.causes:
            return StationQuestion(Topic.COUNT, FAIL, self.causes, span, minutes)
        return replace(before, span=span, minutes=minutes) if self.span else None

    def _of_many(self, span: str, minutes: int) -> StationQuestion | None:
        outcomes = set(self.outcomes)
        for each in (ALL, INSPECTED):  # "of the parts that came, how many failed"
            outcomes -= {each} if len(outcomes) > 1 else set()
        if self.causes:
            return (
                StationQuestion(Topic.COUNT, FAIL, self.causes, span, minutes)
                if outcomes <= {FAIL} and not self.why
                else None
            )
        if len(outcomes) > 1:
            listed = "and" in self._rest.split() and not self.why
            return StationQuestion(Topic.OVERVIEW, "", (), span, minutes) if listed else None
        if not outcomes:
            return (
                StationQuestion(Topic.COUNT, ALL, (), span, minutes)
                if self.count and self.parts and not self.why
                else None
            )
        (outcome,) = outcomes
        if self.why and outcome not in {FAIL, NOT_INSPECTED}:
            return None
        topic = Topic.CAUSES if self.why and not self.count and self.span is None else Topic.COUNT
        return StationQuestion(topic, outcome, (), span, minutes, why=self.why)


def _forms(label: str) -> tuple[str, ...]:
    """How a defect is named: one of it, several, and `hole missing`."""
    said = spoken(label)
    turned = " ".join(reversed(said.split()))
    forms = [plural(label), said, f"{said}ed"]
    return tuple(
        re.escape(form)
        for form in (*forms, *((turned, f"{turned.split()[0]}s {turned.split()[-1]}") if " " in said else ()))
    )
