"""What a screen shows of a conversation: what the device is doing, and the words of both sides so far."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Doing(StrEnum):
    """What the device does now."""

    ASLEEP = "asleep"
    LISTENING = "listening"
    HEARING = "hearing"
    """Somebody speaks to it."""

    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True, slots=True)
class Glance:
    """A conversation at one moment."""

    doing: Doing
    turn: int = 0
    """The number of the utterance that `heard` and `said` belong to; 0 before the first."""

    heard: str = ""
    """The person's words as far as they are recognised."""

    said: str = ""
    """Our words as far as they have been audible."""


class Fading:
    """Words that have stood on a screen for so long, with nobody speaking, are for nobody any more."""

    def __init__(self, after_ns: int) -> None:
        self._after_ns = after_ns
        self._last, self._since_ns = Glance(Doing.ASLEEP), 0

    def look(self, now: Glance, now_ns: int) -> Glance:
        """What is still shown of `now`. Ask again and again, at instants that never go back."""
        if now != self._last:
            self._last, self._since_ns = now, now_ns
        quiet = now.doing in {Doing.ASLEEP, Doing.LISTENING}
        return Glance(now.doing) if quiet and now_ns - self._since_ns >= self._after_ns else now
