"""`edgeapp replay`: a recorded session once more, under any policy, on virtual time.

What the session measured is taken as it was. What it did not measure (a remote that was not asked, a local run that was not
needed) is filled in from the nearest call of the same stage that did, and counted, because no record can know it. A remote
that was given up takes longer than it was waited for: as long as the nearest one that did, or for ever.
"""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from edgeapp.bench.measures import Score, oracle, score
from edgeapp.bench.offload import show
from edgeapp.bench.simulate import play
from edgeapp.bench.worlds import Recorded, World
from edgeapp.core.events import MS, ConfigError
from edgeapp.core.placement import Why
from edgeapp.core.policies import POLICIES
from edgeapp.core.record import Record
from edgeapp.observe.jsonl import read

_HAD_NO_CHOICE: Final = {str(Why.NO_REMOTE), str(Why.REFUSED), str(Why.RESUMED)}
_CALLS_MAX: Final = 1_000_000
_LEAD_NS: Final = 1_000 * MS


def replay(path: Path, policies: Sequence[str]) -> None:
    """Print how each policy (all by default) would have fared in the newest session of `path` that had a choice.

    Raises ConfigError, one sentence, if the file cannot be read, is of another version or holds no such call.
    """
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 170)
    calls = _calls(path)
    world, filled = _world(calls)
    console.print(
        f"{len(calls)} calls of {', '.join(world.recorded.bounds_ns if world.recorded else ())}; not measured and filled "
        f"in from the nearest call that was: {filled['remote']} remote answers, {filled['local']} local runs"
    )
    wanted = dict.fromkeys([*(policies or POLICIES), "local"])
    runs = {policy: play(world, policy) for policy in wanted}
    scores: list[Score] = [score(world, runs[policy], runs["local"]) for policy in policies or POLICIES]
    show(console, f"{path}, its newest session, replayed", [*scores, oracle(world, len(calls))])
    rows = {
        each.policy: {
            "misses": each.misses,
            "harm": each.harm,
            "remote_share": round(each.remote_share, 4),
            "local_runs": round(each.local_runs, 4),
            "energy": round(each.energy, 4),
        }
        for each in scores
    }
    print(json.dumps({"replay": str(path), "calls": len(calls), "filled": filled, "policies": rows}))


def _calls(path: Path) -> list[Record]:
    sessions: list[list[Record]] = [[]]
    try:
        for line in read(path):
            kind = line.pop("kind")
            if kind == "session":
                sessions = [*[each for each in sessions if each][-1:], []]
            elif kind == "call":
                call = msgspec.convert(line, Record)
                if call.why not in _HAD_NO_CHOICE and call.due_ns > call.asked_ns and len(sessions[-1]) < _CALLS_MAX:
                    sessions[-1].append(call)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} was written by another version of edgeapp ({error}): move it away") from error
    calls = next((each for each in reversed(sessions) if each), [])
    if not calls:
        raise ConfigError(
            f"{path} holds no call that could have run elsewhere: configure a remote, then record a session"
        )
    return sorted(calls, key=lambda call: call.asked_ns)


def _world(calls: list[Record]) -> tuple[World, dict[str, int]]:
    """The session as a world, and how much of it was filled in."""
    first_ns = calls[0].asked_ns - _LEAD_NS
    remote_ns: list[int | None] = [None] * len(calls)
    local_ns = [0] * len(calls)
    filled = {"remote": 0, "local": 0}
    bounds_ns: dict[str, int] = {}
    for name in dict.fromkeys(call.stage for call in calls):
        mine = [n for n, call in enumerate(calls) if call.stage == name]
        far = {n: None for n in mine if _knows_remote(calls[n])}
        best = min(calls[n].rung for n in mine)  # every policy is played with one local model
        near = [n for n in mine if calls[n].local_took_ns is not None and calls[n].rung == best]
        bounds_ns[name] = next(calls[n].local_ns for n in mine if calls[n].rung == best)
        for n in mine:
            filled["remote"] += not _knows_remote(calls[n])
            filled["local"] += calls[n].local_took_ns is None or calls[n].rung != best
            waited_ns = (calls[n].remote_took_ns or 0) if calls[n].remote_end == "given up" else -1
            longer = (
                [each for each in far if (calls[each].remote_took_ns or 0) > waited_ns] if waited_ns >= 0 else [*far]
            )
            there, here = n if n in far else _nearest(longer, n), _nearest(near, n)
            remote_ns[n] = None if there is None else _remote_ns(calls[there])
            local_ns[n] = bounds_ns[name] if here is None else calls[here].local_took_ns or 0
    recorded = Recorded(
        stage=[call.stage for call in calls],
        due_after_ns=[call.due_ns - call.asked_ns for call in calls],
        size_bytes=[call.payload_bytes for call in calls],
        bounds_ns=bounds_ns,
    )
    asked_ns = [call.asked_ns - first_ns for call in calls]
    return World("recorded", asked_ns, remote_ns, local_ns, [], calls[0].local_ns, recorded=recorded), filled


def _knows_remote(call: Record) -> bool:
    """Does its record say whether the remote would have been in time?"""
    waited_ns = call.remote_took_ns or 0
    return call.remote_end in {"answered", "failed"} or (
        call.remote_end == "given up" and waited_ns >= call.due_ns - call.asked_ns
    )


def _remote_ns(call: Record) -> int | None:
    took_ns = call.remote_took_ns or 0
    return {"answered": took_ns, "failed": -max(1, took_ns)}.get(call.remote_end)


def _nearest(known: list[int], n: int) -> int | None:
    """The index in `known`, which rises, that is nearest to `n`."""
    at = bisect_left(known, n)
    return min(known[max(0, at - 1) : at + 1], key=lambda each: abs(each - n), default=None)
