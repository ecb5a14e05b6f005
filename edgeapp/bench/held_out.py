"""Where the scripts are that make held-out data and measure on it: in scripts/ of a checkout, or beside the package.

`edgeapp bench models` measures with the very functions that the cards' figures come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parent.parent.parent


def scripts() -> Path | None:
    """The folder; None if this installation has none."""
    for folder in (_ROOT / "scripts", _ROOT / "edgeapp_scripts"):
        if (folder / "measure_qc.py").is_file():
            return folder
    return None
