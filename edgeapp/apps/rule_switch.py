"""A signed rule that comes into use while the station runs: taken between two parts, or refused with an alarm.

The book is looked at in a thread. A rule that may decide here is first a row of the ledger, durable, and then decides; a part that came
before is judged to its end by the rule it came under. Whatever is wrong with book or rule, the one that decides goes on deciding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from edgeapp.apps.rules import OpenedRule
from edgeapp.core.events import BackendError, ConfigError
from edgeapp.station.rule_book import ANCHOR, SIGNATURES, Book, read_book

LOOK_S: Final = 2.0
"""How often the book is looked at: three calls to the file system, unless somebody wrote there."""


class RuleSwitch:
    """Follows one rule book. Lives on one loop."""

    def __init__(
        self,
        folder: Path,
        key: bytes,
        opened: OpenedRule,
        *,
        ready: Callable[[Book], OpenedRule],
        note: Callable[[OpenedRule], Awaitable[object]],
        switch: Callable[[OpenedRule], None],
        alarm: Callable[[str], None],
    ) -> None:
        """`opened` decides now. `ready` makes the book's rule ready to judge here, in a thread, and raises ConfigError;
        `note` writes the switch down and raises BackendError; then `switch` is called.
        """
        self._folder, self._key, self._opened = folder, key, opened
        self._ready, self._note, self._switch, self._alarm = ready, note, switch, alarm
        self._book: Book | None = None
        self._seen: tuple[object, ...] = ()
        self._trouble = ""

    async def keep(self) -> None:
        """Look whenever it is time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Take the rule that is in use now, if it is another one. What is wrong is told once, until it is something else."""
        try:
            seen = self._stamps()
            if seen == self._seen and not self._trouble:
                return
            book, opened = await asyncio.to_thread(self._read)
            if opened.rule.id != self._opened.rule.id:
                await self._note(opened)
                self._switch(opened)
                self._opened = opened
        except (ConfigError, BackendError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._alarm(f"the rule {self._opened.rule.id} goes on deciding: {error}")
            return
        # The stamps are those from before the book was read: what was written meanwhile is seen the next time.
        self._seen, self._book, self._trouble = seen, book, ""

    def _read(self) -> tuple[Book, OpenedRule]:
        """The book and its rule in use. Raises ConfigError, also if the book does not go on from what it was."""
        book = read_book(self._folder, self._key)
        before = self._book.lines if self._book else ()
        if book.lines[: len(before)] != before:
            raise ConfigError(f"the rule book {self._folder} was written anew: put it back as it was")
        return book, self._ready(book)

    def _stamps(self) -> tuple[object, ...]:
        """What changes when somebody writes the book, or the file of the rule that decides."""
        rule = self._opened.rule
        files = (ANCHOR, SIGNATURES, f"{rule.version}-{rule.sha256}.toml")
        return tuple(_stamp(self._folder / name) for name in files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
