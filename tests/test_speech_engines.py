"""What single speech engines do beyond the common contract, on real input: the demo's clips, one voice of a person each."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_piper
import tiny_whisper
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, Clause, ConfigError, Transcript, Utterance
from edgeapp.core.lane import Lane
from edgeapp.demo.kiosk import recorded_questions
from edgeapp.engines import stt_faster_whisper, stt_pocketsphinx, tts_espeak, tts_piper, vad_silero
from edgeapp.voice.content import DAYS, ZONES, load_content
from edgeapp.voice.grammar import Grammar, grammar_of, kiosk_grammar, normalise

Samples = NDArray[np.int16]
ASSETS = Path(__file__).parent.parent / "edgeapp" / "assets"
INDEX: list[dict[str, Any]] = tomllib.loads((ASSETS / "questions" / "questions.toml").read_text())["questions"]


def grammar() -> Grammar:
    """The default kiosk's."""
    content = load_content(ASSETS / "kiosk.toml")
    return kiosk_grammar([item.name for item in content.items], DAYS, ZONES)


def clip(text: str) -> tuple[Samples, int]:
    """A recorded question and the index after its last voiced sample."""
    entry = next(each for each in INDEX if each["text"] == text)
    samples, rate_hz = soundfile.read(ASSETS / "questions" / entry["file"], dtype="int16")
    assert rate_hz == SAMPLE_RATE_HZ
    return samples, round(entry["last_voiced_ms"] * SAMPLE_RATE_HZ / 1000)


@asynccontextmanager
async def opened(module: Any, **options: Any) -> AsyncIterator[Any]:
    """An engine on a lane of its own."""
    lane = Lane("test")
    try:
        async with module.load(module.Options(**options), lane) as engine:
            yield engine
    finally:
        lane.close()


async def hear_all(stt: Any, number: int, samples: Samples) -> list[Transcript]:
    """Every partial of 32 ms steps."""
    return [await stt.hear(number, samples[start : start + 512]) for start in range(0, samples.size, 512)]


# The grammar


def test_the_grammar_is_patterns_times_names() -> None:
    made = kiosk_grammar(["hammer", "Light-Bulb"], ["monday"], ["rear left"])
    assert len(made.sentences) == 2 * 6 + 3 + 2 + 10
    assert made.is_sentence("  How much is the light bulb? ")
    assert made.is_sentence("rear left")
    assert not made.is_sentence("rear right")
    assert not made.is_sentence("")
    assert "bulb" in made.words()
    assert "| where is the light bulb" in made.jsgf()


def test_sentences_are_normalised_once() -> None:
    assert grammar_of(["Hello!", "hello", " ", "what's  up"]).sentences == ("hello", "what's up")
    assert normalise("'Rock-n'-roll'") == "rock n roll"


# The clips


def test_the_index_says_who_speaks_and_when_it_ends() -> None:
    assert len(INDEX) >= 10
    assert sum(each["human"] for each in INDEX) >= 2
    assert sum(path.stat().st_size for path in (ASSETS / "questions").iterdir()) < 1_500_000
    for entry in INDEX:
        samples, end = clip(entry["text"])
        assert entry["licence"]
        assert end + SAMPLE_RATE_HZ // 2 <= samples.size
        speech, after = samples[end - 1600 : end].astype(float), samples[end:].astype(float)
        assert speech.std() > 1.5 * after.std()


# Voice activity


@pytest.mark.real_time
async def test_streamed_activity_equals_one_run_over_everything() -> None:
    import onnxruntime

    samples, end = clip("rear right")
    chunks = samples[: samples.size // 512 * 512].reshape(-1, 512)
    async with opened(vad_silero) as vad:
        streamed = [await vad(chunk) for chunk in chunks]
        with pytest.raises(ValueError, match="512"):
            await vad(samples[:100])
    audio = chunks.astype(np.float32) / 32768
    before = np.concatenate([np.zeros((1, 64), np.float32), audio[:-1, -64:]])
    zero = np.zeros((1, 1, 128), np.float32)
    batch = onnxruntime.InferenceSession(str(vad_silero.carried_model())).run(
        None, {"input": np.concatenate([before, audio], axis=1), "h": zero, "c": zero}
    )[0]
    assert streamed == pytest.approx(batch.ravel().tolist(), abs=1e-5)
    assert max(streamed[: SAMPLE_RATE_HZ // 512 // 4]) < 0.5
    assert max(streamed[: end // 512]) > 0.9
    assert streamed[-1] < 0.1


# PocketSphinx


@pytest.mark.real_time
async def test_recorded_questions_are_heard_while_they_are_spoken() -> None:
    async with opened(stt_pocketsphinx, sentences=grammar().sentences) as stt:
        for number, text in enumerate(("rear right", "where is the hammer", "thank you")):
            samples, end = clip(text)
            partials = await hear_all(stt, number, samples[: end + 1024])
            assert await stt(Utterance(number, samples[: end + 1024], 0)) == Transcript(text, complete=True)
            assert partials[0] == Transcript("", complete=False)
            assert Transcript(text, complete=True) in partials


@pytest.mark.real_time
async def test_from_scratch_it_hears_the_same() -> None:
    samples, end = clip("front center")
    async with opened(stt_pocketsphinx, sentences=grammar().sentences) as stt:
        assert (await stt(Utterance(1, samples[: end + 1024], 0))).text == "front center"
        await hear_all(stt, 2, samples[: end // 2])
        assert (await stt(Utterance(2, samples[: end + 1024], 0))).text == "front center", "the rest is added"
        await hear_all(stt, 3, samples[: end // 2])
        assert (await stt(Utterance(4, samples[: end + 1024], 0))).text == "front center", "another utterance is not"


@pytest.mark.real_time
async def test_a_person_may_go_on_after_a_final() -> None:
    samples, end = clip("where is the hammer")
    middle = end * 2 // 3
    async with opened(stt_pocketsphinx, sentences=grammar().sentences) as stt:
        await hear_all(stt, 1, samples[:middle])
        assert (await stt(Utterance(1, samples[:middle], 0))).text != "where is the hammer"
        await hear_all(stt, 1, samples[middle : end + 1024])
        assert (await stt(Utterance(1, samples[: end + 1024], 0))).text == "where is the hammer"


@pytest.mark.real_time
async def test_speech_outside_the_grammar_is_refused() -> None:
    samples, end = clip("what does the paint brush cost")
    person, person_end = clip("side left")
    async with opened(stt_pocketsphinx, sentences=("hello", "where is the ladder", "rear right")) as stt:
        assert await stt(Utterance(1, samples[: end + 1024], 0)) == Transcript("", complete=False)
        assert await stt(Utterance(2, person[: person_end + 1024], 0)) == Transcript("", complete=False)
        assert (await stt(Utterance(3, np.tile(samples, 10), 0))).text == "", "nobody asks for 20 s"
    async with opened(stt_pocketsphinx, sentences=("hello", "where is the ladder"), phone_loop=0.0) as stt:
        assert (await stt(Utterance(1, samples[: end + 1024], 0))).text, "without the loop it takes anything"


@pytest.mark.real_time
async def test_the_grammar_can_change_at_run_time() -> None:
    samples, end = clip("rear right")
    heard = samples[: end + 1024]
    async with opened(stt_pocketsphinx) as stt:
        with pytest.raises(BackendError, match="no grammar"):
            await stt.hear(1, heard)
        await stt.use_grammar(["hello"])
        await hear_all(stt, 1, heard[: end // 2])
        await stt.use_grammar(
            "#JSGF V1.0;\ngrammar zones;\n<side> = left | right;\npublic <zone> = (front | rear) <side>;"
        )
        await hear_all(stt, 1, heard[end // 2 :])
        assert await stt(Utterance(1, heard, 0)) == Transcript("rear right", complete=True)


@pytest.mark.real_time
async def test_a_keyphrase_may_stand_in_front_of_the_grammar() -> None:
    """One person says it alone, in one breath with a question, behind and before other speech, and not at all."""
    sentences = tuple(each for each in grammar().sentences if each != "front center")
    called, asked, other = (clip(text)[0][2_000:-9_000] for text in ("front center", "rear right", "goodbye"))
    still = np.random.default_rng(0).integers(-10, 10, SAMPLE_RATE_HZ // 3).astype(np.int16)
    without_goodbye = tuple(each for each in sentences if each != "goodbye")
    async with opened(stt_pocketsphinx) as stt:
        await stt.use_grammar(without_goodbye, "front center")
        for number, (parts, heard) in enumerate(
            (
                ((called,), Transcript("front center", complete=False)),
                ((called, asked), Transcript("front center rear right", complete=True)),
                ((other, called, asked), Transcript("front center rear right", complete=True)),
                ((called, other), Transcript("front center", complete=False)),
                ((asked,), Transcript("rear right", complete=True)),
                ((other,), Transcript("", complete=False)),
            ),
            1,
        ):
            samples = np.concatenate([still, *parts, still])
            await hear_all(stt, number, samples)
            assert await stt(Utterance(number, samples, 0)) == heard, number
        with pytest.raises(ConfigError, match="zzyzx"):
            await stt.use_grammar(sentences, "hey zzyzx")
        await stt.use_grammar(sentences)
        samples = np.concatenate([still, called, asked, still])
        assert "center" not in (await stt(Utterance(9, samples, 0))).text


@pytest.mark.real_time
async def test_a_file_a_keyphrase_and_a_language_model(tmp_path: Path) -> None:
    samples, end = clip("front center")
    said = Utterance(1, samples[: end + 1024], 0)
    (tmp_path / "zones.gram").write_text(grammar().jsgf())
    async with opened(stt_pocketsphinx, grammar=str(tmp_path / "zones.gram")) as stt:
        assert await stt(said) == Transcript("front center", complete=True)
    async with opened(stt_pocketsphinx, keyphrase="front center") as stt:
        assert await stt(said) == Transcript("front center", complete=True)
        assert (await stt(Utterance(2, clip("hello")[0], 0))).text == ""
    (tmp_path / "words.lm").write_text(
        "\\data\\\nngram 1=5\n\n\\1-grams:\n-0.6 </s>\n-99 <s>\n-0.6 front\n-0.6 center\n-0.6 left\n\n\\end\\\n"
    )
    async with opened(stt_pocketsphinx, lm=str(tmp_path / "words.lm")) as stt:
        assert await stt(said) == Transcript("front center", complete=False)


def in_noise(text: str, kind: str) -> Utterance:
    """A recorded question with noise 15 dB below it, up to 64 ms after its last voiced sample."""
    samples, end = clip(text)
    speech = samples[: end + 1024].astype(np.float64)
    noise = np.random.default_rng(1).normal(size=speech.size)
    if kind == "hum":
        noise = np.sin(np.arange(speech.size) * 2 * np.pi * 100 / SAMPLE_RATE_HZ) + 0.3 * noise
    noise *= speech[4_800:end].std() / noise.std() * 10 ** (-15 / 20)
    return Utterance(1, np.clip(speech + noise, -32767, 32767).astype(np.int16), 0)


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["white", "hum"])
async def test_it_hears_and_refuses_in_noise(kind: str) -> None:
    sentences = grammar().sentences
    async with opened(stt_pocketsphinx, sentences=sentences) as stt:
        said = in_noise("where is the hammer", kind)
        assert await stt(said) == Transcript("where is the hammer", complete=True)
        await stt.forget()
        await hear_all(stt, 2, said.samples)
        assert (await stt(Utterance(2, said.samples, 0))).text == "where is the hammer", "while it is spoken too"
    async with opened(stt_pocketsphinx, sentences=("hello", "where is the ladder", "rear right")) as stt:
        assert (await stt(in_noise("what does the paint brush cost", kind))).text == ""


@pytest.mark.real_time
async def test_a_trigram_model_hears_the_words_in_another_order() -> None:
    samples, end = clip("where is the hammer")
    said = Utterance(1, samples[: end + 1024], 0)
    corpus = ("where is the ladder", "how much is the hammer", "thank you")
    async with opened(stt_pocketsphinx, sentences=corpus, trigram=True) as stt:
        assert await stt(said) == Transcript("where is the hammer", complete=False)
        await stt.use_grammar((*corpus, "where is the hammer"))
        assert (await stt(said)).complete
        with pytest.raises(ConfigError, match="computed from sentences"):
            await stt.use_grammar("#JSGF V1.0; grammar a; public <a> = hello;")
    with pytest.raises(ConfigError, match="trigram"):
        async with opened(stt_pocketsphinx, keyphrase="hello kiosk", trigram=True):
            pass
    with pytest.raises(ConfigError, match="noisy_phone_loop"):
        async with opened(stt_pocketsphinx, noisy_phone_loop=0.0):
            pass


@pytest.mark.real_time
async def test_a_word_can_be_taught() -> None:
    async with opened(
        stt_pocketsphinx, sentences=("where is the zzyzx",), pronunciations={"zzyzx": "Z AY Z IH K S"}
    ) as stt:
        assert (await stt(Utterance(1, clip("hello")[0], 0))).text == ""


# Whisper


class Watched:
    """A model that writes down the shapes of what it encodes."""

    def __init__(self, model: Any, seen: list[tuple[int, ...]]) -> None:
        self.model, self.feature_extractor = model.model, model.feature_extractor
        self._encode, self._seen = model.encode, seen

    def encode(self, features: NDArray[np.float32]) -> Any:
        self._seen.append(features.shape)
        return self._encode(features)


@pytest.mark.real_time
async def test_short_context_encodes_whole_seconds_and_full_context_thirty(tmp_path: Path) -> None:
    folder = tiny_whisper.build(tmp_path, short_context=True)
    seen: list[tuple[int, ...]] = []
    for context in ("full", "short"):
        async with opened(stt_faster_whisper, model=str(folder), context=context) as whisper:
            whisper._model = Watched(whisper._model, seen)
            for seconds in (0.15, 2.5, 70):
                await whisper(Utterance(1, np.zeros(round(seconds * SAMPLE_RATE_HZ), np.int16), 0))
    full, short = seen[:5], seen[5:]
    assert set(full) == {(80, 3000)}
    assert [frames for _, frames in short][:2] == [200, 300]
    assert len(short) == 5
    assert all(frames <= 3000 for _, frames in short)


@pytest.mark.real_time
async def test_hotwords_and_a_prompt_change_the_decode(tmp_path: Path) -> None:
    folder = tiny_whisper.build(tmp_path)
    lane = Lane("test")
    lengths = []
    for hotwords, before in (("", ""), ("hammer", ""), ("", "At Miller Tools.")):
        options = stt_faster_whisper.Options(model=str(folder), hotwords=hotwords, initial_prompt=before)
        async with stt_faster_whisper.load(options, lane) as whisper:
            lengths.append(len(whisper._prompt))
    lane.close()
    assert lengths[0] < lengths[1] < lengths[2]


# Voices


@pytest.mark.real_time
async def test_piper_has_one_loudness_for_all_clauses(tmp_path: Path) -> None:
    voice = tiny_piper.build(tmp_path)
    async with opened(tts_piper, voice=str(voice)) as piper:
        assert piper.gain == pytest.approx(0.7 / 0.2, rel=0.01), "the tones have an amplitude of 0.2"
        parts = [part async for part in await piper(Clause("Yes, the hammer is here, it costs 12 euros."))]
        assert len(parts) == 3
        peaks = [int(part.samples.max()) for part in parts]
        assert max(peaks) - min(peaks) < 330
    async with opened(tts_piper, voice=str(voice), gain=100.0) as piper:
        loud = await anext(aiter(await piper(Clause("Yes."))))
        assert loud.samples.max() == 32767


@pytest.mark.real_time
async def test_espeak_gain_rate_and_voices() -> None:
    async def spoken(**options: Any) -> Samples:
        async with opened(tts_espeak, **options) as voice:
            return np.concatenate([part.samples async for part in await voice(Clause("The hammer is here."))])

    normal = await spoken()
    quiet = await spoken(gain=0.2)
    assert np.abs(quiet.astype(int)).max() == pytest.approx(np.abs(normal.astype(int)).max() / 4, rel=0.05)
    assert (await spoken(words_per_minute=300)).size < 0.8 * normal.size
    assert (await spoken(voice="de")).size != normal.size


@pytest.mark.parametrize("most_s", [2, 5, 30])
def test_a_long_utterance_is_cut_where_it_is_quiet(most_s: int) -> None:
    samples = np.random.default_rng(0).integers(-3_000, 3_000, 41 * SAMPLE_RATE_HZ).astype(np.int16)
    quiet = int(0.9 * most_s * SAMPLE_RATE_HZ)
    samples[quiet : quiet + SAMPLE_RATE_HZ // 10] = 0
    windows = stt_faster_whisper._windows(samples, most_s * SAMPLE_RATE_HZ)
    assert np.array_equal(np.concatenate(windows), samples)
    assert max(window.size for window in windows) <= most_s * SAMPLE_RATE_HZ
    assert quiet <= windows[0].size <= quiet + SAMPLE_RATE_HZ // 10


@pytest.mark.real_time
async def test_a_greeting_in_front_of_a_question_is_believed_by_the_second_reading_alone() -> None:
    clips = {each.text: each for each in recorded_questions()}
    hello, question = clips["hello"], clips["where is the hammer"]
    said = np.concatenate([hello.samples[: hello.last_voiced + 1_500], question.samples[3_200:]])
    plain = ("hello", "where is the hammer", "where is the ladder")
    lane = Lane("stt")
    async with stt_pocketsphinx.load(stt_pocketsphinx.Options(), lane) as stt:
        await stt.use_grammar(plain, rarer=("hello where is the hammer", "hello where is the ladder"))
        for number, asked in ((1, False), (2, True)):
            await stt.hear(number, said)
            if asked:
                assert (await stt.suppose(number)).text == "hello where is the hammer"
            heard = await stt(Utterance(number, said, 0))
            assert (heard.text == "hello where is the hammer") is asked
        assert await stt.suppose(3) == Transcript("", complete=False)  # an utterance that it has not heard
