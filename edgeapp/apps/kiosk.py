"""The voice kiosk: microphone -> endpoint -> words -> reply -> voice -> loudspeaker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.content_file import ContentFile, Reader, open_content
from edgeapp.apps.kiosk_counts import KioskCounts, open_broker
from edgeapp.apps.tools import kiosk_tools
from edgeapp.apps.wake import attending, rule_of
from edgeapp.apps.web import Front
from edgeapp.apps.wiring import Parts, settle, sink_of
from edgeapp.core.budget import Budget
from edgeapp.core.events import MS, AudioChunk, Clause, Prompt, Speech, Transcript, Utterance
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.observe.throttle import Throttle
from edgeapp.voice.answering import Answering, AnswerRule, Own
from edgeapp.voice.content import Content
from edgeapp.voice.conversation import Conversation, VoiceActivity
from edgeapp.voice.endpoint import EndpointRule, preset
from edgeapp.voice.grammar import Grammar, grammar_of, kiosk_grammar
from edgeapp.voice.intents import intent_of
from edgeapp.voice.openers import Openers
from edgeapp.voice.speaker import Speaker
from edgeapp.voice.speculation import Speculation, SpeculationRule
from edgeapp.voice.tools import Toolbox
from edgeapp.voice.turns import Manners
from edgeapp.voice.wake import Attention, Way
from edgeapp.web.courtesy import Courtesy


@dataclass(frozen=True)
class Voice:
    """The parts of one voice, open."""

    vad: VoiceActivity
    stt: Stage[Utterance, Transcript]
    llm: Stage[Prompt, Stream[str]]
    answering: Answering
    tts: Stage[Clause, Stream[Speech]]
    rule: EndpointRule
    budget: Budget
    content: Callable[[], Content]
    """What is known now."""

    shop: ContentFile
    """Where it is written."""

    answer_rule: AnswerRule
    turn_model: Any = None
    sentences: Sequence[str] = ()
    """What may be said to it beside what the content gives."""

    @property
    def hear(self) -> Any:
        """The recogniser's own `hear`, if it listens along."""
        return getattr(self.stt.local, "hear", None)

    @property
    def suppose(self) -> Any:
        """The recogniser's second reading of what it refused, if it has one."""
        return getattr(self.stt.local, "suppose", None)


async def kiosk(config: settings.Config, file: Path | None = None) -> None:
    """Hold conversations until the microphone ends or somebody stops it. `file` is where the configuration was read."""
    from edgeapp.apps.protocols import open_protocols  # it brings web servers, and knows this file

    front, courtesy, counts = Front(config, file), Courtesy(config.protocols.requests), KioskCounts()
    shop = front.shop = open_content(config)
    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink_of(config.records, stack, counts.note, *front.sinks))
        await front.open(parts)
        await open_broker(config, parts, counts)
        voice = await open_voice(config, parts, shop)
        await open_protocols(config, parts, voice, courtesy)
        ear, mouth = await open_sound(config.audio, parts)
        await converse(voice, config, parts, ear, mouth, courtesy.give_way_to, front.converses)


async def converse(
    voice: Voice,
    config: settings.Config,
    parts: Parts,
    ear: AsyncIterable[AudioChunk],
    mouth: Speaker,
    *on_open: Callable[[Conversation], None],
) -> None:
    """Listen while the configured ways say so, until the microphone ends. Each `on_open` is told of the conversation."""
    wake, aside = config.voice.wake, set[asyncio.Task[None]]()

    def begin(work: Any) -> None:
        task = asyncio.ensure_future(work)
        aside.add(task)  # a greeting or a farewell at a time, seconds apart
        task.add_done_callback(aside.discard)

    def wakes(way: Way) -> None:
        if wake.greeting and way is Way.PRESENCE:
            begin(conversation.turns.greet(wake.greeting))

    attention = Attention(rule_of(wake), on_wake=wakes, on_sleep=lambda _: begin(conversation.forget()))
    conversation = await open_conversation(config, parts, voice, attention)
    for each in on_open:
        each(conversation)
    async with attending(wake, attention, parts):
        await conversation.listen(ear, mouth)


async def open_sound(audio: settings.Audio, parts: Parts) -> tuple[AsyncIterable[AudioChunk], Speaker]:
    """The configured microphone and loudspeaker, joined. Raises DeviceError if one is not there, or ConfigError.

    With echo cancellation a chirp sounds first, and what it showed is said.
    """
    from edgeapp.devices import microphone, speaker
    from edgeapp.devices.echo import Duplex, Echo

    echo = Echo(audio.echo)
    block_ms = 10.0 if echo is Echo.CANCEL else audio.block_ms
    microphone_alone = await parts.stack.enter_async_context(
        microphone.open_microphone(
            microphone.Options(device=audio.microphone, block_ms=block_ms, latency_ms=audio.latency_ms)
        )
    )
    mouth = await parts.stack.enter_async_context(
        speaker.open_speaker(speaker.Options(device=audio.speaker, block_ms=block_ms, latency_ms=audio.latency_ms))
    )
    ear = Duplex(microphone_alone, mouth, echo)
    parts.count_drops("microphone", ear)
    parts.count_drops("speaker", mouth)
    if echo is Echo.CANCEL:
        logging.getLogger(__name__).warning("%s", (await ear.measure()).says)
    return ear, mouth


async def open_voice(
    config: settings.Config,
    parts: Parts,
    shop: ContentFile,
    live: Callable[[Content], Content] = lambda content: content,
    toolbox: Toolbox | None = None,
    *,
    own: Own = lambda _question, _turns: None,
    sentences: Sequence[str] = (),
) -> Voice:
    """The stages of one voice and what it says: what `shop` knows, which `live` brings up to date before each reply.

    `own` is what the application answers by itself, `sentences` what may be said to it beside what the content is asked about.
    """
    voice, shares = config.voice, config.voice.shares
    budget = Budget(
        round(voice.budget_ms * MS),
        {"stt": round(shares.stt_ms * MS), "llm": round(shares.llm_ms * MS), "tts": round(shares.tts_ms * MS)},
    )
    tools = toolbox or kiosk_tools()
    await shop.add(_carrying_out(tools))
    called = voice.wake.keyphrase if "keyphrase" in voice.wake.ways else ""
    stt = await open_stt(config, parts, shop, called, sentences)
    llm = await parts.stage(voice.llm, "voice.llm", lambda prompt: len(prompt.system) + len(prompt.question))
    endpoint = voice.endpoint
    rule = AnswerRule(
        closed_intents=voice.closed_intents,
        grounded=voice.grounded,
        max_tokens=voice.max_tokens,
        history_tokens=voice.history_tokens,
        facts_most=voice.facts_per_question,
    )
    answering = Answering(llm, lambda: live(shop.content), toolbox=tools, own=own, rule=rule)
    await answering.prefill(())
    return Voice(
        vad=await parts.engine(voice.vad, "voice.vad"),
        stt=stt,
        llm=llm,
        answering=answering,
        tts=await parts.stage(voice.tts, "voice.tts", lambda clause: len(clause.text)),
        rule=replace(
            preset(endpoint.preset),
            rejoin_ns=round(endpoint.rejoin_ms * MS),
            pre_roll_ns=round(endpoint.pre_roll_ms * MS),
            utterance_max_ns=round(endpoint.utterance_max_ms * MS),
            threshold=endpoint.threshold,
            stop_threshold=endpoint.stop_threshold,
        ),
        budget=budget,
        content=lambda: live(shop.content),
        shop=shop,
        answer_rule=rule,
        turn_model=await parts.engine(voice.turn, "voice.turn") if voice.turn is not None else None,
        sentences=sentences,
    )


async def open_stt(
    config: settings.Config, parts: Parts, shop: ContentFile, keyphrase: str = "", sentences: Sequence[str] = ()
) -> Stage[Utterance, Transcript]:
    """A recogniser that knows what may be asked of this shop, and `sentences`. Each microphone needs one of its own."""
    stt = await parts.stage(config.voice.stt, "voice.stt", lambda utterance: utterance.samples.nbytes)
    if hasattr(stt.local, "use_grammar"):
        await shop.add(_hearing(stt.local, keyphrase, sentences))
    return stt


def _hearing(engine: Any, keyphrase: str, sentences: Sequence[str]) -> Reader:
    """A recogniser with a grammar: it must have the sound of every word that may be asked for."""
    used: Grammar | None = None

    def grammar(content: Content) -> Grammar:
        items = [item.name for item in content.items]
        return grammar_of((*sentences, *kiosk_grammar(items, list(content.hours), list(content.zones)).sentences))

    async def check(content: Content) -> None:
        await engine.check_words(grammar(content).words())

    async def use(content: Content) -> None:
        nonlocal used
        wanted = grammar(content)
        if wanted != used:  # another price asks for no other ears
            await engine.use_grammar(wanted.sentences, keyphrase, rarer=wanted.greeted().sentences)
            used = wanted

    return Reader(check, use)


def _carrying_out(tools: Toolbox) -> Reader:
    """The calls that a content offers must be some that this device can carry out."""

    async def check(content: Content) -> None:
        tools.check(content)

    async def use(_: Content) -> None:
        """It is told at each call what is asked for."""

    return Reader(check, use)


async def open_conversation(
    config: settings.Config, parts: Parts, voice: Voice | None = None, attention: Attention | None = None
) -> Conversation:
    """One conversation with this voice (or the configured one, opened here), its openers rendered, ready to listen."""
    voice = voice or await open_voice(config, parts, open_content(config))
    manners = Manners(
        barge_in=config.audio.echo != "half-duplex",
        history_turns=config.voice.history_turns,
        log_text=config.records.log_text,
    )
    openers = Openers()
    await openers.render(voice.tts.local, also=(manners.cannot_answer, config.voice.wake.greeting))
    conversation = Conversation(
        vad=voice.vad,
        stt=voice.stt,
        answering=voice.answering,
        tts=voice.tts,
        budget=voice.budget,
        sink=parts.sink,
        hear=voice.hear,
        suppose=voice.suppose,
        turn_model=voice.turn_model,
        attention=attention,
        rule=voice.rule,
        manners=manners,
        openers=openers,
        intent=intent_of,
        speculation=Speculation(SpeculationRule(enabled=config.voice.speculate)),
        throttled=Throttle(),
    )
    settle()
    return conversation
