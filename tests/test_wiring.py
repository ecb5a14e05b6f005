"""Wiring: what a device dropped stands in the records when everything is closed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest

from edgeapp.apps.wiring import Parts
from edgeapp.core.record import AnyRecord, DropRecord


@pytest.mark.parametrize(("device", "written"), [({"dropped": 7}, [7]), ({"dropped": 0}, []), ({}, [])])
async def test_drops_are_written_down(device: dict[str, int], written: list[int]) -> None:
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        Parts(stack, records.append).count_drops("camera", SimpleNamespace(**device))
    assert [each.dropped for each in records if isinstance(each, DropRecord)] == written
