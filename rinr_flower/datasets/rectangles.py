"""Rectangle files of the tracking benchmarks: one ``x, y, width, height`` row a frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rinr_flower.datasets.images import read_text
from rinr_flower.errors import DataError

_SEPARATOR = re.compile(r"[,\s]+")


def read_rectangles(path: Path) -> NDArray[np.float64]:
    """Rows as boxes x1, y1, x2, y2, float64 (rows, 4), 0-based.

    The file is 1-based, its values separated by commas, tabs or spaces. The object is absent from a frame whose row is
    all NaN or has no area: that row is all NaN in the result. Raises DataError (file:line) on anything else that is not
    four numbers.
    """
    rows = []
    lines = read_text(path)
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            x, y, width, height = (float(value) for value in _SEPARATOR.split(line.strip().strip(",")))
        except ValueError:
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not four numbers; expected x, y, width, height"
            ) from None
        absent = np.isnan([x, y, width, height]).all() or (width == 0 and height == 0)
        rows.append([np.nan] * 4 if absent else [x - 1, y - 1, x - 1 + width, y - 1 + height])
    return np.array(rows).reshape(-1, 4)


def present(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The boxes (n, 4) of one frame without those of absent objects."""
    return rows[~np.isnan(rows).all(axis=1)]
