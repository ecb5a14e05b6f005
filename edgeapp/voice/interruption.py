"""When a person who speaks over us is to be believed: duck first, then stop, or go on after a cough.

Pure: one call a frame while our voice sounds. A frame counts for the person if the voice activity detector takes it for
speech and our own loudspeaker does not explain it (`AudioChunk.echo_share`); one of which it explains next to nothing counts
half again as much. Two frames duck our voice, or one such clear one, which costs nothing if they were a mistake and makes the
person easier to hear; three stop it, or two clear ones, or two and a word that we are not saying. Words that we are saying
ourselves are echo. The counts come from experiments with Silero VAD behind WebRTC's echo
canceller in simulated rooms (docs/LOG.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edgeapp.core.events import MS
from edgeapp.voice.endpoint import FRAME_NS

DUCKED_GAIN: Final = 0.25
"""What our voice is played at while we are not sure: 12 dB softer, still understood."""


@dataclass(frozen=True, slots=True)
class InterruptionRule:
    """How much speech is enough."""

    duck_after_ns: int = 48 * MS
    """A person's speech that makes our voice softer."""

    word_after_ns: int = 64 * MS
    """A person's speech that ends our voice if a word was recognised in it."""

    stop_after_ns: int = 96 * MS
    """A person's speech that ends our voice, whatever was said. With 32 ms more one voice in six stops after 300 ms."""

    resume_after_ns: int = 256 * MS
    """Frames without a person's speech after which nobody spoke: shorter gaps are inside words."""

    echo_share_max: float = 0.4
    """A frame of which our own loudspeaker explains more is not a person's."""

    clear_share_max: float = 0.2
    """A frame of which it explains less counts half again as much: our own voice never made one (docs/LOG.md)."""

    threshold: float = 0.25
    """The probability from which a frame is speech while we speak: the canceller softens whoever speaks over us."""


class Act(Enum):
    """What is to be done with our voice now."""

    NOTHING = "nothing"
    DUCK = "duck"
    STOP = "stop"
    RESUME = "resume"
    """It was a cough, or echo: at full loudness again."""


class Interruption:
    """One reply's listener. `forget` begins the next one."""

    def __init__(self, rule: InterruptionRule = InterruptionRule()) -> None:
        self._rule = rule
        self.forget()

    def forget(self) -> None:
        """A new reply begins: nobody has spoken over it."""
        self._speech_ns = self._silent_ns = 0
        self._ducked = False

    def feed(self, *, speech: bool, echo_share: float, words: str, own_words: str) -> Act:
        """Take 32 ms: does it hold speech, how much of it is our echo, what was recognised so far, and what we are saying.

        DUCK and RESUME come once each and alternate; after STOP it starts anew.
        """
        if not speech or echo_share > self._rule.echo_share_max or is_echo(words, own_words):
            return self._silence()
        clear = echo_share <= self._rule.clear_share_max
        self._speech_ns += FRAME_NS + clear * FRAME_NS // 2
        self._silent_ns = 0
        enough = self._speech_ns >= self._rule.stop_after_ns
        if enough or (words and self._speech_ns >= self._rule.word_after_ns):
            self.forget()
            return Act.STOP
        if self._speech_ns >= self._rule.duck_after_ns and not self._ducked:
            self._ducked = True
            return Act.DUCK
        return Act.NOTHING

    def _silence(self) -> Act:
        self._silent_ns += FRAME_NS
        if self._silent_ns < self._rule.resume_after_ns:
            return Act.NOTHING
        ducked = self._ducked
        self.forget()
        return Act.RESUME if ducked else Act.NOTHING


def is_echo(words: str, own_words: str) -> bool:
    """Are these words, if there are any, all among those that we are saying?"""
    spoken = _words(words)
    return bool(spoken) and spoken <= _words(own_words)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9']+", text.lower()))
