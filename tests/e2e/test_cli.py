"""The command as people meet it: whole processes, exit codes, one clear sentence on stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

EDGEAPP = [sys.executable, "-m", "edgeapp"]


def edgeapp(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EDGEAPP, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence on stderr, no traceback, a code that is not zero."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


CONFIGS = [
    ("[voice]\nbudgt_ms = 200", ["unknown key 'voice.budgt_ms'"]),
    ("[voice]\nbudget_ms = 'soon'", ["voice.budget_ms", "expected `float`"]),
    ("[voice.stt]\nengine = 'stt_oracle'", ["there is no engine 'stt_oracle'", "stt_pocketsphinx"]),
    ("[voice.llm]\nengine = 'llm_ctranslate2'\noptions.modle = 'x'", ["unknown key 'modle'"]),
    ("[voice.shares]\nllm_ms = 500", ["add up to", "lower a share"]),
    ("[vision.rule]\npart_score = 7", ["vision.rule.part_score is 7"]),
    ("[vision.rule.defect_scores]\ndent = 7", ["vision.rule.defect_scores.dent is 7"]),
    ("[vision.rule.defect_scores]\ndebt = 0.3", ["vision.rule.defect_scores names 'debt'"]),
    ("app = 'kiosk'\n[voice]\ncontent = 'nowhere.toml'", ["nowhere.toml"]),
    ("app = ", ["not valid TOML"]),
    ("app = 'qc'\n[vision.detect]\nengine = 'detect_yolo'\noptions.model = './missing.onnx'", ["missing.onnx"]),
    ("app = 'qc'\n[records]\npath = '/proc/nowhere/records.jsonl'", ["cannot write records"]),
]


@pytest.mark.parametrize(("text", "words"), CONFIGS)
def test_a_wrong_configuration_is_one_sentence(text: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(text)
    refused(edgeapp("run", "device.toml", cwd=tmp_path), *words)


def test_a_missing_configuration_file(tmp_path: Path) -> None:
    refused(edgeapp("run", "nowhere.toml", cwd=tmp_path), "nowhere.toml")


def test_no_microphone_is_said_with_its_fix(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text("app = 'kiosk'\n[audio]\nmicrophone = 'no such microphone'")
    refused(edgeapp("run", "device.toml", cwd=tmp_path), "microphone")


def test_doctor_on_a_machine_with_nothing_plugged_in(tmp_path: Path) -> None:
    done = edgeapp("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for word in ("PortAudio", "cameras", "kiosk-lm", "qc-yolo11n", "memory"):
        assert word in done.stdout


def test_explain_without_records_says_so(tmp_path: Path) -> None:
    refused(edgeapp("explain", "7", cwd=tmp_path), "cannot read records")


def test_the_conveyor_demo_tells_one_verdict_a_part(tmp_path: Path) -> None:
    done = edgeapp("demo", "qc", "--parts", "12", cwd=tmp_path)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["parts"], summary["verdicts"]) == (12, 12)
    assert summary["pass"] + summary["fail"] + summary["not_inspected"] == 12
    assert len(list((tmp_path / "out/qc").glob("part_*.jpg"))) == 12
    assert (tmp_path / "out/qc/contact_sheet.jpg").stat().st_size > 10_000
    told = edgeapp("explain", "belt 3", cwd=tmp_path)
    assert told.returncode == 0
    assert "Frame 3 of belt got" in told.stdout
    refused(edgeapp("explain", "belt 99", cwd=tmp_path), "has no 'belt 99'", "belt 12")


def test_the_kiosk_demo_answers_and_explains(tmp_path: Path) -> None:
    done = edgeapp("demo", "kiosk", "--turns", "3", cwd=tmp_path)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["turns"] == 3
    assert summary["unanswered"] == 0
    assert (tmp_path / "out/kiosk/waterfall.png").stat().st_size > 10_000
    assert (tmp_path / "out/kiosk/conversation.wav").stat().st_size > 100_000
    told = edgeapp("explain", "2", cwd=tmp_path)
    assert "Turn 2 was answered." in told.stdout
    assert "It heard: " in told.stdout


@pytest.mark.parametrize("arguments", [["run", "device.toml"], ["demo", "qc", "--parts", "500"]])
def test_ctrl_c_ends_it_and_loses_no_record(arguments: list[str], tmp_path: Path) -> None:
    """The records go into a pipe, so that the signal comes just after the third verdict."""
    (tmp_path / "device.toml").write_text("app = 'qc'\n[records]\npath = 'out/records.jsonl'")
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out/records.jsonl")
    process = subprocess.Popen(
        [*EDGEAPP, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    verdicts: list[int] = []
    with (tmp_path / "out/records.jsonl").open() as records:
        for line in records:
            record = json.loads(line)
            if record["kind"] == "verdict":
                verdicts.append(record["frame_number"])
                if len(verdicts) == 3:
                    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert verdicts[:3] == [1, 2, 3]
    assert verdicts == list(range(1, len(verdicts) + 1))


def test_ctrl_c_in_the_middle_of_a_turn_writes_that_turn_down(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out/records.jsonl")
    process = subprocess.Popen(
        [*EDGEAPP, "demo", "kiosk"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    turns: list[str] = []
    with (tmp_path / "out/records.jsonl").open() as records:
        for line in records:
            record = json.loads(line)
            if record["kind"] == "call" and record["stage"] == "stt" and not turns:
                process.send_signal(signal.SIGINT)
            if record["kind"] == "turn":
                turns.append(record["outcome"])
    _, told = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert turns == ["interrupted"]


def test_the_demo_of_the_pages_shows_parts_and_turns_of_a_real_device(tmp_path: Path) -> None:
    command = [*EDGEAPP, "demo", "web", "--port", "0", "--seconds", "45", "--out", str(tmp_path)]
    demo = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    try:
        url = next(line.split()[-1] for line in demo.stderr if "pages on" in line)
        token = (tmp_path / "web" / "device-token").read_text().strip()
        state: dict[str, Any] = {}
        for _ in range(300):  # ten seconds of a quiet machine
            asked = urllib.request.Request(f"{url}/api/state", headers={"authorization": f"Bearer {token}"})
            with urllib.request.urlopen(asked, timeout=10) as answer:
                state = json.load(answer)
            if state["turns"]["rows"] and len(state["verdicts"]["last"]) > 2:
                break
            time.sleep(0.1)
        assert state["turns"]["rows"][-1]["outcome"] in {"answered", "not understood"}
        assert state["captions"]["voice"] is True
        assert state["gates"]["voice.llm"]["outcome"] == "passed"
        assert {"stt", "detect"} <= set(state["stages"])
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 130
        demo.stderr.close()
