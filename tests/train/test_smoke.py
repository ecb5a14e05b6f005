"""Every training script runs from its data to its exported model, on a toy: `pytest -m train`.

The scripts run in an environment of their own, since the application never sees torch: `$EDGEAPP_TRAIN_PYTHON`, or what
`python3 scripts/setup_venv.py train` made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_OURS = ROOT / ".venv-train" / "bin" / "python"
PYTHON = os.environ.get("EDGEAPP_TRAIN_PYTHON") or (str(_OURS) if _OURS.is_file() else sys.executable)
SHADOW = Path(__file__).parent / "cpu_torchvision"
LIMIT_S = 300  # each takes seconds on a quiet machine; this only ends what hangs

pytestmark = pytest.mark.train


def run(script: str, *arguments: str | Path) -> str:
    """Run a script of scripts/ to its end and return what it printed; fails with its last words."""
    command = [PYTHON, str(ROOT / "scripts" / script), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{SHADOW}", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S, env=environment)
    assert done.returncode == 0, f"{script}: {done.stdout[-1500:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def torch_is_there() -> None:
    """Without torch there is nothing to train with."""
    if subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, check=False).returncode:
        pytest.skip("the training environment is not there: python3 scripts/setup_venv.py train")


def test_the_detector_from_pictures_to_int8(tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    run("make_qc_images.py", "--out", data, "--smoke")
    run("train_qc.py", "--data", data, "--out", model, "--run", tmp_path / "run", "--smoke")
    assert list(model.glob("*.onnx"))
    run("quantize_qc.py", "--data", data, "--model", model, "--smoke")
    run("measure_qc.py", "--data", data, "--model", model, "--smoke")
    assert (model / "figures.json").is_file()


@pytest.mark.parametrize("script", ["train_kiosk_lm.py", "train_kiosk_stt.py", "make_kiosk_dialogues.py"])
def test_from_data_to_an_exported_model(script: str) -> None:
    run(script, "--smoke")
