"""Speak Wyoming with Home Assistant's own library: `python tests/clients/wyoming_client.py HOST PORT WHAT ...`.

Needs wyoming, soundfile and soxr. WHAT is one of

    describe                   what the server offers, as JSON
    transcribe RECORDING...    the words of each
    synthesize FILE TEXT       the sound into a WAV file; its length is printed
    stream FILE TEXT           the same, the text sent word by word
    detect RECORDING...        whether the keyphrase was said in each, and at which millisecond of the stream it was told
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from pathlib import Path

import numpy as np
import soundfile
import soxr
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped
from wyoming.wake import Detect, Detection, NotDetected

RATE_HZ = 16_000
BLOCK = RATE_HZ // 10
ANSWER_S = 20.0


async def answer(client: AsyncTcpClient) -> Event:
    """The next event; an error or an end of the connection ends the program."""
    async with asyncio.timeout(ANSWER_S):
        event = await client.read_event()
    if event is None or Error.is_type(event.type):
        sys.exit(f"the server said {Error.from_event(event).text if event else 'nothing more'}")
    return event


async def send(client: AsyncTcpClient, path: Path) -> None:
    """A recording, and a second of a quiet room behind it."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    room = np.random.default_rng(1).integers(-3, 4, RATE_HZ, np.int16)
    whole = np.concatenate([np.clip(np.rint(mono * 32767), -32768, 32767).astype("<i2"), room])
    await client.write_event(AudioStart(RATE_HZ, 2, 1).event())
    for at in range(0, len(whole), BLOCK):
        block = whole[at : at + BLOCK].tobytes()
        await client.write_event(AudioChunk(RATE_HZ, 2, 1, block, timestamp=1000 * at // RATE_HZ).event())
    await client.write_event(AudioStop().event())


async def transcribe(client: AsyncTcpClient, paths: list[str]) -> None:
    """Words of recordings."""
    for path in paths:
        await client.write_event(Transcribe(language="en").event())
        await send(client, Path(path))
        print(Transcript.from_event(await answer(client)).text)


async def synthesize(client: AsyncTcpClient, file: str, text: str, *, streamed: bool) -> None:
    """The sound of a text."""
    if streamed:
        await client.write_event(SynthesizeStart().event())
        for word in text.split():
            await client.write_event(SynthesizeChunk(f"{word} ").event())
        await client.write_event(Synthesize(text).event())  # for servers that cannot stream; ours must not say it twice
        await client.write_event(SynthesizeStop().event())
    else:
        await client.write_event(Synthesize(text).event())
    start = AudioStart.from_event(await answer(client))
    sound = b""
    while not AudioStop.is_type((event := await answer(client)).type):
        sound += AudioChunk.from_event(event).audio
    if streamed:
        assert SynthesizeStopped.is_type((await answer(client)).type)
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, start.rate, 0, "NONE", ""))
        out.writeframes(sound)
    print(round(len(sound) / 2 / start.rate, 2))


async def detect(client: AsyncTcpClient, paths: list[str]) -> None:
    """The keyphrase in recordings."""
    for path in paths:
        await client.write_event(Detect().event())
        await send(client, Path(path))
        event = await answer(client)
        found = None if NotDetected.is_type(event.type) else Detection.from_event(event)
        print(f"{found.name} {found.timestamp}" if found else "not detected")


async def main(host: str, port: int, what: str, rest: list[str]) -> None:
    """Do one thing."""
    async with AsyncTcpClient(host, port) as client:
        if what == "describe":
            await client.write_event(Describe().event())
            print(json.dumps(Info.from_event(await answer(client)).to_dict()))
        elif what == "transcribe":
            await transcribe(client, rest)
        elif what == "detect":
            await detect(client, rest)
        else:
            await synthesize(client, rest[0], rest[1], streamed=what == "stream")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
