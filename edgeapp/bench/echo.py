"""`edgeapp bench echo`: does our voice interrupt itself, and does it stop for people? Simulated rooms, virtual time.

The kiosk's own parts from the sound card inwards: loudspeaker, room, microphone, echo canceller, Silero VAD, interruption
rule, all but the words. Every instant is virtual, so an hour of talk takes minutes and a seed gives the same hour again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.bench.core import Bar, at_most, run_bench
from edgeapp.bench.virtual import run
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, Clause
from edgeapp.core.lane import Lane
from edgeapp.demo.kiosk import recorded_questions
from edgeapp.devices.echo import Duplex, Echo
from edgeapp.devices.files import VirtualAudio
from edgeapp.devices.room import Room
from edgeapp.engines import tts_espeak, vad_silero
from edgeapp.voice.endpoint import Framer
from edgeapp.voice.interruption import DUCKED_GAIN, Act, Interruption, InterruptionRule

Samples = NDArray[np.int16]

COUPLINGS_DB: Final = (-20.0, -15.0, -10.0, -6.0)
JUDGED_DB: Final = -10.0
"""What both bars are about."""

ROOMS: Final = (
    Room(size_m=(3.0, 3.0, 2.5), reverberation_s=0.2, apart_m=0.15, seed=1),
    Room(size_m=(5.0, 4.0, 2.8), reverberation_s=0.35, apart_m=0.3, seed=2, delay_ms=35.0),
    Room(size_m=(8.0, 6.0, 3.0), reverberation_s=0.5, apart_m=0.3, seed=3, delay_ms=12.0, noise=20.0),
    Room(size_m=(12.0, 9.0, 3.5), reverberation_s=0.7, apart_m=0.6, seed=4, delay_ms=80.0),
)
"""An office, a living room, a shop with an air conditioner, a hall. Two stand where a driver's word is far off."""

REPLIES: Final = tuple(
    """
The hammer costs twelve euros fifty, and there are eight of them in stock, at the rear left. The hand saw hangs beside it.
We open at eight from Monday to Friday, and we close at six. On Saturday we are here from half past nine until two.
The power drill is at the rear center, next to the other power tools. It costs eighty nine euros, and three are left.
If you want to paint a wall, take the paint brush for four euros twenty from the front left, and do not forget the ladder.
Today one hundred and twelve parts passed, four failed because of a scratch, and one was not inspected.
""".strip().splitlines()
)
_PAUSE_S: Final = 0.8  # between two replies
_WITHIN_NS: Final = 300 * MS
_BLOCK: Final = SAMPLE_RATE_HZ // 100


@dataclass(frozen=True)
class Case:
    """One conversation in one room."""

    room: Room
    seconds: float
    """How long our voice talks to itself; 0 if it is spoken over."""

    over: str = ""
    """What is spoken over it: `people`, `coughs` or nothing."""

    echo: Echo = Echo.CANCEL
    seed: int = 0
    sounds: int = 15
    """How many sounds are spoken over our voice at most."""


@dataclass
class Heard:
    """What came of a case."""

    case: Case
    talked_s: float = 0.0
    """How long our voice sounded with nobody over it."""

    ducks: int = 0
    stops: int = 0
    resumes: int = 0
    took_ms: list[float | None] = field(default_factory=list)
    """For each sound over our voice: from its first voiced sample to our silence; None if our voice went on."""


def bench_echo(*, quick: bool, judged_alone: bool = False) -> int:
    """Measure both bars in every room and at every coupling, or only at the one they are about; 1 if one is missed, else 0."""
    couplings_db = (JUDGED_DB,) if judged_alone else COUPLINGS_DB
    heard = _all([each for each in _cases(quick=quick) if each.room.coupling_db in couplings_db])
    cancelled = [each for each in heard if each.case.echo is Echo.CANCEL]
    at = {db: [each for each in cancelled if each.case.room.coupling_db == db] for db in couplings_db}
    figures = {f"at_{db:g}_db": _figures(cases) for db, cases in at.items()}
    uncancelled = _figures([each for each in heard if each.case.echo is Echo.NONE])
    figures["without_cancellation"] = {
        name: uncancelled[name] for name in ("talked_min", "self_interruptions_per_hour")
    }
    return run_bench("echo", [lambda _: _bars(figures[f"at_{JUDGED_DB:g}_db"])], quick=quick, figures=figures)


def _bars(found: dict[str, float]) -> list[Bar]:
    """what was measured"""
    within = found["barge_in_within_300_ms"]
    return [
        at_most(
            "self_interruptions_per_hour_at_-10_db",
            found["self_interruptions_per_hour"],
            0,
            "",
            f"{found['talked_min']:g} min of talk in {len(ROOMS)} rooms; of {found['coughs']:g} coughs "
            f"{found['coughs_that_stop']:.0%} stop it",
        ),
        Bar(
            "barge_in_within_300_ms_at_-10_db",
            within,
            0.95,
            "share",
            within >= 0.95,
            f"of {found['barge_ins']:g}, silence at the loudspeaker; p50 {found['barge_in_p50_ms']:g}, "
            f"p95 {found['barge_in_p95_ms']:g} ms",
        ),
    ]


def _cases(*, quick: bool) -> list[Case]:
    """An hour at -10 dB and a quarter of it elsewhere; every recording once in every room; in a quick run a sixth."""
    cases = []
    for db in COUPLINGS_DB:
        for number, plain in enumerate(ROOMS):
            room = Room(
                plain.size_m,
                plain.reverberation_s,
                plain.apart_m,
                db,
                plain.delay_ms,
                noise=plain.noise,
                seed=plain.seed,
            )
            seconds = (900.0 if db == JUDGED_DB else 225.0) / (20 if quick else 1)
            parts = 1 if quick else 5 if db == JUDGED_DB else 1
            cases += [Case(room, seconds / parts, seed=number + 10 * part) for part in range(parts)]
            if not quick or db == JUDGED_DB or number % 2:
                sounds = 5 if quick else 15
                cases += [Case(room, 0.0, over, seed=number, sounds=sounds) for over in ("people", "coughs")]
    cases.append(Case(Room(coupling_db=JUDGED_DB, seed=5), 12.0 if quick else 60.0, echo=Echo.NONE))
    return cases


def _figures(heard: Sequence[Heard]) -> dict[str, float]:
    talked_s = sum(each.talked_s for each in heard if not each.case.over)
    stops = sum(each.stops for each in heard if not each.case.over)
    people = [took for each in heard if each.case.over == "people" for took in each.took_ms]
    coughs = [each for each in heard if each.case.over == "coughs"]
    count = sum(len(each.took_ms) for each in coughs)
    sure = [float("inf") if took is None else took for took in people] or [float("nan")]
    p50, p95 = (float(np.percentile(sure, share, method="higher")) for share in (50, 95))
    return {
        "talked_min": round(talked_s / 60, 1),
        "self_interruptions": stops,
        "self_interruptions_per_hour": round(stops * 3_600 / talked_s, 1) if talked_s else 0.0,
        "self_ducks_per_hour": round(
            sum(each.ducks for each in heard if not each.case.over) * 3_600 / max(talked_s, 1e-9), 1
        ),
        "barge_ins": len(people),
        "barge_in_within_300_ms": round(float(np.mean([took * MS <= _WITHIN_NS for took in sure])), 4),
        "barge_in_p50_ms": _finite(p50),
        "barge_in_p95_ms": _finite(p95),
        "coughs": count,
        "coughs_that_duck": sum(each.ducks for each in coughs),
        "coughs_that_stop": round(sum(each.stops for each in coughs) / max(1, count), 4),
    }


def _finite(ms: float) -> float:
    """JSON knows no infinity: -1 is never."""
    return round(ms) if np.isfinite(ms) else -1.0


def _all(cases: Sequence[Case]) -> list[Heard]:
    """Every case in a process of its own, as many at once as there are cores; the longest first."""
    order = sorted(cases, key=lambda case: -case.seconds)
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return list(pool.map(hold, order))


def hold(case: Case) -> Heard:
    """Hold one conversation on virtual time."""
    heard = Heard(case)
    run(_Talk(case, heard).hold())
    return heard


class _Talk:
    """One case under way."""

    def __init__(self, case: Case, heard: Heard) -> None:
        self._case, self._heard = case, heard
        self._rng = np.random.default_rng(case.seed)
        self._interruption = Interruption()
        self._speaking = ""  # the reply under way
        self._stopped = asyncio.Event()
        self._stopped_ns = 0

    async def hold(self) -> None:
        self._audio = VirtualAudio(block_samples=_BLOCK, room=self._case.room)
        duplex = Duplex(self._audio.heard(), self._audio.speaker, self._case.echo)
        await duplex.measure()
        async with vad_silero.load(vad_silero.Options(), Lane("vad")) as vad:
            listening = asyncio.create_task(self._listen(duplex, vad))
            await asyncio.sleep(0.5)
            await (self._be_spoken_over() if self._case.over else self._monologue())
            self._audio.hang_up()
            await listening

    async def _listen(self, duplex: Duplex, vad: vad_silero.SileroVad) -> None:
        framer, speaker, threshold = Framer(), self._audio.speaker, InterruptionRule().threshold
        async for chunk in duplex:
            for frame in framer.feed(chunk):
                speech = await vad(frame.samples) >= threshold
                if not self._speaking:
                    continue
                act = self._interruption.feed(
                    speech=speech, echo_share=frame.echo_share, words="", own_words=self._speaking
                )
                if act is Act.DUCK:
                    self._heard.ducks += 1
                    speaker.duck(DUCKED_GAIN)
                elif act is Act.RESUME:
                    self._heard.resumes += 1
                    speaker.duck(1.0)
                elif act is Act.STOP:
                    self._heard.stops += 1
                    speaker.cut()
                    # The block under way, and what a sound card has in its buffers already.
                    self._stopped_ns = now_ns() + _BLOCK * 1_000_000_000 // SAMPLE_RATE_HZ + speaker.latency_ns
                    self._speaking = ""
                    self._stopped.set()

    async def _say(self, text: str) -> None:
        """Say a reply to its end, or to where it is stopped."""
        samples, rate_hz = _voice(text)
        self._interruption.forget()
        self._stopped.clear()
        self._speaking = text
        await self._audio.speaker.play(samples, rate_hz)
        before_ns = now_ns()
        await self._audio.speaker.drained()
        self._speaking = ""
        self._heard.talked_s += (now_ns() - before_ns) / 1e9

    async def _monologue(self) -> None:
        replies = cycle(self._rng.permutation(len(REPLIES)).tolist())
        while self._heard.talked_s < self._case.seconds:
            await self._say(REPLIES[next(replies)])
            await asyncio.sleep(_PAUSE_S)

    async def _be_spoken_over(self) -> None:
        """Every sound once, each over a reply of its own."""
        sounds = _people() if self._case.over == "people" else _coughs(self._rng)
        first = self._case.seed * self._case.sounds % len(sounds)  # so that few sounds are others in each room
        for number, (sound, first_voiced) in enumerate((sounds[first:] + sounds[:first])[: self._case.sounds]):
            stops = self._heard.stops
            saying = asyncio.create_task(self._say(REPLIES[number % len(REPLIES)]))
            await asyncio.sleep(self._rng.uniform(1.0, 3.0))
            if self._heard.stops > stops:  # it stopped for nobody, which the monologues count
                self._heard.took_ms.append(None)
            else:
                began_ns = await self._audio.say(sound, first_voiced)
                await asyncio.sleep(len(sound) / SAMPLE_RATE_HZ + 0.3)
                stopped = self._heard.stops > stops
                self._heard.took_ms.append((self._stopped_ns - began_ns) / MS if stopped else None)
            self._audio.speaker.cut()
            await saying
            await asyncio.sleep(_PAUSE_S)


@cache
def _voice(text: str) -> tuple[Samples, int]:
    """Our own voice, and its rate; a process synthesizes each reply once."""

    async def speak() -> tuple[Samples, int]:
        async with tts_espeak.load(tts_espeak.Options(), Lane("tts")) as voice:
            parts = [part async for part in await voice(Clause(text))]
        return np.concatenate([part.samples for part in parts]), parts[0].sample_rate_hz

    # On a loop of a thread of its own: this one's time is virtual.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, speak()).result()


@cache
def _people() -> list[tuple[Samples, int]]:
    """The recorded questions, each with the index of its first voiced sample: within 40 dB of its loudest 10 ms."""
    return [(question.samples, _first_voiced(question.samples)) for question in recorded_questions()]


def _first_voiced(samples: Samples) -> int:
    whole = len(samples) // _BLOCK * _BLOCK
    energy = np.mean(samples[:whole].reshape(-1, _BLOCK).astype(np.float64) ** 2, axis=1)
    return int(np.argmax(energy >= energy.max() * 1e-4)) * _BLOCK


def _coughs(rng: np.random.Generator) -> list[tuple[Samples, int]]:
    """Fifteen coughs: one or two bursts of breath noise through a throat, 180 to 300 ms each, as loud as the questions."""
    return [(_cough(rng, 1 + number % 2), 0) for number in range(15)]


def _cough(rng: np.random.Generator, bursts: int) -> Samples:
    pieces = []
    for _ in range(bursts):
        at = np.arange(round(rng.uniform(0.18, 0.3) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        envelope = np.minimum(at / 0.008, 1) * (np.exp(-at / 0.03) + 0.45 * np.exp(-at / 0.09))
        hz = np.fft.rfftfreq(len(at), 1 / SAMPLE_RATE_HZ)
        throat = 1 / (1 + ((hz - rng.uniform(500, 1_100)) / 500) ** 2) + 0.25 * np.exp(-(((hz - 2_600) / 1_500) ** 2))
        burst = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(at))) * throat, len(at))
        pieces += [burst / np.abs(burst).max() * envelope, np.zeros(round(rng.uniform(0.08, 0.18) * SAMPLE_RATE_HZ))]
    cough = np.concatenate(pieces)
    samples: Samples = np.rint(cough / np.abs(cough).max() * 8_000).astype(np.int16)
    return samples
