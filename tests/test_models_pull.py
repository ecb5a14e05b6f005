"""Pulling a model from a server in the shape of the hub: whole or not at all, whatever server, disk and power do."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import Any

import huggingface_hub
import msgspec
import pytest
from hub_server import COMMIT, Hub, hub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pull_driver import QUICK, SOURCE
from rich.console import Console

from edgeapp.core.events import ConfigError
from edgeapp.models import pull as pull_module
from edgeapp.models.catalogue import Source, catalogue, check_source
from edgeapp.models.commands import remove_model
from edgeapp.models.fetch import Patience, Stopped, Unfinished, client, fetch
from edgeapp.models.manifest import Model
from edgeapp.models.pull import Accept, pull
from edgeapp.models.store import RECORD, arriving_of, find, folder_of, install, path_of, pulled, recorded, spoiled
from edgeapp.models.verify import verify

BIN = "sub/model.bin"
FILES = {"config.json": b'{"a": 1}', BIN: bytes(range(256)) * 4000, "README.md": b"not wanted"}
ENV = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and a home of our own."""
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub(dict(FILES)) as state:
        monkeypatch.setenv("HF_ENDPOINT", state.endpoint)
        yield state


def fetched(
    source: Source = SOURCE, accept: Accept = lambda *_: None, patience: Patience = QUICK
) -> tuple[Model, list[str], dict[str, int]]:
    """Pull; return the record, what was said, and the bytes counted for each file."""
    said: list[str] = []
    counted: dict[str, int] = {}

    def watch(name: str, _: int) -> Callable[[int], None]:
        def count(more: int) -> None:
            counted[name] = counted.get(name, 0) + more

        return count

    return pull(source, said.append, watch, accept, patience), said, counted


def refused(source: Source = SOURCE, accept: Accept = lambda *_: None) -> str:
    """Pull, in vain; return the sentence. What is visible must be what was visible."""
    before = recorded(source.name)
    with pytest.raises(ConfigError) as failed:
        fetched(source, accept)
    assert "\n" not in str(failed.value)
    assert recorded(source.name) == before
    return str(failed.value)


def test_a_pull_that_is_stopped_keeps_what_came_and_the_next_goes_on_there(served: Hub) -> None:
    stop, came = Event(), 0

    def watch(_: str, __: int) -> Callable[[int], None]:
        def count(more: int) -> None:
            nonlocal came
            came += more
            if came > 200_000:
                stop.set()

        return count

    with pytest.raises(Stopped):
        pull(SOURCE, lambda _: None, watch, patience=QUICK, stop=stop)
    assert recorded(SOURCE.name) is None
    served.wrong.clear()
    fetched()
    assert served.ranges(BIN)[-1] == f"bytes={came - len(FILES['config.json'])}-"


def test_a_pull_that_waits_for_a_server_is_stopped_without_waiting_on(served: Hub) -> None:
    stop = Event()
    served.wrong[BIN] = ["503"]
    timer = Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(Stopped):
        pull(
            SOURCE,
            lambda _: None,
            lambda *_: lambda _: None,
            patience=Patience(wait_s=3_600, longest_wait_s=3_600),
            stop=stop,
        )
    timer.join()
    assert served.ranges(BIN) == [""]


def test_a_model_arrives_whole_pinned_and_recorded(served: Hub, tmp_path: Path) -> None:
    model, said, counted = fetched()
    assert model.revision == COMMIT
    assert [each.path for each in model.files] == ["config.json", "model.bin"]
    assert path_of("tiny").read_bytes() == FILES[BIN]
    assert path_of("tiny").is_relative_to(tmp_path / "models" / "tiny")
    assert pulled() == [model]
    assert find("tiny") == model
    assert verify(model).files == 2
    assert counted == {"config.json": 8, BIN: len(FILES[BIN])}
    assert sum("trust on first use" in line for line in said) == 2
    assert not arriving_of("tiny").exists()


def test_a_model_that_is_here_is_not_fetched_again(served: Hub) -> None:
    fetched()
    served.served.clear()
    _, said, _ = fetched()
    assert "is on this device and right" in said[-1]
    assert not [each for each in served.served if "/resolve/" in each.path]


def test_a_known_hash_and_a_pinned_revision_are_not_trust(served: Hub) -> None:
    hashes = {name: hashlib.sha256(FILES[name]).hexdigest() for name in ("config.json", BIN)}
    _, said, _ = fetched(msgspec.structs.replace(SOURCE, revision=COMMIT, sha256=hashes))
    assert not [line for line in said if "trust" in line]


@pytest.mark.parametrize("name", ["config.json", BIN])
def test_other_bytes_than_expected_are_not_installed(served: Hub, name: str) -> None:
    source = msgspec.structs.replace(SOURCE, sha256={name: "0" * 64})
    assert f"sent other bytes for {name.removeprefix('sub/')}" in refused(source)
    assert not served.ranges(BIN) or name == "config.json"


def test_what_was_recorded_first_is_expected_from_then_on(served: Hub) -> None:
    model, _, _ = fetched()
    (folder_of(model) / "model.bin").write_bytes(b"broken")
    served.files[BIN] = b"\0" * len(FILES[BIN])
    assert "sent other bytes for model.bin" in refused()
    served.files[BIN] = FILES[BIN]
    fetched()
    assert verify(model)


# ---- what a server does wrong


@pytest.mark.parametrize(
    "fault",
    ["cut:0", "cut:100000", "stall", "other", "long", "more", "less", "endless", "gzip", "500", "503", "429", "416"],
)
def test_what_goes_wrong_once_is_put_right(served: Hub, fault: str) -> None:
    served.wrong[BIN] = [fault]
    _, _, counted = fetched()
    assert path_of("tiny").read_bytes() == FILES[BIN]
    assert counted[BIN] == len(FILES[BIN])


@pytest.mark.parametrize(
    "fault", ["cut:0", "silent", "other", "more", "less", "endless", "gzip", "500", "429", "416", "418"]
)
def test_what_is_always_wrong_is_one_sentence(served: Hub, fault: str) -> None:
    served.wrong[BIN] = [fault] * 50
    sentence = refused()
    assert "pull again" in sentence or "try again" in sentence
    assert "or use the bundled kiosk-lm" in sentence or fault == "other"
    assert fault.isdecimal() is (f"answered {fault}" in sentence) or fault == "416"
    assert len(served.wrong[BIN]) >= 40
    served.wrong.clear()
    fetched()
    assert path_of("tiny").read_bytes() == FILES[BIN]


@pytest.mark.parametrize("second", ["whole", "wrong-part", "no-number", "416", "other"])
def test_a_server_that_cannot_go_on_starts_anew(served: Hub, second: str) -> None:
    served.wrong[BIN] = ["cut:500000", second]
    _, _, counted = fetched()
    assert served.ranges(BIN)[:2] == ["", "bytes=500000-"]
    assert path_of("tiny").read_bytes() == FILES[BIN]
    assert counted[BIN] == len(FILES[BIN])


@pytest.mark.parametrize(("listed", "says"), [(10, "sends 1024000 bytes where the hub lists 10"), (9**9, "hub lists")])
def test_a_list_that_lies_about_a_length(served: Hub, listed: int, says: str) -> None:
    served.sizes[BIN] = listed
    assert says in refused()
    assert sum(path.stat().st_size for path in arriving_of("tiny").rglob("*") if path.is_file()) < 100
    served.sizes[BIN] = -1
    assert "does not list size and hash" in refused()


def test_a_list_that_lies_about_a_hash(served: Hub) -> None:
    served.hashes[BIN] = "0" * 64
    assert "sent other bytes" in refused()


@pytest.mark.parametrize(
    ("status", "error", "gated", "says"),
    [
        (404, "RepoNotFound", False, "has no such files any more"),
        (401, "RepoNotFound", True, "is gated: accept its licence there, set HF_TOKEN"),
        (403, "GatedRepo", True, "is gated: accept its licence there, set HF_TOKEN"),
        (404, "RevisionNotFound", False, "has no such files any more"),
        (500, "", False, "answered 500"),
        (429, "", False, "answered 429"),
        (403, "", False, "gated"),
    ],
)
def test_a_hub_that_refuses(served: Hub, status: int, error: str, says: str, *, gated: bool) -> None:
    served.status, served.error = status, error
    assert says in refused(msgspec.structs.replace(SOURCE, gated=gated))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"[]",
        b'{"id": 3}',
        b'{"id": "maker/model", "siblings": 1}',
        b'{"id": "maker/model", "sha": 5}',
        b'{"id": "maker/model", "siblings": [{"rfilename": []}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_hub(served: Hub, body: bytes) -> None:
    served.body = body
    sentence = refused()
    assert "does not answer like a hub" in sentence or "names no commit" in sentence


def test_certificates_that_are_not_there_are_not_the_disks_fault(
    served: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    huggingface_hub.close_session()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert "look at SSL_CERT_FILE" in refused()
    huggingface_hub.close_session()


def test_the_password_of_a_mirror_is_never_said(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://me:se@cret@127.0.0.1:1")
    sentence = refused()
    assert "on http://127.0.0.1:1 cannot be reached" in sentence
    assert "cret" not in sentence


def test_a_file_that_is_not_there_any_more(served: Hub) -> None:
    del served.files[BIN]
    assert "has no sub/model.bin" in refused()


def test_a_gated_file_behind_an_open_list(served: Hub) -> None:
    served.wrong[BIN] = ["403"]
    assert "is gated" in refused()


def test_a_hub_that_names_another_commit(served: Hub) -> None:
    assert "instead of aaaaaaaaaaaa" in refused(msgspec.structs.replace(SOURCE, revision="a" * 40))


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://[", "nonsense", "ftp://127.0.0.1"])
def test_without_a_network_it_names_the_alternative(
    served: Hub, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "or use the bundled kiosk-lm" in refused()


# ---- the token


def test_the_token_does_not_follow_to_another_host(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with hub(dict(FILES)) as other:
        served.elsewhere = other.endpoint.replace("127.0.0.1", "localhost")
        served.wrong[BIN] = ["away"] * 9
        other.wrong[BIN] = ["cut:1000"]
        _, said, _ = fetched()
    assert {each.token for each in served.served} == {"Bearer hf_secret"}
    assert {each.token for each in other.served} == {""}
    assert other.ranges(BIN) == ["", "bytes=1000-"]
    assert "hf_secret" not in "".join(said)


def test_a_circle_of_redirects_ends(served: Hub) -> None:
    served.elsewhere = served.endpoint
    served.wrong[BIN] = ["away"] * 50
    assert "pull again" in refused()


@pytest.mark.parametrize("token", ["hf_\x07secret", "hf_secret two", "hf_sécret"])
def test_a_token_that_is_none_is_never_said(served: Hub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    sentence = refused()
    assert "HF_TOKEN" in sentence
    assert "cret" not in sentence


# ---- to the byte

SMALL = bytes(range(1, 65))


@pytest.fixture(scope="module")
def small() -> Iterator[Hub]:
    """A hub with one small file, x."""
    with hub({"x": SMALL}) as state:
        yield state


@pytest.fixture(scope="module")
def bring(small: Hub) -> Iterator[Callable[[Path, Patience], None]]:
    """Fetch that file into a path."""
    with client("", "test", QUICK) as http:
        url = f"{small.endpoint}/maker/model/resolve/{COMMIT}/x"
        yield lambda path, patience: fetch(http, url, path, len(SMALL), lambda _: None, patience)


def test_cut_at_every_byte_in_one_process_and_in_two(
    small: Hub, bring: Callable[[Path, Patience], None], tmp_path: Path
) -> None:
    once = Patience(tries=1, wait_s=0.0)
    part = tmp_path / "part"
    for cut in range(len(SMALL)):
        small.wrong["x"] = [f"cut:{cut}"]
        bring(part, QUICK)
        assert part.read_bytes() == SMALL
        part.unlink()
        small.wrong["x"] = [f"cut:{cut}", "cut:0"] if cut else ["cut:0"]
        with pytest.raises(Unfinished):
            bring(part, once)
        assert part.read_bytes() == SMALL[:cut]
        bring(part, once)
        assert part.read_bytes() == SMALL
        part.unlink()


FAULTS = st.one_of(
    st.integers(0, len(SMALL)).map("cut:{}".format),
    st.sampled_from(["whole", "wrong-part", "more", "less", "long", "416", "429", "503", "endless", "gzip"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(FAULTS, max_size=8), already=st.integers(0, len(SMALL)))
def test_any_faults_in_any_order(
    small: Hub, bring: Callable[[Path, Patience], None], tmp_path: Path, faults: list[str], already: int
) -> None:
    part = tmp_path / "part"
    part.write_bytes(SMALL[:already])
    small.wrong["x"] = list(faults)
    for _ in range(len(faults) + 1):
        try:
            bring(part, QUICK)
            break
        except Unfinished:
            assert part.stat().st_size <= len(SMALL)
    assert part.read_bytes() == SMALL


def test_a_link_that_drips_is_a_cut_and_a_bound(
    small: Hub, bring: Callable[[Path, Patience], None], tmp_path: Path
) -> None:
    small.wrong["x"] = ["cut:1"] * 50
    with pytest.raises(Unfinished, match="20 requests were not enough"):
        bring(tmp_path / "part", Patience(tries=2, requests=20, wait_s=0.0))
    assert (tmp_path / "part").stat().st_size == 20


def test_a_planted_link_is_not_written_through(served: Hub, tmp_path: Path) -> None:
    staged = arriving_of("tiny") / COMMIT
    staged.mkdir(parents=True)
    (tmp_path / "precious").write_bytes(b"precious")
    (staged / "model.bin.part").symlink_to(tmp_path / "precious")
    fetched()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with client("", "test", QUICK) as http, pytest.raises(OSError, match="symbolic links"):
        fetch(http, served.endpoint, tmp_path / "link", 1, lambda _: None, QUICK)


def test_what_somebody_put_in_the_way_goes_with_remove(served: Hub) -> None:
    arriving_of("tiny").mkdir(parents=True)
    (arriving_of("tiny") / "notes").write_text("")
    assert "start anew after `edgeapp models remove tiny`" in refused()
    remove_model(Console(), "tiny")
    fetched()


def test_a_begun_file_of_other_bytes_is_fetched_anew(served: Hub) -> None:
    staged = arriving_of("tiny") / COMMIT
    staged.mkdir(parents=True)
    (staged / "model.bin.part").write_bytes(bytes(1000))
    (staged / "config.json").write_bytes(b'{"a": 2}')
    (staged / "stranger").write_bytes(b"of another catalogue")
    (arriving_of("tiny") / ("b" * 40)).mkdir()
    model, _, counted = fetched()
    assert verify(model)
    assert counted[BIN] == len(FILES[BIN])
    assert sorted(path.name for path in folder_of(model).iterdir()) == ["config.json", "model.bin"]


# ---- the power goes


class Driver:
    """`pull_driver.py`, running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, **wish: int) -> tuple[int, str]:
        """Pull in a child; return its exit status and what it said."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(wish), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["said"]


@contextmanager
def driving(*before: str) -> Iterator[Driver]:
    """The driver, with the test's home and hub, started by the command `before`."""
    command = [*before, sys.executable, str(Path(__file__).with_name("pull_driver.py"))]
    with subprocess.Popen(
        command, env=os.environ | ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Driver(process)
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def driver(served: Hub) -> Iterator[Driver]:
    """The driver."""
    with driving() as running:
        yield running


def test_offline_by_wish(served: Hub) -> None:
    with driving("env", "HF_HUB_OFFLINE=1") as driver:
        status, said = driver()
    assert (status, "cannot be reached" in said, served.served) == (2, True, [])


def test_killed_at_many_bytes_and_started_again(served: Hub, driver: Driver, tmp_path: Path) -> None:
    served.files[BIN] = bytes(range(250)) * 4000
    total = 8 + len(served.files[BIN])
    points = sorted({*range(0, 12, 4), *range(0, total, total // 12), total - 1, total})
    for point in points:
        shutil.rmtree(tmp_path / "models", ignore_errors=True)
        status, _ = driver(bytes=point)
        assert status == (-9 if point < total else 0)
        here = sum(path.stat().st_size for path in arriving_of("tiny").rglob("*") if path.is_file())
        assert recorded("tiny") is None or point == total
        served.served.clear()
        assert driver() == (0, "")
        assert path_of("tiny").read_bytes() == served.files[BIN]
        asked = [int(each.removeprefix("bytes=").rstrip("-") or 0) for each in served.ranges(BIN)]
        assert asked == ([] if total in {here, point} else [max(0, here - 8)])


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 11])
def test_killed_at_every_call_to_the_file_system(served: Hub, driver: Driver, tmp_path: Path, step: int) -> None:
    """A new version replaces an old one; at no instant is there none, or one that is not whole."""
    served.files, served.commit = {"config.json": b"{}", BIN: b"old" * 99, "sub/notes.json": b"[]"}, "b" * 40
    assert driver() == (0, "")
    shutil.copytree(tmp_path / "models", tmp_path / "old")
    served.files, served.commit = {"config.json": b"{ }", BIN: b"new" * 99, "sub/notes.json": b"[1]"}, COMMIT
    kills = 0
    for call in range(1, 1000, step):
        shutil.rmtree(tmp_path / "models")
        shutil.copytree(tmp_path / "old", tmp_path / "models")
        status, said = driver(calls=call, pinned=1)
        model = recorded("tiny")
        assert model is not None
        assert verify(model)
        assert path_of("tiny").read_bytes() in {b"old" * 99, b"new" * 99}
        if status == 0:
            break
        assert (status, said) == (-9, "")
        kills += 1
        assert driver(pinned=1) == (0, "")
        assert path_of("tiny").read_bytes() == b"new" * 99
        assert not arriving_of("tiny").exists()
    assert kills >= 44 // step


def test_a_disk_that_fills_in_the_middle(served: Hub, driver: Driver) -> None:
    status, said = driver(limit=300_000)
    assert status == 2
    assert "is full: free some space for tiny (about 1 MB) and pull again, it goes on where it stopped" in said
    assert "\n" not in said
    (part,) = arriving_of("tiny").rglob("*.part")
    assert part.stat().st_size == 300_000
    served.served.clear()
    assert driver() == (0, "")
    assert served.ranges(BIN) == ["bytes=300000-"]
    assert path_of("tiny").read_bytes() == FILES[BIN]


def test_a_disk_that_somebody_else_fills_in_the_middle(served: Hub, tmp_path: Path) -> None:
    own_disk = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=18m tmpfs {tmp_path} && exec "$@"', "sh"]
    if subprocess.run([*own_disk, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of its own")
    with driving(*own_disk) as driver:
        status, said = driver(fill=1)
        assert (status, said.startswith(f"the disk of {tmp_path / 'models'} is full")) == (2, True)
        served.served.clear()
        assert driver() == (0, "")
    (asked,) = served.ranges(BIN)
    assert 0 < int(asked.removeprefix("bytes=").rstrip("-")) < len(FILES[BIN])


def test_a_disk_that_is_too_small_is_said_before(served: Hub) -> None:
    served.sizes[BIN] = 10**18
    assert "MB free and tiny needs 1000000000016 MB" in refused()
    assert not served.ranges(BIN)


def test_two_pulls_at_once(served: Hub, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (tmp_path / "models" / ".lock-tiny").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "wait until it is done" in refused()
    fetched()


def test_two_processes_pull_at_once(served: Hub, driver: Driver, tmp_path: Path) -> None:
    served.files[BIN] = bytes(range(250)) * 12_000
    with driving() as other, ThreadPoolExecutor(2) as both:
        for _ in range(4):
            shutil.rmtree(tmp_path / "models", ignore_errors=True)
            ends = list(both.map(lambda one: one(), (driver, other)))
            assert {status for status, _ in ends} <= {0, 2}
            assert 0 in {status for status, _ in ends}
            assert all("wait until it is done" in said for status, said in ends if status)
            assert path_of("tiny").read_bytes() == served.files[BIN]


def test_a_home_that_cannot_be_written(served: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "file"))
    assert "set EDGEAPP_HOME to another folder" in refused()


# ---- a new version, and the store


def _update(served: Hub, data: bytes) -> Source:
    served.files[BIN], served.commit = data, "d" * 40
    return msgspec.structs.replace(SOURCE, revision="d" * 40)


def test_a_new_version_must_be_accepted_and_the_old_files_stay_for_who_runs_them(served: Hub) -> None:
    old, _, _ = fetched()
    running = folder_of(old)
    source = _update(served, b"new")

    def no(model: Model, folder: Path) -> None:
        assert (folder / "model.bin").read_bytes() == b"new"
        raise ConfigError(f"{model.name} answers wrongly")

    assert "answers wrongly" in refused(source, no)
    assert find("tiny") == old
    seen: list[str] = []
    new, _, _ = fetched(source, lambda model, _: seen.append(model.revision))
    assert seen == ["d" * 40]
    assert find("tiny") == new
    assert path_of("tiny").read_bytes() == b"new"
    assert (running / "model.bin").read_bytes() == FILES[BIN]


def test_an_unpinned_model_stays_at_its_revision(served: Hub) -> None:
    fetched()
    served.commit = "e" * 40
    assert "instead of" in refused()


def test_a_spoiled_record_is_said_and_concerns_nobody_else(served: Hub) -> None:
    model, _, _ = fetched()
    record = folder_of(model).parent / RECORD
    record.write_text("{")
    assert pulled() == []
    assert "pull the model again" in str(spoiled()[0])
    assert path_of("kiosk-lm").exists()
    with pytest.raises(ConfigError, match="pull the model again"):
        path_of("tiny")
    record.write_bytes(msgspec.json.encode(msgspec.structs.replace(model, name="other")))
    assert "is the record of 'other'" in str(spoiled()[0])
    fetched()
    assert pulled() == [model]
    shutil.rmtree(folder_of(model).parent)
    with pytest.raises(ConfigError, match="no model 'tiny'"):
        path_of("tiny")


def test_a_link_out_of_the_folder_is_refused(served: Hub, tmp_path: Path) -> None:
    model, _, _ = fetched()
    file = folder_of(model) / "model.bin"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link that leaves"):
        verify(model)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(ConfigError, match="is a link that leaves"):
        verify(model)


def test_a_bundled_name_is_never_pulled(served: Hub) -> None:
    assert "ships with edgeapp" in refused(msgspec.structs.replace(SOURCE, name="kiosk-lm"))


WRONG_SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "up": ({"files": ["../x"], "main": ""}, "not a safe path"),
    "absolute": ({"files": ["/x"], "main": ""}, "not a safe path"),
    "backslash": ({"files": ["a\\x"], "main": ""}, "not a safe path"),
    "control": ({"files": ["a\nx"], "main": ""}, "not a safe path"),
    "case": ({"files": ["sub/model.bin", "MODEL.BIN"]}, "only in case"),
    "nothing": ({"files": [], "main": ""}, "at least one file"),
    "licence": ({"licence": " "}, "licence is missing"),
    "alternative": ({"alternative": ""}, "alternative is missing"),
    "hash": ({"sha256": {"config.json": "0"}}, "64 lower-case hex"),
    "stranger's hash": ({"sha256": {"x": "0" * 64}}, "one of its files"),
    "name": ({"name": "../tiny"}, "name '../tiny'"),
    "repository": ({"repository": "https://elsewhere/x"}, "repository"),
    "revision": ({"revision": "../main"}, "revision"),
    "main": ({"main": "x"}, "main is 'x'"),
}


@pytest.mark.parametrize("what", WRONG_SOURCES)
def test_a_wrong_entry_of_the_catalogue_is_refused_by_name(served: Hub, what: str) -> None:
    changes, says = WRONG_SOURCES[what]
    source = msgspec.structs.replace(SOURCE, **changes)
    with pytest.raises(ConfigError) as failed:
        check_source(source, "here")
    assert says in str(failed.value)
    with pytest.raises(ConfigError):
        fetched(source)
    assert not served.served


def test_a_record_that_nobody_could_read_is_not_installed(served: Hub, tmp_path: Path) -> None:
    model, _, _ = fetched()
    one = model.files[0]
    twins = [msgspec.structs.replace(one, path=path) for path in ("Model.bin", "model.bin")]
    with pytest.raises(ConfigError, match="only in case"):
        install(msgspec.structs.replace(model, files=twins), tmp_path)
    assert find("tiny") == model


def test_the_catalogue_that_ships_is_right() -> None:
    sources = catalogue()
    names = {source.name for source in sources}
    assert {"whisper-tiny.en", "whisper-base.en", "whisper-small.en", "qwen2.5-0.5b-instruct", "qwen3-0.6b"} <= names
    assert all(not source.sha256 or len(source.revision) == 40 for source in sources)
    assert {source.kind for source in sources} == {"stt", "llm", "tts", "detect"}
    assert pull_module.Say
