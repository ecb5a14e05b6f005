"""`edgeapp top`: the live view in a terminal, for people on SSH. It looks through the same door as the browser."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgeapp.apps.web import web_folder
from edgeapp.core.events import BackendError, ConfigError
from edgeapp.web.watching import news

TOPICS: Final = ("verdicts", "turns", "stages", "links", "alarms", "devices", "drops", "captions", "machine")

_STYLES: Final = {"PASS": "bold white on green", "FAIL": "bold white on red", "NOT_INSPECTED": "bold black on yellow"}
_BARS: Final = {
    "endpoint": "grey50",
    "stt": "cyan",
    "llm": "blue",
    "clause": "magenta",
    "tts": "green",
    "output": "yellow",
}
_BAR_CELLS: Final = 40
_AGAIN_S: Final = 2.0  # between two attempts to reach a device that went
_PER_SECOND: Final = 5
_TURNS: Final = 6
_TURNS_SMALL: Final = 3  # where the terminal has fewer than _LINES lines
_LINES: Final = 32


def show(url: str, token_file: Path | None, certificate: str = "", *, once: bool) -> None:
    """Show the device at `url` until stopped; with `once` one picture of it. Raises ConfigError and BackendError."""
    token = _token(token_file)
    console = Console()
    state: dict[str, Any] = {}
    if once:
        with closing(news(url, token, TOPICS, certificate)) as told:
            while not set(TOPICS) <= set(state):
                state |= next(told)
        console.print(screen(state, url, console.height))
        return
    with Live(Text(f"looking for {url}"), console=console, screen=True, refresh_per_second=_PER_SECOND) as live:
        while True:
            try:
                with closing(news(url, token, TOPICS, certificate)) as told:
                    for changed in told:
                        state |= changed
                        live.update(screen(state, url, console.height))
            except BackendError as gone:
                live.update(Panel(Text(f"{gone}; trying again"), title=url))
                time.sleep(_AGAIN_S)


def _token(file: Path | None) -> str:
    path = file or web_folder() / "device-token"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}: run a device with [web] serve = true first, or give --token") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the device's token {path}: {error}; run this as the user who runs the device, or give --token"
        ) from error


def screen(state: dict[str, Any], url: str, lines: int = _LINES) -> Group:
    """Everything on one screen of so many lines: what is wrong stands where a small one does not cut it off."""
    return Group(
        _verdicts(state.get("verdicts", {})),
        _alarms(state.get("alarms", []), state.get("devices", [])),
        _voice(state.get("captions", {}), state.get("turns", {}), _TURNS if lines >= _LINES else _TURNS_SMALL),
        _stages(state.get("stages", {}), state.get("links", {})),
        _machine(state.get("machine", {}), state.get("drops", {}), url),
    )


def _verdicts(now: dict[str, Any]) -> Panel:
    line = Text()
    for each in now.get("newest", {}).values():
        line.append(f" {each['outcome'].replace('_', ' ')} ", _STYLES[each["outcome"]])
        line.append(f"  {each['source']} {each['number']}  {each['took_ms']:.0f} ms  {each['why']}\n")
    if not line:
        line.append("no part yet\n", "dim")
    counts = (
        f"{now.get('passed', 0)} passed, {now.get('failed', 0)} failed, {now.get('not_inspected', 0)} not inspected"
    )
    line.append(f"{counts}; {now.get('late', 0)} later than {now.get('budget_ms', 0):g} ms", "dim")
    return Panel(line, title="line", title_align="left")


def _voice(captions: dict[str, Any], turns: dict[str, Any], most: int) -> Panel:
    line = Text(f"{captions.get('doing', '-')}", "bold")
    line.append(f"   {captions.get('heard', '')}", "not bold")
    line.append(f"   {captions.get('said', '')}", "not bold green")
    table = Table.grid(padding=(0, 2))
    budget_ms = turns.get("budget_ms", 200.0)
    for each in turns.get("rows", [])[:most]:
        took = f"{each['took_ms']:.0f} ms" if each["took_ms"] is not None else "-"
        late = each["took_ms"] is None or each["took_ms"] > budget_ms
        table.add_row(
            each["name"], Text(took, "red" if late else "green"), _bar(each["spans"], budget_ms), each["outcome"]
        )
    legend = Text("  ").join(Text(f"█ {name}", colour) for name, colour in _BARS.items())
    return Panel(Group(line, table, legend), title=f"voice, budget {budget_ms:g} ms", title_align="left")


def _bar(spans: list[list[Any]], budget_ms: float) -> Text:
    bar = Text()
    for name, start_ms, end_ms in spans:
        cells = round(end_ms / budget_ms * _BAR_CELLS) - round(start_ms / budget_ms * _BAR_CELLS)
        bar.append("█" * min(max(cells, 0), 2 * _BAR_CELLS), _BARS.get(name, "grey70"))
    return bar


def _stages(stages: dict[str, Any], links: dict[str, Any]) -> Panel:
    table = Table.grid(padding=(0, 2))
    for _ in range(6):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for name, each in stages.items():
        share = f"{100 * each['remote'] / each['calls']:.0f} % remote" if each["calls"] else ""
        p50, p95 = (f"{each[key]:g}" if each[key] is not None else "-" for key in ("p50_ms", "p95_ms"))
        whys = ", ".join(f"{why} {count}" for why, count in each["whys"].items())
        table.add_row(
            name, f"p50 {p50} ms", f"p95 {p95} ms", f"bound {each['bound_ms']:g} ms", share, Text(whys, "dim")
        )
    weather_of = Table.grid(padding=(0, 2))
    for name, each in links.items():
        weather = f"{each['p50_ms']:g} ms, jitter {each['jitter_ms']:g} ms" if each["answers"] else "no answer yet"
        weather_of.add_row(
            name, weather, Text("breaker open", "red") if each["open"] else "breaker closed", f"trust {each['trust']:g}"
        )
    return Panel(Group(table, weather_of), title="stages and links", title_align="left")


def _machine(now: dict[str, Any], drops: dict[str, int], url: str) -> Panel:
    parts = [f"{now.get('cpu_share', 0):.2f} cores", f"{now.get('rss_mb', 0)} MB", f"load {now.get('load', 0):g}"]
    parts.append(f"loop stall {now.get('loop_stall_ms', 0):g} ms")
    parts += [f"{name} {value:g} °C" for name, value in list(now.get("temperatures_c", {}).items())[:4]]
    parts += [f"{name} {value:g} W" for name, value in list(now.get("power_w", {}).items())[:3]]
    parts += [f"{where} dropped {count}" for where, count in drops.items()]
    return Panel(Text("   ".join(parts)), title=escape(url), title_align="left")


def _alarms(alarms: list[dict[str, Any]], devices: list[dict[str, Any]]) -> Panel:
    away = [f"{each['name']} is away: {each['trouble']}" for each in devices if each["trouble"]]
    says = away + [f"{each['where']}: {each['what']}" for each in alarms]
    line = Text("\n").join(Text(each, "red", no_wrap=True, overflow="ellipsis") for each in says[:4])
    line.no_wrap, line.overflow = True, "ellipsis"
    return Panel(line or Text("none", "dim"), title="alarms", title_align="left")
