"""A model's golden set: cases with known answers, asked of the engine that is about to serve.

Hashes say that the bytes are right; only running them says that this machine makes of them what their maker saw. A set
is a JSON file beside its pictures and sounds, read strictly:

    {"task": "detect" | "reply" | "transcribe" | "voice" | "speak", "at_least": 0.9, "cases": [...], "note": "..."}

`at_least` is the share of cases that must be right, above one half. The most telling cases come first: at boot only as
many run as the time allows. What a case holds, and when it is right, stands at its type below.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import (
    SAMPLE_RATE_HZ,
    BackendError,
    Box,
    CameraFrame,
    Clause,
    ConfigError,
    Prompt,
    TimestampKind,
    Utterance,
)
from edgeapp.models.manifest import Model, check_path

RULE_SCORE: Final = 0.25
"""Boxes below it do not count: the score of the station's rule and of the engine unless configured otherwise."""

SCORE_MARGIN: Final = 0.1
"""Quantisation and other kernels move scores: a box this near to the least score may be seen or not."""

IOU_LEAST: Final = 0.5
_MAX_BYTES: Final = 4_000_000
_MAX_CASES: Final = 500
_CASE_LIMIT_S: Final = 30.0
"""No case takes longer on a machine that is good for anything; one that does is wrong."""

_CHUNK_SAMPLES: Final = 512
_VOICE_RIGHT: Final = 0.9  # of a clip's chunks: at the edges of speech two good detectors differ


class ExpectedBox(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A box that the model's maker saw."""

    label: str
    xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the picture."""

    score: float


class DetectCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Right: every box well above the least score is seen (same label, IoU >= 0.5), and none well above it is new."""

    image: str
    """A picture beside the set."""

    boxes: list[ExpectedBox]
    size_px: int = 0
    """The export that the boxes are of; 0 fits all. A build with another input size passes the case over."""


class ReplyCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Right: the reply is `reply`, or, where that is empty, it has all of `has` in it, whatever their case."""

    facts: list[str]
    """The lines of `Prompt.system`; an empty one is the seam before the live facts."""

    question: str
    reply: str = ""
    has: list[str] = []


class TranscribeCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Right: the same words in lower case without punctuation. An empty text is speech that must be refused."""

    audio: str
    """Mono FLAC or WAV at 16 kHz beside the set."""

    text: str


class VoiceCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Right: of the chunks of 32 ms, 9 of 10 are above 0.5 where there is speech and below it where there is none."""

    audio: str
    speech_ms: list[tuple[float, float]]
    """Where the speech is: from, to; chunks within 32 ms of such an edge do not count."""


class SpeakCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Right: it lasts as long as people take for it, and is neither silent nor noise at full scale."""

    text: str
    seconds: tuple[float, float]
    """The shortest and the longest it may last."""

    rms: tuple[float, float] = (300.0, 12_000.0)
    """The loudness it may have, in steps of 16 bits."""


Case = DetectCase | ReplyCase | TranscribeCase | VoiceCase | SpeakCase


class _Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="task"):
    at_least: float
    note: str = ""


class _Detect(_Set, frozen=True, tag="detect", kw_only=True):
    cases: list[DetectCase]


class _Reply(_Set, frozen=True, tag="reply", kw_only=True):
    cases: list[ReplyCase]


class _Transcribe(_Set, frozen=True, tag="transcribe", kw_only=True):
    cases: list[TranscribeCase]
    grammar: list[str] = []
    """What an engine with a grammar listens for meanwhile; empty means the texts of the cases."""


class _Voice(_Set, frozen=True, tag="voice", kw_only=True):
    cases: list[VoiceCase]


class _Speak(_Set, frozen=True, tag="speak", kw_only=True):
    cases: list[SpeakCase]


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Cases, read and checked."""

    folder: Path
    cases: tuple[Case, ...]
    at_least: float
    sha256: str
    """Of the set's file and of every file its cases name, in their order."""

    grammar: tuple[str, ...] = ()
    """What a recogniser with a grammar listens for meanwhile."""

    def cases_for(self, size_px: int) -> list[Case]:
        """The cases that an engine whose input has `size_px` is asked; all of them if it has none (0)."""
        return [case for case in self.cases if not size_px or getattr(case, "size_px", 0) in {0, size_px}]


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of running a golden set."""

    model: str
    """The model's name, or its file's where it has several builds, or the engine's."""

    cases: int
    """How many were asked."""

    of: int
    """How many the set has."""

    right: int
    allowed: int
    """How many of the whole set may be wrong."""

    worst: str
    """The case that was furthest from right, and what was wrong; empty if all were right."""

    took_s: float
    set_sha256: str

    @property
    def ok(self) -> bool:
        """Not more wrong than the whole set allows, and more right than wrong."""
        wrong = self.cases - self.right
        return wrong <= self.allowed and self.right > wrong


Check = Callable[[Model, Path], Examined | None]
"""`check(model, folder)`: load the model's files from `folder` as an application would and run its golden set.

Blocking, without a running loop. Returns what came of it, or None if there is no golden set for such a model; raises
ConfigError, one sentence, if the model does not load, or answers wrongly, or its golden set is not right.
"""


def read_golden(path: Path) -> GoldenSet:
    """Read a set: its JSON file, or its folder with a `golden.json`. Raises ConfigError that names the case."""
    file = path / "golden.json" if path.is_dir() else path
    try:
        content = file.read_bytes()[:_MAX_BYTES]
        found = msgspec.json.decode(content, type=_Detect | _Reply | _Transcribe | _Voice | _Speak)
    except OSError as error:
        raise ConfigError(
            f"the golden set {file} cannot be read ({error.strerror}); install the model again"
        ) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not a golden set: {error}") from error
    if not 0.5 < found.at_least <= 1:
        raise ConfigError(f"{file}: at_least is {found.at_least}; give a share above 0.5 and at most 1")
    if not 1 <= len(found.cases) <= _MAX_CASES:
        raise ConfigError(f"{file}: {len(found.cases)} cases; give 1 to {_MAX_CASES}")
    digest = hashlib.sha256(content)
    for number, case in enumerate(found.cases):
        name = case.image if isinstance(case, DetectCase) else getattr(case, "audio", "")
        if name:
            check_path(name, f"{file}: case {number}")
            try:
                digest.update((file.parent / name).read_bytes())
            except OSError as error:
                raise ConfigError(f"{file}: case {number}: {name} cannot be read ({error.strerror})") from error
    grammar: tuple[str, ...] = ()
    if isinstance(found, _Transcribe):
        grammar = tuple(found.grammar) or tuple(sorted({case.text for case in found.cases if case.text}))
    return GoldenSet(file.parent, tuple(found.cases), found.at_least, digest.hexdigest(), grammar)


async def examine(
    golden: GoldenSet,
    engine: Any,
    name: str,
    *,
    confidence: float = RULE_SCORE,
    budget_s: float | None = None,
) -> Examined:
    """Ask `engine` the cases in their order, until the set cannot pass any more or `budget_s` is over.

    At least one case is asked, and after the budget as many more as it takes until most are right or too many are
    wrong: a busy machine refuses nothing that an idle one accepts. `confidence` is the detector's own least score;
    cases of another input size than its `size_px` are passed over. An engine with `use_grammar` gets the set's, and
    with `forget` is told to forget what it heard. What the engine does wrong in a case is a wrong case. Raises
    ConfigError if a case cannot be read or none is of this size, BackendError if the engine fails between cases.
    """
    loop = asyncio.get_running_loop()
    size_px = getattr(engine, "size_px", 0)
    cases = golden.cases_for(size_px)
    if not cases:
        raise ConfigError(f"the golden set of {name} has no case for {size_px} px; make it with that build too")
    begun = loop.time()
    if hasattr(engine, "use_grammar"):
        await engine.use_grammar(golden.grammar)
    allowed = int((1 - golden.at_least) * len(cases) + 1e-9)
    asked = right = 0
    worst, least = "", 1.0
    for number, case in enumerate(cases):
        score, why = await _ask(case, golden.folder, engine, confidence, -1 - number)
        asked += 1
        right += not why
        if why and (score < least or not worst):
            worst, least = why, score
        wrong = asked - right
        over = budget_s is not None and loop.time() - begun > budget_s
        if wrong > allowed or (over and right > wrong):
            break
    if hasattr(engine, "forget"):
        await engine.forget()
    return Examined(name, asked, len(cases), right, allowed, worst, loop.time() - begun, golden.sha256)


async def _ask(case: Case, folder: Path, engine: Any, confidence: float, number: int) -> tuple[float, str]:
    """How right one case was (0 to 1), and what was wrong; empty if nothing was."""
    name = _name(case)
    try:
        async with asyncio.timeout(_CASE_LIMIT_S):
            match case:
                case DetectCase():
                    score, why = await _detect(case, folder, engine, confidence)
                case ReplyCase():
                    score, why = await _reply(case, engine)
                case TranscribeCase():
                    score, why = await _transcribe(case, folder, engine, number)
                case VoiceCase():
                    score, why = await _voice(case, folder, engine)
                case SpeakCase():
                    score, why = await _speak(case, engine)
    except BackendError as error:
        return 0.0, f"{name}: {error}"
    except TimeoutError:
        return 0.0, f"{name}: no answer within {_CASE_LIMIT_S:g} s"
    return score, f"{name}: {why}" if why else ""


def _name(case: Case) -> str:
    match case:
        case DetectCase():
            return case.image
        case TranscribeCase() | VoiceCase():
            return case.audio
        case ReplyCase():
            return repr(case.question)
        case SpeakCase():
            return repr(case.text)


async def _detect(case: DetectCase, folder: Path, engine: Any, confidence: float) -> tuple[float, str]:
    import cv2

    pixels = cv2.imread(str(folder / case.image))
    if pixels is None:
        raise ConfigError(f"{folder / case.image} of the golden set is not a picture; install the model again")
    frame = CameraFrame(pixels, 0, 0, "golden set", TimestampKind.FILE)
    found = (await engine(frame)).boxes
    sure = max(confidence, RULE_SCORE) + SCORE_MARGIN
    missing = [box for box in case.boxes if box.score >= sure and not _seen(box, found)]
    new = [box for box in found if box.score >= sure and not any(_same(each, box) for each in case.boxes)]
    count = max(len(case.boxes), len(found), 1)
    why = [f"{box.label} not seen" for box in missing] + [f"{box.label} seen where none is" for box in new]
    return 1 - min(1.0, (len(missing) + len(new)) / count), ", ".join(why[:3])


def _seen(box: ExpectedBox, found: Sequence[Box]) -> bool:
    return any(_same(box, each) for each in found)


def _same(expected: ExpectedBox, found: Box) -> bool:
    left, top, right, bottom = expected.xyxy
    width = min(right, found.right) - max(left, found.left)
    height = min(bottom, found.bottom) - max(top, found.top)
    if expected.label != found.label or not (width > 0 and height > 0):
        return False
    both = width * height
    areas = (right - left) * (bottom - top) + (found.right - found.left) * (found.bottom - found.top)
    return both / (areas - both) >= IOU_LEAST


async def _reply(case: ReplyCase, engine: Any) -> tuple[float, str]:
    pieces = [piece async for piece in await engine(Prompt("\n".join(case.facts), (), case.question))]
    said = "".join(pieces).strip()
    if case.reply:
        return _likeness(said, case.reply), "" if said == case.reply else f"said {said[:80]!r}, not {case.reply!r}"
    missing = [each for each in case.has if each.lower() not in said.lower()]
    why = f"said {said[:80]!r}, without {missing[0]!r}" if missing else "" if said else "said nothing"
    return 1 - len(missing) / max(len(case.has), 1), why


async def _transcribe(case: TranscribeCase, folder: Path, engine: Any, number: int) -> tuple[float, str]:
    samples = _clip(folder / case.audio)
    if hasattr(engine, "hear"):  # in the kiosk's own small bites
        for begin in range(0, samples.size, _CHUNK_SAMPLES):
            await engine.hear(number, samples[begin : begin + _CHUNK_SAMPLES])
    heard = (await engine(Utterance(number, samples, 0))).text
    heard, text = _words(heard), _words(case.text)
    return _likeness(heard, text), "" if heard == text else f"heard {heard[:80]!r}, not {text!r}"


async def _voice(case: VoiceCase, folder: Path, engine: Any) -> tuple[float, str]:
    samples = _clip(folder / case.audio)
    engine.reset()
    hits = []
    chunk_ms = _CHUNK_SAMPLES / SAMPLE_RATE_HZ * 1e3
    for number in range(samples.size // _CHUNK_SAMPLES):
        probability = await engine(samples[number * _CHUNK_SAMPLES : (number + 1) * _CHUNK_SAMPLES])
        begin_ms, end_ms = (number - 1) * chunk_ms, (number + 2) * chunk_ms
        inside = any(begin <= begin_ms and end_ms <= end for begin, end in case.speech_ms)
        outside = all(end_ms <= begin or end <= begin_ms for begin, end in case.speech_ms)
        if inside or outside:
            hits.append(probability > 0.5 if inside else probability <= 0.5)
    engine.reset()
    share = sum(hits) / max(len(hits), 1)
    return share, "" if share >= _VOICE_RIGHT else f"{share:.0%} of its chunks are right"


async def _speak(case: SpeakCase, engine: Any) -> tuple[float, str]:
    parts = [part async for part in await engine(Clause(case.text))]
    samples = np.concatenate([part.samples for part in parts]) if parts else np.zeros(0, np.int16)
    seconds = samples.size / parts[0].sample_rate_hz if parts else 0.0
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64))))) if samples.size else 0.0
    if not case.seconds[0] <= seconds <= case.seconds[1]:
        return 0.0, f"lasts {seconds:.2f} s instead of {case.seconds[0]:g} to {case.seconds[1]:g}"
    if not case.rms[0] <= rms <= case.rms[1]:
        return 0.0, f"has a loudness of {rms:.0f} instead of {case.rms[0]:g} to {case.rms[1]:g}"
    return 1.0, ""


def _clip(file: Path) -> NDArray[np.int16]:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"golden sounds need the package soundfile: pip install 'edgeapp[voice]' ({error})"
        ) from error
    try:
        samples, rate_hz = soundfile.read(file, dtype="int16")
    except soundfile.LibsndfileError as error:
        raise ConfigError(f"{file} of the golden set is not a sound ({error}); install the model again") from error
    if rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1:
        raise ConfigError(f"{file} of the golden set must be mono at {SAMPLE_RATE_HZ} Hz; make it again")
    clip: NDArray[np.int16] = samples
    return clip


def _words(text: str) -> str:
    return " ".join("".join(sign if sign.isalnum() or sign == "'" else " " for sign in text.lower()).split())


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
