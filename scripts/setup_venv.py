"""Make or complete an environment from the pinned requirements: `python3 scripts/setup_venv.py run|dev|train|pipecat`.

`run` and `dev` are .venv; `train` is .venv-train, because the application never sees torch; `pipecat` is .venv-pipecat,
because Pipecat needs other versions of some libraries. Does nothing if the environment already holds exactly what the
requirement file asks for. Standard library only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "run": (".venv", "about a minute", "check the network, then run the same command again"),
    "dev": (".venv", "about a minute", "check the network, then run the same command again"),
    "train": (
        ".venv-train",
        "two minutes and 2 GB",
        "pip must find torch's CPU build (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL), for Python 3.11 on x86-64",
    ),
    "pipecat": (
        ".venv-pipecat",
        "a minute and 700 MB",
        "check the network, then run the same command again; Pipecat needs Python 3.11 or later",
    ),
}
"""The environment, what it takes, and what to do if pip fails."""


def main() -> None:
    """Install what `run` (the application), `dev` (and its checks), `train` (training) or `pipecat` (a comparison) needs."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "run"
    if kind not in KINDS:
        sys.exit(f"usage: python3 scripts/setup_venv.py {'|'.join(KINDS)}")
    folder, takes, fix = KINDS[kind]
    venv = ROOT / folder
    if sys.version_info < (3, 11):  # noqa: UP036 - the message is for whoever runs an older one
        sys.exit(f"edgeapp needs Python 3.11 or later, this is {sys.version.split()[0]}: set PYTHON=python3.11")
    wanted = ROOT / "requirements" / f"{kind}.txt"
    digest = hashlib.sha256(wanted.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = venv / f"edgeapp-{kind}.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"edgeapp: preparing {folder} ({kind}), {takes} the first time", file=sys.stderr, flush=True)
    if not (venv / "bin" / "pip").exists():  # the last thing that making an environment puts there
        _run([sys.executable, "-m", "venv", str(venv)], "install the Debian package python3-venv")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", str(wanted)], fix)
    _run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], "run the same command again")
    stamp.write_text(digest)


def _run(command: list[str], fix: str) -> None:
    # stdout belongs to the command that is being prepared
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        sys.exit(f"edgeapp: could not prepare the environment; {fix}")


if __name__ == "__main__":
    main()
