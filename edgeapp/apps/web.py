"""The device's pages, wired: records, frames and the conversation into the live view; files of users and changes; the server.

An application makes a `Front` first, because its records are what is shown, and opens it as soon as it has parts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edgeapp import config as settings
from edgeapp.apps.content_file import ContentFile
from edgeapp.apps.gate import check
from edgeapp.apps.rules import rule_of
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, ConfigError, Verdict
from edgeapp.core.link import Link
from edgeapp.core.record import Sink
from edgeapp.models.golden import Check
from edgeapp.models.store import pulled_root
from edgeapp.observe.stall import StallMeter
from edgeapp.observe.vitals import Vitals
from edgeapp.vision.rules import InspectionRule
from edgeapp.voice.content import DAYS, Content, hours_text
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.glance import Doing, Fading, Glance
from edgeapp.voice.wake import Way
from edgeapp.web.desk import Golden, Rules
from edgeapp.web.history import Budgets, History
from edgeapp.web.live import Live
from edgeapp.web.sessions import Sessions, device_token
from edgeapp.web.site import Book, Face, Shift, Site, Touch
from edgeapp.web.trail import Trail
from edgeapp.web.users import Users

_QUESTIONS_MAX: Final = 8  # on the idle screen


def web_folder() -> Path:
    """Where users, sessions and the audit trail lie. Raises ConfigError."""
    return pulled_root().parent / "web"


def open_users() -> Users:
    """The device's users. Raises ConfigError."""
    return Users(web_folder() / "users.json")


class Front:
    """What one application shows. All of it does nothing unless `[web] serve` is true."""

    def __init__(self, config: settings.Config, file: Path | None = None, folder: Path | None = None) -> None:
        """`file` is where the configuration was read, `folder` where users and changes lie instead of the device's own."""
        self._config, self._file, self._folder = config, file, folder
        self.live = Live(pictures=config.web.pictures, sort=lambda boxes: self.rule().counted(boxes))
        self.serves = config.web.serve
        """Are the pages on?"""

        budgets = Budgets(config.voice.budget_ms, config.vision.budget_ms)
        self.sinks: tuple[Sink, ...] = (History(self.live, budgets),) if self.serves else ()
        """Who wants to see the records."""

        self._conversation: Conversation | None = None
        self._fading = Fading(round(config.web.idle_ms * MS))
        self._touch: Touch | None = None
        self._site: Site | None = None
        self.ledger: tuple[Path, Book | None] | None = None
        """The station's ledger, if it keeps one: its folder, and what writes it."""

        configured = rule_of(config.vision.rule)
        self.rule: Callable[[], InspectionRule] = lambda: configured
        """What decides now: which boxes are drawn, and what a part can be judged to have."""

        self.shop: ContentFile | None = None
        """What the voice knows, if there is one."""

        self.rules: Rules | None = None
        self.golden: Golden | None = None
        self.acknowledge: Callable[[str], None] | None = None
        self.shift: Shift | None = None
        self.check: Check = check

    def showing(self, say: Callable[[CameraFrame, Verdict], None]) -> Callable[[CameraFrame, Verdict], None]:
        """`say`, and the screens see the frame."""
        if not self.serves:
            return say

        def both(frame: CameraFrame, verdict: Verdict) -> None:
            self.live.saw(frame, verdict)
            say(frame, verdict)

        return both

    def converses(self, conversation: Conversation) -> None:
        """Show `conversation` on the kiosk's face."""
        attention = conversation.attention
        self._conversation = conversation
        self._touch = Touch(lambda: attention.pressed(now_ns()), lambda: attention.released(now_ns()))
        if self._site is not None:
            self._site.touch = self._touch

    def _face(self) -> Face:
        """The kiosk's face, as the content is now."""
        web, content = self._config.web, self.shop.content if self.shop else None
        if self._conversation is None or content is None:
            return Face(content.name if content else self._config.name, web.languages, idle_ms=web.idle_ms)
        wake, rule = self._config.voice.wake, self._conversation.attention.rule
        return Face(
            content.name,
            web.languages,
            keyphrase=wake.keyphrase if Way.KEYPHRASE in rule.ways else "",
            touch=bool({Way.KEY, Way.ALWAYS} & rule.ways),
            questions=_questions(content),
            hours=tuple((day, hours_text(content.hours[day])) for day in DAYS if day in content.hours),
            idle_ms=web.idle_ms,
        )

    async def open(self, parts: Parts) -> str:
        """Begin to serve, until `parts` is closed; the address, or nothing. Raises ConfigError."""
        if not self.serves:
            return ""
        try:
            from edgeapp.web.app import create_app
            from edgeapp.web.serve import Address, check_address, serving
        except ImportError as error:
            raise ConfigError(f"the pages need the package {error.name}: pip install 'edgeapp[web]'") from error
        web = self._config.web
        folder = self._folder or web_folder()
        users = Users(folder / "users.json")
        address = Address(web.host, web.port, web.certificate, web.key, web.plain)
        check_address(address, users=bool(users.all()))
        self._sample(parts)
        site = self._site = self._make_site(users, folder, secure=address.secure)
        parts.stack.callback(site.trail.close)
        url = await parts.stack.enter_async_context(serving(create_app(site), self.live, address))
        sys.stderr.write(f"edgeapp: pages on {url}\n")
        return url

    def _make_site(self, users: Users, folder: Path, *, secure: bool) -> Site:
        web = self._config.web
        return Site(
            name=self._config.name,
            app=self._config.app,
            live=self.live,
            users=users,
            sessions=Sessions(folder / "sessions.json", time.time_ns),
            trail=Trail(folder / "changes.log", time.time_ns),
            token=device_token(folder / "device-token"),
            secure=secure,
            names=web.names,
            visitors=web.visitors,
            words=web.words,
            face=self._face,
            touch=self._touch,
            ledger_folder=self.ledger[0] if self.ledger else None,
            ledger=self.ledger[1] if self.ledger else None,
            sort=lambda boxes: self.rule().counted(boxes),
            defects=lambda: self.rule().defects,
            content=self.shop,
            rules=self.rules,
            golden=self.golden,
            acknowledge=self.acknowledge,
            shift=self.shift,
            doctor=self._doctor,
            check=self.check,
        )

    def _doctor(self) -> list[Any]:
        from edgeapp.doctor import findings

        return list(findings(self._file, running=True))

    def _sample(self, parts: Parts) -> None:
        """What is looked at while somebody watches."""
        vitals, stalls = Vitals(), StallMeter()

        async def meter() -> None:
            while True:
                await self.live.watched()
                async with stalls:
                    while self.live.viewers:
                        await sleep_until(now_ns() + 1_000 * MS)

        def machine() -> dict[str, object]:
            longest_ms, stalls.longest_ms = stalls.longest_ms, 0.0
            return vitals.look() | {"loop_stall_ms": round(longest_ms, 1), "viewers": self.live.viewers}

        self.live.beside(meter)
        self.live.sample("captions", 100 * MS, self._captions)
        if shop := self.shop:
            self.live.sample("content", 1_000 * MS, lambda: {"tag": shop.tag})
        self.live.sample("links", 1_000 * MS, lambda: {name: _weather(link) for name, link in parts.links.items()})
        self.live.sample("devices", 1_000 * MS, lambda: devices_of(parts))
        self.live.sample(
            "drops", 1_000 * MS, lambda: {one["name"]: one["dropped"] for one in devices_of(parts) if one["dropped"]}
        )
        self.live.sample("machine", 1_000 * MS, machine)

    def _captions(self) -> dict[str, object]:
        now = self._conversation.glance() if self._conversation else Glance(Doing.ASLEEP)
        now = self._fading.look(now, now_ns())
        words = self._config.web.words
        return {
            "doing": now.doing,
            "turn": now.turn,
            "heard": now.heard if words else "",
            "said": now.said if words else "",
            "voice": self._conversation is not None,
        }


def _questions(content: Content) -> tuple[str, ...]:
    """What may be asked, made from what the shop's owner wrote."""
    items = [item for item in content.items if item.where]
    asked = [f"where is the {item.name}" for item in items[:2]]
    asked += [f"how much is the {item.name}" for item in content.items[2:4]]
    asked += [f"is the {item.name} in stock" for item in content.items[4:5]]
    asked += [f"when do you open on {day}" for day in ("monday", "saturday") if day in content.hours]
    asked += ["how many parts failed today"] if content.qc else []
    return tuple(asked[:_QUESTIONS_MAX])


def devices_of(parts: Parts) -> list[dict[str, Any]]:
    """What is open to the world outside: whether it is there, and what its buffer had to drop so far."""
    return [
        {
            "name": name,
            "trouble": getattr(each, "trouble", "") or parts.lost.get(name, ""),
            "dropped": getattr(each, "dropped", 0),
        }
        for name, each in parts.devices.items()
    ]


def _weather(link: Link) -> dict[str, object]:
    """A link as people speak of it: round trips of its last answers, their spread, and whether it is used."""
    took = sorted(link.answers_ns)
    if not took:
        return {"answers": 0, "open": link.open, "trust": round(link.trust, 2)}
    mean = sum(took) / len(took)
    spread = (sum((each - mean) ** 2 for each in took) / len(took)) ** 0.5
    return {
        "answers": len(took),
        "p50_ms": round(took[len(took) // 2] / MS, 1),
        "p95_ms": round(took[min(len(took) - 1, len(took) * 95 // 100)] / MS, 1),
        "jitter_ms": round(spread / MS, 1),
        "last_ms": [round(each / MS, 1) for each in list(link.answers_ns)[-60:]],
        "open": link.open,
        "trust": round(link.trust, 2),
    }
