"""What every speech engine promises, on real engines: tiny models of the right shape where the real weights are no part of us.

Recognisers: Whisper (random weights, and the one that ships), PocketSphinx. Voices: Piper (a tone for every phoneme; random weights, split), espeak-ng. Activity: Silero.
The scripted engines keep the same promises.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pytest
import tiny_piper
import tiny_whisper
from numpy.typing import NDArray

from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, Clause, ConfigError, Speech, Transcript, Utterance
from edgeapp.core.lane import Lane
from edgeapp.core.stream import Stream
from edgeapp.engines import fake, stt_faster_whisper, stt_pocketsphinx, triton, tts_espeak, tts_piper, vad_silero
from edgeapp.models import random_voice

Samples = NDArray[np.int16]
SHIPPED_WHISPER = Path(__file__).parent.parent.parent / "models" / "kiosk-whisper"
LONG = "It costs **12 euros** 😀, [there](http://x.y) are <b>3</b> in stock. " * 160  # more than 10,000 characters
ODD_TEXTS = (
    "",
    "   ",
    "...",
    "😀🎉",
    "**bold** _it_ `code`",
    "<b>hi</b> & [a](b)",
    "a\x00b\tc\n",
    "[[xx]] {y}",
    "x" * 900,
)


class Stt(Protocol):
    """The contract of a recogniser."""

    async def __call__(self, utterance: Utterance, /) -> Transcript: ...


class Tts(Protocol):
    """The contract of a voice."""

    async def __call__(self, clause: Clause, /) -> Stream[Speech]: ...


class Vad(Protocol):
    """The contract of a voice activity detector."""

    async def __call__(self, samples: Samples, /) -> float: ...

    def reset(self) -> None: ...


Opened = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper with random weights that says it was trained for short context."""
    return tiny_whisper.build(tmp_path_factory.mktemp("tiny-whisper"), short_context=True)


@pytest.fixture(scope="session")
def piper_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice of tones."""
    return tiny_piper.build(tmp_path_factory.mktemp("tiny-piper"))


@pytest.fixture(scope="session")
def split_piper_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice with a vocoder, so that its graph can be split."""
    path = tmp_path_factory.mktemp("split-piper") / "random.onnx"
    return random_voice.build_voice(path, "tiny", noise=False, frames_an_id=1.5)


def opener(module: Any, options: Any) -> Opened:
    """A function that loads the engine on a lane of its own."""

    @asynccontextmanager
    async def open_it() -> AsyncIterator[Any]:
        lane = Lane("test")
        try:
            async with module.load(options, lane) as engine:
                yield engine
                assert await lane.run(lambda: 7, label="after") == 7, "the lane is free again"
        finally:
            lane.close()

    return open_it


@pytest.fixture(params=["whisper_full", "whisper_short", "whisper_shipped", "pocketsphinx", "triton", "fake"])
def stt(request: pytest.FixtureRequest, whisper_folder: Path) -> Opened:
    """Each recogniser."""
    if request.param == "pocketsphinx":
        return opener(stt_pocketsphinx, stt_pocketsphinx.Options(sentences=("where is the hammer", "hello", "stop")))
    if request.param == "fake":
        return opener(fake, fake.Options(kind="stt", takes_ms=0.1))
    if request.param == "triton":
        return opener(triton, request.getfixturevalue("near_edge").options("stt"))
    if request.param == "whisper_shipped":
        return opener(stt_faster_whisper, stt_faster_whisper.Options(model=str(SHIPPED_WHISPER), context="short"))
    context = request.param.removeprefix("whisper_")
    return opener(stt_faster_whisper, stt_faster_whisper.Options(model=str(whisper_folder), context=context))


@pytest.fixture(params=["piper", "piper_split", "espeak", "triton", "fake"])
def tts(request: pytest.FixtureRequest, piper_file: Path, split_piper_file: Path) -> Opened:
    """Each voice."""
    if request.param == "piper":
        return opener(tts_piper, tts_piper.Options(voice=str(piper_file), split=False))
    if request.param == "piper_split":
        return opener(tts_piper, tts_piper.Options(voice=str(split_piper_file)))
    if request.param == "espeak":
        return opener(tts_espeak, tts_espeak.Options())
    if request.param == "triton":
        return opener(triton, request.getfixturevalue("near_edge").options("tts"))
    return opener(fake, fake.Options(kind="tts", takes_ms=0.01))


@pytest.fixture(params=["silero", "fake"])
def vad(request: pytest.FixtureRequest) -> Opened:
    """Each voice activity detector."""
    if request.param == "silero":
        return opener(vad_silero, vad_silero.Options())
    return opener(fake, fake.Options(kind="vad", takes_ms=0.1))


def noise(seconds: float, level: int = 500) -> Samples:
    """The same noise every time."""
    count = round(seconds * SAMPLE_RATE_HZ)
    return np.random.default_rng(1).integers(-level, level, count).astype(np.int16)


async def cancelled_after(passes: int, work: Coroutine[Any, Any, Any]) -> None:
    """Start `work`, let the loop turn `passes` times, cancel, and see it end."""
    task = asyncio.ensure_future(work)
    for _ in range(passes):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,), timeout=30)
    assert task.done()


async def parts_of(voice: Tts, text: str) -> list[Speech]:
    """All parts of a clause."""
    return [part async for part in await voice(Clause(text))]


def seconds_of(parts: list[Speech]) -> float:
    """How long they last."""
    return sum(part.samples.size / part.sample_rate_hz for part in parts)


# Recognisers


@pytest.mark.real_time
@pytest.mark.parametrize("seconds", [0, 0.001, 0.15, 3, 300])
async def test_an_utterance_of_any_length_has_a_transcript(stt: Opened, seconds: float) -> None:
    async with stt() as engine:
        heard = await engine(Utterance(1, noise(seconds), 0))
        assert heard.text == " ".join(heard.text.lower().split())
        assert isinstance(heard.complete, bool)


@pytest.mark.real_time
async def test_digital_silence_is_no_trouble(stt: Opened) -> None:
    async with stt() as engine:
        await engine(Utterance(1, np.zeros(SAMPLE_RATE_HZ, np.int16), 0))


@pytest.mark.real_time
async def test_a_request_carries_everything(stt: Opened) -> None:
    async with stt() as engine:
        once = await engine(Utterance(1, noise(2), 0))
        assert await engine(Utterance(1, noise(2), 0)) == once


@pytest.mark.real_time
async def test_a_recogniser_cancelled_at_any_await_still_works(stt: Opened) -> None:
    async with stt() as engine:
        whole = await engine(Utterance(1, noise(2), 0))
        for passes in range(0, 40, 3):
            await cancelled_after(passes, engine(Utterance(2, noise(40), 0)))
        assert (await engine(Utterance(1, noise(2), 0))).complete == whole.complete


@pytest.mark.real_time
async def test_two_utterances_at_once_do_not_mix(stt: Opened) -> None:
    async with stt() as engine:
        first, second = Utterance(1, noise(3), 0), Utterance(2, np.zeros(8_000, np.int16), 0)
        alone = [await engine(first), await engine(second)]
        assert list(await asyncio.gather(engine(first), engine(second))) == alone


# Voices


@pytest.mark.real_time
async def test_a_voice_speaks_in_parts_that_make_the_whole(tts: Opened) -> None:
    async with tts() as voice:
        parts = await parts_of(voice, "The hammer is at the rear left, and it costs 12 euros 50.")
        assert parts
        assert all(part.samples.dtype == np.int16 and part.samples.ndim == 1 and part.samples.size for part in parts)
        assert len({part.sample_rate_hz for part in parts}) == 1
        assert max(int(np.abs(part.samples.astype(int)).max()) for part in parts) > 1_000
        again = await parts_of(voice, "The hammer is at the rear left, and it costs 12 euros 50.")
        assert seconds_of(parts) == pytest.approx(seconds_of(again), rel=0.02)


@pytest.mark.real_time
async def test_the_first_sound_comes_at_once(tts: Opened) -> None:
    async with tts() as voice:
        first = (await parts_of(voice, "Yes."))[0]
        loud = np.abs(first.samples.astype(int)) > 300
        assert loud.argmax() / first.sample_rate_hz <= 0.007


@pytest.mark.real_time
@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text)[:12])
async def test_any_text_is_spoken_or_skipped(tts: Opened, text: str) -> None:
    async with tts() as voice:
        assert seconds_of(await parts_of(voice, text)) < 120
        assert await parts_of(voice, "yes")


@pytest.mark.real_time
async def test_ten_thousand_characters_come_piece_by_piece(tts: Opened) -> None:
    async with tts() as voice:
        answer = await voice(Clause(LONG))
        first = await anext(aiter(answer))
        assert first.samples.size / first.sample_rate_hz < 10
        await answer.aclose()
        assert await parts_of(voice, "yes")


@pytest.mark.real_time
@pytest.mark.parametrize("taken", [0, 1, 3])
async def test_closing_a_voice_in_the_middle_is_the_end_of_it(tts: Opened, taken: int) -> None:
    async with tts() as voice:
        answer = await voice(Clause(LONG))
        parts = aiter(answer)
        for _ in range(taken):
            await anext(parts)
        await answer.aclose()
        await answer.aclose()
        assert [part async for part in answer] == []
        assert await parts_of(voice, "yes")


@pytest.mark.real_time
async def test_a_voice_cancelled_at_any_await_still_works(tts: Opened) -> None:
    async with tts() as voice:
        for passes in range(0, 40, 3):
            await cancelled_after(passes, parts_of(voice, LONG[:1_000]))
        whole = seconds_of(await parts_of(voice, "Good morning."))
        assert whole == pytest.approx(seconds_of(await parts_of(voice, "Good morning.")), rel=0.02)


@pytest.mark.real_time
async def test_two_clauses_at_once_do_not_mix(tts: Opened) -> None:
    async with tts() as voice:
        texts = ("Yes.", "The hammer is at the rear left.")
        alone = [seconds_of(await parts_of(voice, text)) for text in texts]
        together = await asyncio.gather(*(parts_of(voice, text) for text in texts))
        assert [seconds_of(parts) for parts in together] == pytest.approx(alone, rel=0.02)


# Voice activity


@pytest.mark.real_time
async def test_activity_is_a_probability_and_reset_forgets(vad: Opened) -> None:
    async with vad() as detector:
        chunks = noise(0.64).reshape(-1, 512)
        first = [await detector(chunk) for chunk in chunks]
        assert all(0 <= probability <= 1 for probability in first)
        detector.reset()
        assert [await detector(chunk) for chunk in chunks] == first


@pytest.mark.real_time
async def test_a_detector_cancelled_at_any_await_still_works(vad: Opened) -> None:
    async with vad() as detector:
        chunks = noise(0.064).reshape(-1, 512)
        first = [await detector(chunk) for chunk in chunks]
        for passes in range(8):
            await cancelled_after(passes, detector(chunks[0]))
        detector.reset()
        assert [await detector(chunk) for chunk in chunks] == first


# What the operator can get wrong

WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "vad: no file": (vad_silero, {"model": "nowhere.onnx"}, "nowhere.onnx"),
    "vad: threads": (vad_silero, {"threads": 0}, "threads"),
    "whisper: no folder": (stt_faster_whisper, {"model": "nowhere"}, "model.bin"),
    "whisper: context": (stt_faster_whisper, {"model": "x", "context": "tiny"}, "context"),
    "whisper: tokens": (stt_faster_whisper, {"model": "x", "max_tokens": 0}, "max_tokens"),
    "whisper: threads": (stt_faster_whisper, {"model": "x", "cpu_threads": 0}, "cpu_threads"),
    "whisper: device": (stt_faster_whisper, {"model": "x", "device": "tpu"}, "device"),
    "pocketsphinx: two sources": (stt_pocketsphinx, {"sentences": ("yes",), "lm": "x"}, "exclude"),
    "pocketsphinx: no grammar": (stt_pocketsphinx, {"grammar": "nowhere.gram"}, "nowhere.gram"),
    "pocketsphinx: no lm": (stt_pocketsphinx, {"lm": "nowhere.lm"}, "nowhere.lm"),
    "pocketsphinx: no model": (stt_pocketsphinx, {"acoustic_model": "nowhere"}, "nowhere"),
    "pocketsphinx: word": (stt_pocketsphinx, {"sentences": ("where is the zzyzx",)}, "zzyzx"),
    "pocketsphinx: no words": (stt_pocketsphinx, {"sentences": ("  ",)}, "sentence"),
    "pocketsphinx: keyphrase": (stt_pocketsphinx, {"keyphrase": "hey zzyzx"}, "zzyzx"),
    "pocketsphinx: sounds": (stt_pocketsphinx, {"pronunciations": {"zzyzx": "Q Q"}}, "zzyzx"),
    "pocketsphinx: loop": (stt_pocketsphinx, {"phone_loop": 2.0}, "phone_loop"),
    "pocketsphinx: keyphrase alone": (stt_pocketsphinx, {"keyphrase": "hello", "phone_loop": 0.0}, "phone_loop"),
    "pocketsphinx: length": (stt_pocketsphinx, {"max_utterance_s": 0.0}, "max_utterance_s"),
    "piper: no file": (tts_piper, {"voice": "nowhere.onnx"}, "nowhere.onnx"),
    "piper: speed": (tts_piper, {"voice": "x", "speed": 0.0}, "speed"),
    "piper: gain": (tts_piper, {"voice": "x", "gain": -1.0}, "gain"),
    "piper: threads": (tts_piper, {"voice": "x", "threads": 0}, "threads"),
    "piper: device": (tts_piper, {"voice": "x", "device": "tpu"}, "device"),
    "espeak: voice": (tts_espeak, {"voice": "xx-nobody"}, "xx-nobody"),
    "espeak: rate": (tts_espeak, {"words_per_minute": 5}, "words_per_minute"),
    "espeak: pitch": (tts_espeak, {"pitch": 100}, "pitch"),
    "espeak: gain": (tts_espeak, {"gain": 0.0}, "gain"),
}


async def refusal(module: Any, **options: Any) -> str:
    """The sentence with which `load` refuses."""
    lane = Lane("test")
    try:
        with pytest.raises(ConfigError) as refused:
            async with module.load(module.Options(**options), lane):
                pass
    finally:
        lane.close()
    text = str(refused.value)
    assert 20 < len(text) < 500
    assert "\n" not in text
    assert "Traceback" not in text
    return text


@pytest.mark.real_time
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_option_is_one_clear_sentence(name: str) -> None:
    module, options, named = WRONG[name]
    assert named in await refusal(module, **options)


@pytest.mark.parametrize("module", [vad_silero, stt_faster_whisper, stt_pocketsphinx, tts_piper, tts_espeak])
def test_an_unknown_option_names_itself(module: Any) -> None:
    given = {"voice": "x", "model": "x", "wrong_key": 1}
    with pytest.raises(msgspec.ValidationError, match=r"voice|model|wrong_key"):
        msgspec.convert(given, module.Options)


@pytest.mark.real_time
async def test_a_truncated_file_is_one_clear_sentence(tmp_path: Path) -> None:
    voice = tiny_piper.build(tmp_path)
    whisper = tiny_whisper.build(tmp_path)
    for path, module, options in (
        (vad_silero.carried_model(), vad_silero, {"model": str(tmp_path / "cut.onnx")}),
        (voice, tts_piper, {"voice": str(tmp_path / "cut.onnx")}),
    ):
        (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:1500])
        (tmp_path / "cut.onnx.json").write_text((tmp_path / "tiny.onnx.json").read_text())
        assert "cut.onnx" in await refusal(module, **options)
    (tmp_path / "tiny.onnx.json").write_text('{"audio": {}}')
    assert "tiny.onnx.json" in await refusal(tts_piper, voice=str(voice))
    model = whisper / "model.bin"
    model.write_bytes(model.read_bytes()[:5000])
    assert str(whisper) in await refusal(stt_faster_whisper, model=str(whisper))
    (tmp_path / "bad.gram").write_text("#JSGF V1.0; grammar x; <private> = yes")
    assert "JSGF" in await refusal(stt_pocketsphinx, grammar=str(tmp_path / "bad.gram"))
    (tmp_path / "bad.lm").write_bytes(b"\x00" * 100)
    assert "bad.lm" in await refusal(stt_pocketsphinx, lm=str(tmp_path / "bad.lm"))


@pytest.mark.real_time
async def test_short_context_wants_weights_that_say_so(tmp_path: Path) -> None:
    folder = tiny_whisper.build(tmp_path)
    assert "short" in await refusal(stt_faster_whisper, model=str(folder), context="short")
    (folder / "edgeapp.json").write_text("{")
    assert "JSON" in await refusal(stt_faster_whisper, model=str(folder), context="short")
    for window_s in (1, 31, 2.5, "5"):
        (folder / "edgeapp.json").write_text(json.dumps({"short_context": True, "window_s": window_s}))
        assert repr(window_s) in await refusal(stt_faster_whisper, model=str(folder), context="short")
    (folder / "edgeapp.json").unlink()
    assert "'xx'" in await refusal(stt_faster_whisper, model=str(folder), language="xx")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [
        each for each in tokenizer["added_tokens"] if "startoftranscript" not in each["content"]
    ]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "special tokens" in await refusal(stt_faster_whisper, model=str(folder))


@pytest.mark.real_time
async def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = tiny_whisper.build(tmp_path)
    file = folder / "tokenizer.json"
    own = json.loads(file.read_text())

    tokens = own["model"]["vocab"]
    shuffled = dict(zip(tokens, reversed(tokens.values()), strict=True))
    file.write_text(json.dumps(own | {"model": own["model"] | {"vocab": shuffled}}))
    said = await refusal(stt_faster_whisper, model=str(folder))
    assert "another model" in said
    assert str(file) in said

    last = own["added_tokens"][-1]
    longer = [*own["added_tokens"], last | {"id": last["id"] + 1, "content": "<|more|>"}]
    file.write_text(json.dumps(own | {"added_tokens": longer}))
    assert str(last["id"] + 2) in await refusal(stt_faster_whisper, model=str(folder))

    renamed = [each | {"content": each["content"].replace("nospeech", "nocaptions")} for each in own["added_tokens"]]
    file.write_text(json.dumps(own | {"added_tokens": renamed}))
    async with opener(stt_faster_whisper, stt_faster_whisper.Options(model=str(folder)))() as engine:
        await engine(Utterance(1, noise(1), 0))

    swapped = dict(zip(("<|endoftext|>", "<|notimestamps|>"), ("<|notimestamps|>", "<|endoftext|>"), strict=True))
    special = [each | {"content": swapped.get(each["content"], each["content"])} for each in own["added_tokens"]]
    file.write_text(json.dumps(own | {"added_tokens": special}))
    assert "another model" in await refusal(stt_faster_whisper, model=str(folder))


@pytest.mark.real_time
async def test_a_voice_of_another_shape_is_refused(tmp_path: Path) -> None:
    tiny_piper.build(tmp_path)
    (tmp_path / "vad.onnx").write_bytes(vad_silero.carried_model().read_bytes())
    (tmp_path / "vad.onnx.json").write_text((tmp_path / "tiny.onnx.json").read_text())
    assert "not a Piper voice" in await refusal(tts_piper, voice=str(tmp_path / "vad.onnx"))
    assert "not Silero" in await refusal(vad_silero, model=str(tmp_path / "tiny.onnx"))
    assert "speaker" in await refusal(tts_piper, voice=str(tmp_path / "tiny.onnx"), speaker=3)


# What the vendor can get wrong


class Broken:
    """A network that fails."""

    def run(self, *_: object) -> Any:
        raise RuntimeError("device lost")


@pytest.mark.real_time
async def test_a_failing_network_is_a_backend_error(
    piper_file: Path, split_piper_file: Path, whisper_folder: Path
) -> None:
    lane = Lane("test")
    with pytest.raises(BackendError, match="device lost"):
        await vad_silero.SileroVad(Broken().run, lane)(np.zeros(512, np.int16))
    async with tts_piper.load(tts_piper.Options(voice=str(piper_file), split=False), lane) as voice:
        voice._front = Broken()
        with pytest.raises(BackendError, match="device lost"):
            await voice(Clause("yes"))
    async with tts_piper.load(tts_piper.Options(voice=str(split_piper_file)), lane) as voice:
        voice.stages[-1]._session = Broken()
        with pytest.raises(BackendError, match="device lost"):
            await voice(Clause("yes"))
    async with stt_faster_whisper.load(stt_faster_whisper.Options(model=str(whisper_folder)), lane) as whisper:
        whisper._model.encode = Broken().run
        with pytest.raises(BackendError, match="device lost"):
            await whisper(Utterance(1, noise(1), 0))
    async with stt_pocketsphinx.load(stt_pocketsphinx.Options(sentences=("yes",)), lane) as sphinx:
        await sphinx.hear(1, noise(0.3))
        sphinx._decoder.end_utt()
        with pytest.raises(BackendError):
            await sphinx(Utterance(1, noise(0.4), 0))
        assert (await sphinx(Utterance(2, noise(0.2), 0))).text == ""
    lane.close()
