"""The camera: what a driver can do to us, scripted; and real files, real HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeapp.core.clock import now_ns
from edgeapp.core.events import CameraFrame, ConfigError, DeviceError, TimestampKind
from edgeapp.devices.camera import Camera, Options, kind_of, open_camera

BOUND_S = 20
pytestmark = pytest.mark.real_time

Stamp = Callable[[int], float]


class ScriptedCapture:
    """A driver that gives `frames` frames and then does what `then` says: fail, hang, or repeat the last stamp."""

    def __init__(self, frames: int, then: str, stamp_ms: Stamp, gate: threading.Event | None = None) -> None:
        self.frames, self.then, self.stamp_ms, self.gate = frames, then, stamp_ms, gate
        self.given = 0
        self.released = threading.Event()
        self.hanging, self.hung = threading.Event(), threading.Event()

    def grab(self) -> bool:
        if self.gate and self.given:
            assert self.gate.wait(BOUND_S)
        if self.given < self.frames:
            self.given += 1
            return True
        if self.then == "hang":
            self.hanging.set()
            assert self.hung.wait(BOUND_S)
        return self.then == "repeat"

    def retrieve(self) -> tuple[bool, Any]:
        if self.then == "undecodable":
            return False, None
        return True, np.full((4, 6, 3), self.given, np.uint8)

    def get(self, property_number: int, /) -> float:
        return self.stamp_ms(self.given)

    def release(self) -> None:
        self.released.set()


def no_stamp(_: int) -> float:
    return 0.0


def kernel_stamps() -> Stamp:
    start_ms = time.monotonic() * 1e3 - 100
    return lambda number: start_ms + number


class Opener:
    """Gives the captures in order, then says that the device is gone."""

    def __init__(self, *captures: ScriptedCapture) -> None:
        self.captures = list(captures)
        self.calls = 0

    def __call__(self, options: Options) -> ScriptedCapture:
        self.calls += 1
        if not self.captures:
            raise DeviceError("there is no camera: plug it in")
        return self.captures.pop(0)


def options(policy: Any = "every", stall_ms: float = 80, source: str = "0") -> Options:
    return Options(source=source, name="belt", policy=policy, stall_ms=stall_ms, open_ms=2_000)


async def take(camera: Any, count: int) -> list[CameraFrame]:
    frames: list[CameraFrame] = []
    async with asyncio.timeout(BOUND_S):
        async for frame in camera:
            frames.append(frame)
            if len(frames) == count:
                break
    return frames


async def refused(camera: Any) -> str:
    """Read until the camera raises, and return what it says."""
    with pytest.raises(DeviceError) as error:
        await take(camera, 1_000)
    return str(error.value)


async def test_frames_carry_the_drivers_timestamp_on_the_loops_clock() -> None:
    async with open_camera(options(), Opener(ScriptedCapture(3, "fail", kernel_stamps()))) as camera:
        before_ns = now_ns()
        frames = await take(camera, 3)
    assert [frame.number for frame in frames] == [1, 2, 3]
    assert {frame.timestamp_kind for frame in frames} == {TimestampKind.KERNEL}
    assert all(one.at_ns < other.at_ns for one, other in pairwise(frames))
    assert 0 < before_ns - frames[0].at_ns < 1_000_000_000
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 2, 3]
    assert frames[0].source == "belt"


async def test_a_stamp_of_another_clock_is_not_believed() -> None:
    async with open_camera(options(), Opener(ScriptedCapture(2, "fail", no_stamp))) as camera:
        frames = await take(camera, 2)
    assert {frame.timestamp_kind for frame in frames} == {TimestampKind.ESTIMATED}
    assert abs(frames[-1].at_ns - time.monotonic_ns()) < BOUND_S * 1_000_000_000


async def test_an_unplugged_camera_is_an_error_and_comes_back_with_new_numbers() -> None:
    opener = Opener(ScriptedCapture(2, "fail", no_stamp), ScriptedCapture(2, "hang", no_stamp))
    async with open_camera(options(), opener) as camera:
        assert len(await take(camera, 2)) == 2
        assert "stopped: check its cable" in await refused(camera)
        assert [frame.number for frame in await take(camera, 2)] == [3, 4]


async def test_a_camera_that_hangs_is_an_error_within_the_bound_and_its_late_frame_is_thrown_away() -> None:
    hung, fresh = ScriptedCapture(2, "hang", no_stamp), ScriptedCapture(1, "hang", no_stamp)
    async with open_camera(options(), Opener(hung, fresh)) as camera:
        await take(camera, 2)
        began_s = time.monotonic()
        why = await refused(camera)
        assert "gave no new frame for 80 ms" in why
        assert time.monotonic() - began_s < BOUND_S
        assert isinstance(camera, Camera)
        assert camera.trouble == why
        hung.then = "repeat"  # the driver wakes up and says there is a frame
        hung.hung.set()
        frames = await take(camera, 1)
        assert camera.trouble == ""
        assert hung.released.is_set()
        assert frames[0].pixels[0, 0, 0] == 1, "the first frame of the new session, not the late one of the old"
        fresh.hung.set()


async def test_a_repeated_frame_is_never_handed_on() -> None:
    stuck = ScriptedCapture(2, "repeat", kernel_stamps())
    async with open_camera(options(), Opener(stuck)) as camera:
        assert len(await take(camera, 2)) == 2
        assert "gave no new frame" in await refused(camera)
        assert isinstance(camera, Camera)
        assert camera.repeated > 0


async def test_an_undecodable_frame_is_an_error_not_a_black_picture() -> None:
    async with open_camera(options(), Opener(ScriptedCapture(2, "undecodable", no_stamp))) as camera:
        assert "does not decode" in await refused(camera)


async def test_a_camera_that_is_not_there_says_so_again_at_each_attempt() -> None:
    opener = Opener()
    async with open_camera(options(), opener) as camera:
        assert await refused(camera) == "there is no camera: plug it in"
        assert await refused(camera) == "there is no camera: plug it in"
        assert opener.calls >= 2
    async with open_camera(options(source="/dev/video-that-is-not-here")) as camera:
        assert "plug it in" in await refused(camera)


async def test_a_late_reader_of_latest_gets_the_newest_and_sees_the_gap() -> None:
    capture = ScriptedCapture(50, "hang", no_stamp)
    async with open_camera(options("latest"), Opener(capture)) as camera:
        assert isinstance(camera, Camera)
        async with asyncio.timeout(BOUND_S):
            while capture.given < 50 or camera.dropped < 49:  # every frame was put, and only the newest is kept
                await asyncio.sleep(0)
        assert [frame.number for frame in await take(camera, 1)] == [50]
        capture.hung.set()


async def test_a_late_reader_of_every_frame_is_told() -> None:
    capture = ScriptedCapture(9, "hang", no_stamp)
    async with open_camera(options("every"), Opener(capture)) as camera:
        assert isinstance(camera, Camera)
        async with asyncio.timeout(BOUND_S):
            while not camera.dropped:
                await asyncio.sleep(0)
        assert [frame.number for frame in await take(camera, 8)] == list(range(1, 9))
        assert "frame 9 found 8 others waiting" in await refused(camera)
        capture.hung.set()


async def test_closing_does_not_wait_for_a_driver_that_hangs() -> None:
    capture = ScriptedCapture(1, "hang", no_stamp)
    async with asyncio.timeout(BOUND_S), open_camera(options(), Opener(capture)) as camera:
        await take(camera, 1)
        assert await asyncio.to_thread(capture.hanging.wait, BOUND_S)
    assert not capture.released.is_set()
    capture.hung.set()
    assert capture.released.wait(BOUND_S), "the thread that was left behind still lets the device go"


async def test_a_file_is_a_camera_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "video.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 100, (64, 48))
    for number in range(5):
        video.write(np.full((48, 64, 3), number * 40, np.uint8))
    video.release()
    async with open_camera(options(source=str(path))) as camera:
        frames = [frame async for frame in camera]
    assert [frame.number for frame in frames] == [1, 2, 3, 4, 5]
    assert {frame.timestamp_kind for frame in frames} == {TimestampKind.FILE}
    with pytest.raises(ConfigError, match="no camera or video"):
        async with open_camera(options(source=str(tmp_path / "gone.avi"))):
            raise AssertionError
    with pytest.raises(ConfigError, match="has no GStreamer"):
        async with open_camera(options(source="videotestsrc ! appsink")) as camera:
            await take(camera, 1)


@contextmanager
def mjpeg_server() -> Iterator[tuple[str, threading.Event]]:
    """Serve pictures one after the other until the event, then hang up."""
    over = threading.Event()
    _, picture = cv2.imencode(".jpg", np.full((48, 64, 3), 120, np.uint8))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
            try:
                while not over.wait(0.02):
                    self.wfile.write(head + picture.tobytes() + b"\r\n")
            except OSError:
                return

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/stream.mjpg", over
    finally:
        over.set()
        server.shutdown()
        server.server_close()


async def test_a_network_camera_streams_and_its_end_is_an_error() -> None:
    with mjpeg_server() as (address, over):
        network = Options(source=address, name="gate", stall_ms=3_000, open_ms=10_000)
        async with open_camera(network) as camera:
            frames = await take(camera, 3)
            over.set()
            message = await refused(camera)
    assert all(abs(int(frame.pixels[5, 5, 0]) - 120) < 5 for frame in frames)
    assert {frame.timestamp_kind for frame in frames} == {TimestampKind.ESTIMATED}
    assert address in message or "camera" in message


def test_a_source_is_known_by_how_it_is_written() -> None:
    assert kind_of("0") == kind_of("/dev/v4l/by-id/usb-x") == "v4l2"
    assert kind_of("rtsp://gate/1") == "network"
    assert kind_of("nvarguscamerasrc ! appsink") == "gstreamer"
    assert kind_of("belt.mp4") == "file"
