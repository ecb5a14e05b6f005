"""What came of the turns of a voice bench: delays never without the mistakes that buy them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import TypeVar

from edgeapp.core.events import MS
from edgeapp.core.record import Record, TurnRecord
from edgeapp.observe.percentile import percentile
from edgeapp.observe.waterfall import turn_spans

Item = TypeVar("Item")

PARTS = ("endpoint", "stt", "llm", "clause", "tts", "output", "own")
"""Of the way from the last voiced sample to the first audible one."""


@dataclass(frozen=True)
class Heard:
    """One turn and all that the device made of it."""

    text: str
    voice: str
    paused: bool
    last_voiced_ns: int
    """The truth."""

    records: tuple[TurnRecord, ...]
    """Every turn that was committed from its first sample until the next turn's, in order."""

    calls: tuple[Record, ...] = field(repr=False, default=())

    @property
    def final(self) -> TurnRecord | None:
        """What it answered in the end."""
        return self.records[-1] if self.records else None

    @property
    def false_commit(self) -> bool:
        """Was it taken for finished too soon, and taken back when the person went on?"""
        return any(each.outcome == "rolled back" for each in self.records)

    @property
    def _early(self) -> list[TurnRecord]:
        """What was taken for finished before the last voiced sample, for good."""
        return [
            each for each in self.records if each.committed_ns < self.last_voiced_ns and each.outcome != "rolled back"
        ]

    @property
    def cut_off(self) -> bool:
        """Was it answered before its end, with words lost?"""
        return any(each.heard != self.text for each in self._early)

    @property
    def clipped(self) -> bool:
        """Was it answered into its last sound, such as the release of a final t, with every word understood?"""
        return bool(self._early) and not self.cut_off

    @property
    def missed(self) -> bool:
        """Was it never taken for finished?"""
        return self.final is None

    @property
    def understood(self) -> bool:
        """Were the words right?"""
        return self.final is not None and self.final.heard == self.text

    @property
    def first_audible_ms(self) -> float:
        """From the last voiced sample to the first audible one, opener or reply; nan if there was none."""
        return self._since(self.final.first_audible_ns if self.final else None)

    @property
    def first_reply_ms(self) -> float:
        """The same to the first sample of the reply itself."""
        return self._since(self.final.first_reply_ns if self.final else None)

    @property
    def counts(self) -> bool:
        """Has it an honest delay? One of a turn that was answered before its end would be too good."""
        return not self._early and self.first_audible_ms == self.first_audible_ms

    def _since(self, at_ns: int | None) -> float:
        return nan if at_ns is None else (at_ns - self.last_voiced_ns) / MS

    def part_ms(self, name: str) -> float:
        """How long one part of the way took."""
        if self.final is None:
            return nan
        spans = turn_spans(self.final, self.calls)
        took_ms = sum(span.took_ms for span in spans if span.name == name)
        late_ms = (self.final.last_voiced_ns - self.last_voiced_ns) / MS  # the device's idea of the last voiced sample
        return took_ms + (late_ms if name == "endpoint" else 0.0)


@dataclass(frozen=True)
class Score:
    """A run of one preset."""

    preset: str
    turns: int
    paused: int
    reply_p50_ms: float
    reply_p95_ms: float
    reply_p99_ms: float
    audible_p50_ms: float
    audible_p95_ms: float
    within_share: float
    """Of all turns that were not answered before their end: an opener or the reply within the budget."""

    openers: int
    hit_share: float
    """Of the turns that were answered: their reply had been begun before they were over."""

    cut_off_share: float
    false_commit_share: float
    cut_off_paused_share: float
    """Of the turns with pauses."""

    false_commit_paused_share: float
    clipped_share: float
    """Answered into the last sound, no word lost."""

    clipped_paused_share: float
    missed: int
    understood_share: float
    wasted_share: float
    """Work on replies that were thrown away, of the time the run took."""

    parts_ms: dict[str, float]
    """Median of each part of the way."""


def score(preset: str, heard: Sequence[Heard], *, budget_ms: float, took_ns: int) -> Score:
    """Sum up a run that took `took_ns`."""
    counted = [each for each in heard if each.counts]
    replies = [each.first_reply_ms for each in counted if each.final and each.final.first_reply_ns is not None]
    audible = [each.first_audible_ms for each in counted]
    paused = [each for each in heard if each.paused]
    answered = [each.final for each in heard if each.final is not None]
    tried = [each for each in heard if not each.cut_off and not each.clipped]
    return Score(
        preset=preset,
        turns=len(heard),
        paused=len(paused),
        reply_p50_ms=_at(replies, 50),
        reply_p95_ms=_at(replies, 95),
        reply_p99_ms=_at(replies, 99),
        audible_p50_ms=_at(audible, 50),
        audible_p95_ms=_at(audible, 95),
        within_share=_share(tried, lambda each: each.first_audible_ms <= budget_ms),
        openers=sum(each.opener for each in answered),
        hit_share=_share(answered, lambda each: each.foreseen),
        cut_off_share=_share(heard, lambda each: each.cut_off),
        false_commit_share=_share(heard, lambda each: each.false_commit),
        cut_off_paused_share=_share(paused, lambda each: each.cut_off),
        false_commit_paused_share=_share(paused, lambda each: each.false_commit),
        clipped_share=_share(heard, lambda each: each.clipped),
        clipped_paused_share=_share(paused, lambda each: each.clipped),
        missed=sum(each.missed for each in heard),
        understood_share=_share(heard, lambda each: each.understood),
        wasted_share=sum(record.wasted_ns for each in heard for record in each.records) / max(1, took_ns),
        parts_ms={name: _at([each.part_ms(name) for each in counted], 50) for name in PARTS},
    )


def _at(values: Sequence[float], rank: float) -> float:
    return round(percentile(values, rank), 1) if values else nan


def _share(items: Sequence[Item], holds: Callable[[Item], bool]) -> float:
    return sum(map(holds, items)) / len(items) if items else nan
