"""Make or complete .venv from the pinned requirements: `python3 scripts/setup_venv.py run|dev`.

Does nothing if the environment already holds exactly what the requirement file asks for. Standard library only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"


def main() -> None:
    """Install what `run` (the application) or `dev` (and its checks) needs."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "run"
    if kind not in {"run", "dev"}:
        sys.exit("usage: python3 scripts/setup_venv.py run|dev")
    if sys.version_info < (3, 11):  # noqa: UP036 - the message is for whoever runs an older one
        sys.exit(f"edgeapp needs Python 3.11 or later, this is {sys.version.split()[0]}: set PYTHON=python3.11")
    wanted = ROOT / "requirements" / f"{kind}.txt"
    digest = hashlib.sha256(wanted.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f"edgeapp-{kind}.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"edgeapp: preparing .venv ({kind}), about a minute the first time", file=sys.stderr, flush=True)
    if not (VENV / "bin" / "python").exists():
        _run([sys.executable, "-m", "venv", str(VENV)], "install the Debian package python3-venv")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", str(wanted)], "check the network, then run the same command again")
    _run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], "run the same command again")
    stamp.write_text(digest)


def _run(command: list[str], fix: str) -> None:
    # stdout belongs to the command that is being prepared
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        sys.exit(f"edgeapp: could not prepare .venv; {fix}")


if __name__ == "__main__":
    main()
