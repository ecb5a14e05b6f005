"""A device for the tests of its pages: the real application and server, fed by hand, in a folder of the test's own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeapp.apps.content_file import BUNDLED_CONTENT, ContentFile
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Box, CameraFrame, ConfigError, Outcome, TimestampKind, Verdict
from edgeapp.core.record import AlarmRecord, GateRecord, Record, TurnRecord
from edgeapp.station.evidence import Evidence
from edgeapp.station.images import Policy
from edgeapp.station.ledger import open_ledger
from edgeapp.web.app import create_app
from edgeapp.web.desk import DryRun, Flip, GoldenRun, RuleLine
from edgeapp.web.history import Budgets, History
from edgeapp.web.live import Live
from edgeapp.web.picture import jpeg
from edgeapp.web.serve import Address, serving
from edgeapp.web.sessions import Sessions
from edgeapp.web.site import Face, Site, Touch
from edgeapp.web.trail import Trail
from edgeapp.web.users import Role, Users

PASSWORD = "correct horse battery"
CHROMIUM = "/usr/bin/chromium"


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's report."""

    what: str
    state: Any
    says: str
    fix: str = ""


class Book:
    """A rule book of one rule; asked, it would have judged row 3 otherwise."""

    def lines(self) -> list[RuleLine]:
        return [RuleLine("7", "7 0123456789ab", "ada", "the lamp was changed", 1_700_000_000 * 10**9, in_use=True)]

    def text(self) -> str:
        return 'version = "7"\n'

    def dry_run(self, toml: str, hours: float) -> DryRun:
        if "version" not in toml:
            raise ConfigError("the rule has no version: give one")
        return DryRun(40, 1, (Flip(3, "FAIL", "PASS", "scratch 0.70 is below 0.80"),), cannot_tell=2)


class AtLine:
    """A line at which nobody is named."""

    def __init__(self) -> None:
        self.operator, self.lot = "", "L1"
        self.said: list[str] = []

    def takes_over(self, operator: str, lot: str, by: str) -> None:
        self.operator, self.lot, self.said = operator, lot, [operator, lot, by]


class GoldenParts:
    """Golden parts that are as they should be, once somebody asked."""

    def __init__(self) -> None:
        self.done: list[GoldenRun] = []

    def trouble(self) -> str:
        return "" if self.done else "the golden parts were not looked at in this shift"

    def runs(self) -> list[GoldenRun]:
        return self.done[::-1]

    async def run(self, why: str) -> GoldenRun:
        self.done.append(GoldenRun(1_700_000_000 * 10**9, why, ok=True, wrong=(), drift=("the light: 3 % darker",)))
        return self.done[-1]


def sort(boxes: Sequence[Box]) -> tuple[list[Box], list[Box]]:
    """Boxes of 0.5 and more: washers are parts, anything else is a defect."""
    seen = [box for box in boxes if box.score > 0.5]
    return [box for box in seen if box.label == "washer"], [box for box in seen if box.label != "washer"]


def open_site(folder: Path, live: Live, **more: Any) -> Site:
    """A site whose files lie in `folder`, with an engineer, an operator and a viewer."""
    users = Users(folder / "users.json")
    if not users.all():
        for role in Role:
            users.set(str(role), role, PASSWORD)
    said: dict[str, Any] = {
        "name": "press 3",
        "app": "device",
        "doctor": lambda: [Finding("system", "ok", "two cores"), Finding("cameras", "note", "none", "plug one in")],
        "sort": sort,
        "defects": lambda: ("scratch", "dent"),
        "token": "the-device-token",
    } | more
    return Site(
        live=live,
        users=users,
        sessions=Sessions(folder / "sessions.json", time.time_ns),
        trail=Trail(folder / "changes.log", time.time_ns),
        **said,
    )


def verdict(number: int, outcome: Outcome = Outcome.PASS) -> Verdict:
    """The verdict on part `number`, 61 ms after its frame."""
    at_ns = now_ns() - 61 * MS
    boxes = (Box(20, 20, 100, 90, "washer", 0.9), Box(40, 40, 60, 60, "scratch", 0.7))
    why = {"PASS": "washer 0.90, no defect (rule 1)", "FAIL": "scratch 0.70", "NOT_INSPECTED": "no answer in time"}
    return Verdict(
        outcome, why[outcome], "belt", number, at_ns, at_ns + 61 * MS, at_ns + 200 * MS, boxes, "abcdef012345"
    )


def frame(number: int, shade: int = 90) -> CameraFrame:
    """A picture of 160 x 120."""
    pixels = np.full((120, 160, 3), shade, np.uint8)
    return CameraFrame(pixels, now_ns(), number, "belt", TimestampKind.FILE)


def turn(number: int, took_ms: int = 140) -> list[Record | TurnRecord]:
    """A turn that was answered after `took_ms`, and its calls."""
    start = now_ns() - 2_000 * MS
    calls = [
        Record(
            f"turn {number}",
            stage,
            start + a * MS,
            start + 200 * MS,
            start + b * MS,
            "local",
            "the link jitters",
            b * MS,
        )
        for stage, a, b in (("stt", 50, 60), ("llm", 61, 90), ("tts", 95, 120))
    ]
    done = TurnRecord(
        number, start, start + 48 * MS, start + 200 * MS, start + took_ms * MS, start + 1_500 * MS, "answered", 4,
        candidate_ns=start + 49 * MS, end_why="a whole sentence",
    )  # fmt: skip
    return [*calls, done]


class Device:
    """A device that shows something: call its parts on its own loop through `do`."""

    def __init__(self, live: Live, history: History, site: Site) -> None:
        self.live, self.history, self.site, self.url = live, history, site, ""
        self.said = {"doing": "listening", "turn": 0, "heard": "", "said": "", "voice": True}
        self.touches: list[str] = []
        self.drops = {"microphone": 3}

    def part(self, number: int, outcome: Outcome = Outcome.PASS) -> None:
        """A part passes the camera."""
        one = verdict(number, outcome)
        self.history(
            Record(
                f"belt {number}",
                "detect",
                one.at_ns + 2 * MS,
                one.due_ns,
                one.decided_ns - MS,
                "local",
                "safe",
                80 * MS,
            )
        )
        self.history(one)
        self.live.saw(frame(number, 60 + number % 120), one)

    def talk(self, number: int, took_ms: int = 140) -> None:
        """A turn of a conversation."""
        for each in turn(number, took_ms):
            self.history(each)


def _jpeg(shown: CameraFrame) -> bytes:
    return jpeg(shown)[0]


@asynccontextmanager
async def device(
    folder: Path, port: int = 0, *, pictures: bool = True, ledger_rows: int = 0, **more: Any
) -> AsyncIterator[Device]:
    """A device that serves its pages on loopback. With `ledger_rows` it keeps a ledger of that many verdicts."""
    live = Live(pictures=pictures, sort=sort)
    history = History(live, Budgets(200.0, 200.0))
    policy = Policy(pass_share=1.0, quota_bytes=50_000_000)
    async with open_ledger(folder / "ledger", policy=policy) as ledger:
        where = {"ledger_folder": folder / "ledger", "ledger": ledger} if ledger_rows else {}
        site = await asyncio.to_thread(lambda: open_site(folder, live, **(where | more)))
        one = Device(live, history, site)
        site.touch = Touch(lambda: one.touches.append("pressed"), lambda: one.touches.append("released"))
        site.face = lambda: Face(
            "Miller Tools",
            ("en", "de"),
            touch=True,
            questions=("where is the hammer",),
            hours=(("monday", "open from 8 to 18"),),
        )
        if ledger.head.rows < ledger_rows:
            for number in range(1, ledger_rows + 1):
                outcome = [Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.NOT_INSPECTED][number % 4]
                causes = {"FAIL": ("scratch",), "NOT_INSPECTED": ("late",)}.get(outcome, ())
                evidence = Evidence(verdict(number, outcome), causes, rule="1", serial=f"S{number}", part_type="washer")
                shown = frame(number)
                await ledger.record(evidence, partial(_jpeg, shown))
        live.sample("captions", 100 * MS, lambda: dict(one.said))
        live.sample("drops", 100 * MS, lambda: dict(one.drops))
        live.sample("devices", 1_000 * MS, lambda: [{"name": "camera", "trouble": "it gave no new frame", "dropped": 0}, {"name": "microphone", "trouble": "", "dropped": 3}])  # fmt: skip
        live.sample("links", 1_000 * MS, lambda: {"triton": {"answers": 2, "p50_ms": 31.0, "p95_ms": 48.0, "jitter_ms": 6.0, "last_ms": [30.0, 48.0], "open": False, "trust": 1.0}})  # fmt: skip
        live.sample("machine", 1_000 * MS, lambda: {"cpu_share": 0.4, "cores": 2, "rss_mb": 410, "load": 0.7, "loop_stall_ms": 3.0, "viewers": live.viewers, "temperatures_c": {"cpu": 51.5}, "power_w": {"VDD_IN": 7.25}})  # fmt: skip
        history(GateRecord("voice.llm", now_ns(), "kiosk-lm", "passed", cases=11, right=11))
        async with serving(create_app(site), live, Address(port=port)) as one.url:
            try:
                yield one
            finally:
                site.trail.close()


class Running:
    """A device in a thread of its own, for a browser that blocks this one."""

    def __init__(self, folder: Path, port: int = 0, **more: Any) -> None:
        self._folder, self._port, self._more = folder, port, more
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self.device: Device

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        shop = self._folder / "shop.toml"
        if not shop.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            shop.write_bytes(BUNDLED_CONTENT.read_bytes())
        more: dict[str, Any] = {
            "acknowledge": lambda _: None,
            "shift": AtLine(),
            "rules": Book(),
            "golden": GoldenParts(),
            "content": ContentFile(shop),
        }
        async with device(self._folder, self._port, ledger_rows=40, **(more | self._more)) as self.device:
            self._started.set()
            await self._end.wait()

    def start(self) -> None:
        self._thread.start()
        if not self._started.wait(20):
            raise RuntimeError("the device did not start")

    def do(self, work: Callable[..., Any], *args: Any) -> Any:
        """Run something on the device's loop and return what it gives."""

        async def call() -> Any:
            return work(*args)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)


@contextmanager
def running(folder: Path, port: int = 0, **more: Any) -> Iterator[Running]:
    """A device while the block runs; `more` goes into its site."""
    one = Running(folder, port, **more)
    one.start()
    try:
        yield one
    finally:
        one.stop()


ALARM = AlarmRecord("reject", 0, "part 7 was not rejected: the gate was busy", 7)
