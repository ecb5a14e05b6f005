"""One Realtime session: a conversation at a socket, and the events that tell its client what happens in it.

The conversation is the kiosk's own, with its endpoint rule, its guesses and its barge-in; its microphone and loudspeaker end
in the socket. The events follow what it does: they are told from outside, by looking at it, so the kiosk pays nothing for them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, Transcript, Utterance
from edgeapp.core.record import AnyRecord, Sink, TurnRecord
from edgeapp.devices.resample import Resampler
from edgeapp.voice.answering import Answering, Question
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import EndpointRule, Expect
from edgeapp.voice.grammar import normalise
from edgeapp.voice.turn import Turn
from edgeapp.web import realtime_events as client
from edgeapp.web.courtesy import Courtesy
from edgeapp.web.openai_wire import Refused
from edgeapp.web.realtime_formats import PCM
from edgeapp.web.realtime_items import Item, Response
from edgeapp.web.realtime_sound import SocketEar, SocketMouth
from edgeapp.web.realtime_wanted import check, format_of, ruled

_LOOK_S: Final = 0.02
_ITEMS_MAX: Final = 64  # that can be retrieved or truncated; the oldest goes
_BUFFER_MAX_S: Final = 30  # without turn detection: what one utterance may hold
_TEXT_MAX: Final = 1_000  # characters of a written message
_OWN_NUMBERS: Final = 1_000_000  # turns that the client ended are numbered from here: the endpointer counts its own

_INSTRUCTED: Final = "Every clause of a reply is checked against the device's content before it is said."
_NOT_INSTRUCTED: Final = (
    f"{_INSTRUCTED} The language model of this device follows no instructions: a client's have no effect."
)

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Seat:
    """Room for one conversation at a time. What it needs of its own, such as a recogniser, is open."""

    rule: EndpointRule
    answering: Callable[[], Answering]
    converse: Callable[[EndpointRule, Answering, Sink], Awaitable[Conversation]]
    """A new conversation with this rule and these replies, whose records go to the sink and nowhere else."""

    write: Callable[[bool], None]
    """Switch its voice off: replies are read, not heard."""

    takes_instructions: bool = False
    """Does the language model follow instructions?"""


class _Overheard:
    """`Answering` for a guest: it lets the device's own conversation go first, and notes what was understood."""

    expects = Expect.ANY

    def __init__(self, inner: Answering, courtesy: Courtesy) -> None:
        self._inner, self._courtesy = inner, courtesy
        self.words: dict[str, str] = {}
        """By `Question.of`, what a committed turn was understood as; taken out when it was told."""

        self.instructions = ""
        self.instructions_of = ("", "")
        """A question of its own instructions, and these."""

    async def answer(self, question: Question) -> AsyncGenerator[str, None]:
        """As `Answering.answer`."""
        await self._courtesy.turn()
        of, own = self.instructions_of
        question = replace(question, instructions=own if question.of == of else self.instructions)
        async with aclosing(self._inner.answer(question)) as clauses:
            async for clause in clauses:
                self._note(question)
                yield clause
                await self._courtesy.turn()
        await question.committed.wait()
        self._note(question)

    def _note(self, question: Question) -> None:
        if question.committed.is_set() and len(self.words) < _ITEMS_MAX:
            self.words.setdefault(question.of, question.text)

    async def prefill(self, turns: tuple[tuple[str, str], ...]) -> None:
        """Nothing: what the model keeps resident is the device's own conversation."""

    async def forget(self) -> None:
        """Nothing is remembered."""


class Session:
    """One client. Lives on one loop; `run` beside whoever hands its messages to `take`."""

    def __init__(self, seat: Seat, courtesy: Courtesy, model: str, send: Send) -> None:
        """`send` takes an event in JSON and may wait for a slow client."""
        self._seat, self._model, self._send = seat, model, send
        self._heard = _Overheard(seat.answering(), courtesy)
        self._rule, self._detects, self._transcribes = seat.rule, True, False
        self._detection: client.ServerVad | client.SemanticVad = client.ServerVad()
        self._hears, self._speaks = PCM, PCM  # the formats of the client's sound and of ours
        self._ear = SocketEar(self._hears.rate_hz)
        self._mouth = SocketMouth(self._speaks.rate_hz, self._sound, self._sent)
        self._written = False  # does the client want replies as text?
        self._switch_voice(written=False)  # whoever was here before may have wanted it
        self._conversation: Conversation | None = None
        self._id = _new("sess")
        self._items: OrderedDict[str, Item] = OrderedDict()  # at most _ITEMS_MAX
        self._last_item: str | None = None
        self._response: Response | None = None
        self._turn: Turn | None = None  # the last one that was told
        self._asked: dict[int, Item] = {}  # turns that the client ended, until they are told; one at a time
        self._waiting: tuple[Item, Utterance, Transcript | None] | None = None  # committed or written, not answered
        self._buffer: list[NDArray[np.int16]] = []  # without turn detection; bounded by _BUFFER_MAX_S
        self._buffered = 0
        self._own = 0
        self._outcomes: dict[tuple[int, int], str] = {}  # of turns that have ended, until they are told
        self._speaking: Item | None = None
        self._unheard: dict[str, Item] = {}  # spoken items whose words are not known yet, by turn
        self._telling = asyncio.Lock()
        self._ready = asyncio.Event()
        self._events = 0

    # The conversation

    async def run(self) -> None:
        """Hold the conversation until cancelled. Raises whatever is a bug in it."""
        looking = asyncio.create_task(self._keep_looking())
        try:
            while True:
                history = self._conversation.turns.history if self._conversation else ()
                conversation = await self._seat.converse(self._rule, cast("Answering", self._heard), self._record)
                conversation.turns.history, conversation.turns.speaker = history, self._mouth
                self._conversation = conversation
                if not self._ready.is_set():
                    await self._tell("session.created", session=self._shown())
                    self._ready.set()
                await conversation.listen(self._ear.heard(), self._mouth)  # until the rule changes
                if looking.done():
                    looking.result()
        finally:
            looking.cancel()
            await asyncio.wait([looking])

    def _record(self, record: AnyRecord) -> None:
        """How a turn has ended; its words stay here."""
        if isinstance(record, TurnRecord) and len(self._outcomes) < _ITEMS_MAX:
            self._outcomes[record.number, record.committed_ns] = record.outcome

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Tell what has changed in the conversation since the last look."""
        conversation = self._conversation
        if conversation is None:
            return
        async with self._telling:
            await self._look_at_person(conversation)
            turn = conversation.turns.current
            if turn is not None and turn is not self._turn:
                await self._finish("cancelled", "turn_detected")
                self._turn = turn
                await self._begin(turn)
            response = self._response
            over = self._outcomes.get((turn.utterance.number, turn.committed_ns)) if turn is not None else None
            if response is not None and not response.done and over is not None:
                if over in {"answered", "not understood"}:
                    await self._finish("completed")
                elif over == "failed":
                    await self._finish("failed" if not response.begun else "completed")
                else:
                    await self._finish("cancelled", "client_cancelled" if response.cancelled else "turn_detected")
            self._outcomes.clear()
            await self._tell_words()

    async def _look_at_person(self, conversation: Conversation) -> None:
        at_ms = self._ear.given * 1000 // SAMPLE_RATE_HZ
        if conversation.speaking and self._speaking is None:
            self._speaking = Item(_new("item"), "user", "input_audio")
            await self._tell("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=self._speaking.id)
        elif not conversation.speaking and self._speaking is not None:
            await self._tell("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=self._speaking.id)
            turn = conversation.turns.current
            if turn is None or turn is self._turn:
                self._speaking = None  # a cough: it is not committed

    async def _begin(self, turn: Turn) -> None:
        """A turn was taken for finished: what was said is an item, and the reply to it begins."""
        item = self._asked.pop(turn.utterance.number, None)
        if item is None:
            item, self._speaking = self._speaking or Item(_new("item"), "user", "input_audio"), None
            await self._tell("input_audio_buffer.committed", previous_item_id=self._last_item, item_id=item.id)
            await self._add(item)
        if item.kind == "input_audio":
            self._unheard = {f"turn {turn.utterance.number}": item}
        written = self._mouth.written
        kind = "output_text" if written else "output_audio"
        reply = Item(_new("item"), "assistant", kind, turn=turn, status="in_progress")
        self._response = Response(_new("resp"), self._id.replace("sess", "conv"), turn, reply, written)
        await self._tell("response.created", response=self._response.shown("in_progress"))

    async def _tell_words(self) -> None:
        for of in [of for of in self._heard.words if of in self._unheard]:
            item = self._unheard.pop(of)
            item.words = self._heard.words[of]
            if self._transcribes:
                usage = {"type": "duration", "seconds": 0.0}
                await self._tell(
                    "conversation.item.input_audio_transcription.completed",
                    item_id=item.id,
                    content_index=0,
                    transcript=item.words,
                    usage=usage,
                )
        self._heard.words.clear()

    # The reply, from the loudspeaker's side

    async def _sound(self, samples: NDArray[np.int16]) -> None:
        """A run of a reply's sound: its words go before it. Of a written reply they are all there is."""
        await self._look()
        async with self._telling:
            response = self._response
            if response is None or response.done or not (len(samples) or response.written):
                return
            await self._open(response)
            if more := response.turn.words[len(response.told) :]:
                response.told += more
                response.item.words = response.told
                kind = "output_text" if response.written else "output_audio_transcript"
                await self._tell_part(f"response.{kind}.delta", response, delta=more)
            if not response.written:
                response.item.sound_ns += len(samples) * 1_000_000_000 // self._speaks.rate_hz
                sound = base64.b64encode(self._speaks.encode(samples)).decode()
                await self._tell_part("response.output_audio.delta", response, delta=sound)

    async def _sent(self) -> None:
        """All of a reply was handed over: it is complete, though the client still plays it."""
        async with self._telling:
            if self._response is not None and self._response.begun:
                await self._finish("completed")

    async def _open(self, response: Response) -> None:
        if response.begun:
            return
        response.begun = True
        item = response.item
        shown = item.shown() | {"content": []}
        await self._tell("response.output_item.added", response_id=response.id, output_index=0, item=shown)
        item.before = self._last_item
        await self._tell("conversation.item.added", previous_item_id=item.before, item=shown)
        self._keep(item)
        await self._tell_part("response.content_part.added", response, part=response.part(""))

    async def _finish(self, status: str, reason: str | None = None) -> None:
        """The reply under way is over. Nothing if there is none."""
        response = self._response
        if response is None or response.done:
            return
        response.done = True
        response.item.status = "completed" if status == "completed" else "incomplete"
        if response.begun:
            item, words, shown = response.item, response.item.words, response.item.shown()
            if response.written:
                await self._tell_part("response.output_text.done", response, text=words)
            else:
                await self._tell_part("response.output_audio.done", response)
                await self._tell_part("response.output_audio_transcript.done", response, transcript=words)
            await self._tell_part("response.content_part.done", response, part=response.part(words))
            await self._tell("response.output_item.done", response_id=response.id, output_index=0, item=shown)
            await self._tell("conversation.item.done", previous_item_id=item.before, item=shown)
        await self._tell("response.done", response=response.shown(status, reason))
        if response.written != self._written:
            self._switch_voice(written=self._written)
            await self._forget_guesses()

    def _switch_voice(self, *, written: bool) -> None:
        """Are the next replies read, or heard?"""
        self._mouth.written = written
        self._seat.write(written)

    # What the client says

    async def take(self, message: str) -> None:
        """Do what a message asks, or tell what is wrong with it."""
        await self._ready.wait()
        try:
            await self._do(client.parse(message))
        except Refused as refused:
            await self.refuse(refused, client.named(message))

    async def refuse(self, refused: Refused, event_id: str | None = None) -> None:
        """Tell an error; the session goes on."""
        error = {"type": "invalid_request_error", "code": refused.code, "message": refused.message}
        await self._tell("error", error=error | {"param": refused.param, "event_id": event_id})

    async def _do(self, asked: client.AnyEvent) -> None:
        match asked:
            case client.Append():
                await self._append(asked.audio)
            case client.SessionUpdate():
                await self._update(asked.session)
            case client.Commit():
                await self._commit()
            case client.Clear():
                self._ear.clear()
                self._buffer, self._buffered = [], 0
                await self._tell("input_audio_buffer.cleared")
            case client.ItemCreate():
                await self._write(asked.item)
            case client.ItemRetrieve():
                await self._tell("conversation.item.retrieved", item=self._item(asked.item_id).shown())
            case client.ItemTruncate():
                await self._truncate(asked)
            case client.ResponseCreate():
                await self._respond(asked.response or client.ResponseWanted(), asked.event_id)
            case client.ResponseCancel():
                await self._cancel(asked.response_id)

    async def _append(self, audio: str) -> None:
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raise Refused("audio is not base64", param="audio", code="invalid_value") from None
        if len(data) % self._hears.sample_bytes:
            raise Refused("audio is not whole samples of 16 bits", param="audio", code="invalid_value")
        samples = self._hears.decode(data)
        if self._detects:
            await self._ear.put(samples)
        elif self._buffered + len(samples) > _BUFFER_MAX_S * self._hears.rate_hz:
            raise Refused(f"the buffer holds {_BUFFER_MAX_S} s; commit or clear it", code="input_audio_buffer_full")
        else:
            self._buffer.append(samples)
            self._buffered += len(samples)

    async def _update(self, wanted: client.Wanted) -> None:
        """All of it, or nothing if one field cannot be done."""
        heard, spoken = wanted.audio.input, wanted.audio.output
        detection, rule = heard.turn_detection, self._rule
        if wanted.include:
            raise Refused("include has nothing that this device gives", param="session.include", code="invalid_value")
        check("session", wanted)
        speaks = format_of(spoken.format) or self._speaks
        written = self._written if wanted.output_modalities is None else wanted.output_modalities == ["text"]
        if (speaks, written) != (self._speaks, self._written):
            await self._check_idle()
        if detection is not UNSET and detection is not None:
            rule, self._detection = ruled(self._seat.rule, detection), detection
        if heard.transcription is not UNSET:
            self._transcribes = heard.transcription is not None
        hears = format_of(heard.format) or self._hears
        if detection is not UNSET or hears != self._hears:
            self._detects = self._detects if detection is UNSET else detection is not None
            self._ear.clear()
            self._buffer, self._buffered = [], 0
        if hears != self._hears:
            self._hears = hears
            self._ear.take(hears.rate_hz)
        if speaks != self._speaks:
            self._speaks = speaks
            self._mouth.give(speaks.rate_hz)
        if wanted.instructions is not None and self._seat.takes_instructions:
            self._heard.instructions = wanted.instructions
        if written != self._written:
            self._written = written
            self._switch_voice(written=written)
        await self._forget_guesses()
        if rule != self._rule:
            self._rule = rule
            self._ear.end()  # a conversation has one rule: another one takes over
        await self._tell("session.updated", session=self._shown())

    async def _check_idle(self) -> None:
        """Raises Refused while a response is under way."""
        await self._look()
        if self._response is not None and not self._response.done:
            code = "conversation_already_has_active_response"
            raise Refused("a response is under way; cancel it first", code=code)

    async def _forget_guesses(self) -> None:
        """What was prepared was prepared for a reply of another kind."""
        if self._conversation is not None:
            await self._conversation.turns.guesses.drop()

    async def _commit(self) -> None:
        if self._detects:
            raise Refused("turn detection commits; switch it off to do it yourself", code="turn_detection_is_on")
        if self._buffered < self._hears.rate_hz // 10:
            raise Refused("the buffer holds less than 100 ms of sound", code="input_audio_buffer_commit_empty")
        samples = np.concatenate(self._buffer)
        self._buffer, self._buffered = [], 0
        item = Item(_new("item"), "user", "input_audio")
        self._waiting = (item, await self._utterance(samples), None)
        await self._tell("input_audio_buffer.committed", previous_item_id=self._last_item, item_id=item.id)
        await self._add(item)

    async def _write(self, message: client.UserMessage) -> None:
        text = " ".join(each.text for each in message.content)
        if not normalise(text) or len(text) > _TEXT_MAX:
            raise Refused(f"content has 1 to {_TEXT_MAX:,} characters", param="item.content", code="invalid_value")
        item = Item((message.id or _new("item"))[:64], "user", "input_text", text)
        self._own += 1
        utterance = Utterance(_OWN_NUMBERS + self._own, np.zeros(0, np.int16), 0)
        self._waiting = (item, utterance, Transcript(normalise(text), complete=True))
        await self._add(item)

    async def _respond(self, wanted: client.ResponseWanted, event_id: str | None) -> None:
        conversation = self._conversation
        await self._check_idle()
        check("response", wanted)
        if conversation is None or self._waiting is None:
            raise Refused("there is nothing new to answer", code="nothing_to_answer")
        (item, utterance, words), self._waiting = self._waiting, None
        utterance = replace(utterance, ended_ns=now_ns())  # the clock of the reply starts here
        self._asked = {utterance.number: item}
        if wanted.output_modalities is not None:
            self._switch_voice(written=wanted.output_modalities == ["text"])
        if wanted.instructions is not None and self._seat.takes_instructions:
            self._heard.instructions_of = (f"turn {utterance.number}", wanted.instructions)
        elif wanted.instructions:
            said = "this device's language model follows no instructions; the reply is made without them"
            await self.refuse(Refused(said, param="response.instructions", code="instructions_not_followed"), event_id)
        await self._forget_guesses()
        known = words.text if words else ""
        await conversation.turns.commit(utterance, words=known, transcript=words, ended=None)
        await self._look()

    async def _cancel(self, response_id: str | None) -> None:
        response = self._response
        if response is None or response.done or response_id not in {None, response.id}:
            raise Refused("there is no such response under way", code="response_cancel_not_active")
        response.cancelled = True
        assert self._conversation is not None
        await self._conversation.turns.interrupt()
        await self._look()

    async def _truncate(self, asked: client.ItemTruncate) -> None:
        """What the person has heard of a reply is what stays in the history."""
        item = self._item(asked.item_id)
        heard_ns, conversation = asked.audio_end_ms * MS, self._conversation
        if item.turn is None or item.kind != "output_audio" or conversation is None:
            raise Refused("only a spoken reply can be truncated", param="item_id", code="invalid_value")
        if not 0 <= heard_ns <= item.sound_ns + MS:
            raise Refused("audio_end_ms is beyond the reply's end", param="audio_end_ms", code="invalid_value")
        turns, words = conversation.turns, item.turn.heard(item.turn.played_before_ns + heard_ns)
        if turns.current is item.turn:
            await turns.interrupt()
            if turns.history and (said := turns.history[-1])[1]:
                turns.history = (*turns.history[:-1], (said[0], words))
        item.words, item.status = words, "incomplete"
        await self._tell(
            "conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=asked.audio_end_ms
        )

    async def _utterance(self, samples: NDArray[np.int16]) -> Utterance:
        self._own += 1
        rate_hz = self._hears.rate_hz
        resample, step = Resampler(rate_hz, SAMPLE_RATE_HZ), rate_hz // 10
        pieces = []
        for at in range(0, len(samples), step):
            pieces.append(resample(samples[at : at + step]))
            await asyncio.sleep(0)
        return Utterance(_OWN_NUMBERS + self._own, np.concatenate(pieces), 0)

    # Items and events

    def _item(self, item_id: str) -> Item:
        if item_id not in self._items:
            raise Refused("there is no such item", param="item_id", code="item_not_found")
        return self._items[item_id]

    def _keep(self, item: Item) -> None:
        self._items[item.id] = item
        self._last_item = item.id
        if len(self._items) > _ITEMS_MAX:
            self._items.popitem(last=False)

    async def _add(self, item: Item) -> None:
        before = self._last_item
        self._keep(item)
        for kind in ("conversation.item.added", "conversation.item.done"):
            await self._tell(kind, previous_item_id=before, item=item.shown())

    def _shown(self) -> dict[str, Any]:
        """The session in OpenAI's form."""
        detection: dict[str, Any] = {"create_response": True, "interrupt_response": True}
        if isinstance(self._detection, client.SemanticVad):
            detection |= {"type": "semantic_vad", "eagerness": self._detection.eagerness or "auto"}
        else:
            bounds = {"threshold": self._rule.threshold, "prefix_padding_ms": self._rule.pre_roll_ns // MS}
            detection |= {"type": "server_vad", "silence_duration_ms": self._detection.silence_duration_ms} | bounds
        heard = {
            "format": self._hears.shown(),
            "turn_detection": detection if self._detects else None,
            "transcription": {"model": self._model} if self._transcribes else None,
            "noise_reduction": None,
        }
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self._id,
            "model": self._model,
            "output_modalities": ["text" if self._written else "audio"],
            "instructions": self._instructions_shown(),
            "audio": {"input": heard, "output": {"format": self._speaks.shown(), "voice": self._model, "speed": 1}},
            "max_output_tokens": "inf",
            "truncation": "auto",
            "tools": [],
            "tool_choice": "auto",
        }

    def _instructions_shown(self) -> str:
        """What is in effect: a client's instructions where the model follows any, else that it does not."""
        if not self._seat.takes_instructions:
            return _NOT_INSTRUCTED
        return self._heard.instructions or _INSTRUCTED

    async def _tell_part(self, kind: str, response: Response, **fields: Any) -> None:
        where = {"response_id": response.id, "item_id": response.item.id, "output_index": 0, "content_index": 0}
        await self._tell(kind, **where, **fields)

    async def _tell(self, kind: str, **fields: Any) -> None:
        self._events += 1
        await self._send(msgspec.json.encode({"type": kind, "event_id": f"event_{self._events:06}", **fields}))


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(10)}"
