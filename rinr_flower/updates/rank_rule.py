"""How many components each weight's change gets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def pays(rank: int, shape: tuple[int, int]) -> bool:
    """Whether factors of this rank have fewer elements than the m x n matrix: rank * (m + n) < m * n."""
    return rank * sum(shape) < shape[0] * shape[1]


def ranks_by_strength(
    strengths: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, int]], elements: int
) -> dict[str, int]:
    """Ranks that keep the most squared change for a number of sent ``elements``.

    Components of all weights are taken in the order of squared singular value per element, ``s^2 / (m + n)``, until
    ``elements`` are used up; a component that no longer fits is passed over, and with it the weaker ones of its weight.

    Parameters
    ----------
    strengths : weight name to the singular values of its change, falling.
    shapes : weight name to (m, n).
    elements : factor elements to spend.
    """
    order = sorted(
        ((float(value) ** 2 / sum(shapes[name]), name) for name, values in strengths.items() for value in values),
        key=lambda worth: (-worth[0], worth[1]),
    )
    ranks, closed = dict.fromkeys(strengths, 0), set()
    for worth, name in order:
        cost = _cost(ranks[name] + 1, shapes[name]) - _cost(ranks[name], shapes[name])
        if worth == 0 or name in closed:
            continue
        if cost > elements:
            closed.add(name)
            continue
        ranks[name] += 1
        elements -= cost
    return ranks


def equal_rank(shapes: Mapping[str, tuple[int, int]], elements: int) -> int:
    """The largest rank, at least 1, at which all weights together send at most ``elements``."""

    def spent(rank: int) -> int:
        return sum(_cost(rank, s) for s in shapes.values())

    rank = 1
    while spent(rank + 1) <= elements and any(pays(rank + 1, s) for s in shapes.values()):
        rank += 1
    return rank


def _cost(rank: int, shape: tuple[int, int]) -> int:
    """Elements of a change of this rank: those of its factors, or the matrix's own where there are fewer."""
    return min(rank * sum(shape), shape[0] * shape[1])
