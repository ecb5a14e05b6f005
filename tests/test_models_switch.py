"""Converting a model by a tool that may do anything, and switching to it only if it passes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from edgeapp import config as settings
from edgeapp.apps.gate import admit, check
from edgeapp.core.events import ConfigError
from edgeapp.core.lane import Lane
from edgeapp.models import slots
from edgeapp.models.commands import convert_model, list_models, remove_model, switch_model, verify_models
from edgeapp.models.convert import convert
from edgeapp.models.golden import Examined
from edgeapp.models.manifest import Model, ModelFile
from edgeapp.models.store import (
    alone,
    converting_of,
    find,
    folder_of,
    install,
    mend,
    path_of,
    pulled,
    pulled_root,
    spoiled,
)
from edgeapp.models.verify import verify

LLM, YOLO = "qwen2.5-0.5b-instruct", "yolo11n"
OUTPUT = {"model.bin": "weights", "config.json": "{}", "vocabulary.json": "[]", "tokenizer.json": "{}"}
GOOD = "".join(f"(out / {name!r}).write_text({text!r})\n" for name, text in OUTPUT.items())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of our own."""
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path))
    pulled_root().mkdir()
    return tmp_path


def have(name: str, *, kind: str = "llm", engine: str = "", main: str = "", **files: bytes) -> Model:
    """Install a model with `files` (`__` is a dot)."""
    staged = pulled_root() / ".staged"
    staged.mkdir()
    listed = []
    for key, data in files.items():
        path = key.replace("__", ".")
        (staged / path).write_bytes(data)
        listed.append(ModelFile(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
    model = Model(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        engine=engine,
        licence="MIT",
        source="maker/model",
        revision="c" * 40,
        made_by="maker",
        files=listed,
        main=main,
    )
    install(model, staged)
    return model


@pytest.fixture
def tools(tmp_path: Path) -> Callable[[str], str]:
    """A Python that has the tools, whose converter does what it is told; returns its path."""

    def make(does: str) -> str:
        fake = tmp_path / "tools"
        for package in ("torch", "transformers", "ctranslate2/converters", "ultralytics", "onnx"):
            (fake / package).mkdir(parents=True, exist_ok=True)
            (fake / package / "__init__.py").touch()
            version = fake / f"{package.partition('/')[0]}-9.9.dist-info"
            version.mkdir(exist_ok=True)
            (version / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {package.partition('/')[0]}\nVersion: 9.9\n"
            )
            (version / "top_level.txt").write_text(package.partition("/")[0])
        (fake / "ctranslate2" / "__init__.py").touch()
        converter = f"import sys\nfrom pathlib import Path\ndef main():\n    exec({_CT2 + does!r}, globals())\n"
        (fake / "ctranslate2" / "converters" / "transformers.py").write_text(converter)
        exporter = f"class YOLO:\n    def __init__(self, path): self.path = path\n    def export(self, **_): exec({_YOLO + does!r})\n"
        (fake / "ultralytics" / "__init__.py").write_text(exporter)
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH={fake} exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        return str(python)

    return make


_CT2 = (
    "import os, sys; from pathlib import Path\nout = Path(sys.argv[sys.argv.index('--output_dir') + 1]); out.mkdir()\n"
)
_YOLO = "import os; from pathlib import Path\nout = Path(self.path).with_suffix('.onnx')\n"


def say(_: str) -> None:
    """Nobody listens."""


def published() -> Model:
    """A pulled language model, not converted."""
    return have(LLM, model__safetensors=b"w", tokenizer__json=b"{}", config__json=b"{}")


def test_a_language_model_becomes_one_that_an_engine_opens(tools: Callable[[str], str]) -> None:
    published()
    with pytest.raises(ConfigError, match=f"edgeapp models convert {LLM}"):
        path_of(LLM)
    made = convert(LLM, say, python=tools(GOOD))
    assert (made.name, made.engine, made.kind, made.licence) == (f"{LLM}-int8", "llm_ctranslate2", "llm", "MIT")
    assert made.revision == "c" * 40
    assert "--quantization int8 --copy_files tokenizer.json" in made.made_by
    assert "torch 9.9, transformers 9.9, ctranslate2 9.9" in made.made_by
    assert {each.path for each in made.files} == set(OUTPUT)
    assert verify(made)
    assert path_of(made.name) == folder_of(made)
    assert not converting_of(made.name).exists()
    assert convert(LLM, say, python=tools(GOOD)) == made


def test_a_detector_becomes_onnx(tools: Callable[[str], str]) -> None:
    have(YOLO, kind="detect", main="yolo11n.pt", yolo11n__pt=b"w")
    made = convert(YOLO, say, python=tools("out.write_text('onnx')"), size_px=320)
    assert (made.name, made.main, [each.path for each in made.files]) == (
        "yolo11n-320",
        "yolo11n.onnx",
        ["yolo11n.onnx"],
    )
    assert path_of("yolo11n-320").read_text() == "onnx"
    with pytest.raises(ConfigError, match="32 to 1280 pixels"):
        convert(YOLO, say, size_px=100)


FAILS = {
    "raises": ("raise ValueError('no such architecture')", "converter failed .*no such architecture"),
    "exits": ("sys.exit(3)", r"converter failed \(3\): it said nothing"),
    "forgets": ("(out / 'model.bin').write_text('w')", "wrote no config.json"),
    "writes nothing into": (GOOD + "(out / 'tokenizer.json').write_text('')", "wrote no tokenizer.json"),
    "dies": ("os.kill(os.getpid(), 9)", r"converter failed \(-9\)"),
}


@pytest.mark.parametrize("what", FAILS)
def test_a_tool_that_fails_leaves_what_was_there(tools: Callable[[str], str], what: str) -> None:
    published()
    before = have(f"{LLM}-int8", engine="llm_ctranslate2", model__bin=b"before")
    does, says = FAILS[what]
    with pytest.raises(ConfigError, match=says) as failed:
        convert(LLM, say, python=tools(does))
    assert "\n" not in str(failed.value)
    assert find(f"{LLM}-int8") == before
    assert verify(before)
    assert not converting_of(f"{LLM}-int8").exists()


def test_a_tool_that_hangs_is_ended_with_all_it_started(tools: Callable[[str], str], tmp_path: Path) -> None:
    published()
    hang = (
        "import subprocess, signal\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\nsignal.pause()"
    )
    with pytest.raises(ConfigError, match="not done after 2 s"):
        convert(LLM, say, python=tools(hang), limit_s=2)
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_conversion_killed_in_the_middle_shows_nothing_and_is_done_again(
    tools: Callable[[str], str], tmp_path: Path
) -> None:
    published()
    does = "(out / 'model.bin').write_text('half'); os.kill(os.getppid(), 9)"
    code = f"from edgeapp.models.convert import convert; convert({LLM!r}, print, python={tools(does)!r})"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == -signal.SIGKILL
    assert find(f"{LLM}-int8") is None
    assert converting_of(f"{LLM}-int8").exists()
    assert verify(convert(LLM, say, python=tools(GOOD)))
    assert not converting_of(f"{LLM}-int8").exists()


def test_what_cannot_be_converted_is_said(
    tools: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, says in (
        ("nonsense", "is not in `edgeapp models list`"),
        ("kiosk-lm", "is used as it is"),
        ("whisper-tiny.en", "is used as it is"),
        (LLM, f"edgeapp models pull {LLM}"),
    ):
        with pytest.raises(ConfigError, match=says):
            convert(name, say)
    model = published()
    with pytest.raises(ConfigError, match=r"needs .*pip install 'edgeapp\[convert\]', or name a Python"):
        convert(LLM, say, python=_bare(tmp_path))
    with pytest.raises(ConfigError, match="is no Python that runs"):
        convert(LLM, say, python="/nonsense")
    monkeypatch.chdir(Path(tools(GOOD)).parent)
    assert convert(LLM, say, python="./python").name == f"{LLM}-int8"
    with alone(f"{LLM}-int8", "test"), pytest.raises(ConfigError, match="wait until it is done"):
        convert(LLM, say, python=tools(GOOD))
    (folder_of(model) / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ConfigError, match="SHA-256"):
        convert(LLM, say, python=tools(GOOD))


def _bare(folder: Path) -> str:
    """A Python without any package."""
    python = folder / "bare"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    python.chmod(0o755)
    return str(python)


# ---- switching


def right(model: Model, folder: Path) -> Examined | None:
    """A golden gate that everything passes."""
    assert folder == folder_of(model)
    return Examined(model.name, 3, 3, 3, 0, "", 0.1, "")


def wrong(model: Model, folder: Path) -> Examined | None:
    """One that nothing passes."""
    raise ConfigError(f"{model.name} answers wrongly here")


def ready_model(name: str = "better", kind: str = "llm") -> Model:
    return have(name, kind=kind, engine="llm_ctranslate2", model__bin=name.encode())


def test_only_what_passes_becomes_current_and_both_are_recorded() -> None:
    assert slots.current("llm").name == "kiosk-lm"
    ready_model()
    with pytest.raises(ConfigError, match="kiosk-lm stays current for llm: better answers wrongly here"):
        slots.switch("llm", "better", wrong)
    assert slots.current("llm").name == "kiosk-lm"
    assert slots.switch("llm", "better", right) == "3 of 3 golden cases right"
    assert slots.slot("llm") == slots.Slot("better", "kiosk-lm")
    slots.switch("llm", "better", right)
    assert slots.slot("llm") == slots.Slot("better", "kiosk-lm")
    slots.switch("llm", "kiosk-lm", right)
    assert slots.slot("llm") == slots.Slot("kiosk-lm", "better")
    assert [(each.to, each.accepted) for each in slots.switches()] == [
        ("better", False),
        ("better", True),
        ("better", True),
        ("kiosk-lm", True),
    ]
    assert slots.switches()[0].says == "better answers wrongly here"


def test_what_cannot_be_current_is_said() -> None:
    model = ready_model()
    published()
    for role, name, says in (
        ("llm", "nonsense", "there is: kiosk-lm, better"),
        ("llm", LLM, f"edgeapp models convert {LLM}"),
        ("detect", "better", "is a model for llm, not for detect"),
        ("ears", "better", "no role 'ears'; use one of"),
    ):
        with pytest.raises(ConfigError, match=says):
            slots.switch(role, name, right)
    (folder_of(model) / "model.bin").write_bytes(b"spoilt")
    with pytest.raises(ConfigError, match=r"SHA-256"):
        slots.switch("llm", "better", right)
    with pytest.raises(ConfigError, match="no model is current for stt"):
        slots.current("stt")
    for taken in ("roles", "kiosk-lm"):  # the roles are one file; nobody may remove the model meanwhile
        with alone(taken, "test"), pytest.raises(ConfigError, match="wait until it is done"):
            slots.switch("llm", "kiosk-lm", right)


def test_a_home_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("EDGEAPP_HOME", str(home / "file"))
    with pytest.raises(ConfigError, match="set EDGEAPP_HOME to another folder"):
        slots.switch("llm", "kiosk-lm", right)


def test_a_model_cannot_be_removed_while_it_is_switched_to() -> None:
    ready_model()

    def removing(model: Model, _: Path) -> None:
        with pytest.raises(ConfigError, match="wait until it is done"):
            remove_model(Console(), model.name)

    slots.switch("llm", "better", removing)
    with pytest.raises(ConfigError, match="current or the one to fall back to"):
        remove_model(Console(), "better")
    assert slots.current("llm").name == "better"


def test_what_a_killed_conversion_left_can_be_removed() -> None:
    (converting_of("better-int8") / "out").mkdir(parents=True)
    remove_model(Console(), "better-int8")
    assert not converting_of("better-int8").exists()


def test_a_model_that_ships_serves_whatever_was_put_under_its_name() -> None:
    shipped = folder_of(slots.current("llm"))
    have("kiosk-lm", engine="llm_ctranslate2", model__bin=b"another")
    assert folder_of(slots.current("llm")) == shipped
    assert "has the name of a model that ships" in str(spoiled()[0])
    assert pulled() == []


@pytest.mark.parametrize(
    ("made_by", "says"),
    [("edgeapp models convert qwen: ct2 ...", "convert qwen`"), ("edgeapp models convert", "pull better`")],
)
def test_the_way_to_mend_a_model_is_the_way_it_came(made_by: str, says: str) -> None:
    assert says in mend(msgspec.structs.replace(ready_model(), made_by=made_by))


@pytest.mark.parametrize(
    ("home", "says"),
    [("~nobody-of-this-name/x", "set EDGEAPP_HOME to a folder"), ("loop", "mend its rights, or set EDGEAPP_HOME")],
)
def test_a_home_that_is_none_is_one_sentence(tmp_path: Path, home: str, says: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    command = [sys.executable, "-m", "edgeapp", "models", "list"]
    env = os.environ | {"EDGEAPP_HOME": home}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr


def test_a_relative_home_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEAPP_HOME", "here")
    assert pulled_root() == tmp_path / "here" / "models"


def test_what_looks_like_markup_is_text(tools: Callable[[str], str]) -> None:
    with pytest.raises(ConfigError, match=r"\[/red\] is not in"):
        convert_model(Console(), "[/red]", lambda *_: None, tools(GOOD), 640)


def test_a_spoiled_record_is_said_when_its_model_is_asked_for() -> None:
    (pulled_root() / "better").mkdir()
    (pulled_root() / "better" / "edgeapp-model.json").write_text("{")
    with pytest.raises(ConfigError, match="is not the record of a model"):
        verify_models(Console(), ["better"])


def test_a_switch_killed_in_the_middle_leaves_one_of_the_two() -> None:
    ready_model()
    (pulled_root() / "switches.jsonl").write_bytes(b'{"at": "cut')
    code = (
        "import os\nfrom edgeapp.models import slots\nslots.switch('llm', 'better', lambda *_: os.kill(os.getpid(), 9))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == -signal.SIGKILL
    assert slots.current("llm").name == "kiosk-lm"
    slots.switch("llm", "better", right)
    assert slots.current("llm").name == "better"
    (pulled_root() / "slots.json").write_text("{")
    with pytest.raises(ConfigError, match="remove it, and switch again"):
        slots.current("llm")


def test_the_records_of_switches_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_MOST_BYTES", 2000)
    for _ in range(40):
        slots.switch("llm", "kiosk-lm", right)
    assert (pulled_root() / "switches.jsonl").stat().st_size < 3000
    assert len(slots.switches()) > 5


def test_a_configuration_that_says_current_gets_the_current_model(home: Path) -> None:
    (home / "models" / "slots.json").write_bytes(msgspec.json.encode({"detect": slots.Slot("qc-yolo11n")}))
    section = settings.parse('[vision.detect]\nengine = "detect_yolo"\noptions.model = "current"').vision.detect

    async def run(section: settings.Engine, where: str) -> None:
        async with AsyncExitStack() as stack:
            lane = Lane("test")
            stack.callback(lane.close)
            await admit(section, where, stack, lane, records.append, boot_s=0.01)

    records: list[object] = []
    asyncio.run(run(section, "vision.detect"))
    assert [getattr(each, "model", "") for each in records] == ["qc-yolo11n"]
    with pytest.raises(ConfigError, match="no model is current for stt"):
        asyncio.run(run(settings.Engine(engine="stt_faster_whisper", options={"model": "current"}), "voice.stt"))


def test_a_model_without_a_golden_set_must_at_least_run() -> None:
    model = have("yolo", kind="detect", engine="detect_yolo", main="x.onnx", x__onnx=b"no model")
    with pytest.raises(ConfigError, match=r"detect_yolo|x\.onnx"):
        check(model, folder_of(model))


# ---- the commands


def test_the_commands(tools: Callable[[str], str]) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=140)
    published()
    made = convert_model(console, LLM, lambda *_: None, tools(GOOD), 640)
    switch_model(console, "llm", made.name, right)
    assert f"{made.name} is current for llm (3 of 3 golden cases right)" in screen.getvalue()
    assert "back: edgeapp models switch llm kiosk-lm" in screen.getvalue()
    with pytest.raises(ConfigError, match="current or the one to fall back to for llm"):
        remove_model(console, made.name)
    with pytest.raises(ConfigError, match="ships with edgeapp"):
        remove_model(console, "kiosk-lm")
    with pytest.raises(ConfigError, match="no model 'nonsense' to remove"):
        remove_model(console, "nonsense")
    with pytest.raises(ConfigError, match=r"no model '\.\.' to remove"):
        remove_model(console, "..")
    refuse = tools(GOOD.replace("weights", "other weights"))
    with pytest.raises(ConfigError, match="that is here stays, the new one is not used"):
        convert_model(console, LLM, wrong, refuse, 640)
    assert find(made.name) == made
    (folder_of(made) / "config.json").unlink()
    (pulled_root() / "spoilt").mkdir()
    (pulled_root() / "spoilt" / "edgeapp-model.json").write_text("{")
    (pulled_root() / ".arriving-qwen3-0.6b" / "c").mkdir(parents=True)
    (pulled_root() / ".arriving-qwen3-0.6b" / "c" / "x.part").write_bytes(bytes(2_500_000))
    list_models(console)
    shown = screen.getvalue()
    for words in (
        "damaged  ",
        f"edgeapp models convert {LLM}",
        "current for llm",
        "previous for llm",
        "partly here (2.5 MB)",
    ):
        assert words in shown
    assert "spoilt" in shown
    with pytest.raises(ConfigError, match="2 of the models must not be used"):
        verify_models(console)
    slots.switch("llm", "kiosk-lm", right)
    ready_model()
    slots.switch("llm", "better", right)
    remove_model(console, made.name)
    remove_model(console, "qwen3-0.6b")
    assert {model.name for model in pulled()} == {LLM, "better"}
