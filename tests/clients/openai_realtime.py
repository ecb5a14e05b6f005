"""Hold a spoken conversation with OpenAI's own client: `python tests/clients/openai_realtime.py URL KEY RECORDING...`.

Needs openai[realtime], soundfile and soxr. Plays the recordings at the pace of speech, each after the reply to the one before
has been played, as a microphone that never stops. Prints one line of JSON for each: the words understood, the reply's words,
how long it sounds, and the time from the last sample that was sent with a voice in it to the first sound of the reply.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openai
import soundfile
import soxr
from openai.resources.realtime.realtime import AsyncRealtimeConnection

RATE_HZ = 24_000
BLOCK = RATE_HZ // 50
VOICED = 200
TURN_S = 20.0


@dataclass
class Turn:
    """One question and what came of it."""

    understood: str | None = None
    reply: str = ""
    sound: bytearray = field(default_factory=bytearray)
    voiced_at: float = 0.0
    first_sound_at: float = 0.0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def line(self) -> str:
        """What is printed of it."""
        took_ms = round(1000 * (self.first_sound_at - self.voiced_at))
        words = {"understood": self.understood, "reply": self.reply}
        return json.dumps(words | {"sound_s": round(len(self.sound) / 2 / RATE_HZ, 2), "first_sound_ms": took_ms})


@dataclass
class Talk:
    """Both directions of one connection."""

    connection: AsyncRealtimeConnection
    turn: Turn = field(default_factory=Turn)
    kinds: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    to_say: list[np.ndarray] = field(default_factory=list)

    async def listen(self) -> None:
        """Take every event."""
        async for event in self.connection:
            self.kinds.append(event.type)
            turn = self.turn
            if event.type == "response.output_audio.delta":
                turn.first_sound_at = turn.first_sound_at or time.monotonic()
                turn.sound += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.done":
                turn.reply = event.transcript
            elif event.type == "conversation.item.input_audio_transcription.completed":
                turn.understood = event.transcript
            elif event.type == "error":
                self.errors.append(event.error.message)
            if "response.done" in self.kinds and turn.understood is not None and turn.reply:
                turn.over.set()

    async def speak(self) -> None:
        """Send 20 ms every 20 ms: what there is to say, else the noise of a room."""
        noise = np.random.default_rng(1).integers(-3, 4, BLOCK, np.int16)
        at = time.monotonic()
        while True:
            at += BLOCK / RATE_HZ
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            block = self.to_say.pop(0) if self.to_say else noise
            if np.abs(block.astype(int)).max() > VOICED:
                self.turn.voiced_at = time.monotonic()
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(block.tobytes()).decode())


def blocks(path: Path) -> list[np.ndarray]:
    """A recording as the API wants it."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    whole = np.clip(np.rint(mono * 32767), -32768, 32767).astype("<i2")
    return [whole[at : at + BLOCK] for at in range(0, len(whole) - BLOCK + 1, BLOCK)]


async def main(url: str, key: str, recordings: list[Path]) -> int:
    """Ask one after the other; returns 1 if a reply did not come."""
    async with openai.AsyncOpenAI(base_url=url, api_key=key) as client:  # noqa: SIM117 - the connection is the client's
        async with client.realtime.connect(model="edgeapp") as connection:
            heard: Any = {"transcription": {"model": "edgeapp"}, "turn_detection": {"type": "semantic_vad"}}
            await connection.session.update(session={"type": "realtime", "audio": {"input": heard}})
            talk = Talk(connection)
            tasks = [asyncio.create_task(talk.listen()), asyncio.create_task(talk.speak())]
            try:
                for recording in recordings:
                    talk.turn, talk.kinds = Turn(), []
                    talk.to_say = blocks(recording)
                    async with asyncio.timeout(TURN_S):
                        await talk.turn.over.wait()
                    print(talk.turn.line(), flush=True)
                    played_s = talk.turn.first_sound_at + len(talk.turn.sound) / 2 / RATE_HZ - time.monotonic()
                    await asyncio.sleep(max(0.0, played_s))
            except TimeoutError:
                print(f"no reply; the last events were {talk.kinds[-5:]}, errors {talk.errors}", file=sys.stderr)
                return 1
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for error in talk.errors:
                print(error, file=sys.stderr)
            return int(bool(talk.errors))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], [Path(each) for each in sys.argv[3:]])))
