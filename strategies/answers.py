"""Checks on what devices answer to training and evaluation messages, before a strategy aggregates it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from flwr.app import ArrayRecord, MetricRecord, RecordDict

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import ARRAYS, METRICS, check_metrics, check_model, check_numbers, numbers_of

Shape = tuple[tuple[str, str], ...]
"""Keys of an answer's metrics and arrays, each with what it holds."""


def checked(content: RecordDict, *, weight: str, model: ArrayRecord, returns_model: bool) -> RecordDict:
    """An answer's one MetricRecord and its one ArrayRecord, if it has one, under their usual names.

    Parameters
    ----------
    weight : a metric that has to be greater than 0, as ``num-examples``.
    model : names, shapes and types that a returned model must have; empty if they are not known.
    returns_model : whether the device was asked for its model.

    Raises
    ------
    DataError
        If a metric is missing or not finite, or the model is not as it was asked for.
    """
    metrics = check_metrics(content, weight)
    for name, value in metrics.items():
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise DataError(f"metric {name[:80]!r} is {str(value)[:80]}; metrics must be finite")
    records = list(content.array_records.values())
    if len(records) > 1 or (returns_model and not records):
        raise DataError(f"the answer has {len(records)} ArrayRecords; it must have one, the trained model")
    for arrays in records:
        if model:
            check_model(arrays, model)
        for name, array in arrays.items() if not model else ():
            check_numbers(name, numbers_of(name, array))
    return RecordDict({METRICS: metrics, **dict(zip((ARRAYS,), records, strict=False))})


def odd_ones(answers: Mapping[str, RecordDict], usual: Shape | None = None) -> tuple[dict[str, str], Shape | None]:
    """Answers that cannot be averaged with most of the others: why, by device; and the shape of the rest.

    Parameters
    ----------
    answers : as :func:`checked` gives them, by device.
    usual : the shape of earlier answers, which decides where two shapes are equally frequent.
    """
    shapes = {device: _shape(answers[device]) for device in sorted(answers)}
    counts = Counter(shapes.values())
    if not counts:
        return {}, usual
    most = max(counts.values())
    common = usual if usual is not None and counts.get(usual) == most else counts.most_common(1)[0][0]
    return {device: _difference(shape, common) for device, shape in shapes.items() if shape != common}, common


def _shape(content: RecordDict) -> Shape:
    metrics: MetricRecord = content.metric_records[METRICS]
    rows = [
        (f"metric {name!r}", f"a list of {len(value)}" if isinstance(value, list) else "a number")
        for name, value in metrics.items()
    ]
    for name, array in content.array_records.get(ARRAYS, ArrayRecord()).items():
        rows.append((f"array {name!r}", f"{array.dtype} {tuple(array.shape)}"))
    return tuple(sorted(rows))


def _difference(shape: Shape, common: Shape) -> str:
    found, expected = dict(shape), dict(common)
    for name in sorted(found.keys() | expected.keys()):
        if name not in expected:
            return f"{name[:120]} is in no other device's answer; all devices must answer with the same keys"
        if name not in found:
            return f"the answer lacks {name[:120]}, which other devices' answers have"
        if found[name] != expected[name]:
            return f"{name[:120]} is {found[name]}; other devices' is {expected[name]}"
    raise AssertionError("the shapes are equal")
