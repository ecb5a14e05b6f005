"""Link: what we believe about one endpoint.

Latencies by payload size, in two memories: a long one that says how late the remote may be (its upper bound), and a short
one that can only object (its lower bound), so that fresh trouble counts at once and a quiet minute is not held against the
link. What is under way and overdue counts as it stands, before it ends. A breaker stops sending after repeated lateness;
shadow requests, whose answers nobody waits for, go on measuring, so "not chosen" never means "not measured" and the breaker
cannot latch. After it closed, calls are let through step by step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from edgeapp.core.events import MS
from edgeapp.core.latency import Latency
from edgeapp.core.placement import Tail, Why

_LONG_NS: Final = 300_000 * MS
_SHORT_NS: Final = 10_000 * MS
_OPEN_AT: Final = 3  # late of the last four
_CLOSE_AFTER: Final = 2  # good shadows in a row
_TRUST_FIRST: Final = 0.5  # the share of calls let through when the breaker has closed
_TRUST_MORE: Final = 0.25  # added with each call in time; a late one halves it
_PACKET_SIZE: Final = 5  # below 2 KiB
_NEW: Final = 20  # round trips until there is enough evidence to send anything
_LATELY: Final = 100  # round trips that the simple named policies look at
_OVERDUE_SHARE: Final = 0.95  # what is under way for longer than this share of answers took is evidence now


@dataclass(slots=True)
class _Memory:
    long: Latency
    short: Latency


@dataclass(eq=False, frozen=True, slots=True)
class Flight:
    """A request under way."""

    sent_ns: int
    late_ns: int
    """From when on its answer is late."""

    size: int


class Link:
    """One endpoint, shared by every stage that may use it. Pure: it is told the time."""

    def __init__(self, name: str, *, shadow_every_ns: int = 1_000 * MS, in_flight_max: int = 8) -> None:
        """`shadow_every_ns` bounds how often a request is sent only to learn, `in_flight_max` how many are under way."""
        self.name = name
        self.open = False
        """The breaker: an open one lets nothing but shadows through."""
        self.trust = 1.0
        """The share of calls that are let through."""
        self.answers_ns: deque[int] = deque(maxlen=_LATELY)
        """How long the last answers took, as a client sees it that forgets what it gave up."""
        self.waits_ns: deque[int] = deque(maxlen=_LATELY)
        """How long the last requests were waited for, whatever came of them."""
        self._memories: dict[int, _Memory] = {}  # at most 12: payloads up to 4**16 bytes
        self._lately: deque[bool] = deque(maxlen=4)  # late?
        self._flights: list[Flight] = []  # calls sent away: in_flight_max, unless a named policy passes that over
        self._in_flight_max = in_flight_max
        self._good_shadows = 0
        self._shadow_every_ns = shadow_every_ns
        self._shadow_at_ns: dict[int, int] = {}  # by size, as the memories: a busy stage must not take another's turns
        self._credit = 0.0

    def tail(self, now_ns: int, payload_bytes: int) -> Tail | Why:
        """The upper bound on the remote being late for this payload, or why it may not be used now.

        Ask once for each call: while the link is trusted again step by step, every ask takes its turn.
        """
        overdue = sum(flight.late_ns <= now_ns for flight in self._flights)
        if overdue and not self.open and sum(self._lately) + overdue >= _OPEN_AT:
            self.open, self._good_shadows = True, 0  # why wait for them to end
        if self.open:
            return Why.BREAKER
        if len(self._flights) >= self._in_flight_max:
            return Why.BUSY
        if self.trust < 1.0:
            self._credit += self.trust
            if self._credit < 1.0:
                return Why.RAMP
            self._credit -= 1.0
        size = self._size(payload_bytes)
        known = [
            (memory, self._waiting_ns(key, memory, now_ns)) for key, memory in self._memories.items() if key >= size
        ]

        def late_share(within_ns: int) -> float:
            # A bigger payload's tail bounds a smaller one's, so the best bound of those is a bound.
            shares = [
                max(
                    memory.long.share_longer_at_most(now_ns, within_ns, waiting),
                    memory.short.share_longer_at_least(now_ns, within_ns, waiting),
                )
                for memory, waiting in known
            ]
            return min(shares, default=1.0)

        return late_share

    def sent(self, now_ns: int, payload_bytes: int, late_ns: int) -> Flight:
        """A request is under way; from `late_ns` on its answer is late. Give it back to `landed`, however it ends."""
        flight = Flight(now_ns, late_ns, self._size(payload_bytes))
        self._flights.append(flight)
        return flight

    def landed(self, flight: Flight) -> None:
        """It is not under way any more. Idempotent."""
        if flight in self._flights:
            self._flights.remove(flight)

    def took(self, now_ns: int, payload_bytes: int, took_ns: int, *, late: bool, shadow: bool = False) -> None:
        """An answer came; `late` if it was of no use any more."""
        for memory in self._learning(payload_bytes, late=late):
            memory.took(now_ns, took_ns)
        self.answers_ns.append(took_ns)
        self.waits_ns.append(took_ns)
        self._judge(late=late, shadow=shadow)

    def gave_up(self, now_ns: int, payload_bytes: int, waited_ns: int, *, late: bool, shadow: bool = False) -> None:
        """The wait was ended, by a timeout, by local's answer or by a person who spoke. That is evidence too."""
        for memory in self._learning(payload_bytes, late=late):
            memory.gave_up(now_ns, waited_ns)
        if late:
            self.waits_ns.append(waited_ns)
            self._judge(late=True, shadow=shadow)

    def failed(self, now_ns: int, payload_bytes: int, *, shadow: bool = False) -> None:
        """The remote refused or the connection broke: it would not have answered in any time."""
        for memory in self._learning(payload_bytes, late=True):
            memory.took(now_ns, 20_000 * MS)
        self.waits_ns.append(20_000 * MS)
        self._judge(late=True, shadow=shadow)

    def broke_off(self, now_ns: int, payload_bytes: int) -> None:
        """An answer whose first part was in time stalled or broke off: it was no good one after all."""
        if self._lately and not self._lately[-1]:
            self._lately.pop()  # else the first parts of a server that always breaks off would keep the breaker closed
        self.failed(now_ns, payload_bytes)

    def shadow(self, now_ns: int, payload_bytes: int) -> bool:
        """May a request be sent now only to learn? True at most once every `shadow_every_ns` for each size of payload.

        Ten times as often for the first twenty, so that a new link is known soon.
        """
        size = self._size(payload_bytes)
        if now_ns < self._shadow_at_ns.get(size, now_ns):
            return False
        new = len(self.waits_ns) < _NEW
        self._shadow_at_ns[size] = now_ns + (self._shadow_every_ns // 10 if new else self._shadow_every_ns)
        return True

    def _learning(self, payload_bytes: int, *, late: bool) -> list[Latency]:
        """The memories that take in what just came of a request.

        What is late while the breaker is open does not enter the long one: it is asked how late a call that is let
        through will be, and none was. Otherwise an outage would be held against the link long after it ended.
        """
        memory = self._memory(payload_bytes)
        return [memory.short] if self.open and late else [memory.long, memory.short]

    def _judge(self, *, late: bool, shadow: bool) -> None:
        if self.open:
            self._good_shadows = 0 if late else self._good_shadows + 1
            if self._good_shadows >= _CLOSE_AFTER:
                self.open = False
                self.trust, self._credit = _TRUST_FIRST, 1.0
                self._lately.clear()
        elif not shadow:
            if self.trust < 1.0:
                self.trust = max(_TRUST_FIRST / 2, self.trust / 2) if late else min(1.0, self.trust + _TRUST_MORE)
            self._lately.append(late)
            self.open = sum(self._lately) >= _OPEN_AT
            self._good_shadows = 0

    def _waiting_ns(self, size: int, memory: _Memory, now_ns: int) -> list[int]:
        """The ages of what is under way at this size and overdue by what is known of it."""
        if not self._flights:
            return []
        usual_ns = memory.short.bound_ns(_OVERDUE_SHARE)
        return [
            now_ns - flight.sent_ns
            for flight in self._flights
            if flight.size == size and now_ns - flight.sent_ns > usual_ns
        ]

    def _memory(self, payload_bytes: int) -> _Memory:
        size = self._size(payload_bytes)
        if size not in self._memories:
            self._memories[size] = _Memory(
                Latency(prior_ns=0, half_life_ns=_LONG_NS), Latency(prior_ns=0, half_life_ns=_SHORT_NS)
            )
        return self._memories[size]

    @staticmethod
    def _size(payload_bytes: int) -> int:
        # One histogram for each factor of 4, and one for all that fits into a packet.
        return min(16, max(_PACKET_SIZE, max(0, payload_bytes).bit_length() // 2))
