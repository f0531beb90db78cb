"""The arrays that a Flower strategy holds between rounds: averages, momenta, second moments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from rinr_flower.strategies.keeping import Arrays


def arrays_in(strategy: Strategy) -> dict[str, NDArray[np.generic]]:
    """Arrays in a strategy's attributes (ArrayRecords, mappings and lists of arrays), by ``attribute/kind/name``.

    That is all that Flower's own strategies carry from round to round.
    """
    found: dict[str, NDArray[np.generic]] = {}
    for attribute, value in sorted(vars(strategy).items()):
        if isinstance(value, ArrayRecord):
            found |= {f"{attribute}/record/{name}": array.numpy() for name, array in value.items()}
        elif isinstance(value, dict) and value and all(isinstance(item, np.ndarray) for item in value.values()):
            found |= {f"{attribute}/dict/{name}": item for name, item in value.items()}
        elif isinstance(value, list) and value and all(isinstance(item, np.ndarray) for item in value):
            found |= {f"{attribute}/list/{index}": item for index, item in enumerate(value)}
    return found


def put_arrays(strategy: Strategy, arrays: Arrays) -> None:
    """Give a strategy what :func:`arrays_in` found in one like it."""
    found: dict[tuple[str, str], dict[str, NDArray[np.generic]]] = {}
    for key, array in arrays.items():
        attribute, kind, name = key.split("/", 2)
        found.setdefault((attribute, kind), {})[name] = array
    for (attribute, kind), named in found.items():
        if kind == "record":
            setattr(strategy, attribute, record_of(named))
        else:
            setattr(strategy, attribute, named if kind == "dict" else list(named.values()))


def record_of(arrays: Arrays) -> ArrayRecord:
    """Arrays for a message."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def arrays_of_record(record: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """The arrays of a message's record."""
    return {name: array.numpy() for name, array in record.items()}


def prefixed(prefix: str, arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    """Arrays under names that begin with ``prefix/``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def under(prefix: str, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """Those of ``arrays`` that :func:`prefixed` named so, under their own names."""
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
