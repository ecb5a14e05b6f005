"""`edgeapp demo web`: every page with real data and no hardware: the simulated line, its ledger, and a visitor who asks on."""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import sys
import time
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeapp import config as settings
from edgeapp.apps.content_file import BUNDLED_CONTENT, open_content
from edgeapp.apps.evidence import Placements
from edgeapp.apps.kiosk import open_conversation, open_voice
from edgeapp.apps.qc import open_line
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Box, Outcome, Verdict
from edgeapp.demo.kiosk import Question, recorded_questions
from edgeapp.station.evidence import Entry, Evidence, says
from edgeapp.station.store import DATABASE, Store
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.wake import Attention
from edgeapp.web.users import Role, Users

if TYPE_CHECKING:
    from edgeapp.devices.files import VirtualAudio

PARTS_PER_MINUTE: Final = 40.0
DEFECT_SHARE: Final = 0.12
"""Much for a line, so that there is evidence to look at."""

PAUSE_S: Final = 5.0  # between a reply and the next question
_TURN_LIMIT_S: Final = 20.0
_PAST_HOURS: Final = 8
_PAST_PER_MINUTE: Final = 12
_CAUSES: Final = {"scratch": 0.034, "dent": 0.022, "stain": 0.013, "missing_hole": 0.008, "burr": 0.005, "crack": 0.003}
"""Shares of the drawn past: what a Pareto chart is for."""


async def demo_web(out: Path, port: int, seconds: float | None) -> bool:
    """Serve the pages until stopped, or for so long."""
    from edgeapp.devices.conveyor import MAX_PARTS, Options, start
    from edgeapp.devices.files import VirtualAudio

    folder = out / "web"
    config = settings.Config(
        name="demo",
        app="device",
        audio=settings.Audio(echo="none"),  # the virtual device has none
        records=settings.Records(path=str(out / "records.jsonl")),
        voice=settings.Voice(content=str(folder / "shop.toml")),
        station=settings.Station(folder=str(folder / "ledger"), pass_share=0.1, quota_mb=200.0, lot="demo"),
        web=settings.Web(serve=True, port=port, languages=("en", "de", "fr", "es")),
    )
    password = await asyncio.to_thread(_engineer, Users(folder / "users.json"))
    if not (folder / "shop.toml").exists():
        shutil.copyfile(BUNDLED_CONTENT, folder / "shop.toml")
    await asyncio.to_thread(_draw_past, folder / "ledger")
    front = Front(config, folder=folder)
    shop = front.shop = open_content(config)
    async with AsyncExitStack() as stack:
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, placements, *front.sinks))
        line = await open_line(config, parts, placements)
        line.show_on(front)
        conversation = await open_conversation(config, parts, await open_voice(config, parts, shop), Attention())
        front.converses(conversation)
        url = await front.open(parts)
        sys.stderr.write(f"edgeapp: sign in at {url}/login as demo with {password}\n")
        sys.stderr.write(f"edgeapp: in a terminal: edgeapp top --url {url} --token {folder / 'device-token'}\n")
        belt = await stack.enter_async_context(
            start(Options(parts=MAX_PARTS, parts_per_minute=PARTS_PER_MINUTE, source="belt", defect_share=DEFECT_SHARE))
        )
        audio = VirtualAudio(block_samples=256)
        parts.devices |= {"camera": belt, "microphone": audio, "speaker": audio.speaker}
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as both:
                both.create_task(conversation.listen(audio.heard(), audio.speaker))
                both.create_task(ask_on(audio, conversation, PAUSE_S))
                both.create_task(line.run(belt.frames()))
        except TimeoutError:
            return True
    return True


def _engineer(users: Users) -> str:
    """A password for this run."""
    password = secrets.token_urlsafe(9)
    users.set("demo", Role.ENGINEER, password)
    return password


async def ask_on(audio: VirtualAudio, conversation: Conversation, pause_s: float) -> None:
    """One recorded question after the other, each so long after the reply before it has been heard."""
    for question in cycle(recorded_questions()):
        await ask(audio, conversation, question)
        await asyncio.sleep(pause_s)


async def ask(audio: VirtualAudio, conversation: Conversation, question: Question) -> None:
    """Ask, and wait until the reply has been heard."""
    await audio.say(question.samples, question.last_voiced)
    until_ns = now_ns() + round(_TURN_LIMIT_S * 1_000) * MS
    await asyncio.sleep(0.6)
    while conversation.busy and now_ns() < until_ns:
        await asyncio.sleep(0.05)


def _draw_past(folder: Path) -> None:
    """Rows of the hours before, with drawn outcomes, in a ledger of the demo's own: its lot is `drawn`."""
    if (folder / DATABASE).exists():
        return
    chance = random.Random(7)
    store = Store(folder)
    try:
        now_s = time.time_ns() // 1_000_000_000
        minutes = range(-_PAST_HOURS * 60, 0)
        for group in range(0, len(minutes), 40):
            rows = []
            for minute in minutes[group : group + 40]:
                rows += [
                    _row(chance, (now_s + 60 * minute) * 10**9 + n * 10**9, minute) for n in range(_PAST_PER_MINUTE)
                ]
            store.append(rows)
        store.write_anchor(time.time_ns())
    finally:
        store.close()


def _row(chance: random.Random, utc_ns: int, minute: int) -> Entry:
    worn = 2.2 if -150 <= minute < -120 else 1.0  # a tool that was worn, so that the chart has something to say
    causes = tuple(name for name, share in _CAUSES.items() if chance.random() < share * worn)
    outcome = Outcome.FAIL if causes else Outcome.NOT_INSPECTED if chance.random() < 0.002 else Outcome.PASS
    kind = chance.choice(("washer", "bracket"))
    number = utc_ns // 10**9 % 10**6
    took_ns = round(chance.gauss(62, 8)) * MS
    boxes = (Box(200, 150, 420, 370, kind, 0.93), *(Box(260, 200, 300, 240, cause, 0.6) for cause in causes))
    why = {
        Outcome.PASS: f"{kind} 0.93, no defect (rule 1)",
        Outcome.FAIL: f"{causes[0]} 0.60" if causes else "",
        Outcome.NOT_INSPECTED: "no answer from the detector by the due time",
    }[outcome]
    verdict = Verdict(outcome, why, "belt", number, 0, took_ns, 200 * MS, boxes, "drawn")
    evidence = Evidence(
        verdict, causes or (("late",) if outcome is Outcome.NOT_INSPECTED else ()), rule="1", placement="local",
        part_type=kind, lot="drawn", serial=f"H{number:06d}",
    )  # fmt: skip
    return Entry("verdict", utc_ns, 0, says(evidence) | {"image": "", "image_bytes": 0, "image_lost": "drawn"})
