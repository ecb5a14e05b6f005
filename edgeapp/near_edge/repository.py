"""The model repository: templates of ours (models/near-edge) plus weights that are here already, linked and never copied.

    FOLDER/NAME/config.pbtxt          from the template; `config.gpu.pbtxt` where a GPU is meant and the template has one
    FOLDER/NAME/1/model.py            from the template
    FOLDER/NAME/1/weights|model.onnx  a link to the weights

Weights are checked against the manifest first.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeapp.core.events import ConfigError
from edgeapp.models.store import bundled_root, manifest, path_of
from edgeapp.models.verify import verify
from edgeapp.voice.content import load_content
from edgeapp.voice.grammar import kiosk_grammar

_CONTENT: Final = Path(__file__).parent.parent / "assets" / "kiosk.toml"


@dataclass(frozen=True)
class Served:
    """One model of the repository."""

    name: str
    """As clients ask for it."""

    template: str
    """A folder in models/near-edge: detector, rest, stt, tts or llm."""

    weights: str = ""
    """A model of the store, or a path; empty if the engine brings its own."""


DEFAULT: Final = (
    Served("detector", "detector", "qc-yolo11n"),
    Served("rest", "rest", "qc-yolo11n"),
    Served("stt", "stt"),
    Served("tts", "tts"),
    Served("llm", "llm", "kiosk-lm"),
)
"""What a near edge serves if it is told nothing else."""

_WEIGHTS_AS: Final = {"detector": "model.onnx", "rest": "model.onnx", "llm": "weights"}

CUT_SHAPE: Final = (64, 40, 40)
"""What crosses the cut of the bundled detector (320 x 320), which is behind its layer 3."""


def chosen(names: Sequence[str]) -> Sequence[Served]:
    """Those of `DEFAULT` with these names; all of them if there are none. Raises ConfigError for an unknown name."""
    known = {model.name: model for model in DEFAULT}
    for name in names:
        if name not in known:
            raise ConfigError(f"the near edge has no model '{name}'; use {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or DEFAULT


def build(
    folder: Path,
    models: Sequence[Served] = DEFAULT,
    *,
    content: Path | None = None,
    gpu: bool = False,
    copy: bool = False,
) -> None:
    """Write the repository to `folder`, which is empty or not there.

    `content` is the kiosk's content file whose sentences the recogniser knows; `copy` copies weights for a folder that
    leaves this machine. Raises ConfigError for an unknown template, weights that are not here or not whole, and a folder
    that holds something already or cannot be written.
    """
    templates = bundled_root() / "near-edge"
    for model in models:
        if not (templates / model.template / "config.pbtxt").is_file():
            known = ", ".join(sorted(path.parent.name for path in templates.glob("*/config.pbtxt")))
            raise ConfigError(f"the near edge has no template '{model.template}'; use one of {known}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty; give the model repository a folder of its own")
        for model in models:
            _write(folder / model.name, templates / model.template, model, content or _CONTENT, gpu=gpu)
            if copy:
                _copy_weights(folder / model.name / "1")
    except OSError as error:
        raise ConfigError(
            f"cannot write the model repository {folder}: {error.strerror}; set EDGEAPP_HOME to a folder that can be written"
        ) from error


def _write(folder: Path, template: Path, model: Served, content: Path, *, gpu: bool) -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    special = template / "config.gpu.pbtxt"
    shutil.copyfile(special if gpu and special.is_file() else template / "config.pbtxt", folder / "config.pbtxt")
    shutil.copyfile(template / "model.py", version / "model.py")
    if model.weights:
        (version / _WEIGHTS_AS[model.template]).symlink_to(_weights(model.weights))
    if model.template == "stt":
        known = load_content(content)
        sentences = kiosk_grammar([item.name for item in known.items], list(known.hours), list(known.zones)).sentences
        (version / "sentences.txt").write_text("\n".join(sentences), encoding="utf-8")


def _copy_weights(version: Path) -> None:
    for link in [path for path in version.iterdir() if path.is_symlink()]:
        held = link.resolve()
        link.unlink()
        if held.is_dir():
            shutil.copytree(held, link)
        else:
            shutil.copyfile(held, link)


def _weights(name: str) -> Path:
    path = Path(name)
    if path.is_absolute():
        if not path.exists():
            raise ConfigError(f"the near edge's weights {path} are not there")
        return path
    for model in manifest():
        if model.name == name:
            verify(model)
    return path_of(name).resolve()
