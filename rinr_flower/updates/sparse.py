"""Choosing the largest elements of a change, and putting sent elements back in their places."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rinr_flower.updates.base import Matrices, Parts

Scope = Literal["tensor", "model"]
"""Whether the largest elements are chosen in each weight on its own or in all weights together."""


def flatten(deltas: Matrices) -> NDArray[np.float32]:
    """All elements in one vector, weight after weight."""
    return np.concatenate([d.reshape(-1) for d in deltas.values()]) if deltas else np.zeros(0, np.float32)


def unflatten(vector: NDArray[np.float32], parts: Parts) -> dict[str, NDArray[np.float32]]:
    """The matrices of ``parts`` from one vector; inverse of :func:`flatten`."""
    result, start = {}, 0
    for name, part in parts.items():
        result[name] = vector[start : start + part.size].reshape(part.shape)
        start += part.size
    return result


def element_count(parts: Parts) -> int:
    """Elements of all matrices together."""
    return sum(part.size for part in parts.values())


def largest(values: NDArray[np.float32], fraction: float) -> NDArray[np.int64]:
    """Increasing places of the ``max(1, round(fraction * n))`` elements of greatest magnitude that are not zero."""
    keep = max(1, round(fraction * values.size))
    size = np.abs(values)
    places = np.arange(values.size) if keep >= values.size else np.argpartition(size, values.size - keep)[-keep:]
    return np.sort(places[size[places] > 0])


def select(deltas: Matrices, fraction: float, scope: Scope) -> NDArray[np.int64]:
    """Increasing places, in :func:`flatten`'s order, of the elements to send."""
    if not deltas:
        return np.zeros(0, np.int64)
    if scope == "model":
        return largest(flatten(deltas), fraction)
    chosen, start = [], 0
    for delta in deltas.values():
        chosen.append(largest(delta.reshape(-1), fraction) + start)
        start += delta.size
    return np.concatenate(chosen)
