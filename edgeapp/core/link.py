"""Link: what we believe about one endpoint.

Latencies by payload size, in two memories: a long one that says how late the remote may be (its upper bound), and a short
one that can only object (its lower bound), so that fresh trouble counts at once and a quiet minute is not held against the
link. A breaker stops sending after repeated lateness; shadow requests, whose answers nobody waits for, go on measuring, so
"not chosen" never means "not measured" and the breaker cannot latch.
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


@dataclass(slots=True)
class _Memory:
    long: Latency
    short: Latency


class Link:
    """One endpoint, shared by every stage that may use it. Pure: it is told the time."""

    def __init__(self, name: str, *, shadow_every_ns: int = 1_000 * MS) -> None:
        """`shadow_every_ns` bounds how often a request is sent only to learn."""
        self.name = name
        self.open = False
        """The breaker: an open one lets nothing but shadows through."""
        self._memories: dict[int, _Memory] = {}  # at most 16: payloads up to 4**16 bytes
        self._lately: deque[bool] = deque(maxlen=4)  # late?
        self._good_shadows = 0
        self._shadow_every_ns = shadow_every_ns
        self._shadow_at_ns = 0

    def tail(self, now_ns: int, payload_bytes: int) -> Tail | Why:
        """The upper bound on the remote being late for this payload, or why it may not be used now."""
        if self.open:
            return Why.BREAKER
        size = self._size(payload_bytes)
        known = [memory for key, memory in self._memories.items() if key >= size]

        def late_share(within_ns: int) -> float:
            # A bigger payload's tail bounds a smaller one's, so the best bound of those is a bound.
            shares = [
                max(
                    memory.long.share_longer_at_most(now_ns, within_ns),
                    memory.short.share_longer_at_least(now_ns, within_ns),
                )
                for memory in known
            ]
            return min(shares, default=1.0)

        return late_share

    def took(self, now_ns: int, payload_bytes: int, took_ns: int, *, late: bool, shadow: bool = False) -> None:
        """An answer came; `late` if it was of no use any more."""
        memory = self._memory(payload_bytes)
        memory.long.took(now_ns, took_ns)
        memory.short.took(now_ns, took_ns)
        self._judge(late=late, shadow=shadow)

    def gave_up(self, now_ns: int, payload_bytes: int, waited_ns: int, *, late: bool, shadow: bool = False) -> None:
        """The wait was ended, by a timeout, by local's answer or by a person who spoke. That is evidence too."""
        memory = self._memory(payload_bytes)
        memory.long.gave_up(now_ns, waited_ns)
        memory.short.gave_up(now_ns, waited_ns)
        if late:
            self._judge(late=True, shadow=shadow)

    def failed(self, now_ns: int, payload_bytes: int, *, shadow: bool = False) -> None:
        """The remote refused or the connection broke: it would not have answered in any time."""
        memory = self._memory(payload_bytes)
        memory.long.took(now_ns, 20_000 * MS)
        memory.short.took(now_ns, 20_000 * MS)
        self._judge(late=True, shadow=shadow)

    def shadow(self, now_ns: int) -> bool:
        """May a request be sent now only to learn? True at most once every `shadow_every_ns`."""
        if now_ns < self._shadow_at_ns:
            return False
        self._shadow_at_ns = now_ns + self._shadow_every_ns
        return True

    def _judge(self, *, late: bool, shadow: bool) -> None:
        if self.open:
            self._good_shadows = 0 if late else self._good_shadows + 1
            if self._good_shadows >= _CLOSE_AFTER:
                self.open = False
                self._lately.clear()
        elif not shadow:
            self._lately.append(late)
            self.open = sum(self._lately) >= _OPEN_AT
            self._good_shadows = 0

    def _memory(self, payload_bytes: int) -> _Memory:
        size = self._size(payload_bytes)
        if size not in self._memories:
            self._memories[size] = _Memory(
                Latency(prior_ns=0, half_life_ns=_LONG_NS), Latency(prior_ns=0, half_life_ns=_SHORT_NS)
            )
        return self._memories[size]

    @staticmethod
    def _size(payload_bytes: int) -> int:
        return min(16, max(0, payload_bytes).bit_length() // 2)  # one histogram for each factor of 4
