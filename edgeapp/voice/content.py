"""What a kiosk knows: one TOML file -> frozen values -> the fact lines that stand in the prompt.

The language model reads the facts, it does not remember them, so this file is the only place where a shop's name,
prices, stock, places and hours come from. `facts()` fixes the shape of a line; the model is trained on that shape.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from edgeapp.core.events import ConfigError
from edgeapp.voice.prompt import TOOL
from edgeapp.voice.toml_lines import line_of

ZONES = (
    "front left", "front center", "front right", "side left", "side right", "rear left", "rear center", "rear right",
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_ITEMS = 20  # 20 items are about 450 tokens of facts; more would leave the model's context no room for the talk
MAX_WORDS = 6  # of a name, a zone's contents or the shop's name
MAX_COUNT = 99_999
MAX_TOOLS = 8
MAX_ARGUMENTS = 3  # of a tool

_WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9' -]*")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,39}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


_Path = tuple[str | int, ...]  # of a value: ("items", 2, "price")


class _Wrong(Exception):
    """What is not right with the value at `path`."""

    def __init__(self, path: _Path, why: str) -> None:
        super().__init__(f"{_shown(path)} {why}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on sale. `name` is lowercase as it is spoken; `price_cents` and `stock` may be unknown (None)."""

    name: str
    price_cents: int | None
    stock: int | None
    where: str | None


@dataclass(frozen=True, slots=True)
class Hours:
    """One day's opening hours in minutes after midnight; both None means closed all day."""

    opens_min: int | None
    closes_min: int | None


@dataclass(frozen=True, slots=True)
class QcCounts:
    """Parts of today at the factory window, by verdict. Live: the app replaces it with `with_counts`."""

    passed: int
    failed: int
    not_inspected: int


@dataclass(frozen=True, slots=True)
class Tool:
    """Live data or a service that a reply may call. `about` says in plain words what it gives: 'the temperature of the oven'."""

    about: str
    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """Everything one kiosk knows. Days and zones that are absent are not known; a tool that is absent is not offered."""

    name: str
    items: tuple[Item, ...]
    hours: Mapping[str, Hours]
    zones: Mapping[str, str]
    qc: QcCounts | None
    tools: tuple[Tool, ...] = ()


def load_content(path: Path) -> Content:
    """Read a kiosk content file. Raises ConfigError, naming the file, the line and the key, for anything that is not right."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the kiosk content {path}: {error}; give the path of a UTF-8 TOML file"
        ) from error
    return parse_content(text, str(path))


def parse_content(text: str, source: str = "kiosk content") -> Content:
    """TOML text -> Content. Raises ConfigError with `source`, the line and the key."""
    try:
        table = tomllib.loads(text, parse_float=Decimal)
        return _content(table)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    except _Wrong as wrong:
        raise ConfigError(f"{source}, line {line_of(text, wrong.path)}: {wrong}") from wrong


def with_counts(content: Content, passed: int, failed: int, not_inspected: int) -> Content:
    """The same content with today's live counts of the factory window (parts)."""
    return replace(content, qc=QcCounts(passed, failed, not_inspected))


class Kind(StrEnum):
    """What a fact says of its subject."""

    PLACE = "place"
    PRICE = "price"
    STOCK = "stock"
    ZONE = "zone"
    HOURS = "hours"
    PARTS = "parts"


VERDICTS = ("passed", "failed", "not inspected")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that the kiosk knows, as its line stands in the prompt."""

    kind: Kind
    subject: str
    """The item's name, the zone, the day, or the verdict of the parts."""

    line: str

    @property
    def sentence(self) -> str:
        """The fact as it is said to a person: the line between an opening and a full stop."""
        opening = {Kind.ZONE: "At the ", Kind.HOURS: "On ", Kind.PARTS: ""}.get(self.kind, "The ")
        line = opening + self.line
        return f"{line[0].upper()}{line[1:]}."


def known(content: Content) -> tuple[Fact, ...]:
    """Every fact of the content, in the order of the prompt's lines."""
    found = [fact for item in content.items for fact in _item_facts(item)]
    found += [Fact(Kind.ZONE, zone, f"{zone}, {content.zones[zone]}") for zone in ZONES if zone in content.zones]
    for day in DAYS:
        if day in content.hours:
            found.append(Fact(Kind.HOURS, day, f"{day.capitalize()}, {hours_text(content.hours[day])}"))
    if content.qc is not None:
        counts = (content.qc.passed, content.qc.failed, content.qc.not_inspected)
        for verdict, count in zip(VERDICTS, counts, strict=True):
            found.append(Fact(Kind.PARTS, verdict, f"parts {verdict} today, {count}"))
    return tuple(found)


def facts(content: Content) -> str:
    """Content -> the system text of a prompt: one fact a line, then an empty line, then the live lines.

    A line says its fact in the very words of the answer, so that a small model only has to find it and read it out.
    What stands before the empty line is the same for every turn, so an engine may keep it resident (see
    `edgeapp.voice.prompt.prefix`); what stands after it changes with the counts. A tool's line holds the very call; tools
    without arguments are few and stand in the live part, which a question never loses (`edgeapp.voice.relevance`).
    """
    every = known(content)
    lines = [f"name: {content.name}", *(fact.line for fact in every if fact.kind is not Kind.PARTS)]
    live = [fact.line for fact in every if fact.kind is Kind.PARTS] or ["nothing counted today"]
    lines += [f"{tool.about} {tool_call(tool)}" for tool in content.tools if tool.arguments]
    live += [f"{tool.about} {tool_call(tool)}" for tool in content.tools if not tool.arguments]
    return "\n".join(lines) + "\n\n" + "\n".join(live)


def tool_call(tool: Tool) -> str:
    """The one text form of a structured call: `<tool>` and a JSON object of a name and its arguments."""
    return f"{TOOL} " + json.dumps({"name": tool.name, "arguments": dict(tool.arguments)})


def price_text(price_cents: int) -> str:
    """Cents -> spoken price: 1250 -> '12 euros 50', 100 -> '1 euro', 80 -> '80 cents'."""
    euros, cents = divmod(price_cents, 100)
    if euros == 0:
        return f"{cents} cents"
    unit = "euro" if euros == 1 else "euros"
    return f"{euros} {unit} {cents}" if cents else f"{euros} {unit}"


def clock_text(minute_of_day: int) -> str:
    """Minutes after midnight -> spoken time: 480 -> '8', 510 -> '8 30', 1085 -> '18 05'."""
    hour, minute = divmod(minute_of_day, 60)
    return f"{hour} {minute:02d}" if minute else f"{hour}"


def hours_text(hours: Hours) -> str:
    """One day's hours as they are spoken: 'open from 8 to 18 30', or 'closed'."""
    if hours.opens_min is None or hours.closes_min is None:
        return "closed"
    return f"open from {clock_text(hours.opens_min)} to {clock_text(hours.closes_min)}"


def stock_text(stock: int) -> str:
    """What there is of an item, as it is spoken: 'in stock, 8 pieces', or 'sold out'."""
    if stock == 0:
        return "sold out"
    return f"in stock, {stock} {'piece' if stock == 1 else 'pieces'}"


def _item_facts(item: Item) -> list[Fact]:
    found = []
    if item.where is not None:
        found.append(Fact(Kind.PLACE, item.name, f"{item.name} is at the {item.where}"))
    if item.price_cents is not None:
        found.append(Fact(Kind.PRICE, item.name, f"{item.name} costs {price_text(item.price_cents)}"))
    if item.stock is not None:
        found.append(Fact(Kind.STOCK, item.name, f"{item.name} is {stock_text(item.stock)}"))
    return found


def _content(table: Mapping[str, object]) -> Content:
    _only(table, {"name", "items", "hours", "zones", "qc", "tools"})
    items = tuple(_item(entry, ("items", n)) for n, entry in enumerate(_list(table, "items", MAX_ITEMS)))
    names = [item.name for item in items]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise _Wrong(("items", number, "name"), f"'{name}' is there twice; give every item its own name")
    return Content(
        name=_words(table, "name"),
        items=items,
        hours=_hours(_table(table, "hours")),
        zones=_zones(_table(table, "zones")),
        qc=_qc(_table(table, "qc")) if "qc" in table else None,
        tools=tuple(_tool(entry, ("tools", n)) for n, entry in enumerate(_list(table, "tools", MAX_TOOLS))),
    )


def _item(entry: object, path: _Path) -> Item:
    if not isinstance(entry, dict):
        raise _Wrong(path, "must be a table with name, price, stock and where")
    _only(entry, {"name", "price", "stock", "where"}, path)
    where = entry.get("where")
    if where is not None and where not in ZONES:
        raise _Wrong((*path, "where"), f"is {where!r}; use one of {', '.join(ZONES)}")
    stock = _count(entry, "stock", path) if "stock" in entry else None
    return Item(_words(entry, "name", path).lower(), _price(entry, path), stock, where)


def _price(entry: Mapping[str, object], path: _Path) -> int | None:
    if "price" not in entry:
        return None
    price, path = entry["price"], (*path, "price")
    if isinstance(price, bool) or not isinstance(price, int | Decimal):
        raise _Wrong(path, f"is {price!r}; write euros and cents as a number such as 12.50")
    cents = Decimal(price) * 100
    if not cents.is_finite() or cents != int(cents) or not 0 < cents <= MAX_COUNT * 100:
        raise _Wrong(path, f"is {price}; it must be above 0 with at most two decimals")
    return int(cents)


def _hours(table: Mapping[str, object]) -> dict[str, Hours]:
    _only(table, set(DAYS), ("hours",))
    hours: dict[str, Hours] = {}
    for day, value in table.items():
        if value == "closed":
            hours[day] = Hours(None, None)
            continue
        times = value if isinstance(value, list) and len(value) == 2 else ()
        clocks = [_CLOCK.fullmatch(time) for time in times if isinstance(time, str)]
        minutes = [int(clock[1]) * 60 + int(clock[2]) for clock in clocks if clock]
        if len(minutes) != 2 or minutes[0] >= minutes[1]:
            raise _Wrong(("hours", day), f'is {value!r}; write ["08:00", "18:00"] or "closed"')
        hours[day] = Hours(minutes[0], minutes[1])
    return hours


def _zones(table: Mapping[str, object]) -> dict[str, str]:
    _only(table, set(ZONES), ("zones",))
    return {zone: _words(table, zone, ("zones",)) for zone in table}


def _qc(table: Mapping[str, object]) -> QcCounts:
    keys = ("passed", "failed", "not_inspected")
    _only(table, set(keys), ("qc",))
    passed, failed, not_inspected = (_count(table, key, ("qc",)) for key in keys)
    return QcCounts(passed, failed, not_inspected)


def _tool(entry: object, path: _Path) -> Tool:
    if not isinstance(entry, dict):
        raise _Wrong(path, "must be a table with about, name and arguments")
    _only(entry, {"about", "name", "arguments"}, path)
    given = _table(entry, "arguments", path)
    name = entry.get("name")
    for word in (name, *given):
        if not isinstance(word, str) or not _IDENTIFIER.fullmatch(word):
            raise _Wrong(path, f"has the name {word!r}; use small letters, digits and _")
    if len(given) > MAX_ARGUMENTS:
        raise _Wrong((*path, "arguments"), f"has {len(given)} entries; give at most {MAX_ARGUMENTS}")
    arguments = {word: _words(given, word, (*path, "arguments")) for word in given}
    return Tool(_words(entry, "about", path), str(name), arguments)


def _count(table: Mapping[str, object], key: str, path: _Path) -> int:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise _Wrong((*path, key), f"is {value!r}; write a whole number from 0 to {MAX_COUNT}")
    return value


def _words(table: Mapping[str, object], key: str, path: _Path = ()) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not _WORDS.fullmatch(value) or len(value.split()) > MAX_WORDS:
        raise _Wrong((*path, key), f"is {value!r}; write 1 to {MAX_WORDS} words of letters, digits, spaces, ' and -")
    return " ".join(value.split())


def _table(table: Mapping[str, object], key: str, path: _Path = ()) -> Mapping[str, object]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise _Wrong((*path, key), f"must be a table [{key}]")
    return value


def _list(table: Mapping[str, object], key: str, most: int) -> list[object]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise _Wrong((key,), f"must be a list of tables [[{key}]]")
    if len(value) > most:
        raise _Wrong((key, most), f"is one too many: {key} has {len(value)} entries; list at most {most}")
    return value


def _only(table: Mapping[str, object], known: set[str], path: _Path = ()) -> None:
    for key in table:
        if key not in known:
            raise _Wrong((*path, key), f"is an unknown key; known here: {', '.join(sorted(known))}")


def _shown(path: _Path) -> str:
    """As TOML's people write it: items[2].price, zones."front left"."""
    shown = ""
    for key in path:
        if isinstance(key, int):
            shown += f"[{key}]"
        else:
            shown += ("." if shown else "") + (key if _BARE.fullmatch(key) else f'"{key}"')
    return shown
