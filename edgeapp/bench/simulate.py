"""One policy in one world, on virtual time, with the real stage: placement, link, lane, hedge and records are the application's."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass, field

from edgeapp.bench.virtual import run
from edgeapp.bench.worlds import World
from edgeapp.core.clock import sleep_until
from edgeapp.core.events import BackendError
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Terms, Why
from edgeapp.core.policies import POLICIES
from edgeapp.core.record import AnyRecord, Record
from edgeapp.core.stage import Stage

NOWHERE, HERE, THERE = 0, 1, 2


@dataclass(slots=True)
class Played:
    """What came of every call of a world under one policy; arrays of shape (calls,)."""

    policy: str
    late_ns: array[int]
    """How much too late the answer was; negative if in time, very large if there was none."""

    side: array[int]
    """NOWHERE, HERE or THERE."""

    sent: array[int]
    """Was the call itself sent away?"""

    shut: array[int]
    """Was the link's breaker open when it was asked?"""

    trust: array[float]
    late_share: array[float]
    """The remote's probability of being late as believed, nan if none was worked out."""

    bound_ms: array[float]
    local_runs: int = 0
    requests: int = 0
    """Calls sent away and shadows."""

    why: dict[str, int] = field(default_factory=dict)


def _blank(policy: str, calls: int) -> Played:
    return Played(
        policy,
        late_ns=array("q", [1 << 60]) * calls,
        side=array("b", [NOWHERE]) * calls,
        sent=array("b", [0]) * calls,
        shut=array("b", [0]) * calls,
        trust=array("f", [1.0]) * calls,
        late_share=array("f", [float("nan")]) * calls,
        bound_ms=array("f", [0.0]) * calls,
    )


class _Work:
    """Work of a known duration for the lane; counted when it ends, which work that has started always does."""

    def __init__(self, takes_ns: int, played: Played) -> None:
        self.takes_ns = takes_ns
        self._played = played

    def __call__(self) -> None:
        """The virtual loop has let the time pass."""
        self._played.local_runs += 1


def play(world: World, policy: str, terms: Terms = Terms()) -> Played:
    """Ask every call of the world and say what came of it. Deterministic."""
    played: Played = run(_play(world, policy, terms))
    return played


async def _play(world: World, policy: str, terms: Terms) -> Played:
    played = _blank(policy, len(world.asked_ns))
    link = Link("edge")

    def sink(record: AnyRecord) -> None:
        if isinstance(record, Record):
            n = int(record.of)
            played.late_ns[n] = record.late_ns if record.side != "none" else 1 << 60
            played.side[n] = {"local": HERE, "remote": THERE}.get(record.side, NOWHERE)
            played.sent[n] = bool(record.remote_end)
            played.shut[n] = record.why == Why.BREAKER
            played.trust[n] = 0.0 if link.open else link.trust
            played.bound_ms[n] = record.local_ns / 1e6
            if record.late_share is not None:
                played.late_share[n] = record.late_share
            played.why[record.why] = played.why.get(record.why, 0) + 1

    async def remote(n: int) -> int:
        played.requests += 1
        took_ns = world.remote_ns[n]
        if took_ns is None:
            await asyncio.get_running_loop().create_future()  # whoever waits has a limit
        else:
            await asyncio.sleep(abs(took_ns) / 1e9)
            if took_ns < 0:
                raise BackendError("failed as recorded")
        return n

    def stage(name: str, lane: Lane, bound_ns: int) -> Stage[int, int]:
        async def local(n: int) -> int:
            await lane.run(_Work(world.local_ns[n], played), label=name)
            return n

        return Stage(
            name, local, lane, local_prior_ns=bound_ns, sink=sink, remote=remote, link=link, terms=terms,
            payload_bytes=world.size_bytes, placer=POLICIES[policy], policy=policy, calibrated=True,
        )  # fmt: skip

    if world.recorded:  # a lane for each stage, as is the default
        lanes = {name: Lane(name) for name in world.recorded.bounds_ns}
        named = {name: stage(name, lanes[name], bound_ns) for name, bound_ns in world.recorded.bounds_ns.items()}
        asked = [named[name] for name in world.recorded.stage]
    else:
        lanes = {"gpu": Lane("gpu")}
        named = {str(which): stage(str(which), lanes["gpu"], world.bound_ns) for which in range(world.together)}
        asked = [named[str(n % world.together)] for n in range(len(world.asked_ns))]
    under_way: set[asyncio.Task[int]] = set()  # each ends within its patience, so a few at most
    for n, asked_ns in enumerate(world.asked_ns):
        await sleep_until(asked_ns)
        task = asyncio.ensure_future(asked[n](n, due_ns=asked_ns + world.due_after_ns(n), of=str(n)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way)
    for each in named.values():
        await each.aclose()
    for lane in lanes.values():
        lane.close()
    return played
