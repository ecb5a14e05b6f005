"""Serial numbers and barcodes by zxing-cpp: one- and two-dimensional codes, anywhere in the picture and turned as they like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import BackendError, CameraFrame, ConfigError
from edgeapp.core.lane import Lane

CODES_MAX: Final = 16
"""Codes of one picture that are handed on: a part carries one or two."""

_TEXT_MAX: Final = 200  # signs of one code; the largest Data Matrix has thousands, a serial number has some


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[vision.barcode.options]` of the configuration."""

    formats: tuple[str, ...] = ("QRCode", "DataMatrix", "Code128")
    """As zxing-cpp names them; the fewer, the quicker, and the less is taken for a code that is none."""

    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right, bottom as shares of the picture: where codes are looked for."""

    rotate: bool = True
    """Look for codes that lie across, too."""

    downscale: bool = True
    """Look in smaller copies of the picture, too: for large codes that are blurred."""


class Barcodes:
    """Reads the codes of a picture, in the lane's thread."""

    def __init__(self, read: Any, region: tuple[float, float, float, float], lane: Lane) -> None:
        self._read, self._region, self._lane = read, region, lane

    async def __call__(self, frame: CameraFrame) -> tuple[str, ...]:
        """The texts of the codes that were read without an error, in the picture's order; each once. Raises BackendError."""
        return await self._lane.run(partial(self._look, frame.bgr()), label="barcode")

    def _look(self, pixels: NDArray[np.uint8]) -> tuple[str, ...]:
        height, width = pixels.shape[:2]
        left, top, right, bottom = self._region
        part = pixels[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
        try:
            found = self._read(np.ascontiguousarray(part))
        except Exception as error:  # the library's own errors share no class
            raise BackendError(f"barcode_zxing failed: {error}") from error
        texts = (each.text for each in found[:CODES_MAX] if each.valid and len(each.text) <= _TEXT_MAX)
        return tuple(dict.fromkeys(texts))


@asynccontextmanager
async def load(options: Options, lane: Lane) -> AsyncIterator[Barcodes]:
    """Open the reader. Raises ConfigError if the package is missing or an option makes no sense."""
    try:
        import zxingcpp
    except ImportError as error:
        raise ConfigError(
            f"barcode_zxing needs the package zxing-cpp: pip install 'edgeapp[station]' ({error})"
        ) from error
    left, top, right, bottom = options.region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ConfigError(
            f"barcode_zxing's region is {options.region}; give left, top, right, bottom as shares from 0 to 1"
        )
    try:
        formats = zxingcpp.barcode_formats_from_str(",".join(options.formats))
    except ValueError as error:
        raise ConfigError(
            f"barcode_zxing does not know one of the formats {', '.join(options.formats)}: {error}"
        ) from error
    if not options.formats:
        raise ConfigError("barcode_zxing needs at least one format, such as QRCode")
    read = partial(
        zxingcpp.read_barcodes,
        formats=formats,
        try_rotate=options.rotate,
        try_downscale=options.downscale,
        try_invert=True,
    )
    yield Barcodes(read, options.region, lane)
