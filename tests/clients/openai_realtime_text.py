"""Ask in writing and read the reply, as OpenAI's client documents it: `python tests/clients/openai_realtime_text.py URL KEY QUESTION...`.

Needs openai[realtime]. Prints one reply a line, as it comes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import openai


async def main(url: str, key: str, questions: list[str]) -> int:
    """Ask one after the other in one session; returns 1 if the device refused something."""
    async with openai.AsyncOpenAI(base_url=url, api_key=key) as client:  # noqa: SIM117 - the connection is the client's
        async with client.realtime.connect(model="edgeapp") as connection:
            await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            for question in questions:
                content: Any = [{"type": "input_text", "text": question}]
                await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
                await connection.response.create()
                async for event in connection:
                    if event.type == "response.output_text.delta":
                        print(event.delta, end="", flush=True)
                    elif event.type == "response.output_text.done":
                        print()
                    elif event.type == "error":
                        print(event.error.message, file=sys.stderr)
                        return 1
                    elif event.type == "response.done":
                        break
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:])))
