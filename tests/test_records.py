"""Records on disk, and the spans and sentences made from them."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from edgeapp.core.events import MS, Box, ConfigError, Outcome, Verdict
from edgeapp.core.record import AnyRecord, DropRecord, Record, TurnRecord
from edgeapp.explain import explain
from edgeapp.observe.jsonl import JsonLines, read
from edgeapp.observe.percentile import percentile
from edgeapp.observe.waterfall import frame_spans, staged_spans, turn_spans


def call(stage: str, asked_ms: float, first_ms: float, due_ms: float, of: str = "turn 3") -> Record:
    return Record(
        of=of, stage=stage, asked_ns=round(asked_ms * MS), first_ns=round(first_ms * MS), due_ns=round(due_ms * MS),
        side="local", why="no remote is configured", local_ns=20 * MS,
    )  # fmt: skip


TURN = TurnRecord(
    number=3, last_voiced_ns=1_000 * MS, committed_ns=1_080 * MS, due_ns=1_200 * MS, first_audible_ns=1_170 * MS,
    ended_ns=3_000 * MS, outcome="answered", heard_words=4,
)  # fmt: skip
CALLS = [call("stt", 1080, 1082, 1120), call("llm", 1083, 1120, 1180), call("tts", 1150, 1155, 1200)]
VERDICT = Verdict(
    outcome=Outcome.FAIL, why="scratch 0.60", source="belt", frame_number=12, at_ns=500 * MS, decided_ns=540 * MS,
    due_ns=700 * MS, boxes=(Box(1, 2, 3, 4, "scratch", 0.6),), model="abc",
)  # fmt: skip


def test_the_spans_of_a_turn_leave_no_gap() -> None:
    spans = turn_spans(TURN, [call("stt", 0, 1, 2, of="turn 2"), *CALLS])
    assert [(span.name, span.start_ms, span.end_ms) for span in spans] == [
        ("endpoint", 0, 80),
        ("own", 80, 80),
        ("stt", 80, 82),
        ("own", 82, 83),
        ("llm", 83, 120),
        ("clause", 120, 150),
        ("tts", 150, 155),
        ("output", 155, 170),
    ]


FORESEEN = replace(
    TURN, foreseen=True, candidates=2, wasted_ns=9 * MS, candidate_ns=900 * MS, staged_ns=960 * MS,
    first_audible_ns=1_103 * MS, first_reply_ns=1_103 * MS,
)  # fmt: skip
STAGED = [
    call("llm", 700, 720, 1180),  # of a reply that was thrown away
    call("llm", 900, 930, 1180), call("tts", 950, 955, 1200), call("stt", 1080, 1082, 1120),
]  # fmt: skip


def test_what_was_prepared_while_the_person_spoke_stands_beside_the_path() -> None:
    assert [(span.name, span.start_ms, span.end_ms) for span in turn_spans(FORESEEN, STAGED)] == [
        ("endpoint", 0, 80),
        ("own", 80, 80),
        ("stt", 80, 82),
        ("output", 82, 103),
    ]
    assert [(span.name, span.start_ms, span.end_ms) for span in staged_spans(FORESEEN, STAGED)] == [
        ("llm", -100, -70),
        ("clause", -70, -50),
        ("tts", -50, -45),
    ]
    assert staged_spans(TURN, CALLS) == []


def test_a_reply_that_was_under_way_when_the_turn_ended_costs_what_was_left_of_it() -> None:
    late = [call("llm", 1_070, 1_100, 1180), call("tts", 1_105, 1_110, 1200)]
    spans = turn_spans(replace(FORESEEN, candidate_ns=1_070 * MS, first_audible_ns=1_130 * MS), late)
    assert [(span.name, span.start_ms, span.end_ms) for span in spans] == [
        ("endpoint", 0, 80),
        ("llm", 80, 100),
        ("clause", 100, 105),
        ("tts", 105, 110),
        ("output", 110, 130),
    ]


@pytest.mark.parametrize(
    ("turn", "sentences"),
    [
        (
            FORESEEN,
            [
                "The reply was begun 180 ms before that, and its first sound was staged 120 ms before.",
                "1 other reply had been begun and thrown away, which cost 9 ms of work at most.",
            ],
        ),
        (
            replace(TURN, candidate_ns=TURN.committed_ns, opener=True, first_reply_ns=1_400 * MS),
            [
                "The reply was begun then: nothing with these words had been prepared.",
                "It was an opener, because the reply was not there in time; the reply itself came after 400 ms.",
            ],
        ),
        (
            replace(TURN, opener=True, outcome="rolled back"),
            [
                "It was an opener, because the reply was not there in time; the reply itself was never heard.",
                "The person went on speaking, so the turn had not been over: both halves became one.",
            ],
        ),
    ],
)
def test_a_turn_tells_what_was_prepared(
    turn: TurnRecord, sentences: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = JsonLines(tmp_path / "records.jsonl", max_bytes=10**6)
    file(turn)
    file.close()
    explain("3", tmp_path / "records.jsonl")
    told = capsys.readouterr().out.splitlines()
    assert [each for each in told if each in sentences] == sentences


def test_the_spans_of_a_frame_leave_no_gap() -> None:
    spans = frame_spans(VERDICT, [call("detect", 501, 539, 700, of="belt 12")])
    assert [(span.name, span.took_ms) for span in spans] == [("wait", 1), ("detect", 38), ("own", 1)]
    again = [call("detect", *at_ms, 700, of="belt 12") for at_ms in ((501, 510), (510, 520), (520, 530), (530, 539))]
    spans = frame_spans(VERDICT, again)
    assert [(span.name, span.took_ms) for span in spans] == [("wait", 1), ("detect", 9), ("again", 29), ("own", 1)]
    assert [span.name for span in frame_spans(VERDICT, [])] == ["own"]


def test_what_is_written_is_read_again_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "records.jsonl"
    file = JsonLines(path, max_bytes=10**9)
    written: list[AnyRecord] = [*CALLS, TURN, VERDICT, DropRecord("microphone", 5, 2)]
    for record in written:
        file(record)
    file.close()
    with path.open("a") as cut:
        cut.write('{"kind": "turn", "numb')
    assert [line["kind"] for line in read(path)] == ["session", "call", "call", "call", "turn", "verdict", "drop"]
    explain("3", path)
    told = capsys.readouterr().out
    assert "The first audible sample came after 170 of 200 ms: in time." in told
    assert "llm ran on this device, because no remote is configured; its first part took 37.0 ms" in told
    explain("belt 12", path)
    assert "Frame 12 of belt got FAIL after 40 of 200 ms." in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match="has no 'turn 9'; its last session holds turn 3 to turn 3, belt 12 to belt 12"
    ):
        explain("9", path)


def test_the_newest_session_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "records.jsonl"
    for outcome in ("interrupted", "answered"):
        file = JsonLines(path, max_bytes=10**9)
        for record in CALLS:
            file(record)
        file(TurnRecord(**{**{name: getattr(TURN, name) for name in TurnRecord.__slots__}, "outcome": outcome}))
        file.close()
    explain("turn 3", path)
    told = capsys.readouterr().out
    assert "Turn 3 was answered." in told
    assert told.count("stt ran") == 1


def test_a_file_that_grows_is_rotated_once(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    file = JsonLines(path, max_bytes=2_000)
    for _ in range(50):
        file(TURN)
    file.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["records.jsonl", "records.jsonl.1"]
    assert path.stat().st_size < 2_500


def test_a_full_disk_is_told_once_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    file = JsonLines(Path("/dev/full"), max_bytes=10**9)
    for _ in range(3):
        file(TURN)
    file.close()
    assert file.lost == 4
    assert capsys.readouterr().err.count("records are being lost: No space left on device") == 1


def test_a_file_that_somebody_took_away_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    file = JsonLines(path, max_bytes=500)
    for _ in range(3):
        file(TURN)
    path.unlink()
    for _ in range(3):
        file(TURN)
    file.close()
    assert (file.lost, path.exists()) == (0, True)


def test_a_rotation_that_fails_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "records.jsonl"
    file = JsonLines(path, max_bytes=500)
    blocked = tmp_path / "records.jsonl.1"
    blocked.mkdir()
    for _ in range(4):
        file(TURN)
    lost = file.lost
    blocked.rmdir()
    file(TURN)
    file.close()
    assert (lost > 0, file.lost, len(list(read(path)))) == (True, lost, 1)
    assert capsys.readouterr().err.count("records are being lost") == 1


def test_a_record_that_was_written_half_is_counted_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    file = JsonLines(path, max_bytes=10**9)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        file(TURN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    file(TURN)
    file.close()
    assert file.lost == 1
    assert [each["kind"] for each in read(path)] == ["session", "turn"]


def test_half_a_sign_of_a_server_is_no_reason_to_lose_a_record(tmp_path: Path) -> None:
    file = JsonLines(tmp_path / "records.jsonl", max_bytes=10**9)
    file(replace(TURN, error="cannot reach \ud83d"))
    file.close()
    assert [each["kind"] for each in read(tmp_path / "records.jsonl")] == ["session", "turn"]


def test_calls_of_a_session_that_was_killed_are_not_told_with_an_older_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.jsonl"
    for ended in (True, False):
        file = JsonLines(path, max_bytes=10**9)
        for record in CALLS:
            file(record if ended else replace(record, error="of the killed session"))
        if ended:
            file(TURN)
        file.close()
    explain("turn 3", path)
    told = capsys.readouterr().out
    assert told.count("stt ran") == 1
    assert "of the killed session" not in told


def test_records_of_another_version_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"kind": "turn", "number": 3, "colour": "red"}\n')
    with pytest.raises(ConfigError, match="another version of edgeapp"):
        explain("3", path)


def test_percentiles_are_values_that_were_seen() -> None:
    assert [percentile([3, 1, 2, 4], share) for share in (1, 50, 75, 95, 100)] == [1, 2, 3, 4, 4]
