"""The weather of a link: what a radio link to a near edge does at every moment, seeded and pure.

Two kinds of thing happen. The *body* is a round trip and two rates that change every 100 ms: values from a measured
quantile function, driven by a Gaussian process with the measured rank correlation after one step and after one second
("autoregressive to anything": Cario & Nelson 1996, Operations Research Letters 19). *Troubles* are stretches in which
nothing moves: in ping traces they show as ramps that fall by 100 ms a ping, because all that waited arrives together.

`Weather` answers for any moment in any order and gives the same answer again, so a simulated bench may ask thousands of
times a second, all policies and the oracle may ask about the same call, and the relay may ask about real bytes.
What it does not model: TCP's slow start, several calls sharing the rate (`round_trip_ns` sees each call alone; the
relay does share), reordering.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal

from edgeapp.core.events import MS, ConfigError

if TYPE_CHECKING:
    from edgeapp.near_edge.trace import Trace

Quantiles = tuple[tuple[float, float], ...]
"""Pairs of (share of the time below, value), rising in both; shares 0 and 1 are the ends."""

Direction = Literal["up", "down"]

STEP_NS: Final = 100 * MS
"""How long a round trip and the rates stay as they are: the interval of the pings that the presets are fitted to."""

PACKET_BYTES: Final = 1_448
"""What a TCP segment carries on Ethernet."""

_MAX_STEPS: Final = 2_000_000  # 55 hours of weather and about 50 MB; after that it begins again
_MAX_WAIT_STEPS: Final = 36_000  # an hour; a transfer that takes longer counts as lost
_MIN_RTO_NS: Final = 200 * MS  # Linux's smallest retransmission timeout
_MAX_RTO_NS: Final = 120_000 * MS  # and its largest
_SLOW: Final = 0.998  # step correlation of what stays alike over seconds: its memory is about a minute
_RENEWED: Final = math.sqrt(1 - _SLOW**2)
_MINUTE_NS: Final = 60_000 * MS
_NORMAL: Final = NormalDist()


class Kind(StrEnum):
    """What a stretch of trouble does."""

    STALL = "stall"
    """Nothing moves; what waits goes on at its end (a handover, a busy cell)."""

    OUTAGE = "outage"
    """Every packet is lost; what waits goes on with TCP's first retransmission after its end."""

    BLACK_HOLE = "black hole"
    """Connections are accepted and nothing is ever heard on them, not even after its end (a NAT that forgot)."""

    RESET = "reset"
    """Every connection is cut at its beginning."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One stretch, on the weather's clock."""

    kind: Kind
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Often:
    """How often a kind of trouble comes by itself: a Poisson process, its length from a quantile function."""

    kind: Kind
    per_minute: float
    lasts_ms: Quantiles = ((0.0, 0.0), (1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of link. `source` says where its figures are from; what is assumed is called assumed there."""

    name: str
    source: str
    rtt_ms: Quantiles
    up_mbps: Quantiles
    down_mbps: Quantiles
    after_step: float
    """Rank correlation of the round trip with itself after 100 ms."""

    after_second: float
    """And after 1 s; at most `after_step`."""

    rate_after_step: float
    """The same of the rates after 100 ms."""

    troubles: tuple[Often, ...] = ()
    loss: float = 0.0
    """Share of the packets that are lost while nothing else is wrong."""


@dataclass(frozen=True, slots=True)
class State:
    """The link at one moment."""

    rtt_ns: int
    """Round trip of a small packet if nothing is wrong."""

    up_bps: float
    down_bps: float
    loss: float
    trouble: Trouble | None
    """What stops everything now, if anything does."""

    @property
    def alive(self) -> bool:
        """Does anything move now?"""
        return self.trouble is None and self.up_bps > 0 and self.down_bps > 0


class Weather:
    """The link's state for every moment from 0 on, the same for the same preset (or trace), seed and schedule."""

    def __init__(self, source: Preset | Trace, seed: int = 0, *, schedule: Sequence[Trouble] = ()) -> None:
        """`schedule` are troubles at given times; those that the preset brings come besides and may overlap them."""
        self.name = source.name
        self._body = _Generated(source, seed) if isinstance(source, Preset) else source
        self._seed = seed
        often = source.troubles if isinstance(source, Preset) else ()
        self._arrivals = [_Arrivals(each, random.Random(f"{seed}/{source.name}/{n}")) for n, each in enumerate(often)]
        self._troubles = sorted(schedule, key=lambda each: each.start_ns)
        self._starts = [each.start_ns for each in self._troubles]
        self._longest_ns = max((each.end_ns - each.start_ns for each in self._troubles), default=0)
        self._known_ns = 0

    def at(self, now_ns: int) -> State:
        """The state at `now_ns` (0 or later)."""
        rtt_ns, up_bps, down_bps, loss = self._body.values(now_ns)
        return State(rtt_ns, up_bps, down_bps, loss, self.trouble_at(now_ns))

    def trouble_at(self, now_ns: int) -> Trouble | None:
        """The worst trouble at that moment: a black hole before an outage before a stall."""
        found = [each for each in self._near(now_ns) if each.kind is not Kind.RESET and each.end_ns > now_ns]
        return max(found, key=lambda each: (_WORSE[each.kind], each.end_ns), default=None)

    def cut_between(self, start_ns: int, end_ns: int) -> int | None:
        """The first moment in (start, end] at which every connection is reset; None if there is none."""
        self._know(end_ns)
        first, last = bisect_right(self._starts, start_ns), bisect_right(self._starts, end_ns)
        return next((each.start_ns for each in self._troubles[first:last] if each.kind is Kind.RESET), None)

    def outage_between(self, start_ns: int, end_ns: int) -> Trouble | None:
        """The first outage that touches [start, end]; None if there is none."""
        self._know(end_ns)
        first, last = bisect_right(self._starts, start_ns), bisect_right(self._starts, end_ns)
        now = [each for each in self._near(start_ns) if each.end_ns > start_ns]
        return next((each for each in [*now, *self._troubles[first:last]] if each.kind is Kind.OUTAGE), None)

    def leaves_ns(self, start_ns: int, size_bytes: int, direction: Direction) -> int | None:
        """When the last of `size_bytes`, ready at `start_ns`, has left the sender; None if it is swallowed.

        It pauses while there is trouble and takes each moment's rate. None: a black hole, or more than an hour.
        """
        now_ns, bits = start_ns, 8.0 * max(size_bytes, 0)
        for _ in range(_MAX_WAIT_STEPS):
            if trouble := self.trouble_at(now_ns):
                if trouble.kind is Kind.BLACK_HOLE:
                    return None
                now_ns = trouble.end_ns if trouble.kind is Kind.STALL else _retransmitted_ns(now_ns, trouble.end_ns)
                continue
            _, up_bps, down_bps, _ = self._body.values(now_ns)
            bps = up_bps if direction == "up" else down_bps
            until_ns = self._calm_until_ns(now_ns)
            takes_ns = bits * 1e9 / bps if bps > 0 else float("inf")
            if now_ns + takes_ns <= until_ns:
                return now_ns + round(takes_ns)
            bits -= bps * (until_ns - now_ns) / 1e9
            now_ns = until_ns
        return None

    def arrives_ns(self, left_ns: int, size_bytes: int, direction: Direction) -> int:
        """When what has left at `left_ns` is there: half a round trip later, or a retransmission later still.

        A loss costs a round trip if packets after it report it, and the retransmission timeout (at least 200 ms, RFC
        6298 and Linux) if it was one of the last three.
        """
        rtt_ns, _, _, loss = self._body.values(left_ns)
        late_ns = 0
        if loss > 0:
            packets = max(1, -(-size_bytes // PACKET_BYTES))
            chance = random.Random(f"{self._seed}/{direction}/{left_ns}")
            if chance.random() < 1 - (1 - loss) ** min(3, packets):
                late_ns = max(_MIN_RTO_NS, 2 * rtt_ns)
            elif chance.random() < 1 - (1 - loss) ** (packets - min(3, packets)):
                late_ns = rtt_ns
        return left_ns + rtt_ns // 2 + late_ns

    def round_trip_ns(self, sent_ns: int, up_bytes: int, down_bytes: int, service_ns: int = 0) -> int | None:
        """How long a call takes that is sent at `sent_ns` and that the server works on for `service_ns`.

        None: it is lost, and its caller never hears of it (a black hole, a reset while it was under way).
        """
        there_ns = self._through(sent_ns, up_bytes, "up")
        back_ns = None if there_ns is None else self._through(there_ns + service_ns, down_bytes, "down")
        if back_ns is None or self.cut_between(sent_ns, back_ns) is not None:
            return None
        return back_ns - sent_ns

    def _through(self, start_ns: int, size_bytes: int, direction: Direction) -> int | None:
        left_ns = self.leaves_ns(start_ns, size_bytes, direction)
        return None if left_ns is None else self.arrives_ns(left_ns, size_bytes, direction)

    def _calm_until_ns(self, now_ns: int) -> int:
        """How far nothing changes: to the next step or the next trouble."""
        step_ns = self._body.constant_until_ns(now_ns)
        self._know(step_ns)
        for index in range(bisect_right(self._starts, now_ns), len(self._starts)):
            if self._starts[index] >= step_ns:
                break
            if self._troubles[index].kind is not Kind.RESET:
                return self._starts[index]
        return step_ns

    def _near(self, now_ns: int) -> list[Trouble]:
        """Troubles that began at or before `now_ns` and may last until then."""
        self._know(now_ns)
        first = bisect_right(self._starts, now_ns - self._longest_ns - 1)
        return self._troubles[first : bisect_right(self._starts, now_ns)]

    def _know(self, until_ns: int) -> None:
        """Let the preset's own troubles come up to `until_ns`, a minute at a time."""
        if until_ns < self._known_ns or not self._arrivals:
            return
        self._known_ns = until_ns + _MINUTE_NS
        come = [each for arrivals in self._arrivals for each in arrivals.until(self._known_ns)]
        self._troubles = sorted(self._troubles + come, key=lambda each: each.start_ns)
        self._starts = [each.start_ns for each in self._troubles]
        self._longest_ns = max((each.end_ns - each.start_ns for each in self._troubles), default=0)


_WORSE: Final = {Kind.STALL: 0, Kind.OUTAGE: 1, Kind.BLACK_HOLE: 2, Kind.RESET: 3}


class _Generated:
    """Round trip and rates of a preset, made step by step and kept."""

    def __init__(self, preset: Preset, seed: int) -> None:
        self._preset = preset
        self._rtt = _Process(random.Random(f"{seed}/{preset.name}/rtt"), preset.after_step, preset.after_second)
        rates = preset.rate_after_step
        self._up = _Process(random.Random(f"{seed}/{preset.name}/up"), rates, rates**10)
        self._down = _Process(random.Random(f"{seed}/{preset.name}/down"), rates, rates**10)
        self._quantiles = tuple(map(_Quantile, (preset.rtt_ms, preset.up_mbps, preset.down_mbps)))
        self._steps: list[tuple[int, float, float, float]] = []

    def values(self, now_ns: int) -> tuple[int, float, float, float]:
        """Round trip in ns, rates up and down in bit/s, share lost."""
        step = now_ns // STEP_NS % _MAX_STEPS
        rtt, up, down = self._quantiles
        while len(self._steps) <= step:
            self._steps.append(
                (
                    round(rtt(self._rtt.advance()) * MS),
                    up(self._up.advance()) * 1e6,
                    down(self._down.advance()) * 1e6,
                    self._preset.loss,
                )
            )
        return self._steps[step]

    def constant_until_ns(self, now_ns: int) -> int:
        """When the next step begins."""
        return (now_ns // STEP_NS + 1) * STEP_NS


class _Process:
    """A standard Gaussian process: one part with a memory of a minute, one with a memory of a few steps."""

    def __init__(self, chance: random.Random, after_step: float, after_second: float) -> None:
        slow_share = min(after_second, after_step)
        self._fast_rho = (after_step - slow_share) / (1 - slow_share) if slow_share < 1 else 0.0
        self._fast_new = math.sqrt(1 - self._fast_rho**2)
        self._slow_weight, self._fast_weight = math.sqrt(slow_share), math.sqrt(1 - slow_share)
        self._chance = chance
        self._slow, self._fast = chance.gauss(0, 1), chance.gauss(0, 1)

    def advance(self) -> float:
        """The next step's value."""
        self._slow = _SLOW * self._slow + _RENEWED * self._chance.gauss(0, 1)
        self._fast = self._fast_rho * self._fast + self._fast_new * self._chance.gauss(0, 1)
        return self._slow_weight * self._slow + self._fast_weight * self._fast


class _Quantile:
    """A standard normal value -> a value of that rank: straight lines between the known quantiles."""

    def __init__(self, quantiles: Quantiles) -> None:
        shares = [share for share, _ in quantiles]
        values = [value for _, value in quantiles]
        if shares[0] != 0 or shares[-1] != 1 or shares != sorted(shares) or values != sorted(values) or values[0] < 0:
            raise ConfigError(f"weather: {quantiles} are no quantiles; both columns must rise, the first from 0 to 1")
        self._scores: list[float] = [
            -4.0 if share == 0 else 4.0 if share == 1 else _NORMAL.inv_cdf(share) for share in shares
        ]
        self._values = values

    def __call__(self, score: float) -> float:
        scores, values = self._scores, self._values
        score = min(max(score, scores[0]), scores[-1])
        above = min(max(bisect_right(scores, score), 1), len(scores) - 1)
        share = (score - scores[above - 1]) / (scores[above] - scores[above - 1])
        return float(values[above - 1] + share * (values[above] - values[above - 1]))


class _Arrivals:
    """The troubles of one kind, in order."""

    def __init__(self, often: Often, chance: random.Random) -> None:
        self._often = often
        self._chance = chance
        self._lasts_ms = _Quantile(often.lasts_ms)
        self._next_ns = self._gap_ns()

    def until(self, end_ns: int) -> list[Trouble]:
        """Those that begin before `end_ns` and were not given before."""
        come = []
        while self._next_ns < end_ns:
            lasts_ns = round(self._lasts_ms(self._chance.gauss(0, 1)) * MS)
            come.append(Trouble(self._often.kind, self._next_ns, self._next_ns + lasts_ns))
            self._next_ns += lasts_ns + self._gap_ns()
        return come

    def _gap_ns(self) -> int:
        return 1 + round(self._chance.expovariate(self._often.per_minute) * _MINUTE_NS)


def _retransmitted_ns(first_ns: int, end_ns: int) -> int:
    """The first retransmission at or after `end_ns` of what was first sent at `first_ns`: doubling waits (RFC 6298, 5.5)."""
    rto_ns = _MIN_RTO_NS
    while first_ns < end_ns:
        first_ns += rto_ns
        rto_ns = min(2 * rto_ns, _MAX_RTO_NS)
    return first_ns
