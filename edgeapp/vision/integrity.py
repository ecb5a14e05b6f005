"""Is this picture one that may be judged? Checks before inference; a complaint means NOT_INSPECTED, with its reason.

Each check compares the picture with how the camera's good frames looked at set-up (vision/reference.py) or with the frames
just before it. A limit is the middle of the good frames plus so many robust standard deviations plus a margin; both are
constants here, chosen on simulated lines that the bench does not use (docs/inspection.md states them and what they cost).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp, hypot, isnan, log
from typing import Final

import numpy as np

from edgeapp.core.events import CameraFrame
from edgeapp.vision.measures import GRID, Float, Measures, Pixels, measure, same_rows, stands_out
from edgeapp.vision.reference import Reference, relative, stillness, to_see


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a picture cannot be judged."""

    cause: str
    """A short name that can be counted, one of CAUSES."""

    why: str
    """The measurement and its limit in words."""


CAUSES: Final = (
    "frozen", "dark", "overexposed", "out of focus", "camera moved", "lens dirt", "wrong format", "wrong colour", "torn",
    "noise", "banding", "covered",
)  # fmt: skip
"""Everything that a picture by itself or beside the last ones can be found guilty of."""

SIGMAS: Final = 8.0
"""How far beyond the good frames' spread a number may lie, in robust standard deviations, before its margin begins."""

# The margins. Light and colour are natural logarithms of ratios; shares are 0 to 1; `_LEVELS` are grey levels of 255.
LIGHT_SIGMAS: Final = 3.0
LIGHT_SIGMA_MAX: Final = 0.05  # a lamp that flickered at set-up must not hide a dark picture
LIGHT_MARGIN: Final = log(1.22)
COLOUR_MARGIN: Final = 0.09
SHARP_SHARE: Final = 0.72  # of the middle at set-up
SHARP_PICTURES: Final = 5  # without marks: a part's edges differ from the next one's, the middle of so many hardly does
NOISE_FACTOR: Final = 1.5
NOISE_MARGIN: Final = 1.5
BANDING_SIGMAS: Final = 5.0
BANDING_MARGIN: Final = 0.07
STRANGE_MARGIN: Final = 0.12
EMPTY_ROWS_MARGIN: Final = 0.02
SAME_ROWS_MAX: Final = 0.015  # sensor noise never repeats a row
CLIPPED_MARGIN: Final = 0.2
MOVED_PX: Final = 1.6
MARK_SCORE_MIN: Final = 0.55
STILL_SHARE: Final = 0.2  # of the usual difference between two pictures
STILL_LEVELS: Final = 0.6  # an old picture that was compressed again differs by less
PLAIN_LEVELS: Final = 5.0  # a picture with less to see hardly differs from the next one on the same belt
PLAIN_IN_A_ROW: Final = 3  # so many of them, each like one of the last: not even the lamp flickers
DIRT_MEMORIES: Final = ((12, 1.4), (20, 0.65), (48, 0.6))  # frames, and times the limit: few frames must say it loudly
DIRT_SIGMAS: Final = 8.0
DIRT_SIGMA_MIN: Final = 0.08
DIRT_LEAST: Final = 0.2
DIRT_LEAST_BRIGHT: Final = 0.4  # dirt takes light: what is brighter has to be much so
DIRT_AGREES: Final = 0.1  # by how much a frame must say so by itself to be counted
DIRT_FIRST: Final = 32  # frames before anything is said

_REMEMBERED: Final = 4  # a driver that hands out old buffers again goes round a ring of about so many


class Integrity:
    """The checks of one camera. Not thread-safe: one frame after the other, in order."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._limits = {name: (each.middle, SIGMAS * each.sigma) for name, each in reference.spreads.items()}
        self._last: Pixels | None = None
        self._blocks: deque[Float] = deque(maxlen=_REMEMBERED)
        self._plain_and_still = 0  # pictures in a row
        self._sharpness: deque[float] = deque(maxlen=SHARP_PICTURES)  # of pictures with edges, where there are no marks
        self._dirt = Persistence(reference)

    def check(self, frame: CameraFrame) -> tuple[Complaint, ...]:
        """Everything that is wrong with this frame, the clearest first; empty if it may be judged."""
        pixels, reference = frame.pixels, self._reference
        wanted = (reference.height, reference.width, 3)
        if pixels.shape != wanted or pixels.dtype != np.uint8:
            return (Complaint("wrong format", f"the picture is {pixels.dtype} {pixels.shape}, not uint8 {wanted}"),)
        pixels = np.ascontiguousarray(pixels)
        seen = measure(pixels)
        beside = relative(seen, pixels, reference)
        found = [
            *self._against_the_last(pixels, seen),
            *self._light(beside),
            *self._surface(beside),
            *self._marks(beside),
        ]
        found += [] if found else self._dirt.check(seen.blocks)
        self._last = pixels
        self._blocks.append(seen.blocks)
        return tuple(found)

    def _limit(self, name: str) -> tuple[float, float]:
        """The middle of the good frames, and how far from it is still their spread."""
        return self._limits[name]

    def _against_the_last(self, pixels: Pixels, seen: Measures) -> list[Complaint]:
        if self._last is None:
            return []
        middle, _ = self._limit("still")
        least = min(STILL_SHARE * middle, STILL_LEVELS)
        moved = min(stillness(seen.blocks, each) for each in self._blocks)
        plain = moved > 0 and to_see(seen.blocks, self._reference.steady) < PLAIN_LEVELS
        self._plain_and_still = self._plain_and_still + 1 if plain and moved < least else 0
        if moved < least and (not plain or self._plain_and_still >= PLAIN_IN_A_ROW):
            why = f"the picture is an old one: it differs by {moved:.2f} grey levels, a new one by {middle:.2f} ({least:.2f} or more)"
            return [Complaint("frozen", why)]
        share = same_rows(pixels, self._last)
        if share > SAME_ROWS_MAX:
            return [Complaint("torn", f"{share:.0%} of the rows are still those of the picture before")]
        return []

    def _light(self, beside: dict[str, float]) -> list[Complaint]:
        found = []
        middle, spread = self._limit("light")
        spread = LIGHT_SIGMAS * min(spread / SIGMAS, LIGHT_SIGMA_MAX)
        light = beside["light"] - middle
        if abs(light) > spread + LIGHT_MARGIN:
            cause, than = ("dark", "dark") if light < 0 else ("overexposed", "bright")
            limit = exp(spread + LIGHT_MARGIN)
            why = f"too {than}: {exp(light):.2f} times the light of the set-up, allowed {1 / limit:.2f} to {limit:.2f}"
            found.append(Complaint(cause, why))
        middle, spread = self._limit("clipped")
        if beside["clipped"] > middle + spread + CLIPPED_MARGIN:
            found.append(
                Complaint(
                    "overexposed",
                    f"{beside['clipped']:.0%} of what is always the same is at its end, {middle:.0%} at set-up",
                )
            )
        for colour in ("blue", "red"):
            middle, spread = self._limit(colour)
            off = beside[colour] - middle
            if abs(off) > spread + COLOUR_MARGIN:
                why = f"{colour} is {exp(off):.2f} times what it was beside green, allowed within {exp(spread + COLOUR_MARGIN):.2f} times"
                found.append(Complaint("wrong colour", why))
        for pair, words in (("blue_is_green", "blue equals green"), ("green_is_red", "green equals red")):
            middle, spread = self._limit(pair)
            limit = (1 + min(1.0, middle + spread)) / 2
            if beside[pair] > limit and middle < 0.9:
                found.append(
                    Complaint("wrong colour", f"{words} in {beside[pair]:.0%} of the pixels, {middle:.0%} at set-up")
                )
        return found

    def _surface(self, beside: dict[str, float]) -> list[Complaint]:
        found = []
        middle, spread = self._limit("empty_rows")
        if beside["empty_rows"] > middle + spread + EMPTY_ROWS_MARGIN:
            found.append(Complaint("torn", f"{beside['empty_rows']:.0%} of the rows are empty or repeat the row above"))
        middle, spread = self._limit("strange")
        limit = middle + spread + STRANGE_MARGIN
        if beside["strange"] > limit:
            why = f"{beside['strange']:.0%} of what is always the same looks otherwise, at most {limit:.0%} is usual"
            found.append(Complaint("covered", why))
        middle, spread = self._limit("banding")
        limit = middle + spread * BANDING_SIGMAS / SIGMAS + BANDING_MARGIN
        if beside["banding"] > limit:
            found.append(
                Complaint(
                    "banding",
                    f"brightness swings by {beside['banding']:.1%} from row to row, at most {limit:.1%} is usual",
                )
            )
        middle, spread = self._limit("noise")
        limit = NOISE_FACTOR * middle + spread + NOISE_MARGIN
        if beside["noise"] > limit:
            found.append(
                Complaint("noise", f"noise of {beside['noise']:.1f} grey levels, at most {limit:.1f} is usual")
            )
        return found + self._focus(beside["sharpness"])

    def _focus(self, sharp: float) -> list[Complaint]:
        middle, _ = self._limit("sharpness")
        if isnan(middle):
            return []
        least = SHARP_SHARE * middle
        if not self._reference.marks:  # a picture without edges says nothing then: the belt may be empty
            if isnan(sharp):
                return []
            self._sharpness.append(sharp)
            if len(self._sharpness) < SHARP_PICTURES:
                return []
            sharp = sorted(self._sharpness)[SHARP_PICTURES // 2]
        if sharp >= least:
            return []
        told = "no edge is left" if isnan(sharp) else f"edges rise by {sharp:.2f} of their height in one pixel"
        return [Complaint("out of focus", f"{told}, {least:.2f} or more is usual")]

    def _marks(self, beside: dict[str, float]) -> list[Complaint]:
        for number in range(len(self._reference.marks)):
            down, right = (
                beside[f"mark{number}_{way}"] - self._limit(f"mark{number}_{way}")[0] for way in ("down", "right")
            )
            if beside[f"mark{number}_score"] < MARK_SCORE_MIN:
                return [Complaint("camera moved", f"mark {number + 1} is not where it was, or is covered")]
            if hypot(down, right) > MOVED_PX:
                why = f"mark {number + 1} is {right:+.1f} px across and {down:+.1f} px down from its place, {MOVED_PX} px is allowed"
                return [Complaint("camera moved", why)]
        return []


class Persistence:
    """Finds what stays in its place while the belt moves: dirt on the lens.

    How much each block stands out of its surroundings, averaged over the last frames (exponentially weighted, and by how
    even the surroundings are), comes back to its value at set-up where belt and parts pass, and does not where something
    sticks. What counts is the mean times the share of the frames that say so: dirt is in all of them, a few parts that
    happen to lie alike are not. Three memories, because where parts lie it takes more frames. After J. Gu et al., "Removing image artifacts due to
    dirty camera lenses and thin occluders" (2009), which finds dirt in the statistics of many frames.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._sigma = np.maximum(reference.spot_sigma, np.float32(DIRT_SIGMA_MIN))
        self._sums = [np.zeros((4, GRID, GRID), np.float32) for _ in DIRT_MEMORIES]
        self._frames = 0

    def check(self, blocks: Float) -> list[Complaint]:
        """Take one more good frame into the memories, and say whether something sticks."""
        spot, worth = stands_out(blocks[..., 1])
        off = spot - self._reference.spot
        said = np.stack([spot * worth, worth, (off > DIRT_AGREES) * worth, (off < -DIRT_AGREES) * worth])
        self._frames += 1
        for sums, (frames, times) in zip(self._sums, DIRT_MEMORIES, strict=True):
            weight = np.float32(max(1 / frames, 1 / self._frames))
            np.add(sums, weight * (said - sums), out=sums)
            if self._frames < DIRT_FIRST:
                continue
            # An exponential mean of weight 1/n varies as a plain one of 2n - 1 frames; the reference's own doubt is added.
            doubt = (1 / min(self._frames, 2 * frames - 1) + 1 / self._reference.frames) ** 0.5
            out = sums[0] / sums[1] - self._reference.spot
            least = np.where(out > 0, np.float32(DIRT_LEAST_BRIGHT), np.float32(DIRT_LEAST))
            limit = np.maximum(np.float32(DIRT_SIGMAS * doubt) * self._sigma, least)
            agreed = np.where(out > 0, sums[2], sums[3]) / sums[1]
            stuck = np.abs(out) * agreed > np.float32(times) * limit
            four = stuck[:-1, :-1] & stuck[1:, :-1] & stuck[:-1, 1:] & stuck[1:, 1:]
            if four.any():
                row, column = divmod(int(four.argmax()), GRID - 1)
                where = f"{(column + 1) / GRID:.0%} across and {(row + 1) / GRID:.0%} down"
                changed = exp(float(out[row, column]))
                return [
                    Complaint("lens dirt", f"a spot stays at {where}, {changed:.2f} times as bright as it should be")
                ]
        return []
