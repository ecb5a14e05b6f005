"""Finding a calibration target in a picture: the inner corners of a chessboard, to a fraction of a pixel.

OpenCV's sector-based detector (Duda and Frese 2018, "Accurate Detection and Localization of Checkerboard Corners for
Calibration").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeapp.core.events import ConfigError


def find_board(picture: NDArray[np.uint8], columns: int, rows: int, name: str) -> NDArray[np.float64]:
    """The corners in pixels, row by row, shape (columns * rows, 2). `picture` is grey. Raises ConfigError if they are not seen."""
    import cv2

    found, corners = cv2.findChessboardCornersSB(
        picture, (columns, rows), flags=cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
    )
    if not found:
        raise ConfigError(
            f"no chessboard of {columns} x {rows} inner corners is seen in {name}: lay it flat where the parts lie, "
            "wholly in the picture, lit evenly"
        )
    return np.asarray(corners, np.float64).reshape(-1, 2)
