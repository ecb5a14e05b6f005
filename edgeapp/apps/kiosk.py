"""The voice kiosk: microphone -> endpoint -> words -> reply -> voice -> loudspeaker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgeapp import config as settings
from edgeapp.apps.wiring import Parts, settle, sink_of
from edgeapp.core.budget import Budget
from edgeapp.core.events import MS, AudioChunk
from edgeapp.observe.throttle import Throttle
from edgeapp.voice.answering import Answering
from edgeapp.voice.content import Content, facts, load_content
from edgeapp.voice.conversation import Conversation, Manners
from edgeapp.voice.endpoint import preset
from edgeapp.voice.grammar import kiosk_grammar
from edgeapp.voice.openers import Openers
from edgeapp.voice.relevance import relevant
from edgeapp.voice.speaker import Speaker

BUNDLED_CONTENT: Final = Path(__file__).parent.parent / "assets" / "kiosk.toml"


async def kiosk(config: settings.Config) -> None:
    """Hold conversations until the microphone ends or somebody stops it."""
    async with AsyncExitStack() as stack:
        parts = Parts(stack, sink_of(config.records, stack))
        conversation = await open_conversation(config, parts)
        ear, mouth = await open_sound(config.audio, parts)
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
    if echo is Echo.CANCEL:
        logging.getLogger(__name__).warning("%s", (await ear.measure()).says)
    return ear, mouth


async def open_conversation(
    config: settings.Config,
    parts: Parts,
    live: Callable[[Content], Content] = lambda content: content,
) -> Conversation:
    """The stages of one voice, ready to listen. `live` brings the content up to date before each reply."""
    voice = config.voice
    content = load_content(Path(voice.content) if voice.content else BUNDLED_CONTENT)

    def facts_of(question: str, before: str = "") -> str:
        every = facts(live(content))
        return relevant(every, question, voice.facts_per_question, before) if voice.facts_per_question else every

    shares = {"stt": voice.shares.stt_ms, "llm": voice.shares.llm_ms, "tts": voice.shares.tts_ms}
    budget = Budget(round(voice.budget_ms * MS), {name: round(share * MS) for name, share in shares.items()})
    stt = await parts.stage(voice.stt, "voice.stt", lambda utterance: utterance.samples.nbytes)
    if hasattr(stt.local, "use_grammar"):
        items = [item.name for item in content.items]
        sentences = kiosk_grammar(items, list(content.hours), list(content.zones)).greeted().sentences
        await stt.local.use_grammar(sentences, voice.wake.keyphrase if "keyphrase" in voice.wake.ways else "")
    llm = await parts.stage(voice.llm, "voice.llm", lambda prompt: len(prompt.system) + len(prompt.question))
    if hasattr(llm.local, "probe"):
        await llm.local.probe(facts_of("hello"))
    tts = await parts.stage(voice.tts, "voice.tts", lambda clause: len(clause.text))
    manners = Manners(
        barge_in=config.audio.echo != "half-duplex", history_turns=voice.history_turns, log_text=config.records.log_text
    )
    answering = Answering(llm, facts_of, max_tokens=voice.max_tokens)
    openers = Openers()
    await openers.render(tts.local, also=(manners.cannot_answer,))
    endpoint = voice.endpoint
    conversation = Conversation(
        vad=await parts.engine(voice.vad, "voice.vad"),
        stt=stt,
        answer=answering.answer,
        tts=tts,
        budget=budget,
        sink=parts.sink,
        hear=getattr(stt.local, "hear", None),
        rule=replace(
            preset(endpoint.preset),
            rejoin_ns=round(endpoint.rejoin_ms * MS),
            pre_roll_ns=round(endpoint.pre_roll_ms * MS),
            utterance_max_ns=round(endpoint.utterance_max_ms * MS),
            threshold=endpoint.threshold,
            stop_threshold=endpoint.stop_threshold,
        ),
        manners=manners,
        openers=openers,
        throttled=Throttle(),
    )
    settle()
    return conversation
