"""The golden parts from the page: pictures of known parts, the bundled detector, and what the line may pass after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_golden_parts import add, drawn
from web_world import CHROMIUM, PASSWORD

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.golden import past_runs
from edgeapp.apps.qc import open_line
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.devices import conveyor
from edgeapp.station.queries import verdicts
from edgeapp.station.store import open_reading
from edgeapp.web.users import Role, Users

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium: apt-get install chromium")

PARTS = 6  # on the belt, after the golden parts


class Station:
    """A station with a belt that stands until a test lets it run, in a thread of its own."""

    def __init__(self, folder: Path, golden: Path) -> None:
        self.folder, self.golden, self.url = folder, golden, ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        golden = settings.Golden(folder=str(self.golden))
        config = settings.Config(
            app="qc",
            vision=settings.Vision(camera=settings.Camera(source="simulated"), golden=golden, budget_ms=2_000.0),
            station=settings.Station(folder=str(self.folder / "ledger")),
            web=settings.Web(serve=True, port=0),
        )
        Users(self.folder / "web" / "users.json").set("ann", Role.OPERATOR, PASSWORD)
        front = Front(config, folder=self.folder / "web")
        async with AsyncExitStack() as stack:
            placements = Placements()
            parts = Parts(stack, sink_of(config.records, stack, placements, *front.sinks))
            self.line = await open_line(config, parts, placements)
            self.line.show_on(front)
            self.url = await front.open(parts)
            self._ready.set()
            await self._end.wait()

    async def _belt(self) -> None:
        options = conveyor.Options(parts=PARTS, parts_per_minute=60.0, source="belt", defect_share=0.0, seed=11)
        async with conveyor.start(options) as belt:
            await self.line.run(belt.frames())

    def run_belt(self) -> list[str]:
        """Let good parts come along; what the ledger says of them, and why."""
        asyncio.run_coroutine_threadsafe(self._belt(), self._loop).result(60)
        said: list[str] = []
        for _ in range(200):  # the last row may be on its way to the disk
            if len(said := self._rows()) == PARTS:
                break
            self._thread.join(0.05)
        return said

    def _rows(self) -> list[str]:
        with closing(open_reading(self.folder / "ledger")) as database:
            return [f"{row['outcome']} {row['why']}" for row in verdicts(database, columns=("outcome", "why"))]

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the station did not start")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str, str]]:
    """Pictures of the simulated belt with the truth about each."""
    pictures: list[tuple[Path, str, str]] = []
    folder = tmp_path_factory.mktemp("shots")
    thread = threading.Thread(target=lambda: pictures.extend(asyncio.run(drawn(folder, 8))))
    thread.start()  # this thread's loop is the browser's
    thread.join()
    return pictures


def golden_set(folder: Path, shots: list[tuple[Path, str, str]]) -> Path:
    """A set of these pictures."""
    for number, (path, expect, cause) in enumerate(shots):
        more = ("--cause", cause) if cause else ()
        assert add(folder, path, "--name", f"P{number}", "--expect", expect, *more).exit_code == 0
    return folder


@contextmanager
def page_of(browser: Browser, folder: Path, golden: Path) -> Iterator[tuple[Station, Page]]:
    """A station and an operator who looks at its page."""
    one, context = Station(folder, golden), browser.new_context()
    one.start()
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(f"{one.url}/login?then=%2Fstation")
        page.fill("#user", "ann")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_text("the golden parts were never judged here").wait_for()
        yield one, page
    finally:
        context.close()
        one.stop()


def test_golden_parts_that_are_as_known_let_the_line_pass(
    browser: Browser, tmp_path: Path, shots: list[tuple[Path, str, str]]
) -> None:
    golden = golden_set(tmp_path / "golden", shots)
    with page_of(browser, tmp_path, golden) as (one, page):
        page.get_by_role("button", name="Look at them now").click()
        page.get_by_text("Parts may pass.").wait_for()
        page.get_by_text("asked by ann").wait_for()
        page.get_by_text("as known", exact=True).wait_for()
        (run,) = past_runs(tmp_path / "ledger")
        assert {each.name: str(each.outcome) for each in run.results} == {
            f"P{n}": shot[1] for n, shot in enumerate(shots)
        }
        said = one.run_belt()
        assert len(said) == PARTS
        assert sum(each.startswith("PASS") for each in said) >= PARTS - 1, said
        page.get_by_role("button", name="Passed").click()
        page.locator(".evidence .chip.pass").first.wait_for()


def test_a_golden_part_that_is_judged_otherwise_is_named_on_the_page_and_no_part_passes(
    browser: Browser, tmp_path: Path, shots: list[tuple[Path, str, str]]
) -> None:
    number = next(n for n, shot in enumerate(shots) if shot[1] == "PASS")
    claimed = [(path, "FAIL", "scratch") if n == number else (path, *truth) for n, (path, *truth) in enumerate(shots)]
    golden = golden_set(tmp_path / "golden", claimed)  # type: ignore[arg-type]
    with page_of(browser, tmp_path, golden) as (one, page):
        page.get_by_role("button", name="Look at them now").click()
        page.get_by_text(f"the golden parts failed: P{number}: PASS instead of FAIL").wait_for()
        page.get_by_text("wrong", exact=True).first.wait_for()
        said = one.run_belt()
        assert len(said) == PARTS
        assert {each.partition(" ")[0] for each in said} <= {"NOT_INSPECTED", "FAIL"}
        assert any("the golden parts failed" in each for each in said)
