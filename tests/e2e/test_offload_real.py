"""The real bench's own parts: a line through relay and Triton, a kill -9 in it, records that can be explained, cut answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeapp.bench.cut_stream import CutAnswer, cut_answers
from edgeapp.bench.line import Plan, draw_pictures, run_line
from edgeapp.bench.real_plot import draw
from edgeapp.bench.real_score import LATE_REMOTE, missed, score, way
from edgeapp.core.events import MS
from edgeapp.explain import explain
from edgeapp.near_edge import environment
from edgeapp.near_edge.repository import Served
from edgeapp.near_edge.serve import Settings, serving
from edgeapp.observe.jsonl import JsonLines

pytestmark = pytest.mark.skipif(bool(environment.no_wheel()), reason=environment.no_wheel())

MODELS = (Served("detector", "detector", "qc-yolo11n"), Served("llm", "llm", "kiosk-lm"))


@pytest.mark.real_time
async def test_a_line_through_a_real_server_that_is_killed_gets_every_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Due after a minute: a busy machine may be slow, and what is shown here is that nothing is lost."""
    plan = Plan(
        "belt", "edgeapp", 40, outage_s=(3.0, 3.5), kill_s=3.8, restart_after_s=0.2, due_ms=60_000, warm_frames=25,
        weather="ethernet",
    )  # fmt: skip
    records = JsonLines(tmp_path / "records.jsonl", max_bytes=10_000_000)
    answers: list[CutAnswer] = []
    async with serving(Settings(models=MODELS, folder=tmp_path / "near-edge"), watch=False) as server:
        ran = await run_line(plan, server, await draw_pictures(8, 1), 100 * MS, records)
        assert server.restarts == 1
        answers += await cut_answers(server, weather="ethernet", seed=1, quick=True, tell=lambda: None)
    records.close()
    found = score(ran)
    assert (sorted(ran.verdicts), found.without_one_verdict) == (list(range(1, 41)), 0)
    late = [verdict.why for (verdict,) in ran.verdicts.values() if missed(verdict)]
    assert all("faster than the inspection" in why for why in late), late  # which a machine that is too busy may say
    assert len(ran.calls) == 40 - len(late)
    assert ran.killed_ns < ran.back_ns
    assert ran.relay["connections"] >= 1
    assert [each.name for each in found.troubles] == ["outage", "kill"]
    away = [n for n, call in ran.calls.items() if way(call) == LATE_REMOTE]
    assert away, {call.why for call in ran.calls.values()}
    assert draw(ran, found, tmp_path).stat().st_size > 10_000
    explain(f"belt {away[0]}", tmp_path / "records.jsonl")
    assert "at the near edge" in capsys.readouterr().out
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert (kinds.count("session"), kinds.count("call"), kinds.count("verdict")) == (1, len(ran.calls), 40)
    assert [(each.said, each.wrong_words) for each in answers] == [(answers[0].alone, 0)] * len(answers)
    assert any(each.in_the_middle for each in answers)
