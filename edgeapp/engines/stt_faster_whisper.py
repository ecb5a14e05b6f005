"""Whisper through faster-whisper, below its `transcribe`: features, one encoder pass, one greedy decode, text.

`transcribe` always encodes 30 s (its `chunk_length` only makes more padded passes) and decodes lazily while one iterates.
Here the encoder sees the utterance padded to whole seconds, if the weights were trained for that: stock Whisper falls
apart on a short context (word error rate 226 % instead of 5 % for tiny.en: futo-org/whisper-acft), so `context = "short"`
is refused unless the model folder says `{"short_context": true}` in its `edgeapp.json`. Weights that never heard 30 s say
there how long they listen at once: `"window_s": 5`; what is longer is cut at a quiet moment.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np

from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, ConfigError, Transcript, Utterance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.lane import Lane

T = TypeVar("T")

_WINDOW_S: Final = 30  # what Whisper was trained on, and its encoder's limit
_WINDOW_LEAST_S: Final = 2
_SEAM_SHARE: Final = (
    3  # a longer utterance is cut at the quietest moment of the window's last third, at most of its last 5 s
)
_SEAM_MOST_SAMPLES: Final = 5 * SAMPLE_RATE_HZ
_BUCKET_SAMPLES: Final = SAMPLE_RATE_HZ  # short context comes in whole seconds: few shapes, and the runtime caches them
_SHORTEST_SAMPLES: Final = 2 * SAMPLE_RATE_HZ
_TOKENS_PER_S: Final = 8  # people say 3 or 4 words a second; more tokens are a loop
_TOKENS_MIN: Final = 16
_POSITIONS: Final = 448  # of Whisper's decoder, prompt included
_NO_SPEECH: Final = 0.6  # Whisper's own rule (Radford et al. 2022, section 4.5): no speech if more probable than this
_LOG_PROBABILITY: Final = -1.0  # and if the words are no more probable than this
_FILES: Final = ("model.bin", "config.json", "tokenizer.json")
_VOCABULARIES: Final = ("vocabulary.json", "vocabulary.txt")
_RENAMED_SHARE: Final = 0.01  # of the tokens may have another name, as Whisper's nocaptions became nospeech


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[stt]` of the configuration."""

    model: str
    """A folder with a Whisper model in CTranslate2's format and its tokenizer.json."""

    language: str = "en"
    """The one language spoken, as Whisper's code; it is never guessed."""

    context: str = "full"
    """`full`: the encoder sees 30 s. `short`: the utterance's own length, for weights trained for it."""

    max_tokens: int = 160
    """The bound of one window's text; 8 a second is a second bound."""

    hotwords: str = ""
    """Words to expect, separated by spaces."""

    initial_prompt: str = ""
    """Text that might have come before, for style and spelling."""

    device: str = "cpu"
    """`cpu` or `cuda`."""

    compute_type: str = "int8"
    """CTranslate2's: int8, int8_float32, int8_float16, float16, bfloat16, float32, ..."""

    cpu_threads: int = 1
    """Threads of one inference."""


class FasterWhisper:
    """One model on one lane. A request is independent of the ones before it."""

    def __init__(self, model: Any, tokenizer: Any, options: Options, window_s: int, lane: Lane) -> None:
        from faster_whisper.transcribe import get_suppressed_tokens

        self._model = model
        self._tokenizer = tokenizer
        self._lane = lane
        self._short = options.context == "short"
        self._window_samples = window_s * SAMPLE_RATE_HZ
        self._max_tokens = options.max_tokens
        before = tokenizer.encode(" " + options.initial_prompt.strip()) if options.initial_prompt.strip() else []
        hotwords = options.hotwords.strip() or None
        self._prompt: list[int] = model.get_prompt(tokenizer, before, without_timestamps=True, hotwords=hotwords)
        self._suppressed: list[int] = list(get_suppressed_tokens(tokenizer, [-1]))

    async def __call__(self, utterance: Utterance) -> Transcript:
        """The text of the whole utterance; empty if there is no speech. Takes two bites of the lane for each window.

        Raises BackendError if the model fails.
        """
        texts = []
        for window in _windows(utterance.samples, self._window_samples):
            encoded = await self._bite(partial(self._encode, window))
            texts.append(await self._bite(partial(self._decode, encoded, window.size)))
        text = " ".join(texts).strip()
        return Transcript(_plain(text), complete=text.endswith((".", "?", "!")))

    async def _bite(self, work: Callable[[], T]) -> T:
        try:
            return await self._lane.run(work, label="stt")
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"stt_faster_whisper failed: {error}") from error

    def _encode(self, window: NDArray[np.int16]) -> Any:
        """The encoder's output. Audio is padded, not features: so silence looks as it did in training."""
        samples = np.zeros(self._padded(window.size), np.float32)
        np.multiply(window, np.float32(1 / 32768), out=samples[: window.size])
        return self._model.encode(self._model.feature_extractor(samples, padding=0))

    def _padded(self, samples: int) -> int:
        if not self._short:
            return _WINDOW_S * SAMPLE_RATE_HZ
        return max(_SHORTEST_SAMPLES, -(-samples // _BUCKET_SAMPLES) * _BUCKET_SAMPLES)

    def _decode(self, encoded: Any, samples: int) -> str:
        """One greedy decode."""
        by_length = _TOKENS_MIN + _TOKENS_PER_S * samples // SAMPLE_RATE_HZ
        most = min(self._max_tokens, by_length, _POSITIONS - len(self._prompt))
        result = self._model.model.generate(
            encoded,
            [self._prompt],
            beam_size=1,
            max_length=len(self._prompt) + most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
        )[0]
        if result.no_speech_prob > _NO_SPEECH and result.scores[0] < _LOG_PROBABILITY:
            return ""
        text: str = self._tokenizer.decode(result.sequences_ids[0])
        return text.strip()

    def warm_up(self) -> None:
        """Run once with the real shapes. Blocking."""
        second = np.random.default_rng(0).integers(-300, 300, SAMPLE_RATE_HZ).astype(np.int16)
        self._decode(self._encode(second), second.size)


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[FasterWhisper]:
    """Open the model and run it once.

    Raises ConfigError for a missing package or file, a model that does not open, a tokenizer of another model, a language
    it does not know, `short` context with weights that were not trained for it, or an option outside its range.
    """
    if options.context not in {"full", "short"}:
        raise ConfigError(f"stt_faster_whisper: context is {options.context!r}; use full or short")
    for name, value, most in (("max_tokens", options.max_tokens, 224), ("cpu_threads", options.cpu_threads, 64)):
        if not 1 <= value <= most:
            raise ConfigError(f"stt_faster_whisper: {name} is {value}; use 1 to {most}")
    if options.device not in {"cpu", "cuda"}:
        raise ConfigError(f"stt_faster_whisper: device is {options.device!r}; use cpu or cuda")
    yield await lane.run(lambda: _open(options, lane), label="load")


def _open(options: Options, lane: Lane) -> FasterWhisper:
    folder = Path(options.model)
    for name in _FILES:
        if not (folder / name).is_file():
            raise ConfigError(
                f"stt_faster_whisper: there is no {folder / name}; a model folder holds {', '.join(_FILES)}"
            )
    short, window_s = _training(folder / "edgeapp.json")
    if options.context == "short" and not short:
        raise ConfigError(
            f'stt_faster_whisper: {folder} does not say that it was trained for short context; use context = "full", '
            'or, if it was, write {"short_context": true} into its edgeapp.json'
        )
    try:
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer
    except ImportError as error:
        raise ConfigError(
            "stt_faster_whisper needs the package faster-whisper: pip install 'edgeapp[voice]'"
        ) from error
    try:
        model = WhisperModel(
            str(folder),
            device=options.device,
            compute_type=options.compute_type,
            cpu_threads=options.cpu_threads,
            num_workers=1,
            local_files_only=True,
        )
    except Exception as error:  # the tokenizer's error class is bare Exception
        raise ConfigError(f"stt_faster_whisper: {folder} does not open ({error}); copy it again") from error
    known = model.supported_languages
    if options.language not in known:
        some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        raise ConfigError(
            f"stt_faster_whisper: {folder} does not know the language {options.language!r}; it has {some}"
        )
    tokenizer = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=options.language)
    if None in {tokenizer.sot, tokenizer.eot, tokenizer.no_timestamps}:
        raise ConfigError(f"stt_faster_whisper: {folder / 'tokenizer.json'} lacks Whisper's special tokens")
    _check_tokenizer(folder, model.hf_tokenizer, (tokenizer.sot, tokenizer.eot, tokenizer.no_timestamps))
    engine = FasterWhisper(model, tokenizer, options, window_s if options.context == "short" else _WINDOW_S, lane)
    try:
        engine.warm_up()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"stt_faster_whisper: {folder} is no Whisper model that runs here: {error}") from error
    return engine


def _check_tokenizer(folder: Path, tokenizer: Any, special: tuple[int, ...]) -> None:
    """Refuse a tokenizer of another model: it would turn right tokens into wrong words without any error."""
    words = _vocabulary(folder)
    size = tokenizer.get_vocab_size()
    mend = f"copy tokenizer.json and {_VOCABULARIES[0]} from the same model"
    if size > len(words):
        raise ConfigError(
            f"stt_faster_whisper: {folder / 'tokenizer.json'} has {size} tokens, its model knows {len(words)}; {mend}"
        )
    other = [number for number in range(size) if tokenizer.id_to_token(number) != words[number]]
    if len(other) > size * _RENAMED_SHARE or not set(other).isdisjoint(special):
        raise ConfigError(
            f"stt_faster_whisper: {folder / 'tokenizer.json'} belongs to another model, {len(other)} of its {size} tokens "
            f"are not this model's; {mend}"
        )


def _vocabulary(folder: Path) -> list[str]:
    """The tokens that the model was converted with. CTranslate2 has opened the model, so one of the files is there."""
    for name in _VOCABULARIES:
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            return list(json.loads(text)) if path.suffix == ".json" else text.rstrip("\n").split("\n")
    raise ConfigError(f"stt_faster_whisper: there is no {folder / _VOCABULARIES[0]}; copy the model again")


def _training(card: Path) -> tuple[bool, int]:
    """Whether the weights were trained for short context, and for how many seconds at once."""
    if not card.is_file():
        return False, _WINDOW_S
    try:
        said = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"stt_faster_whisper: {card} is not JSON ({error}); correct it") from error
    if not isinstance(said, dict):
        return False, _WINDOW_S
    window_s = said.get("window_s", _WINDOW_S)
    if not isinstance(window_s, int) or not _WINDOW_LEAST_S <= window_s <= _WINDOW_S:
        raise ConfigError(
            f"stt_faster_whisper: {card} has window_s {window_s!r}; use whole seconds, {_WINDOW_LEAST_S} to {_WINDOW_S}"
        )
    return said.get("short_context") is True, window_s


def _windows(samples: NDArray[np.int16], most: int) -> list[NDArray[np.int16]]:
    """Runs of at most `most` samples, cut where it is quietest (20 ms windows) in the last third before the limit."""
    frame = SAMPLE_RATE_HZ // 50
    seam = min(most // _SEAM_SHARE, _SEAM_MOST_SAMPLES) // frame * frame
    windows = []
    while samples.size > most:
        frames = samples[most - seam : most].reshape(-1, frame)
        quietest = int(np.square(frames.astype(np.float32)).mean(axis=1).argmin())
        cut = most - seam + quietest * frame + frame // 2
        windows.append(samples[:cut])
        samples = samples[cut:]
    return [*windows, samples] if samples.size else windows


def _plain(text: str) -> str:
    """Lower case, no punctuation but apostrophes, single spaces."""
    return " ".join("".join(sign if sign.isalnum() or sign == "'" else " " for sign in text.lower()).split())
