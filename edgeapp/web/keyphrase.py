"""The keyphrase in a stream of sound from elsewhere: the kiosk's way of hearing it, without the kiosk.

Voice activity, the kiosk's endpointer, and its recogniser with the keyphrase in front of the grammar, so that what people say
beside it is taken for something else (docs/voice.md, `scripts/measure_wake.py`). It counts when it has stood for as long as a
sentence must, or when the utterance ends with it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ, AudioChunk, Transcript, Utterance
from edgeapp.voice.conversation import VoiceActivity
from edgeapp.voice.endpoint import FRAME_NS, Endpointer, EndpointRule, Framer, Speaking
from edgeapp.web.courtesy import Full

_NOTHING: Final = Transcript("", complete=False)


class Keyphrase:
    """One stream at a time. Lives on one loop."""

    def __init__(self, phrase: str, stt: Any, vad: VoiceActivity, rule: EndpointRule) -> None:
        """`stt` hears along, and its texts begin with `phrase` where that was said."""
        self.phrase = phrase
        self.name = phrase.replace(" ", "_")
        self._stt, self._vad, self._rule = stt, vad, rule
        self._owner: object | None = None
        self._numbers = 0  # of utterances so far: the recogniser knows each by its own
        self._new_stream()

    def _new_stream(self) -> None:
        self._endpointer, self._framer = Endpointer(self._rule), Framer()
        self._words, self._stood, self._found, self._told, self._at_ns = "", 0, False, False, 0

    def begin(self, owner: object) -> None:
        """A stream begins. Raises Full while another owner has one."""
        if self._owner not in {None, owner}:
            raise Full("the keyphrase is listened for elsewhere")
        self._owner = owner
        self._numbers += self._endpointer.number
        self._vad.reset()
        self._new_stream()

    def leave(self, owner: object) -> None:
        """The owner has gone. Nothing if it had no stream."""
        if self._owner is owner:
            self._owner = None

    async def hear(self, samples: NDArray[np.int16]) -> bool:
        """Take mono samples at 16 kHz; True once for each time that the keyphrase was said. Raises BackendError."""
        self._at_ns += len(samples) * 1_000_000_000 // SAMPLE_RATE_HZ
        said = False
        for frame in self._framer.feed(AudioChunk(samples, self._at_ns)):
            said |= await self._take(frame)
        return said

    async def ended(self) -> bool:
        """The stream is over; was the keyphrase said in it?"""
        if isinstance(event := self._endpointer.finish(), Utterance):
            await self._final(event)
        self._owner = None
        return self._found

    async def _take(self, frame: AudioChunk) -> bool:
        endpointer = self._endpointer
        words = Transcript(self._words, complete=False) if self._words else _NOTHING
        event = endpointer.feed(frame, await self._vad(frame.samples), words)
        if isinstance(event, Utterance):
            return await self._final(event)
        if event is Speaking.STARTED:
            self._words, self._stood, self._told = "", 0, False
            for each in endpointer.heard:
                await self._along(each.samples)
        elif event is Speaking.GOES_ON:
            await self._along(frame.samples)
        stands = self._words.startswith(self.phrase)
        self._stood = self._stood + 1 if stands else 0
        return self._say() if self._stood * FRAME_NS >= self._rule.stable_ns else False

    async def _along(self, samples: NDArray[np.int16]) -> None:
        heard = await self._stt.hear(self._numbers + self._endpointer.number, samples)
        self._words = heard.text

    async def _final(self, utterance: Utterance) -> bool:
        number = self._numbers + utterance.number
        heard = await self._stt(Utterance(number, utterance.samples, utterance.ended_ns))
        return self._say() if heard.text.startswith(self.phrase) else False

    def _say(self) -> bool:
        """Once for each utterance."""
        if self._told:
            return False
        self._told = self._found = True
        return True
