"""Which boxes of many frames are one part on a moving belt. A value and pure rules; vision/following.py gives the verdicts.

Tracking by detection: each box goes to the track whose predicted box it overlaps most (E. Bochinski et al., "High-speed
tracking-by-detection without using image information", 2017), the prediction being the last box moved on at the track's
own speed (the constant velocity of A. Bewley et al., "Simple online and realtime tracking", 2016). A belt gives more: parts
move along it only, all at one speed, and never backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Literal

from edgeapp.core.events import Box, ConfigError

Towards = Literal["right", "left", "down", "up"]

TRACKS_MAX: Final = 16
"""Parts in view at once. The one furthest along gives its place to one more."""

IOU_MIN: Final = 0.15
"""Less overlap with where it should be is not the same part."""

_SPEEDS: Final = 8  # the belt's speed is the median of the last so many parts'
_REACH: Final = 0.75  # of a part's own length: a first step so long, before any speed is known, is still the same part
_BACK: Final = 0.15  # of its own length: so much backwards is only a box that trembles


@dataclass(frozen=True, slots=True)
class Belt:
    """How parts come and when one is judged."""

    towards: Towards = "right"
    decide_at: float = 0.8
    """Share of the picture along the belt: the verdict is given when the part's centre has passed it."""

    confirm_frames: int = 2
    """Seen in fewer frames it is a flicker, not a part."""

    proof_frames: int = 3
    """PASS needs so many frames that say so."""

    lost_frames: int = 5
    """Not seen in so many looks before the line, a part is lost: NOT_INSPECTED."""

    def __post_init__(self) -> None:
        if not 0 < self.decide_at < 1:
            raise ConfigError(f"vision.tracks.decide_at is {self.decide_at:g}; give a share between 0 and 1")
        if min(self.confirm_frames, self.proof_frames, self.lost_frames) < 1:
            raise ConfigError("confirm_frames, proof_frames and lost_frames of vision.tracks are 1 or more")

    def along(self, box: Box, width: int, height: int) -> float:
        """Where the box's centre is: 0 where parts enter, 1 where they leave."""
        share = (
            (box.left + box.right) / 2 / width
            if self.towards in {"left", "right"}
            else (box.top + box.bottom) / 2 / height
        )
        return share if self.towards in {"right", "down"} else 1 - share

    def length(self, box: Box, width: int, height: int) -> float:
        """The box's length along the belt, as a share of the picture."""
        return (box.right - box.left) / width if self.towards in {"left", "right"} else (box.bottom - box.top) / height

    def moved(self, box: Box, by: float, width: int, height: int) -> Box:
        """The box moved on by a share of the picture."""
        signed = by if self.towards in {"right", "down"} else -by
        across, down = (signed * width, 0.0) if self.towards in {"left", "right"} else (0.0, signed * height)
        return Box(box.left + across, box.top + down, box.right + across, box.bottom + down, box.label, box.score)


@dataclass(eq=False, slots=True)
class Track:
    """One part on its way through the picture."""

    box: Box
    """Where it was seen last."""

    first_ns: int
    last_ns: int
    """When it was seen last."""

    along: float
    speed: float | None = None
    """Share of the picture a second; None until it was seen twice."""

    seen_frames: int = 1
    missed_frames: int = 0
    """Looks since it was seen last."""

    entered: float = field(default=0.0)
    """Where along the belt it was seen first."""


class Tracks:
    """The parts in view of one camera."""

    def __init__(self, belt: Belt, width: int, height: int) -> None:
        self.belt, self._width, self._height = belt, width, height
        self.tracks: list[Track] = []
        """At most TRACKS_MAX, in the order in which they came."""

        self._speeds: list[float] = []

    def see(self, at_ns: int, boxes: Sequence[Box]) -> list[Track]:
        """Take the parts of one look. Returns the tracks that had to give their place to new ones, if there were too many."""
        free = list(boxes)
        pairs = sorted(
            (
                (self._overlap(track, box, at_ns), n, m)
                for n, track in enumerate(self.tracks)
                for m, box in enumerate(boxes)
            ),
            reverse=True,
        )
        used_tracks, used_boxes = set[int](), set[int]()
        for overlap, n, m in pairs:
            if overlap < IOU_MIN:
                break
            if n not in used_tracks and m not in used_boxes:
                used_tracks.add(n)
                used_boxes.add(m)
                self._follow(self.tracks[n], boxes[m], at_ns)
        for n, track in enumerate(self.tracks):
            track.missed_frames = 0 if n in used_tracks else track.missed_frames + 1
        free = [box for m, box in enumerate(boxes) if m not in used_boxes]
        for box in free:
            along = self.belt.along(box, self._width, self._height)
            self.tracks.append(Track(box, at_ns, at_ns, along, entered=along))
        by_place = sorted(self.tracks, key=lambda track: -self.place(track, at_ns))
        crowded = by_place[: max(0, len(self.tracks) - TRACKS_MAX)]
        self.tracks = [track for track in self.tracks if track not in crowded]
        return crowded

    def missed(self) -> None:
        """One look that said nothing: late, or of a picture that cannot be trusted."""
        for track in self.tracks:
            track.missed_frames += 1

    def place(self, track: Track, at_ns: int) -> float:
        """Where along the belt the part is now, as far as its speed tells."""
        return track.along + self.speed(track) * (at_ns - track.last_ns) / 1e9

    def speed(self, track: Track) -> float:
        """The part's own speed, else the belt's, else 0."""
        return track.speed if track.speed is not None else self._belt_speed() or 0.0

    def _belt_speed(self) -> float | None:
        """The median speed of the parts in view and of those before them; None if there is none yet."""
        known = [*self._speeds, *(each.speed for each in self.tracks if each.speed is not None)]
        return median(known) if known else None

    def box(self, track: Track, at_ns: int) -> Box:
        """Where the part should be now."""
        by = self.place(track, at_ns) - track.along
        return self.belt.moved(track.box, by, self._width, self._height)

    def forget(self, track: Track) -> None:
        """The part has left."""
        self.tracks.remove(track)
        if track.speed is not None:
            self._speeds = [*self._speeds, track.speed][-_SPEEDS:]

    def coast(self, track: Track) -> None:
        """A lost part moves on as the belt does, if its speed is known."""
        track.speed, own = None, track.speed
        track.speed = own if (belt := self._belt_speed()) is None else belt

    def _overlap(self, track: Track, box: Box, at_ns: int) -> float:
        """How well the box fits where the part should be: 0 if it is not it."""
        step = self.belt.along(box, self._width, self._height) - track.along
        length = self.belt.length(track.box, self._width, self._height)
        if step < -_BACK * length:
            return 0.0
        if track.speed is None and self._belt_speed() is None and step <= _REACH * length:
            here = self.belt.moved(track.box, step, self._width, self._height)
            overlap = iou(here, box) * (1 - step / (2 * length))  # nearer is likelier
        else:
            overlap = iou(self.box(track, at_ns), box)
        return (
            overlap if box.label == track.box.label else overlap / 2
        )  # a detector may change its mind, a part does not

    def _follow(self, track: Track, box: Box, at_ns: int) -> None:
        along = self.belt.along(box, self._width, self._height)
        seconds = (at_ns - track.first_ns) / 1e9
        if seconds > 0:
            track.speed = max(0.0, (along - track.entered) / seconds)  # over all it was seen: a belt is even
        track.box, track.along, track.last_ns = box, along, at_ns
        track.seen_frames += 1


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    return both / (areas - both) if areas > both else 0.0
