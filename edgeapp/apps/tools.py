"""What the kiosk's replies may call, bound to the application's own callables. Which of them are offered says the content."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from edgeapp.core.events import MS
from edgeapp.voice.content import QcCounts
from edgeapp.voice.tools import Argument, BoundTool, Toolbox

_STAFF_NS = 2_000 * MS
"""A pager is slower than a turn; it is asked after the person said yes, so an opener can speak meanwhile."""


def kiosk_tools(
    *,
    counts: Callable[[], QcCounts] | None = None,
    read_sensor: Callable[[str, str], Awaitable[str]] | None = None,
    call_staff: Callable[[], Awaitable[None]] | None = None,
) -> Toolbox:
    """The tools of the callables that there are.

    `counts` gives today's parts. `read_sensor(quantity, place)` gives a value with its unit, as it is spoken ("71 degrees").
    `call_staff` has a side effect, so the kiosk asks before it calls it. The last two may raise BackendError or DeviceError.
    """
    bound: list[BoundTool] = []
    if counts is not None:
        now = counts

        async def count_parts() -> str:
            seen = now()
            return f"{seen.passed} passed, {seen.failed} failed and {seen.not_inspected} not inspected"

        bound.append(BoundTool("count_parts", count_parts, says="Of the parts of today, {result}."))
    if read_sensor is not None:
        words = {"quantity": Argument(), "place": Argument()}
        bound.append(BoundTool("read_sensor", read_sensor, words))
    if call_staff is not None:
        ring = call_staff

        async def call() -> str:
            await ring()
            return ""

        bound.append(
            BoundTool(
                "call_staff",
                call,
                side_effect=True,
                timeout_ns=_STAFF_NS,
                says="Somebody is on the way.",
                confirm="Shall I call somebody?",
            )
        )
    return Toolbox(bound)
