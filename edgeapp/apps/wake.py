"""What wakes the device, wired: a key and a camera feed one `Attention`; the keyphrase comes with the words."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.qc import open_camera, warn
from edgeapp.apps.wiring import Parts
from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, CameraFrame, DeviceError
from edgeapp.devices import key
from edgeapp.vision.presence import PresenceRule, presence
from edgeapp.voice.wake import Attention, AttentionRule, Way


def rule_of(wake: settings.Wake) -> AttentionRule:
    """The rule as the configuration says it."""
    return AttentionRule(
        ways=frozenset(map(Way, wake.ways)),
        keyphrase=wake.keyphrase,
        awake_ns=round(wake.awake_ms * MS),
        appear_ns=round(wake.presence.appear_ms * MS),
        leave_ns=round(wake.presence.leave_ms * MS),
    )


@asynccontextmanager
async def attending(wake: settings.Wake, attention: Attention, parts: Parts) -> AsyncIterator[None]:
    """Feed `attention` from the configured key and camera while the block runs.

    Raises ConfigError or DeviceError if one of them cannot be opened, and DeviceError if the camera never gives a picture.
    """
    async with asyncio.TaskGroup() as sources:
        tasks = []
        if "key" in wake.ways and wake.key_device != "screen":
            options = key.Options(device=wake.key_device, key=wake.key)
            presses = await parts.stack.enter_async_context(key.open_key(options))
            tasks.append(sources.create_task(_press(presses, attention)))
        if "presence" in wake.ways:
            assert wake.presence.detect is not None  # the configuration was checked
            detect = await parts.engine(wake.presence.detect, "voice.wake.presence.detect")
            frames = await open_camera(wake.presence.camera, parts)
            tasks.append(sources.create_task(_look(frames, detect, wake.presence, attention)))
        yield
        for task in tasks:
            task.cancel()


async def _press(presses: AsyncIterable[key.Press], attention: Attention) -> None:
    does = {key.Press.DOWN: attention.pressed, key.Press.UP: attention.released, key.Press.TAP: attention.tapped}
    async for press in presses:
        does[press](now_ns())


async def _look(
    frames: AsyncIterable[CameraFrame],
    detect: Any,
    chosen: settings.Presence,
    attention: Attention,
    on_loss: Callable[[DeviceError], None] = warn,
) -> None:
    """As `vision.inspection.watch` does: a camera that is lost is looked through again when it is back."""
    rule = PresenceRule(
        label=chosen.label,
        score=chosen.person_score,
        height_share=chosen.height_share,
        every_ns=round(chosen.every_ms * MS),
    )
    seen, ended = False, False
    while not ended:
        try:
            async for here in presence(frames, detect, rule, _warn_of):
                seen = True
                attention.present(here, now_ns())
            ended = True
        except DeviceError as lost:
            if not seen:
                raise
            on_loss(lost)


def _warn_of(failure: BackendError) -> None:
    sys.stderr.write(f"edgeapp: nobody can be seen: {failure}\n")
