"""`edgeapp bench voice --sound-card`: the kiosk on real PortAudio streams, timed by a recording and not by what it believes.

The sound card is one of null sinks (bench/null_card.py). Both sides are recorded on one clock, so the delay of a reply is
a difference of two places in one recording. Beside it stands what the application believed: from when its microphone says
the last voiced sample was captured to when its loudspeaker says the reply is audible.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgeapp import config as settings
from edgeapp.apps.kiosk import open_conversation, open_sound
from edgeapp.apps.process import until_stopped
from edgeapp.apps.wiring import Parts
from edgeapp.bench.core import conditions
from edgeapp.bench.null_card import LIMIT_S, MICROPHONE, RATE_HZ, SPEAKER, NullCard, Server, null_card
from edgeapp.bench.recorded import Callbacks, at_rate, callbacks_of, first_loud, place_of
from edgeapp.bench.voice_run import answered, heard_of
from edgeapp.bench.voice_score import Heard
from edgeapp.bench.voice_turns import SpokenTurn
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, AudioChunk, DeviceError
from edgeapp.core.record import AnyRecord
from edgeapp.devices.sound_card import Request, Side, close_stream, open_stream
from edgeapp.observe.percentile import percentile

TURNS: Final = 10
TURNS_MAX: Final = 60  # at 10 s each, the most a card lasts for
_WATCHED_S: Final = 3.0  # the callbacks of streams that do nothing
_SETTLE_S: Final = 0.5  # what opening a stream delivers in a burst is not counted
_BEHIND_S: Final = 1.5  # the recording is behind the air
_KEPT_CHUNKS: Final = 6_000  # of what the microphone gave: a minute at 10 ms
_SAMPLE_NS: Final = 1_000_000_000 // SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Timed:
    """One turn, by the recording and by the application."""

    heard: Heard
    recorded_ms: float
    """From the last voiced sample in the air to the first audible one of the reply; nan without one."""

    whole: bool
    """Was the whole clip in the air, and in what the microphone gave?"""

    @property
    def counts(self) -> bool:
        """Can both be compared? A turn that was cut off or taken back has more than one reply."""
        return self.whole and self.heard.counts and not self.heard.false_commit and self.recorded_ms > 0

    @property
    def believed_ms(self) -> float:
        """The same by the application's own instants."""
        return self.heard.first_audible_ms


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    turns: Sequence[Timed]
    callbacks: dict[Side, Callbacks]
    dropped: int
    xruns: dict[Side, int]
    stated_ms: float
    """What the loudspeaker says that its buffers take."""

    said: Sequence[str]
    """Warnings of the devices, a lost and reopened one among them."""


def bench_sound_card(
    server: Server, config: settings.Config, material: Sequence[SpokenTurn], *, seed: int, out: Path
) -> int:
    """Hold the conversation, print what was recorded beside what was believed; 1 if no turn could be timed.

    Raises DeviceError if the callbacks do not come steadily here, ConfigError if the server cannot be had.
    """
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    console.print(conditions(quick=False))
    console.print("the air of null sinks has no echo: that the microphone does not hear the chirp is as it should be")
    outcome = until_stopped(_run(server, config, material, seed=seed, save=out / "sound_card.wav"))
    figures = _figures(outcome)
    console.print(_table(outcome))
    console.print(_summary(server, figures), highlight=False)
    for sentence in outcome.said:
        console.print(f"the devices said: {sentence}")
    console.print(f"sound: {out}/sound_card.wav (the person left, the device right, as it was in the air)")
    line = {"bench": "voice", "sound_card": server, "load": os.getloadavg()[0], "seed": seed}
    print(json.dumps(line | figures))
    return 0 if figures["timed"] else 1


async def _run(
    server: Server, config: settings.Config, material: Sequence[SpokenTurn], *, seed: int, save: Path
) -> Outcome:
    try:
        async with asyncio.timeout(LIMIT_S), null_card(server) as card:
            callbacks = await _watch(server)
            return await _converse(card, config, material, seed=seed, save=save, callbacks=callbacks)
    except TimeoutError as error:
        raise DeviceError(f"the conversation was not over after {LIMIT_S} s: give fewer --turns") from error


async def _watch(server: Server) -> dict[Side, Callbacks]:
    """How the callbacks of both streams come while nothing else happens. Raises DeviceError if they do not come steadily."""
    loop, block_ms = asyncio.get_running_loop(), 10.0
    instants: dict[Side, list[int]] = {"microphone": [], "speaker": []}  # a few hundred of each

    def listener(side: Side) -> Any:
        def callback(data: NDArray[np.int16], *_: Any) -> None:
            if side == "speaker":
                data[:] = 0
            instants[side].append(time.monotonic_ns())

        return callback

    opened = []
    try:
        for side, name in (("microphone", MICROPHONE), ("speaker", SPEAKER)):
            request = Request(side, name, block_ms, 20.0, listener(side), lambda: None)  # type: ignore[arg-type]
            opened.append(await loop.run_in_executor(None, open_stream, request))
            await loop.run_in_executor(None, opened[-1].stream.start)
        await asyncio.sleep(_SETTLE_S)
        from_ns = time.monotonic_ns()
        await asyncio.sleep(_WATCHED_S)
        until_ns = time.monotonic_ns()
    finally:
        for each in opened:
            await close_stream(each.stream)
    seen = {side: callbacks_of(each, round(block_ms * MS), from_ns, until_ns) for side, each in instants.items()}
    for side, callbacks in seen.items():
        if not callbacks.steady:
            raise DeviceError(
                f"PortAudio on {server}'s null sink does not run steadily here, so nothing was measured: "
                f"of the {side} came {callbacks} in {_WATCHED_S:g} s"
            )
    return seen


class Tapped:
    """Passes on what the microphone gives and keeps the newest of it. One reader."""

    def __init__(self, source: AsyncIterable[AudioChunk]) -> None:
        self._source = source
        self.kept: deque[AudioChunk] = deque(maxlen=_KEPT_CHUNKS)
        self.hung_up = False

    def __aiter__(self) -> AsyncIterator[AudioChunk]:
        return self._listen()

    async def _listen(self) -> AsyncIterator[AudioChunk]:
        async for chunk in self._source:
            if self.hung_up:
                return
            self.kept.append(chunk)
            yield chunk

    def captured_ns(self, clip: NDArray[np.int16], index: int, since_ns: int) -> int | None:
        """When the microphone says that a sample of a clip was captured; None if it did not give the whole clip."""
        chunks = [each for each in self.kept if each.ended_ns >= since_ns]
        if not chunks:
            return None
        place = place_of(clip, np.concatenate([each.samples for each in chunks]))
        left = place.first + index
        for chunk in chunks:
            if left <= len(chunk.samples):
                return chunk.ended_ns - (len(chunk.samples) - left) * _SAMPLE_NS if place.found else None
            left -= len(chunk.samples)
        return None


class _Sentences(logging.Handler):
    """What the devices warn of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: deque[str] = deque(maxlen=100)

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@dataclass(frozen=True)
class Said:
    """A turn as it was put into the air."""

    turn: SpokenTurn
    begun_ns: int
    begun_frame: int
    captured_ns: int | None
    """When the microphone says that its last voiced sample was captured."""


async def _converse(
    card: NullCard,
    config: settings.Config,
    material: Sequence[SpokenTurn],
    *,
    seed: int,
    save: Path,
    callbacks: dict[Side, Callbacks],
) -> Outcome:
    records: list[AnyRecord] = []
    said: list[Said] = []
    rng = np.random.default_rng(seed)
    sentences = _Sentences()
    logging.getLogger("edgeapp.devices").addHandler(sentences)
    try:
        async with AsyncExitStack() as stack:
            parts = Parts(stack, records.append)
            conversation = await open_conversation(config, parts)
            ear, mouth = await open_sound(settings.Audio(microphone=MICROPHONE, speaker=SPEAKER), parts)
            tapped = Tapped(ear)
            async with asyncio.TaskGroup() as both:
                both.create_task(conversation.listen(tapped, mouth))
                await asyncio.sleep(1.0)
                for turn in material:
                    begun_ns, begun_frame = now_ns(), card.frames
                    await card.say(at_rate(turn.samples, SAMPLE_RATE_HZ, RATE_HZ))
                    await answered(conversation, records, begun_ns + turn.last_voiced * _SAMPLE_NS)
                    captured_ns = tapped.captured_ns(turn.samples, turn.last_voiced, begun_ns)
                    said.append(Said(turn, begun_ns, begun_frame, captured_ns))
                    await asyncio.sleep(float(rng.uniform(0.3, 0.7)))
                await asyncio.sleep(_BEHIND_S)
                tapped.hung_up = True
            xruns: dict[Side, int] = {"microphone": ear.xruns, "speaker": mouth.xruns}  # type: ignore[attr-defined]
            dropped, stated_ms = ear.dropped, mouth.latency_ns / MS  # type: ignore[attr-defined]
    finally:
        logging.getLogger("edgeapp.devices").removeHandler(sentences)
    air = card.recording()
    _save(air, save)
    timed = timed_turns(said, records, air)
    return Outcome(timed, callbacks, dropped, xruns, stated_ms, tuple(sentences.said))


def timed_turns(said: Sequence[Said], records: Sequence[AnyRecord], air: NDArray[np.int16]) -> list[Timed]:
    """Find every turn in the recording, and the reply after it."""
    rows = [(each.turn, each.begun_ns, each.captured_ns or each.begun_ns) for each in said]
    found = []
    for number, (each, heard) in enumerate(zip(said, heard_of(rows, records), strict=True)):
        until = said[number + 1].begun_frame + RATE_HZ if number + 1 < len(said) else len(air)
        part = air[each.begun_frame : until]
        place = place_of(at_rate(each.turn.samples, SAMPLE_RATE_HZ, RATE_HZ), part[:, 0])
        last_voiced = place.first + each.turn.last_voiced * RATE_HZ // SAMPLE_RATE_HZ
        audible = first_loud(part[:, 1], place.first)
        recorded_ms = nan if audible is None else (audible - last_voiced) * 1e3 / RATE_HZ
        found.append(Timed(heard, recorded_ms, place.found and each.captured_ns is not None))
    return found


def _figures(outcome: Outcome) -> dict[str, Any]:
    timed = [each for each in outcome.turns if each.counts]
    figures: dict[str, Any] = {"turns": len(outcome.turns), "timed": len(timed)}
    for name, values in (
        ("recorded", [each.recorded_ms for each in timed]),
        ("believed", [each.believed_ms for each in timed]),
        ("recorded_above_believed", [each.recorded_ms - each.believed_ms for each in timed]),
    ):
        for rank in (50, 95):
            figures[f"{name}_p{rank}_ms"] = round(percentile(values, rank), 1) if values else None
    figures |= {
        "openers": sum(each.heard.final is not None and each.heard.final.opener for each in timed),
        "cut_off": sum(each.heard.cut_off for each in outcome.turns),
        "false_commits": sum(each.heard.false_commit for each in outcome.turns),
        "missed": sum(each.heard.missed for each in outcome.turns),
        "holed": sum(not each.whole for each in outcome.turns),
        "xruns": outcome.xruns,
        "dropped": outcome.dropped,
        "speaker_stated_ms": round(outcome.stated_ms, 1),
        "callbacks": {side: str(each) for side, each in outcome.callbacks.items()},
    }
    return figures


def _table(outcome: Outcome) -> Table:
    """Turn by turn."""
    table = Table(title="From the last voiced sample to the first audible one, ms", title_justify="left")
    for name in ("said", "voice", "pause", "heard", "recorded", "believed", "what"):
        table.add_column(name, justify="right" if name in {"recorded", "believed"} else "left")
    for each in outcome.turns:
        heard = each.heard
        words = heard.final.heard if heard.final else ""
        times = ["-" if isnan(ms) else f"{ms:.0f}" for ms in (each.recorded_ms, each.believed_ms)]
        table.add_row(heard.text, heard.voice, "yes" if heard.paused else "", words, *times, _what(each))
    return table


def _what(turn: Timed) -> str:
    """Why its times do not count, or what kind of reply it had."""
    heard = turn.heard
    kinds = (
        ("missed", heard.missed),
        ("cut off", heard.cut_off),
        ("taken back", heard.false_commit),
        ("a hole in the sound", not turn.whole),
        ("opener", heard.final is not None and heard.final.opener),
        ("misunderstood", not heard.understood and not heard.missed),
    )
    return ", ".join(name for name, holds in kinds if holds)


def _summary(server: Server, found: dict[str, Any]) -> str:
    lines = [f"PortAudio on {server}'s null sink, {found['timed']} of {found['turns']} turns timed"]
    for name, says in (
        ("recorded", "in the air, as recorded"),
        ("believed", "as the application believed"),
        ("recorded_above_believed", "recorded above believed, turn by turn"),
    ):
        if found["timed"]:
            lines.append(f"  {says}: p50 {found[f'{name}_p50_ms']:.0f} ms, p95 {found[f'{name}_p95_ms']:.0f} ms")
    xruns = ", ".join(f"{count} of the {side}" for side, count in found["xruns"].items())
    lines.append(
        f"  xruns: {xruns}; blocks dropped: {found['dropped']}; turns with a hole in the sound: {found['holed']}"
    )
    lines.append(f"  the loudspeaker's buffers, as its driver states them: {found['speaker_stated_ms']:.0f} ms")
    lines += [f"  {side}, watched before: {seen}" for side, seen in found["callbacks"].items()]
    return "\n".join(lines)


def _save(air: NDArray[np.int16], path: Path) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, air, RATE_HZ, subtype="PCM_16")
