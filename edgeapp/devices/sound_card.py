"""What microphone and loudspeaker share: PortAudio's streams, found by name, and their clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import MS, ConfigError, DeviceError

Side = Literal["microphone", "speaker"]
Callback = Callable[[NDArray[np.int16], int, Any, Any], None]
"""PortAudio's: buffer (frames, channels), frames, times, status. It runs in PortAudio's thread and only copies."""

FIRST_PAUSE_S: Final = 0.25  # between two attempts to reopen; doubles
LONGEST_PAUSE_S: Final = 5.0
_STEP_NS: Final = 100 * MS  # a stream clock that is off by more has been set
_DRIFT_NS: Final = 1_000  # what two clocks may part in one block: 100 ppm of 10 ms


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the sound card."""

    side: Side
    name: str
    """A part of the device's name; words may stand apart. Empty is the system's default."""
    block_ms: float
    latency_ms: float
    callback: Callback
    finished: Callable[[], None]
    """Called in PortAudio's thread when the stream ends by itself."""
    again: bool = False
    """The device was there before: look for new devices first."""


class Stream(Protocol):
    """What is used of a sounddevice stream; a test scripts one."""

    def start(self) -> None:
        """Let the callbacks come."""

    def abort(self) -> None:
        """Drop what is buffered and stop."""

    def close(self) -> None:
        """Let the device go."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open stream, not started, and what the card really does."""

    stream: Stream
    device: str
    sample_rate_hz: int
    block: int
    """Frames a callback."""
    latency_ns: int


OpenStream = Callable[[Request], Opened]

_opening = threading.Lock()  # PortAudio's list of devices is not for two threads
_open_streams = 0


def open_stream(request: Request) -> Opened:
    """Open the device at its own rate, in the calling thread. Raises DeviceError, or ConfigError without the packages."""
    global _open_streams  # noqa: PLW0603 - PortAudio is one for the process
    sounddevice = _sounddevice()
    with _opening:
        if request.again and not _open_streams:
            # PortAudio lists devices once. While the other side is open its list stays, and a replugged device is found
            # by its old entry.
            sounddevice._terminate()  # noqa: SLF001 - there is no public name
            sounddevice._initialize()  # noqa: SLF001
        try:
            opened = _open(sounddevice, request)
        except sounddevice.PortAudioError as error:
            raise DeviceError(
                f"the {request.side} {request.name or '(default)'} does not open ({error}): check its plug, and that no "
                f"other program holds it"
            ) from error
        _open_streams += 1
        return opened


def _open(sounddevice: Any, request: Request) -> Opened:
    default = int(sounddevice.default.device[0 if request.side == "microphone" else 1])
    index, info = find(request.name, request.side, enumerate(sounddevice.query_devices()), default)
    rate_hz = round(info["default_samplerate"])
    block = max(1, round(rate_hz * request.block_ms / 1000))
    make = sounddevice.InputStream if request.side == "microphone" else sounddevice.OutputStream
    settings = {
        "device": index,
        "samplerate": rate_hz,
        "blocksize": block,
        "dtype": "int16",
        "latency": request.latency_ms / 1000,
        "callback": request.callback,
        "finished_callback": request.finished,
    }
    try:
        stream = make(channels=1, **settings)
    except sounddevice.PortAudioError:
        stream = make(channels=2, **settings)  # many cards have no mono
    return Opened(_Counted(stream, request.side), info["name"], rate_hz, block, round(stream.latency * 1e9))


def find(name: str, side: Side, devices: Iterable[tuple[int, Any]], default: int) -> tuple[int, Any]:
    """Choose by name: the first device of this side whose name has all the words; the default if there are none.

    Indices change from boot to boot, so none is ever configured or kept. Raises DeviceError with the names there are.
    """
    key = "max_input_channels" if side == "microphone" else "max_output_channels"
    fitting = [(index, info) for index, info in devices if info[key] > 0]
    words = name.lower().split()
    for index, info in fitting:
        if (words and all(word in info["name"].lower() for word in words)) or (not words and index == default):
            return index, info
    if not words and fitting:
        return fitting[0]
    there = ", ".join(info["name"] for _, info in fitting) or "none at all"
    raise DeviceError(f"there is no {side} {name}".rstrip() + f": plug it in, or use one of those there are ({there})")


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise ConfigError("sound cards need the package sounddevice: pip install 'edgeapp[voice]'") from error
    except OSError as error:  # its wheel for Linux does not carry the library
        raise ConfigError("the library PortAudio is missing: sudo apt-get install libportaudio2") from error
    except Exception as error:  # it initialises PortAudio, and has its own error for that
        raise DeviceError(f"PortAudio does not start ({error}): check the system's sound configuration") from error
    return sounddevice


class _Counted:
    """A stream that is counted until it is closed, and fails in our words."""

    def __init__(self, stream: Stream, side: Side) -> None:
        self._stream, self._side = stream, side
        self.abort = stream.abort

    def start(self) -> None:
        try:
            self._stream.start()
        except Exception as error:
            raise DeviceError(f"the {self._side} does not start ({error}): check its plug") from error

    def close(self) -> None:
        global _open_streams  # noqa: PLW0603 - see open_stream
        try:
            self._stream.close()
        finally:
            with _opening:
                _open_streams -= 1


async def start_stream(stream: Stream) -> None:
    """Start off the loop. Raises DeviceError, and then the stream is closed."""
    try:
        await asyncio.get_running_loop().run_in_executor(None, stream.start)
    except DeviceError:
        await close_stream(stream)
        raise


async def close_stream(stream: Stream) -> None:
    """Stop and close off the loop: a device that was pulled out may make both slow."""

    def work() -> None:
        try:
            stream.abort()
        finally:
            stream.close()

    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(1.0):
            await asyncio.shield(loop.run_in_executor(None, work))
    except Exception as error:  # noqa: BLE001 - a stream of a device that is gone may fail in any way; it is gone
        _ = error


class StreamClock:
    """PortAudio's stream time -> the loop's clock. Called in the callback, which is late by a varying amount.

    Both clocks run alike, so the smallest lateness seen tells how they lie; it may rise by the drift of two quartzes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._offset_ns: int | None = None

    def loop_ns(self, stream_s: float, current_s: float, assumed_ns: int) -> int:
        """The instant `stream_s` of the stream, given its current time; hosts that do not know say 0: then `assumed_ns`
        from now.
        """
        now_ns = round(self._loop.time() * 1e9)
        if not stream_s or not current_s:
            return now_ns + assumed_ns
        apart_ns = now_ns - round(current_s * 1e9)
        if self._offset_ns is None or not 0 <= apart_ns - self._offset_ns < _STEP_NS:
            self._offset_ns = apart_ns
        else:
            self._offset_ns = min(apart_ns, self._offset_ns + _DRIFT_NS)
        return round(stream_s * 1e9) + self._offset_ns
