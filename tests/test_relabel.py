"""What people say otherwise becomes the next training set: strata kept, exactly n, seeded, readable by the training scripts."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import evidence

from edgeapp.core.events import Box, ConfigError, Outcome
from edgeapp.devices.parts import DEFECTS, PART_TYPES
from edgeapp.station.evidence import Judgement
from edgeapp.station.images import Policy, path_in
from edgeapp.station.ledger import open_ledger
from edgeapp.station.relabel import Classes, Wish, export
from edgeapp.station.store import open_reading
from edgeapp.station.strata import Stratum, allocate, choose

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import quantize_qc  # type: ignore[import-not-found]

CLASSES = Classes(PART_TYPES, DEFECTS)
strata = st.builds(
    Stratum, st.sampled_from(["dim", "normal"]), st.sampled_from(["one", "many"]), st.sampled_from(PART_TYPES)
)
there = st.dictionaries(strata, st.integers(0, 40), min_size=1)


@settings(deadline=None)
@given(available=there, floor=st.integers(0, 8), data=st.data())
def test_exactly_n_and_no_stratum_below_its_floor_or_above_what_it_has(
    available: dict[Stratum, int], floor: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, sum(available.values())))
    weights = {each: data.draw(st.floats(0, 1e6)) for each in available}
    taken = allocate(weights, available, n=n, floor=floor)
    assert sum(taken.values()) == n
    assert all(taken[each] <= available[each] for each in taken)
    least = {each: min(floor, count) for each, count in available.items() if count}
    if sum(least.values()) <= n:
        assert all(taken[each] >= count for each, count in least.items())
    if n < sum(available.values()):
        more = allocate(weights, available, n=n + 1, floor=min(floor, n // max(1, len(least))))
        fewer = allocate(weights, available, n=n, floor=min(floor, n // max(1, len(least))))
        assert all(more[each] >= count for each, count in fewer.items())


@settings(deadline=None)
@given(weights=st.lists(st.integers(1, 1_000), min_size=2, max_size=6), n=st.integers(0, 300))
def test_without_a_floor_the_shares_are_those_of_the_weights(weights: list[int], n: int) -> None:
    groups = [Stratum("normal", f"{number}", "washer") for number in range(len(weights))]
    taken = allocate(dict(zip(groups, weights, strict=True)), dict.fromkeys(groups, 10**6), n=n, floor=0)
    for each, weight in zip(groups, weights, strict=True):
        assert abs(taken[each] - n * weight / sum(weights)) < len(weights) / 2


def test_the_rare_survive() -> None:
    dim, normal = Stratum("dim", "one", "washer"), Stratum("normal", "one", "washer")
    assert allocate({dim: 1, normal: 9_999}, {dim: 7, normal: 900}, n=100, floor=5) == {dim: 5, normal: 95}
    assert allocate({dim: 1, normal: 9_999}, {dim: 7, normal: 900}, n=5, floor=5) == {dim: 2, normal: 3}
    with pytest.raises(ValueError, match="there are 907 and 908 were asked for"):
        allocate({}, {dim: 7, normal: 900}, n=908, floor=0)


@settings(deadline=None)
@given(order=st.permutations(range(30)), seed=st.integers(0, 5))
def test_the_seed_alone_decides_which(order: list[int], seed: int) -> None:
    candidates = [(Stratum("normal", "one", PART_TYPES[n % 2]), f"{n:03d}") for n in range(30)]
    taken = {each: 6 for each, _ in candidates}
    found = choose(candidates, taken, seed)
    assert choose([candidates[n] for n in order], taken, seed) == found
    assert len(set(found)) == 12
    assert choose(candidates, taken, seed + 1) != found


def picture(n: int) -> bytes:
    pixels = np.full((48, 64, 3), n % 250, np.uint8)
    pixels[n % 40, :, 0] = 255
    return bytes(cv2.imencode(".jpg", pixels)[1])


async def filled(folder: Path) -> None:
    """200 parts: 20 rejects, of which people call half good; two passes called bad, one of them drawn."""
    async with open_ledger(folder, policy=Policy(pass_share=1.0)) as ledger:
        for n in range(200):
            light = "dim" if n % 40 == 0 else "normal"
            more: dict[str, Any] = {"light": light, "density": "one", "part_type": "washer"}
            rejected = n % 10 == 0
            one = evidence(n, Outcome.FAIL, ("dent",), **more) if rejected else evidence(n, **more)
            receipt = await ledger.record(one, lambda n=n: picture(n))  # type: ignore[misc]
            if rejected:
                good = n % 20 == 0
                await ledger.judge(
                    Judgement(receipt.seq, Outcome.PASS if good else Outcome.FAIL, "ann", () if good else ("dent",))
                )
            if n == 31:
                await ledger.judge(Judgement(receipt.seq, Outcome.FAIL, "bob", ("crack",)))
            if n == 33:
                boxes = (Box(10, 12, 52, 40, "washer", 1.0), Box(20, 20, 36, 32, "crack", 1.0))
                await ledger.judge(Judgement(receipt.seq, Outcome.FAIL, "bob", ("crack",), boxes))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The folder of a ledger with disagreements in it."""
    asyncio.run(filled(tmp_path / "ledger"))
    return tmp_path / "ledger"


def drawn(ledger: Path, out: Path, wish: Wish) -> dict[str, Any]:
    with closing(open_reading(ledger)) as database:
        return export(database, ledger, out, CLASSES, wish)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".yaml"
    }


def test_disagreements_become_a_training_set_and_production_a_calibration_set(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = drawn(ledger, out, Wish(training=9, calibration=40, floor=3, seed=2))
    assert (manifest["disagreements"], manifest["unlabelled"]) == (12, 1)
    assert [path.name for path in (out / "unlabelled").iterdir()] == ["000000037.jpg"]
    training = [each for each in manifest["pictures"] if each["use"] == "training"]
    assert len(training) == 9
    assert {each["why"] for each in training} <= {"FAIL, and ann says PASS", "PASS, and bob says FAIL"}
    assert sum(each["taken"] for each in manifest["calibration"]) == 40
    assert {each["light"]: each["taken"] for each in manifest["calibration"]} == {"dim": 3, "normal": 37}
    assert {each["light"]: each["parts"] for each in manifest["calibration"]} == {"dim": 5, "normal": 195}

    lines = (out / "training" / "train.txt").read_text().split()
    train, val = (sorted((out / "training" / "images" / side).iterdir()) for side in ("train", "val"))
    assert lines == [f"./images/train/{path.name}" for path in train] or sorted(lines) == [
        f"./images/train/{path.name}" for path in train
    ]
    assert len(train) + len(val) == 9
    assert train
    assert val
    for path in [*train, *val]:
        labels = (out / "training" / "labels" / path.parent.name / f"{path.stem}.txt").read_text().splitlines()
        for line in labels:
            number, *box = line.split()
            assert 0 <= int(number) < len(CLASSES.names)
            assert all(0 <= float(each) <= 1 for each in box)
        assert labels[0].startswith("0 ")
        assert len(labels) == 1 or labels[1].startswith(f"{CLASSES.names.index('crack')} ")


def test_the_training_scripts_read_it(ledger: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    drawn(ledger, out, Wish(training=6, calibration=30))
    assert (out / "training" / "qc.yaml").read_text() == (
        f"path: {out.resolve()}/training\ntrain: train.txt\nval: images/val\ntest: images/val\nnames:\n"
        + "".join(f"  {number}: {name}\n" for number, name in enumerate(CLASSES.names))
    )
    chosen = quantize_qc.calibration_pictures(out / "calibration", 30)
    assert len(set(chosen)) == 30
    assert all(path.is_file() for path in chosen)


def test_a_label_by_hand(ledger: Path, tmp_path: Path) -> None:
    drawn(ledger, tmp_path / "out", Wish(training=11, calibration=1))
    (label,) = (tmp_path / "out" / "training" / "labels").rglob("*-000000040.txt")
    assert label.read_text() == (
        f"0 0.484375 0.541667 0.656250 0.583333\n{CLASSES.names.index('crack')} 0.437500 0.541667 0.250000 0.250000\n"
    )


def test_the_same_seed_draws_the_same_set_and_no_picture_changes_sides(ledger: Path, tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    drawn(ledger, one, Wish(10, 30, seed=1))
    drawn(ledger, same, Wish(10, 30, seed=1))
    assert files(one) == files(same)
    drawn(ledger, other, Wish(10, 30, seed=2))
    sides = Counter[tuple[str, str]]()
    for out in (one, other):
        for path in (out / "training" / "images").rglob("*.jpg"):
            side, _, row = path.stem.partition("-")
            sides[row, side] += 1
    assert len({row for row, _ in sides}) == len(sides)
    assert max(sides.values()) == 2


def test_golden_pictures_never_come_in(ledger: Path, tmp_path: Path) -> None:
    never = frozenset(f"{n:064x}" for n in range(0, 200, 2))  # the hashes of these frames
    manifest = drawn(ledger, tmp_path / "out", Wish(1, 50, never=never))
    assert manifest["disagreements"] == 2  # rows of odd parts
    with closing(open_reading(ledger)) as database:
        frames = dict(database.execute("SELECT seq, frame_number FROM verdicts"))
    assert all(frames[each["row"]] % 2 for each in manifest["pictures"])


def test_what_cannot_be_drawn_is_one_sentence(ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too few labelled disagreements: there are 11 and 12 were asked for"):
        drawn(ledger, tmp_path / "out", Wish(12, 1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        drawn(ledger, tmp_path / "full", Wish(1, 1))
    with closing(open_reading(ledger)) as database:
        (name,) = database.execute("SELECT image FROM verdicts WHERE frame_number = 0").fetchone()
    path_in(ledger / "images", name).write_bytes(b"changed")
    with pytest.raises(ConfigError, match="has other bytes"):
        drawn(ledger, tmp_path / "out", Wish(11, 1))
