"""Pulling a model from a server in the shape of the hub: whole or not at all, whatever it does."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hub_server import COMMIT, Hub, hub

from edgeapp.core.events import ConfigError
from edgeapp.models import pull as pull_module
from edgeapp.models.catalogue import Source
from edgeapp.models.manifest import Model
from edgeapp.models.pull import pull
from edgeapp.models.store import RECORD, folder_of, path_of, pulled
from edgeapp.models.verify import verify

FILES = {"config.json": b'{"a": 1}', "sub/model.bin": bytes(range(256)) * 4000, "README.md": b"not wanted"}
SOURCE = Source(
    name="tiny",
    kind="llm",
    engine="llm_ctranslate2",
    licence="MIT",
    repository="maker/model",
    patterns=["*.json", "sub/*.bin"],
    strip="sub/",
    main="model.bin",
    alternative="the bundled kiosk-lm",
)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and a home of our own."""
    import huggingface_hub.constants
    import huggingface_hub.utils

    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(
        huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 4096
    )  # what was not a whole chunk is asked again
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    with hub(dict(FILES)) as state:
        monkeypatch.setenv("HF_ENDPOINT", state.endpoint)
        yield state


def fetched(source: Source = SOURCE) -> tuple[Model, list[str], dict[str, int]]:
    """Pull; return the record, what was said, and the bytes counted for each file."""
    said: list[str] = []
    counted: dict[str, int] = {}

    def watch(name: str, total: int | None) -> Any:
        def count(more: int) -> None:
            counted[name] = counted.get(name, 0) + more

        return count

    return pull(source, said.append, watch), said, counted


def refused(source: Source = SOURCE) -> str:
    """Pull, in vain; return the sentence."""
    with pytest.raises(ConfigError) as failed:
        fetched(source)
    assert "\n" not in str(failed.value)
    return str(failed.value)


def test_a_model_arrives_whole_pinned_and_recorded(served: Hub, tmp_path: Path) -> None:
    model, said, counted = fetched()
    assert model.revision == COMMIT
    assert [each.path for each in model.files] == ["config.json", "model.bin"]
    assert path_of("tiny") == tmp_path / "models" / "tiny" / "model.bin"
    assert path_of("tiny").read_bytes() == FILES["sub/model.bin"]
    assert pulled() == [model]
    assert verify(model).files == 2
    assert counted["sub/model.bin"] == len(FILES["sub/model.bin"])
    assert sum("trust on first use" in line for line in said) == 2
    assert not [path.name for path in (tmp_path / "models").iterdir() if path.name.startswith((".arriving", ".ready"))]


def test_a_model_that_is_here_is_not_fetched_again(served: Hub) -> None:
    fetched()
    served.served.clear()
    _, said, _ = fetched()
    assert "is on this device and right" in said[-1]
    assert not [path for method, path, _ in served.served if "/resolve/" in path]


def test_a_known_hash_and_a_pinned_revision_are_not_trust(served: Hub) -> None:
    hashes = {name: hashlib.sha256(FILES[name]).hexdigest() for name in ("config.json", "sub/model.bin")}
    _, said, _ = fetched(msgspec.structs.replace(SOURCE, revision=COMMIT, sha256=hashes))
    assert not [line for line in said if "trust" in line]


def test_other_bytes_than_expected_are_not_installed(served: Hub, tmp_path: Path) -> None:
    source = msgspec.structs.replace(SOURCE, sha256={"sub/model.bin": "0" * 64})
    assert "sent other bytes for model.bin" in refused(source)
    assert pulled() == []
    assert not (tmp_path / "models" / "tiny").exists()


def test_what_was_recorded_first_is_expected_from_then_on(served: Hub) -> None:
    model, _, _ = fetched()
    (folder_of(model) / "model.bin").write_bytes(b"broken")
    served.files["sub/model.bin"] = b"\0" * len(FILES["sub/model.bin"])
    assert "sent other bytes for model.bin" in refused()
    served.files["sub/model.bin"] = FILES["sub/model.bin"]
    fetched()
    assert verify(model)


def test_after_a_cut_it_goes_on_where_it_stopped(served: Hub) -> None:
    served.wrong["sub/model.bin"] = ["cut"] * 1
    try:
        fetched()
    except ConfigError:
        fetched()
    ranges = [given for method, path, given in served.served if method == "GET" and path.endswith("model.bin")]
    assert ranges[0] == ""
    assert ranges[1] == f"bytes={len(FILES['sub/model.bin']) // 2 // 4096 * 4096}-"
    assert path_of("tiny").read_bytes() == FILES["sub/model.bin"]


@pytest.mark.parametrize("fault", ["cut", "stall", "status"])
def test_a_hub_that_never_gets_it_right_is_one_sentence(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    served.wrong["sub/model.bin"] = [fault] * 50
    sentence = refused()
    assert "pull again" in sentence or "kiosk-lm" in sentence
    assert not (tmp_path / "models" / "tiny").exists()
    served.wrong.clear()
    fetched()
    assert path_of("tiny").read_bytes() == FILES["sub/model.bin"]


def test_a_hub_that_lies_about_the_length(served: Hub) -> None:
    served.wrong["sub/model.bin"] = ["long"]
    fetched()
    assert path_of("tiny").read_bytes() == FILES["sub/model.bin"]


def test_bytes_changed_on_the_way_are_caught_where_the_hash_is_known(served: Hub) -> None:
    served.wrong["sub/model.bin"] = ["other"]
    digest = hashlib.sha256(FILES["sub/model.bin"]).hexdigest()
    source = msgspec.structs.replace(SOURCE, sha256={"sub/model.bin": digest})
    assert "sent other bytes" in refused(source)
    fetched(source)


@pytest.mark.parametrize(("status", "says"), [(404, "no such files"), (500, "answered 500"), (403, "answered 403")])
def test_a_hub_that_refuses(served: Hub, monkeypatch: pytest.MonkeyPatch, status: int, says: str) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    served.status = status
    assert says in refused()


def test_without_a_network_it_names_the_alternative(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "or use the bundled kiosk-lm" in refused()


def test_a_hub_that_names_an_unsafe_path(served: Hub) -> None:
    served.files["../../evil.json"] = b"{}"
    assert "not a safe path" in refused()


def test_a_hub_that_names_another_commit(served: Hub) -> None:
    assert "instead of aaaaaaaaaaaa" in refused(msgspec.structs.replace(SOURCE, revision="a" * 40))


def test_two_pulls_at_once(served: Hub, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (tmp_path / "models" / ".lock-tiny").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is under way" in refused()
    fetched()


def test_a_full_disk_is_one_sentence(served: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pull_module, "_place", full)
    assert "disk of" in (sentence := refused(msgspec.structs.replace(SOURCE, size_mb=7)))
    assert "about 7 MB" in sentence
    monkeypatch.undo()


def test_a_home_that_cannot_be_written(served: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "file"))
    assert "cannot keep tiny" in refused()


def test_a_spoiled_record_is_said(served: Hub) -> None:
    model, _, _ = fetched()
    record = folder_of(model) / RECORD
    record.write_text("{")
    with pytest.raises(ConfigError, match="pull the model again"):
        pulled()
    fetched()
    assert pulled() == [model]
    shutil.rmtree(folder_of(model))
    with pytest.raises(ConfigError, match="no model 'tiny'"):
        path_of("tiny")
