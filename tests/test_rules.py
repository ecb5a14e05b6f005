"""Rules in millimetres: exact verdicts, and no part that gets better by a larger defect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp import config as settings
from edgeapp.apps.rules import rule_of
from edgeapp.core.events import Box, ConfigError, Detections, Outcome
from edgeapp.vision.calibration import by_scale
from edgeapp.vision.rules import InspectionRule, PartRule, Tolerance, Zone, judge

SCALE = by_scale(0.1, camera="belt", width=640, height=480, utc_ns=1, error_mm=0.0)
"""Ten pixels are a millimetre, exactly."""

WASHER = (100.0, 100.0, 500.0, 500.0 - 100, "washer", 0.9)
"""40 x 30 mm."""

RIM = Zone(((0.0, 0.0), (1.0, 0.0), (1.0, 0.25), (0.0, 0.25)))
"""The part's upper quarter: y from 100 to 175."""

RULE = InspectionRule(
    parts=("washer", "bracket"),
    defects=("scratch", "stain", "dent"),
    defect_scores={"stain": 0.3},
    version="7",
    part_types={
        "washer": PartRule(
            defect_scores={"scratch": 0.4},
            sizes_mm={"length": (39.5, 40.5), "width": (29.5, 30.5)},
            tolerate=(
                Tolerance(("stain",), length_mm=1.5, count=2),
                Tolerance(("stain", "scratch"), length_mm=6.0, width_mm=0.5, zone="rim"),
                Tolerance(("stain",), area_mm2=4.5, count=1),
            ),
        ),
        "bracket": PartRule(part_score=0.7),
    },
    zones={"rim": RIM},
    edge_px=0.0,
    part_edge_px=0.0,
    calibration=SCALE,
)


def thing(x: float, y: float, width_mm: float, height_mm: float, label: str, score: float = 0.8) -> Box:
    """A box whose top left corner is at (x, y) pixels."""
    return Box(x, y, x + 10 * width_mm, y + 10 * height_mm, label, score)


def seen(*things: Box, part: Box = Box(*WASHER)) -> Detections:
    return Detections(1, (part, *things), "m")


SMALL, OTHER = thing(200, 300, 1, 1, "stain"), thing(300, 300, 1, 1, "stain")  # 1.41 mm across
THIRD = thing(400, 300, 1, 1, "stain")

VERDICTS = [
    ("a clean part of the right size", [], Outcome.PASS, (),
     "washer 0.90, length 40.00 mm, width 30.00 mm, no defect (rule 7)"),
    ("two small stains", [SMALL, OTHER], Outcome.PASS, (),
     "washer 0.90, length 40.00 mm, width 30.00 mm, 2 stain tolerated (rule 7)"),
    ("a third one takes the place of one larger stain", [SMALL, OTHER, THIRD], Outcome.PASS, (), "3 stain tolerated"),
    ("a fourth one has no place", [SMALL, OTHER, THIRD, thing(200, 350, 1, 1, "stain")], Outcome.FAIL, ("stain",),
     "stain 0.80, one of 4, 3 of its kind allowed"),
    ("one stain of 2 x 2 mm", [thing(300, 300, 2, 2, "stain")], Outcome.PASS, (), "1 stain tolerated"),
    ("two of them", [thing(300, 300, 2, 2, "stain"), thing(200, 300, 2, 2, "stain")], Outcome.FAIL, ("stain",),
     "stain 0.80, one of 2, 1 of its kind allowed"),
    ("a stain that is too large", [thing(300, 300, 3, 2, "stain")], Outcome.FAIL, ("stain",),
     "stain 0.80, up to 6.00 mm2 large, 4.5 mm2 allowed"),
    ("a small scratch that is not on the rim", [thing(200, 300, 5, 0.4, "scratch")], Outcome.FAIL, ("scratch",),
     "scratch 0.80, not inside rim"),
    ("the same scratch on the rim", [thing(200, 120, 5, 0.4, "scratch")], Outcome.PASS, (), "1 scratch tolerated"),
    ("half on the rim", [thing(200, 173, 5, 0.4, "scratch")], Outcome.FAIL, ("scratch",), "not inside rim"),
    ("on the rim and too long", [thing(200, 120, 7, 0.4, "scratch")], Outcome.FAIL, ("scratch",),
     "scratch 0.80, up to 7.01 mm long, 6 mm allowed"),
    ("a dent is never tolerated", [thing(200, 300, 0.1, 0.1, "dent")], Outcome.FAIL, ("dent",), "dent 0.80"),
    ("below the part type's own score", [thing(200, 300, 9, 9, "scratch", 0.39)], Outcome.PASS, (), "no defect"),
    ("below the class's own score", [thing(200, 300, 9, 9, "stain", 0.29)], Outcome.PASS, (), "no defect"),
    ("two bad ones", [thing(200, 300, 9, 9, "scratch", 0.5), thing(200, 300, 1, 1, "dent")], Outcome.FAIL,
     ("dent", "scratch"), "dent 0.80 and 1 more"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "things", "outcome", "causes", "why"), VERDICTS, ids=[row[0] for row in VERDICTS])
def test_the_verdict_is_exact(
    what: str, things: list[Box], outcome: Outcome, causes: tuple[str, ...], why: str
) -> None:
    judged = judge(seen(*things), RULE)
    assert (judged.outcome, judged.causes) == (outcome, causes)
    assert judged.why == why if what.startswith("a clean") else why in judged.why
    assert judged.part_type == "washer"
    assert (judged.sizes_mm["length"], judged.sizes_mm["width"]) == (40.0, 30.0)


def test_a_part_of_the_wrong_size_fails_and_says_by_how_much() -> None:
    judged = judge(seen(part=Box(100, 100, 506, 400, "washer", 0.9)), RULE)
    assert (judged.outcome, judged.causes) == (Outcome.FAIL, ("size length",))
    assert judged.why == "washer 0.90: length 40.60 mm, not proven within 39.5 to 40.5 (error 0.00 mm)"


def test_a_size_within_the_error_of_its_limit_is_no_proof() -> None:
    near = Box(100, 100, 504, 400, "washer", 0.9)  # 40.4 mm
    assert judge(seen(part=near), RULE).outcome is Outcome.PASS
    for less_sure in (replace(RULE, part_edge_px=0.6), replace(RULE, calibration=replace(SCALE, error_mm=0.11))):
        judged = judge(seen(part=near), less_sure)
        assert (judged.outcome, judged.causes) == (Outcome.FAIL, ("size length",))
        assert judged.sizes_mm["length"] == 40.4


def test_the_errors_count_against_a_defect() -> None:
    small = [SMALL]  # 1.41 mm of the 1.5 that are allowed
    rule = replace(RULE, part_types={"washer": PartRule(tolerate=(Tolerance(("stain",), length_mm=1.5),))})
    assert judge(seen(*small), rule).outcome is Outcome.PASS
    assert judge(seen(*small), replace(rule, edge_px=0.5)).outcome is Outcome.FAIL
    assert judge(seen(*small), replace(rule, calibration=replace(SCALE, error_mm=0.1))).outcome is Outcome.FAIL


def test_a_defect_has_an_error_of_its_own_and_the_others_have_the_rules() -> None:
    tolerate = (Tolerance(("stain", "scratch"), length_mm=2.0),)
    rule = replace(RULE, part_types={"washer": PartRule(tolerate=tolerate)}, edge_px=9.0, edges_px={"stain": 1.0})
    assert judge(seen(SMALL), rule).outcome is Outcome.PASS  # 1.41 mm, and at most 1.70
    assert judge(seen(replace(SMALL, label="scratch")), rule).outcome is Outcome.FAIL
    assert judge(seen(SMALL), replace(rule, edges_px={"stain": 3.0})).outcome is Outcome.FAIL  # at most 2.26


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("edges_px.bubble = 1.0", "edges_px names 'bubble', which is not among defects"),
        ("edges_px.dent = -1.0", "edges_px.dent is -1; give a number from 0 to 100"),
        ("edge_px = 101", "edge_px is 101; give a number from 0 to 100"),
    ],
)
def test_an_error_of_a_box_that_makes_no_sense_is_refused(toml: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings.parse_rule(toml, "r")


def test_without_a_calibration_nothing_is_proven() -> None:
    blind = replace(RULE, calibration=None)
    judged = judge(seen(), blind)
    assert (judged.outcome, judged.causes) == (Outcome.NOT_INSPECTED, ("no calibration",))
    assert judge(seen(SMALL), blind).outcome is Outcome.FAIL
    assert judged.sizes_mm == {}


def test_outside_of_the_calibrated_area_nothing_is_proven() -> None:
    narrow = replace(RULE, calibration=replace(SCALE, region=(150, 0, 640, 480)))
    judged = judge(seen(), narrow)
    assert (judged.outcome, judged.causes) == (Outcome.NOT_INSPECTED, ("not measurable",))
    assert "outside of the calibrated area" in judged.why


def test_tolerances_are_those_of_the_one_part() -> None:
    """Two parts, or one that is seen poorly: then any defect fails."""
    bracket = Box(520, 100, 600, 180, "bracket", 0.71)
    judged = judge(seen(SMALL, bracket), RULE)
    assert (judged.outcome, judged.part_type) == (Outcome.FAIL, "")
    assert judge(seen(bracket), RULE).causes == ("several parts",)
    assert (
        judge(seen(replace(bracket, score=0.69)), RULE).outcome is Outcome.PASS
    )  # not sure enough to be a second part
    assert judge(Detections(1, (replace(Box(*WASHER), score=0.4), SMALL), "m"), RULE).outcome is Outcome.FAIL
    assert judge(Detections(1, (), "m"), RULE).causes == ("no part",)


def test_a_zone_of_the_frame_stays_where_it_is() -> None:
    corner = Zone(((0, 0), (250, 0), (250, 480), (0, 480)), of_part=False)
    rule = replace(
        RULE, zones={"left": corner}, part_types={"washer": PartRule(tolerate=(Tolerance(("dent",), zone="left"),))}
    )
    assert judge(seen(thing(200, 300, 4, 4, "dent")), rule).outcome is Outcome.PASS
    assert judge(seen(thing(230, 300, 4, 4, "dent")), rule).outcome is Outcome.FAIL


def test_a_zone_with_a_hole_of_its_own_does_not_hold_what_lies_across_it() -> None:
    """A polygon like a U: a box over its gap has its corners and its middle in doubt, and is not inside."""
    u = Zone(((0, 0), (300, 0), (300, 300), (200, 300), (200, 100), (100, 100), (100, 300), (0, 300)), of_part=False)
    part = Box(0, 0, 300, 300, "washer", 0.9)
    assert u.holds(Box(10, 10, 290, 90, "dent", 1.0), part)
    assert u.holds(Box(210, 110, 290, 290, "dent", 1.0), part)
    assert not u.holds(Box(10, 10, 290, 290, "dent", 1.0), part)
    assert not u.holds(Box(110, 110, 190, 290, "dent", 1.0), part)
    assert not u.holds(Box(90, 200, 110, 210, "dent", 1.0), part)


coordinates = st.floats(100, 480).map(lambda x: round(x, 1))
spans = st.floats(1, 80).map(lambda x: round(x, 1))
defects = st.builds(
    lambda x, y, w, h, label, score: Box(x, y, x + w, y + h, label, score),
    coordinates, coordinates, spans, spans, st.sampled_from(("scratch", "stain", "dent")), st.sampled_from((0.2, 0.35, 0.9)),
)  # fmt: skip
tolerances = st.builds(
    Tolerance,
    st.lists(st.sampled_from(("scratch", "stain", "dent")), min_size=1, max_size=3, unique=True).map(tuple),
    *(st.none() | st.floats(0.5, limit).map(lambda x: round(x, 1)) for limit in (9.0, 6.0, 40.0)),
    st.none() | st.integers(0, 3),
    st.sampled_from(("", "rim", "left")),
)
rules = st.builds(
    lambda tolerate, edge: replace(
        RULE, edge_px=edge, part_types={"washer": PartRule(tolerate=tuple(tolerate))},
        zones={"rim": RIM, "left": Zone(((50, 50), (300, 60), (250, 470), (60, 400)), of_part=False)},
        calibration=by_scale(0.1, camera="belt", width=640, height=640, utc_ns=1, error_mm=0.05),
    ),
    st.lists(tolerances, max_size=4), st.sampled_from((0.0, 1.0)),
)  # fmt: skip


@given(st.lists(defects, min_size=1, max_size=6), rules, st.data())
def test_a_larger_defect_never_makes_a_part_better(
    things: list[Box], rule: InspectionRule, data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, len(things) - 1))
    grow = [data.draw(spans) - 1 for _ in range(4)]
    box = things[n]
    larger = replace(
        box, left=box.left - grow[0], top=box.top - grow[1], right=box.right + grow[2], bottom=box.bottom + grow[3],
        score=max(box.score, data.draw(st.sampled_from((0.2, 0.9)))),
    )  # fmt: skip
    before = judge(seen(*things), rule)
    after = judge(seen(*things[:n], larger, *things[n + 1 :]), rule)
    assert before.outcome is Outcome.PASS or after.outcome is Outcome.FAIL


@given(st.lists(defects, max_size=6), rules, defects)
def test_one_more_defect_never_makes_a_part_better(things: list[Box], rule: InspectionRule, more: Box) -> None:
    if judge(seen(*things), rule).outcome is Outcome.FAIL:
        assert judge(seen(*things, more), rule).outcome is Outcome.FAIL


@given(st.lists(defects, max_size=5), rules, st.randoms())
def test_the_order_of_boxes_and_tolerances_does_not_matter(
    things: list[Box], rule: InspectionRule, chance: object
) -> None:
    own = rule.part_types["washer"]
    turned = replace(rule, part_types={"washer": replace(own, tolerate=own.tolerate[::-1])})
    assert judge(seen(*things), rule).outcome is judge(seen(*reversed(things)), turned).outcome


FILE = """
version = "12"
parts = ["washer", "bracket"]
defects = ["stain", "scratch"]
part_score = 0.6
edge_px = 0.5
[part.washer]
sizes_mm.length = [39.0, 41.0]
defect_scores.stain = 0.2
[[part.washer.tolerate]]
defects = ["stain"]
length_mm = 1
count = 2
zone = "rim"
[zones.rim]
polygon = [[0, 0], [1, 0], [1, 0.25]]
"""


def test_a_rule_file_says_what_is_judged() -> None:
    rule = rule_of(settings.parse_rule(FILE, "rule.toml"), sha256="ab" * 32)
    assert rule.id == "12 abababababab"
    assert rule.asks_mm
    assert rule.of("washer").tolerate == (Tolerance(("stain",), 1.0, None, None, 2, "rim"),)
    assert rule.zones["rim"] == Zone(((0.0, 0.0), (1.0, 0.0), (1.0, 0.25)))
    assert [rule.least_score("stain", each) for each in ("washer", "bracket")] == [0.2, 0.25]


WRONG = [
    ("edge_px = 0.5", "edgepx = 0.5", "unknown key 'edgepx'; remove it or correct its spelling"),
    ("count = 2", "counts = 2", "unknown key 'part[...].tolerate[0].counts'; remove it or correct its spelling"),
    ("[part.washer]", "[part.nut]", "part.nut is not among parts, which are washer, bracket"),
    (
        "defect_scores.stain",
        "defect_scores.crack",
        "part.washer.defect_scores names 'crack', which is not among defects",
    ),
    ('zone = "rim"', 'zone = "rime"', "part.washer.tolerate[0].zone is 'rime', which is not among zones"),
    ("part_score = 0.6", "part_score = 1.5", "part_score is 1.5; give a number from 0 to 1"),
    (
        "[39.0, 41.0]",
        "[41.0, 39.0]",
        "part.washer.sizes_mm.length is 41 to 39; the first must be the smaller, from 0 on",
    ),
    ("length_mm = 1", "length_mm = -1", "part.washer.tolerate[0] has a limit that is no number from 0 to 1000000"),
    ("length_mm = 1", "length_mm = nan", "part.washer.tolerate[0] has a limit that is no number from 0 to 1000000"),
    ("[1, 0], [1, 0.25]", "[1, 0]", "zones.rim.polygon needs 3 to 64 corners"),
    ('defects = ["stain", "scratch"]', 'defects = ["stain", "washer"]', "parts and defects both name 'washer'"),
    ('version = "12"', "version = 12", "key 'version': expected `str`, got `int`"),
    ("edge_px = 0.5", "edge_px = ", "is not valid TOML"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), WRONG, ids=[row[2][:40] for row in WRONG])
def test_what_is_wrong_in_a_rule_file_is_named(right: str, wrong: str, said: str) -> None:
    text = FILE.replace(right, wrong, 1)
    assert text != FILE
    with pytest.raises(ConfigError, match=r"^rule\.toml") as raised:
        settings.parse_rule(text, "rule.toml")
    assert said in str(raised.value)


def test_the_rule_of_the_configuration_is_checked_as_a_file_is() -> None:
    with pytest.raises(ConfigError, match=r"vision\.rule\.part\.nut is not among vision\.rule\.parts"):
        settings.parse("[vision.rule.part.nut]")


def test_a_large_crowd_of_boxes_is_judged_in_bounded_steps() -> None:
    """300 boxes and 64 tolerances of one place each: what the largest answer of a detector and the largest rule come to."""
    crowd = [thing(110 + n % 60 * 5, 110 + n // 60 * 20, 0.3, 0.3, "stain") for n in range(300)]
    tolerate = tuple(Tolerance(("stain",), length_mm=1.0, count=1) for _ in range(64))
    rule = replace(RULE, part_types={"washer": PartRule(tolerate=tolerate)})
    judged = judge(seen(*crowd), rule)
    assert judged.why == "stain 0.80, one of 300, 64 of its kind allowed and 235 more"


def test_the_area_is_that_of_the_plane() -> None:
    """Twice as many mm per pixel down as across: a homography can say so, and a square of pixels is no square then."""
    stretched = replace(SCALE, matrix=(0.1, 0, 0, 0, 0.2, 0, 0, 0, 1))
    extent = stretched.extent(Box(10, 10, 40, 30, "stain", 1.0))
    assert [extent.length_mm, extent.width_mm, extent.area_mm2] == pytest.approx([5.0, 3.0, 12.0])
    assert stretched.sides_mm(Box(10, 10, 40, 30, "stain", 1.0)) == pytest.approx((4.0, 3.0))
    assert stretched.px_mm(Box(10, 10, 40, 30, "stain", 1.0)) == pytest.approx(0.2)
    assert np.isclose(replace(stretched, error_mm=0.5).extent(Box(10, 10, 40, 30, "stain", 1.0)).length_mm, 5.5)
