"""A shop's owner changes a price on the page, and the next visitor hears it: the real voice behind the real pages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_station_speech import espeak
from web_world import CHROMIUM, PASSWORD

from edgeapp import config as settings
from edgeapp.apps.content_file import BUNDLED_CONTENT, open_content
from edgeapp.apps.kiosk import open_conversation, open_voice
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.demo.kiosk import Question, recorded_questions
from edgeapp.demo.web import ask
from edgeapp.devices.files import VirtualAudio
from edgeapp.voice.wake import Attention
from edgeapp.web import trail
from edgeapp.web.users import Role, Users

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium: apt-get install chromium")


class Kiosk:
    """A kiosk that listens, in a thread of its own, to what a test lets be said to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.file.write_bytes(BUNDLED_CONTENT.read_bytes())
        config = settings.Config(
            app="kiosk",
            audio=settings.Audio(echo="none"),
            voice=settings.Voice(content=str(self.file)),
            web=settings.Web(serve=True, port=0),
        )
        users = Users(self.folder / "web" / "users.json")
        for name, role in (("ann", Role.ENGINEER), ("ben", Role.ENGINEER), ("eve", Role.OPERATOR)):
            users.set(name, role, PASSWORD)
        front = Front(config, folder=self.folder / "web")
        shop = front.shop = open_content(config)
        async with AsyncExitStack() as stack:
            parts = Parts(stack, sink_of(config.records, stack, *front.sinks))
            self.conversation = await open_conversation(
                config, parts, await open_voice(config, parts, shop), Attention()
            )
            front.converses(self.conversation)
            self.url = await front.open(parts)
            self.audio = VirtualAudio()
            self._ready.set()
            await self.conversation.listen(self.audio.heard(), self.audio.speaker)

    @property
    def file(self) -> Path:
        """What it knows."""
        return self.folder / "shop.toml"

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the kiosk did not start")

    def hear(self, question: Question) -> None:
        """Somebody asks, and waits until the reply was heard."""
        asyncio.run_coroutine_threadsafe(ask(self.audio, self.conversation, question), self._loop).result(30)

    def hear_espeak(self, words: str) -> None:
        """A synthetic person asks."""
        said = asyncio.run_coroutine_threadsafe(espeak(words, "en-us"), self._loop).result(30)
        self.hear(Question("", words, human=False, samples=said, last_voiced=len(said)))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.audio.hang_up)
        self._thread.join(20)


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    one = Kiosk(tmp_path_factory.mktemp("kiosk"))
    one.start()
    yield one
    one.stop()


def signed_in(browser: Browser, kiosk: Kiosk, name: str) -> Page:
    """Somebody's browser on the page."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(15_000)
    page.goto(f"{kiosk.url}/login?then=%2Fcontent")
    page.fill("#user", name)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text("The voice answers from this text.").wait_for()
    return page


def write(page: Page, right: str, new: str) -> None:
    """Put `new` in the place of the words `right`."""
    text = page.get_by_label("The content, as TOML").input_value()
    assert right in text
    page.get_by_label("The content, as TOML").fill(text.replace(right, new, 1))


POWER_DRILL = next(each for each in recorded_questions() if each.text == "how much is the power drill")


def test_a_price_that_is_edited_is_what_the_next_visitor_hears(browser: Browser, kiosk: Kiosk) -> None:
    face, page = browser.new_page(), signed_in(browser, kiosk, "ann")
    face.set_default_timeout(15_000)
    face.goto(f"{kiosk.url}/kiosk")
    kiosk.hear(POWER_DRILL)
    face.get_by_text("The power drill costs 89 euros.").wait_for()
    write(page, "price = 89.00", "price = 7.5.0")
    page.get_by_text("at line 20").wait_for()
    page.get_by_role("button", name="Show line 20").click()
    assert page.evaluate("getSelection().toString()") == "price = 7.5.0"
    save = page.get_by_role("button", name="Save, and answer from it")
    assert save.is_disabled()
    write(page, "price = 7.5.0", "price = 75.50")
    page.get_by_text("power drill costs 75 euros 50").wait_for()
    assert page.get_by_role("list", name="What changes").inner_text().split("\n") == [
        "power drill costs 89 euros",
        "power drill costs 75 euros 50",
    ]
    assert "89.00" in kiosk.file.read_text()
    save.click()
    page.get_by_text("Saved. The voice answers from it").wait_for()
    assert "price = 75.50" in kiosk.file.read_text()
    assert "price = 89.00" in kiosk.file.with_name("shop.toml.before").read_text()
    kiosk.hear(POWER_DRILL)
    face.get_by_text("The power drill costs 75 euros 50.").wait_for()
    rows = [body for body, _ in trail.read(kiosk.folder / "web" / "changes.log") if body["what"] == "content save"]
    assert [(row["who"], row["of"], row["outcome"]) for row in rows] == [
        ("ann", "- power drill costs 89 euros; + power drill costs 75 euros 50", outcome)
        for outcome in ("begun", "done")
    ]


def test_a_new_item_is_understood_and_shown_to_visitors_without_a_restart(browser: Browser, kiosk: Kiosk) -> None:
    face, page = browser.new_page(), signed_in(browser, kiosk, "ann")
    face.set_default_timeout(15_000)
    face.goto(f"{kiosk.url}/kiosk")
    face.get_by_text("where is the hammer").wait_for(state="attached")  # a visitor may just have spoken
    write(page, 'name = "hammer"', 'name = "garden hose"')
    page.get_by_text("garden hose costs 12 euros 50").wait_for()
    page.get_by_role("button", name="Save, and answer from it").click()
    page.get_by_text("Saved. The voice answers from it").wait_for()
    face.get_by_text("where is the garden hose").wait_for(state="attached")
    kiosk.hear_espeak("how much is the garden hose")
    face.get_by_text("The garden hose costs 12 euros 50.").wait_for()


def test_of_two_editors_the_second_is_refused_in_one_sentence_and_keeps_what_was_written(
    browser: Browser, kiosk: Kiosk
) -> None:
    ann, ben = signed_in(browser, kiosk, "ann"), signed_in(browser, kiosk, "ben")
    write(ben, "stock = 112", "stock = 111")
    ben.get_by_text("light bulb is in stock, 111 pieces").wait_for()
    write(ann, "stock = 36", "stock = 35")
    ann.get_by_text("paint brush is in stock, 35 pieces").wait_for()
    for page, says in ((ann, "Saved. The voice answers"), (ben, "somebody else saved the content meanwhile")):
        page.get_by_role("button", name="Save, and answer from it").click()
        page.get_by_text(says).wait_for()
    assert "stock = 111" in ben.get_by_label("The content, as TOML").input_value()
    assert "stock = 112" in kiosk.file.read_text()
    ben.get_by_role("button", name="Load the saved text").click()
    ben.get_by_text("The voice answers from this text.").wait_for()
    assert "stock = 35" in ben.get_by_label("The content, as TOML").input_value()


def test_an_operator_reads_and_cannot_write(browser: Browser, kiosk: Kiosk) -> None:
    page = signed_in(browser, kiosk, "eve")
    assert page.get_by_label("The content, as TOML").get_attribute("readonly") is not None
    assert page.get_by_role("button", name="Save, and answer from it").count() == 0
