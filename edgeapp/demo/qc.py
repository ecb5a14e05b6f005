"""`edgeapp demo qc`: a whole station on a conveyor of drawn parts, with the truth printed beside the verdict.

A photo-eye pulls the trigger, a PLC reads the coil over real Modbus TCP, a real broker gets every verdict, a gate rejects, and every
verdict is a row of a ledger that is verified at the end. Only belt, PLC and gate are programs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.qc import Line, open_line
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.events import CameraFrame, Outcome, Verdict
from edgeapp.core.record import AnyRecord, Record
from edgeapp.demo.pictures import Row, annotate, contact_sheet, waterfall
from edgeapp.devices.broker_sim import MOSQUITTO, Subscriber, broker
from edgeapp.devices.gpio_sim import SimulatedChip
from edgeapp.devices.plc_sim import Scanner
from edgeapp.observe.percentile import percentile
from edgeapp.observe.stall import StallMeter
from edgeapp.observe.station_plots import draw_p_chart, draw_pareto
from edgeapp.observe.waterfall import frame_spans
from edgeapp.station.audit import Audit, verify
from edgeapp.station.queries import verdicts as rows_of
from edgeapp.station.statistics import p_chart, pareto
from edgeapp.station.store import open_reading

if TYPE_CHECKING:
    from edgeapp.devices.conveyor import Conveyor, Part

PARTS_PER_MINUTE: Final = 240.0
_EYE, _PASSED, _FAILED, _BEAT, _GATE = 4, 10, 11, 13, 12  # lines of the simulated chip
_DRAWN: Final = 500  # parts whose pictures are kept in memory and drawn: 150 MB
_POINT: Final = 10  # parts of one point of the chart: the demo has few
_SETTLE_S: Final = 3.0  # after the last part, for the broker and the gate


@dataclass
class _Heard:
    """What each output received, from its other end."""

    console: list[Verdict] = field(default_factory=list)
    frames: dict[int, CameraFrame] = field(default_factory=dict)
    records: list[AnyRecord] = field(default_factory=list)
    plc: Scanner | None = None
    mqtt: Subscriber | None = None
    chip: SimulatedChip | None = None
    first: int = 0
    """The number before the demo's first part: an older run's parts are in the ledger too."""

    stall_ms: float = 0.0
    missed: int = 0
    """Parts that the gate could not reject; each of them was an alarm."""

    def pulses(self, line: int) -> int:
        """How often a line was switched on."""
        return sum(which == line and level for _, which, level in self.chip.history) if self.chip else 0


class _Kept:
    """The belt's frames, the first of them kept to be drawn."""

    def __init__(self, belt: Conveyor, frames: dict[int, CameraFrame]) -> None:
        self._belt, self._frames = belt, frames

    async def __aiter__(self) -> AsyncIterator[CameraFrame]:
        async for frame in self._belt.frames():
            if frame.number <= _DRAWN:
                self._frames[frame.number] = frame
            yield frame


async def demo_qc(out: Path, parts: int) -> bool:
    """Run the station, write pictures, charts and a ledger; returns whether every part got one verdict in time everywhere."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    folder = out / "qc"
    folder.mkdir(parents=True, exist_ok=True)
    if MOSQUITTO is None:
        console.print("MQTT is left out: there is no Mosquitto here (apt-get install mosquitto)")
    heard = _Heard()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(broker(folder)) if MOSQUITTO else 0
        config = _config(out, port)
        truth = await _run(config, parts, heard, console)
    found, rows = await asyncio.get_running_loop().run_in_executor(None, _look_at_ledger, folder, heard.first)
    await asyncio.get_running_loop().run_in_executor(None, _write_pictures, heard, rows, config, folder)
    summary = _summary(heard, truth, found, len(rows))
    console.print(_table(heard, truth))
    console.print(_outputs(heard, len(rows), found))
    console.print(f"pictures and charts: {folder}/   ledger: edgeapp ledger show {folder}/ledger")
    print(json.dumps(summary))
    same = summary["parts"] == summary["verdicts"] == summary["rows"] == summary["modbus"]
    return bool(same and summary["mqtt"] in {summary["parts"], -1} and found.ok and not summary["not_inspected"])


def _config(out: Path, mqtt_port: int) -> settings.Config:
    """A photo-eye, a gate half a second behind it, and everything that is told."""
    folder = out / "qc"
    mqtt = settings.MqttOutput(
        host="127.0.0.1" if mqtt_port else "",
        port=mqtt_port or 1883,
        prefix="demo",
        outbox=str(folder / "outbox.sqlite"),
    )
    return settings.Config(
        app="qc",
        name="demo",
        vision=settings.Vision(trigger=settings.Trigger(source="gpio", line=_EYE, debounce_ms=0)),
        outputs=settings.Outputs(
            modbus=settings.ModbusOutput(serve=True, port=0),
            mqtt=mqtt,
            gpio=settings.GpioOutput(chip="simulated", passed=_PASSED, failed=_FAILED, heartbeat=_BEAT),
            reject=settings.RejectOutput(by="time", line=_GATE, delay_ms=500, window_ms=50),
        ),
        station=settings.Station(folder=str(folder / "ledger"), operator="demo", lot="demo", point_parts=_POINT),
        records=settings.Records(path=str(out / "records.jsonl")),
    )


async def _run(config: settings.Config, parts: int, heard: _Heard, console: Console) -> dict[int, Part]:
    """Let the belt pass the station; the truth about every part, by the station's number."""
    from edgeapp.devices.conveyor import Options, start

    async with AsyncExitStack() as stack:
        placements = Placements()
        wired = Parts(stack, sink_of(config.records, stack, placements, heard.records.append))
        line = await open_line(config, wired, placements)
        belt = await stack.enter_async_context(
            start(Options(parts=parts, parts_per_minute=PARTS_PER_MINUTE, source="belt"))
        )
        heard.first = line.station.number
        listening = await _listen(config, line, heard)
        belt.on_trigger = lambda: _break_beam(heard.chip)
        with Progress(console=console) as progress:
            bar = progress.add_task("parts judged", total=parts)

            def told(verdict: Verdict) -> None:
                heard.console.append(verdict)
                progress.advance(bar)

            line.on_told.append(told)
            async with StallMeter() as stalls:
                seeing = asyncio.create_task(line.run(_Kept(belt, heard.frames)))
                await _until(lambda: len(heard.console) >= parts or seeing.done(), 60 * parts / PARTS_PER_MINUTE + 30)
            await _until(lambda: _all_heard(heard, parts), _SETTLE_S)
        for task in (seeing, *listening):
            task.cancel()
        await asyncio.wait({seeing, *listening}, timeout=_SETTLE_S)
        heard.stall_ms, heard.missed = stalls.longest_ms, line.station.outputs.state.rejects_missed
        return {heard.first + number: part for number, part in belt.truth.items()}


async def _listen(config: settings.Config, line: Line, heard: _Heard) -> list[asyncio.Task[None]]:
    """Start the other ends: a PLC, and a subscriber if there is a broker."""
    outputs = line.station.outputs
    assert isinstance(outputs.chip, SimulatedChip)
    heard.chip = outputs.chip
    heard.plc = Scanner("127.0.0.1", outputs.modbus_port)
    tasks = [asyncio.create_task(heard.plc.run())]
    if config.outputs.mqtt.host:
        heard.mqtt = Subscriber(config.outputs.mqtt.port, config.outputs.mqtt.prefix)
        tasks.append(asyncio.create_task(heard.mqtt.run()))
        await asyncio.wait_for(heard.mqtt.ready.wait(), 10)
    return tasks


def _break_beam(chip: SimulatedChip | None) -> None:
    """A part is at the photo-eye; the beam is there again before the next one."""
    assert chip
    chip.set(_EYE, True)
    asyncio.get_running_loop().call_later(0.02, chip.set, _EYE, False)


async def _until(condition: Any, within_s: float) -> None:
    """Wait for a condition, but not for ever."""
    until_s = asyncio.get_running_loop().time() + within_s
    while not condition() and asyncio.get_running_loop().time() < until_s:
        await asyncio.sleep(0.05)


def _all_heard(heard: _Heard, parts: int) -> bool:
    """Has every other end its verdicts, and the gate done its work?"""
    plc = heard.plc is None or len(heard.plc.read) >= parts
    mqtt = heard.mqtt is None or len(heard.mqtt.verdicts) >= parts
    bad = sum(each.outcome is not Outcome.PASS for each in heard.console)
    return plc and mqtt and heard.pulses(_GATE) >= bad


def _look_at_ledger(folder: Path, first: int) -> tuple[Audit, list[dict[str, Any]]]:
    """Verify it as an auditor would; and this run's rows."""
    found = verify(folder / "ledger", images=True)
    with closing(open_reading(folder / "ledger")) as database:
        return found, [row for row in rows_of(database) if row["frame_number"] > first]


def _write_pictures(heard: _Heard, rows: list[dict[str, Any]], config: settings.Config, folder: Path) -> None:
    import cv2

    calls = [each for each in heard.records if isinstance(each, Record)]
    shown = [each for each in sorted(heard.console, key=lambda each: each.frame_number)
             if each.frame_number - heard.first in heard.frames]  # fmt: skip
    pictures = [annotate(heard.frames[each.frame_number - heard.first], each) for each in shown]
    for verdict, picture in zip(shown, pictures, strict=True):
        cv2.imwrite(str(folder / f"part_{verdict.frame_number - heard.first:03d}.jpg"), picture)
    contact_sheet(pictures, folder / "contact_sheet.jpg")
    bars = [Row(f"belt {v.frame_number} {v.outcome}", frame_spans(v, calls)) for v in shown[:24]]
    title = "Sensor timestamp to verdict, the first parts of the belt"
    waterfall(bars, config.vision.budget_ms, title, folder / "waterfall.png")
    seen = [row for row in rows if row["outcome"] != "NOT_INSPECTED"]
    groups = [seen[at : at + _POINT] for at in range(0, len(seen), _POINT)]
    chart = p_chart([(len(each), sum(row["outcome"] == "FAIL" for row in each)) for each in groups])
    began_ns = [each[0]["utc_ns"] for each in groups]
    draw_p_chart(chart, began_ns, folder / "p_chart.png", f"Rejects of every {_POINT} inspected parts")
    causes: dict[str, int] = {}
    for row in rows:
        for cause in json.loads(row["causes"]) if row["outcome"] != "PASS" else []:
            causes[cause] = causes.get(cause, 0) + 1
    draw_pareto(pareto(causes), folder / "pareto.png", "Parts that did not pass, by cause")


def _right(verdict: Verdict, part: Part) -> bool:
    return verdict.outcome is (Outcome.FAIL if part.defects else Outcome.PASS)


def _summary(heard: _Heard, truth: dict[int, Part], found: Audit, rows: int) -> dict[str, float | int | str | bool]:
    verdicts = heard.console
    outcomes = [verdict.outcome for verdict in verdicts]
    pairs = [(verdict, truth[verdict.frame_number]) for verdict in verdicts]
    took_ms = [(verdict.decided_ns - verdict.at_ns) / 1e6 for verdict in verdicts]
    at_ns = {verdict.frame_number: verdict.at_ns for verdict in verdicts}
    bit_ms = (
        [(each.read_ns - at_ns[each.part]) / 1e6 for each in heard.plc.read if each.part in at_ns] if heard.plc else []
    )
    return {
        "demo": "qc",
        "parts": len(truth),
        "verdicts": len(verdicts),
        "rows": rows,
        "modbus": len(heard.plc.read) if heard.plc else -1,
        "mqtt": sum(part > heard.first for part in heard.mqtt.verdicts) if heard.mqtt else -1,
        "passed_line": heard.pulses(_PASSED),
        "gate": heard.pulses(_GATE),
        "pass": outcomes.count(Outcome.PASS),
        "fail": outcomes.count(Outcome.FAIL),
        "not_inspected": outcomes.count(Outcome.NOT_INSPECTED),
        "right": sum(_right(*pair) for pair in pairs),
        "escapes": sum(bool(part.defects) and verdict.outcome is Outcome.PASS for verdict, part in pairs),
        "false_rejects": sum(not part.defects and verdict.outcome is Outcome.FAIL for verdict, part in pairs),
        "late": sum(verdict.decided_ns > verdict.due_ns for verdict in verdicts),
        "p50_ms": round(percentile(took_ms, 50), 1),
        "p95_ms": round(percentile(took_ms, 95), 1),
        "max_ms": round(max(took_ms), 1),
        "plc_p50_ms": round(percentile(bit_ms, 50), 1) if bit_ms else -1,
        "plc_p95_ms": round(percentile(bit_ms, 95), 1) if bit_ms else -1,
        "loop_stall_ms": round(heard.stall_ms, 1),
        "ledger_verified": found.ok,
    }


def _table(heard: _Heard, truth: dict[int, Part]) -> Table:
    table = Table(title="Verdicts (due 200 ms after the sensor's timestamp)", title_justify="left")
    for name in ("part", "truth", "verdict", "why", "ms", ""):
        table.add_column(name, justify="right" if name in {"part", "ms"} else "left")
    styles = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.NOT_INSPECTED: "yellow"}
    for verdict in heard.console:
        part = truth[verdict.frame_number]
        real = f"{part.kind}: {', '.join(each.kind for each in part.defects) or 'sound'}"
        took_ms = (verdict.decided_ns - verdict.at_ns) / 1e6
        outcome = f"[{styles[verdict.outcome]}]{verdict.outcome}[/]"
        mark = "" if _right(verdict, part) else "[bold red]wrong[/]"
        table.add_row(str(verdict.frame_number), real, outcome, verdict.why, f"{took_ms:.0f}", mark)
    return table


def _outputs(heard: _Heard, rows: int, found: Audit) -> Table:
    """What each output received, asked at its other end."""
    table = Table(title="Verdicts that each output received", title_justify="left")
    for name in ("output", "received", "how it was asked"):
        table.add_column(name, justify="right" if name == "received" else "left")
    bad = sum(each.outcome is not Outcome.PASS for each in heard.console)
    table.add_row(
        "ledger", str(rows), f"verified: {'; '.join(found.wrong) or f'right, head {str(found.head)[:16]}...'}"
    )
    table.add_row("console", str(len(heard.console)), "the lines above")
    table.add_row(
        "Modbus TCP", str(len(heard.plc.read) if heard.plc else 0), "a PLC that scans the strobe and reads the ring"
    )
    mqtt = str(sum(part > heard.first for part in heard.mqtt.verdicts)) if heard.mqtt else "-"
    table.add_row("MQTT", mqtt, "a subscriber of the broker" if heard.mqtt else "no Mosquitto here")
    table.add_row("PASS line", str(heard.pulses(_PASSED)), f"pulses, {len(heard.console) - bad} parts passed")
    table.add_row(
        "reject gate",
        str(heard.pulses(_GATE)),
        f"openings for {bad} parts that did not pass; {heard.missed} came too late",
    )
    return table
