"""Whether a reply may be prepared on a guess: as long as guesses come true and the processor has the time.

Pure. A guess that is discarded costs processor time that other work, the camera's among it, could have used; a device
that is throttled or a person who never says what was guessed makes that a bad bargain. Then turns are answered without
guessing, and now and then one is tried again, so that "switched off" never means "not measured".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

_TURNS_SEEN: Final = 20  # the newest turns that had a guess; the hit rate is theirs
_SPENT_SEEN: Final = 256  # guesses whose cost is remembered; more than a minute can hold


@dataclass(frozen=True, slots=True)
class SpeculationRule:
    """When to guess."""

    enabled: bool = True
    hit_rate_min: float = 0.3
    """Below this share of turns whose guess came true, guessing rests."""

    wasted_share_max: float = 0.25
    """Of the last minute, spent on guesses that were discarded."""

    over_ns: int = 60_000_000_000
    """That minute."""

    try_every_turns: int = 8
    """While guessing rests for a low hit rate, one turn in so many is tried."""


class Speculation:
    """One conversation's account of its guesses."""

    def __init__(self, rule: SpeculationRule = SpeculationRule()) -> None:
        self.rule = rule
        self._hits: deque[bool] = deque(maxlen=_TURNS_SEEN)
        self._spent: deque[tuple[int, int]] = deque(maxlen=_SPENT_SEEN)  # when, how long
        self._resting_turns = 0
        self.wasted_ns = 0
        """All that discarded guesses have cost."""

    @property
    def hit_rate(self) -> float:
        """The share of the last turns with a guess whose guess came true; 1 while there are too few to tell."""
        return sum(self._hits) / len(self._hits) if len(self._hits) == _TURNS_SEEN else 1.0

    def allowed(self, now_ns: int, *, throttled: bool) -> bool:
        """May a reply be prepared now, for a turn that may not be over?"""
        rule = self.rule
        if not rule.enabled or throttled:
            return False
        spent_ns = sum(took_ns for at_ns, took_ns in self._spent if now_ns - at_ns <= rule.over_ns)
        if spent_ns > rule.wasted_share_max * rule.over_ns:
            return False
        return self.hit_rate >= rule.hit_rate_min or self._resting_turns >= rule.try_every_turns

    def discarded(self, now_ns: int, worked_ns: int) -> None:
        """A guess was thrown away after it had worked for so long."""
        self._spent.append((now_ns, worked_ns))
        self.wasted_ns += worked_ns

    def ended(self, *, guessed: bool, hit: bool) -> None:
        """A turn was committed; `guessed` if a reply had been begun before, `hit` if it was the one that is played."""
        if guessed:
            self._hits.append(hit)
            self._resting_turns = 0
        elif self.hit_rate < self.rule.hit_rate_min:
            self._resting_turns += 1
