"""Duck, stop, resume: a table of what is heard over our voice, frame by frame."""

from __future__ import annotations

import pytest

from edgeapp.voice.interruption import Act, Interruption, InterruptionRule

OURS = "The hammer costs twelve euros fifty"
NOTHING, DUCK, STOP, RESUME = Act.NOTHING, Act.DUCK, Act.STOP, Act.RESUME


def feed(listener: Interruption, frames: str, words: str = "") -> list[Act]:
    """`C` a person's speech, `P` the same with some echo in it, `E` speech that our own voice explains, `.` no speech."""
    share = {"C": 0.1, "P": 0.3, "E": 0.9, ".": 0.0}
    return [listener.feed(speech=each != ".", echo_share=share[each], words=words, own_words=OURS) for each in frames]


@pytest.mark.parametrize(
    ("what", "frames", "words", "acts"),
    [
        ("speech ducks, then stops", "PPP", "", [NOTHING, DUCK, STOP]),
        ("speech without echo ducks at once and stops one frame sooner", "CC", "", [DUCK, STOP]),
        ("of both kinds together three stop", "PCP", "", [NOTHING, DUCK, STOP]),
        ("a clear click ducks for 256 ms", "C........", "", [DUCK, *[NOTHING] * 7, RESUME]),
        ("a word in one frame is not believed", "C", "stop", [DUCK]),
        ("a word of theirs stops at once", "PP", "stop", [NOTHING, STOP]),
        ("a word alone, without speech, does nothing", ".....", "stop", [NOTHING] * 5),
        ("our own words are echo", "PPPPP", "the hammer costs", [NOTHING] * 5),
        ("one word more than ours is a person's", "PP", "the hammer please", [NOTHING, STOP]),
        ("echo is not speech", "EEEEE", "", [NOTHING] * 5),
        ("a click does nothing", "P.......", "", [NOTHING] * 8),
        ("a cough ducks and resumes after 256 ms", "PP........", "", [NOTHING, DUCK, *[NOTHING] * 7, RESUME]),
        ("a gap inside a word does not count", "P.P..P", "", [NOTHING, NOTHING, DUCK, NOTHING, NOTHING, STOP]),
        ("two clicks far apart do not add up", "P........P........P", "", [NOTHING] * 19),
    ],
)
def test_what_is_heard_over_our_voice(what: str, frames: str, words: str, acts: list[Act]) -> None:
    assert feed(Interruption(), frames, words) == acts, what


def test_after_a_stop_and_after_a_new_reply_it_starts_anew() -> None:
    listener = Interruption()
    assert feed(listener, "PPPPPP") == [NOTHING, DUCK, STOP] * 2
    feed(listener, "PP")
    listener.forget()
    assert feed(listener, "........") == [NOTHING] * 8


def test_the_rule_is_in_nanoseconds_of_speech() -> None:
    rule = InterruptionRule(duck_after_ns=32_000_000, stop_after_ns=160_000_000, resume_after_ns=64_000_000)
    assert feed(Interruption(rule), "P..PPPPP") == [DUCK, NOTHING, RESUME, DUCK, NOTHING, NOTHING, NOTHING, STOP]
