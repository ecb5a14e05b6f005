"""The station as Modbus registers and bits: one layout for our server and for the block we write into a PLC.

Words are 16 bits; numbers of 32 bits are two words, the high one first, and start over at 2**32. All are set in one
assignment, so one read of the block is consistent; a reader that reads piece by piece compares `sequence` before and after.

    word 0      version of this layout: 1        word 11     1 while an alarm is not acknowledged
    word 1      station: 0 starting, 1 running,  words 12-13 verdicts
                2 stopped                        words 14-15 passed
    words 2-3   heartbeat: parts looked at       words 16-17 failed
    words 4-5   sequence of the last verdict     words 18-19 not inspected
    words 6-7   its part's number                words 20-21 triggers lost
    word 8      its outcome: 0 none, 1 PASS,     words 22-23 rejects missed
                2 FAIL, 3 NOT_INSPECTED          words 24-25 alarms so far
    word 9      its reason (line_state.py)       words 26-31 0
    word 10     its age in ms, at most 65535     words 32-95 the last 16 verdicts, 4 words each: the verdict of
                                                             sequence s stands at 32 + 4 * (s % 16):
                                                             part (2 words), outcome, reason

    bit 0 running     bit 1 PASS       bit 2 FAIL           bit 3 NOT_INSPECTED
    bit 4 alarm       bit 5 strobe: changes with each verdict, after the words

The strobe is for a PLC that reads bits only and scans faster than parts come; whoever reads words compares `sequence`.
At most one of the bits 1 to 3 is set; none of them means that no part was judged yet or that the station does not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from edgeapp.devices.line_state import Judged, LineState, Station

VERSION: Final = 1
WORDS: Final = 96
RING: Final = 16
_RING_AT: Final = 32

BITS: Final = 6
RUNNING, PASS, FAIL, NOT_INSPECTED, ALARM, STROBE = range(BITS)


def words(state: LineState, recent: Iterable[Judged]) -> list[int]:
    """The `WORDS` registers; `recent` are the last verdicts, of which the newest `RING` are shown."""
    last = state.last or Judged(0, 0, 0, 0, 0)
    block = [0] * WORDS
    block[0:2] = [VERSION, state.station]
    block[2:8] = [*_two(state.heartbeat), *_two(last.sequence), *_two(last.part)]
    block[8:12] = [last.outcome, last.reason, min(last.age_ms, 0xFFFF), int(state.alarm)]
    counters = (
        state.verdicts, state.passed, state.failed, state.not_inspected,
        state.triggers_lost, state.rejects_missed, state.alarms,
    )  # fmt: skip
    block[12:26] = [word for each in counters for word in _two(each)]
    for each in recent:
        at = _RING_AT + 4 * (each.sequence % RING)
        block[at : at + 4] = [*_two(each.part), each.outcome, each.reason]
    return block


def ring(block: Sequence[int], sequence: int) -> Sequence[int]:
    """The four words of a verdict that the block still holds: part (two words), outcome, reason."""
    at = _RING_AT + 4 * (sequence % RING)
    return block[at : at + 4]


def bits(state: LineState) -> list[bool]:
    """The `BITS` bits."""
    running = state.station is Station.RUNNING
    outcome = state.last.outcome if state.last and running else 0
    strobe = bool(state.last and state.last.sequence % 2)
    return [running, outcome == 1, outcome == 2, outcome == 3, state.alarm, strobe]


def _two(number: int) -> list[int]:
    return [number >> 16 & 0xFFFF, number & 0xFFFF]
