"""What a screen is shown of a conversation."""

from __future__ import annotations

import asyncio
from itertools import groupby, pairwise

from talk import Talk

from edgeapp.core.clock import now_ns, sleep_until
from edgeapp.core.events import MS
from edgeapp.voice.glance import Doing, Fading, Glance
from edgeapp.voice.wake import Attention, AttentionRule, Way


async def test_a_turn_is_seen_heard_thought_about_and_spoken_and_its_words_stay() -> None:
    talk, seen = Talk(), list[Glance]()
    held = asyncio.create_task(talk.hold((200, False), (1_200, True), (4_000, False), guesses=False))
    await asyncio.sleep(0.05)
    while not held.done():
        seen.append(talk.conversation.glance())
        await sleep_until(now_ns() + 10 * MS)
    assert [doing for doing, _ in groupby(each.doing for each in seen)] == [
        Doing.LISTENING, Doing.HEARING, Doing.THINKING, Doing.SPEAKING, Doing.LISTENING,
    ]  # fmt: skip
    speaking = [each for each in seen if each.doing is Doing.SPEAKING]
    assert {each.heard for each in speaking} == {"where is the hammer"}
    said = [said for said, _ in groupby(each.said for each in speaking)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(said))
    assert seen[-1] == Glance(Doing.LISTENING, 1, "where is the hammer", "it is there, on the left.")


async def test_who_comes_next_does_not_see_the_words_of_who_has_left() -> None:
    talk = Talk()
    await talk.hold((200, False), (1_200, True), (4_000, False), guesses=False)
    assert talk.conversation.glance().heard == "where is the hammer"
    await talk.conversation.forget()
    assert talk.conversation.glance() == Glance(Doing.LISTENING)


def test_words_stand_until_nobody_spoke_for_so_long_and_never_go_while_we_speak() -> None:
    fading = Fading(20_000 * MS)
    speaking = Glance(Doing.SPEAKING, 1, "where is the hammer", "rear left")
    said = Glance(Doing.LISTENING, 1, "where is the hammer", "rear left")
    assert [fading.look(speaking, at * MS) for at in (0, 30_000)] == [speaking, speaking]
    assert [fading.look(said, at * MS) for at in (31_000, 50_999)] == [said, said]
    assert fading.look(said, 51_000 * MS) == Glance(Doing.LISTENING)
    assert fading.look(speaking, 52_000 * MS) == speaking


def test_a_device_that_waits_to_be_woken_is_asleep_until_then() -> None:
    attention = Attention(AttentionRule(ways=frozenset({Way.KEY})))
    assert not attention.awake
    attention.pressed(0)
    assert attention.awake
