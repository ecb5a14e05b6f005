"""A conversation with scripted engines on virtual time, for tests, scenarios and the storm."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import AsyncExitStack

from worlds import Mouth, microphone

from edgeapp.core.budget import Budget
from edgeapp.core.events import MS, AudioChunk, Prompt
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.record import AnyRecord, Record, TurnRecord
from edgeapp.core.stage import Backend, Stage
from edgeapp.core.stream import Stream
from edgeapp.engines import fake
from edgeapp.voice.answering import Answering, AnswerRule
from edgeapp.voice.content import Content
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.openers import Openers
from edgeapp.voice.speculation import Speculation, SpeculationRule
from edgeapp.voice.turns import Manners

SHOP = Content("A shop", (), {}, {}, None)
CANNOT = "I am sorry, I cannot answer right now."


class Talk:
    """One conversation with scripted engines; each word and each clause takes 5 ms on its own lane."""

    def __init__(self, mouth: Mouth | None = None) -> None:
        self.records: list[AnyRecord] = []
        self.mouth = mouth or Mouth()
        self.lanes: list[Lane] = []

    async def hold(
        self,
        *segments: tuple[int, bool],
        heard: AsyncIterable[AudioChunk] | None = None,
        stt: fake.Options | None = None,
        llm: fake.Options | None = None,
        tts: fake.Options | None = None,
        manners: Manners = Manners(log_text=True),
        llm_remote: Backend[Prompt, Stream[str]] | None = None,
        guesses: bool = True,
    ) -> list[TurnRecord]:
        async with AsyncExitStack() as stack:

            async def engine(options: fake.Options) -> tuple[object, Lane]:
                lane = Lane(options.kind)
                self.lanes.append(lane)
                return await stack.enter_async_context(fake.load(options, lane)), lane

            def stage(name: str, pair: tuple[object, Lane]) -> Stage:  # type: ignore[type-arg]
                link = Link("edge")
                for n in range(60):
                    link.took(n, 0, 5 * MS, late=False)
                there = {"remote": llm_remote, "link": link} if name == "llm" and llm_remote else {}
                return Stage(name, pair[0], pair[1], local_prior_ns=20 * MS, sink=self.records.append, **there)  # type: ignore[arg-type]

            model = stage("llm", await engine(llm or fake.Options(kind="llm", texts=("it is there, on the left.",))))
            speaks = await engine(tts or fake.Options(kind="tts"))
            openers = Openers()
            await openers.render(
                await stack.enter_async_context(fake.load(fake.Options(kind="tts", takes_ms=0), speaks[1])),
                also=(CANNOT,),
            )
            hears = await engine(stt or fake.Options(kind="stt", texts=("where is the hammer",)))
            self.conversation = Conversation(
                vad=(await engine(fake.Options(kind="vad", takes_ms=0)))[0],  # type: ignore[arg-type]
                stt=stage("stt", hears),
                answering=Answering(model, lambda: SHOP, rule=AnswerRule(closed_intents=False, grounded=False)),
                tts=stage("tts", speaks),
                budget=Budget(200 * MS, {"stt": 10 * MS, "llm": 60 * MS, "tts": 20 * MS}),
                sink=self.records.append,
                hear=hears[0].hear,  # type: ignore[attr-defined]
                manners=manners,
                openers=openers,
                speculation=Speculation(SpeculationRule(enabled=guesses)),
            )
            await self.conversation.listen(heard or microphone(*segments), self.mouth)
        return [each for each in self.records if isinstance(each, TurnRecord)]

    @property
    def story(self) -> list[str]:
        """What was asked of whom, and when the first part was there."""
        calls = [each for each in self.records if isinstance(each, Record)]
        return [
            f"{each.stage} {each.asked_ns / MS:g} due {each.due_ns / MS:g} first {each.first_ns / MS:g}"
            for each in calls
        ]
