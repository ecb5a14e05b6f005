"""The pages' rules: who may try a password how often, what a viewer is told, and what the trail proves. Virtual time."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from web_world import PASSWORD, frame, turn, verdict

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS, BackendError, ConfigError, Outcome
from edgeapp.core.record import AlarmRecord, Record
from edgeapp.vision.rules import InspectionRule
from edgeapp.web import live as lives
from edgeapp.web.attempts import Attempts, network_of
from edgeapp.web.history import CALLS, Budgets, History
from edgeapp.web.live import PICTURES_UNDER_WAY, VIEWERS_MAX, Live
from edgeapp.web.picture import encode
from edgeapp.web.serve import Address, check_address
from edgeapp.web.sessions import LASTS_NS, SESSIONS_MAX, Sessions, device_token
from edgeapp.web.trail import Trail, change_of, read
from edgeapp.web.users import Role, Users

S = 1_000_000_000


def test_of_twenty_attempts_in_a_minute_nine_are_looked_at() -> None:
    attempts = Attempts()
    looked = [attempts.wait_ns("10.0.0.7", n * 3 * S) == 0 for n in range(20)]
    assert sum(looked) == 9
    assert all(looked[:6])  # five at once, and the one that came back meanwhile


def test_an_attempt_that_comes_too_soon_is_told_when_to_come_again_and_nobody_is_locked_out() -> None:
    attempts = Attempts()
    assert [attempts.wait_ns("10.0.0.7", 0) for _ in range(5)] == [0] * 5
    assert attempts.wait_ns("10.0.0.7", 2 * S) == 10 * S
    assert attempts.wait_ns("10.0.0.8", 2 * S) == 0
    assert attempts.wait_ns("10.0.0.7", 12 * S) == 0


def test_many_addresses_share_one_bucket_and_do_not_fill_the_memory() -> None:
    attempts = Attempts()
    looked = sum(attempts.wait_ns(f"10.1.{n // 256}.{n % 256}", 0) == 0 for n in range(5_000))
    assert looked == 30
    assert len(attempts._by) == 1_024


def test_a_household_of_ipv6_addresses_is_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")


async def test_a_viewer_is_told_the_newest_state_once_and_then_only_what_changed() -> None:
    live, state = Live(), {"one": 1, "other": 1}
    live.topic("one", lambda: state["one"])
    live.topic("other", lambda: state["other"])
    viewer = live.enter()
    assert json.loads((await live.news(viewer))[0]) == {"one": 1, "other": 1}
    for value in range(2, 9):
        state["other"] = value
        live.changed("other")
    assert json.loads((await live.news(viewer))[0]) == {"other": 8}


async def test_a_topic_is_made_once_a_version_for_all_viewers_and_never_for_none() -> None:
    live, made = Live(), [0]

    def make() -> int:
        made[0] += 1
        return made[0]

    live.topic("one", make)
    for _ in range(50):
        live.changed("one")
    assert made == [0]
    for viewer in [live.enter() for _ in range(5)]:
        assert (await live.news(viewer))[0] == b'{"one":1}'
    assert made == [1]


async def test_a_slow_viewer_gets_the_newest_picture_and_never_a_queue() -> None:
    live = Live()
    running = asyncio.create_task(live.run())
    slow, fast = live.enter(pictures=True), live.enter(pictures=True)
    shown: dict[str, list[int]] = {"slow": [], "fast": []}
    for number in range(1, 41):
        live.saw(frame(number), verdict(number))
        await sleep_until(now_ns() + 100 * MS)
        if number == 36:
            slow.confirmed()
        for name, viewer in (("slow", slow), ("fast", fast)):
            for each in live._pictures_for(viewer):
                length = int.from_bytes(each[:4], "big")
                shown[name].append(json.loads(each[4 : 4 + length])["number"])
                if name == "fast":
                    viewer.confirmed()
    running.cancel()
    await asyncio.wait([running])
    assert shown["fast"] == list(range(1, 41))
    assert len(shown["slow"]) == PICTURES_UNDER_WAY + 1
    assert shown["slow"][:2] == [1, 2]
    assert shown["slow"][2] == 36
    assert slow.skipped == 33


async def test_a_camera_is_encoded_ten_times_a_second_at_most_and_not_at_all_while_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[int] = []

    def counted(*args: object) -> bytes:
        encoded.append(args[0].number)  # type: ignore[attr-defined]
        return encode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(lives, "encode", counted)
    live = Live()
    running = asyncio.create_task(live.run())
    for number in range(1, 31):
        live.saw(frame(number), verdict(number))
        await sleep_until(now_ns() + 33 * MS)
    assert encoded == []
    live.enter(pictures=True)
    for number in range(31, 61):
        live.saw(frame(number), verdict(number))
        await sleep_until(now_ns() + 33 * MS)
    running.cancel()
    await asyncio.wait([running])
    assert 9 <= len(encoded) <= 11
    assert encoded == sorted(set(encoded))


async def test_without_pictures_no_pixel_is_kept() -> None:
    live = Live(pictures=False)
    live.saw(frame(1), verdict(1))
    assert live._cameras == {}


async def test_too_many_screens_are_refused() -> None:
    live = Live()
    for _ in range(VIEWERS_MAX):
        live.enter()
    with pytest.raises(BackendError, match="32 screens"):
        live.enter()


async def test_what_is_sampled_rests_while_nobody_watches() -> None:
    live, looks = Live(), [0]

    def look() -> int:
        looks[0] += 1
        return looks[0]

    live.sample("clock", 1_000 * MS, look)
    running = asyncio.create_task(live.run())
    await sleep_until(now_ns() + 10_000 * MS)
    assert looks == [1]  # the first state
    viewer = live.enter()
    await sleep_until(now_ns() + 4_500 * MS)
    assert looks == [6]
    live.leave(viewer)
    await sleep_until(now_ns() + 10_000 * MS)
    assert looks[0] <= 7
    running.cancel()
    await asyncio.wait([running])


async def test_the_history_of_a_day_stays_small_and_its_spans_add_up() -> None:
    await sleep_until(10 * S)
    live = Live()
    history = History(live, Budgets(200.0, 200.0))
    for number in range(1, 2_000):
        for each in turn(number):
            history(each)
        history(verdict(number, Outcome.FAIL))
        history(AlarmRecord("reject", now_ns(), "a part", number))
    told = json.loads(live.state())
    assert len(history._calls) == CALLS == sum(map(len, history._calls_of.values()))
    newest = told["turns"]["rows"][0]
    assert newest["name"] == "turn 1999"
    assert newest["spans"][0][1] == 0.0
    assert newest["spans"][-1][2] == newest["took_ms"] == 140.0
    assert [each["side"] for each in newest["where"]] == ["local"] * 3
    assert told["verdicts"]["failed"] == 1_999
    assert len(told["alarms"]) == 100
    assert told["stages"]["stt"]["calls"] == 200


async def test_a_second_look_that_was_given_up_does_not_hide_where_the_first_ran() -> None:
    live = Live()
    history = History(live, Budgets(200.0, 200.0))
    for side, why, error in (("local", "no remote is configured", ""), ("none", "", "cancelled")):
        history(Record("belt 7", "detect", 0, 0, 40 * MS, side, why, 80 * MS, error=error))
    history(verdict(7))
    (row,) = json.loads(live.state())["frames"]["rows"]
    assert [(each["side"], each["why"]) for each in row["where"]] == [("local", "no remote is configured")]


async def test_a_picture_says_its_boxes_in_pixels_of_the_frame_and_leaves_out_the_unsure(tmp_path: Path) -> None:
    rule = InspectionRule(("washer",), ("scratch",), defect_score=0.8)
    message = encode(frame(7), verdict(7, Outcome.FAIL), rule.counted)
    length = int.from_bytes(message[:4], "big")
    says = json.loads(message[4 : 4 + length])
    assert (says["number"], says["outcome"], says["width"], says["height"]) == (7, "FAIL", 160, 120)
    assert (says["parts"], says["defects"]) == ([[20, 20, 100, 90, "washer", 0.9]], [])
    assert message[4 + length :].startswith(b"\xff\xd8\xff")


# Users and sessions


def test_a_password_is_kept_as_argon2id_in_a_file_for_us_alone(tmp_path: Path) -> None:
    users = Users(tmp_path / "users.json")
    users.set("ada", Role.OPERATOR, PASSWORD)
    text = (tmp_path / "users.json").read_text()
    assert "$argon2id$" in text
    assert PASSWORD not in text
    assert (tmp_path / "users.json").stat().st_mode & 0o077 == 0
    found = users.check("ada", PASSWORD)
    assert found is not None
    assert found.role is Role.OPERATOR
    assert users.check("ada", PASSWORD + "x") is None
    assert users.check("nobody", PASSWORD) is None
    assert users.check("ada", "\ud800") is None


@pytest.mark.parametrize(
    ("name", "password"),
    [("Ada", PASSWORD), ("", PASSWORD), ("ada", "short"), ("ada", "x" * 257), ("../ada", PASSWORD)],
)
def test_a_name_or_password_that_will_not_do_is_refused_in_one_sentence(
    tmp_path: Path, name: str, password: str
) -> None:
    with pytest.raises(ConfigError):
        Users(tmp_path / "users.json").set(name, Role.VIEWER, password)


def test_the_last_engineer_stays(tmp_path: Path) -> None:
    users = Users(tmp_path / "users.json")
    users.set("ada", Role.ENGINEER, PASSWORD)
    users.set("bob", Role.OPERATOR, PASSWORD)
    with pytest.raises(ConfigError, match="last engineer"):
        users.remove("ada")
    with pytest.raises(ConfigError, match="last engineer"):
        users.set("ada", Role.VIEWER, PASSWORD)
    users.remove("bob")
    assert set(users.all()) == {"ada"}


def test_users_and_sessions_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    users, sessions = Users(tmp_path / "users.json"), Sessions(tmp_path / "s.json", lambda: 0)
    names = [f"user{n}" for n in range(12)]

    def come(name: str) -> str:
        users.set(name, Role.ENGINEER, PASSWORD)
        return sessions.begin(name, "")[0]

    with ThreadPoolExecutor(6) as several:
        tokens = list(several.map(come, names))
    assert set(users.all()) == set(names)
    again = Sessions(tmp_path / "s.json", lambda: 0)
    assert [found.user for token in tokens if (found := again.find(token))] == names


def test_a_session_outlives_a_restart_and_not_its_time_and_its_token_is_nowhere(tmp_path: Path) -> None:
    now = [0]
    token, begun = Sessions(tmp_path / "s.json", lambda: now[0]).begin("ada", "proof")
    again = Sessions(tmp_path / "s.json", lambda: now[0])
    assert again.find(token) == begun
    assert token not in (tmp_path / "s.json").read_text()
    now[0] = LASTS_NS
    assert again.find(token) is None


def test_sessions_are_bounded(tmp_path: Path) -> None:
    now = [0]
    sessions = Sessions(tmp_path / "s.json", lambda: now[0])
    first, _ = sessions.begin("ada", "")
    for n in range(SESSIONS_MAX):
        now[0] = n + 1
        last, _ = sessions.begin("ada", "")
    assert sessions.find(first) is None
    assert sessions.find(last) is not None


def test_the_devices_token_is_made_once(tmp_path: Path) -> None:
    assert device_token(tmp_path / "t") == device_token(tmp_path / "t") != ""
    assert (tmp_path / "t").stat().st_mode & 0o077 == 0


# The trail


def _write(trail: Trail, what: str) -> None:
    trail.add(who="ada", role="engineer", address="127.0.0.1", what=what, of="x")


def test_the_trail_goes_on_after_a_cut_and_with_two_who_write(tmp_path: Path) -> None:
    file = tmp_path / "changes.log"
    one, other = Trail(file, lambda: 1), Trail(file, lambda: 2)
    _write(one, "first")
    _write(other, "second")
    _write(one, "third")
    one.close()
    other.close()
    with file.open("ab") as stream:
        stream.write(b"0123 {torn")
    again = Trail(file, lambda: 3)
    _write(again, "fourth")
    again.close()
    assert [(change_of(body).seq, change_of(body).what) for body, _ in read(file)] == [
        (1, "first"), (2, "second"), (3, "third"), (4, "fourth"),
    ]  # fmt: skip


@pytest.mark.parametrize("harm", ["edit", "drop", "swap"])
def test_a_changed_trail_names_its_first_bad_line(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "changes.log"
    trail = Trail(file, lambda: 1)
    for what in ("one", "two", "three"):
        _write(trail, what)
    trail.close()
    lines = file.read_bytes().splitlines(keepends=True)
    bad = {
        "edit": [lines[0], lines[1].replace(b"two", b"owt"), lines[2]],
        "drop": [lines[0], lines[2]],
        "swap": [lines[0], lines[2], lines[1]],
    }
    file.write_bytes(b"".join(bad[harm]))
    with pytest.raises(ConfigError, match="line 2"):
        list(read(file))
    with pytest.raises(ConfigError, match="line 2"):
        Trail(file, lambda: 2)


# Addresses


@pytest.mark.parametrize(
    ("address", "users", "sentence"),
    [
        (Address(), False, ""),
        (Address("::1"), False, ""),
        (Address("0.0.0.0"), False, "nobody has a password"),
        (Address("192.168.1.7"), True, "there is no TLS"),
        (Address("192.168.1.7", plain=True), True, ""),
        (Address("192.168.1.7", certificate="c.pem", key="k.pem"), True, ""),
        (Address("192.168.1.7", certificate="c.pem", key="k.pem"), False, "nobody has a password"),
    ],
)
def test_others_are_let_in_only_with_a_password_and_tls(address: Address, users: bool, sentence: str) -> None:
    if sentence:
        with pytest.raises(ConfigError, match=sentence):
            check_address(address, users=users)
    else:
        check_address(address, users=users)
