"""The content file of a running voice: what is saved is answered from, and what is wrong changes nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edgeapp import config as settings
from edgeapp.apps.content_file import BUNDLED_CONTENT, ContentFile, Reader, open_content
from edgeapp.apps.kiosk import open_stt
from edgeapp.apps.tools import kiosk_tools
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import ConfigError
from edgeapp.voice.content import Content

pytestmark = pytest.mark.real_time

TEXT = BUNDLED_CONTENT.read_text()
CHEAPER = TEXT.replace("price = 12.50", "price = 9.00")


def shop(folder: Path) -> ContentFile:
    (folder / "shop.toml").write_text(TEXT)
    return ContentFile(folder / "shop.toml")


async def test_what_is_saved_is_known_at_once_and_the_text_before_it_is_kept(tmp_path: Path) -> None:
    one = shop(tmp_path)
    (tmp_path / "shop.toml").chmod(0o640)
    told: list[Content] = []

    async def check(_: Content) -> None:
        """It can answer from anything."""

    async def use(content: Content) -> None:
        told.append(content)

    await one.add(Reader(check, use))
    change = await one.save(CHEAPER, one.read().tag)
    assert (change.gone, change.new) == (("hammer costs 12 euros 50",), ("hammer costs 9 euros",))
    assert [each.items[0].price_cents for each in told] == [1_250, 900]
    assert one.content is told[1]
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "shop.toml": CHEAPER,
        "shop.toml.before": TEXT,
    }
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o640}
    assert one.read().in_use


async def test_whoever_saves_second_is_refused_and_loses_nothing_of_the_first(tmp_path: Path) -> None:
    one = shop(tmp_path)
    tag = one.read().tag
    await one.save(CHEAPER, tag)
    with pytest.raises(
        ConfigError, match="somebody else saved the content meanwhile: load it, and put in again what you"
    ):
        await one.save(TEXT.replace("stock = 8", "stock = 7"), tag)
    assert (tmp_path / "shop.toml").read_text() == CHEAPER
    assert (tmp_path / "shop.toml.before").read_text() == TEXT


async def test_a_file_that_was_changed_beside_us_is_seen_and_not_overwritten(tmp_path: Path) -> None:
    one = shop(tmp_path)
    tag = one.read().tag
    (tmp_path / "shop.toml").write_text(CHEAPER)
    assert not one.read().in_use
    with pytest.raises(ConfigError, match="somebody else saved"):
        await one.save(TEXT, tag)
    await one.save(CHEAPER, one.read().tag)
    assert one.read().in_use
    assert one.content.items[0].price_cents == 900


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("price = 12.50", "price = 12.505", "shop.toml, line 8: items[0].price is 12.505"),
        ("price = 12.50", "price = 12,50", "shop.toml is not valid TOML: .*at line 8"),
        ('name = "hammer"', 'name = "xqzzt"', "no pronunciation of xqzzt"),
        ("[hours]", '[[tools]]\nabout = "the time"\nname = "get_time"\n[hours]', "offers the tool 'get_time'"),
    ],
)
async def test_a_mistake_is_named_and_changes_nothing(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    one = shop(tmp_path)
    async with AsyncExitStack() as stack:
        await open_stt(settings.Config(), Parts(stack, lambda _: None), one)
        if "tool" in says:
            await one.add(_tools())
        text = TEXT.replace(right, wrong, 1)
        with pytest.raises(ConfigError, match=says.replace("[0]", r"\[0\]")):
            await one.check(text)
        with pytest.raises(ConfigError, match=says.replace("[0]", r"\[0\]")):
            await one.save(text, one.read().tag)
    assert [each.name for each in tmp_path.iterdir()] == ["shop.toml"]
    assert one.read().text == TEXT


def _tools() -> Reader:
    async def check(content: Content) -> None:
        kiosk_tools().check(content)

    async def use(_: Content) -> None:
        """Nothing to do."""

    return Reader(check, use)


async def test_what_ships_is_not_changed() -> None:
    one = open_content(settings.Config())
    with pytest.raises(ConfigError, match="this content ships with edgeapp: copy it to a file of your own"):
        await one.save(CHEAPER, one.read().tag)
    assert one.read().locked
