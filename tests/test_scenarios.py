"""Conversations as data: who speaks when, what the engines do, what must be heard within which time, and what must not.

One TOML file a scenario in `scenarios/`, played on virtual time. An expectation names an event (`opener`, `reply`, `duck`,
`loud` (no longer ducked), `quiet` (our voice ends), or an outcome of a turn), the turn, and the time: `within_ms` after the
turn's last voiced sample, or after `at_ms` on the scenario's clock. With `absent` there must be no such event then.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from talk import Talk

from edgeapp.core.events import MS
from edgeapp.core.record import TurnRecord
from edgeapp.engines import fake
from edgeapp.voice.turns import Manners

FOLDER = Path(__file__).parent / "scenarios"


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The person speaks, or does not, for so long."""

    speaks_ms: int = 0
    silent_ms: int = 0


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event that must come, or must not."""

    event: str
    within_ms: float
    turn: int = 1
    at_ms: float | None = None
    absent: bool = False
    text: str = ""


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    promise: str
    person: list[Segment]
    expect: list[Expect]
    engines: dict[str, dict[str, Any]] = {}
    barge_in: bool = True


def events(talk: Talk, turns: list[TurnRecord]) -> Iterator[tuple[str, int, float, str]]:
    """What happened: event, turn (0 if none), ms, words."""
    for turn in turns:
        if turn.opener and turn.first_audible_ns is not None:
            yield "opener", turn.number, turn.first_audible_ns / MS, ""
        if turn.first_reply_ns is not None:
            yield "reply", turn.number, turn.first_reply_ns / MS, turn.said
        yield turn.outcome, turn.number, turn.ended_ns / MS, turn.heard
    for at_ms, gain in talk.mouth.ducked:
        yield "duck" if gain < 1 else "loud", 0, at_ms, ""
    began_ms = {start_ms for start_ms, _ in talk.mouth.log}
    for _, ended_ms in talk.mouth.log:
        if ended_ms not in began_ms:
            yield "quiet", 0, ended_ms, ""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
async def test_scenario(path: Path) -> None:
    scenario = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Scenario)
    talk = Talk()
    segments = [(each.speaks_ms or each.silent_ms, bool(each.speaks_ms)) for each in scenario.person]
    engines = {kind: msgspec.convert({"kind": kind, **given}, fake.Options) for kind, given in scenario.engines.items()}
    turns = await talk.hold(*segments, manners=Manners(log_text=True, barge_in=scenario.barge_in), **engines)  # type: ignore[arg-type]
    happened = list(events(talk, turns))
    last_voiced = {turn.number: turn.last_voiced_ns / MS for turn in turns}
    for expect in scenario.expect:
        from_ms = expect.at_ms if expect.at_ms is not None else last_voiced[expect.turn]
        found = [
            each
            for each in happened
            if each[0] == expect.event
            and each[1] in {0, expect.turn}
            and from_ms <= each[2] <= from_ms + expect.within_ms
            and expect.text in each[3]
        ]
        assert bool(found) is not expect.absent, f"{scenario.promise}: {expect} in {happened}"
