"""A rule that comes into use while the station runs: taken between two parts, written down first, or refused with an alarm."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from test_rule_book import KEY, ONE, TWO, written

from edgeapp import config as settings
from edgeapp.apps.golden import GoldenCheck, identity_of
from edgeapp.apps.inspection import Sight
from edgeapp.apps.rule_switch import RuleSwitch
from edgeapp.apps.rules import OpenedRule, note_rule, rule_in_use
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import (
    MS,
    BackendError,
    Box,
    CameraFrame,
    Detections,
    Outcome,
    TimestampKind,
    Trigger,
    Verdict,
)
from edgeapp.station import queries
from edgeapp.station.golden_parts import Golden, GoldenSet, Known
from edgeapp.station.ledger import open_ledger
from edgeapp.station.rule_book import Book, read_book, sign, use
from edgeapp.station.store import open_reading
from edgeapp.vision.capture import Capture, Eye, Inspected
from edgeapp.vision.following import Following
from edgeapp.vision.inspection import Inspection
from edgeapp.vision.rules import InspectionRule
from edgeapp.vision.tracks import Belt

CLASSES = ("washer", "scratch", "stain")
THREE = TWO.replace(b'"2"', b'"3"')


@dataclass
class Station:
    """What follows a book, and what it did."""

    folder: Path
    key: bytes = b""
    noted: list[str] = field(default_factory=list)
    deciding: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    disk_refuses: bool = False

    def __post_init__(self) -> None:
        def ready(book: Book) -> OpenedRule:
            return rule_in_use(book, CLASSES, {}, camera="belt")

        async def note(opened: OpenedRule) -> None:
            if self.disk_refuses:
                raise BackendError("the ledger did not take a verdict: the disk is full")
            self.noted.append(opened.rule.version)

        def switch(opened: OpenedRule) -> None:
            assert self.noted[-1] == opened.rule.version, "the row first"
            self.deciding.append(opened.rule.version)

        self.rules = RuleSwitch(
            self.folder, self.key, ready(read_book(self.folder, self.key)), ready=ready, note=note, switch=switch,
            alarm=self.alarms.append,
        )  # fmt: skip

    async def looks(self) -> tuple[list[str], list[str]]:
        """What has come to decide, and the alarms, after a look."""
        await self.rules.look()
        return self.deciding, self.alarms


@pytest.mark.real_time
async def test_what_is_signed_waits_and_what_is_taken_into_use_decides_once(tmp_path: Path) -> None:
    book = written(tmp_path / "book")
    station = Station(book)
    assert await station.looks() == ([], [])
    sign(book, THREE, "3", by="eve", why="new lamp", utc_ns=5)
    assert await station.looks() == ([], [])
    use(book, "3", by="ann", why="the dry run flips 1", utc_ns=6)
    for _ in range(3):
        assert await station.looks() == (["3"], [])
    use(book, "1", by="ann", why="back", utc_ns=7)
    assert await station.looks() == (["3", "1"], [])


def _changed(book: Path) -> None:
    use(book, "1", by="ann", why="back", utc_ns=9)
    file = next(book.glob("1-*.toml"))
    file.write_bytes(file.read_bytes() + b"part_score = 0.1\n")


def _unknown_class(book: Path) -> None:
    sign(book, THREE.replace(b"stain", b"bubble"), "3", by="eve", why="bubbles", utc_ns=9)
    use(book, "3", by="eve", why="bubbles", utc_ns=9)


def _no_rule(book: Path) -> None:
    sign(book, b'version = "3"\ndefect_scroe = 1\n', "3", by="eve", why="in haste", utc_ns=9)
    use(book, "3", by="eve", why="in haste", utc_ns=9)


def _in_mm(book: Path) -> None:
    sign(book, THREE + b"[part.washer]\nsizes_mm.length = [1, 2]\n", "3", by="eve", why="mm", utc_ns=9)
    use(book, "3", by="eve", why="mm", utc_ns=9)


def _running_one_changed(book: Path) -> None:
    file = next(book.glob("2-*.toml"))
    file.write_bytes(file.read_bytes() + b"part_score = 0.1\n")


def _a_line_changed(book: Path) -> None:
    file = book / "signatures"
    file.write_bytes(file.read_bytes().replace(b'"bob"', b'"ann"'))


def _written_anew(book: Path) -> None:
    for each in list(book.iterdir()):
        each.unlink()
    sign(book, ONE, "1", by="eve", why="quietly", utc_ns=1)
    use(book, "1", by="eve", why="quietly", utc_ns=1)


def _gone(book: Path) -> None:
    book.rename(book.with_name("elsewhere"))


BAD: list[tuple[Callable[[Path], None], str]] = [
    (_changed, "is not what ann signed: it was changed; put the file back"),
    (_unknown_class, "names the class 'bubble', which the detector does not know; it knows washer, scratch, stain"),
    (_no_rule, "unknown key 'defect_scroe'"),
    (_in_mm, "asks for millimetres"),
    (_running_one_changed, "is not what bob signed: it was changed; put the file back"),
    (_a_line_changed, "was changed: put the book back as it was"),
    (_written_anew, "was written anew: put it back as it was"),
    (_gone, "was written anew: put it back as it was"),
]


@pytest.mark.real_time
@pytest.mark.parametrize(("spoil", "says"), BAD, ids=[spoil.__name__ for spoil, _ in BAD])
async def test_a_bad_rule_or_book_leaves_the_old_rule_and_is_one_alarm(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    station = Station(written(tmp_path / "book"))
    await station.looks()
    spoil(tmp_path / "book")
    for _ in range(3):
        deciding, alarms = await station.looks()
        assert (deciding, len(alarms)) == ([], 1)
    assert says in alarms[0]
    assert alarms[0].startswith(f"the rule 2 {hashlib.sha256(TWO).hexdigest()[:12]} goes on deciding: ")
    assert "\n" not in alarms[0]


@pytest.mark.real_time
async def test_a_file_that_is_put_back_is_taken_without_anybody_asking(tmp_path: Path) -> None:
    book = written(tmp_path / "book")
    station = Station(book)
    file = next(book.glob("1-*.toml"))
    use(book, "1", by="ann", why="back", utc_ns=9)
    content = file.read_bytes()
    file.unlink()
    assert (await station.looks())[0] == []
    file.write_bytes(content)
    assert (await station.looks())[0] == ["1"]


@pytest.mark.real_time
async def test_a_book_sealed_with_a_key_takes_nothing_that_was_written_without_it(tmp_path: Path) -> None:
    book = written(tmp_path / "book", KEY)
    station = Station(book, KEY)
    use(book, "1", by="eve", why="quietly", utc_ns=9)
    deciding, alarms = await station.looks()
    assert deciding == []
    assert "was not made with this key: somebody changed it" in alarms[0]


@pytest.mark.real_time
async def test_a_switch_that_the_ledger_does_not_take_is_none_until_it_does(tmp_path: Path) -> None:
    book = written(tmp_path / "book")
    station = Station(book, disk_refuses=True)
    use(book, "1", by="ann", why="back", utc_ns=9)
    deciding, alarms = await station.looks()
    assert (deciding, len(alarms)) == ([], 1)
    assert "the disk is full" in alarms[0]
    station.disk_refuses = False
    assert (await station.looks())[0] == ["1"]


@pytest.mark.real_time
async def test_the_switchs_row_stands_before_the_first_verdict_by_the_new_rule(tmp_path: Path) -> None:
    book = written(tmp_path / "book")
    first = rule_in_use(read_book(book), CLASSES, {}, camera="belt")
    use(book, "1", by="bob", why="back again", utc_ns=9)
    second = rule_in_use(read_book(book), CLASSES, {}, camera="belt")
    async with open_ledger(tmp_path / "ledger") as ledger:
        row = await note_rule(ledger, first, None)
        row = await note_rule(ledger, first, row)
        await note_rule(ledger, second, row)
    with closing(open_reading(tmp_path / "ledger")) as database:
        rows = queries.notes(database, "rule", 9)[::-1]
    assert [(each["rule"], each["instead_of"], each["signed_by"]) for each in rows] == [
        (first.rule.id, "", "bob"), (second.rule.id, first.rule.id, "ann"),
    ]  # fmt: skip


# Between two parts

STRICT = InspectionRule(parts=("washer",), defects=("scratch",), version="strict", sha256="a" * 64)
LAX = InspectionRule(parts=("washer",), defects=(), version="lax", sha256="b" * 64)
SEEN = (Box(0, 0, 9, 9, "washer", 0.9), Box(1, 1, 2, 2, "scratch", 0.8))
"""A scratched part: FAIL by the one rule, PASS by the other."""


async def _scratched(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
    del due_ns, of
    await asyncio.sleep(0.050)
    return Detections(frame.number, SEEN, "m")


async def _frames(at_ms: list[int], late_ms: int) -> AsyncIterator[CameraFrame]:
    for number, at in enumerate(at_ms, 1):
        await sleep_until((at + late_ms) * MS)
        yield CameraFrame(np.zeros((10, 10, 3), np.uint8), at * MS, number, "belt", TimestampKind.KERNEL)


async def _triggers(at_ms: list[int]) -> AsyncIterator[Trigger]:
    for number, at in enumerate(at_ms, 1):
        await sleep_until(at * MS)
        yield Trigger(number, at * MS, "eye")


def _sight(rule: InspectionRule) -> Sight:
    return Sight(_scratched, OpenedRule(rule), camera="belt", model="m", probe=lambda: None)


@pytest.mark.parametrize("cameras", [1, 2])
async def test_a_part_that_came_before_the_switch_is_judged_by_the_old_rule_in_every_view(cameras: int) -> None:
    """The second camera's frame comes after the switch at 120 ms, and the part of 100 ms keeps its rule all the same."""
    given: list[Inspected] = []
    sight, times = _sight(STRICT), [100, 200, 300]
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        both: list[settings.Vision | settings.FurtherCamera] = [settings.Vision(), settings.FurtherCamera(name="side")]
        sections = both[:cameras]
        eyes = [
            Eye(
                name,
                _frames(times, 40 * n),
                sight.inspection(section, parts, within_ns=200 * MS, sink=lambda _: None),
            )
            for n, (name, section) in enumerate(zip(("belt", "side"), sections, strict=False))
        ]
        capture = Capture(
            eyes,
            source="belt",
            due_after_ns=200 * MS,
            sink=lambda _: None,
            on_part=given.append,
            on_loss=lambda _: None,
        )
        loop = asyncio.get_running_loop()
        loop.call_at(0.120, sight.switch, OpenedRule(LAX))
        loop.call_at(0.220, sight.switch, OpenedRule(STRICT))
        await capture.run(_triggers(times))
    assert [(str(each.verdict.outcome), each.verdict.rule) for each in given] == [
        ("FAIL", STRICT.id), ("PASS", LAX.id), ("FAIL", STRICT.id),
    ]  # fmt: skip
    assert all(view.verdict.rule == each.verdict.rule for each in given for view in each.views)


async def test_a_followed_part_is_judged_in_all_its_frames_by_the_rule_it_came_under() -> None:
    """Two parts, each with a scratch from its eighth frame on; the rule is exchanged while the first one is in view."""
    given: list[Verdict] = []
    numbers = iter(range(1, 9))

    async def detect(frame: CameraFrame, /, *, due_ns: int, of: str) -> Detections:
        del due_ns, of
        boxes = []
        for start in (0, 480):
            x = (frame.at_ns / MS - start) / 4
            if 0 <= x <= 200:
                boxes.append(Box(x - 20, 80, x + 20, 120, "washer", 0.9))
                boxes += [Box(x - 5, 90, x + 5, 96, "scratch", 0.8)] if x > 80 else []
        return Detections(frame.number, tuple(boxes), "m")

    async def frames() -> AsyncIterator[CameraFrame]:
        for number in range(1, 41):
            await sleep_until(number * 40 * MS)
            yield CameraFrame(np.zeros((200, 200, 3), np.uint8), number * 40 * MS, number, "belt", TimestampKind.KERNEL)

    inspection = Inspection(detect, LAX, due_after_ns=200 * MS, sink=lambda _: None)

    def switch() -> None:
        inspection.rule = STRICT

    asyncio.get_running_loop().call_at(0.2, switch)
    await Following(
        inspection, Belt(), source="belt", due_after_ns=200 * MS, sink=lambda _: None,
        on_part=lambda _, verdict: given.append(verdict), on_loss=lambda _: None, came=lambda _: next(numbers),
    ).run(frames())  # fmt: skip
    assert [(str(each.outcome), each.rule) for each in given] == [("PASS", LAX.id), ("FAIL", STRICT.id)]


# The golden parts


def _golden(folder: Path, clock: Callable[[], int]) -> tuple[Golden, GoldenSet]:
    import cv2

    for name in ("good", "bad"):
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((4, 4, 3), np.uint8))
    known = (
        Known(name="good", expect="PASS", image="good.png", serial="G"),
        Known(name="bad", expect="FAIL", image="bad.png", serial="B", causes=("scratch",)),
    )
    golden = GoldenSet(folder, "belt", known, "c" * 64)
    identity = identity_of(golden, OpenedRule(STRICT), "m", "belt")
    return Golden(golden, identity, [], shifts_utc=("00:00",), utc_ns=clock), golden


@pytest.mark.real_time
async def test_at_a_switch_the_golden_parts_are_due_at_once_and_nothing_passes_until_the_new_rule_judged_them(
    tmp_path: Path,
) -> None:
    state, golden = _golden(tmp_path, lambda: 10**18)
    judged: list[str] = []
    done = asyncio.Event()

    async def inspect(frame: CameraFrame, rule: InspectionRule) -> Verdict:
        judged.append(rule.version)
        if len(judged) == 4:
            done.set()
        bad = frame.source == "golden bad"
        boxes = SEEN if bad else SEEN[:1]
        told = Outcome.FAIL if bad and rule.defects else Outcome.PASS
        return Verdict(told, "as told", "belt", frame.number, 0, now_ns(), 0, boxes, "m", rule=rule.id)

    alarms: list[str] = []
    check = GoldenCheck(state, inspect, STRICT, alarm=alarms.append)
    assert (await check.run("first run")).ok
    assert check.trouble == ""
    keeping = asyncio.create_task(check.keep())
    await asyncio.sleep(0)
    check.switch(LAX, identity_of(golden, OpenedRule(LAX), "m", "belt"))
    assert check.trouble == "the golden parts were not judged since the rule was switched"
    async with asyncio.timeout(20):
        await done.wait()
        while not alarms:
            await asyncio.sleep(0.001)
    keeping.cancel()
    assert judged == ["strict", "strict", "lax", "lax"]
    assert alarms == ["the golden parts failed, no part passes: bad: PASS instead of FAIL: as told"]
    assert check.trouble.startswith("the golden parts failed: bad: PASS instead of FAIL")


@pytest.mark.real_time
async def test_a_golden_run_during_a_switch_is_the_old_rules_and_proves_nothing_of_the_new_one(tmp_path: Path) -> None:
    state, golden = _golden(tmp_path, lambda: 10**18)
    new = identity_of(golden, OpenedRule(LAX), "m", "belt")
    rules: list[str] = []

    async def inspect(frame: CameraFrame, rule: InspectionRule) -> Verdict:
        rules.append(rule.version)
        if len(rules) == 1:
            check.switch(LAX, new)
        bad = frame.source == "golden bad"
        told = Outcome.FAIL if bad else Outcome.PASS
        return Verdict(told, "as told", "belt", 1, 0, 1, 2, SEEN if bad else SEEN[:1], "m", rule=rule.id)

    check = GoldenCheck(state, inspect, STRICT, alarm=lambda _: None)
    run = await check.run("first run")
    assert rules == ["strict", "strict"]
    assert (run.ok, run.identity.rule) == (True, STRICT.id)
    assert check.trouble == "the golden parts were not judged since the rule was switched"


@pytest.mark.real_time
async def test_golden_parts_on_the_belt_count_for_the_rule_that_judged_them(tmp_path: Path) -> None:
    state, golden = _golden(tmp_path, lambda: 10**18)

    async def never(*_: object) -> Verdict:
        raise AssertionError

    check = GoldenCheck(state, never, STRICT, alarm=lambda _: None)

    def verdict(outcome: Outcome, rule: InspectionRule) -> Verdict:
        boxes = SEEN if outcome is Outcome.FAIL else SEEN[:1]
        return Verdict(outcome, "as told", "belt", 1, 0, 1, 2, boxes, "m", "washer", rule=rule.id)

    assert await check.saw("G", verdict(Outcome.PASS, STRICT))
    check.switch(LAX, identity_of(golden, OpenedRule(LAX), "m", "belt"))
    assert await check.saw("B", verdict(Outcome.FAIL, STRICT))
    assert check.trouble
    check.switch(STRICT, identity_of(golden, OpenedRule(STRICT), "m", "belt"))
    for serial, outcome in (("G", Outcome.PASS), ("B", Outcome.FAIL)):
        assert await check.saw(serial, verdict(outcome, STRICT))
    assert check.trouble == ""
