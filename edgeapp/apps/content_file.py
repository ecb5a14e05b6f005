"""The content file of a running voice: read, checked, changed and saved, and answered from at once.

What a shop's owner writes is checked as the next start would check it, words without a pronunciation included, before a byte of
the file changes. The file is replaced in one step; the one before it stays beside it, with `.before` behind its name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeapp import config as settings
from edgeapp.core import durable
from edgeapp.core.events import ConfigError
from edgeapp.voice.content import Content, facts, parse_content
from edgeapp.web.desk import ContentChange, ContentText

BUNDLED_CONTENT: Final = Path(__file__).parent.parent / "assets" / "kiosk.toml"


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that answers from the content and has to be told when it is another one."""

    check: Callable[[Content], Awaitable[None]]
    """Raises ConfigError if it could not answer from this one. Changes nothing."""

    use: Callable[[Content], Awaitable[None]]
    """From now on this one; it was checked."""


class ContentFile:
    """One voice's content and the file it lies in. Lives on one loop."""

    def __init__(self, path: Path, *, ships: bool = False) -> None:
        """Raises ConfigError. A file that `ships` with edgeapp is not changed: the next update would bring it back."""
        self._path, self._ships = path.resolve(), ships
        text = self._text()
        self.content = parse_content(text, str(path))
        """What is known now. Whoever answers asks for it anew at each reply."""

        self.tag = _tag(text)
        """Stands for the text that is answered from."""

        self._readers: list[Reader] = []  # one for each recogniser, and the face: a dozen
        self._one = asyncio.Lock()

    async def add(self, reader: Reader) -> None:
        """Tell `reader` now, and again at each change. Raises ConfigError."""
        async with self._one:
            await reader.check(self.content)
            await reader.use(self.content)
            self._readers.append(reader)

    def read(self) -> ContentText:
        """The file as it is now. For a thread. Raises ConfigError."""
        text = self._text()
        tag = _tag(text)
        return ContentText(text, tag, str(self._path), self._locked(), in_use=tag == self.tag)

    async def check(self, text: str) -> ContentChange:
        """What would be known otherwise with this text. Changes nothing. Raises ConfigError with the line of a mistake."""
        return (await self._checked(text))[1]

    async def save(self, text: str, tag: str) -> ContentChange:
        """Put `text` in the place of the text that `tag` stands for, and answer from it. Raises ConfigError, BackendError."""
        async with self._one:
            if locked := self._locked():
                raise ConfigError(locked)
            if await asyncio.to_thread(lambda: _tag(self._text())) != tag:
                raise ConfigError(
                    "somebody else saved the content meanwhile: load it, and put in again what you changed"
                )
            content, change = await self._checked(text)
            await asyncio.to_thread(self._write, text)
            self.content, self.tag = content, _tag(text)
            for reader in self._readers:
                await reader.use(content)
            return change

    async def _checked(self, text: str) -> tuple[Content, ContentChange]:
        content = await asyncio.to_thread(parse_content, text, self._path.name)
        for reader in self._readers:
            await reader.check(content)
        before, after = (facts(each).splitlines() for each in (self.content, content))
        gone = tuple(each for each in before if each and each not in after)
        return content, ContentChange(gone, tuple(each for each in after if each and each not in before))

    def _text(self) -> str:
        try:
            return self._path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the kiosk content {self._path}: {error}; give the path of a UTF-8 TOML file"
            ) from error

    def _locked(self) -> str:
        """Why it cannot be saved; empty if it can."""
        if self._ships:
            return "this content ships with edgeapp: copy it to a file of your own, and name that in [voice] content"
        if not os.access(self._path.parent, os.W_OK):
            return f"the device may not write in {self._path.parent}: give it the right to, or move the file"
        return ""

    def _write(self, text: str) -> None:
        """Replace the file in one step, durably, and keep the one before it. Raises ConfigError."""
        try:
            mode = self._path.stat().st_mode & 0o777
            durable.replace(self._path.with_name(f"{self._path.name}.before"), self._path.read_bytes(), mode)
            durable.replace(self._path, text.encode(), mode)
        except OSError as error:
            raise ConfigError(f"cannot write {self._path}: {error.strerror}; make room or mend its rights") from error


def open_content(config: settings.Config, bundled: Path = BUNDLED_CONTENT) -> ContentFile:
    """The configured content, or the one that ships. Raises ConfigError."""
    named = config.voice.content
    return ContentFile(Path(named)) if named else ContentFile(bundled, ships=True)


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
