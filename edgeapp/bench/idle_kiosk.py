"""A kiosk on its embedded models that hears near silence for some seconds: memory and processor time, as one JSON line.

Run in a process of its own by `edgeapp bench core`: `python -m edgeapp.bench.idle_kiosk 20`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from contextlib import AsyncExitStack
from time import process_time

from edgeapp import config as settings
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.wiring import Parts, sink_of
from edgeapp.core.clock import now_ns


async def idle(seconds: float) -> dict[str, float]:
    """Listen to a virtual microphone that hears only its own noise."""
    from edgeapp.devices.files import VirtualAudio

    config = settings.Config(app="kiosk")
    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink_of(config.records, stack))
        audio = VirtualAudio(block_samples=256)
        conversation = await open_conversation(config, parts)
        listening = asyncio.create_task(conversation.listen(audio.heard(), audio.speaker))
        await asyncio.sleep(1.0)  # the first second still belongs to opening
        started_ns, worked_s = now_ns(), process_time()
        await asyncio.sleep(seconds)
        share = (process_time() - worked_s) / ((now_ns() - started_ns) / 1e9)
        audio.hang_up()
        await listening
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_share": round(share, 4), "rss_mb": round(rss_mb, 1)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(idle(float(sys.argv[1])))))
