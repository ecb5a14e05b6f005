"""The pages in a real Chromium: each opens, lives, survives the device's restart, and can be used by everybody."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hub_server import hub
from pull_driver import SOURCE
from web_world import ALARM, CHROMIUM, PASSWORD, Running, running

from edgeapp.core.events import Outcome
from edgeapp.web import models_api

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parent.parent / "assets" / "axe.min.js"  # axe-core, MPL-2.0: axe-LICENSE.txt beside it
SIZES: list[tuple[int, int]] = [(800, 480), (1920, 1080)]
COLOURS: list[Literal["dark", "light"]] = ["dark", "light"]
PAGES = ["/", "/budget", "/station", "/content", "/models", "/health", "/kiosk", "/login"]

# What a person could not reach: a page wider than the screen, and controls that stick out of it or are below 24 px (WCAG 2.5.8), unless
# they stand in a list that scrolls by itself, or in a line of text.
UNUSABLE = """() => {
  const wide = document.documentElement.scrollWidth > innerWidth ? ["the page is too wide"] : [];
  const seen = [...document.querySelectorAll("button, select, textarea, nav a, input")].filter((each) => each.checkVisibility());
  const bad = seen.filter((each) => {
    const box = each.getBoundingClientRect();
    const out = !each.closest(".scroll") && (box.left < 0 || box.right > innerWidth + 0.5);
    const marks = ["checkbox", "radio"].includes(each.type);
    return out || (!marks && (box.height < 24 || box.width < 24));
  });
  return [...wide, ...bad.map((each) => each.outerHTML.slice(0, 120))];
}"""

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A device with something to show."""
    with running(tmp_path_factory.mktemp("device")) as one:
        for number in range(1, 6):
            one.do(one.device.part, number, Outcome.FAIL if number == 3 else Outcome.PASS)
            one.do(one.device.talk, number, 140 + 30 * number)
        one.do(one.device.history, ALARM)
        yield one


@pytest.fixture(scope="module")
def state(browser: Browser, shown: Running) -> Any:
    """The cookies of somebody who signed in through the page."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{shown.device.url}/station")
    page.wait_for_url("**/login?then=%2Fstation")
    page.fill("#user", "engineer")
    page.fill("#password", "wrong password")
    page.keyboard.press("Enter")
    page.get_by_text("the name or the password is wrong").wait_for()
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/station")
    found = context.storage_state()
    context.close()
    return found


@pytest.fixture
def page(browser: Browser, state: Any) -> Iterator[Page]:
    """A page of somebody who is signed in. A console message of an error, or a script's, fails the test."""
    context = browser.new_context(storage_state=state, reduced_motion="reduce")
    one = context.new_page()
    one.set_default_timeout(8_000)
    wrong: list[str] = []
    one.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    one.on("pageerror", lambda error: wrong.append(str(error)))
    yield one
    context.close()
    # A browser writes a line of its own while the device is away; nothing can keep it from that.
    assert [each for each in wrong if "ERR_CONNECTION" not in each and "WebSocket connection" not in each] == []


def _opened(page: Page, one: Running, path: str) -> None:
    page.goto(f"{one.device.url}{path}")
    sign = {
        "/": ".verdict.pass, .verdict.fail, .verdict.not", "/budget": ".waterfall .track i", "/station": ".evidence .card", "/content": "text=The voice answers from this text",
        "/models": "text=kiosk-lm >> nth=0", "/health": "text=the gate was busy", "/kiosk": "text=Miller Tools", "/login": "#password",
    }  # fmt: skip
    page.wait_for_selector(sign[path])


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_fits_and_is_accessible_in_every_size_and_colour(page: Page, shown: Running, path: str) -> None:
    _opened(page, shown, path)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    wrong = []
    for (width, height), colours in product(SIZES, COLOURS):  # in place: a load each would take four times as long
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=colours)
        where = (width, colours)
        wrong += [(*where, "cut off or too small", each) for each in page.evaluate(UNUSABLE)]
        for each in page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]:
            if each["impact"] in {"serious", "critical"}:
                wrong.append((*where, each["id"], [node["target"] for node in each["nodes"]]))
    assert wrong == []


def test_the_switch_turns_the_colours_over_and_is_kept_by_the_screen(page: Page, shown: Running) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    _opened(page, shown, "/health")
    assert page.evaluate(ground) == "rgb(244, 245, 246)"
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(ground) == "rgb(12, 15, 18)"
    _opened(page, shown, "/health")
    assert page.evaluate(ground) == "rgb(12, 15, 18)"
    page.get_by_role("button", name="Dark colours").click()
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == "rgb(244, 245, 246)"


def test_the_verdict_the_picture_and_the_words_follow_the_device(page: Page, shown: Running) -> None:
    _opened(page, shown, "/")
    for number, outcome, says in (
        (11, Outcome.FAIL, "FAIL"),
        (12, Outcome.NOT_INSPECTED, "NOT INSPECTED"),
        (13, Outcome.PASS, "PASS"),
    ):
        shown.do(shown.device.part, number, outcome)
        page.locator(".verdict strong", has_text=says).wait_for()
        page.locator("figcaption", has_text=f"part {number}").wait_for()
    assert page.locator("svg.boxes rect").count() == 2
    assert page.evaluate("document.querySelector('canvas').width") == 160
    shown.do(
        shown.device.said.update, {"doing": "speaking", "turn": 9, "heard": "where is the hammer", "said": "rear left"}
    )
    page.get_by_text("where is the hammer").wait_for()
    page.get_by_text("rear left").wait_for()


def test_the_budget_shows_a_new_turn_and_frame_and_where_they_ran(page: Page, shown: Running) -> None:
    _opened(page, shown, "/budget")
    shown.do(shown.device.talk, 77, 321)
    page.locator(".waterfall .took", has_text="321 ms").wait_for()
    assert "local, the link jitters" in page.locator(".where").first.inner_text()
    page.get_by_text("31 ms").wait_for()  # the link's weather


def test_a_part_is_judged_again_with_the_keyboard_alone(page: Page, shown: Running) -> None:
    _opened(page, shown, "/station")
    page.locator(".evidence .card").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="It is good").focus()
    page.keyboard.press("Enter")
    page.get_by_text("found PASS", exact=False).first.wait_for()
    page.keyboard.press("Escape")
    page.locator(".evidence .card .chip", has_text="found PASS").first.wait_for()
    assert page.evaluate("document.activeElement.innerText").startswith("FAIL")  # back where the keyboard was


def test_the_keyboard_keeps_its_place_when_what_it_stands_on_is_made_anew(page: Page, shown: Running) -> None:
    _opened(page, shown, "/station")
    button = page.get_by_role("button", name="24 h")
    button.focus()
    page.keyboard.press("Enter")
    page.locator("button[aria-pressed=true]", has_text="24 h").wait_for()
    assert page.evaluate("document.activeElement.innerText") == "24 h"
    page.goto(f"{shown.device.url}/kiosk")
    page.get_by_role("button", name="Deutsch").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Zum Sprechen halten").wait_for()
    assert page.evaluate("document.activeElement.innerText") == "Deutsch"


def test_the_golden_parts_are_run_and_a_rule_is_asked_about_old_parts(page: Page, shown: Running) -> None:
    _opened(page, shown, "/station")
    page.get_by_text("not looked at in this shift").wait_for()
    page.get_by_role("button", name="Look at them now").click()
    page.get_by_text("asked by engineer").wait_for()
    page.get_by_text("Parts may pass.").wait_for()
    rule = page.get_by_label("A rule, as TOML")
    assert rule.input_value() == 'version = "7"\n'
    page.get_by_role("button", name="Ask the last 8 hours").click()
    page.get_by_text("1 of 40 verdicts would have been others; of 2 it cannot be told.").wait_for()
    page.get_by_role("button", name="3", exact=True).click()
    page.get_by_role("dialog").get_by_text("washer").first.wait_for()


def test_health_and_models_follow_the_device(page: Page, shown: Running) -> None:
    _opened(page, shown, "/health")
    page.get_by_text("51.5 °C").wait_for()
    page.get_by_text("7.25 W").wait_for()
    page.get_by_text("plug one in").wait_for()
    page.get_by_role("row", name="engineer sign in done").first.wait_for()
    page.get_by_role("row", name="camera away it gave no new frame").wait_for()
    page.get_by_role("row", name="microphone there").wait_for()
    shown.do(shown.device.drops.update, {"microphone": 6})
    page.get_by_role("cell", name="6", exact=True).wait_for()
    page.get_by_role("link", name="Models").click()
    page.get_by_text("11 of 11").wait_for()


def test_a_model_is_fetched_and_the_fetch_stopped_on_the_page(
    page: Page, shown: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr(models_api, "source_of", {"tiny": SOURCE}.get)
    monkeypatch.setattr(models_api, "catalogue", lambda: [SOURCE])
    with hub({"config.json": b"{}", "sub/model.bin": bytes(range(256)) * 4_000}) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        served.wrong["sub/model.bin"] = ["cut:1024"] * 1_000  # a link over which it takes seconds
        _opened(page, shown, "/models")
        page.get_by_role("button", name="Fetch").click()
        page.get_by_text("tiny: under way").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("tiny: stopped").wait_for()
        assert "what came is kept: fetching it again goes on there" in page.inner_text("main")
        assert page.get_by_role("button", name="Stop").count() == 0
        served.wrong.clear()
        page.get_by_role("button", name="Fetch").click()
        page.get_by_text("tiny: done").wait_for()
        page.get_by_role("cell", name="tiny").first.wait_for()


def test_a_visitor_holds_to_talk_reads_along_and_changes_language_without_a_login(
    browser: Browser, shown: Running
) -> None:
    context = browser.new_context(viewport={"width": 800, "height": 480})
    face = context.new_page()
    face.set_default_timeout(8_000)
    shown.do(shown.device.said.update, {"doing": "listening", "turn": 0, "heard": "", "said": ""})
    face.goto(f"{shown.device.url}/kiosk")
    face.get_by_text("where is the hammer").wait_for()  # idle: what may be asked
    face.get_by_role("button", name="Deutsch").click()
    face.get_by_text("Fragen Sie mich etwas").wait_for()
    touches = shown.device.touches
    touches.clear()
    talk = face.get_by_role("button", name="Zum Sprechen halten")
    talk.focus()
    face.keyboard.down(" ")
    face.get_by_role("button", name="Ich höre zu").wait_for()
    face.keyboard.up(" ")
    talk.wait_for()
    shown.do(
        shown.device.said.update,
        {"doing": "speaking", "turn": 3, "heard": "is the ladder in stock", "said": "Two of them"},
    )
    face.get_by_text("Two of them").wait_for()
    assert touches == ["pressed", "released"]
    assert face.evaluate("document.documentElement.scrollHeight <= innerHeight")
    face.goto(f"{shown.device.url}/health")
    face.wait_for_url("**/login?then=%2Fhealth")
    context.close()


def test_a_long_reply_is_never_cut_off_in_large_text_on_a_small_screen(browser: Browser, shown: Running) -> None:
    context = browser.new_context(viewport={"width": 800, "height": 480})
    face = context.new_page()
    face.set_default_timeout(8_000)
    face.goto(f"{shown.device.url}/kiosk")
    face.get_by_label("A+").click()
    reply = "The cordless screwdriver is at the front left, next to the door locks, and costs forty nine euros. " * 5
    shown.do(
        shown.device.said.update,
        {
            "doing": "speaking",
            "turn": 5,
            "heard": "where is the cordless screwdriver and what does it cost",
            "said": reply,
        },
    )
    face.get_by_text("next to the door locks").wait_for()
    below = "document.querySelector('main').getBoundingClientRect().bottom - document.getElementById('said').getBoundingClientRect().bottom"
    assert face.evaluate(below) >= 0
    over = "document.querySelector('main').scrollHeight - document.querySelector('main').clientHeight"
    assert face.evaluate(over) <= 0
    context.close()


def test_open_pages_go_on_after_the_device_began_anew(browser: Browser, state: Any, tmp_path: Path) -> None:
    with running(tmp_path) as one:
        port = int(one.device.url.rpartition(":")[2])
        context = browser.new_context()
        page, face = context.new_page(), context.new_page()
        page.goto(f"{one.device.url}/login")
        page.fill("#user", "viewer")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{one.device.url}/")
        face.goto(f"{one.device.url}/kiosk")
        face.get_by_text("Miller Tools").wait_for()
    page.get_by_label("not connected").wait_for()
    face.get_by_text("I will be right back").wait_for()
    with running(tmp_path, port) as one:
        page.get_by_label("connected", exact=True).wait_for()
        one.do(one.device.part, 1, Outcome.FAIL)
        page.locator(".verdict strong", has_text="FAIL").wait_for()
        one.do(one.device.said.update, {"doing": "speaking", "turn": 1, "heard": "hello", "said": "Good morning"})
        face.get_by_text("Good morning").wait_for()
        context.close()
