"""Dependent quantisation: two interleaved quantisers and a trellis that chooses between them.

As in ISO/IEC 15938-17 and H.266: quantiser 0 holds the even multiples of a step, quantiser 1 the odd ones and zero. The
parity of every level moves a machine of eight states, and the state says which quantiser comes next. Levels then lie
denser in many dimensions than on any grid of the same rate; the encoder finds the best path with Viterbi's algorithm.

Values stand in lanes of ``LANE`` elements, each starting in state 0, so that many advance together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LANE = 256
NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]], np.uint8)
"""The state after a level of even and of odd parity."""
QUANTISER = np.array([0, 1, 0, 1, 0, 1, 0, 1], np.uint8)
"""Which quantiser a state uses."""

_PASSES = 3
_SAMPLE = 64  # lanes that the first passes look at
_TOGETHER = 1_024  # lanes in one pass of Viterbi's algorithm, which bounds its memory
_PREDECESSORS = np.array([[(s, p) for s in range(8) for p in (0, 1) if NEXT[s, p] == end] for end in range(8)])

Levels = NDArray[np.int32]
States = NDArray[np.uint8]
Tables = Sequence[NDArray[np.float32]]
"""Per quantiser, the bits of a level by its magnitude, sign included."""


def lanes(count: int) -> tuple[int, int]:
    """Length and number of the lanes of ``count`` elements."""
    length = min(LANE, count)
    return length, -(-count // length)


def in_lanes(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Elements as (length, lanes), the last lane padded with zeros."""
    length, number = lanes(flat.size)
    padded = np.zeros(length * number, flat.dtype)
    padded[: flat.size] = flat
    return np.ascontiguousarray(padded.reshape(number, length).T)


def trellis_levels(values: NDArray[np.float32], rate_weight: float) -> Levels:
    """Levels (length, lanes) of least squared error plus ``rate_weight`` times bits.

    The bits of a level are those of the histogram of the levels so far, per quantiser.

    Parameters
    ----------
    values : (length, lanes), in steps.
    rate_weight : squared steps that a bit is worth.
    """
    sizes = np.abs(values)
    every = max(1, sizes.shape[1] // _SAMPLE)
    sample = sizes[:, ::every]
    tables = _first_tables(float(sample.mean()))
    for _ in range(_PASSES):
        found = _best_path(sample, tables, rate_weight)
        tables = _tables(found, states_of(found))
    parts = range(0, sizes.shape[1], _TOGETHER)
    levels = np.concatenate([_best_path(sizes[:, i : i + _TOGETHER], tables, rate_weight) for i in parts], axis=1)
    return np.where(values < 0, -levels, levels)


def states_of(levels: Levels) -> States:
    """The state in which each of the levels (length, lanes) is chosen."""
    states = np.zeros(levels.shape, np.uint8)
    odd = levels & 1
    for at in range(1, len(levels)):
        states[at] = NEXT[states[at - 1], odd[at - 1]]
    return states


def reconstructed(levels: Levels, states: States) -> NDArray[np.float32]:
    """The values that levels stand for, in steps."""
    return (2 * levels - np.sign(levels) * QUANTISER[states]).astype(np.float32)


def _first_tables(mean: float) -> Tables:
    """Bits of geometric levels of that mean magnitude in steps, half of it in each quantiser's levels."""
    level = np.arange(64)
    share = max(mean, 1e-3) / 2
    ratio = share / (1 + share)
    bits = np.where(level == 0, -np.log2(1 - ratio), 1 - np.log2(1 - ratio) - level * np.log2(ratio))
    return [bits.astype(np.float32)] * 2


def _tables(levels: Levels, states: States) -> Tables:
    tables = []
    for quantiser in (0, 1):
        mine = np.abs(levels[QUANTISER[states] == quantiser])
        size = int(mine.max(initial=0)) + 8
        counts = np.bincount(mine, minlength=size) + 0.3 / (1 + np.arange(size))
        tables.append((-np.log2(counts / counts.sum()) + (np.arange(size) > 0)).astype(np.float32))
    return tables


def _costs(sizes: NDArray[np.float32], tables: Tables, rate_weight: float) -> tuple[NDArray[np.float32], Levels]:
    """Cost and level of the best choice by (length, quantiser * 2 + parity, lanes)."""
    costs = np.empty((len(sizes), 4, sizes.shape[1]), np.float32)
    levels = np.empty(costs.shape, np.int32)
    for quantiser, table in enumerate(tables):
        below = ((sizes + quantiser) / 2).astype(np.int32)
        rate = np.float32(rate_weight) * table
        for parity in (0, 1):
            nearest = below + ((below & 1) != parity)
            choices = (nearest, np.maximum(nearest - 2, parity))
            first, second = (
                np.square(sizes - (2 * c - quantiser * (c > 0))) + rate[np.minimum(c, len(rate) - 1)] for c in choices
            )
            costs[:, 2 * quantiser + parity] = np.minimum(first, second)
            levels[:, 2 * quantiser + parity] = np.where(second < first, choices[1], choices[0])
    return costs, levels


def _best_path(sizes: NDArray[np.float32], tables: Tables, rate_weight: float) -> Levels:
    """Magnitudes of the levels on the cheapest path of every lane."""
    length, number = sizes.shape
    costs, levels = _costs(sizes, tables, rate_weight)
    sources = _PREDECESSORS[:, :, 0]
    branches = 2 * QUANTISER[sources] + _PREDECESSORS[:, :, 1]
    total = np.full((8, number), np.inf, np.float32)
    total[0] = 0
    back = np.empty((length, 8, number), bool)
    for at in range(length):
        first = total[sources[:, 0]] + costs[at, branches[:, 0]]
        second = total[sources[:, 1]] + costs[at, branches[:, 1]]
        np.less(second, first, out=back[at])
        total = np.minimum(first, second)
    state, lane = total.argmin(axis=0), np.arange(number)
    result = np.empty(sizes.shape, np.int32)
    for at in range(length - 1, -1, -1):
        which = back[at, state, lane].astype(np.intp)
        result[at] = levels[at, branches[state, which], lane]
        state = sources[state, which]
    return result
