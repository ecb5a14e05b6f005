"""What a client may say on `/v1/realtime`: the events and fields of OpenAI's Realtime API that are served, as strict types.

Names and meaning: https://platform.openai.com/docs/api-reference/realtime-client-events and the types of the `openai`
client. Anything else is refused by its name. docs/protocols.md has the table.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from edgeapp.web.openai_wire import Body, Refused, plainly

MESSAGE_BYTES_MAX: Final = 1_000_000
"""Of one message: 15 s of sound in base64."""

_NAME_MAX: Final = 64  # characters of an `event_id` that are repeated

INSTRUCTIONS_MAX: Final = 2_000
"""Characters: some 500 tokens, which a context of 2,048 can bear beside the facts."""


class Pcm(Body, frozen=True, tag="audio/pcm"):
    """Mono, 16 bits, little endian, 24 kHz."""

    rate: Literal[24000] | None = None


class PcmU(Body, frozen=True, tag="audio/pcmu"):
    """G.711 mu-law, 8 kHz."""


class PcmA(Body, frozen=True, tag="audio/pcma"):
    """G.711 A-law, 8 kHz."""


Format: TypeAlias = Pcm | PcmU | PcmA
Modality: TypeAlias = Literal["audio", "text"]


class ServerVad(Body, frozen=True, tag="server_vad"):
    """The device's own rule says when a turn is over; these move its bounds."""

    threshold: float | None = None
    """The probability from which speech begins."""

    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    """The least silence that can end a turn; without it the rule is free to end one sooner."""

    create_response: Literal[True] | None = None
    interrupt_response: Literal[True] | None = None
    idle_timeout_ms: None = None


class SemanticVad(Body, frozen=True, tag="semantic_vad"):
    """The same rule, chosen by how it weighs a cut-in against a wait."""

    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: Literal[True] | None = None
    interrupt_response: Literal[True] | None = None


class Transcription(Body, frozen=True):
    """Asks for the words of what was said. The device's recogniser is the only one."""

    model: str | None = None
    language: str | None = None


class Input(Body, frozen=True):
    """`session.audio.input`."""

    format: Format | None = None
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET
    """null: the client says when a turn is over, with `input_audio_buffer.commit` and `response.create`."""

    transcription: Transcription | UnsetType | None = UNSET
    noise_reduction: None = None


class Output(Body, frozen=True):
    """`session.audio.output`."""

    format: Format | None = None
    voice: str | None = None
    """Ignored: the device has one voice."""

    speed: Literal[1] | None = None


class Audio(Body, frozen=True):
    """`session.audio`."""

    input: Input = Input()
    output: Output = Output()


class Wanted(Body, frozen=True):
    """`session` of an update."""

    type: Literal["realtime"]
    audio: Audio = Audio()
    model: str | None = None
    instructions: str | None = None
    output_modalities: list[Modality] | None = None
    max_output_tokens: Literal["inf"] | None = None
    tools: list[Any] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    truncation: Literal["auto"] | None = None
    include: list[Any] | None = None
    tracing: None = None


class ClientEvent(Body, frozen=True):
    """What all events have in common."""

    event_id: str | None = None


class SessionUpdate(ClientEvent, frozen=True, kw_only=True, tag="session.update"):
    """Change the session; what is left out stays."""

    session: Wanted


class Append(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """Sound from the microphone, in base64."""

    audio: str


class Commit(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """Without turn detection: the sound so far is one message of the user."""


class Clear(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Forget the sound that was not committed."""


class InputText(Body, frozen=True, tag="input_text"):
    """The content of a written message."""

    text: str


class UserMessage(Body, frozen=True):
    """The one kind of item that a client may create."""

    type: Literal["message"]
    role: Literal["user"]
    content: list[InputText]
    id: str | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed"] | None = None


class ItemCreate(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.create"):
    """Write to the device instead of speaking to it."""

    item: UserMessage
    previous_item_id: None = None


class ItemRetrieve(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    """Ask for an item's words."""

    item_id: str


class ItemTruncate(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    """Of this reply the person has heard so much."""

    item_id: str
    audio_end_ms: int
    content_index: Literal[0] = 0


class ResponseWanted(Body, frozen=True):
    """`response` of `response.create`."""

    instructions: str | None = None
    """In place of the session's, for this reply."""

    output_modalities: list[Modality] | None = None
    conversation: Literal["auto"] | None = None
    max_output_tokens: Literal["inf"] | None = None
    tools: list[Any] | None = None
    tool_choice: Literal["auto", "none"] | None = None


class ResponseCreate(ClientEvent, frozen=True, kw_only=True, tag="response.create"):
    """Answer what was committed or written."""

    response: ResponseWanted | None = None


class ResponseCancel(ClientEvent, frozen=True, kw_only=True, tag="response.cancel"):
    """Stop the reply under way."""

    response_id: str | None = None


AnyEvent: TypeAlias = (
    SessionUpdate | Append | Commit | Clear | ItemCreate | ItemRetrieve | ItemTruncate | ResponseCreate | ResponseCancel
)


class _Named(msgspec.Struct, frozen=True):
    event_id: str | None = None


_DECODER: Final[msgspec.json.Decoder[AnyEvent]] = msgspec.json.Decoder(AnyEvent)
_NAME: Final[msgspec.json.Decoder[_Named]] = msgspec.json.Decoder(_Named)


def parse(message: str) -> AnyEvent:
    """One message of a client. Raises Refused that names what is wrong with it."""
    if len(message) > MESSAGE_BYTES_MAX:
        raise Refused(f"a message has at most {MESSAGE_BYTES_MAX:,} bytes", code="too_large")
    try:
        return _DECODER.decode(message)
    except msgspec.ValidationError as error:
        raise Refused(*plainly(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Refused("the message is not JSON", code="invalid_json") from None


def named(message: str) -> str | None:
    """The client's own name for a message that was refused, if it gave it one."""
    try:
        name = _NAME.decode(message).event_id
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return name[:_NAME_MAX] if name else None
