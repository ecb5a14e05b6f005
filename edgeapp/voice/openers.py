"""What is said when the budget runs out before the reply is there: a word or two, rendered when the device starts.

An opener is a whole breath that any sentence may follow ("Let me see, the hammer is at the rear left."), because the reply
behind it may already be on its way. There are some for each kind of question, and never the same one twice in a row. The
sentences that admit a failure are rendered too, so that they can be said when the voice itself has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from edgeapp.core.events import BackendError, Clause, Speech

if TYPE_CHECKING:
    from edgeapp.core.stage import Backend
    from edgeapp.core.stream import Stream

OPENERS: Final[Mapping[str, tuple[str, ...]]] = {
    "place": ("Let me look,", "Well,"),
    "price": ("Let me check,", "Let me see,"),
    "stock": ("Let me check,", "One moment,"),
    "hours": ("Let me see,", "Well,"),
    "parts": ("Let me count,", "One moment,"),
    "other": ("Well,", "Let me see,"),
}
"""By the intent of a question (`voice/intents.py`)."""

_PHRASES_MAX: Final = 32  # rendered at a start; each takes milliseconds and some 100 kB


class Openers:
    """One voice's rendered phrases. Lives as long as the voice."""

    def __init__(self) -> None:
        self.off = False
        """While replies are read and not heard, none opens one."""

        self._sounds: dict[str, tuple[Speech, ...]] = {}  # bounded by _PHRASES_MAX
        self._last = ""

    async def render(self, voice: Backend[Clause, Stream[Speech]], also: tuple[str, ...] = ()) -> None:
        """Speak every opener, and `also`, to nobody. A phrase that the voice cannot speak is left out."""
        texts = dict.fromkeys([text for each in OPENERS.values() for text in each] + [text for text in also if text])
        for text in list(texts)[:_PHRASES_MAX]:
            with suppress(BackendError):
                async with aclosing(await voice(Clause(text))) as parts:
                    self._sounds[text] = tuple([part async for part in parts])

    def next(self, intent: str) -> tuple[str, tuple[Speech, ...]] | None:
        """An opener for a question of this kind, not the one before; None if the voice could speak none, or while off."""
        if self.off:
            return None
        texts = [text for text in OPENERS.get(intent, OPENERS["other"]) if self._sounds.get(text)]
        if not texts:
            return None
        self._last = next((text for text in texts if text != self._last), texts[0])
        return self._last, self._sounds[self._last]

    def phrase(self, text: str) -> tuple[Speech, ...]:
        """The sound of a phrase that was rendered; empty if it was not."""
        return self._sounds.get(text, ())
