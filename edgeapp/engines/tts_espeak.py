"""Speech by espeak-ng from the `espeakng-loader` wheel: the voice that needs no download.

The library is called through ctypes in its synchronous mode: it hands out 20 ms at a time through a callback while it
computes, and stops when the callback returns 1. It is one global machine, so a lock lets one engine of the process use
it at a time, and every phrase sets its own voice again.
"""

from __future__ import annotations

import ctypes
import re
import textwrap
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from edgeapp.core.events import BackendError, Clause, ConfigError, Speech
from edgeapp.core.pour import pour
from edgeapp.core.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.lane import Lane

_PHRASE_CHARS_MAX: Final = 160  # 10 s of speech and about 10 ms of work: the longest bite
_PARTS_MAX: Final = 6_000  # of one phrase: 120 s of 20 ms parts, far above what 160 characters can take
_LEAD_MS: Final = 5  # of silence that stays before the first sound
_SOUND: Final = 200  # louder than this (of 32,767) is sound

_SYNCHRONOUS: Final = 2  # AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h
_BLOCK_MS: Final = 20
_DONT_EXIT: Final = 0x8000  # espeakINITIALIZE_DONT_EXIT: a missing data folder is an error code, not exit(1)
_PLAIN_UTF8: Final = 0x1 | 0x1000  # espeakCHARS_UTF8 | espeakENDPAUSE
_RATE, _PITCH = 1, 3  # of espeak_PARAMETER

_GLOBAL: Final = threading.Lock()
_CALLBACK_TYPE: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p)

Emit = Callable[[Speech], bool]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[tts]` of the configuration."""

    voice: str = "en-us"
    """A voice of espeak-ng, with a variant if wanted: `en-us`, `en-gb`, `de`, `en-us+f3`."""

    words_per_minute: int = 170
    """80 to 450."""

    pitch: int = 50
    """0 to 99; 50 is the voice's own."""

    gain: float = 0.8
    """Loudness as a factor above 0, up to 4; samples above full scale are clipped."""


class EspeakVoice:
    """One voice; calls of several engines take turns."""

    def __init__(self, options: Options, lane: Lane) -> None:
        self._options = options
        self._lane = lane

    async def __call__(self, clause: Clause) -> Stream[Speech]:
        """Speak `clause` in parts of about 20 ms at the library's rate (22,050 Hz); no part if there is nothing to say.

        Raises BackendError if the library refuses. Closing the stream stops the synthesis at its next part.
        """
        return await Stream.start(self._parts(clause.text))

    async def _parts(self, text: str) -> AsyncGenerator[Speech, None]:
        begun = False
        for phrase in _phrases(text):
            parts = pour(self._lane, partial(self._bite, phrase), label="tts", most=_PARTS_MAX)
            try:
                async for part in parts:
                    trimmed = part if begun else _without_lead(part)
                    begun = begun or trimmed is not None
                    if trimmed is not None:
                        yield trimmed
            finally:
                await parts.aclose()

    def _bite(self, phrase: str, emit: Emit) -> None:
        with _GLOBAL:
            _machine().speak(phrase, self._options, emit)


class _Machine:
    """The library, initialised once in a process; only ever called under `_GLOBAL`."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise ConfigError("tts_espeak needs the package espeakng-loader: pip install 'edgeapp[voice]'") from error
        try:
            self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"tts_espeak: install espeakng-loader again, its library does not open: {error}"
            ) from error
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, _BLOCK_MS, data.encode(), _DONT_EXIT)
        if rate <= 0:
            raise ConfigError(f"tts_espeak: install espeakng-loader again, espeak-ng cannot read its data in {data}")
        self._rate_hz = int(rate)
        self._emit: Emit | None = None
        self._callback = _CALLBACK_TYPE(self._heard)  # kept: the library holds the bare address
        self._library.espeak_SetSynthCallback(self._callback)
        size, number = ctypes.c_size_t, ctypes.c_uint
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, size, number, ctypes.c_int, number, number, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip

    def choose(self, options: Options) -> None:
        """Set the voice, the rate and the pitch. Raises ConfigError for a voice that espeak-ng does not have."""
        if self._library.espeak_SetVoiceByName(options.voice.encode()) != 0:
            raise ConfigError(
                f"tts_espeak: espeak-ng has no voice {options.voice!r}; use one such as en-us, en-gb or de"
            )
        self._library.espeak_SetParameter(_RATE, options.words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, options.pitch, 0)

    def speak(self, phrase: str, options: Options, emit: Emit) -> None:
        """Synthesize and hand on every block; ends early once `emit` returns True."""
        self.choose(options)
        gain = options.gain

        def louder(speech: Speech) -> bool:
            scaled = np.clip(speech.samples * np.float32(gain), -32767, 32767).astype(np.int16)
            return emit(Speech(scaled, speech.sample_rate_hz))

        text = phrase.encode()
        self._emit = emit if gain == 1.0 else louder
        try:
            code = self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _PLAIN_UTF8, None, None)
        finally:
            self._emit = None
        if code != 0:
            raise BackendError(f"tts_espeak: espeak-ng refused a phrase with code {code}")

    def _heard(self, wave: Any, count: int, _events: object) -> int:
        """espeak-ng's callback: 0 goes on, 1 stops."""
        if self._emit is None:
            return 1
        if not wave or count <= 0:
            return 0
        return int(self._emit(Speech(np.ctypeslib.as_array(wave, (count,)).copy(), self._rate_hz)))


@cache
def _machine() -> _Machine:
    return _Machine()


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[EspeakVoice]:
    """Initialise espeak-ng (once a process) and speak a word to nobody.

    Raises ConfigError for a missing package, an unknown voice or an option outside its range.
    """
    for name, value, low, high in (
        ("words_per_minute", options.words_per_minute, 80, 450),
        ("pitch", options.pitch, 0, 99),
        ("gain", options.gain, 0.01, 4),
    ):
        if not low <= value <= high:
            raise ConfigError(f"tts_espeak: {name} is {value}; use {low} to {high}")

    def warm_up() -> None:
        with _GLOBAL:
            _machine().speak("ready", options, lambda _: False)

    await lane.run(warm_up, label="load")
    yield EspeakVoice(options, lane)


def _phrases(text: str) -> list[str]:
    """One clause each, at most `_PHRASE_CHARS_MAX` characters, no control signs (a NUL would end the C string)."""
    spoken = "".join(sign if sign.isprintable() else " " for sign in text)
    clauses = re.split(r"(?<=[.!?;:,])\s+", spoken)
    return [phrase for clause in clauses for phrase in textwrap.wrap(clause, _PHRASE_CHARS_MAX)]


def _without_lead(speech: Speech) -> Speech | None:
    """The part from `_LEAD_MS` before its first sound on; None if it is all silence."""
    loud: NDArray[np.bool_] = np.abs(speech.samples.astype(np.int32)) > _SOUND
    if not loud.any():
        return None
    start = max(0, int(loud.argmax()) - speech.sample_rate_hz * _LEAD_MS // 1000)
    return Speech(speech.samples[start:], speech.sample_rate_hz)
