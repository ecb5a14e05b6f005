"""What a conversation asks of a loudspeaker. The sound card and the virtual device in `devices/` both fit it.

Instants are nanoseconds on the loop's clock. Amounts of sound are nanoseconds of audio since the speaker was opened and
only grow, so a turn takes `played_ns` when it starts and subtracts: gaps between clauses do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Speaker(Protocol):
    """One voice at a time, in the order of the calls. All methods belong to the loop."""

    @property
    def latency_ns(self) -> int:
        """How long a sample waits between leaving us and being audible, as the device states it."""

    @property
    def played_ns(self) -> int:
        """The sound that has been audible so far."""

    async def play(self, samples: NDArray[np.int16], sample_rate_hz: int) -> int:
        """Queue mono `samples`, shape (n,), behind what is queued, and return when all of them have room.

        Returns when the first of them becomes audible: usually a moment ahead of now. Silence at their beginning is not
        taken off (see `onset`). Cancelled while it waits for room, what was queued stays queued: `cut` drops it.
        Raises DeviceError at once while the device is gone.
        """

    def cut(self) -> int:
        """Fall silent within one block and drop what is queued: the person speaks. Idempotent.

        Returns the value that `played_ns` reaches when the block under way has been heard, and stays at until the next
        `play`: what the person heard ends there.
        """

    def duck(self, gain: float) -> None:
        """Play at this share of the loudness from the next block on, ramped within one; 1.0 is normal.

        `cut` restores 1.0. Ducked sound counts as played.
        """

    async def drained(self) -> int:
        """Return `played_ns` when everything queued has been heard. Raises DeviceError if the device goes before."""


def onset(samples: NDArray[np.int16], threshold: int = 200) -> int:
    """Count the samples before the first one a person can hear, shape (n,) -> 0..n.

    The default threshold is -44 dBFS: synthetic voices start with silence well below it, and a turn's clock stops only
    when something is audible.
    """
    heard = (samples > threshold) | (samples < -threshold)
    return int(np.argmax(heard)) if heard.any() else len(samples)
