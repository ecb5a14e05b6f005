"""A sound card without hardware: a private PulseAudio or PipeWire with a null sink, for real PortAudio streams anywhere.

The air is one null sink of two channels, so that everything in it has one clock: what the person says goes into the left
one, where edgeapp's microphone listens; edgeapp's loudspeaker is the right one. A recording of the sink's monitor shows
both sides sample by sample, buffers included, whatever either side believes.

The server runs under near_edge/guard.py and in a folder of its own: nobody's configuration is read or written, no
running server is touched, and nothing is left. PipeWire needs a session bus, so it gets one of its own too.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import ConfigError
from edgeapp.near_edge import guard

Samples = NDArray[np.int16]
Server = Literal["pulseaudio", "pipewire"]

RATE_HZ: Final = 44_100
"""What PortAudio takes for the rate of an ALSA device that has every rate: so nothing is resampled on the way."""

LIMIT_S: Final = 600
"""A card lasts for so long at most: 53 MB of the room's noise, and a recording of 106 MB."""

MICROPHONE: Final = "edgeapp_microphone"
SPEAKER: Final = "edgeapp_loudspeaker"

_PACKAGES: Final[dict[Server, tuple[str, ...]]] = {
    "pulseaudio": ("pulseaudio", "pulseaudio-utils", "libasound2-plugins", "libasound2-data"),
    "pipewire": (
        "pipewire", "pipewire-bin", "pipewire-pulse", "wireplumber", "dbus-daemon", "pulseaudio-utils",
        "libasound2-plugins", "libasound2-data",
    ),
}  # fmt: skip
_PROGRAMS: Final[dict[Server, tuple[str, ...]]] = {
    "pulseaudio": ("pulseaudio", "pactl", "pacat", "parec"),
    "pipewire": ("pipewire", "pipewire-pulse", "wireplumber", "pw-metadata", "dbus-daemon", "pactl", "pacat", "parec"),
}  # fmt: skip
_ALSA: Final = Path("/usr/share/alsa/alsa.conf")

_MONO: Final = ("channels=1", "channel_map=mono", "remix=no")
_MODULES: Final = (
    ("module-null-sink", "sink_name=air", f"rate={RATE_HZ}", "channels=2", "channel_map=front-left,front-right"),
    ("module-remap-sink", "sink_name=person", "master=air", "master_channel_map=front-left", *_MONO),
    ("module-remap-sink", f"sink_name={SPEAKER}", "master=air", "master_channel_map=front-right", *_MONO),
    ("module-remap-source", f"source_name={MICROPHONE}", "master=air.monitor", "master_channel_map=front-left", *_MONO),
)
_RAW: Final = ("--raw", "--format=s16le", f"--rate={RATE_HZ}")
# PulseAudio's null sink is ahead by as much as its most impatient client wants, up to 2 s without one, and a stream that is
# opened then gets no callback until that is over. The recorder is that client, and slower than any stream: once one is
# open, it alone sets the pace.
_RECORDER_MS: Final = 100
_START_S: Final = 15.0
_STOP_S: Final = 12.0  # the guard gives a server 6 s
_CLIENT_S: Final = 5.0
_LOOK_S: Final = 0.1


@dataclass(frozen=True)
class NullCard:
    """A running one. Lives on one loop."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def path(self) -> Path:
        """Where the recording grows."""
        return self.folder / "air.raw"

    @property
    def frames(self) -> int:
        """What has been recorded so far; the recording is up to a second behind the air."""
        return self.path.stat().st_size // 4 if self.path.exists() else 0

    def recording(self) -> Samples:
        """The air so far: the person left, the device right, shape (frames, 2), int16 at `RATE_HZ`."""
        return np.fromfile(self.path, "<i2", self.frames * 2).reshape(-1, 2)

    async def say(self, samples: Samples) -> None:
        """Play mono int16 at `RATE_HZ`, shape (n,), as the person does; returns when it has been heard."""
        path = self.folder / "clip.raw"
        samples.astype("<i2").tofile(path)
        limit_s = len(samples) / RATE_HZ + _CLIENT_S
        async with self.client("pacat", "--playback", "--device=person", "--channels=1", *_RAW, str(path)) as player:
            try:
                async with asyncio.timeout(limit_s):
                    await player.wait()
            except TimeoutError as error:
                raise ConfigError(
                    f"the sound server did not play a clip within {limit_s:.0f} s: {self.log()}"
                ) from error

    @asynccontextmanager
    async def client(self, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """One program beside the server, ended with the block."""
        process = await asyncio.create_subprocess_exec(
            *command, env=dict(self.environment), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(_CLIENT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def ask(self, *command: str) -> str:
        """What a short program prints; nothing if it fails or takes too long."""
        process = await asyncio.create_subprocess_exec(
            *command, env=dict(self.environment), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_CLIENT_S):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return ""
        return said.decode(errors="replace") if process.returncode == 0 else ""

    def log(self) -> str:
        """The last words of each of its processes."""
        last = [path.read_text(errors="replace").strip().rpartition("\n")[2] for path in self.folder.glob("*.log")]
        return "; ".join(filter(None, last)) or "it said nothing"


@asynccontextmanager
async def null_card(server: Server) -> AsyncIterator[NullCard]:
    """Start one; inside, PortAudio knows `MICROPHONE` and `SPEAKER` by these names, if nothing has opened it before.

    Raises ConfigError if a package is missing or the server does not start.
    """
    missing = [each for each in _PROGRAMS[server] if shutil.which(each) is None]
    if missing or not _ALSA.exists():
        lacks = ", ".join(missing) or str(_ALSA)
        raise ConfigError(
            f"a sound card of null sinks needs {lacks}: sudo apt-get install {' '.join(_PACKAGES[server])}"
        )
    with tempfile.TemporaryDirectory(prefix="edgeapp-card-") as name:
        folder = Path(name)
        card = NullCard(folder, _environment(folder))
        async with AsyncExitStack() as daemons:
            for each in _daemons(server, folder):
                await daemons.enter_async_context(_guarded(each.command, card))
                if each.socket is not None:
                    await _until(each.socket.exists, f"{each.command[0]} does not start", card)
            await _until_ready(server, card)
            noise = folder / "noise.raw"
            _noise().tofile(noise)
            with _portaudio_sees(card):
                recorder = ("parec", "--device=air.monitor", "--channels=2", *_RAW, f"--latency-msec={_RECORDER_MS}")
                room = ("pacat", "--playback", "--device=person", "--channels=1", *_RAW, str(noise))
                async with card.client(*recorder, str(card.path)), card.client(*room):
                    await _until(lambda: card.frames > 0, f"{server} records nothing", card)
                    yield card


async def _until(holds: Callable[[], bool], otherwise: str, card: NullCard) -> None:
    """Raises ConfigError with the server's last words if it does not come to hold."""
    for _ in range(round(_CLIENT_S / _LOOK_S)):
        if holds():
            return
        await asyncio.sleep(_LOOK_S)
    raise ConfigError(f"{otherwise}: {card.log()}")


def _noise() -> Samples:
    """Of the room, as in devices/files.py: a real microphone is never digitally silent."""
    return np.tile(np.random.default_rng(0).integers(-3, 4, 10 * RATE_HZ).astype("<i2"), LIMIT_S // 10)


def _environment(folder: Path) -> dict[str, str]:
    """Of the server and its clients: every place where they keep or look for something is in the folder."""
    runtime = folder / "run"
    (runtime / "pulse").mkdir(parents=True, mode=0o700)
    runtime.chmod(0o700)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        **{f"XDG_{each}_HOME": str(folder / each.lower()) for each in ("CONFIG", "STATE", "CACHE", "DATA")},
        "PULSE_SERVER": f"unix:{runtime}/pulse/native",
        "PULSE_COOKIE": str(folder / "cookie"),
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
    }


@dataclass(frozen=True)
class _Daemon:
    """One process of the server."""

    command: Sequence[str]
    socket: Path | None
    """Where it listens when it is ready."""


def _daemons(server: Server, folder: Path) -> Sequence[_Daemon]:
    """What runs, in the order of its start."""
    runtime = folder / "run"
    native = runtime / "pulse" / "native"
    if server == "pulseaudio":
        own = ("-L", f"module-native-protocol-unix auth-anonymous=1 socket={native}")
        stay = ("--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--log-level=error")
        return (_Daemon(("pulseaudio", "-n", *stay, "--realtime=no", "--high-priority=no", *own), native),)
    bus = ("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={runtime}/bus")
    return (
        _Daemon(bus, runtime / "bus"),
        _Daemon(("pipewire",), runtime / "pipewire-0"),
        _Daemon(("wireplumber",), None),
        _Daemon(("pipewire-pulse",), native),
    )


async def _until_ready(server: Server, card: NullCard) -> None:
    """Wait for the server, and put the air into it. Raises ConfigError."""
    try:
        async with asyncio.timeout(_START_S):
            while not await card.ask("pactl", "info"):
                await asyncio.sleep(_LOOK_S)
            if server == "pipewire":
                rate = ("clock.force-rate", str(RATE_HZ))
                while f"value:{RATE_HZ}" not in await card.ask("pw-metadata", "-n", "settings", "0", *rate):
                    await asyncio.sleep(_LOOK_S)
            for module in _MODULES:
                # What is in the air must not be taken back when a stream begins; PipeWire never does.
                once = ("norewinds=yes",) if server == "pulseaudio" and module[0] == "module-null-sink" else ()
                if not await card.ask("pactl", "load-module", *module, *once):
                    raise ConfigError(f"{server} does not load {module[0]}: {card.log()}")
            while MICROPHONE not in await card.ask("pactl", "list", "short", "sources"):
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise ConfigError(f"{server} did not start within {_START_S:.0f} s: {card.log()}") from error


@contextmanager
def _portaudio_sees(card: NullCard) -> Iterator[None]:
    """Let this process's PortAudio find the two devices, and no setting of the user's."""
    config = card.folder / "asound.conf"
    server = card.environment["PULSE_SERVER"]
    devices = "".join(
        f'pcm.{name} {{ type pulse server "{server}" device "{name}" hint {{ show on description "{name}" }} }}\n'
        for name in (MICROPHONE, SPEAKER)
    )
    config.write_text(f"<{_ALSA}>\n{devices}")
    client = card.folder / "client.conf"
    client.write_text("autospawn = no\n")
    own = {name: card.environment[name] for name in ("PULSE_SERVER", "PULSE_COOKIE")}
    own |= {"ALSA_CONFIG_PATH": str(config), "PULSE_CLIENTCONFIG": str(client)}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@asynccontextmanager
async def _guarded(command: Sequence[str], card: NullCard) -> AsyncIterator[None]:
    """The server, for as long as the block or this process lasts."""
    spec: dict[str, Any] = {
        "command": list(command),
        "env": dict(card.environment),
        "log": str(card.folder / f"{command[0]}.log"),
        "shm_prefix": card.folder.name,  # they share memory by file descriptors, so none lies there
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", guard.__file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        try:
            async with asyncio.timeout(_CLIENT_S):
                json.loads(await process.stdout.readline())
        except (TimeoutError, ValueError) as error:
            raise ConfigError(f"{command[0]} does not start: {card.log()}") from error
        yield
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
