"""Voice activity by Silero VAD v6, the ONNX file that the faster-whisper package carries: nothing to download.

The network is a small recurrent one: it reads 512 new samples with the 64 before them, and carries (h, c). Kept between
calls, they make the stream equal to one run over all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import BackendError, ConfigError
from edgeapp.core.lane import Lane

CHUNK_SAMPLES: Final = 512
"""32 ms at 16 kHz: the only length the network was trained for."""

_CONTEXT_SAMPLES: Final = 64
_STATE_SHAPE: Final = (1, 1, 128)
_ASSET: Final = "assets/silero_vad_v6.onnx"

Run = Callable[[None, dict[str, NDArray[np.float32]]], Any]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[vad]` of the configuration."""

    model: str = ""
    """Path of an ONNX file with Silero v6's inputs (input, h, c); empty means the one inside faster-whisper."""

    threads: int = 1
    """Threads of one inference; more than one makes this small network slower."""


class SileroVad:
    """One stream of audio. Not for two microphones at once: each has its own state."""

    def __init__(self, run: Run, lane: Lane) -> None:
        self._run = run
        self._lane = lane
        self._stream = self._stream_of_state = 0  # counts the resets; a bite abandoned before one must not undo it
        self._h = self._c = np.zeros(_STATE_SHAPE, np.float32)
        self._window = np.zeros((1, _CONTEXT_SAMPLES + CHUNK_SAMPLES), np.float32)

    async def __call__(self, samples: NDArray[np.int16]) -> float:
        """The probability (0 to 1) that these 512 samples (int16, 16 kHz, mono, shape (512,)) hold speech.

        Raises ValueError for another length and BackendError if the runtime fails; after either, the state is as before.
        """
        if samples.shape != (CHUNK_SAMPLES,):
            raise ValueError(f"a chunk has shape {samples.shape}; it must be ({CHUNK_SAMPLES},)")
        return await self._lane.run(partial(self._bite, samples, self._stream), label="vad")

    def reset(self) -> None:
        """Forget the past: the next chunk starts a new stream."""
        self._stream += 1

    def _bite(self, samples: NDArray[np.int16], stream: int) -> float:
        if stream != self._stream_of_state:
            self._stream_of_state = stream
            self._h = self._c = np.zeros(_STATE_SHAPE, np.float32)
            self._window = np.zeros_like(self._window)
        window = np.empty_like(self._window)
        window[0, :_CONTEXT_SAMPLES] = self._window[0, -_CONTEXT_SAMPLES:]
        np.multiply(samples, np.float32(1 / 32768), out=window[0, _CONTEXT_SAMPLES:])
        try:
            probability, h, c = self._run(None, {"input": window, "h": self._h, "c": self._c})
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise BackendError(f"vad_silero failed: {error}") from error
        self._window, self._h, self._c = window, h, c
        return float(probability[0])


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[SileroVad]:
    """Open the network and run it once.

    Raises ConfigError if the package or the file is missing, is not Silero v6, or `threads` is not positive.
    """
    if options.threads < 1:
        raise ConfigError(f"vad_silero: threads is {options.threads}; use 1 or more")
    path = Path(options.model) if options.model else carried_model()
    if not path.is_file():
        raise ConfigError(f"vad_silero: there is no model file {path}; give its path, or leave `model` out")
    vad = SileroVad(await lane.run(lambda: _open(path, options.threads), label="load"), lane)
    await vad(np.zeros(CHUNK_SAMPLES, np.int16))
    vad.reset()
    yield vad


def carried_model() -> Path:
    """The ONNX file inside the faster-whisper package, found without importing it. Raises ConfigError without it."""
    package = find_spec("faster_whisper")
    if package is None or package.origin is None:
        raise ConfigError("vad_silero needs the package faster-whisper: pip install 'edgeapp[voice]'")
    return Path(package.origin).parent / _ASSET


def _open(path: Path, threads: int) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("vad_silero needs the package onnxruntime: pip install 'edgeapp[voice]'") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # a truncated file raises one of several unrelated exceptions
        raise ConfigError(f"vad_silero: {path} is not a readable ONNX file; copy it again ({error})") from error
    if [each.name for each in session.get_inputs()] != ["input", "h", "c"]:
        raise ConfigError(f"vad_silero: {path} is not Silero VAD v6: it must have the inputs input, h and c")
    run: Run = session.run
    return run
