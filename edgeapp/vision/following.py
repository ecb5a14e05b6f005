"""Parts that a free-running camera sees in many frames: followed along the belt, and one verdict each.

A defect in any frame fails the part. PASS needs a PASS in at least `proof_frames` of its frames and no FAIL in any. The clock
starts at the sensor's time of the frame in which the part passes the line `decide_at`; a part that is lost before, or of which
too few frames could be judged, is NOT_INSPECTED. After its verdict a part is followed until it is out of view, so that
it never counts twice.

A part has its number as soon as it is sure that it will have a verdict: seen in `confirm_frames` frames, or with a defect, or beyond the
line. Whoever gives the numbers can write down then that it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, Box, CameraFrame, Detections, DeviceError, Outcome, Verdict
from edgeapp.core.flow import Recent
from edgeapp.core.record import Sink
from edgeapp.vision.inspection import DECIDE_NS, Inspection
from edgeapp.vision.rules import InspectionRule, Judged, judge
from edgeapp.vision.tracks import TRACKS_MAX, Belt, Track, Tracks

_LEFT_AT: Final = 1.25  # of the picture: the whole of a part that is half as long as the picture is out of view
_COAST: Final = 4  # times `lost_frames`: so long a lost part is expected further along, where it is still the same part
_DEFECT_MARGIN: Final = 0.1  # of a part's box around it: a burr is outside of its part


@dataclass(eq=False, slots=True)
class _Evidence:
    """What was seen of one part so far."""

    rule: InspectionRule
    """What judges the part in all its frames: the rule that decided when it was seen first."""

    number: int = 0
    """0 until it is sure to be a part."""

    passes: int = 0
    worst: tuple[CameraFrame, Judged, Detections] | None = None
    """The first FAIL."""

    last: tuple[CameraFrame, Judged, Detections] | None = None
    given: bool = False


class Following:
    """The parts of one free-running camera. Lives on one loop."""

    def __init__(
        self,
        inspection: Inspection,
        belt: Belt,
        *,
        source: str,
        due_after_ns: int,
        sink: Sink,
        on_part: Callable[[CameraFrame | None, Verdict], None],
        on_loss: Callable[[DeviceError], None],
        came: Callable[[int], int],
    ) -> None:
        """`on_part` gets the frame that decided, or the last one of a part that passed; None if there is none.

        `came` is told the sensor's time at which something is sure to be a part, and gives its number.
        """
        self._inspection, self._belt, self._source = inspection, belt, source
        self._due_after_ns, self._sink, self._on_part, self._on_loss = due_after_ns, sink, on_part, on_loss
        self._tracks: Tracks | None = None
        self._coasting = _COAST * belt.lost_frames
        self._evidence: dict[Track, _Evidence] = {}  # of the tracks in `_tracks`
        self._came = came
        self._looked_ns = 0
        self.flickers = 0
        """Things that were seen in fewer than `confirm_frames` frames, without a defect."""

        self.skipped = 0
        """Frames that made room for newer ones while one was being looked at."""

    async def run(self, frames: AsyncIterable[CameraFrame]) -> None:
        """Follow parts until the source ends or this is cancelled; every part in view gets its verdict then, too.

        Raises DeviceError if the camera is lost that never gave a frame.
        """
        newest: Recent[CameraFrame] = Recent(1)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(frames, newest))
                while True:
                    try:
                        async with asyncio.timeout_at(self._blind_at()):
                            frame = await newest.get()
                    except TimeoutError:
                        self._blind()
                    except EOFError:
                        break
                    else:
                        self._looked_ns = frame.at_ns
                        await self._look(frame)
        finally:
            self.skipped = newest.dropped
            for track in list(self._evidence):
                self._lose(track, "the inspection was ended before the part was judged", "stopped", now_ns())

    async def _read(self, frames: AsyncIterable[CameraFrame], newest: Recent[CameraFrame]) -> None:
        seen = False
        while True:
            try:
                async for frame in frames:
                    seen = True
                    newest.put(frame)
            except DeviceError as lost:
                if not seen:
                    raise
                self._on_loss(lost)
            else:
                newest.close()
                return

    async def _look(self, frame: CameraFrame) -> None:
        """One frame: what the detector sees in it belongs to the parts in view."""
        if self._tracks is None:
            height, width = frame.pixels.shape[:2]
            self._tracks = Tracks(self._belt, width, height)
        rule = self._inspection.rule
        rules = list({id(each): each for each in (rule, *(known.rule for known in self._evidence.values()))}.values())
        seen = await self._inspection.see(frame, {label for each in rules for label in each.parts})
        if seen is None:
            self._tracks.missed()
            return
        parts = [box for box in seen.boxes if any(_is_part(box, each) for each in rules)]
        crowded = self._tracks.see(frame.at_ns, parts)
        for track in (*self._tracks.tracks, *crowded):
            if track not in self._evidence and not _is_part(track.box, rule) and track not in crowded:
                self._tracks.tracks.remove(track)  # only parts that came before the rule was exchanged are such parts
            else:
                self._evidence.setdefault(track, _Evidence(rule))
        for track in crowded:
            self._lose(track, f"more than {TRACKS_MAX} parts in view", "several parts", frame.at_ns)
            del self._evidence[track]
        self._share_out(frame, seen, {label for each in rules for label in each.defects})
        for track, evidence in self._evidence.items():
            self._number(track, evidence, frame.at_ns)
        for track in list(self._tracks.tracks):
            self._decide(track, frame)

    def _number(self, track: Track, evidence: _Evidence, at_ns: int) -> None:
        """Give it its number as soon as it is sure to be a part."""
        if evidence.given and not evidence.number and track.missed_frames == 0:
            evidence.given = False  # it was taken for a flicker, and is seen again
            self.flickers -= 1
        sure = track.seen_frames >= self._belt.confirm_frames or track.entered >= self._belt.decide_at
        if not evidence.given and not evidence.number and (sure or evidence.worst):
            evidence.number = self._came(at_ns)

    def _share_out(self, frame: CameraFrame, seen: Detections, defects: Collection[str]) -> None:
        """Judge each part by its own box and the defects that lie on it; a defect that lies on none is the nearest part's."""
        assert self._tracks
        tracks = self._tracks.tracks
        mine: dict[Track, list[Box]] = {track: [track.box] if track.missed_frames == 0 else [] for track in tracks}
        places = {track: self._tracks.box(track, frame.at_ns) for track in tracks}
        for box in seen.boxes:
            if box.label in defects and tracks:
                mine[min(tracks, key=lambda track: _distance(places[track], box))].append(box)
        for track, boxes in mine.items():
            only = replace(seen, boxes=tuple(sorted(boxes, key=lambda box: -box.score)))
            evidence = self._evidence[track]
            judged = judge(only, evidence.rule)
            evidence.passes += judged.outcome is Outcome.PASS
            if judged.outcome is Outcome.FAIL and evidence.worst is None:
                evidence.worst = frame, judged, only
            if track.missed_frames == 0:
                evidence.last = frame, judged, only

    def _decide(self, track: Track, frame: CameraFrame) -> None:
        """Give the verdict of a part that has passed the line or is lost, and forget one that has left."""
        assert self._tracks
        place, lost = self._tracks.place(track, frame.at_ns), track.missed_frames >= self._belt.lost_frames
        if place >= self._belt.decide_at:
            self._give(track, frame.at_ns)
        elif lost:
            self._lose(track, f"not seen in {track.missed_frames} frames before the line", "track lost", frame.at_ns)
            self._tracks.coast(track)
        if place >= _LEFT_AT or (lost and (place >= 1 or not track.speed or track.missed_frames >= self._coasting)):
            if not self._evidence[track].given:
                self._lose(track, "it left before it could be judged", "track lost", frame.at_ns)
            self._drop(track)

    def _give(self, track: Track, at_ns: int) -> None:
        """The verdict by what was seen."""
        evidence = self._evidence[track]
        if evidence.given:
            return
        if evidence.worst:
            frame, judged, seen = evidence.worst
            self._out(track, frame, judged, seen, at_ns)
        elif track.seen_frames < self._belt.confirm_frames:
            if track.entered < self._belt.decide_at:
                self.flickers += 1
                evidence.given = True
            elif track.missed_frames >= 1:
                self._lose(track, "seen only beyond the line", "track lost", at_ns)
        elif evidence.passes >= self._belt.proof_frames and evidence.last:
            frame, judged, seen = evidence.last
            self._out(track, frame, replace(judged, outcome=Outcome.PASS, causes=()), seen, at_ns)
        else:
            why = (
                f"proven good in {evidence.passes} of {track.seen_frames} frames, {self._belt.proof_frames} are needed"
            )
            self._lose(track, why, "too few frames", at_ns)

    def _lose(self, track: Track, why: str, cause: str, at_ns: int) -> None:
        """NOT_INSPECTED, unless the part has its verdict or failed before."""
        evidence = self._evidence[track]
        if evidence.given:
            return
        if evidence.worst:
            frame, judged, seen = evidence.worst
            self._out(track, frame, judged, seen, at_ns)
            return
        if (
            track.seen_frames < self._belt.confirm_frames
            and cause == "track lost"
            and track.entered < self._belt.decide_at
        ):
            self.flickers += 1
            evidence.given = True
            return
        judged = Judged(Outcome.NOT_INSPECTED, why, (cause,))
        last = evidence.last
        self._out(track, last[0] if last else None, judged, last[2] if last else None, at_ns)

    def _out(
        self, track: Track, frame: CameraFrame | None, judged: Judged, seen: Detections | None, at_ns: int
    ) -> None:
        evidence = self._evidence[track]
        evidence.given = True
        evidence.number = evidence.number or self._came(at_ns)
        due_ns, decided_ns = at_ns + self._due_after_ns, now_ns()
        if decided_ns > due_ns and judged.outcome is not Outcome.NOT_INSPECTED:
            why = f"judged {(decided_ns - due_ns) / MS:.0f} ms after the due time"
            judged = Judged(Outcome.NOT_INSPECTED, why, ("late",))
        verdict = Verdict(
            outcome=judged.outcome,
            why=f"{judged.why}, good in {evidence.passes} of {track.seen_frames} frames",
            source=self._source,
            frame_number=evidence.number,
            at_ns=at_ns,
            decided_ns=decided_ns,
            due_ns=due_ns,
            boxes=seen.boxes if seen else (),
            model=seen.model if seen else "",
            part_type=judged.part_type,
            sizes_mm=judged.sizes_mm,
            rule=evidence.rule.id if seen else "",
            looks=track.seen_frames,
            causes=judged.causes,
        )
        self._sink(verdict)
        self._on_part(frame, verdict)

    def _blind_at(self) -> float | None:
        """When the parts in view are lost if no frame comes, on the loop's clock; None if nobody waits for a verdict."""
        waiting = any(not evidence.given for evidence in self._evidence.values())
        return (self._looked_ns + self._due_after_ns - DECIDE_NS) / 1e9 if waiting else None

    def _blind(self) -> None:
        """No frame for a whole budget: nobody knows where the parts are."""
        for track in list(self._evidence):
            why = f"no picture for {(now_ns() - self._looked_ns) / MS:.0f} ms"
            self._lose(track, why, "track lost", self._looked_ns)
            self._drop(track)

    def _drop(self, track: Track) -> None:
        assert self._tracks
        self._tracks.forget(track)
        del self._evidence[track]


def _is_part(box: Box, rule: InspectionRule) -> bool:
    return box.label in rule.parts and box.score >= rule.least_score(box.label)


def _distance(part: Box, defect: Box) -> float:
    """0 if the defect's centre lies on the part or just beside it, else how far it is from it in part lengths."""
    x, y = (defect.left + defect.right) / 2, (defect.top + defect.bottom) / 2
    width, height = part.right - part.left, part.bottom - part.top
    beside = max(part.left - x, x - part.right, 0.0) / max(width, 1.0)
    above = max(part.top - y, y - part.bottom, 0.0) / max(height, 1.0)
    return max(0.0, beside - _DEFECT_MARGIN) + max(0.0, above - _DEFECT_MARGIN)
