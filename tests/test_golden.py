"""The golden gate refuses real models that were spoiled, each in its own way, and nothing else."""

from __future__ import annotations

import ast
import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeapp import config as settings
from edgeapp.apps import gate, golden_report, passed
from edgeapp.apps.golden_report import report_golden
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import BackendError, ConfigError
from edgeapp.core.lane import Lane
from edgeapp.core.record import AnyRecord, GateRecord
from edgeapp.models import slots, store
from edgeapp.models.golden import Examined, examine, read_golden
from edgeapp.models.manifest import Model, ModelFile
from edgeapp.models.verify import sha256_of

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from make_manifest import as_toml  # type: ignore[import-not-found]

MODELS = Path(__file__).parent.parent / "models"
DETECTOR = "qc-yolo11n.onnx"
INT8 = "qc-yolo11n-int8.onnx"


def bundled(name: str) -> Model:
    """A model that ships."""
    return next(model for model in store.bundled() if model.name == name)


def rehashed(model: Model, folder: Path) -> Model:
    """The model's record as somebody would write it for the files that lie in `folder` now."""
    files = [ModelFile(path=each.path, sha256=sha256_of(folder / each.path), size=1) for each in model.files]
    sized = [msgspec.structs.replace(each, size=(folder / each.path).stat().st_size) for each in files]
    return msgspec.structs.replace(model, files=sized)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a model that ships into a folder of its own, without the weights it was trained from."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(MODELS / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pt", "*.png")))

    return copy


def _edit(file: Path, change: Callable[[Any], None]) -> None:
    graph = onnx.load(str(file))
    change(graph)
    onnx.save(graph, str(file))


def _zero_scales(graph: Any) -> None:
    scales = {node.input[1] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    for each in graph.graph.initializer:
        if each.name in scales:
            each.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(each)), each.name))


def _not_a_number(graph: Any) -> None:
    for each in graph.graph.initializer:
        value = numpy_helper.to_array(each)
        if value.dtype == np.float32 and value.ndim == 4:
            each.CopyFrom(numpy_helper.from_array(np.full_like(value, np.nan), each.name))


def _newer_opset(graph: Any) -> None:
    graph.opset_import[0].version = 99


def _foreign_operator(graph: Any) -> None:
    graph.graph.node[0].domain = "trt.plugins"
    graph.opset_import.append(onnx.helper.make_opsetid("trt.plugins", 1))


def _other_classes(graph: Any) -> None:
    for each in graph.metadata_props:
        if each.key == "names":
            names = list(ast.literal_eval(each.value).values())
            each.value = str(dict(enumerate(names[1:] + names[:1])))


SPOILED: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "INT8 with its scales zeroed": (INT8, _zero_scales, "answers wrongly"),
    "weights that are not numbers": (DETECTOR, _not_a_number, "answers wrongly"),
    "classes in another order": (DETECTOR, _other_classes, "answers wrongly"),
    "an opset this runtime does not have": (DETECTOR, _newer_opset, "cannot"),
    "an operator this runtime does not have": (DETECTOR, _foreign_operator, "cannot"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_detector_is_refused(copied: Callable[[str], Path], how: str) -> None:
    file, change, says = SPOILED[how]
    folder = copied("qc-yolo11n")
    _edit(folder / file, change)
    model = msgspec.structs.replace(rehashed(bundled("qc-yolo11n"), folder), main=file)
    with pytest.raises(ConfigError, match=says) as refused:
        gate.check(model, folder)
    assert "\n" not in str(refused.value)


def test_a_tensorrt_engine_is_refused_where_there_is_no_tensorrt(copied: Callable[[str], Path]) -> None:
    folder = copied("qc-yolo11n")
    (folder / "qc.engine").write_bytes(b"ftrt" + np.random.default_rng(0).bytes(100_000))
    model = bundled("qc-yolo11n")
    engine = msgspec.structs.replace(
        model, files=[ModelFile(path="qc.engine", sha256="0" * 64, size=0)], main="qc.engine"
    )
    with pytest.raises(ConfigError, match=r"qc\.engine") as refused:
        gate.check(rehashed(engine, folder), folder)
    assert "\n" not in str(refused.value)


def test_flipped_weights_are_refused_though_their_hashes_are_right(copied: Callable[[str], Path]) -> None:
    folder = copied("kiosk-lm")
    file = folder / "model.bin"
    content = bytearray(file.read_bytes())
    middle = slice(len(content) // 4, len(content) // 2)
    content[middle] = bytes(255 - each for each in content[middle])
    file.write_bytes(content)
    model = rehashed(bundled("kiosk-lm"), folder)
    with pytest.raises(ConfigError, match=r"answers wrongly|cannot load"):
        gate.check(model, folder)


@pytest.mark.parametrize("vocabulary_too", [False, True])
def test_another_models_tokenizer_is_refused(copied: Callable[[str], Path], vocabulary_too: bool) -> None:
    folder = copied("kiosk-lm")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    old = tokenizer["model"]["vocab"]
    kept = {each["content"] for each in tokenizer["added_tokens"]}
    tokens = sorted(set(old) - kept, key=old.__getitem__)
    ids = [old[token] for token in tokens]
    tokenizer["model"]["vocab"] = old | dict(zip(tokens[256:] + tokens[:256], ids, strict=True))
    file.write_text(json.dumps(tokenizer))
    if vocabulary_too:
        vocabulary = json.loads((folder / "vocabulary.json").read_text())
        for token, number in tokenizer["model"]["vocab"].items():
            vocabulary[number] = token
        (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ConfigError, match="answers wrongly" if vocabulary_too else "does not belong to this model"):
        gate.check(rehashed(bundled("kiosk-lm"), folder), folder)


def test_every_build_that_ships_passes() -> None:
    for model in store.bundled():
        golden = gate.golden_of(model, store.folder_of(model))
        assert golden is not None, f"{model.name} has no golden set"
        for build in gate.builds(model):
            assert gate.ask_build(model, store.folder_of(model) / build, golden).ok


# At boot


@pytest.fixture
def shop(copied: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device of its own: a detector that ships, and a second one, `qc-new`, that is spoiled but rightly hashed."""
    good = copied("qc-yolo11n")
    bad = Path(shutil.copytree(good, tmp_path / "qc-new"))
    _edit(bad / DETECTOR, _not_a_number)
    ships = msgspec.structs.replace(rehashed(bundled("qc-yolo11n"), good), main=DETECTOR)
    new = msgspec.structs.replace(rehashed(ships, bad), name="qc-new")
    (tmp_path / "manifest.toml").write_text(as_toml([ships, new]))
    monkeypatch.setattr(store, "bundled_root", lambda: tmp_path)
    monkeypatch.setenv("EDGEAPP_HOME", str(tmp_path / "home"))
    return tmp_path


async def _boot(name: str, records: list[AnyRecord]) -> str:
    """Open the detector `name` as an application does; return the model that serves."""
    section = settings.Stage(engine="detect_yolo", options={"model": name})
    async with AsyncExitStack() as stack:
        engine = await Parts(stack, records.append).engine(section, "vision.detect")
        return str(engine.model)


@pytest.mark.real_time
async def test_at_boot_the_default_serves_instead_of_a_model_that_fails(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records: list[AnyRecord] = []
    right = await _boot("qc-yolo11n", records)
    assert await _boot("qc-new", records) == right
    outcomes = [(each.model, each.outcome) for each in records if isinstance(each, GateRecord)]
    assert outcomes == [("qc-yolo11n", "passed"), ("qc-yolo11n", "passed"), ("qc-new", "refused")]
    said = capsys.readouterr().err
    assert "qc-new answers wrongly here" in said
    assert "qc-yolo11n serves instead" in said


@pytest.mark.real_time
async def test_at_boot_the_model_that_last_passed_serves_instead(shop: Path) -> None:
    records: list[AnyRecord] = []
    int8 = await _boot(f"qc-yolo11n/{INT8}", records)
    assert await _boot("qc-new", records) == int8
    assert await _boot("qc-yolo11n", records) != int8
    assert passed.last("vision.detect") is None, "the embedded default needs no remembering"


@pytest.mark.real_time
async def test_at_boot_a_build_is_asked_the_cases_of_its_size(shop: Path) -> None:
    records: list[AnyRecord] = []
    for size_px in (640, 480):
        options = {"model": "qc-yolo11n", "size_px": size_px}
        async with AsyncExitStack() as stack:
            await Parts(stack, records.append).engine(
                settings.Stage(engine="detect_yolo", options=options), "vision.detect"
            )
    large, other = (each for each in records if isinstance(each, GateRecord))
    assert (large.outcome, large.right) == ("passed", large.cases)
    assert (other.outcome, other.why) == ("not asked", "it has no golden case for 480 px")
    remembered = passed.last("vision.detect")
    assert remembered is not None
    assert remembered.options["size_px"] == 640, "only what was asked has passed"


@pytest.mark.real_time
async def test_current_is_what_was_switched_to(shop: Path) -> None:
    with pytest.raises(ConfigError, match="stays current for detect: qc-new answers wrongly"):
        await asyncio.to_thread(slots.switch, "detect", "qc-new", gate.check)
    records: list[AnyRecord] = []
    await _boot("current", records)
    assert [each.model for each in records if isinstance(each, GateRecord)] == ["qc-yolo11n"]


@pytest.mark.real_time
@pytest.mark.parametrize("bad", ["qc-new", "gone", "spoiled"])
async def test_at_boot_the_previous_model_serves_instead_of_a_current_one_that_fails(shop: Path, bad: str) -> None:
    home = shop / "home" / "models"
    (home / "spoiled").mkdir(parents=True)
    (home / "spoiled" / store.RECORD).write_text("{")
    (home / "slots.json").write_bytes(msgspec.json.encode({"detect": slots.Slot(bad, "qc-yolo11n")}))
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        section = settings.Stage(engine="detect_yolo", options={"model": "current", "size_px": 640})
        engine = await Parts(stack, records.append).engine(section, "vision.detect")
        assert engine.size_px == 640, "the previous model with the section's options, not the embedded default"
    assert [each.outcome for each in records if isinstance(each, GateRecord)] == ["passed", "refused"]


@pytest.mark.real_time
async def test_a_smaller_engine_has_its_stages_role(shop: Path) -> None:
    records: list[AnyRecord] = []
    section = settings.Engine(engine="detect_yolo", options={"model": "current"})
    async with AsyncExitStack() as stack:
        await Parts(stack, records.append).engine(section, "vision.detect.smaller")
    assert [each.model for each in records if isinstance(each, GateRecord)] == ["qc-yolo11n"]


async def test_an_engine_that_fails_before_its_first_case_is_refused() -> None:
    class Deaf:
        async def use_grammar(self, _: object) -> None:
            raise BackendError("it lost its words")

    @asynccontextmanager
    async def load(*_: object) -> AsyncIterator[Deaf]:
        yield Deaf()

    asked = gate.ready(settings.Engine(engine="stt_pocketsphinx"), "voice.stt")
    asked = replace(asked, module=SimpleNamespace(load=load))
    lane = Lane("test")
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match="stt_pocketsphinx does not run here: it lost its words"):
            await gate._open(asked, "voice.stt", stack, lane, records.append, 1.0)
    lane.close()


def test_where_a_model_runs_does_not_spare_it_the_questions() -> None:
    on_two = gate.ready(settings.Engine(engine="vad_silero", options={"threads": 2}), "voice.vad")
    assert on_two.golden is not None
    louder = gate.ready(settings.Engine(engine="tts_espeak", options={"gain": 0.1, "pitch": 9}), "voice.tts")
    assert (louder.golden, louder.why) == (None, "nobody knows its right answers with gain, pitch set")


@pytest.mark.real_time
async def test_at_boot_a_wrong_hash_counts_as_a_model_that_fails(shop: Path) -> None:
    with (shop / "qc-new" / DETECTOR).open("ab") as file:
        file.write(b"more")
    records: list[AnyRecord] = []
    await _boot("qc-new", records)
    assert [each.outcome for each in records if isinstance(each, GateRecord)] == ["passed", "refused"]


@pytest.mark.real_time
async def test_without_another_model_the_application_does_not_start(shop: Path) -> None:
    shutil.copy(shop / "qc-new" / DETECTOR, shop / "qc-yolo11n" / DETECTOR)
    records: list[AnyRecord] = []
    with pytest.raises(ConfigError, match="is not the model's file"):
        await _boot("qc-yolo11n", records)
    assert [each.outcome for each in records if isinstance(each, GateRecord)] == ["refused"]


@pytest.mark.real_time
async def test_what_the_operator_wrote_wrongly_is_not_passed_over(shop: Path) -> None:
    with pytest.raises(ConfigError, match="qc-yelo11n"):
        await _boot("qc-yelo11n", [])
    with pytest.raises(ConfigError, match=r"has no build 'qc\.engine'"):
        await _boot("qc-yolo11n/qc.engine", [])


# The set itself

DETECT = {"task": "detect", "at_least": 0.9, "cases": [{"image": "a.jpg", "boxes": []}]}
WRONG_SETS: dict[str, tuple[object, str]] = {
    "no JSON": ("{", "not a golden set"),
    "another task": (DETECT | {"task": "dance"}, "Invalid value 'dance'"),
    "an unknown key": (DETECT | {"pictures": 3}, "unknown field `pictures`"),
    "no cases": (DETECT | {"cases": []}, "0 cases"),
    "half is not enough": (DETECT | {"at_least": 0.5}, "at_least is 0.5"),
    "a path that leaves": (DETECT | {"cases": [{"image": "../a.jpg", "boxes": []}]}, "not a safe path"),
    "a missing picture": (DETECT, "a.jpg cannot be read"),
}


@pytest.mark.parametrize("what", WRONG_SETS)
def test_a_wrong_golden_set_is_one_sentence(tmp_path: Path, what: str) -> None:
    content, says = WRONG_SETS[what]
    (tmp_path / "golden.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=says) as refused:
        read_golden(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_changed_golden_set_is_not_the_manifests(copied: Callable[[str], Path]) -> None:
    folder = copied("qc-yolo11n")
    model = msgspec.structs.replace(bundled("qc-yolo11n"), golden_sha256="0" * 64)
    with pytest.raises(ConfigError, match="not the one of its manifest"):
        gate.check(model, folder)


async def test_the_time_at_boot_is_bounded_and_one_case_is_asked(tmp_path: Path) -> None:
    from edgeapp.engines import fake

    cases = [{"facts": [], "question": f"question {number}", "reply": "hello"} for number in range(9)]
    (tmp_path / "golden.json").write_text(json.dumps({"task": "reply", "at_least": 0.75, "cases": cases}))
    golden = read_golden(tmp_path)
    lane = Lane("test")

    async def asked(budget_s: float | None, **script: Any) -> Examined:
        options = fake.Options(kind="llm", takes_ms=100.0, **script)
        async with fake.load(options, lane) as engine:
            return await examine(golden, engine, "fake", budget_s=budget_s)

    assert (await asked(None)).right == 9
    short = await asked(0.001)
    assert (short.cases, short.ok) == (1, True)
    unlucky = await asked(0.001, texts=("no", *["hello"] * 8))
    assert (unlucky.cases, unlucky.ok) == (3, True), "a busy machine does not refuse what an idle one accepts"
    wrong = await asked(None, texts=("hello", "no"))
    assert (wrong.ok, wrong.cases, wrong.allowed) == (False, 6, 2), "it stops as soon as it cannot pass any more"
    assert "not 'hello'" in wrong.worst
    lane.close()


def test_the_report_says_which_record_is_spoiled(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = shop / "home" / "models" / "spoiled" / store.RECORD
    record.parent.mkdir(parents=True)
    record.write_text("{")
    (shop / "manifest.toml").write_text("")
    monkeypatch.setattr(golden_report, "PACKAGES", ())
    assert report_golden([], as_json=True) == 1
    assert "is not the record of a model" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="is not the record of a model"):
        report_golden(["spoiled"], as_json=True)


def test_the_report_says_which_and_why(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_golden(["qc-new"], as_json=True) == 1
    lines = {line["model"]: line for line in json.loads(capsys.readouterr().out)["models"]}
    int8, whole = lines[f"qc-new/{INT8}"], lines["qc-new"]
    assert int8["ok"]
    assert not whole["ok"]
    assert "not seen" in whole["worst"]
    assert report_golden(["vad_silero", "tts_espeak"], as_json=False) == 0
    assert "2 of 2" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no model 'nobody'"):
        report_golden(["nobody"], as_json=False)
