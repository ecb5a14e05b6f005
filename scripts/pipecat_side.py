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
    TTSStoppedFrame,
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
from voice_side import KIOSK, Taken, device, serve

from edgeapp.apps.kiosk import BUNDLED_CONTENT
from edgeapp.apps.wiring import Parts, settle
from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import SAMPLE_RATE_HZ, Clause, Prompt, Utterance
from edgeapp.devices.files import VirtualAudio
from edgeapp.voice.clauses import clauses
from edgeapp.voice.content import facts, load_content
from edgeapp.voice.conversation import Manners
from edgeapp.voice.grammar import kiosk_grammar
from edgeapp.voice.relevance import relevant

_HEARD_SAMPLES: Final = 512  # decoded at once, as in edgeapp
_STABLE_SAMPLES: Final = (
    4_096  # 256 ms: how long a finished sentence has stood when it is taken for the last, as in edgeapp
)
_PRE_ROLL_SAMPLES: Final = 8_192  # 512 ms: Pipecat's voice activity is 200 ms late, edgeapp's pre-roll is 320 ms
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
    """kiosk-lm as a streaming language model, with the facts that edgeapp would give it."""

    def __init__(self, model: Any) -> None:
        """`model` is edgeapp's engine."""
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
        self._model = model
        self._facts = facts(load_content(BUNDLED_CONTENT))

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context, as services/openai/base_llm.py does."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        try:
            await self.push_frame(LLMFullResponseStartFrame())
            if frame.context.get_messages()[-1]["role"] != "user":  # Pipecat asks for words after an empty turn
                await self._push_llm_text(Manners().not_understood)
                return
            async with aclosing(await self._model(self._prompt(frame.context))) as pieces:
                async for piece in pieces:
                    await self._push_llm_text(piece)
        finally:
            await self.push_frame(LLMFullResponseEndFrame())

    def _prompt(self, context: LLMContext) -> Prompt:
        voice = KIOSK.voice
        said = [(message["role"], " ".join(str(message["content"]).split())) for message in context.get_messages()]
        turns = [
            (asked, answered)
            for (who, asked), (other, answered) in pairwise(said)
            if (who, other) == ("user", "assistant")
        ]
        question = said[-1][1]
        system = relevant(self._facts, question, voice.facts_per_question, " ".join(turns[-1]) if turns else "")
        return Prompt(system, tuple(turns[-voice.history_turns :]), question, max_tokens=voice.max_tokens)


class SentenceMouth(TTSService):
    """espeak-ng by sentences, as services/piper/tts.py speaks."""

    def __init__(self, voice: Any) -> None:
        """`voice` is edgeapp's engine."""
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=VOICE_HZ,
            settings=TTSSettings(model="espeak-ng", voice="en-us", language=None),
        )
        self._voice = voice

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Speak one sentence in parts of 20 ms."""
        async with aclosing(await self._voice(Clause(text))) as parts:
            async for part in parts:
                yield TTSAudioRawFrame(part.samples.tobytes(), part.sample_rate_hz, 1, context_id=context_id)


class StreamMouth(TTSService):
    """espeak-ng fed with text as it is written, as a streaming voice is; it begins to speak with edgeapp's clauses."""

    def __init__(self, voice: Any) -> None:
        """`voice` is edgeapp's engine."""
        super().__init__(
            text_aggregation_mode=TextAggregationMode.TOKEN,
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=VOICE_HZ,
            settings=TTSSettings(model="espeak-ng", voice="en-us", language=None),
        )
        self._voice = voice
        self._context_id = ""
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()  # bounded by the model's max_tokens
        self._speaking: asyncio.Task[None] | None = None

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Take the next piece of text; the sound comes by itself."""
        if context_id != self._context_id or self._speaking is None:
            await self._stop()
            self._context_id, self._pieces = context_id, asyncio.Queue()
            self._speaking = self.create_task(self._speak(context_id, self._pieces))
        self._pieces.put_nowait(text)
        yield None

    async def flush_audio(self, context_id: str | None = None) -> None:
        """The reply is written: speak what is left of it."""
        if context_id == self._context_id:
            self._pieces.put_nowait(None)

    async def on_audio_context_interrupted(self, context_id: str) -> None:
        """The person spoke."""
        if context_id == self._context_id:
            await self._stop()

    async def _stop(self) -> None:
        if self._speaking is not None:
            await self.cancel_task(self._speaking)
            self._speaking = None

    async def _speak(self, context_id: str, pieces: asyncio.Queue[str | None]) -> None:
        async def written() -> AsyncIterator[str]:
            while (piece := await pieces.get()) is not None:
                yield piece

        async for clause in clauses(written()):
            async with aclosing(await self._voice(Clause(clause))) as parts:
                async for part in parts:
                    frame = TTSAudioRawFrame(part.samples.tobytes(), part.sample_rate_hz, 1, context_id=context_id)
                    await self.append_to_audio_context(context_id, frame)
        await self.append_to_audio_context(context_id, TTSStoppedFrame(context_id=context_id))
        await self.remove_audio_context(context_id)
        self._speaking = None


def strategies_of(setting: Setting) -> UserTurnStrategies:
    """The setting's rule for the end of a turn; the start is Pipecat's own."""
    if setting.turn_end is TurnEnd.EAGER:
        return EagerUserTurnStrategies()
    if setting.turn_end is TurnEnd.SPEECH_TIMEOUT:
        return UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=setting.timeout_s)])
    analyzer = LocalSmartTurnAnalyzerV3(cpu_count=setting.smart_turn_threads)
    return UserTurnStrategies(stop=[TurnAnalyzerUserTurnStopStrategy(turn_analyzer=analyzer)])


@asynccontextmanager
async def pipecat(setting: Setting, taken: list[Taken]) -> AsyncIterator[VirtualAudio]:
    """The bot, ready to listen; see `voice_side.Open`."""
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        content = load_content(BUNDLED_CONTENT)
        recogniser = await parts.engine(KIOSK.voice.stt, "voice.stt")
        items = [item.name for item in content.items]
        await recogniser.use_grammar(kiosk_grammar(items, list(content.hours), list(content.zones)).sentences)
        model = await parts.engine(KIOSK.voice.llm, "voice.llm")
        await model.probe(relevant(facts(content), "hello", KIOSK.voice.facts_per_question, ""))
        voice = await parts.engine(KIOSK.voice.tts, "voice.tts")
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
            Mind(model),
            StreamMouth(voice) if setting.stream_text else SentenceMouth(voice),
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
