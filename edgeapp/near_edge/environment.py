"""The Triton of this machine: the server that the `nvidia-pytriton` wheel carries, in a Python environment of its own.

Its own, because the Python backend's stub was built for numpy 1 and corrupts tensors without a word under numpy 2. The
environment is made once, from pinned and hash-checked requirements, in the cache folder; a folder without its stamp was
cut off and is made anew. The stub finds its environment through PATH alone, and its libpython must be the one of the same
Python: both are found here, because a stub without them makes the server hang instead of failing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeapp.core.events import ConfigError

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_STUBS: Final = ("3.11", "3.12")
"""Pythons that both the wheel's stubs and this application know."""

_MAKE_S: Final = 900
"""The bound of the one preparation: 250 MB on a slow line."""

_ASKED: Final = """
import ensurepip, sys, sysconfig
print("%d.%d" % sys.version_info[:2], *sysconfig.get_config_vars("LIBDIR", "INSTSONAME"))
"""

_ELSEWHERE: Final = "there the near edge is the official image: see deploy/near-edge/README.md"


@dataclass(frozen=True)
class Environment:
    """What it takes to start the server."""

    folder: Path
    """The virtual environment."""

    triton: Path
    """Holds bin/, backends/ and caches/."""

    library_path: str
    """Where the stub's libpython is."""

    @property
    def server(self) -> Path:
        """The executable."""
        return self.triton / "bin" / "tritonserver"

    def variables(self) -> dict[str, str]:
        """The server's environment variables: this environment first in PATH, its libpython, one thread a model."""
        keep = {key: os.environ[key] for key in ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ") if key in os.environ}
        return keep | {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "LD_LIBRARY_PATH": self.library_path,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def cache_root() -> Path:
    """Where the environment, the repository and the log are: $EDGEAPP_HOME/near-edge, or the user's cache folder."""
    home = os.environ.get("EDGEAPP_HOME", "")
    cache = os.environ.get("XDG_CACHE_HOME", "") or str(Path.home() / ".cache")
    return Path(home).expanduser() / "near-edge" if home else Path(cache) / "edgeapp" / "near-edge"


def no_wheel() -> str:
    """Why the wheel cannot run on this platform; empty if it can."""
    libc, version = platform.libc_ver()
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"nvidia-pytriton has no wheel for {sys.platform} on {platform.machine()}; {_ELSEWHERE}"
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 35):
        return f"nvidia-pytriton needs glibc 2.35 or later, this system has {libc or 'another libc'} {version}; {_ELSEWHERE}"
    return ""


def prepare() -> Environment:
    """Return the environment, making it if it is not there: once, at most 15 minutes, telling so on stderr. Blocks.

    Raises ConfigError if the platform has no wheel, no Python with a shared library is here, or pip failed.
    """
    if why := no_wheel():
        raise ConfigError(why)
    python, version, library_path = _python()
    wanted = requirements()
    digest = hashlib.sha256(wanted.read_bytes() + python.encode()).hexdigest()[:12]
    folder = cache_root() / f"venv-{digest}"
    environment = Environment(
        folder, folder / "lib" / f"python{version}" / "site-packages" / "pytriton" / "tritonserver", library_path
    )
    stamp = folder / "complete"
    if not stamp.exists():
        with _alone(folder.with_suffix(".lock")):
            if not stamp.exists():
                _make(environment, python, version, wanted)
                stamp.touch()
    _link_package(folder / "lib" / f"python{version}" / "site-packages" / "edgeapp")
    return environment


def requirements() -> Path:
    """The pinned requirements: in the checkout, or beside this file in an installed wheel."""
    checkout = _PACKAGE.parent / "requirements" / "near-edge.txt"
    return checkout if checkout.is_file() else Path(__file__).with_name("requirements.txt")


def _python() -> tuple[str, str, str]:
    """An interpreter whose shared library is here -> its path, its version and the library's folder."""
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    named = [shutil.which(f"python{version}") for version in _STUBS]
    for python in dict.fromkeys([own, *filter(None, named), *(f"/usr/bin/python{version}" for version in _STUBS)]):
        try:
            told = subprocess.run(  # noqa: S603 - an interpreter of this machine
                [python, "-c", _ASKED], capture_output=True, text=True, timeout=30, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        version, folder, library = told.split()
        if version in _STUBS and (Path(folder) / library).is_file():
            return python, version, folder
    raise ConfigError(
        "Triton's Python backend needs Python 3.11 or 3.12 with its shared library: "
        "sudo apt-get install python3.11-venv libpython3.11"
    )


def _make(environment: Environment, python: str, version: str, wanted: Path) -> None:
    folder = environment.folder
    sys.stderr.write(f"edgeapp: making Triton's environment in {folder}, about a minute and 600 MB, this once\n")
    sys.stderr.flush()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write to {folder.parent}: {error.strerror}; set EDGEAPP_HOME to a folder that can be written"
        ) from error
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    _run([python, "-m", "venv", str(folder)], "sudo apt-get install python3-venv")
    _run(
        [*pip, "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(wanted)],
        "check the network and the space on the disk, then run the same command again",
    )
    backend = environment.triton / "backends" / "python"
    stub = environment.triton / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy2(stub, backend / stub.name)
    environment.server.chmod(0o755)


def _run(command: list[str], fix: str) -> None:
    try:
        code = subprocess.run(  # noqa: S603 - pip and venv of this machine
            command, stdout=sys.stderr, stdin=subprocess.DEVNULL, timeout=_MAKE_S, check=False
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"making Triton's environment took longer than {_MAKE_S} s: {fix}") from error
    if code:
        raise ConfigError(f"could not make Triton's environment ({' '.join(command[:5])} ... ended with {code}): {fix}")


def _link_package(link: Path) -> None:
    """The server's models use this application's own engines, so that an answer is the same on either side."""
    if link.is_symlink() and link.resolve() == _PACKAGE:
        return
    new = link.with_name(f"edgeapp.{os.getpid()}")
    new.symlink_to(_PACKAGE)
    new.replace(link)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process prepares, another waits for it."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise ConfigError(
            f"cannot write to {lock.parent}: {error.strerror}; set EDGEAPP_HOME to a folder that can be written"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)  # held by a process that is bounded by _MAKE_S
        yield
