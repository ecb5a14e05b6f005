"""Human speech with no download: PocketSphinx with a grammar, decoding while the person speaks.

The wheel carries an acoustic model and a dictionary of US English. With a grammar it is right and fast (the text is ready
a few milliseconds after the last sample), but it forces whatever it hears into a sentence. So beside the sentences the
search network holds a loop over all phones (a garbage model: Wilpon et al. 1990, IEEE Trans. ASSP 38 (11)): speech that
the loop explains better, at a price for every phone, is not in the grammar, and its text is empty. One search scores
both, so the comparison is fair and costs no second decoder. In noise the loop
explains everything better, so an utterance that begins in noise is cleaned first (`core/denoise.py`) and meets a loop at
a higher price: halfway, or the whole way where the noise is strong. How the prices were measured: docs/LOG.md and `scripts/measure_pocketsphinx.py`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np

from edgeapp.core.denoise import Suppressor, noise_rms, speech_rms
from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, ConfigError, Transcript, Utterance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeapp.core.lane import Lane

T = TypeVar("T")
Arc = tuple[int, int, float] | tuple[int, int, float, str]

_BITE_SAMPLES: Final = SAMPLE_RATE_HZ  # decoded at once when an utterance is decoded from scratch: about 50 ms of work
_SUPPOSE_SAMPLES: Final = SAMPLE_RATE_HZ // 4  # the same for a second reading, which may be in the way of the first
_START_SAMPLES: Final = 3_072  # 192 ms: what tells the noise, within the pre-roll that begins an utterance
_SPEECH_RMS: Final = 650.0  # `speech_rms` of a person at arm's length, until one was heard
_STRONG_DB: Final = 16.0  # noise so much above what still counts as quiet is strong
_LEARN: Final = 0.3  # how fast a new speaker's loudness is learned
_GAIN_FLOOR: Final = 0.2
_GO_ON: Final = 0.01  # the probability that a person goes on where a sentence could have ended
_PHONE: Final = "phone_"  # begins the name of every word of the phone loop
_SILENT: Final = {"SIL"}
_HISSES: Final = {"S", "Z", "SH", "ZH", "CH", "JH"}
_VOICELESS: Final = {"P", "T", "K", "F", "TH"}
_NOTHING: Final = Transcript("", complete=False)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[stt]` of the configuration. At most one of grammar, sentences, keyphrase and lm; none means `use_grammar` comes."""

    grammar: str = ""
    """Path of a JSGF grammar with a public rule."""

    sentences: tuple[str, ...] = ()
    """The grammar as plain sentences."""

    keyphrase: str = ""
    """Listen for these words only, anywhere in the speech; three syllables or more, or it hears them everywhere."""

    lm: str = ""
    """Path of an n-gram language model (ARPA or its binary form): free speech, nothing is refused."""

    trigram: bool = False
    """Compute a trigram model from the sentences instead of holding people to them: their words in orders like theirs, in
    longer or other sentences, and nothing is refused. `complete` still says whether it is one of the sentences."""

    phone_loop: float = 1e-5
    """The probability of each phone of the loop beside the grammar: a larger one refuses more; 0 accepts everything."""

    noisy_phone_loop: float = 1e-10
    """The same in strong noise; in weaker noise it is their geometric mean."""

    keyphrase_gain: float = 1e10
    """How many times likelier than the next words a keyphrase in front of the grammar is taken: a larger one hears it more
    often, said or not. Plain sentences do not depend on it."""

    noisy_below_db: float = 28.0
    """How far above the noise speech must be, both pre-emphasised, for an utterance to count as quiet; 0 takes every one
    as quiet."""

    pronunciations: dict[str, str] = {}
    """Words that the dictionary lacks, with their sounds: `edgeapp = "EH JH AE P"`."""

    acoustic_model: str = ""
    """A folder with another acoustic model; empty means the wheel's US English."""

    dictionary: str = ""
    """Its dictionary."""

    max_utterance_s: float = 20.0
    """Speech that is longer is no sentence of a grammar and gives an empty text; raise it for free speech."""


class PocketSphinx:
    """One decoder on one lane, hearing one utterance at a time."""

    def __init__(self, make: Callable[[], Any], phones: Sequence[str], options: Options, lane: Lane) -> None:
        """`make` loads a decoder that knows all words and blocks."""
        self._another = make
        self._decoder = decoder = make()
        self._phones = phones
        self._options = options
        self._lane = lane
        self._one_at_a_time = asyncio.Lock()
        self._mean: str = decoder.get_cmn(False)  # of cepstra: the decoder learns the microphone's from what it hears
        self._searches: tuple[str, ...] = ()  # names: for quiet, noise and strong noise, or one for all; none yet
        self._names = 0
        self._accepts: Callable[[str], bool] = lambda _: False
        self._only_whole = False
        self._begun: frozenset[str] = frozenset()  # what a longer sentence begins with; empty for JSGF and free speech
        self._keyphrase: tuple[str, ...] = ()
        # The utterance: touched in the lane's thread only.
        self._number: int | None = None
        self._open = False
        self._heard = 0
        self._kept: list[NDArray[np.int16]] = []  # bounded by max_utterance_s
        self._decoding = False  # the decoder has begun; before that, the utterance's noise is not known yet
        self._suppressor: Suppressor | None = None
        self._speech_rms = _SPEECH_RMS
        # A second decoder that refuses least, for `suppose`; made with the first grammar that is given as sentences.
        self._second: Any = None
        self._second_search = ""
        self._supposing = asyncio.Lock()
        self._wider: frozenset[str] = frozenset()  # the sentences it knows
        self._supposed: tuple[int, Transcript] = (0, _NOTHING)  # utterance and its last reading

    async def hear(self, number: int, samples: NDArray[np.int16]) -> Transcript:
        """Take the next samples (int16, 16 kHz, any length) of utterance `number`, and return the text so far.

        The first call of an utterance starts with its pre-roll, as `Utterance.samples` does. Text is empty as long as
        nothing of the grammar fits. Raises BackendError if the decoder fails or has no grammar yet.
        """
        async with self._one_at_a_time:
            return await self._bite(partial(self._hear, number, samples))

    async def __call__(self, utterance: Utterance) -> Transcript:
        """The final text: of what was heard through `hear` plus what `utterance` has beyond it, or else from scratch.

        A person who goes on speaking may be heard further under the same number: what was heard is decoded again first.
        Raises BackendError if the decoder fails or has no grammar yet.
        """
        async with self._one_at_a_time:
            streamed = self._open and self._number == utterance.number
            rest = utterance.samples[self._heard if streamed else 0 :]
            if not streamed:
                await self._bite(partial(self._begin, utterance.number))
            while rest.size > _BITE_SAMPLES:
                await self._bite(partial(self._feed, rest[:_BITE_SAMPLES]))
                rest = rest[_BITE_SAMPLES:]
            return await self._bite(partial(self._finish, rest))

    async def suppose(self, number: int) -> Transcript:
        """What utterance `number` is so far if it must be a sentence: for speech that `hear` refused.

        Whether a person has finished shows in words, be they ones that would not be believed as an answer. A second
        decoder, which refuses only what is no speech like ours at all, reads the utterance from its beginning, in bites that let
        `hear` go before. Empty if it refuses too, or has heard nothing. Raises BackendError if it fails.
        """
        async with self._supposing:
            heard, at = list(self._kept), 0
            if self._second is None or number != self._number or not heard:
                return _NOTHING
            samples = np.concatenate(heard)
            try:
                await self._lane.run(self._second.start_utt, label="stt.suppose")
                try:
                    for at in range(0, samples.size, _SUPPOSE_SAMPLES):
                        piece = samples[at : at + _SUPPOSE_SAMPLES].tobytes()
                        await self._lane.run(partial(self._second.process_raw, piece), label="stt.suppose")
                finally:
                    await asyncio.shield(self._lane.run(self._second.end_utt, label="stt.suppose"))
            except RuntimeError as error:
                raise BackendError(f"stt_pocketsphinx failed: {error}") from error
            best = self._second.hyp()
            supposed = self._read(best.hypstr if best is not None else "", self._wider.__contains__)
            self._supposed = (number, supposed)
            return supposed

    async def use_grammar(self, grammar: Sequence[str] | str, keyphrase: str = "", rarer: Sequence[str] = ()) -> None:
        """Listen for these sentences (or this JSGF text) from now on; an utterance under way is heard again with them.

        `rarer` are sentences that are believed only where none of the others fits and `suppose` was asked: beside the
        common ones they would be heard too often. They are ignored with JSGF and without a phone loop.

        `keyphrase` may stand in front of a sentence, or alone, or before and behind speech that is in no grammar; a
        text then begins with it. `Transcript.complete` is about what follows it: alone it is not complete.
        Raises ConfigError, naming them, for words without a pronunciation, and for text that is no JSGF.
        """
        async with self._supposing, self._one_at_a_time:  # the second decoder must not lose its search in the middle
            await self._lane.run(partial(self._use_grammar, grammar, keyphrase), label="load")
            if self._options.phone_loop and not isinstance(grammar, str):
                sentences = tuple(dict.fromkeys((*grammar, *rarer)))
                await self._lane.run(partial(self._use_second, sentences, keyphrase), label="load")

    async def check_words(self, words: Sequence[str]) -> None:
        """Raise ConfigError, naming them, if some of these words have no pronunciation: a grammar of them would be refused."""
        async with self._one_at_a_time:
            await self._lane.run(partial(self.need_words, set(words), teach=False), label="load")

    async def forget(self) -> None:
        """Be as just loaded, but for the grammar: what was heard so far has taught nothing about the microphone."""
        async with self._one_at_a_time:
            await self._lane.run(self._forget, label="load")

    async def _bite(self, work: Callable[[], T]) -> T:
        if not self._searches:
            raise BackendError("stt_pocketsphinx has no grammar yet: give it one in its options or call use_grammar")
        try:
            return await self._lane.run(work, label="stt")
        except RuntimeError as error:
            self._open, self._decoding, self._number = False, False, None
            raise BackendError(f"stt_pocketsphinx failed: {error}") from error

    # From here on in the lane's thread

    def _hear(self, number: int, samples: NDArray[np.int16]) -> Transcript:
        if number != self._number:
            self._begin(number)
        elif not self._open:
            before = self._kept
            self._begin(number)
            for each in before:
                self._feed(each)
        self._feed(samples)
        return self._text()

    def _begin(self, number: int) -> None:
        self._close()
        self._number, self._heard, self._kept = number, 0, []
        self._open = True

    def _close(self) -> None:
        self._open = False
        if self._decoding:
            self._decoding = False
            self._decoder.end_utt()

    def _feed(self, samples: NDArray[np.int16]) -> None:
        self._heard += samples.size
        if not samples.size or self._too_long():
            return
        self._kept.append(samples)
        if self._decoding:
            self._decode(samples)
        elif self._heard >= _START_SAMPLES:
            self._start_decoding()

    def _start_decoding(self) -> None:
        """Choose the search by the noise that the utterance begins with, and decode what was heard so far."""
        heard = np.concatenate(self._kept)
        start = heard[:_START_SAMPLES]
        noise = self._noise_of(start) if start.size == _START_SAMPLES else 0
        self._suppressor = Suppressor(start, _GAIN_FLOOR) if noise else None
        self._decoder.activate_search(self._searches[min(noise, len(self._searches) - 1)])
        self._decoder.start_utt()
        self._decoding = True
        self._decode(heard)

    def _noise_of(self, start: NDArray[np.int16]) -> int:
        """0 in quiet, 1 in noise, 2 in strong noise."""
        above_db = 20 * np.log10(self._speech_rms / max(noise_rms(start), 1.0))
        quiet_db = self._options.noisy_below_db
        return 0 if quiet_db == 0 else int(above_db < quiet_db) + int(above_db < quiet_db - _STRONG_DB)

    def _decode(self, samples: NDArray[np.int16]) -> None:
        clean = samples if self._suppressor is None else self._suppressor.push(samples)
        if clean.size:
            self._decoder.process_raw(clean.tobytes())

    def _too_long(self) -> bool:
        return self._heard > self._options.max_utterance_s * SAMPLE_RATE_HZ

    def _finish(self, rest: NDArray[np.int16]) -> Transcript:
        self._feed(rest)
        if self._kept and not self._decoding:
            self._start_decoding()
        if not self._decoding:
            self._close()
            return _NOTHING
        if self._suppressor is not None and (held := self._suppressor.flush()).size:
            self._decoder.process_raw(held.tobytes())
        self._close()
        final = self._text()
        number, supposed = self._supposed
        if number == self._number and supposed.complete and not self._accepts(supposed.text):
            more = supposed.text.startswith(f"{final.text} ")  # "hello" alone leaves out what followed it
            if more or not final.complete:
                return supposed
        if self._only_whole and not final.complete:
            called = _behind(final.text.split(), self._keyphrase) is not None
            return Transcript(" ".join(self._keyphrase), complete=False) if called else _NOTHING
        if final.text:
            self._speech_rms += _LEARN * (speech_rms(np.concatenate(self._kept)) - self._speech_rms)
        return final

    def _text(self) -> Transcript:
        best = self._decoder.hyp() if self._decoding or not self._open else None
        text = best.hypstr if best is not None and not self._too_long() else ""
        if self._options.keyphrase:
            said = any(not word.startswith(_PHONE) for word in text.split())
            return Transcript(self._options.keyphrase, complete=True) if said else _NOTHING
        return self._read(text)

    def _read(self, text: str, accepts: Callable[[str], bool] | None = None) -> Transcript:
        """A decoder's words as a transcript: empty where the phone loop explained them better."""
        words = text.split()
        behind = _behind(words, self._keyphrase)
        sentence = " ".join(words if behind is None else behind)
        if _PHONE in sentence:
            sentence = ""
        complete = bool(sentence) and (accepts or self._accepts)(sentence)
        # With a grammar an unfinished text is the beginning of a sentence, whichever way the grammar was given.
        may_go_on = bool(sentence) and (sentence in self._begun or (self._only_whole and not complete))
        if behind is None:
            return Transcript(sentence, complete, may_go_on=may_go_on) if sentence else _NOTHING
        return Transcript(
            " ".join([*self._keyphrase, *sentence.split()]), complete, may_go_on=may_go_on or not sentence
        )

    def _use_grammar(self, grammar: Sequence[str] | str, keyphrase: str = "") -> None:
        if self._options.trigram:
            self._use_trigram(grammar, keyphrase)
            return
        arcs, start, final = self._arcs_of_jsgf(grammar) if isinstance(grammar, str) else _arcs_of_sentences(grammar)
        words = {arc[3] for arc in arcs if len(arc) == 4}
        if not words:
            raise ConfigError("stt_pocketsphinx: the grammar has no words; give it at least one sentence")
        called = tuple(keyphrase.split())
        self.need_words(words | set(called))
        plain = self._decoder.create_fsg("plain", start, final, arcs)
        state = 1 + max(max(arc[0], arc[1]) for arc in arcs)
        names = []
        quiet, noisy = self._options.phone_loop, self._options.noisy_phone_loop
        for price in (quiet, (quiet * noisy) ** 0.5, noisy):
            loop = self._phone_loop(start, final, state, price) if self._options.phone_loop else []
            opening = self._opening(called, (start, final), state + 1, price) if called else []
            begin = opening[0][0] if opening else start
            network = self._decoder.create_fsg(name := self._new_name(), begin, final, arcs + loop + opening)
            self._decoder.add_fsg(name, network)
            names.append(name)
        self.activate(*names)
        self._accepts, self._only_whole, self._keyphrase = plain.accept, True, called
        self._begun = frozenset() if isinstance(grammar, str) else _beginnings(grammar)

    def _use_second(self, sentences: Sequence[str], keyphrase: str) -> None:
        """Give the second decoder these sentences beside the phone loop that refuses least."""
        self._second = second = self._second or self._another()
        _teach_plurals(second, {word for sentence in sentences for word in sentence.split()})
        arcs, start, final = _arcs_of_sentences(sentences)
        state, called, price = (
            1 + max(max(arc[0], arc[1]) for arc in arcs),
            tuple(keyphrase.split()),
            self._options.noisy_phone_loop,
        )
        loop = self._phone_loop(start, final, state, price)
        opening = self._opening(called, (start, final), state + 1, price) if called else []
        begin = opening[0][0] if opening else start
        second.add_fsg(name := self._new_name(), second.create_fsg(name, begin, final, arcs + loop + opening))
        second.activate_search(name)
        if self._second_search:
            second.remove_search(self._second_search)
        self._second_search = name
        self._wider, self._supposed = frozenset(sentences), (0, _NOTHING)
        self._begun |= _beginnings(sentences)

    def _use_trigram(self, sentences: Sequence[str] | str, keyphrase: str) -> None:
        from pocketsphinx.lm import ArpaBoLM

        known = () if isinstance(sentences, str) else tuple(each for each in sentences if each.split())
        if not known:
            raise ConfigError("stt_pocketsphinx: a trigram model is computed from sentences; give it at least one")
        said = (*known, keyphrase, *(f"{keyphrase} {each}" for each in known)) if keyphrase else known
        self.need_words({word for sentence in said for word in sentence.split()})
        model = ArpaBoLM(text="\n".join(said), add_start=True)
        model.compute()
        with tempfile.TemporaryDirectory() as folder:
            model.write_file(path := str(Path(folder) / "sentences.lm"))
            self._decoder.add_lm_file(name := self._new_name(), path)
        self.activate(name)
        self._accepts, self._only_whole, self._begun = set(known).__contains__, False, frozenset()
        self._keyphrase = tuple(keyphrase.split())

    def listen_for(self, words: Sequence[str]) -> None:
        """A network of any phones, the words, any phones; or of any phones alone."""
        self.need_words(set(words))
        start, final, after = 0, 1, 1 + len(words)
        states = (start, *range(2, after + 1))
        arcs: list[Arc] = [
            (here, there, 1.0, word) for here, there, word in zip(states[:-1], states[1:], words, strict=True)
        ]
        for state in (start, after):
            arcs += [(state, state, self._options.phone_loop, _PHONE + phone.lower()) for phone in self._phones]
            arcs.append((state, final, 1.0))
        self._decoder.add_fsg(name := self._new_name(), self._decoder.create_fsg(name, start, final, arcs))
        self.activate(name)

    def _opening(self, words: tuple[str, ...], sentences: tuple[int, int], state: int, price: float) -> list[Arc]:
        """Arcs in front of `sentences` (start, final): nothing, or the keyphrase, perhaps behind other speech."""
        start, final = sentences
        before, after = state + 1, state + 1 + len(words)
        arcs: list[Arc] = [(state, start, 1.0), (state, before, 1.0)]
        if self._options.phone_loop:
            arcs += [(before, before, price, _PHONE + phone.lower()) for phone in self._phones]
        arcs.append((before, before + 1, self._options.keyphrase_gain, words[0]))
        arcs += [(before + n, before + n + 1, 1.0, word) for n, word in enumerate(words) if n]
        return [*arcs, (after, start, 1.0), (after, final, 1.0)]

    def _phone_loop(self, start: int, final: int, state: int, price: float) -> list[Arc]:
        """Arcs of a loop over all phones from `start` to `final` through the new state `state`."""
        loop: list[Arc] = [(state, state, price, _PHONE + phone.lower()) for phone in self._phones]
        return [(start, state, 1.0), *loop, (state, final, 1.0)]

    def _arcs_of_jsgf(self, text: str) -> tuple[list[Arc], int, int]:
        try:
            network = self._decoder.parse_jsgf(text)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"stt_pocketsphinx: the grammar is not JSGF with a public rule ({error})") from error
        with tempfile.TemporaryDirectory() as folder:
            network.writefile(str(Path(folder) / "grammar.fsg"))
            lines = (Path(folder) / "grammar.fsg").read_text(encoding="utf-8").splitlines()
        fields = [line.split() for line in lines]
        arcs: list[Arc] = [
            (int(each[1]), int(each[2]), float(each[3]), *each[4:5])  # type: ignore[misc]
            for each in fields
            if each and each[0] == "TRANSITION"
        ]
        state = {each[0]: int(each[1]) for each in fields if each and each[0] in {"START_STATE", "FINAL_STATE"}}
        return arcs, state["START_STATE"], state["FINAL_STATE"]

    def need_words(self, words: set[str], *, teach: bool = True) -> None:
        """Raises ConfigError naming those that have no pronunciation; plurals are made out of their singulars."""
        if teach:
            _teach_plurals(self._decoder, words)
        missing = sorted(word for word in words if not _sounds_of(self._decoder, word))
        if missing:
            named = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            raise ConfigError(
                f"stt_pocketsphinx: the dictionary has no pronunciation of {named}; "
                "use other words, or give their sounds in `pronunciations`"
            )

    def _new_name(self) -> str:
        self._names += 1
        return f"search{self._names}"

    def activate(self, *names: str) -> None:
        """Search with these from now on (for quiet, noise and strong noise, or one for all); forget those before them."""
        self._close()
        self._decoder.activate_search(names[0])
        for before in self._searches:
            self._decoder.remove_search(before)
        self._searches = names

    def _forget(self) -> None:
        self._close()
        self._decoder.set_cmn(self._mean)
        self._speech_rms = _SPEECH_RMS
        self._number, self._heard, self._kept = None, 0, []

    def warm_up(self) -> None:
        """Decode a third of a second of faint noise, and forget it."""
        if not self._searches:
            return
        self._begin(0)
        self._finish(np.random.default_rng(0).integers(-30, 30, SAMPLE_RATE_HZ // 3).astype(np.int16))
        self._forget()


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[PocketSphinx]:
    """Load the acoustic model and the grammar, and decode a moment of noise.

    Raises ConfigError for a missing package or file, a grammar that does not parse, words without a pronunciation,
    or more than one of grammar, sentences, keyphrase and lm.
    """
    given = [name for name in ("grammar", "sentences", "keyphrase", "lm") if getattr(options, name)]
    if len(given) > 1:
        raise ConfigError(f"stt_pocketsphinx: {' and '.join(given)} exclude each other; keep one")
    if options.trigram and (options.keyphrase or options.lm or options.grammar):
        raise ConfigError("stt_pocketsphinx: trigram is computed from sentences; leave out grammar, keyphrase and lm")
    if not 0 <= options.phone_loop <= 1:
        raise ConfigError(f"stt_pocketsphinx: phone_loop is {options.phone_loop}; use a probability from 0 to 1")
    if not 0 < options.noisy_phone_loop <= 1:
        raise ConfigError(
            f"stt_pocketsphinx: noisy_phone_loop is {options.noisy_phone_loop}; use a probability above 0 and up to 1"
        )
    if not 0 < options.keyphrase_gain <= 1e30:
        raise ConfigError(
            f"stt_pocketsphinx: keyphrase_gain is {options.keyphrase_gain}; use a number above 0 up to 1e30"
        )
    if options.keyphrase and options.phone_loop == 0:
        raise ConfigError("stt_pocketsphinx: a keyphrase is found among other sounds, so phone_loop must be above 0")
    if not 1 <= options.max_utterance_s <= 600:
        raise ConfigError(f"stt_pocketsphinx: max_utterance_s is {options.max_utterance_s}; use 1 to 600")
    for path in (options.grammar, options.lm, options.dictionary):
        if path and not Path(path).is_file():
            raise ConfigError(f"stt_pocketsphinx: there is no file {path}; give the path of one")
    yield await lane.run(lambda: _open(options, lane), label="load")


def _open(options: Options, lane: Lane) -> PocketSphinx:
    try:
        import pocketsphinx
    except ImportError as error:
        raise ConfigError("stt_pocketsphinx needs the package pocketsphinx: pip install 'edgeapp[voice]'") from error
    model = options.acoustic_model or pocketsphinx.get_model_path("en-us/en-us")
    dictionary = options.dictionary or pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")
    phones = _phones_of(Path(dictionary))
    for word, sounds in options.pronunciations.items():
        if not sounds.split() or not set(sounds.split()) <= set(phones):
            raise ConfigError(
                f"stt_pocketsphinx: pronunciations: {word} is {sounds!r}; use sounds of {' '.join(phones)}"
            )

    def decoder() -> Any:
        # The second passes change little on a small grammar and cost most of the time after the last sample.
        made = pocketsphinx.Decoder(
            hmm=model, dict=dictionary, lm=None, samprate=SAMPLE_RATE_HZ, fwdflat=False, bestpath=False,
            loglevel="FATAL",
        )  # fmt: skip
        for word, sounds in options.pronunciations.items():
            made.add_word(word, sounds, False)
        for phone in phones:
            made.add_word(_PHONE + phone.lower(), phone, False)
        return made

    try:
        engine = PocketSphinx(decoder, phones, options, lane)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"stt_pocketsphinx: {model} and {dictionary} are not a readable model ({error})") from error
    _choose(engine, engine._decoder, options)  # noqa: SLF001 - the same file
    engine.warm_up()
    return engine


def _choose(engine: PocketSphinx, decoder: Any, options: Options) -> None:
    """Activate what the options ask for."""
    if options.grammar:
        try:
            text = Path(options.grammar).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"stt_pocketsphinx: cannot read {options.grammar}: {error}") from error
        engine._use_grammar(text)  # noqa: SLF001 - the same file
    elif options.sentences:
        engine._use_grammar(options.sentences)  # noqa: SLF001
    elif options.keyphrase:
        engine.listen_for(options.keyphrase.split())
    elif options.lm:
        try:
            decoder.add_lm_file("lm", options.lm)
        except RuntimeError as error:
            raise ConfigError(f"stt_pocketsphinx: {options.lm} is not a readable language model ({error})") from error
        engine.activate("lm")


def _teach_plurals(decoder: Any, words: set[str]) -> None:
    """Give plurals that the dictionary lacks the sounds of their singulars and an ending: "burrs" is "B ER Z"."""
    for word in sorted(words):
        if decoder.lookup_word(word) is None and (sounds := _sounds_of(decoder, word)):
            decoder.add_word(word, sounds, False)


def _sounds_of(decoder: Any, word: str) -> str:
    """The dictionary's phones, or those made out of the singular's; empty if there are none."""
    if (sounds := decoder.lookup_word(word)) is not None or not word.endswith("s"):
        return sounds or ""
    one = decoder.lookup_word(word[:-2]) if word.endswith("es") else None
    if not (sounds := one or decoder.lookup_word(word[:-1])):
        return ""
    last = sounds.split()[-1]
    return f"{sounds} {'AH Z' if last in _HISSES else 'S' if last in _VOICELESS else 'Z'}"


def _phones_of(dictionary: Path) -> list[str]:
    """All phones that the dictionary's pronunciations use."""
    with dictionary.open(encoding="utf-8") as lines:
        return sorted({phone for line in lines for phone in line.split()[1:]} - _SILENT)


def _beginnings(sentences: Sequence[str]) -> frozenset[str]:
    """Every run of words, at least one and not all, that one of the sentences begins with."""
    split = [sentence.split() for sentence in sentences]
    return frozenset(" ".join(words[:count]) for words in split for count in range(1, len(words)))


def _behind(words: list[str], keyphrase: tuple[str, ...]) -> list[str] | None:
    """The words that follow the keyphrase; None without it."""
    size = len(keyphrase)
    places = range(len(words) - size + 1) if size else ()
    return next((words[n + size :] for n in places if tuple(words[n : n + size]) == keyphrase), None)


def _arcs_of_sentences(sentences: Sequence[str]) -> tuple[list[Arc], int, int]:
    """A network (arcs, start state, final state) in which sentences share their beginnings, and what follows is shared too.

    It is the minimal automaton of the sentences, so "hello" before each of them costs a few arcs and not a second network.
    To go on where a sentence could have ended has the probability `_GO_ON`.
    """
    final = 1
    states: dict[frozenset[tuple[str, ...]], int] = {}
    arcs: list[Arc] = []

    def state_of(rests: frozenset[tuple[str, ...]]) -> int:
        """The state from which exactly these rests lead to the end."""
        if rests in states:
            return states[rests]
        state = states[rests] = 0 if not states else 1 + len(states)
        whole = () in rests
        by_word: dict[str, set[tuple[str, ...]]] = {}
        for first, *others in sorted(filter(None, rests)):
            by_word.setdefault(first, set()).add(tuple(others))
        for word, after in by_word.items():
            price = _GO_ON if whole else 1.0
            if () in after:
                arcs.append((state, final, price, word))
            if after - {()}:
                arcs.append((state, state_of(frozenset(after)), price, word))
        return state

    return arcs, state_of(frozenset(tuple(sentence.split()) for sentence in sentences if sentence.split())), final
