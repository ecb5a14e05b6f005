"""A camera through OpenCV: USB (V4L2), network (RTSP, HTTP), CSI (a GStreamer pipeline) or a video file.

A thread of its own grabs and blocks; the loop only takes what is there. What a camera must never do here: repeat a frame,
make one up, or go quiet. A frame without a newer timestamp is not a frame; silence longer than `stall_ms` and a failed
grab are a DeviceError for whoever iterates, while the thread goes on reopening the device with growing pauses. Iterating
again waits for the frames after that. Opening, grabbing and releasing can hang in a driver, so none of them runs on the
loop, and closing leaves a hung thread behind rather than wait for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, CameraFrame, ConfigError, DeviceError, TimestampKind
from edgeapp.devices.files import video_frames

_EVERY_DEPTH: Final = 8  # frames that may wait for a reader who wants every one: 22 MB at 1280 x 720
_FIRST_PAUSE_S: Final = 0.25  # between two attempts to open; doubles
_LONGEST_PAUSE_S: Final = 5.0
_NEAR_NS: Final = 1_000 * MS  # a driver's timestamp that is further away is of another clock
_CLOSE_S: Final = 1.0


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the pictures come from and what may be lost."""

    source: str
    """A device such as /dev/v4l/by-id/... or an index, rtsp:// or http://, a GStreamer pipeline with `!`, or a video file."""

    name: str = "camera"
    """The camera's name in the frames."""

    policy: Literal["latest", "every"] = "every"
    """`latest`: a late reader gets the newest frame, the numbers show the gap. `every`: a late reader is an error."""

    width: int = 0
    """Asked of a V4L2 device; 0 leaves it as it is."""

    height: int = 0
    frames_per_second: float = 0.0
    fourcc: str = ""
    """The pixel format asked of a V4L2 device, such as MJPG."""

    stall_ms: float = 500.0
    """No newer frame for this long means the camera is gone."""

    open_ms: float = 5000.0
    """How long opening and the first frame may take."""


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`; a test scripts one."""

    def grab(self) -> bool:
        """Wait for the next frame; False if there will be none."""

    def retrieve(self) -> tuple[bool, Any]:
        """Decode the frame that was grabbed."""

    def get(self, property_number: int, /) -> float:
        """Read a property."""

    def release(self) -> None:
        """Let the device go."""


def open_capture(options: Options) -> Capture:
    """Open the device with OpenCV, in the calling thread. Raises DeviceError, or ConfigError without OpenCV."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError("cameras need the package opencv: pip install 'edgeapp[vision]'") from error
    source, kind = options.source, kind_of(options.source)
    if kind == "gstreamer":
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise ConfigError(
                "this OpenCV has no GStreamer: use JetPack's python3-opencv, or a V4L2 device or RTSP address"
            )
        capture = cv2.VideoCapture(source, cv2.CAP_GSTREAMER)
    elif kind == "network":
        patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(options.open_ms), cv2.CAP_PROP_READ_TIMEOUT_MSEC, 2000]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, patience)
    else:
        if not source.isdecimal() and not Path(source).exists():
            raise DeviceError(f"there is no camera {source}: plug it in, or see /dev/v4l/by-id for its name")
        capture = cv2.VideoCapture(int(source) if source.isdecimal() else source, cv2.CAP_V4L2)
        _ask(capture, options)
    if not capture.isOpened():
        capture.release()
        raise DeviceError(f"camera {source} does not open: check its cable, and that no other program uses it")
    opened: Capture = capture
    return opened


def _ask(capture: Any, options: Options) -> None:
    """Ask a V4L2 device for a format. One buffer, set before it streams: more of them only make frames older."""
    import cv2

    wanted = {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*options.fourcc) if len(options.fourcc) == 4 else 0,
        cv2.CAP_PROP_FRAME_WIDTH: options.width,
        cv2.CAP_PROP_FRAME_HEIGHT: options.height,
        cv2.CAP_PROP_FPS: options.frames_per_second,
        cv2.CAP_PROP_BUFFERSIZE: 1,
    }
    for number, value in wanted.items():
        if value:
            capture.set(number, value)


def kind_of(source: str) -> Literal["v4l2", "network", "gstreamer", "file"]:
    """Tell what a source is by how it is written."""
    if "!" in source:
        return "gstreamer"
    if "://" in source:
        return "network"
    if source.isdecimal() or source.startswith("/dev/"):
        return "v4l2"
    return "file"


class Camera:
    """An open camera: iterate over it for frames. Made by `open_camera`; lives on one loop, one reader."""

    def __init__(self, options: Options, opener: Callable[[Options], Capture]) -> None:
        self.options = options
        self.dropped = 0
        """Frames that made room for newer ones (`latest`) or found no room (`every`)."""
        self.repeated = 0
        """Frames thrown away because their timestamp was not newer."""
        self.trouble = ""
        """Why there is no picture now; empty while there is."""
        self._opener = opener
        self._loop = asyncio.get_running_loop()
        self._behind_ns = round((self._loop.time() - time.monotonic()) * 1e9)
        self._lock = threading.Lock()  # held for a few assignments only
        # What happened, in order: at most _EVERY_DEPTH frames, and no two errors side by side.
        self._happened: deque[CameraFrame | DeviceError | ConfigError] = deque()
        self._arrived = asyncio.Event()
        self._stop = threading.Event()
        self._stale = False  # the reader gave up on what the thread is waiting for
        self._ended = asyncio.Event()
        self._number = 0
        self._alive_ns = now_ns()
        self._patience_ns = round(options.open_ms * MS)
        self._thread = threading.Thread(target=self._capture, name=f"camera-{options.name}", daemon=True)
        self._thread.start()

    # On the loop

    def __aiter__(self) -> AsyncIterator[CameraFrame]:
        return self._read()

    async def _read(self) -> AsyncGenerator[CameraFrame, None]:
        while True:
            yield await self.frame()

    async def frame(self) -> CameraFrame:
        """Wait for the next frame. Raises DeviceError within `stall_ms` of the last one (at first: `open_ms`)."""
        while True:
            with self._lock:
                self._arrived.clear()
                found = self._happened.popleft() if self._happened else None
            if isinstance(found, CameraFrame):
                self.trouble = ""
                return found
            if found is not None:
                self._expect_reopening()
                self.trouble = str(found)
                raise found
            try:
                async with asyncio.timeout_at((self._alive_ns + self._patience_ns) / 1e9):
                    await self._arrived.wait()
            except TimeoutError:
                if not self._happened:
                    raise self._gone() from None

    def _gone(self) -> DeviceError:
        silent_ms = self._patience_ns / MS
        with self._lock:
            self._stale = True
        self._expect_reopening()
        self.trouble = f"camera {self.options.source} gave no new frame for {silent_ms:.0f} ms: check its cable; it is being reopened"
        return DeviceError(self.trouble)

    def _expect_reopening(self) -> None:
        """Until frames come again the thread reports each failed attempt; this is for a driver that hangs in one."""
        with self._lock:
            self._alive_ns = now_ns()
            self._patience_ns = round(self.options.open_ms * MS + _LONGEST_PAUSE_S * 1e9)

    async def close(self) -> None:
        """Let the device go; waits at most a second for the driver. Idempotent."""
        self._stop.set()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._ended.wait()
        except TimeoutError:
            return  # the driver hangs; its daemon thread ends with it or with the process

    # In the thread

    def _capture(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            numbered = self._number
            try:
                capture = self._opener(self.options)
                try:
                    self._grab(capture)
                finally:
                    capture.release()
            except (DeviceError, ConfigError) as error:
                self._hand_over(error)
            except Exception as error:  # noqa: BLE001 - whatever a driver's binding raises means that it failed
                self._hand_over(DeviceError(f"camera {self.options.source} failed: {error}"))
            pause_s = _FIRST_PAUSE_S if self._number > numbered else min(2 * pause_s, _LONGEST_PAUSE_S)
            self._stop.wait(pause_s)
        self._wake(self._ended.set)

    def _grab(self, capture: Capture) -> None:
        """Hand over frames until the device fails, which raises DeviceError, or nobody wants them."""
        clock = _Clock(kernel=kind_of(self.options.source) == "v4l2")
        with self._lock:
            self._stale = False
        while not self._stop.is_set():
            grabbed = capture.grab()
            if self._stale or self._stop.is_set():
                return
            if not grabbed:
                raise DeviceError(f"camera {self.options.source} stopped: check its cable; it is being reopened")
            at_ns, kind = clock.read(capture)
            if at_ns is None:
                self.repeated += 1
                continue
            decoded, pixels = capture.retrieve()
            if not decoded or pixels is None:
                raise DeviceError(
                    f"camera {self.options.source} gave a frame that does not decode; it is being reopened"
                )
            self._number += 1
            frame = CameraFrame(_bgr(pixels), at_ns + self._behind_ns, self._number, self.options.name, kind)
            self._hand_over(frame)

    def _hand_over(self, found: CameraFrame | DeviceError | ConfigError) -> None:
        is_frame = isinstance(found, CameraFrame)
        with self._lock:
            if is_frame:
                self._alive_ns = time.monotonic_ns() + self._behind_ns
                self._patience_ns = round(self.options.stall_ms * MS)
            waiting = sum(isinstance(each, CameraFrame) for each in self._happened)
            if is_frame and self.options.policy == "latest":
                self.dropped += waiting
                self._happened = deque(each for each in self._happened if not isinstance(each, CameraFrame))
            elif is_frame and waiting == _EVERY_DEPTH:
                self.dropped += 1
                found = DeviceError(
                    f"camera {self.options.name}: frame {self._number} found {waiting} others waiting and is lost; "
                    f"the reader is slower than the camera"
                )
            if (
                self._happened
                and not isinstance(found, CameraFrame)
                and not isinstance(self._happened[-1], CameraFrame)
            ):
                self._happened.pop()
            self._happened.append(found)
        self._wake(self._arrived.set)

    def _wake(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            self._stop.set()


class _Clock:
    """Where a frame's time comes from: the driver's stamp while it is believable, else when the grab returned.

    OpenCV gives V4L2's buffer timestamp (CLOCK_MONOTONIC as a rule) as CAP_PROP_POS_MSEC.
    """

    def __init__(self, *, kernel: bool) -> None:
        self._kernel = kernel
        self._last_ns = 0

    def read(self, capture: Capture) -> tuple[int | None, TimestampKind]:
        """Time of the frame just grabbed in nanoseconds of `time.monotonic`; None if it is not newer than the last."""
        grabbed_ns = time.monotonic_ns()
        if self._kernel:
            stamped_ns = round(capture.get(_POS_MSEC) * MS)
            if abs(grabbed_ns - stamped_ns) < _NEAR_NS:
                newer, self._last_ns = stamped_ns > self._last_ns, max(stamped_ns, self._last_ns)
                return (min(stamped_ns, grabbed_ns) if newer else None), TimestampKind.KERNEL
            if self._last_ns:
                return None, TimestampKind.KERNEL  # an old stamp from a clock that was good: an old frame
            self._kernel = False
        return grabbed_ns, TimestampKind.ESTIMATED


_POS_MSEC: Final = 0  # cv2.CAP_PROP_POS_MSEC, named here because OpenCV is imported late


def _bgr(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Accept what OpenCV gives by default and turn grey pictures into BGR; refuse raw formats."""
    if pixels.ndim == 2 and pixels.dtype == np.uint8:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return pixels
    raise DeviceError(f"the camera gives {pixels.dtype} {pixels.shape}, not pictures: ask for another fourcc")


@asynccontextmanager
async def open_camera(
    options: Options, opener: Callable[[Options], Capture] = open_capture
) -> AsyncIterator[AsyncIterable[CameraFrame]]:
    """Open a camera or a file -> something to iterate over for frames.

    Returns at once for a camera: its first frame, or a DeviceError in its place, comes within `open_ms`. A video file is
    paced by its own rate and ends; a camera does not end. Raises ConfigError for a file that is not there.
    """
    if kind_of(options.source) == "file":
        path = Path(options.source).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"there is no camera or video {options.source}: use /dev/v4l/by-id/..., rtsp://... or a file"
            )
        frames = video_frames(path, source=options.name, newest=options.policy == "latest")
        async with aclosing(frames):
            yield frames
        return
    camera = Camera(options, opener)
    try:
        yield camera
    finally:
        await camera.close()
