"""Is the person's turn over, by their voice alone: Smart Turn v3 (Daily, BSD-2), which the pipecat-ai package carries.

The network is the encoder of Whisper tiny with a small head. It reads the last 8 s of the turn as Whisper's log-mel
features and gives one probability. It was trained on turns that had ended, or not, before a silence of 200 ms, in 23
languages; it does not know what the kiosk may be asked, which the endpoint rule does. One answer costs tens of milliseconds, so it
has a lane of its own. Only the file is used: the package is not imported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, ConfigError
from edgeapp.core.lane import Lane

SAMPLES: Final = 8 * SAMPLE_RATE_HZ
"""What the network reads: shorter turns are preceded by silence, of longer ones the end is read."""

MELS: Final = 80
FRAMES: Final = 800
_WINDOW: Final = 400  # 25 ms
_HOP: Final = 160  # 10 ms
_FOLDER: Final = "audio/turn/smart_turn/data"
_FILES: Final = "smart-turn-v3*-cpu.onnx"
_INPUT: Final = "input_features"

Run = Callable[[None, dict[str, NDArray[np.float32]]], Any]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[voice.turn]` of the configuration."""

    model: str = ""
    """Path of Smart Turn's ONNX file, version 3; empty means the one inside pipecat-ai."""

    threads: int = 1
    """Threads of one inference."""


class SmartTurn:
    """Says how likely a turn is over. It keeps nothing between calls."""

    def __init__(self, run: Run, lane: Lane) -> None:
        self._run = run
        self._lane = lane

    async def __call__(self, samples: NDArray[np.int16]) -> float:
        """The probability (0 to 1) that the turn (int16, 16 kHz, mono, shape (n,), some silence at its end) is over.

        Raises BackendError if the runtime fails.
        """
        return await self._lane.run(partial(self._bite, samples), label="turn")

    def _bite(self, samples: NDArray[np.int16]) -> float:
        features = log_mel(samples)[np.newaxis]
        try:
            (probability, *_) = self._run(None, {_INPUT: features})
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise BackendError(f"turn_smart failed: {error}") from error
        return float(np.ravel(probability)[0])


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[SmartTurn]:
    """Open the network and run it once.

    Raises ConfigError if the package or the file is missing, is not Smart Turn v3, or `threads` is not positive.
    """
    if options.threads < 1:
        raise ConfigError(f"turn_smart: threads is {options.threads}; use 1 or more")
    path = Path(options.model) if options.model else carried_model()
    if not path.is_file():
        raise ConfigError(f"turn_smart: there is no model file {path}; give its path, or leave `model` out")
    turn = SmartTurn(await lane.run(lambda: _open(path, options.threads), label="load"), lane)
    await turn(np.zeros(SAMPLES, np.int16))
    yield turn


def carried_model() -> Path:
    """The ONNX file inside the pipecat-ai package, found without importing it. Raises ConfigError without it."""
    package = find_spec("pipecat")
    if package is None or package.origin is None:
        raise ConfigError("turn_smart needs the package pipecat-ai: pip install 'edgeapp[turn]', or give `model`")
    found = sorted((Path(package.origin).parent / _FOLDER).glob(_FILES))
    if not found:
        raise ConfigError("turn_smart: this pipecat-ai carries no Smart Turn v3; install version 1.14, or give `model`")
    return found[-1]


def log_mel(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Whisper's features of the last 8 s (int16, 16 kHz, shape (n,)): float32, shape (80, 800).

    As `WhisperFeatureExtractor(chunk_length=8)` with `do_normalize` computes them (Radford et al. 2022): the whole window
    to zero mean and unit variance, Hann windows of 25 ms every 10 ms, 80 mel bands after Slaney (Auditory Toolbox, 1998),
    log10 floored 8 below its maximum.
    """
    heard = np.zeros(SAMPLES, np.float32)
    if samples.size:
        heard[-min(samples.size, SAMPLES) :] = samples[-SAMPLES:] / np.float32(32768)
    heard = (heard - heard.mean()) / np.sqrt(heard.var() + np.float32(1e-7))
    padded = np.pad(heard, _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:FRAMES]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(windows * hann.astype(np.float32), axis=1)) ** 2
    mel = np.log10(np.maximum(_filters() @ power.T, 1e-10))
    return np.asarray((np.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0, np.float32)


@cache
def _filters() -> NDArray[np.float64]:
    """Triangles of equal area from 0 to 8 kHz, shape (80, 201): linear up to 1 kHz, logarithmic above."""
    knee_hz, knee_mel, step = 1000.0, 15.0, np.log(6.4) / 27.0
    top_mel = knee_mel + np.log(SAMPLE_RATE_HZ / 2 / knee_hz) / step
    mel = np.linspace(0.0, top_mel, MELS + 2)
    edges = np.where(mel < knee_mel, mel * knee_hz / knee_mel, knee_hz * np.exp((mel - knee_mel) * step))
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _WINDOW // 2 + 1)
    low, middle, high = (edges[n : n + MELS, np.newaxis] for n in range(3))
    triangles = np.maximum(0.0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
    return np.asarray(triangles * 2.0 / (high - low))


def _open(path: Path, threads: int) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("turn_smart needs the package onnxruntime: pip install 'edgeapp[voice]'") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # a truncated file raises one of several unrelated exceptions
        raise ConfigError(f"turn_smart: {path} is not a readable ONNX file; copy it again ({error})") from error
    inputs = [(each.name, list(each.shape[1:])) for each in session.get_inputs()]
    if inputs != [(_INPUT, [MELS, FRAMES])]:
        raise ConfigError(f"turn_smart: {path} is not Smart Turn v3: its input must be {_INPUT}, (n, {MELS}, {FRAMES})")
    run: Run = session.run
    return run
