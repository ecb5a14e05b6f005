"""Words of recordings, speech and a reply through OpenAI's own client: `python tests/clients/openai_audio.py URL KEY RECORDING...`.

Needs openai. Prints one line of JSON: the models, the words of each recording, how long the spoken text sounds and after how
many milliseconds its first sample was there, and a reply, whole and streamed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import openai

TEXT = "The hammer is at the rear left."
QUESTION = "where is the hammer"


async def main(url: str, key: str, recordings: list[Path]) -> None:
    """Ask everything once."""
    said: dict[str, Any] = {}
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        said["models"] = [each.id async for each in client.models.list()]
        said["words"] = [
            (await client.audio.transcriptions.create(model="edgeapp", file=each)).text for each in recordings
        ]
        asked_s, size, first_ms = time.monotonic(), 0, 0
        speech = client.audio.speech.with_streaming_response
        async with speech.create(model="edgeapp", voice="edgeapp", input=TEXT, response_format="pcm") as sound:
            async for piece in sound.iter_bytes():
                first_ms = first_ms or round(1000 * (time.monotonic() - asked_s))
                size += len(piece)
        said |= {"sound_s": round(size / 48_000, 2), "first_sound_ms": first_ms}
        messages: Any = [{"role": "user", "content": QUESTION}]
        whole = await client.chat.completions.create(model="edgeapp", messages=messages)
        said["reply"], said["finish"] = whole.choices[0].message.content, whole.choices[0].finish_reason
        stream = await client.chat.completions.create(model="edgeapp", messages=messages, stream=True)
        said["streamed"] = "".join([each.choices[0].delta.content or "" async for each in stream])
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], [Path(each) for each in sys.argv[3:]]))
