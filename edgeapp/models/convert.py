"""Make a published model loadable: Whisper and language models to CTranslate2 int8, YOLO11 to ONNX.

The tools (transformers, ultralytics, torch) are no part of the running device. They run in a process of their own, in this
Python or in another one that has the extra `convert`, without a network, on files whose hashes were checked. What they
write becomes a model whole or not at all; its record says what made it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeapp.core.events import ConfigError
from edgeapp.models.catalogue import Source, source_of
from edgeapp.models.manifest import Model, ModelFile
from edgeapp.models.store import alone, converting_of, find, fingerprint, folder_of, install, recorded
from edgeapp.models.verify import sha256_of, verify

_PROBE: Final = """
import importlib.metadata as m, importlib.util as u, json, sys
def version(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return m.version(m.packages_distributions()[n][0])
print(json.dumps({n: version(n) for n in sys.argv[1:] if u.find_spec(n)}))
"""
_CTRANSLATE2: Final = "from ctranslate2.converters.transformers import main; main()"
_ULTRALYTICS: Final = """
import sys
from ultralytics import YOLO
YOLO(sys.argv[1]).export(format="onnx", imgsz=int(sys.argv[2]), opset=17, nms=False, simplify=False, dynamic=False)
"""

_COPIED: Final = ("tokenizer.json", "preprocessor_config.json", "generation_config.json", "LICENSE", "LICENSE.txt")
"""Beside the weights, where the published model has them."""

_OFFLINE: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
}

Say = Callable[[str], None]
Accept = Callable[[Model, Path], None]
"""As in `pull.py`: looks at a model before it replaces the one that is here."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is run, and what comes of it."""

    name: str
    """The new model's."""

    staged: Path
    """Where the tool works."""

    packages: tuple[str, ...]
    words: str
    """The command as a person would type it."""

    arguments: list[str]
    main: str
    must: tuple[str, ...]
    """Files without which the result is none."""


def convert(
    name: str,
    say: Say,
    accept: Accept = lambda *_: None,
    *,
    python: str = sys.executable,
    size_px: int = 640,
    limit_s: float = 3600.0,
) -> Model:
    """Convert the pulled model `name`; return the record of the result, `NAME-int8` or `NAME-SIZE`.

    `accept` is asked before the result replaces another of its name. `python` is the interpreter that has the tools,
    `size_px` the side of a detector's input. Raises ConfigError in one sentence: not pulled, nothing to
    convert, tools missing, a tool that fails or takes longer than `limit_s`.
    """
    source = source_of(name)
    if source is None or not source.convert:
        why = "is used as it is" if source or find(name) else "is not in `edgeapp models list`"
        raise ConfigError(f"there is nothing to convert: {name} {why}")
    model = find(name)
    if model is None:
        raise ConfigError(f"{name} is not on this device: run `edgeapp models pull {name}` first")
    verify(model)
    python = os.path.abspath(python) if os.sep in python else python  # the tool runs in a folder of its own
    plan = _plan(source, model, size_px)
    staged = plan.staged
    versions = _versions(python, plan, name)
    with alone(plan.name, "convert"):
        try:
            made, out = _run(model, plan, versions, say, python, limit_s)
            if not _is_here(made):
                if recorded(made.name):
                    accept(made, out)
                install(made, out)
        except OSError as error:
            raise ConfigError(
                f"cannot convert {name}: {error.strerror or error}; mend that and convert again"
            ) from error
        finally:
            if staged.exists():
                shutil.rmtree(staged)
        return made


def _plan(source: Source, model: Model, size_px: int) -> _Plan:
    folder = folder_of(model)
    if source.convert == "ultralytics":
        if not 32 <= size_px <= 1280 or size_px % 32:
            raise ConfigError(f"a detector's input has a side of 32 to 1280 pixels that 32 divides, not {size_px}")
        name = f"{source.name}-{size_px}"
        staged = converting_of(name)
        weights = staged / source.main
        main = weights.with_suffix(".onnx").name
        return _Plan(
            name,
            staged,
            ("torch", "ultralytics", "onnx"),
            f"yolo export model={source.main} format=onnx imgsz={size_px} opset=17 nms=False simplify=False",
            ["-c", _ULTRALYTICS, str(weights), str(size_px)],
            main,
            (main,),
        )
    copied = [each.path for each in model.files if each.path in _COPIED]
    options = ["--quantization", "int8", "--copy_files", *copied]
    name = f"{source.name}-int8"
    staged = converting_of(name)
    return _Plan(
        name,
        staged,
        ("torch", "transformers", "ctranslate2"),
        f"ct2-transformers-converter --model {source.name} {' '.join(options)}",
        ["-c", _CTRANSLATE2, "--model", str(folder), "--output_dir", str(staged / "out"), *options],
        "",
        ("model.bin", "config.json", "tokenizer.json"),
    )


def _versions(python: str, plan: _Plan, name: str) -> str:
    """The tools' versions. Raises ConfigError if one is missing."""
    fix = "pip install 'edgeapp[convert]', or name a Python that has it with --python"
    try:
        found = subprocess.run([python, "-c", _PROBE, *plan.packages], capture_output=True, timeout=60, check=True)
        versions: dict[str, str] = json.loads(found.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConfigError(f"{python} is no Python that runs ({type(error).__name__}): {fix}") from error
    missing = [each for each in plan.packages if each not in versions]
    if missing:
        raise ConfigError(f"converting {name} needs {', '.join(missing)}: {fix}")
    return ", ".join(f"{each} {versions[each]}".strip() for each in plan.packages)


def _run(model: Model, plan: _Plan, versions: str, say: Say, python: str, limit_s: float) -> tuple[Model, Path]:
    """Run the tool; return the record and the folder of what it made."""
    staged = plan.staged
    if staged.exists():  # of a conversion that was killed
        shutil.rmtree(staged)
    out = staged / "out"
    out.mkdir(parents=True)
    if model.main:  # ultralytics writes beside the weights
        shutil.copyfile(folder_of(model) / model.main, staged / model.main)
    else:
        out.rmdir()
    say(f"{plan.words}   ({versions})")
    _tool([python, *plan.arguments], staged, limit_s)
    if plan.main and (staged / plan.main).is_file():
        (staged / plan.main).rename(out / plan.main)
    for must in plan.must:
        if not (out / must).is_file() or not (out / must).stat().st_size:
            raise ConfigError(f"the converter ended well but wrote no {must}: use the versions that edgeapp names")
    files = [
        ModelFile(path=path.relative_to(out).as_posix(), sha256=sha256_of(path), size=path.stat().st_size)
        for path in sorted(out.rglob("*"))
        if path.is_file()
    ]
    made = Model(
        name=plan.name,
        kind=model.kind,
        engine=_engine(model.name),
        licence=model.licence,
        source=model.source,
        revision=model.revision,
        made_by=f"edgeapp models convert {model.name}: {plan.words} ({versions})",
        files=files,
        main=plan.main,
    )
    return made, out


def _engine(name: str) -> str:
    source = source_of(name)
    return source.engine if source else ""


def _is_here(made: Model) -> bool:
    """The same bytes are a model already, whole: nothing to replace."""
    before = recorded(made.name)
    if before is None or fingerprint(before) != fingerprint(made):
        return False
    try:
        verify(before)
    except ConfigError:
        return False
    return True


def _tool(command: list[str], folder: Path, limit_s: float) -> None:
    """Run the converter to its end, or end it and all it started."""
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | _OFFLINE,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"the converter was not done after {limit_s:g} s: convert on a faster machine and copy the folder"
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ConfigError(f"the converter failed ({code}): {said[-1][:300] if said else 'it said nothing'}")
