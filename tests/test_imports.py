"""Who may import whom. The tables below are the rule."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edgeapp"

CORE_PURE = {"events", "budget", "latency", "link", "placement", "policies"}
PURE_MAY_NOT = {"asyncio", "time", "random", "os", "threading", "pathlib"}

# A room and what of edgeapp it may import; `core.lane` is one file, `core` the whole folder.
MAY_IMPORT = {
    "core": {"core"},
    "voice": {"core", "voice"},
    "vision": {"core", "vision"},
    "engines": {
        "core.events",
        "core.clock",
        "core.lane",
        "core.stream",
        "core.chat",
        "core.pour",
        "core.denoise",
        "models.cut_voice",  # the graph of a voice, as `random_voice` is: a file about files
    },
    "devices": {"core.events", "core.clock", "core.lane", "core.stream", "core.record", "devices"},
    "models": {"core.events", "core.durable", "models"},
    "observe": {"core", "observe", "station.statistics"},
    "station": {"core", "station"},
    "near_edge": {"core", "engines", "models", "near_edge", "voice"},
    "web": {"__version__", "core", "devices.resample", "models", "observe", "station", "voice", "web"},
    "config.py": {"core"},
}

# Vendors live where hardware, models and networks are; anywhere else only these.
VENDOR_ROOMS = {"engines", "devices", "models", "observe", "near_edge", "web", "doctor.py"}
ANYWHERE = {"numpy"}
WIRING_MAY = {"click", "rich", "msgspec", "matplotlib", "cv2", "soundfile"}

# Too heavy for the top of any file: `edgeapp --help` must be instant.
ONLY_INSIDE_FUNCTIONS = {
    "aiomqtt", "asyncua", "cryptography", "ctranslate2", "cv2", "espeakng_loader", "evdev", "faster_whisper", "gpiod",
    "grpc", "huggingface_hub", "livekit", "matplotlib", "onnxruntime", "piper", "pocketsphinx", "pyarrow", "pymodbus", "sounddevice",
    "soundfile", "soxr", "tensorrt_llm", "tokenizers", "torch",
    "tritonclient", "uvicorn", "zeroconf", "zxingcpp",
}  # fmt: skip


def _imports(tree: ast.AST) -> list[tuple[str, bool]]:
    """Each imported module's name and whether it is imported at the top of the file (type checking aside)."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                found.append((child.module, top))
                if child.module.startswith("edgeapp"):
                    found.extend((f"{child.module}.{alias.name}", top) for alias in child.names if alias.name.islower())
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            visit(child, top and not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(tree, True)
    return found


# Files that only draw, and are themselves imported inside functions.
AT_THE_TOP = {"serve.py": {"uvicorn"}} | {
    each: {"cv2"} for each in ("parts.py", "line_view.py", "conveyor.py", "camera_lines.py", "camera_faults.py")
}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_arrow_points_downward(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0]
    imports = _imports(ast.parse(path.read_text()))
    if room in MAY_IMPORT:
        for name, _ in imports:
            if name.startswith("edgeapp."):
                inside = name.removeprefix("edgeapp.")
                allowed = any(inside == each or inside.startswith(each + ".") for each in MAY_IMPORT[room])
                assert allowed or any(each.startswith(inside + ".") for each in MAY_IMPORT[room]), f"imports {name}"
    vendors = {
        name.split(".")[0]
        for name, _ in imports
        if name.split(".")[0] not in sys.stdlib_module_names | ANYWHERE | {"edgeapp"}
    }
    if room not in VENDOR_ROOMS:
        assert vendors <= (WIRING_MAY if room not in {"core", "voice", "vision"} else set())
    if room == "core" and path.stem in CORE_PURE:
        assert not {name.split(".")[0] for name, _ in imports} & PURE_MAY_NOT


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_vendors_are_imported_inside_functions(path: Path) -> None:
    top = {name.split(".")[0] for name, at_top in _imports(ast.parse(path.read_text())) if at_top}
    assert not top & ONLY_INSIDE_FUNCTIONS - AT_THE_TOP.get(path.name, set())


def test_engines_do_not_know_each_other() -> None:
    for path in (PACKAGE / "engines").glob("*.py"):
        assert not [name for name, _ in _imports(ast.parse(path.read_text())) if name.startswith("edgeapp.engines.")]


def test_the_core_does_not_name_a_vendor() -> None:
    names = ["triton", "whisper", "piper", "yolo", "silero", "openai", "ctranslate", "onnx"]
    for path in (PACKAGE / "core").glob("*.py"):
        text = path.read_text().lower()
        assert not [name for name in names if name in text]
