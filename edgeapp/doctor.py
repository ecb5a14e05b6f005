"""`edgeapp doctor`: what this machine has, what it lacks, and the exact command that mends it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console
from rich.markup import escape

from edgeapp import config as settings
from edgeapp.core.events import BackendError, ConfigError, DeviceError
from edgeapp.core.lane import Lane

if TYPE_CHECKING:
    from edgeapp.devices.echo import Coupling

_CHIRP_S: Final = 5.0  # the chirp takes 1.5 s; a card that stalls does not hold the report up


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    state: Literal["ok", "note", "broken"]
    """`note` limits what can be done here; `broken` keeps the configured device from running."""

    says: str
    fix: str = ""


_PACKAGES: Final = {
    "voice": (
        "faster_whisper",
        "ctranslate2",
        "pocketsphinx",
        "piper",
        "espeakng_loader",
        "livekit",
        "sounddevice",
        "soundfile",
        "soxr",
    ),
    "vision": ("onnxruntime", "cv2"),
    "plots": ("matplotlib",),
    "hub": ("huggingface_hub",),
    "near-edge": ("tritonclient", "grpc", "cryptography"),
    "web": ("fastapi", "uvicorn", "websockets", "argon2"),
}


def doctor(path: Path | None) -> int:
    """Print the report; 1 if something is broken for this configuration, else 0."""
    console = Console(soft_wrap=True, highlight=False)
    marks = {"ok": "[green]ok    [/]", "note": "[yellow]note  [/]", "broken": "[red]broken[/]"}
    broken = 0
    for finding in findings(path):
        broken += finding.state == "broken"
        console.print(f"{marks[finding.state]}  [bold]{finding.what}[/]: {escape(finding.says)}")
        if finding.fix:
            console.print(f"        fix: [cyan]{escape(finding.fix)}[/]")
    console.print(f"{broken} broken" if broken else "Nothing is broken. A note limits what this machine can do.")
    return 1 if broken else 0


def findings(path: Path | None, *, running: bool = False) -> Iterator[Finding]:
    """All lines of the report. `running`: beside an application, so nothing sounds and no sound card is opened."""
    for check in _CHECKS:
        if not (running and check in {_audio, _echo}):
            yield from check(path)


def _config(path: Path | None) -> Iterator[Finding]:
    try:
        config = settings.load(path)
    except ConfigError as error:
        yield Finding("configuration", "broken", str(error), "correct the file")
        return
    yield Finding("configuration", "ok", f"{path or 'embedded defaults'}: app {config.app}")


def _system(_: Path | None) -> Iterator[Finding]:
    yield Finding("system", "ok", f"{platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    model = Path("/proc/device-tree/model")
    if model.exists():
        name = model.read_text(errors="replace").strip("\x00\n")
        yield Finding("board", "ok", name)
        nvpmodel = shutil.which("nvpmodel")
        if nvpmodel:
            yield Finding("power mode", "note", "set the mode you will run in before you measure", "sudo nvpmodel -q")
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.exists() and (text := governor.read_text().strip()) != "performance":
        fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield Finding("CPU governor", "note", f"{text}: the first milliseconds of work are slow", fix)


def _packages(_: Path | None) -> Iterator[Finding]:
    for extra, names in _PACKAGES.items():
        missing = [name for name in names if importlib.util.find_spec(name) is None]
        if missing:
            yield Finding(
                f"packages ({extra})", "broken", f"missing: {', '.join(missing)}", f"pip install 'edgeapp[{extra}]'"
            )
        else:
            yield Finding(f"packages ({extra})", "ok", ", ".join(names))


def _models(_: Path | None) -> Iterator[Finding]:
    from edgeapp.models.store import manifest, spoiled
    from edgeapp.models.verify import verify

    try:
        entries = manifest()
    except ConfigError as error:
        yield Finding("models", "broken", str(error))
        return
    for spoilt in spoiled():
        yield Finding("models", "note", str(spoilt))
    for entry in entries:
        try:
            verify(entry)
        except ConfigError as error:
            yield Finding(f"model {entry.name}", "broken", str(error))
        else:
            yield Finding(f"model {entry.name}", "ok", "size and hash of every file are right")


def _accelerators(_: Path | None) -> Iterator[Finding]:
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        providers = onnxruntime.get_available_providers()
        gpu = [name for name in providers if name.startswith(("CUDA", "Tensorrt"))]
        fix = "" if gpu else "on a Jetson install NVIDIA's onnxruntime-gpu wheel for your JetPack"
        says = f"onnxruntime {onnxruntime.__version__}: {', '.join(gpu) if gpu else 'CPU only'}"
        yield Finding("vision accelerator", "ok" if gpu else "note", says, fix)
    if importlib.util.find_spec("ctranslate2"):
        import ctranslate2

        count = ctranslate2.get_cuda_device_count() if hasattr(ctranslate2, "get_cuda_device_count") else 0
        fix = (
            ""
            if count
            else "PyPI's ARM wheels have no CUDA: build CTranslate2 with -DWITH_CUDA=ON, or use engine llm_openai"
        )
        says = f"ctranslate2 {ctranslate2.__version__}: {f'{count} CUDA device(s)' if count else 'CPU only'}"
        yield Finding("speech and language accelerator", "ok" if count else "note", says, fix)


def _audio(_: Path | None) -> Iterator[Finding]:
    if importlib.util.find_spec("sounddevice") is None:
        return
    try:
        import sounddevice
    except OSError:
        yield Finding("PortAudio", "note", "the library is not installed", "sudo apt-get install libportaudio2")
        return
    except Exception as error:  # noqa: BLE001 - PortAudio's own error has no name before the import
        yield Finding("PortAudio", "note", f"does not start: {error}", "restart the sound server, or log in again")
        return
    yield Finding("PortAudio", "ok", sounddevice.get_portaudio_version()[1])
    try:
        devices = list(sounddevice.query_devices())
    except sounddevice.PortAudioError as error:
        yield Finding("sound card", "note", f"PortAudio cannot list devices: {error}", "restart the sound server")
        return
    for name, key in (("microphone", "max_input_channels"), ("speaker", "max_output_channels")):
        found = [each["name"] for each in devices if each[key] > 0]
        fix = "" if found else "plug one in; `edgeapp demo kiosk` works without"
        yield Finding(name, "ok" if found else "note", ", ".join(found[:4]) or "none", fix)


def _echo(path: Path | None) -> Iterator[Finding]:
    """May people speak over us? A chirp through loudspeaker and microphone tells, where there are both."""
    try:
        config = settings.load(path)
    except ConfigError:
        return
    audio = config.audio
    if config.app != "kiosk" or audio.echo != "cancel" or importlib.util.find_spec("livekit") is None:
        return
    try:
        coupling = asyncio.run(_chirp(audio))
    except (DeviceError, ConfigError, TimeoutError):
        return  # there is no sound card with both: the lines above say so
    fix = "" if coupling.heard and coupling.safe else "set [audio] echo, or move the loudspeaker, and run doctor again"
    yield Finding("speaking over it", "note" if fix else "ok", coupling.says, fix)


async def _chirp(audio: settings.Audio) -> Coupling:
    from edgeapp.devices import echo, microphone, speaker

    sound = {"block_ms": 10.0, "latency_ms": audio.latency_ms}
    async with (
        microphone.open_microphone(microphone.Options(device=audio.microphone, **sound)) as ear,
        speaker.open_speaker(speaker.Options(device=audio.speaker, **sound)) as mouth,
        asyncio.timeout(_CHIRP_S),
    ):
        return await echo.Duplex(ear, mouth, echo.Echo.NONE).measure()


def _camera(path: Path | None) -> Iterator[Finding]:
    try:
        source = settings.load(path).vision.camera.source
    except ConfigError:
        return
    devices = sorted(str(each) for each in Path("/dev").glob("video*"))
    fix = "" if devices else "plug one in; `edgeapp demo qc` works without"
    yield Finding("cameras", "ok" if devices else "note", ", ".join(devices) or "no /dev/video*", fix)
    if source.startswith("/dev/") and not Path(source).exists():
        yield Finding(
            "configured camera", "broken", f"{source} is not there", "plug it in or change vision.camera.source"
        )
    if importlib.util.find_spec("cv2"):
        try:
            import cv2
        except ImportError as error:
            fix = "pip install opencv-python-headless, which needs no display"
            yield Finding("OpenCV", "broken", f"does not load: {error}", fix)
            return
        built = "GStreamer:                   YES" in cv2.getBuildInformation()
        fix = "" if built else "CSI cameras need an OpenCV built with GStreamer (JetPack's python3-opencv)"
        yield Finding(
            "OpenCV", "ok" if built else "note", f"{cv2.__version__}, GStreamer {'yes' if built else 'no'}", fix
        )


def _near_edge(path: Path | None) -> Iterator[Finding]:
    """Is there a near edge where the configuration says so? One that is away is a note: the device does without."""
    try:
        config = settings.load(path)
    except ConfigError:
        return
    stages = (("voice.stt", config.voice.stt), ("voice.llm", config.voice.llm), ("voice.tts", config.voice.tts))
    for where, stage in (*stages, ("vision.detect", config.vision.detect)):
        if stage.remote is None or stage.remote.engine != "triton":
            continue
        name = f"near edge of {where}"
        try:
            asyncio.run(_round_trip(stage.remote, f"{where}.remote"))
        except ConfigError as error:
            yield Finding(name, "broken", str(error), "correct the configuration")
        except BackendError as error:
            yield Finding(name, "note", str(error), "start it with `edgeapp near-edge serve`, or check the network")
        else:
            yield Finding(name, "ok", f"{stage.remote.options['url']} answers")


async def _round_trip(section: settings.Engine, where: str) -> None:
    from edgeapp.engines import triton

    async with triton.load(settings.options(triton.Options, section.options, where), Lane("doctor")) as engine:
        await engine.probe()


def _room(_: Path | None) -> Iterator[Finding]:
    free_mb = shutil.disk_usage(Path.cwd()).free / 1e6
    state: Literal["ok", "broken"] = "ok" if free_mb > 200 else "broken"
    yield Finding(
        "disk", state, f"{free_mb:,.0f} MB free here", "" if free_mb > 200 else "free at least 200 MB for records"
    )
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    fix = "" if pages > 600 else "the kiosk needs about 600 MB: stop something"
    yield Finding("memory", "ok" if pages > 600 else "note", f"{pages:,.0f} MB free", fix)


_CHECKS: Final[tuple[Callable[[Path | None], Iterator[Finding]], ...]] = (
    _config,
    _system,
    _packages,
    _models,
    _accelerators,
    _audio,
    _echo,
    _camera,
    _near_edge,
    _room,
)
