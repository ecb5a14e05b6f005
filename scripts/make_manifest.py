"""Write the sizes and hashes of the bundled models into models/manifest.toml, or check them.

    python scripts/make_manifest.py             every model's folder is listed anew; figures are kept
    python scripts/make_manifest.py --check     fail if the manifest is not what this would write

A model whose folder has none of its files yet is left out and named. A golden set that cannot be read is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgeapp.models.golden import read_golden  # noqa: E402
from edgeapp.models.manifest import Model, ModelFile, read_manifest  # noqa: E402
from edgeapp.models.verify import sha256_of  # noqa: E402


@dataclass(frozen=True)
class Bundled:
    """What cannot be read from the files of a model that ships."""

    name: str
    kind: str
    engine: str
    made_by: str
    patterns: tuple[str, ...]
    main: str = ""
    licence: str = "AGPL-3.0-or-later"
    options: dict[str, bool | int | float | str] = field(default_factory=dict)


BUNDLED = (
    Bundled("qc-yolo11n", "detect", "detect_yolo", "scripts/train_qc.py", ("*.onnx",), main="qc-yolo11n.onnx"),
    Bundled("kiosk-lm", "llm", "llm_ctranslate2", "scripts/train_kiosk_lm.py", ("*.bin", "*.json")),
    Bundled(
        "kiosk-whisper",
        "stt",
        "stt_faster_whisper",
        "scripts/train_kiosk_stt.py",
        ("*.bin", "*.json"),
        options={"context": "short"},
    ),
)


def describe(bundled: Bundled, root: Path, before: dict[str, Model]) -> Model | None:
    """The manifest's entry of one model; None if it has no files yet. `figures.json` in its folder becomes its figures."""
    folder = root / bundled.name
    skipped = {"figures.json"}
    found = {path for pattern in bundled.patterns for path in folder.glob(pattern) if path.name not in skipped}
    if not found:
        return None
    files = [
        ModelFile(path=path.relative_to(folder).as_posix(), sha256=sha256_of(path), size=path.stat().st_size)
        for path in sorted(found)
    ]
    old = before.get(bundled.name)
    golden = read_golden(folder / "golden").sha256 if (folder / "golden").is_dir() else ""
    figures = folder / "figures.json"
    return Model(
        name=bundled.name,
        kind=bundled.kind,  # type: ignore[arg-type]
        engine=bundled.engine,
        licence=bundled.licence,
        source="made here",
        revision="",
        made_by=bundled.made_by,
        files=files,
        main=bundled.main if any(each.path == bundled.main for each in files) else "",
        options=bundled.options,
        golden="golden" if golden else "",
        golden_sha256=golden,
        figures=flat(json.loads(figures.read_text())) if figures.is_file() else (old.figures if old else {}),
        note=old.note if old else "",
    )


def flat(figures: dict[str, Any], before: str = "") -> dict[str, float | str]:
    """Nested figures as one level, 'file / test / mAP50', which is what a manifest holds; lists are left out."""
    found: dict[str, float | str] = {}
    for key, value in figures.items():
        name = f"{before} / {key}" if before else key
        if isinstance(value, dict):
            found |= flat(value, name)
        elif isinstance(value, int | float | str):
            found[name] = value
    return found


def as_toml(models: list[Model]) -> str:
    """The manifest's text. TOML's basic strings are JSON's, so json.dumps quotes them."""
    lines = ["# Written by scripts/make_manifest.py: what ships, and exactly which bytes it is."]
    for model in models:
        lines += ["", "[[model]]"]
        for key in (
            "name",
            "kind",
            "engine",
            "licence",
            "source",
            "revision",
            "made_by",
            "main",
            "golden",
            "golden_sha256",
            "note",
        ):
            if value := getattr(model, key):
                lines.append(f"{key} = {json.dumps(value)}")
            elif key == "revision":
                lines.append('revision = ""')
        for table in ("options", "figures"):
            if values := getattr(model, table):
                lines += ["", f"[model.{table}]"]
                lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()]
        for each in model.files:
            lines += ["", "[[model.files]]", f"path = {json.dumps(each.path)}", f'sha256 = "{each.sha256}"']
            lines.append(f"size = {each.size}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT / "models")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    file = arguments.root / "manifest.toml"
    before = {model.name: model for model in read_manifest(file)} if file.is_file() else {}
    models = []
    for bundled in BUNDLED:
        model = describe(bundled, arguments.root, before)
        if model is None:
            print(f"{bundled.name}: no files in {arguments.root / bundled.name} yet; left out")
        else:
            models.append(model)
            print(f"{model.name}: {len(model.files)} files, {sum(each.size for each in model.files) / 1e6:.1f} MB")
    text = as_toml(models)
    if arguments.check:
        same = file.is_file() and file.read_text(encoding="utf-8") == text
        print("the manifest is right" if same else "the manifest is stale: run scripts/make_manifest.py")
        return 0 if same else 1
    file.write_text(text, encoding="utf-8")
    read_manifest(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
