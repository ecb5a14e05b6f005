"""A conveyor that exists only as pictures: parts pass a camera, each pulls the trigger once, and the truth is known.

For `edgeapp demo qc` and for tests on a machine with no camera. The same seed gives the same parts on the same belt in the
same light. Pictures are drawn ahead in one thread, so the event loop never draws.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import CameraFrame, ConfigError, TimestampKind
from edgeapp.devices.line_view import (
    BELTS,
    SHIFTED_BELTS,
    Look,
    Placed,
    SeenDefect,
    SeenPart,
    draw_belt,
    random_look,
    take_picture,
)
from edgeapp.devices.parts import DEFECTS, PART_TYPES, Pose, draw_part

SIZE_PX: Final = 320
"""Frames are square, of the size the bundled detector was trained on."""

BELT_LENGTH_PX: Final = 2048
"""The belt joins end to end after so many pixels."""

PITCH_PX: Final = 420
"""How far the belt moves from one part to the next."""

AHEAD: Final = 8
"""How many pictures are drawn ahead: 8 pictures of 307 kB."""

DRAWS: Final = 6
"""How often a part is drawn until the defect it was dealt shows in the picture; then it passes as a sound part."""

MAX_PARTS: Final = 100_000
"""The truth about every part is kept (some hundred bytes each), so a run has a bound."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What runs over the belt, and how fast."""

    parts: int = 60
    """How many parts pass before the belt stops, 1 to 100,000."""

    parts_per_minute: float = 0.0
    """The pace; 0 means as fast as the frames are asked for."""

    defect_share: float = 0.4
    """The share of parts that have a defect, 0 to 1; the classes are dealt evenly."""

    seed: int = 1
    """Same seed, same parts, belt and light."""

    shifted: bool = False
    """A lamp and a belt that the bundled detector was not trained on."""

    source: str = "conveyor"
    """The camera's name in the frames."""


@dataclass(frozen=True, slots=True)
class Part:
    """The truth about one part that passed: what the demo prints beside the verdict."""

    number: int
    """Counts from 1 and equals the number of the part's frame."""

    kind: str
    """Part type."""

    box: tuple[int, int, int, int]
    """Where it lies in the frame: left, top, right, bottom in pixels."""

    defects: tuple[SeenDefect, ...]
    """The defects the frame shows, with their boxes; empty for a sound part."""


class Conveyor:
    """A running belt. Made by `start`; not thread-safe, lives on one loop."""

    def __init__(self, options: Options, belt: NDArray[np.uint8], look: Look, thread: ThreadPoolExecutor) -> None:
        self.options = options
        self.truth: dict[int, Part] = {}
        """What passed so far, by number; a part is in it before its frame is handed out."""
        self.late = 0
        """How often a picture was not drawn when its part reached the trigger, so that the part came late."""
        self.on_trigger: Callable[[], None] | None = None
        """Called when a part breaks the photo-eye's beam, just before its picture is taken."""
        self._belt = belt
        self._look = look
        self._thread = thread

    async def frames(self) -> AsyncIterator[CameraFrame]:
        """One triggered frame a part, at the pace of the options.

        `at_ns` is the moment the part reached the trigger: the frame of a reader who comes late is already old, as on a
        real line. At pace 0 the trigger is pulled when the reader asks. Timestamps always advance.
        """
        options, loop = self.options, asyncio.get_running_loop()
        drawing: deque[asyncio.Future[tuple[NDArray[np.uint8], Part]]] = deque()
        period_ns = round(60e9 / options.parts_per_minute) if options.parts_per_minute else 0
        trigger_ns = now_ns() if period_ns else now_ns() - 1
        for number in range(1, options.parts + 1):
            while len(drawing) < min(AHEAD, options.parts + 1 - number):
                ahead = number + len(drawing)
                drawing.append(loop.run_in_executor(self._thread, self._draw, ahead))
            drawn = drawing.popleft()
            if period_ns:
                trigger_ns += period_ns
                await sleep_until(trigger_ns)
                self.late += not drawn.done()
            in_time = bool(period_ns) and drawn.done()
            pixels, part = await drawn
            if not in_time:
                trigger_ns = max(now_ns(), trigger_ns + 1)
            self.truth[number] = part
            at_ns = trigger_ns
            if self.on_trigger:
                self.on_trigger()
                at_ns = max(now_ns(), trigger_ns)  # the sensor exposes when it is told to
            yield CameraFrame(pixels, at_ns, number, options.source, TimestampKind.FILE)

    def _draw(self, number: int) -> tuple[NDArray[np.uint8], Part]:
        """Draw part `number` at the trigger; takes about 15 ms of one core, in the conveyor's thread."""
        dealt = _deal_defect(self.options, number)
        for attempt in range(DRAWS):
            pixels, seen = self._photograph(number, dealt, attempt)
            if len(seen.defects) == len(dealt):
                break
        return pixels, Part(number, seen.kind, seen.box, seen.defects)

    def _photograph(self, number: int, dealt: tuple[str, ...], attempt: int) -> tuple[NDArray[np.uint8], SeenPart]:
        rng = np.random.default_rng([self.options.seed, 2, number, attempt])
        kind = PART_TYPES[int(rng.integers(len(PART_TYPES)))]
        radius = float(rng.uniform(96, 112)) * (1.0 if kind == "washer" else 1.12)
        pose = Pose(radius, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0.95, 1.0)))
        part = draw_part(rng, kind, dealt, pose, self._look.light, min_contrast=14.0)
        x, y = (SIZE_PX / 2 + rng.uniform(-14, 14, 2)).astype(int)
        moved = -(number * PITCH_PX) % BELT_LENGTH_PX
        belt = np.take(self._belt, range(moved, moved + SIZE_PX), axis=1, mode="wrap")
        pixels, seen = take_picture(rng, belt, [Placed(part, int(x), int(y))], self._look)
        return pixels, seen[0]


@asynccontextmanager
async def start(options: Options) -> AsyncIterator[Conveyor]:
    """Start the belt; on leaving, the drawing thread ends. Raises ConfigError on an option out of range."""
    if not 1 <= options.parts <= MAX_PARTS:
        raise ConfigError(f"parts is {options.parts}: set it from 1 to {MAX_PARTS}")
    if not 0 <= options.parts_per_minute <= 6000:
        raise ConfigError(f"parts_per_minute is {options.parts_per_minute}: set it from 0 (no pace) to 6000")
    if not 0 <= options.defect_share <= 1:
        raise ConfigError(f"defect_share is {options.defect_share}: set it from 0 to 1")
    if options.seed < 0:
        raise ConfigError(f"seed is {options.seed}: set it to 0 or more")
    thread = ThreadPoolExecutor(1, thread_name_prefix="conveyor")
    try:
        loop = asyncio.get_running_loop()
        belt, look = await loop.run_in_executor(thread, _set_up, options)
        yield Conveyor(options, belt, look, thread)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _set_up(options: Options) -> tuple[NDArray[np.uint8], Look]:
    """The belt (uint8 320 x BELT_LENGTH_PX x 3) and the light of this line."""
    # OpenCV's own thread pool would take the cores that the models need.
    cv2.setNumThreads(1)
    rng = np.random.default_rng([options.seed, 1])
    kinds = SHIFTED_BELTS if options.shifted else BELTS
    belt = draw_belt(rng, kinds[int(rng.integers(len(kinds)))], SIZE_PX, BELT_LENGTH_PX)
    return belt, random_look(rng, options.shifted)


def _deal_defect(options: Options, number: int) -> tuple[str, ...]:
    """Which defect part `number` gets: every class once in each round of six defective parts, in a shuffled order."""
    before = _defective_until(options, number - 1)
    if _defective_until(options, number) == before:
        return ()
    order = np.random.default_rng([options.seed, 3, before // len(DEFECTS)]).permutation(len(DEFECTS))
    return (DEFECTS[int(order[before % len(DEFECTS)])],)


def _defective_until(options: Options, number: int) -> int:
    """How many of the first `number` parts are defective: blocks of ten with the asked share, shuffled inside a block."""
    block, within = divmod(number, 10)
    share = options.defect_share * 10
    whole = int(share * block)
    here = int(share * (block + 1)) - whole
    flags = np.random.default_rng([options.seed, 4, block]).permutation(10) < here
    return whole + int(flags[:within].sum())
