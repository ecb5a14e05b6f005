"""Fetch a model from the Hugging Face hub, resumed after a cut, checked before anything can load it.

huggingface_hub says which commit a revision is, which files it has, how long they are and what they hash to; `fetch.py`
brings them. What came is checked against the hashes that were known before (in the catalogue, or recorded by an earlier
pull) and those the hub states; only when every file is right does the store take them. The endpoint is the hub's, or
`$HF_ENDPOINT`; the token `$HF_TOKEN`, or what `hf auth login` stored.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final

from edgeapp.core.events import ConfigError
from edgeapp.models.catalogue import COMMIT, Source, check_source
from edgeapp.models.fetch import Patience, Unfinished, client, fetch
from edgeapp.models.manifest import Model, ModelFile
from edgeapp.models.store import alone, arriving_of, bundled, folder_of, install, pulled_root, recorded
from edgeapp.models.verify import sha256_of, verify

_SPARE_BYTES: Final = 16_000_000
"""Left free on the disk beside the model."""

_PART: Final = ".part"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Say = Callable[[str], None]
"""Tells the operator one line."""

Watch = Callable[[str, int], Callable[[int], None]]
"""Opens a progress bar for (file, bytes); what it returns is called with every change of the count of bytes."""

Accept = Callable[[Model, Path], None]
"""Looks at a model in a folder before it replaces the one that is here; raises ConfigError to refuse it."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file as the hub lists it."""

    name: str
    """Its path in the repository."""

    path: str
    """Its path in the model's folder."""

    size: int
    sha256: str
    """Empty for a small file, of which the hub knows only git's hash."""

    blob: str
    """Git's hash (SHA-1 of a header and the bytes)."""


def pull(
    source: Source,
    say: Say,
    watch: Watch,
    accept: Accept = lambda *_: None,
    patience: Patience = Patience(),
    stop: Event | None = None,
) -> Model:
    """Have `source` on this device, whole and verified; return its record. Raises ConfigError in one sentence.

    `accept` is asked if another version of the model is here already, which stays if it refuses. Once another thread sets `stop`
    it ends with Stopped, unless all files are here by then: what came stays, and the next pull goes on there.
    """
    check_source(source, "the catalogue")
    if source.name in {model.name for model in bundled()}:
        raise ConfigError(f"{source.name} ships with edgeapp: there is nothing to pull")
    root = pulled_root()
    try:
        with alone(source.name, "pull"):
            return _pull_alone(source, say, watch, accept, patience, stop or Event())
    except OSError as error:
        if error.errno in _FULL:
            raise ConfigError(
                f"the disk of {root} is full: free some space for {source.name} (about {source.size_mb} MB) and pull "
                "again, it goes on where it stopped"
            ) from error
        raise ConfigError(
            f"cannot keep {source.name} in {root}: {error.strerror or error}; mend that, or start anew after "
            f"`edgeapp models remove {source.name}`"
        ) from error


def _pull_alone(source: Source, say: Say, watch: Watch, accept: Accept, patience: Patience, stop: Event) -> Model:
    before = recorded(source.name)
    try:
        token = _token(source)
        revision, listed = _resolve(source, before, token, say)
    except (FileNotFoundError, PermissionError, IsADirectoryError, ssl.SSLError) as error:  # before any file is written
        raise ConfigError(
            f"cannot ask the hub ({error.strerror or error}): look at SSL_CERT_FILE, the proxy and the hub's token file, "
            f"or use {source.alternative}"
        ) from error
    if before and before.revision == revision and _is_whole(before):
        say(f"{source.name} is on this device and right: revision {revision[:12]}")
        if arriving_of(source.name).exists():  # of a pull that was killed when all but this was done
            shutil.rmtree(arriving_of(source.name))
        return before
    known = {each.path: each.sha256 for each in before.files} if before and before.revision == revision else {}
    known |= {name.removeprefix(source.strip): digest for name, digest in source.sha256.items()}
    staged = _staging(source, revision, listed)
    _check_space(source, listed, staged)
    with _errors(source), client(token, "edgeapp", patience) as http:
        files = [
            _bring(source, each, revision, known.get(each.path, ""), staged, http, watch, patience, stop)
            for each in listed
        ]
    if unknown := [each.path for each in files if each.path not in known]:
        say(f"trust on first use: what came for {', '.join(unknown)} is recorded, and expected from now on")
    model = Model(
        name=source.name,
        kind=source.kind,
        engine="" if source.convert else source.engine,
        licence=source.licence,
        source=source.repository,
        revision=revision,
        made_by=source.repository.partition("/")[0],
        files=files,
        main=source.main,
        note=source.note,
    )
    if before and not source.convert:
        accept(model, staged)
    install(model, staged)
    shutil.rmtree(staged.parent)
    return model


def _resolve(source: Source, before: Model | None, token: str, say: Say) -> tuple[str, list[_Listed]]:
    """The commit, and the files of it."""
    wanted = source.revision
    if not COMMIT.fullmatch(wanted) and before:
        wanted = before.revision  # a model that is here stays at its revision
    with _errors(source):
        import huggingface_hub

        api = huggingface_hub.HfApi(endpoint=_endpoint(), token=token or False)
        try:
            info = api.model_info(source.repository, revision=wanted, timeout=10, files_metadata=True)
            revision = str(info.sha or "")
            there = {each.rfilename: each for each in info.siblings or []}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # any other JSON
            why = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"{_hub()} does not answer like a hub ({why}): try again later, or use {source.alternative}"
            ) from error
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
    for name in source.files:
        if name not in there:
            raise ConfigError(f"{source.repository} has no {name} at {revision[:12]}: update edgeapp")
    names = source.files + [name for name in source.also if name in there]
    return revision, [_listed(source, name, there[name]) for name in names]


def _listed(source: Source, name: str, sibling: Any) -> _Listed:
    size, lfs = sibling.size, sibling.lfs
    digest, blob = str(lfs.sha256 if lfs else ""), str(sibling.blob_id or "")
    if type(size) is not int or size < 0 or not (digest or blob):
        raise ConfigError(
            f"the hub does not list size and hash of {name} in {source.repository}; set HF_ENDPOINT to a real hub"
        )
    pinned = source.sha256.get(name, "")
    if pinned and digest and digest != pinned:
        raise ConfigError(_other_bytes(source, name.removeprefix(source.strip), digest, pinned))
    return _Listed(name, name.removeprefix(source.strip), size, digest, blob)


def _staging(source: Source, revision: str, listed: list[_Listed]) -> Path:
    """The folder where this revision arrives, without anything that is not of it."""
    arriving = arriving_of(source.name)
    staged = arriving / revision
    staged.mkdir(parents=True, exist_ok=True)
    for other in arriving.iterdir():
        if other != staged:
            shutil.rmtree(other)
    expected = {staged / each.path for each in listed} | {staged / f"{each.path}{_PART}" for each in listed}
    for path in sorted(staged.rglob("*"), reverse=True):
        if path.is_symlink() or (path not in expected and not path.is_dir()):
            path.unlink()
    for each in listed:
        (staged / each.path).parent.mkdir(parents=True, exist_ok=True)
    return staged


def _check_space(source: Source, listed: list[_Listed], staged: Path) -> None:
    here = sum(path.stat().st_size for path in staged.rglob("*") if path.is_file())
    need = sum(each.size for each in listed) - here + _SPARE_BYTES
    free = shutil.disk_usage(staged).free
    if free < need:
        raise ConfigError(
            f"the disk of {pulled_root()} has {free / 1e6:.0f} MB free and {source.name} needs {need / 1e6:.0f} MB: "
            f"free some space and pull again, or use {source.alternative}"
        )


def _bring(
    source: Source,
    listed: _Listed,
    revision: str,
    known: str,
    staged: Path,
    http: Any,
    watch: Watch,
    patience: Patience,
    stop: Event,
) -> ModelFile:
    """Have one file in `staged`, checked; what is there of it from an earlier pull is used."""
    import huggingface_hub

    final = staged / listed.path
    part = final.with_name(final.name + _PART)
    if final.exists():
        final.rename(part)  # it is checked again: it may have been written by a machine that lost its power
    url = huggingface_hub.hf_hub_url(source.repository, listed.name, revision=revision, endpoint=_endpoint())
    count = watch(listed.name, listed.size)
    fetch(http, url, part, listed.size, count, patience, stop)
    digest = sha256_of(part)
    if _missed(part, digest, listed, known):  # perhaps an old beginning, or an accident: a whole new copy tells
        part.unlink()
        count(-listed.size)
        fetch(http, url, part, listed.size, count, patience, stop)
        digest = sha256_of(part)
        if expected := _missed(part, digest, listed, known):
            part.unlink()
            raise ConfigError(_other_bytes(source, listed.path, digest, expected))
    part.rename(final)
    return ModelFile(path=listed.path, sha256=digest, size=listed.size)


def _missed(file: Path, digest: str, listed: _Listed, known: str) -> str:
    """The hash that `file`, whose SHA-256 is `digest`, should have and has not; empty if it is right."""
    for expected in (known, listed.sha256):
        if expected and digest != expected:
            return expected
    return "" if listed.sha256 or _git_hash(file) == listed.blob else listed.blob


def _git_hash(file: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _other_bytes(source: Source, path: str, digest: str, expected: str) -> str:
    return (
        f"the hub sent other bytes for {path} of {source.name} than were expected (hash {digest[:12]} instead of "
        f"{expected[:12]}): nothing was installed; pull again, and if it happens again do not use this hub"
    )


def _is_whole(model: Model) -> bool:
    try:
        verify(model, folder_of(model))
    except ConfigError:
        return False
    return True


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _hub() -> str:
    """The hub's name in sentences, without the password that an endpoint may carry."""
    return re.sub(r"//[^/]*@", "//", _endpoint() or "the Hugging Face hub")


def _token(source: Source) -> str:
    """The hub's token, if there is one. Raises ConfigError without ever saying what it is."""
    with _errors(source):
        import huggingface_hub

        token = str(huggingface_hub.get_token() or "")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError("HF_TOKEN holds signs that no token has: set it to the token alone")
    return token


@contextmanager
def _errors(source: Source) -> Iterator[None]:
    """Whatever the hub or the way to it does wrong, as one sentence that names the way out."""
    try:
        import httpx  # noqa: F401
        from huggingface_hub import errors
    except ImportError as error:
        raise ConfigError(f"pulling a model needs the package {error.name}: pip install 'edgeapp[hub]'") from error
    what = f"{source.repository} on {_hub()}"
    instead = f"or use {source.alternative}"
    gated = (
        f"{what} is gated: accept its licence there, set HF_TOKEN to a token of that account and pull again, {instead}"
    )
    gone = f"{what} has no such files any more: update edgeapp, {instead}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ConfigError(gated) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ConfigError(gated if source.gated else gone) from error  # the hub hides what it does not grant
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise ConfigError(_refused(status, what, gated, gone, instead)) from error
    except Unfinished as error:
        if error.status:
            raise ConfigError(_refused(error.status, what, gated, gone, instead)) from error
        raise ConfigError(
            f"{what} did not send the whole file: {error.why}; pull again, it goes on where it stopped, {instead}"
        ) from error
    except (*_transport_errors(), errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise ConfigError(
            f"{what} cannot be reached: connect this device and pull again (it goes on where it stopped), {instead}"
        ) from error


def _refused(status: int, what: str, gated: str, gone: str, instead: str) -> str:
    if status in {401, 403}:
        return gated
    return gone if status in {404, 410} else f"{what} answered {status}: try again later, {instead}"


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library below the hub's raises: another one in each of its major versions."""
    names = (
        ("httpx2", "HTTPError"),
        ("httpx2", "InvalidURL"),
        ("httpx", "HTTPError"),
        ("httpx", "InvalidURL"),
        ("requests", "RequestException"),
    )
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)
