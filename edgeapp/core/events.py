"""The values that flow between the stages, and the three errors. Frozen, no base class, no behaviour beyond arithmetic.

Instants are integer nanoseconds on the running loop's clock (`*_ns`); audio is mono int16 at 16 kHz unless a field says
otherwise; images are uint8 BGR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MS: Final = 1_000_000
"""One millisecond in nanoseconds."""

SAMPLE_RATE_HZ: Final = 16_000
"""The rate of all audio inside the application; devices resample at the edge."""


class ConfigError(Exception):
    """The operator must act: a wrong key, a missing file, a package that is not installed."""


class DeviceError(Exception):
    """A cable, a camera or a sound card did not do its work."""


class BackendError(Exception):
    """A model or a server did not do its work. Expected: the caller falls back."""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A short run of microphone samples."""

    samples: NDArray[np.int16]
    """Mono samples at `SAMPLE_RATE_HZ`, shape (n,)."""

    ended_ns: int
    """When the last sample was captured."""

    echo_share: float = 0.0
    """The share of its energy that our own loudspeaker explains, 0 to 1, after cancellation."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a person said in one turn. It carries everything a recogniser needs."""

    number: int
    """Counts the utterances of a conversation, from 1; a streaming recogniser knows what it already heard by it."""

    samples: NDArray[np.int16]
    """Mono samples at `SAMPLE_RATE_HZ`, pre-roll included, shape (n,)."""

    ended_ns: int
    """When the last voiced sample was captured: the clock of the turn starts here."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of an utterance, or the words so far."""

    text: str
    """Lower case, no punctuation; empty if nothing was understood."""

    complete: bool
    """True if the recogniser's grammar (or model) takes the text for a finished sentence."""

    may_go_on: bool = False
    """True if a longer sentence of the grammar begins with the text; False if none does, or without a grammar."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a language model; it carries everything, so any model can take over in the middle."""

    system: str
    """Who the device is and the facts it may use. Stable over a conversation, so that it can stay resident."""

    turns: tuple[tuple[str, str], ...]
    """What was said and what was heard as the answer, oldest first."""

    question: str
    """What the person said now."""

    said: str = ""
    """The beginning of the reply that is already spoken; the model continues from it."""

    max_tokens: int = 64
    """The bound of the reply."""

    facts: str = ""
    """What is true of this question only, one fact a line. An engine puts it where its model reads it and its cache bears it."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A few words to be spoken in one breath."""

    text: str
    """Plain text: no markup, no emoji."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A run of synthesized samples."""

    samples: NDArray[np.int16]
    """Mono samples, shape (n,)."""

    sample_rate_hz: int
    """The voice's own rate; the speaker resamples."""


class TimestampKind(StrEnum):
    """Where a frame's capture time comes from."""

    KERNEL = "kernel"
    """The driver stamped the buffer."""

    ESTIMATED = "estimated"
    """Read when the grab returned, so the frame is older than it says."""

    FILE = "file"
    """Paced from a recording or a simulation."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraFrame:
    """One picture from a camera. Handed on by reference: no stage copies the pixels to pass them."""

    pixels: NDArray[np.uint8]
    """BGR, shape (height, width, 3)."""

    at_ns: int
    """When the sensor captured it: the clock of the verdict starts here."""

    number: int
    """Counts the frames of one source, from 1; a gap is a drop."""

    source: str
    """The camera's name in the configuration."""

    timestamp_kind: TimestampKind
    """How far `at_ns` can be trusted."""

    def bgr(self) -> NDArray[np.uint8]:
        """The pixels, if a detector can look at them. Raises BackendError."""
        pixels = self.pixels
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != "uint8" or not pixels.size:
            raise BackendError(
                f"the detector looks at uint8 BGR pictures, height x width x 3; "
                f"frame {self.number} of {self.source} is {pixels.dtype} {pixels.shape}"
            )
        return pixels


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the first layers of a split detector made of one picture; the rest of it may run here or elsewhere."""

    values: NDArray[np.float32]
    """The tensor at the cut, shape (channels, height, width). Handed on by reference."""

    frame_height: int
    """Of the picture, in pixels."""

    frame_width: int
    number: int
    """The picture's number."""

    source: str
    """The camera's name."""


@dataclass(frozen=True, slots=True)
class Box:
    """One detected thing."""

    left: float
    top: float
    right: float
    bottom: float
    """Corners in pixels of the original frame."""

    label: str
    """The class's name."""

    score: float
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector saw in one frame."""

    frame_number: int
    """The number of the frame looked at."""

    boxes: tuple[Box, ...]
    """Best score first."""

    model: str
    """The sha256 (first 12 hex digits) of the model that looked."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part is in front of the camera. Whatever becomes of it, it gets one verdict under this number."""

    number: int
    """Counts the triggers of one source, from 1, those included that could not be served."""

    at_ns: int
    """When the line, the encoder or the timer pulled it."""

    source: str
    """What pulled it, such as `gpio 17`."""

    position: int | None = None
    """The encoder's count then; None without an encoder."""


class Outcome(StrEnum):
    """The three verdicts. Everything that is not proven good in time fails safe."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_INSPECTED = "NOT_INSPECTED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one answer a triggered part gets."""

    outcome: Outcome
    """PASS needs proof: seen, in time, by a verified model."""

    why: str
    """The rule that decided, in words."""

    source: str
    """The camera's name."""

    frame_number: int
    """The frame judged."""

    at_ns: int
    """The frame's sensor timestamp."""

    decided_ns: int
    """When the verdict was given."""

    due_ns: int
    """When it had to be given."""

    boxes: tuple[Box, ...] = ()
    """What was seen, best score first."""

    model: str = ""
    """Which model looked; empty if none did."""

    part_type: str = ""
    """The label of the one part that was seen; empty if there was none, or several."""

    sizes_mm: Mapping[str, float] = field(default_factory=dict, hash=False)
    """What was measured, by name; empty without a calibration."""

    rule: str = ""
    """Version and hash of the rule that judged; empty if it was not asked."""

    looks: int = 0
    """How many looks `boxes` are the mean of."""

    causes: tuple[str, ...] = ()
    """What it is counted under: the labels of a FAIL's defects, a short reason of a NOT_INSPECTED. Each once."""

    view: str = ""
    """Of a line with several cameras: which one's picture `boxes` and `sizes_mm` are of. Empty: the source's."""
