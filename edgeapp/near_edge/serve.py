"""A real Triton, from nothing to serving and back to nothing: `async with serving(Settings()) as server`.

The server runs under a guard (guard.py) that leaves nothing of it behind, whoever dies first. It serves what the
repository holds, in explicit model control, and listens on loopback unless it has certificates. What can change the
server from outside (model repository, shared memory, logging, trace) needs a key that is made anew for every start, is
known to this process alone and is never printed; it stands in the server's command line, so it holds off the network,
not the users of this machine.

"Ready" lies after a model's process has died, so health is one tiny inference a model, through the same engine that
devices use. A model that fails it is unloaded and loaded again; a server that died is started again, with a pause that
grows, on the same ports.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeapp.core.events import (
    BackendError,
    CameraFrame,
    Clause,
    ConfigError,
    Features,
    Prompt,
    TimestampKind,
    Utterance,
)
from edgeapp.core.lane import Lane
from edgeapp.engines import triton
from edgeapp.near_edge import environment, repository
from edgeapp.near_edge.environment import Environment
from edgeapp.near_edge.repository import DEFAULT, Served

_STOP_S: Final = 12.0
_LOAD_S: Final = 60.0
_RESTART_MAX_S: Final = 30.0
_RESTRICTED: Final = "model-repository,shared-memory,logging,trace"
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1"}  # noqa: S104 - only with certificates
_LOOPBACK: Final = ("127.0.0.1", "localhost")
_KINDS: Final[Mapping[str, Any]] = {
    "detector": "detect", "rest": "rest", "stt": "stt", "tts": "tts", "llm": "llm", "echo": "stt",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What to serve and where."""

    models: Sequence[Served] = DEFAULT
    host: str = "127.0.0.1"
    """The IPv4 address to listen on; one that is not loopback needs `tls`."""

    grpc_port: int = 0
    """0 takes a free one."""

    metrics_port: int = 0
    """Always on loopback: Prometheus' format knows no password. 0 takes a free one."""

    tls: Path | None = None
    """A folder with ca.pem, server.pem and server.key; devices then need a certificate of the same authority."""

    content: Path | None = None
    """The kiosk's content file, whose sentences the recogniser knows; None is the one that ships."""

    folder: Path | None = None
    """Where the repository and the log are; None is the cache folder."""

    health_every_s: float = 10.0
    """How often every model is asked for one tiny inference; 0 never."""

    start_s: float = 90.0
    """The bound of a start, every model loaded and asked once."""


@dataclass
class Server:
    """A Triton under its guard. Lives on one loop."""

    settings: Settings
    environment: Environment
    folder: Path
    grpc_port: int
    metrics_port: int
    say: Callable[[str], None]
    pid: int = 0
    restarts: int = 0
    repairs: int = 0
    health: dict[str, str] = field(default_factory=dict)
    """What the last look found, by model: empty if it answered."""

    _admin_key: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)
    _shm_prefix: str = field(default_factory=lambda: f"edgeapp_{os.getpid()}_{secrets.token_hex(4)}_")
    _guard: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What a device's configuration calls it."""
        return f"{self.settings.host}:{self.grpc_port}"

    @property
    def log(self) -> Path:
        """The server's own words; at most 1 MB, and 1 MB before that."""
        return self.folder / "triton.log"

    @property
    def running(self) -> bool:
        """Has the server been started, and not ended?"""
        return self._guard is not None and self._guard.returncode is None

    def options(self, model: Served) -> triton.Options:
        """How this process reaches one of its models."""
        tls = self.settings.tls
        here = _ANYWHERE.get(self.settings.host, self.settings.host)
        return triton.Options(
            url=f"{here}:{self.grpc_port}",
            server_name="localhost" if tls else "",
            kind=_KINDS[model.template],
            served_model=model.name,
            jpeg_quality=0,
            ca=str(tls / "ca.pem") if tls else "",
            certificate=str(tls / "server.pem") if tls else "",
            key=str(tls / "server.key") if tls else "",
        )

    async def start(self) -> None:
        """Start it and wait until every model has answered. Raises ConfigError with what the server said if it does not."""
        spec = {
            "command": self._command(),
            "env": self.environment.variables(),
            "log": str(self.log),
            "shm_prefix": self._shm_prefix,
        }
        self._guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(Path(__file__).with_name("guard.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdin
        assert self._guard.stdout
        self._guard.stdin.write(json.dumps(spec).encode() + b"\n")
        try:
            async with asyncio.timeout(self.settings.start_s):
                self.pid = json.loads(await self._guard.stdout.readline())["pid"]
                await self._until_healthy()
        except (TimeoutError, json.JSONDecodeError, BackendError) as error:
            await self.stop()
            raise ConfigError(f"Triton did not start: {self._last_words() or error}; see {self.log}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it and everything it started. Idempotent; at most 12 s."""
        guard = self._guard
        if guard is None or guard.returncode is not None:
            return
        assert guard.stdin
        guard.stdin.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await guard.wait()
        except TimeoutError:
            self.kill()
            guard.kill()
            await guard.wait()

    def kill(self) -> None:
        """SIGKILL for the server, as a power cut would."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it was faster

    async def ended(self) -> None:
        """Wait until the server and everything it started are gone."""
        if self._guard is not None:
            await self._guard.wait()

    async def restart(self) -> None:
        """Stop it if it runs, and start it on the same ports. Raises ConfigError."""
        await self.stop()
        self.restarts += 1
        await self.start()

    async def check(self) -> dict[str, str]:
        """Ask every model for one tiny inference -> what is wrong, by model; empty where nothing is."""
        found = await asyncio.gather(*(self._ask(model) for model in self.settings.models))
        self.health = dict(zip([model.name for model in self.settings.models], found, strict=True))
        return self.health

    async def repair(self, model: str) -> None:
        """Unload and load a model, which is what brings back one whose process died. Raises BackendError."""
        self.repairs += 1
        await asyncio.to_thread(self._reload, model)

    async def watch(self) -> None:
        """Look after it for ever: repair a model that does not answer, start a server that is gone."""
        pause_s = 1.0
        while True:
            try:
                async with asyncio.timeout(self.settings.health_every_s):
                    await self.ended()
            except TimeoutError:
                pause_s = 1.0
                await self._look_after()
                continue
            self.say(f"Triton ended; starting it again. {self._last_words()}")
            try:
                await self.restart()
            except ConfigError as error:
                self.say(str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RESTART_MAX_S)

    async def _look_after(self) -> None:
        for model, wrong in (await self.check()).items():
            if wrong and self.running:
                self.say(f"{model} does not answer ({wrong}); loading it again")
                try:
                    await self.repair(model)
                except BackendError as error:
                    self.say(str(error))

    def _command(self) -> list[str]:
        settings, home = self.settings, self.environment.triton
        command = [
            str(self.environment.server),
            f"--model-repository={self.folder / 'repository'}",
            f"--backend-directory={home / 'backends'}",
            f"--cache-directory={home / 'caches'}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            "--exit-timeout-secs=2",
            "--allow-http=false",
            f"--grpc-address={settings.host}",
            f"--grpc-port={self.grpc_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.metrics_port}",
            "--log-info=false",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            f"--grpc-restricted-protocol={_RESTRICTED}:admin-key={self._admin_key}",
        ]
        command += [f"--load-model={model.name}" for model in settings.models]
        if settings.tls:
            command += [
                "--grpc-use-ssl=true",
                "--grpc-use-ssl-mutual=true",
                f"--grpc-root-cert={settings.tls / 'ca.pem'}",
                f"--grpc-server-cert={settings.tls / 'server.pem'}",
                f"--grpc-server-key={settings.tls / 'server.key'}",
            ]
        return command

    async def _until_healthy(self) -> None:
        """Bounded by the caller. The tiny inferences are the models' warm-up, too."""
        while True:
            if not self.running:
                raise BackendError("it ended while it was starting")
            if not any((await self.check()).values()):
                return
            await asyncio.sleep(0.05)

    async def _ask(self, model: Served) -> str:
        try:
            async with triton.load(self.options(model), Lane("health")) as engine:
                await _TINY[model.template](engine)
        except BackendError as error:
            return str(error)
        return ""

    def _reload(self, model: str) -> None:
        """Blocks. Raises BackendError."""
        import grpc
        from tritonclient.grpc import service_pb2 as pb
        from tritonclient.grpc import service_pb2_grpc

        metadata = (("triton-grpc-protocol-admin-key", self._admin_key),)
        options = self.options(Served(model, "llm"))
        if options.ca:
            files = (Path(path).read_bytes() for path in (options.ca, options.key, options.certificate))
            name = [("grpc.ssl_target_name_override", options.server_name)]
            channel = grpc.secure_channel(options.url, grpc.ssl_channel_credentials(*files), name)
        else:
            channel = grpc.insecure_channel(options.url)
        try:
            with channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                stub.RepositoryModelUnload(
                    pb.RepositoryModelUnloadRequest(model_name=model), timeout=_LOAD_S, metadata=metadata
                )
                stub.RepositoryModelLoad(
                    pb.RepositoryModelLoadRequest(model_name=model), timeout=_LOAD_S, metadata=metadata
                )
        except grpc.RpcError as error:
            raise BackendError(f"{model} could not be loaded again: {error.details()}") from error

    def _last_words(self) -> str:
        """The server's last error, in one line."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        errors = [line for line in lines if line.startswith("E")] or [line for line in lines if line.strip()]
        return errors[-1][:300] if errors else ""


async def _tiny_stream(stream: Awaitable[Any]) -> None:
    opened = await stream
    async for _ in opened:
        pass
    await opened.aclose()


def _tiny_picture() -> CameraFrame:
    return CameraFrame(np.zeros((32, 32, 3), np.uint8), 0, 1, "health", TimestampKind.FILE)


_TINY: Final[Mapping[str, Callable[[Any], Awaitable[Any]]]] = {
    "detector": lambda detect: detect(_tiny_picture()),
    "rest": lambda rest: rest(Features(np.zeros(repository.CUT_SHAPE, np.float32), 32, 32, 1, "health")),
    "stt": lambda stt: stt(Utterance(1, np.zeros(800, np.int16), 0)),
    "tts": lambda tts: _tiny_stream(tts(Clause("a"))),
    "echo": lambda any_kind: any_kind.ask(
        lambda: [triton.tensor("data", "FP32", np.zeros(1, np.float32))], {"data": ("FP32", 1)}
    ),
    "llm": lambda llm: _tiny_stream(llm(Prompt("", (), "hello", max_tokens=1))),
}
"""One tiny inference a template."""


@asynccontextmanager
async def serving(
    settings: Settings = Settings(), *, watch: bool = True, say: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Server]:
    """Prepare what is missing, start Triton, and end it with the context.

    With `watch` it is looked after: models are repaired and a dead server is started again, told to `say`. Without, a
    `kill()` stays final until `restart()`. Raises ConfigError if it cannot be started.
    """
    _check(settings)
    ready = await asyncio.to_thread(environment.prepare)
    own = settings.folder or environment.cache_root() / f"serve-{os.getpid()}-{secrets.token_hex(3)}"
    started = False

    def clean() -> None:
        if started and settings.folder is None:  # of a start that failed, the log is kept until the next one
            _remove(own)

    async with AsyncExitStack() as stack:
        _sweep()
        stack.callback(clean)
        _remove(own / "repository")
        await asyncio.to_thread(repository.build, own / "repository", settings.models, content=settings.content)
        grpc_port, metrics_port = _ports(settings)
        server = Server(settings, ready, own, grpc_port, metrics_port, say)
        stack.push_async_callback(server.stop)
        await server.start()
        started = True
        if watch and settings.health_every_s:
            watcher = asyncio.create_task(server.watch())

            async def stop_watching() -> None:
                watcher.cancel()
                await asyncio.wait((watcher,))

            stack.push_async_callback(stop_watching)
        yield server


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what applications that are gone could not."""
    for folder in environment.cache_root().glob("serve-*-*"):
        number = folder.name.split("-")[1]
        if not Path(f"/proc/{number}").exists():
            _remove(folder)


def _check(settings: Settings) -> None:
    if settings.host not in _LOOPBACK and settings.tls is None:
        raise ConfigError(
            f"the near edge would listen on {settings.host} without TLS: make certificates with "
            "`edgeapp near-edge certificates DIR` and give --tls DIR/server"
        )
    if settings.tls:
        for name in ("ca.pem", "server.pem", "server.key"):
            if not (settings.tls / name).is_file():
                raise ConfigError(
                    f"{settings.tls / name} is missing: make it with `edgeapp near-edge certificates DIR`"
                )


def _ports(settings: Settings) -> tuple[int, int]:
    """The ports asked for, or free ones. Raises ConfigError for one that is taken."""
    with socket.socket() as first, socket.socket() as second:
        for each, host, port in (
            (first, settings.host, settings.grpc_port),
            (second, "127.0.0.1", settings.metrics_port),
        ):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                each.bind((host, port))
            except OSError as error:
                raise ConfigError(f"the near edge cannot listen on {host}:{port}: {error.strerror}") from error
        return first.getsockname()[1], second.getsockname()[1]


async def serve(settings: Settings) -> None:
    """Serve until somebody stops it, and say what happens on stderr."""

    def say(text: str) -> None:
        sys.stderr.write(f"edgeapp: {text}\n")
        sys.stderr.flush()

    async with serving(settings, say=say) as server:
        names = ", ".join(model.name for model in settings.models)
        say(f"serving {names} at {server.url}{' with mutual TLS' if settings.tls else ''}")
        say(f"metrics at http://127.0.0.1:{server.metrics_port}/metrics, log in {server.log}")
        await asyncio.Event().wait()
