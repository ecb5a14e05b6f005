"""The voice at the station with exact words: what is asked first, what is shown, and when an alarm is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from shift_world import Made, Operator, two_days
from worlds import Mouth, microphone

from edgeapp.apps.station_voice import STATION_CONTENT, screen
from edgeapp.core.budget import Budget
from edgeapp.core.events import MS, AudioChunk
from edgeapp.core.lane import Lane
from edgeapp.core.record import AlarmRecord, ScreenRecord, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.engines import fake
from edgeapp.voice.announcer import Alarms, Announcer
from edgeapp.voice.content import load_content
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.endpoint import Expect
from edgeapp.voice.turns import Manners

S = 1_000_000_000


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Made]]:
    folder = tmp_path_factory.mktemp("shift")
    return folder, two_days(folder)


def alarm(what: str = "the camera is lost", where: str = "vision.camera", at_ns: int = 0) -> AlarmRecord:
    return AlarmRecord(where, at_ns, what)


# Questions and commands


async def test_the_last_scratch_is_shown_once_the_question_is_over(shift: tuple[Path, list[Made]]) -> None:
    folder, made = shift
    last = max((each for each in made if "scratch" in each.causes), key=lambda each: each.number)
    operator = Operator(folder)
    said = await operator.says("show the last scratch")
    assert said == f"Here is the last scratch: number {last.number}, at 16 29."
    picture = str(folder / "images" / last.image[:2] / last.image)
    (shown,) = operator.records
    assert isinstance(shown, ScreenRecord)
    assert (shown.what, shown.row, shown.picture, shown.why) == (
        "the last scratch",
        last.number,
        picture,
        "FAIL, as told",
    )
    assert await operator.says("show the last crack") == "There is no crack in the ledger."
    assert len(operator.records) == 1


async def test_a_guess_at_a_question_shows_nothing(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await operator.says("show the last scratch", committed=False)
    assert operator.records == []


def test_the_console_prints_what_is_to_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    screen(ScreenRecord(1, "the last dent", 12, "images/ab.jpg", "FAIL, dent"))
    screen(alarm())
    assert capsys.readouterr().out == "screen: the last dent, row 12: FAIL, dent; images/ab.jpg\n"


async def test_the_rule_is_changed_after_a_yes_and_written_down(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    machine = operator.machine
    assert await operator.says("stop on three in a row") == "Shall I stop the line on 3 rejects in a row?"
    assert (machine.limit, operator.answering.expects) == (0, Expect.YES_NO)
    assert await operator.says("yes") == "The line stops on 3 rejects in a row from now on."
    assert machine.limit == 3
    assert machine.notes == [("command", {"command": "stop after", "by": "voice", "parts": 3})]
    assert await operator.says("do not stop on rejects") == "Shall I no longer stop the line on rejects in a row?"
    assert await operator.says("no") == "All right, I will not."
    assert machine.limit == 3


async def test_the_line_is_stopped_after_a_yes_and_runs_again_after_another(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    assert await operator.says("start the line") == "The line is running."
    assert await operator.says("stop the line") == "Shall I stop the line?"
    assert operator.machine.stopped == ""
    assert await operator.says("yes") == "The line is stopped."
    assert await operator.says("stop the line") == "The line is stopped already: stopped by voice."
    asks = "The line is stopped: stopped by voice. Shall I acknowledge, and let it run?"
    assert await operator.says("let the line run") == asks
    assert await operator.says("how many rejects today") != ""  # whatever else is said is no yes
    assert await operator.says("yes") == "All right."
    assert operator.machine.stopped == "stopped by voice"
    assert await operator.says("acknowledge") == asks
    assert await operator.says("yes please") == "Acknowledged, the line runs."
    assert operator.machine.stopped == ""


async def test_what_was_heard_is_acknowledged_and_nothing_newer(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    machine, announcer = operator.machine, operator.announcer
    assert await operator.says("acknowledge") == "No alarm is open."
    machine.alarm = True
    announcer.alarm(alarm())
    announcer.tell()
    announcer.alarm(alarm("the broker is gone", "outputs.mqtt"))
    assert await operator.says("yes, seen") == "Not yet, this is new. Alarm. The broker is gone."
    assert machine.alarm
    assert await operator.says("yes, seen") == "Acknowledged. The broker is gone."
    assert not machine.alarm


async def test_a_line_that_stops_before_the_yes_is_not_started_by_it(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    operator.machine.alarm, operator.machine.stopped = True, "3 rejects in a row"
    await operator.says("acknowledge")
    operator.machine.stopped = "the camera is lost"
    assert await operator.says("yes") == "Not yet, the line is stopped: the camera is lost."
    assert operator.machine.alarm


async def test_what_is_repeated_is_the_last_thing_that_was_said(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    assert await operator.says("repeat that") == "There is nothing to repeat."
    operator.turns = []
    answer = await operator.says("how many rejects this hour")
    assert await operator.says("say that again") == answer
    operator.announcer.alarm(alarm())
    operator.announcer.tell()
    assert await operator.says("say that again") == "Alarm. The camera is lost."
    operator.desk.saw(TurnRecord(1, 0, 0, 0, None, 5, "answered", 3))
    assert await operator.says("say that again") == "Alarm. The camera is lost."


async def test_the_state_of_line_and_golden_parts_is_said(shift: tuple[Path, list[Made]]) -> None:
    operator = Operator(shift[0])
    machine = operator.machine
    assert await operator.says("is the golden check due") == "The golden check is not due."
    machine.golden = "shift"
    assert await operator.says("is the golden check due") == "The golden check is due: shift."
    assert await operator.says("are there any alarms") == "The line is running, and no alarm is open."
    machine.alarm = True
    operator.announcer.alarm(alarm())
    operator.announcer.tell()
    assert await operator.says("are there any alarms") == "The line is running, with an open alarm. The camera is lost."
    machine.stopped = "3 rejects in a row"
    assert await operator.says("why did the line stop") == "The line is stopped: 3 rejects in a row."


async def test_a_model_may_choose_the_question_and_the_ledger_gives_the_number(shift: tuple[Path, list[Made]]) -> None:
    call = '<tool> {"name": "count_parts", "arguments": {"parts": "rejects", "time": "this hour"}}'
    operator = Operator(shift[0], call, content=load_content(STATION_CONTENT))
    closed = await operator.says("how many rejects this hour")
    assert await operator.says("i wonder about the rejects of this hour") == closed


async def test_a_ledger_that_is_gone_is_said_so(tmp_path: Path) -> None:
    assert await Operator(tmp_path).says("how many rejects today") == "I am sorry, I can not reach that."


def test_the_bundled_content_offers_only_what_is_carried_out(shift: tuple[Path, list[Made]]) -> None:
    asyncio.run(_check(shift[0]))


async def _check(folder: Path) -> None:
    Operator(folder).desk.toolbox().check(load_content(STATION_CONTENT))


# Alarms


def test_the_severest_alarm_comes_first_and_of_equal_ones_the_newest() -> None:
    alarms = Alarms(60 * S)
    for at, (where, what) in enumerate(
        [
            ("outputs.mqtt", "broker gone"),
            ("outputs.reject", "part 7 was not rejected"),
            ("vision", "dark"),
            ("vision", "frozen"),
        ]
    ):
        assert alarms.came(alarm(what, where, at))
    assert [each.alarm.what for each in alarms.waiting] == ["part 7 was not rejected", "frozen", "dark", "broker gone"]


def test_the_same_alarm_is_not_said_again_within_a_while() -> None:
    alarms = Alarms(60 * S)
    assert alarms.came(alarm("part 7 was not rejected", at_ns=0))
    assert not alarms.came(alarm("part 8 was not rejected", at_ns=1 * S))
    one = alarms.next(2 * S)
    assert one is not None
    assert one.text == "Alarm. Part 7 was not rejected. 1 more of this kind."
    assert not alarms.came(alarm("part 9 was not rejected", at_ns=61 * S))
    assert alarms.came(alarm("part 10 was not rejected", at_ns=62 * S))
    assert (alarms.held_back, alarms.dropped) == (2, 0)


def test_a_flood_of_alarms_keeps_the_eight_severest_and_counts_the_rest() -> None:
    alarms = Alarms(60 * S)
    for number in range(20):
        alarms.came(alarm(f"fault {chr(97 + number)}", "outputs", number))
    assert [each.alarm.at_ns for each in alarms.waiting] == list(range(19, 11, -1))
    assert alarms.dropped == 12


def test_an_alarm_that_the_voice_can_not_say_is_given_up_and_counted() -> None:
    alarms = Alarms(60 * S)
    alarms.came(alarm())
    for _ in range(5):
        one = alarms.next(0)
        assert one is not None
        alarms.back(one)
    assert (alarms.waiting, alarms.dropped) == ((), 1)


class Booth:
    """A conversation with scripted engines, and an announcer beside it."""

    def __init__(self) -> None:
        self.mouth, self.records, self.announcer = Mouth(), list[object](), Announcer()

    async def hold(self, folder: Path, heard: AsyncIterator[AudioChunk], *alarms: tuple[int, AlarmRecord]) -> None:
        """`alarms` are (when in ms, which)."""
        async with AsyncExitStack() as stack:

            async def engine(kind: str, **more: object) -> tuple[object, Lane]:
                lane = Lane(kind)
                return await stack.enter_async_context(fake.load(fake.Options(kind=kind, **more), lane)), lane  # type: ignore[arg-type]

            async def stage(kind: str, **more: object) -> Stage:  # type: ignore[type-arg]
                local, lane = await engine(kind, **more)
                return Stage(kind, local, lane, local_prior_ns=20 * MS, sink=self.records.append)  # type: ignore[arg-type]

            operator = Operator(folder)
            conversation = Conversation(
                vad=(await engine("vad", takes_ms=0))[0],  # type: ignore[arg-type]
                stt=await stage("stt", texts=("acknowledge",)),
                answering=operator.answering,
                tts=await stage("tts"),
                budget=Budget(200 * MS, {"stt": 10 * MS, "llm": 60 * MS, "tts": 20 * MS}),
                sink=self.records.append,
                manners=Manners(log_text=True),
            )
            telling = asyncio.create_task(self.announcer.run(conversation))
            loop = asyncio.get_running_loop()
            for at_ms, each in alarms:
                loop.call_at(at_ms / 1e3, self.announcer.alarm, each)
            await conversation.listen(heard, self.mouth)
            telling.cancel()
            await asyncio.wait([telling])


async def test_an_alarm_is_said_when_nobody_speaks(shift: tuple[Path, list[Made]]) -> None:
    booth = Booth()
    await booth.hold(shift[0], microphone((4_000, False)), (1_000, alarm()))
    assert booth.announcer.last is not None
    assert booth.announcer.last.text == "Alarm. The camera is lost."
    assert booth.mouth.log[0][0] == pytest.approx(1_005, abs=20)


async def test_an_alarm_waits_for_the_person_and_for_the_reply(shift: tuple[Path, list[Made]]) -> None:
    booth = Booth()
    await booth.hold(shift[0], microphone((500, False), (1_500, True), (8_000, False)), (800, alarm()))
    turn = next(each for each in booth.records if isinstance(each, TurnRecord))
    assert turn.said == "No alarm is open."
    first, said_ms = booth.mouth.log[0][0], booth.announcer.said_ns / MS
    assert first >= 2_000
    assert said_ms > turn.ended_ns / MS > first


async def test_a_person_who_speaks_over_an_alarm_stops_it(shift: tuple[Path, list[Made]]) -> None:
    booth = Booth()
    long = alarm("the camera is lost and nobody knows where it went since this morning at nine or so")
    await booth.hold(shift[0], microphone((1_500, False), (1_500, True), (4_000, False)), (1_000, long))
    begun, ended = booth.mouth.log[0][0], max(end for _, end in booth.mouth.log if end < 2_200)
    assert begun < 1_500 < ended < 1_800
    assert booth.announcer.last is not None  # it was heard in part: it is not said again
    assert not booth.announcer.alarms.waiting
