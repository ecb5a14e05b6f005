"""When the device listens: tables on virtual time. Then the sources: a key of a terminal, a button, a camera."""

from __future__ import annotations

import asyncio
import os
import pty
import termios
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgeapp.apps.wake import attending, rule_of
from edgeapp.apps.wiring import Parts
from edgeapp.config import parse
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, Box, CameraFrame, ConfigError, Detections, DeviceError, TimestampKind
from edgeapp.core.lane import Lane
from edgeapp.devices import key
from edgeapp.devices.key import Press
from edgeapp.engines import fake
from edgeapp.vision.presence import PresenceRule, is_there, presence
from edgeapp.voice.wake import Attention, AttentionRule, Way

ASLEEP, AWAKE = False, True
Row = tuple[int, Any]
"""At that many milliseconds this is called, or asked if it listens."""

TABLES: dict[str, tuple[set[str], list[Row], list[str]]] = {
    "always never sleeps": ({"always"}, [(0, AWAKE), (3_600_000, AWAKE)], []),
    "a keyphrase opens a session that runs out": (
        {"keyphrase"},
        [(0, ASLEEP), (1_000, ("heard", "hey edge app", "")), (1_000, AWAKE), (20_999, AWAKE), (21_000, ASLEEP)],
        ["keyphrase", "nobody spoke"],
    ),
    "speech of either side keeps a session": (
        {"keyphrase"},
        [(0, ("heard", "hey edge app", "")), (19_000, "spoke"), (38_999, AWAKE), (39_000, ASLEEP)],
        ["keyphrase", "nobody spoke"],
    ),
    "what is said in one breath is answered, and so is the next without it": (
        {"keyphrase"},
        [
            (0, ("heard", "where is the hammer", None)),
            (1, ("heard", "hey edge app where is the hammer", "where is the hammer")),
            (9_000, ("heard", "how much is it", "how much is it")),
        ],
        ["keyphrase"],
    ),
    "the keyphrase is found written together, behind other words, and with marks": (
        {"keyphrase"},
        [(0, ("heard", "Um, hey EdgeApp: where is it?", "where is it"))],
        ["keyphrase"],
    ),
    "half of the keyphrase is none": ({"keyphrase"}, [(0, ("heard", "hey edge", None)), (0, ASLEEP)], []),
    "the keyphrase means nothing where it wakes nobody": (
        {"key"},
        [(0, ("heard", "hey edge app", None)), (0, ASLEEP)],
        [],
    ),
    "a held key is one turn: silence does not end it, release does, and behind the reply it sleeps": (
        {"key"},
        [
            (0, "pressed"), (60_000, AWAKE), (60_000, ("ends", False)), (60_000, "released"), (60_000, ("ends", True)),
            (60_000, ("ends", False)), (60_100, AWAKE), (60_100, ("heard", "hello", "hello")), (60_100, ASLEEP),
            (60_100, "spoke"),
        ],
        ["key", "its turn is over"],
    ),
    "a press while the reply is spoken is a new turn": (
        {"key"},
        [(0, "pressed"), (1, "released"), (2, ("heard", "hello", "hello")), (3, "pressed"), (4, AWAKE)],
        ["key"],
    ),
    "a press without words runs out": (
        {"key"},
        [(0, "pressed"), (1_000, "released"), (20_999, AWAKE), (21_000, ASLEEP)],
        ["key", "nobody spoke"],
    ),
    "a tap wakes and the next one ends the turn": (
        {"key"},
        [(0, "tapped"), (0, ("ends", False)), (0, AWAKE), (900, "tapped"), (900, ("ends", True)), (900, AWAKE)],
        ["key"],
    ),
    "a tap ends a turn of a device that always listens": (
        {"always", "key"},
        [(0, "tapped"), (0, ("ends", True)), (0, AWAKE)],
        [],
    ),
    "a key that is not a way does nothing": ({"keyphrase"}, [(0, "tapped"), (0, "pressed"), (1, ASLEEP)], []),
    "a person who stays 300 ms wakes it and keeps it awake": (
        {"presence"},
        [(0, "here"), (299, "here"), (299, ASLEEP), (300, "here"), (300, AWAKE), (90_000, AWAKE)],
        ["presence"],
    ),
    "who walks past does not": (
        {"presence"},
        [(0, "here"), (200, "gone"), (210, "here"), (500, "here"), (500, ASLEEP), (510, "here"), (510, AWAKE)],
        ["presence"],
    ),
    "a blink is not leaving, four seconds are": (
        {"presence"},
        [
            (0, "here"), (300, "here"), (400, "gone"), (4_200, "gone"), (4_250, "here"), (8_249, "gone"),
            (8_249, AWAKE), (8_250, "gone"), (8_250, ASLEEP),
        ],
        ["presence", "the person left"],
    ),
    "the person who leaves ends a session that the keyphrase began": (
        {"keyphrase", "presence"},
        [
            (0, "here"), (100, ("heard", "hey edge app", "")), (300, "here"), (60_000, AWAKE), (64_300, "gone"),
            (64_300, ASLEEP),
        ],
        ["keyphrase", "the person left"],
    ),
    "presence that is no way is not looked at": (
        {"keyphrase"},
        [(0, "here"), (500, "here"), (500, ASLEEP), (9_000, "gone")],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_attention(name: str) -> None:
    ways, rows, story = TABLES[name]
    told: list[str] = []
    attention = Attention(
        AttentionRule(frozenset(map(Way, ways)), "hey edge app"), on_wake=told.append, on_sleep=told.append
    )
    for at_ms, row in rows:
        now = at_ms * MS
        if isinstance(row, bool):
            assert attention.listening(now) is row, at_ms
        elif row in {"here", "gone"}:
            attention.present(row == "here", now)
        elif isinstance(row, str):
            getattr(attention, row)(now)
        elif row[0] == "heard":
            assert attention.heard(row[1], now) == row[2], at_ms
        else:
            assert attention.ends_turn() is row[1], at_ms
    attention.listening(rows[-1][0] * MS)
    assert told == story


def test_asleep_only_a_keyphrase_needs_the_recogniser() -> None:
    for way, hears in ((Way.ALWAYS, True), (Way.KEYPHRASE, True), (Way.KEY, False), (Way.PRESENCE, False)):
        assert Attention(AttentionRule(frozenset({way}))).hears(0) is hears


def test_what_was_not_for_us_is_counted() -> None:
    attention = Attention(AttentionRule(frozenset({Way.KEYPHRASE})))
    for _ in range(3):
        attention.heard("where is the hammer", 0)
    assert attention.unaddressed == 3


# Wired by the configuration

WIRED = """
[voice.wake]
ways = ["presence"]
[voice.wake.presence]
camera = {source = "simulated", policy = "latest"}
detect = {engine = "fake", options = {kind = "detect", boxes = [[[0.0, 0.0, 99.0, 900.0, "person", 0.9]]]}}
"""


async def test_the_configured_camera_and_detector_wake_the_device() -> None:
    wake = parse(WIRED).voice.wake
    woken: asyncio.Event = asyncio.Event()
    attention = Attention(rule_of(wake), on_wake=lambda _: woken.set())
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        async with attending(wake, attention, parts), asyncio.timeout(60):
            await woken.wait()
        assert attention.listening(now_ns())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ways = []", "ways is empty"),
        ('ways = ["voice"]', "ways"),
        ('ways = ["keyphrase"]\nkeyphrase = "hey"', "three syllables"),
        ('ways = ["presence"]', "names no detector"),
        ("awake_ms = 0", "awake_ms"),
        ("presence = {height_share = 2.0}", "height_share"),
    ],
)
def test_what_cannot_wake_anybody_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        parse(f"[voice.wake]\n{text}\n", "device.toml")
    assert str(refused.value).startswith("device.toml: ")


# A key of the terminal


async def next_press(presses: AsyncIterator[Press]) -> Press:
    async with asyncio.timeout(5):
        return await anext(presses)


@pytest.mark.real_time
@pytest.mark.parametrize("leaves", ["in order", "by an error"])
async def test_a_terminal_taps_and_is_restored_on_every_exit(leaves: str) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    try:
        with suppress(ZeroDivisionError):
            async with key.terminal("space", theirs) as keys:
                assert not termios.tcgetattr(theirs)[3] & (termios.ECHO | termios.ICANON)
                assert termios.tcgetattr(theirs)[3] & termios.ISIG  # Control-C goes on working
                os.write(ours, b"x")
                os.write(ours, b"   ")  # a held key repeats itself
                assert await next_press(aiter(keys)) is Press.TAP
                assert keys._presses.empty()
                if leaves == "by an error":
                    raise ZeroDivisionError
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.real_time
async def test_a_terminal_that_is_closed_ends_the_presses() -> None:
    ours, theirs = pty.openpty()
    try:
        async with key.terminal("t", theirs) as keys:
            os.close(ours)
            async with asyncio.timeout(5):
                assert [press async for press in keys] == []
    finally:
        os.close(theirs)


async def test_no_terminal_and_no_key_are_one_sentence() -> None:
    reads, writes = os.pipe()
    try:
        with pytest.raises(ConfigError, match="needs a terminal"):
            async with key.terminal("space", reads):
                pass
        with pytest.raises(ConfigError, match="one plain character"):
            async with key.terminal("F13", reads):
                pass
    finally:
        os.close(reads)
        os.close(writes)


def test_presses_that_nobody_takes_are_dropped_and_counted() -> None:
    keys = key.Keys()
    for _ in range(20):
        keys.put(Press.TAP)
    assert keys.dropped == 4


# A button


@dataclass
class Event:
    """As evdev's."""

    code: int
    value: int
    type: int = 1  # EV_KEY


class Button:
    """An input device that plays its events and is then unplugged."""

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.closed = False

    async def async_read_loop(self) -> AsyncIterator[Event]:
        for event in self.events:
            yield event
        raise OSError("No such device")

    def close(self) -> None:
        self.closed = True


async def test_a_button_tells_down_and_up_and_one_that_goes_is_let_go_and_opened_again() -> None:
    pytest.importorskip("evdev")
    first = Button(Event(57, 1), Event(57, 2), Event(57, 0), Event(30, 1), Event(57, 1, 0), Event(57, 1))
    second = Button(Event(57, 1))
    opens: list[Any] = [first, OSError("gone"), OSError("gone"), second]
    said: list[str] = []

    def opener(path: str) -> Any:
        if isinstance(each := opens.pop(0), OSError):
            raise each
        return each

    presses = await key.button(key.Options(device="/dev/input/x", key="KEY_SPACE"), opener, said.append)
    heard = [(await anext(presses), now_ns() / MS) for _ in range(5)]
    assert heard == [("down", 0), ("up", 0), ("down", 0), ("up", 0), ("down", 250 + 500 + 1_000)]
    assert first.closed
    await presses.aclose()
    assert second.closed
    assert [sentence[:16] for sentence in said] == ["the button went ", "the button is ba"]


async def test_a_button_that_is_not_there_is_one_sentence() -> None:
    pytest.importorskip("evdev")
    with pytest.raises(DeviceError, match="does not open"):
        await key.button(key.Options(device="/dev/input/nothing", key="KEY_SPACE"))
    with pytest.raises(ConfigError, match="name it as the kernel does"):
        await key.button(key.Options(device="/dev/input/nothing", key="space"))


# A camera


def person(score: float = 0.9, height: float = 200.0, label: str = "person") -> Box:
    return Box(10, 0, 100, height, label, score)


@pytest.mark.parametrize(
    ("boxes", "there"),
    [((), False), ((person(),), True), ((person(score=0.4),), False), ((person(height=100),), False),
     ((person(label="dog"), person()), True), ((person(label="dog"),), False)],
)  # fmt: skip
def test_a_person_is_a_box_of_the_class_that_is_sure_and_tall_enough(boxes: tuple[Box, ...], there: bool) -> None:
    assert is_there(Detections(1, boxes, "m"), 480, PresenceRule()) is there


async def pictures(count: int, every_ms: int) -> AsyncIterator[CameraFrame]:
    for number in range(1, count + 1):
        await asyncio.sleep(every_ms / 1e3)
        yield CameraFrame(np.zeros((480, 640, 3), np.uint8), now_ns(), number, "door", TimestampKind.FILE)


async def test_a_camera_is_looked_at_no_more_often_than_every_100_ms() -> None:
    failures: list[BackendError] = []
    async with fake.load(fake.Options(kind="detect", takes_ms=0), Lane("detect")) as detect:
        assert len([here async for here in presence(pictures(60, 33), detect, PresenceRule(), failures.append)]) == 15


async def test_a_person_before_the_camera_wakes_the_device_and_leaving_ends_the_session() -> None:
    """Frames every 100 ms through a detector: nobody, a person for a second, a blink, nobody."""
    row = (10.0, 0.0, 100.0, 300.0, "person", 0.9)
    seen = (((),) * 5 + ((row,),) * 10 + ((),) * 2 + ((row,),) * 3) + ((),) * 60
    options = fake.Options(
        kind="detect", takes_ms=20, boxes=tuple(() if each == () else each for each in seen), fail_every=7
    )
    told: list[tuple[str, float]] = []
    attention = Attention(
        AttentionRule(frozenset({Way.PRESENCE})),
        on_wake=lambda way: told.append((str(way), now_ns() / MS)),
        on_sleep=lambda why: told.append((why, now_ns() / MS)),
    )
    failures: list[BackendError] = []
    async with fake.load(options, Lane("detect")) as detect:
        async for here in presence(pictures(70, 100), detect, PresenceRule(), failures.append):
            attention.present(here, now_ns())
    assert told[0][0] == "presence"
    assert told[1][0] == "the person left"
    assert len(told) == 2
    assert len(failures) == 10
