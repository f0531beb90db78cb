"""Numbers as people read them: bytes, seconds, decibels, ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

NONE = "–"


def number(value: Any) -> float:
    """A JSON value of a report as float: None is NaN, "inf" infinite."""
    return math.nan if value is None else float(value)


def bytes_text(value: Any) -> str:
    """1,234 B, 12.3 KB, 4.56 MB; decimal units."""
    size = number(value)
    if not math.isfinite(size):
        return NONE
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if abs(size) >= 0.9995 * factor:
            return f"{size / factor:.3g} {unit}" if size < 999.5 * factor else f"{size / factor:,.0f} {unit}"
    return f"{size:,.0f} B"


def seconds_text(value: Any) -> str:
    """12 ms, 3.4 s, 5.6 min, 7.8 h, 9 days."""
    seconds = number(value)
    if not math.isfinite(seconds):
        return NONE
    return _in_units(seconds, (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)))


def rate_text(value: Any) -> str:
    """2 MB/s."""
    return f"{bytes_text(value)}/s" if math.isfinite(number(value)) else NONE


def ratio_text(value: Any) -> str:
    """8.13x."""
    ratio = number(value)
    return f"{ratio:.3g}×" if math.isfinite(ratio) else NONE


def decibel_text(value: Any) -> str:
    """34.6 dB."""
    level = number(value)
    return "lossless" if level == math.inf else f"{level:.1f} dB" if math.isfinite(level) else NONE


def share_text(value: Any, digits: int = 3) -> str:
    """A plain number with some digits after the point, such as mAP."""
    share = number(value)
    return f"{share:.{digits}f}" if math.isfinite(share) else NONE


def count_text(value: Any) -> str:
    """A count with thousands separators."""
    count = number(value)
    return f"{count:,.0f}" if math.isfinite(count) else NONE


def joules_text(value: Any) -> str:
    """12 mJ, 3.4 J, 5.6 kJ."""
    joules = number(value)
    if not math.isfinite(joules):
        return NONE
    return _in_units(joules, (("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)))


def _in_units(value: float, units: Sequence[tuple[str, float]]) -> str:
    """Three digits in the largest unit that they reach: 59.98 s are 1 min, because they would be written as 60 s."""
    for (unit, factor), (_, smaller) in pairwise(units):
        if float(f"{value / smaller:.3g}") * smaller >= factor:
            return f"{max(value / factor, 1.0):.3g} {unit}"
    unit, factor = units[-1]
    return f"{value / factor:.3g} {unit}"


ROUTES = {
    "fog": "via fog",
    "serverless": "device to device",
    "training": "trained at the fog",
    "federated": "federated averaging",
}


def scheme_label(row: Mapping[str, Any]) -> str:
    """``residual via fog``, ``jpeg device to device``."""
    return f"{row['codec']} {ROUTES[row['route']]}"
