"""How fast passwords may be tried: a token bucket for each address and one for all of them. Pure: it is told the time."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

BURST: Final = 5
EVERY_NS: Final = 12_000_000_000
"""One address: five at once, then one in twelve seconds. Of twenty in a minute nine are looked at."""

ALL_BURST: Final = 30
ALL_EVERY_NS: Final = 1_000_000_000
"""All addresses together: what bounds the work of hashing, too."""

_ADDRESSES_MAX: Final = 1_024  # remembered; who is pushed out begins anew, and the bucket for all still holds


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_ns: int

    def refill(self, now_ns: int, burst: int, every_ns: int) -> None:
        self.tokens = min(float(burst), self.tokens + max(0, now_ns - self.at_ns) / every_ns)
        self.at_ns = now_ns


@dataclass(slots=True)
class Attempts:
    """Ask before a password is looked at."""

    _by: dict[str, _Bucket] = field(default_factory=dict)
    _all: _Bucket = field(default_factory=lambda: _Bucket(ALL_BURST, 0))

    def wait_ns(self, address: str, now_ns: int) -> int:
        """0 if the attempt may be made now, and then it counts; else after how long to come again. Nobody is locked out."""
        key = network_of(address)
        bucket = self._by.pop(key, None) or _Bucket(BURST, now_ns)
        self._by[key] = bucket  # the one that was asked last stands last
        if len(self._by) > _ADDRESSES_MAX:
            del self._by[next(iter(self._by))]
        bucket.refill(now_ns, BURST, EVERY_NS)
        self._all.refill(now_ns, ALL_BURST, ALL_EVERY_NS)
        short_ns = max((1 - bucket.tokens) * EVERY_NS, (1 - self._all.tokens) * ALL_EVERY_NS)
        if short_ns > 0:
            return max(1, round(short_ns))
        bucket.tokens -= 1
        self._all.tokens -= 1
        return 0


def network_of(address: str) -> str:
    """Whom an address belongs to: of IPv6 the /64, as one household has that many addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(ipaddress.ip_network(f"{parsed}/64", strict=False)) if parsed.version == 6 else str(parsed)


def is_here(address: str) -> bool:
    """Is this the device itself?"""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
