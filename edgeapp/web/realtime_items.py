"""What a Realtime conversation consists of, as its client sees it: messages, and the responses that make some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeapp.voice.turn import Turn


@dataclass(slots=True)
class Item:
    """One message of the conversation, as a client sees it."""

    id: str
    role: str
    kind: str
    words: str = ""
    turn: Turn | None = None
    sound_ns: int = 0
    status: str = "completed"
    before: str | None = None
    """The item that it follows."""

    def shown(self) -> dict[str, Any]:
        """In OpenAI's form; sound is not kept."""
        field_name = "text" if self.kind.endswith("_text") else "transcript"
        content = {"type": self.kind, field_name: self.words}
        shown = {"id": self.id, "object": "realtime.item", "type": "message", "status": self.status}
        return shown | {"role": self.role, "content": [content]}


@dataclass(slots=True)
class Response:
    """One reply under way, or the last one."""

    id: str
    conversation_id: str
    turn: Turn
    item: Item
    written: bool
    """Is it read, not heard?"""

    told: str = ""
    """The words that were sent so far."""

    begun: bool = False
    """Was any sound of it sent?"""

    done: bool = False
    cancelled: bool = False
    """Did the client ask for its end?"""

    def part(self, words: str) -> dict[str, str]:
        """Its one part, with these words, in OpenAI's form."""
        return {"type": "text", "text": words} if self.written else {"type": "audio", "transcript": words}

    def shown(self, status: str, reason: str | None = None) -> dict[str, Any]:
        """In OpenAI's form."""
        error = {"type": "server_error", "code": "backend_failed"} if status == "failed" else None
        over = status not in {"in_progress", "completed"}
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "status_details": {"type": status, "reason": reason, "error": error} if over else None,
            "output": [self.item.shown()] if self.done and self.begun else [],
            "output_modalities": ["text" if self.written else "audio"],
            "conversation_id": self.conversation_id,
        }
