"""The comparison with Pipecat: its arithmetic, its meter on virtual time, and what it says when a side fails."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS
from edgeapp.demo.kiosk import Question
from edgeapp.devices.files import VirtualAudio

ROOT = Path(__file__).parent.parent
ENGINES = ("ctranslate2", "pocketsphinx", "espeakng-loader", "tokenizers")
CLIP_START_NS, VOICED_NS = 112 * MS, 212 * MS  # asked at 100 ms; the next block of 16 ms begins at 112


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("bench_pipecat")


@pytest.fixture
def side(bench: Any) -> Any:
    """The meter as a module."""
    return importlib.import_module("voice_side")


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, re.MULTILINE))


def test_both_sides_run_the_same_versions_of_the_engines_and_pipecat_brings_no_torch() -> None:
    ours, theirs = pins("run"), pins("pipecat")
    assert {name: theirs[name] for name in ENGINES} == {name: ours[name] for name in ENGINES}
    assert "torch" not in theirs
    assert "pipecat-ai" in theirs


def test_one_of_the_published_settings_is_the_default_and_another_is_the_quick_one(bench: Any) -> None:
    assert bench.SETTINGS["default"].published
    assert bench.SETTINGS[bench.QUICK_SETTING].published
    assert any(not each.published for each in bench.SETTINGS.values())


def test_the_command_line_has_bounds(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert (bench.parse([]).quick, bench.parse([]).passes) == (False, 5)
    assert bench.parse(["--quick"]).quick
    with pytest.raises(SystemExit):
        bench.parse(["--passes", "0"])
    assert "--passes: use 1 or more" in capsys.readouterr().err


def test_without_an_environment_for_pipecat_it_says_so_and_measures_nothing(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "ROOT", tmp_path)  # a checkout without the script that makes environments
    monkeypatch.setattr(sys, "argv", ["bench_pipecat.py"])
    with pytest.raises(SystemExit, match="there is no environment for Pipecat, so there is nothing to compare with"):
        bench.main()


async def heard_by(
    side: Any, taken_ns: int | None, plays: list[tuple[int, NDArray[np.int16]]], also: tuple[Any, ...] = ()
) -> Any:
    """Ask a side that takes the question at an instant, or says that it took it as in `also`, and plays sounds at others."""
    audio, taken = VirtualAudio(block_samples=256, latency_ms=20.0), []
    samples = np.full(2_400, 5_000, np.int16)

    async def listen() -> None:
        async for _ in audio.heard():
            pass

    async def take() -> None:
        if taken_ns is not None:
            await sleep_until(taken_ns)
            taken.append(side.Taken(now_ns(), "where is it", "here"))
        else:
            await sleep_until(CLIP_START_NS)
        taken.extend(also)
        for at_ns, sound in plays:
            await sleep_until(at_ns)
            await audio.speaker.play(sound, 22_050)

    listening, taking = asyncio.create_task(listen()), asyncio.create_task(take())
    await asyncio.sleep(0.1)
    answer = await side.ask(audio, taken, Question("x.flac", "where is it", False, samples, 1_600))
    audio.hang_up()
    await asyncio.gather(listening, taking)
    return answer


SOUND = np.concatenate([np.zeros(441, np.int16), np.full(11_025, 5_000, np.int16)])  # 20 ms of silence before it


async def test_the_clock_runs_from_the_last_voiced_sample_to_the_first_audible_one_with_the_buffers_between(
    side: Any,
) -> None:
    answer = await heard_by(side, VOICED_NS + 70 * MS, [(VOICED_NS + 80 * MS, SOUND)])
    took_ms = 80.0 + 20.0 + 20.0
    assert answer == side.Answer("where is it", "where is it", "here", took_ms, took_ms, opener=False, cut_off=False)


async def test_the_answer_behind_an_opener_is_timed_by_itself_and_what_was_rolled_back_was_no_question(
    side: Any,
) -> None:
    late_ns = VOICED_NS + 350 * MS
    before, after = (
        side.Taken(VOICED_NS - 1, ""),
        side.Taken(VOICED_NS + 90 * MS, "where is it", "Well, here", True, late_ns),
    )
    answer = await heard_by(side, None, [(VOICED_NS + 100 * MS, SOUND)], also=(before, after))
    assert (answer.took_ms, answer.answer_ms, answer.opener) == (140.0, 350.0, True)
    assert (answer.heard, answer.cut_off) == ("where is it", True)


async def test_sound_below_the_threshold_of_hearing_is_not_a_reply(side: Any) -> None:
    faint = np.full(2_205, 150, np.int16)
    answer = await heard_by(side, VOICED_NS, [(VOICED_NS + 10 * MS, faint), (VOICED_NS + 300 * MS, SOUND)])
    assert answer.took_ms == 300.0 + 20.0 + 20.0


async def test_a_pause_between_clauses_does_not_end_the_turn_and_eight_seconds_of_nothing_do(side: Any) -> None:
    await heard_by(side, VOICED_NS, [(VOICED_NS, SOUND), (VOICED_NS + 1_000 * MS, SOUND)])
    assert now_ns() > VOICED_NS + 2_000 * MS, "the second clause was waited for"
    started_ns = now_ns()
    answer = await heard_by(side, None, [])
    assert (answer.took_ms, answer.heard, answer.cut_off) == (None, "", False)
    assert 8_000 * MS < now_ns() - started_ns < 8_400 * MS


@pytest.mark.parametrize(("taken_ns", "played_ns"), [(VOICED_NS - 1, VOICED_NS + 50 * MS), (None, CLIP_START_NS)])
async def test_a_side_that_takes_a_question_or_speaks_before_its_last_voiced_sample_cut_it_off(
    side: Any, taken_ns: int | None, played_ns: int
) -> None:
    assert (await heard_by(side, taken_ns, [(played_ns, SOUND)])).cut_off


def answers(bench: Any, *took_ms: float | None, cut_off: bool = False, heard: str = "hello") -> list[Any]:
    return [bench.Answer("hello", heard, "hello", ms, ms, opener=False, cut_off=cut_off) for ms in took_ms]


def pairs(bench: Any, ours: list[Any], theirs: list[Any]) -> list[Any]:
    return [bench.Pair(*both) for both in zip(ours, theirs, strict=True)]


def test_times_are_those_of_answers_that_were_not_cut_off_and_the_rest_is_counted(bench: Any) -> None:
    given = [
        *answers(bench, 100.0, 120.0, None),
        *answers(bench, 140.0, heard="no"),
        *answers(bench, -50.0, cut_off=True, heard="he"),
    ]
    times = {"p50_ms": 120.0, "p95_ms": 140.0, "answer_p50_ms": 120.0, "answer_p95_ms": 140.0}
    assert bench.score(given) == bench.Score(5, **times, openers=0, understood=3, cut_off=1, unanswered=1)
    nothing = dict.fromkeys(times)
    assert bench.score(answers(bench, None)) == bench.Score(
        1, **nothing, openers=0, understood=1, cut_off=0, unanswered=1
    )


def test_the_setting_to_beat_is_the_fastest_published_one_that_answers(bench: Any) -> None:
    ours = answers(bench, 100.0)
    measured = {
        "default": pairs(bench, ours, answers(bench, 700.0)),
        "smart-turn": pairs(bench, ours, answers(bench, 650.0)),
        "speech-timeout": pairs(bench, ours, answers(bench, None)),
        "eager": pairs(bench, ours, answers(bench, 200.0)),
    }
    assert bench.best(measured) == "smart-turn"
    assert bench.times_faster(measured["smart-turn"], "p50_ms") == 6.5
    assert bench.times_faster(measured["speech-timeout"], "p50_ms") is None


@pytest.mark.parametrize(("theirs_ms", "met"), [(400.0, True), (398.0, False), (None, False)])
def test_the_bar_is_four_times_on_the_same_questions(bench: Any, theirs_ms: float | None, met: bool) -> None:
    summary = bench.summarise({"default": pairs(bench, answers(bench, 100.0), answers(bench, theirs_ms))})
    assert list(summary["bars"].values()) == [met, met]


def test_an_opener_does_not_pass_for_an_answer(bench: Any) -> None:
    ours = [replace(each, answer_ms=150.0, opener=True) for each in answers(bench, 100.0)]
    both = pairs(bench, ours, answers(bench, 500.0))
    assert list(bench.summarise({"default": both})["bars"].values()) == [True, False]
    assert bench.score(ours).openers == 1


def test_the_ratio_is_of_the_questions_that_were_asked_together(bench: Any) -> None:
    """A loud minute hits edgeapp in one pairing; the other pairing's ratio does not move."""
    measured = {
        "default": pairs(bench, answers(bench, 100.0, 100.0), answers(bench, 800.0, 800.0)),
        "smart-turn": pairs(bench, answers(bench, 300.0, 300.0), answers(bench, 1_200.0, 1_200.0)),
    }
    summary = bench.summarise(measured)
    assert summary["settings"]["default"]["times_faster"]["p50_ms"] == 8.0
    assert summary["settings"]["smart-turn"]["times_faster"]["p50_ms"] == 4.0
    assert summary["ours"]["turns"] == 4


def test_the_table_puts_both_side_by_side_with_their_accuracy(bench: Any) -> None:
    measured = {
        "smart-turn": pairs(bench, answers(bench, 187.2, 331.1), answers(bench, 1_096.3, 3_577.7)),
        "eager": pairs(bench, answers(bench, 110.0), answers(bench, None)),
    }
    page = StringIO()
    Console(width=200, file=page).print(bench.table(measured))
    rows = [" ".join(line.replace("│", " ").split()) for line in page.getvalue().splitlines()]
    assert "edgeapp 3 187 331 187 331 0 3 0 0" in rows
    assert "Pipecat smart-turn, fastest published 2 1096 3578 1096 3578 0 2 0 0 5.9 times (5.9)" in rows
    assert "Pipecat eager, not published 1 - - - - 0 1 0 1 -" in rows


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("program", "said"),
    [("print('{}')", "Pipecat ended"), ("print('{}'); input(); print('{\"heard\": 1}')", "which is no answer")],
)
async def test_a_side_that_ends_or_talks_nonsense_is_one_sentence(bench: Any, program: str, said: str) -> None:
    async with bench.started([sys.executable, "-c", program], "Pipecat") as process:
        with pytest.raises(bench.SideError, match=said):
            await process.ask(0)
