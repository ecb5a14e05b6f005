"""The reject gate: tables of what is fired, missed and swept along, by time and by counts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from edgeapp.core.events import MS, DeviceError, Outcome, Trigger, Verdict
from edgeapp.devices.encoder import Encoder
from edgeapp.devices.reject import Gate, GateEvent, Rejector, RejectSchedule

FIRED, MISSED, SWEPT = Gate.FIRED, Gate.MISSED, Gate.SWEPT_ALONG


def _verdict(part: int, outcome: Outcome) -> Verdict:
    return Verdict(outcome, "", "belt", part, at_ns=0, decided_ns=0, due_ns=0)


@dataclass
class Line:
    """A gate on virtual time that writes down when it switched, in ms."""

    switched: list[tuple[float, bool]] = field(default_factory=list)
    events: list[tuple[int, Gate]] = field(default_factory=list)

    def write(self, active: bool) -> None:
        self.switched.append((round(asyncio.get_running_loop().time() * 1e3, 3), active))

    def note(self, event: GateEvent) -> None:
        self.events.append((event.part, event.gate))


# Parts as (triggered at, verdict at or None, outcome); the gate is 500 ms downstream, parts are at it for 40 ms, 30 ms pulse.
TABLE = [
    ("a bad part", [(0, 100, "FAIL")], [(500, True), (530, False)], [(1, FIRED)]),
    ("a good part", [(0, 100, "PASS")], [], []),
    ("not inspected is rejected", [(0, 200, "NOT_INSPECTED")], [(500, True), (530, False)], [(1, FIRED)]),
    ("a verdict inside the window fires at once", [(0, 510, "FAIL")], [(510, True), (540, False)], [(1, FIRED)]),
    ("a good verdict inside the window", [(0, 510, "PASS")], [], []),
    ("no verdict at all is rejected in the middle", [(0, None, "")], [(520, True), (550, False)], [(1, FIRED)]),
    ("a PASS that is too late", [(0, 525, "PASS")], [(520, True), (550, False)], [(1, FIRED)]),
    (
        "the first verdict stands",
        [(0, 100, "FAIL"), (0, None, "")],
        [(500, True), (550, False)],
        [(1, FIRED), (2, FIRED)],
    ),
    (
        "two bad parts, their pulses overlap",
        [(0, 100, "FAIL"), (20, 100, "FAIL")],
        [(500, True), (550, False)],
        [(1, FIRED), (2, FIRED)],
    ),
    (
        "two bad parts apart",
        [(0, 100, "FAIL"), (100, 200, "FAIL")],
        [(500, True), (530, False), (600, True), (630, False)],
        [(1, FIRED), (2, FIRED)],
    ),
    (
        "a good part close behind a bad one is swept along",
        [(0, 100, "FAIL"), (20, 100, "PASS")],
        [(500, True), (530, False)],
        [(1, FIRED), (2, SWEPT)],
    ),
    (
        "a good part close before a bad one is swept along",
        [(0, 100, "PASS"), (20, 100, "FAIL")],
        [(520, True), (550, False)],
        [(2, FIRED), (1, SWEPT)],
    ),
    ("a good part far enough behind", [(0, 100, "FAIL"), (41, 100, "PASS")], [(500, True), (530, False)], [(1, FIRED)]),
    (
        "verdicts out of order",
        [(0, 480, "FAIL"), (60, 100, "PASS"), (120, 130, "FAIL")],
        [(500, True), (530, False), (620, True), (650, False)],
        [(1, FIRED), (3, FIRED)],
    ),
]


@pytest.mark.parametrize(("name", "parts", "switched", "events"), TABLE, ids=[row[0] for row in TABLE])
async def test_the_gate_by_time(
    name: str,
    parts: list[tuple[int, int | None, str]],
    switched: list[tuple[float, bool]],
    events: list[tuple[int, Gate]],
) -> None:
    line, loop = Line(), asyncio.get_running_loop()
    schedule = RejectSchedule(delay=500 * MS, window=40 * MS, pulse_ns=30 * MS, depth=8)
    rejector = Rejector(schedule, line.write, on_event=line.note)
    for number, (at_ms, verdict_ms, outcome) in enumerate(parts, 1):
        loop.call_at(at_ms / 1e3, rejector.part, Trigger(number, at_ms * MS, "eye"))
        if verdict_ms is not None:
            loop.call_at(verdict_ms / 1e3, rejector.verdict, _verdict(number, Outcome(outcome)))
    task = asyncio.create_task(rejector.run())
    await asyncio.sleep(2)
    task.cancel()
    assert line.switched == switched, name
    assert line.events == events, name


async def test_a_loop_that_was_held_up_past_the_window_reports_the_part_that_was_missed() -> None:
    schedule = RejectSchedule(delay=500, window=40, pulse_ns=30, depth=8)
    schedule.part(7, 0)
    schedule.verdict(7, reject=True)
    assert [(each.part, each.gate) for each in schedule.step(541, 541)] == [(7, MISSED)]
    assert schedule.gate_until_ns is None
    assert schedule.step(542, 542) == []


async def test_by_counts_a_stopped_belt_fires_nothing_and_the_right_part_when_it_goes_on() -> None:
    line, encoder, loop = Line(), Encoder(), asyncio.get_running_loop()
    schedule = RejectSchedule(delay=100, window=10, pulse_ns=30 * MS, depth=8)
    rejector = Rejector(schedule, line.write, on_event=line.note, encoder=encoder)
    rejector.part(Trigger(1, 0, "eye", position=50))
    rejector.verdict(_verdict(1, Outcome.FAIL))
    for n in range(1, 150):
        loop.call_at(n / 1e3 if n < 140 else 10 + n / 1e3, encoder.moved, n, 0)
    loop.call_at(11, encoder.moved, 151, 0)
    task = asyncio.create_task(rejector.run())
    await asyncio.sleep(20)
    task.cancel()
    assert line.switched == [(11_000, True), (11_030, False)]
    assert line.events == [(1, FIRED)]


async def test_by_counts_a_jump_past_the_window_is_a_missed_part() -> None:
    line, encoder = Line(), Encoder()
    schedule = RejectSchedule(delay=100, window=10, pulse_ns=30 * MS, depth=8)
    rejector = Rejector(schedule, line.write, on_event=line.note, encoder=encoder)
    rejector.part(Trigger(1, 0, "eye", position=0))
    rejector.verdict(_verdict(1, Outcome.FAIL))
    task = asyncio.create_task(rejector.run())
    await asyncio.sleep(0.1)
    encoder.moved(111, 0)
    await asyncio.sleep(0.1)
    task.cancel()
    assert line.switched == []
    assert line.events == [(1, MISSED)]


async def test_a_part_that_has_no_place_is_missed_at_once() -> None:
    schedule = RejectSchedule(delay=500, window=40, pulse_ns=30, depth=2)
    assert [schedule.part(number, number) for number in (1, 2)] == [None, None]
    event = schedule.part(3, 3)
    assert event is not None
    assert (event.part, event.gate) == (3, MISSED)


async def test_a_gate_that_does_not_switch_is_a_missed_part_and_it_is_shut_at_the_end() -> None:
    events: list[GateEvent] = []

    def broken(active: bool) -> None:
        raise DeviceError("the wire is cut")

    schedule = RejectSchedule(delay=0, window=40 * MS, pulse_ns=30 * MS, depth=2)
    rejector = Rejector(schedule, broken, on_event=events.append)
    rejector.part(Trigger(1, 0, "eye"))
    rejector.verdict(_verdict(1, Outcome.FAIL))
    task = asyncio.create_task(rejector.run())
    await asyncio.sleep(1)
    task.cancel()
    assert [(each.part, each.gate) for each in events] == [(1, MISSED)]


async def test_stopping_the_station_shuts_an_open_gate() -> None:
    line = Line()
    schedule = RejectSchedule(delay=0, window=40 * MS, pulse_ns=1000 * MS, depth=2)
    rejector = Rejector(schedule, line.write, on_event=line.note)
    rejector.part(Trigger(1, 0, "eye"))
    rejector.verdict(_verdict(1, Outcome.FAIL))
    task = asyncio.create_task(rejector.run())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait({task})
    assert line.switched == [(0, True), (100, False)]


@pytest.mark.parametrize("seed", range(40))
async def test_in_any_crowd_every_bad_part_is_fired_inside_its_window_or_named_and_no_good_one_unnamed(
    seed: int,
) -> None:
    rng, loop, line = random.Random(seed), asyncio.get_running_loop(), Line()
    delay, window, pulse = rng.randrange(50, 600), rng.randrange(1, 80), rng.randrange(1, 60)
    schedule = RejectSchedule(delay=delay * MS, window=window * MS, pulse_ns=pulse * MS, depth=rng.choice([4, 64]))
    rejector = Rejector(schedule, line.write, on_event=line.note)
    at_ms, parts, judged = 0, dict[int, int](), dict[int, Outcome]()
    for number in range(1, 101):
        at_ms += rng.randrange(1, 200)
        parts[number] = at_ms
        loop.call_at(at_ms / 1e3, rejector.part, Trigger(number, at_ms * MS, "eye"))
        if rng.random() < 0.9:
            judged[number] = rng.choice(list(Outcome))
            loop.call_at(
                (at_ms + rng.uniform(0, delay + window)) / 1e3, rejector.verdict, _verdict(number, judged[number])
            )
    task = asyncio.create_task(rejector.run())
    await asyncio.sleep(at_ms / 1e3 + 2)
    task.cancel()
    fired, missed, swept = ({part for part, gate in line.events if gate is each} for each in Gate)
    bad = {number for number in parts if judged.get(number) is not Outcome.PASS}
    assert bad <= fired | missed
    assert not fired & missed
    opened = [
        (at, next(end for end, active in line.switched[n:] if not active))
        for n, (at, active) in enumerate(line.switched)
        if active
    ]
    for number, triggered_ms in parts.items():
        opens, closes = triggered_ms + delay, triggered_ms + delay + window
        open_then = any(began <= closes and ended > opens for began, ended in opened)
        if number in fired:
            assert any(began <= closes and ended > opens for began, ended in opened)
        elif open_then and number not in missed:
            assert number in swept
