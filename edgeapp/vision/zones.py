"""Where in the picture a part counts, where a defect counts, and where nothing does. Pure functions on polygons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from edgeapp.core.events import Box, ConfigError, Detections

Polygon = tuple[tuple[float, float], ...]

_SAMPLES: Final = 5  # a box is asked at so many points each way whether it lies in a polygon


@dataclass(frozen=True, slots=True)
class Zones:
    """Polygons of (x, y), as shares of the picture unless `in_px`. None of a kind means: everywhere (`ignored`: nowhere)."""

    parts: tuple[Polygon, ...] = ()
    """A part counts if its centre is in one of them."""

    defects: tuple[Polygon, ...] = ()
    """A defect counts if any of its box is in one of them."""

    ignored: tuple[Polygon, ...] = ()
    """What lies wholly in one of them does not count."""

    in_px: bool = False

    def __post_init__(self) -> None:
        for polygon in (*self.parts, *self.defects, *self.ignored):
            if len(polygon) < 3:
                raise ConfigError(f"a zone needs three corners or more, not {len(polygon)}")
            if not self.in_px and not all(0 <= value <= 1 for corner in polygon for value in corner):
                raise ConfigError("a zone's corners are shares of the picture, 0 to 1; for pixels say units = 'px'")

    def only(self, seen: Detections, parts: Collection[str], width: int, height: int) -> Detections:
        """What of `seen` counts; `parts` are the labels of parts, all others are treated as defects."""
        across, down = (1, 1) if self.in_px else (width, height)
        return replace(
            seen, boxes=tuple(box for box in seen.boxes if self._counts(box, box.label in parts, across, down))
        )

    def _counts(self, box: Box, is_part: bool, across: float, down: float) -> bool:
        xs, ys = (
            [low + (high - low) * n / (_SAMPLES - 1) for n in range(_SAMPLES)]
            for low, high in ((box.left / across, box.right / across), (box.top / down, box.bottom / down))
        )
        points = [(x, y) for x in xs for y in ys]
        if any(all(inside(polygon, *point) for point in points) for polygon in self.ignored):
            return False
        if is_part:
            centre = points[len(points) // 2]
            return not self.parts or any(inside(polygon, *centre) for polygon in self.parts)
        return not self.defects or any(inside(polygon, *point) for polygon in self.defects for point in points)


def inside(polygon: Polygon, x: float, y: float) -> bool:
    """Does the point lie in the polygon? Even-odd rule (M. Shimrat, "Algorithm 112", 1962)."""
    found = False
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            found = not found
    return found
