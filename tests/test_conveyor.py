"""The simulated line: one triggered frame a part, the truth known, the pace kept on virtual time."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, ConfigError, TimestampKind
from edgeapp.devices.conveyor import Conveyor, Options, Part, start
from edgeapp.devices.parts import DEFECTS


async def ran(options: Options) -> tuple[list[CameraFrame], dict[int, Part]]:
    async with start(options) as belt:
        frames = [frame async for frame in belt.frames()]
        return frames, belt.truth


async def test_every_part_gives_one_frame_and_its_truth() -> None:
    frames, truth = await ran(Options(parts=20, seed=4))
    assert [frame.number for frame in frames] == list(range(1, 21)) == list(truth)
    for frame in frames:
        assert frame.pixels.shape == (320, 320, 3)
        assert frame.pixels.dtype == np.uint8
        assert (frame.source, frame.timestamp_kind) == ("conveyor", TimestampKind.FILE)
        left, top, right, bottom = truth[frame.number].box
        assert 0 <= left < 160 < right <= 320
        assert 0 <= top < 160 < bottom <= 320


async def test_the_same_seed_is_the_same_line_and_another_is_not() -> None:
    first, truth = await ran(Options(parts=4, seed=7))
    again, same_truth = await ran(Options(parts=4, seed=7, parts_per_minute=60))
    other, _ = await ran(Options(parts=4, seed=8))
    assert truth == same_truth
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)
        assert not np.array_equal(one.pixels, three.pixels)


async def test_defects_come_in_the_share_asked_for_and_all_classes_take_their_turn() -> None:
    _, truth = await ran(Options(parts=30, defect_share=0.4, seed=2))
    bad = [part for part in truth.values() if part.defects]
    assert len(bad) == 12
    assert sorted(part.defects[0].kind for part in bad) == sorted(DEFECTS * 2)
    _, truth = await ran(Options(parts=5, defect_share=0.0))
    assert not [part for part in truth.values() if part.defects]


async def test_parts_reach_the_trigger_at_the_pace() -> None:
    frames, _ = await ran(Options(parts=4, parts_per_minute=120))
    assert [frame.at_ns for frame in frames] == [500 * MS, 1000 * MS, 1500 * MS, 2000 * MS]


async def test_a_late_reader_gets_an_old_frame_not_a_later_trigger() -> None:
    async with start(Options(parts=4, parts_per_minute=600)) as belt:
        ages = []
        async for frame in belt.frames():
            ages.append((now_ns() - frame.at_ns) // MS)
            await sleep_until(now_ns() + 250 * MS)
        assert ages == [0, 150, 300, 450]


async def test_without_a_pace_the_reader_pulls_the_trigger() -> None:
    async with start(Options(parts=3)) as belt:
        async for frame in belt.frames():
            assert frame.at_ns == now_ns()
            await sleep_until(now_ns() + 70 * MS)


async def test_the_belt_moves() -> None:
    frames, _ = await ran(Options(parts=2, defect_share=0.0, seed=3))
    corners = [frame.pixels[:40, :40].astype(int) for frame in frames]
    assert np.abs(corners[0] - corners[1]).mean() > 0.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(parts=0), "parts is 0: set it from 1 to 100000"),
        (Options(parts_per_minute=-1), "parts_per_minute is -1"),
        (Options(parts_per_minute=float("nan")), "parts_per_minute is nan"),
        (Options(defect_share=1.5), "defect_share is 1.5: set it from 0 to 1"),
        (Options(seed=-1), "seed is -1"),
    ],
)
async def test_an_option_out_of_range_is_one_sentence(options: Options, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        async with start(options):
            pass


@pytest.mark.real_time
async def test_leaving_early_ends_the_drawing() -> None:
    async with start(Options(parts=1000)) as belt:
        async for _frame in belt.frames():
            break
        thread = belt._thread
    with pytest.raises(RuntimeError, match="shutdown"):
        thread.submit(int)
    assert isinstance(belt, Conveyor)
