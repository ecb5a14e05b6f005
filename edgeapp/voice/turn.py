"""One turn that is over: its reply is played, an opener first if the reply is late, and what was heard is known.

The clock runs from the last voiced sample. Sound that its candidate has staged is played at once; if nothing is staged
when the budget runs out, a rendered opener is, and the reply follows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, Speech, Utterance
from edgeapp.core.stream import Stream
from edgeapp.voice.openers import Openers
from edgeapp.voice.speaker import Speaker, onset

if TYPE_CHECKING:
    from edgeapp.voice.candidate import Candidate

_LEAD_NS: Final = 15 * MS  # from the decision for an opener to its first sample that can be heard, buffers aside
GRACE_NS: Final = 60 * MS
"""A turn that is decided when its budget is gone waits so long for its reply before an opener is played."""


@dataclass(slots=True)
class Turn:
    """What happens in one turn, from its commit on."""

    utterance: Utterance
    committed_ns: int
    due_ns: int
    """When something must be audible."""

    question: str
    """The words as they were when the turn ended; an opener is chosen by them."""

    speaker: Speaker
    openers: Openers
    intent: Callable[[str], str]
    cannot_answer: str
    played_before_ns: int = 0
    """What the loudspeaker had played when the turn began."""

    first_audible_ns: int | None = None
    """The first sample that can be heard, be it the opener's."""

    first_reply_ns: int | None = None
    """The first one of the reply itself."""

    opener: str = ""
    spoken: list[tuple[str, int]] = field(default_factory=list)
    """Text and sound of what was handed to the loudspeaker; bounded by REPLY_CHARS_MAX."""

    runs_out_ns: int = 0
    rolled_back: bool = False
    """Did the person go on speaking, so that the turn had not been over?"""

    def __post_init__(self) -> None:
        self.played_before_ns = self.speaker.played_ns

    @property
    def words(self) -> str:
        """All that was handed to the loudspeaker, as text: what an echo would say."""
        return " ".join(text for text, _ in self.spoken)

    async def admit(self) -> None:
        """Say that there is no answer, in words that were rendered at the start."""
        await self.say(self.cannot_answer)
        await self.speaker.drained()

    async def reply(self, settling: asyncio.Task[Candidate]) -> Candidate:
        """Wait for the candidate and its first sound; if that takes too long, play an opener first.

        Raises what `settling` raises.
        """
        if not await self._in_time(settling):
            await self._open()
        candidate = await settling
        candidate.opener = self.opener
        return candidate

    async def play(self, candidate: Candidate) -> None:
        """Play what the candidate has staged and stages, and return when it has been heard.

        Raises BackendError when the reply broke off or never came, after what there was (and an admission, if no word of
        the reply was heard), and DeviceError when the loudspeaker goes.
        """
        number = -1
        try:
            while (part := await candidate.staged.get()) is not None:
                if part.clause != number:
                    number = part.clause
                    self.spoken.append((part.text, 0))
                candidate.runs_out_ns = max(self.runs_out_ns, now_ns()) + part.sound_ns
                await self._sound(part.speech, reply=True)
                candidate.runs_out_ns = self.runs_out_ns
        except BackendError:
            if self.first_reply_ns is None:
                await self.admit()
            await self.speaker.drained()  # what is queued belongs to this turn: it can still be interrupted
            raise
        if self.first_reply_ns is None:
            await self.admit()
        await self.speaker.drained()

    async def _in_time(self, settling: asyncio.Task[Candidate]) -> bool:
        """Wait for the first sound until an opener is due; False if it is not there then."""
        last_ns = self.due_ns - self.speaker.latency_ns - _LEAD_NS
        until_ns = last_ns if last_ns > self.committed_ns else self.committed_ns + GRACE_NS
        try:
            async with asyncio.timeout_at(until_ns / 1e9):
                candidate = await asyncio.shield(settling)
                await candidate.staged.wait()
        except TimeoutError:
            return False
        return True

    async def _open(self) -> None:
        found = self.openers.next(self.intent(self.question))
        if found is not None:
            self.opener = found[0]
            await self.say(found[0], reply=False)

    async def say(self, text: str, *, reply: bool = True) -> None:
        """Play a phrase that was rendered at the start; silence if it was not. Raises DeviceError."""
        self.spoken.append((text, 0))
        for speech in self.openers.phrase(text):
            await self._sound(speech, reply=reply)

    async def voice(self, text: str, parts: Stream[Speech]) -> None:
        """Play a text while it is being voiced. Raises BackendError and DeviceError."""
        self.spoken.append((text, 0))
        async for speech in parts:
            await self._sound(speech, reply=True)

    async def _sound(self, speech: Speech, *, reply: bool) -> None:
        sound_ns = len(speech.samples) * 1_000_000_000 // speech.sample_rate_hz
        self.spoken[-1] = (self.spoken[-1][0], self.spoken[-1][1] + sound_ns)
        audible_ns = await self.speaker.play(speech.samples, speech.sample_rate_hz)
        silent = onset(speech.samples)
        if silent < len(speech.samples):
            first_ns = audible_ns + silent * 1_000_000_000 // speech.sample_rate_hz
            self.first_audible_ns = first_ns if self.first_audible_ns is None else self.first_audible_ns
            if reply and self.first_reply_ns is None:
                self.first_reply_ns = first_ns
        self.runs_out_ns = max(audible_ns, now_ns()) + sound_ns

    def heard(self, played_ns: int) -> str:
        """The words whose sound was played; of a clause that was cut, the share that was."""
        words: list[str] = []
        left_ns = max(0, played_ns - self.played_before_ns)
        for text, sound_ns in self.spoken:
            each = text.split() if sound_ns else []  # a voice has no sound for some texts
            if left_ns < sound_ns:
                words += each[: len(each) * left_ns // sound_ns]
                break
            words += each
            left_ns -= sound_ns
        return " ".join(words)
