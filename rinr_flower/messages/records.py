"""Named arrays as Flower's records carry them."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from rinr_flower.array_file import Arrays


def record_of(arrays: Arrays) -> ArrayRecord:
    """Arrays for a message."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def arrays_of_record(record: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """The arrays of a message's record."""
    return {name: array.numpy() for name, array in record.items()}


def size_of(record: ArrayRecord) -> int:
    """Bytes of a record's arrays."""
    return sum(len(array.data) for array in record.values())


def refill(record: ArrayRecord, other: ArrayRecord) -> None:
    """Replace the content of ``record`` in place by that of ``other``, so that all who keep a reference see it."""
    if record is not other:
        record.clear()
        record.update(other)
