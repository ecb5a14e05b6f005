"""The one command before a commit, and what CI runs: `python3 scripts/check.py [--quick] [--no-train]`.

Prepares .venv, installs the Debian packages that tests with real parts need (when it may), then format, lint, types,
function length, manifest, Triton's own environment and tests; then prepares .venv-train and runs every training script on
a toy. `--quick` leaves out the tests with real parts and the training, `--no-train` only the training.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
DEBIAN = {"libportaudio2": "libportaudio.so.2"}
PROGRAMS = {"mosquitto": "mosquitto", "mosquitto-clients": "mosquitto_sub", "chromium": "chromium"}
REAL_PARTS = (
    "tests/e2e",
    "tests/contract",
    "tests/test_protocols.py",
    "tests/test_opcua.py",
    "tests/test_mqtt.py",
)
FUNCTION_LINES_MAX = 70


def main() -> None:
    """Run every check; exits with the first that fails."""
    unknown = set(sys.argv[1:]) - {"--quick", "--no-train"}
    if unknown:
        sys.exit(f"usage: python3 scripts/check.py [--quick] [--no-train]; there is no {min(unknown)}")
    quick = "--quick" in sys.argv[1:]
    run([sys.executable, "scripts/setup_venv.py", "dev"])
    debian_packages()
    run([str(PYTHON), "-m", "ruff", "format", "--check", "--quiet", "."])
    run([str(PYTHON), "-m", "ruff", "check", "--quiet", "."])
    run([str(PYTHON), "-m", "mypy"])
    long_functions()
    run([str(PYTHON), "scripts/make_manifest.py", "--check"])
    if not quick:  # nothing is downloaded while tests run
        run([str(PYTHON), "-c", "from edgeapp.near_edge import environment as e; e.no_wheel() or e.prepare()"])
    if quick:
        run([str(PYTHON), "-m", "pytest", "--ignore=tests/e2e", "--ignore=tests/contract"])
    else:
        test()
    if not quick and "--no-train" not in sys.argv[1:]:
        train()


def run(command: list[str]) -> None:
    """Run one check."""
    print(f"$ {' '.join(command)}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code:
        sys.exit(code)


def test() -> None:
    """The tests with whole applications, servers and brokers wait more than they compute: they run beside the others, and are
    shown after them.
    """
    beside = [str(PYTHON), "-m", "pytest", *REAL_PARTS, "-p", "no:cacheprovider"]
    with (
        tempfile.TemporaryFile() as shown,
        subprocess.Popen(beside, cwd=ROOT, stdout=shown, stderr=shown) as end_to_end,
    ):
        rest = [str(PYTHON), "-m", "pytest", *(f"--ignore={each}" for each in REAL_PARTS)]
        print(f"$ {' '.join(rest)}", flush=True)
        code = subprocess.run(rest, cwd=ROOT, check=False).returncode
        end_to_end.wait()
        print(f"$ {' '.join(beside)}", flush=True)
        shown.seek(0)
        sys.stdout.buffer.write(shown.read())
        sys.stdout.flush()
    if code or end_to_end.returncode:
        sys.exit(code or end_to_end.returncode)


def train() -> None:
    """Run the training scripts on a toy, where pip finds torch's CPU build; a device and its developers may do without."""
    if subprocess.run([sys.executable, "scripts/setup_venv.py", "train"], cwd=ROOT, check=False).returncode:
        print("NOT RUN: the training scripts, for want of their environment (above)", flush=True)
        return
    run([str(PYTHON), "-m", "pytest", "-o", "faulthandler_timeout=400", "-m", "train", "tests/train"])


def debian_packages() -> None:
    """Install the shared libraries and programs that no wheel carries; without the right to do so, say which are missing."""
    known = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    missing = [package for package, library in DEBIAN.items() if library not in known]
    places = f"{os.environ.get('PATH', '')}:/usr/sbin"  # where Debian keeps servers
    missing += [package for package, program in PROGRAMS.items() if not shutil.which(program, path=places)]
    folder, library = sysconfig.get_config_vars("LIBDIR", "INSTSONAME")
    if ".so" in library and not Path(folder, library).exists():  # Triton's Python backend is linked to it
        missing.append("libpython{}.{}".format(*sys.version_info[:2]))
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *missing]):
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False)
    else:
        print(f"missing Debian packages, their tests will skip: sudo apt-get install {' '.join(missing)}")


def long_functions() -> None:
    """A function longer than 70 lines hides a second idea."""
    for folder in ("edgeapp", "scripts", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > FUNCTION_LINES_MAX:
                        sys.exit(f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}")


if __name__ == "__main__":
    main()
