"""How long to wait in a silence before taking the turn for finished: the least expected cost, computed in the open.

A silence has one of three causes: the turn is over, the person pauses and will go on, or the voice is only closed for a
moment inside a word (the k of "stock"). With the probability of each and how long such silences last, waiting for w
costs

    cost(w) = P(over) * w  +  cutting_in * (P(pause) * P(a pause is longer than w) + P(closure) * P(a closure is longer than w))

and the rule waits for the w with the least cost. Durations of both are log-normal, as pauses in speech are (Campione & Véronis
2002, Speech Prosody); the speaker's own pauses move the first. That a turn ends where a sentence can end and is heard to
end is Sacks, Schegloff & Jefferson 1974 (Language 50); weighing a cut-in against a wait as a decision is Raux & Eskenazi 2009
(NAACL). Pure: evidence in, a wait with its reason out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeapp.core.events import MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRAIN_MS: Final = 8
_PRIOR_PAUSES: Final = 4.0  # how many pauses of the speaker weigh as much as what holds for everybody
_PAUSE_MEDIAN_MS: Final = 360.0  # of pauses inside sentences, for everybody
_PAUSE_SPREAD: Final = 0.55  # standard deviation of the logarithm
_CLOSURE: Final = 0.5  # that a silence after a stop which was not heard released is its closure
_CLOSURE_ELSE: Final = 0.004  # the same after any other sound: the recogniser's last word may be another one
_CLOSURE_MEDIAN_MS: Final = 88.0  # of closures that outlast the least wait
_CLOSURE_SPREAD: Final = 0.4
_MODEL_WEIGHT: Final = 0.5  # an end-of-turn model's log odds are trusted by half: it was trained on other rooms


class Expect(Enum):
    """What kind of answer the device has just asked for."""

    ANY = "anything"
    YES_NO = "yes or no"
    NUMBER = "a number"


class Said(Enum):
    """How finished the words so far are."""

    NOTHING = "nothing was understood"
    OPEN = "the sentence is not finished"
    HESITATION = "they hesitate"
    NUMBER = "the number may go on"
    PLAIN = "nothing speaks against an end"
    WHOLE = "a whole sentence that may go on"
    WORD = "one word that nobody asked for"
    SOUND = "a short sound that is no sentence at all"
    SUPPOSED = "refused, but if it is a sentence it is a whole one"
    CLOSED = "a whole sentence"
    ANSWER = "the answer that was asked for"


_LOG_ODDS: Final = {
    Said.NOTHING: 0.0,
    Said.OPEN: -6.0,
    Said.HESITATION: -5.0,
    Said.NUMBER: -1.0,
    Said.PLAIN: 0.5,
    Said.WHOLE: 3.5,
    Said.WORD: 3.0,  # a "how" alone is heard as "no"
    Said.SOUND: 4.5,
    Said.SUPPOSED: 3.5,
    Said.CLOSED: 5.5,
    Said.ANSWER: 6.0,
}
"""Of the turn being over, against a pause, in a silence after such words."""


_WHOLE: Final = {Said.SOUND, Said.SUPPOSED, Said.WHOLE, Said.WORD, Said.CLOSED, Said.ANSWER}


@dataclass(frozen=True, slots=True)
class Patience:
    """What a wait costs, and its bounds. `preset` names the usual ones."""

    cutting_in_ms: float = 4_000.0
    """Cutting in costs as much as making the person wait for this long."""

    release_ms: float = 250.0
    """The same for cutting into the release of a last sound: no word is lost by it."""

    at_least_ns: int = 48 * MS
    """Even where nothing speaks against an end: shorter silences are inside words."""

    at_most_ns: int = 1_200 * MS
    """Whatever was said. It is also what an unfinished sentence waits."""

    whole_ns: int = 128 * MS
    """After what can be all that was said: a longer wait would cost the budget more often than it saves a turn."""

    digits: bool = False
    """Are numbers given in groups, with pauses between them?"""


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses inside a speaker's turns so far: those after which they went on."""

    count: int = 0
    log_sum: float = 0.0
    """Of their lengths in ms."""

    turns: int = 0
    """Turns that were heard to their end."""

    def learned(self, pause_ns: int) -> Pauses:
        """With one pause more."""
        return replace(self, count=self.count + 1, log_sum=self.log_sum + math.log(max(1.0, pause_ns / MS)))

    def after_turn(self) -> Pauses:
        """With one turn more. What is old weighs less: more than 32 turns are not remembered."""
        share = 1.0 if self.turns < 32 else 0.5
        return Pauses(round(self.count * share), self.log_sum * share, round(self.turns * share) + 1)

    @property
    def median_ms(self) -> float:
        """What this speaker's next pause is likely to last: everybody's, moved by their own."""
        prior = _PRIOR_PAUSES * math.log(_PAUSE_MEDIAN_MS)
        return math.exp((prior + self.log_sum) / (_PRIOR_PAUSES + self.count))

    @property
    def log_odds(self) -> float:
        """What their habit adds to the odds of an end: below zero for those who pause often, above for those who never do."""
        often = (self.count + _PRIOR_PAUSES / 4) / (self.turns + _PRIOR_PAUSES)  # a pause in every fourth turn is usual
        return max(-1.5, min(1.5, math.log(0.25 / often)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known in a silence."""

    said: Said
    cadence: float = 0.0
    """What the voice's ending adds to the log odds of an end; see `cadence`."""

    closure: bool = False
    """May the last sound still be released?"""

    pauses: Pauses = Pauses()
    model: float | None = None
    """The probability of an end by an end-of-turn model, if there is one and it has answered."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The decision."""

    wait_ns: int
    """How long the silence must be."""

    why: str
    """For the record."""

    over: float
    """The probability that the turn is over once that silence has passed."""


def preset(name: str) -> Patience:
    """`aggressive`, `default`, `relaxed` or `digits`. Raises KeyError for any other name."""
    return _PRESETS[name]


def cadence(pitch_fall: float, loudness_fall_db: float, drawn_out: float) -> float:
    """The log odds that an ending adds: a pitch that falls, a soft and a long last syllable speak for an end."""
    melody = 0.6 * (min(max(pitch_fall, -1.0), 5.0) - 1.5)
    return max(-1.5, min(1.5, melody + 0.04 * (loudness_fall_db - 9.0) + 0.2 * (min(drawn_out, 2.5) - 1.0)))


def patience(rule: Patience, evidence: Evidence) -> Wait:
    """The wait with the least expected cost."""
    log_odds = _LOG_ODDS[evidence.said] + evidence.cadence
    if evidence.said is Said.NUMBER and rule.digits:
        log_odds -= 2.0
    if evidence.said not in {Said.CLOSED, Said.ANSWER}:  # what cannot go on does not, whoever says it
        log_odds += evidence.pauses.log_odds
    if evidence.model is not None:
        sure = min(max(evidence.model, 0.01), 0.99)
        log_odds += _MODEL_WEIGHT * math.log(sure / (1 - sure))
    over = 1 / (1 + math.exp(-log_odds))
    closure = _CLOSURE if evidence.closure else _CLOSURE_ELSE
    grid = _grid(rule.at_least_ns, rule.whole_ns if evidence.said in _WHOLE else rule.at_most_ns)
    pausing = (1 - over) * _longer(evidence.pauses.median_ms, _PAUSE_SPREAD, grid)
    closed = closure * _longer(_CLOSURE_MEDIAN_MS, _CLOSURE_SPREAD, grid)
    cost = over * np.array(grid) + rule.cutting_in_ms * pausing + rule.release_ms * closed
    best = int(np.argmin(cost))
    after = over / (over + float(pausing[best] + closed[best]))
    return Wait(grid[best] * MS, _why(evidence, grid[best], after), after)


def _why(evidence: Evidence, wait_ms: int, after: float) -> str:
    parts = [evidence.said.value]
    if evidence.closure:
        parts.append("its last sound may still be released")
    if abs(evidence.cadence) >= 0.5:
        parts.append("the voice ends" if evidence.cadence > 0 else "the voice stays level")
    if evidence.pauses.count:
        parts.append(f"this speaker pauses for about {evidence.pauses.median_ms:.0f} ms")
    if evidence.model is not None:
        parts.append(f"the end-of-turn model says {100 * evidence.model:.0f} %")
    return f"{', '.join(parts)}: {wait_ms} ms, then {100 * after:.0f} % over"


@lru_cache(maxsize=8)
def _grid(at_least_ns: int, at_most_ns: int) -> tuple[int, ...]:
    """The waits to choose from, in ms: both bounds and every 8 ms between them."""
    low, high = at_least_ns // MS, at_most_ns // MS
    return (*range(low, high, _GRAIN_MS), high)


@lru_cache(maxsize=64)
def _longer(median_ms: float, spread: float, grid: tuple[int, ...]) -> NDArray[np.float64]:
    """The probability that a log-normal silence is longer than each of `grid` (ms)."""
    root = spread * math.sqrt(2)
    return np.array([0.5 * math.erfc(math.log(each / median_ms) / root) if each else 1.0 for each in grid])


_PRESETS: Final = {
    "aggressive": Patience(cutting_in_ms=1_000.0, at_least_ns=40 * MS, at_most_ns=640 * MS),
    "default": Patience(),
    "relaxed": Patience(
        cutting_in_ms=20_000.0, release_ms=4_000.0, at_least_ns=96 * MS, at_most_ns=1_600 * MS, whole_ns=800 * MS
    ),
    "digits": Patience(cutting_in_ms=8_000.0, at_most_ns=1_600 * MS, whole_ns=640 * MS, digits=True),
}
