"""What other programs speak with this device, wired: engines -> guests -> an OpenAI-compatible API and a Wyoming server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeapp import config as settings
from edgeapp.apps.kiosk import Voice, open_stt
from edgeapp.apps.secret import read_secret
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import ConfigError
from edgeapp.core.record import Sink
from edgeapp.core.stage import Stage
from edgeapp.observe.throttle import Throttle
from edgeapp.voice.answering import Answering
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import EndpointRule
from edgeapp.voice.intents import intent_of
from edgeapp.voice.openers import Openers
from edgeapp.voice.speculation import Speculation, SpeculationRule
from edgeapp.voice.turns import Manners
from edgeapp.web.courtesy import Courtesy
from edgeapp.web.guests import Guests


async def open_protocols(config: settings.Config, parts: Parts, voice: Voice, courtesy: Courtesy) -> list[int]:
    """Serve what `[protocols]` switches on until `parts` are closed; gives the ports. Raises ConfigError.

    Recognisers are opened here, one for each microphone there may be. Model and voice are the device's own.
    """
    protocols, ports = config.protocols, []
    if not (protocols.openai.serve or protocols.wyoming.serve):
        return []
    try:
        from edgeapp.web import openai_api, wyoming_server  # noqa: F401 - a missing package is said here
    except ImportError as error:
        raise ConfigError(f"[protocols] needs the package {error.name}: pip install 'edgeapp[protocols]'") from error
    from edgeapp.web.openai_wire import Access

    answering = _answering(voice)
    guests = Guests(
        stt=(await open_stt(config, parts, voice.shop, sentences=voice.sentences)).local,
        vad=await parts.engine(config.voice.vad, "voice.vad"),
        tts=voice.tts.local,
        llm=voice.llm.local,
        answering=answering,
        courtesy=courtesy,
        rule=voice.rule,
    )
    if protocols.openai.serve:
        section = protocols.openai
        seats = [await _seat(config, parts, voice, answering) for _ in range(section.realtime_sessions)]
        name = config.voice.llm.options.get("model", config.voice.llm.engine)
        routes = openai_api.router(
            guests, seats, Access(key_of(section)), model=str(name), idle_s=section.idle_ms / 1000
        )
        tls = (section.tls_certificate, section.tls_key)
        ports.append(await parts.stack.enter_async_context(openai_api.serve(routes, section.host, section.port, tls)))
    if protocols.wyoming.serve:
        ports.append(await _open_wyoming(config, parts, voice, guests))
    return ports


async def _open_wyoming(config: settings.Config, parts: Parts, voice: Voice, guests: Guests) -> int:
    """The Wyoming server, with the keyphrase if the recogniser can listen for one; gives the port."""
    from edgeapp.web import wyoming_server
    from edgeapp.web.keyphrase import Keyphrase

    section, keyphrase = config.protocols.wyoming, None
    if section.wake and hasattr(voice.stt.local, "use_grammar"):
        phrase = config.voice.wake.keyphrase
        stt = (await open_stt(config, parts, voice.shop, phrase, voice.sentences)).local
        keyphrase = Keyphrase(phrase, stt, await parts.engine(config.voice.vad, "voice.vad"), voice.rule)
    names = wyoming_server.Names(config.voice.stt.engine, config.voice.tts.engine)
    port = await parts.stack.enter_async_context(
        wyoming_server.serve(
            guests,
            keyphrase,
            names,
            host=section.host,
            port=section.port,
            connections=section.connections,
            idle_s=section.idle_ms / 1000,
        )
    )
    if section.zeroconf:
        await parts.stack.enter_async_context(wyoming_server.announced(config.name, section.host, port))
    return port


def _answering(voice: Voice) -> Callable[[], Answering]:
    """Replies for guests: the device's model and facts, on the device alone, with no tools and no records."""
    llm: Stage[Any, Any] = Stage(
        "llm", voice.llm.local, voice.llm.lane, local_prior_ns=voice.llm.bound_ns, sink=lambda _: None
    )
    count = getattr(voice.llm.local, "count_tokens", None)
    return lambda: Answering(llm, voice.content, rule=voice.answer_rule, count_tokens=count)


async def _seat(config: settings.Config, parts: Parts, voice: Voice, answering: Callable[[], Answering]) -> Any:
    """Room for one Realtime session: a recogniser and a detector of its own, and its openers rendered."""
    from edgeapp.web.realtime_session import Seat
    from edgeapp.web.realtime_sound import OptionalVoice

    tts = OptionalVoice(voice.tts.local)
    stt: Any = (await open_stt(config, parts, voice.shop, sentences=voice.sentences)).local
    vad = await parts.engine(config.voice.vad, "voice.vad")
    openers, manners = Openers(), Manners(history_turns=config.voice.history_turns, log_text=True)
    await openers.render(voice.tts.local, also=(manners.cannot_answer,))

    async def converse(rule: EndpointRule, answers: Answering, sink: Sink) -> Conversation:
        if hasattr(stt, "forget"):
            await stt.forget()  # who spoke before has taught it their microphone
        return Conversation(
            vad=vad,
            stt=Stage("stt", stt, voice.stt.lane, local_prior_ns=voice.stt.bound_ns, sink=sink),
            answering=answers,
            tts=Stage("tts", tts, voice.tts.lane, local_prior_ns=voice.tts.bound_ns, sink=sink),
            budget=voice.budget,
            sink=sink,
            hear=getattr(stt, "hear", None),
            suppose=getattr(stt, "suppose", None),
            turn_model=voice.turn_model,
            rule=rule,
            manners=manners,
            openers=openers,
            intent=intent_of,
            speculation=Speculation(SpeculationRule(enabled=config.voice.speculate)),
            throttled=Throttle(),
        )

    def write(off: bool) -> None:
        tts.off = openers.off = off

    return Seat(
        voice.rule,
        answering,
        converse,
        write=write,
        takes_instructions=bool(getattr(voice.llm.local, "takes_instructions", False)),
    )


def key_of(section: settings.OpenAiServer) -> str:
    """The key that clients must send; empty if none is configured. Raises ConfigError."""
    key = read_secret("protocols.openai", "key", env=section.key_env, file=section.key_file)
    if (section.key_env or section.key_file) and len(key) < 16:
        raise ConfigError("the key of protocols.openai has less than 16 characters; make a longer one")
    return key
