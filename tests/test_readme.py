"""What the README gives to copy is a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeapp import config as settings

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda each: each.partition("\n")[0])
def test_a_configuration_in_the_readme_is_accepted(block: str) -> None:
    settings.parse(block)
