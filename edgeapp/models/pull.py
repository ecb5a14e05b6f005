"""Fetch a model from the Hugging Face hub, resumed after a cut, checked before anything can load it.

Everything arrives in a folder beside the store; only when every file has its size and hash is that folder renamed to the
model's name, so a model is there whole or not at all, and the one that was there before stays until then. A lock keeps
two pulls of one model apart. The endpoint is the hub's, or `$HF_ENDPOINT`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import msgspec

from edgeapp.core.events import ConfigError
from edgeapp.models.catalogue import COMMIT, Source
from edgeapp.models.manifest import Model, ModelFile, check_model, check_path
from edgeapp.models.store import RECORD, pulled_root
from edgeapp.models.verify import sha256_of, verify

_MAX_FILES: Final = 200
"""A repository with more matching files is not one of these models."""

Say = Callable[[str], None]
"""Tells the operator one line."""

Watch = Callable[[str, int | None], Callable[[int], None]]
"""Opens a progress bar for (file, bytes or None if unknown); what it returns is called with every new count of bytes."""


def pull(source: Source, say: Say, watch: Watch) -> Model:
    """Have `source` on this device, whole and verified; return its record. Raises ConfigError in one sentence."""
    root = pulled_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root, source.name):
            return _pull_alone(source, root, say, watch)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            need = f" (about {source.size_mb} MB)" if source.size_mb else ""
            raise ConfigError(
                f"the disk of {root} is full: free some space for {source.name}{need} and pull again"
            ) from error
        raise ConfigError(f"cannot keep {source.name} in {root}: {error.strerror or error}") from error


def _pull_alone(source: Source, root: Path, say: Say, watch: Watch) -> Model:
    target = root / source.name
    before = _record_of(target)
    revision, names = _resolve(source, before, say)
    known = {each.path: each.sha256 for each in before.files} if before and before.revision == revision else {}
    known |= {_inside(source, path): digest for path, digest in source.sha256.items()}
    if before and before.revision == revision and _is_whole(before, target):
        say(f"{source.name} is on this device and right: revision {revision[:12]}")
        return before
    arriving = root / f".arriving-{source.name}"
    files = [_fetch(source, name, revision, known, arriving, watch) for name in names]
    unknown = [each.path for each in files if each.path not in known]
    if unknown:
        say(
            f"trust on first use: no hash was known for {', '.join(unknown)}; what came is recorded and checked from now on"
        )
    model = Model(
        name=source.name,
        kind=source.kind,
        engine=source.engine,
        licence=source.licence,
        source=source.repository,
        revision=revision,
        made_by=source.repository.partition("/")[0],
        files=files,
        main=source.main,
    )
    check_model(model, target / RECORD)
    _place(source, model, names, arriving, target)
    return model


def _resolve(source: Source, before: Model | None, say: Say) -> tuple[str, list[str]]:
    """The commit and the repository's paths that match."""
    import huggingface_hub

    wanted = source.revision
    if not COMMIT.fullmatch(wanted) and before:
        wanted = before.revision  # a model that is here stays at its revision
    with _hub_errors(source):
        api = huggingface_hub.HfApi(endpoint=_endpoint())
        info = api.model_info(source.repository, revision=wanted, timeout=10)
    revision = info.sha or ""
    if not COMMIT.fullmatch(revision):
        raise ConfigError(
            f"the hub names no commit for {source.repository}; try again, or set HF_ENDPOINT to a real hub"
        )
    if COMMIT.fullmatch(wanted) and revision != wanted:
        raise ConfigError(
            f"the hub answers with revision {revision[:12]} of {source.repository} instead of {wanted[:12]}"
        )
    if not COMMIT.fullmatch(wanted):
        say(f"trust on first use: {source.repository} is not pinned here; its {wanted} is commit {revision} today")
    paths = [each.rfilename for each in info.siblings or []]
    names = [path for path in paths if any(fnmatchcase(path, pattern) for pattern in source.patterns)]
    if not names or len(names) > _MAX_FILES:
        raise ConfigError(
            f"{source.repository} has {len(names)} files of {source.name} at {revision[:12]}; update edgeapp"
        )
    for name in names:
        check_path(_inside(source, name), f"the hub's list of {source.repository}")
    return revision, names


def _fetch(source: Source, name: str, revision: str, known: dict[str, str], arriving: Path, watch: Watch) -> ModelFile:
    """Bring one file into `arriving`, where it may be begun already, and check it."""
    import huggingface_hub

    with _hub_errors(source):
        file = Path(
            huggingface_hub.hf_hub_download(
                source.repository,
                name,
                revision=revision,
                local_dir=arriving,
                endpoint=_endpoint(),
                tqdm_class=_bar(watch, name),
            )
        )
    path, size, digest = _inside(source, name), file.stat().st_size, sha256_of(file)
    expected = known.get(path)
    if expected and digest != expected:
        file.unlink()
        raise ConfigError(
            f"the hub sent other bytes for {path} of {source.name} than were expected (SHA-256 {digest[:12]} instead of "
            f"{expected[:12]}): nothing was installed; pull again, and if it happens again do not use this hub"
        )
    return ModelFile(path=path, sha256=digest, size=size)


def _place(source: Source, model: Model, names: list[str], arriving: Path, target: Path) -> None:
    """Turn what has arrived into the model's folder by one rename."""
    ready = arriving.with_name(f".ready-{source.name}")
    old = arriving.with_name(f".old-{source.name}")
    shutil.rmtree(ready, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    for name in names:
        to = ready / _inside(source, name)
        to.parent.mkdir(parents=True, exist_ok=True)
        (arriving / name).rename(to)
    record = ready / RECORD
    record.write_bytes(msgspec.json.format(msgspec.json.encode(model), indent=2))
    for file in [ready / each.path for each in model.files] + [record]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if target.exists():
        target.rename(old)
    ready.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(arriving, ignore_errors=True)


def _record_of(target: Path) -> Model | None:
    file = target / RECORD
    try:
        return msgspec.json.decode(file.read_bytes(), type=Model)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _is_whole(model: Model, folder: Path) -> bool:
    try:
        verify(model, folder)
    except ConfigError:
        return False
    return True


def _inside(source: Source, name: str) -> str:
    """The path in the model's folder for a path of the repository."""
    return name.removeprefix(source.strip)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _alone(root: Path, name: str) -> Iterator[None]:
    """Hold the lock of one model; it goes with the process, however that ends. Raises ConfigError if it is taken."""
    with (root / f".lock-{name}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another `edgeapp models pull {name}` is under way: wait until it is done") from error
        yield


@contextmanager
def _hub_errors(source: Source) -> Iterator[None]:
    """Whatever the hub or the way to it does wrong, as one sentence that names the way out."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise ConfigError(f"pulling a model needs the package {error.name}: pip install 'edgeapp[hub]'") from error
    what = f"{source.repository} on {_endpoint() or 'the Hugging Face hub'}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(
            f"{what} is gated: accept its licence there and set HF_TOKEN, or use {source.alternative}"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError) as error:
        raise ConfigError(f"{what} has no such files any more: update edgeapp, or use {source.alternative}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "nothing"
        raise ConfigError(f"{what} answered {status}: try again later, or use {source.alternative}") from error
    except (
        *_transport_errors(),
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        ConnectionError,
    ) as error:
        raise ConfigError(
            f"{what} cannot be reached: connect this device and pull again (it goes on where it stopped), "
            f"or use {source.alternative}"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ConfigError(f"{what} did not send the whole file: pull again, it goes on where it stopped") from error
    except ValueError as error:
        raise ConfigError(f"{what} does not answer like a hub: {' '.join(str(error).split())[:200]}") from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library below the hub's raises: another one in each of its major versions."""
    names = (("httpx2", "HTTPError"), ("httpx", "HTTPError"), ("requests", "RequestException"))
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _bar(watch: Watch, name: str) -> Any:
    """A class in the shape the hub's library wants for progress, that only reports to `watch`."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            super().__init__(disable=True)
            self._count = watch(name, total)
            self._count(initial)

        def update(self, n: float | None = 1) -> bool | None:
            self._count(int(n or 0))
            return None

    return Bar
