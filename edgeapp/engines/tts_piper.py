"""Speech by the Piper library (VITS in ONNX Runtime), with our own thread count and one loudness for the whole voice.

Piper makes one piece of audio a sentence and scales each piece to full peak, so clauses would jump in loudness; here a
clause is one bite, nothing is normalised, and one gain is measured when the voice loads. A voice is two files, NAME.onnx
and NAME.onnx.json. Piper is GPL-3.0-or-later and phonemises with espeak-ng.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from edgeapp.core.events import BackendError, Clause, ConfigError, Speech
from edgeapp.core.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.lane import Lane

_CLAUSE_CHARS_MAX: Final = 100  # about 7 s of speech: the longest bite
_LEAD_MS: Final = 5  # of silence that stays before the first sound
_SOUND: Final = 0.01  # louder than this (of 1.0) is sound: -40 dB
_CALIBRATION: Final = "The quick brown fox is at the front left, and it costs 12 euros."
_CALIBRATED_PEAK: Final = 0.7  # leaves 3 dB for sentences that are louder than the calibration


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

    threads: int = 1
    """Threads of one inference."""

    device: str = "cpu"
    """`cpu` or `cuda`."""


class _Session:
    """What Piper sees as its ONNX session. Every bite brings its own stop handle, set by the bite itself."""

    def __init__(self, session: Any, new_handle: Any) -> None:
        self._session = session
        self.new_handle = new_handle
        """Makes a stop handle: once its `terminate` is true, the inference that carries it ends at its next operator."""

        self.handle: Any = new_handle()
        """The handle of the bite that is running."""

    def run(self, outputs: None, inputs: dict[str, NDArray[Any]]) -> Any:
        return self._session.run(outputs, inputs, self.handle)


class PiperVoice:
    """One voice on one lane."""

    def __init__(self, voice: Any, session: _Session, options: Options, lane: Lane) -> None:
        from piper import SynthesisConfig

        self._voice = voice
        self._session = session
        self._lane = lane
        self.gain = options.gain
        """The one factor between the network's output and the samples."""

        self._settings = SynthesisConfig(
            speaker_id=options.speaker,
            length_scale=voice.config.length_scale / options.speed,
            normalize_audio=False,
        )

    async def __call__(self, clause: Clause) -> Stream[Speech]:
        """Speak `clause`: one part (int16 at the voice's rate) for each clause inside it; none if nothing is sayable.

        Raises BackendError if Piper fails. Closing the stream ends the inference that is running.
        """
        return await Stream.start(self._parts(clause.text))

    async def _parts(self, text: str) -> AsyncGenerator[Speech, None]:
        rate_hz: int = self._voice.config.sample_rate
        begun = False
        for phrase in _phrases(text):
            handle = self._session.new_handle()
            try:
                audio = await self._lane.run(partial(self._bite, phrase, handle), label="tts")
            finally:
                handle.terminate = True
            audio = audio if begun else _without_lead(audio, rate_hz)
            if audio.size:
                begun = True
                scaled = np.clip(audio * np.float32(self.gain * 32767), -32767, 32767).astype(np.int16)
                yield Speech(scaled, rate_hz)

    def _bite(self, phrase: str, handle: Any) -> NDArray[np.float32]:
        """The network's own samples of one phrase, -1 to 1, shape (n,)."""
        self._session.handle = handle
        try:
            pieces = [piece.audio_float_array for piece in self._voice.synthesize(phrase, self._settings)]
        except Exception as error:  # Piper, its phonemiser and ONNX Runtime share no exception
            raise BackendError(f"tts_piper failed on a phrase of {len(phrase)} characters: {error}") from error
        audio: NDArray[np.float32] = np.concatenate([np.zeros(0, np.float32), *pieces])
        return audio

    def calibrate(self) -> None:
        """Run once with a real sentence, and choose the gain by its peak if none was given. Blocking."""
        peak = float(np.abs(self._bite(_CALIBRATION, self._session.new_handle())).max(initial=0.0))
        if self.gain == 0.0:
            self.gain = _CALIBRATED_PEAK / peak if peak > _SOUND else 1.0


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
        import onnxruntime
        from piper import PiperVoice as Library
        from piper.config import PiperConfig
    except ImportError as error:
        raise ConfigError("tts_piper needs the package piper-tts: pip install 'edgeapp[voice]'") from error
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
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[options.device]
    if provider not in onnxruntime.get_available_providers():
        raise ConfigError(
            f'tts_piper: this ONNX Runtime has no {provider}; use device = "cpu" or install its GPU build'
        )
    try:
        network = onnxruntime.InferenceSession(str(model), settings, providers=[provider])
    except Exception as error:  # a truncated file raises one of several unrelated exceptions
        raise ConfigError(f"tts_piper: {model} is not a readable ONNX file; copy it again ({error})") from error
    if not {"input", "input_lengths", "scales"} <= {each.name for each in network.get_inputs()}:
        raise ConfigError(
            f"tts_piper: {model} is not a Piper voice: it needs the inputs input, input_lengths and scales"
        )
    session = _Session(network, onnxruntime.RunOptions)
    voice = PiperVoice(Library(session=session, config=config), session, options, lane)
    try:
        voice.calibrate()
    except BackendError as error:
        raise ConfigError(f"tts_piper: {model} and {card} do not belong together: {error}") from error
    return voice


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
