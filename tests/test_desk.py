"""The rule book behind the pages' desk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ledger_world import evidence
from test_rule_book import ONE, TWO, written

from edgeapp import config as settings
from edgeapp.apps.desk import RuleDesk
from edgeapp.core.events import ConfigError, Outcome
from edgeapp.station.ledger import open_ledger
from edgeapp.station.rule_book import read_book

pytestmark = pytest.mark.real_time


async def test_a_rule_is_asked_about_the_rows_of_the_last_hours(tmp_path: Path) -> None:
    book = written(tmp_path / "book")
    async with open_ledger(tmp_path / "ledger") as ledger:
        for n in range(1, 5):
            one = evidence(n, Outcome.FAIL, ("scratch",), rule="not in the book")
            looked_once = replace(one.verdict, looks=n % 2)  # of every second row it is not known how often
            await ledger.record(replace(one, verdict=looked_once))
    running = read_book(book).find("2").id
    desk = RuleDesk(settings.Vision(rule_book=str(book)), tmp_path / "ledger", lambda: running)
    assert [(each.version, each.by, each.in_use) for each in desk.lines()] == [("2", "bob", True), ("1", "ann", False)]
    assert desk.text() == TWO.decode()
    same = desk.dry_run(ONE.decode(), 1.0)
    assert (same.rows, same.flips) == (4, 0)
    laxer = desk.dry_run(ONE.decode() + "defect_score = 0.9\n", 1.0)
    assert (laxer.rows, laxer.flips, laxer.cannot_tell) == (4, 2, 2)
    assert [(each.was, each.would) for each in laxer.listed] == [("FAIL", "PASS")] * laxer.flips
    with pytest.raises(ConfigError, match="the rule is not valid TOML"):
        desk.dry_run("version = ", 1.0)
