"""The manifest is read strictly, and every wrong file of a model is one sentence that names the fix."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from edgeapp.core.events import ConfigError
from edgeapp.models import store
from edgeapp.models.catalogue import catalogue
from edgeapp.models.commands import list_models, pull_model, verify_models
from edgeapp.models.manifest import Model, read_manifest
from edgeapp.models.verify import verify

DATA = b"weights" * 100
GOOD = f"""
[[model]]
name = "tiny"
kind = "llm"
engine = "llm_ctranslate2"
licence = "MIT"
source = "made here"
revision = ""
made_by = "scripts/train.py"
main = "model.bin"
figures = {{ accuracy = 0.97, note = "held-out" }}
[[model.files]]
path = "model.bin"
sha256 = "{hashlib.sha256(DATA).hexdigest()}"
size = {len(DATA)}
"""


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of bundled models with one model; return the root."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.bin").write_bytes(DATA)
    (tmp_path / "manifest.toml").write_text(GOOD)
    monkeypatch.setattr(store, "bundled_root", lambda: tmp_path)
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_good_manifest(bundle: Path) -> None:
    (model,) = store.manifest()
    assert model.figures["accuracy"] == 0.97
    assert verify(model).size == len(DATA)
    assert store.path_of("tiny") == bundle / "tiny" / "model.bin"


WRONG = {
    "no table": ("[[model]]", "[model]", "not a manifest"),
    "unknown key": ("licence =", 'author = "me"\nlicence =', "model 'tiny': Object contains unknown field `author`"),
    "no licence": ('licence = "MIT"', "", "licence"),
    "empty licence": ('"MIT"', '" "', "licence is missing"),
    "empty source": ('"made here"', '""', "source is missing"),
    "empty maker": ('"scripts/train.py"', '""', "made_by is missing"),
    "a figure that is no number": ("accuracy = 0.97", "accuracy = nan", "'accuracy' is not a number"),
    "a golden hash without a set": ("main =", f'golden_sha256 = "{"0" * 64}"\nmain =', "beside `golden`"),
    "a golden set elsewhere": ("main =", 'golden = "../golden"\nmain =', "not a safe path"),
    "an option that is a table": ("main =", "options = { context = { a = 1 } }\nmain =", "options"),
    "unknown kind": ('"llm"', '"language"', "model 'tiny': kind: Invalid enum value"),
    "short hash": ('sha256 = "', 'sha256 = "0', "64 lower-case hex"),
    "upper-case hash": (
        hashlib.sha256(DATA).hexdigest(),
        hashlib.sha256(DATA).hexdigest().upper(),
        "64 lower-case hex",
    ),
    "path up": ('path = "model.bin"', 'path = "../model.bin"', "not a safe path"),
    "path inside up": ('path = "model.bin"', 'path = "a/../../model.bin"', "not a safe path"),
    "absolute path": ('path = "model.bin"', 'path = "/etc/passwd"', "not a safe path"),
    "windows path": ('path = "model.bin"', "path = 'C:\\model.bin'", "not a safe path"),
    "home path": ('path = "model.bin"', 'path = "~/model.bin"', "not a safe path"),
    "empty path": ('path = "model.bin"', 'path = ""', "not a safe path"),
    "name as a path": ('name = "tiny"', 'name = "../tiny"', "name must be"),
    "main not listed": ('main = "model.bin"', 'main = "other.bin"', "not one of its files"),
    "size as text": (f"size = {len(DATA)}", 'size = "700"', "model 'tiny': files[0].size: Expected `int`"),
    "negative size": (f"size = {len(DATA)}", "size = -1", "negative"),
    "twice": ("[[model]]", GOOD + "[[model]]", "twice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_manifest_is_refused(tmp_path: Path, what: str) -> None:
    old, new, says = WRONG[what]
    file = tmp_path / "manifest.toml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as refused:
        read_manifest(file)
    assert says in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[[model", b"model = 3"])
def test_what_is_no_manifest(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "manifest.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="not a manifest"):
        read_manifest(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_manifest(tmp_path / "none.toml")


def _folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


SPOIL: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "is missing"),
    "cut": (lambda file: file.write_bytes(DATA[:-1]), "cut short: 699 of 700"),
    "longer": (lambda file: file.write_bytes(DATA + b"!"), "701 bytes instead of 700"),
    "other": (lambda file: file.write_bytes(DATA[::-1]), "SHA-256 is another one"),
    "a folder": (_folder_instead, "is not a file"),
}


@pytest.mark.parametrize("what", SPOIL)
def test_a_spoiled_file_is_one_sentence_with_the_fix(bundle: Path, what: str) -> None:
    spoil, says = SPOIL[what]
    spoil(bundle / "tiny" / "model.bin")
    (model,) = store.manifest()
    with pytest.raises(ConfigError) as refused:
        verify(model)
    assert says in str(refused.value)
    assert "install edgeapp again" in str(refused.value)
    screen = io.StringIO()
    with pytest.raises(ConfigError, match="1 of the models"):
        verify_models(Console(file=screen, width=200), ())
    assert "wrong" in screen.getvalue()


def test_the_commands(bundle: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80)
    list_models(console)
    assert "tiny" in screen.getvalue()
    for source in catalogue():
        assert source.name in screen.getvalue()
    verify_models(console, ("tiny",))
    assert "right" in screen.getvalue()
    with pytest.raises(ConfigError, match="no model 'huge'"):
        verify_models(console, ("huge",))
    with pytest.raises(ConfigError, match="to pull"):
        pull_model(console, "huge", lambda *_: None)


@pytest.mark.parametrize(
    ("name", "says"), [("whisper-base.en", "models pull whisper-base.en"), ("nope", "on this device: tiny")]
)
def test_a_model_that_is_not_here(bundle: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        store.path_of(name)


def test_the_manifest_that_ships_is_right() -> None:
    models: list[Model] = read_manifest(Path(__file__).parent.parent / "models" / "manifest.toml")
    assert models
    for model in models:
        verify(model, Path(__file__).parent.parent / "models" / model.name)
