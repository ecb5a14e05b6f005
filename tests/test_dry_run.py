"""A rule asked about old verdicts: the same answer as judging them anew, and what cannot be told is counted as that."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from edgeapp import config as settings
from edgeapp.apps.dry_run import ask_again, dry_run
from edgeapp.apps.rules import rule_of
from edgeapp.apps.rules_report import sentence
from edgeapp.cli import cli
from edgeapp.core.events import Box, ConfigError, Detections, Outcome, Verdict
from edgeapp.station.evidence import Evidence
from edgeapp.station.ledger import open_ledger
from edgeapp.station.queries import Row, RowVerdict
from edgeapp.station.rule_book import sign
from edgeapp.vision.calibration import by_scale
from edgeapp.vision.rules import InspectionRule, PartRule, Tolerance, judge

OLD = InspectionRule(("washer", "bracket"), ("scratch", "stain"), 0.5, 0.25, version="old", sha256="0" * 64)
NEW = replace(OLD, defect_scores={"scratch": 0.5}, version="new", sha256="1" * 64)
KNOWN = {OLD.id: OLD}
PASS, FAIL, NOT_INSPECTED = Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED

WASHER = Box(10, 10, 410, 410, "washer", 0.9)
FAINT = Box(20, 20, 40, 30, "scratch", 0.3)
CLEAR = replace(FAINT, score=0.8)


def row(boxes: tuple[Box, ...], outcome: Outcome | None = None, *, rule: InspectionRule = OLD, **more: Any) -> Row:
    """A verdict's row; its outcome is what `rule` said unless another is given."""
    told = judge(Detections(0, boxes, "m"), rule)
    late = more.pop("late", False)
    verdict = RowVerdict(
        outcome or told.outcome, "belt", 300 if late else 100, 200, boxes, more.pop("model", "m"), more.pop("looks", 1)
    )
    return Row(more.pop("seq", 1), more.pop("utc_ns", 10), verdict, told.causes, rule.id, told.part_type)


CASES = [
    ("a faint scratch passes now", row((WASHER, FAINT)), NEW, PASS),
    ("a clear one still fails", row((WASHER, CLEAR)), NEW, FAIL),
    ("a clean part stays clean", row((WASHER,)), NEW, PASS),
    ("no detector answered", row((), NOT_INSPECTED, model=""), NEW, NOT_INSPECTED),
    ("it was late", row((WASHER,), NOT_INSPECTED, late=True), NEW, NOT_INSPECTED),
    ("another check stopped it", row((WASHER,), NOT_INSPECTED), NEW, NOT_INSPECTED),
    ("a part is seen under the new rule", row((replace(WASHER, score=0.4),)), replace(NEW, part_score=0.3), PASS),
    ("the verdict is not that of its boxes", row((WASHER,), FAIL), NEW, "the verdict does not follow from the boxes in its row"),
    ("a score that was not kept", row((WASHER,)), replace(NEW, defect_score=0.01), "boxes below a score of 0.03 were not kept"),
    ("but what fails, fails", row((WASHER, CLEAR)), replace(NEW, defect_scores={"stain": 0.01}), FAIL),
    ("a part's score that was not kept", row((WASHER, CLEAR)), replace(NEW, part_score=0.01),
     "boxes below a score of 0.03 were not kept"),
    ("it would be in doubt now", row((WASHER, FAINT)), replace(NEW, doubt_below_score=0.35), "it would have been looked at again"),
    ("it is not in doubt", row((WASHER, CLEAR)), replace(NEW, doubt_below_score=0.35), FAIL),
]  # fmt: skip


@pytest.mark.parametrize(("what", "found", "rule", "told"), CASES, ids=[case[0] for case in CASES])
def test_each_row_is_asked_again_or_is_said_not_to_tell(
    what: str, found: Row, rule: InspectionRule, told: Outcome | str
) -> None:
    again = ask_again(found, rule, OLD, stored_from_score=0.03)
    assert (again if isinstance(again, str) else again.outcome) == told


DOUBTING = replace(OLD, doubt_from_score=0.1, doubt_below_score=0.4)
LOOKS = [
    ("the same doubt", 4, replace(NEW, doubt_from_score=0.1, doubt_below_score=0.4), PASS),
    ("a wider one", 4, replace(NEW, doubt_from_score=0.05, doubt_below_score=0.5), PASS),
    ("a narrower one", 4, replace(NEW, doubt_from_score=0.2, doubt_below_score=0.4), "it might not have been looked at again"),
    ("none", 4, NEW, "it might not have been looked at again"),
    ("other defects", 4, replace(NEW, doubt_from_score=0.05, doubt_below_score=0.5, defects=("scratch",)),
     "it might not have been looked at again"),
    ("no time then", 1, replace(NEW, doubt_from_score=0.05, doubt_below_score=0.5), PASS),
    ("an old row", None, NEW, "its row does not say how often it was looked at"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "looks", "rule", "told"), LOOKS, ids=[case[0] for case in LOOKS])
def test_what_several_looks_saw_is_only_used_where_there_would_have_been_several(
    what: str, looks: int | None, rule: InspectionRule, told: Outcome | str
) -> None:
    again = ask_again(row((WASHER, FAINT), rule=DOUBTING, looks=looks), rule, DOUBTING, stored_from_score=0.03)
    assert (again if isinstance(again, str) else again.outcome) == told


def test_without_the_old_rule_a_part_not_inspected_cannot_be_told() -> None:
    again = ask_again(row((WASHER,), NOT_INSPECTED), NEW, None, stored_from_score=0.03)
    assert again == "the rule that was asked then is not in the book"


MM = replace(NEW, part_types={"washer": PartRule(tolerate=(Tolerance(("scratch",), length_mm=4.0),))}, edge_px=3.5)
SCALE = by_scale(0.1, camera="belt", width=640, height=480, utc_ns=5)


@pytest.mark.parametrize(
    ("rule", "boxes", "utc_ns", "told"),
    [
        (replace(MM, calibration=SCALE), (WASHER, CLEAR), 10, PASS),
        (replace(MM, calibration=SCALE), (WASHER, CLEAR), 4, "it was seen before its camera was calibrated"),
        (replace(MM, calibration=replace(SCALE, camera="other")), (WASHER, CLEAR), 10, "there is no calibration of its camera"),
        (MM, (WASHER, CLEAR), 10, "there is no calibration of its camera"),
        (MM, (WASHER, replace(CLEAR, label="stain")), 10, FAIL),
        (MM, (WASHER,), 10, PASS),
        (replace(MM, part_types={"washer": PartRule(sizes_mm={"length": (1, 50)})}), (WASHER,), 10, "there is no calibration of its camera"),
    ],
)  # fmt: skip
def test_millimetres_are_only_told_where_the_camera_was_calibrated(
    rule: InspectionRule, boxes: tuple[Box, ...], utc_ns: int, told: Outcome | str
) -> None:
    again = ask_again(row(boxes, utc_ns=utc_ns), rule, OLD, stored_from_score=0.03)
    assert (again if isinstance(again, str) else again.outcome) == told


boxes = st.lists(
    st.builds(
        lambda x, y, w, h, label, score: Box(x, y, x + w, y + h, label, score),
        st.integers(0, 300), st.integers(0, 300), st.integers(1, 60), st.integers(1, 60),
        st.sampled_from(("washer", "bracket", "scratch", "stain")), st.sampled_from((0.05, 0.26, 0.45, 0.6, 0.9)),
    ), max_size=6,
).map(tuple)  # fmt: skip
rules = st.builds(
    lambda part, defect, scratch, tolerate, size: replace(
        OLD, part_score=part, defect_score=defect, defect_scores={"scratch": scratch}, sha256="2" * 64,
        part_types={"washer": PartRule(tolerate=tuple(tolerate), sizes_mm=size)}, calibration=SCALE,
    ),
    *[st.sampled_from((0.04, 0.25, 0.3, 0.5, 0.7))] * 3,
    st.lists(st.builds(Tolerance, st.just(("scratch", "stain")), st.none() | st.floats(1, 9), count=st.none() | st.integers(0, 2)), max_size=2),
    st.sampled_from(({}, {"length": (1.0, 5.0)})),
)  # fmt: skip


@given(st.lists(boxes, max_size=8), rules, rules)
def test_a_dry_run_is_judging_again(frames: list[tuple[Box, ...]], old: InspectionRule, new: InspectionRule) -> None:
    rows = [row(each, rule=old, seq=n) for n, each in enumerate(frames, 1)]
    found = dry_run(rows, new, {old.id: old}, stored_from_score=0.03)
    assert (found.rows, found.cannot_tell.total()) == (len(frames), 0)
    flips = {each.seq: (each.was, each.would) for each in found.listed}
    for n, each in enumerate(frames, 1):
        was, would = (judge(Detections(0, each, "m"), rule).outcome for rule in (old, new))
        assert flips.get(n, (was, was)) == (was, would)
    assert found.flips == len(flips)


# The command, on a real ledger


async def filled(folder: Path, rule: InspectionRule) -> None:
    """3,210 parts: every tenth with a faint scratch, every hundredth with a clear stain, and some that were not inspected."""
    async with open_ledger(folder) as ledger:
        waiting = []
        for n in range(3_210):
            seen: tuple[Box, ...] = (WASHER,)
            if n % 10 == 0:
                seen += (replace(FAINT, score=0.3 + n % 7 / 100),)
            if n % 100 == 50:
                seen += (replace(CLEAR, label="stain"),)
            told = judge(Detections(n, seen, "m"), rule)
            outcome, looks, model = told.outcome, 1, "m"
            if n % 500 == 499:
                outcome, looks, seen, model = NOT_INSPECTED, 0, (), ""
            verdict = Verdict(
                outcome,
                told.why,
                "belt",
                n,
                n,
                n + 1,
                n + 2,
                seen,
                model,
                told.part_type,
                told.sizes_mm,
                rule.id,
                looks,
            )
            one = Evidence(verdict, told.causes, rule.id, part_type=told.part_type, serial=f"S{n}")
            waiting.append(ledger.submit(one, lambda: b"no jpeg"))
            if n % 500 == 0:
                await asyncio.gather(*waiting)
        await asyncio.gather(*waiting)


FILE = """
version = "{version}"
parts = ["washer", "bracket"]
defects = ["scratch", "stain"]
defect_scores.scratch = {score}
"""


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger and the book of the rule that was asked."""
    folder = tmp_path_factory.mktemp("station")
    book = sign(folder / "book", FILE.format(version="3", score=0.25).encode(), "3", by="ann", why="first", utc_ns=1)
    line = book.signed[0]
    rule = rule_of(settings.parse_rule(book.text(line), "rule"), sha256=line.sha256)
    asyncio.run(filled(folder / "ledger", rule))
    return folder


def told(station: Path, rule: str, *more: str) -> Result:
    file = station / "new.toml"
    file.write_text(rule)
    return CliRunner().invoke(
        cli, ["rules", "dry-run", str(file), str(station / "ledger"), "--book", str(station / "book"), *more]
    )


def test_a_dry_run_says_what_would_have_flipped(station: Path) -> None:
    result = told(station, FILE.format(version="4", score=0.5), "--list", "3")
    assert result.exit_code == 0, result.output
    first, *rest = result.stdout.splitlines()
    assert first == "would have flipped 289 of 3,210: 289 FAIL -> PASS"
    assert "  washer, scratch: 289 FAIL -> PASS" in rest
    assert "and 286 more" in rest[-1]
    assert "S10" in result.output


def test_a_dry_run_in_json_counts_what_cannot_be_told(station: Path) -> None:
    result = told(station, FILE.format(version="4", score=0.02), "--json", "--list", "2")
    says = json.loads(result.stdout)
    assert says["rows"] == 3_210
    assert says["flips"] == 0
    assert says["cannot_tell"] == {"boxes below a score of 0.03 were not kept": 2_883}
    assert json.loads(told(station, FILE.format(version="4", score=0.335), "--json").stdout)["flipped"] == {
        "FAIL -> PASS": 165
    }


def test_the_sentence_names_every_kind_of_flip() -> None:
    rows = [row((WASHER, FAINT)), row((replace(WASHER, score=0.4),)), row((WASHER,)), row((WASHER,), FAIL)]
    found = dry_run(rows, replace(NEW, part_score=0.3), KNOWN, stored_from_score=0.03)
    assert sentence(found) == "would have flipped 2 of 4: 1 FAIL -> PASS, 1 NOT_INSPECTED -> PASS; cannot tell for 1"


def test_a_rule_that_cannot_be_read_is_said(station: Path) -> None:
    result = told(station, "version = 3")
    assert isinstance(result.exception, ConfigError)
    assert "key 'version'" in str(result.exception)
