"""Questions at the station against a ledger whose truth is known: no number that is spoken is wrong."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_world import evidence
from shift_world import CALENDAR, LABELS, NOW, Made, Operator, causes_of, two_days

from edgeapp.apps.station_answers import answer
from edgeapp.core.events import Outcome
from edgeapp.station import queries
from edgeapp.station.evidence import Entry, says
from edgeapp.station.store import Store, open_reading
from edgeapp.voice.station_grammar import station_grammar
from edgeapp.voice.station_questions import StationQuestion, Topic, station_question

HELD_OUT = [
    tuple(part.strip() for part in line.split("|"))
    for name in ("station_questions.txt", "station_questions_2.txt")
    for line in (Path(__file__).parent / "data" / name).read_text().splitlines()
    if line and not line.startswith("#")
]
LIES = ("12 parts failed today, 7 of them with a scratch.", "The yield is 97 percent.", "Parts failed today, 41.")


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Made]]:
    folder = tmp_path_factory.mktemp("shift")
    return folder, two_days(folder)


def of_time(made: list[Made], time: list[str]) -> list[Made]:
    """The parts of a stretch of time, found without our calendar."""
    now = datetime.fromtimestamp(NOW / 1e9, UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    minute = now.replace(second=0, microsecond=0)
    begins, ends = {
        "hour": (now.replace(minute=0, second=0, microsecond=0), now),
        "shift": (day + timedelta(hours=14), now),
        "before": (day + timedelta(hours=6), day + timedelta(hours=14)),
        "today": (day, now),
        "yesterday": (day - timedelta(days=1), day),
        "ever": (day - timedelta(days=3_000), now),
        "minutes": (minute - timedelta(minutes=int(time[1]) - 1 if len(time) > 1 else 0), now),
    }[time[0]]
    return [each for each in made if begins.timestamp() * 1e9 <= each.utc_ns < ends.timestamp() * 1e9 + 1e9]


def truth(wanted: str, made: list[Made]) -> list[str]:
    """The numbers that may be spoken, in order; for a reason or a last part the words too."""
    kind, *rest = wanted.split()
    if kind in {"last", "show"}:
        named = rest[0]
        last = max(
            (each for each in made if named == "any" or named in {each.outcome, *each.causes}),
            key=lambda each: each.number,
            default=None,
        )
        if last is None:
            return []
        at = datetime.fromtimestamp(last.utc_ns / 1e9, UTC)
        day = [] if at.date() == datetime.fromtimestamp(NOW / 1e9, UTC).date() else [str(at.day)]
        return [str(last.number), *day, str(at.hour), *([f"{at.minute:02d}"] if at.minute else [])]
    time = rest[1:] if kind in {"count", "defect"} else rest
    seen = of_time(made, time)
    ended = Counter(each.outcome for each in seen)
    number = {"PASS": ended["PASS"], "FAIL": ended["FAIL"], "NOT_INSPECTED": ended["NOT_INSPECTED"]}
    number |= {"INSPECTED": ended["PASS"] + ended["FAIL"], "ALL": len(seen)}
    found = causes_of(seen)
    first = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    if kind == "count":
        return [str(number[rest[0]])]
    if kind == "defect":
        return [str(found[rest[0]])]
    if kind == "why":
        return [str(number["FAIL"]), *(f"{parts}" for _, parts in first[:3])]
    if kind == "overview":
        return [str(number[each]) for each in ("PASS", "FAIL", "NOT_INSPECTED")]
    if kind == "common":
        return [str(first[0][1]), str(number["FAIL"])]
    part, whole = (number["PASS"], number["ALL"]) if kind == "yield" else (number["FAIL"], number["INSPECTED"])
    return [f"{100 * part / whole:.1f}".removesuffix(".0"), str(part), str(whole)]


def numbers(said: str) -> list[str]:
    """The numbers of an answer, but for those that say which stretch of time it is about; "no part" is 0."""
    said = re.sub(r"since \d+(?: \d\d)?|in the last \d+ minutes", "", said.lower())
    found = re.findall(r"\d+(?:\.\d+)?", said)
    return found or (["0"] if said.startswith("no part") else [])


async def test_of_two_hundred_questions_in_other_words_no_number_that_is_spoken_is_wrong(
    shift: tuple[Path, list[Made]],
) -> None:
    folder, made = shift
    wrong, silent = [], []
    for number, (wanted, words) in enumerate(HELD_OUT):
        operator = Operator(folder, LIES[number % len(LIES)])
        said = await operator.says(words)
        spoken = numbers(said)
        if spoken and (wanted == "none" or spoken != truth(wanted, made)):
            wrong.append(f"{words}: {said} (it is {wanted})")
        elif not spoken and wanted != "none" and truth(wanted, made):
            silent.append(words)
    print(
        f"{len(HELD_OUT)} questions, {len(wrong)} wrong, {len(silent)} of those that can be known not answered: {silent}"
    )
    assert not wrong, "\n".join(wrong)
    assert len(HELD_OUT) >= 200
    assert len(silent) <= 20


def test_every_sentence_of_the_grammar_is_a_question_that_is_understood() -> None:
    before = ("how many rejects this hour",)
    assert [each for each in station_grammar(LABELS).sentences if station_question(each, LABELS, before) is None] == []


@pytest.mark.parametrize(
    ("before", "words", "asked"),
    [
        ((), "why", None),
        (("how many rejects this hour",), "why", StationQuestion(Topic.CAUSES, "FAIL", span="hour")),
        (("how many rejects this hour", "why"), "and today", StationQuestion(Topic.CAUSES, "FAIL", span="today")),
        (("how many rejects this hour",), "and dents", StationQuestion(Topic.COUNT, "FAIL", ("dent",), "hour")),
        (("what is the yield today",), "what about yesterday", StationQuestion(Topic.YIELD, span="yesterday")),
        (
            ("how many parts were not inspected today",),
            "and why",
            StationQuestion(Topic.CAUSES, "NOT_INSPECTED", span="today"),
        ),
        (("show the last scratch",), "why", StationQuestion(Topic.LAST, "FAIL", ("scratch",))),
        (("stop the line",), "why", None),
        ((), "and today", None),
    ],
)
def test_a_question_that_goes_on_takes_the_rest_from_the_one_before(
    before: tuple[str, ...], words: str, asked: StationQuestion | None
) -> None:
    assert station_question(words, LABELS, before) == asked


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("stop on three in a row", StationQuestion(Topic.STOP_AFTER, parts=3)),
        ("Stop the line on 5 rejects in a row, please.", StationQuestion(Topic.STOP_AFTER, parts=5)),
        ("do not stop on rejects", StationQuestion(Topic.STOP_AFTER)),
        ("stop on many in a row", None),
        ("stop", None),
        ("stop the music", None),
        ("Yes, seen.", StationQuestion(Topic.ACKNOWLEDGE)),
        ("acknowledge the alarm", StationQuestion(Topic.ACKNOWLEDGE)),
        ("i acknowledge that the line is late", None),
        ("let the line run", StationQuestion(Topic.RESUME)),
        ("say that again", StationQuestion(Topic.REPEAT)),
        ("is the golden check due", StationQuestion(Topic.GOLDEN)),
        ("why did the line stop", StationQuestion(Topic.STATUS)),
    ],
)
def test_commands_are_taken_at_their_exact_words(words: str, asked: StationQuestion | None) -> None:
    assert station_question(words, LABELS) == asked


def test_the_newest_verdict_of_a_kind_is_found_by_the_counts(shift: tuple[Path, list[Made]]) -> None:
    folder, made = shift
    database = open_reading(folder)
    for outcome in ("PASS", "FAIL", "NOT_INSPECTED"):
        found = queries.newest(database, outcome)
        assert found is not None
        assert found["frame_number"] == max(each.number for each in made if each.outcome == outcome)
    found = queries.newest(database, cause="burr")
    assert found is not None
    assert found["frame_number"] == max(each.number for each in made if "burr" in each.causes)
    assert queries.newest(database, cause="crack") is None
    assert queries.newest(database, "SCRAPPED") is None
    database.close()


def test_the_longest_answer_is_not_cut(tmp_path: Path) -> None:
    """What a tool may say is bounded, and a cut could fall between the digits' words."""
    labels = tuple(f"{chr(97 + n)}" * 18 + "_missing_bolt_of_cover" for n in range(4))
    store = Store(tmp_path, utc_ns=NOW)
    old = NOW - 40 * 86_400 * 1_000_000_000
    rows = [evidence(100_000 + n, Outcome.FAIL, labels) for n in range(120)]
    rows += [evidence(200_000, Outcome.NOT_INSPECTED, ("late",))]
    image = {"image": "", "image_bytes": 0, "image_lost": ""}
    store.append([Entry("verdict", old + n, n, says(each) | image) for n, each in enumerate(rows)])
    store.close()
    database = open_reading(tmp_path)
    for words in (
        "how many rejects ever and why",
        "when was the last uninspected part",
        "what was the last reject",
        "most common defect ever",
    ):
        asked = station_question(words, labels)
        assert asked is not None
        assert len(answer(database, asked, CALENDAR, NOW).text) < 160
    database.close()
