"""Triggers on virtual time: every part gets one number, whatever pulls it and however fast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, DeviceError, Trigger
from edgeapp.devices.belt_sim import Belt, turn
from edgeapp.devices.encoder import Divider, Encoder, Quadrature, Unwrap
from edgeapp.devices.gpio import Edge, Input, OnEdge, OnGone
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.devices.triggers import Triggers, by_counts, by_line, by_timer, quadrature


def _never(error: DeviceError) -> None:
    raise AssertionError(str(error))


def _triggers(lost: list[Trigger], depth: int = 4, hold_off_ns: int = 0, encoder: Encoder | None = None) -> Triggers:
    return Triggers("eye", depth=depth, on_lost=lost.append, encoder=encoder, hold_off_ns=hold_off_ns)


async def _waiting(triggers: Triggers) -> list[Trigger]:
    triggers.close()
    return [each async for each in triggers]


async def test_a_part_is_a_rising_edge_and_its_time_is_the_sensors_not_the_filters() -> None:
    chip, triggers = SimulatedChip(), _triggers([])
    by_line(chip, Input(17, debounce_ns=2 * MS), triggers)
    for at_ms, level in ((10, True), (30, False), (50, True), (70, False)):
        asyncio.get_running_loop().call_at(at_ms / 1e3, chip.set, 17, level)
    await asyncio.sleep(0.1)
    assert [(each.number, each.at_ns) for each in await _waiting(triggers)] == [(1, 10 * MS), (2, 50 * MS)]


async def test_a_bouncing_contact_is_one_part_from_its_last_bounce_on() -> None:
    chip, triggers = SimulatedChip(), _triggers([])
    by_line(chip, Input(17, debounce_ns=2 * MS), triggers)
    for at_ms, level in (
        (10, True),
        (11, False),
        (11.5, True),
        (12, False),
        (13, True),
        (40, False),
        (41, True),
        (41.5, False),
    ):
        asyncio.get_running_loop().call_at(at_ms / 1e3, chip.set, 17, level)
    await asyncio.sleep(0.1)
    assert [each.at_ns for each in await _waiting(triggers)] == [13 * MS]


async def test_an_active_low_sensor_pulls_when_its_level_falls() -> None:
    chip, triggers = SimulatedChip(), _triggers([])
    by_line(chip, Input(3, active_low=True), triggers)
    chip.set(3, True)
    chip.set(3, False)
    assert [each.number for each in await _waiting(triggers)] == [1]


async def test_a_line_faster_than_its_reader_loses_no_number_and_names_each_part_that_had_no_place() -> None:
    lost: list[Trigger] = []
    triggers = _triggers(lost, depth=3)
    for n in range(1, 6):
        triggers.pull(n * MS)
    assert [each.number for each in lost] == [4, 5]
    assert triggers.lost == 2
    triggers.pull(6 * MS)
    assert [each.number for each in await _waiting(triggers)] == [1, 2, 3]
    assert [each.number for each in lost] == [4, 5, 6]


async def test_a_second_pull_within_the_hold_off_is_the_same_part() -> None:
    triggers = _triggers([], hold_off_ns=5 * MS)
    for at_ms in (10, 12, 14, 15, 19, 20):
        triggers.pull(at_ms * MS)
    assert [each.at_ns for each in await _waiting(triggers)] == [10 * MS, 15 * MS, 20 * MS]
    assert triggers.held_off == 3


@pytest.mark.parametrize(
    ("rising", "lost_edges", "parts"),
    [(True, 2, 1), (True, 1, 0), (False, 1, 1), (False, 3, 2), (True, 6, 3), (False, 0, 0)],
)
async def test_edges_that_the_kernel_lost_are_parts_that_are_reported(
    rising: bool, lost_edges: int, parts: int
) -> None:
    edges: list[Callable[[Edge], None]] = []

    class Chip(SimulatedChip):
        def watch(self, inputs: Sequence[Input], on_edge: OnEdge, on_gone: OnGone) -> Callable[[], None]:
            edges.append(on_edge)
            return lambda: None

    lost: list[Trigger] = []
    triggers = _triggers(lost)
    by_line(Chip(), Input(1), triggers)
    edges[0](Edge(1, rising, 7 * MS, lost_edges))
    assert len(lost) == parts
    assert [each.number for each in await _waiting(triggers)] == ([parts + 1] if rising else [])


async def test_a_timer_that_was_held_up_pulls_for_every_period() -> None:
    triggers = _triggers([], depth=10)
    task = asyncio.create_task(by_timer(100 * MS, triggers))
    await asyncio.sleep(0.35)
    task.cancel()
    assert [each.at_ns for each in await _waiting(triggers)] == [100 * MS, 200 * MS, 300 * MS]


async def test_a_lost_source_is_raised_after_what_waited_and_may_be_read_again() -> None:
    triggers = _triggers([])
    triggers.pull(1 * MS)
    triggers.fail(DeviceError("the PLC is gone"))
    reading = aiter(triggers)
    assert (await anext(reading)).number == 1
    with pytest.raises(DeviceError, match="the PLC is gone"):
        await anext(reading)
    triggers.pull(2 * MS)
    assert [each.number for each in await _waiting(triggers)] == [2]


async def test_parts_on_a_belt_are_pulled_by_the_eye_with_the_encoders_position() -> None:
    chip, encoder = SimulatedChip(), Encoder()
    triggers = _triggers([], depth=10, encoder=encoder)
    counter = quadrature(chip, Input(5), Input(6), encoder, _never)
    by_line(chip, Input(4), triggers)
    await turn(Belt(eye_line=4, a_line=5, b_line=6, counts_per_s=1000, pitch=200), chip, 1000)
    assert encoder.position == 1000
    assert counter.errors == 0
    assert [each.position for each in await _waiting(triggers)] == [200, 400, 600, 800, 1000]


async def test_every_so_many_counts_is_a_part_at_the_place_itself_and_backing_up_adds_none() -> None:
    chip, encoder = SimulatedChip(), Encoder()
    triggers = _triggers([], depth=10, encoder=encoder)
    quadrature(chip, Input(5), Input(6), encoder, _never)
    by_counts(encoder, 300, triggers)
    belt = Belt(eye_line=4, a_line=5, b_line=6, counts_per_s=1000)
    await turn(belt, chip, 650)
    await turn(belt, chip, 400, start=650, forward=False)
    assert encoder.position == 250
    await turn(belt, chip, 700, start=250)
    waiting = await _waiting(triggers)
    assert [(each.number, each.position) for each in waiting] == [(1, 300), (2, 600), (3, 900)]
    assert [each.at_ns for each in waiting] == [300 * MS, 600 * MS, 1700 * MS]


def test_a_jump_over_several_places_dates_each_by_interpolation() -> None:
    divider = Divider(100)
    assert divider.crossed(0, 1000) == []
    assert divider.crossed(350, 1350) == [(100, 1100), (200, 1200), (300, 1300)]


QUADRATURE = [
    ("forward", [(True, True), (False, True), (True, False), (False, False)], [1, 1, 1, 1], 0),
    ("backward", [(False, True), (True, True), (False, False), (True, False)], [-1, -1, -1, -1], 0),
    ("to and fro on one edge", [(True, True), (True, False), (True, True)], [1, -1, 1], 0),
    ("an edge was lost", [(True, True), (True, True), (False, True)], [1, 0, 1], 1),
]


@pytest.mark.parametrize(("name", "edges", "steps", "errors"), QUADRATURE, ids=lambda each: str(each)[:12])
def test_quadrature(name: str, edges: list[tuple[bool, bool]], steps: list[int], errors: int) -> None:
    counter = Quadrature()
    assert [counter.edge(on_a=on_a, rising=rising) for on_a, rising in edges] == steps, name
    assert counter.errors == errors


@pytest.mark.parametrize(
    ("bits", "raw", "positions"),
    [
        (16, [65_530, 65_535, 4, 65_530], [0, 5, 10, 0]),
        (32, [0, 70_000, 69_000], [0, 70_000, 69_000]),
        (16, [100, 40_000], [0, -25_636]),
    ],
)
def test_a_counter_that_starts_over_goes_on(bits: int, raw: list[int], positions: list[int]) -> None:
    unwrap = Unwrap(bits)
    assert [unwrap.position(each) for each in raw] == positions


async def test_an_encoder_that_loses_an_edge_says_so_once() -> None:
    chip, troubles = SimulatedChip(), list[DeviceError]()
    counter = quadrature(chip, Input(5), Input(6), Encoder(), troubles.append)
    on_edge = chip._watched[5].on_edge
    for rising in (True, True, True, False):
        on_edge(Edge(5, rising, 0))
    assert counter.errors == 2
    assert [str(each) for each in troubles] == [
        "the encoder is faster than its lines are read: the belt's position is not exact"
    ]


async def test_a_trigger_that_is_read_late_gets_the_position_of_its_own_time() -> None:
    encoder = Encoder()
    for n in range(11):
        encoder.moved(n * 10, n * MS)
    assert [encoder.position_at(at) for at in (-5, 0, 2_500_000, 10 * MS, 99 * MS)] == [0, 0, 25, 100, 100]
    assert now_ns() == 0
