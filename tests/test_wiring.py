"""Wiring: what a device dropped stands in the records when everything is closed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from web_world import frame, verdict

from edgeapp.apps.line import Outputs
from edgeapp.apps.qc import by_camera
from edgeapp.apps.web import devices_of
from edgeapp.apps.wiring import Parts
from edgeapp.config import Config
from edgeapp.core.events import DeviceError, Outcome
from edgeapp.core.record import AnyRecord, DropRecord
from edgeapp.vision.capture import View


async def test_what_a_device_dropped_and_why_it_is_away_can_be_seen_while_it_runs() -> None:
    camera, second, plc = SimpleNamespace(dropped=2, trouble=""), SimpleNamespace(trouble="no new frame"), object()
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        for where, each in (("camera", camera), ("camera", second), ("outputs.modbus plc", plc)):
            parts.count_drops(where, each)
        outputs = Outputs(Config(), parts)
        changed = outputs.changed("outputs.modbus plc")
        changed(DeviceError("no answer"))
        assert devices_of(parts) == [
            {"name": "camera", "trouble": "", "dropped": 2},
            {"name": "camera #2", "trouble": "no new frame", "dropped": 0},
            {"name": "outputs.modbus plc", "trouble": "no answer", "dropped": 0},
        ]
        changed(None)
        camera.dropped = 3
        assert [(each["trouble"], each["dropped"]) for each in devices_of(parts)] == [
            ("", 3),
            ("no new frame", 0),
            ("", 0),
        ]


async def test_each_camera_of_a_part_has_its_own_place_on_the_pages() -> None:
    views = [View("camera", frame(7), verdict(7)), View("left", frame(7), verdict(7)), View("right", None, verdict(7))]
    assert [(seen.source, seen.number, says.outcome) for seen, says in by_camera(views)] == [
        ("camera", 7, Outcome.PASS),
        ("left", 7, Outcome.PASS),
    ]


@pytest.mark.parametrize(("device", "written"), [({"dropped": 7}, [7]), ({"dropped": 0}, []), ({}, [])])
async def test_drops_are_written_down(device: dict[str, int], written: list[int]) -> None:
    records: list[AnyRecord] = []
    async with AsyncExitStack() as stack:
        Parts(stack, records.append).count_drops("camera", SimpleNamespace(**device))
    assert [each.dropped for each in records if isinstance(each, DropRecord)] == written
