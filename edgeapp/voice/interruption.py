"""When somebody speaks over the reply: first duck, then stop or go on. Pure, one call for each frame of 32 ms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edgeapp.core.events import MS
from edgeapp.voice.endpoint import FRAME_NS


@dataclass(frozen=True, slots=True)
class InterruptionRule:
    duck_after_ns: int = 64 * MS
    stop_after_ns: int = 192 * MS
    duck_gain: float = 0.25


class Act(Enum):
    NOTHING = "nothing"
    DUCK = "duck"
    STOP = "stop"
    RESUME = "resume"


class Interruption:
    def __init__(self, rule: InterruptionRule = InterruptionRule()) -> None:
        self.rule = rule
        self._speech_ns = 0
        self._ducked = False

    def feed(self, *, speech: bool, echo_share: float, words: str, own_words: str) -> Act:
        del echo_share
        if not speech:
            self._speech_ns = 0
            ducked, self._ducked = self._ducked, False
            return Act.RESUME if ducked else Act.NOTHING
        self._speech_ns += FRAME_NS
        if (
            self._speech_ns >= self.rule.duck_after_ns
            and words
            and not set(words.split()) <= set(own_words.lower().split())
        ):
            return Act.STOP
        if self._speech_ns >= self.rule.stop_after_ns:
            return Act.STOP
        if self._speech_ns >= self.rule.duck_after_ns and not self._ducked:
            self._ducked = True
            return Act.DUCK
        return Act.NOTHING


def is_echo(words: str, own_words: str) -> bool:
    return bool(words) and set(words.split()) <= set(own_words.lower().split())
