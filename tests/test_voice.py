"""Conversations on virtual time, exact to the millisecond, with scripted engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from talk import CANNOT, Talk
from worlds import Mouth

from edgeapp.core.events import MS, AudioChunk, BackendError, Prompt, Transcript, Utterance
from edgeapp.core.placement import Why
from edgeapp.core.record import Record, TurnRecord
from edgeapp.core.stream import Stream
from edgeapp.engines import fake
from edgeapp.voice.clauses import REPLY_CHARS_MAX, clauses, speakable
from edgeapp.voice.endpoint import FRAME_SAMPLES, Endpointer, EndpointRule, Speaking
from edgeapp.voice.openers import Openers
from edgeapp.voice.turn import Turn
from edgeapp.voice.turns import Manners

QUESTION = ((320, False), (640, True))
LONG_SILENCE = ((4_000, False),)


async def test_a_reply_is_staged_while_the_person_speaks_and_played_when_the_turn_is_over() -> None:
    talk = Talk()
    (turn,) = await talk.hold(*QUESTION, *LONG_SILENCE)
    assert talk.story == [
        "llm 544 due 724 first 549",  # the words have stood for 192 ms
        "tts 564 due 744 first 569",
        "tts 584 due 1304 first 589",
        "stt 1008 due 1080 first 1013",  # the turn is over: are they still the same words?
    ]
    assert (turn.last_voiced_ns, turn.committed_ns) == (960 * MS, 1008 * MS)
    assert (turn.candidate_ns, turn.staged_ns, turn.first_audible_ns) == (544 * MS, 569 * MS, 1013 * MS)
    assert (turn.outcome, turn.heard, turn.said) == ("answered", "where is the hammer", "it is there, on the left.")
    assert (turn.foreseen, turn.candidates, turn.wasted_ns, turn.opener) == (True, 1, 0, False)


async def test_a_turn_that_nobody_foresaw_to_the_millisecond() -> None:
    talk = Talk()
    (turn,) = await talk.hold(*QUESTION, *LONG_SILENCE, guesses=False)
    assert talk.story == [
        "stt 1008 due 1080 first 1013",
        "llm 1013 due 1140 first 1018",
        "tts 1033 due 1160 first 1038",  # the first clause is whole when the next word has come
        "tts 1053 due 1758 first 1058",  # asked when its words are there, due when the first runs out
    ]
    assert (turn.last_voiced_ns, turn.committed_ns) == (960 * MS, 1008 * MS)
    assert turn.first_audible_ns == 1038 * MS
    assert (turn.outcome, turn.heard) == ("answered", "where is the hammer")
    assert turn.said == "it is there, on the left."


async def test_without_a_finished_sentence_it_waits_longer() -> None:
    stt = fake.Options(kind="stt", texts=("where is",), complete=False)
    (turn,) = await Talk().hold(*QUESTION, *LONG_SILENCE, stt=stt)
    assert turn.committed_ns == 2160 * MS  # the first block that ends 1,200 ms after the last voiced sample


async def test_a_pause_inside_a_sentence_does_not_end_it() -> None:
    (turn,) = await Talk().hold((320, False), (320, True), (32, False), (320, True), *LONG_SILENCE)
    assert turn.last_voiced_ns == 992 * MS


async def test_speaking_over_the_reply_ends_it_and_history_holds_what_was_heard() -> None:
    talk = Talk()
    first, second = await talk.hold(*QUESTION, (480, False), (640, True), (6_000, False))
    # Speech begins at 1440; its second frame, which ends at 1504, has words and cuts the reply that began at 1013.
    assert (first.outcome, second.outcome) == ("interrupted", "answered")
    assert talk.mouth.log[0] == (1013.0, 1504.0)
    assert first.said == "it is"  # 491 of 720 ms of the first clause
    assert talk.conversation.turns.history[0] == ("where is the hammer", "it is")


async def test_with_barge_in_off_speech_over_the_reply_is_not_heard() -> None:
    turns = await Talk().hold(*QUESTION, (480, False), (640, True), (6_000, False), manners=Manners(barge_in=False))
    assert [turn.outcome for turn in turns] == ["answered"]


async def test_a_click_is_not_a_turn_and_a_short_word_is() -> None:
    assert await Talk().hold((320, False), (32, True), *LONG_SILENCE) == []
    (turn,) = await Talk().hold((320, False), (160, True), *LONG_SILENCE)
    assert turn.outcome == "answered"


async def test_five_minutes_of_speech_are_cut_into_bounded_turns() -> None:
    turns = await Talk().hold((320, False), (300_000, True), *LONG_SILENCE)
    assert len(turns) == 11  # ten of 30 s, pre-roll included, and the rest
    assert {turn.outcome for turn in turns} == {"interrupted", "answered"}


async def test_words_that_were_not_understood_are_said_so() -> None:
    talk = Talk()
    (turn,) = await talk.hold(*QUESTION, *LONG_SILENCE, stt=fake.Options(kind="stt", texts=("",)))
    assert (turn.outcome, turn.said) == ("not understood", "I am sorry, I did not catch that.")


async def test_a_language_model_that_fails_is_admitted_and_recorded() -> None:
    (turn,) = await Talk().hold(*QUESTION, *LONG_SILENCE, llm=fake.Options(kind="llm", fail_every=1))
    assert (turn.outcome, turn.said) == ("failed", "I am sorry, I cannot answer right now.")
    assert "fake llm engine failed" in turn.error


async def test_a_voice_that_fails_leaves_a_record_and_the_next_turn_works() -> None:
    talk = Talk()
    turns = await talk.hold(
        *QUESTION, *LONG_SILENCE, (640, True), *LONG_SILENCE, tts=fake.Options(kind="tts", fail_every=3)
    )
    assert [turn.outcome for turn in turns] == ["answered", "failed"]
    assert turns[1].said == "I am sorry, I cannot answer right now."


async def test_a_voice_that_has_died_still_admits_it_in_words_rendered_at_the_start() -> None:
    (turn,) = await Talk().hold(*QUESTION, *LONG_SILENCE, tts=fake.Options(kind="tts", fail_every=1))
    assert (turn.outcome, turn.said, turn.first_audible_ns) == ("failed", CANNOT, 1013 * MS)


async def test_a_recogniser_that_fails_is_admitted() -> None:
    (turn,) = await Talk().hold(*QUESTION, *LONG_SILENCE, stt=fake.Options(kind="stt", fail_every=1))
    assert (turn.outcome, turn.said) == ("failed", "I am sorry, I cannot answer right now.")


async def test_a_reply_that_breaks_off_is_heard_to_the_end_of_what_was_queued() -> None:
    talk = Talk()
    (turn,) = await talk.hold(*QUESTION, *LONG_SILENCE, tts=fake.Options(kind="tts", fail_every=2))
    assert (turn.outcome, turn.said) == ("failed", "it is there,")
    assert turn.ended_ns / MS == talk.mouth.log[-1][1]


@pytest.mark.parametrize("engine", [fake.FakeStt, fake.FakeVad])
async def test_an_engine_that_fails_on_one_frame_costs_no_turn(engine: type, monkeypatch: pytest.MonkeyPatch) -> None:
    name, calls = "hear" if engine is fake.FakeStt else "__call__", []
    works = getattr(engine, name)

    async def fails_once(self: object, *frame: object) -> object:
        calls.append(frame)
        if len(calls) == 12:
            raise BackendError("scripted failure")
        return await works(self, *frame)

    monkeypatch.setattr(engine, name, fails_once)
    talk = Talk()
    (turn,) = await talk.hold(*QUESTION, *LONG_SILENCE)
    assert turn.outcome == "answered"
    assert [each.error for each in talk.records if isinstance(each, Record) and each.error] == ["scripted failure"]


async def test_a_detector_of_speech_that_goes_on_failing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: object, samples: object) -> float:
        raise BackendError("the detector is gone")

    monkeypatch.setattr(fake.FakeVad, "__call__", fails)
    with pytest.raises(BackendError, match="is gone"):
        await Talk().hold(*LONG_SILENCE)


async def test_a_sound_too_short_to_interrupt_does_not_end_the_reply() -> None:
    talk, stt = Talk(), fake.Options(kind="stt", texts=("where is the hammer",), word_ms=100)
    (turn,) = await talk.hold(*QUESTION, (480, False), (32, True), (6_000, False), stt=stt)
    assert turn.outcome == "answered"
    assert talk.mouth.ducked == [(1472.0, 0.25), (1728.0, 1.0)]  # loud again 256 ms after the sound


async def test_words_that_the_end_of_the_recording_cuts_off_are_answered() -> None:
    (turn,) = await Talk().hold(*QUESTION)
    assert (turn.outcome, turn.heard) == ("answered", "where is the hammer")


async def test_a_clause_without_sound_was_not_heard() -> None:
    turn = Turn(Utterance(1, np.zeros(1, np.int16), 0), 0, 0, "", Mouth(), Openers(), str, CANNOT)
    turn.spoken = [("it is there,", 600 * MS), ("(sic)", 0)]
    assert [turn.heard(ms * MS) for ms in (0, 300, 600)] == ["", "it", "it is there,"]


@pytest.mark.parametrize("breaks", ["stalls", "fails"])
@pytest.mark.parametrize("came", [1, 2, 3])
async def test_a_reply_that_breaks_off_elsewhere_goes_on_here(breaks: str, came: int) -> None:
    """The near edge says some words and falls silent; the device goes on behind the last piece, be a clause in its middle."""

    async def words() -> AsyncGenerator[str, None]:
        for word in ("it", " is", " there, on")[:came]:
            yield word
        if breaks == "fails":
            raise BackendError("connection reset")
        await asyncio.get_running_loop().create_future()

    async def remote(prompt: Prompt) -> Stream[str]:
        return await Stream.start(words())

    talk = Talk()
    (turn,) = await talk.hold(*QUESTION, *LONG_SILENCE, llm_remote=remote)
    assert (turn.outcome, turn.said) == ("answered", "it is there, on the left.")
    asked = [each for each in talk.records if isinstance(each, Record) and each.stage == "llm"]
    assert [(each.side, each.why) for each in asked] == [("remote", Why.SAFE), ("local", Why.RESUMED)]


async def test_words_stay_out_of_the_record_unless_the_configuration_lets_them_in() -> None:
    (turn,) = await Talk().hold(*QUESTION, *LONG_SILENCE, manners=Manners(log_text=False))
    assert (turn.heard, turn.said, turn.heard_words) == ("", "", 4)


async def test_stopping_in_the_middle_of_a_reply_writes_its_record() -> None:
    talk = Talk()
    held = asyncio.create_task(talk.hold(*QUESTION, (60_000, False)))
    await asyncio.sleep(1.3)
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    turns = [each for each in talk.records if isinstance(each, TurnRecord)]
    assert [turn.outcome for turn in turns] == ["interrupted"]


@pytest.mark.parametrize("ms", range(1_025, 1_085, 3))
async def test_every_cancel_point_of_a_turn_leaves_one_record(ms: int) -> None:
    talk = Talk()
    held = asyncio.create_task(talk.hold(*QUESTION, *LONG_SILENCE))
    await asyncio.sleep(ms / 1e3)
    held.cancel()
    await asyncio.wait([held])
    assert [each.outcome for each in talk.records if isinstance(each, TurnRecord)] == ["interrupted"]


# The endpointer alone


DONE = Transcript("where is the hammer", complete=True)


def _frame(number: int, loud: bool) -> AudioChunk:
    samples = (6_000 * loud * np.sin(np.arange(FRAME_SAMPLES) * 0.3)).astype(np.int16)
    return AudioChunk(samples, number * 32 * MS)


def test_the_last_voiced_sample_is_found_inside_the_frame() -> None:
    endpointer = Endpointer(EndpointRule())
    for number in range(1, 11):
        endpointer.feed(_frame(number, loud=True), 0.95, DONE)
    half = _frame(11, loud=True)
    half.samples[FRAME_SAMPLES // 2 :] = 0
    endpointer.feed(half, 0.9, DONE)
    ended = endpointer.feed(_frame(12, loud=False), 0.1, DONE)
    assert isinstance(ended, Utterance)
    assert ended.ended_ns == (10 * 32 + 16) * MS


def test_a_sentence_that_has_only_just_formed_is_not_finished() -> None:
    """For a moment "how" sounds like "hello", which is a whole sentence."""
    endpointer = Endpointer(EndpointRule())
    for number in range(1, 9):
        endpointer.feed(_frame(number, loud=True), 0.95, Transcript("", complete=False))
    hello = Transcript("hello", complete=True, may_go_on=True)
    ended = [endpointer.feed(_frame(number, loud=False), 0.1, hello) for number in range(9, 17)]
    assert [isinstance(each, Utterance) for each in ended] == [False] * 5 + [True] + [False] * 2


def test_what_was_recognised_before_does_not_count_for_the_next_utterance() -> None:
    endpointer = Endpointer(EndpointRule())
    frames = iter(range(1, 100))
    for _ in range(2):
        for _ in range(8):
            endpointer.feed(_frame(next(frames), loud=True), 0.95, DONE)
        ended = [endpointer.feed(_frame(next(frames), loud=False), 0.1, DONE) for _ in range(2)]
        assert isinstance(ended[1], Utterance)


def test_soft_words_after_a_loud_bump_are_not_cut_off() -> None:
    endpointer, waiting = Endpointer(EndpointRule()), Transcript("", complete=False)
    endpointer.feed(AudioChunk(_frame(1, loud=True).samples * 5, 32 * MS), 0.9, waiting)
    for number in range(2, 60):
        loud = number % 10 != 0  # one silent frame between two words
        soft = AudioChunk(_frame(number, loud=loud).samples // 9, number * 32 * MS)
        assert endpointer.feed(soft, 0.9 if loud else 0.1, waiting) is Speaking.GOES_ON


def test_a_click_does_not_cost_the_soft_beginning_of_the_next_word() -> None:
    endpointer, waiting = Endpointer(EndpointRule()), Transcript("", complete=False)
    frames = iter(range(1, 100))
    assert endpointer.feed(_frame(next(frames), loud=True), 0.9, waiting) is Speaking.STARTED
    while endpointer.feed(_frame(next(frames), loud=False), 0.1, waiting) is not Speaking.NOISE:
        pass
    endpointer.feed(_frame(next(frames), loud=True), 0.9, waiting)
    assert len(endpointer.heard) == 10


def test_pre_roll_is_kept_and_bounded() -> None:
    endpointer = Endpointer(EndpointRule(pre_roll_ns=320 * MS))
    for number in range(1, 100):
        endpointer.feed(_frame(number, loud=False), 0.1, Transcript("", complete=False))
    assert endpointer.feed(_frame(100, loud=True), 0.9, Transcript("", complete=False)) is Speaking.STARTED
    assert len(endpointer.heard) == 10


# Clauses


async def _pieces(text: str, size: int):  # type: ignore[no-untyped-def]
    for start in range(0, len(text), size):
        yield text[start : start + size]


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_clauses_are_the_same_however_the_text_arrives(size: int) -> None:
    text = "It is at the rear left, and it costs 1,250.50 euros. Anything else? Yes: ask me"
    assert [clause async for clause in clauses(_pieces(text, size))] == [
        "It is at the rear left,",
        "and it costs 1,250.50 euros.",
        "Anything else?",
        "Yes:",
        "ask me",
    ]


async def test_a_value_does_not_hold_back_its_sentence_but_numbers_stay_together() -> None:
    text = "It is in stock, 8 pieces. Open at 8, 12 and 18."
    assert [clause async for clause in clauses(_pieces(text, 2))] == [
        "It is in stock,",
        "8 pieces.",
        "Open at 8, 12 and 18.",
    ]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**Bold** and _this_ `code`", "Bold and this code"),
        ("See [the shop](https://example.invalid/a_b) now", "See the shop now"),
        ("Go 😀 left 👉🏽!", "Go left !"),
        ("<b>Hi</b> there", "Hi there"),
        ("- one\n- two", "one two"),
        ("12 % of 5 € is 0.60 €", "12 % of 5 € is 0.60 €"),
        ("日本語 works", "日本語 works"),
        ("😀👍", ""),
    ],
)
def test_only_what_a_voice_can_say_is_spoken(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@pytest.mark.parametrize(
    "text", ["word " * 2_000, "x" * 10_000, "a, " * 3_333, "[" * 10_000, "*" * 10_000, "😀" * 10_000]
)
async def test_ten_thousand_characters_are_bounded(text: str) -> None:
    said = [clause async for clause in clauses(_pieces(text, 7))]
    assert sum(map(len, said)) <= REPLY_CHARS_MAX
    assert all(len(each) <= 160 for each in said)


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_tool_call_is_not_spoken(size: int) -> None:
    call = '<tool> {"name": "read_sensor", "arguments": {"quantity": "temperature", "place": "line"}}'
    assert [clause async for clause in clauses(_pieces(call, size))] == []
