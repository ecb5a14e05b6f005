"""The settings of Pipecat that `bench_pipecat.py` measures, each with its source.

Files are those of the wheel pipecat-ai 1.14.0; pages are of docs.pipecat.ai. What is `published` is what Pipecat's authors
ship, document or recommend for a recogniser that does not end turns by itself, as a local one does not. The others are what
somebody could still make of Pipecat; they are printed beside it, so that nobody has to wonder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

VOICE_HZ: Final = 22_050
"""espeak-ng's rate."""


class TurnEnd(Enum):
    """Who says that the person has finished. Silero's 0.2 s of silence (audio/vad/vad_analyzer.py) come before all three."""

    SMART_TURN = "smart turn"
    """Smart Turn v3.2, the ONNX file in the wheel (turns/user_turn_strategies.py: the default)."""

    SPEECH_TIMEOUT = "speech timeout"
    """A wait, `timeout_s` long (turns/user_stop/speech_timeout_user_turn_stop_strategy.py)."""

    EAGER = "eager"
    """The recogniser, which also predicts it (turns/user_stop/eager_user_turn_stop_strategy.py)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to set Pipecat up; what is not here is Pipecat's default."""

    published: bool
    turn_end: TurnEnd
    timeout_s: float = 0.0
    smart_turn_threads: int = 1
    """`cpu_count` of LocalSmartTurnAnalyzerV3 (audio/turn/smart_turn/local_smart_turn_v3.py); 1 is the default."""

    stream_text: bool = True
    """Text goes to the voice as it is written: TextAggregationMode.TOKEN "streams tokens directly for lower latency"
    (services/tts_service.py). Else whole sentences do, and one counts as whole when the next begins or the reply ends
    (utils/text/simple_text_aggregator.py)."""

    chunks_10ms: int = 1
    """How much sound leaves the transport at once; 4 is the default (transports/base_transport.py)."""

    out_hz: int = VOICE_HZ
    """24,000 is the default (pipeline/worker.py); the voice's own rate saves the resampling."""


SETTINGS: Final = {
    # As it comes. The page "Speech Input & Turn Detection" calls it the optimal configuration for most uses: Smart Turn,
    # and voice activity that stops after 0.2 s, which that page and services/stt_latency.py recommend to keep.
    "default": Setting(published=True, turn_end=TurnEnd.SMART_TURN, stream_text=False, chunks_10ms=4, out_hz=24_000),
    # The same end of turn, and each switch that the files name for lower latency.
    "smart-turn": Setting(published=True, turn_end=TurnEnd.SMART_TURN),
    # And its model on two threads, which a machine of two cores has.
    "smart-turn-threads": Setting(published=True, turn_end=TurnEnd.SMART_TURN, smart_turn_threads=2),
    # The same page's "simpler alternative to Smart Turn", with the wait it documents.
    "speech-timeout": Setting(published=True, turn_end=TurnEnd.SPEECH_TIMEOUT, timeout_s=0.6),
    # The least wait the class takes. No page, file or example of Pipecat's recommends it: every pause of 0.2 s ends the turn.
    "no-timeout": Setting(published=False, turn_end=TurnEnd.SPEECH_TIMEOUT, timeout_s=0.0),
    # The reply is written while the turn is open, held (turns/speculation_gate.py), and spoken when Silero's 0.2 s confirm
    # it; the voice starts only then. Pipecat has it for services that predict the end of a turn (services/deepgram/flux,
    # services/cartesia/turns); no local recogniser of its does. Here edgeapp's recogniser predicts it, by edgeapp's rule: a
    # sentence of the grammar has stood for 256 ms.
    "eager": Setting(published=False, turn_end=TurnEnd.EAGER),
}
