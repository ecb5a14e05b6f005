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
