"""When the device listens: always, after a keyphrase, while a key is held, or while a person stands in front of it.

Pure: the instants come from the caller. Voice activity and pre-roll run all the time, so what is said in one breath
with the keyphrase is heard whole; asleep only means that no turn comes of it. A session begins when one of the ways
wakes the device and ends when nobody spoke for a while or the person left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edgeapp.core.events import MS
from edgeapp.voice.grammar import normalise


class Way(StrEnum):
    """What wakes the device."""

    ALWAYS = "always"
    """Nothing has to: it never sleeps."""

    KEYPHRASE = "keyphrase"
    KEY = "key"
    """A key that is held (release ends the turn) or tapped (silence or a second tap does)."""

    PRESENCE = "presence"


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """Which ways wake the device, and for how long."""

    ways: frozenset[Way] = frozenset({Way.ALWAYS})
    keyphrase: str = "hello kiosk"
    awake_ns: int = 20_000 * MS
    """From the last speech of either side to sleep."""

    appear_ns: int = 300 * MS
    """A person who is seen for this long without a gap has come."""

    leave_ns: int = 4_000 * MS
    """A person who was not seen for this long has left: they turn and bend down, and detectors blink."""


class Attention:
    """One device's attention. Every instant is nanoseconds on the loop's clock and never goes back.

    Asleep, awake, and closing: a session that a key began is for one turn, so behind that turn's words it does not
    listen any more and sleeps once the reply has been spoken.
    """

    def __init__(
        self,
        rule: AttentionRule = AttentionRule(),
        *,
        on_wake: Callable[[Way], None] = lambda _: None,
        on_sleep: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_wake` hears what woke it (a greeting belongs there); `on_sleep` why it sleeps: forget who was there."""
        self.rule = rule
        self.held = False
        """Is the key down? Then no silence ends the turn."""
        self.unaddressed = 0
        """How many utterances were not for us."""
        self._on_wake, self._on_sleep = on_wake, on_sleep
        self._phrase = normalise(rule.keyphrase).replace(" ", "")
        self._awake = self._one_turn = self._closing = False
        self._sleeps_ns = 0
        self._turn_ends = False
        self._person = False
        self._seen_since_ns: int | None = None
        self._seen_ns = 0

    def listening(self, now_ns: int) -> bool:
        """Is what is said now for us? Ask at every frame: this is also where a session runs out."""
        stays = self.held or self._person
        if self._awake and not stays and now_ns >= self._sleeps_ns:
            self._sleep("its turn is over" if self._closing else "nobody spoke")
        return Way.ALWAYS in self.rule.ways or (self._awake and not self._closing)

    def hears(self, now_ns: int) -> bool:
        """Must speech be recognised? Asleep only if it may hold the keyphrase."""
        return self.listening(now_ns) or Way.KEYPHRASE in self.rule.ways

    def heard(self, words: str, now_ns: int) -> str | None:
        """The final words of an utterance -> those to answer; None if it was not for us.

        The keyphrase and what was said before it are taken off. Nothing left of something means that it was only
        called: it is awake now.
        """
        behind = self._behind_keyphrase(words)
        if not self.listening(now_ns):
            if behind is None:
                self.unaddressed += 1
                return None
            self._wake(Way.KEYPHRASE, now_ns)
            return behind
        self._closing = self._one_turn and not self.held
        self.spoke(now_ns)
        return words if behind is None else behind

    def spoke(self, now_ns: int) -> None:
        """Somebody speaks in this session, the person or we: call it at every such frame."""
        self._sleeps_ns = now_ns + (0 if self._closing else self.rule.awake_ns)

    def addressed(self, now_ns: int) -> None:
        """We have spoken to whoever is there: what they say to it is for us, whichever way would wake us."""
        if Way.ALWAYS not in self.rule.ways:
            self._awake, self._closing = True, False
            self.spoke(now_ns)

    def pressed(self, now_ns: int) -> None:
        """The key went down, maybe while the person was speaking already: that counts, too."""
        self.held, self._turn_ends = True, False
        self._wake(Way.KEY, now_ns)

    def released(self, now_ns: int) -> None:
        """The key came up."""
        self._turn_ends = self.held
        self.held = False
        self.spoke(now_ns)

    def tapped(self, now_ns: int) -> None:
        """A key whose release cannot be seen was pressed: it wakes, and while we listen it ends the turn."""
        if Way.KEY in self.rule.ways and self.listening(now_ns):
            self._turn_ends = True
        else:
            self._wake(Way.KEY, now_ns)

    def ends_turn(self) -> bool:
        """True once after the key said so: the utterance under way is over, whatever the silence."""
        ends, self._turn_ends = self._turn_ends, False
        return ends

    def present(self, here: bool, now_ns: int) -> None:
        """A camera looked: was a person there? Blinks are passed over; no look at all changes nothing."""
        if here:
            self._seen_ns = now_ns
            if self._seen_since_ns is None:
                self._seen_since_ns = now_ns
            if not self._person and now_ns - self._seen_since_ns >= self.rule.appear_ns:
                self._person = Way.PRESENCE in self.rule.ways
                self._wake(Way.PRESENCE, now_ns)
        elif not self._person:
            self._seen_since_ns = None
        elif now_ns - self._seen_ns >= self.rule.leave_ns:
            self._person, self._seen_since_ns = False, None
            self._sleep("the person left")

    def _wake(self, way: Way, now_ns: int) -> None:
        if way not in self.rule.ways:
            return
        slept = not self._awake
        self._one_turn = way is Way.KEY and (slept or self._one_turn)
        self._awake, self._closing = True, False
        self.spoke(now_ns)
        if slept:
            self._on_wake(way)

    def _sleep(self, why: str) -> None:
        self._awake = self._one_turn = self._closing = False
        self._on_sleep(why)

    def _behind_keyphrase(self, words: str) -> str | None:
        """What follows the keyphrase, written in one word or in several; None without it."""
        if Way.KEYPHRASE not in self.rule.ways:
            return None
        each = normalise(words).split()
        for first in range(len(each)):
            for end in range(first + 1, len(each) + 1):
                if "".join(each[first:end]) == self._phrase:
                    return " ".join(each[end:])
        return None
