"""The kiosk as a Pipecat bot: `.venv-pipecat/bin/python scripts/pipecat_side.py SETTING`, asked as `voice_side.py` says.

Its ears, its language model and its voice are the very engines of edgeapp (PocketSphinx with the kiosk's grammar, kiosk-lm
through CTranslate2, espeak-ng), opened from the same configuration and wrapped as Pipecat services. All between them is
Pipecat's: voice activity, end of turn, aggregation, queues, transport. `pipecat_settings.py` holds what Pipecat leaves to
choose. Kept in Pipecat's favour in every setting: the recogniser decodes along with the speech and beside the audio's path,
so its transcript is there a millisecond after it is asked for, and is `finalized`, so that nothing waits for
`ttfs_p99_latency` (services/stt_latency.py: 1 s is assumed of a local recogniser that does not say so); engines run in
threads of their own as they do in edgeapp; RTVI, turn tracking, metrics and logs below warnings are off.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from itertools import pairwise
from typing import Any, Final

import numpy as np
from loguru import logger
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    OutputAudioRawFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    StartFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TextAggregationMode, TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.eager_end_of_turn_mixin import EagerEndOfTurnSTTServiceMixin
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy, TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import EagerUserTurnStrategies, UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner
from pipecat_settings import SETTINGS, VOICE_HZ, Setting, TurnEnd
from voice_side import Taken, device, kiosk, serve

from edgeapp import config as settings
from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.apps.wiring import Parts, settle
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, SAMPLE_RATE_HZ, Clause, Utterance
from edgeapp.devices.files import VirtualAudio
from edgeapp.voice.answering import Answering, AnswerRule, Question
from edgeapp.voice.content import load_content
from edgeapp.voice.grammar import kiosk_grammar

_HEARD_SAMPLES: Final = 512  # decoded at once, as in edgeapp
_STABLE_SAMPLES: Final = (
    4_096  # 256 ms: how long a finished sentence has stood when it is taken for the last, as in edgeapp
)
_PRE_ROLL_SAMPLES: Final = (
    SAMPLE_RATE_HZ  # voice activity comes 200 ms late, and later when the machine stalls (services/stt_service.py)
)
_ANSWER_NS: Final = 10_000 * MS  # edgeapp's due times decide where a stage runs; here there is one place
_START_S: Final = 60.0  # a slow machine compiles Pipecat's resampler once
_UTTERANCE_SAMPLES_MAX: Final = 30 * SAMPLE_RATE_HZ  # as in edgeapp


class Microphone(BaseInputTransport):
    """The virtual device's microphone; Pipecat's own local one gives blocks of 20 ms (transports/local/audio.py)."""

    def __init__(self, audio: VirtualAudio, params: TransportParams) -> None:
        """`audio` is read from the start frame on."""
        super().__init__(params)
        self._audio = audio

    async def start(self, frame: StartFrame) -> None:
        """Begin to listen."""
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.create_task(self._listen())

    async def _listen(self) -> None:
        async for chunk in self._audio.heard():
            await self.push_audio_frame(InputAudioRawFrame(chunk.samples.tobytes(), SAMPLE_RATE_HZ, 1))


class Loudspeaker(BaseOutputTransport):
    """The virtual device's loudspeaker."""

    def __init__(self, audio: VirtualAudio, params: TransportParams) -> None:
        """`audio` is the device whose microphone is open."""
        super().__init__(params)
        self._speaker = audio.speaker

    async def start(self, frame: StartFrame) -> None:
        """Be ready to play."""
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Play; returns when the device has room for the next piece, as a sound card's write does."""
        samples = np.frombuffer(frame.audio, np.int16)
        audible_ns = await self._speaker.play(samples, frame.sample_rate)
        ends_ns = audible_ns + len(samples) * 1_000_000_000 // frame.sample_rate
        await sleep_until(ends_ns - self._speaker.latency_ns)
        return True


class Ears(EagerEndOfTurnSTTServiceMixin, STTService):
    """PocketSphinx as a streaming recogniser: it decodes while the person speaks, in a task beside the audio's path."""

    def __init__(self, recogniser: Any, taken: list[Taken], *, eager: bool) -> None:
        """`recogniser` is edgeapp's engine; `taken` learns of every turn that ended."""
        super().__init__(
            enable_eager_end_of_turn=eager,
            ttfs_p99_latency=0.25,  # measured: Silero's 0.2 s and some milliseconds; only a fallback, see the module
            settings=STTSettings(model="kiosk-sphinx", language=None),
        )
        self._recogniser, self._taken, self._eager = recogniser, taken, eager
        self._inbox: asyncio.Queue[bytes | Frame] = asyncio.Queue()  # at most what was said while one block is decoded
        self._before: deque[np.ndarray] = deque(maxlen=_PRE_ROLL_SAMPLES // _HEARD_SAMPLES)
        self._utterance: list[np.ndarray] = []  # bounded by _UTTERANCE_SAMPLES_MAX
        self._speaking = False
        self._number = 0
        self._given = ""  # the words of this turn that Pipecat has
        self._words, self._stable_samples = "", 0
        self._decoding: asyncio.Task[None] | None = None

    async def start(self, frame: StartFrame) -> None:
        """Begin to decode."""
        await super().start(frame)
        self._decoding = self.create_task(self._decode())

    async def cleanup(self) -> None:
        """Stop decoding."""
        await super().cleanup()
        if self._decoding is not None:
            await self.cancel_task(self._decoding)

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Hand the block to the decoder; a streaming service's transcripts come by themselves."""
        self._inbox.put_nowait(audio)
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Follow Pipecat's voice activity and its decision that the turn is over."""
        if isinstance(frame, UserStoppedSpeakingFrame):
            self._taken.append(Taken(now_ns(), self._given))
            self._given = ""
            self._utterance = []
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame | VADUserStoppedSpeakingFrame):
            self._inbox.put_nowait(frame)

    async def _decode(self) -> None:
        pending = b""
        while True:
            item = await self._inbox.get()
            if isinstance(item, VADUserStartedSpeakingFrame):
                await self._begin()
            elif isinstance(item, VADUserStoppedSpeakingFrame):
                await self._finish()
            elif isinstance(item, bytes):
                pending += item
                while len(pending) >= 2 * _HEARD_SAMPLES:
                    block, pending = pending[: 2 * _HEARD_SAMPLES], pending[2 * _HEARD_SAMPLES :]
                    await self._take(np.frombuffer(block, np.int16))

    async def _begin(self) -> None:
        """The person speaks, or goes on speaking: then what was heard of the turn stays heard."""
        self._speaking = True
        if self._eager and not self._utterance:
            await self.broadcast_frame(ProposedUserStartedSpeakingFrame)
        if not self._utterance:
            self._number += 1
            self._words, self._stable_samples = "", 0
        blocks, room = list(self._before), _UTTERANCE_SAMPLES_MAX // _HEARD_SAMPLES - len(self._utterance)
        for block in blocks[: max(0, room)]:
            await self._hear(block)
        self._before.clear()

    async def _take(self, block: np.ndarray) -> None:
        if self._speaking and len(self._utterance) < _UTTERANCE_SAMPLES_MAX // _HEARD_SAMPLES:
            await self._hear(block)
        else:
            self._before.append(block)

    async def _hear(self, block: np.ndarray) -> None:
        self._utterance.append(block)
        words = await self._recogniser.hear(self._number, block)
        self._stable_samples = self._stable_samples + len(block) if words.text == self._words else len(block)
        if words.text != self._words:
            self._words = words.text
            await self._cancel_eager_end_of_turn()
        if words.complete and self._stable_samples >= _STABLE_SAMPLES and not self.eager_end_of_turn_pending:
            await self._push_eager_end_of_turn(words.text, user_id="")

    async def _finish(self) -> None:
        """Pipecat's voice activity says the person paused: give what is new of the words, as final."""
        self._speaking = False
        samples = np.concatenate(self._utterance) if self._utterance else np.empty(0, np.int16)
        text = (await self._recogniser(Utterance(self._number, samples, 0))).text
        new = text.removeprefix(self._given).strip()
        self._clear_eager_end_of_turn()
        if new:
            self._given = f"{self._given} {new}".strip()
            await self.push_frame(TranscriptionFrame(new, "", time_now_iso8601(), finalized=True))
        if self._eager:
            await self.broadcast_frame(ProposedUserStoppedSpeakingFrame)


class Mind(LLMService[Any]):
    """kiosk-lm as a streaming language model, with the facts, the grounding and the clauses of edgeapp's `Answering`."""

    def __init__(self, answering: Answering, history_turns: int) -> None:
        """`answering` asks edgeapp's engine."""
        unset = dict.fromkeys(("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty"))
        super().__init__(
            settings=LLMSettings(
                model="kiosk-lm",
                system_instruction=None,
                presence_penalty=None,
                seed=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
                **unset,
            )
        )
        self._answering, self._history_turns = answering, history_turns

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context, as services/openai/base_llm.py does."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        try:
            await self.push_frame(LLMFullResponseStartFrame())
            async with aclosing(self._answering.answer(self._question(frame.context))) as clauses:
                async for clause in clauses:
                    await self._push_llm_text(f"{clause} ")
        finally:
            await self.push_frame(LLMFullResponseEndFrame())

    def _question(self, context: LLMContext) -> Question:
        said = [(message["role"], " ".join(str(message["content"]).split())) for message in context.get_messages()]
        turns = [
            (asked, answered)
            for (who, asked), (other, answered) in pairwise(said)
            if (who, other) == ("user", "assistant")
        ]
        # Pipecat asks for words after a turn in which nothing was understood: then the last message is not a person's.
        text = said[-1][1] if said[-1][0] == "user" else ""
        committed = asyncio.Event()
        committed.set()
        due_ns = now_ns() + _ANSWER_NS
        return Question(text, tuple(turns[-self._history_turns :]), "turn", lambda _: due_ns, committed)


class Mouth(TTSService):
    """espeak-ng in this process, as services/piper/tts.py speaks: by sentences, or by what the mind gives as it comes.

    What comes then are clauses, which a voice can begin with; from a model that gives tokens a streaming voice would have to
    make them first.
    """

    def __init__(self, voice: Any, *, stream_text: bool) -> None:
        """`voice` is edgeapp's engine."""
        super().__init__(
            text_aggregation_mode=TextAggregationMode.TOKEN if stream_text else TextAggregationMode.SENTENCE,
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=VOICE_HZ,
            settings=TTSSettings(model="espeak-ng", voice="en-us", language=None),
        )
        self._voice = voice

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speak in parts of 20 ms, each pushed as soon as it is there."""
        async with aclosing(await self._voice(Clause(text.strip()))) as parts:
            async for part in parts:
                yield TTSAudioRawFrame(part.samples.tobytes(), part.sample_rate_hz, 1, context_id=context_id)


def strategies_of(setting: Setting) -> UserTurnStrategies:
    """The setting's rule for the end of a turn; the start is Pipecat's own."""
    if setting.turn_end is TurnEnd.EAGER:
        return EagerUserTurnStrategies()
    if setting.turn_end is TurnEnd.SPEECH_TIMEOUT:
        return UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=setting.timeout_s)])
    analyzer = LocalSmartTurnAnalyzerV3(cpu_count=setting.smart_turn_threads)
    return UserTurnStrategies(stop=[TurnAnalyzerUserTurnStopStrategy(turn_analyzer=analyzer)])


async def engines(config: settings.Config, parts: Parts) -> tuple[Any, Answering, Any]:
    """Recogniser, model and voice, opened and warmed up as `edgeapp.apps.kiosk` does."""
    content = load_content(BUNDLED_CONTENT)
    recogniser = await parts.engine(config.voice.stt, "voice.stt")
    items = [item.name for item in content.items]
    await recogniser.use_grammar(kiosk_grammar(items, list(content.hours), list(content.zones)).greeted().sentences)
    rule = AnswerRule(
        closed_intents=config.voice.closed_intents,
        grounded=config.voice.grounded,
        max_tokens=config.voice.max_tokens,
        history_tokens=config.voice.history_tokens,
        facts_most=config.voice.facts_per_question,
    )
    answering = Answering(await parts.stage(config.voice.llm, "voice.llm"), lambda: content, rule=rule)
    await answering.prefill(())
    voice = await parts.engine(config.voice.tts, "voice.tts")
    return recogniser, answering, voice


@asynccontextmanager
async def pipecat(setting: Setting, taken: list[Taken]) -> AsyncIterator[VirtualAudio]:
    """The bot, ready to listen; see `voice_side.Open`."""
    async with AsyncExitStack() as stack:
        config = kiosk()
        recogniser, answering, voice = await engines(config, Parts(stack, lambda _: None))
        audio = device()
        params = TransportParams(
            audio_in_enabled=True,
            audio_in_sample_rate=SAMPLE_RATE_HZ,
            audio_out_enabled=True,
            audio_out_10ms_chunks=setting.chunks_10ms,
        )
        context = LLMContext()
        user, assistant = LLMContextAggregatorPair(
            context,
            user_params=LLMUserAggregatorParams(
                vad_analyzer=SileroVADAnalyzer(), user_turn_strategies=strategies_of(setting)
            ),
        )

        @assistant.event_handler("on_assistant_turn_stopped")
        async def on_assistant_turn_stopped(_: Any, message: Any) -> None:
            if taken:
                taken[-1].said = " ".join(message.content.split())

        microphone = Microphone(audio, params)
        steps = [
            microphone,
            Ears(recogniser, taken, eager=setting.turn_end is TurnEnd.EAGER),
            user,
            Mind(answering, config.voice.history_turns),
            Mouth(voice, stream_text=setting.stream_text),
            Loudspeaker(audio, params),
            assistant,
        ]
        worker = PipelineWorker(
            Pipeline(steps),
            params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE_HZ, audio_out_sample_rate=setting.out_hz),
            cancel_on_idle_timeout=False,
            enable_turn_tracking=False,
            enable_rtvi=False,
        )
        started = asyncio.Event()

        @worker.event_handler("on_pipeline_started")
        async def on_pipeline_started(*_: Any) -> None:
            started.set()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        running = asyncio.create_task(runner.run())
        await asyncio.wait_for(started.wait(), _START_S)
        settle()
        yield audio
        audio.hang_up()
        await worker.cancel()
        with suppress(asyncio.CancelledError):
            await running


def main() -> None:
    """Serve the setting that is named on the command line."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    setting = SETTINGS[sys.argv[1]]
    asyncio.run(serve(lambda taken: pipecat(setting, taken)))


if __name__ == "__main__":
    main()
