"""Speech by Piper's voices (VITS in ONNX Runtime): the first audio does not wait for the clause, and loudness is one for the voice.

Piper makes one piece of audio a sentence and scales each piece to full peak, so clauses would jump in loudness; here
nothing is normalised, and one gain is measured when the voice loads. A voice is two files, NAME.onnx and NAME.onnx.json.
Piper is GPL-3.0-or-later and phonemises with espeak-ng.

Its graph is cut (`models/cut_voice.py`) before its flow and before its vocoder's upsampling, and both run in windows, each
as far as the next samples need it; what a window's ends spoilt is thrown away, and the rest joins without a seam. Noise is
drawn before the first cut.

A window is bit-identical to the whole: ONNX Runtime sums a product in another order when it has 64 columns or less, so
no window is that short unless the whole is. A voice proves it at load on a sentence of its own; one that cannot has its
vocoder alone in windows, or speaks whole phrases, and says so.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np

from edgeapp.core.events import BackendError, Clause, ConfigError, Speech
from edgeapp.core.stream import Stream
from edgeapp.models.cut_voice import Part, Window, models_of, parts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.lane import Lane

    Floats = NDArray[np.float32]

T = TypeVar("T")

_CLAUSE_CHARS_MAX: Final = 100  # about 7 s of speech: the longest bite
_LEAD_MS: Final = 5  # of silence that stays before the first sound
_SOUND: Final = 0.01  # louder than this (of 1.0) is sound: -40 dB
_CALIBRATION: Final = "The quick brown fox is at the front left, and it costs 12 euros."
_CALIBRATED_PEAK: Final = 0.7  # leaves 3 dB for sentences that are louder than the calibration
_FIRST_MS: Final = 100  # of the first window: less is hardly sooner, for its margin costs as much
_LONGEST_MS: Final = 1_600  # of a window: the margins are then a tenth of the work. Each is twice the one before
_PROOF_MS: Final = 300  # of a window in the proof: many joints, and yet not all margins
_COLUMNS_A_THREAD: Final = 80  # above the 64 of MLAS's blocks, with what a partition into sixteens may take away
_SMALLEST: Final = 1 / 32_768  # one step of int16


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[tts]` of the configuration."""

    voice: str
    """Path of the voice's .onnx file; its .onnx.json lies beside it."""

    gain: float = 0.0
    """Loudness as a factor; 0 measures it once at load, so that a calibration sentence peaks at 0.7 of full scale."""

    speed: float = 1.0
    """0.5 is half as fast, 2 twice as fast as the voice's own."""

    speaker: int = 0
    """The speaker of a voice that has several."""

    split: bool = True
    """Give out the first audio before the phrase is done; false synthesizes whole phrases."""

    threads: int = 1
    """Threads of one inference."""

    device: str = "cpu"
    """`cpu` or `cuda`."""


class _Stage:
    """One part of a split voice, in a session of its own."""

    def __init__(self, session: Any, part: Part, threads: int) -> None:
        self._session = session
        self.part = part
        self.least = _COLUMNS_A_THREAD * threads
        """Steps of a window, if there are so many."""

    def run(self, source: Floats, beside: dict[str, Floats], window: Window, handle: Any) -> Floats:
        """What is kept of one window of `source`, shape (1, channels, steps). Raises BackendError if it fails."""
        part, given = self.part, {self.part.source: source} | {name: beside[name] for name in self.part.beside}
        try:
            cut = {
                name: each if each.shape[-1] == 1 else np.ascontiguousarray(each[..., window.start : window.stop])
                for name, each in given.items()
            }
            made: Floats = self._session.run(None, cut, handle)[0]
        except Exception as error:  # ONNX Runtime has no exception of its own
            raise BackendError(f"tts_piper failed on {window.stop - window.start} steps: {error}") from error
        return made[..., (window.begin - window.start) * part.hop : (window.end - window.start) * part.hop]


class _Sentence:
    """One sentence on its way from the encoder to samples: of each stage's tensor, what there is so far."""

    def __init__(self, stages: list[_Stage], encoded: dict[str, Floats]) -> None:
        """`encoded` is what the front makes: the first stage's source and what goes beside, or the samples."""
        latent = next(iter(encoded.values()))
        self._stages = stages
        self._encoded = encoded
        self._steps: list[int] = [latent.shape[-1]]  # of the encoder's tensor and each stage's, once they are whole
        for stage in stages:
            self._steps.append(self._steps[-1] * stage.part.hop)
        self._tensors = [latent] + [latent[..., :0]] * len(stages)

    @property
    def samples(self) -> int:
        """Of the whole sentence."""
        return self._steps[-1]

    @property
    def spoken(self) -> Floats:
        """The samples so far."""
        return self._tensors[-1].reshape(-1)

    def anew(self) -> _Sentence:
        """The same, with nothing spoken."""
        return _Sentence(self._stages, self._encoded)

    def speak(self, chunk: int) -> None:
        """All of it, `chunk` samples at a time. Blocking."""
        for end in range(chunk, self.samples + chunk, chunk):
            for bite in self.until(end):
                bite(None)

    def until(self, end: int) -> Iterator[Callable[[Any], None]]:
        """The inferences that bring the samples to `end` at least, each to be run before the next is asked for."""
        return self._until(end, len(self._stages))

    def _until(self, end: int, level: int) -> Iterator[Callable[[Any], None]]:
        made = self._tensors[level].shape[-1]
        if made >= min(end, self._steps[level]):
            return
        stage, last = self._stages[level - 1], level == len(self._stages)
        begin, need = made // stage.part.hop, -(-(end - made) // stage.part.hop)
        want = need if last else max(need, begin)  # the flow's margins are most of a second: as much again as there is
        window = stage.part.window(begin, want, self._steps[level - 1], stage.least)
        yield from self._until(window.stop, level - 1)
        yield partial(self._run, level, window)

    def _run(self, level: int, window: Window, handle: Any) -> None:
        more = self._stages[level - 1].run(self._tensors[level - 1], self._encoded, window, handle)
        before = self._tensors[level]
        self._tensors[level] = np.concatenate([before, more], axis=-1) if before.size else more


class PiperVoice:
    """One voice on one lane."""

    def __init__(self, library: Any, front: Any, stages: list[_Stage], options: Options, lane: Lane) -> None:
        """`front` is the session before the first of `stages`, or of the whole if there are none."""
        from onnxruntime import RunOptions

        self._library = library
        self._front = front
        self._names = [each.name for each in front.get_outputs()]
        self.stages = stages
        """What follows in windows; none if whole phrases are synthesized."""

        self._options = options
        self._lane = lane
        self._new_handle: Callable[[], Any] = RunOptions  # once its `terminate` is true, the run ends at its next node
        self._rate_hz: int = library.config.sample_rate
        self.gain = options.gain
        """The one factor between the network's output and the samples."""

    async def __call__(self, clause: Clause) -> Stream[Speech]:
        """Speak `clause` in parts (int16 at the voice's rate) as they are synthesized; none if nothing is sayable.

        Raises BackendError if Piper fails. Closing the stream ends the inference that is running.
        """
        return await Stream.start(self._parts(clause.text))

    async def _parts(self, text: str) -> AsyncGenerator[Speech, None]:
        begun = False
        async for samples in self._synthesize(text):
            audio = samples if begun else _without_lead(samples, self._rate_hz)
            if audio.size:
                begun = True
                scaled = np.clip(audio * np.float32(self.gain * 32767), -32767, 32767).astype(np.int16)
                yield Speech(scaled, self._rate_hz)

    async def _synthesize(self, text: str) -> AsyncGenerator[Floats, None]:
        """The network's own samples, -1 to 1: a window at a time, or a sentence if the voice is whole."""
        chunk_ms = _FIRST_MS
        for phrase in _phrases(text):
            for sentence in await self._bite(partial(self._encode, phrase), "tts"):
                done = 0
                while done < sentence.samples:  # each window gives a sample at least
                    for bite in sentence.until(done + chunk_ms * self._rate_hz // 1_000):
                        await self._bite(bite, "tts.chunk")
                    yield sentence.spoken[done:]
                    done, chunk_ms = sentence.spoken.size, min(2 * chunk_ms, _LONGEST_MS)

    async def _bite(self, work: Callable[[Any], T], label: str) -> T:
        """One inference on the lane; leaving it ends it."""
        handle = self._new_handle()
        try:
            return await self._lane.run(partial(work, handle), label=label)
        finally:
            handle.terminate = True

    def _encode(self, phrase: str, handle: Any = None) -> list[_Sentence]:
        """The sentences inside `phrase`, as far as the first session brings them."""
        card = self._library.config
        scales = np.array([card.noise_scale, card.length_scale / self._options.speed, card.noise_w_scale], np.float32)
        try:
            made = []
            for phonemes in self._library.phonemize(phrase):
                if phonemes:
                    ids = np.array([self._library.phonemes_to_ids(phonemes)], np.int64)
                    inputs = {"input": ids, "input_lengths": np.array([ids.size]), "scales": scales}
                    if card.num_speakers > 1:
                        inputs["sid"] = np.array([self._options.speaker])
                    tensors = zip(self._names, self._front.run(None, inputs, handle), strict=True)
                    made.append(_Sentence(self.stages, dict(tensors)))
        except Exception as error:  # Piper, its phonemiser and ONNX Runtime share no exception
            raise BackendError(f"tts_piper failed on a phrase of {len(phrase)} characters: {error}") from error
        return made

    def calibrate(self) -> float:
        """Speak a real sentence to nobody, and choose the gain by its peak if none was given. Blocking.

        Returns the largest difference between the sentence in windows and at once.
        """
        off, peak = 0.0, 0.0
        for at_once in self._encode(_CALIBRATION):
            in_windows = at_once.anew()
            at_once.speak(at_once.samples)
            in_windows.speak(self._rate_hz * _PROOF_MS // 1_000)
            off = max(off, float(np.abs(in_windows.spoken - at_once.spoken).max(initial=0.0)))
            peak = max(peak, float(np.abs(at_once.spoken).max(initial=0.0)))
        if self.gain == 0.0:
            self.gain = _CALIBRATED_PEAK / peak if peak > _SOUND else 1.0
        return off


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[PiperVoice]:
    """Open the voice, speak one sentence to nobody and measure the gain.

    Raises ConfigError for a missing package or file, a file that is not a Piper voice, or an option outside its range.
    """
    if not 0.25 <= options.speed <= 4:
        raise ConfigError(f"tts_piper: speed is {options.speed}; use 0.25 to 4")
    if not 0 <= options.gain <= 100:
        raise ConfigError(f"tts_piper: gain is {options.gain}; use a factor above 0, or 0 to measure it")
    if options.threads < 1:
        raise ConfigError(f"tts_piper: threads is {options.threads}; use 1 or more")
    if options.device not in {"cpu", "cuda"}:
        raise ConfigError(f"tts_piper: device is {options.device!r}; use cpu or cuda")
    yield await lane.run(lambda: _open(options, lane), label="load")


def _open(options: Options, lane: Lane) -> PiperVoice:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        from piper import PiperVoice as Library
        from piper.config import PiperConfig
    except ImportError as error:
        raise ConfigError(f"tts_piper needs the package {error.name}: pip install 'edgeapp[voice]'") from error
    model, card = Path(options.voice), Path(options.voice + ".json")
    for path in (model, card):
        if not path.is_file():
            raise ConfigError(f"tts_piper: there is no file {path}; a voice is NAME.onnx with NAME.onnx.json beside it")
    try:
        config = PiperConfig.from_dict(json.loads(card.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"tts_piper: {card} is not the card of a Piper voice ({error!r}); copy it again") from error
    if not 0 <= options.speaker < max(1, config.num_speakers):
        raise ConfigError(
            f"tts_piper: speaker is {options.speaker}, but {model} has {config.num_speakers}; count from 0"
        )
    if options.device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ConfigError(
            'tts_piper: this ONNX Runtime has no CUDAExecutionProvider; use device = "cpu" or install its GPU build'
        )
    library = Library(session=None, config=config)
    try:
        content = model.read_bytes()
        voice, why = _open_split(content, library, options, lane) if options.split else (None, "")
        voice = voice or _open_whole(content, library, options, lane)
    except BackendError as error:
        raise ConfigError(f"tts_piper: {model} and {card} do not belong together: {error}") from error
    except ConfigError:
        raise
    except Exception as error:  # a truncated file raises one of several unrelated exceptions
        raise ConfigError(f"tts_piper: {model} is not a readable ONNX file; copy it again ({error})") from error
    if why:
        how = "has only its vocoder in windows" if voice.stages else "speaks whole phrases"
        print(f"edgeapp: tts_piper: {model} {how}, so its first audio is late: {why}", file=sys.stderr)
    return voice


def _open_whole(content: bytes, library: Any, options: Options, lane: Lane) -> PiperVoice:
    front = _session(content, options)
    if not {"input", "input_lengths", "scales"} <= {each.name for each in front.get_inputs()}:
        raise ConfigError(
            f"tts_piper: {options.voice} is not a Piper voice: it needs the inputs input, input_lengths and scales"
        )
    voice = PiperVoice(library, front, [], options, lane)
    voice.calibrate()
    return voice


def _open_split(content: bytes, library: Any, options: Options, lane: Lane) -> tuple[PiperVoice | None, str]:
    """The voice with as much in windows as can be, or none; and why not all."""
    import onnx

    whole, why = onnx.load_model_from_string(content), ""
    for flow in (True, False):
        try:
            return _open_parts(whole, parts_of(whole.graph, flow=flow), library, options, lane), why
        except (ValueError, BackendError) as error:
            why = str(error)
    return None, why


def _open_parts(whole: Any, parts: list[Part], library: Any, options: Options, lane: Lane) -> PiperVoice:
    """The voice in these parts, proven on its own sound. Raises ValueError or BackendError if that fails."""
    try:
        front, *sessions = (_session(model.SerializeToString(), options) for model in models_of(whole, parts))
    except Exception as error:  # ONNX Runtime has no exception of its own
        raise ValueError(f"its parts cannot be loaded ({error})") from error
    stages = [_Stage(session, part, options.threads) for session, part in zip(sessions, parts, strict=True)]
    voice = PiperVoice(library, front, stages, options, lane)
    off = voice.calibrate()
    if off > _SMALLEST:
        raise ValueError(f"in windows it sounds different, by up to {off:.2g} of full scale")
    return voice


def _session(model: bytes, options: Options) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    # cuDNN would search anew for every length of audio: HEURISTIC asks its table.
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
    provider = cuda if options.device == "cuda" else "CPUExecutionProvider"
    return onnxruntime.InferenceSession(model, settings, providers=[provider])


def _phrases(text: str) -> list[str]:
    """One clause each, at most `_CLAUSE_CHARS_MAX` characters; `[[` would start Piper's raw phonemes."""
    spoken = "".join(sign if sign.isprintable() else " " for sign in text).replace("[[", "[ [")
    clauses = re.split(r"(?<=[.!?;:,])\s+", spoken)
    return [phrase for clause in clauses for phrase in textwrap.wrap(clause, _CLAUSE_CHARS_MAX)]


def _without_lead(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The samples from `_LEAD_MS` before the first sound on; empty if it is all silence."""
    loud = np.abs(audio) > _SOUND
    if not loud.any():
        return audio[:0]
    return audio[max(0, int(loud.argmax()) - rate_hz * _LEAD_MS // 1000) :]
