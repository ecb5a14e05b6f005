"""`edgeapp bench station`: from the trigger to the coil on the bundled detector, and 30 frames a second with every frame accounted for.

Everything is real but the world: the PLC is a process of its own that speaks Modbus TCP, the belt's pictures are drawn beforehand, the
ledger lies on this disk. The bar beside the 200 ms is the detector's own time in the same run, second looks included: what
triggers, matching, rule, ledger and telling add to it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp import config as settings
from edgeapp.apps.evidence import Placements
from edgeapp.apps.qc import Line, open_line
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.bench.station_outputs import station_outputs
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, CameraFrame, Outcome, TimestampKind, Verdict
from edgeapp.core.record import AnyRecord, Record
from edgeapp.observe.percentile import percentile
from edgeapp.station.audit import verify

_PICTURES: Final = 60  # drawn beforehand, shown in turn
_PERIOD_MS: Final = 250  # from part to part: four looks fit between
_FPS: Final = 30
_OWN_TIMES: Final = 1.2  # what the station may take, in the detector's own time,
_OWN_MS: Final = 10.0  # and beside it
_SETTLE_S: Final = 1.0  # for the last verdicts

_PLC: Final = """
import asyncio, json, sys
from edgeapp.devices.plc_sim import Conveyor
async def main():
    port, parts, period_ns = map(int, sys.argv[1:])
    plc = Conveyor("127.0.0.1", port)
    await plc.run(parts, period_ns)
    print(json.dumps({"took": {each.part: each.took_ns for each in plc.seen}, "late": len(plc.late)}))
asyncio.run(main())
"""


def bench_station(*, quick: bool) -> int:
    """Measure; 1 if a bar is missed. Everything it writes is gone at the end."""
    figures: dict[str, Any] = {}
    return run_bench(
        "station", [_coil(figures), _every_frame(figures), _outputs(figures)], quick=quick, figures=figures
    )


class _Camera:
    """A camera that takes the next drawn picture when it is triggered, or at its own pace."""

    def __init__(self, pictures: list[NDArray[np.uint8]]) -> None:
        self._pictures, self._taken = pictures, 0
        self._frames: asyncio.Queue[CameraFrame | None] = asyncio.Queue()

    def expose(self) -> None:
        """Take a picture now."""
        self._taken += 1
        pixels = self._pictures[self._taken % len(self._pictures)]
        self._frames.put_nowait(CameraFrame(pixels, now_ns(), self._taken, "belt", TimestampKind.FILE))

    async def run(self, frames: int, fps: float) -> None:
        """Take so many pictures at this pace, then end."""
        began_ns = now_ns()
        for number in range(frames):
            await sleep_until(began_ns + round(number * 1e9 / fps))
            self.expose()
        self._frames.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[CameraFrame]:
        while (frame := await self._frames.get()) is not None:
            yield frame


async def _draw(parts: int) -> list[NDArray[np.uint8]]:
    from edgeapp.devices import conveyor

    async with conveyor.start(conveyor.Options(parts=parts, source="belt")) as belt:
        return [frame.pixels async for frame in belt.frames()]


class _Run:
    """One station that was run: what was told, and what the detector took for each part."""

    def __init__(self) -> None:
        self.told: list[Verdict] = []
        self.looked_ns: dict[int, int] = defaultdict(int)

    def sink(self, record: AnyRecord) -> None:
        """Sum the looks at a part: that is the detector's own time for it."""
        if isinstance(record, Record) and record.stage == "detect":
            self.looked_ns[int(record.of.split()[-1])] += record.first_ns - record.asked_ns

    async def open(self, stack: AsyncExitStack, folder: Path, **trigger: Any) -> Line:
        """The line with a ledger in `folder`."""
        config = settings.Config(
            app="qc",
            vision=settings.Vision(trigger=settings.Trigger(hold_off_ms=0, **trigger)),
            outputs=settings.Outputs(modbus=settings.ModbusOutput(serve=True, port=0)),
            station=settings.Station(folder=str(folder)),
        )
        placements = Placements()
        parts = Parts(stack, sink_of(config.records, stack, placements, self.sink))
        line = await open_line(config, parts, placements)
        line.on_told.append(self.told.append)
        return line


def _coil(figures: dict[str, Any]) -> Any:
    def step(quick: bool) -> list[Bar] | str:
        """trigger to Modbus coil"""
        with tempfile.TemporaryDirectory(prefix="edgeapp-bench-station-") as name:
            return asyncio.run(_measure_coil(Path(name), 40 if quick else 400, figures))

    return step


async def _measure_coil(folder: Path, parts: int, figures: dict[str, Any]) -> list[Bar]:
    run = _Run()
    pictures = await _draw(_PICTURES)
    async with AsyncExitStack() as stack:
        line = await run.open(stack, folder, source="modbus")
        camera = _Camera(pictures)
        line.station.on_came.append(lambda _: camera.expose())
        seeing = asyncio.create_task(line.run(camera))
        arguments = [str(line.station.outputs.modbus_port), str(parts), str(_PERIOD_MS * MS)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PLC, *arguments, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        seeing.cancel()
        await asyncio.wait({seeing})
    plc = json.loads(said)
    coil_ms = [took / 1e6 for took in plc["took"].values()]
    own_ms = [run.looked_ns[part] / 1e6 for part in map(int, plc["took"]) if part in run.looked_ns]
    outcomes = Counter(str(each.outcome) for each in run.told)
    figures |= {"parts": parts, "coil_late": plc["late"], "outcomes": dict(outcomes)}
    note = f"{len(coil_ms)} of {parts} parts, {len(own_ms)} looked at; {_said(outcomes)}"
    bars = [at_most("trigger_to_coil_p99_ms", percentile(coil_ms, 99), 200, "ms", note)]
    for q in (50, 99):
        own = percentile(own_ms, q)
        limit = round(_OWN_TIMES * own + _OWN_MS, 1)
        note = f"{_OWN_TIMES:g} times the detector's own p{q} of {own:.1f} ms, and {_OWN_MS:g} ms"
        bars.append(at_most(f"trigger_to_coil_p{q}_beside_detector_ms", percentile(coil_ms, q), limit, "ms", note))
    bars.append(at_most("parts_without_coil", parts - len(coil_ms), 0, "parts", "the PLC waits a second for each"))
    return bars


def _every_frame(figures: dict[str, Any]) -> Any:
    def step(quick: bool) -> list[Bar] | str:
        """30 frames a second"""
        with tempfile.TemporaryDirectory(prefix="edgeapp-bench-station-") as name:
            return asyncio.run(_measure_frames(Path(name), _FPS * (6 if quick else 60), figures))

    return step


async def _measure_frames(folder: Path, frames: int, figures: dict[str, Any]) -> list[Bar]:
    run = _Run()
    pictures = await _draw(_PICTURES)
    async with AsyncExitStack() as stack:
        line = await run.open(stack, folder)
        camera = _Camera(pictures)
        seeing = asyncio.create_task(line.run(camera))
        await camera.run(frames, _FPS)
        await asyncio.wait_for(seeing, 10)
        await asyncio.sleep(_SETTLE_S)
    told = Counter(each.frame_number for each in run.told)
    outcomes = Counter(str(each.outcome) for each in run.told)
    late = sum(each.decided_ns > each.due_ns for each in run.told)
    found = verify(folder)
    figures |= {"frames": frames, "frames_outcomes": dict(outcomes), "frames_told_late": late}
    inspected = outcomes["PASS"] + outcomes["FAIL"]
    note = f"{frames} frames, {inspected} inspected ({100 * inspected / frames:.1f} %); {_said(outcomes)}"
    return [
        at_most("frames_without_a_verdict", frames - len(told), 0, "frames", note),
        at_most("frames_with_two_verdicts", sum(each > 1 for each in told.values()), 0, "frames"),
        at_most("rows_missing", frames - found.verdicts if found.ok else frames, 0, "rows", "the ledger verifies"),
    ]


def _outputs(figures: dict[str, Any]) -> Any:
    def step(quick: bool) -> list[Bar] | str:
        """the outputs alone"""
        found = asyncio.run(station_outputs(100 if quick else 500))
        figures["outputs"] = {name: value for name, value in found.items() if isinstance(value, dict)}
        note = "told: {tell_us[p50]:.0f} us; edge to line {edge_to_line_us[p50]:.0f} us; a bare read {bare_read_ms[p50]:.2f} ms"
        return [
            at_most(
                "coil_to_bit_without_detector_p50_ms", found["coil_to_bit_ms"]["p50"], 10, "ms", note.format(**found)
            )
        ]

    return step


def _said(outcomes: Counter[str]) -> str:
    return ", ".join(f"{outcomes[each]} {each}" for each in map(str, Outcome))
